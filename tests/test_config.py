import copy
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from diascope.config import RunConfig, load_config, load_sweep, parse_config
from diascope.errors import ConfigError

LEAST = 'name = "least"\n'


@pytest.fixture
def least(tmp_path):
    path = tmp_path / "least.toml"
    path.write_text(LEAST)
    return path


def refusal(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    told = str(caught.value)
    assert told.count("\n") < 3
    return told


def test_a_name_is_all_a_run_must_have(least):
    assert load_config(least) == RunConfig(name="least")
    least.write_text("seed = 3\n")
    assert f"{least}: name is missing" in refusal(least)


def test_settings_of_the_file_and_overrides_are_taken(least):
    least.write_text(LEAST + "[train]\nepochs = 3\nbatch_size = 8\n[network]\nwidths = [16, 19]\n")
    config = load_config(
        str(least),
        [
            "train.epochs=5",
            "train.epochs=6",  # the last one counts
            " data.rendered_share = 0.25",
            'train.device="cpu"',
            "train.precision=bf16-mixed",  # no TOML: taken as text
            "network.widths=[16, 24]",
            "name=other",
        ],
    )
    assert (config.train.epochs, config.train.batch_size) == (6, 8)
    assert config.data.rendered_share == 0.25
    assert (config.train.device, config.train.precision) == ("cpu", "bf16-mixed")
    assert config.network.widths == [16, 24]
    assert config.name == "other"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epoch=3", "unknown key train.epoch; did you mean epochs?"),
        ("trian.epochs=3", "unknown key trian; did you mean train?"),
        ("network.zzz=3", "unknown key network.zzz; known keys here: widths, dropout"),
        ("train.epochs=0", "train.epochs = 0: Input should be greater than or equal to 1"),
        ("train.epochs=2.0", "train.epochs = 2.0: Input should be a valid integer"),
        ("train.epochs=many", "train.epochs = 'many': Input should be a valid integer"),
        ("train.epochs=true", "train.epochs = True: Input should be a valid integer"),
        ("train.learning_rate=inf", "train.learning_rate = inf: Input should be a finite number"),
        ("train.learning_rate=nan", "train.learning_rate = nan: Input should be a finite number"),
        ("train.device=gpu", "train.device = 'gpu': Input should be 'auto', 'cpu' or 'cuda'"),
        ("data.validation_share=0.0", "data.validation_share = 0.0: Input should be greater"),
        ("data.validation_share=1.0", "data.validation_share = 1.0: Input should be less than 1"),
        ("network.widths=[15, 16]", "network.widths.0 = 15: Input should be greater"),
        ("network.widths=[16]", "network.widths = [16]: List should have at least 2 items"),
        ("gates.separation_floor=0.4", "gates.separation_floor = 0.4: Input should be greater"),
        ("quality.least_skin=1.5", "quality.least_skin = 1.5: Input should be less"),
        ("quality.least_resolution=0", "quality.least_resolution = 0: Input should be greater"),
        ("name=../up", "name = '../up': String should match pattern"),
        ("train=5", "train = 5: this is a section; set keys in it"),
        ("data.rendered_count=0", "data.rendered_share is above 0 but data.rendered_count is 0"),
        ("train.epochs", "--set train.epochs: write it as key=value"),
        ("=5", "--set =5: write it as key=value"),
        ("train.=5", "--set train.=5: write it as key=value"),
        ("name.first=5", "--set name.first=5: name is no section of the config"),
    ],
)
def test_what_is_wrong_is_named(least, override, told):
    assert told in refusal(least, override)


def test_rendered_pictures_alone_need_some_to_validate_on(least):
    alone = ["data.rendered_share=1.0", "data.rendered_validation=0"]
    assert "nothing would be left to validate on" in refusal(least, *alone)
    assert load_config(least, ["data.rendered_validation=0"]).data.rendered_validation == 0
    none = load_config(least, ["data.rendered_share=0.0", "data.rendered_count=0"])
    assert none.data.rendered_count == 0


def test_one_of_several_faults_is_told_and_the_others_counted(least):
    least.write_text(LEAST + "sede = 1\n[train]\nepochs = 0\nbatch_size = 1\n")
    assert refusal(least).endswith("\n(and 2 more)")


def test_files_that_are_no_config_are_refused(tmp_path):
    path = tmp_path / "none.toml"
    assert "no such config file" in refusal(path)
    assert "not readable as TOML" in refusal(tmp_path)
    for content in (b"name = ", b"\xff\xfe", b'name = "a"\nname = "b"\n'):
        path.write_bytes(content)
        assert f"{path}: not readable as TOML" in refusal(path)


def sections(model):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield (name,), kind
            yield from (((name, *path), inner) for path, inner in sections(kind))


SECTIONS = [((), RunConfig), *sections(RunConfig)]


@given(st.sampled_from(SECTIONS), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_no_unknown_key_passes_in_any_section(section, key):
    path, model = section
    if key in model.model_fields:
        return
    settings = {"name": "x"}
    inside = settings
    for part in path:
        inside = inside.setdefault(part, {})
    inside[key] = 1
    before = copy.deepcopy(settings)
    with pytest.raises(ConfigError, match=f"c: unknown key {'.'.join([*path, key])};"):
        parse_config(settings, "c")
    assert settings == before


def test_a_config_survives_json_and_toml(least):
    config = load_config(least, ["train.learning_rate=0.003", "train.threads=2"])
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    told = config.model_dump(exclude_none=True)
    assert parse_config(told, "again") == config
    assert tomllib.loads(LEAST) == {"name": "least"}


def test_a_config_cannot_be_changed(least):
    config = load_config(least)
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3


SWEEP = """
name = "s"
seed = 1
marks = 2
ita_edges = [60.0, 0.0, -50.0]
contrasts = [[3.0, 6.0]]
"""


@pytest.mark.parametrize(
    ("line", "other", "said"),
    [
        ("marks = 2", "marks = 1", "marks = 1"),
        ("marks = 2", "", "marks is missing"),
        ("marks = 2", "marks = 2\ncontrast = 3", "did you mean contrasts?"),
        ("[60.0, 0.0, -50.0]", "[60.0, 0.0, 10.0]", "falling order"),
        ("[60.0, 0.0, -50.0]", "[60.0, 0.0, -95.0]", "ita_edges.2"),
        ("[[3.0, 6.0]]", "[[6.0, 3.0]]", "the lower number of each first"),
        ("[[3.0, 6.0]]", "[[3.0]]", "contrasts.0"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(tmp_path, line, other, said):
    file = tmp_path / "s.toml"
    file.write_text(SWEEP)
    assert load_sweep(file).size == 128
    file.write_text(SWEEP.replace(line, other))
    with pytest.raises(ConfigError) as caught:
        load_sweep(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(file))
