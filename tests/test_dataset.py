import csv
import hashlib
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diascope.config import DataConfig
from diascope.dataset import (
    BOX_COLUMNS,
    NEEDED_COLUMNS,
    ManifestRow,
    Sample,
    balanced_weights,
    check_apart,
    joined_rows,
    load_samples,
    read_manifest,
    rendered_sample,
    split_by_group,
    trainable,
)
from diascope.errors import ImageError, ManifestError, SplitError
from diascope.labels import ManifestLabel, MarkType
from diascope.renderer import render

RED, BROWN, CLEAR = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED, ManifestLabel.NEITHER
OTHER, MIXED = ManifestLabel.OTHER, ManifestLabel.MIXED
SKIN, MARK = (199, 148, 129), (200, 84, 97)


def picture(folder, name="a.png", size=(48, 40)):
    pixels = np.full((size[1], size[0], 3), SKIN, np.uint8)
    pixels[10:20, 10:30] = MARK
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return pixels


def manifest(folder, *rows, columns=NEEDED_COLUMNS):
    path = folder / "manifest.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def fault(path):
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    told = str(caught.value)
    assert str(path) in told
    assert told.count("\n") < 3
    return told


def row(path, mark_type=RED, source="s", group=None, box=None, folder=Path()):
    mark_type = ManifestLabel(mark_type)
    return ManifestRow(path, path, folder / path, mark_type, "", source, group or path, box, {})


# Reading a manifest.


def test_a_row_is_read_as_written(tmp_path):
    picture(tmp_path, "in/a.png")
    path = manifest(
        tmp_path,
        ["in/a.png", "mixed", "rosacea, with spots", "clinic", "p1", "1", "2.5", "30", "31", "Ä"],
        columns=(*NEEDED_COLUMNS, *BOX_COLUMNS, "who"),
    )
    read = read_manifest(path)
    assert read.path == path
    assert read.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.rows == (
        ManifestRow(
            id="in/a.png",
            path="in/a.png",
            file=tmp_path / "in/a.png",
            mark_type=MIXED,
            condition="rosacea, with spots",
            source="clinic",
            group_id="p1",
            box=(1.0, 2.5, 30.0, 31.0),
            extra={"who": "Ä"},
        ),
    )


def test_a_picture_without_group_is_a_group_of_its_own(tmp_path):
    picture(tmp_path)
    picture(tmp_path, "b.png")
    path = manifest(tmp_path, ["a.png", "neither", "", "", ""], ["b.png", "other", "", "", ""])
    assert [row.group_id for row in read_manifest(path).rows] == ["a.png", "b.png"]


def test_an_id_column_names_the_rows(tmp_path):
    picture(tmp_path)
    rows = ["a.png", "neither", "", "", "", "17"]
    assert (
        read_manifest(manifest(tmp_path, rows, columns=(*NEEDED_COLUMNS, "id"))).rows[0].id == "17"
    )


def test_a_spreadsheets_byte_order_mark_and_line_ends_are_read(tmp_path):
    picture(tmp_path)
    path = manifest(tmp_path, ["a.png", "neither", "two\r\nlines \u2028 and more", "", ""])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (only,) = read_manifest(path).rows
    assert only.condition == "two\r\nlines \u2028 and more"


