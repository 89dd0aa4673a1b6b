"""Draws photographs of skin with marks from melanin and haemoglobin; no photograph is needed.

Light that enters skin is absorbed on its way (Beer-Lambert), so that in linear RGB

    colour = light x (base x 10^-(melanin x s_m + haemoglobin x s_h) + surface reflection)

with one absorption per camera channel for each pigment (Tsumura et al., J Opt Soc Am A
1999;16:2169). Marks add haemoglobin (erythematous), melanin (hyperpigmented), both, or nothing.
"""

import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from diascope.canvas import Map, Pixels, any_colour, barred, ellipse, noise, paint
from diascope.colour import (
    BLOODLESS_SKIN,
    HAEMOGLOBIN_ABSORPTION,
    MELANIN_ABSORPTION,
    ita_degrees,
    linear_to_srgb,
    srgb_to_lab,
)
from diascope.errors import OutputError
from diascope.image import MIN_SIDE
from diascope.labels import ManifestLabel
from diascope.portrait import Face, draw_face, place_face
from diascope.progress import Track, silent

A = TypeVar("A")
T = TypeVar("T")

ITA_RANGE = (-50.0, 65.0)
"""Typology angles of the bare skin in degrees; pictures are spread evenly over the range."""

CONTRAST_RANGE = (4.5, 32.0)
"""CIELAB distances (CIE 1976) between mark and bare skin that are drawn unless told otherwise."""

COVER_SIDE = 32
"""Cells to a side of a cover: what part of each cell the mark takes, for training."""

_GOLDEN = 0.6180339887498949  # spreads typology angles evenly whatever the count
_REFERENCE_SIZE = 128.0  # lengths below are in pixels of a picture of this size

_LEAST_MARK = 4  # pixels of a mark that one can see
_FACE_SHARE = 0.35  # of all pictures
_BARRED, _FACE_BARRED = 0.06, 0.45  # of the other pictures and of the faces: between bars
_FLUSH_SHARE = 0.6  # of the faces with marks: marks that follow the face's parts

_KINDS = (
    ManifestLabel.ERYTHEMATOUS,
    ManifestLabel.HYPERPIGMENTED,
    ManifestLabel.NEITHER,
    ManifestLabel.MIXED,
)
_KIND_SHARES = (0.32, 0.32, 0.28, 0.08)


@dataclass(frozen=True)
class Rendered:
    """One drawn picture and its truth.

    Attributes:
        pixels: sRGB, uint8 (S, S, 3).
        mark_type: erythematous, hyperpigmented, neither or mixed.
        mask: bool (S, S), where a mark is at more than a third of its strength and nothing
            hides it; at least four pixels wherever the mark type names a mark.
        melanin: float32 (S, S), in units of the absorption above; skin and mark together.
        haemoglobin: float32 (S, S), likewise.
        ita_degrees: typology angle of the bare skin in white light.
        delta_e: CIELAB distance (CIE 1976) in white light between bare skin and a mark at its
            full strength; borders and faint marks have less. 0 without a mark.
        shown_delta_e: the same between the skin and what is drawn on it, uneven and soft as it is:
            the mean over the mask. 0 without a mark.
        layout: spots, patch, face, field or none.
    """

    pixels: Pixels
    mark_type: ManifestLabel
    mask: npt.NDArray[np.bool_]
    melanin: Map
    haemoglobin: Map
    ita_degrees: float
    delta_e: float
    shown_delta_e: float
    layout: str


