"""What the quality gate declines, by reason: photographs, drawn skin by tone, spoilt pictures.

Command: python benchmarks/quality.py ../shared/photos/manifest.csv

Three tables. Photographs declined per mark type (all are meant to be judged). Drawn pictures
declined per bin of typology angle (Del Bino and Bernerd, Br J Dermatol 2013;169 Suppl 3:33). And
what spoils a verdict: AUROC of red against brown of ``rendered``, which saw no photograph, on
photographs blurred, made small, darkened and burnt, beside the measures and the share declined. The
thresholds of ``config.QualityConfig`` are read off these: under-exposure from where the AUROC falls
on, clipping and skin beyond nearly every photograph. Blur hardly costs AUROC, so that its threshold
stands below every photograph instead.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from diascope import Predictor
from diascope.colour import linear_to_srgb, srgb_to_linear
from diascope.config import QualityConfig
from diascope.dataset import read_manifest
from diascope.image import Pixels, read_picture
from diascope.labels import ManifestLabel
from diascope.machine import available_cores
from diascope.metrics import auroc
from diascope.preprocess import prepare_pixels, read_for
from diascope.quality import Quality, decline_reasons, measure
from diascope.renderer import render_many

SIZE = 128
TONES = (-50, -30, 10, 28, 41, 55, 65)
DRAWN = 6000


def judged(pixels: Pixels, shown: int = SIZE) -> tuple[Quality, tuple[str, ...]]:
    """Measures of a picture at the network's size, and why it is declined."""
    prepared = prepare_pixels(pixels, None, SIZE)
    quality = measure(prepared.pixels, shown, prepared.can_be_skin)
    colour = read_picture(pixels).has_colour
    return quality, decline_reasons(quality, colour, QualityConfig())


def report(name: str, declined: Iterable[tuple[str, ...]]) -> None:
    """One line: share declined, and reasons."""
    every = list(declined)
    count = sum(map(bool, every))
    reasons = Counter(reason for each in every for reason in each)
    told = ", ".join(f"{reason} {number}" for reason, number in reasons.items()) or "none"
    print(
        f"{name:>24} n {len(every):5} declined {count:3} ({100 * count / len(every):.2f} %): {told}"
    )


def lit(pixels: Pixels, factor: float) -> Pixels:
    """The same scene under ``factor`` times the light."""
    linear = np.minimum(factor * srgb_to_linear(pixels).astype(float), 1.0)
    return np.rint(255 * linear_to_srgb(linear)).astype(np.uint8)


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """Shrunk to ``side`` and back."""
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def ladder(
    name: str, change: Callable[[Pixels], Pixels], pictures: list[Pixels], brown: list[bool]
) -> None:
    """One line: AUROC after a change, and the share that the gate declines."""
    changed = [change(pixels) for pixels in pictures]
    tensors = np.stack([prepare_pixels(pixels, None, SIZE).tensor for pixels in changed])
    probabilities = PREDICTOR.probabilities(tensors)
    score = probabilities[:, 1] / (probabilities[:, 0] + probabilities[:, 1])
    verdicts = [judged(pixels) for pixels in changed]
    medians = np.median([list(vars_of(quality)) for quality, _ in verdicts], axis=0)
    share = 100 * np.mean([bool(reasons) for _, reasons in verdicts])
    value = float(auroc(np.array(brown), score))
    print(f"{name:>12} AUROC {value:.3f}  declined {share:5.1f} %  medians", medians.round(3))


def vars_of(quality: Quality) -> tuple[float, ...]:
    return (quality.sharpness, quality.exposure, quality.clipped_share, quality.skin_share)


def main() -> None:
    """Print the three tables."""
    rows = read_manifest(Path(sys.argv[1])).rows
    pictures = [read_for(row.file, row.box, SIZE) for row in rows]
    seen = [prepare_pixels(picture.pixels, None, SIZE).pixels for picture in pictures]
    sides = [min(picture.width, picture.height) for picture in pictures]
    for kind in (*dict.fromkeys(row.mark_type for row in rows),):
        each = [i for i, row in enumerate(rows) if row.mark_type is kind]
        report(kind, (judged(seen[i], sides[i])[1] for i in each))
    bins: dict[int, list[tuple[str, ...]]] = {low: [] for low in TONES[:-1]}
    for drawn in render_many(DRAWN, seed=4, workers=available_cores()):
        low = next(low for low, high in pairwise(TONES) if drawn.ita_degrees < high + 0.5)
        bins[low].append(judged(drawn.pixels)[1])
    for low, high in pairwise(TONES):
        report(f"drawn, ITA {low} to {high}", bins[low])
    coloured = (ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED)
    told = [i for i, row in enumerate(rows) if row.mark_type in coloured]
    kept = [seen[i] for i in told]
    brown = [rows[i].mark_type is ManifestLabel.HYPERPIGMENTED for i in told]
    print("medians: sharpness, exposure, clipped share, skin share")
    ladder("as it is", lambda pixels: pixels, kept, brown)
    for sigma in (1.0, 2.0, 3.0, 4.0, 6.0, 9.0):
        ladder(f"blur {sigma:g} px", lambda p, s=sigma: cv2.GaussianBlur(p, (0, 0), s), kept, brown)
    for side in (64, 32, 16):
        ladder(f"{side} px", lambda p, s=side: shrunk(p, s), kept, brown)
    for factor in (0.5, 0.25, 0.1, 0.05, 0.03, 0.01, 1.5, 2, 3, 4, 6, 9, 15):
        ladder(f"light x {factor:g}", lambda p, f=factor: lit(p, f), kept, brown)


PREDICTOR = Predictor.load("rendered", threads=1)

if __name__ == "__main__":
    main()
