import csv
import json
import os
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diascope import Predictor
from diascope.errors import GuidanceError, ImageError, ManifestError, OutputError, UnreadableReason
from diascope.guidance import Context
from diascope.labels import INTENDED_USE, LABEL_ORDER, ManifestLabel, Verdict
from diascope.renderer import render
from diascope.scoring import (
    COLUMNS,
    Row,
    ScoreInput,
    Status,
    agrees,
    check_output,
    document_ids,
    listed_inputs,
    metadata,
    parse_box,
    predict_inputs,
    read_inputs,
    record_of,
    score_inputs,
    write_csv,
)


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Six drawn pictures, all different, and one file of every common fault."""
    folder = tmp_path_factory.mktemp("gallery")
    for index in range(6):
        Image.fromarray(render(index, seed=5, size=64).pixels).save(folder / f"good-{index}.png")
    photo = Image.fromarray(render(9, seed=5, size=128).pixels)
    photo.save(folder / "photo.jpg", quality=90)
    (folder / "cut.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:1500])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    photo.resize((20, 40)).save(folder / "small.png")
    return folder


FAULTS = {
    "cut.jpg": "truncated",
    "empty.png": "truncated",
    "text.png": "not_an_image",
    "small.png": "too_small",
    "gone.png": "missing",
}


def mixed(gallery, order):
    """Inputs in an order that puts good and bad pictures side by side."""
    names = sorted([*FAULTS, *(f"good-{index}.png" for index in range(6))])
    chosen = [names[index] for index in np.random.default_rng(order).permutation(len(names))]
    return [ScoreInput(name, name, gallery / name) for name in chosen]


def manifest(folder, text, name="manifest.csv", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


class TestReadingAFolder:
    def test_pictures_at_every_depth_sorted_by_path(self, tmp_path):
        for name in ("b.png", "a/z.JPG", "a/b/y.webp", "a.tiff", "notes.txt", "rows.csv", "x"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        inputs = read_inputs(tmp_path)
        assert [item.path for item in inputs] == ["a.tiff", "a/b/y.webp", "a/z.JPG", "b.png"]
        assert all(item.id == item.path and item.file == tmp_path / item.path for item in inputs)

    def test_without_pictures_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        with pytest.raises(ManifestError, match="holds no pictures"):
            read_inputs(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_folder_that_cannot_be_listed_is_not_passed_over(self, tmp_path):
        (tmp_path / "a.png").touch()
        (tmp_path / "closed").mkdir(mode=0o000)
        with pytest.raises(ManifestError, match="closed: the folder cannot be listed"):
            read_inputs(tmp_path)


class TestReadingAManifest:
    def test_path_alone_is_enough(self, tmp_path):
        given = manifest(tmp_path, "path\nb.png\nsub/a.png\n")
        assert read_inputs(given) == (
            ScoreInput("b.png", "b.png", tmp_path / "b.png"),
            ScoreInput("sub/a.png", "sub/a.png", tmp_path / "sub/a.png"),
        )

    def test_everything_it_may_say_is_read(self, tmp_path):
        given = manifest(
            tmp_path,
            "note,contexts,blanches,bottom,right,top,left,path,id\n"
            "x,pregnancy;dark_skin,yes,40.5,30,20,10,a.png,first\n"
            "y,,no,,,,,b.png,\n",
            encoding="utf-8-sig",  # as spreadsheets write it
        )
        first, second = read_inputs(given)
        assert first.id == "first"
        assert first.box == (10.0, 20.0, 30.0, 40.5)
        assert first.blanches is True
        assert first.contexts == (Context.PREGNANCY, Context.DARK_SKIN)
        assert second == ScoreInput("b.png", "b.png", tmp_path / "b.png", blanches=False)

    def test_a_quoted_name_may_hold_anything(self, tmp_path):
        given = manifest(tmp_path, 'path\n"a,\n""b"".png"\n')
        assert read_inputs(given)[0].path == 'a,\n"b".png'

    def test_labels_are_read_only_where_asked_for(self, tmp_path):
        given = manifest(tmp_path, "path,mark_type\na.png,mixed\nb.png,\n")
        assert [item.mark_type for item in read_inputs(given, labelled=True)] == [
            ManifestLabel.MIXED,
            None,
        ]
        # Somebody else's column of that name does not keep pictures from being scored.
        given = manifest(tmp_path, "path,mark_type\na.png,wart\n")
        assert read_inputs(given)[0].mark_type is None
        with pytest.raises(ManifestError, match="unknown mark_type 'wart'"):
            read_inputs(given, labelled=True)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("file\na.png\n", "column path is missing"),
            ("", "column path is missing"),
            ("path\n", "holds no pictures"),
            ("path,id\n,3\n", "path is empty"),
            ("path\n../a.png\n", "points outside"),
            ("path\nsub/../../a.png\n", "points outside"),
            ("path\n/etc/passwd\n", "points outside"),
            ("path,blanches\na.png,perhaps\n", "blanches is 'perhaps'"),
            ("path,contexts\na.png,pregnant\n", "'pregnant' is no context"),
            ("path,left,top,right,bottom\na.png,1,2,3,\n", "box is not four numbers"),
            ("path,left,top,right,bottom\na.png,1,2,3\n", "not as many fields as columns"),
            ("path,blanches\na.png,yes,no\n", "not as many fields as columns"),
            ("id,path\n1\n", "not as many fields as columns"),
            ("path,blanches,blanches\na.png,yes,no\n", "column blanches stands twice"),
            ("path,left,top,right,bottom\na.png,9,2,3,4\n", "box is not four numbers"),
            ('path\n"a.png\n', "not readable as a CSV manifest"),
        ],
    )
    def test_faults(self, tmp_path, text, fault):
        with pytest.raises(ManifestError, match=fault) as caught:
            read_inputs(manifest(tmp_path, text))
        assert len(str(caught.value).splitlines()) <= 3
        assert "manifest.csv" in str(caught.value)

    def test_all_faults_are_counted_and_five_named(self, tmp_path):
        rows = [f"../{index}.png," for index in range(8)] + ["a.png,maybe", "b.png,yes"]
        with pytest.raises(ManifestError) as caught:
            read_inputs(manifest(tmp_path, "\n".join(["path,blanches", *rows])))
        first, second, third = str(caught.value).splitlines()
        assert "8 rows" in first
        assert second.count("line") == 5
        assert second.startswith("line 2 ../0.png")
        assert second.endswith("and 3 more")
        assert third == "(1 rows have other faults)"

    @pytest.mark.parametrize("content", [b"path\n\xff.png\n", b"path\na\0b.png\n\xfe"])
    def test_what_is_no_text_is_refused(self, tmp_path, content):
        (tmp_path / "m.csv").write_bytes(content)
        with pytest.raises(ManifestError, match="not readable"):
            read_inputs(tmp_path / "m.csv")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(ManifestError, match="no such folder or manifest"):
            read_inputs(tmp_path / "none.csv")


class TestListedInputs:
    def test_named_pictures_keep_their_names_and_what_is_known(self):
        known = {"box": (1, 2, 30, 40), "blanches": False, "contexts": [Context.PREGNANCY]}
        (only,) = listed_inputs(["./x/photo.jpg"], **known)
        assert only.path == only.id == "./x/photo.jpg"
        assert (only.box, only.blanches) == ((1, 2, 30, 40), False)
        assert only.contexts == (Context.PREGNANCY,)

    def test_a_folder_or_manifest_stands_for_its_pictures_only_when_asked(self, tmp_path):
        (tmp_path / "a.png").touch()
        given = manifest(tmp_path, "path,mark_type\na.png,neither\n")
        named = [str(given), str(tmp_path), "b.png"]
        assert [item.path for item in listed_inputs(named)] == named
        expanded = listed_inputs(named, expand=True)
        assert [item.path for item in expanded] == ["a.png", "a.png", "b.png"]
        assert expanded[0].mark_type is ManifestLabel.NEITHER


@pytest.mark.parametrize(
    "edges",
    [
        "1,2,3",
        "1,2,3,4,5",
        "a,2,3,4",
        "5,2,5,9",
        "1,9,4,9",
        "9,1,2,3",
        "nan,1,2,3",
        "0,0,inf,4",
        "",
    ],
)
def test_what_is_no_box(edges):
    with pytest.raises(ValueError, match="not four numbers"):
        parse_box(edges.split(","))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2, unique=True))
def test_a_box_is_read_as_it_is_written(edges):
    low, high = sorted(edges)
    assert parse_box([repr(low), repr(low), repr(high), repr(high)]) == (low, low, high, high)


def test_columns_are_the_public_contract():
    assert ",".join(COLUMNS) == (
        "id,path,status,reason,verdict,image_verdict,p_erythematous,p_hyperpigmented,p_neither,"
        "separation,ita_degrees,blanches,width,height,claim_ids,document_ids,model"
    )


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ("erythematous", "ok"),
        ("hyperpigmented", "ok"),
        ("unclear", "declined"),
        ("neither", "declined"),
        ("not_assessable", "declined"),
    ],
)
def test_status_of_a_verdict(verdict, status):
    assert Status.of(Verdict(verdict)) == status


class TestScore:
    @pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 1), (64, 1), (1, 2), (2, 3)])
    def test_every_picture_keeps_its_place_and_its_own_numbers(
        self, predictor, gallery, batch_size, workers
    ):
        inputs = mixed(gallery, order=batch_size)
        rows = list(score_inputs(predictor, inputs, batch_size=batch_size, workers=workers))
        assert [row.path for row in rows] == [item.path for item in inputs]
        for item, row in zip(inputs, rows, strict=True):
            if item.path in FAULTS:
                assert (row.status, row.reason) == (Status.UNREADABLE, FAULTS[item.path])
                told = {name for name in COLUMNS if getattr(row, name) not in (None, "")}
                assert told == {"id", "path", "status", "reason", "model"}
                continue
            alone = predictor.predict(item.file)
            numbers = (row.p_erythematous, row.p_hyperpigmented, row.p_neither, row.separation)
            expected = (*alone.class_probabilities, alone.separation)
            assert numbers == pytest.approx(expected, abs=1e-6)
            assert row.verdict == alone.verdict
            assert row.ita_degrees == alone.ita_degrees
        assert len({row.p_erythematous for row in rows}) == 7  # six different ones and None

    def test_a_row_says_what_the_prediction_says(self, predictor, gallery):
        item = ScoreInput(
            "7", "p", gallery / "photo.jpg", (10, 20, 60, 90), False, (Context.PREGNANCY,)
        )
        (row,) = score_inputs(predictor, [item])
        told = predictor.predict(
            item.file, box=item.box, blanches=False, contexts=(Context.PREGNANCY,)
        )
        assert row == Row(
            id="7",
            path="p",
            status=Status.of(told.verdict),
            reason=";".join(told.reasons),
            verdict=told.verdict,
            image_verdict=told.image_verdict,
            p_erythematous=told.class_probabilities[0],
            p_hyperpigmented=told.class_probabilities[1],
            p_neither=told.class_probabilities[2],
            separation=told.separation,
            ita_degrees=told.ita_degrees,
            blanches=False,
            width=128,
            height=128,
            claim_ids=";".join(claim.id for claim in told.guidance),
            document_ids=";".join(document_ids(told.guidance)),
            model=f"untrained@{told.model_digest[:12]}",
        )

    def test_a_box_beside_the_picture_costs_that_row_only(self, predictor, gallery):
        good = ScoreInput("a", "a", gallery / "good-0.png")
        beside = replace(good, id="b", box=(500.0, 500.0, 600.0, 600.0))
        rows = list(score_inputs(predictor, [good, beside, replace(good, id="c")]))
        assert [row.reason == "too_small" for row in rows] == [False, True, False]
        assert rows[0].p_neither == rows[2].p_neither

    def test_several_reasons_stand_in_one_cell(self, predictor, tmp_path):
        Image.new("L", (64, 64), 0).save(tmp_path / "black.png")
        (row,) = score_inputs(predictor, [ScoreInput("x", "x", tmp_path / "black.png")])
        assert (row.status, row.reason) == (Status.DECLINED, "no_colour;under_exposed")
        assert row.verdict is Verdict.NOT_ASSESSABLE

    @pytest.mark.parametrize("workers", [1, 2])
    def test_reads_little_ahead_and_stops_when_it_is_left(self, predictor, gallery, workers):
        taken = []

        def endless():
            while True:
                taken.append(1)
                yield ScoreInput("x", "x", gallery / "empty.png")

        rows = score_inputs(predictor, endless(), batch_size=4, workers=workers)
        assert len(list(islice(rows, 20))) == 20
        rows.close()
        assert len(taken) <= 20 + 4 * (2 * workers + 2)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_fault_of_the_program_is_no_row(self, predictor, gallery, workers):
        wrong = ScoreInput("x", "x", gallery / "good-0.png", contexts=("nonsense",))
        with pytest.raises(GuidanceError, match="nonsense"):
            list(score_inputs(predictor, [wrong], workers=workers))


class TestWriteCsv:
    def written(self, predictor, inputs, out, **options):
        return write_csv(score_inputs(predictor, inputs), out, metadata(predictor), **options)

    def test_reads_back_as_it_was(self, predictor, gallery, tmp_path):
        inputs = [*mixed(gallery, 1), *listed_inputs([str(gallery / "photo.jpg")], blanches=True)]
        rows = list(score_inputs(predictor, inputs))
        counts = self.written(predictor, inputs, tmp_path / "rows.csv")
        with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            assert tuple(table.fieldnames) == COLUMNS
            cells = list(table)
        assert counts == Counter(row.status for row in rows)
        assert counts.total() == len(inputs) == len(cells)
        for row, read in zip(rows, cells, strict=True):
            for name in COLUMNS:
                value = getattr(row, name)
                if isinstance(value, float):
                    assert float(read[name]) == value
                else:
                    shown = {None: "", True: "yes", False: "no"}
                    assert read[name] == (shown[value] if value in (None, True) else str(value))

    def test_odd_names_make_no_odd_rows(self, predictor, tmp_path):
        names = ['a,"b".png', "two\nlines.png", os.fsdecode(b"caf\xe9.png"), "=1+1.png"]
        inputs = [ScoreInput(name, name, tmp_path / name) for name in names]
        self.written(predictor, inputs, tmp_path / "rows.csv")
        with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
            read = [row["path"] for row in csv.DictReader(file)]
        assert read == [*names[:2], "caf\\udce9.png", names[3]]

    def test_what_made_the_rows_stands_beside_them(self, predictor, gallery, tmp_path):
        self.written(predictor, mixed(gallery, 0), tmp_path / "my.rows.csv")
        about = json.loads((tmp_path / "my.rows.meta.json").read_text())
        assert about["intended_use"] == INTENDED_USE
        assert about["model"] == {
            "name": "untrained",
            "digest": predictor.bundle.digest,
            "intended_use": predictor.bundle.description.intended_use,
        }
        assert about["guidance"]["version"] == predictor.pack.version
        assert about["columns"] == list(COLUMNS)

    @pytest.mark.parametrize("earlier", [None, "old rows"])
    def test_whole_or_not_at_all(self, predictor, gallery, tmp_path, earlier):
        out = tmp_path / "rows.csv"
        if earlier:
            out.write_text(earlier)

        def breaks():
            yield from score_inputs(predictor, mixed(gallery, 0)[:2])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_csv(breaks(), out, {}, overwrite=True)
        left = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert left == ({"rows.csv": earlier} if earlier else {})

    def test_an_earlier_file_is_kept_unless_told(self, predictor, gallery, tmp_path):
        out = tmp_path / "rows.csv"
        out.write_text("precious")
        with pytest.raises(OutputError, match="--overwrite"):
            self.written(predictor, mixed(gallery, 0), out)
        assert out.read_text() == "precious"
        self.written(predictor, mixed(gallery, 0), out, overwrite=True)
        assert out.read_text().startswith("id,path,")

    def test_what_stands_beside_an_earlier_file_is_kept_too(self, predictor, tmp_path):
        beside = tmp_path / "rows.meta.json"
        beside.write_text("precious")
        with pytest.raises(OutputError, match=r"rows\.meta\.json: exists already; use --overwrite"):
            self.written(predictor, [], tmp_path / "rows.csv")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
            ("rows.meta.json", "precious")
        ]
        self.written(predictor, [], tmp_path / "rows.csv", overwrite=True)
        assert json.loads(beside.read_text())["columns"] == list(COLUMNS)

    @pytest.mark.parametrize("name", ["rows", "rows.parquet", "folder.csv"])
    def test_what_cannot_be_written_is_said_before_the_work(self, tmp_path, name):
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(OutputError, match=name):
            check_output(tmp_path / name, overwrite=True)

    def test_a_file_where_a_folder_should_be(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            write_csv([], tmp_path / "file" / "rows.csv", {})


def test_a_record_is_the_prediction_with_its_path(predictor, gallery):
    inputs = listed_inputs([str(gallery / name) for name in ("good-1.png", "text.png")])
    (one, good), (other, bad) = predict_inputs(predictor, inputs)
    record = record_of(one, good)
    assert record.pop("path") == str(gallery / "good-1.png")
    assert record.pop("status") in ("ok", "declined")
    assert record == predictor.predict(gallery / "good-1.png").to_dict()
    assert isinstance(bad, ImageError)
    assert record_of(other, bad) == {
        "path": str(gallery / "text.png"),
        "status": "unreadable",
        "reason": UnreadableReason.NOT_AN_IMAGE,
        "detail": bad.detail,
    }


def test_documents_stand_once_in_order_of_mention(predictor):
    claims = sorted(predictor.pack.claims, key=lambda claim: -len(claim.sources))
    mentioned = [source.document for claim in claims for source in claim.sources]
    expected = sorted(set(mentioned), key=mentioned.index)
    assert list(document_ids(claims)) == expected


def test_which_verdicts_are_right_for_a_label():
    right = {
        (label, verdict) for label in ManifestLabel for verdict in Verdict if agrees(label, verdict)
    }
    assert right == {
        *((ManifestLabel(name), Verdict(name)) for name in LABEL_ORDER),
        (ManifestLabel.MIXED, Verdict.UNCLEAR),
        (ManifestLabel.OTHER, Verdict.UNCLEAR),
        (ManifestLabel.OTHER, Verdict.NEITHER),
        (ManifestLabel.OTHER, Verdict.NOT_ASSESSABLE),
    }


def test_inputs_are_left_as_they_were(predictor, gallery, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in gallery.iterdir()}
    write_csv(score_inputs(predictor, read_inputs(gallery)), tmp_path / "rows.csv", {})
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in gallery.iterdir()}
    assert before == after
    assert Path(tmp_path / "rows.csv").read_text().count("\n") == len(before) + 1
