"""Each set on a small invented copy in its exact layout, with the traps it is known for."""

import csv
from typing import ClassVar

import pytest

from diascope.errors import SourceError
from diascope.labels import ManifestLabel
from diascope.sources import SOURCES, Access, Drop, source_named
from diascope.sources.dermnet import topic
from diascope.sources.label_maps import shipped_map

SCIN_CASES = ["case_id", "source", "release", "year", "age_group", "sex_at_birth"] + [
    f"image_{n}_{what}" for what in ("path", "shot_type") for n in (1, 2, 3)
]
SCIN_LABELS = (
    ["case_id"]
    + [f"dermatologist_gradable_for_skin_condition_{n}" for n in (1, 2, 3)]
    + ["dermatologist_skin_condition_on_label_name", "dermatologist_skin_condition_confidence"]
    + ["weighted_skin_condition_label"]
    + [f"dermatologist_fitzpatrick_skin_type_label_{n}" for n in (1, 2, 3)]
    + ["gradable_for_monk_skin_tone_india", "gradable_for_monk_skin_tone_us"]
    + ["monk_skin_tone_label_india", "monk_skin_tone_label_us"]
)
YES, NO = "DEFAULT_YES_IMAGE_QUALITY_SUFFICIENT", "NO_IMAGE_QUALITY_INSUFFICIENT"
CLEAR = "YES_IMAGE_QUALITY_SUFFICIENT_NO_DISCERNIBLE_PATHOLOGY"
CONCEPTS = ["Papule", "Erythema", "Telangiectasia", "Brown(Hyperpigmentation)", "Scale"]


