import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from diascope.colour import (
    can_be_skin,
    ita_degrees,
    linear_to_srgb,
    optical_density,
    srgb_to_lab,
    srgb_to_linear,
)
from diascope.errors import ImageError, UnreadableReason
from diascope.image import Picture, read_picture
from diascope.preprocess import cut, decode_side, prepare, prepare_pixels, read_for, resolution
from diascope.quality import measure
from diascope.renderer import render

SKIN, MARK = (199, 148, 129), (200, 84, 97)
# log10((linear skin + 0.01) / (linear mark + 0.01)) for R, G, B.
MARK_DENSITY = (-0.004798, 0.491796, 0.248434)
BLACK, WHITE = (12, 10, 14), (250, 251, 250)


def flat(colour, height=64, width=64):
    return np.full((height, width, 3), colour, np.uint8)


def picture(pixels, scale=1):
    height, width = pixels.shape[:2]
    return Picture(pixels, width * scale, height * scale, has_colour=True)


def percentile(values, share=0.7):
    """Where ``share`` lies below, each value spread evenly over the half level on either side."""
    low, high = np.full(3, -0.5), np.full(3, 255.5)
    for _ in range(50):
        middle = (low + high) / 2
        below = np.clip(middle - (values - 0.5), 0, 1).mean(axis=0) < share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.clip(high, 0, 255)


def is_near(reference, colour):
    """Within half a level, as the reference lies between levels."""
    return np.abs(reference - np.array(colour)).max() <= 0.5


# The tensor.


@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([32, 48]))
def test_a_flat_picture_is_its_own_reference(colour, size):
    prepared = prepare_pixels(flat(colour), None, size)
    assert prepared.tensor.shape == (3, size, size)
    assert prepared.tensor.dtype == np.float32
    # The level counts as spread over half a level on either side; 70 % of it lie below.
    expected = np.minimum(np.array(colour) + 0.2, 255)
    np.testing.assert_allclose(prepared.reference, expected)
    density = optical_density(np.array([colour, expected]) / 255)
    for plane, (own, reference) in zip(prepared.tensor, density.T, strict=True):
        np.testing.assert_allclose(plane, own - reference, atol=1e-6)
    assert prepared.ita_degrees == ita_degrees(srgb_to_lab(prepared.reference / 255))


def test_two_colours_by_hand():
    pixels = flat(SKIN)
    pixels[:20, :30] = MARK
    prepared = prepare(picture(pixels), None, 64)
    # 600 of 4,096 are mark, darker in green and blue: 70 % are reached 0.65 into skin's level.
    for channel, density in enumerate(MARK_DENSITY):
        relative = prepared.tensor[channel] - prepared.tensor[channel][63, 63]
        expected = np.zeros((64, 64))
        expected[:20, :30] = density
        np.testing.assert_allclose(relative, expected, atol=2e-6)
        assert abs(prepared.tensor[channel][63, 63]) < 0.002
    share = (0.7 * 4096 - 600) / 3496
    np.testing.assert_allclose(prepared.reference[1:], np.array(SKIN[1:]) - 0.5 + share)
    assert prepared.reference[0] == pytest.approx(SKIN[0] - 0.5 + 0.7 * 4096 / 3496)
    assert prepared.ita_degrees == pytest.approx(41.4, abs=0.5)


skins = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(32, 40), st.integers(32, 40), st.just(3)),
    elements=st.integers(60, 230),
)


@settings(max_examples=40)
@given(skins)
def test_the_reference_is_a_percentile_of_what_can_be_skin(pixels):
    pixels = pixels[:32, :32]
    before = pixels.copy()
    prepared = prepare_pixels(pixels, None, 32)
    skin = can_be_skin(pixels)
    seen = pixels[skin] if skin.mean() >= 0.15 else pixels.reshape(-1, 3)
    np.testing.assert_allclose(prepared.reference, percentile(seen), atol=1e-6)
    np.testing.assert_array_equal(prepared.can_be_skin, skin)
    np.testing.assert_array_equal(pixels, before)


def test_marks_over_most_of_the_skin_leave_the_lighter_skin_as_reference():
    pixels = flat(SKIN)
    pixels[:42] = MARK  # red is no darker in the red channel
    reference = prepare_pixels(pixels, None, 64).reference
    assert is_near(reference[1:], SKIN[1:])
    pixels[:46] = MARK  # over more than 70 % it is the reference itself
    assert is_near(prepare_pixels(pixels, None, 64).reference[1:], MARK[1:])


