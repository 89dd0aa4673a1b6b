import base64
import csv
import re
import subprocess
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from diascope.audit import PAGE, audit, check_output, write_audit
from diascope.audit.suspects import suspects
from diascope.cli import app
from diascope.dataset import read_manifest
from diascope.errors import ManifestError, OutputError
from diascope.inference import Predictor
from diascope.labels import ManifestLabel
from diascope.renderer import render

RED, BROWN, NEITHER, OTHER, MIXED = ManifestLabel
COLUMNS = ("path", "mark_type", "condition", "source", "group_id", "fitzpatrick")
COUNT = 36
WRONG = (4, 25)
"""Pictures whose label is planted wrong: red called brown, and brown called red."""


def with_gps(image):
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn red and brown marks; two wrong labels, two copies, a clash, two bad files."""
    folder = tmp_path_factory.mktemp("audited")
    lines = []
    for n in range(COUNT):
        kind = (RED, BROWN)[n % 2]
        picture = render(n, 78, 160, mark_type=kind, contrast=(24.0, 32.0))
        image = Image.fromarray(picture.pixels)
        name = "<script>alert(1)<script>.jpg" if n == 8 else f"{n}.jpg"
        image.save(folder / name, quality=95, exif=with_gps(image), comment=b"SECRET COMMENT")
        label = (BROWN, RED)[n % 2] if n in WRONG else kind
        lines.append(
            [name, label, f'<b onload="x">{n}', "ab"[n // 2 % 2], "", "II" if n < 9 else ""]
        )
    for n, label in ((0, RED), (1, BROWN), (2, BROWN)):  # the last under two labels
        with Image.open(folder / f"{n}.jpg") as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"copy{n}.jpg")
        group = "known" if n == 1 else ""
        lines.append([f"copy{n}.jpg", label, "", "b", group, ""])
    lines[1][4] = "known"
    (folder / "page.jpg").write_text("<!DOCTYPE html><html>not found</html>")
    (folder / "cut.jpg").write_bytes((folder / "3.jpg").read_bytes()[:900])
    lines += [["page.jpg", RED, "", "a", "", ""], ["cut.jpg", RED, "", "a", "", ""]]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *lines])
    return folder


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load("rendered", threads=1)


@pytest.fixture(scope="module")
def found(folder, predictor):
    return audit(read_manifest(folder / "manifest.csv"), predictor)


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    return write_audit(found, tmp_path_factory.mktemp("out") / "audit")


class Page(HTMLParser):
    """Every tag and attribute, and the text outside of styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def html(written):
    return written.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


def table(page, name):
    with page.with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def paths(found, pair):
    return found.rows[pair.i].path, found.rows[pair.j].path


# What is found.


def test_planted_copies_are_found_and_those_not_joined_before_are_told(found):
    assert [paths(found, pair) for pair in found.survey.pairs] == [
        ("0.jpg", "copy0.jpg"),
        ("1.jpg", "copy1.jpg"),
        ("2.jpg", "copy2.jpg"),
    ]
    assert found.joined_before == (False, True, False)
    assert {each.path: each.group_id for each in found.rows}["copy0.jpg"] == "0.jpg"
    assert sorted(map(len, found.groups())) == [2, 2, 2]


def test_a_copy_under_another_label_is_a_conflict(found):
    (conflict,) = found.conflicts
    assert paths(found, conflict.pair) == ("2.jpg", "copy2.jpg")
    assert (conflict.first, conflict.second) == (RED, BROWN)


def test_planted_wrong_labels_head_the_suspects(found):
    first = [found.rows[each.row].path for each in found.suspects[: len(WRONG)]]
    assert set(first) == {f"{n}.jpg" for n in WRONG}
    for each in found.suspects:
        assert found.rows[each.row].mark_type == each.given != each.suggested
        assert each.margin == each.p_given - each.p_suggested
    assert found.judged == (RED, BROWN)


def test_pictures_that_cannot_be_read_are_kept_apart(found, folder):
    assert [(row.path, str(error.reason)) for row, error in found.survey.unreadable] == [
        ("page.jpg", "not_an_image"),
        ("cut.jpg", "truncated"),
    ]
    assert len(found.survey.seen) + 2 == len(read_manifest(folder / "manifest.csv").rows)
    assert len(found.survey.features) == len(found.survey.seen)


