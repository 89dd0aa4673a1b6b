"""What a user installs: the wheel carries its models and needs no torch to predict."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import diascope


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, away from the checkout's own package."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(repo_root, tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    run(*build, repo_root, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    return next(dist.glob("*.whl"))


def files_under(root: Path, *folders: str) -> set[str]:
    """Files of these folders as paths from the root; byte code aside."""
    return {
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_carries_code_models_and_label_maps_only(wheel, repo_root):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        name.replace("src/", "", 1).replace("models/", "diascope/_models/", 1)
        for name in files_under(repo_root, "src/diascope", "models")
    }
    maps = {
        name.replace("data/label_maps/", "diascope/_label_maps/", 1)
        for name in files_under(repo_root, "data/label_maps")
    }
    assert package | maps <= names
    assert "diascope/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"diascope", f"diascope-{diascope.__version__}.dist-info"}


def test_source_distribution_holds_what_a_build_and_the_tests_need(dist, repo_root):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("src", "tests", "configs", "data", "models", "docs", "benchmarks")
    files = {"LICENSE", "Makefile", "README.md", "CHANGELOG.md", "constraints.txt"}
    assert files | files_under(repo_root, *folders) <= names
    assert not {name for name in names if name.startswith((".venv", "runs", ".ci", ".git/"))}


@pytest.mark.slow
def test_base_install_predicts_without_torch(wheel, repo_root, tmp_path):
    sample = sorted((repo_root / "data" / "sample").glob("*.png"))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = repo_root / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel, cwd=tmp_path)

    for model in ("photos", "rendered"):
        command = (python.with_name("diascope"), "predict", sample[0], "--json", "--model", model)
        (prediction,) = json.loads(run(*command, cwd=tmp_path))
        bundle = (repo_root / "models" / model / "bundle.json").read_bytes()
        assert prediction["model"]["digest"] == hashlib.sha256(bundle).hexdigest()
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)
    find = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('albumentations'))"
    assert run(python, "-c", find, cwd=tmp_path).split() == ["None", "None"]
