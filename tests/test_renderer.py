import hashlib
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diascope import renderer
from diascope.colour import erythema_index, melanin_index
from diascope.dataset import read_manifest
from diascope.errors import OutputError
from diascope.labels import ManifestLabel
from diascope.renderer import (
    CONTRAST_RANGE,
    COVER_SIDE,
    ITA_RANGE,
    render,
    render_labelled,
    render_many,
    write_rendered,
)

RED, BROWN, CLEAR = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED, ManifestLabel.NEITHER
MIXED = ManifestLabel.MIXED
SIZE = 64


@pytest.fixture(scope="module")
def series():
    return [render(index, seed=0, size=SIZE) for index in range(300)]


@pytest.fixture(scope="module")
def pairs():
    """The same skin with each kind of mark and without: {kind: [(marked, bare), ...]}."""
    bare = [render(index, seed=8, size=SIZE, mark_type=CLEAR) for index in range(50)]
    drawn = {
        kind: [render(index, seed=8, size=SIZE, mark_type=kind) for index in range(50)]
        for kind in (RED, BROWN, MIXED)
    }
    return {kind: list(zip(marked, bare, strict=True)) for kind, marked in drawn.items()}


def same(one, other):
    arrays = ("pixels", "mask", "melanin", "haemoglobin")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and (
        (one.mark_type, one.ita_degrees, one.delta_e, one.shown_delta_e, one.layout)
        == (other.mark_type, other.ita_degrees, other.delta_e, other.shown_delta_e, other.layout)
    )


# The same arguments, the same bytes.


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(0, 2**31), st.sampled_from([None, RED, BROWN, MIXED]))
def test_the_same_arguments_draw_the_same_picture(index, seed, kind):
    first = render(index, seed, 32, mark_type=kind)
    assert same(first, render(index, seed, 32, mark_type=kind))
    assert not np.array_equal(first.pixels, render(index + 1, seed, 32, mark_type=kind).pixels)
    assert not np.array_equal(first.pixels, render(index, seed + 1, 32, mark_type=kind).pixels)


