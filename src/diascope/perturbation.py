"""Changes that a picture suffers on its way and that leave the mark the same: what must not matter.

Each takes pixels as read and gives what a user might have sent instead, for
``evaluation`` to judge again. Other light is other gains in linear RGB, and what no longer fits is
cut off, as a camera does.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from diascope.colour import RGB_TO_XYZ, linear_to_srgb, srgb_to_linear

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

KELVIN_OF_SRGB = 6504.0
"""Correlated colour temperature of sRGB's white, D65."""
KELVIN_STEP = 600.0
"""How far the light is from the white balance."""
JPEG_QUALITY = 30
BLUR_SHARE = 0.01
"""Standard deviation of the blur, as a share of the picture's shorter side."""

# Display P3 (SMPTE EG 432-1 primaries, white D65, the curve of sRGB), linear RGB to CIE XYZ.
_P3_TO_XYZ = np.array(
    [
        [0.4865709, 0.2656677, 0.1982173],
        [0.2289746, 0.6917385, 0.0792869],
        [0.0000000, 0.0451134, 1.0439444],
    ]
)
# D65 to D50, the white of ICC profiles (Lindbloom, Bradford).
_BRADFORD_TO_D50 = np.array(
    [
        [1.0478112, 0.0228866, -0.0501270],
        [0.0295424, 0.9904844, -0.0170491],
        [-0.0092345, 0.0150436, 0.7521316],
    ]
)


class Change(StrEnum):
    """What happens to a picture: a closed list, each with its words."""

    EXPOSURE_UP = "exposure_up"
    EXPOSURE_DOWN = "exposure_down"
    LIGHT_WARMER = "light_warmer"
    LIGHT_COOLER = "light_cooler"
    JPEG = "jpeg"
    BLUR = "blur"
    HALF_SIZE = "half_size"
    MIRRORED = "mirrored"
    UPSIDE_DOWN = "upside_down"
    QUARTER_TURN = "quarter_turn"
    QUARTER_TURN_BACK = "quarter_turn_back"
    DISPLAY_P3 = "display_p3"
    DISPLAY_P3_UNLABELLED = "display_p3_unlabelled"

    @property
    def words(self) -> str:
        """What is changed, for a reader."""
        return _WORDS[self]


_WORDS = {
    Change.EXPOSURE_UP: "one stop brighter",
    Change.EXPOSURE_DOWN: "one stop darker",
    Change.LIGHT_WARMER: "light 600 K warmer than the white balance",
    Change.LIGHT_COOLER: "light 600 K cooler than the white balance",
    Change.JPEG: "JPEG of quality 30",
    Change.BLUR: "blurred by 1 % of the shorter side",
    Change.HALF_SIZE: "half the size",
    Change.MIRRORED: "mirrored",
    Change.UPSIDE_DOWN: "upside down, mirrored",
    Change.QUARTER_TURN: "a quarter turn to the left",
    Change.QUARTER_TURN_BACK: "a quarter turn to the right",
    Change.DISPLAY_P3: "saved in Display P3, with its profile",
    Change.DISPLAY_P3_UNLABELLED: "saved in Display P3, the profile lost",
}


@dataclass(frozen=True)
class Perturbed:
    """A changed picture: pixels, or the bytes of a file; and where the mark's box now lies."""

    source: Pixels | bytes
    box: Box | None