def test_a_pixel_more_or_less_hardly_moves_the_reference():
    pixels = flat(SKIN)
    pixels[:, ::2] += 1
    before = prepare_pixels(pixels, None, 64).reference
    pixels[0, :2] += 1
    assert np.abs(prepare_pixels(pixels, None, 64).reference - before).max() < 0.01


@settings(max_examples=25)
@given(skins, st.integers(0, 3), st.booleans())
def test_a_turned_picture_gives_a_turned_tensor(pixels, turns, mirrored):
    def turn(planes):
        return np.rot90(planes[:, ::-1] if mirrored else planes, turns)

    pixels = pixels[:32, :32]
    upright = prepare_pixels(pixels, None, 32).tensor
    turned = prepare_pixels(np.ascontiguousarray(turn(pixels)), None, 32).tensor
    np.testing.assert_array_equal(turned.transpose(1, 2, 0), turn(upright.transpose(1, 2, 0)))


@pytest.mark.parametrize("gains", [(0.8, 0.8, 0.8), (1.3, 1.3, 1.3), (1.15, 1.0, 0.85)])
def test_light_and_white_balance_leave_the_tensor(gains):
    rng = np.random.default_rng(1)
    pixels = np.clip(rng.normal(flat(SKIN), 6), 0, 255).astype(np.uint8)
    pixels[:20, :30] = MARK
    lit = np.round(linear_to_srgb(srgb_to_linear(pixels) * gains) * 255).astype(np.uint8)
    plain, other = prepare_pixels(pixels, None, 64), prepare_pixels(lit, None, 64)
    assert np.abs(plain.reference - other.reference).max() > 10
    np.testing.assert_allclose(other.tensor, plain.tensor, atol=0.025)


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
    pixels = flat((100, 100, 100))
    pixels[::2, ::2] = (200, 100, 60)
    prepared = prepare_pixels(pixels, None, 32)
    np.testing.assert_array_equal(prepared.pixels, flat((125, 100, 90), 32, 32))


def test_a_jpeg_decoded_small_gives_nearly_the_same():
    pixels = np.clip(np.random.default_rng(2).normal(flat(SKIN, 480, 640), 8), 0, 255)
    pixels[100:200, 100:300] = MARK
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=92)
    whole = prepare(read_picture(file.getvalue()), None, 32)
    small = read_picture(file.getvalue(), decode_side=decode_side(32))
    assert small.pixels.shape[0] < 480
    assert np.abs(prepare(small, None, 32).tensor - whole.tensor).mean() < 0.01


# What does not count as skin.


@pytest.mark.parametrize("colour", [BLACK, WHITE])
def test_black_and_burnt_pixels_are_no_reference(colour):
    pixels = flat(SKIN)
    pixels[:40] = colour
    assert is_near(prepare_pixels(pixels, None, 64).reference, SKIN)


@pytest.mark.parametrize("colour", [BLACK, WHITE])
def test_where_little_else_is_left_they_count(colour):
    pixels = flat(colour)
    pixels[:6] = SKIN
    assert is_near(prepare_pixels(pixels, None, 64).reference, colour)


def test_clipped_skin_is_no_reference_unless_little_else_is_left():
    clipped = (254, 215, 185)
    assert can_be_skin(flat(clipped)).all()
    pixels = flat(clipped)
    pixels[:12] = SKIN
    assert is_near(prepare_pixels(pixels, None, 64).reference, SKIN)
    pixels[:8] = clipped
    assert is_near(prepare_pixels(pixels, None, 64).reference, clipped)


def test_shine_and_hair_keep_their_colour_within_bounds():
    pixels = flat(SKIN)
    pixels[:10], pixels[10:20] = (250, 240, 236), (12, 9, 6)
    prepared = prepare_pixels(pixels, None, 64)
    plain = optical_density(np.array([(250, 240, 236), (12, 9, 6)]) / 255)
    plain = plain - optical_density(prepared.reference / 255)
    assert plain[0].mean() < -0.05
    assert plain[1].mean() > 0.9
    for row, bound, own in zip((5, 15), (-0.05, 0.9), plain, strict=True):
        np.testing.assert_allclose(prepared.tensor[:, row, 0], own - own.mean() + bound, atol=1e-5)
    assert np.abs(prepared.tensor[:, 40, 0]).max() < 0.003


def test_cloth_of_another_colour_is_no_reference():
    pixels = flat(SKIN)
    pixels[:50] = (60, 110, 190)
    assert is_near(prepare_pixels(pixels, None, 64).reference, SKIN)
    pixels[:60] = (60, 110, 190)  # hardly anything else: it may be skin in a strange light
    assert is_near(prepare_pixels(pixels, None, 64).reference, (60, 110, 190))


