"""Peak memory of ``diascope score`` by the number of rows: it should stay flat.

    python benchmarks/memory.py [--rows 2000 50000] [--suffix .parquet]

A few small drawn pictures are named again and again in a list; memory is summed over all processes
as in measure.py.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import measure
from PIL import Image

from diascope.renderer import render

PICTURES = 20


def write_list(folder: Path, rows: int) -> Path:
    """A list of so many rows."""
    file = folder / f"{rows}.txt"
    with file.open("w") as stream:
        stream.writelines(f"{folder / f'{row % PICTURES}.jpg'}\n" for row in range(rows))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description="peak memory by the number of rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 50_000])
    parser.add_argument("--suffix", default=".csv", choices=[".csv", ".jsonl", ".parquet"])
    arguments = parser.parse_args()
    run = "from diascope.cli import main; main()"
    with TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(PICTURES):
            Image.fromarray(render(index, seed=3, size=64).pixels).save(folder / f"{index}.jpg")
        peaks = []
        for rows in arguments.rows:
            out = folder / f"rows-{rows}{arguments.suffix}"
            command = [sys.executable, "-c", run, "score", str(write_list(folder, rows))]
            seconds, peak = measure([*command, "--out", str(out)], watch=True)
            peaks.append(peak)
            print(f"{rows:,} rows: {seconds:.0f} s, at most {peak / 2**20:,.0f} MiB", flush=True)
    print(f"largest over smallest: {max(peaks) / min(peaks):.3f}")


if __name__ == "__main__":
    main()
