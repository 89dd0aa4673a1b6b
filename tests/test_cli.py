import csv
import json
import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from dataclasses import replace
from html import unescape
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from diascope import Predictor
from diascope.bundle import load_bundle, model_card
from diascope.cli import app
from diascope.cli.display import prediction_panel
from diascope.cli.terminal import printable, tracking
from diascope.errors import UnreadableReason
from diascope.guidance import combine, load_pack
from diascope.labels import INTENDED_USE, ManifestLabel, Verdict
from diascope.renderer import render, write_rendered
from diascope.scoring import agrees

DIASCOPE = Path(sys.executable).with_name("diascope")


def diascope(*arguments, status=0):
    """Run in this process; the exit status must be as expected."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    unexpected = f"{result.output}\n{result.exception!r}"
    assert result.exit_code == status, unexpected
    return result


def started(*arguments, **options):
    """Run as a process of its own."""
    command = [str(each) for each in (DIASCOPE, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def flat(text):
    """Text without frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


def rows_of(file):
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn pictures with their manifest, as ``diascope render`` writes them."""
    out = tmp_path_factory.mktemp("drawn") / "pictures"
    mark_types = [ManifestLabel(name) for name in ("erythematous", "hyperpigmented", "neither")]
    write_rendered(out, 12, seed=4, size=64, mark_types=mark_types, truth=False)
    return out


@pytest.fixture(scope="module")
def pictures(folder):
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle)


@pytest.fixture
def bundle(untrained_bundle, tmp_path):
    """A copy that may be changed."""
    return Path(shutil.copytree(untrained_bundle, tmp_path / "bundle"))


def commands(command, path=()):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands(get_command(app)))


class TestHelp:
    @pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
    def test_teaches(self, path):
        shown = flat(diascope(*path, "--help").stdout)
        assert "Usage: diascope" in shown
        if not hasattr(COMMANDS[path], "commands"):
            assert f"diascope {' '.join(path)}" in shown.partition("Examples:")[2]

    @pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
    def test_every_command_and_option_is_documented(self, path):
        assert COMMANDS[path].help
        undocumented = [each.name for each in COMMANDS[path].params if not each.help]
        assert not undocumented

    def test_states_the_intended_use(self):
        assert INTENDED_USE in flat(diascope("--help").stdout)

    def test_version_is_the_package_s(self, repo_root):
        project = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]
        assert diascope("--version").stdout == f"diascope {project['version']}\n"


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "predict",
        "predict a.png --json --table",
        ["predict", "a.png", ""],
        ["predict", "--table", ""],
        "predict a.png b.png --box 1,2,3,4",
        "predict a.png --box 1,2,3",
        "predict a.png --box 9,2,3,4",
        "predict a.png --blanches maybe",
        "predict a.png --context pregnant",
        "predict a.png --device gpu",
        "predict a.png --unknown",
        "explain a.png",
        "explain a.png --out x.png --box 1,2,3",
        "score a.csv",
        "score a.csv --out rows.csv --workers 0",
        "score a.csv --out rows.csv --workers many",
        "score a.csv --out rows --format xlsx",
        "render --count 0 --out x --seed 1",
        "render --count 1 --out x --seed 1 --size 16",
        "render --count 1 --out x --seed 1 --mark-type other",
        "train",
        "evaluate --model photos",
        "cross-validate --config a.toml --data a.csv --out x --by person",
        "guidance show --verdict red",
        "model verify",
    ],
)
def test_a_command_line_that_is_none_gives_status_two(line):
    result = diascope(*(line.split() if isinstance(line, str) else line), status=2)
    assert "Usage: diascope" in result.stderr
    assert not result.stdout


class TestPredict:
    def test_shows_what_the_import_gives(self, pictures, untrained_bundle, predictor):
        shown = diascope("predict", pictures[0], "--model", untrained_bundle)
        told, text = predictor.predict(pictures[0]), flat(shown.stdout)
        assert f"verdict {told.verdict}" in text
        for name, p in told.probabilities.items():
            assert f"{name} {p:.3f}" in text
        for words in told.reason_words:
            assert words in text
        for claim in told.guidance:
            assert claim.text in text
            assert all(source.citation in text for source in claim.sources)
        assert text.endswith(INTENDED_USE)
        assert not shown.stderr

    def test_the_glass_test_and_the_person_change_the_guidance(
        self, pictures, untrained_bundle, predictor
    ):
        options = ["--blanches", "no", "--context", "pregnancy", "--context", "dark_skin"]
        text = flat(diascope("predict", pictures[0], "--model", untrained_bundle, *options).stdout)
        told = predictor.predict(pictures[0], blanches=False, contexts=("pregnancy", "dark_skin"))
        assert told.glass_test.words in text
        assert all(claim.text in text for claim in told.guidance)

    def test_json_is_a_list_of_what_the_import_gives(self, pictures, untrained_bundle, predictor):
        options = ["--json", "--box", "8,8,40,40", "--blanches", "yes"]
        shown = diascope("predict", pictures[1], "--model", untrained_bundle, *options)
        (record,) = json.loads(shown.stdout)
        told = predictor.predict(pictures[1], box=(8, 8, 40, 40), blanches=True)
        assert record.pop("path") == str(pictures[1])
        assert record.pop("status") == ("declined" if told.verdict.declines else "ok")
        assert record == told.to_dict()

    def test_goes_on_with_the_others_and_says_which_failed(
        self, pictures, untrained_bundle, tmp_path
    ):
        bad = tmp_path / "text.png"
        bad.write_text("no picture")
        given = [pictures[0], bad, pictures[1]]
        shown = diascope("predict", *given, "--model", untrained_bundle, "--json", status=3)
        records = json.loads(shown.stdout)
        assert [record["path"] for record in records] == [str(path) for path in given]
        assert records[1]["status"] == "unreadable"
        assert records[1]["reason"] == UnreadableReason.NOT_AN_IMAGE
        assert shown.stderr.startswith(f"Error: {bad}: ")
        panels = diascope("predict", *given, "--model", untrained_bundle, status=3)
        assert panels.stdout.count("verdict ") == 2
        assert panels.stderr == shown.stderr

    @pytest.mark.parametrize("name", ["gone.png", "folder", "empty.jpg", "cut.jpg", "small.png"])
    def test_a_bad_picture_gets_a_line_and_status_one(self, untrained_bundle, tmp_path, name):
        (tmp_path / "folder").mkdir()
        (tmp_path / "empty.jpg").touch()
        photo = Image.fromarray(render(1, size=128).pixels)
        photo.save(tmp_path / "whole.jpg")
        (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1500])
        photo.resize((31, 40)).save(tmp_path / "small.png")
        shown = diascope("predict", tmp_path / name, "--model", untrained_bundle, status=1)
        assert not shown.stdout
        assert shown.stderr.startswith(f"Error: {tmp_path / name}: ")
        assert len(shown.stderr.splitlines()) <= 3

    def test_names_are_shown_as_they_are(self, pictures, untrained_bundle, tmp_path, monkeypatch):
        odd = "[bold]x :smile: \x1b[31m.png"
        shutil.copy(pictures[0], tmp_path / odd)
        monkeypatch.chdir(tmp_path)
        missing = os.fsdecode(b"caf\xe9.png")
        shown = diascope("predict", odd, missing, "--model", untrained_bundle, status=3)
        assert "[bold]x :smile: \\x1b[31m.png" in shown.stdout
        assert shown.stderr.startswith("Error: caf\\udce9.png: ")
        assert "\x1b" not in shown.output

    def test_no_model_no_device_no_pack(self, pictures, untrained_bundle, tmp_path):
        for options, fault in [
            (["--model", tmp_path], "bundle.json"),
            (["--model", untrained_bundle, "--guidance", tmp_path], "documents.toml"),
        ]:
            shown = diascope("predict", pictures[0], *options, status=1)
            assert shown.stderr.startswith("Error: ")
            assert fault in shown.stderr
            assert not shown.stdout

    def test_a_device_that_is_not_there(self, pictures, untrained_bundle):
        if pytest.importorskip("torch").cuda.is_available():
            pytest.skip("this machine has one")
        options = ["--model", untrained_bundle, "--device", "cuda"]
        shown = diascope("predict", pictures[0], *options, status=1)
        assert shown.stderr.startswith("Error: device cuda: ")


class TestExplain:
    def test_writes_a_sheet_and_says_what_it_is(
        self, pictures, untrained_bundle, predictor, tmp_path
    ):
        out = tmp_path / "maps" / "sheet.png"
        options = ["--out", out, "--box", "8,8,40,40", "--model", untrained_bundle]
        shown = diascope("explain", pictures[0], *options)
        verdict = predictor.predict(pictures[0], box=(8, 8, 40, 40)).image_verdict
        assert f"{out}: verdict {verdict}, model {predictor.name}" in flat(shown.stdout)
        assert flat(shown.stdout).endswith(INTENDED_USE)
        with Image.open(out) as sheet:
            assert sheet.format == "PNG"
        assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]

    def test_replaces_a_sheet_only_when_told_and_the_picture_never(
        self, pictures, untrained_bundle, tmp_path
    ):
        picture = Path(shutil.copy(pictures[0], tmp_path / "mark.png"))
        (tmp_path / "sheet.png").write_bytes(b"mine")
        before = picture.read_bytes()
        for out, options, fault in [
            ("sheet.png", [], "exists already"),
            ("mark.png", ["--overwrite"], "this is the picture"),
            ("sheet.jpg", [], "a sheet is written as .png, .pdf, .svg"),
        ]:
            given = [picture, "--out", tmp_path / out, "--model", untrained_bundle, *options]
            assert fault in diascope("explain", *given, status=1).stderr
        assert picture.read_bytes() == before
        assert (tmp_path / "sheet.png").read_bytes() == b"mine"
        given = [picture, "--out", tmp_path / "sheet.png", "--model", untrained_bundle]
        diascope("explain", *given, "--overwrite")
        assert (tmp_path / "sheet.png").read_bytes() != b"mine"

    def test_a_bad_picture_leaves_no_sheet(self, untrained_bundle, tmp_path):
        (tmp_path / "text.png").write_text("no picture")
        options = ["--out", tmp_path / "sheet.png", "--model", untrained_bundle]
        shown = diascope("explain", tmp_path / "text.png", *options, status=1)
        assert shown.stderr.startswith(f"Error: {tmp_path / 'text.png'}: ")
        assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("verdict", Verdict)
def test_no_verdict_is_shown_as_an_all_clear(predictor, pictures, verdict):
    told = replace(predictor.predict(pictures[0]), verdict=verdict)
    shown = Console(
        width=200, record=True, file=StringIO(), color_system="standard", force_terminal=True
    )
    shown.print(prediction_panel("a.png", told))
    text = shown.export_text(styles=True)
    assert "\x1b[1;32m" not in text  # green
    words = {
        Verdict.ERYTHEMATOUS: "looks like a red mark",
        Verdict.HYPERPIGMENTED: "looks like a brown mark",
        Verdict.NEITHER: "that rules nothing out",
    }
    assert words.get(verdict, "cannot be") in text


class TestPredictTable:
    def test_compares_with_the_manifest_and_counts(
        self, folder, pictures, untrained_bundle, predictor
    ):
        manifest = folder / "manifest.csv"
        text = flat(diascope("predict", "--table", manifest, "--model", untrained_bundle).stdout)
        labels = [ManifestLabel(row["mark_type"]) for row in rows_of(manifest)]
        told = predictor.predict_batch(pictures)
        right = sum(agrees(*each) for each in zip(labels, (t.verdict for t in told), strict=True))
        assert f"{right} of 12 verdicts are right" in text
        for picture, label, prediction in zip(pictures, labels, told, strict=True):
            by_name = {str(name): p for name, p in prediction.probabilities.items()}
            p = by_name.get(prediction.verdict.value, max(by_name.values()))
            assert f"{picture.name} {label} {prediction.verdict} {p:.3f}" in text
            assert f"[{prediction.guidance[0].document_ids[0]}]" in text

    def test_without_labels_it_compares_nothing(self, pictures, untrained_bundle, tmp_path):
        gone = tmp_path / "gone.png"
        shown = diascope(
            "predict", "--table", pictures[0], gone, "--model", untrained_bundle, status=3
        )
        assert "right" not in shown.stdout
        assert "truth" not in shown.stdout
        assert "unreadable" in shown.stdout

    def test_a_manifest_that_is_none(self, untrained_bundle, tmp_path):
        (tmp_path / "m.csv").write_text("file\na.png\n")
        shown = diascope(
            "predict", "--table", tmp_path / "m.csv", "--model", untrained_bundle, status=1
        )
        assert "column path is missing" in shown.stderr


class TestScore:
    def test_one_row_per_picture(self, folder, untrained_bundle, predictor, tmp_path):
        out = tmp_path / "new" / "rows.csv"
        shown = diascope("score", folder, "--out", out, "--model", untrained_bundle)
        rows = rows_of(out)
        assert len(rows) == 12
        ok = sum(row["status"] == "ok" for row in rows)
        assert f"12 rows ({ok} ok, {12 - ok} declined, 0 unreadable)" in shown.stdout
        assert predictor.name in shown.stdout
        assert INTENDED_USE in shown.stdout
        assert "12 in" in shown.stderr  # progress
        assert (tmp_path / "new" / "rows.meta.json").is_file()

    def test_an_unreadable_picture_has_its_row_and_status_three(
        self, folder, untrained_bundle, tmp_path
    ):
        given = folder / "some.csv"
        given.write_text("path\n000000-erythematous.png\ngone.png\n000001-hyperpigmented.png\n")
        out = tmp_path / "rows.csv"
        shown = diascope("score", given, "--out", out, "--model", untrained_bundle, status=3)
        given.unlink()
        rows = rows_of(out)
        assert [row["reason"] == "missing" for row in rows] == [False, True, False]
        assert "1 unreadable" in shown.stdout

    def test_an_output_that_exists_is_kept(self, folder, untrained_bundle, tmp_path):
        out = tmp_path / "rows.csv"
        out.write_text("precious")
        command = ["score", folder, "--out", out, "--model", untrained_bundle]
        assert "--overwrite" in diascope(*command, status=1).stderr
        # Said before any work: not even the model is looked at.
        assert "--overwrite" in diascope(*command, "--model", "nothing", status=1).stderr
        assert out.read_text() == "precious"
        diascope(*command, "--overwrite")
        assert out.read_text().startswith("id,path,status")

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
    def test_standard_output_has_what_a_file_has(self, folder, untrained_bundle, tmp_path, name):
        command = ["score", folder, "--model", untrained_bundle]
        diascope(*command, "--out", tmp_path / f"rows.{name}")
        line = [str(each) for each in (DIASCOPE, *command, "--out", "-", "--format", name)]
        shown = subprocess.run(line, capture_output=True, timeout=120, check=True)
        if name == "parquet":
            streamed = parquet.read_table(BytesIO(shown.stdout))
            assert streamed.equals(parquet.read_table(tmp_path / "rows.parquet"))
        else:
            assert shown.stdout == (tmp_path / f"rows.{name}").read_bytes()
        assert INTENDED_USE in shown.stderr.decode()

    def test_a_list_comes_from_standard_input(self, pictures, untrained_bundle, tmp_path):
        names = f"{pictures[3]}\ngone.png\n{pictures[1]}\n"
        command = ["score", "-", "--out", "-", "--model", untrained_bundle]
        shown = started(*command, input=names)
        assert shown.returncode == 3
        rows = list(csv.DictReader(shown.stdout.splitlines()))
        assert [row["path"] for row in rows] == names.splitlines()
        assert [row["reason"] == "missing" for row in rows] == [False, True, False]

    def test_no_resuming_of_standard_output(self, folder, untrained_bundle):
        shown = diascope("score", folder, "--out", "-", "--resume", status=1)
        assert "--resume needs a file" in shown.stderr
        assert not shown.stdout

    def test_a_reader_that_leaves_is_one_line(self, folder, untrained_bundle):
        command = ["score", str(folder), "--out", "-", "--model", str(untrained_bundle)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [DIASCOPE, *command],
            **pipes,
            text=True,
        )
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=120) == 1
        error = "Error: the rows cannot be written: Broken pipe\n"
        assert stderr[stderr.index("Error") :] == error

    def test_bounds_that_are_asked_for(self, folder, untrained_bundle, tmp_path):
        command = ["score", folder, "--model", untrained_bundle, "--overwrite", "--out"]
        for option, value in [("--max-pixels", 64 * 64 - 1), ("--max-bytes", 100)]:
            diascope(*command, tmp_path / "rows.csv", option, value, status=3)
            assert {row["reason"] for row in rows_of(tmp_path / "rows.csv")} == {"too_large"}
        diascope(*command, tmp_path / "rows.csv", "--max-pixels", 64 * 64)

    def test_an_unfinished_run_is_named_before_the_work(self, folder, tmp_path):
        parts = tmp_path / ".rows.csv.parts"
        parts.mkdir()
        (parts / "journal.jsonl").write_text("{}\n")
        command = ["score", folder, "--out", tmp_path / "rows.csv", "--model", "nothing"]
        shown = diascope(*command, status=1)
        assert str(parts) in shown.stderr
        assert "--resume to go on, or --overwrite to begin again" in shown.stderr

    def test_the_summary_tells_speed_and_the_slowest_stage(
        self, folder, untrained_bundle, tmp_path
    ):
        out = tmp_path / "rows.csv"
        shown = diascope("score", folder, "--out", out, "--model", untrained_bundle)
        assert re.search(r"12 pictures in [\d.]+ s, [\d.]+/s; slowest stage: \w+ \(", shown.stdout)
        assert re.search(r"scoring: 12 in .*", shown.stderr)

    def test_a_faulty_manifest_leaves_nothing(self, untrained_bundle, tmp_path):
        (tmp_path / "m.csv").write_text("path,blanches\na.png,maybe\n")
        out = tmp_path / "rows.csv"
        shown = diascope(
            "score", tmp_path / "m.csv", "--out", out, "--model", untrained_bundle, status=1
        )
        assert "blanches is 'maybe', 1 rows" in flat(shown.stderr).replace(
            " (known: yes, no, empty)", ""
        )
        assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


class TestModel:
    def test_show_prints_the_card(self, untrained_bundle):
        loaded = load_bundle(untrained_bundle)
        shown = flat(diascope("model", "show", untrained_bundle).stdout)
        assert flat(model_card(loaded.description)) in shown
        assert loaded.digest in shown

    def test_verify_names_every_file(self, untrained_bundle):
        shown = diascope("model", "verify", untrained_bundle).stdout
        loaded = load_bundle(untrained_bundle)
        assert loaded.digest in shown
        for name, digest in loaded.description.files.items():
            assert f"{name}: {digest}" in shown

    @pytest.mark.parametrize("name", ["weights.safetensors", "model.onnx", "MODEL_CARD.md"])
    def test_a_changed_byte_is_named_everywhere(self, bundle, pictures, name):
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
        for command in (["model", "verify", bundle], ["predict", pictures[0], "--model", bundle]):
            shown = diascope(*command, status=1)
            assert str(bundle / name) in shown.stderr
            assert "restore the folder" in shown.stderr
            assert not shown.stdout


class TestEvaluate:
    def test_figures_reach_the_file_and_the_card(self, folder, bundle, tmp_path):
        out = tmp_path / "evaluation"
        command = ["evaluate", "--model", bundle, "--data", folder / "manifest.csv", "--out", out]
        digest = load_bundle(bundle).digest
        shown = diascope(*command, "--card")
        report = json.loads((out / "evaluation.json").read_text())
        assert report["model_digest"] == digest
        measured = report["pictures"]["overall"]["measures"]["auroc_red_vs_brown"]
        assert f"{measured['value']:.3f}" in shown.stdout
        assert "AUROC gap between skin tones" in shown.stdout
        assert "one stop brighter" in shown.stdout
        assert report["command"] in unescape((out / "evaluation.html").read_text())
        loaded = load_bundle(bundle)
        figures = [each for each in loaded.description.figures if each.value == measured["value"]]
        assert figures[0].n == measured["n"] == 8
        assert loaded.digest[:12] in shown.stdout

    def test_figures_measured_again_replace_the_old_and_leave_the_others(
        self, folder, bundle, tmp_path
    ):
        command = ["evaluate", "--model", bundle, "--card", "--data"]
        other = Path(shutil.copytree(folder, tmp_path / "other"))
        diascope(*command, folder / "manifest.csv", "--out", tmp_path / "a")
        first = load_bundle(bundle).description.figures
        diascope(*command, other / "manifest.csv", "--out", tmp_path / "b")
        diascope(*command, folder / "manifest.csv", "--out", tmp_path / "c")
        figures = load_bundle(bundle).description.figures
        names = [(each.name, each.data) for each in figures]
        assert len(set(names)) == len(names) == 2 * len(first)
        assert {(each.name, each.data, each.value) for each in first} <= {
            (each.name, each.data, each.value) for each in figures
        }

    def test_the_command_on_the_card_tells_nothing_of_the_machine(
        self, folder, bundle, tmp_path, monkeypatch
    ):
        command = ["evaluate", "--model", bundle, f"--data={folder / 'manifest.csv'}", "--card"]
        command += ["--out", tmp_path / "evaluation"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["/opt/bin/diascope", *map(str, command)])
        diascope(*command)
        told = (
            "diascope evaluate --model bundle --data=pictures/manifest.csv --card --out evaluation"
        )
        assert {each.command for each in load_bundle(bundle).description.figures} == {told}
        card = (bundle / "MODEL_CARD.md").read_text()
        assert str(tmp_path) not in card
        assert str(folder.parent) not in card

    def test_a_sweep_needs_no_pictures_and_prints_the_gap_first(self, untrained_bundle, tmp_path):
        sweep = tmp_path / "small.toml"
        whole = (Path(__file__).parents[1] / "configs" / "sweep.toml").read_text()
        sweep.write_text(
            whole.replace("marks = 200", "marks = 2").replace("size = 128", "size = 64")
        )
        out = tmp_path / "out"
        command = ["evaluate", "--model", untrained_bundle, "--sweep", sweep, "--out", out]
        shown = diascope(*command, "--no-page")
        rows = [line for line in shown.stdout.splitlines() if "[" in line]
        assert "AUROC gap between tones" in rows[0]
        assert [each.name for each in out.iterdir()] == ["evaluation.json"]
        report = json.loads((out / "evaluation.json").read_text())
        assert (report["pictures"], report["sweep"]["n"]) == (None, 7 * 2 * 7)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ([], "give --data, --sweep or both"),
            (["--sweep", "configs/sweep.toml", "--show-mistakes"], "--show-mistakes"),
            (["--data", "m.csv", "--no-page", "--show-mistakes"], "--show-mistakes"),
        ],
    )
    def test_a_line_that_measures_nothing_is_none(self, untrained_bundle, tmp_path, options, said):
        command = ["evaluate", "--model", untrained_bundle, "--out", tmp_path / "out", *options]
        assert said in flat(diascope(*command, status=2).stderr)
        assert not (tmp_path / "out").exists()

    def test_mistakes_are_shown_where_asked_and_never_of_shared(
        self, folder, untrained_bundle, tmp_path
    ):
        command = ["evaluate", "--model", untrained_bundle, "--no-sturdiness", "--show-mistakes"]
        out = tmp_path / "mine"
        diascope(*command, "--data", folder / "manifest.csv", "--out", out)
        mistakes = json.loads((out / "evaluation.json").read_text())["pictures"]["mistakes"]
        assert (out / "evaluation.html").read_text().count("data:image/jpeg") == len(mistakes) > 0
        other = Path(shutil.copytree(folder, tmp_path / "shared" / "photos"))
        refused = tmp_path / "theirs"
        shown = diascope(*command, "--data", other / "manifest.csv", "--out", refused, status=1)
        assert "never put into a page" in shown.stderr
        assert not refused.exists()

    def test_git_takes_up_no_page_with_pictures(self, folder, untrained_bundle, tmp_path):
        (tmp_path / ".git").mkdir()
        command = ["evaluate", "--model", untrained_bundle, "--data", folder / "manifest.csv"]
        out = tmp_path / "out"
        shown = diascope(*command, "--out", out, "--show-mistakes", status=1)
        assert "holds pictures of people" in flat(shown.stderr)
        assert not out.exists()

    def test_a_file_for_a_folder_is_said_before_the_work(self, untrained_bundle, tmp_path):
        (tmp_path / "file").write_text("precious")
        command = ["evaluate", "--model", untrained_bundle, "--data", tmp_path / "none.csv"]
        shown = diascope(*command, "--out", tmp_path / "file", "--overwrite", status=1)
        assert shown.stderr == f"Error: {tmp_path / 'file'}: this is a file; give a folder\n"

    def test_an_evaluation_that_exists_is_kept(self, folder, untrained_bundle, tmp_path):
        (tmp_path / "evaluation.json").write_text("precious")
        command = ["evaluate", "--model", untrained_bundle, "--data", folder / "manifest.csv"]
        assert "--overwrite" in diascope(*command, "--out", tmp_path, status=1).stderr
        assert (tmp_path / "evaluation.json").read_text() == "precious"


class TestRender:
    def test_draws_what_the_library_draws(self, tmp_path, folder):
        kinds = ["erythematous", "hyperpigmented", "neither"]
        options = [word for kind in kinds for word in ("--mark-type", kind)]
        command = ["render", "--count", 12, "--seed", 4, "--size", 64, "--no-truth", *options]
        shown = diascope(*command, "--out", tmp_path / "drawn")
        assert shown.stdout == f"{tmp_path / 'drawn' / 'manifest.csv'}: 12 pictures\n"
        drawn = {path.name: path.read_bytes() for path in (tmp_path / "drawn").iterdir()}
        assert drawn == {path.name: path.read_bytes() for path in folder.iterdir()}

    def test_a_folder_that_exists_is_kept(self, tmp_path):
        (tmp_path / "mine.txt").write_text("precious")
        command = ["render", "--count", 1, "--seed", 1, "--out", tmp_path]
        assert "--overwrite" in diascope(*command, status=1).stderr
        diascope(*command, "--overwrite", status=1)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class TestTrain:
    def test_a_config_s_typo_names_the_mend(self, tmp_path):
        (tmp_path / "c.toml").write_text('name = "x"\n[train]\nepocs = 3\n')
        shown = diascope("train", "--config", tmp_path / "c.toml", status=1)
        assert "unknown key train.epocs; did you mean epochs?" in shown.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]

    @pytest.mark.parametrize("setting", ["train.epochs=0", "train.epochs=many", "epochs", "a.b=1"])
    def test_an_override_is_held_to_the_same_rules(self, repo_root, tmp_path, setting):
        command = ["train", "--config", repo_root / "configs/smoke.toml", "--out", tmp_path / "x"]
        diascope(*command, "--set", setting, status=1)
        assert not (tmp_path / "x").exists()

    def test_trains_a_bundle_and_says_how_it_went(self, repo_root, tmp_path, pictures):
        pytest.importorskip("lightning")
        settings = ["train.epochs=1", "data.rendered_count=32", "data.rendered_validation=16"]
        shown = diascope(
            *("train", "--config", repo_root / "configs/smoke.toml", "--out", tmp_path / "run"),
            *(word for setting in settings for word in ("--set", setting)),
            *("--device", "cpu"),
        )
        saved = tmp_path / "run" / "bundle"
        assert shown.stdout == f"{saved}: saved, best of 1 epochs is 1\n"
        assert "epoch 1 of 1" in shown.stderr
        assert load_bundle(saved).description.data.rendered == 32
        diascope("predict", pictures[0], "--model", saved)
        again = ["train", "--config", repo_root / "configs/smoke.toml", "--out", tmp_path / "run"]
        assert "--overwrite" in diascope(*again, status=1).stderr

    def test_a_run_that_exists_is_refused_before_the_photographs_are_looked_at(
        self, repo_root, tmp_path
    ):
        pytest.importorskip("lightning")
        (tmp_path / "bundle").mkdir()
        shown = diascope(
            *("train", "--config", repo_root / "configs/smoke.toml", "--out", tmp_path),
            *("--data", tmp_path / "none.csv"),
            status=1,
        )
        assert "--overwrite" in shown.stderr
        assert "none.csv" not in shown.stderr

    def test_cross_validation_refuses_a_source_that_is_not_there(self, repo_root, folder, tmp_path):
        pytest.importorskip("sklearn")
        shown = diascope(
            *("cross-validate", "--config", repo_root / "configs/smoke.toml", "--by", "source"),
            *("--data", folder / "manifest.csv", "--out", tmp_path / "x", "--fold", "nowhere"),
            status=1,
        )
        assert "nowhere: no such source; here are rendered" in shown.stderr


class TestGuidance:
    @pytest.mark.parametrize("verdict", Verdict)
    @pytest.mark.parametrize("blanches", [None, "yes", "no"])
    def test_shows_every_claim_with_its_sources(self, verdict, blanches):
        command = ["guidance", "show", "--verdict", verdict, "--context", "dark_skin"]
        command += [] if blanches is None else ["--blanches", blanches]
        glass = combine(verdict, {None: None, "yes": True, "no": False}[blanches])
        claims = load_pack().claims_for(glass.verdict, ["dark_skin"], glass=glass.note)
        text = flat(diascope(*command).stdout)
        assert text.startswith(f"{glass.verdict}: {glass.words}")
        for claim in claims:
            assert claim.text in text
            assert all(source.citation in text for source in claim.sources)
        record = json.loads(diascope(*command, "--format", "json").stdout)
        assert [claim["id"] for claim in record["claims"]] == [claim.id for claim in claims]
        assert record["verdict"] == glass.verdict
        assert record["glass_test"] == glass.words
        assert diascope(*command, "--format", "markdown").stdout.startswith(f"# {glass.verdict}\n")

    def test_a_new_pack_verifies_covers_and_serves(self, tmp_path, pictures, untrained_bundle):
        pack = tmp_path / "mine"
        diascope("guidance", "new", pack)
        own = ["--guidance", pack]
        held = [*own, "--documents", pack / "documents"]
        assert "are as cited" in diascope("guidance", "verify", *held).stdout
        assert "100 % accounted for" in diascope("guidance", "coverage", *held).stdout
        diascope("predict", pictures[0], "--model", untrained_bundle, *own)
        assert "exists already" in diascope("guidance", "new", pack, status=1).stderr

    def test_a_changed_document_is_named(self, tmp_path):
        pack = tmp_path / "mine"
        diascope("guidance", "new", pack)
        (text,) = (pack / "documents").iterdir()
        text.write_text(text.read_text().replace("a", "e"))
        command = ["guidance", "verify", "--guidance", pack, "--documents", pack / "documents"]
        shown = diascope(*command, status=1)
        assert text.name in shown.stderr
        assert len(shown.stderr.splitlines()) <= 3

    def test_coverage_fails_where_a_sentence_is_unaccounted_for(self, tmp_path):
        pack = tmp_path / "mine"
        diascope("guidance", "new", pack)
        documents = pack / "documents.toml"
        kept = [line for line in documents.read_text().splitlines() if "greeting" not in line]
        documents.write_text("\n".join(kept))
        command = ["guidance", "coverage", "--guidance", pack, "--documents", pack / "documents"]
        shown = diascope(*command, status=1).stdout
        assert "100 %" not in shown.splitlines()[-3]

    @pytest.mark.shared
    def test_the_shipped_pack_accounts_for_the_documents(self, shared_dir):
        documents = ["--documents", shared_dir / "documents"]
        assert "are as cited" in diascope("guidance", "verify", *documents).stdout
        assert "100 % accounted for" in diascope("guidance", "coverage", *documents).stdout


@given(st.text())
def test_printable_is_safe_and_leaves_text_alone(text):
    shown = printable(text)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    shown.encode()
    if text.isprintable():
        assert shown == text


class TestProgress:
    def test_passes_items_through_one_by_one(self, capsys):
        taken = []

        def items():
            for each in "abc":
                taken.append(each)
                yield each

        with tracking() as track:
            passed = iter(track(items(), "work", 3))
            assert (next(passed), taken) == ("a", ["a"])
            inner = list(track([1, 2], "inner work"))
            assert (inner, list(passed)) == ([1, 2], ["b", "c"])
        out, err = capsys.readouterr()
        assert not out
        first, second = err.splitlines()
        assert first.startswith("inner work: 2 in 0:00:00, ")
        assert second.startswith("work: 3 in 0:00:00, ")

    def test_work_left_early_is_not_called_done(self, capsys):
        with tracking() as track:
            next(iter(track("abc", "work")))
        assert not capsys.readouterr().err

    def test_shows_what_the_library_logs_and_only_while_it_works(self, capsys):
        log = logging.getLogger("diascope.training")
        with tracking():
            log.info("epoch %d [red] of %d", 1, 2)
        log.info("later")
        assert capsys.readouterr().err == "epoch 1 [red] of 2\n"


class TestProcess:
    def test_predict_loads_nothing_of_training(self, pictures, untrained_bundle):
        code = (
            "import sys\nfrom diascope.cli import app\n"
            "app(sys.argv[1:], standalone_mode=False)\nprint(*sys.modules)"
        )
        command = [sys.executable, "-c", code, "predict", pictures[0], "--model", untrained_bundle]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        loaded = set(run.stdout.splitlines()[-1].split())
        heavy = {"torch", "sklearn", "pyarrow", "matplotlib", "albumentations", "lightning"}
        assert "diascope.inference" in loaded
        assert not loaded & heavy

    @pytest.mark.parametrize(
        "line", ["train --config {0}/configs/smoke.toml", "predict {1} --model {2} --runtime torch"]
    )
    def test_a_missing_extra_is_named(self, line, repo_root, pictures, untrained_bundle):
        code = (
            "import sys\nsys.modules['torch'] = None\n"
            "from diascope.cli import main\nsys.argv = sys.argv[:1] + sys.argv[1:]\nmain()"
        )
        words = [part.format(repo_root, pictures[0], untrained_bundle) for part in line.split()]
        run = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        assert run.stderr.startswith("Error: ")
        assert run.stderr.endswith("pip install 'diascope[train]'\n")
        assert not run.stdout

    def test_results_and_progress_do_not_mix(self, tmp_path):
        run = started("render", "--count", 3, "--seed", 1, "--out", tmp_path / "drawn")
        assert run.stdout == f"{tmp_path / 'drawn' / 'manifest.csv'}: 3 pictures\n"
        assert run.stderr.startswith("drawing marks: 3 in 0:00:0")
        assert "\x1b" not in run.stderr

    def test_a_terminal_gets_bars_and_stdout_stays_clean(self, tmp_path):
        ours, theirs = pty.openpty()
        command = [DIASCOPE, "render", "--count", "40", "--seed", "1", "--out", tmp_path / "drawn"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=theirs, env=environment
        ) as run:
            os.close(theirs)
            shown = b""
            # Read while it runs, for a terminal holds little; Linux tells the end by an error.
            with suppress(OSError):
                while part := os.read(ours, 65536):
                    shown += part
            stdout = run.stdout.read().decode()
        os.close(ours)
        shown = shown.decode()
        assert run.returncode == 0
        assert "40/40" in shown or "drawing marks: 40 in" in shown
        assert "━" in shown
        assert stdout == f"{tmp_path / 'drawn' / 'manifest.csv'}: 40 pictures\n"

    def test_a_reader_that_leaves_early_is_no_error(self):
        head = f"{DIASCOPE} guidance show --verdict unclear | head -n 1"
        run = subprocess.run(head, shell=True, capture_output=True, text=True, check=False)
        assert run.stdout.startswith("unclear: ")
        assert "Traceback" not in run.stderr


def test_bounds_of_pixels_and_bytes_can_be_moved(pictures, untrained_bundle):
    model = ("--model", untrained_bundle, "--json")
    for option, bound in (("--max-pixels", 64 * 64), ("--max-bytes", pictures[0].stat().st_size)):
        diascope("predict", pictures[0], *model, option, bound)
        told = diascope("predict", pictures[0], *model, option, bound - 1, status=1)
        assert '"reason": "too_large"' in told.stdout


def test_a_folder_of_parts_has_one_format(tmp_path):
    command = ["score", tmp_path, "--out", f"{tmp_path}/rows/", "--engine", "ray"]
    shown = diascope(*command, "--format", "csv", status=1)
    assert "leave --format out" in flat(shown.stderr)
