from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from diascope import Predictor
from diascope.errors import GuidanceError, ImageError, UnreadableReason
from diascope.guidance import Context
from diascope.labels import LABEL_ORDER, ManifestLabel, Verdict
from diascope.renderer import render
from diascope.scoring import (
    COLUMNS,
    Row,
    ScoreInput,
    Status,
    agrees,
    document_ids,
    listed_inputs,
    predict_inputs,
    record_of,
    score_inputs,
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