@pytest.mark.parametrize("column", NEEDED_COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    columns = [name for name in NEEDED_COLUMNS if name != column]
    told = fault(manifest(tmp_path, columns=columns))
    assert f"column {column} is missing" in told
    assert ", ".join(NEEDED_COLUMNS) in told


def test_an_unknown_label_is_named_with_its_line_and_the_known_ones(tmp_path):
    picture(tmp_path)
    path = manifest(tmp_path, ["a.png", "Erythematous", "", "", ""], ["a.png", "brown", "", "", ""])
    told = fault(path)
    assert "line 2 a.png ('Erythematous'); line 3 a.png ('brown')" in told
    assert "known: erythematous, hyperpigmented, neither, other, mixed" in told
    assert "2 rows" in told


def test_all_missing_pictures_are_counted_and_the_first_five_named(tmp_path):
    picture(tmp_path)
    rows = [[f"gone{n}.png", "neither", "", "", ""] for n in range(7)]
    told = fault(manifest(tmp_path, ["a.png", "neither", "", "", ""], *rows))
    assert "path does not exist" in told
    assert "7 rows" in told
    assert "line 3 gone0.png; " in told
    assert "line 7 gone4.png, and 2 more" in told
    assert "gone5" not in told


def test_rows_with_rarer_faults_are_counted_too(tmp_path):
    picture(tmp_path)
    gone = [[f"gone{n}.png", "neither", "", "", ""] for n in range(2)]
    told = fault(manifest(tmp_path, ["a.png", "red", "", "", ""], *gone))
    assert "2 rows" in told
    assert "(1 row with other faults)" in told


@pytest.mark.parametrize("name", ["", "folder", "x" * 300 + ".png", "a\0.png"])
def test_what_is_no_file_does_not_exist(tmp_path, name):
    (tmp_path / "folder").mkdir()
    assert "path does not exist" in fault(manifest(tmp_path, [name, "neither", "", "", ""]))


@pytest.mark.parametrize("again", ["a.png", "./a.png", ".//a.png"])
def test_the_same_picture_twice_is_refused(tmp_path, again):
    picture(tmp_path)
    (tmp_path / "in").mkdir()
    path = manifest(tmp_path, ["a.png", "neither", "", "", ""], [again, "neither", "", "", ""])
    assert f"path stands twice; mend or remove 1 row\nline 3 {again}" in fault(path)


@pytest.mark.parametrize(
    "box",
    [
        ["1", "2", "3", ""],
        ["1", "2", "x", "4"],
        ["5", "2", "5", "4"],
        ["1", "4", "3", "4"],
        ["1", "2", "nan", "4"],
        ["1", "2", "inf", "4"],
    ],
)
def test_a_box_that_is_none_is_refused(tmp_path, box):
    picture(tmp_path)
    path = manifest(
        tmp_path, ["a.png", "neither", "", "", "", *box], columns=(*NEEDED_COLUMNS, *BOX_COLUMNS)
    )
    assert "box is not four numbers with left < right and top < bottom" in fault(path)


def test_an_empty_box_is_no_box(tmp_path):
    picture(tmp_path)
    cells = ["a.png", "neither", "", "", "", "", "", "", ""]
    path = manifest(tmp_path, cells, columns=(*NEEDED_COLUMNS, *BOX_COLUMNS))
    assert read_manifest(path).rows[0].box is None


@pytest.mark.parametrize(
    "cells", [["a.png", "neither", "red", " sore", "dermnet", "g"], ["a.png", "neither", "", ""]]
)
def test_a_row_of_another_length_is_refused(tmp_path, cells):
    """A comma without quotes would move every field after it by one column."""
    picture(tmp_path)
    assert "not as many fields as columns" in fault(manifest(tmp_path, cells))


def test_an_open_quote_does_not_swallow_the_rows_after_it(tmp_path):
    picture(tmp_path)
    picture(tmp_path, "b.png")
    path = manifest(tmp_path)
    with path.open("a") as file:
        file.write('a.png,neither,,,"g\nb.png,neither,,,h\n')
    assert "not readable as a CSV" in fault(path)


def test_a_column_named_twice_is_refused(tmp_path):
    told = fault(manifest(tmp_path, columns=(*NEEDED_COLUMNS, "path")))
    assert "column path stands twice" in told


def test_other_files_are_refused(tmp_path):
    gone = tmp_path / "gone.csv"
    assert "No such file" in fault(gone)
    assert "not readable as a CSV" in fault(tmp_path)
    assert "no rows" in fault(manifest(tmp_path))
    for content in (b"", b"path;mark_type\n", Image.new("RGB", (9, 9)).tobytes(), b"\xff\xfe\0p"):
        gone.write_bytes(content)
        assert "gone.csv" in fault(gone)


# Groups.


def test_copies_and_known_groups_join_rows(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        cells = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((192, 192), Image.Resampling.BICUBIC).save(tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "copy.jpg", quality=90)
    (tmp_path / "known.csv").write_text("path,group_id\nb.png,k\nc.png,k\nelse.png,k\n")
    rows = [row(name, folder=tmp_path) for name in ("a.png", "b.png", "c.png", "copy.jpg")]

    def groups(**settings):
        joined = joined_rows(rows, DataConfig(**settings), config_folder=tmp_path)
        assert [each.path for each in joined] == [each.path for each in rows]
        return [each.group_id for each in joined]

    assert groups(join_copies=False) == ["a.png", "b.png", "c.png", "copy.jpg"]
    assert groups(join_copies=True) == ["a.png", "b.png", "c.png", "a.png"]
    assert groups(join_copies=False, groups="known.csv") == ["a.png", "b.png", "b.png", "copy.jpg"]
    assert [each.group_id for each in rows] == ["a.png", "b.png", "c.png", "copy.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"path\na.png\n", b"\xff\xfe\xff", b'path,group_id\n"a'),
        *(b"path,group_id\na.png\n", b"group_id,path\nx\n"),
    ],
)
def test_known_groups_that_cannot_be_read_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "known.csv").write_bytes(content)
    config = DataConfig(join_copies=False, groups="known.csv")
    with pytest.raises(ManifestError, match=r"known\.csv"):
        joined_rows([row("a.png")], config, config_folder=tmp_path)


