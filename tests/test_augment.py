import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diascope.augment import Augmentation, LightChange
from diascope.colour import linear_to_srgb, srgb_to_lab, srgb_to_linear
from diascope.config import AugmentConfig

PLAIN = AugmentConfig(
    min_crop=1.0, exposure_stops=0.0, white_balance=0.0, blur=0.0, noise=0.0, jpeg=0.0
)
DEFAULT = AugmentConfig()
COVER = np.arange(16, dtype=np.uint8).reshape(4, 4)


@pytest.fixture(scope="module")
def default():
    return Augmentation(DEFAULT)


def picture(height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(30, 220, (height, width, 3), dtype=np.uint8)


def colours(pixels):
    return sorted(map(tuple, pixels.reshape(-1, 3).tolist()))


# Chance.


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(0, 99))
def test_a_seed_decides_the_picture(seed, position):
    box = (10.0, 5.0, 50.0, 40.0)
    first, other = Augmentation(DEFAULT), Augmentation(DEFAULT)
    other.photograph(picture(), None, 99)  # what came before does not matter
    for inner in (None, box):
        pixels, changed_box = first.photograph(picture(), inner, (seed, position))
        again, box_again = other.photograph(picture(), inner, (seed, position))
        np.testing.assert_array_equal(pixels, again)
        assert changed_box == box_again
    for one, same in zip(
        first.drawn(picture(), COVER, (seed, position)),
        other.drawn(picture(), COVER, (seed, position)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, same)


def test_seeds_differ(default):
    photographs = {default.photograph(picture(), None, (0, n))[0].tobytes() for n in range(20)}
    assert len(photographs) == 20
    assert len({default.drawn(picture(), COVER, (0, n))[0].tobytes() for n in range(60)}) == 8


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_the_input_stays_as_it_was(default, seed):
    pixels = picture()
    before = pixels.copy()
    changed, _ = default.photograph(pixels, None, seed)
    changed[:] = 0
    default.photograph(pixels, (3.0, 4.0, 20.0, 30.0), seed)
    default.drawn(pixels, COVER, seed)
    np.testing.assert_array_equal(pixels, before)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(32, 70), st.integers(32, 70))
def test_what_comes_back_is_a_picture(default, seed, height, width):
    changed, box = default.photograph(picture(height, width), None, seed)
    assert box is None
    assert changed.dtype == np.uint8
    assert changed.ndim == 3
    assert min(changed.shape[:2]) >= 32
    assert max(changed.shape[:2]) <= max(height, width)


# Geometry.


@given(st.integers(0, 10**6))
def test_a_drawn_picture_is_only_turned_or_mirrored_and_its_cover_with_it(seed):
    pixels = picture(64, 64)
    cover = np.ascontiguousarray(pixels[::8, ::8, 0])  # of coarser cells
    turned, cover_turned = Augmentation(DEFAULT).drawn(pixels, cover, seed)
    turns = [
        lambda seen, k=k, side=side: np.rot90(seen[:, ::side], k)
        for side in (1, -1)
        for k in range(4)
    ]
    (turn,) = [turn for turn in turns if np.array_equal(turned, turn(pixels))]
    np.testing.assert_array_equal(cover_turned, turn(cover))


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_without_light_and_crop_a_photograph_keeps_its_colours(seed):
    pixels = picture(40, 50)
    changed, _ = Augmentation(PLAIN).photograph(pixels, None, seed)
    assert sorted(changed.shape) == sorted(pixels.shape)
    assert colours(changed) == colours(pixels)


boxes = st.tuples(st.floats(0, 70), st.floats(0, 50), st.floats(2, 80), st.floats(2, 60)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 80.0), min(b[1] + b[3], 60.0))
)


@settings(max_examples=150)
@given(boxes, st.integers(0, 10**6))
def test_any_box_inside_a_picture_survives(default, box, seed):
    changed, turned = default.photograph(picture(), box, seed)
    height, width = changed.shape[:2]
    left, top, right, bottom = turned
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert (right - left) * (bottom - top) == pytest.approx(area, rel=1e-3, abs=1e-2)


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 40), st.integers(2, 20), st.integers(2, 10))
def test_a_box_goes_with_its_mark(left, top, width, height):
    pixels = np.full((60, 80, 3), 100, np.uint8)
    pixels[top : top + height, left : left + width] = (200, 60, 60)
    augmentation = Augmentation(PLAIN)
    box = (float(left), float(top), float(left + width), float(top + height))
    for seed in range(8):
        changed, turned = augmentation.photograph(pixels, box, seed)
        rows, columns = np.nonzero(changed[..., 0] == 200)
        marked = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(turned, marked, atol=1e-3)


def test_a_crop_keeps_its_least_share():
    config = PLAIN.model_copy(update={"min_crop": 0.5})
    sizes = [
        Augmentation(config).photograph(picture(200, 200), None, n)[0].shape for n in range(80)
    ]
    shares = [height * width / 200**2 for height, width, _ in sizes]
    assert 0.495 < min(shares) < 0.55
    assert max(shares) > 0.9
    assert len(set(sizes)) > 40


def test_a_crop_is_never_under_the_least_side():
    config = PLAIN.model_copy(update={"min_crop": 0.01})
    for seed in range(30):
        changed, _ = Augmentation(config).photograph(picture(33, 120), None, seed)
        assert min(changed.shape[:2]) >= 32


