"""The only road to the network: a picture, perhaps a box, in; relative optical density out.

Log space turns light and camera gain into an offset; subtracting the density of the reference
skin takes that offset and the person's own tone away. Marks are darker than the skin they are on,
so the reference is the lighter skin: the 70th percentile of what can be skin by its colour, in the
whole frame or, with a box, around it; black and burnt-out pixels do not count, nor those of which a
channel is clipped, whose colour is not that of the skin. What is much lighter or darker than skin
gets (shine, paper, hair, black bars) keeps its colour and is brought within bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from diascope.colour import (
    CLIPPED_FROM,
    LIT_FROM,
    can_be_skin,
    ita_degrees,
    optical_density,
    srgb_to_lab,
)
from diascope.errors import ImageError, UnreadableReason
from diascope.image import Limits, Picture, PictureSource, read_picture

Box = tuple[float, float, float, float]
"""Left, top, right, bottom of a mark in pixels of the upright original; right, bottom exclusive."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom of a cut in pixels of ``Picture.pixels``; right, bottom exclusive."""

BOX_CONTEXT = 0.5
"""A box is seen with this share of its longer side around it."""

REFERENCE_SHARE = 0.7
"""Share of the skin that is darker than the reference."""

DEPTH_RANGE = (-0.05, 0.9)
"""Bounds of a pixel's mean relative optical density; beyond them all channels move alike."""

_BURNT = 244  # sRGB level of the darkest channel above which skin is not told from paper
_LEAST_SHARE = 0.15  # fewer pixels of a kind say nothing of the skin
_RING_LEAST_SHARE = 0.05  # a smaller ring around the box says nothing of the skin


@dataclass(frozen=True)
class Prepared:
    """What the network sees of one picture.

    Attributes:
        tensor: relative optical density, float32 (3, S, S); 0 is the reference skin, higher is
            darker in that channel (R, G, B); the mean of the three lies within ``DEPTH_RANGE``.
        pixels: sRGB that ``tensor`` was made of, uint8 (S, S, 3).
        can_be_skin: bool (S, S), of ``pixels`` by colour alone (``colour.can_be_skin``).
        reference: sRGB of the reference skin, float64 levels in [0, 255], (3,); between two
            levels as the pixels at them are many or few.
        ita_degrees: typology angle of the reference, an estimate: the camera's light is unknown.
    """

    tensor: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.uint8]
    can_be_skin: npt.NDArray[np.bool_]
    reference: npt.NDArray[np.float64]
    ita_degrees: float


def decode_side(size: int) -> int:
    """Shorter side in pixels that a picture must keep when decoded for an input of ``size``."""
    return 2 * size


def read_for(
    source: PictureSource, box: Box | None, size: int, *, limits: Limits | None = None
) -> Picture:
    """Read a picture no larger than an input of ``size`` needs, in training and prediction alike.

    What the network sees, the picture or the box with the skin around it, keeps ``decode_side``.

    Raises:
        ImageError: as ``image.read_picture``.
    """

    def side(width: int, height: int) -> int:
        shown = resolution(width, height, box)
        return ceil(decode_side(size) * min(width, height) / max(shown, 1))

    return read_picture(source, decode_side=side, limits=limits)


def resolution(width: int, height: int, box: Box | None) -> int:
    """Shorter side, in pixels of the original, of what the network sees; a part counts whole."""
    if box is None:
        return min(width, height)
    left, top, right, bottom = _framed(box, width, height)[1]
    return max(0, ceil(min(right - left, bottom - top)))


def prepare(picture: Picture, box: Box | None, size: int) -> Prepared:
    """Cut, resize and take colour relative to the skin.

    Args:
        picture: as read by ``image.read_picture``.
        box: where the mark is; None: the whole picture.
        size: side S of the network's input in pixels.

    Raises:
        ImageError: ``too_small``, when the box lies outside the picture or is under two pixels.
    """
    pixels, inner = picture.pixels, None
    if box is not None:
        pixels, inner = cut(picture, box)
    return prepare_pixels(pixels, inner, size)


def prepare_pixels(pixels: npt.NDArray[np.uint8], inner: Box | None, size: int) -> Prepared:
    """As :func:`prepare`, for pixels already cut; ``inner`` is the mark's box within them."""
    height, width = pixels.shape[:2]
    if (height, width) != (size, size):
        pixels = _resized(pixels, size)
    planes = cv2.split(pixels)
    skin = can_be_skin(pixels)
    around = None if inner is None else _ring(inner, width, height, size)
    where = _reference_pixels(planes, skin, around)
    reference = np.array([_percentile(plane, where) for plane in planes])
    density = optical_density(reference / 255.0).astype(np.float32)
    tensor = np.empty((3, size, size), dtype=np.float32)
    for channel, plane in enumerate(planes):
        cv2.LUT(plane, _DENSITY - density[channel], dst=tensor[channel])
    depth = tensor.mean(axis=0)
    tensor += np.clip(depth, *DEPTH_RANGE) - depth
    ita = float(ita_degrees(srgb_to_lab(reference / 255.0)))
    return Prepared(tensor, pixels, skin, reference, ita)


