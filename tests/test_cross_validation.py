import csv
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from diascope import bundle as bundles
from diascope import cross_validation
from diascope.config import load_config
from diascope.cross_validation import (
    CrossValidation,
    LeftOutRow,
    cross_validate,
    deal_groups,
    leave_sources_out,
)
from diascope.dataset import ManifestRow, read_manifest
from diascope.errors import ConfigError, ManifestError, OutputError, SplitError
from diascope.evaluation.measuring import section
from diascope.figures import MeasureName
from diascope.inference import Predictor
from diascope.labels import LABEL_ORDER, ManifestLabel, Verdict
from diascope.renderer import render

RED, BROWN, NEITHER = (ManifestLabel(label.value) for label in LABEL_ORDER)
OTHER, MIXED = ManifestLabel.OTHER, ManifestLabel.MIXED
SOURCES = ("atlas", "clinic", "faces")


def row(number, label, source, group=None):
    path = f"{number}.png"
    return ManifestRow(path, path, Path(path), label, "", source, group or path, None, {})


def mixed_company():
    """Rows of three sources; every group holds two rows of one source."""
    rows = [
        row(n, (RED, BROWN, OTHER)[n % 3], SOURCES[n // 2 % 2], f"g{n // 2}") for n in range(60)
    ]
    return [*rows, *(row(60 + n, NEITHER, "faces") for n in range(6))]


class TestFolds:
    def test_by_default_every_source_with_red_or_brown_is_left_out_once(self):
        folds = leave_sources_out(mixed_company())
        assert [fold.name for fold in folds] == ["atlas", "clinic"]
        for fold in folds:
            assert {each.source for each in fold.held_out} == {fold.name}
            assert sum(each.mark_type is NEITHER for each in fold.training) == 6

    def test_named_sources_are_left_out_together(self):
        rows = [*mixed_company(), row(90, RED, "web"), row(91, BROWN, "web")]
        (fold,) = leave_sources_out(rows, [["atlas", "faces"]])
        assert fold.name == "atlas+faces"
        assert {each.source for each in fold.held_out} == {"atlas", "faces"}
        assert {each.source for each in fold.training} == {"clinic", "web"}

    def test_a_copy_in_another_source_is_not_trained_on(self):
        rows = [row(n, (RED, BROWN)[n % 2], SOURCES[n // 4]) for n in range(8)]
        rows.append(row(8, RED, "clinic", rows[0].group_id))
        (fold,) = leave_sources_out(rows, [["atlas"]])
        assert [each.path for each in fold.training] == ["4.png", "5.png", "6.png", "7.png"]
        assert fold.copies_kept_out == 1

    @given(
        st.lists(
            st.tuples(st.sampled_from(list(ManifestLabel)), st.integers(0, 30)),
            min_size=30,
            max_size=90,
        ),
        st.integers(0, 3),
    )
    def test_no_group_on_both_sides_and_every_row_judged_once(self, drawn, seed):
        rows = [row(n, label, "a", f"g{group}") for n, (label, group) in enumerate(drawn)]
        try:
            folds = deal_groups(rows, 3, seed)
        except SplitError:
            reject()
        for fold in folds:
            groups = {each.group_id for each in fold.held_out}
            assert not groups & {each.group_id for each in fold.training}
            assert OTHER not in {each.mark_type for each in fold.training}
        held_out = [each.path for fold in folds for each in fold.held_out]
        assert sorted(held_out) == sorted(each.path for each in rows)

    def test_groups_are_dealt_by_the_seed(self):
        rows = mixed_company()
        assert deal_groups(rows, 5, 1) == deal_groups(rows, 5, 1)
        assert deal_groups(rows, 5, 1) != deal_groups(rows, 5, 2)

    def test_classes_are_dealt_evenly(self):
        rows = [row(n, (RED, RED, RED, BROWN)[n % 4], "a") for n in range(80)]
        for fold in deal_groups(rows, 5, 0):
            assert [each.mark_type for each in fold.held_out].count(BROWN) == 4

    @pytest.mark.parametrize(
        ("folds", "message"),
        [
            ([["atlas"], ["klinik"]], "klinik: no such source; here are atlas, clinic, faces"),
            ([["atlas"], ["clinic", "atlas"]], "atlas: in two folds"),
            ([["atlas", "clinic"]], "no erythematous rows are left to train on"),
            ([], "no source to leave out"),
            ([["atlas"], []], "no source to leave out"),
        ],
    )
    def test_folds_that_cannot_be(self, folds, message):
        with pytest.raises(SplitError, match=message):
            leave_sources_out(mixed_company(), folds)

    def test_too_few_groups_for_the_folds(self):
        rows = [row(n, (RED, BROWN)[n % 2], "a", f"g{n % 8}") for n in range(40)]
        with pytest.raises(SplitError, match="4 groups: too few for 5 folds"):
            deal_groups(rows, 5, 0)


@pytest.fixture(scope="module")
def config(repo_root):
    settings = [
        "data.rendered_share=0.5",
        "data.rendered_count=16",
        "data.rendered_validation=8",
        "data.join_copies=false",
        "train.epochs=1",
        "train.samples_per_epoch=32",
        "train.batch_size=16",
    ]
    return load_config(repo_root / "configs" / "smoke.toml", settings)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two sources of red and brown, one of faces, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = [("broken.png", RED, "", "atlas", "")]
    (folder / "broken.png").write_bytes(b"not a picture")
    for number in range(26):
        label = NEITHER if number >= 20 else (RED, BROWN)[number % 2]
        source = "faces" if number >= 20 else SOURCES[number // 10]
        pixels = render(number, 31, 64, mark_type=label, contrast=(12.0, 32.0)).pixels
        cv2.imwrite(str(folder / f"{number}.png"), pixels[:, :, ::-1])
        lines.append((f"{number}.png", label, "", source, ""))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "mark_type", "condition", "source", "group_id"), *lines])
    return read_manifest(folder / "manifest.csv")


@pytest.fixture(scope="module")
def finished(config, manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("cross_validation") / "run"
    return out, cross_validate(config, manifest, by="source", out=out)


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of one's own to spoil."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def rows_of(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestRun:
    def test_every_readable_left_out_picture_has_one_row(self, finished, manifest):
        out, _ = finished
        expected = [each.path for each in manifest.rows if each.source != "faces"][1:]
        assert [each["path"] for each in rows_of(out)] == expected
        assert {(each["fold"], each["source"]) for each in rows_of(out)} == {
            ("atlas", "atlas"),
            ("clinic", "clinic"),
        }
        assert list(rows_of(out)[0]) == list(LeftOutRow.model_fields)

    def test_the_network_of_a_fold_judged_its_rows(self, finished, manifest):
        out, _ = finished
        files = {each.path: each.file for each in manifest.rows}
        for number, name in enumerate(("atlas", "clinic")):
            predictor = Predictor.load(out / f"fold-{number}" / "bundle")
            rows = [each for each in rows_of(out) if each["fold"] == name]
            found = predictor.predict_batch([files[each["path"]] for each in rows])
            scores = [float(each["separation"]) for each in rows]
            np.testing.assert_allclose([each.separation for each in found], scores, atol=1e-5)

    def test_aurocs_are_those_of_the_table_of_predictions(self, finished):
        out, report = finished
        folds = [[each for each in rows_of(out) if each["fold"] == fold.name]
                 for fold in report.folds]  # fmt: skip

        def area(rows, column):
            return roc_auc_score([each["mark_type"] == BROWN for each in rows],
                                 [float(each[column]) for each in rows])  # fmt: skip

        for kind, column in (("network", "separation"), ("colour", "colour_separation")):
            by_fold = [area(rows, column) for rows in folds]
            found = [getattr(fold.aurocs, kind).value for fold in report.folds]
            assert found == pytest.approx(by_fold)
            assert getattr(report.mean_aurocs, kind).value == pytest.approx(np.mean(by_fold))
            pooled = area(rows_of(out), column)
            assert getattr(report.pooled_aurocs, kind).value == pytest.approx(pooled)
        assert report.pooled.measures[MeasureName.AUROC] == report.pooled_aurocs.network

    def test_the_gain_is_the_paired_difference(self, finished):
        _, report = finished
        for aurocs in (report.pooled_aurocs, report.mean_aurocs, report.folds[0].aurocs):
            difference = aurocs.network.value - aurocs.colour.value
            assert aurocs.gain.value == pytest.approx(difference)
            assert aurocs.gain.low <= difference <= aurocs.gain.high

    def test_counts_and_names(self, finished, config):
        _, report = finished
        assert [fold.name for fold in report.folds] == ["atlas", "clinic"]
        assert [fold.trained_on for fold in report.folds] == [16, 16]
        assert report.mean_over == ("atlas", "clinic")
        assert report.pooled.labels == {RED: 10, BROWN: 10}
        assert [each.path for each in report.unreadable] == ["broken.png"]
        assert report.config == config

    def test_json_comes_back_the_same(self, finished):
        out, report = finished
        file = out / "cross_validation.json"
        assert CrossValidation.model_validate_json(file.read_bytes()) == report

    def test_table_notes_and_figures(self, finished):
        _, report = finished
        lines = cross_validation.table(report)
        names = ["left out", "atlas", "clinic", "pooled", "mean over 2 of 2 folds"]
        assert [line[0] for line in lines] == names
        assert "broken.png: not read (not_an_image), in no figure" in cross_validation.notes(report)
        figures = cross_validation.figures_of(report, "command")
        assert len({(each.name, each.data) for each in figures}) == len(figures)
        pooled = {each.name: each for each in figures if each.data.endswith(": folds pooled")}
        assert len(figures) == 3 * 3 + len(pooled)
        assert set(pooled) >= {
            "auroc_red_vs_brown_by_source",
            "auroc_red_vs_brown_by_source_of_colour_alone",
            "auroc_red_vs_brown_by_source_gain",
        }
        gain = pooled["auroc_red_vs_brown_by_source_gain"]
        assert gain.value == report.pooled_aurocs.gain.value

    def test_figures_say_what_was_decided_and_what_was_declined(self, finished):
        _, report = finished
        rows = [
            LeftOutRow(
                id=str(number),
                path=str(number),
                mark_type=label,
                condition="",
                source="atlas",
                group_id=str(number),
                tone="",
                ita_degrees=30.0,
                verdict=verdict,
                p_erythematous=0.5,
                p_hyperpigmented=0.3,
                p_neither=0.2,
                separation=0.375,
                temperature=1.0,
                fold="atlas",
                colour_separation=0.5,
            )
            for number, (label, verdict) in enumerate(
                [
                    (RED, Verdict.ERYTHEMATOUS),
                    (RED, Verdict.HYPERPIGMENTED),
                    (BROWN, Verdict.HYPERPIGMENTED),
                    (BROWN, Verdict.UNCLEAR),
                    (OTHER, Verdict.UNCLEAR),
                    (OTHER, Verdict.ERYTHEMATOUS),
                    (NEITHER, Verdict.NEITHER),
                    (MIXED, Verdict.ERYTHEMATOUS),
                ]
            )
        ]
        report = report.model_copy(update={"pooled": section("pooled", rows, 0)})
        figures = {each.name: each for each in cross_validation.figures_of(report, "command")}
        found = {name: (each.value, each.n) for name, each in figures.items()}
        assert found["coverage_by_source"] == (pytest.approx(3 / 4), 4)
        assert found["accuracy_decided_by_source"] == (pytest.approx(2 / 3), 3)
        assert found["declined_of_other_by_source"] == (pytest.approx(1 / 2), 2)
        assert found["neither_called_neither_by_source"] == (1.0, 1)
        # All five of the three classes are called red with 0.5; two are.
        assert found["ece_by_source"] == (pytest.approx(abs(0.5 - 2 / 5)), 5)
        assert found["ece_before_temperature_by_source"] == found["ece_by_source"]
        brown, red = (0.5**2 + 0.7**2 + 0.2**2), (0.5**2 + 0.3**2 + 0.2**2)
        neither = 0.5**2 + 0.3**2 + 0.8**2
        brier = (2 * red + 2 * brown + neither) / 5
        assert found["brier_by_source"] == (pytest.approx(brier), 5)
        assert found["aurc_by_source"] == (pytest.approx(1 / 2), 4)
        assert figures["coverage_by_source"].data == f"{report.data}: folds pooled"
        said = cross_validation.notes(report)
        assert said[0].startswith("declined of other: 0.500 [")
        assert said[1].startswith("neither called neither: 1.000 [")


class TestOnceMore:
    def test_a_finished_run_is_not_replaced_unasked(self, config, manifest, run):
        before = (run / "cross_validation.json").read_bytes()
        with pytest.raises(OutputError, match="--overwrite"):
            cross_validate(config, manifest, by="source", out=run)
        assert (run / "cross_validation.json").read_bytes() == before

    def test_a_run_cut_off_keeps_its_finished_folds(self, config, manifest, run, finished):
        _, report = finished
        (run / "cross_validation.json").unlink()
        bundles = [(run / f"fold-{n}" / "bundle" / "bundle.json") for n in (0, 1)]
        before = [file.stat().st_mtime_ns for file in bundles]
        again = cross_validate(config, manifest, by="source", out=run)
        assert again == report
        assert [file.stat().st_mtime_ns for file in bundles] == before

    def test_a_fold_cut_off_goes_on_from_its_checkpoint(self, config, manifest, run, finished):
        _, report = finished
        (run / "cross_validation.json").unlink()
        state = run / "fold-1" / "fold.json"
        found = cross_validation._FoldState.model_validate_json(state.read_bytes())
        state.write_text(found.model_copy(update={"rows": None}).model_dump_json())
        shutil.rmtree(run / "fold-1" / "bundle")
        again = cross_validate(config, manifest, by="source", out=run)
        assert again == report

    @pytest.mark.parametrize("change", ["recipe", "pictures", "condition", "tone", "damage"])
    def test_folds_of_another_run_are_refused(self, config, manifest, run, change):
        (run / "cross_validation.json").unlink()
        if change == "recipe":
            config = config.model_copy(update={"seed": 8})
        elif change == "pictures":
            manifest = replace(manifest, rows=manifest.rows[:-1])
        elif change in ("condition", "tone"):
            # Either stands in the table of predictions, which a fold kept.
            told = {"condition": "melasma"} if change == "condition" else {"extra": {"monk": "3"}}
            rows = [*manifest.rows[:-20], *(replace(each, **told) for each in manifest.rows[-20:])]
            manifest = replace(manifest, rows=tuple(rows))
        else:
            (run / "fold-0" / "fold.json").write_text("{")
        with pytest.raises(OutputError, match="a fold of another recipe, other pictures or"):
            cross_validate(config, manifest, by="source", out=run)
        assert not (run / "cross_validation.json").exists()

    def test_a_condition_of_what_is_only_trained_on_voids_no_fold(
        self, config, manifest, run, finished
    ):
        _, report = finished
        (run / "cross_validation.json").unlink()
        rows = [
            replace(each, condition="healthy") if each.source == "faces" else each
            for each in manifest.rows
        ]
        before = (run / "fold-0" / "bundle" / "bundle.json").stat().st_mtime_ns
        changed = replace(manifest, rows=tuple(rows))
        assert cross_validate(config, changed, by="source", out=run) == report
        assert (run / "fold-0" / "bundle" / "bundle.json").stat().st_mtime_ns == before

    def test_marks_have_a_legend(self, finished):
        _, report = finished
        alike = report.mean_aurocs.colour.model_copy(update={"low": 0.5, "high": 0.5})
        mean = report.mean_aurocs.model_copy(update={"colour": alike})
        said = cross_validation.notes(report.model_copy(update={"mean_aurocs": mean}))
        assert any(line.startswith("(alike): no draw") for line in said)
        assert any(line.startswith("(few): insufficient data") for line in said)

    def test_overwrite_starts_afresh(self, config, manifest, run, finished):
        _, report = finished
        before = (run / "fold-0" / "bundle" / "bundle.json").stat().st_mtime_ns
        folds = [["atlas"]]
        again = cross_validate(config, manifest, by="source", folds=folds, out=run, overwrite=True)
        assert again.folds == report.folds[:1]
        assert {each["source"] for each in rows_of(run)} == {"atlas"}
        assert (run / "fold-0" / "bundle" / "bundle.json").stat().st_mtime_ns > before

    def test_a_tone_that_is_none_is_told_before_the_first_fold(self, config, manifest, tmp_path):
        wrong = replace(manifest.rows[-1], extra={"fitzpatrick": "VII"})
        rows = (*manifest.rows[:-1], wrong)
        with pytest.raises(ManifestError, match=r"25\.png: fitzpatrick 'VII' is no type"):
            cross_validate(config, replace(manifest, rows=rows), by="source", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_an_impossible_plan_leaves_nothing(self, config, manifest, tmp_path):
        with pytest.raises(SplitError, match="10 groups: too few for 11 folds"):
            cross_validate(config, manifest, by="group", group_folds=11, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.fixture
def shipped(untrained_bundle, tmp_path, monkeypatch):
    """Saves the bundle that a run starts from, as the shipped one of its name."""
    monkeypatch.setattr(bundles, "_shipped_folders", lambda: [tmp_path / "models"])
    loaded = bundles.load_bundle(untrained_bundle)

    def save(name, *, photographs=0, scale=1.0):
        data = loaded.description.data.model_copy(update={"photographs": photographs})
        weights = {
            key: values * scale if key == "head.weight" else values
            for key, values in loaded.weights().items()
        }
        described = loaded.description.model_copy(update={"data": data})
        folder = tmp_path / "models" / name
        bundles.save_bundle(folder, described, weights, loaded.onnx_bytes(), None, overwrite=True)

    return save


class TestStart:
    def test_weights_that_saw_photographs_are_refused(self, config, manifest, shipped, tmp_path):
        shipped("photos", photographs=677)
        config = config.model_copy(update={"init_from": "photos"})
        with pytest.raises(
            ConfigError, match=r'untrained learnt from 677 photographs(?s:.*)"rendered"'
        ):
            cross_validate(config, manifest, by="source", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_every_fold_starts_from_the_bundle_given(self, config, manifest, shipped, tmp_path):
        shipped("rendered")
        start = tmp_path / "models" / "rendered"
        network = bundles.load_bundle(start).description.network
        cross_validate(
            config.model_copy(update={"network": network}),
            manifest,
            by="source",
            folds=[["atlas"]],
            out=tmp_path / "run",
            init_from=start,
        )
        digest = bundles.load_bundle(start).description.files[bundles.WEIGHTS]
        fold = bundles.load_bundle(tmp_path / "run" / "fold-0" / "bundle")
        assert f"(SHA-256 {digest[:12]}" in fold.description.data.summary

    def test_folds_of_a_start_trained_anew_are_not_used_again(
        self, config, manifest, shipped, tmp_path
    ):
        shipped("rendered")
        network = bundles.load_bundle(tmp_path / "models" / "rendered").description.network
        config = config.model_copy(update={"init_from": "rendered", "network": network})
        out = tmp_path / "run"
        run = partial(cross_validate, config, manifest, by="source", folds=[["atlas"]], out=out)
        first = run()
        (out / "cross_validation.json").unlink()
        assert run() == first
        (out / "cross_validation.json").unlink()
        shipped("rendered", scale=2.0)
        with pytest.raises(OutputError, match="a fold of another recipe, other pictures or"):
            run()


class TestPlantedBugs:
    def test_a_group_on_both_sides_stops_the_run(self, config, manifest, tmp_path, monkeypatch):
        """A deal that leaks: one row of the fold's own groups goes back into training."""
        honest = cross_validation._fold

        def leaking(name, rows, paths):
            fold = honest(name, rows, paths)
            twin = replace(fold.held_out[0], path="twin.png")
            return replace(fold, training=(*fold.training, twin))

        monkeypatch.setattr(cross_validation, "_fold", leaking)
        with pytest.raises(SplitError, match="on both sides of a split"):
            cross_validate(config, manifest, by="source", out=tmp_path / "out")
        assert not (tmp_path / "out" / "cross_validation.json").exists()
