"""From a bucket to a trained model; killed midway, the rerun asks only for what is missing."""

import ast
import contextlib
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from bucket import serving
from PIL import Image
from test_sources import F17K, SCIN_CASES, SCIN_LABELS, f17k_row, scin_case, scin_label, write_table
from test_sources_prepare import lines_of
from typer.testing import CliRunner

from diascope.cli import app
from diascope.download import Patience
from diascope.errors import SourceError
from diascope.labels import ManifestLabel
from diascope.renderer import render
from diascope.sources import SOURCES, Access, source_named
from diascope.sources.fetch import fetch
from diascope.sources.label_maps import shipped_map

QUICK = Patience(attempts=4, first=0.01, longest=2.0, timeout=5.0)
TABLES = ("dataset/scin_cases.csv", "dataset/scin_labels.csv")


@pytest.fixture(autouse=True)
def straight(monkeypatch):
    """Loopback is never behind a proxy."""
    monkeypatch.setenv("no_proxy", "*")


def drawn(index, kind=ManifestLabel.ERYTHEMATOUS, size=64):
    """A drawn picture as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.fromarray(render(index, size=size, mark_type=kind).pixels).save(stream, "PNG")
    return stream.getvalue()


def image(case):
    return f"dataset/images/{case}.png"


@pytest.fixture
def bucket_files(tmp_path_factory):
    """SCIN's bucket in small: twelve red cases, one brown, two to decline, one of no use."""
    labels = {str(n): "{'Rosacea': 1.0}" for n in range(12)}
    labels |= {"-12": "{'Melasma': 1.0}", "13": "{'Psoriasis': 1.0}", "14": "{'Melanoma': 1.0}"}
    labels |= {"15": "{'Drug Rash': 1.0}"}
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder / "cases.csv", SCIN_CASES, *[scin_case(case, case) for case in labels])
    write_table(folder / "labels.csv", SCIN_LABELS, *[scin_label(*pair) for pair in labels.items()])
    tables = [(folder / name).read_bytes() for name in ("cases.csv", "labels.csv")]
    pictures = {image(case): drawn(n) for n, case in enumerate(labels)}
    return dict(zip(TABLES, tables, strict=True)) | pictures


def fetched(bucket, to, **options):
    return fetch(
        source_named("scin"), to, accepted=True, mirror=bucket.address, patience=QUICK, **options
    )


def test_only_pictures_that_may_be_trained_on(bucket_files, tmp_path):
    with serving(bucket_files) as bucket:
        report = fetched(bucket, tmp_path)
    assert report["pictures"] == {"fetched": 13, "present": 0, "failed": 0}
    assert set(bucket.counts) == {*TABLES, *(image(n) for n in range(12)), image("-12")}
    assert set(bucket.counts.values()) == {1}
    with serving(bucket_files) as bucket:
        report = fetched(bucket, tmp_path, everything=True)
    assert report["pictures"] == {"fetched": 3, "present": 13, "failed": 0}
    assert set(bucket.counts) == {image(n) for n in (13, 14, 15)}
    assert all((tmp_path / name).read_bytes() == data for name, data in bucket_files.items())


def test_what_failed_is_told_and_the_others_are_there(bucket_files, tmp_path):
    broken = bucket_files[image(3)][:700]
    served = bucket_files | {image(2): b"<html>Not here</html>", image(3): broken}
    del served[image(1)]
    faults = {
        "fail_first": {image(4): [500], TABLES[0]: [503]},
        "cut_first": {image(5), TABLES[1]},
        "slow": {image(6): 0.01},
        "always": {image(7): 403},
    }
    with serving(served, **faults) as bucket:
        report = fetched(bucket, tmp_path)
    assert report["pictures"] == {"fetched": 9, "present": 0, "failed": 4}
    told = {one["name"]: one["reason"] for one in report["failed"]}
    assert set(told) == {image(n) for n in (1, 2, 3, 7)}
    assert "404" in told[image(1)]
    assert "HTML page" in told[image(2)]
    assert told[image(3)].startswith("truncated")
    assert "403" in told[image(7)]
    assert json.loads((tmp_path / "fetch_report.json").read_text()) == report
    for n in (0, 4, 5, 6, 8):
        assert (tmp_path / image(n)).read_bytes() == bucket_files[image(n)]
    left = {path.name for path in (tmp_path / "dataset" / "images").iterdir()}
    assert left == {f"{n}.png" for n in (0, 4, 5, 6, 8, 9, 10, 11, -12)}
    # The rerun asks for what failed, and for nothing else.
    with serving(bucket_files) as bucket:
        report = fetched(bucket, tmp_path)
    assert report["pictures"] == {"fetched": 4, "present": 9, "failed": 0}
    assert set(bucket.counts) == set(told)


