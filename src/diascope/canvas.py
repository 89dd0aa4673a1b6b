"""What drawn pictures are made of: smooth noise, ellipses, paint, and bars around a picture."""

import cv2
import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]


def noise(rng: np.random.Generator, size: int, cells: float) -> Map:
    """Smooth noise of about ``cells`` bumps across, mean 0, standard deviation about 1."""
    cells = max(2, min(size, round(cells)))
    coarse = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    fine = cv2.resize(coarse, (size + 2, size + 2), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine[1:-1, 1:-1] * np.float32(1.25), dtype=np.float32)


def ellipse(size: int, centre: tuple[float, float], axes: tuple[float, float], soft: float) -> Map:
    """Soft ellipse in [0, 1]; centre, half axes and softness as shares of the picture."""
    canvas = np.zeros((size, size), dtype=np.uint8)
    points = tuple(round(c * size * 16) for c in centre)
    halves = tuple(max(1, round(a * size * 16)) for a in axes)
    cv2.ellipse(canvas, points, halves, 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
    blurred = cv2.GaussianBlur(canvas, (0, 0), max(0.3, soft * size))
    return blurred.astype(np.float32) / 255.0


def paint(linear: Map, cover: Map, colour: Map) -> Map:
    """Linear RGB (S, S, 3) under a colour, (3,) or (S, S, 3), as far as ``cover`` (S, S) is 1."""
    return linear * (1 - cover[..., None]) + colour * cover[..., None]


def any_colour(rng: np.random.Generator) -> Map:
    """Linear RGB of cloth, wall or paper: greys, then black and white, then colours."""
    choice = rng.random()
    if choice < 0.45:
        return np.full(3, rng.uniform(0.02, 0.8), dtype=np.float32)
    if choice < 0.65:
        return np.full(3, rng.choice([0.005, 0.95]), dtype=np.float32)
    return rng.uniform(0.01, 0.8, 3).astype(np.float32)


def barred(rng: np.random.Generator, pixels: Pixels, likely: float) -> tuple[Pixels, Mask]:
    """Pixels between bars that make a picture square, as collections have them; and the bars."""
    size = len(pixels)
    present, white, upright = rng.random() < likely, rng.random() < 0.15, rng.random() < 0.5
    share, before = rng.uniform(0.03, 0.45), rng.choice([0.0, 0.5, 0.5, 0.5, 1.0])
    bars = np.zeros((size, size), dtype=bool)
    if not present:
        return pixels, bars
    first = round(share * before * size)
    bars[:first], bars[size - round(share * size) + first :] = True, True
    if upright:
        bars = np.ascontiguousarray(bars.T)
    return np.where(bars[..., None], np.uint8(255 if white else 0), pixels), bars
