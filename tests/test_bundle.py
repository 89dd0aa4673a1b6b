import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diascope import bundle as bundle_module
from diascope.bundle import (
    BundleDescription,
    Figure,
    Preprocessing,
    TrainingData,
    load_bundle,
    model_card,
    resolve_bundle,
    save_bundle,
    with_figures,
)
from diascope.calibration import fit_conformal
from diascope.config import GateConfig, NetworkConfig, QualityConfig
from diascope.errors import BundleError, OutputError
from diascope.familiarity import FeatureSpace
from diascope.labels import LABEL_ORDER

FIGURE = Figure(
    name="auroc_red_vs_brown",
    value=0.9512,
    low=0.93,
    high=0.97,
    n=607,
    data="photographs, grouped cross-validation",
    command="diascope evaluate --model photos --data manifest.csv",
)


def describe(**changes):
    settings = {
        "name": "tiny",
        "version": "0.1.0",
        "created": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "preprocessing": Preprocessing(size=32),
        "network": NetworkConfig(widths=[16, 24], dropout=0.0),
        "parameters": 12,
        "temperature": 1.25,
        "gates": GateConfig(),
        "quality": QualityConfig(),
        "data": TrainingData(digest=None, summary="Drawn marks.", rendered=10, photographs=0),
        "data_licence": "none needed",
        "intended_use": "Research and education.",
        "library_versions": {"numpy": "2.0.0"},
        "command": "diascope train --config configs/tiny.toml",
    }
    return BundleDescription(**(settings | changes))


WEIGHTS = {
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "stem.num_batches_tracked": np.array(7, dtype=np.int64),
}


def save(folder, licence="Research only.\n", overwrite=False, onnx=b"network", **changes):
    return save_bundle(folder, describe(**changes), WEIGHTS, onnx, licence, overwrite=overwrite)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "tiny")
    return tmp_path / "tiny"


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def reseal(folder, edit):
    """Change bundle.json and give it the checksum that belongs to the change."""
    description = json.loads((folder / "bundle.json").read_text())
    edit(description)
    if "checksum" in description:
        description["checksum"] = "0" * 64
    blank = json.dumps(description)
    checksum = hashlib.sha256(blank.encode()).hexdigest()
    (folder / "bundle.json").write_text(blank.replace("0" * 64, checksum))


def test_what_was_saved_comes_back(folder):
    bundle = load_bundle(folder)

    assert bundle.description.model_copy(update={"files": {}, "checksum": "0" * 64}) == describe()
    assert bundle.onnx_bytes() == b"network"
    assert bundle.weights().keys() == WEIGHTS.keys()
    for name, values in bundle.weights().items():
        np.testing.assert_array_equal(values, WEIGHTS[name], strict=True)


GATE = fit_conformal(
    np.repeat([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.2, 0.3, 0.5]], 12, axis=0),
    [label for label in LABEL_ORDER for _ in range(12)],
    coverage=0.9,
    named_share=0.7,
    data="held-out photographs",
)


def test_what_was_fitted_to_decline_comes_back_and_is_on_the_card(tmp_path):
    gates = GateConfig(rule="conformal", named_share=0.7)
    saved = save(tmp_path / "tiny", gates=gates, conformal=GATE)
    loaded = load_bundle(tmp_path / "tiny").description
    assert loaded.conformal == GATE == saved.description.conformal
    card = " ".join(model_card(loaded).split())
    for words in (
        "Rule conformal: sets fitted to hold 90 % of each class, on held-out photographs",
        "erythematous 0.700 (12 pictures, 12 groups)",
        "hyperpigmented 0.600",
        "neither 0.500",
        "`unclear` where both colours are in it, or the likeliest of the three is not, or unmarked",
        "A colour is named from 0.600 on, else `unclear`",
        # Quality may refuse by either rule.
        "`not_assessable` without colour, or where what is judged has a shorter side under 32",
    ):
        assert words in card
    assert "Rule floor" not in card


