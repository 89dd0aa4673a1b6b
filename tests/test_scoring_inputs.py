import csv
import json
import os
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from diascope.errors import ManifestError
from diascope.guidance import Context
from diascope.labels import ManifestLabel
from diascope.scoring import (
    ScoreInput,
    SpooledInputs,
    listed_inputs,
    parse_box,
    read_inputs,
    source_inputs,
)
from diascope.scoring.archive import Member, Streamed
from diascope.scoring.manifest import _beside
from diascope.scoring.remote import Address


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def paths(source):
    return [item.path for item in source_inputs(source)]


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


class TestTheOrderOfAFolder:
    @given(st.lists(st.text("a./-b", min_size=1, max_size=6), max_size=8))
    def test_is_that_of_the_sorted_paths(self, tmp_path_factory, names):
        folder = tmp_path_factory.mktemp("tree")
        for name in names:
            parts = [part for part in name.split("/") if part.strip(".")]
            place = folder.joinpath(*parts, "x.png")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            (place.parent.with_name(f"{place.parent.name}.png")).touch()
        expected = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*.png") if path.is_file()
        )
        assert [item.path for item in source_inputs(folder)] == expected

    def test_a_linked_folder_is_followed_once_and_a_loop_is_cut(self, tmp_path):
        touch(tmp_path, "root/a/1.png", "root/z.png", "far/2.png", "far/deep/3.png")
        for link, target in [
            ("root/again", "root/a"),  # inside: has its rows already
            ("root/a/loop", "root"),
            ("root/up", "."),
            ("root/b", "far/deep"),
            ("root/c", "far"),
            ("root/d", "far"),
            ("far/back", "root"),
            ("far/round", "far"),
        ]:
            (tmp_path / link).symlink_to(tmp_path / target)
        found = paths(tmp_path / "root")
        assert found == ["a/1.png", "b/3.png", "c/2.png", "z.png"]

    def test_a_linked_file_is_a_file(self, tmp_path):
        touch(tmp_path, "far.png", "root/a.png")
        (tmp_path / "root" / "b.png").symlink_to(tmp_path / "far.png")
        (tmp_path / "root" / "c.png").symlink_to(tmp_path / "gone.png")
        assert paths(tmp_path / "root") == ["a.png", "b.png", "c.png"]


class TestOtherSources:
    def test_a_glob_is_sorted_and_names_files_only(self, tmp_path):
        touch(tmp_path, "b.jpg", "a.jpg", "sub/c.jpg", "notes.txt")
        (tmp_path / "folder.jpg").mkdir()
        assert paths(f"{tmp_path}/*.jpg") == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
        assert len(paths(f"{tmp_path}/**/*.jpg")) == 3

    def test_a_file_whose_name_looks_like_a_glob_is_that_file(self, tmp_path):
        touch(tmp_path, "[1].png", "1.png")
        assert paths(tmp_path / "[1].png") == [str(tmp_path / "[1].png")]

    def test_a_list_names_paths_and_addresses(self, tmp_path, monkeypatch):
        (tmp_path / "list.txt").write_bytes(b"b.png\r\n\n a.png\ncaf\xe9.png\nmemory://x/c.png\n")
        expected = ["b.png", " a.png", os.fsdecode(b"caf\xe9.png"), "memory://x/c.png"]
        read = list(source_inputs(tmp_path / "list.txt"))
        assert [item.path for item in read] == expected
        assert [type(item.file) for item in read] == [type(Path())] * 3 + [Address]
        stdin = type("Stdin", (), {"buffer": BytesIO((tmp_path / "list.txt").read_bytes())})
        monkeypatch.setattr("sys.stdin", stdin)
        assert paths("-") == expected

    def test_a_picture_is_a_source_of_one(self, tmp_path):
        assert paths("gone.png") == ["gone.png"]

    @pytest.mark.parametrize("name", ["nothing", "a.pdf", "rows.tar.zst"])
    def test_what_is_no_source(self, name):
        with pytest.raises(ManifestError, match="no such folder or manifest"):
            list(source_inputs(name))


ROWS = [
    {"path": "a.png", "id": 7, "left": 1, "top": 2.5, "right": 30, "bottom": 40},
    {"path": "s/b.png", "blanches": True, "contexts": ["pregnancy", "dark_skin"]},
    {"path": "c.png", "blanches": "no", "contexts": "pregnancy;dark_skin", "left": None},
]


def write_rows(file):
    """The same manifest in the form that the suffix says."""
    if file.suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    elif file.suffix == ".parquet":
        columns = {
            "note": [1, 2, 3],
            "path": [row["path"] for row in ROWS],
            "id": ["7", None, None],
            "blanches": [None, True, False],
            "contexts": [None, ["pregnancy", "dark_skin"], ["pregnancy", "dark_skin"]],
            **{name: [ROWS[0][name], None, None] for name in ("left", "top", "right", "bottom")},
        }
        parquet.write_table(pa.table(columns), file)
    else:
        with file.open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["path", "id", "left", "top", "right", "bottom", "blanches", "contexts"])
            table.writerow(["a.png", 7, 1, 2.5, 30, 40, "", ""])
            table.writerow(["s/b.png", "", "", "", "", "", "yes", "pregnancy;dark_skin"])
            table.writerow(["c.png", "", "", "", "", "", "no", "pregnancy,dark_skin"])
    return file