def test_a_crop_is_a_part_of_the_picture():
    rows, columns = np.mgrid[:90, :120]
    pixels = np.stack([columns, rows, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    config = PLAIN.model_copy(update={"min_crop": 0.3})
    for seed in range(20):
        changed, _ = Augmentation(config).photograph(pixels, None, seed)
        left, top, _ = changed.reshape(-1, 3).min(axis=0)
        right, bottom, _ = changed.reshape(-1, 3).max(axis=0)
        assert colours(changed) == colours(pixels[top : bottom + 1, left : right + 1])


# Light.


def skins_and_marks(count=200):
    """Linear RGB (count, 3) of skin of L* 65, and of red and brown marks on it."""
    rng = np.random.default_rng(0)
    grid = rng.uniform(0.1, 0.8, (200_000, 3))
    lab = srgb_to_lab(linear_to_srgb(grid))
    is_skin = (
        (np.abs(lab[:, 0] - 65) < 1)
        & (lab[:, 1] > 6) & (lab[:, 1] < 18)
        & (lab[:, 2] > 10) & (lab[:, 2] < 24)
    )  # fmt: skip
    skin = grid[is_skin][:count]
    melanin, haemoglobin = (
        rng.uniform(0, 0.25, (len(skin), 1)),
        rng.uniform(0, 0.35, (len(skin), 1)),
    )
    absorbed = melanin * np.array([0.36, 0.50, 0.79]) + haemoglobin * np.array([0.16, 0.78, 0.60])
    return as_pixels(skin), as_pixels(skin * 10**-absorbed)


def as_pixels(linear):
    return np.round(linear_to_srgb(linear) * 255).astype(np.uint8)[None]


def lit(pixels, log_gains):
    return srgb_to_lab(LightChange(1.0, 1.0).apply(pixels, log_gains=log_gains))[0]


def test_gains_keep_to_their_bounds():
    change = LightChange(DEFAULT.exposure_stops, DEFAULT.white_balance)
    drawn = []
    for seed in range(300):
        change.set_random_seed(seed)
        drawn.append(change.get_params()["log_gains"])
    red, green, blue = np.transpose(drawn)
    stops = green / np.log10(2)
    assert np.abs(stops).max() <= DEFAULT.exposure_stops
    assert min(stops.max(), -stops.min()) > 0.9 * DEFAULT.exposure_stops
    for balance in (red - green, blue - green):
        assert np.abs(balance).max() <= DEFAULT.white_balance + 1e-12
        assert min(balance.max(), -balance.min()) > 0.9 * DEFAULT.white_balance


@pytest.mark.parametrize("red", [-1, 0, 1])
@pytest.mark.parametrize("blue", [-1, 0, 1])
def test_white_balance_moves_colours_within_the_stated_bounds(red, blue):
    skin, mark = skins_and_marks()
    most = DEFAULT.white_balance
    gains = (red * most, 0.0, blue * most)
    moved = lit(skin, gains) - srgb_to_lab(skin)[0]
    before = srgb_to_lab(mark)[0] - srgb_to_lab(skin)[0]
    after = lit(mark, gains) - lit(skin, gains)
    assert np.abs(moved[:, 1:]).max() <= 8
    assert np.abs((after - before)[:, 1:]).max() <= 3
    if red or blue:
        assert np.abs(moved[:, 1:]).max() > 2


@pytest.mark.parametrize("stops", [-DEFAULT.exposure_stops, DEFAULT.exposure_stops])
def test_exposure_scales_a_mark_and_keeps_its_direction(stops):
    skin, mark = skins_and_marks()
    gains = (stops * np.log10(2),) * 3
    before = srgb_to_lab(mark)[0] - srgb_to_lab(skin)[0]
    after = lit(mark, gains) - lit(skin, gains)
    clear = np.linalg.norm(before, axis=1) > 10
    assert clear.sum() > 50
    before, after = before[clear], after[clear]
    lengths = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)
    # Rounding to bytes adds to 0.85 and 1.18.
    assert (lengths[1] / lengths[0]).min() > 0.78
    assert (lengths[1] / lengths[0]).max() < 1.25
    assert ((before * after).sum(axis=1) / (lengths[0] * lengths[1])).min() > np.cos(np.radians(6))


def test_gains_act_on_linear_light():
    pixels = np.array([[[100, 150, 200], [0, 255, 30]]], np.uint8)
    gains = np.log10([0.5, 1.0, 1.2])
    expected = linear_to_srgb(srgb_to_linear(pixels) * [0.5, 1.0, 1.2]) * 255
    changed = LightChange(1.0, 1.0).apply(pixels, log_gains=tuple(gains))
    np.testing.assert_allclose(changed, expected, atol=0.51)


def test_no_change_of_light_changes_nothing():
    every = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(LightChange(1.0, 1.0).apply(every, log_gains=(0, 0, 0)), every)


@pytest.mark.parametrize("one", ["blur", "noise", "jpeg"])
def test_each_change_of_the_camera_is_small_and_can_be_asked_for(one):
    pixels = np.clip(np.random.default_rng(1).normal(128, 4, (64, 64, 3)), 0, 255).astype(np.uint8)
    pixels[20:40, 20:40] = (200, 90, 90)
    changed, _ = Augmentation(PLAIN.model_copy(update={one: 1.0})).photograph(pixels, None, 1)
    assert colours(changed) != colours(pixels)
    moved = srgb_to_lab(changed).mean(axis=(0, 1)) - srgb_to_lab(pixels).mean(axis=(0, 1))
    assert np.abs(moved).max() < 1.0