@dataclass(frozen=True)
class _Skin:
    """The bare skin of one person: absorption of this camera and amounts of pigment."""

    melanin_absorption: npt.NDArray[np.float64]
    haemoglobin_absorption: npt.NDArray[np.float64]
    surface: float
    melanin: float
    haemoglobin: float

    def reflectance(self, melanin: npt.ArrayLike, haemoglobin: npt.ArrayLike) -> Map:
        """Linear RGB in white light, float32, a last axis of three added."""
        melanin = np.asarray(melanin, dtype=np.float32)[..., None]
        haemoglobin = np.asarray(haemoglobin, dtype=np.float32)[..., None]
        density = melanin * self.melanin_absorption.astype(np.float32)
        density += haemoglobin * self.haemoglobin_absorption.astype(np.float32)
        base = BLOODLESS_SKIN.astype(np.float32)
        return np.asarray(base * np.exp(density * np.float32(-np.log(10.0))) + self.surface)

    def lab(self, melanin: npt.ArrayLike, haemoglobin: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """CIELAB in white light."""
        return srgb_to_lab(linear_to_srgb(self.reflectance(melanin, haemoglobin)))


def render(
    index: int,
    seed: int = 0,
    size: int = 128,
    *,
    mark_type: ManifestLabel | None = None,
    ita: float | None = None,
    contrast: tuple[float, float] = CONTRAST_RANGE,
) -> Rendered:
    """Draw picture number ``index`` of a seed; the same arguments give the same bytes.

    Args:
        index: number of the picture; typology angles are spread evenly over the numbers.
        seed: number of the series.
        size: side in pixels, at least 32.
        mark_type: drawn at random when None; ``other`` cannot be drawn.
        ita: typology angle of the bare skin in degrees; by ``index`` when None. With an angle
            given, pictures that differ in ``ita``, ``contrast`` or colour alone have the same
            marks, scene and camera; fine vessels come only where there is blood enough.
        contrast: range of the marks' CIELAB distance from the skin; very dark skin may not
            reach it.

    Raises:
        ValueError: a size below 32, the mark type ``other``, a contrast that is no range.
    """
    if size < MIN_SIDE or mark_type is ManifestLabel.OTHER:
        raise ValueError(f"size is at least {MIN_SIDE}, and {ManifestLabel.OTHER} is not drawn")
    if not 0 < contrast[0] <= contrast[1]:
        raise ValueError(f"contrast {contrast} is no range of distances above 0")
    rng = np.random.default_rng([seed, index])
    start = float(np.random.default_rng([seed]).random())
    spread = ITA_RANGE[0] + (ITA_RANGE[1] - ITA_RANGE[0]) * ((start + index * _GOLDEN) % 1.0)
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_KIND_SHARES))] if mark_type is None else mark_type
    skin = _draw_skin(rng, spread if ita is None else ita)
    face = place_face(rng) if rng.random() < _FACE_SHARE else None
    # A stream of its own: whether vessels are drawn hangs on the amounts, and must shift no scene.
    vessel_rng = rng if ita is None else np.random.default_rng([seed, index, 1])
    drawn = _draw(rng, vessel_rng, skin, face, kind, size, contrast)
    while kind is not ManifestLabel.NEITHER and drawn.mask.sum() < _LEAST_MARK:
        # Hidden or outside: draw again.
        drawn = _draw(rng, vessel_rng, skin, face, kind, size, contrast)
    return drawn


def _draw(
    rng: np.random.Generator,
    vessel_rng: np.random.Generator,
    skin: _Skin,
    face: Face | None,
    kind: ManifestLabel,
    size: int,
    contrast: tuple[float, float],
) -> Rendered:
    melanin, haemoglobin = _bare_pigments(rng, skin, size)
    if face is not None:
        haemoglobin = haemoglobin + np.float32(rng.uniform(0, 0.06)) * _flush(rng, face, size)
    mark_melanin, mark_haemoglobin, mask, layout, delta_e = _draw_marks(
        rng, vessel_rng, skin, kind, size, contrast, face
    )
    bare = melanin, haemoglobin
    melanin, haemoglobin = melanin + mark_melanin, haemoglobin + mark_haemoglobin
    linear = skin.reflectance(melanin, haemoglobin)
    linear, covered = _draw_scene(rng, linear, size, face)
    likely = _BARRED if face is None else _FACE_BARRED
    pixels, bars = barred(rng, _photograph(rng, linear, size), likely)
    mask &= ~covered & ~bars
    return Rendered(
        pixels=pixels,
        mark_type=kind,
        mask=mask,
        melanin=melanin,
        haemoglobin=haemoglobin,
        ita_degrees=float(ita_degrees(skin.lab(skin.melanin, skin.haemoglobin))),
        delta_e=delta_e,
        shown_delta_e=_distance(skin, bare, (melanin, haemoglobin), mask),
        layout=layout,
    )


