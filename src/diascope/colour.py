"""Colour of skin: sRGB, linear RGB, optical density, CIELAB, ITA, erythema and melanin index.

All functions take arrays whose last axis is R, G, B (or L*, a*, b*) and keep the other axes.
No 8-bit Lab anywhere: its scaling puts the typology angle off by several degrees.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

OPTICAL_DENSITY_OFFSET = 0.01
"""Added to linear RGB before the logarithm: keeps black finite (density at most 2)."""

CLIPPED_FROM = 253
"""sRGB level from which a channel is clipped: what lossy compression leaves of 255."""

LIT_FROM = 40
"""sRGB level of the brightest channel from which skin can be told from shadow."""

# From the primaries and white of IEC 61966-2-1:1999 to seven digits; CIE XYZ, D65 white at Y = 1.
RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""Linear sRGB to CIE XYZ."""
_D65_WHITE = RGB_TO_XYZ.sum(axis=1)
# CIE 15:2018, section 8.2.1: the two constants of the L* curve.
_LAB_EPSILON = (6.0 / 29.0) ** 3
_LAB_KAPPA = (29.0 / 3.0) ** 3


def srgb_to_linear(srgb: npt.ArrayLike) -> Floats:
    """Linear RGB in [0, 1] of sRGB in [0, 1] (any float; float64 out) or 0 to 255 (uint8; float32).

    Formula: IEC 61966-2-1:1999, electro-optical transfer function.

    Raises:
        TypeError: integers other than uint8, whose range nobody can know.
    """
    values = np.asarray(srgb)
    if values.dtype == np.uint8:
        return np.asarray(_LINEAR_OF_BYTE.take(values))
    if values.dtype.kind != "f":
        raise TypeError(f"sRGB of dtype {values.dtype}; give uint8 (0 to 255) or floats (0 to 1)")
    values = values.astype(np.float64, copy=False)
    return np.asarray(
        np.where(
            values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4
        )
    )


def linear_to_srgb(linear: npt.ArrayLike) -> Floats:
    """SRGB in [0, 1] of linear RGB in [0, 1]; values outside are clipped.

    Formula: IEC 61966-2-1:1999, inverse of :func:`srgb_to_linear`.
    """
    values = np.clip(np.asarray(linear), 0.0, 1.0)
    return np.asarray(
        np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
    )


def optical_density(srgb: npt.ArrayLike, offset: float = OPTICAL_DENSITY_OFFSET) -> Floats:
    """Optical density -log10(linear RGB + offset), float, about -0.004 (white) to 2 (black).

    In this space light and camera gain are offsets and the pigments add up (Beer-Lambert;
    Tsumura et al., J Opt Soc Am A 1999;16:2169). sRGB as in :func:`srgb_to_linear`.
    """
    values = np.asarray(srgb)
    if values.dtype == np.uint8 and offset == OPTICAL_DENSITY_OFFSET:
        return np.asarray(_DENSITY_OF_BYTE.take(values))
    return np.asarray(-np.log10(srgb_to_linear(values) + offset))