def test_a_fresh_process_draws_the_same(series):
    code = (
        "import hashlib; from diascope.renderer import render;"
        f"print(*[hashlib.sha256(render(i, 0, {SIZE}).pixels).hexdigest() for i in range(5)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [hashlib.sha256(r.pixels).hexdigest() for r in series[:5]]


def test_the_number_of_workers_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(renderer, "_WORTH_PROCESSES", 4)
    monkeypatch.setattr(renderer, "_LOOK_AHEAD", 5)
    for workers in (1, 2):
        write_rendered(tmp_path / str(workers), 12, seed=3, size=32, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_pictures_and_labels_for_training_are_those_of_the_series(series):
    labelled = list(render_labelled(5, 0, SIZE))
    assert SIZE % COVER_SIDE == 0
    cell = SIZE // COVER_SIDE
    for drawn, again, (pixels, mark_type, cover) in zip(
        series[:5], render_many(5, 0, SIZE), labelled, strict=True
    ):
        assert same(drawn, again)
        np.testing.assert_array_equal(pixels, drawn.pixels)
        assert mark_type is drawn.mark_type
        cells = drawn.mask.reshape(COVER_SIDE, cell, COVER_SIDE, cell).mean(axis=(1, 3))
        np.testing.assert_allclose(cover / 255, cells, atol=0.5 / 255 + 1e-6)


# Skin.


def test_beer_lambert_by_hand():
    skin = renderer._Skin(
        melanin_absorption=np.array([0.36, 0.50, 0.79]),
        haemoglobin_absorption=np.array([0.16, 0.78, 0.60]),
        surface=0.02,
        melanin=0.0,
        haemoglobin=0.0,
    )
    # 0.92 x 10^-(0.36 + 0.08) + 0.02 and so on, for melanin 1 and haemoglobin 0.5.
    by_hand = [0.354032, 0.123060, 0.076898]
    np.testing.assert_allclose(skin.reflectance(1.0, 0.5), by_hand, atol=2e-6)
    np.testing.assert_allclose(skin.reflectance(0.0, 0.0), [0.94, 0.82, 0.72], atol=1e-6)
    assert skin.reflectance(np.zeros((4, 5)), np.zeros((4, 5))).shape == (4, 5, 3)


@settings(max_examples=40)
@given(st.integers(0, 999), st.floats(*ITA_RANGE))
def test_the_typology_angle_asked_for_is_drawn(index, ita):
    assert render(index, size=32, ita=ita).ita_degrees == pytest.approx(ita, abs=0.02)


@pytest.mark.parametrize("kind", [RED, BROWN])
def test_skins_and_contrasts_share_their_marks_scene_and_camera(kind):
    """Whatever vessels a contrast shows, nothing else of the picture moves."""
    for index in range(12):
        light, dark = (
            render(index, 5, SIZE, mark_type=kind, ita=ita, contrast=contrast)
            for ita, contrast in ((60.0, (12.0, 18.0)), (-45.0, (3.0, 6.0)))
        )
        assert (light.mask == dark.mask).all()
        assert light.layout == dark.layout
        pair = [render(index, 5, SIZE, mark_type=k, ita=20.0).mask for k in (RED, BROWN)]
        assert (pair[0] == pair[1]).all()


def test_vessels_of_a_given_skin_do_not_move_the_scene():
    strong, faint = (
        [render(n, 8, SIZE, mark_type=RED, ita=30.0, contrast=(c, c)) for n in range(40)]
        for c in (3.0, 18.0)
    )
    apart = []
    for one, other in zip(strong, faint, strict=True):
        bare = ~one.mask & (np.abs(one.haemoglobin - other.haemoglobin) < 1e-3)
        if bare.sum() > 200:
            apart.append(np.abs(one.pixels.astype(int) - other.pixels)[bare].mean())
    assert len(apart) > 25
    # Away from the marks only exposure follows the whole; another scene is 28 to 51 levels off.
    assert max(apart) < 15


@pytest.mark.parametrize("kinds", [(), (RED, BROWN, CLEAR)])
def test_typology_angles_are_even_over_the_range(kinds):
    """Of 230 pictures, two in every degree: also within each mark type given out in turn."""
    drawn = list(render_many(230, seed=21, size=32, mark_types=kinds))
    for kind in kinds or (None,):
        angles = np.sort([each.ita_degrees for each in drawn if kind in (None, each.mark_type)])
        even = np.linspace(*ITA_RANGE, len(angles))
        assert np.abs(angles - even).max() < 300 / len(angles)


def test_darker_skin_holds_more_melanin(series):
    angles = [drawn.ita_degrees for drawn in series]
    melanin = [np.median(drawn.melanin) for drawn in series]
    ranks = [np.argsort(np.argsort(values)) for values in (angles, melanin)]
    assert np.corrcoef(*ranks)[0, 1] < -0.95


# Marks.


def test_skin_without_a_mark_has_none(series):
    for drawn in series:
        if drawn.mark_type is CLEAR:
            assert not drawn.mask.any()
            assert (drawn.delta_e, drawn.shown_delta_e, drawn.layout) == (0.0, 0.0, "none")


def test_every_picture_of_a_mark_shows_one(series):
    marked = [drawn for drawn in series if drawn.mark_type is not CLEAR]
    assert min(drawn.mask.sum() for drawn in marked) >= 4
    assert all(drawn.delta_e > 0 for drawn in marked)


def test_truth_is_of_the_pictures_shape(series):
    for drawn in series:
        assert drawn.pixels.shape == (SIZE, SIZE, 3)
        assert drawn.pixels.dtype == np.uint8
        assert drawn.pixels.flags.c_contiguous
        assert drawn.mask.dtype == bool
        for pigment in (drawn.melanin, drawn.haemoglobin):
            assert pigment.dtype == np.float32
            assert pigment.min() >= 0.0
        assert drawn.mask.shape == drawn.melanin.shape == drawn.haemoglobin.shape == (SIZE, SIZE)


def test_marks_come_in_all_sizes_and_layouts(series):
    marked = [drawn for drawn in series if drawn.mark_type is not CLEAR]
    assert {drawn.layout for drawn in marked} == {"spots", "patch", "face", "field"}
    shares = [drawn.mask.mean() for drawn in marked]
    assert min(shares) < 0.01
    for kind in (RED, BROWN):  # wholly red and wholly brown: the median is the mark itself
        assert max(drawn.mask.mean() for drawn in marked if drawn.mark_type is kind) > 0.98


def test_mark_types_are_drawn_in_their_shares(series):
    shares = dict(zip(renderer._KINDS, renderer._KIND_SHARES, strict=True))
    assert sum(shares.values()) == pytest.approx(1.0)
    for kind, share in shares.items():
        drawn = np.mean([each.mark_type is kind for each in series])
        assert drawn == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / len(series)))