def _distance(
    skin: _Skin, one: tuple[Map, Map], other: tuple[Map, Map], mask: npt.NDArray[np.bool_]
) -> float:
    """Mean CIELAB distance (CIE 1976) in white light over a mask; 0 where it is empty."""
    if not mask.any():
        return 0.0
    ours, theirs = (skin.lab(*(pigment[mask] for pigment in each)) for each in (one, other))
    return float(np.linalg.norm(ours - theirs, axis=-1).mean())


def _draw_skin(rng: np.random.Generator, ita: float) -> _Skin:
    skin = _Skin(
        melanin_absorption=MELANIN_ABSORPTION * np.exp(rng.normal(0, 0.05, 3)),
        haemoglobin_absorption=HAEMOGLOBIN_ABSORPTION * np.exp(rng.normal(0, 0.05, 3)),
        surface=float(rng.uniform(0.008, 0.025)),
        melanin=0.0,
        haemoglobin=float(rng.uniform(0.04, 0.16)),
    )
    low, high = 0.0, 6.0
    for _ in range(18):  # the angle falls as melanin rises: bisect to a hundredth of a degree
        middle = (low + high) / 2
        if float(ita_degrees(skin.lab(middle, skin.haemoglobin))) > ita:
            low = middle
        else:
            high = middle
    return _Skin(
        skin.melanin_absorption,
        skin.haemoglobin_absorption,
        skin.surface,
        (low + high) / 2,
        skin.haemoglobin,
    )


def _bare_pigments(rng: np.random.Generator, skin: _Skin, size: int) -> tuple[Map, Map]:
    """Melanin and haemoglobin of unmarked skin: slow drift, mottling, freckles."""
    uneven = rng.uniform(0.01, 0.06)
    melanin = skin.melanin + (0.04 + 0.10 * skin.melanin) * uneven * 4 * noise(rng, size, 4)
    melanin += uneven * 0.35 * noise(rng, size, 24)
    haemoglobin = skin.haemoglobin * (1 + rng.uniform(0.05, 0.25) * noise(rng, size, 5))
    haemoglobin += rng.uniform(0.0, 0.03) * noise(rng, size, rng.uniform(12, 50))
    if rng.random() < 0.15:  # freckles and fine pigment, too faint to be called marks
        freckles = np.maximum(noise(rng, size, rng.uniform(20, 40)) - 1.6, 0)
        melanin += rng.uniform(0.02, 0.08) * freckles
    return np.maximum(melanin, 0.0), np.maximum(haemoglobin, 0.005)


def _draw_marks(
    rng: np.random.Generator,
    vessel_rng: np.random.Generator,
    skin: _Skin,
    kind: ManifestLabel,
    size: int,
    contrast: tuple[float, float],
    face: Face | None,
) -> tuple[Map, Map, npt.NDArray[np.bool_], str, float]:
    """Melanin and haemoglobin added by the marks, their mask, layout and contrast."""
    nothing = np.zeros((size, size), dtype=np.float32)
    if kind is ManifestLabel.NEITHER:
        return nothing, nothing, nothing > 0, "none", 0.0
    layout = str(rng.choice(["spots", "patch", "field"], p=[0.48, 0.40, 0.12]))
    if face is not None and rng.random() < _FLUSH_SHARE:
        layout = "face"
    shape = _shape(rng, layout, size, face)
    amount_m, amount_h, delta_e = _amounts(rng, skin, kind, contrast)
    if kind is ManifestLabel.MIXED and rng.random() < 0.5:  # red marks beside brown ones
        melanin, haemoglobin = amount_m * _shape(rng, layout, size, face), amount_h * shape
        shape = np.maximum(shape, melanin / max(amount_m, 1e-6))
    else:
        melanin, haemoglobin = amount_m * shape, amount_h * shape
    if amount_h > 0.05 and vessel_rng.random() < 0.4:
        vessels = _vessels(vessel_rng, size) * np.minimum(shape * 1.5 + 0.1, 1.0)
        strength = np.float32(vessel_rng.uniform(0.3, 1.2))
        haemoglobin = haemoglobin + amount_h * strength * vessels
    return melanin, haemoglobin, shape > 0.35, layout, delta_e


