"""The house keeps its shape: imports point strictly down, heavy packages stay in their rooms."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "diascope"

# Rooms of one floor do not import each other. A new module gets its floor here.
FLOORS = [
    "labels errors machine progress canvas",
    "config files image colour figures portrait",
    "preprocess renderer network calibration familiarity metrics quality explain duplicates report "
    "guidance download perturbation evidence",
    "augment baseline bundle export dataset sources",
    "inference training splits",
    "evaluation scoring audit",
    "cross_validation",
    "cli __init__",
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}

# Packages that may be imported, at module level, in these rooms only.
HOMES = {
    "albumentations": {"augment"},
    "jinja2": {"audit", "report"},
    "lightning": {"training"},
    "markupsafe": {"report"},
    "matplotlib": {"training", "explain", "report"},
    "onnx": {"export"},
    "onnx_ir": {"export"},
    "onnxruntime": {"inference"},
    "pillow_heif": {"image"},
    "ray": set(),
    "rich": {"cli"},
    "simplejpeg": {"image"},
    "sklearn": {"baseline", "splits"},
    "tensorboard": {"training"},
    "torch": {"network", "augment", "training", "export"},
    "torchvision": {"network", "augment", "training", "export"},
    "typer": {"cli"},
    "urllib3": {"download"},
}

# Rooms that the base install cannot import.
NEED_TRAIN = {
    "network",
    "augment",
    "training",
    "export",
    "baseline",
    "splits",
    "cross_validation",
    "audit",
    "report",
}
NEED_DATA = {"download"}

# Where the import's name is not the package's.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pillow_heif": "pillow-heif",
    "onnx_ir": "onnx-ir",
    "sklearn": "scikit-learn",
    "pydantic_core": "pydantic",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that one statement imports; ``from a import b`` gives ``a.b``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: relative import"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(tree: ast.Module) -> set[str]:
    """Rooms of this package that a module imports, at any depth; the package itself is one."""
    names = [name.split(".") for node in ast.walk(tree) for name in imported(node)]
    inside = [parts for parts in names if parts[0] == "diascope"]
    return {parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else "__init__" for parts in inside}


def outsiders(tree: ast.Module, *, at_module_level: bool) -> set[str]:
    """Third-party packages that a module imports."""
    inside_functions = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    nodes = (node for node in ast.walk(tree) if (node not in inside_functions) is at_module_level)
    tops = {name.partition(".")[0] for node in nodes for name in imported(node)}
    return tops - sys.stdlib_module_names - {"diascope"}


def declared(*extras: str) -> set[str]:
    """Packages that pyproject.toml asks for: the base, and these extras."""
    pyproject = PACKAGE.parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return {re.match(r"[\w-]+", line)[0].lower() for line in lines}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
class TestModule:
    def test_has_a_floor(self, module):
        assert room_of(module) in FLOOR_OF, f"give {room_of(module)} a floor in {__file__}"

    def test_imports_point_strictly_down(self, module):
        room = room_of(module)
        others = rooms_imported(tree_of(module)) - {room}
        level_or_up = {other for other in others if FLOOR_OF[other] >= FLOOR_OF[room]}
        assert not level_or_up, f"{room} (floor {FLOOR_OF[room]}) imports {sorted(level_or_up)}"

    def test_heavy_packages_stay_in_their_rooms(self, module):
        strangers = {
            name
            for name in outsiders(tree_of(module), at_module_level=True)
            if room_of(module) not in HOMES.get(name, {room_of(module)})
        }
        assert not strangers, f"{room_of(module)} imports {sorted(strangers)}"

    def test_every_package_it_imports_is_declared(self, module):
        at_top = {
            DISTRIBUTIONS.get(name, name)
            for name in outsiders(tree_of(module), at_module_level=True)
        }
        inside = {
            DISTRIBUTIONS.get(name, name)
            for name in outsiders(tree_of(module), at_module_level=False)
        }
        assert at_top | inside <= declared("train", "data", "ray")
        if room_of(module) not in NEED_TRAIN | NEED_DATA:
            assert at_top <= declared(), "the base install lacks it"


def test_albumentations_is_imported_in_one_place_only():
    inside = {
        room_of(module)
        for module in MODULES
        for level in (True, False)
        if "albumentations" in outsiders(tree_of(module), at_module_level=level)
    }
    assert inside == {"augment"}


def test_no_floor_without_a_room():
    rooms = {room_of(module) for module in MODULES}
    planned: set[str] = set()
    assert set(FLOOR_OF) - rooms <= planned


def test_the_page_for_people_shows_the_same_floors():
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d) \| (.*) \|$", page, flags=re.MULTILINE))
    shown = {
        room: int(floor) for floor, row in rows.items() for room in re.findall(r"`(\w+)`", row)
    }
    rooms = {room_of(module) for module in MODULES}
    assert shown == {room: floor for room, floor in FLOOR_OF.items() if room in rooms}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


TRAINING_PACKAGES = {"torch", "torchvision", "albumentations", "lightning", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("statement", "spared"),
    [
        ("import diascope", TRAINING_PACKAGES | {"numpy", "cv2", "onnxruntime", "pyarrow"}),
        ("from diascope import Predictor", TRAINING_PACKAGES),
        ("import diascope.scoring", TRAINING_PACKAGES | {"ray"}),
        ("import diascope.cli", TRAINING_PACKAGES | {"pyarrow"}),
    ],
)
def test_a_light_import_stays_light(statement, spared):
    assert not loaded_by(statement) & spared


def test_no_drawer_for_odds_and_ends():
    names = {part.removesuffix(".py") for module in MODULES for part in module.parts}
    odd = {name for name in names if re.search(r"util|helper|common|misc|manager", name)}
    assert not odd


def functions() -> Iterator[tuple[str, int]]:
    """Every function with its length in lines."""
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                yield f"{module.relative_to(PACKAGE)}:{node.lineno} {node.name}", length


def test_a_function_fits_on_a_screen():
    lengths = dict(functions())
    over = {name: length for name, length in lengths.items() if length > 80}
    assert not over
    assert median(lengths.values()) < 12
    assert quantiles(lengths.values(), n=10)[-1] < 35
