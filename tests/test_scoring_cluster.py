"""Rows of a cluster are the local engine's, whatever becomes of its workers."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from PIL import Image
from pyarrow import parquet

from diascope.errors import EngineError, MissingExtraError, OutputError, UnreadableReason
from diascope.renderer import render
from diascope.scoring import cluster
from diascope.scoring.archive import Streamed
from diascope.scoring.cluster import Cluster, _Pool, score_on_cluster
from diascope.scoring.cluster_parts import ClusterRun, PartsFolder
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import unreadable

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra ray"
)

COUNT = 320


def test_workers_take_a_core_each_and_share_the_gpus():
    resources = {"CPU": 16.0, "GPU": 2.0}
    assert _Pool.of(resources, Cluster()) == _Pool(16, 0.0)
    assert _Pool.of(resources, Cluster(device="auto")) == _Pool(16, 0.125)
    # Three shares fit into two.
    assert _Pool.of(resources, Cluster(workers=3, device="auto")) == _Pool(3, 0.6666)
    # Ray takes no share of 2.0.
    assert _Pool.of(resources, Cluster(workers=1, device="cuda")) == _Pool(1, 1.0)
    assert _Pool.of({"CPU": 4.0}, Cluster(device="auto")) == _Pool(4, 0.0)
    with pytest.raises(EngineError, match="no GPU"):
        _Pool.of({"CPU": 4.0}, Cluster(device="cuda"))


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(cluster, "_ENVIRONMENT", {})
    with pytest.raises(MissingExtraError, match=r"pip install 'diascope\[ray\]'"):
        next(score_on_cluster(None, [], 32, Cluster()))


def test_a_compressed_tar_stays_on_one_machine():
    member = ScoreInput("a", "a.jpg", Streamed("photos.tar.gz", "a.jpg", 0))
    with pytest.raises(EngineError, match=r"photos\.tar\.gz.*--engine local"):
        cluster._anywhere(member)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Pictures, and at every fortieth place a file that is none, is cut off, or is not there."""
    folder = tmp_path_factory.mktemp("pictures")
    names = [f"{index:04}.jpg" for index in range(COUNT)]
    for index, name in enumerate(names):
        Image.fromarray(render(index, seed=9, size=64).pixels).save(folder / name)
    for place in range(0, COUNT, 40):
        file = folder / names[place]
        damage = (place // 40) % 3
        if damage == 2:
            file.unlink()
        else:
            file.write_bytes(b"none" if damage else file.read_bytes()[:700])
    file = folder / "manifest.csv"
    file.write_text("path\n" + "".join(f"{name}\n" for name in names))
    return file


def score(*arguments):
    command = [sys.executable, "-c", "from diascope.cli import main; main()", "score"]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def actors_below(process: int) -> list[int]:
    """Processes of Ray's actors whose line of parents leads to a process."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in listing.stdout.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}

    def is_below(pid):
        while pid in parents and pid != process:
            pid = parents[pid]
        return pid == process

    actors = [int(pid) for pid, _, *words in rows if words and "_Actor" in words[0]]
    return [pid for pid in actors if is_below(pid)]


@needs_ray
@pytest.mark.slow
def test_a_worker_killed_midway_costs_a_retry_and_no_row(manifest, untrained_bundle, tmp_path):
    settings = [manifest, "--model", untrained_bundle, "--part-rows", 20, "--batch-size", 8]
    by_ray, by_hand = tmp_path / "ray.csv", tmp_path / "local.csv"
    run = score(*settings, "--out", by_ray, "--engine", "ray", "--workers", 2)
    try:
        first_part = tmp_path / ".ray.csv.parts" / "000000.csv"
        while not first_part.exists() and run.poll() is None:
            time.sleep(0.05)
        actors = actors_below(run.pid)
        assert len(actors) == 2, run.communicate()
        os.kill(actors[0], signal.SIGKILL)
        assert not by_ray.exists(), "it was done before a worker was killed"
        out, told = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 3, told
    assert f"{COUNT} rows" in out + told

    local = score(*settings, "--out", by_hand)
    _, told = local.communicate(timeout=120)
    assert local.returncode == 3, told
    assert by_ray.read_bytes() == by_hand.read_bytes()
    assert len(by_ray.read_text().splitlines()) == 1 + COUNT


@needs_ray
def test_a_cluster_that_is_not_there_is_not_waited_for(manifest, untrained_bundle, tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        engine = ["--engine", "ray", "--ray-address", address]
        run = score(manifest, "--out", tmp_path / "a.csv", "--model", untrained_bundle, *engine)
        _, told = run.communicate(timeout=60)
    assert run.returncode == 1
    assert f"{address} cannot be joined: [Errno" in " ".join(told.split())


@needs_ray
@pytest.mark.slow
def test_parts_of_a_folder_are_the_rows_and_missing_ones_are_made_again(
    manifest, untrained_bundle, tmp_path
):
    folder, by_hand = tmp_path / "rows", tmp_path / "local.parquet"
    settings = [manifest, "--model", untrained_bundle]
    by_ray = [*settings, "--out", f"{folder}/", "--part-rows", 100, "--engine", "ray"]
    run = score(*by_ray, "--workers", 2)
    _, told = run.communicate(timeout=120)
    assert run.returncode == 3, told
    local = score(*settings, "--out", by_hand)
    _, told = local.communicate(timeout=120)
    assert local.returncode == 3, told

    expected = parquet.read_table(by_hand).to_pylist()
    parts = sorted(folder.glob("*.parquet"))
    assert [parquet.read_metadata(part).num_rows for part in parts] == [100, 100, 100, 20]
    assert [row for part in parts for row in parquet.read_table(part).to_pylist()] == expected
    about = json.loads((folder / "_rows.json").read_bytes())
    assert about["rows"] == dict(Counter(row["status"] for row in expected))

    content = parts[1].read_bytes()
    parts[1].unlink()
    again = score(*by_ray, "--workers", 1, "--resume")
    _, told = again.communicate(timeout=120)
    assert again.returncode == 3, told
    assert parts[1].read_bytes() == content
    assert json.loads((folder / "_rows.json").read_bytes()) == about


def test_a_part_that_is_not_whole_is_made_again(tmp_path):
    folder, basis = PartsFolder(str(tmp_path)), b"basis"
    rows = [
        unreadable(ScoreInput(str(n), "x", tmp_path), UnreadableReason.MISSING, "m")
        for n in range(5)
    ]
    folder.put("_begun.json", basis)
    for index, count in enumerate((5, 5, 4, 5)):
        folder.write(f"part-{index:08}.parquet", rows[:count])
    cut = tmp_path / "part-00000001.parquet"
    cut.write_bytes(cut.read_bytes()[:100])
    kept = ClusterRun(str(tmp_path), resume=True, part_rows=5)._kept(basis, 17)
    assert kept == {"part-00000000.parquet": Counter(unreadable=5)}


def test_a_folder_of_parts_that_has_changed_settings_says_so_in_two_lines(tmp_path):
    PartsFolder(str(tmp_path)).put("_begun.json", b"other")
    with pytest.raises(OutputError, match="changed;\nrun as before"):
        ClusterRun(str(tmp_path), resume=True)._kept(b"basis", 1)


def test_a_draft_that_a_killed_run_left_is_no_other_file(tmp_path):
    (tmp_path / "._begun.json.5f.partial").touch()
    ClusterRun(str(tmp_path))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="holds other files"):
        ClusterRun(str(tmp_path))