def added(pairs):
    """Melanin and haemoglobin of the marks alone, with the picture they are in."""
    for marked, bare in pairs:
        melanin, haemoglobin = marked.melanin - bare.melanin, marked.haemoglobin - bare.haemoglobin
        # Where the first mark was hidden, skin and mark were drawn again and are no pair.
        if min(melanin.min(), haemoglobin.min()) >= -1e-5:
            yield marked, melanin, haemoglobin


def test_a_mark_adds_the_pigment_of_its_type(pairs):
    shares = {
        kind: [melanin.sum() / (melanin + haemoglobin).sum() for _, melanin, haemoglobin in marks]
        for kind, marks in ((kind, list(added(drawn))) for kind, drawn in pairs.items())
    }
    assert min(len(each) for each in shares.values()) > 45
    assert max(shares[RED]) < 0.11
    assert min(shares[BROWN]) > 0.7
    assert 0.4 < np.median(shares[MIXED]) < 0.65


def test_the_mask_is_where_the_mark_is_strong_and_nothing_hides_it(pairs):
    is_whole = []
    for brown, melanin, _ in added(pairs[BROWN]):
        strength = melanin / melanin.max()
        assert strength[brown.mask].min() >= 0.35
        is_whole.append(brown.mask[strength > 0.9].all())
    assert 0.3 < np.mean(is_whole) < 0.95


def test_contrast_is_as_wanted_on_light_skin(series):
    contrasts = [each.delta_e for each in series if each.ita_degrees > 28 and each.delta_e]
    assert len(contrasts) > 40
    assert CONTRAST_RANGE[0] - 0.3 < min(contrasts) < 6
    assert 25 < max(contrasts) < CONTRAST_RANGE[1] + 0.3


@pytest.mark.parametrize("kind", [RED, BROWN, MIXED])
@pytest.mark.parametrize("wanted", [5.0, 20.0])
def test_one_contrast_can_be_asked_for(kind, wanted):
    for index in range(8):
        drawn = render(index, size=32, mark_type=kind, ita=45.0, contrast=(wanted, wanted))
        assert drawn.delta_e == pytest.approx(wanted, abs=0.35)


def test_the_contrast_shown_is_that_of_the_mark_as_drawn():
    """Faint marks: the distance goes with the amount, which a field has in full somewhere."""
    fields = []
    for index in range(40):
        one, other = (
            render(index, size=48, mark_type=BROWN, ita=40.0, contrast=(each, each))
            for each in (0.01, 3.0)
        )
        assert 0.3 * 3 < other.shown_delta_e < 3.1
        if other.layout == "field":
            strength = other.melanin - one.melanin
            mean = (strength / strength.max())[other.mask].mean()
            fields.append(other.shown_delta_e / (other.delta_e * mean))
    assert len(fields) >= 3
    np.testing.assert_allclose(fields, 1.0, atol=0.06)


def test_dark_skin_never_shows_more_than_was_wanted():
    for index in range(30):
        drawn = render(index, size=32, mark_type=BROWN, ita=-48.0, contrast=(25.0, 30.0))
        assert 0 < drawn.delta_e < 30.3


def inside_and_around(index_of, drawn):
    values = index_of(drawn.pixels)
    around = cv2.dilate(drawn.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > drawn.mask
    return np.median(values[drawn.mask]), np.median(values[around])


@pytest.mark.parametrize(("kind", "index_of"), [(RED, erythema_index), (BROWN, melanin_index)])
def test_photographs_show_the_pigment_that_was_drawn(kind, index_of):
    """Through light, camera and JPEG: red marks are redder than the skin around, brown darker."""
    drawn = [
        render(n, 4, SIZE, mark_type=kind, ita=30.0 + n % 30, contrast=(15, 30)) for n in range(60)
    ]
    parted = [each for each in drawn if 0.05 < each.mask.mean() < 0.6]
    assert len(parted) > 20
    rises = [np.subtract(*inside_and_around(index_of, each)) > 0 for each in parted]
    assert np.mean(rises) > 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 31},
        {"mark_type": ManifestLabel.OTHER},
        {"contrast": (0.0, 5.0)},
        {"contrast": (6.0, 5.0)},
        {"contrast": (float("nan"), 5.0)},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueError, match=r"size is at least 32|no range"):
        render(0, **wrong)