@pytest.mark.parametrize("colour", [(41, 24, 18), (245, 220, 200)])
def test_dark_and_light_skin_counts(colour):
    pixels = flat(BLACK)
    pixels[:20] = colour
    assert is_near(prepare_pixels(pixels, None, 64).reference, colour)


# Boxes.


def test_with_a_box_the_skin_around_it_is_the_reference():
    pixels = flat(SKIN, 100, 100)
    pixels[5:95, 5:95] = MARK  # most of what is seen
    boxed = prepare(picture(pixels), (5, 5, 95, 95), 100)
    np.testing.assert_allclose(boxed.reference, np.add(SKIN, 0.2))
    np.testing.assert_allclose(
        boxed.tensor[:, 50, 50] - boxed.tensor[:, 0, 0], MARK_DENSITY, atol=2e-6
    )
    assert is_near(prepare(picture(pixels), None, 100).reference, MARK)


@settings(max_examples=30)
@given(skins, st.integers(0, 20), st.integers(0, 20), st.integers(8, 12), st.integers(8, 12))
def test_the_reference_is_a_percentile_of_skin_outside_the_box(pixels, left, top, width, height):
    pixels = pixels[:32, :32]
    inner = (float(left), float(top), float(left + width), float(top + height))
    outside = np.ones((32, 32), bool)
    outside[top : top + height, left : left + width] = False
    prepared = prepare_pixels(pixels, inner, 32)
    skin = can_be_skin(pixels) & outside
    seen = pixels[skin] if skin.sum() >= 0.15 * outside.sum() else pixels[outside]
    np.testing.assert_allclose(prepared.reference, percentile(seen), atol=1e-6)


def test_black_pixels_around_a_box_do_not_count():
    pixels = flat(SKIN, 64, 64)
    pixels[:20] = BLACK
    pixels[24:60, 4:60] = MARK
    assert is_near(prepare_pixels(pixels, (4, 24, 60, 60), 64).reference, SKIN)


def test_a_box_without_skin_around_it_takes_the_whole():
    pixels = flat(MARK)
    pixels[:1] = SKIN
    assert is_near(prepare(picture(pixels), (0, 1, 64, 64), 64).reference, MARK)


def test_a_box_is_in_pixels_of_the_original():
    """The same picture decoded at a quarter of its size."""
    pixels = flat(SKIN, 100, 120)
    pixels[40:60, 30:70] = MARK
    quarter = prepare(picture(pixels, scale=4), (120, 160, 280, 240), 64)
    np.testing.assert_array_equal(
        quarter.tensor, prepare(picture(pixels), (30, 40, 70, 60), 64).tensor
    )
    # The box is 40 wide: 20 pixels of skin lie around it, so half of each side is mark.
    marked = quarter.tensor[1] > 0.3
    np.testing.assert_array_equal(np.flatnonzero(marked.any(axis=0)), np.arange(16, 48))