def test_a_card_says_where_an_interval_is_too_narrow(tmp_path):
    told = {"name": "auroc", "n": 78, "data": "some", "command": "diascope evaluate"}
    figures = (
        Figure(value=1.0, low=1.0, high=1.0, **told),
        Figure(value=0.5, low=0.4, high=0.6, **told),
    )
    card = model_card(describe(figures=figures))
    assert "| 1.000 | 1.000 to 1.000 (no draw differs: truly wider) | 78 |" in card
    assert "| 0.500 | 0.400 to 0.600 | 78 |" in card


@pytest.mark.parametrize("key", ["coverage", "least_to_name", "groups"])
def test_nothing_fitted_to_decline_may_be_missing(tmp_path, key):
    gates = GateConfig(rule="conformal")
    save(tmp_path / "tiny", gates=gates, conformal=GATE)
    reseal(tmp_path / "tiny", lambda description: description["conformal"].pop(key))
    with pytest.raises(BundleError, match=rf"conformal\.{key}: Field required"):
        load_bundle(tmp_path / "tiny")


FAR = GATE.model_copy(update={"most_distance": 12.5, "familiar_share": 0.98})
SPACE = FeatureSpace(np.arange(6.0).reshape(2, 3), np.eye(3))


def save_far(folder, features=SPACE):
    given = describe(gates=GateConfig(rule="conformal"), conformal=FAR)
    return save_bundle(folder, given, WEIGHTS, b"network", None, features=features)


def test_where_the_training_pictures_lie_comes_back_and_is_verified(tmp_path):
    save_far(tmp_path / "tiny")
    bundle = load_bundle(tmp_path / "tiny")
    np.testing.assert_array_equal(bundle.feature_space().means, SPACE.means)
    np.testing.assert_array_equal(bundle.feature_space().precision, SPACE.precision)
    assert "farther from what it learnt from than 98 % of those" in " ".join(
        model_card(bundle.description).split()
    )
    # New figures leave it as it is.
    again = with_figures(tmp_path / "tiny", [FIGURE])
    assert again.files["features.safetensors"] == bundle.files["features.safetensors"]
    file = tmp_path / "tiny" / "features.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"features\.safetensors: changed since"):
        load_bundle(tmp_path / "tiny")
    file.unlink()
    with pytest.raises(BundleError, match=r"features\.safetensors: missing"):
        load_bundle(tmp_path / "tiny")


def test_a_bound_without_what_it_is_measured_from_is_not_saved(tmp_path):
    with pytest.raises(BundleError, match=r"lists no digest of features\.safetensors"):
        save_far(tmp_path / "tiny", features=None)
    assert not list(tmp_path.iterdir())


def test_other_arrays_in_its_place_are_refused(tmp_path):
    save_far(tmp_path / "tiny", features=FeatureSpace(np.zeros((2, 3)), np.eye(4)))
    with pytest.raises(BundleError, match=r"features\.safetensors: means .* do not fit"):
        load_bundle(tmp_path / "tiny").feature_space()


def test_digests_are_those_of_the_files_on_disk(folder):
    bundle = load_bundle(folder)

    def digest(name):
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    names = {"weights.safetensors", "model.onnx", "MODEL_CARD.md", "LICENCE"}
    assert bundle.description.files == {name: digest(name) for name in names}
    assert bundle.digest == digest("bundle.json")
    assert set(names_in(folder)) == names | {"bundle.json"}