def write_table(path, columns, *rows):
    """Rows are dicts; what they do not name stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)


def scin_case(case, *pictures, **cells):
    names = {f"image_{n}_path": f"dataset/images/{p}.png" for n, p in enumerate(pictures, 1)}
    return {"case_id": case, "source": "SCIN", "release": "1.0.0", **names, **cells}


def scin_label(case, label, gradable=(YES,), tones=(), monk=("", ""), **cells):
    graded = zip(SCIN_LABELS[1:4], gradable, strict=False)
    toned = zip(SCIN_LABELS[7:10], tones, strict=False)
    tone = dict(zip(SCIN_LABELS[-2:], monk, strict=True))
    return {"case_id": case, SCIN_LABELS[6]: label, **dict(graded), **dict(toned), **tone, **cells}


def rows_of(name, root):
    return list(source_named(name).rows(root))


def by_id(name, root):
    return {row.id: row for row in rows_of(name, root)}


def test_scin(tmp_path):
    write_table(
        tmp_path / "dataset" / "scin_cases.csv",
        SCIN_CASES,
        scin_case("-1000600354148496558", "-11", "12", "13"),
        scin_case("0020", "20"),
        scin_case("30", "30"),
        scin_case("40", "40"),
        scin_case("50", "50"),
        scin_case("60", "60"),
        scin_case("70", "70"),
    )
    write_table(
        tmp_path / "dataset" / "scin_labels.csv",
        SCIN_LABELS,
        scin_label("80", "{'Rosacea': 1.0}"),
        scin_label(
            "-1000600354148496558",
            "{'Rosacea': 0.6, \"Majocchi's granuloma\": 0.4}",
            gradable=(YES, YES, NO),
            tones=("FST2", "FST4", "FST5"),
            monk=("3", "3"),
        ),
        scin_label("0020", "{}", gradable=(CLEAR, CLEAR), tones=("FST2", "FST3"), monk=("2", "4")),
        scin_label("30", "{}", gradable=(NO,), tones=("FST6",)),
        scin_label("40", "{}", gradable=(YES, CLEAR)),
        scin_label("50", "__import__('os').system('true')"),
        scin_label("60", "{'Acne': -1}"),
        scin_label("60", "{'Acne': 1.0}"),
    )
    for root in (tmp_path, tmp_path / "dataset"):  # the set's root, or that of its tables
        rows = by_id("scin", root)
        assert list(rows) == ["-1000600354148496558", "0020", "30", "40", "50", "60", "70", "80"]
        several = rows["-1000600354148496558"]
        assert several.labels == (("Rosacea", 0.6), ("Majocchi's granuloma", 0.4))
        assert several.pictures == tuple(f"dataset/images/{n}.png" for n in ("-11", "12", "13"))
        assert several.addresses[0].endswith("/dx-scin-public-data/dataset/images/-11.png")
        assert (several.fitzpatrick, several.monk) == ("4", "3")
        assert several.group_id == several.id
        assert several.where == "scin_labels.csv line 3"
        # Two that differ are no tone; unmarked skin only where all who were asked saw it.
        assert (rows["0020"].fitzpatrick, rows["0020"].monk) == ("", "")
        assert rows["0020"].labels == (("NO_DISCERNIBLE_PATHOLOGY", 1.0),)
        assert rows["30"].fitzpatrick == "6"
        assert {name: row.drop for name, row in rows.items()} == {
            "-1000600354148496558": None,
            "0020": None,
            "30": Drop.UNGRADABLE,
            "40": Drop.NO_LABEL,
            "50": Drop.BROKEN_LABEL,
            "60": Drop.DUPLICATE_ID,
            "70": Drop.NOT_IN_OTHER_TABLE,
            "80": Drop.NOT_IN_OTHER_TABLE,
        }


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "nan", "{'a': True}", "{'a': '1'}", "{1: 1.0}", "{'a': 1e999}", "{'a': 0}"),
        *("{" * 9000, "{'a': [1.0]}", "{'a': -0.5, 'b': 1.5}", "{'a': 1.0" + " " * 20000 + "}"),
    ],
)
def test_scin_label_that_is_no_weights(tmp_path, text):
    write_table(tmp_path / "scin_cases.csv", SCIN_CASES, scin_case("1", "1"))
    write_table(tmp_path / "scin_labels.csv", SCIN_LABELS, scin_label("1", text))
    assert by_id("scin", tmp_path)["1"].drop is Drop.BROKEN_LABEL


def test_scin_case_id_that_a_spreadsheet_rounded(tmp_path):
    write_table(tmp_path / "scin_cases.csv", SCIN_CASES, scin_case("-1.0006E+18", "1"))
    write_table(tmp_path / "scin_labels.csv", SCIN_LABELS, scin_label("1", "{}"))
    with pytest.raises(SourceError, match=r"scin_cases.csv line 2: case_id '-1.0006E\+18'.*again"):
        rows_of("scin", tmp_path)


F17K = [
    *("md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label"),
    *("three_partition_label", "qc", "url", "url_alphanum"),
]
HASHES = [f"{n:032x}" for n in range(8)]


def f17k_row(n, label, **cells):
    known = {"fitzpatrick_scale": "3", "url": f"https://atlas.example/{n}.jpg"}
    return {"md5hash": HASHES[n], "label": label, **known, **cells}


def test_fitzpatrick17k_with_skincon(tmp_path):
    write_table(
        tmp_path / "fitzpatrick17k.csv",
        F17K,
        f17k_row(0, "rosacea", fitzpatrick_scale="-1"),
        f17k_row(1, "rosacea", url=""),
        f17k_row(2, "rosacea", qc="3 Wrongly labelled"),
        f17k_row(3, "rosacea", qc="1 Diagnostic"),
        {**f17k_row(4, "rosacea"), "md5hash": "../../etc/passwd"},
        f17k_row(5, ""),
    )
    assert rows_of("fitzpatrick17k", tmp_path)[0].concepts is None
    write_table(
        tmp_path / "annotations_fitzpatrick17k.csv",
        ["", "ImageID", *CONCEPTS, "Do not consider this image"],
        {"": "0", "ImageID": f"{HASHES[0]}.jpg", "Erythema": "1", "Papule": "0", "Scale": "1.0"},
        {"": "1", "ImageID": f"{HASHES[3]}.jpg", "Do not consider this image": "1"},
    )
    rows = rows_of("fitzpatrick17k", tmp_path)
    assert [row.fitzpatrick for row in rows[:2]] == ["", "3"]
    assert rows[0].pictures == (f"{HASHES[0]}.jpg",)
    assert rows[0].addresses == ("https://atlas.example/0.jpg",)
    assert rows[1].addresses == ("",)
    assert rows[0].concepts == ("Erythema", "Scale")
    assert rows[1].concepts is None
    assert rows[3].concepts == ("Do not consider this image",)
    unsafe, wrong = Drop.UNSAFE_PATH, Drop.WRONGLY_LABELLED
    assert [row.drop for row in rows] == [None, None, wrong, None, unsafe, Drop.NO_LABEL]


def test_ddi(tmp_path):
    columns = ["", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"]
    write_table(
        tmp_path / "ddi_metadata.csv",
        columns,
        {"DDI_ID": "1", "DDI_file": "000001.png", "skin_tone": "56", "disease": "melanocytic-nevi"},
        {"DDI_ID": "2", "DDI_file": "000002.png", "skin_tone": "12", "disease": "wart"},
        {"DDI_ID": "3", "DDI_file": "000003.png", "skin_tone": "9", "disease": ""},
    )
    rows = rows_of("ddi", tmp_path)
    assert [row.fitzpatrick for row in rows] == ["5-6", "1-2", ""]
    assert rows[0].labels == (("melanocytic-nevi", 1.0),)
    assert rows[0].pictures == ("000001.png",)
    assert [row.drop for row in rows] == [None, None, Drop.NO_LABEL]


def test_pad_ufes_20(tmp_path):
    columns = ["patient_id", "lesion_id", "smoke", "fitspatrick", "diagnostic", "img_id"]
    write_table(
        tmp_path / "metadata.csv",
        columns,
        {"patient_id": "PAT_1", "lesion_id": "7", "fitspatrick": "3.0", "diagnostic": "NEV"}
        | {"img_id": "PAT_1_7_100.png"},
        {"patient_id": "PAT_1", "lesion_id": "8", "fitspatrick": "", "diagnostic": "BCC"}
        | {"img_id": "PAT_1_8_101.png"},
    )
    rows = rows_of("pad_ufes_20", tmp_path)
    assert [row.fitzpatrick for row in rows] == ["3", ""]
    assert {row.group_id for row in rows} == {row.patient_id for row in rows} == {"PAT_1"}
    assert rows[0].pictures == ("PAT_1_7_100.png",)


def test_pad_ufes_20_spelt_right_is_another_table(tmp_path):
    columns = ["patient_id", "lesion_id", "fitzpatrick", "diagnostic", "img_id"]
    write_table(tmp_path / "metadata.csv", columns, {})
    with pytest.raises(SourceError, match=r"metadata.csv: column fitspatrick is missing"):
        rows_of("pad_ufes_20", tmp_path)


def test_ham10000(tmp_path):
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    write_table(
        tmp_path / "HAM10000_metadata.csv",
        columns,
        {"lesion_id": "HAM_1", "image_id": "ISIC_1", "dx": "nv", "dx_type": "histo"},
        {"lesion_id": "HAM_1", "image_id": "ISIC_2", "dx": "nv", "dx_type": "histo"},
    )
    rows = rows_of("ham10000", tmp_path)
    assert [row.pictures for row in rows] == [("ISIC_1.jpg",), ("ISIC_2.jpg",)]
    assert {row.group_id for row in rows} == {"HAM_1"}
    assert {row.patient_id for row in rows} == {""}  # a lesion is no patient
    assert not source_named("ham10000").in_domain


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acne-cystic-12.jpg", "acne-cystic"),
        ("rosacea-8.jpg", "rosacea"),
        ("Rosacea-Nose-3.JPG", "rosacea-nose"),
        ("warts-common--4.jpg", "warts-common"),
        ("actinic-keratosis-5FU-12.jpg", "actinic-keratosis-5fu"),
        ("07RosaceaK0216.jpg", "rosacea"),
        ("07Rosacea0120.jpg", "rosacea"),
        ("07PerioralDermEye.jpg", "perioraldermeye"),
        ("08SebDerm0102061.jpg", "sebderm"),
        ("herpes-type-1-recurrent-22.jpg", "herpes-type-1-recurrent"),
        ("123.jpg", "123"),
    ],
)
def test_dermnet_topic(name, told):
    assert topic(f"train/Acne and Rosacea Photos/{name}") == told


def test_dermnet(tmp_path):
    """The folder says acne; the file's name says rosacea."""
    folder = "Acne and Rosacea Photos"
    touch(tmp_path, f"train/{folder}/rosacea-8.jpg", f"test/{folder}/acne-cystic-1.jpg")
    touch(tmp_path, f"train/{folder}/._rosacea-8.jpg", f"train/{folder}/Thumbs.db")
    rows = rows_of("dermnet", tmp_path)
    assert [(row.labels[0][0], row.where) for row in rows] == [
        ("rosacea", f"train/{folder}/rosacea-8.jpg"),
        ("acne-cystic", f"test/{folder}/acne-cystic-1.jpg"),
    ]
    with pytest.raises(SourceError, match="neither train nor test"):
        rows_of("dermnet", tmp_path / "train" / folder)


