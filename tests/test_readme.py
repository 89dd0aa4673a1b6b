"""What the README says can be done can be done: its commands parse, its Python runs."""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import diascope
from diascope.bundle import SHIPPED, load_bundle, resolve_bundle
from diascope.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def shell_lines(program: str) -> list[list[str]]:
    """Lines of the shell blocks that start with a program, split into words without it."""
    lines = (
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.split("\n")
    )
    return [words[1:] for words in lines if words[:1] == [program]]


def commands(command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the tree that does something, as words after ``diascope``."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
    for name, child in (children or {}).items():
        yield from commands(child, (*path, name))


def parse(words: list[str]) -> None:
    """Parse a command line without running it; options that do not exist raise."""
    command, name, arguments = get_command(app), "diascope", words
    parent = None
    while hasattr(command, "commands"):
        parent = command.context_class(command, info_name=name, parent=parent)
        name, *arguments = arguments
        command = command.commands[name]
    context = command.context_class(command, info_name=name, parent=parent)
    command.make_parser(context).parse_args(list(arguments))


@pytest.mark.parametrize("words", shell_lines("diascope"), ids=" ".join)
def test_every_diascope_line_parses(words):
    parse(words)


@pytest.mark.parametrize(
    ("words", "wrong"), [("predict photo.jpg --tabel", "tabel"), ("model sho photos", "sho")]
)
def test_a_wrong_line_does_not_parse(words, wrong):
    with pytest.raises(Exception, match=wrong):
        parse(words.split())


@pytest.mark.parametrize("path", list(commands(get_command(app))), ids=" ".join)
def test_every_command_is_in_the_readme(path):
    assert any(tuple(words[: len(path)]) == path for words in shell_lines("diascope"))


def test_the_make_lines_are_targets():
    named = {words[0] for words in shell_lines("make")} | set(re.findall(r"`make (\w+)`", README))
    assert {"demo", "test"} <= named
    for target in named:
        # Status 1 means out of date and 0 up to date; 2 is "no rule to make target".
        asked = subprocess.run(["make", "--question", target], cwd=ROOT, capture_output=True)
        assert asked.returncode in (0, 1), asked.stderr


@pytest.mark.parametrize("snippet", blocks("python"))
def test_python_runs(snippet, tmp_path, monkeypatch, capsys):
    shutil.copy(next((ROOT / "data" / "sample").glob("*.png")), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_configs_and_pages_it_links_exist():
    linked = set(re.findall(r"\]\(([^):#]+)\)", README)) | set(
        re.findall(r"configs/\w+\.toml", README)
    )
    assert not {link for link in linked if not (ROOT / link).exists()}


def test_figures_are_those_of_the_model_cards():
    cards = {
        (f"{figure.value:.3f}", f"{figure.low:.3f}", f"{figure.high:.3f}", str(figure.n))
        for name in SHIPPED
        for figure in load_bundle(resolve_bundle(name)).description.figures
    }
    told = re.findall(r"(-?\d\.\d{3}) \[(-?\d\.\d{3}), (-?\d\.\d{3})\] \| (\d+)", README)
    assert len(told) >= 5
    assert set(told) <= cards


def test_the_first_screen_states_the_limits_of_use():
    screen = " ".join(README.split("\n## ")[0].split())
    assert "Research and education use only: `models/photos`" in screen
    assert "Not a medical device" in screen


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    headings = re.findall(
        r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    assert headings[1] == project["version"] == diascope.__version__
