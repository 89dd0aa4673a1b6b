from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from diascope.colour import RGB_TO_XYZ, srgb_to_lab, srgb_to_linear
from diascope.image import read_picture
from diascope.perturbation import (
    Change,
    daylight_gains,
    display_p3_profile,
    perturb,
)

PIXELS = np.random.default_rng(0).integers(20, 236, (64, 80, 3)).astype(np.uint8)
SKIN = np.full((40, 40, 3), (200, 150, 130), dtype=np.uint8)


def read(changed):
    return read_picture(changed.source).pixels


@pytest.mark.parametrize(
    ("kelvin", "x", "y"),
    # CIE 15:2018, table of illuminants, 2 degree observer.
    [(5003, 0.34567, 0.35850), (6504, 0.31272, 0.32903), (7504, 0.29902, 0.31485)],
)
def test_daylight_is_that_of_the_cie_tables(kelvin, x, y):
    xyz = RGB_TO_XYZ @ daylight_gains(kelvin)
    np.testing.assert_allclose(xyz[:2] / xyz.sum(), (x, y), atol=2e-4)
    assert xyz[1] == pytest.approx(1.0)


def test_daylight_of_srgb_s_white_changes_nothing_and_warm_light_is_red():
    np.testing.assert_allclose(daylight_gains(6504), 1.0, atol=2e-3)
    red, _, blue = daylight_gains(5904)
    assert red > 1.03
    assert blue < 0.95
    with pytest.raises(ValueError, match="4000 to 25000"):
        daylight_gains(2856)


@pytest.mark.parametrize(("change", "gain"), [("exposure_up", 2.0), ("exposure_down", 0.5)])
def test_a_stop_is_a_factor_of_two_in_light(change, gain):
    dim = (SKIN // 2).astype(np.uint8)
    before, after = srgb_to_linear(dim), srgb_to_linear(read(perturb(dim, None, Change(change))))
    np.testing.assert_allclose(after, gain * before, rtol=0.03)


def test_what_is_too_bright_is_cut_off():
    assert (read(perturb(SKIN, None, Change.EXPOSURE_UP))[..., 0] == 255).all()


def test_the_profile_is_one_that_littlecms_takes_for_display_p3():
    """Primaries against color.js (xyz-d50 of p3): 0.51512, 0.29198, 0.15710 for X."""
    profile = ImageCms.ImageCmsProfile(BytesIO(display_p3_profile()))
    colorants = (profile.profile.red_colorant, profile.profile.green_colorant)
    assert [each[0][0] for each in colorants] == pytest.approx([0.51512, 0.29198], abs=3e-4)
    assert profile.profile.blue_colorant[0][0] == pytest.approx(0.15710, abs=3e-4)
    assert "Display P3" in ImageCms.getProfileDescription(profile)


def test_display_p3_comes_back_where_it_is_labelled_and_fades_where_it_is_not():
    """sRGB (186, 70, 80), a red mark, is about (172, 78, 83) in Display P3."""
    mark = np.full((40, 40, 3), (186, 70, 80), dtype=np.uint8)
    wide = read(perturb(mark, None, Change.DISPLAY_P3_UNLABELLED))
    back = read(perturb(mark, None, Change.DISPLAY_P3))
    np.testing.assert_allclose(wide[0, 0], (172, 78, 83), atol=2)
    assert np.abs(back.astype(int) - mark).max() <= 1
    faded = srgb_to_lab(mark[0, 0])[1] - srgb_to_lab(wide[0, 0])[1]
    assert 4 < faded < 12


@pytest.mark.parametrize("change", list(Change))
def test_the_box_goes_where_its_pixels_go(change):
    """A white box on dark skin is found again, to a pixel, whatever happens to the picture."""
    picture = np.full((120, 160, 3), (70, 50, 40), dtype=np.uint8)
    picture[24:60, 40:100] = 200
    changed = perturb(picture, (40.0, 24.0, 100.0, 60.0), change)
    bright = read(changed).min(axis=-1) > 115
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(changed.box, found, atol=1)


@pytest.mark.parametrize("change", list(Change))
def test_the_picture_given_stays_as_it_was(change):
    given = PIXELS.copy()
    given.flags.writeable = False
    one, other = perturb(given, None, change), perturb(given, None, change)
    assert (given == PIXELS).all()
    assert one.box is None
    assert np.array_equal(one.source, other.source)
    assert not np.array_equal(read(one), PIXELS) or change is Change.DISPLAY_P3


def test_moves_undo_each_other():
    turned = perturb(PIXELS, None, Change.QUARTER_TURN).source
    assert (perturb(turned, None, Change.QUARTER_TURN_BACK).source == PIXELS).all()
    for change in (Change.MIRRORED, Change.UPSIDE_DOWN):
        assert (perturb(perturb(PIXELS, None, change).source, None, change).source == PIXELS).all()


def test_half_the_size_and_a_poor_jpeg():
    assert perturb(PIXELS, None, Change.HALF_SIZE).source.shape == (32, 40, 3)
    with Image.open(BytesIO(perturb(PIXELS, None, Change.JPEG).source)) as image:
        assert image.format == "JPEG"
        # The first step of the luminance table at quality 30: 16 x 5000 / 30 / 100.
        assert image.quantization[0][0] == 27
    assert len({change.words for change in Change}) == len(Change)