def test_known_groups_of_other_pictures_are_refused(tmp_path):
    (tmp_path / "known.csv").write_text("path,group_id\nphotos/a.png,k\nphotos/b.png,k\n")
    config = DataConfig(join_copies=False, groups="known.csv")
    with pytest.raises(ManifestError, match=r"known\.csv: of its 2 paths none is in the manifest"):
        joined_rows([row("a.png")], config, config_folder=tmp_path)
    mended = DataConfig(join_copies=False, groups="")
    assert joined_rows([row("a.png")], mended, config_folder=tmp_path)[0].group_id == "a.png"


# Splits.

some_rows = st.lists(
    st.tuples(
        st.sampled_from([RED, BROWN, CLEAR, MIXED]),
        st.sampled_from(["clinic", "web"]),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=40,
).map(lambda cells: [row(f"{n}", *cell[:2], group=f"g{cell[2]}") for n, cell in enumerate(cells)])


def classes(rows):
    return {each.mark_type for each in rows} & {ManifestLabel(kind) for kind in MarkType}


@pytest.mark.parametrize(
    ("leaked", "told"),
    [
        (row("b", BROWN, group="anna"), "group anna is on both sides"),
        (row("a", group="ben"), "picture a is on both sides"),
    ],
)
def test_a_leak_is_refused(leaked, told):
    training = [row("a", group="anna"), row("c", group="cleo")]
    check_apart(training, [row("d", group="dora")])
    with pytest.raises(SplitError, match=told):
        check_apart(training, [row("d", group="dora"), leaked])


@given(some_rows, st.floats(0.01, 0.9), st.integers(0, 5))
def test_a_split_loses_nothing_and_leaks_nothing(rows, share, seed):
    try:
        training, validation = split_by_group(rows, share, seed)
    except SplitError:
        return
    assert sorted(each.path for each in training + validation) == sorted(r.path for r in rows)
    assert not {r.group_id for r in training} & {r.group_id for r in validation}
    assert classes(training) == classes(validation) == classes(rows)
    assert len(classes(rows)) >= 2
    assert split_by_group(rows, share, seed) == (training, validation)


@given(
    st.lists(st.tuples(st.sampled_from([RED, BROWN, CLEAR]), st.sampled_from("ab")), max_size=30),
    st.floats(0.01, 0.9),
)
def test_two_groups_of_each_of_two_classes_are_enough(more, share):
    cells = [(RED, "a"), (RED, "b"), (BROWN, "a"), (BROWN, "b"), (CLEAR, "a"), (CLEAR, "a"), *more]
    rows = [row(f"{n}", *cell) for n, cell in enumerate(cells)]
    training, validation = split_by_group(rows, share, 0)
    assert classes(training) == classes(validation) == {RED, BROWN, CLEAR}


def test_validation_holds_its_share_of_every_class_and_source():
    rows = [
        row(f"{kind}-{source}-{n}", kind, source, group=f"{kind}-{source}-{n // 2}")
        for kind in (RED, BROWN, CLEAR)
        for source in ("clinic", "web")
        for n in range(40)
    ]
    _, validation = split_by_group(rows, 0.2, 1)
    counts = Counter((each.mark_type, each.source) for each in validation)
    assert list(counts.values()) == [8] * 6
    assert split_by_group(rows, 0.2, 2)[1] != validation


def test_a_group_of_several_classes_stays_together():
    rows = [row(f"{n}", (RED, BROWN)[n % 2], group=f"g{n // 4}") for n in range(40)]
    training, validation = split_by_group(rows, 0.3, 0)
    assert len(training) == 28
    assert not {r.group_id for r in training} & {r.group_id for r in validation}


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([], "only one class (none)"),
        ([RED] * 5, "only one class (erythematous)"),
        ([RED, RED, MIXED, MIXED], "only one class (erythematous)"),
        ([RED, RED, RED, BROWN], "hyperpigmented has too few groups"),
    ],
)
def test_too_little_to_split_is_refused(kinds, told):
    rows = [row(f"{n}", kind) for n, kind in enumerate(kinds)]
    with pytest.raises(SplitError) as caught:
        split_by_group(rows, 0.2, 0)
    assert told in str(caught.value)


