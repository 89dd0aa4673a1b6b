import csv
import json
from collections import Counter
from itertools import count

import cv2
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from diascope import evaluation
from diascope.dataset import BOX_COLUMNS, RENDERED_SOURCE, read_manifest
from diascope.errors import ManifestError, OutputError, UnreadableReason
from diascope.evaluation import evaluate
from diascope.evaluation.judging import data_name
from diascope.evaluation.measuring import before_temperature, section
from diascope.evaluation.telling import (
    DECLINING,
    cell,
    declining_notes,
    figures_of,
    legend,
    notes,
    table,
    told_of,
)
from diascope.figures import Evaluation, JudgedRow, MeasureName
from diascope.inference import Predictor
from diascope.labels import LABEL_ORDER, ManifestLabel, MarkType, Verdict
from diascope.renderer import render

RED, BROWN, NEITHER = (ManifestLabel(label.value) for label in LABEL_ORDER)
OTHER, MIXED = ManifestLabel.OTHER, ManifestLabel.MIXED


NUMBERS = count()


def judged(
    label, verdict, red, brown, *, group=None, tone="", ita=30.0, temperature=1.0, possible=None
):
    """A row as a predictor judged it; the rest of the probability is neither's."""
    path = f"{next(NUMBERS)}.png"
    return JudgedRow(
        id=path,
        path=path,
        mark_type=label,
        condition="",
        source="clinic",
        group_id=group or path,
        tone=tone,
        ita_degrees=ita,
        verdict=verdict,
        p_erythematous=red,
        p_hyperpigmented=brown,
        p_neither=1 - red - brown,
        separation=brown / (red + brown),
        temperature=temperature,
        conformal_set=possible,
    )


