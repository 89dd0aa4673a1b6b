"""Can this picture be judged? Numbers, and a closed list of reasons to decline.

Quality vetoes, never relabels. It is measured on what the network sees, the picture or the box at
the network's size, so that a small and a large version of one picture are alike. Every measure is
a ratio or has bounds that the darkest skin in ordinary light keeps well clear of; the thresholds
are ``config.QualityConfig`` and travel in the bundle.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor

import cv2
import numpy as np
import numpy.typing as npt

from diascope.colour import CLIPPED_FROM, LIT_FROM
from diascope.config import QualityConfig

Pixels = npt.NDArray[np.uint8]

_BRIGHT = 95.0  # percentile that stands for the bright part of the frame
_BLUR = 9  # pixels of the second blur


class DeclineReason(StrEnum):
    """Why a picture cannot be judged: a closed list, each with its words."""

    NO_COLOUR = "no_colour"
    LOW_RESOLUTION = "low_resolution"
    BLURRED = "blurred"
    UNDER_EXPOSED = "under_exposed"
    OVER_EXPOSED = "over_exposed"
    NO_SKIN = "no_skin"

    @property
    def words(self) -> str:
        """The reason as a sentence, and what to do."""
        return _WORDS[self]


_WORDS = {
    DeclineReason.NO_COLOUR: "The picture has no colour; give the colour photograph.",
    DeclineReason.LOW_RESOLUTION: (
        "The picture has too few pixels where it is judged; go closer, or give the original."
    ),
    DeclineReason.BLURRED: "The picture is blurred; take it again, focused on the mark.",
    DeclineReason.UNDER_EXPOSED: "The picture is almost black; take it in more light.",
    DeclineReason.OVER_EXPOSED: "The picture is burnt out to white; take it in less light.",
    DeclineReason.NO_SKIN: (
        "The picture shows hardly anything that can be skin; go closer, or use daylight."
    ),
}


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of what is judged: the picture, or the box with the skin around it.

    Attributes:
        resolution: shorter side in pixels of the original.
        sharpness: 1 minus the blur effect of Crete et al., in [0, 1]; noise counts as sharp.
        exposure: sRGB value, in [0, 1], that the brightest channel reaches in 5 % of the pixels.
        clipped_share: share of the pixels that are lit, in [0, 1], with two or three channels
            clipped; black bars and hair cannot burn.
        skin_share: share of the pixels, in [0, 1], whose colour can be skin's of any tone.
    """

    resolution: int
    sharpness: float
    exposure: float
    clipped_share: float
    skin_share: float


def measure(pixels: Pixels, resolution: int, can_be_skin: npt.NDArray[np.bool_]) -> Quality:
    """Measure pixels, sRGB uint8 (S, S, 3), as the network sees them.

    Args:
        pixels: of ``preprocess.Prepared``.
        resolution: the shorter side in pixels that they were in the original.
        can_be_skin: where the pixels can be skin (``colour.can_be_skin``), bool (S, S).
    """
    planes = [np.asarray(plane, dtype=np.uint8) for plane in cv2.split(pixels)]
    most = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    red, green, blue = (plane >= CLIPPED_FROM for plane in planes)
    clipped = (red & green) | (red & blue) | (green & blue)
    skin = can_be_skin & ~clipped
    lit = max(1, int(np.count_nonzero(most >= LIT_FROM)))
    return Quality(
        resolution=resolution,
        sharpness=_sharpness(_at_most(pixels, resolution)),
        exposure=_bright(most) / 255.0,
        clipped_share=float(np.count_nonzero(clipped) / lit),
        skin_share=float(skin.mean()),
    )


def decline_reasons(
    quality: Quality, has_colour: bool, limits: QualityConfig
) -> tuple[DeclineReason, ...]:
    """Every reason to decline, in the order of the list; none for a usable picture.

    Colours that are missing, dark or burnt out say nothing of skin: then that is not the reason.
    """
    found = {
        DeclineReason.NO_COLOUR: not has_colour,
        DeclineReason.LOW_RESOLUTION: quality.resolution < limits.least_resolution,
        DeclineReason.BLURRED: quality.sharpness < limits.least_sharpness,
        DeclineReason.UNDER_EXPOSED: quality.exposure < limits.least_exposure,
        DeclineReason.OVER_EXPOSED: quality.clipped_share > limits.most_clipped,
    }
    colours_tell = not (
        found[DeclineReason.NO_COLOUR]
        or found[DeclineReason.UNDER_EXPOSED]
        or found[DeclineReason.OVER_EXPOSED]
    )
    found[DeclineReason.NO_SKIN] = colours_tell and quality.skin_share < limits.least_skin
    return tuple(reason for reason, applies in found.items() if applies)


def _bright(most: Pixels) -> float:
    """``np.percentile(most, 95)``, from the histogram: a sixth of the time."""
    counts = np.cumsum(np.bincount(most.ravel(), minlength=256))
    place = _BRIGHT / 100 * (most.size - 1)
    low, high = np.searchsorted(counts, [floor(place), ceil(place)], side="right").tolist()
    return float(low + (high - low) * (place - floor(place)))


def _at_most(pixels: Pixels, side: int) -> Pixels:
    # Pixels that were made up on the way to the network's size would count as blur.
    if side >= pixels.shape[0]:
        return pixels
    side = max(side, 2)
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _sharpness(pixels: Pixels) -> float:
    """Share of the variation between neighbours that a second blur takes away.

    Crete et al., The blur effect, Proc SPIE 6492 (2007): what is blurred already hardly changes
    when blurred again. The smaller of both directions, so that motion in one is seen. A factor on
    all pixels changes nothing: dark skin, whose contrast is less, is not called blurred for it.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return min(_taken_away(grey), _taken_away(np.ascontiguousarray(grey.T)))


def _taken_away(grey: npt.NDArray[np.float32]) -> float:
    """Of neighbours in a column; 1 where all are alike, as there is nothing to be blurred."""
    blurred = cv2.blur(grey, (1, _BLUR), borderType=cv2.BORDER_REFLECT_101)
    before, after = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(blurred, axis=0))
    whole = float(before.sum())
    return float(np.maximum(before - after, 0).sum()) / whole if whole > 0 else 1.0