def test_a_class_in_one_group_is_refused_however_many_pictures_it_has():
    rows = [row(f"r{n}") for n in range(9)]
    rows += [row(f"b{n}", BROWN, group="one person") for n in range(9)]
    with pytest.raises(SplitError, match="add pictures of other persons"):
        split_by_group(rows, 0.2, 0)


def test_other_is_never_trained_on(tmp_path):
    picture(tmp_path)
    rows = [row("a.png", kind, folder=tmp_path) for kind in ManifestLabel]
    assert [each.mark_type for each in trainable(rows)] == [RED, BROWN, CLEAR, MIXED]
    with pytest.raises(ValueError, match="other is never trained on"):
        load_samples([rows[list(ManifestLabel).index(OTHER)]], 32)


# Samples.


def test_samples_are_the_pictures_of_the_rows(tmp_path):
    pixels = picture(tmp_path)
    boxed = row("a.png", MIXED, "clinic", "g", (10.0, 10.0, 30.0, 20.0), tmp_path)
    whole, cut = load_samples([row("a.png", RED, folder=tmp_path), boxed], 32)
    np.testing.assert_array_equal(whole.pixels, pixels)
    assert (whole.inner, whole.target, whole.drawn) == (None, (1.0, 0.0, 0.0), False)
    # Half of the box's longer side, 20 px, lies around it: cut off on the left, top and bottom.
    np.testing.assert_array_equal(cut.pixels, pixels[0:30, 0:40])
    assert cut.inner == (10.0, 10.0, 30.0, 20.0)
    assert (cut.target, cut.source, cut.group_id) == ((0.5, 0.5, 0.0), "clinic", "g")