def test_sd198(tmp_path):
    name = "Actinic_solar_Damage(Telangiectasia)"
    touch(tmp_path, f"images/{name}/1.jpg", "images/Becker's_Nevus/2.jpg")
    rows = rows_of("sd198", tmp_path)
    assert [(row.labels[0][0], row.pictures) for row in rows] == [
        (name, (f"images/{name}/1.jpg",)),
        ("Becker's_Nevus", ("images/Becker's_Nevus/2.jpg",)),
    ]
    below = next(iter(rows_of("sd198", tmp_path / "images")))
    assert below.pictures == (f"{name}/1.jpg",)
    touch(tmp_path, "images/3.jpg")
    with pytest.raises(SourceError, match=r"3.jpg: .*in its class's folder"):
        rows_of("sd198", tmp_path)


def test_own_folders(tmp_path):
    touch(tmp_path, "clinic/erythematous/1.jpg", "clinic/rosacea/2.png")
    one, two = rows_of("folders", tmp_path)
    assert (one.mark_type, one.labels) == (ManifestLabel.ERYTHEMATOUS, (("erythematous", 1.0),))
    assert (two.mark_type, two.labels) == (None, (("rosacea", 1.0),))
    touch(tmp_path, "3.jpg")
    with pytest.raises(SourceError, match="no folder names its label"):
        rows_of("folders", tmp_path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_own_table(tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    columns = "path,label,mark_type,source,patient_id,fitzpatrick,monk,left,top,right,bottom,note"
    rows = [
        {"path": "a.jpg", "label": "my rash", "source": "clinic", "patient_id": "7"}
        | {"fitzpatrick": "3-4", "monk": "11", "left": "1.5", "top": "2", "right": "30"}
        | {"bottom": "40"},
        {"path": "b.jpg", "mark_type": "mixed", "fitzpatrick": "-1"},
        {"path": "c.jpg"},
        {"path": "d.jpg", "label": "x", "source": "ward", "patient_id": "7", "fitzpatrick": "IV"},
        {"path": "e.jpg", "label": "x", "patient_id": "7", "fitzpatrick": "6-2"},
    ]
    write_table(tmp_path / "mine.csv", columns.split(","), *rows)
    if kind == "parquet":
        import pyarrow.csv
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "mine.csv"), path)
    one, two, three, *more = rows_of("folders", path)
    # Another source's patient 7 is somebody else.
    assert [(row.group_id, row.fitzpatrick) for row in more] == [("ward/7", "4"), ("7", "")]
    assert (one.labels, one.mark_type) == ((("my rash", 1.0),), None)
    assert (one.source, one.patient_id, one.group_id) == ("clinic", "7", "clinic/7")
    assert (one.fitzpatrick, one.monk, one.box) == ("3-4", "", (1.5, 2.0, 30.0, 40.0))
    assert (two.mark_type, two.fitzpatrick, two.box) == (ManifestLabel.MIXED, "", None)
    assert three.drop is Drop.NO_LABEL
    assert {row.where for row in (one, two, three)} == (
        {"mine.csv line 2", "mine.csv line 3", "mine.csv line 4"}
        if kind == "csv"
        else {"mine.parquet row 1", "mine.parquet row 2", "mine.parquet row 3"}
    )