def test_fitzpatrick17k_names_its_own_hosts(tmp_path):
    """Rows without an address, and names that lead elsewhere, are told and not asked for."""
    with serving({"a.jpg": drawn(0), "b.jpg": drawn(1)}) as atlas:
        rows = [
            f17k_row(0, "rosacea", url=f"{atlas.address}/a.jpg"),
            f17k_row(1, "rosacea", url=""),
            f17k_row(2, "rosacea", url=f"{atlas.address}/dead.jpg"),
            f17k_row(3, "psoriasis", url=f"{atlas.address}/b.jpg"),
        ]
        write_table(tmp_path / "fitzpatrick17k.csv", F17K, *rows)
        concepts = ["", "ImageID", "Erythema", "Do not consider this image"]
        write_table(tmp_path / "annotations_fitzpatrick17k.csv", concepts)
        report = fetch(source_named("fitzpatrick17k"), tmp_path, accepted=True, patience=QUICK)
    assert report["pictures"] == {"fetched": 1, "present": 0, "failed": 2}
    reasons = [one["reason"] for one in report["failed"]]
    assert "404" in reasons[0]
    assert reasons[1] == "the table gives no address"
    assert (tmp_path / "images" / f"{0:032x}.jpg").is_file()
    assert set(atlas.counts) == {"a.jpg", "dead.jpg"}


def test_nothing_is_asked_before_the_licence_is_accepted(bucket_files, tmp_path):
    with serving(bucket_files) as bucket:
        shown = run("fetch", "scin", "--to", tmp_path / "s", "--address", bucket.address, status=1)
        assert bucket.asked == []
    assert "SCIN Data Use License" in shown.stdout
    assert "--accept-licence" in shown.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_someone_at_the_terminal_is_asked(bucket_files, tmp_path, answer, status):
    controller, terminal = pty.openpty()
    os.write(controller, answer)
    with serving(bucket_files) as bucket:
        process = start(bucket, tmp_path / "s", stdin=terminal, accepted=False)
        assert process.wait(60) == status
        assert bool(bucket.asked) == (status == 0)
    os.close(controller)
    os.close(terminal)


@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s.access is not Access.OPEN], ids=lambda s: s.name
)
def test_a_set_behind_a_form_says_where_to_get_it(source, tmp_path):
    with pytest.raises(SourceError) as raised:
        fetch(source, tmp_path / "to", accepted=True)
    assert source.address in str(raised.value)
    assert f"diascope data prepare {source.name}" in str(raised.value)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("body", [None, b"", b"<!doctype html><title>Sign in</title>"])
def test_a_table_that_does_not_come_ends_it(bucket_files, tmp_path, body):
    served = {**bucket_files, TABLES[1]: body}
    if body is None:
        del served[TABLES[1]]
    with serving(served) as bucket, pytest.raises(SourceError, match=r"scin_labels.csv: .*\n"):
        fetched(bucket, tmp_path)
    assert image(0) not in bucket.counts
    assert not (tmp_path / TABLES[1]).exists()


def test_a_path_that_leads_out_is_not_written(tmp_path, bucket_files):
    served = dict(bucket_files)
    served[TABLES[0]] = served[TABLES[0]].replace(b"dataset/images/0.png", b"../../0.png")
    with serving(served) as bucket:
        report = fetched(bucket, tmp_path / "in" / "ner")
    assert [one["name"] for one in report["failed"]] == ["../../0.png"]
    assert not (tmp_path / "0.png").exists()
    assert not any(path.rsplit("/")[-1] == "0.png" for path in bucket.counts)


def run(*arguments, status=0):
    shown = CliRunner().invoke(app, ["data", *[str(each) for each in arguments]])
    assert shown.exit_code == status, f"{shown.output}\n{shown.exception!r}"
    return shown


def start(bucket, to, *, accepted=True, **streams):
    """Fetch in a process of its own."""
    code = "from diascope.cli import main; main()"
    options = ["data", "fetch", "scin", "--to", str(to), "--address", bucket.address]
    command = [sys.executable, "-c", code, *options, "--connections", "2"]
    command += ["--accept-licence"] if accepted else []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **quiet, **streams)


def wait_for(what, process):
    end = time.monotonic() + 60
    try:
        while not what():
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < end
            time.sleep(0.01)
    except BaseException:
        process.kill()
        process.wait()
        raise


