import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import diascope
from diascope import Predictor
from diascope.errors import ManifestError
from diascope.image import Limits
from diascope.renderer import render
from diascope.scoring import COLUMNS, ScoreInput, score_inputs, source_inputs
from diascope.scoring.engine import FEW, Plan, plan
from diascope.scoring.table import schema


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(5):
        Image.fromarray(render(index, seed=5, size=64).pixels).save(folder / f"{index}.png")
    (folder / "9.png").write_text("none")
    return folder


def test_a_source_gives_the_rows_of_the_command_line(predictor, folder):
    expected = list(score_inputs(predictor, source_inputs(folder)))
    assert list(diascope.score(folder, model=predictor)) == expected
    assert list(diascope.score(str(folder), model=predictor.bundle.folder)) == expected


def test_a_table_has_the_documented_schema_and_the_rows(predictor, folder):
    table = diascope.score(folder, model=predictor).to_table()
    assert table.schema.equals(schema())
    rows = diascope.score(folder, model=predictor)
    expected = [{name: getattr(row, name) for name in COLUMNS} for row in rows]
    assert table.to_pylist() == expected


def test_pictures_of_any_kind_in_their_order(predictor, folder):
    pixels = render(3, seed=5, size=64).pixels
    given = [
        folder / "0.png",
        str(folder / "9.png"),
        (folder / "1.png").read_bytes(),
        pixels,
        Image.fromarray(pixels),
        np.zeros((3, 3)),
        ScoreInput("mine", "p", folder / "2.png", blanches=True),
    ]
    rows = list(diascope.score(iter(given), model=predictor, batch_size=2))
    assert [row.id for row in rows] == [
        *(str(folder / "0.png"), str(folder / "9.png"), "2", "3", "4", "5", "mine")
    ]
    assert [row.reason if row.p_neither is None else "" for row in rows] == [
        *("", "not_an_image", "", "", "", "unsupported", "")
    ]
    assert (
        rows[3].p_neither == rows[4].p_neither == predictor.predict(pixels).class_probabilities[2]
    )


def test_an_address_in_a_list_is_fetched(predictor, folder):
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/api/0.png", (folder / "0.png").read_bytes())
    (row,) = diascope.score(["memory://api/0.png"], model=predictor)
    assert row.p_neither == predictor.predict(folder / "0.png").class_probabilities[2]


def test_settings_reach_the_predictor(predictor, folder):
    rows = diascope.score(folder, model="rendered", limits=Limits(max_bytes=10))
    assert {row.reason for row in rows} == {"too_large", "not_an_image"}
    with pytest.raises(TypeError, match="has its settings already: limits"):
        diascope.score(folder, model=predictor, limits=Limits())


def test_no_pictures(predictor, tmp_path):
    with pytest.raises(ManifestError, match="holds no pictures"):
        diascope.score(tmp_path, model=predictor)
    assert list(diascope.score([], model=predictor)) == []
    assert diascope.score([], model=predictor).to_table().schema.equals(schema())


def test_processes_need_no_main_guard(folder, untrained_bundle, tmp_path):
    """A script is not run again by its workers, as with multiprocessing."""
    script = tmp_path / "script.py"
    script.write_text(
        "import diascope\nprint('once')\n"
        f"rows = diascope.score({str(folder)!r}, model={str(untrained_bundle)!r}, workers=2)\n"
        "print(len(list(rows)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "once\n6\n", done.stderr


@pytest.mark.parametrize(
    ("workers", "count", "remote", "gpu", "expected"),
    [
        ("auto", 24, False, False, Plan(2, False)),
        ("auto", None, False, False, Plan(2, False)),
        ("auto", FEW + 1, False, False, Plan(2, True)),
        ("auto", 24, True, False, Plan(2, True)),
        ("auto", 10**6, True, True, Plan(1, False)),
        (1, 10**6, True, False, Plan(1, False)),
        (5, 3, False, True, Plan(5, True)),
    ],
)
def test_who_works(monkeypatch, workers, count, remote, gpu, expected):
    monkeypatch.setattr("diascope.scoring.engine.available_cores", lambda: 2)
    assert plan(workers, count, remote=remote, gpu=gpu) == expected


def test_one_picture_is_not_taken_for_several(predictor, folder):
    content = (folder / "0.png").read_bytes()
    with (folder / "0.png").open("rb") as stream:
        for single in (content, bytearray(content), stream, np.zeros((40, 40, 3), np.uint8)):
            with pytest.raises(TypeError, match="in a list"):
                diascope.score(single, model=predictor)
    stack = np.stack([render(seed, seed=5, size=64).pixels for seed in range(2)])
    assert [row.width for row in diascope.score(stack, model=predictor)] == [64, 64]
    names = np.array([str(folder / "0.png")], dtype=object)
    assert [row.width for row in diascope.score(names, model=predictor)] == [64]
