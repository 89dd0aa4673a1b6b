"""diascope and its peers over the same pictures, as whole processes, printed as a table.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install -r benchmarks/peers.txt
    .venv/bin/python benchmarks/peers.py --peers /tmp/peers/bin/python

Draws 1,000 JPEGs of 720x540 and 100 of 12 megapixels, then runs every contestant in turn, round
after round, start-up and writing included; the table has medians. The steady state of diascope and
of its two limits is the time that four times as many pictures take beyond the first.
"""

import argparse
import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from diascope.machine import available_cores
from diascope.renderer import render

HERE = Path(__file__).resolve().parent
MORE = 4
"""How many times the pictures of the long run are those of the short one."""

LIMITS = ("decode", "decode-and-network")


@dataclass(frozen=True)
class Pictures:
    """A set to draw; ``softness`` of the grain, in pixels, sets the size of the files."""

    name: str
    width: int
    height: int
    count: int
    softness: float
    grain: float


SETS = (
    Pictures("720x540", 720, 540, 1000, softness=0.7, grain=9.0),
    Pictures("12 MP", 4032, 3024, 100, softness=0.7, grain=10.0),
)


@dataclass(frozen=True)
class Run:
    """One process: seconds by the clock, and of processors, with those of its children."""

    wall: float
    processor: float


