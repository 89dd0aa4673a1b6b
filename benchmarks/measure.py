"""Wall time and peak memory of one command and all its child processes.

    python benchmarks/measure.py [--runs N] COMMAND [ARGUMENT ...]

Memory is summed over the command's processes, read ten times a second: on Linux the proportional
set size, in which a page shared by processes counts once; elsewhere the resident size, in which it
counts for each, so that the figure is an upper bound.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def memory_bytes(root: int) -> int:
    """Memory of a process and all its descendants, whatever their sessions, in bytes."""
    listing = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,rss="], capture_output=True, text=True)
    rows = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
    family, known = {root}, 0
    while len(family) > known:
        known = len(family)
        family |= {pid for parent, pid, _ in rows if parent in family}
    return sum(_proportional(pid, 1024 * size) for _, pid, size in rows if pid in family)


def _proportional(pid: int, resident: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # not Linux, or the process has just ended
        return resident
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(command: list[str], *, watch: bool) -> tuple[float, int]:
    """Seconds and peak bytes of one run; stops with the command's own code when it fails."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, start_new_session=True)
    try:
        while watch and process.poll() is None:
            peak = max(peak, memory_bytes(process.pid))
            time.sleep(0.1)
        process.wait()
    finally:
        process.terminate()
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, peak


def main() -> None:
    parser = argparse.ArgumentParser(description="wall time and peak memory of a command")
    parser.add_argument("--runs", type=int, default=1, help="above 1: time only, no memory")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("name a command to run")
    runs = [measure(arguments.command, watch=arguments.runs == 1) for _ in range(arguments.runs)]
    seconds = [run[0] for run in runs]
    line = f"{statistics.median(seconds):.2f} s"
    if arguments.runs > 1:
        line += f" (median of {len(runs)}; {min(seconds):.2f} to {max(seconds):.2f})"
    else:
        line += f", at most {runs[0][1] / 2**20:,.0f} MiB of memory"
    print(f"{' '.join(arguments.command)}: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
