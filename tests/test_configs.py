import re
from pathlib import Path

import pytest
import torch

from diascope.bundle import load_bundle
from diascope.config import load_config, load_sweep
from diascope.renderer import ITA_RANGE
from diascope.training import fit

torch.set_num_threads(1)

FILES = {path.stem: path for path in (Path(__file__).parents[1] / "configs").glob("*.toml")}
SWEEPS = {"sweep"}
CONFIGS = {name: path for name, path in FILES.items() if name not in SWEEPS}


@pytest.fixture(params=sorted(CONFIGS))
def path(request):
    return CONFIGS[request.param]


def told(path):
    """What a config's header tells, by its words."""
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    return dict(re.findall(r"^# (\w+): +(\S.*)$", header, re.MULTILINE))


def test_the_promised_configs_are_there():
    assert {"demo", "own", "photos", "rendered", "smoke"} <= set(CONFIGS)


def test_it_loads_under_its_own_name(path):
    assert load_config(path).name == path.stem


def test_its_header_tells_command_duration_and_result(path):
    command = rf"diascope train --config configs/{path.name}( --data \S+)? --out runs/{path.stem}"
    assert re.fullmatch(command, told(path)["Command"])
    assert {"Duration", "Result"} <= set(told(path))


@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_a_sweep_covers_the_tones_and_contrasts_that_are_drawn(name):
    sweep, header = load_sweep(FILES[name]), told(FILES[name])
    assert sweep.name == name
    assert header["Command"].startswith("diascope evaluate --model photos --sweep configs/")
    assert {"Duration", "Result"} <= set(header)
    assert (sweep.ita_edges[-1], sweep.ita_edges[0]) == ITA_RANGE
    assert [low for low, _ in sweep.contrasts] == [3.0, 6.0, 12.0]


def test_its_known_groups_are_in_the_checkout(path):
    groups = load_config(path).data.groups
    assert groups is None or (path.parent / groups).is_file()


def test_those_without_photographs_say_so():
    licences = {name: load_config(path).data_licence for name, path in CONFIGS.items()}
    shares = {name: load_config(path).data.rendered_share for name, path in CONFIGS.items()}
    assert [name for name, share in shares.items() if share < 1.0] == ["own", "photos"]
    assert licences["rendered"].startswith("No photograph was used")
    assert licences["demo"].startswith("No photograph was used")


def test_smoke_trains(tmp_path):
    config = load_config(CONFIGS["smoke"])
    result = fit(config, [], tmp_path / "run")
    assert len(result.history) == config.train.epochs
    assert load_bundle(result.bundle_folder).description.name == "smoke"
