import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from diascope.colour import (
    OPTICAL_DENSITY_OFFSET,
    erythema_index,
    ita_degrees,
    ita_group,
    linear_to_srgb,
    melanin_index,
    optical_density,
    pigments,
    srgb_to_lab,
    srgb_to_linear,
)

bytes_of_pixels = arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(3)))
channels = st.floats(0.0, 1.0)

# Absorption of each pigment in R, G, B, as in a camera's channels (any brown and any red would do).
MELANIN = np.array([0.36, 0.50, 0.79])
HAEMOGLOBIN = np.array([0.16, 0.78, 0.60])
LIGHT_SKIN = np.array([0.62, 0.42, 0.32])


def coloured(melanin=0.0, haemoglobin=0.0):
    """SRGB of light skin behind so much more of each pigment, by Beer-Lambert."""
    return linear_to_srgb(LIGHT_SKIN * 10.0 ** -(melanin * MELANIN + haemoglobin * HAEMOGLOBIN))


# IEC 61966-2-1: end points, the join of line and power, and the textbook's half.
@pytest.mark.parametrize(
    ("srgb", "linear"),
    [(0.0, 0.0), (1.0, 1.0), (0.04045, 0.0031308), (0.5, 0.2140411), (0.735357, 0.5)],
)
def test_linear_of_srgb(srgb, linear):
    assert srgb_to_linear(srgb) == pytest.approx(linear, abs=1e-6)
    assert linear_to_srgb(linear) == pytest.approx(srgb, abs=1e-5)


def test_a_byte_means_its_share_of_255():
    assert srgb_to_linear(np.uint8(128)) == pytest.approx(0.2158605, abs=1e-6)


@given(bytes_of_pixels)
def test_bytes_and_floats_agree(pixels):
    for function in (srgb_to_linear, optical_density, srgb_to_lab):
        np.testing.assert_allclose(function(pixels), function(pixels / 255.0), atol=2e-5)


@given(channels)
def test_srgb_and_linear_are_inverse(value):
    assert linear_to_srgb(srgb_to_linear(value)) == pytest.approx(value, abs=1e-6)