class TestManifestForms:
    @pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
    def test_all_say_the_same(self, tmp_path, suffix):
        both = (Context.PREGNANCY, Context.DARK_SKIN)
        assert read_inputs(write_rows(tmp_path / f"m.{suffix}")) == (
            ScoreInput("7", "a.png", tmp_path / "a.png", (1.0, 2.5, 30.0, 40.0)),
            ScoreInput("s/b.png", "s/b.png", tmp_path / "s/b.png", None, True, both),
            ScoreInput("c.png", "c.png", tmp_path / "c.png", None, False, both),
        )

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ("{", "not readable as a JSON Lines manifest"),
            ("[1]", "line 1 is no JSON object"),
            ('{"file": "a.png"}', "path is empty"),
            ('{"path": {}}', "path is neither text nor a number"),
            ('{"path": "../a.png"}', "points outside"),
            ('{"path": "a.png", "left": "x"}', "box is not four numbers"),
            ('{"path": "a.png", "blanches": 1}', "blanches is '1'"),
            ("[" * 100_000, "not readable as a JSON Lines manifest"),
        ],
    )
    def test_faults_of_json_lines(self, tmp_path, line, fault):
        (tmp_path / "m.jsonl").write_text(line)
        with pytest.raises(ManifestError, match=fault):
            read_inputs(tmp_path / "m.jsonl")

    def test_faults_of_parquet(self, tmp_path):
        (tmp_path / "m.parquet").write_bytes(b"PAR1 no table PAR1")
        with pytest.raises(ManifestError, match="not readable as a Parquet manifest"):
            read_inputs(tmp_path / "m.parquet")
        parquet.write_table(pa.table({"file": ["a.png"]}), tmp_path / "m.parquet")
        with pytest.raises(ManifestError, match="column path is missing"):
            read_inputs(tmp_path / "m.parquet")

    @pytest.mark.parametrize("name", ["file:///etc/hostname", "zip://a::/etc/hostname"])
    def test_an_address_leads_to_no_file_of_this_machine(self, tmp_path, name):
        (tmp_path / "m.csv").write_text(f"path\n{name}\n")
        (item,) = source_inputs(tmp_path / "m.csv")
        assert isinstance(item.file, Address)
        with pytest.raises(Exception, match="addresses of this kind are not read"):
            item.file.fetch(1000)


class TestSpooledInputs:
    ITEMS = (
        ScoreInput("1", "a.png", Path("x/a.png"), (1.0, 2.0, 3.0, 4.5), True),
        ScoreInput("a", os.fsdecode(b"caf\xe9.png"), Path(os.fsdecode(b"caf\xe9.png"))),
        ScoreInput("b", "b", Member("x.zip", "b", 3, 4, 5, 8, 77), None, False),
        ScoreInput("c", "c", Streamed("x.tgz", "c", 2), contexts=(Context.PREGNANCY,)),
        ScoreInput("d", "d", Address("https://me:word@host/d.png?X-Amz-Signature=1")),
    )

    def test_gives_back_what_it_was_given(self):
        spooled = SpooledInputs(iter(self.ITEMS))
        assert tuple(spooled) == tuple(spooled) == self.ITEMS
        assert tuple(spooled.after(3)) == self.ITEMS[3:]
        assert (len(spooled), spooled.remote) == (5, True)

    def test_the_digest_knows_every_difference_but_a_signature(self):
        def digest(*items):
            return SpooledInputs(items).digest

        one = self.ITEMS
        changed = [
            (one[1], one[0], *one[2:]),
            one[:-1],
            (ScoreInput("1", "a.png", Path("x/a.png"), (1.0, 2.0, 3.0, 4.6), True), *one[1:]),
            (ScoreInput("1", "a.png", Path("x/a.png"), (1.0, 2.0, 3.0, 4.5), None), *one[1:]),
            (ScoreInput("1", "a.png", Path("y/a.png"), (1.0, 2.0, 3.0, 4.5), True), *one[1:]),
        ]
        assert len({digest(*one), *(digest(*each) for each in changed)}) == 6
        signed = ScoreInput("d", "d", Address("https://host/d.png?X-Amz-Signature=2"))
        assert digest(*one[:-1], signed) == digest(*one)


def test_a_list_that_begins_with_a_byte_order_mark(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\nb.png\r\n")
    assert paths(tmp_path / "list.txt") == ["a.png", "b.png"]


def test_no_secret_of_an_address_in_an_id_or_an_error(tmp_path):
    address = "https://host/a.png?X-Amz-Signature=5f"
    given = manifest(tmp_path, f"path,id\n{address},{address}\n")
    (item,) = source_inputs(given)
    assert item.id == item.path == "https://host/a.png?X-Amz-Signature=***"
    assert item.file == Address(address)
    with pytest.raises(ManifestError, match="Signature") as caught:
        list(source_inputs(manifest(tmp_path, f"path,blanches\n{address},perhaps\n")))
    assert "5f" not in str(caught.value)


@pytest.mark.parametrize("name", ["mark#1.png", "100%.png", "why?.png", "%2e%2e/x.png", "a b.png"])
def test_a_file_name_beside_a_manifest_on_a_web_server_names_that_file(name):
    path = urlsplit(_beside("https://host/folder/manifest.csv?token=1")(name).url).path
    assert unquote(path) == f"/folder/{name}"
    assert ".." not in path