def _amounts(
    rng: np.random.Generator, skin: _Skin, kind: ManifestLabel, contrast: tuple[float, float]
) -> tuple[float, float, float]:
    """Melanin and haemoglobin at a mark's centre, scaled to a contrast one can see (Delta E)."""
    wanted = float(np.exp(rng.uniform(*np.log(contrast))))
    share = {
        ManifestLabel.ERYTHEMATOUS: rng.uniform(0.0, 0.10),
        ManifestLabel.HYPERPIGMENTED: rng.uniform(0.88, 1.0),
        ManifestLabel.MIXED: rng.uniform(0.45, 0.65),
    }[kind]
    bare = skin.lab(skin.melanin, skin.haemoglobin)

    def distance(amount: float) -> float:
        marked = skin.lab(skin.melanin + share * amount, skin.haemoglobin + (1 - share) * amount)
        return float(np.linalg.norm(marked - bare))

    low, high = 0.0, 2.5  # very dark skin cannot show more than this
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if distance(middle) < wanted else (low, middle)
    return share * high, (1 - share) * high, distance(high)


def _shape(rng: np.random.Generator, layout: str, size: int, face: Face | None) -> Map:
    """Strength of the marks in [0, 1] over the picture."""
    if layout == "face" and face is not None:
        return _flush(rng, face, size)
    if layout == "field":
        drift = 1.0 - rng.uniform(0.0, 0.35) * np.abs(noise(rng, size, rng.uniform(2, 5)))
        drift -= rng.uniform(0.0, 0.15) * np.abs(noise(rng, size, rng.uniform(8, 30)))
        return np.clip(drift, 0.1, 1.0).astype(np.float32)
    scale = size / _REFERENCE_SIZE
    if layout == "spots":
        count = int(np.exp(rng.uniform(0, np.log(18))))
        radii = np.exp(rng.uniform(np.log(2.0), np.log(22.0), count)) * scale
    else:
        count = int(rng.integers(1, 4))
        radii = rng.uniform(20, 62, count) * scale
    wobble = noise(rng, size, rng.uniform(4, 9)), noise(rng, size, rng.uniform(10, 32))
    total = np.zeros((size, size), dtype=np.float32)
    for radius in radii:
        total = np.maximum(total, _blob(rng, radius, wobble, size))
    if rng.random() < 0.5:  # most marks are uneven inside
        uneven = 1.0 - rng.uniform(0.1, 0.5) * np.abs(noise(rng, size, rng.uniform(6, 40)))
        total = total * np.clip(uneven, 0.2, 1.0)
    return total.astype(np.float32)


def _flush(rng: np.random.Generator, face: Face, size: int) -> Map:
    """Strength in [0, 1] over cheeks, nose, brow or chin: where rosacea and melasma sit."""
    total = np.zeros((size, size), dtype=np.float32)
    for places, likely in _PLACES:
        if rng.random() > likely:
            continue
        strength = np.float32(rng.uniform(0.5, 1.0))
        for across, down, wide, high in places:
            centre = (
                face.x + face.width * (across + rng.normal(0, 0.05)),
                face.y + face.height * (down + rng.normal(0, 0.04)),
            )
            grown = rng.uniform(0.7, 1.4, 2)
            axes = (face.width * wide * grown[0], face.height * high * grown[1])
            total = np.maximum(total, strength * ellipse(size, centre, axes, 0.02))
    depth = rng.uniform(0.15, 0.6)
    uneven = 1 + depth * noise(rng, size, rng.uniform(6, 14))
    uneven += 0.6 * depth * noise(rng, size, rng.uniform(14, 40))
    return np.asarray(np.clip(total * np.clip(uneven, 0, 1.6), 0, 1), dtype=np.float32)


