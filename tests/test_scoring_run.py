import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from diascope import Predictor
from diascope.errors import OutputError
from diascope.labels import INTENDED_USE
from diascope.renderer import render
from diascope.scoring import (
    COLUMNS,
    FORMATS,
    Row,
    Run,
    ScoreInput,
    SpooledInputs,
    Status,
    format_of,
    score_inputs,
    source_inputs,
)
from diascope.scoring.output import beside
from diascope.scoring.parts import Parts, parts_folder

SUFFIXES = [".csv", ".jsonl", ".parquet"]


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Twelve drawn pictures and two files that are none."""
    folder = tmp_path_factory.mktemp("gallery")
    for index in range(12):
        Image.fromarray(render(index, seed=5, size=64).pixels).save(folder / f"{index:02}.png")
    (folder / "03.png").write_text("no picture")
    (folder / "empty.jpg").touch()
    return folder


@pytest.fixture(scope="module")
def inputs(gallery):
    return tuple(source_inputs(gallery))


def write(out, predictor, inputs, part_rows=5, workers=1, batch_size=32, **options):
    run = Run(out, part_rows=part_rows, **options)
    return run.write(predictor, SpooledInputs(inputs), workers=workers, batch_size=batch_size)


def files(folder):
    """Everything in a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class StoppedError(Exception):
    pass


def stopped_after(rows):
    """A track that stops the run when so many rows have gone by."""

    def track(items, description, total=None):
        for number, item in enumerate(items):
            if number == rows:
                raise StoppedError
            yield item

    return track


def stop(out, predictor, inputs, rows, part_rows=5):
    """Leave a run as a crash does."""
    run = Run(out, part_rows=part_rows)
    with pytest.raises(StoppedError):
        run.write(predictor, SpooledInputs(inputs), workers=1, track=stopped_after(rows))


def read_back(out):
    """The cells of an output, as Python values; a CSV's as text."""
    if out.suffix == ".parquet":
        rows = parquet.read_table(out).to_pylist()
        return [tuple(row[name] for name in COLUMNS) for row in rows]
    if out.suffix == ".jsonl":
        text = out.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        assert all(tuple(line) == COLUMNS for line in lines)
        return [tuple(line.values()) for line in lines]
    with out.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == COLUMNS
    return [tuple(row) for row in rows]


class TestFormats:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_reads_back_as_it_was(self, predictor, inputs, tmp_path, suffix):
        odd = ['a,"b".png', "two\nlines.png", "=1+1.png", "\u2028.png", "a\rb.png"]
        boxed = ScoreInput("7", "p", inputs[0].file, (1, 2, 60, 50), True)
        given = [*inputs, boxed, *(ScoreInput(name, name, Path(name)) for name in odd)]
        rows = list(score_inputs(predictor, given))
        summary = write(tmp_path / f"rows{suffix}", predictor, given)
        expected = [tuple(getattr(row, name) for name in COLUMNS) for row in rows]
        if suffix == ".csv":
            expected = [
                tuple("yes" if v is True else "" if v is None else str(v) for v in row)
                for row in expected
            ]
        assert read_back(tmp_path / f"rows{suffix}") == expected
        assert summary.counts == Counter(row.status for row in rows)
        floats = [row.p_neither for row in rows if row.p_neither is not None]
        if suffix == ".csv":
            index = COLUMNS.index("p_neither")
            cells = [row[index] for row in read_back(tmp_path / "rows.csv") if row[index]]
            assert [float(cell) for cell in cells] == floats

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_name_that_is_no_text_is_written_out(self, predictor, tmp_path, suffix):
        name = os.fsdecode(b"caf\xe9.png")
        write(tmp_path / f"rows{suffix}", predictor, [ScoreInput(name, name, Path(name))])
        (row,) = read_back(tmp_path / f"rows{suffix}")
        assert row[:2] == ("caf\\udce9.png", "caf\\udce9.png")

    def test_parquet_has_the_types_and_says_what_made_it(self, predictor, inputs, tmp_path):
        write(tmp_path / "rows.parquet", predictor, inputs)
        file = parquet.ParquetFile(tmp_path / "rows.parquet")
        types = {field.name: field.type for field in file.schema_arrow}
        assert tuple(types) == COLUMNS
        assert types["p_neither"] == pa.float64()
        assert types["width"] == pa.int64()
        assert types["blanches"] == pa.bool_()
        assert types["verdict"] == pa.string()
        assert [file.metadata.row_group(i).num_rows for i in range(3)] == [5, 5, 3]
        check_about(json.loads(file.schema_arrow.metadata[b"diascope"]), predictor, 13)
        assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
    def test_what_made_the_rows_stands_beside_them(self, predictor, inputs, tmp_path, suffix):
        out = tmp_path / f"my.rows{suffix}"
        write(out, predictor, inputs)
        check_about(json.loads((tmp_path / "my.rows.meta.json").read_text()), predictor, 13)
        assert sorted(files(tmp_path)) == sorted([out.name, "my.rows.meta.json"])

    @pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.xlsx"])
    def test_a_name_that_says_no_format(self, name):
        with pytest.raises(OutputError, match=r"\.csv, \.jsonl or \.parquet"):
            format_of(name)

    def test_a_format_given_by_name(self):
        assert format_of("rows", "jsonl") is FORMATS["jsonl"]
        with pytest.raises(OutputError, match=r"end it in \.jsonl"):
            format_of("rows.csv", "jsonl")


