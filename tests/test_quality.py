from dataclasses import asdict
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from diascope import quality as qualities
from diascope.colour import can_be_skin, ita_degrees, linear_to_srgb, srgb_to_lab, srgb_to_linear
from diascope.config import QualityConfig
from diascope.image import GREY_LEVELS, read_picture
from diascope.quality import DeclineReason, Quality, decline_reasons
from diascope.renderer import render, render_many

TONES = (-50, -30, 10, 28, 41, 55, 65)
USABLE = Quality(128, 0.7, 0.8, 0.0, 0.9)


def flat(red, green, blue, side=64):
    return np.full((side, side, 3), (red, green, blue), np.uint8)


def skin(ita, light=1.0):
    """A flat patch of skin of one typology angle: light skin behind more and more melanin."""
    for melanin in np.linspace(0.0, 3.0, 3001):
        linear = np.array([0.75, 0.62, 0.55]) * 10.0 ** (-melanin * np.array([0.36, 0.50, 0.79]))
        if ita_degrees(srgb_to_lab(linear_to_srgb(linear))) <= ita:
            return flat(*np.rint(255 * linear_to_srgb(light * linear)).astype(int))
    raise AssertionError(f"no skin of ITA {ita}")


def measure(pixels, shown):
    return qualities.measure(pixels, shown, can_be_skin(pixels))


def assess(pixels, shown=None):
    quality = measure(pixels, shown or min(pixels.shape[:2]))
    return decline_reasons(quality, read_picture(pixels).has_colour, QualityConfig())


def lit(pixels, factor):
    linear = np.minimum(factor * srgb_to_linear(pixels).astype(float), 1.0)
    return np.rint(255 * linear_to_srgb(linear)).astype(np.uint8)


# The measures.


def blur_effect(grey):
    """Crete et al., SPIE 6492 (2007), equations 1 to 7, straight from the paper."""
    shares = []
    for axis in (0, 1):
        blurred = ndimage.uniform_filter1d(grey, 9, axis=axis, mode="mirror")
        before, after = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        removed = np.maximum(0, before - after)
        shares.append((before.sum() - removed.sum()) / before.sum())
    return max(shares)


@pytest.mark.parametrize("index", range(4))
def test_sharpness_is_one_less_the_blur_effect(index):
    pixels = render(index, seed=3, size=96).pixels
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(float)
    assert measure(pixels, 96).sharpness == pytest.approx(1 - blur_effect(grey), abs=1e-5)


@given(st.integers(0, 40))
def test_blur_lowers_sharpness_and_a_turn_keeps_it(index):
    pixels = render(index, seed=3, size=64).pixels
    blurred = cv2.GaussianBlur(pixels, (0, 0), 2)
    sharp = measure(pixels, 64).sharpness
    assert measure(blurred, 64).sharpness < sharp
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    assert measure(turned, 64).sharpness == pytest.approx(sharp, abs=1e-5)


def test_contrast_does_not_change_sharpness():
    strong = np.zeros((64, 64, 3), np.uint8)
    strong[:, 20:40], strong[30:50] = 200, 120
    faint = 100 + strong // 20  # a twentieth of the contrast
    assert measure(faint, 64).sharpness == pytest.approx(measure(strong, 64).sharpness, abs=1e-6)


def test_shares_by_hand():
    pixels = flat(199, 148, 129, side=40)  # light skin of the ColorChecker
    pixels[:10] = (254, 255, 120)  # two channels of three
    pixels[10:20] = (255, 200, 180)  # one
    pixels[20:30, :20] = (70, 120, 40)  # grass
    quality = measure(pixels, 40)
    assert quality.clipped_share == 0.25
    assert quality.skin_share == pytest.approx(1 - 0.25 - 0.125)
    assert quality.exposure == 1.0
    assert measure(flat(51, 30, 20), 64).exposure == pytest.approx(0.2)


def test_exposure_is_that_of_the_bright_part():
    pixels = flat(0, 0, 0, side=100)
    pixels[:6] = (102, 60, 50)
    assert measure(pixels, 100).exposure == pytest.approx(0.4)
    pixels[1:6] = 0
    assert measure(pixels, 100).exposure == 0.0


@pytest.mark.parametrize("ita", [65, 55, 41, 28, 10, -10, -30, -50])
@pytest.mark.parametrize("light", [0.5, 1.0])
def test_every_tone_can_be_skin(ita, light):
    assert measure(skin(ita, light), 64).skin_share == 1.0


THINGS = {
    "grass": (70, 120, 40),
    "leaf": (100, 140, 60),
    "sky": (110, 160, 220),
    "paper": (240, 238, 230),
    "ink": (60, 60, 62),
    "card": (128, 128, 128),
    "red paint": (200, 20, 20),
    "yellow paint": (250, 220, 20),
    "denim": (60, 80, 120),
    "violet": (120, 60, 150),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}


@pytest.mark.parametrize("colour", THINGS.values(), ids=THINGS)
def test_colours_of_things_cannot_be_skin(colour):
    assert measure(flat(*colour), 64).skin_share == 0.0


# The gate.


@pytest.mark.parametrize("ita", [55, 30, 0, -30, -45, -50])
def test_no_tone_of_skin_is_declined(ita):
    assert assess(skin(ita)) == ()


def test_dark_skin_in_half_the_light_is_not_declined():
    assert assess(skin(-45, light=0.5)) == ()