_PLACES = (  # centres and half axes in half widths and half heights of the face; how likely
    (((-0.5, 0.15, 0.3, 0.22), (0.5, 0.15, 0.3, 0.22)), 0.85),  # cheeks
    (((0.0, 0.1, 0.13, 0.18),), 0.35),  # nose
    (((0.0, -0.55, 0.5, 0.16),), 0.4),  # brow
    (((0.0, 0.78, 0.25, 0.12),), 0.3),  # chin
    (((0.0, 0.34, 0.28, 0.06),), 0.25),  # upper lip
)


def _blob(rng: np.random.Generator, radius: float, wobble: tuple[Map, Map], size: int) -> Map:
    """One soft, irregular mark; its strength in [0, 1]."""
    across = np.arange(size, dtype=np.float32)
    x, y = rng.uniform(0, size, 2).astype(np.float32)
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
    dx, dy = across[None, :] - x, across[:, None] - y
    along = dx * np.float32(np.cos(turn)) + dy * np.float32(np.sin(turn))
    aside = (dy * np.float32(np.cos(turn)) - dx * np.float32(np.sin(turn))) / np.float32(squeeze)
    distance = np.sqrt(along**2 + aside**2) / np.float32(radius)
    rough = rng.uniform(0.05, 0.35)
    edge = 1.0 + rough * wobble[0] + 0.4 * rough * wobble[1]
    softness = rng.uniform(0.05, 0.45) + 0.6 / radius
    depth = np.clip((edge - distance) / np.float32(softness), -12, 12)
    return np.asarray(rng.uniform(0.5, 1.0) / (1.0 + np.exp(-2.2 * depth)), dtype=np.float32)


def _curve(
    rng: np.random.Generator, size: int, length: float, bend: float
) -> npt.NDArray[np.int32]:
    """Points of a wandering line, in 1/16 pixels as OpenCV's shift=4 wants them."""
    steps = 12
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, steps))
    stride = length / steps
    x = rng.uniform(0, size) + np.cumsum(np.cos(heading)) * stride
    y = rng.uniform(0, size) + np.cumsum(np.sin(heading)) * stride
    return np.round(np.stack([x, y], axis=-1) * 16).astype(np.int32)[:, None, :]


def _vessels(rng: np.random.Generator, size: int) -> Map:
    """Fine red lines (telangiectasia), strength in [0, 1]."""
    canvas = np.zeros((size, size), dtype=np.uint8)
    scale = size / _REFERENCE_SIZE
    for _ in range(int(rng.integers(3, 22))):
        line = _curve(rng, size, rng.uniform(8, 40) * scale, 0.5)
        cv2.polylines(canvas, [line], False, int(rng.integers(90, 255)), 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(canvas, (3, 3), 0.6).astype(np.float32) / 255.0


def _draw_scene(
    rng: np.random.Generator, linear: Map, size: int, face: Face | None
) -> tuple[Map, npt.NDArray[np.bool_]]:
    """Skin set in a scene: relief, light, gloss, features, hair, background; and what hides it."""
    # Light that has bounced off skin is warmer: shadows in skin are not neutral.
    warmth = 1 + rng.uniform(0, 0.35) * np.array([0.0, 0.5, 1.0], dtype=np.float32)
    linear = linear * _relief(rng, size)[..., None] ** warmth.astype(np.float32)
    covered = np.zeros((size, size), dtype=bool)
    if face is not None:
        linear, hidden = draw_face(rng, linear, size, face, HAEMOGLOBIN_ABSORPTION)
        covered |= hidden
    elif rng.random() < 0.38:
        linear, hidden = _draw_background(rng, linear, size)
        covered |= hidden
    if rng.random() < 0.5:
        gloss = np.maximum(noise(rng, size, rng.uniform(5, 40)) - rng.uniform(1.0, 2.2), 0)
        linear = linear + (rng.uniform(0.02, 0.25) * gloss**1.5)[..., None].astype(np.float32)
    if rng.random() < 0.35:
        linear = _draw_hair(rng, linear, size)
    if rng.random() < 0.15:
        linear = _draw_writing(rng, linear, size)
    return linear, covered


def _relief(rng: np.random.Generator, size: int) -> Map:
    """Shading as a factor: direction of light, curved surface, pores."""
    across = np.linspace(-1, 1, size, dtype=np.float32)
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4)
    slope = across[None, :] * np.float32(np.cos(angle)) + across[:, None] * np.float32(
        np.sin(angle)
    )
    bulge = rng.uniform(0, 0.35) * (across[None, :] ** 2 + across[:, None] ** 2)
    shading = np.exp(depth * slope - bulge + rng.uniform(0, 0.12) * noise(rng, size, 4))
    pores = rng.uniform(0.0, 0.05) * noise(rng, size, rng.uniform(30, 90))
    grain = rng.uniform(0.0, 0.03) * noise(rng, size, size)
    return np.asarray(np.clip(shading * (1 + pores + grain), 0.05, 3.0), dtype=np.float32)


