"""A crude portrait on drawn skin, so that eyes, hair, lips and shadows pass for no mark."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diascope.canvas import Map, Mask, any_colour, ellipse, noise, paint

_DARK = np.array([1.3, 1.0, 0.8], dtype=np.float32)  # of brows and lashes: black is never neutral


@dataclass(frozen=True)
class Face:
    """Where a face lies: centre and half axes, as shares of the picture's side."""

    x: float
    y: float
    width: float
    height: float

    def ellipse(
        self, size: int, centre: tuple[float, float], axes: tuple[float, float], soft: float
    ) -> Map:
        """Soft ellipse in [0, 1]; centre and half axes in half widths and half heights."""
        middle = (self.x + centre[0] * self.width, self.y + centre[1] * self.height)
        return ellipse(size, middle, (axes[0] * self.width, axes[1] * self.height), soft)


def place_face(rng: np.random.Generator) -> Face:
    """A face anywhere near the middle, from one that fills the picture to a portrait."""
    width = float(np.exp(rng.uniform(np.log(0.2), np.log(0.75))))
    return Face(
        x=rng.uniform(0.3, 0.7),
        y=rng.uniform(0.35, 0.6),
        width=width,
        height=min(0.9, width * rng.uniform(1.15, 1.5)),
    )


def draw_face(
    rng: np.random.Generator, linear: Map, size: int, face: Face, blood: npt.ArrayLike
) -> tuple[Map, Mask]:
    """A portrait on linear RGB (S, S, 3) that is skin all over; and what hides the skin.

    ``blood`` (3,) is the absorption of haemoglobin in R, G, B.
    """
    linear = _shadowed(rng, linear, size, face)
    linear, hidden = _with_features(rng, linear, size, face, blood)
    linear, around = _framed(rng, linear, size, face)
    hidden |= around
    if rng.random() < 0.2:  # the bar that hides the eyes
        top, bottom = (round((face.y + y * face.height) * size) for y in (-0.26, -0.08))
        left, right = (round((face.x + x * face.width) * size) for x in (-0.7, 0.7))
        bar = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
        linear[bar] = 0.001
        hidden[bar] = True
    return linear, hidden


def _shadowed(rng: np.random.Generator, linear: Map, size: int, face: Face) -> Map:
    """Light that falls off towards the head's edge and beside the nose; shaven skin is darker."""
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    right, down = (places[None, :] - face.x) / face.width, (places[:, None] - face.y) / face.height
    edge = np.minimum(right**2 + down**2, 1.6) ** 2
    depth = rng.uniform(0.05, 0.5) * edge + rng.uniform(-0.5, 0.5) * np.clip(right, -1, 1)
    side = rng.choice([-0.12, 0.12])
    depth += rng.uniform(0, 0.5) * face.ellipse(size, (side, 0.08), (0.07, 0.2), 0.02)
    depth += rng.uniform(0, 0.5) * face.ellipse(size, (0, 0.3), (0.16, 0.03), 0.012)
    # Light that has bounced off skin is warmer.
    warmth = np.array([1.0, 1.15, 1.3], dtype=np.float32) ** np.float32(rng.uniform(0, 1.5))
    shade = np.maximum(depth, -0.3)[..., None] * warmth
    if rng.random() < 0.15:
        beard = face.ellipse(size, (0, 0.62), (0.75, 0.42), 0.04)
        stubble = beard * np.clip(1 + 0.6 * noise(rng, size, size * 0.6), 0, 3)
        grey = np.array([1.0, 0.9, 0.8], dtype=np.float32) * np.float32(rng.uniform(0.2, 0.9))
        shade = shade + stubble[..., None] * grey
    return np.asarray(linear * np.exp(-shade), dtype=np.float32)


