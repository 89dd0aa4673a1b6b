"""Damaged files: every one gets its row, in time and in memory.

    python benchmarks/mutated.py [--count 5000] [--seed 1]

Files of eight formats (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC) with bits flipped, bytes set to
their extremes, parts cut out, and heads and tails of other files, are scored by ``scoring.score``
in one process. Fails where a row is missing, a picture takes over five seconds, memory goes over
1 GiB, or the process dies: it names the file it died of.
"""

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from diascope import Predictor, scoring
from diascope.renderer import render

MOST_SECONDS = 5.0
MOST_MIB = 1024


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def whole_files() -> list[bytes]:
    """One drawn picture in eight formats, in the variants that take other paths."""
    pillow_heif.register_heif_opener()
    image = Image.fromarray(render(0, seed=6, size=96).pixels).resize((120, 96))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more = {"save_all": True, "append_images": [image.rotate(90).resize(image.size)]}
    told = {"exif": exif.tobytes(), "icc_profile": srgb}
    return [
        encoded(image, "JPEG", **told),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "PNG", **told),
        encoded(image.convert("RGBA").quantize(32), "PNG"),
        encoded(image, "PNG", **more),
        encoded(image, "WEBP", **told),
        encoded(image, "WEBP", lossless=True),
        encoded(image, "WEBP", **more),
        encoded(image, "TIFF", **told),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        encoded(image, "BMP"),
        encoded(image.quantize(16), "BMP"),
        encoded(image, "GIF"),
        encoded(image, "GIF", **more),
        encoded(image, "AVIF", **told),
        encoded(image, "AVIF", **more),
        encoded(image, "HEIF", **told),
        encoded(image, "HEIF", **more),
    ]


def mutant(random: np.random.Generator, files: list[bytes]) -> bytes:
    """One file with something done to it."""
    data = bytearray(files[random.integers(len(files))])
    other = files[random.integers(len(files))]
    what = random.choice(["bits", "head bits", "extremes", "cut", "hole", "swap", "splice"])
    places = random.integers(0, len(data), int(np.exp(random.uniform(0, np.log(60)))))
    if what == "head bits":  # where sizes and offsets stand
        places = random.integers(0, min(len(data), 400), 1 + len(places) // 8)
    if what in ("bits", "head bits"):
        for place in places:
            data[place] ^= 1 << int(random.integers(8))
    elif what == "extremes":
        for place in random.integers(0, min(len(data), 600), 3):
            data[place : place + 2] = random.choice([b"\xff\xff", b"\0\0", b"\x7f\xff"])
    elif what == "cut":
        del data[int(random.integers(1, len(data))) :]
    elif what == "hole":
        start = int(random.integers(len(data)))
        del data[start : start + int(random.integers(1, 2000))]
    elif what == "swap":
        length = int(random.integers(4, 64))
        data[:length] = other[:length]
    else:
        data = data[: int(random.integers(len(data)))] + other[int(random.integers(len(other))) :]
    return bytes(data)


def write_mutants(folder: Path, count: int, seed: int) -> None:
    files = whole_files()
    for number in range(count):
        random = np.random.default_rng([seed, number])
        (folder / f"{number:05}.jpg").write_bytes(mutant(random, files))


def timed_rows(folder: Path) -> Iterator[tuple[scoring.Row, float]]:
    """Rows with the seconds each took; the file at hand is told, should the process die."""
    predictor = Predictor.load("rendered", threads=1)
    for item in scoring.read_inputs(folder):
        print(item.path, file=sys.stderr, flush=True)
        start = time.perf_counter()
        for row in scoring.score_inputs(predictor, [item], batch_size=1):
            yield row, time.perf_counter() - start


def score_all(folder: Path) -> int:
    """Score in this process; print counts, and fail where a bound is broken."""
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    rows, slowest = 0, (0.0, "")
    for row, seconds in timed_rows(folder):
        rows += 1
        counts[row.reason if row.status is scoring.Status.UNREADABLE else "read"] += 1
        slowest = max(slowest, (seconds, row.path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    print(f"{rows} rows: {told}; slowest {slowest[0]:.2f} s ({slowest[1]}), peak {peak} MiB")
    whole = rows == len(list(folder.iterdir()))
    return int(not (whole and slowest[0] <= MOST_SECONDS and peak <= MOST_MIB))


def main() -> int:
    parser = argparse.ArgumentParser(description="damaged files: a row each")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        return score_all(arguments.score)
    with tempfile.TemporaryDirectory() as folder:
        write_mutants(Path(folder), arguments.count, arguments.seed)
        command = [sys.executable, __file__, "--score", folder]
        child = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if child.returncode:
            last = child.stderr.splitlines()[-8:]
            print(f"exit status {child.returncode} after:", *last, sep="\n")
    return int(child.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