def draw(pictures: Pictures, folder: Path, workers: int) -> None:
    """Skin drawn small, enlarged, with texture and a sensor's noise; quality 88, 4:2:0."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_draw_one, pictures, folder), range(pictures.count), chunksize=5))


def _draw_one(pictures: Pictures, folder: Path, index: int) -> None:
    rng = np.random.default_rng([7, index])
    skin = render(index, seed=7, size=192).pixels
    size = (pictures.width, pictures.height)
    photo = cv2.resize(skin, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    for cells, depth in ((16, 4.0), (4, 4.0)):
        small = rng.standard_normal((size[1] // cells + 1, size[0] // cells + 1), np.float32)
        photo += cv2.resize(depth * small, size)[..., None]
    noise = rng.standard_normal(photo.shape, np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), pictures.softness)
    photo += pictures.grain / noise.std() * noise
    settings = [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x221111]
    _, data = cv2.imencode(".jpg", photo.clip(0, 255).astype(np.uint8)[..., ::-1], settings)
    (folder / f"{index:05}.jpg").write_bytes(data.tobytes())


def multiplied(folder: Path, times: int) -> Path:
    """The same pictures several times over, by links."""
    many = folder.with_name(f"{folder.name} x{times}")
    if not many.exists():
        many.mkdir()
        for file in folder.iterdir():
            for copy in range(times):
                os.link(file, many / f"{file.stem}-{copy}.jpg")
    return many


def command(name: str, folder: Path, out: Path, options: argparse.Namespace) -> list[str]:
    if name == "diascope":
        entry = "from diascope.cli import main; main()"
        return [sys.executable, "-c", entry, "score", str(folder), "--out", str(out)]
    python = sys.executable if name in LIMITS else options.peers
    extra = [f"--{key}={value}" for key, value in settings(name, folder, options).items()]
    return [python, str(HERE / "contestants.py"), name, str(folder), str(out), *extra]


def settings(name: str, folder: Path, options: argparse.Namespace) -> dict[str, int]:
    """The best that was found for each; ``--set NAME.batch=N`` tries another."""
    large = folder.name.startswith("12")
    found = {
        "timm": {"batch": 8 if large else 32, "workers": 2},
        "ultralytics": {"batch": 8 if large else 32, "workers": 0},
        "transformers": {"batch": 8 if large else 32, "workers": 2},
        "decode": {"batch": 4 if large else 32, "workers": available_cores()},
        "decode-and-network": {"batch": 4 if large else 32, "workers": available_cores()},
    }[name]
    for text in options.set or ():
        key, value = text.split("=")
        if key.startswith(f"{name}."):
            found[key.removeprefix(f"{name}.")] = int(value)
    return found


def timed(name: str, folder: Path, out: Path, options: argparse.Namespace) -> Run:
    """Run one contestant and see that it wrote a row for each picture."""
    out.unlink(missing_ok=True)
    out.with_suffix(".meta.json").unlink(missing_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command(name, folder, out, options), capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-3000:]}")
    with out.open(newline="") as file:
        rows = sum(1 for _ in csv.reader(file)) - 1
    pictures = sum(1 for _ in folder.iterdir())
    if rows != pictures:
        sys.exit(f"{name}: {rows} rows of {pictures} pictures")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, used)


def rounds(
    names: list[str], folders: list[Path], options: argparse.Namespace
) -> dict[tuple[str, Path], list[Run]]:
    """Every contestant over every folder, once per round, so that a busy minute hits all alike."""
    runs: dict[tuple[str, Path], list[Run]] = {}
    for turn in range(options.rounds):
        for folder in folders:
            for name in names:
                run = timed(name, folder, options.work / "rows.csv", options)
                runs.setdefault((name, folder), []).append(run)
                print(
                    f"round {turn + 1} {folder.name} {name}: "
                    f"{run.wall:.2f} s, {run.processor:.2f} s of processors",
                    file=sys.stderr,
                )
    return runs


def middle(runs: list[Run]) -> Run:
    return Run(
        statistics.median(run.wall for run in runs),
        statistics.median(run.processor for run in runs),
    )


def whole_table(names: list[str], folder: Path, runs: dict[tuple[str, Path], list[Run]]) -> str:
    """Whole processes: rate, how it stands to diascope, processor time per picture."""
    count = sum(1 for _ in folder.iterdir())
    own = middle(runs["diascope", folder]).wall
    lines = [
        f"| {folder.name}, {count:,} pictures | pictures/s | diascope is faster by | "
        "processor ms per picture | settings |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in names:
        run = middle(runs[name, folder])
        lines.append(
            f"| {name} | {count / run.wall:,.1f} | {run.wall / own:.2f} | "
            f"{1000 * run.processor / count:.2f} | {_told(name, folder)} |"
        )
    return "\n".join(lines)


def _told(name: str, folder: Path) -> str:
    chosen = {} if name == "diascope" else settings(name, folder, OPTIONS)
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) or "as installed"


def steady_table(folder: Path, many: Path, runs: dict[tuple[str, Path], list[Run]]) -> str:
    """The further pictures of the long run alone: start-up falls out."""
    further = sum(1 for _ in many.iterdir()) - sum(1 for _ in folder.iterdir())
    spent = {
        name: [
            Run(long.wall - short.wall, long.processor - short.processor)
            for short, long in zip(runs[name, folder], runs[name, many], strict=True)
        ]
        for name in ("diascope", *LIMITS)
    }
    lines = [
        f"| {folder.name}, steady state | pictures/s | diascope's share of it | "
        "processor ms per picture |",
        "| --- | --- | --- | --- |",
    ]
    own = middle(spent["diascope"]).wall
    for name, each in spent.items():
        run = middle(each)
        lines.append(
            f"| {name} | {further / run.wall:,.1f} | {run.wall / own:.2f} | "
            f"{1000 * run.processor / further:.2f} |"
        )
    return "\n".join(lines)


def measured(pictures: Pictures, options: argparse.Namespace) -> Iterator[str]:
    folder = options.work / pictures.name
    if not folder.exists():
        print(f"drawing {pictures.count} pictures of {pictures.name}", file=sys.stderr)
        draw(pictures, folder, available_cores())
    sizes = [file.stat().st_size for file in folder.iterdir()]
    yield f"{pictures.name}: files of {statistics.median(sizes) / 1000:,.0f} kB (median)\n"
    many = multiplied(folder, MORE)
    names = ["diascope", *LIMITS, *options.only]
    runs = rounds(names, [folder], options)
    yield whole_table(names, folder, runs) + "\n"
    if not options.no_steady:
        own = ["diascope", *LIMITS]
        runs |= rounds(own, [many], options)
        yield steady_table(folder, many, runs) + "\n"


OPTIONS = argparse.Namespace()


def main() -> None:
    parser = argparse.ArgumentParser(description="diascope against its peers, as a table")
    parser.add_argument("--peers", help="Python of an environment that holds peers.txt")
    parser.add_argument("--only", nargs="*", default=["timm", "ultralytics", "transformers"])
    parser.add_argument("--pictures", nargs="*", default=[each.name for each in SETS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-steady", action="store_true", help="whole processes only")
    parser.add_argument("--set", nargs="*", metavar="NAME.KEY=N", help="such as timm.workers=4")
    parser.add_argument("--work", type=Path, help="where pictures are kept for another run")
    parser.parse_args(namespace=OPTIONS)
    if OPTIONS.only and not OPTIONS.peers:
        parser.error("--peers names the Python of an environment made from benchmarks/peers.txt")
    kept = OPTIONS.work is not None
    OPTIONS.work = OPTIONS.work or Path(tempfile.mkdtemp(prefix="peers-"))
    OPTIONS.work.mkdir(parents=True, exist_ok=True)
    os.environ["PEER_MODELS"] = str(OPTIONS.work)
    os.environ["YOLO_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "true"
    os.environ["YOLO_CONFIG_DIR"] = str(OPTIONS.work)
    try:
        for pictures in SETS:
            if pictures.name in OPTIONS.pictures:
                for text in measured(pictures, OPTIONS):
                    print(text, flush=True)
    finally:
        if not kept:
            shutil.rmtree(OPTIONS.work)


if __name__ == "__main__":
    main()
