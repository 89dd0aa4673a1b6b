"""How many planted copies of photographs the finder finds, kind by kind, and how many are false.

    python benchmarks/copies.py ../shared/photos/manifest.csv [--count 1000] [--kind flip ...]

Of every photograph one copy is made, saved as JPEG and read again the way ``data audit`` reads it.
Recall: photographs paired with their copy. Precision: true pairs over true and false ones; a pair
is false when its photographs share no group of the manifest or of ``data/groups``, and a pair of
one group that was not planted counts for neither. Intervals are Wilson's, 95 %.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from diascope.dataset import COPY_SIDE, ManifestRow, read_manifest
from diascope.duplicates import find_copies, join_groups
from diascope.image import Limits, read_picture

KNOWN = Path(__file__).resolve().parents[1] / "data" / "groups" / "shared_photos.csv"
QUALITY = 90

Pixels = np.ndarray
Change = Callable[[Pixels, np.random.Generator], Pixels]


def crop(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """80 % of each side, 64 % of the picture, anywhere in it."""
    height, width = (round(0.8 * side) for side in pixels.shape[:2])
    top, left = (
        rng.integers(whole - part + 1)
        for whole, part in zip(pixels.shape, (height, width), strict=False)
    )
    return pixels[top : top + height, left : left + width]


def watermark(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half-transparent text over most of the width, at a height drawn by chance."""
    height, width = pixels.shape[:2]
    text, font = "(c) atlas.example", cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(text, font, 1.0, 2)
    drawn = pixels.copy()
    where = (width // 10, int(rng.uniform(0.2, 0.9) * height))
    cv2.putText(drawn, text, where, font, 0.8 * width / wide, (255, 255, 255), 3)
    return cv2.addWeighted(drawn, 0.5, pixels, 0.5, 0)


def brightness(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """0.7 or 1.3 times as bright."""
    return np.clip(pixels * rng.choice([0.7, 1.3]), 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "flip": lambda pixels, rng: pixels[:, ::-1],
    "crop 80 %": crop,
    "quarter turn": lambda pixels, rng: np.rot90(pixels, rng.choice([1, 3])),
    "JPEG 40": lambda pixels, rng: pixels,
    "watermark": watermark,
    "half size": lambda pixels, rng: cv2.resize(
        pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "brightness": brightness,
}


def copy_of(row: ManifestRow, number: int, kind: str) -> Pixels:
    """The copy of a photograph as the finder would read it from disk."""
    rng = np.random.default_rng([number, list(CHANGES).index(kind)])
    changed = CHANGES[kind](read_picture(row.file).pixels, rng)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 40 if kind == "JPEG 40" else QUALITY]
    bgr = np.ascontiguousarray(changed[:, :, ::-1])
    return read_picture(
        cv2.imencode(".jpg", bgr, quality)[1].tobytes(),
        decode_side=COPY_SIDE,
        limits=Limits(min_side=8),  # half of a picture that is small already
    ).pixels


def groups_of(rows: list[ManifestRow]) -> list[str]:
    with KNOWN.open(encoding="utf-8", newline="") as file:
        known = {row["path"]: row["group_id"] for row in csv.DictReader(file)}
    paths = [row.path for row in rows]
    named = [known.get(path, "") for path in paths]
    return join_groups(paths, [], [row.group_id for row in rows], named)


def wilson(hits: int, n: int) -> str:
    """Share with its 95 % interval (Wilson, J Am Stat Assoc 1927;22:209)."""
    if n == 0:
        return "-"
    z, share = 1.96, hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{share:.4f} [{centre - half:.4f}, {min(1, centre + half):.4f}] of {n}"


def measure(rows: list[ManifestRow], groups: list[str], kind: str) -> None:
    n, start = len(rows), time.perf_counter()
    originals = [read_picture(row.file, decode_side=COPY_SIDE).pixels for row in rows]
    copies = [copy_of(row, number, kind) for number, row in enumerate(rows)]
    read, start = time.perf_counter() - start, time.perf_counter()
    pairs = find_copies([*originals, *copies])
    found = time.perf_counter() - start
    planted = {pair.i for pair in pairs if pair.j == pair.i + n}
    false = [(p.i % n, p.j % n) for p in pairs if groups[p.i % n] != groups[p.j % n]]
    print(
        f"| {kind} | {wilson(len(planted), n)} | "
        f"{wilson(len(planted), len(planted) + len(false))} | {found:.0f} s |",
        flush=True,
    )
    for i, j in sorted(set(false)):
        print(f"  false: {rows[i].path} {rows[j].path}")
    if missed := [row.path for i, row in enumerate(rows) if i not in planted]:
        print("  missed:", *missed[:8], "..." if len(missed) > 8 else "")
    print(f"  ({read:.0f} s to read and make)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="recall and precision of the finder of copies")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kind", action="append", choices=CHANGES)
    arguments = parser.parse_args()
    rows = list(read_manifest(arguments.manifest).rows)
    chosen = np.random.default_rng(0).permutation(len(rows))[: arguments.count]
    rows = [rows[index] for index in sorted(chosen)]
    groups = groups_of(rows)
    print("| copy | recall | precision | time of the search |\n| --- | --- | --- | --- |")
    for kind in arguments.kind or CHANGES:
        measure(rows, groups, kind)


if __name__ == "__main__":
    main()