def test_the_licence_file_is_there_only_when_given(tmp_path):
    bundle = save(tmp_path / "free", licence=None)

    assert "LICENCE" not in bundle.description.files
    assert not (tmp_path / "free" / "LICENCE").exists()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_refused(folder, data):
    file = folder / data.draw(st.sampled_from(names_in(folder)))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        with pytest.raises(BundleError, match=file.name):
            load_bundle(folder)
    finally:
        file.write_bytes(whole)
    load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["bundle.json", "weights.safetensors", "model.onnx", "MODEL_CARD.md", "LICENCE"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: missing.*train again"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["notes.txt", "optimizer.pkl", ".hidden", ".DS_Store2"])
def test_a_stranger_s_file_is_refused(folder, name):
    (folder / name).write_text("")
    with pytest.raises(BundleError, match=rf"{name}: not a file of this bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [".DS_Store", "._model.onnx"])
def test_what_the_finder_leaves_is_ignored_and_goes_with_the_bundle(folder, name):
    before = load_bundle(folder)
    (folder / name).write_bytes(b"Bud1")
    assert load_bundle(folder) == before
    save(folder, overwrite=True, temperature=2.0)
    assert load_bundle(folder).description.temperature == 2.0
    assert names_in(folder.parent) == ["tiny"]


def test_a_licence_that_was_not_saved_is_refused(tmp_path):
    save(tmp_path / "free", licence=None)
    (tmp_path / "free" / "LICENCE").write_text("Anything goes.")
    with pytest.raises(BundleError, match="LICENCE: not a file of this bundle"):
        load_bundle(tmp_path / "free")


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "sub/model.onnx", "bundle.json", "", "model.onnx\0"]
)
def test_a_listed_name_cannot_leave_the_folder(folder, name):
    (folder.parent / "secret").write_text("secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    reseal(folder, lambda description: description["files"].update({name: digest}))
    with pytest.raises(BundleError, match=r"bundle\.json: lists unknown file"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(schema_version=2), "schema version 2, this diascope reads 1"),
        (lambda d: d.pop("schema_version"), "not a bundle's description"),
        (lambda d: d["labels"].reverse(), "label order must be erythematous, hyperpigmented"),
        (lambda d: d["labels"].append("other"), "label order"),
        (lambda d: d["gates"].pop("separation_floor"), r"gates\.separation_floor is missing"),
        (lambda d: d["quality"].pop("least_skin"), r"quality\.least_skin is missing"),
        (lambda d: d.pop("quality"), "quality: Field required"),
        (lambda d: d["gates"].pop("rule"), r"gates\.rule is missing"),
        (lambda d: d.pop("conformal"), "conformal is missing"),
        (lambda d: d["gates"].update(rule="conformal"), "rule is conformal, but conformal is null"),
        (lambda d: d["network"].pop("dropout"), r"network\.dropout is missing"),
        (lambda d: d.pop("figures"), "figures is missing"),
        (lambda d: d.pop("checksum"), "checksum is missing"),
        (lambda d: d.pop("temperature"), "temperature: Field required"),
        (lambda d: d.update(temperature=0.0), "temperature: .*greater than 0"),
        (lambda d: d.update(temperature="1.2"), "temperature: .*number"),
        (lambda d: d.update(mood="good"), "mood: Extra inputs"),
        (
            lambda d: d["preprocessing"].update(optical_density_offset=0.02),
            "this diascope prepares pictures with 0.01",
        ),
        (
            lambda d: d["preprocessing"].update(reference="mean"),
            "reference: .*'70th_percentile_of_unclipped_skin'",
        ),
        (
            lambda d: d["preprocessing"].update(depth_range=[-1.0, 2.0]),
            r"this diascope bounds density to \(-0\.05, 0\.9\)",
        ),
        (lambda d: d["preprocessing"].pop("depth_range"), r"preprocessing\.depth_range is missing"),
        (lambda d: d["files"].pop("model.onnx"), r"lists no digest of model\.onnx"),
        (lambda d: d["files"].update({"model.onnx": "short"}), r"files\.model\.onnx: "),
    ],
)
def test_a_wrong_description_is_refused_and_names_the_key(folder, edit, message):
    reseal(folder, edit)
    with pytest.raises(BundleError, match=rf"(?s)bundle\.json: .*{message}") as caught:
        load_bundle(folder)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema_version": NaN}'],
)
def test_a_file_that_is_no_description_is_refused(folder, content):
    (folder / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json: not a bundle's description"):
        load_bundle(folder)


def test_a_resealed_description_with_no_change_still_loads(folder):
    reseal(folder, lambda description: None)
    assert load_bundle(folder).description.temperature == 1.25


def test_no_folder_is_named_with_the_shipped_names(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere: no such bundle; .*photos, rendered"):
        load_bundle(tmp_path / "nowhere")


def test_weights_that_are_no_safetensors_are_refused(folder):
    (folder / "weights.safetensors").write_bytes(b"pickle")
    digest = hashlib.sha256(b"pickle").hexdigest()
    reseal(folder, lambda d: d["files"].update({"weights.safetensors": digest}))
    with pytest.raises(BundleError, match=r"weights\.safetensors: not a safetensors file"):
        load_bundle(folder).weights()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    weights = {"head.bias": np.array([0.0, value], dtype=np.float32)}
    with pytest.raises(BundleError, match=r"head\.bias are not finite"):
        save_bundle(tmp_path / "tiny", describe(), weights, b"", None)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [{"low": 0.99}, {"value": float("nan")}, {"n": 0}, {"data": ""}, {"command": ""}],
)
def test_a_figure_needs_interval_number_data_and_command(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Figure(**(FIGURE.model_dump() | changes))


# Saving: whole or not at all.


def test_an_existing_bundle_stays_unless_overwrite(folder):
    before = load_bundle(folder).digest
    with pytest.raises(OutputError, match=r"tiny: exists already; use --overwrite"):
        save(folder, temperature=2.0)
    assert load_bundle(folder).digest == before


def test_overwrite_leaves_nothing_of_the_former_bundle(folder):
    save(folder, licence=None, overwrite=True, temperature=2.0)

    assert load_bundle(folder).description.temperature == 2.0
    assert not (folder / "LICENCE").exists()
    assert names_in(folder.parent) == ["tiny"]


def test_an_empty_folder_is_taken_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty")
    save(tmp_path / "a" / "b" / "tiny")

    load_bundle(tmp_path / "empty")
    load_bundle(tmp_path / "a" / "b" / "tiny")


def test_overwrite_never_deletes_what_is_no_bundle(folder):
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        save(folder, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert (folder / "model.onnx").exists()


def test_a_file_in_the_way_stays(tmp_path):
    (tmp_path / "tiny").write_text("mine")
    with pytest.raises(OutputError, match="a file is in the way"):
        save(tmp_path / "tiny", overwrite=True)
    assert (tmp_path / "tiny").read_text() == "mine"


def test_a_link_to_a_bundle_stays_a_link(folder):
    link = folder.parent / "latest"
    link.symlink_to(folder)
    save(link, overwrite=True, temperature=3.0)

    assert link.is_symlink()
    assert load_bundle(folder).description.temperature == 3.0


def test_where_names_cannot_be_swapped_in_one_step_the_bundle_is_still_replaced(
    folder, monkeypatch
):
    monkeypatch.setattr(bundle_module, "_exchange", lambda one, other: False)
    save(folder, overwrite=True, temperature=2.0)

    assert load_bundle(folder).description.temperature == 2.0
    assert names_in(folder.parent) == ["tiny"]


def test_two_steps_put_the_former_bundle_back_when_the_second_fails(folder):
    before = load_bundle(folder).digest
    with pytest.raises(OSError, match="No such file"):
        bundle_module._replace_in_two_steps(folder.parent / "no-draft", folder)
    assert load_bundle(folder).digest == before


CHILD = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_bundle import save
{body}
"""


def child(body, *arguments, **options):
    code = CHILD.format(body=body)
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_a_full_disk_leaves_the_former_bundle(folder):
    before = load_bundle(folder).digest
    body = """
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
save(Path(sys.argv[2]), overwrite=True, onnx=bytes(30_000))
"""
    process = child(body, folder)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 1
    assert b"OutputError: " in stderr
    assert b"tiny: cannot be written: File too large" in stderr
    assert load_bundle(folder).digest == before
    assert names_in(folder.parent) == ["tiny"]


def test_a_kill_at_any_moment_leaves_a_whole_bundle(folder):
    body = """
print("ready", flush=True)
for count in range(1, 10_000):
    save(Path(sys.argv[2]), overwrite=True, temperature=float(count))
"""
    for wait in (0.0, 0.013, 0.041):
        process = child(body, folder)
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        load_bundle(folder)


def test_saves_to_one_folder_at_once_leave_one_whole_bundle(tmp_path):
    failures = []

    def many(temperature):
        try:
            for _ in range(15):
                save(tmp_path / "tiny", overwrite=True, temperature=temperature)
        except Exception as error:  # noqa: BLE001 any failure in a thread must fail the test
            failures.append(error)

    threads = [threading.Thread(target=many, args=(1.0 + n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert load_bundle(tmp_path / "tiny").description.temperature in (1.0, 2.0, 3.0)
    assert names_in(tmp_path) == ["tiny"]


def test_saved_files_have_the_rights_of_any_new_file(folder):
    (folder.parent / "any").mkdir()
    (folder.parent / "any" / "file").write_text("")
    assert folder.stat().st_mode == (folder.parent / "any").stat().st_mode
    modes = {file.stat().st_mode for file in folder.iterdir()}
    assert modes == {(folder.parent / "any" / "file").stat().st_mode}


# Figures and card.


def test_with_figures_changes_figures_card_and_digest_alone(folder):
    before = load_bundle(folder)
    after = with_figures(folder, [FIGURE])

    assert after == load_bundle(folder)
    assert after.description.figures == (FIGURE,)
    assert after.digest != before.digest
    for name in ("weights.safetensors", "model.onnx", "LICENCE"):
        assert after.files[name] == before.files[name]
    assert after.description.model_copy(
        update={
            "figures": before.description.figures,
            "files": before.description.files,
            "checksum": before.description.checksum,
        }
    ) == (before.description)
    assert "| 0.951 | 0.930 to 0.970 | 607 |" in (folder / "MODEL_CARD.md").read_text()


def test_with_figures_refuses_a_changed_bundle(folder):
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.onnx: changed"):
        with_figures(folder, [FIGURE])
    assert (folder / "model.onnx").read_bytes() == b"other"


def test_the_card_has_the_nine_sections_of_model_cards():
    """Mitchell et al., Model Cards for Model Reporting, FAT* 2019, section 4; ours come after."""
    card = model_card(describe(figures=(FIGURE,)))
    assert re.findall(r"^## (.+)$", card, flags=re.MULTILINE) == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
        "Evidence",
    ]


def test_the_card_says_what_it_cannot_do_before_any_figure():
    card = model_card(describe(figures=(FIGURE,)))
    assert card.splitlines()[2] == "Research and education."
    assert card.index("names a colour, not a cause") < card.index("0.951")
    assert "    diascope train --config configs/tiny.toml" in card
    assert "licence of the data: none needed" in card


def test_the_card_s_table_survives_pipes_and_lines_in_words():
    figure = FIGURE.model_copy(update={"data": "a | b\nc", "command": "cat `x` | wc"})
    lines = model_card(describe(figures=(figure,))).splitlines()
    row = next(line for line in lines if "auroc_red_vs_brown" in line)
    assert r"| a \| b c | 1 |" in row
    assert row.replace(r"\|", "").count("|") == 7
    assert "1. ``cat `x` | wc``" in lines


def test_the_card_gives_each_command_once_and_its_number_in_the_rows():
    commands = ["diascope evaluate --card", "diascope train", "diascope evaluate --card"]
    figures = [FIGURE.model_copy(update={"command": command}) for command in commands]
    card = model_card(describe(figures=tuple(figures)))
    rows = [line for line in card.splitlines() if line.startswith("| auroc")]
    assert [line.split("|")[-2].strip() for line in rows] == ["1", "2", "1"]
    table, listed = card.split("\nCommands:\n\n")
    assert "diascope evaluate" not in table
    assert listed.startswith(
        "1. `diascope evaluate --card`\n2. `diascope train`\n\n## Ethical considerations"
    )


def test_the_card_calls_the_digest_of_the_photographs_what_it_is():
    data = TrainingData(digest="ab" * 32, summary="Faces.", rendered=0, photographs=9)
    card = model_card(describe(data=data))
    as_read = "SHA-256 of the photographs as read (pixels, targets, sources, groups)"
    assert f"- photographs: 9\n- {as_read}: `{'ab' * 32}`\n- licence" in card
    assert "SHA-256" not in model_card(describe())


def test_the_card_says_when_nothing_was_measured():
    card = model_card(describe())
    assert "None measured yet." in card
    assert "| evaluation on internal data | not met |" in card


def test_what_was_measured_is_evidence():
    def status(item, *names, photographs=0, data="photos/manifest.csv"):
        measured = [{"name": name, "data": data} for name in names]
        figures = [FIGURE.model_copy(update=each) for each in measured]
        data = TrainingData(digest=None, summary="Any.", rendered=1, photographs=photographs)
        card = model_card(describe(figures=tuple(figures), data=data))
        return re.search(rf"^\| {item}.*?\| ([a-z ]+) \|", card, flags=re.MULTILINE)[1]

    assert status("robustness", "auroc") == "not met"
    assert status("robustness", "verdict_flips") == "met"
    assert status("12 analysis", "auroc") == "partly"
    assert status("12 analysis", "auroc", "ece_before_temperature") == "met"
    assert status("14 fairness", "auroc_gap_between_tones") == "partly"
    assert status("testing on external data", "auroc_red_vs_brown") == "partly"
    # Drawn pictures are no photographs that it never saw.
    drawn = "drawn pictures, drawn/manifest.csv"
    assert status("testing on external data", "auroc_red_vs_brown", data=drawn) == "not met"
    # A model that saw photographs needs them left out.
    assert status("testing on external data", "auroc_red_vs_brown", photographs=9) == "not met"
    by_source = "auroc_red_vs_brown_by_source"
    assert status("testing on external data", by_source, photographs=9) == "partly"


def test_the_card_says_which_figures_may_flatter():
    data = TrainingData(digest=None, summary="Faces.", rendered=0, photographs=9)
    assert "may include some it learnt from" in model_card(describe(data=data))
    assert "It learnt from no photograph" in model_card(describe())


# Where bundles are.


@pytest.fixture
def installation(tmp_path, monkeypatch):
    def place(package):
        (tmp_path / package).mkdir(parents=True)
        monkeypatch.setattr(bundle_module, "__file__", str(tmp_path / package / "bundle.py"))
        return tmp_path

    return place


def test_a_wheel_s_bundles_are_found_in_the_package(installation):
    root = installation("site-packages/diascope")
    for name in ("photos", "rendered"):
        (root / "site-packages/diascope/_models" / name).mkdir(parents=True)
    assert resolve_bundle() == root / "site-packages/diascope/_models/photos"
    assert resolve_bundle("rendered") == root / "site-packages/diascope/_models/rendered"


def test_a_checkout_s_bundles_are_found_in_models(installation):
    root = installation("src/diascope")
    (root / "models/photos").mkdir(parents=True)
    assert resolve_bundle("photos") == root / "models/photos"


def test_models_beside_a_wheel_are_not_taken_for_the_shipped_ones(installation):
    root = installation("lib/diascope")
    (root / "models/photos").mkdir(parents=True)
    with pytest.raises(
        BundleError, match=r"photos: .*not in the installation;\nuse --model rendered"
    ):
        resolve_bundle()


@pytest.mark.parametrize("given", ["./photos", "runs/mine", Path("photos")])
def test_anything_else_is_a_path(given):
    assert resolve_bundle(given) == Path(given)


def test_bundles_need_no_torch():
    code = "import sys, diascope.bundle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