def write_manifest(folder, rows):
    """Pictures and a manifest; rows are (label, source, group, picture or bytes, box)."""
    path = folder / "manifest.csv"
    columns = ("path", "mark_type", "condition", "source", "group_id", *BOX_COLUMNS)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, (label, source, group, picture, box) in enumerate(rows):
            name = f"{number:03d}.png"
            if isinstance(picture, bytes):
                (folder / name).write_bytes(picture)
            else:
                cv2.imwrite(str(folder / name), picture[:, :, ::-1])
            writer.writerow([name, label, "", source, group, *(box or [""] * 4)])
    return read_manifest(path)


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Four sources: mixed company, brown only, a lesion to decline, and one unreadable file."""
    rows = []
    for number in range(48):
        label = (RED, BROWN, NEITHER)[number % 3]
        drawn = render(number, 21, 64, mark_type=label)
        box = (8, 8, 40, 44) if number % 5 == 0 else None
        rows.append((label, "clinic", f"person-{number // 6}", drawn.pixels, box))
    rows += [(BROWN, "atlas", "", render(n, 22, 64, mark_type=BROWN).pixels, None) for n in (1, 2)]
    rows += [(MIXED, "ward", "", render(3, 22, 64, mark_type=MIXED).pixels, None)]
    rows += [(OTHER, "ward", "", render(4, 22, 64).pixels, None)]
    rows += [(RED, "clinic", "", b"not a picture", None)]
    return write_manifest(tmp_path_factory.mktemp("evaluation"), rows)


@pytest.fixture(scope="module")
def report(predictor, manifest):
    return evaluate(predictor, manifest, join_copies=False)


@pytest.fixture(scope="module")
def whole(predictor, report):
    return evaluation.evaluation_of(
        predictor.bundle, "diascope evaluate", pictures=report, sweep=None
    )


class TestSection:
    rows = (
        judged(RED, Verdict.ERYTHEMATOUS, 0.9, 0.05),
        judged(RED, Verdict.ERYTHEMATOUS, 0.7, 0.2),
        judged(RED, Verdict.HYPERPIGMENTED, 0.3, 0.6),
        judged(RED, Verdict.NEITHER, 0.3, 0.1),
        judged(BROWN, Verdict.HYPERPIGMENTED, 0.1, 0.8),
        judged(BROWN, Verdict.UNCLEAR, 0.45, 0.45),
        judged(NEITHER, Verdict.ERYTHEMATOUS, 0.6, 0.1),
        judged(OTHER, Verdict.HYPERPIGMENTED, 0.0, 1.0),
        judged(OTHER, Verdict.NOT_ASSESSABLE, 0.0, 1.0),
        judged(MIXED, Verdict.UNCLEAR, 0.5, 0.5),
    )

    @pytest.mark.parametrize(
        ("name", "value", "n"),
        [
            # Brown scores 8/9 and 1/2, red 1/19, 2/9, 2/3 and 1/4: seven pairs of eight.
            (MeasureName.AUROC, 7 / 8, 6),
            (MeasureName.SENSITIVITY, 2 / 2, 2),
            (MeasureName.SPECIFICITY, 3 / 4, 4),
            (MeasureName.COVERAGE, 4 / 6, 6),
            (MeasureName.COVERAGE_OF_RED, 3 / 4, 4),
            (MeasureName.COVERAGE_OF_BROWN, 1 / 2, 2),
            (MeasureName.ACCURACY_DECIDED, 3 / 4, 4),
            # Surest first: 0.9, 0.8, 0.7 right; 0.6 wrong; then 0.45 right and 0.3 right.
            (MeasureName.ACCURACY_AT_70, 1 - 1 / (0.7 * 6), 6),
            (MeasureName.AURC, (1 / 4 + 1 / 5 + 1 / 6) / 6, 6),
            (MeasureName.AUGRC, (0.5 + 1 + 1) / 36, 6),
            # 70 % of six are at 0.45 or more; of other both are surer.
            (MeasureName.OTHER_CALLED_AT_70, 2 / 2, 2),
            # Likeliest class: red 2 of 4, brown 1 of 2 (a tie goes to the first), neither 0 of 1.
            (MeasureName.BALANCED_ACCURACY, (2 / 4 + 1 / 2 + 0) / 3, 7),
            (MeasureName.DECLINED_OF_OTHER, 1 / 2, 2),
            (MeasureName.NEITHER_CALLED_NEITHER, 0 / 1, 1),
            (MeasureName.NEITHER_GIVEN_A_COLOUR, 1 / 1, 1),
        ],
    )
    def test_by_hand(self, name, value, n):
        measure = section("all", self.rows, 0).measures[name]
        assert (measure.value, measure.n) == (pytest.approx(value), n)

    def test_calibration_of_the_likeliest_class_by_hand(self):
        rows = [judged(RED, Verdict.ERYTHEMATOUS, 0.8, 0.1)] * 3
        rows += [judged(BROWN, Verdict.ERYTHEMATOUS, 0.8, 0.1)]
        assert section("all", rows, 0).measures[MeasureName.ECE].value == pytest.approx(0.05)

    def test_conformal_coverage_by_hand(self):
        sets = ("erythematous", "erythematous neither", "hyperpigmented", "")
        rows = [judged(RED, Verdict.UNCLEAR, 0.5, 0.4, possible=each) for each in sets]
        rows += [judged(BROWN, Verdict.UNCLEAR, 0.5, 0.4, possible="erythematous hyperpigmented")]
        rows += [judged(NEITHER, Verdict.UNCLEAR, 0.5, 0.4)]
        found = section("all", rows, 0).measures
        assert found[MeasureName.CONFORMAL_OF_RED].value == 2 / 4
        assert found[MeasureName.CONFORMAL_OF_BROWN].value == 1
        assert found[MeasureName.CONFORMAL_OF_NEITHER].value is None
        assert "no conformal sets" in found[MeasureName.CONFORMAL_OF_NEITHER].note

    def test_before_and_after_temperature_by_hand(self):
        # Logits log(4), 0, 0 divided by 2 are 2/4, 1/4, 1/4; undivided 4/6, 1/6, 1/6.
        rows = [judged(RED, Verdict.ERYTHEMATOUS, 1 / 2, 1 / 4, temperature=2.0)]
        np.testing.assert_allclose(before_temperature(rows), [[4 / 6, 1 / 6, 1 / 6]])
        measures = section("all", rows, 0).measures
        assert measures[MeasureName.ECE].value == pytest.approx(1 / 2)
        assert measures[MeasureName.ECE_BEFORE].value == pytest.approx(2 / 6)
        assert measures[MeasureName.BRIER].value == pytest.approx(1 / 4 + 2 / 16)
        assert measures[MeasureName.BRIER_BEFORE].value == pytest.approx(4 / 36 + 2 / 36)

    def test_a_certain_row_survives_the_way_back(self):
        rows = [judged(RED, Verdict.ERYTHEMATOUS, 1.0, 0.0, temperature=0.5)]
        np.testing.assert_allclose(before_temperature(rows), [[1, 0, 0]], atol=1e-100)

    def test_what_perfect_calibration_would_show_needs_no_labels(self):
        rows = [judged(label, Verdict.UNCLEAR, 0.8, 0.1) for label in (RED, BROWN) * 20]
        perfect = section("all", rows, 0).measures[MeasureName.ECE_IF_PERFECT]
        # |mean of 40 coins of 0.8, less 0.8|.
        assert perfect.value == pytest.approx(0.8 * np.sqrt(0.16 / 40), rel=0.1)
        assert perfect.low < perfect.value < perfect.high

    def test_counts_every_label_by_verdict(self):
        found = section("all", self.rows, 3)
        assert (found.n, found.unreadable) == (10, 3)
        assert found.labels == {RED: 4, BROWN: 2, NEITHER: 1, OTHER: 2, MIXED: 1}
        assert found.verdicts[OTHER] == {Verdict.HYPERPIGMENTED: 1, Verdict.NOT_ASSESSABLE: 1}
        assert found.verdicts[MIXED] == {Verdict.UNCLEAR: 1}

    def test_without_rows_no_figure_and_no_crash(self):
        found = section("all", [], 4)
        assert {each.value for each in found.measures.values()} == {None}
        assert {each.note for each in found.measures.values()} == {"no value: no rows"}

    def test_other_enters_one_figure_and_mixed_none(self):
        figures = section("all", self.rows, 0).measures
        without = section("all", self.rows[:7], 0).measures
        differ = {name for name in MeasureName if figures[name] != without[name]}
        assert differ == {MeasureName.DECLINED_OF_OTHER, MeasureName.OTHER_CALLED_AT_70}
        assert figures == section("all", self.rows[:9], 0).measures

    @pytest.mark.parametrize(
        ("verdict", "declined"),
        [
            (Verdict.UNCLEAR, 1),
            (Verdict.NEITHER, 1),
            (Verdict.NOT_ASSESSABLE, 1),
            (Verdict.ERYTHEMATOUS, 0),
            (Verdict.HYPERPIGMENTED, 0),
        ],
    )
    def test_a_lesion_is_declined_by_every_verdict_without_a_colour(self, verdict, declined):
        measures = section("all", [judged(OTHER, verdict, 0.4, 0.4)], 0).measures
        assert measures[MeasureName.DECLINED_OF_OTHER].value == declined

    @pytest.mark.parametrize("name", [OTHER, NEITHER])
    def test_what_is_to_decline_is_drawn_by_groups(self, name):
        verdicts = (Verdict.NEITHER, Verdict.ERYTHEMATOUS)
        rows = [judged(name, verdicts[n % 2], 0.4, 0.1, group=f"g{n}") for n in range(10)] * 4
        alone = [row.model_copy(update={"group_id": str(n)}) for n, row in enumerate(rows)]
        measured = MeasureName.DECLINED_OF_OTHER
        if name is NEITHER:
            measured = MeasureName.NEITHER_CALLED_NEITHER
        found, of_rows = (section("all", each, 0).measures[measured] for each in (rows, alone))
        assert (found.value, found.n, found.groups) == (0.5, 40, 10)
        assert found.high - found.low > 1.5 * (of_rows.high - of_rows.low)

    def test_few_rows_are_marked(self):
        few = section("all", self.rows, 0).measures[MeasureName.AUROC]
        assert few.note == "insufficient data: 6 rows, under 30"
        rows = [judged(RED, Verdict.ERYTHEMATOUS, 0.9, n / 100) for n in range(1, 10)] * 2
        rows += [judged(BROWN, Verdict.HYPERPIGMENTED, 0.1, 0.2 + n / 100) for n in range(12)]
        assert section("all", rows, 0).measures[MeasureName.COVERAGE].n == 30

    def test_draws_that_do_not_differ_are_no_certainty(self):
        """Twenty red of ten persons and ten brown of their own, all told and ranked rightly."""
        rows = [
            judged(RED, Verdict.ERYTHEMATOUS, 0.9, n / 200, group=f"p{n // 2}") for n in range(20)
        ]
        rows += [judged(BROWN, Verdict.HYPERPIGMENTED, 0.1, 0.2 + n / 100) for n in range(10)]
        measures = section("all", rows, 0).measures
        # scipy.stats.binomtest(10, 10).proportion_ci(method="exact").low; of all thirty rows the
        # persons count for 30^2 / (10 * 2^2 + 10) = 18.
        for name, low in (
            (MeasureName.COVERAGE_OF_RED, 0.6915029),
            (MeasureName.SENSITIVITY, 0.6915029),
            (MeasureName.COVERAGE, 0.8146980),
            (MeasureName.ACCURACY_DECIDED, 0.8146980),
        ):
            found = measures[name]
            assert (found.value, found.high) == (1.0, 1.0)
            assert found.low == pytest.approx(low, abs=1e-7)
        # Of an AUROC no such bound is known: it is marked wherever it is told.
        auroc = measures[MeasureName.AUROC]
        assert auroc.note == "the draws do not differ: the true interval is wider"
        assert cell(auroc) == "1.000 [1.000, 1.000] (alike)"
        assert [line[:7] for line in legend([cell(auroc)])] == ["(alike)"]

    def test_one_more_hit_never_lowers_the_bound(self):
        bounds = []
        for hits in range(5):
            verdicts = [Verdict.ERYTHEMATOUS] * hits + [Verdict.NEITHER] * (40 - hits)
            rows = [judged(NEITHER, verdict, 0.1, 0.1) for verdict in verdicts]
            found = section("all", rows, 0).measures[MeasureName.NEITHER_GIVEN_A_COLOUR]
            bounds.append(found.high)
        assert bounds[0] == pytest.approx(0.0880973, abs=1e-7)  # scipy, 0 of 40
        assert bounds == sorted(bounds)

    def test_one_large_group_is_no_crowd(self):
        """Ninety-one pictures of one person and nine of others, all called rightly."""
        groups = ["one"] * 91 + [f"p{n}" for n in range(9)]
        rows = [judged(RED, Verdict.ERYTHEMATOUS, 0.9, 0.05, group=group) for group in groups]
        found = section("all", rows, 0).measures[MeasureName.SPECIFICITY]
        assert (found.value, found.high) == (1.0, 1.0)
        assert found.low < 0.09  # what it would be, were that one person called wrongly

    def test_groups_widen_the_interval(self):
        rng = np.random.default_rng(4)
        rows = []
        for number in range(40):
            label, brown = (RED, BROWN)[number % 2], rng.uniform(0.1, 0.8)
            rows += [judged(label, Verdict.UNCLEAR, 0.9 - brown, brown, group=f"g{number}")] * 4
        alone = [row.model_copy(update={"group_id": str(n)}) for n, row in enumerate(rows)]
        of_groups, of_rows = (
            section("all", each, 0).measures[MeasureName.AUROC] for each in (rows, alone)
        )
        assert (of_groups.groups, of_rows.groups, of_groups.n) == (40, 160, 160)
        assert of_groups.high - of_groups.low > 1.5 * (of_rows.high - of_rows.low)


class TestEvaluate:
    def test_figures_are_those_of_single_predictions(self, report, predictor, manifest):
        rows = [row for row in manifest.rows if row.source in ("clinic", "atlas")][:-1]
        single = [predictor.predict(row.file, box=row.box) for row in rows]
        labels = np.array([row.mark_type for row in rows])
        coloured = np.isin(labels, [RED, BROWN])
        scores = np.array([each.separation for each in single])
        calls = [max(LABEL_ORDER, key=each.probabilities.get) for each in single]
        measures = report.overall.measures
        assert measures[MeasureName.AUROC].value == pytest.approx(
            roc_auc_score(labels[coloured] == BROWN, scores[coloured]), abs=1e-6
        )
        assert measures[MeasureName.BALANCED_ACCURACY].value == pytest.approx(
            balanced_accuracy_score(labels, calls), abs=1e-6
        )
        verdicts = Counter(each.image_verdict for each in np.array(single)[labels == RED])
        assert report.overall.verdicts[RED] == verdicts

    def test_unreadable_pictures_are_named_and_counted(self, report, manifest):
        (lost,) = report.unreadable
        assert (lost.path, lost.reason) == ("052.png", UnreadableReason.NOT_AN_IMAGE)
        assert (report.overall.n, report.overall.unreadable) == (52, 1)
        assert {each.name: each.unreadable for each in report.sources} == {
            "atlas": 0,
            "clinic": 1,
            "ward": 0,
        }
        assert "052.png: not read (not_an_image), in no figure" in notes(report)

    def test_a_source_of_one_class_has_no_auroc_and_says_why(self, report):
        atlas, clinic, ward = report.sources
        assert atlas.measures[MeasureName.AUROC].value is None
        assert atlas.measures[MeasureName.AUROC].note == "no value: hyperpigmented rows only"
        assert atlas.measures[MeasureName.SENSITIVITY].n == 2
        assert ward.measures[MeasureName.AUROC].note == "no value: no rows"
        assert "atlas: no value: hyperpigmented rows only" in notes(report)
        auroc = clinic.measures[MeasureName.AUROC]
        assert auroc.low <= auroc.value <= auroc.high
        assert (auroc.n, auroc.groups) == (32, 8)

    def test_names_model_and_data_but_no_folder_of_the_machine(self, report, predictor, manifest):
        assert report.data == f"{manifest.path.parent.name}/manifest.csv {manifest.digest[:8]}"
        assert report.data_digest == manifest.digest
        assert str(manifest.path.parent.parent) not in report.model_dump_json()

    def test_same_input_same_report(self, report, predictor, manifest):
        assert evaluate(predictor, manifest, join_copies=False) == report

    @pytest.mark.parametrize(
        ("source", "joins", "groups"),
        [("clinic", True, 2), ("clinic", False, 3), (RENDERED_SOURCE, True, 3)],
    )
    def test_copies_join_groups(self, predictor, tmp_path, source, joins, groups):
        """A mirrored copy is one group with its original; drawn pictures are not searched."""
        blocks = np.random.default_rng(0).integers(90, 200, size=(2, 24, 24, 3)).astype(np.uint8)
        red, brown = (cv2.resize(each, (240, 240)) for each in blocks)
        rows = [(RED, red), (BROWN, brown), (RED, red[:, ::-1])]
        manifest = write_manifest(
            tmp_path, [(label, source, "", picture, None) for label, picture in rows]
        )
        report = evaluate(predictor, manifest, join_copies=joins)
        measure = report.overall.measures[MeasureName.AUROC]
        assert (measure.n, measure.groups, report.copies_joined) == (3, groups, joins)

    def test_persons_and_groups_known_join_without_a_search_for_copies(self, predictor, tmp_path):
        pixels = [render(number, 23, 64, mark_type=RED).pixels for number in range(6)]
        manifest = write_manifest(tmp_path, [(RED, "clinic", "", each, None) for each in pixels])
        lines = manifest.path.read_text().splitlines()
        patients = ("patient_id", "7", "7", "", "", "", "")
        text = "\n".join(f"{line},{patient}" for line, patient in zip(lines, patients, strict=True))
        manifest.path.write_text(text)
        (tmp_path / "known.csv").write_text("path,group_id\n002.png,k\n003.png,k\n")
        report = evaluate(
            predictor,
            read_manifest(manifest.path),
            join_copies=False,
            groups=tmp_path / "known.csv",
        )
        measure = report.overall.measures[MeasureName.SPECIFICITY]
        assert (measure.n, measure.groups) == (6, 4)

    def test_groups_known_are_held_against_the_whole_manifest_first(self, predictor, tmp_path):
        pixels = render(1, 23, 64, mark_type=RED).pixels
        rows = [(RED, "a", "", pixels, None), (RED, "a", "", b"not a picture", None)]
        manifest = write_manifest(tmp_path, rows)
        known = tmp_path / "known.csv"
        known.write_text("path,group_id\n001.png,k\n")  # there, though it cannot be read
        assert evaluate(predictor, manifest, groups=known).overall.n == 1
        known.write_text("path,group_id\nother/001.png,k\n")
        with pytest.raises(ManifestError, match="of its 1 paths none is in the manifest"):
            evaluate(predictor, manifest, groups=known)


class TestOutput:
    def test_json_comes_back_the_same(self, whole, tmp_path):
        file = evaluation.write_report(whole, tmp_path / "new" / "folder", "<p>")
        assert file.name == "evaluation.json"
        assert Evaluation.model_validate_json(file.read_bytes()) == whole
        written = json.loads(file.read_text())
        assert written["pictures"]["positive"] == MarkType.HYPERPIGMENTED
        assert written["schema_version"] == 2
        names = sorted(each.name for each in file.parent.iterdir())
        assert names == ["evaluation.html", "evaluation.json"]

    def test_a_page_of_other_figures_does_not_stay(self, whole, tmp_path):
        evaluation.write_report(whole, tmp_path, "<p>")
        evaluation.write_report(whole, tmp_path, None, overwrite=True)
        assert [each.name for each in tmp_path.iterdir()] == ["evaluation.json"]

    def test_names_model_and_command(self, whole, predictor):
        assert (whole.model, whole.model_digest) == ("untrained", predictor.bundle.digest)
        assert (whole.command, whole.learnt_photographs) == ("diascope evaluate", 0)
        assert whole.gates["separation_floor"] == 0.65

    def test_what_is_printed_says_where_figures_may_flatter(self, whole):
        def told(photographs):
            return " ".join(
                told_of(whole.model_copy(update={"learnt_photographs": photographs}))[1]
            )

        assert "learnt from 677 photographs: where the pictures measured are among" in told(677)
        assert "flatters" not in told(0)

    @pytest.mark.parametrize("name", ["evaluation.json", "evaluation.html"])
    def test_nothing_is_replaced_unasked(self, whole, name, tmp_path):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputError, match="--overwrite"):
            evaluation.write_report(whole, tmp_path, "<p>")
        assert [each.read_text() for each in tmp_path.iterdir()] == ["mine"]
        evaluation.write_report(whole, tmp_path, "<p>", overwrite=True)
        assert (tmp_path / name).read_text() != "mine"

    def test_a_file_in_the_folders_place_is_named(self, whole, tmp_path):
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(OutputError, match="taken: "):
            evaluation.write_report(whole, tmp_path / "taken", None)

    def test_table_has_a_line_for_all_and_for_every_source(self, report):
        header, *lines = table(report)
        assert header[:3] == ("rows of", "n", "AUROC red vs brown")
        assert [line[:2] for line in lines] == [
            ("all", "52"),
            ("atlas", "2"),
            ("clinic", "48"),
            ("ward", "2"),
        ]
        assert {len(line) for line in lines} == {len(header)}
        auroc = report.overall.measures[MeasureName.AUROC]
        assert lines[0][2] == f"{auroc.value:.3f} [{auroc.low:.3f}, {auroc.high:.3f}]"
        assert lines[1][2] == "-"
        assert lines[1][4].endswith("(few)")

    def test_notes_say_how_often_what_is_to_decline_was_declined(self, report):
        measures = report.overall.measures
        other, neither, coloured = (measures[name] for name in DECLINING)
        assert notes(report)[:3] == [
            f"declined of other: {cell(other)}, 1 rows",
            f"neither called neither: {cell(neither)}, 16 rows",
            f"neither given a colour: {cell(coloured)}, 16 rows",
        ]
        _, _, ward = report.sources
        said = declining_notes(ward)
        assert said[1] == "neither called neither: no value: no rows"

    def test_another_manifest_of_the_same_name_has_another_name(self, tmp_path):
        picture = render(1, 21, 64).pixels
        names = []
        for number, label in enumerate((RED, BROWN)):
            folder = tmp_path / str(number) / "photos"
            folder.mkdir(parents=True)
            rows = [(label, "clinic", "", picture, None)]
            names.append(data_name(write_manifest(folder, rows)))
        assert names[0] != names[1]
        assert {name.split(" ")[0] for name in names} == {"photos/manifest.csv"}

    def test_drawn_pictures_are_called_so(self, tmp_path):
        picture = render(1, 21, 64).pixels
        for sources, words in ((2 * ["rendered"], "drawn pictures, "), (["rendered", "ward"], "")):
            rows = [(RED, source, "", picture, None) for source in sources]
            manifest = write_manifest(tmp_path, rows)
            assert data_name(manifest).startswith(f"{words}{tmp_path.parts[-1]}/manifest.csv")

    def test_figures_leave_out_what_has_no_value(self, report):
        figures = figures_of(report, "diascope evaluate")
        named = {(figure.name, figure.data): figure for figure in figures}
        auroc = report.overall.measures[MeasureName.AUROC]
        figure = named["auroc_red_vs_brown", report.data]
        assert (figure.value, figure.low, figure.high) == (auroc.value, auroc.low, auroc.high)
        assert (figure.n, figure.command) == (auroc.n, "diascope evaluate")
        assert ("auroc_red_vs_brown", f"{report.data}: clinic") in named
        assert ("auroc_red_vs_brown", f"{report.data}: atlas") not in named
        beside = {"auroc_red_vs_brown_of_colour_alone", "auroc_red_vs_brown_gain"}
        without = {name for name in MeasureName if name.startswith("conformal")}  # by rule floor
        measured = {*MeasureName, *beside} - without
        assert {name for name, data in named if data == report.data} == measured
