"""How far the maps of ``diascope explain`` can be trusted, on drawn marks with known truth.

    python benchmarks/explain.py [--count 1000] [--model photos ...]

Peak: on marks of at least 2 % of the picture, how often the centre of the cell where the evidence
for the colour called is greatest lies in the mark, or within one cell's length of it; beside it,
how often a cell taken at random would. Pigments: correlation with the true map in and around marks
that stand out by at least 12 (CIELAB distance) and leave skin to compare with. 95 % intervals are
bootstrapped over pictures.
"""

import argparse
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from diascope.bundle import SHIPPED
from diascope.colour import HAEMOGLOBIN_ABSORPTION, MELANIN_ABSORPTION
from diascope.explain import (
    Explanation,
    pigment_maps,
)
from diascope.inference import Predictor
from diascope.labels import ManifestLabel, MarkType
from diascope.machine import available_cores
from diascope.preprocess import prepare_pixels
from diascope.renderer import CONTRAST_RANGE, Rendered, render_many

SEED, SIZE = 990, 128
LEAST_SHARE = 0.02
RED, BROWN = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED


def marks(count: int, contrast: tuple[float, float]) -> list[Rendered]:
    drawn = render_many(
        count,
        SEED,
        SIZE,
        workers=available_cores(),
        mark_types=(RED, BROWN),
        contrast=contrast,
    )
    return [each for each in drawn if each.mask.mean() >= LEAST_SHARE]


def near_cells(mask: np.ndarray, side: int) -> np.ndarray:
    """Cells whose centre lies in the mask or within one cell's length of it, bool (side, side)."""
    cell = mask.shape[0] / side  # ten cells of 160 pixels are 12.8 of 128 each
    reach = 2 * round(cell) + 1
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach)))
    centres = ((np.arange(side) + 0.5) * cell).astype(int)
    return grown[np.ix_(centres, centres)].astype(bool)


def peak_is_near(told: Explanation, mask: np.ndarray) -> bool:
    red = told.likelier_colour is MarkType.ERYTHEMATOUS
    values = told.red_against_brown if red else -told.red_against_brown
    return bool(near_cells(mask, values.shape[0]).ravel()[values.argmax()])


def told(name: str, values: Sequence[float], statistic: Callable = np.mean) -> None:
    array = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0).integers(len(array), size=(2000, len(array)))
    low, high = np.percentile(statistic(array[draws], axis=1), (2.5, 97.5))
    print(f"{name}: {statistic(array):.3f} [{low:.3f}, {high:.3f}], n = {len(array)}")


def peaks(name: str, drawn: Sequence[Rendered]) -> None:
    predictor = Predictor.load(name)
    explained = [predictor.explain(each.pixels) for each in drawn]
    hits = np.array([peak_is_near(e, d.mask) for e, d in zip(explained, drawn, strict=True)])
    side = explained[0].class_maps.shape[-1]
    right = np.array(
        [e.verdict.value == d.mark_type.value for e, d in zip(explained, drawn, strict=True)]
    )
    area = np.array([each.mask.mean() for each in drawn])
    delta_e = np.array([each.delta_e for each in drawn])
    told(f"{predictor.name}: peak at the mark", hits)
    told("  a random cell", [near_cells(each.mask, side).mean() for each in drawn])
    for words, rows in {
        "verdict right": right,
        "verdict another, or declined": ~right,
        "mark 2 to 5 % of the picture": area < 0.05,
        "mark 5 to 10 %": (area >= 0.05) & (area < 0.1),
        "mark over 10 %": area >= 0.1,
        "contrast under 9": delta_e < 9,
        "contrast 9 and over": delta_e >= 9,
        **{layout: np.array([each.layout == layout for each in drawn]) for layout in LAYOUTS},
    }.items():
        told(f"  {words}", hits[rows])


LAYOUTS = ("spots", "patch", "face", "field")


def separation(drawn: Sequence[Rendered]) -> None:
    shade = np.stack([MELANIN_ABSORPTION, HAEMOGLOBIN_ABSORPTION, (1, 1, 1)], axis=1)
    ways = {
        "two pigments": pigment_maps,
        "shading taken out": lambda density: np.tensordot(np.linalg.inv(shade)[:2], density, 1),
    }
    for way, separate in ways.items():
        for kind, name in ((RED, "haemoglobin"), (BROWN, "melanin")):
            found = []
            for each in drawn:
                if each.mark_type is not kind or each.layout == "field":
                    continue
                around = cv2.dilate(each.mask.astype(np.uint8), np.ones((25, 25))) > 0
                maps = separate(prepare_pixels(each.pixels, None, SIZE).tensor)
                estimate = maps[1 if kind is RED else 0][around]
                found.append(np.corrcoef(estimate, getattr(each, name)[around])[0, 1])
            told(f"{name} of {kind} marks, {way}: median correlation", found, np.median)


def main() -> None:
    parser = argparse.ArgumentParser(description="maps against the truth of drawn marks")
    parser.add_argument("--count", type=int, default=1000, help="pictures drawn")
    parser.add_argument("--model", nargs="+", default=list(SHIPPED))
    arguments = parser.parse_args()
    drawn = marks(arguments.count, CONTRAST_RANGE)
    for name in arguments.model:
        peaks(name, drawn)
    separation(marks(arguments.count, (12.0, CONTRAST_RANGE[1])))


if __name__ == "__main__":
    main()
