import csv
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from diascope.duplicates import (
    CopyPair,
    _agreement,
    _Index,
    _is_near,
    _root_sift,
    find_copies,
    join_groups,
)
from diascope.image import read_picture
from diascope.progress import silent
from diascope.renderer import render

COUNT = 5
SIDE = 256
PICTURES = [render(index, seed=11, size=SIDE).pixels for index in range(COUNT)]


def jpeg(pixels, quality=40):
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def watermarked(pixels):
    """A line of text over a tenth of the picture, at the same place in all."""
    marked = pixels.copy()
    where, font = (SIDE // 10, SIDE // 2), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(marked, "(c) atlas.example", where, font, 0.75, (255, 255, 255), 2)
    return marked


def barred(pixels):
    marked = pixels.copy()
    marked[80:110, 60:190] = 0
    return marked


def cropped(pixels, share=0.8):
    """A crop of that share of the area, off the centre."""
    height, width = (int(side * share**0.5) for side in pixels.shape[:2])
    return pixels[-height:, :width]


def halved(pixels):
    return cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def scaled(pixels, gain, offset=0.0):
    return np.clip(pixels * gain + offset, 0, 255).astype(np.uint8)


def letterboxed(pixels):
    return cv2.copyMakeBorder(pixels, 50, 50, 0, 0, cv2.BORDER_CONSTANT)


CHANGES = {
    "none": lambda pixels: pixels,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "quarter turn": np.rot90,
    "mirrored quarter turn": lambda pixels: np.rot90(pixels[:, ::-1]),
    "cropped": cropped,
    "compressed": jpeg,
    "half size": halved,
    "double size": lambda pixels: cv2.resize(pixels, None, fx=2, fy=2),
    "squeezed": lambda pixels: cv2.resize(pixels, None, fx=0.75, fy=1.0),
    "watermarked": watermarked,
    "barred": barred,
    "brighter": lambda pixels: scaled(pixels, 1.25, 10),
    "darker": lambda pixels: scaled(pixels, 0.6),
    "other white balance": lambda pixels: scaled(pixels, np.array([1.1, 1.0, 0.8])),
    "grey": lambda pixels: np.repeat(pixels.mean(axis=2, keepdims=True), 3, 2).astype(np.uint8),
    "letterboxed": letterboxed,
    "all at once": lambda pixels: jpeg(scaled(cropped(watermarked(pixels))[:, ::-1], 0.8), 60),
}
MIRRORED = {"mirrored", "upside down", "mirrored quarter turn", "all at once"}


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_picture_is_paired_with_its_original_and_with_no_other(change):
    changed = [np.ascontiguousarray(CHANGES[change](pixels)) for pixels in PICTURES]
    pairs = find_copies([*PICTURES, *changed])
    found = {(pair.i, pair.j) for pair in pairs}
    assert found <= {(i, i + COUNT) for i in range(COUNT)}
    assert len(found) >= COUNT - 1  # a picture of almost no texture may be missed
    assert {pair.is_mirrored for pair in pairs} == {change in MIRRORED}


@pytest.mark.parametrize("addition", [watermarked, barred, letterboxed])
def test_different_pictures_with_a_watermark_or_a_bar_in_common_are_not_copies(addition):
    pictures = [addition(render(index, seed=12, size=SIDE).pixels) for index in range(12)]
    assert find_copies(pictures) == []


@pytest.mark.parametrize(("height", "share"), [(24, 0.0), (120, 1.0)])
def test_smooth_pictures_that_agree_in_a_band_only_are_not_copies(height, share):
    """Half-transparent text is most of what smooth skin shows; a copy agrees all over."""
    texture = np.zeros((192, 256), np.float32)
    noise = np.random.default_rng(2).normal(0, 8, (height, 256))
    texture[40 : 40 + height] = cv2.GaussianBlur(noise, (0, 0), 1.5)
    for each in (texture, texture.T):
        each = np.ascontiguousarray(each)
        assert _agreement(each, each, np.ones_like(each)) == share


def test_different_pictures_before_one_background_are_not_copies():
    wall = np.random.default_rng(0).normal(128, 60, (SIDE, SIDE // 3, 3))
    wall = np.clip(cv2.GaussianBlur(wall, (0, 0), 2) * 3 - 256, 0, 255).astype(np.uint8)
    pictures = [pixels.copy() for pixels in PICTURES]
    for pixels in pictures:
        pixels[:, : wall.shape[1]] = wall
    assert find_copies(pictures) == []


def test_crops_that_overlap_are_joined_and_pieces_that_do_not_are_not():
    whole = render(1, seed=13, size=2 * SIDE).pixels
    left, middle, right = whole[:, :SIDE], whole[:, SIDE // 2 : -SIDE // 2], whole[:, SIDE:]
    assert [(pair.i, pair.j) for pair in find_copies([left, middle, right])] == [(0, 1), (1, 2)]


def test_evidence_says_how_much_of_the_first_picture_the_second_shows():
    whole = PICTURES[0]
    (pair,) = find_copies([whole, cropped(whole, 0.5)])
    assert pair.overlap == pytest.approx(0.5, abs=0.05)
    assert pair.agreement > 0.9
    (pair,) = find_copies([cropped(whole, 0.5), whole])
    assert pair.overlap == pytest.approx(1.0, abs=0.05)


def test_a_picture_copied_more_often_than_a_watermark_is_still_one_group():
    copies = [jpeg(PICTURES[0], quality) for quality in range(45, 81, 2)]
    pairs = find_copies([*copies, PICTURES[1]])
    keys = [str(n) for n in range(len(copies) + 1)]
    assert join_groups(keys, pairs) == ["0"] * len(copies) + keys[-1:]


def test_landmarks_in_many_lists_are_matched_as_if_all_were_compared():
    """Ten thousand random landmarks, each with one close to it, under nine pivots."""
    rng = np.random.default_rng(5)
    first = rng.gamma(0.6, 40, (5_000, 128)).clip(0, 255)
    second = (first * rng.normal(1, 0.12, first.shape)).clip(0, 255)
    landmarks = np.concatenate([first, second]).astype(np.uint8)
    owners = np.repeat(np.arange(2), len(first))
    found = _Index(landmarks, owners).matches(landmarks, silent)
    cosines = np.einsum(
        "ij,ij->i", _root_sift(landmarks[: len(first)]), _root_sift(landmarks[len(first) :])
    )
    close = np.flatnonzero(cosines > 0.93)
    true = found[1] == found[0] + len(first)
    assert len(close) > 0.9 * len(first)
    assert np.isin(close, found[0][true]).mean() > 0.9
    np.testing.assert_allclose(found[2][true], cosines[found[0][true]], atol=1e-5)


def test_a_landmark_that_every_picture_has_keeps_its_nearest_only():
    watermark = np.tile(np.arange(128, dtype=np.uint8), (300, 1))
    first, second, cosines = _Index(watermark, np.arange(300)).matches(watermark, silent)
    assert len(first) <= 300 * 48
    is_near = _is_near(first, cosines) & _is_near(second, cosines)
    assert np.bincount(first[is_near]).max() <= 4
    assert np.bincount(second[is_near]).max() <= 4


def test_pictures_are_read_once_left_unchanged_and_give_the_same_pairs_again():
    pictures = [*PICTURES[:3], *(cropped(pixels) for pixels in PICTURES[:3])]
    before = [pixels.copy() for pixels in pictures]
    pairs = find_copies(pictures)
    assert pairs == find_copies(pixels for pixels in pictures)
    assert all(np.array_equal(a, b) for a, b in zip(before, pictures, strict=True))


def test_pictures_without_texture_and_tiny_or_long_ones_are_compared_without_failing():
    flat = np.full((40, 60, 3), 128, np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (32, 2000, 3), dtype=np.uint8)
    assert find_copies([flat, flat, noise, noise[:, :32], PICTURES[0]]) == []
    assert find_copies([flat]) == find_copies([flat, flat]) == find_copies([]) == []


@pytest.mark.parametrize(
    "picture",
    [PICTURES[0][..., 0], PICTURES[0].astype(np.float32), np.zeros((40, 40, 4), np.uint8)],
)
def test_a_picture_of_another_shape_or_type_is_refused(picture):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        find_copies([PICTURES[0], picture])


def test_progress_passes_every_picture():
    seen = []

    def track(items, description, total=None):
        for item in items:
            seen.append(description)
            yield item

    find_copies(PICTURES[:3], track=track)
    assert Counter(seen)["looking for copies"] == 3


def test_pairs_and_given_groups_join_rows_and_the_first_key_names_the_group():
    pairs = [CopyPair(1, 4, 1.0, 1.0, False), (4, 5)]
    given_groups = ["", "x", "y", "x", "", ""]
    persons = ["", "", "p1", "", "", "p1"]
    keys = list("abcdef")
    assert join_groups(keys, []) == keys
    assert join_groups(keys, pairs) == ["a", "b", "c", "d", "b", "b"]
    assert join_groups(keys, pairs, given_groups) == ["a", "b", "c", "b", "b", "b"]
    assert join_groups(keys, pairs, given_groups, persons) == ["a", "b", "b", "b", "b", "b"]


def test_equal_names_in_different_groupings_join_nothing():
    assert join_groups(["a", "b"], [], ["g1", ""], ["", "g1"]) == ["a", "b"]


def test_a_grouping_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 groups for 3 rows"):
        join_groups(["a", "b", "c"], [], ["x", "x"])


@given(st.data())
def test_groups_are_the_connected_components(data):
    count = data.draw(st.integers(1, 12))
    row = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(row, row), max_size=12))
    names = data.draw(st.lists(st.sampled_from(["", "p", "q"]), min_size=count, max_size=count))
    keys = [f"k{index:02d}" for index in range(count)]
    edges = pairs + [
        (i, j) for i in range(count) for j in range(count) if names[i] and names[i] == names[j]
    ]
    first, second = np.array(edges, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (first, second)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    expected = [keys[int(np.argmax(labels == label))] for label in labels]
    assert join_groups(keys, pairs, names) == expected


def known_groups(repo_root):
    path = repo_root / "data" / "groups" / "shared_photos.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_the_table_of_known_groups_keeps_its_own_rules(repo_root):
    rows = known_groups(repo_root)
    assert list(rows[0]) == ["path", "group_id", "reason", "certainty"]
    assert len({row["path"] for row in rows}) == len(rows)
    assert min(Counter(row["group_id"] for row in rows).values()) >= 2
    assert {row["reason"] for row in rows} == {"copy", "person"}
    assert {row["certainty"] for row in rows} == {"sure", "likely"}


@pytest.mark.shared
def test_known_groups_name_photographs_that_exist(repo_root, shared_dir):
    with (shared_dir / "photos" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        paths = {row["path"] for row in csv.DictReader(file)}
    assert {row["path"] for row in known_groups(repo_root)} <= paths


@pytest.mark.shared
def test_copies_known_by_eye_are_found_among_photographs_of_one_atlas(shared_dir):
    known = [  # mirrored, turned, zoomed, rotated by some degrees, without its watermark
        ("dermnet/erythematous/rosacea-0146.jpg", "dermnet/erythematous/rosacea-0409.jpg"),
        ("dermnet/hyperpigmented/melasma-0006.jpg", "dermnet/hyperpigmented/melasma-0008.jpg"),
        ("dermnet/erythematous/rosacea-0350.jpg", "dermnet/erythematous/rosacea-0401.jpg"),
        ("dermnet/erythematous/rosacea-0232.jpg", "dermnet/erythematous/rosacea-0412.jpg"),
        (
            "cafe-au-lait-web/hyperpigmented/cafe-au-lait_spot-0036.jpg",
            "cafe-au-lait-web/hyperpigmented/cafe-au-lait_spot-0133.jpg",
        ),
    ]
    others = [f"dermnet/hyperpigmented/melasma-{n:04d}.jpg" for n in (4, 9, 11, 12, 18, 22, 27)]
    paths = [path for pair in known for path in pair] + others
    pairs = find_copies(read_picture(shared_dir / "photos" / path).pixels for path in paths)
    assert [(paths[pair.i], paths[pair.j]) for pair in pairs] == known