def _draw_background(
    rng: np.random.Generator, linear: Map, size: int
) -> tuple[Map, npt.NDArray[np.bool_]]:
    """Cloth or wall over one or two sides of the picture."""
    across = np.linspace(-1, 1, size, dtype=np.float32)
    cover = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(1, 3))):
        angle = rng.uniform(0, 2 * np.pi)
        side = across[None, :] * np.cos(angle) + across[:, None] * np.sin(angle)
        side = side + rng.uniform(0, 0.12) * noise(rng, size, 3)
        cover = np.maximum(cover, np.clip((side - rng.uniform(0.35, 0.95)) * 25, 0, 1))
    texture = 1 + rng.uniform(0, 0.3) * noise(rng, size, rng.uniform(2, 40))
    colour = any_colour(rng) * np.clip(texture, 0.2, 2)[..., None]
    return paint(linear, cover.astype(np.float32), colour.astype(np.float32)), cover > 0.5


def _draw_hair(rng: np.random.Generator, linear: Map, size: int) -> Map:
    canvas = np.zeros((size, size), dtype=np.uint8)
    scale = size / _REFERENCE_SIZE
    for _ in range(int(np.exp(rng.uniform(0, np.log(40))))):
        line = _curve(rng, size, rng.uniform(10, 70) * scale, 0.12)
        cv2.polylines(canvas, [line], False, int(rng.integers(60, 230)), 1, cv2.LINE_AA, 4)
    cover = canvas.astype(np.float32)[..., None] / 255.0
    brown = np.array([1 - rng.uniform(0, 0.4), 1 - rng.uniform(0, 0.15), 1.0], dtype=np.float32)
    return linear * (1 - cover * brown * np.float32(rng.uniform(0.5, 0.95)))


def _draw_writing(rng: np.random.Generator, linear: Map, size: int) -> Map:
    """A watermark, so that letters pass for no mark."""
    canvas = np.zeros((size, size), dtype=np.uint8)
    letters = "".join(chr(rng.integers(97, 123)) for _ in range(int(rng.integers(4, 12))))
    place = (int(rng.uniform(-0.1, 0.5) * size), int(rng.uniform(0.05, 1.0) * size))
    height = float(rng.uniform(0.3, 0.9)) * size / _REFERENCE_SIZE
    cv2.putText(canvas, letters, place, cv2.FONT_HERSHEY_SIMPLEX, height, 255, 1, cv2.LINE_AA)
    cover = canvas.astype(np.float32) * np.float32(rng.uniform(0.2, 0.9) / 255.0)
    return paint(linear, cover, np.full(3, rng.choice([0.0, 0.5, 0.9]), dtype=np.float32))