@pytest.mark.parametrize("ita", [-50, 65])
@pytest.mark.parametrize("light", [0.25, 1.0])
def test_flat_skin_is_far_from_grey(ita, light):
    assert np.ptp(skin(ita, light)[0, 0].astype(int)) > 4 * GREY_LEVELS
    assert DeclineReason.NO_COLOUR not in assess(skin(ita, light))


@pytest.mark.parametrize(
    ("pixels", "reasons"),
    [
        (flat(12, 9, 8), ("under_exposed",)),
        (flat(255, 254, 252), ("over_exposed",)),
        (flat(120, 120, 120), ("no_colour",)),
        (flat(0, 0, 0), ("no_colour", "under_exposed")),
        (flat(70, 120, 40), ("no_skin",)),
    ],
)
def test_flat_pictures_that_are_no_skin(pixels, reasons):
    assert assess(pixels) == reasons


def test_a_white_background_is_not_over_exposed():
    pixels = flat(255, 255, 255)
    pixels[16:52, 16:52] = (200, 150, 130)
    assert assess(pixels) == ()


def test_bars_do_not_hide_that_all_between_them_is_burnt():
    pixels = flat(0, 0, 0, side=100)
    pixels[30:60] = (255, 255, 240)
    pixels[60:70] = (230, 190, 170)
    assert measure(pixels, 100).clipped_share == 0.75
    assert assess(pixels) == ("over_exposed",)


def test_a_black_background_is_not_under_exposed():
    pixels = flat(0, 0, 0)
    pixels[24:48, 24:48] = (90, 60, 45)
    assert assess(pixels) == ()


def test_what_the_file_says_about_colour_counts():
    assert decline_reasons(USABLE, False, QualityConfig()) == (DeclineReason.NO_COLOUR,)
    assert decline_reasons(USABLE, True, QualityConfig()) == ()


def test_each_threshold_decides_by_itself():
    thresholds = {
        "least_resolution": 129,
        "least_sharpness": 0.71,
        "least_exposure": 0.81,
        "most_clipped": 0.0,
        "least_skin": 0.91,
    }
    reasons = ["low_resolution", "blurred", "under_exposed", "over_exposed", "no_skin"]
    clipped = Quality(**asdict(USABLE) | {"clipped_share": 0.01})
    for (name, value), reason in zip(thresholds.items(), reasons, strict=True):
        assert decline_reasons(clipped, True, QualityConfig(**{name: value})) == (reason,)


@pytest.mark.parametrize("reason", DeclineReason)
def test_words_say_what_to_do(reason):
    complaint, _, mend = reason.words.partition("; ")
    assert complaint.startswith("The picture ")
    assert mend.split()[0] in {"give", "take", "go"}


# Drawn pictures, spoilt and whole.


def text_page(rng):
    page = flat(243, 240, 232, side=128)
    for line in range(8, 124, 9):
        letters = "".join(chr(rng.integers(97, 123)) for _ in range(24))
        cv2.putText(page, letters, (4, line), cv2.FONT_HERSHEY_SIMPLEX, 0.25, (30, 30, 45), 1)
    return page


def grass(rng):
    shade = rng.uniform(0.4, 1.2, (128, 128, 1))
    return np.uint8(np.clip((80, 130, 45) * shade, 0, 255))


def sky(rng):
    down = np.linspace(0, 1, 128)[:, None, None]
    blue = (90, 150, 225) + (100, 70, 20) * down + rng.normal(0, 2, (128, 128, 3))
    return np.uint8(np.clip(blue, 0, 255))


@pytest.mark.parametrize("scene", [text_page, grass, sky])
def test_scenes_without_skin_are_declined_for_that(scene):
    assert assess(scene(np.random.default_rng(0))) == ("no_skin",)


def drawn_marks():
    """Strong marks, light to dark, some between black bars."""
    return [render(i, seed=8, contrast=(18.0, 30.0)).pixels for i in range(60)]


def test_spoilt_pictures_are_declined_for_what_spoilt_them():
    pictures = drawn_marks()
    for spoil, reason, least in [
        (lambda p: lit(p, 0.01), "under_exposed", 1.0),
        (lambda p: lit(p, 100), "over_exposed", 0.9),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 4), "blurred", 0.5),
    ]:
        declined = [assess(spoil(pixels)) for pixels in pictures]
        assert np.mean([reason in reasons for reasons in declined]) >= least
    assert all("low_resolution" in assess(pixels, shown=20) for pixels in pictures[:5])


@pytest.mark.slow
def test_no_tone_is_declined_more_than_another():
    # At least 240 per bin: a share of 1 % is then known within 1.3 points (95 %).
    declined = {low: [] for low in TONES[:-1]}
    for picture in render_many(3000, seed=41):
        low = next(low for low, high in pairwise(TONES) if picture.ita_degrees < high + 0.5)
        declined[low].append(bool(assess(picture.pixels)))
    assert min(map(len, declined.values())) >= 240
    shares = [100 * np.mean(each) for each in declined.values()]
    assert max(shares) - min(shares) <= 2
    assert max(shares) <= 3


@given(st.integers(0, 99), st.integers(32, 70), st.integers(1, 256))
def test_exposure_is_the_percentile_of_the_brightest_channel(seed, side, levels):
    pixels = np.random.default_rng(seed).integers(0, levels, (side, side, 3), np.uint8)
    expected = np.percentile(pixels.max(axis=-1), 95) / 255
    assert measure(pixels, side).exposure == pytest.approx(expected, abs=1e-9)