def test_light_outside_the_gamut_is_clipped():
    np.testing.assert_allclose(linear_to_srgb([-0.5, 1.5]), [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("wrong", [[255, 0, 0], np.array([1, 2, 3], np.uint16), [True, False]])
def test_integers_of_unknown_range_are_refused(wrong):
    with pytest.raises(TypeError, match="uint8"):
        srgb_to_linear(wrong)


@pytest.mark.parametrize(
    ("linear", "density"), [(0.0, 2.0), (0.09, 1.0), (0.99, 0.0), (1.0, -0.0043214)]
)
def test_optical_density_by_hand(linear, density):
    assert optical_density(linear_to_srgb(linear)) == pytest.approx(density, abs=1e-6)


def test_optical_density_with_another_offset():
    assert OPTICAL_DENSITY_OFFSET == 0.01
    np.testing.assert_allclose(optical_density(np.zeros(3, np.uint8), offset=0.1), 1.0)


def test_light_is_an_offset_in_density():
    skin = np.array([0.5, 0.3, 0.2])
    half = optical_density(linear_to_srgb(skin / 2), 0.0) - optical_density(
        linear_to_srgb(skin), 0.0
    )
    np.testing.assert_allclose(half, np.log10(2), atol=1e-9)


# CIELAB (D65) of the sRGB primaries as published with the sRGB matrix (B. Lindbloom's calculator).
@pytest.mark.parametrize(
    ("srgb", "lab"),
    [
        ([255, 255, 255], [100.0, 0.0, 0.0]),
        ([0, 0, 0], [0.0, 0.0, 0.0]),
        ([255, 0, 0], [53.2408, 80.0925, 67.2032]),
        ([0, 255, 0], [87.7347, -86.1827, 83.1793]),
        ([0, 0, 255], [32.2970, 79.1875, -107.8602]),
        ([128, 128, 128], [53.5850, 0.0, 0.0]),
        ([1, 1, 1], [0.2742, 0.0, 0.0]),
    ],
)
def test_lab_of_published_colours(srgb, lab):
    np.testing.assert_allclose(srgb_to_lab(np.array(srgb, np.uint8)), lab, atol=2e-3)


@given(bytes_of_pixels)
def test_lab_agrees_with_opencv(pixels):
    theirs = cv2.cvtColor((pixels[None] / 255.0).astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    np.testing.assert_allclose(srgb_to_lab(pixels), theirs, atol=0.6)


@given(st.integers(0, 254))
def test_grey_has_no_colour_and_lightness_rises(level):
    grey = srgb_to_lab(np.full((2, 3), [[level], [level + 1]], np.uint8))
    np.testing.assert_allclose(grey[:, 1:], 0.0, atol=1e-4)
    assert grey[1, 0] > grey[0, 0]


def test_other_axes_are_kept():
    pixels = np.zeros((2, 4, 5, 3), np.uint8)
    assert srgb_to_lab(pixels).shape == optical_density(pixels).shape == (2, 4, 5, 3)
    assert ita_degrees(srgb_to_lab(pixels)).shape == erythema_index(pixels).shape == (2, 4, 5)
    assert melanin_index(pixels).shape == (2, 4, 5)


# arctan((L* - 50) / b*): 45 degrees where both are 18.5, -60 where the quotient is -sqrt(3).
@pytest.mark.parametrize(
    ("lab", "angle"),
    [
        ([68.5, 12.0, 18.5], 45.0),
        ([50.0, 9.0, 15.0], 0.0),
        ([50.0 - 10.0 * 3**0.5, 8.0, 10.0], -60.0),
        ([60.0, 5.0, 0.0], 90.0),
        ([60.0, 5.0, -10.0], 45.0),
        ([40.0, 5.0, -10.0], -45.0),
    ],
)
def test_typology_angle_by_hand(lab, angle):
    assert ita_degrees(lab) == pytest.approx(angle, abs=1e-9)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(-60, 60))
def test_typology_angle_falls_with_lightness(lightness, other, b):
    low, high = sorted((lightness, other))
    assert ita_degrees([low, 0.0, b]) <= ita_degrees([high, 0.0, b])


def test_erythema_index_by_hand():
    # Linear (0.99, 0.09, x): densities 0 and 1.
    assert erythema_index(linear_to_srgb([0.99, 0.09, 0.2])) == pytest.approx(100.0, abs=1e-6)
    assert melanin_index(linear_to_srgb([0.09, 0.5, 0.5])) == pytest.approx(100.0, abs=1e-6)


@given(st.integers(0, 255))
def test_grey_has_no_erythema(level):
    assert erythema_index(np.full(3, level, np.uint8)) == 0.0


def test_blood_shows_in_the_erythema_index_and_melanin_in_the_other():
    bare, red, brown = coloured(), coloured(haemoglobin=0.3), coloured(melanin=0.3)
    assert erythema_index(red) - erythema_index(bare) > 15
    assert erythema_index(red) - erythema_index(bare) > 3 * (
        erythema_index(brown) - erythema_index(bare)
    )
    assert melanin_index(brown) - melanin_index(bare) > 2 * (
        melanin_index(red) - melanin_index(bare)
    )


@given(st.floats(0, 2.5), st.floats(0, 1.0), st.floats(0.1, 1.0))
def test_pigments_are_what_was_mixed_whatever_the_light(melanin, haemoglobin, light):
    # Tsumura et al.: colour = light x bloodless skin x 10^-(pigments x absorption).
    absorbed = melanin * np.array([0.36, 0.50, 0.79]) + haemoglobin * np.array([0.16, 0.78, 0.60])
    linear = light * np.array([0.92, 0.80, 0.70]) * 10**-absorbed
    # The offset of optical density is not in the model: away with it.
    told = pigments(linear_to_srgb(np.maximum(linear - 0.01, 0)))
    if linear.min() > 0.02:
        assert told == pytest.approx((melanin, haemoglobin), abs=1e-4)


def test_pigments_of_bytes_and_of_floats_agree():
    pixels = np.array([[199, 148, 129], [200, 84, 97], [60, 40, 30]], np.uint8)
    for of_bytes, of_floats in zip(pigments(pixels), pigments(pixels / 255), strict=True):
        np.testing.assert_allclose(of_bytes, of_floats, atol=1e-4)


def test_inputs_stay_as_they_were():
    pixels = np.arange(30, dtype=np.uint8).reshape(10, 3)
    floats = pixels / 255.0
    for function in (srgb_to_linear, linear_to_srgb, optical_density, srgb_to_lab):
        function(floats)
    optical_density(pixels)
    np.testing.assert_array_equal(pixels, np.arange(30, dtype=np.uint8).reshape(10, 3))
    np.testing.assert_array_equal(floats, pixels / 255.0)


@pytest.mark.parametrize(
    ("degrees", "name"),
    [(60, "very light"), (55, "light"), (41, "intermediate"), (28, "tan"), (10, "brown"),
     (-30, "dark"), (-89, "dark")],
)  # fmt: skip
def test_typology_angles_fall_into_chardon_s_groups(degrees, name):
    assert ita_group(degrees).startswith(f"{name} (ITA")
