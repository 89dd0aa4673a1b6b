"""Every kind of file, one true row each; and thousands of damaged ones."""

import subprocess
import sys

import numpy as np
import pytest
from corpus import PIXELS, SIZE, cases, mean_ab

from diascope import Predictor
from diascope.errors import ImageError
from diascope.image import read_picture
from diascope.inference import Prediction
from diascope.scoring import ScoreInput, Status, predict_inputs, score_inputs

CASES = cases()
READ = [case for case in CASES if case.status != "unreadable"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for case in CASES:
        case.write(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def inputs(folder):
    return [ScoreInput(case.name, case.name, folder / case.name) for case in CASES]


def test_there_are_kinds_enough():
    assert len(CASES) >= 30
    assert {case.reason for case in CASES} >= {"missing", "not_an_image", "truncated", "too_large"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_file_has_one_row_with_its_status_and_reason(predictor, inputs):
    rows = list(score_inputs(predictor, inputs, batch_size=16, workers=2))
    assert [row.id for row in rows] == [case.name for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        if case.status == "read":
            assert row.status is not Status.UNREADABLE, (case.name, row.reason)
            assert "no_colour" not in row.reason, case.name
        else:
            assert (row.status, row.reason) == (case.status, case.reason), case.name
        if case.status == "unreadable":
            assert (row.p_neither, row.width, row.skin_share) == (None, None, None)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_notes_say_what_was_assumed(predictor, inputs):
    answers = [answer for _, answer in predict_inputs(predictor, inputs)]
    for answer, case in zip(answers, CASES, strict=True):
        assert isinstance(answer, ImageError if case.status == "unreadable" else Prediction)
        if isinstance(answer, Prediction):
            assert answer.notes == case.notes, case.name
            expected = (
                SIZE if case.pixels is None or case.pixels.shape == PIXELS.shape else (64, 48)
            )
            assert (answer.width, answer.height) == expected, case.name


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", [c for c in READ if c.pixels is not None], ids=lambda c: c.name)
def test_its_colours_are_those_of_the_original(case, folder):
    seen = read_picture(folder / case.name).pixels
    assert seen.shape == case.pixels.shape
    difference = np.abs(mean_ab(seen) - mean_ab(case.pixels))
    assert difference.max() < case.within, difference
    # Each quarter too: a turn or a clipped channel would show there.
    height, width = seen.shape[0] // 2, seen.shape[1] // 2
    for part in (np.s_[:height, :width], np.s_[:height, width:], np.s_[height:, :width]):
        difference = np.abs(mean_ab(seen[part]) - mean_ab(case.pixels[part]))
        assert difference.max() < 1.5 * case.within, (part, difference)


@pytest.mark.slow
def test_damaged_files_have_a_row_each(repo_root):
    script = repo_root / "benchmarks" / "mutated.py"
    command = [sys.executable, script, "--count", "400", "--seed", "9"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("400 rows: ")