def _photograph(rng: np.random.Generator, linear: Map, size: int) -> Pixels:
    """The camera: light and white balance, exposure, lens, sensor noise, tone curve, JPEG."""
    warmth, tint = rng.normal(0, 0.05), rng.normal(0, 0.015)
    gains = 10 ** np.array([warmth, tint, -warmth])
    bright = float(np.percentile(linear[::4, ::4, 1], rng.uniform(60, 95)))
    exposure = 10 ** rng.normal(-0.25, 0.16) / max(bright, 1e-3)
    # A camera lifts dark skin only part of the way to the brightness of light skin.
    exposure = min(exposure, float(10 ** rng.uniform(-0.1, 0.55)))
    linear = linear * (gains * exposure).astype(np.float32)
    if rng.random() < 0.5:
        spread = rng.uniform(0.3, 1.1) * size / _REFERENCE_SIZE
        linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), spread), dtype=np.float32)
    noise = rng.uniform(0.0, 0.02)
    grain = rng.standard_normal(linear.shape, dtype=np.float32)
    linear = linear + grain * np.float32(noise) * np.sqrt(np.maximum(linear, 0.0) + 0.002)
    encoded = _encode(linear)
    contrast = rng.normal(0, 0.12)
    encoded = encoded + contrast * encoded * (1 - encoded) * (2 * encoded - 1) * 2
    grey = encoded.mean(axis=-1, keepdims=True)
    encoded = grey + (encoded - grey) * np.float32(np.exp(rng.normal(0, 0.10)))
    pixels: Pixels = np.clip(encoded * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        return _through_jpeg(pixels, int(rng.integers(45, 96)))
    return pixels


def _encode(linear: Map) -> Map:
    """sRGB of linear RGB by table: the same curve as ``colour``, in a tenth of the time."""
    steps = _ENCODING.size - 1
    return np.asarray(_ENCODING[np.clip(linear * steps + 0.5, 0, steps).astype(np.int32)])


_ENCODING = linear_to_srgb(np.linspace(0.0, 1.0, 16385)).astype(np.float32)


def _through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def render_many(
    count: int,
    seed: int = 0,
    size: int = 128,
    *,
    workers: int = 1,
    mark_types: Sequence[ManifestLabel] = (),
    contrast: tuple[float, float] = CONTRAST_RANGE,
) -> Iterator[Rendered]:
    """Draw pictures 0 to ``count - 1`` of a seed in order, over worker processes.

    ``mark_types`` are given out in turn; empty: drawn at random. The number of workers does not
    change a byte.
    """
    draw = partial(_draw_turn, seed=seed, size=size, mark_types=mark_types, contrast=contrast)
    return in_processes(draw, range(count), workers)


def render_labelled(
    count: int,
    seed: int = 0,
    size: int = 128,
    *,
    workers: int = 1,
    contrast: tuple[float, float] = CONTRAST_RANGE,
) -> Iterator[tuple[Pixels, ManifestLabel, Pixels]]:
    """Pixels, mark types and covers of :func:`render_many`, for training.

    The cover, uint8 (32, 32), says how much of each cell the mask takes, 255: all of it. No map
    of full size crosses processes.
    """
    draw = partial(_draw_labelled, seed=seed, size=size, contrast=contrast)
    return in_processes(draw, range(count), workers)


def _draw_labelled(
    index: int, *, seed: int, size: int, contrast: tuple[float, float]
) -> tuple[Pixels, ManifestLabel, Pixels]:
    drawn = render(index, seed, size, contrast=contrast)
    mask = drawn.mask.astype(np.float32) * 255.0
    cover = cv2.resize(mask, (COVER_SIDE, COVER_SIDE), interpolation=cv2.INTER_AREA)
    return drawn.pixels, drawn.mark_type, np.round(cover).astype(np.uint8)


def write_rendered(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 128,
    *,
    workers: int = 1,
    mark_types: Sequence[ManifestLabel] = (),
    contrast: tuple[float, float] = CONTRAST_RANGE,
    truth: bool = True,
    overwrite: bool = False,
    track: Track = silent,
) -> Path:
    """Draw pictures into a folder, whole or not at all; returns its ``manifest.csv``.

    PNG pictures, and with ``truth`` an npz of each in ``truth/``: ``mask`` (bool), ``melanin``
    and ``haemoglobin`` (float16), all (S, S). The same arguments write the same bytes.

    Raises:
        OutputError: the folder exists and ``overwrite`` is off, or holds other files.
    """
    _check_folder(out, overwrite)
    draw = partial(_draw_turn, seed=seed, size=size, mark_types=mark_types, contrast=contrast)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch_folder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    with scratch_folder as scratch:
        draft = Path(scratch) / out.name
        (draft / _TRUTH if truth else draft).mkdir(parents=True)
        write = partial(_write_one, draw=draw, folder=draft, seed=seed, truth=truth)
        rows = list(track(in_processes(write, range(count), workers), "drawing marks", count))
        with (draft / _MANIFEST).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        if out.exists():
            out.rename(Path(scratch) / "before")
        draft.rename(out)
    return out / _MANIFEST


_MANIFEST = "manifest.csv"
_TRUTH = "truth"
_COLUMNS = (
    "path",
    "mark_type",
    "condition",
    "source",
    "group_id",
    "ita_degrees",
    "delta_e",
    "layout",
)


def _check_folder(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder")
    if any(out.iterdir()) and not overwrite:
        raise OutputError(f"{out}: exists; --overwrite replaces it")
    ours = _ours(out)
    strange = sorted(path for path in out.rglob("*") if path.is_file() and path not in ours)
    if strange:
        raise OutputError(f"{strange[0]}: no rendered picture, so {out} is not replaced")


def _ours(out: Path) -> set[Path]:
    """Files that :func:`write_rendered` wrote into a folder, by the folder's manifest."""
    manifest = out / _MANIFEST
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if tuple(table.fieldnames or ()) != _COLUMNS:
                return set()
            pictures = [Path(row["path"]) for row in table]
    except (OSError, ValueError, csv.Error):
        return set()
    truths = [Path(_TRUTH) / picture.with_suffix(".npz") for picture in pictures]
    return {manifest, *(out / path for path in (*pictures, *truths))}


def _draw_turn(
    index: int,
    *,
    seed: int,
    size: int,
    mark_types: Sequence[ManifestLabel],
    contrast: tuple[float, float],
) -> Rendered:
    kind = mark_types[index % len(mark_types)] if mark_types else None
    return render(index, seed, size, mark_type=kind, contrast=contrast)


def _write_one(
    index: int, *, draw: Callable[[int], Rendered], folder: Path, seed: int, truth: bool
) -> dict[str, str]:
    drawn = draw(index)
    name = f"{index:06d}-{drawn.mark_type}"
    # OpenCV's PNG writer takes a third of Pillow's time; it wants blue first.
    _, data = cv2.imencode(".png", drawn.pixels[..., ::-1])
    (folder / f"{name}.png").write_bytes(data.tobytes())
    if truth:
        np.savez(
            folder / _TRUTH / f"{name}.npz",
            mask=drawn.mask,
            melanin=drawn.melanin.astype(np.float16),
            haemoglobin=drawn.haemoglobin.astype(np.float16),
        )
    values = (
        f"{name}.png",
        drawn.mark_type.value,
        "rendered mark" if drawn.mask.any() else "rendered skin",
        "rendered",
        f"rendered-{seed}-{index}",
        f"{drawn.ita_degrees:.2f}",
        f"{drawn.delta_e:.2f}",
        drawn.layout,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def in_processes(work: Callable[[A], T], items: Sequence[A], workers: int) -> Iterator[T]:
    """``work`` of every item, in order, by worker processes of one thread each."""
    if workers <= 1 or len(items) < _WORTH_PROCESSES:
        yield from map(work, items)
        return
    context = get_context("spawn")  # a fork would copy threads that torch or OpenCV hold
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        # A bounded look-ahead: memory stays flat however many pictures are asked for.
        for start in range(0, len(items), _LOOK_AHEAD):
            yield from pool.map(work, items[start : start + _LOOK_AHEAD], chunksize=16)


_WORTH_PROCESSES = 200  # fewer are drawn before processes have started
_LOOK_AHEAD = 1024