def test_groups_known_join_and_nothing_need_be_looked_for(folder, predictor):
    manifest = read_manifest(folder / "manifest.csv")
    quick = audit(manifest, predictor, known={"5.jpg": "p", "6.jpg": "p"}, copies=False, folds=None)
    assert quick.survey.pairs == ()
    assert quick.suspects is None
    names = [[quick.rows[n].path for n in group] for group in quick.groups()]
    assert names == [["1.jpg", "copy1.jpg"], ["5.jpg", "6.jpg"]]


def test_too_few_groups_to_judge_labels(folder, predictor):
    manifest = read_manifest(folder / "manifest.csv")
    few = audit(manifest, predictor, copies=False, folds=60)
    assert few.suspects is None
    assert few.judged == ()


def test_a_manifest_of_unreadable_pictures_only_is_refused(tmp_path, predictor):
    (tmp_path / "a.jpg").write_text("none")
    (tmp_path / "m.csv").write_text(",".join(COLUMNS) + "\na.jpg,other,,s,,\n")
    with pytest.raises(ManifestError, match=r"none of its 1 pictures .* a\.jpg"):
        audit(read_manifest(tmp_path / "m.csv"), predictor)


def test_confident_learning_by_hand():
    """Thresholds: red (0.9 + 0.6 + 0.3) / 3 = 0.6, brown (0.8 + 0.45) / 2 = 0.625."""
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
    (only,) = suspects(probabilities, ["r", "r", "r", "b", "b"], ["r", "b"])
    assert (only.row, only.given, only.suggested) == (2, "r", "b")
    assert only.margin == pytest.approx(-0.4)
    # The last row is not confidently red: 0.55 lies below what red rows have.
    assert suspects(probabilities[[0, 3]], ["r", "b"], ["r", "b"]) == []


def test_suspects_are_ranked_by_their_margin():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.5, 0.5]])
    found = suspects(probabilities, ["r", "r", "r", "r", "b"], ["r", "b"])
    assert [each.row for each in found] == [2, 3]


# The page.


def test_the_page_is_whole_html_with_a_picture_for_each_alt(parsed):
    assert parsed.open == []
    images = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "src")]
    texts = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "alt")]
    assert len(images) == len(texts) == parsed.tags.count("img") > 20
    for uri in images:
        with Image.open(
            BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))
        ) as i:
            assert i.format == "JPEG"
            assert max(i.size) == 160


def test_nothing_of_a_picture_s_metadata_is_on_the_page(parsed, written, folder):
    assert b"SECRET" in (folder / "0.jpg").read_bytes()
    uris = {value for _, name, value in parsed.attributes if name == "src"}
    for uri in uris:
        data = base64.b64decode(uri.split(",")[1])
        assert b"SECRET" not in data
        assert b"Exif" not in data
        with Image.open(BytesIO(data)) as image:
            assert not image.getexif()
            assert "comment" not in image.info
    for file in written.parent.iterdir():
        assert b"SECRET" not in file.read_bytes()


def test_names_and_conditions_are_text_never_markup(parsed, html):
    assert "script" not in parsed.tags
    assert "<script" not in html
    assert not {name for _, name, _ in parsed.attributes if name.startswith("on")}
    assert "<script>alert(1)<script>.jpg" in parsed.text
    assert '<b onload="x">8' in parsed.text