def _with_features(
    rng: np.random.Generator, linear: Map, size: int, face: Face, blood: npt.ArrayLike
) -> tuple[Map, Mask]:
    """Brows, eyes, nostrils and lips; and those that hide the skin."""
    dark = np.float32(rng.uniform(0.005, 0.05)) * _DARK
    hidden = np.zeros((size, size), dtype=bool)
    socket_shade = rng.uniform(0, 0.4) * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    opened = 0.05 * rng.uniform(0.4, 1.0)
    brows, lashes, nostrils = rng.uniform([0.3, 0.2, 0.2], [0.9, 0.9, 0.8]).astype(np.float32)
    white = np.full(3, rng.uniform(0.2, 0.6), dtype=np.float32)
    for side in (-1, 1):
        at = 0.42 * side
        socket = face.ellipse(size, (at, -0.18), (0.3, 0.12), 0.02)
        linear = linear * (1 - socket[..., None] * socket_shade)
        eye = face.ellipse(size, (at, -0.18), (0.17, opened), 0.005)
        iris = face.ellipse(size, (at, -0.18), (0.08, opened), 0.004)
        brow = face.ellipse(size, (at, -0.31), (0.24, 0.025), 0.01)
        lash = face.ellipse(size, (at, -0.18 - opened), (0.19, 0.015), 0.004)
        nostril = face.ellipse(size, (0.1 * side, 0.27), (0.05, 0.02), 0.006)
        linear = paint(paint(linear, eye, white), iris, dark * np.float32(0.5))
        linear = paint(paint(linear, brow * brows, dark), lash * lashes, dark)
        linear = linear * (1 - nostril[..., None] * nostrils)
        hidden |= (eye > 0.5) | (brow > 0.6)
    # Lips: thin skin over blood, or paint.
    lips = face.ellipse(size, (0, 0.48), (0.3, 0.07), 0.01)
    tint = np.exp(-np.log(10) * rng.uniform(0.1, 0.9) * np.asarray(blood))
    linear = linear * (1 - lips[..., None] * (1 - tint.astype(np.float32)))
    hidden |= lips > 0.5
    return np.asarray(linear, dtype=np.float32), hidden


def _framed(rng: np.random.Generator, linear: Map, size: int, face: Face) -> tuple[Map, Mask]:
    """The head before a wall, with hair, neck and clothes; and where there is no skin."""
    head = face.ellipse(size, (0, 0), (1, 1), 0.008)
    wall = any_colour(rng) * _uneven(rng, size, rng.uniform(0, 0.25), rng.uniform(2, 12))
    picture = np.broadcast_to(wall, linear.shape).astype(np.float32)
    hair = _hair_colour(rng, size)
    bald, long = rng.random() < 0.15, rng.random() < 0.5
    spread = (rng.uniform(1.08, 1.5), 1.6 if long else rng.uniform(1.0, 1.25))
    mass = face.ellipse(size, (0, 0.35 if long else -0.2), spread, 0.012)
    neck = face.ellipse(size, (0, 1), (rng.uniform(0.45, 0.65), 0.6), 0.01)
    chin = face.ellipse(size, (0, 0.08), (1, 1), 0.02)
    shadow = np.float32(rng.uniform(0.2, 0.7)) * (chin * (1 - head))[..., None]
    shadow = shadow * np.array([0.8, 0.95, 1.0], dtype=np.float32)
    cloth = face.ellipse(size, (0, 2.3), (2.2, rng.uniform(0.7, 1.0)), 0.01)
    fringe_axes = (1.1, rng.uniform(0.15, 0.5))
    fringe = face.ellipse(size, (rng.uniform(-0.4, 0.4), -0.95), fringe_axes, 0.02)
    if bald:
        mass, fringe = np.zeros_like(mass), np.zeros_like(fringe)
    picture = paint(paint(picture, mass, hair), neck, linear * (1 - shadow))
    picture = paint(paint(picture, cloth, any_colour(rng)), head, linear)
    bare = (head >= 0.5) | ((neck >= 0.5) & (cloth <= 0.5))
    return paint(picture, fringe, hair), ~bare | (fringe > 0.5)


def _hair_colour(rng: np.random.Generator, size: int) -> Map:
    """Linear RGB (S, S, 3), black to blond, in strands."""
    shade = np.exp(rng.uniform(np.log(0.006), np.log(0.35)))
    tint = np.array([1.0, rng.uniform(0.5, 0.95), rng.uniform(0.25, 0.9)])
    strands = _uneven(rng, size, rng.uniform(0.1, 0.6), rng.uniform(10, 50))
    return np.asarray(shade * tint * strands, dtype=np.float32)


def _uneven(rng: np.random.Generator, size: int, depth: float, cells: float) -> Map:
    """Factor (S, S, 1) about 1."""
    factor = np.clip(1 + np.float32(depth) * noise(rng, size, cells), 0.15, 3)
    return np.asarray(factor[..., None], dtype=np.float32)