@pytest.mark.parametrize(
    "edges", ["1,2,3,", "1,2,1,9", "1,9,5,2", "a,b,c,d", "0,0,inf,4", "nan,1,2,3"]
)
def test_own_table_with_a_box_that_is_none(tmp_path, edges):
    (tmp_path / "m.csv").write_text(f"path,mark_type,left,top,right,bottom\na.jpg,mixed,{edges}\n")
    with pytest.raises(SourceError, match=r"m\.csv line 2: the box is not four numbers"):
        rows_of("folders", tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["scin", "fitzpatrick17k", "ddi", "pad_ufes_20", "ham10000"])
class TestTables:
    TABLES: ClassVar = {
        "scin": "scin_labels.csv",
        "fitzpatrick17k": "fitzpatrick17k.csv",
        "ddi": "ddi_metadata.csv",
        "pad_ufes_20": "metadata.csv",
        "ham10000": "HAM10000_metadata.csv",
    }

    def test_missing(self, name, tmp_path):
        with pytest.raises(SourceError, match=rf"{self.TABLES[name]} is missing; --root"):
            rows_of(name, tmp_path)
        with pytest.raises(SourceError, match="no such folder"):
            rows_of(name, tmp_path / "gone")

    def test_in_two_folders(self, name, tmp_path):
        for folder in "ab":
            write_table(tmp_path / folder / self.TABLES[name], ["x"])
        with pytest.raises(SourceError, match="in several folders"):
            rows_of(name, tmp_path)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("", "column .* is missing"),
            ("<!doctype html><p>Sign in</p>\n", "column .* is missing"),
            (b"\xff\xfe\x00", "not readable as a CSV table"),
            ('a,b\n"open\n', "column .* is missing"),
        ],
    )
    def test_of_another_layout(self, name, tmp_path, content, told):
        path = tmp_path / self.TABLES[name]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(SourceError, match=told) as raised:
            rows_of(name, tmp_path)
        assert str(path) in str(raised.value)
        assert len(str(raised.value).splitlines()) <= 3