def check_about(about, predictor, count):
    assert about["intended_use"] == INTENDED_USE
    assert about["model"] == {
        "name": "untrained",
        "digest": predictor.bundle.digest,
        "intended_use": predictor.bundle.description.intended_use,
    }
    assert about["guidance"]["version"] == predictor.pack.version
    assert about["columns"] == list(COLUMNS)
    assert about["inputs"]["count"] == sum(about["rows"].values()) == count


class TestWholeOrNotAtAll:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("rows", [0, 3, 5, 11, 12])
    def test_a_run_cut_off_leaves_parts_and_resumes_to_the_same_bytes(
        self, predictor, inputs, tmp_path, suffix, rows
    ):
        write(tmp_path / "whole" / f"rows{suffix}", predictor, inputs, workers=2, batch_size=3)
        out = tmp_path / "cut" / f"rows{suffix}"
        stop(out, predictor, inputs, rows)
        assert not out.exists()
        assert not beside(out).exists()
        with pytest.raises(OutputError, match="--resume to go on, or --overwrite"):
            Run(out)
        summary = write(out, predictor, inputs, batch_size=1, resume=True)
        assert files(out.parent) == files(tmp_path / "whole")
        assert not parts_folder(out).exists()
        assert summary.scored == 13 - rows // 5 * 5
        assert sum(summary.counts.values()) == 13

    def test_a_part_that_was_damaged_is_made_again(self, predictor, inputs, tmp_path):
        write(tmp_path / "whole" / "rows.csv", predictor, inputs)
        out = tmp_path / "cut" / "rows.csv"
        stop(out, predictor, inputs, 12)
        part = parts_folder(out) / "000001.csv"
        part.write_bytes(part.read_bytes().replace(b"0", b"1"))
        assert write(out, predictor, inputs, resume=True).scored == 8
        assert files(out.parent) == files(tmp_path / "whole")

    def test_a_journal_cut_off_in_a_line_costs_that_part(self, predictor, inputs, tmp_path):
        write(tmp_path / "whole" / "rows.csv", predictor, inputs)
        out = tmp_path / "cut" / "rows.csv"
        stop(out, predictor, inputs, 12)
        journal = parts_folder(out) / "journal.jsonl"
        journal.write_bytes(journal.read_bytes()[:-9])
        assert write(out, predictor, inputs, resume=True).scored == 8
        assert files(out.parent) == files(tmp_path / "whole")

    def test_nothing_to_resume_is_a_run_from_the_start(self, predictor, inputs, tmp_path):
        assert write(tmp_path / "rows.csv", predictor, inputs, resume=True).scored == 13

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_an_output_that_is_whole_needs_no_resuming(self, predictor, inputs, tmp_path, suffix):
        out = tmp_path / f"rows{suffix}"
        counts = write(out, predictor, inputs).counts
        before = files(tmp_path)
        again = write(out, predictor, inputs, resume=True)
        assert (again.scored, +Counter(again.counts)) == (0, counts)
        assert files(tmp_path) == before
        with pytest.raises(OutputError, match="of another run"):
            write(out, predictor, inputs[1:], resume=True)

    def test_killed_while_it_tidied_up(self, predictor, inputs, tmp_path):
        out = tmp_path / "rows.csv"
        write(out, predictor, inputs)
        before = files(tmp_path)
        parts_folder(out).mkdir()
        for name in ("lock", "000001.csv"):
            (parts_folder(out) / name).touch()
        assert write(out, predictor, inputs, resume=True).scored == 0
        assert files(tmp_path) == before
        assert not parts_folder(out).exists()

    def test_overwriting_begins_again(self, predictor, inputs, tmp_path):
        out = tmp_path / "rows.csv"
        out.write_text("precious")
        with pytest.raises(OutputError, match="--overwrite"):
            write(out, predictor, inputs)
        with pytest.raises(OutputError, match="of another run"):
            write(out, predictor, inputs, resume=True)
        assert out.read_text() == "precious"
        assert write(out, predictor, inputs, overwrite=True).scored == 13
        out.unlink()
        beside(out).unlink()
        stop(out, predictor, inputs, 12)
        assert write(out, predictor, inputs, overwrite=True).scored == 13

    def test_what_stands_beside_an_earlier_file_is_kept_too(self, tmp_path):
        (tmp_path / "rows.meta.json").write_text("precious")
        with pytest.raises(OutputError, match=r"rows\.meta\.json: exists already"):
            Run(tmp_path / "rows.csv")
        Run(tmp_path / "rows.parquet")

    def test_a_folder_and_a_file_for_a_folder(self, predictor, inputs, tmp_path):
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(OutputError, match="this is a folder"):
            Run(tmp_path / "folder.csv", overwrite=True)
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            write(tmp_path / "file" / "rows.csv", predictor, inputs)

    def test_another_s_file_among_the_parts_is_left(self, predictor, inputs, tmp_path):
        out = tmp_path / "rows.csv"
        stop(out, predictor, inputs, 12)
        (parts_folder(out) / "mine.txt").write_text("precious")
        write(out, predictor, inputs, resume=True)
        assert (parts_folder(out) / "mine.txt").read_text() == "precious"

    def test_two_runs_do_not_write_one_file(self, tmp_path):
        basis = dict.fromkeys(
            [
                "diascope",
                "model",
                "guidance",
                "settings",
                "columns",
                "inputs",
                "format",
                "part_rows",
            ],
            1,
        )
        one = Parts.fresh(tmp_path / "rows.csv", FORMATS["csv"], basis)
        for way in (Parts.fresh, Parts.resumed):
            with pytest.raises(OutputError, match="another run is writing it"):
                way(tmp_path / "rows.csv", FORMATS["csv"], basis)
        one.release()
        Parts.resumed(tmp_path / "rows.csv", FORMATS["csv"], basis).release()


