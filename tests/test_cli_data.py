"""``diascope data``: what it prints, and what it refuses."""

import json
import subprocess
import sys

import pytest
from test_sources import write_table
from typer.testing import CliRunner

from diascope.cli import app
from diascope.sources import SOURCES


def data(*arguments, status=0):
    shown = CliRunner().invoke(app, ["data", *[str(each) for each in arguments]])
    assert shown.exit_code == status, f"{shown.output}\n{shown.exception!r}"
    return shown


def flat(text):
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def dermoscopy(tmp_path):
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    rows = [{"lesion_id": "HAM_1", "image_id": f"ISIC_{n}", "dx": "mel"} for n in range(3)]
    rows.append({"lesion_id": "HAM_2", "image_id": "ISIC_9"})
    write_table(tmp_path / "HAM10000_metadata.csv", columns, *rows)
    return tmp_path


def test_list_names_every_set_with_its_licence():
    shown = flat(data("list").stdout)
    for source in SOURCES:
        assert f"{source.name} {source.title} {source.access}" in shown
        assert source.licence in shown


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_describe(source):
    shown = data("describe", source.name).stdout
    told = (
        source.title,
        source.address,
        source.licence,
        source.holds,
        source.citation,
        source.terms,
    )
    assert all(text in shown for text in (*told, *source.traps))
    assert ("Out of domain: these are no photographs" in shown) == (source.name == "ham10000")


def test_prepare_prints_what_was_kept_and_what_was_not(dermoscopy):
    out = dermoscopy / "labels.csv"
    options = ["--root", dermoscopy, "--out", out, "--labels-only"]
    shown = flat(data("prepare", "ham10000", *options).stdout)
    for line in ("other 3 3", "excluded 1 1", "in all 4 4", "no_label 1 1"):
        assert line in shown
    assert "Out of domain" in shown
    assert f"{out}.report.json" in shown
    assert json.loads((dermoscopy / "labels.csv.report.json").read_text())["rows"] == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["describe", "isic"], "isic: no data set of that name"),
        (["fetch", "ddi", "--to", "x"], "ddi is not fetched: its owners give it out on request"),
        (["fetch", "dermnet", "--to", "x"], "dermnet is not fetched: it needs an account"),
        (["prepare", "scin", "--root", "gone", "--out", "m.csv"], "gone: no such folder"),
    ],
)
def test_refusals_are_short_and_leave_nothing(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = data(*arguments, status=1)
    assert shown.stderr.startswith(f"Error: {told}")
    assert len(shown.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_min_weight_and_the_map_are_handed_on(dermoscopy):
    options = ["--root", dermoscopy, "--out", dermoscopy / "m.csv", "--labels-only"]
    shown = data("prepare", "ham10000", *options, "--min-weight", "1.5", status=1)
    assert "--min-weight 1.5" in shown.stderr
    (dermoscopy / "map.csv").write_text("label,mark_type,reason,certainty\nnv,other,mole,sure\n")
    options += ["--map", dermoscopy / "map.csv"]
    shown = data("prepare", "ham10000", *options, status=1)
    assert "HAM10000_metadata.csv line 2: 'mel'" in shown.stderr
    assert "not_in_map 3 3" in flat(
        data("prepare", "ham10000", *options, "--unmapped", "exclude").stdout
    )


def test_without_the_extra_only_fetch_is_missing():
    code = "import sys; sys.modules['urllib3'] = None; from diascope.cli import main; main()"

    def started(*arguments):
        command = [sys.executable, "-c", code, "data", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert started("list").returncode == 0
    shown = started("fetch", "scin", "--to", "x")
    assert shown.returncode == 1
    assert "pip install 'diascope[data]'" in shown.stderr
