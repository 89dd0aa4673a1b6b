import re
from pathlib import Path

import pytest
import torch

from diascope.bundle import load_bundle
from diascope.config import load_config
from diascope.training import fit

torch.set_num_threads(1)

CONFIGS = {path.stem: path for path in (Path(__file__).parents[1] / "configs").glob("*.toml")}


@pytest.fixture(params=sorted(CONFIGS))
def path(request):
    return CONFIGS[request.param]


def test_the_promised_configs_are_there():
    assert {"demo", "own", "photos", "rendered", "smoke"} <= set(CONFIGS)


def test_it_loads_under_its_own_name(path):
    assert load_config(path).name == path.stem


def test_its_header_tells_command_duration_and_result(path):
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    told = dict(re.findall(r"^# (\w+): +(\S.*)$", header, re.MULTILINE))
    command = rf"diascope train --config configs/{path.name}( --data \S+)? --out runs/{path.stem}"
    assert re.fullmatch(command, told["Command"])
    assert {"Duration", "Result"} <= set(told)


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