class TestRefusesToResume:
    def test_where_what_the_rows_depend_on_has_changed(
        self, predictor, inputs, tmp_path, untrained_bundle
    ):
        from diascope.image import Limits

        out = tmp_path / "rows.csv"
        stop(out, predictor, inputs, 12)
        before = files(tmp_path)
        rendered = Predictor.load("rendered", threads=1)
        tighter = Predictor.load(untrained_bundle, threads=1, limits=Limits(max_bytes=10))
        boxed = (ScoreInput(inputs[0].id, inputs[0].path, inputs[0].file, (1, 2, 30, 40)),)
        for changed, given, rows in [
            ("the model changed", (rendered, inputs), 5),
            ("the list of inputs changed", (predictor, inputs[:-1]), 5),
            ("the list of inputs changed", (predictor, boxed + inputs[1:]), 5),
            (r"a setting \(device, runtime or limits\) changed", (tighter, inputs), 5),
            ("the size of a part changed", (predictor, inputs), 6),
        ]:
            with pytest.raises(OutputError, match=f"cannot be resumed, since {changed}"):
                write(out, *given, part_rows=rows, resume=True)
            assert files(tmp_path) == before
        assert write(out, predictor, inputs, resume=True).scored == 3

    def test_both_ways_at_once(self, tmp_path):
        with pytest.raises(OutputError, match="choose one"):
            Run(tmp_path / "rows.csv", resume=True, overwrite=True)