def test_half_a_table_is_refused(tmp_path):
    write_table(tmp_path / "fitzpatrick17k.csv", F17K, f17k_row(0, "acne"), f17k_row(1, "acne"))
    whole = (tmp_path / "fitzpatrick17k.csv").read_bytes()
    (tmp_path / "fitzpatrick17k.csv").write_bytes(whole[: len(whole) - 40])
    with pytest.raises(SourceError, match="line 3 has not as many fields"):
        rows_of("fitzpatrick17k", tmp_path)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
class TestEverySource:
    def test_says_what_a_user_must_know(self, source):
        assert source.title
        assert source.address
        assert source.holds
        assert source.terms
        assert source.traps
        assert source.name == "folders" or (source.licence and source.citation)

    def test_has_a_label_map_and_can_be_found(self, source):
        assert source_named(source.name) is source
        assert (shipped_map(source.name) is None) == (source.name == "folders")
        assert source.concept_map is None or shipped_map(source.concept_map)

    def test_only_open_sets_have_tables_to_fetch(self, source):
        assert bool(source.tables) == (source.access is Access.OPEN)
        assert all(address.startswith("https://") for _, address in source.tables)


def test_unknown_source():
    with pytest.raises(SourceError, match="isic: no data set of that name; known are scin, "):
        source_named("isic")