def srgb_to_lab(srgb: npt.ArrayLike) -> Floats:
    """CIELAB (L* 0 to 100, a*, b*; white D65, 2 degree observer) of sRGB, float.

    Formula: CIE 15:2018, section 8.2.1, through XYZ of IEC 61966-2-1:1999.
    """
    xyz = srgb_to_linear(srgb) @ RGB_TO_XYZ.T / _D65_WHITE
    curve = np.where(xyz > _LAB_EPSILON, np.cbrt(xyz), (_LAB_KAPPA * xyz + 16.0) / 116.0)
    x, y, z = np.moveaxis(curve, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def ita_degrees(lab: npt.ArrayLike) -> Floats:
    """Individual typology angle in degrees of CIELAB, last axis dropped: high is light skin.

    arctan((L* - 50) / b*) (Chardon et al., Int J Cosmet Sci 1991;13:191). Bluish pixels count by
    the absolute value of b*: with its sign, light ones would turn dark.
    """
    values = np.asarray(lab, dtype=np.float64)
    return np.asarray(np.degrees(np.arctan2(values[..., 0] - 50.0, np.abs(values[..., 2]))))


ITA_GROUPS = (
    (55.0, "very light (ITA over 55)"),
    (41.0, "light (ITA 41 to 55)"),
    (28.0, "intermediate (ITA 28 to 41)"),
    (10.0, "tan (ITA 10 to 28)"),
    (-30.0, "brown (ITA -30 to 10)"),
    (-np.inf, "dark (ITA under -30)"),
)
"""Lower bounds in degrees and names (Chardon et al., Int J Cosmet Sci 1991;13:191)."""


def ita_group(degrees: float) -> str:
    """Name of the tone group of a typology angle."""
    return next(name for low, name in ITA_GROUPS if degrees > low)


def erythema_index(srgb: npt.ArrayLike) -> Floats:
    """Erythema index 100 x (OD green - OD red), last axis dropped: high is red.

    The difference of log reflectance in green, where haemoglobin absorbs, and in red, where it
    hardly does (Diffey et al., Br J Dermatol 1984;111:663; of camera pictures, Yamamoto et al.,
    Skin Res Technol 2008;14:26).
    """
    density = optical_density(srgb)
    return np.asarray(100.0 * (density[..., 1] - density[..., 0]))


def melanin_index(srgb: npt.ArrayLike) -> Floats:
    """Melanin index 100 x OD red, last axis dropped: high is dark.

    Log inverse reflectance in red, where haemoglobin hardly absorbs (Takiwaki, J Med Invest
    1998;44:121; Dawson et al., Phys Med Biol 1980;25:695).
    """
    return np.asarray(100.0 * optical_density(srgb)[..., 0])


def pigments(srgb: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Melanin and haemoglobin that tell a colour from bloodless skin, last axis dropped.

    Solves Beer-Lambert, colour = light x ``BLOODLESS_SKIN`` x 10^-(melanin x s_m + haemoglobin x
    s_h), for uint8 or floats as in :func:`srgb_to_linear`; how bright the light is does not count,
    its colour does (Tsumura et al., J Opt Soc Am A 1999;16:2169). Relative units of the renderer:
    skin has 0 to 2 of melanin and 0 to 1 of haemoglobin.
    """
    density = optical_density(srgb)
    redness = density[..., 1] - density[..., 0] - _BLOODLESS_REDNESS
    yellowness = density[..., 2] - density[..., 1] - _BLOODLESS_YELLOWNESS
    melanin = _UNMIX[0, 0] * redness + _UNMIX[0, 1] * yellowness
    haemoglobin = _UNMIX[1, 0] * redness + _UNMIX[1, 1] * yellowness
    return np.asarray(melanin), np.asarray(haemoglobin)


def can_be_skin(srgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether a colour can be skin's, of any tone, marks included; uint8, last axis dropped.

    Grey, near black, and colours that no amounts of the two pigments give cannot.
    """
    melanin, haemoglobin = pigments(srgb)
    red, green, blue = (np.ascontiguousarray(srgb[..., channel]) for channel in range(3))
    most = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    return np.asarray(
        (most - least >= LEAST_SATURATION * most)
        & (most >= _DARK)
        & (melanin >= SKIN_MELANIN[0])
        & (melanin <= SKIN_MELANIN[1])
        & (haemoglobin >= SKIN_HAEMOGLOBIN[0])
        & (haemoglobin <= SKIN_HAEMOGLOBIN[1])
    )


LEAST_SATURATION = 0.06
"""Least saturation (HSV) of a pixel that can be skin; grey has none."""
SKIN_MELANIN = (-0.35, 3.0)
SKIN_HAEMOGLOBIN = (-0.05, 1.2)
"""Amounts of :func:`pigments` between which a pixel can be skin, marks included: those of drawn
skin from ITA 65 to -50 degrees; what lies below 0 is room for the camera's white balance."""
_DARK = 30  # sRGB level of the brightest channel below which no colour can be told

MELANIN_ABSORPTION = np.array([0.36, 0.50, 0.79])
HAEMOGLOBIN_ABSORPTION = np.array([0.16, 0.78, 0.60])
"""Optical density of one unit of each pigment in a camera's R, G, B."""
BLOODLESS_SKIN = np.array([0.92, 0.80, 0.70])
"""Linear RGB of skin without either pigment."""

_BLOODLESS_REDNESS, _BLOODLESS_YELLOWNESS = np.diff(-np.log10(BLOODLESS_SKIN)).tolist()
_UNMIX = np.linalg.inv(
    np.stack([np.diff(MELANIN_ABSORPTION), np.diff(HAEMOGLOBIN_ABSORPTION)], axis=1)
).astype(np.float32)
_LINEAR_OF_BYTE = srgb_to_linear(np.arange(256) / 255.0).astype(np.float32)
_DENSITY_OF_BYTE = (-np.log10(_LINEAR_OF_BYTE.astype(np.float64) + OPTICAL_DENSITY_OFFSET)).astype(
    np.float32
)