def test_the_page_asks_nothing_of_any_network(parsed, html):
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(parsed.tags)
    for _, name, value in parsed.attributes:
        if name in ("src", "href", "srcset", "action", "poster", "data"):
            assert value.startswith(("data:image/jpeg;base64,", "#"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert not re.search(r"url\(|@import", style)
    without_pictures = re.sub(r'"data:[^"]*"', '""', html)
    assert not re.search(r"https?:|//", without_pictures)
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in (
        parsed.attributes
    )


def test_every_row_is_counted_by_class_source_and_tone(html):
    cells = re.findall(r"<tr[^>]*><td[^>]*>([^<]*)</td>(.*?)</tr>", html)
    counts = [(name, [int(n) for n in re.findall(r">(\d+)<", rest)]) for name, rest in cells]
    totals = dict(counts)["all"]
    assert totals[-1] == sum(totals[:-1]) == COUNT + 5
    by_source = {name: numbers for name, numbers in counts if name in ("a", "b")}
    assert sum(numbers[-1] for numbers in by_source.values()) == COUNT + 5
    assert sum(n[-1] for name, n in counts if name == "fitzpatrick II") == 9
    assert sum(n[-1] for name, n in counts if name == "not read") == 2


def test_the_page_names_method_model_and_files_that_cannot_be_read(parsed, found):
    text = " ".join(parsed.text.split())
    assert "Northcutt" in text
    assert found.model in text
    assert "page.jpg" in text
    assert "truncated" in text
    assert "An estimate" in text
    assert "two labels" in text


def test_tables_stand_beside_the_page(written, found):
    copies = table(written, "copies.csv")
    assert [(row["path"], row["joined_before"], row["mirrored"]) for row in copies] == [
        ("0.jpg", "no", "yes"),
        ("1.jpg", "yes", "yes"),
        ("2.jpg", "no", "yes"),
    ]
    assert len(table(written, "groups.csv")) == 6
    assert len(table(written, "suspects.csv")) == len(found.suspects)
    assert [row["path"] for row in table(written, "unreadable.csv")] == ["page.jpg", "cut.jpg"]


# Where it may go.


def test_a_git_work_tree_takes_only_a_folder_it_ignores(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with pytest.raises(OutputError, match="pictures of people"):
        check_output(tmp_path / "runs" / "audit")
    (tmp_path / ".gitignore").write_text("/runs/\n")
    check_output(tmp_path / "runs" / "audit")
    with pytest.raises(OutputError, match=r"add it to \.gitignore"):
        check_output(tmp_path / "else")


def test_without_git_no_work_tree_is_trusted(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OutputError, match="does not ignore it"):
        check_output(tmp_path / "audit")


def test_an_earlier_page_is_replaced_only_when_asked(found, tmp_path):
    page = write_audit(found, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        write_audit(found, tmp_path / "out")
    page.write_text("old")
    assert write_audit(found, tmp_path / "out", overwrite=True).read_text().startswith("<!DOCTYPE")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="give a folder"):
        check_output(tmp_path / "file")


# The command line.


def test_the_command_audits(folder, tmp_path):
    out = tmp_path / "audit"
    words = [folder / "manifest.csv", "--out", out, "--model", "rendered", "--folds", 3]
    result = CliRunner().invoke(app, ["data", "audit", *map(str, words)])
    assert result.exit_code == 3, result.output
    assert "41 rows, 2 not readable" in result.output
    assert "3 pairs of copies, 2 not joined before; 3 groups" in result.output
    assert "1 copies under two labels" in result.output
    assert "2.jpg is erythematous, copy2.jpg is hyperpigmented" in result.output
    assert (out / PAGE).is_file()
    assert "likely label errors: suspicions" in result.output
    words[2:] = [tmp_path / "few", "--model", "rendered", "--folds", 60, "--no-copies"]
    result = CliRunner().invoke(app, ["data", "audit", *map(str, words)])
    assert "label errors not looked for" in result.output


def test_the_command_splits_or_says_why_not(folder):
    def split(manifest, *words):
        words = ["data", "split", manifest, "--out", folder / "split.csv", *words]
        return CliRunner().invoke(app, list(map(str, words)))

    manifest = folder / "manifest.csv"
    failed = split(manifest)
    assert failed.exit_code == 1
    assert "page.jpg" in failed.output
    assert not (folder / "split.csv").exists()
    readable = folder / "readable.csv"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    readable.write_text("\n".join(lines[:-2]), encoding="utf-8")
    done = split(readable, "--no-copies", "--seed", 3)
    assert done.exit_code == 0, done.output
    assert "fold-4: " in done.output
    assert "split.meta.json beside it" in done.output
    parts = {row.path: row.extra["split"] for row in read_manifest(folder / "split.csv").rows}
    assert parts["1.jpg"] == parts["copy1.jpg"]
