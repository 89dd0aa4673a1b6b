"""Portraits and bars: what they hide, and what of the skin they leave."""

import numpy as np
import pytest

from diascope.canvas import barred
from diascope.colour import HAEMOGLOBIN_ABSORPTION
from diascope.portrait import Face, draw_face, place_face

SKIN = np.array([0.45, 0.28, 0.2], dtype=np.float32)


def portrait(seed, face, size=128):
    skin = np.broadcast_to(SKIN, (size, size, 3)).copy()
    linear, hidden = draw_face(
        np.random.default_rng(seed), skin, size, face, HAEMOGLOBIN_ABSORPTION
    )
    return linear, hidden


def at(face, across, down, size=128):
    """Row and column of a place in half widths and half heights of the face."""
    return (
        round((face.y + down * face.height) * size),
        round((face.x + across * face.width) * size),
    )


@pytest.mark.parametrize("seed", range(12))
def test_wall_eyes_and_lips_hide_the_skin_and_cheeks_do_not(seed):
    face = Face(0.5, 0.5, 0.3, 0.4)
    linear, hidden = portrait(seed, face)
    for place in ((-0.42, -0.18), (0.42, -0.18), (0.0, 0.48), (0.0, -1.15)):
        assert hidden[at(face, *place)], place
    assert hidden[0, 0]
    assert hidden[0, -1]
    cheeks = [at(face, across, 0.2) for across in (-0.5, 0.5)]
    assert not any(hidden[cheek] for cheek in cheeks)
    assert np.isfinite(linear).all()
    assert linear.min() >= 0


@pytest.mark.parametrize("seed", range(12))
def test_skin_that_shows_is_lit_skin(seed):
    """Shadow and stubble scale the channels; none adds light of another colour."""
    face = Face(0.5, 0.5, 0.4, 0.5)
    linear, hidden = portrait(seed, face)
    cheeks = np.zeros_like(hidden)
    cheeks[64:86, 36:92] = True  # between eyes and lips, whose borders mix with skin
    ratio = linear[cheeks & ~hidden] / SKIN
    assert len(ratio) > 300
    brightest = np.exp(0.3 * 1.3**1.5)
    assert ratio.max() < brightest + 1e-3
    assert (ratio[:, 2] <= ratio[:, 0] * brightest).all()


def test_faces_come_in_all_sizes_and_are_longer_than_wide():
    rng = np.random.default_rng(3)
    faces = [place_face(rng) for _ in range(400)]
    widths = np.array([face.width for face in faces])
    assert widths.min() < 0.22
    assert widths.max() > 0.7
    assert all(face.height > face.width for face in faces)


def test_bars_are_of_one_colour_and_leave_the_rest():
    rng = np.random.default_rng(4)
    pixels = np.random.default_rng(5).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    shares, colours = [], set()
    for _ in range(300):
        shown, bars = barred(rng, pixels, 1.0)
        np.testing.assert_array_equal(shown[~bars], pixels[~bars])
        colours |= set(shown[bars].ravel().tolist())
        whole = bars.all(axis=0), bars.all(axis=1)
        assert bars.sum() == 64 * max(side.sum() for side in whole)
        shares.append(bars.mean())
    assert colours == {0, 255}
    assert max(shares) <= 0.46
    assert min(shares) < 0.06
    untouched, none = barred(rng, pixels, 0.0)
    assert not none.any()
    np.testing.assert_array_equal(untouched, pixels)