def test_photographs_are_kept_no_larger_than_training_needs(tmp_path):
    image = Image.new("RGB", (1600, 1200), SKIN)
    image.paste(MARK, (100, 100, 110, 110))
    image.save(tmp_path / "large.jpg", quality=95, subsampling=0)
    box = (100.0, 100.0, 110.0, 110.0)
    rows = [row("large.jpg", folder=tmp_path), row("large.jpg", box=box, folder=tmp_path)]
    small, cut = load_samples(rows, 32)
    assert small.pixels.shape == (150, 200, 3)
    assert cut.pixels.shape == (20, 20, 3)  # at full size: the box is small


def test_all_pictures_that_cannot_be_read_are_counted(tmp_path):
    picture(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    far = row("a.png", box=(100.0, 100.0, 120.0, 120.0), folder=tmp_path)
    with pytest.raises(ManifestError) as caught:
        load_samples([row("text.png", folder=tmp_path), far, row("a.png", folder=tmp_path)], 32)
    told = str(caught.value)
    assert told.startswith("2 pictures cannot be read")
    assert f"{tmp_path / 'text.png'}: " in told
    assert f"{tmp_path / 'a.png'}: box 100,100,120,120 " in told


def test_progress_is_shown_for_every_row(tmp_path):
    picture(tmp_path)
    shown = []

    def track(items, description, total=None):
        shown.append(total)
        return items

    load_samples([row("a.png", folder=tmp_path)] * 3, 32, track=track)
    assert shown == [3]


def test_a_bad_picture_stops_the_search_for_copies(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.png"):
        joined_rows([row("text.png", folder=tmp_path)], DataConfig())


def test_a_drawn_picture_is_a_sample():
    pixels, cover = render(3, size=32, mark_type=BROWN).pixels, np.ones((4, 4), np.uint8)
    sample = rendered_sample(pixels, BROWN, 3, cover)
    assert sample.cover is cover
    assert sample.pixels is pixels
    assert (sample.target, sample.source, sample.drawn) == ((0.0, 1.0, 0.0), "rendered", True)
    assert sample.group_id != rendered_sample(pixels, BROWN, 4, cover).group_id


# Weights.

NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


def sample(kind, source):
    cover = np.zeros((4, 4), np.uint8) if source == "rendered" else None
    return Sample(NO_PIXELS, None, kind.target, source, "g", cover)


def test_weights_by_hand():
    """Half drawn; photographs: a third per class, its sources alike, their pictures alike."""
    samples = [
        *[sample(RED, "clinic")] * 3,
        sample(RED, "web"),
        sample(BROWN, "web"),
        sample(CLEAR, "web"),
        sample(CLEAR, "clinic"),
        *[sample(BROWN, "rendered")] * 4,
        sample(RED, "rendered"),
    ]
    photographs = [1 / 18, 1 / 18, 1 / 18, 1 / 6, 1 / 3, 1 / 6, 1 / 6]
    expected = [*(0.5 * w for w in photographs), *[0.1] * 5]
    np.testing.assert_allclose(balanced_weights(samples, 0.5), expected)
    np.testing.assert_allclose(balanced_weights(samples, 0.2)[:7], np.multiply(photographs, 0.8))
    np.testing.assert_allclose(balanced_weights(samples[:7], 0.5), photographs)
    np.testing.assert_allclose(balanced_weights(samples[7:], 0.5), [0.2] * 5)


def test_a_mixed_photograph_weighs_half_of_either_class():
    samples = [
        *[sample(RED, "clinic")] * 2,
        sample(MIXED, "clinic"),
        sample(BROWN, "clinic"),
        sample(BROWN, "web"),
        sample(CLEAR, "web"),
    ]
    # Of red 2.5 pictures of one source; of brown 1.5 of the clinic, 1 of the web, half for each.
    parts = np.array([1 / 2.5, 1 / 2.5, 0.5 / 2.5 + 0.5 / 1.5 / 2, 1 / 1.5 / 2, 1 / 2, 1])
    np.testing.assert_allclose(balanced_weights(samples, 0.5), parts / 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([RED, BROWN, CLEAR, MIXED]), st.sampled_from(["a", "b", "rendered"])
        ),
        min_size=1,
        max_size=30,
    ),
    st.floats(0.0, 1.0),
)
def test_weights_are_probabilities(cells, share):
    samples = [sample(*cell) for cell in cells]
    weights = balanced_weights(samples, share)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0)
    drawn = np.array([each.drawn for each in samples])
    if drawn.any() and not drawn.all():
        assert weights[drawn].sum() == pytest.approx(share)


