import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from diascope import Predictor
from diascope.errors import EngineError, GuidanceError
from diascope.image import Limits
from diascope.renderer import render
from diascope.scoring import ScoreInput, score_inputs
from diascope.scoring.archive import Held
from diascope.scoring.workers import MOST_GIVEN_UP


@dataclass(frozen=True)
class Deadly:
    """A picture that ends whatever process reads it, until a file says that it has done so enough.

    Workers import this class by name; they get this process's places to import from.
    """

    picture: str
    tally: str
    times: int

    def fetch(self, max_bytes):
        deaths = Path(self.tally)
        count = deaths.stat().st_size if deaths.exists() else 0
        if count < self.times:
            with deaths.open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(self.picture).read_bytes()


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(12):
        Image.fromarray(render(index, seed=5, size=64).pixels).save(folder / f"{index:02}.png")
    return [ScoreInput(path.name, path.name, path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def expected(predictor, inputs):
    return list(score_inputs(predictor, inputs))


def with_deadly(inputs, tmp_path, places, times):
    changed = list(inputs)
    for place in places:
        item = inputs[place]
        file = Deadly(str(item.file), str(tmp_path / f"{place}.deaths"), times)
        changed[place] = ScoreInput(item.id, item.path, file)
    return changed


@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_processes_give_what_threads_give(predictor, inputs, expected, batch_size):
    rows = score_inputs(predictor, inputs, workers=2, processes=True, batch_size=batch_size)
    assert list(rows) == expected


@pytest.mark.parametrize("times", [1, 3])
def test_a_worker_that_dies_costs_a_retry_and_no_row(predictor, inputs, expected, tmp_path, times):
    given = with_deadly(inputs, tmp_path, [4], times)
    assert list(score_inputs(predictor, given, workers=2, processes=True, batch_size=5)) == expected


def test_a_picture_that_kills_every_worker_is_a_row_and_its_neighbours_are_right(
    predictor, inputs, expected, tmp_path
):
    given = with_deadly(inputs, tmp_path, [4, 5, 11], 1000)
    rows = list(score_inputs(predictor, given, workers=2, processes=True, batch_size=6))
    for place, (row, right) in enumerate(zip(rows, expected, strict=True)):
        if place in (4, 5, 11):
            assert (row.id, row.status, row.reason) == (right.id, "unreadable", "truncated")
            assert row.p_neither is None
        else:
            assert row == right


def test_a_machine_that_kills_whatever_it_is_given_is_no_row(predictor, inputs, tmp_path):
    given = with_deadly(inputs, tmp_path, range(MOST_GIVEN_UP), 1000)
    with pytest.raises(EngineError, match="keep dying"):
        list(score_inputs(predictor, given, workers=1, processes=True, batch_size=1))


def test_a_worker_that_cannot_start_is_said(predictor, inputs, monkeypatch, capfd):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match="cannot start"):
        list(score_inputs(predictor, inputs, workers=1, processes=True))


def test_a_fault_of_the_program_is_no_row(predictor, inputs):
    wrong = ScoreInput("x", "x", inputs[0].file, contexts=("nonsense",))
    with pytest.raises(GuidanceError, match="nonsense"):
        list(score_inputs(predictor, [wrong], workers=1, processes=True))


def test_more_bytes_than_a_pipe_holds_go_through(predictor, inputs):
    # Four megabytes per batch in both directions' way: neither end may wait for the other.
    noise = Held("noise", os.urandom(1_000_000))
    good = Held("good", inputs[0].file.read_bytes())
    given = [ScoreInput(str(n), str(n), good if n % 4 == 0 else noise) for n in range(16)]
    rows = list(score_inputs(predictor, given, workers=2, processes=True, batch_size=4))
    assert [row.reason == "not_an_image" for row in rows] == [n % 4 != 0 for n in range(16)]


def test_leaving_early_ends_the_workers_and_reads_little_ahead(predictor, inputs):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield inputs[0]

    rows = score_inputs(predictor, endless(), workers=2, processes=True, batch_size=2)
    assert len(list(islice(rows, 6))) == 6
    rows.close()
    assert len(taken) <= 6 + 2 * 12
    listing = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    assert "diascope.scoring.worker" not in listing.stdout


def test_a_worker_has_the_limits(inputs, untrained_bundle):
    strict = Predictor.load(untrained_bundle, limits=Limits(max_bytes=10))
    rows = list(score_inputs(strict, inputs[:1], workers=1, processes=True))
    assert rows[0].reason == "too_large"


def test_more_rows_than_a_socket_holds_while_as_many_inputs_come(predictor):
    given = [ScoreInput(f"{n}" + "x" * 500, "y", Path("/nowhere" + "z" * 200)) for n in range(6000)]
    rows = score_inputs(predictor, given, workers=1, processes=True, batch_size=2000)
    found = []
    work = threading.Thread(target=lambda: found.extend(rows), daemon=True)
    work.start()
    work.join(60)
    assert [row.id for row in found] == [item.id for item in given]
