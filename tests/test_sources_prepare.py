"""One manifest from any set: accepted by training, and nothing left out without being counted."""

import ast
import csv
import hashlib
import json
import shutil
from collections import Counter

import pytest
from PIL import Image
from test_sources import (
    F17K,
    SCIN_CASES,
    SCIN_LABELS,
    f17k_row,
    scin_case,
    scin_label,
    write_table,
)

from diascope.dataset import read_manifest
from diascope.errors import OutputError, SourceError
from diascope.labels import ManifestLabel
from diascope.renderer import render
from diascope.sources import source_named
from diascope.sources.label_maps import EXCLUDED
from diascope.sources.prepare import COLUMNS, OUT_OF_DOMAIN, Choices, prepare

LABELS_ONLY = Choices(labels_only=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight drawn pictures that differ, as PNG and as JPEG."""
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(8):
        image = Image.fromarray(render(n, size=64).pixels)
        image.save(folder / f"{n}.png")
        image.save(folder / f"{n}.jpg")
    return folder


def put(picture, *places):
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)


def lines_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def made(name, root, out, choices=None, **options):
    """Prepare; the report returned is the one written."""
    report = prepare(source_named(name), root, out, choices, **options)
    written = json.loads(out.with_name(f"{out.name}.report.json").read_text())
    assert written == json.loads(json.dumps(report))
    assert report["manifest_sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    return report


@pytest.fixture
def scin(tmp_path, pictures):
    """A set of ten cases: two red, one brown, one clear, one of three pictures with faults."""
    images = tmp_path / "dataset" / "images"
    for n in range(6):
        put(pictures / f"{n}.png", images / f"{n}.png")
    (images / "page.png").write_text("<!DOCTYPE html><title>Sign in</title>")
    (images / "cut.png").write_bytes((pictures / "6.png").read_bytes()[:900])
    write_table(
        tmp_path / "dataset" / "scin_cases.csv",
        SCIN_CASES,
        scin_case("1", "0", "1"),
        scin_case("2", "2"),
        scin_case("3", "3"),
        scin_case("4", "4", "page", "cut"),
        scin_case("5", "gone", "../../../etc/passwd"),
        scin_case("6", "5"),
        scin_case("7", "5"),
        scin_case("8", "1"),
        scin_case("9", "9"),
        scin_case("9", "9"),
        scin_case("10", "10"),
    )
    write_table(
        tmp_path / "dataset" / "scin_labels.csv",
        SCIN_LABELS,
        scin_label("1", "{'Rosacea': 1.0}", tones=("FST5",), monk=("7", "7")),
        scin_label("2", "{'Melasma': 0.7, 'Lentigo': 0.3}"),
        scin_label("3", "{}", gradable=("YES_IMAGE_QUALITY_SUFFICIENT_NO_DISCERNIBLE_PATHOLOGY",)),
        scin_label("4", "{'Psoriasis': 1.0}"),
        scin_label("5", "{'Flushing': 1.0}"),
        scin_label("6", "{'Rosacea': 1.0}"),
        scin_label("7", "{'Acne': 1.0}"),
        scin_label("8", "{'Sunburn': 1.0}"),
        scin_label("9", "{'Rosacea': 1.0}"),
        scin_label("10", "{'Drug Rash': 1.0}"),
    )
    return tmp_path


def test_every_picture_is_written_or_counted(scin):
    report = made("scin", scin, scin / "manifest.csv")
    lines = lines_of(scin / "manifest.csv")
    assert [(line["path"], line["mark_type"], line["condition"]) for line in lines] == [
        ("dataset/images/0.png", "erythematous", "Rosacea"),
        ("dataset/images/1.png", "erythematous", "Rosacea"),
        ("dataset/images/2.png", "hyperpigmented", "Melasma"),
        ("dataset/images/3.png", "neither", "NO_DISCERNIBLE_PATHOLOGY"),
        ("dataset/images/4.png", "other", "Psoriasis"),
    ]
    assert tuple(lines[0]) == COLUMNS
    assert lines[0] | {"sha256": ""} == {
        "path": "dataset/images/0.png",
        "mark_type": "erythematous",
        "condition": "Rosacea",
        "source": "scin",
        "patient_id": "",
        "group_id": "scin/1",
        "fitzpatrick": "5",
        "monk": "7",
        **dict.fromkeys(("left", "top", "right", "bottom", "sha256"), ""),
        "licence": "SCIN Data Use License",
    }
    data = (scin / lines[0]["path"]).read_bytes()
    assert lines[0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert {reason: n["pictures"] for reason, n in report["dropped"].items()} == {
        "ambiguous": 1,
        "duplicate_id": 2,
        "html_page": 1,
        "no_picture": 1,
        "same_picture": 1,
        "two_labels": 2,
        "unreadable": 1,
        "unsafe_path": 1,
    }
    # Table rows and pictures all add up.
    assert report["rows"] == 11
    assert report["pictures"] == 15
    kept = sum(n["pictures"] for kind, n in report["mark_types"].items() if kind != EXCLUDED)
    dropped = sum(n["pictures"] for n in report["dropped"].values())
    assert kept == len(lines)
    assert kept + dropped == report["pictures"]
    assert report["mark_types"][EXCLUDED]["pictures"] == dropped
    # A case stays while one of its pictures does; each that goes has one reason.
    cases = {line["group_id"] for line in lines}
    rows = sum(n["rows"] for kind, n in report["mark_types"].items() if kind != EXCLUDED)
    assert rows == len(cases) == 4
    assert sum(n["rows"] for n in report["dropped"].values()) == 7
    for counted in ("conditions", "fitzpatrick"):
        assert sum(sum(each.values()) for each in report[counted].values()) == 11


def test_every_fault_is_named_with_file_and_row(scin):
    report = made("scin", scin, scin / "manifest.csv")
    told = {(fault["reason"], fault["where"]) for fault in report["faults"]}
    assert told == {
        ("html_page", "scin_labels.csv line 5"),
        ("unreadable", "scin_labels.csv line 5"),
        ("no_picture", "scin_labels.csv line 6"),
        ("unsafe_path", "scin_labels.csv line 6"),
        ("two_labels", "scin_labels.csv line 7"),
        ("two_labels", "scin_labels.csv line 8"),
        ("same_picture", "scin_labels.csv line 9"),
        ("duplicate_id", "scin_labels.csv line 10"),
        ("duplicate_id", "scin_cases.csv line 11"),
    }


def test_training_takes_it_and_cases_that_share_a_picture_are_one_group(scin):
    for name in ("manifest.csv", "manifest.parquet"):
        made("scin", scin, scin / name)
        rows = read_manifest(scin / name).rows
        assert [row.mark_type for row in rows] == [
            ManifestLabel.ERYTHEMATOUS,
            ManifestLabel.ERYTHEMATOUS,
            ManifestLabel.HYPERPIGMENTED,
            ManifestLabel.NEITHER,
            ManifestLabel.OTHER,
        ]
        # Case 8 shows a picture of case 1 again.
        assert [row.group_id for row in rows[:3]] == ["scin/1", "scin/1", "scin/2"]
        assert rows[0].extra["fitzpatrick"] == "5"
        assert rows[2].extra["monk"] == ""
    by_csv, by_parquet = (
        [vars(row) for row in read_manifest(scin / name).rows]
        for name in ("manifest.csv", "manifest.parquet")
    )
    assert by_csv == by_parquet


def test_equal_bytes_under_two_names_join_the_groups(tmp_path, pictures):
    """The first stays, in the group that both are in; other labels part them for good."""
    put(
        pictures / "0.jpg", tmp_path / "erythematous" / "a.jpg", tmp_path / "erythematous" / "b.jpg"
    )
    put(pictures / "1.jpg", tmp_path / "erythematous" / "c.jpg", tmp_path / "other" / "d.jpg")
    put(pictures / "2.jpg", tmp_path / "hyperpigmented" / "e.jpg")
    table = tmp_path / "mine.csv"
    rows = [
        ("erythematous/a.jpg", "erythematous", "ann"),
        ("erythematous/b.jpg", "erythematous", "ben"),
        ("hyperpigmented/e.jpg", "hyperpigmented", "ben"),
        ("erythematous/c.jpg", "erythematous", "cy"),
        ("other/d.jpg", "other", "dee"),
    ]
    columns = ["path", "mark_type", "patient_id"]
    write_table(table, columns, *[dict(zip(columns, row, strict=True)) for row in rows])
    report = made("folders", table, tmp_path / "manifest.csv")
    lines = lines_of(tmp_path / "manifest.csv")
    assert [(line["path"], line["patient_id"], line["group_id"]) for line in lines] == [
        ("erythematous/a.jpg", "folders/ann", "folders/ann"),
        ("hyperpigmented/e.jpg", "folders/ben", "folders/ann"),
    ]
    assert [(fault["reason"], fault["where"]) for fault in report["faults"]] == [
        ("same_picture", "mine.csv line 3"),
        ("two_labels", "mine.csv line 5"),
        ("two_labels", "mine.csv line 6"),
    ]
    assert "mine.csv line 6" in report["faults"][1]["detail"]


def test_who_loses_a_picture_stays_with_its_twin(tmp_path, pictures):
    """Ben's a.jpg goes, as it is Ann's; his other one, in a group of its own, must not part."""
    folder = tmp_path / "erythematous"
    put(pictures / "0.jpg", folder / "a.jpg", folder / "b.jpg")
    put(pictures / "1.jpg", folder / "c.jpg")
    columns = ["path", "mark_type", "patient_id", "group_id"]
    rows = [("a", "ann", "1"), ("b", "ben", "2"), ("c", "ben", "3")]
    cells = [(f"erythematous/{name}.jpg", "erythematous", *rest) for name, *rest in rows]
    table = tmp_path / "mine.csv"
    write_table(table, columns, *[dict(zip(columns, row, strict=True)) for row in cells])
    made("folders", table, tmp_path / "m.csv")
    lines = lines_of(tmp_path / "m.csv")
    assert [(line["patient_id"], line["group_id"]) for line in lines] == [
        ("folders/ann", "folders/1"),
        ("folders/ben", "folders/1"),
    ]


def test_a_second_row_of_an_id_goes_and_both_where_they_differ(tmp_path):
    rows = [f17k_row(0, "acne"), f17k_row(0, "acne"), f17k_row(1, "acne"), f17k_row(1, "rosacea")]
    write_table(tmp_path / "fitzpatrick17k.csv", F17K, *rows, f17k_row(2, "rosacea"))
    report = made("fitzpatrick17k", tmp_path, tmp_path / "m.csv", LABELS_ONLY)
    kinds = [line["mark_type"] for line in lines_of(tmp_path / "m.csv")]
    assert kinds == ["other", EXCLUDED, EXCLUDED, EXCLUDED, "erythematous"]
    assert report["dropped"] == {"duplicate_id": {"rows": 3, "pictures": 3}}
    assert [fault["where"] for fault in report["faults"]] == [
        f"fitzpatrick17k.csv line {n}" for n in (3, 4, 5)
    ]


def test_labels_only_needs_no_picture_and_keeps_every_row(scin):
    shutil.rmtree(scin / "dataset" / "images")
    report = made("scin", scin, scin / "labels.csv", LABELS_ONLY)
    lines = lines_of(scin / "labels.csv")
    assert len(lines) == report["rows"] == 11
    assert Counter(line["mark_type"] for line in lines) == {
        kind: n["rows"] for kind, n in report["mark_types"].items()
    }
    assert {line["sha256"] for line in lines} == {""}


def test_pictures_left_out_are_counted_where_every_row_counts(tmp_path, pictures):
    put(pictures / "0.jpg", *(tmp_path / "other" / f"{n}.jpg" for n in range(3)))
    report = made("folders", tmp_path, tmp_path / "m.csv")
    assert report["mark_types"] == {
        "other": {"rows": 1, "pictures": 1},
        EXCLUDED: {"rows": 2, "pictures": 2},
    }
    assert report["dropped"] == {"same_picture": {"rows": 2, "pictures": 2}}
    assert report["conditions"] == {"other": {"other": 1}, EXCLUDED: {"other": 2}}


def test_pictures_in_several_folders_are_found_by_name(tmp_path, pictures):
    columns = ["patient_id", "lesion_id", "fitspatrick", "diagnostic", "img_id"]
    rows = [("PAT_1", "1", "2.0", "NEV", "PAT_1_1_1.png"), ("PAT_2", "2", "", "BCC", "PAT_2_2.png")]
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    write_table(tmp_path / "metadata.csv", columns, *table)
    put(pictures / "0.png", tmp_path / "images" / "imgs_part_1" / "PAT_1_1_1.png")
    put(pictures / "1.png", tmp_path / "images" / "imgs_part_3" / "imgs_part_3" / "PAT_2_2.png")
    made("pad_ufes_20", tmp_path, tmp_path / "m.csv")
    lines = lines_of(tmp_path / "m.csv")
    assert [line["path"] for line in lines] == [
        "images/imgs_part_1/PAT_1_1_1.png",
        "images/imgs_part_3/imgs_part_3/PAT_2_2.png",
    ]
    assert [line["group_id"] for line in lines] == ["pad_ufes_20/PAT_1", "pad_ufes_20/PAT_2"]


def test_dermoscopy_is_told_in_every_report(tmp_path, pictures):
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    write_table(
        tmp_path / "HAM10000_metadata.csv",
        columns,
        {"lesion_id": "HAM_1", "image_id": "ISIC_1", "dx": "mel"},
    )
    put(pictures / "0.jpg", tmp_path / "HAM10000_images_part_2" / "ISIC_1.jpg")
    for choices in (LABELS_ONLY, Choices()):
        report = made("ham10000", tmp_path, tmp_path / "m.csv", choices, overwrite=True)
        assert report["note"] == OUT_OF_DOMAIN
        assert report["mark_types"] == {"other": {"rows": 1, "pictures": 1}}


class TestConditionsNobodyDecided:
    @pytest.fixture
    def mine(self, tmp_path, pictures):
        for n, name in enumerate(("my rash", "rosacea")):
            put(pictures / f"{n}.jpg", tmp_path / "mine" / name / f"{n}.jpg")
        return tmp_path / "mine"

    def test_are_refused_with_file_row_and_mend(self, mine):
        with pytest.raises(SourceError, match=r"does not decide 2 labels.*--map") as raised:
            made("folders", mine, mine / "m.csv")
        assert "my rash/0.jpg: 'my rash'" in str(raised.value)
        assert len(str(raised.value).splitlines()) <= 3
        assert not list(mine.glob("m.csv*"))

    def test_are_decided_by_a_map_of_ones_own(self, mine):
        head = "label,mark_type,reason,certainty\n"
        (mine / "map.csv").write_text(f"{head}Rosacea,erythematous,vessels,sure\n")
        with pytest.raises(SourceError, match=r"map.csv does not decide 1 label: add lines to"):
            made("folders", mine, mine / "m.csv", Choices(map_file=mine / "map.csv"))
        choices = Choices(map_file=mine / "map.csv", exclude_unmapped=True)
        report = made("folders", mine, mine / "m.csv", choices)
        assert report["dropped"] == {"not_in_map": {"rows": 1, "pictures": 1}}
        assert [fault["where"] for fault in report["faults"]] == ["my rash/0.jpg"]
        assert [line["condition"] for line in lines_of(mine / "m.csv")] == ["rosacea"]


class TestRefusals:
    def test_a_manifest_below_its_pictures(self, scin):
        with pytest.raises(SourceError, match="stands above its pictures"):
            made("scin", scin, scin / "elsewhere" / "m.csv")
        assert not (scin / "elsewhere").exists()

    def test_a_set_without_pictures(self, scin):
        shutil.rmtree(scin / "dataset" / "images")
        with pytest.raises(SourceError, match=r"no picture of scin is left.*no_picture.*\n.*fetch"):
            made("scin", scin, scin / "m.csv")
        assert not list(scin.glob("m.csv*"))

    def test_another_ending(self, scin):
        with pytest.raises(SourceError, match=r"ends in .csv or .parquet"):
            made("scin", scin, scin / "m.json")

    @pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
    def test_an_impossible_share(self, scin, share):
        with pytest.raises(SourceError, match="--min-weight"):
            made("scin", scin, scin / "m.csv", Choices(min_weight=share))

    def test_what_is_there_is_not_replaced_unasked(self, scin):
        made("scin", scin, scin / "m.csv")
        with pytest.raises(OutputError, match="--overwrite"):
            made("scin", scin, scin / "m.csv")
        (scin / "m.csv").unlink()
        with pytest.raises(OutputError, match=r"report\.json: exists already"):
            made("scin", scin, scin / "m.csv")
        made("scin", scin, scin / "m.csv", overwrite=True)

    def test_an_empty_set(self, tmp_path):
        with pytest.raises(SourceError, match="nothing of folders is here"):
            made("folders", tmp_path, tmp_path / "m.csv")


def kinds_of(repo_root, name):
    with (repo_root / "data" / "label_maps" / f"{name}.csv").open(encoding="utf-8") as file:
        return {row["label"]: row["mark_type"] for row in csv.DictReader(file)}


@pytest.mark.shared
def test_the_page_on_data_sets_has_the_figures_of_the_command(repo_root, shared_dir, tmp_path):
    page = (repo_root / "docs" / "data.md").read_text(encoding="utf-8")
    kinds = ("erythematous", "hyperpigmented", "mixed", "neither", "other", EXCLUDED)
    told = " ".join(page.split())
    for name, title in (("scin", "SCIN"), ("fitzpatrick17k", "Fitzpatrick17k")):
        root = shared_dir / "tables" / name
        report = made(name, root, tmp_path / f"{name}.csv", LABELS_ONLY)
        for what, word in (("pictures", "pictures"), ("rows", "cases")):
            counts = [report["mark_types"].get(kind, {what: 0})[what] for kind in kinds]
            line = f"| {title}, {word} | {' | '.join(map(str, [*counts, report[what]]))} |"
            assert line in page or (word, name) == ("cases", "fitzpatrick17k")
        dark = [
            sum(report["fitzpatrick"][kind].get(tone, 0) for tone in "56") for kind in kinds[:2]
        ]
        of = f"of {title}'s red {'cases' if name == 'scin' else 'pictures'} {dark[0]}, of its"
        assert of in told
        assert f"brown {dark[1]}" in told
        sure = Choices(labels_only=True, only_sure=True)
        report = made(name, root, tmp_path / f"{name}-sure.csv", sure)
        red, brown = (report["mark_types"].get(k, {"pictures": 0})["pictures"] for k in kinds[:2])
        assert f"{title} has {red} red and {brown} brown" in told or (
            brown == 0 and f"{title} {red} red and none brown" in told
        )


@pytest.mark.shared
class TestRealTables:
    """Counts on the real tables, against a count that shares no line with the code."""

    def test_fitzpatrick17k(self, repo_root, shared_dir, tmp_path):
        kinds = kinds_of(repo_root, "fitzpatrick17k")
        root = shared_dir / "tables" / "fitzpatrick17k"
        rows = lines_of(root / "fitzpatrick17k.csv")
        good = [row for row in rows if row["qc"] != "3 Wrongly labelled"]
        conditions = Counter((kinds[row["label"]], row["label"]) for row in good)
        report = made("fitzpatrick17k", root, tmp_path / "f.csv", LABELS_ONLY)
        lines = lines_of(tmp_path / "f.csv")
        assert len(lines) == len(rows) == 16577
        counted = Counter((line["mark_type"], line["condition"]) for line in lines)
        for row in rows:
            if row["qc"] == "3 Wrongly labelled":
                conditions[EXCLUDED, row["label"]] += 1
        assert counted == conditions
        told = {
            (kind, name): n
            for kind, names in report["conditions"].items()
            for name, n in names.items()
        }
        assert told == counted
        assert Counter(line["fitzpatrick"] for line in lines) == Counter(
            row["fitzpatrick_scale"].replace("-1", "") for row in rows
        )

    @pytest.mark.parametrize("share", [0.5, 0.6])
    def test_scin(self, repo_root, shared_dir, tmp_path, share):
        kinds = kinds_of(repo_root, "scin")
        root = shared_dir / "tables" / "scin"
        expected = {}
        for row in lines_of(root / "scin_labels.csv"):
            weights = ast.literal_eval(row["weighted_skin_condition_label"])
            expected[row["case_id"]] = self.by_hand(weights, row, kinds, share)
        made("scin", root, tmp_path / "s.csv", Choices(min_weight=share, labels_only=True))
        lines = lines_of(tmp_path / "s.csv")
        cases = [row["case_id"] for row in lines_of(root / "scin_cases.csv")]
        assert len(lines) == len(cases) == len(set(cases)) == 5033
        found = [(line["mark_type"], line["condition"]) for line in lines]
        assert Counter(found) == Counter(expected.values())
        assert found == [expected[case] for case in cases]

    @staticmethod
    def by_hand(weights, row, kinds, share):
        """In hundredths, as the table has them: the mark type of the most, if it has enough."""
        if not weights:
            answers = {
                value for name, value in row.items() if "gradable_for_skin" in name and value
            }
            clear = all("NO_DISCERNIBLE" in answer for answer in answers)
            label = "NO_DISCERNIBLE_PATHOLOGY"
            return ("neither", label) if clear else (EXCLUDED, "")
        sums = Counter()
        for name, weight in weights.items():
            sums[kinds[name]] += round(weight * 100)
        best = [kind for kind, total in sums.items() if total == max(sums.values())]
        if len(best) > 1 or max(sums.values()) < share * sum(sums.values()):
            return EXCLUDED, max(weights, key=weights.get)
        names = [name for name in weights if kinds[name] == best[0]]
        return best[0], max(names, key=weights.get)
