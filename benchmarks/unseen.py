"""Photographs that a model trained on drawn marks alone never saw: red against brown, by source.

    python benchmarks/unseen.py ../shared/photos/manifest.csv BUNDLE [BUNDLE ...]
        [--references] [--views] [--sizes]

AUROC within the three parts of sources that the lab book leaves out, their mean, and pooled, each
with its 95 % interval over persons and copies; ``neither`` and ``other`` given a colour before any
gate, ``other`` at the sureness that the surest 70 % of red and brown reach. With ``--references``
the same weights on other reference skins, with ``--views`` the mean over turned, mirrored and cut
pictures, with ``--sizes`` inputs of other sides: what a change of one line would do before anything
is trained again. Of several bundles
also the mean of their logits: what distilling them into one could reach.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from diascope import metrics
from diascope.bundle import load_bundle, resolve_bundle
from diascope.colour import can_be_skin, optical_density
from diascope.config import DataConfig
from diascope.dataset import ManifestRow, joined_rows, read_manifest
from diascope.image import read_picture
from diascope.labels import ManifestLabel
from diascope.network import MarkNetwork, evaluation_network
from diascope.preprocess import DEPTH_RANGE, prepare_pixels

PARTS = (
    ("dermnet",),
    ("sd198", "melasma-web"),
    ("rosacea-web", "cafe-au-lait-web", "spots-web"),
)
RED, BROWN = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED
GROUPS = "data/groups/shared_photos.csv"
SIDES = (96, 160, 192)
DENSITY = optical_density(np.arange(256, dtype=np.uint8)).astype(np.float32)


def network_of(name: str) -> MarkNetwork:
    bundle = load_bundle(resolve_bundle(name))
    weights = {key: torch.from_numpy(np.array(value)) for key, value in bundle.weights().items()}
    return evaluation_network(bundle.description.network, weights)


def prepared(pixels: np.ndarray, size: int) -> np.ndarray:
    return prepare_pixels(pixels, None, size).tensor


def with_reference(pixels: np.ndarray, size: int, *, percentile: float, skin: bool) -> np.ndarray:
    """As ``preprocess``, with another reference skin."""
    seen = prepare_pixels(pixels, None, size).pixels
    coloured = (seen.max(axis=-1) >= 40) & (seen.max(axis=-1) < 253) & (seen.min(axis=-1) <= 244)
    where = coloured & can_be_skin(seen) if skin else coloured
    if where.mean() < 0.15:
        where = coloured if coloured.mean() >= 0.15 else np.ones_like(coloured)
    reference = np.percentile(seen[where], percentile, axis=0)
    density = np.interp(reference, np.arange(256), DENSITY)
    relative = DENSITY[seen] - density
    depth = relative.mean(axis=-1, keepdims=True)
    relative += np.clip(depth, *DEPTH_RANGE) - depth
    return np.ascontiguousarray(relative.transpose(2, 0, 1), dtype=np.float32)


def logits(
    network: MarkNetwork, pictures: list[np.ndarray], prepare: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    found = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 64):
            batch = np.stack([prepare(each) for each in pictures[start : start + 64]])
            found.append(network(torch.from_numpy(batch)).numpy())
    return np.concatenate(found)


def views(pictures: list[np.ndarray]) -> Iterator[tuple[str, list[list[np.ndarray]]]]:
    """Names and lists of pictures, to be averaged."""
    yield "mirrored too", [pictures, [each[:, ::-1] for each in pictures]]
    turned = [[np.rot90(each, turns) for each in pictures] for turns in range(4)]
    yield (
        "turned and mirrored, eight",
        [*turned, *([each[:, ::-1] for each in some] for some in turned)],
    )
    cuts = [[cut(each, across, down) for each in pictures] for across in (0, 1) for down in (0, 1)]
    middle = [cut(each, 0.5, 0.5) for each in pictures]
    yield "five cuts of 70 % of each side", [*cuts, middle]


def cut(pixels: np.ndarray, across: float, down: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    high, wide = int(0.7 * height), int(0.7 * width)
    top, left = int(down * (height - high)), int(across * (width - wide))
    return pixels[top : top + high, left : left + wide]


def told(name: str, rows: list[ManifestRow], found: np.ndarray) -> None:
    """One line of figures."""
    labels = np.array([row.mark_type for row in rows])
    margin = found[:, 1] - found[:, 0]
    coloured = np.flatnonzero((labels == RED) | (labels == BROWN))
    brown, groups = labels[coloured] == BROWN, [rows[i].group_id for i in coloured]
    parts = [np.flatnonzero([rows[i].source in part for i in coloured]) for part in PARTS]
    aurocs = [partial(metrics.auroc, brown[part], margin[coloured][part]) for part in parts]

    def mean(counts: np.ndarray) -> np.ndarray:
        each = [auroc(counts[..., part]) for auroc, part in zip(aurocs, parts, strict=True)]
        return np.mean(each, axis=0)

    strata = [f"{labels[i]} {[rows[i].source in part for part in PARTS]}" for i in coloured]
    interval = partial(metrics.bootstrap_interval, strata=strata, groups=groups)
    whole = np.ones(len(coloured))
    alone = " ".join(
        f"{float(auroc(whole[part])):.3f}" for auroc, part in zip(aurocs, parts, strict=True)
    )
    averaged = interval(mean)
    pooled = interval(partial(metrics.auroc, brown, margin[coloured]))
    called = (found.argmax(axis=1) != 2)[labels == ManifestLabel.NEITHER].mean()
    least = np.quantile(np.abs(margin[coloured]), 0.3)
    other = (np.abs(margin[labels == ManifestLabel.OTHER]) >= least).mean()
    print(
        f"{name}: {alone}; mean {averaged.value:.3f} [{averaged.low:.3f}, {averaged.high:.3f}], "
        f"pooled {pooled.value:.3f} [{pooled.low:.3f}, {pooled.high:.3f}], n = {pooled.n}; "
        f"neither given a colour {called:.2f}, other {other:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("bundle", nargs="+")
    parser.add_argument("--references", action="store_true")
    parser.add_argument("--views", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    arguments = parser.parse_args()
    rows = list(joined_rows(read_manifest(arguments.manifest).rows, DataConfig(groups=GROUPS)))
    alone: list[np.ndarray] = []
    for name in arguments.bundle:
        network = network_of(name)
        size = load_bundle(resolve_bundle(name)).description.preprocessing.size
        pictures = [read_picture(row.file, decode_side=2 * size).pixels for row in rows]
        as_is = partial(prepared, size=size)
        alone.append(logits(network, pictures, as_is))
        told(name, rows, alone[-1])
        if arguments.references:
            for percentile in (40, 50, 60, 65, 70, 75, 80, 85):
                for skin in (False, True):
                    other = partial(with_reference, size=size, percentile=percentile, skin=skin)
                    kind = "of what can be skin" if skin else "of coloured pixels"
                    told(
                        f"  percentile {percentile} {kind}", rows, logits(network, pictures, other)
                    )
        if arguments.sizes:
            large = [read_picture(row.file, decode_side=2 * max(SIDES)).pixels for row in rows]
            for side in SIDES:
                found = logits(network, large, partial(prepared, size=side))
                told(f"  input of {side} pixels", rows, found)
        if arguments.views:
            for words, lists in views(pictures):
                mean = np.mean([logits(network, each, as_is) for each in lists], axis=0)
                told(f"  {words}", rows, mean)
    if len(alone) > 1:
        told("mean of the logits of all", rows, np.mean(alone, axis=0))


if __name__ == "__main__":
    main()