def sizes(folder, pattern):
    """Sizes by name of files that a running fetch may rename at any moment."""
    found = {}
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def test_killed_midway_the_rerun_fetches_only_what_is_missing(bucket_files, tmp_path):
    images = tmp_path / "dataset" / "images"
    # Large, as a part is written in blocks of 64 KiB.
    cases = (*range(4, 12), "-12")
    bucket_files = bucket_files | {image(case): drawn(abs(int(case)), size=512) for case in cases}
    slow = {image(case): 0.005 for case in cases}
    with serving(bucket_files, slow=slow) as bucket:
        process = start(bucket, tmp_path)

        def is_midway():
            return len(list(images.glob("*.png"))) >= 4 and any(sizes(images, "*.part").values())

        wait_for(is_midway, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = {path.name for path in images.glob("*.png")}
    parts = {path.name.removesuffix(".part"): path.stat().st_size for path in images.glob("*.part")}
    assert 4 <= len(there) < 13
    assert any(parts.values())
    with serving(bucket_files) as bucket:
        report = fetched(bucket, tmp_path)
    asked = {path.rsplit("/")[-1]: wanted for path, wanted in bucket.asked}
    every = {f"{n}.png" for n in range(12)} | {"-12.png"}
    assert set(asked) == every - there
    assert set(bucket.counts.values()) == {1}
    assert report["pictures"] == {"fetched": 13 - len(there), "present": len(there), "failed": 0}
    # What had arrived of a picture is not sent again.
    assert {name: asked[name] for name in parts} == {
        name: f"bytes={size}-" if size else "" for name, size in parts.items()
    }
    assert all(
        (images / name).read_bytes() == bucket_files[f"dataset/images/{name}"] for name in every
    )
    assert not list(images.glob("*.part*"))


CONFIG = """
name = "fetched"
[data]
rendered_count = 0
rendered_validation = 0
rendered_share = 0.0
join_copies = false
[preprocess]
size = 64
[network]
widths = [16, 24]
[train]
epochs = 2
samples_per_epoch = 32
batch_size = 16
device = "cpu"
threads = 1
"""


def cut_tables(root, most):
    """The real tables, cut to some cases of every mark type, with what each case shows."""
    kinds = shipped_map("scin")
    wanted, shown = {}, {}
    for row in lines_of(root / "scin_labels.csv"):
        weights = ast.literal_eval(row["weighted_skin_condition_label"])
        seen = {kinds.get(name).mark_type for name in weights}
        if "NO_DISCERNIBLE" in row["dermatologist_gradable_for_skin_condition_1"] and not weights:
            seen = {"neither"}
        if len(seen) == 1 and list(wanted.values()).count(seen) < most:
            wanted[row["case_id"]] = seen
    tables = []
    for name in ("scin_cases.csv", "scin_labels.csv"):
        rows = [row for row in lines_of(root / name) if row["case_id"] in wanted]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
        tables.append(text.getvalue().encode())
        for row in rows:
            for n in (1, 2, 3):
                if row.get(f"image_{n}_path"):
                    shown[row[f"image_{n}_path"]] = next(iter(wanted[row["case_id"]]))
    return dict(zip(TABLES, tables, strict=True)), shown


@pytest.mark.slow
@pytest.mark.shared
def test_from_the_bucket_to_a_model(shared_dir, tmp_path):
    """The real tables cut to a few dozen cases, drawn pictures, and servers' faults."""
    pytest.importorskip("torch")
    served, shown = cut_tables(shared_dir / "tables" / "scin", most=6)
    assert 24 <= len(shown) <= 120
    drawable = {"erythematous", "hyperpigmented", "neither"}
    for n, (name, kind) in enumerate(shown.items()):
        kind = ManifestLabel(kind if kind in drawable else "erythematous")
        served[name] = drawn(n, kind)
    marked = [name for name, kind in shown.items() if kind in drawable | {"mixed"}]
    faults = {
        "always": dict.fromkeys(marked[:2], 404),
        "fail_first": {marked[2]: [500]},
        "slow": {marked[3]: 0.02},
        "cut_first": {marked[4]},
    }
    to, out = tmp_path / "scin", tmp_path / "scin" / "manifest.parquet"
    with serving(served, **faults) as bucket:
        options = ["--to", to, "--address", bucket.address, "--accept-licence"]
        told = run("fetch", "scin", *options, status=3)
    assert f"{len(marked) - 2} fetched, 0 present, 2 failed" in told.stdout
    assert "404" in told.stdout
    told = run("prepare", "scin", "--root", to, "--out", out)
    report = json.loads((to / "manifest.parquet.report.json").read_text())
    assert report["dropped"]["no_picture"]["pictures"] >= 2
    (tmp_path / "fetched.toml").write_text(CONFIG)
    arguments = ["train", "--config", tmp_path / "fetched.toml", "--data", out]
    arguments += ["--out", tmp_path / "run"]
    shown = CliRunner().invoke(app, [str(each) for each in arguments])
    assert shown.exit_code == 0, f"{shown.output}\n{shown.exception!r}"
    bundle = json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text())
    kept = {kind: n["pictures"] for kind, n in report["mark_types"].items()}
    trained = sum(kept.get(kind, 0) for kind in (*drawable, "mixed"))
    assert bundle["data"]["photographs"] == trained == len(marked) - 2