def numbered(height, width):
    """Pixels that tell their own column and row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@given(
    st.integers(32, 200),
    st.integers(32, 200),
    *[st.floats(-50, 250, allow_nan=False)] * 4,
    st.sampled_from([1, 2, 8]),
)
def test_a_cut_holds_the_box_and_half_its_longer_side(width, height, x0, y0, x1, y1, scale):
    whole = picture(numbered(height, width), scale)
    inside = [
        min(max(x0, 0), width),
        min(max(y0, 0), height),
        min(max(x1, 0), width),
        min(max(y1, 0), height),
    ]
    sides = inside[2] - inside[0], inside[3] - inside[1]
    box = tuple(edge * scale for edge in (x0, y0, x1, y1))
    if min(sides) < 2:
        with pytest.raises(ImageError):
            cut(whole, box)
        return
    pixels, inner = cut(whole, box)
    left, top = (int(value) for value in pixels[0, 0, :2])
    np.testing.assert_array_equal(
        pixels, whole.pixels[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    )
    np.testing.assert_allclose(np.add(inner, (left, top) * 2), inside, atol=1e-6)
    margin = max(sides) / 2
    assert left <= max(inside[0] - margin, 0) < left + 1
    assert left + pixels.shape[1] - 1 < min(inside[2] + margin, width) + 1e-9
    assert pixels.shape[1] + left >= min(inside[2] + margin, width) - 1e-9


@pytest.mark.parametrize(
    "box",
    [
        (200, 0, 300, 60),
        (-90, -90, -10, -10),
        (40, 40, 10, 10),
        (10, 10, 11.5, 60),
        (float("nan"), 0, 60, 60),
        (0, 0, 60, float("nan")),
    ],
)
def test_a_box_that_shows_nothing_is_refused(box):
    with pytest.raises(ImageError) as caught:
        prepare(picture(flat(SKIN)), box, 64)
    assert caught.value.reason is UnreadableReason.TOO_SMALL
    assert "(64 x 64)" in str(caught.value)
    assert f"box {box[0]:g}," in str(caught.value)


def test_a_box_may_reach_beyond_the_picture():
    pixels = flat(SKIN)
    pixels[40:, 40:] = MARK
    beyond = prepare(picture(pixels), (40, 40, float("inf"), 500), 64)
    assert is_near(beyond.reference, SKIN)
    np.testing.assert_array_equal(
        beyond.tensor, prepare(picture(pixels), (40, 40, 64, 64), 64).tensor
    )


def test_read_only_pixels_are_prepared_and_left():
    pixels = flat(SKIN, 40, 50)
    pixels.flags.writeable = False
    prepare(picture(pixels), (5, 5, 20, 20), 32)
    prepare(picture(pixels), None, 32)
    assert (pixels == SKIN).all()


# As small as the network allows.


def jpeg(pixels, orientation=1):
    block = Image.Exif()
    block[0x0112] = orientation
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0, exif=block)
        return file.getvalue()


# The shorter side seen and the eighths that still hold 64 pixels of it, by hand.
BOXES = [
    (None, 600, 1),  # 600 / 8 = 75
    ((300, 200, 500, 300), 300, 2),  # 100 of skin on each side: 400 x 300
    ((300, 300, 350, 350), 100, 6),  # 25 on each side
    ((700, 500, 800, 600), 150, 4),  # 50 on two sides; 3/8 of 150 is 56
    ((10, 10, 40, 40), 55, 8),
    ((-900, -900, 9000, 9000), 600, 1),
    ((900, 900, 950, 950), 0, 8),  # outside: for cut to refuse
]


@pytest.mark.parametrize(("box", "shown", "eighths"), BOXES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_box_is_decoded_at_the_smallest_scale_that_keeps_its_side(
    box, shown, eighths, orientation
):
    upright = flat(SKIN, 600, 800)
    stored = upright if orientation == 1 else np.ascontiguousarray(np.rot90(upright))
    picture = read_for(jpeg(stored, orientation), box, 32)
    assert resolution(800, 600, box) == shown
    assert (picture.width, picture.height) == (800, 600)
    assert picture.pixels.shape[:2] == (75 * eighths, 100 * eighths)


@pytest.mark.parametrize("box", [None, (300, 200, 500, 300), (420, 320, 470, 360)])
def test_a_small_decode_shows_the_network_the_same(box):
    pixels = cv2.resize(render(0, seed=2, size=128).pixels, (800, 600))
    whole = prepare(read_picture(jpeg(pixels)), box, 32)
    small = read_for(jpeg(pixels), box, 32)
    seen = prepare(small, box, 32)
    assert box is not None or small.pixels.shape[0] < 100
    assert np.abs(seen.pixels.astype(int) - whole.pixels).mean() < 1
    assert np.abs(seen.tensor - whole.tensor).mean() < 0.01


@pytest.mark.parametrize("box", [None, (0.3, 0.3, 0.6, 0.7)])
def test_quality_of_twelve_megapixels_is_that_of_a_small_version(box):
    small = render(5, seed=2, size=512).pixels[:384]
    large = cv2.resize(small, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    measures = []
    for pixels in (large, small):
        height, width = pixels.shape[:2]
        place = None if box is None else tuple(np.array(box) * (width, height, width, height))
        picture = read_for(jpeg(pixels), place, 128)
        seen = prepare(picture, place, 128)
        shown = resolution(picture.width, picture.height, place)
        measures.append(measure(seen.pixels, shown, seen.can_be_skin))
    assert measures[0].resolution > 7 * measures[1].resolution
    assert measures[0].sharpness == pytest.approx(measures[1].sharpness, abs=0.03)
    assert measures[0].exposure == pytest.approx(measures[1].exposure, abs=0.01)
    assert measures[0].skin_share == pytest.approx(measures[1].skin_share, abs=0.02)


@given(st.data(), st.integers(32, 80))
def test_means_of_areas_are_those_of_bytes(data, size):
    sides = st.integers(size, 3 * size)
    shape = (data.draw(sides), data.draw(sides), 3)
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    expected = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(prepare_pixels(pixels, None, size).pixels, expected)