def perturb(pixels: Pixels, box: Box | None, change: Change) -> Perturbed:
    """Change a picture, sRGB uint8 (H, W, 3); ``box`` in its pixels. Nothing is changed in place.

    The same arguments give the same bytes.
    """
    height, width = pixels.shape[:2]
    if change in _MOVES:
        moved, place = _MOVES[change]
        return Perturbed(
            np.ascontiguousarray(moved(pixels)), None if box is None else place(*box, width, height)
        )
    if change is Change.HALF_SIZE:
        size = (max(1, width // 2), max(1, height // 2))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return Perturbed(small, None if box is None else _scaled(box, size, (width, height)))
    return Perturbed(_RECOLOURED[change](pixels), box)


def daylight_gains(kelvin: float) -> Floats:
    """Linear sRGB (3,) of a white under CIE daylight, relative to D65, of the same luminance.

    Chromaticity of daylight from its correlated colour temperature, 4000 to 25000 K: CIE 15:2018,
    equations 4.4 to 4.6 (Judd, MacAdam and Wyszecki, J Opt Soc Am 1964;54:1031).

    Raises:
        ValueError: a temperature outside that range.
    """
    if not 4000.0 <= kelvin <= 25000.0:
        raise ValueError(f"{kelvin} K: daylight is defined from 4000 to 25000 K")
    inverse = 1000.0 / kelvin
    if kelvin <= 7000.0:
        x = 0.244063 + 0.09911 * inverse + 2.9678 * inverse**2 - 4.6070 * inverse**3
    else:
        x = 0.237040 + 0.24748 * inverse + 1.9018 * inverse**2 - 2.0064 * inverse**3
    y = -3.000 * x**2 + 2.870 * x - 0.275
    white = np.array([x / y, 1.0, (1.0 - x - y) / y])
    return np.asarray(np.linalg.solve(RGB_TO_XYZ, white))


def display_p3_profile() -> bytes:
    """ICC profile of Display P3: matrix and curve (ICC.1:2022, sections 7 to 10; version 4.3)."""
    colorants = (_BRADFORD_TO_D50 @ _P3_TO_XYZ).T
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    curve += _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": _text("Display P3"),
        b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642, 1.0, 0.8249),
        b"chad": b"sf32" + bytes(4) + _fixed(*_BRADFORD_TO_D50.ravel()),
        **{
            name: b"XYZ " + bytes(4) + _fixed(*values)
            for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _icc(tags)


def _icc(tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"", 0x04300000, b"mntr", b"RGB ", b"XYZ "
    )
    header += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    """Numbers as ICC's s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(words: str) -> bytes:
    """An ICC multi-localised text of one record."""
    encoded = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _scaled(box: Box, size: tuple[int, int], former: tuple[int, int]) -> Box:
    across, down = size[0] / former[0], size[1] / former[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _lit(gains: npt.ArrayLike) -> Callable[[Pixels], Pixels]:
    """Linear RGB times gains, what burns out cut off."""
    levels = srgb_to_linear(np.arange(256) / 255.0)[:, None] * np.asarray(gains, dtype=np.float64)
    table = np.rint(linear_to_srgb(np.broadcast_to(levels, (256, 3))) * 255.0).astype(np.uint8)
    return lambda pixels: np.stack([table[pixels[..., c], c] for c in range(3)], axis=-1)


def _blurred(pixels: Pixels) -> Pixels:
    sigma = BLUR_SHARE * min(pixels.shape[:2])
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


def _in_p3(pixels: Pixels) -> Pixels:
    linear = srgb_to_linear(pixels / 255.0) @ np.linalg.solve(_P3_TO_XYZ, RGB_TO_XYZ).T
    return np.asarray(np.rint(linear_to_srgb(linear) * 255.0), dtype=np.uint8)


def _file(pixels: Pixels, kind: str, **how: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **how)
    return stream.getvalue()


_PROFILE = display_p3_profile()
_RECOLOURED: dict[Change, Callable[[Pixels], Pixels | bytes]] = {
    Change.EXPOSURE_UP: _lit(2.0),
    Change.EXPOSURE_DOWN: _lit(0.5),
    Change.LIGHT_WARMER: _lit(daylight_gains(KELVIN_OF_SRGB - KELVIN_STEP)),
    Change.LIGHT_COOLER: _lit(daylight_gains(KELVIN_OF_SRGB + KELVIN_STEP)),
    Change.JPEG: lambda pixels: _file(pixels, "JPEG", quality=JPEG_QUALITY),
    Change.BLUR: _blurred,
    Change.DISPLAY_P3: lambda pixels: _file(
        _in_p3(pixels), "PNG", icc_profile=_PROFILE, compress_level=1
    ),
    Change.DISPLAY_P3_UNLABELLED: _in_p3,
}
# Pixels moved, and left, top, right, bottom, width, height to the box where they went.
_MOVES: dict[Change, tuple[Callable[[Pixels], Pixels], Callable[..., Box]]] = {
    Change.MIRRORED: (lambda p: p[:, ::-1], lambda x0, y0, x1, y1, w, h: (w - x1, y0, w - x0, y1)),
    Change.UPSIDE_DOWN: (lambda p: p[::-1], lambda x0, y0, x1, y1, w, h: (x0, h - y1, x1, h - y0)),
    Change.QUARTER_TURN: (np.rot90, lambda x0, y0, x1, y1, w, h: (y0, w - x1, y1, w - x0)),
    Change.QUARTER_TURN_BACK: (
        lambda p: np.rot90(p, -1),
        lambda x0, y0, x1, y1, w, h: (h - y1, x0, h - y0, x1),
    ),
}
