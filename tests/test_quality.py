import numpy as np
import pytest

from diascope.colour import ita_degrees, linear_to_srgb, srgb_to_lab
from diascope.image import GREY_LEVELS, Picture, read_picture
from diascope.quality import DeclineReason, assess


def flat(red, green, blue):
    return read_picture(np.full((64, 64, 3), (red, green, blue), np.uint8))


def skin(ita, light=1.0):
    """A flat patch of skin of one typology angle: light skin behind more and more melanin."""
    for melanin in np.linspace(0.0, 3.0, 3001):
        linear = np.array([0.75, 0.62, 0.55]) * 10.0 ** (-melanin * np.array([0.36, 0.50, 0.79]))
        if ita_degrees(srgb_to_lab(linear_to_srgb(linear))) <= ita:
            return flat(*np.rint(255 * linear_to_srgb(light * linear)).astype(int))
    raise AssertionError(f"no skin of ITA {ita}")


@pytest.mark.parametrize("ita", [55, 30, 0, -30, -45, -50])
def test_no_tone_of_skin_is_declined(ita):
    assert assess(skin(ita)) == ()


def test_dark_skin_in_half_the_light_is_not_declined():
    assert assess(skin(-45, light=0.5)) == ()


@pytest.mark.parametrize("ita", [-50, 65])
@pytest.mark.parametrize("light", [0.25, 1.0])
def test_flat_skin_is_far_from_grey(ita, light):
    pixels = skin(ita, light).pixels
    assert np.ptp(pixels[0, 0].astype(int)) > 4 * GREY_LEVELS
    assert DeclineReason.NO_COLOUR not in assess(skin(ita, light))


def test_a_covered_lens_is_under_exposed():
    assert assess(flat(12, 9, 8)) == (DeclineReason.UNDER_EXPOSED,)


def test_a_burnt_out_frame_is_over_exposed():
    assert assess(flat(255, 254, 252)) == (DeclineReason.OVER_EXPOSED,)


def test_a_white_background_is_not_over_exposed():
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[16:52, 16:52] = (200, 150, 130)
    assert assess(read_picture(pixels)) == ()


def test_a_black_background_is_not_under_exposed():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[24:40, 24:40] = (90, 60, 45)
    assert assess(read_picture(pixels)) == ()


def test_grey_has_no_colour():
    assert assess(flat(120, 120, 120)) == (DeclineReason.NO_COLOUR,)


def test_what_the_file_says_about_colour_counts():
    picture = Picture(skin(30).pixels, 64, 64, has_colour=False)
    assert assess(picture) == (DeclineReason.NO_COLOUR,)


def test_all_reasons_are_given_in_order():
    assert assess(flat(0, 0, 0)) == (DeclineReason.NO_COLOUR, DeclineReason.UNDER_EXPOSED)


@pytest.mark.parametrize("reason", DeclineReason)
def test_words_say_what_to_do(reason):
    complaint, _, mend = reason.words.partition("; ")
    assert complaint.startswith("The picture ")
    assert mend.split()[0] in {"give", "take"}
