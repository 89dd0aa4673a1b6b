"""What a training picture may suffer; the one place that imports albumentations.

The label is a colour, so no change may rewrite it: no hue, no saturation. Geometry, exposure,
white balance within a stated bound, blur, noise and compression are what cameras do.
"""

import os
from collections.abc import Sequence

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would call home on import

from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import numpy.typing as npt

from diascope.colour import linear_to_srgb, srgb_to_linear
from diascope.config import AugmentConfig
from diascope.preprocess import Box

Pixels = npt.NDArray[np.uint8]


class LightChange(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Exposure and white balance as gains on linear RGB, sRGB uint8 in and out.

    Red and blue gains differ from green's by at most ``white_balance`` in log10 units. Within
    the default of ``AugmentConfig`` that moves a mid-tone skin (L* 65) by at most 8 units of a*
    or b*, and the difference between it and a mark by at most 3. Exposure alone scales such a
    difference by 0.85 to 1.18 and keeps its direction (tests/test_augment.py).
    """

    def __init__(self, exposure_stops: float, white_balance: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.exposure_stops = exposure_stops
        self.white_balance = white_balance

    def get_params(self) -> dict[str, Any]:
        """Draw log10 gains of R, G, B."""
        stops = self.py_random.uniform(-self.exposure_stops, self.exposure_stops)
        balance = [self.py_random.uniform(-self.white_balance, self.white_balance) for _ in "RB"]
        exposure = stops * np.log10(2.0)
        return {"log_gains": (exposure + balance[0], exposure, exposure + balance[1])}

    def apply(self, img: Pixels, log_gains: tuple[float, ...], **_: Any) -> Pixels:
        """Push every channel through its table of 256 values."""
        scaled = _LINEAR[:, None] * 10.0 ** np.asarray(log_gains)
        table = np.round(linear_to_srgb(scaled) * 255.0).astype(np.uint8)
        return np.asarray(cv2.LUT(img, table[:, None, :]), dtype=np.uint8)


_LINEAR = srgb_to_linear(np.arange(256, dtype=np.uint8)).astype(np.float64)


class Augmentation:
    """Random changes of one training picture, decided by a seed alone."""

    def __init__(self, config: AugmentConfig) -> None:
        boxes = A.BboxParams(format="pascal_voc", label_fields=[])
        self._min_crop = config.min_crop
        self._turn = A.Compose([A.D4(p=1.0)], is_check_shapes=False)  # a cover is coarser
        self._changes = A.Compose(
            [
                A.D4(p=1.0),
                LightChange(config.exposure_stops, config.white_balance),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 1.4), p=config.blur),
                A.GaussNoise(std_range=(0.005, 0.025), p=config.noise),
                A.ImageCompression(quality_range=(40, 95), p=config.jpeg),
            ],
            bbox_params=boxes,
        )

    def photograph(
        self, pixels: Pixels, inner: Box | None, seed: int | Sequence[int]
    ) -> tuple[Pixels, Box | None]:
        """A photograph cut, turned and taken by another camera; and the mark's box within it.

        Args:
            pixels: sRGB uint8 (H, W, 3); left as it is.
            inner: the mark's box in these pixels; such a picture is cut out already.
            seed: the same seed gives the same picture.
        """
        rng = np.random.default_rng(seed)
        if inner is None:
            pixels = _random_part(rng, pixels, self._min_crop)
        self._changes.set_random_seed(int(rng.integers(2**31)))
        boxes = np.array([inner] if inner else [], dtype=np.float32).reshape(-1, 4)
        changed = self._changes(image=np.ascontiguousarray(pixels), bboxes=boxes)
        if inner is None:
            return changed["image"], None
        left, top, right, bottom = (float(edge) for edge in changed["bboxes"][0][:4])
        return changed["image"], (left, top, right, bottom)

    def drawn(
        self, pixels: Pixels, cover: Pixels, seed: int | Sequence[int]
    ) -> tuple[Pixels, Pixels]:
        """A drawn picture and its cover turned or mirrored; its light and camera were drawn."""
        self._turn.set_random_seed(int(np.random.default_rng(seed).integers(2**31)))
        turned = self._turn(image=pixels, mask=cover)
        return np.asarray(turned["image"]), np.asarray(turned["mask"])


def _random_part(rng: np.random.Generator, pixels: Pixels, least: float) -> Pixels:
    """A part of at least ``least`` of the area, its sides' ratio changed by up to a third.

    No side is under 32 pixels.
    """
    height, width = pixels.shape[:2]
    area = rng.uniform(least, 1.0)
    stretch = min(0.29, np.log(1 / area))  # more would reach beyond the picture and lose area
    ratio = np.exp(rng.uniform(-stretch, stretch))
    part_w = min(width, max(32, round(width * np.sqrt(area * ratio))))
    part_h = min(height, max(32, round(height * np.sqrt(area / ratio))))
    x, y = rng.integers(width - part_w + 1), rng.integers(height - part_h + 1)
    return pixels[y : y + part_h, x : x + part_w]