def _resized(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Pixels (S, S, 3): means of areas where both sides shrink, else linear."""
    if min(pixels.shape[:2]) < size:
        resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, dtype=np.uint8)
    # OpenCV takes the same means of floats in two thirds of the time; rounded, the same bytes.
    means = cv2.resize(pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.convertScaleAbs(means), dtype=np.uint8)


def cut(picture: Picture, box: Box) -> tuple[npt.NDArray[np.uint8], Box]:
    """Pixels of a box with the skin around it, and the box within those pixels.

    Raises:
        ImageError: ``too_small``, as in :func:`prepare`.
    """
    (x0, y0, x1, y1), inner = window(picture, box)
    return np.ascontiguousarray(picture.pixels[y0:y1, x0:x1]), inner


def window(picture: Picture, box: Box) -> tuple[Window, Box]:
    """What is cut out for a box, and the box within it.

    The box is cut off at the picture's borders; half its longer side of skin is kept around it.

    Raises:
        ImageError: ``too_small``, as in :func:`prepare`.
    """
    (left, top, right, bottom), view = _framed(box, picture.width, picture.height)
    if not (right - left >= 2 and bottom - top >= 2):  # so that no number that is none passes
        raise ImageError(
            UnreadableReason.TOO_SMALL,
            "box " + ",".join(f"{edge:g}" for edge in box),
            f"covers under two pixels of the picture ({picture.width} x {picture.height}); "
            "give left, top, right, bottom in pixels of the upright picture",
        )
    height, width = picture.pixels.shape[:2]
    across, down = width / picture.width, height / picture.height
    x0, x1 = int(view[0] * across), ceil(view[2] * across)
    y0, y1 = int(view[1] * down), ceil(view[3] * down)
    inner = (left * across - x0, top * down - y0, right * across - x0, bottom * down - y0)
    return (x0, y0, x1, y1), inner


def _framed(box: Box, width: int, height: int) -> tuple[Box, Box]:
    """A box cut off at the borders, and that with the skin around it; pixels of the original."""
    left, right = (min(max(x, 0.0), width) for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0.0), height) for y in (box[1], box[3]))
    margin = BOX_CONTEXT * max(right - left, bottom - top)
    view = (
        max(left - margin, 0.0),
        max(top - margin, 0.0),
        min(right + margin, float(width)),
        min(bottom + margin, float(height)),
    )
    return (left, top, right, bottom), view


def _reference_pixels(
    planes: Sequence[cv2.typing.MatLike],
    skin: npt.NDArray[np.bool_],
    around: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.uint8] | None:
    """1 where a pixel has the colour of skin, around the box if there is one.

    Cloth and walls of other colours do not count, nor do black and burnt-out pixels, which are
    background, hair, bars or paper, nor clipped ones; they count again where little else is left.
    """
    red, green, blue = planes
    brightest = cv2.max(cv2.max(red, green), blue)
    lit = cv2.inRange(brightest, LIT_FROM, 255)
    unburnt = cv2.inRange(cv2.min(cv2.min(red, green), blue), 0, _BURNT)
    coloured = np.minimum(cv2.bitwise_and(lit, unburnt), 1)
    whole = coloured * skin * (np.asarray(brightest) < CLIPPED_FROM)
    within = np.ones_like(coloured) if around is None else around
    for kind in (whole, coloured * skin, coloured):
        where = np.asarray(kind * within, dtype=np.uint8)
        if np.count_nonzero(where) >= _LEAST_SHARE * np.count_nonzero(within):
            return where
    return around


def _ring(inner: Box, width: int, height: int, size: int) -> npt.NDArray[np.uint8] | None:
    """1 outside the box, (size, size); None when too little skin lies there."""
    around = np.ones((size, size), dtype=np.uint8)
    left, right = (round(x * size / width) for x in (inner[0], inner[2]))
    top, bottom = (round(y * size / height) for y in (inner[1], inner[3]))
    around[top:bottom, left:right] = 0
    return around if around.mean() >= _RING_LEAST_SHARE else None


def _percentile(plane: cv2.typing.MatLike, where: npt.NDArray[np.uint8] | None) -> float:
    """Level below which ``REFERENCE_SHARE`` of the bytes lie where ``where`` is 1, in [0, 255].

    From their histogram, exact and fast; the bytes of a level count as spread evenly over the half
    level on either side, so that a few pixels more or less move it by a few hundredths.
    """
    counts = cv2.calcHist([plane], [0], where, [256], [0, 256]).ravel().astype(np.float64)
    below = np.concatenate([[0.0], counts.cumsum()])
    wanted = REFERENCE_SHARE * below[-1]
    level = int(np.searchsorted(below[1:], wanted))
    place = level - 0.5 + (wanted - below[level]) / counts[level]
    return float(min(max(place, 0.0), 255.0))


_DENSITY = optical_density(np.arange(256, dtype=np.uint8))