# Folders.


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_folder_is_a_manifest_with_pictures_and_truth(tmp_path):
    out = tmp_path / "new" / "marks"
    manifest = write_rendered(out, 6, seed=2, size=SIZE, mark_types=(RED, BROWN, CLEAR))
    assert manifest == out / "manifest.csv"
    rows = read_manifest(manifest).rows
    assert [row.mark_type for row in rows] == [RED, BROWN, CLEAR] * 2
    assert len({row.group_id for row in rows}) == 6
    for index, row in enumerate(rows):
        drawn = render(index, 2, SIZE, mark_type=row.mark_type)
        with Image.open(row.file) as image:
            np.testing.assert_array_equal(np.asarray(image), drawn.pixels)
        truth = np.load(out / "truth" / row.file.with_suffix(".npz").name, allow_pickle=False)
        np.testing.assert_array_equal(truth["mask"], drawn.mask)
        np.testing.assert_array_equal(truth["melanin"], drawn.melanin.astype(np.float16))
        np.testing.assert_array_equal(truth["haemoglobin"], drawn.haemoglobin.astype(np.float16))
        assert float(row.extra["ita_degrees"]) == pytest.approx(drawn.ita_degrees, abs=0.005)
        assert float(row.extra["delta_e"]) == pytest.approx(drawn.delta_e, abs=0.005)
        assert row.extra["layout"] == drawn.layout
        assert row.source == "rendered"


def test_truth_can_be_left_out(tmp_path):
    write_rendered(tmp_path / "marks", 3, size=32, truth=False)
    assert sorted(path.suffix for path in (tmp_path / "marks").iterdir()) == [".csv", *[".png"] * 3]


def test_a_folder_is_replaced_only_where_asked(tmp_path):
    out = tmp_path / "marks"
    out.mkdir()  # an empty folder is no obstacle
    write_rendered(out, 4, size=32)
    before = contents(out)
    with pytest.raises(OutputError, match="--overwrite replaces it"):
        write_rendered(out, 2, size=32)
    assert contents(out) == before
    write_rendered(out, 2, size=32, truth=False, overwrite=True)
    assert sorted(contents(out)) == sorted(
        ["manifest.csv", *(name for name in before if name.startswith(("000000", "000001")))]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["marks"]


def test_what_is_not_ours_is_never_replaced(tmp_path):
    notes = tmp_path / "mine" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("keep me")
    ours = tmp_path / "ours"
    write_rendered(ours, 2, size=32)
    (ours / "truth" / "notes.txt").write_text("keep me")
    file = tmp_path / "file"
    file.write_text("keep me")
    for out in (notes.parent, ours, file):
        with pytest.raises(OutputError) as caught:
            write_rendered(out, 2, size=32, overwrite=True)
        assert str(out) in str(caught.value)
    for path in (notes, ours / "truth" / "notes.txt", file):
        assert path.read_text() == "keep me"


@pytest.mark.parametrize("manifest", [b"path,mark_type\n", b"\xff\xfe", b""])
def test_a_folder_with_another_manifest_is_not_ours(tmp_path, manifest):
    (tmp_path / "manifest.csv").write_bytes(manifest)
    with pytest.raises(OutputError, match=r"manifest\.csv"):
        write_rendered(tmp_path, 2, size=32, overwrite=True)
    assert contents(tmp_path) == {"manifest.csv": manifest}


def test_a_run_cut_off_leaves_what_was_there(tmp_path):
    def cut_off(items, description, total=None):
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    out = tmp_path / "marks"
    with pytest.raises(KeyboardInterrupt):
        write_rendered(out, 4, size=32, track=cut_off)
    assert list(tmp_path.iterdir()) == []
    write_rendered(out, 4, size=32)
    before = contents(out)
    with pytest.raises(KeyboardInterrupt):
        write_rendered(out, 4, seed=9, size=32, overwrite=True, track=cut_off)
    assert contents(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_killed_process_leaves_nothing_under_the_name(tmp_path):
    out = tmp_path / "marks"
    code = (
        "import sys; from pathlib import Path; from diascope.renderer import write_rendered;"
        "write_rendered(Path(sys.argv[1]), 10**6, size=32)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(out)]) as process:
        while process.poll() is None and len(list(tmp_path.rglob("*.png"))) < 3:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    write_rendered(out, 2, size=32)
    assert len(read_manifest(out / "manifest.csv").rows) == 2