def test_a_path_out_of_the_folder_is_refused(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "outside.png")
    head = "path,mark_type,condition,source,group_id\n"
    for path in ("../outside.png", str(tmp_path / "outside.png")):
        (inside / "m.csv").write_text(f"{head}{path},neither,,s,g\n")
        with pytest.raises(ManifestError, match="leads out of the manifest's folder"):
            read_manifest(inside / "m.csv")


def test_known_groups_match_however_a_path_is_written(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{name}.png")
    rows = "./a.png,neither,,s,g\nb.png,neither,,s,h\n"
    (tmp_path / "m.csv").write_text("path,mark_type,condition,source,group_id\n" + rows)
    # A spreadsheet begins its CSV with a byte order mark.
    (tmp_path / "known.csv").write_text("path,group_id\na.png,p\n./b.png,p\n", "utf-8-sig")
    config = DataConfig(groups="known.csv", join_copies=False)
    joined = joined_rows(read_manifest(tmp_path / "m.csv").rows, config, config_folder=tmp_path)
    assert len({row.group_id for row in joined}) == 1


def test_a_group_that_is_most_of_a_class_stays_in_training():
    many = [row(f"r{i}", RED, group="big") for i in range(99)]
    few = [row("r-alone", RED, group="small")]
    brown = [row(f"b{i}", BROWN, group=f"b{i}") for i in range(20)]
    for seed in range(8):
        training, _ = split_by_group([*many, *few, *brown], 0.15, seed)
        assert sum(each.group_id == "big" for each in training) == 99


class TestParquet:
    COLUMNS: ClassVar = {
        "path": ["a.png", "b.png"],
        "mark_type": ["erythematous", "other"],
        "condition": ["rosacea", None],
        "source": ["s", "s"],
        "group_id": [None, "g"],
        "left": [1.5, None],
        "top": [2, None],
        "right": [30.0, None],
        "bottom": [40, None],
        "fitzpatrick": [3, None],
    }

    def written(self, folder, **changed):
        for name in ("a.png", "b.png"):
            (folder / name).touch()
        path = folder / "manifest.parquet"
        pq.write_table(pa.table(self.COLUMNS | changed), path)
        return path

    def test_is_read_as_the_same_rows_as_a_csv(self, tmp_path):
        path = self.written(tmp_path)
        first, second = read_manifest(path).rows
        assert first.box == (1.5, 2.0, 30.0, 40.0)
        assert (first.group_id, second.group_id) == ("a.png", "g")
        assert (second.box, second.condition, second.extra["fitzpatrick"]) == (None, "", "")
        assert first.extra["fitzpatrick"] == "3"
        assert read_manifest(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_is_checked_as_a_csv_is(self, tmp_path):
        path = self.written(tmp_path, mark_type=["red", "other"])
        with pytest.raises(ManifestError, match="unknown mark_type"):
            read_manifest(path)

    @pytest.mark.parametrize("column", [[[1], [2]], [{"a": 1}, {"a": 2}]])
    def test_of_lists_or_structs_is_none(self, tmp_path, column):
        with pytest.raises(ManifestError, match="not readable as a CSV or Parquet manifest"):
            read_manifest(self.written(tmp_path, path=column))

    def test_that_is_none(self, tmp_path):
        (tmp_path / "m.parquet").write_text("path,mark_type\n")
        with pytest.raises(ManifestError, match="not readable as a CSV or Parquet manifest"):
            read_manifest(tmp_path / "m.parquet")