# Processes of their own: killed, stopped, out of space.

PICTURES = 240


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Many small pictures, all different, some of them no pictures."""
    folder = tmp_path_factory.mktemp("corpus")
    drawn = [render(index, seed=8, size=64).pixels for index in range(12)]
    for index in range(PICTURES):
        pixels = np.roll(drawn[index % 12], index, axis=1)
        Image.fromarray(pixels).save(folder / f"{index:04}.png", compress_level=0)
    for index in range(0, PICTURES, 17):
        (folder / f"{index:04}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    return folder


def command(corpus, bundle, out, *options):
    return [
        *(Path(sys.executable).with_name("diascope"), "score", corpus, "--out", out),
        *("--model", bundle, "--part-rows", 20, "--batch-size", 8, "--workers", 2, *options),
    ]


def start(line, **options):
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([str(word) for word in line], **given)


def finish(line, status):
    process = start(line)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == status, stderr
    return stdout, stderr


@pytest.fixture(scope="module")
def undisturbed(corpus, untrained_bundle, tmp_path_factory):
    """The files of runs that nothing disturbed, and how long the slowest of them took."""
    folder, longest = tmp_path_factory.mktemp("undisturbed"), 0.0
    for suffix in SUFFIXES:
        begin = time.monotonic()
        # One process and other batches: the bytes do not depend on them.
        options = ("--workers", 1, "--batch-size", 32, "--overwrite")
        finish(command(corpus, untrained_bundle, folder / f"rows{suffix}", *options), 3)
        longest = max(longest, time.monotonic() - begin)
        if suffix == ".csv":
            shutil.copy(folder / "rows.meta.json", folder / "csv.meta.json")
    return folder, longest


def same_as_undisturbed(out, folder):
    assert out.read_bytes() == (folder / out.name).read_bytes()
    assert not parts_folder(out).exists()


@pytest.mark.slow
def test_killed_at_twenty_moments_and_resumed_the_bytes_are_the_same(
    corpus, untrained_bundle, undisturbed, tmp_path
):
    folder, longest = undisturbed
    moments = random.Random(4)
    killed = 0
    for number in range(20):
        out = tmp_path / str(number) / f"rows{SUFFIXES[number % 3]}"
        line = command(corpus, untrained_bundle, out)
        process = start(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moments.uniform(0.2, 1.2 * longest))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        whole = out.exists()
        assert not whole or out.read_bytes() == (folder / out.name).read_bytes()
        finish([*line, "--resume"], 3)
        same_as_undisturbed(out, folder)
    assert killed >= 10
    assert not workers_alive(tmp_path)


def workers_alive(tmp_path):
    """Workers whose parent is gone; they are given a moment to notice."""
    for _ in range(50):
        listing = subprocess.run(["ps", "-A", "-o", "ppid=,args="], capture_output=True, text=True)
        orphans = [
            line
            for line in listing.stdout.splitlines()
            if "diascope.scoring.worker" in line and line.split()[0] == "1"
        ]
        if not orphans:
            return []
        time.sleep(0.1)
    return orphans


def wait_for_parts(out, count=1):
    for _ in range(600):
        if len(list(parts_folder(out).glob(f"0*{out.suffix}"))) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("no part appeared")


def test_ctrl_c_ends_soon_keeps_the_parts_and_says_how_to_go_on(
    corpus, untrained_bundle, undisturbed, tmp_path
):
    out = tmp_path / "rows.csv"
    process = start(command(corpus, untrained_bundle, out), start_new_session=True)
    wait_for_parts(out)
    os.killpg(process.pid, signal.SIGINT)
    begin = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    if process.returncode == 3:
        pytest.skip("the run was faster than the test")
    assert process.returncode == 130
    assert time.monotonic() - begin < 2
    assert not out.exists()
    told = stderr.splitlines()[-1]
    assert told.startswith("diascope score ")
    assert told.endswith(" --resume")
    finish([Path(sys.executable).with_name("diascope"), *told.split()[1:]], 3)
    same_as_undisturbed(out, undisturbed[0])


def test_a_killed_worker_costs_a_retry_and_no_row(corpus, untrained_bundle, undisturbed, tmp_path):
    out = tmp_path / "rows.parquet"
    process = start(command(corpus, untrained_bundle, out))
    wait_for_parts(out)
    listing = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True
    )
    for pid in listing.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 3
    same_as_undisturbed(out, undisturbed[0])


def limited_to(size):
    """In the child: files end at this size, as on a full disk (EFBIG instead of ENOSPC)."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_file_that_cannot_grow_is_a_clear_error_and_the_parts_are_kept(
    corpus, untrained_bundle, undisturbed, tmp_path
):
    out = tmp_path / "rows.csv"
    part = (undisturbed[0] / "rows.csv").stat().st_size
    line = command(corpus, untrained_bundle, out)
    process = start(line, preexec_fn=limited_to(part // 2))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    error = stderr[stderr.index("Error: ") :]
    assert error.startswith(f"Error: {out}: cannot be written: File too large\n")
    assert "--resume" in error
    assert "Traceback" not in stderr
    assert not out.exists()
    finish([*line, "--resume"], 3)
    same_as_undisturbed(out, undisturbed[0])


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_a_clear_error_and_room_mends_it(
    corpus, untrained_bundle, undisturbed, small_disk
):
    out = small_disk / "rows.csv"
    line = command(corpus, untrained_bundle, out)
    _, stderr = finish(line, 1)
    assert f"Error: {out}: cannot be written: No space left on device\n" in stderr
    assert not out.exists()
    assert list(parts_folder(out).glob("0*.csv"))
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    finish([*line, "--resume"], 3)
    same_as_undisturbed(out, undisturbed[0])


def test_inputs_are_left_as_they_were(predictor, gallery, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in gallery.iterdir()}
    write(tmp_path / "rows.csv", predictor, source_inputs(gallery))
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in gallery.iterdir()}
    assert before == after
    assert len(read_back(tmp_path / "rows.csv")) == len(before)


def test_an_unreadable_row_holds_no_number():
    from diascope.errors import UnreadableReason
    from diascope.scoring.rows import unreadable

    row = unreadable(ScoreInput("a", "b", Path("c")), UnreadableReason.TRUNCATED, "m@1")
    assert isinstance(row, Row)
    told = {name for name in COLUMNS if getattr(row, name) not in (None, "")}
    assert told == {"id", "path", "status", "reason", "model"}
    assert row.status is Status.UNREADABLE


@pytest.mark.parametrize("told", [b"[]", b'{"rows": null}', b"{}", b"\xff"])
def test_metadata_that_is_none_is_another_run(predictor, gallery, tmp_path, told):
    out = tmp_path / "rows.csv"
    out.touch()
    beside(out).write_bytes(told)
    with pytest.raises(OutputError, match="of another run"):
        write(out, predictor, source_inputs(gallery), resume=True)


def test_a_picture_in_hand_does_not_become_a_path_that_is_missing(gallery):
    for picture in (b"bytes", Image.new("RGB", (40, 40))):
        with pytest.raises(TypeError):
            SpooledInputs([ScoreInput("a", "a", picture)])
