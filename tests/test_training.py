import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diascope import Predictor, bundle
from diascope.bundle import LICENCE, load_bundle
from diascope.calibration import GateReason, fit_conformal, log_loss, separation, softmax
from diascope.config import RunConfig, parse_config
from diascope.dataset import BOX_COLUMNS, NEEDED_COLUMNS, balanced_weights, read_manifest
from diascope.errors import (
    BundleError,
    ConfigError,
    DeviceError,
    OutputError,
    SplitError,
    TrainingError,
)
from diascope.labels import LABEL_ORDER, ManifestLabel
from diascope.metrics import auroc
from diascope.network import MarkNetwork, parameter_count
from diascope.preprocess import prepare_pixels
from diascope.renderer import render
from diascope.training import (
    BUNDLE_FOLDER,
    CHECKPOINT,
    CURVE,
    EVENTS,
    METRICS,
    fit,
    load_data,
    place_loss,
)

torch.set_num_threads(1)

EPOCHS, STEPS = 3, 4
RED, BROWN, CLEAR = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED, ManifestLabel.NEITHER
SETTINGS = {
    "name": "tiny",
    "seed": 3,
    "data": {
        "rendered_count": 40,
        "rendered_validation": 24,
        "rendered_share": 0.5,
        "validation_share": 0.4,
    },
    "preprocess": {"size": 32},
    "network": {"widths": [16, 16], "dropout": 0.2},
    "train": {
        "epochs": EPOCHS,
        "samples_per_epoch": 16 * STEPS,
        "batch_size": 16,
        "learning_rate": 0.01,
        "ema_decay": 0.8,
        "place_weight": 0.5,
        "device": "cpu",
        "threads": 1,
    },
}


def tiny(**changes) -> RunConfig:
    """The tiny run with some keys of some sections changed; other keys by their name."""
    settings = json.loads(json.dumps(SETTINGS))
    for key, value in changes.items():
        section = next((name for name in ("data", "train") if key in MODELS[name]), None)
        (settings[section] if section else settings)[key] = value
    return parse_config(settings, "tiny")


MODELS = {name: RunConfig.model_fields[name].annotation.model_fields for name in ("data", "train")}
DRAWN = {"rendered_share": 1.0}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Drawn pictures that pass for photographs: two sources, boxes, mixed marks, and one other."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = []
    kinds = [*[RED, BROWN, CLEAR] * 8, ManifestLabel.MIXED, ManifestLabel.MIXED]
    for n, kind in enumerate(kinds):
        name = f"{n}.png"
        Image.fromarray(render(n, 77, 48, mark_type=kind).pixels).save(folder / name)
        box = (4, 4, 40, 44) if n % 5 == 0 else ("",) * 4
        lines.append((name, kind, "", ("clinic", "web")[n // 3 % 2], f"person {n // 2}", *box))
    (folder / "other.png").write_text("never read")
    lines.append(("other.png", "other", "", "web", "", "", "", "", ""))
    with (folder / "manifest.csv").open("w", newline="") as file:
        columns = (*NEEDED_COLUMNS, *BOX_COLUMNS)
        csv.writer(file).writerows([columns, *lines])
    return read_manifest(folder / "manifest.csv").rows


@pytest.fixture(scope="module")
def finished(rows, tmp_path_factory):
    """A run that was never cut off: its result and its folder."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return fit(tiny(), rows, out, command="diascope train"), out


class CutOffError(Exception):
    """Stands for whatever ends a process."""


def cutting(at_step):
    """A track that ends the run before a training step."""

    def track(items, description, total=None):
        for step, item in enumerate(items):
            if description == "training" and step == at_step:
                raise CutOffError
            yield item

    return track


def cut_off(config, rows, out, at_step=STEPS + 2, **how):
    with pytest.raises(CutOffError):
        fit(config, rows, out, track=cutting(at_step), **how)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def same_model(one, other):
    """Equal to the last bit: weights, network, history; and what was fitted to them."""
    ours, theirs = load_bundle(one / BUNDLE_FOLDER), load_bundle(other / BUNDLE_FOLDER)
    assert ours.files["weights.safetensors"] == theirs.files["weights.safetensors"]
    assert ours.onnx_bytes() == theirs.onnx_bytes()
    assert (one / METRICS).read_bytes() == (other / METRICS).read_bytes()
    assert ours.description.temperature == theirs.description.temperature
    return True


# A run and what it leaves.


def test_the_bundle_tells_what_was_done(finished, rows):
    result, out = finished
    assert result.bundle_folder == out / BUNDLE_FOLDER
    description = load_bundle(result.bundle_folder).description
    assert description.name == "tiny"
    assert description.command == "diascope train"
    assert description.preprocessing.size == 32
    assert description.network == tiny().network
    assert description.parameters == parameter_count(MarkNetwork(tiny().network))
    assert (description.data.rendered, description.data.photographs) == (40, 26)
    assert "clinic, web" in description.data.summary
    assert {figure.data for figure in description.figures} == {
        "held-out photographs",
        "held-out rendered",
    }
    assert (result.bundle_folder / LICENCE).read_text().startswith("Weights of the model tiny")


def test_conformal_sets_are_fitted_on_held_out_photographs_of_one_class(rows, tmp_path):
    config = parse_config(
        {**SETTINGS, "gates": {"rule": "conformal", "coverage": 0.8, "named_share": 0.7}}, "tiny"
    )
    fit(config, rows, tmp_path)
    description = load_bundle(tmp_path / BUNDLE_FOLDER).description
    held_out = load_data(config, [row for row in rows if row.mark_type != "other"]).validation
    pure = [sample for sample in held_out if not sample.drawn and max(sample.target) == 1]
    fitted = description.conformal
    assert description.gates.rule == "conformal"
    assert (fitted.coverage, fitted.named_share) == (0.8, 0.7)
    assert fitted.data == "held-out photographs"
    assert list(fitted.rows.values()) == np.sum([sample.target for sample in pure], axis=0).tolist()
    # The thresholds are those of the saved network at its temperature, on those very pictures.
    inputs = np.stack([prepare_pixels(s.pixels, s.inner, 32).tensor for s in pure])
    probabilities = Predictor.load(tmp_path / BUNDLE_FOLDER).probabilities(inputs)
    again = fit_conformal(
        probabilities,
        [LABEL_ORDER[int(np.argmax(sample.target))] for sample in pure],
        [sample.group_id for sample in pure],
        coverage=0.8,
        named_share=0.7,
    )
    assert again.groups == fitted.groups
    assert list(again.least_probability.values()) == pytest.approx(
        list(fitted.least_probability.values()), abs=1e-4
    )
    assert again.least_to_name == pytest.approx(fitted.least_to_name, abs=1e-4)


def test_drawn_pictures_stand_in_for_classes_of_few_photographs(rows, tmp_path):
    bare = [row for row in rows if row.mark_type is not CLEAR]
    gates = {"rule": "conformal", "coverage": 0.6}
    config = parse_config({**SETTINGS, "gates": gates}, "tiny")
    description = load_bundle(fit(config, bare, tmp_path).bundle_folder).description
    fitted = description.conformal
    data = "held-out photographs; of neither: held-out rendered pictures"
    assert fitted.data == data
    held_out = load_data(config, [row for row in bare if row.mark_type != "other"]).validation
    clear = [sample for sample in held_out if sample.drawn and sample.target[2] == 1]
    inputs = np.stack([prepare_pixels(s.pixels, s.inner, 32).tensor for s in clear])
    probabilities = Predictor.load(tmp_path / BUNDLE_FOLDER).probabilities(inputs)
    again = fit_conformal(probabilities, [LABEL_ORDER[2]] * len(clear), coverage=0.6)
    assert fitted.rows[LABEL_ORDER[2]] == len(clear) > 0
    assert fitted.least_probability[LABEL_ORDER[2]] == pytest.approx(
        again.least_probability[LABEL_ORDER[2]], abs=1e-4
    )


def test_the_distance_from_training_pictures_is_fitted_and_bounds_the_verdict(rows, tmp_path):
    gates = {"rule": "conformal", "coverage": 0.5, "familiar_share": 0.7}
    config = parse_config({**SETTINGS, "gates": gates}, "tiny")
    fit(config, rows, tmp_path)
    loaded = load_bundle(tmp_path / BUNDLE_FOLDER)
    data = load_data(config, [row for row in rows if row.mark_type != "other"])
    sides = [
        [sample for sample in side if not sample.drawn and max(sample.target) == 1]
        for side in (data.training, data.validation)
    ]
    session = onnxruntime.InferenceSession(loaded.onnx_bytes(), providers=["CPUExecutionProvider"])
    learnt, held_out = (
        session.run(
            ["features"],
            {
                "relative_density": np.stack(
                    [prepare_pixels(s.pixels, s.inner, 32).tensor for s in side]
                )
            },
        )[0]
        for side in sides
    )
    space = loaded.feature_space()
    labels = [int(np.argmax(sample.target)) for sample in sides[0]]
    means = [learnt[np.array(labels) == place].mean(axis=0) for place in range(3)]
    np.testing.assert_allclose(space.means, means, atol=1e-4)
    most = loaded.description.conformal.most_distance
    within = space.distances(held_out) <= most * (1 + 1e-3)
    assert 0.6 <= within.mean() < 1.0
    # The shipped road refuses a picture that lies farther.
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    told = Predictor.load(tmp_path / BUNDLE_FOLDER).predict(noise)
    assert told.verdict == "not_assessable"
    assert told.reasons == (GateReason.UNLIKE_TRAINING,)
    assert Predictor.load(tmp_path / BUNDLE_FOLDER).explain(noise).verdict == "not_assessable"


def test_every_class_says_where_it_lies_though_the_manifest_is_sorted(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("diascope.training._MOST_LEARNT", 6)
    gates = {"rule": "conformal", "coverage": 0.5, "familiar_share": 0.7}
    config = parse_config({**SETTINGS, "gates": gates}, "tiny")
    fit(config, sorted(rows, key=lambda row: row.mark_type), tmp_path)
    assert len(load_bundle(tmp_path / BUNDLE_FOLDER).feature_space().means) == len(LABEL_ORDER)


def test_without_photographs_conformal_sets_are_fitted_on_drawn_marks(tmp_path):
    gates = {"rule": "conformal"}
    config = parse_config(
        {**SETTINGS, "gates": gates, "data": {**SETTINGS["data"], **DRAWN}}, "tiny"
    )
    fit(config, [], tmp_path)
    fitted = load_bundle(tmp_path / BUNDLE_FOLDER).description.conformal
    assert fitted.data == "held-out rendered pictures"
    assert 0 < sum(fitted.rows.values()) <= SETTINGS["data"]["rendered_validation"]


def test_the_rule_floor_fits_no_sets(finished):
    result, _ = finished
    assert load_bundle(result.bundle_folder).description.conformal is None


def test_a_line_of_metrics_per_epoch(finished):
    result, out = finished
    with (out / METRICS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    told = [{name: float(value) for name, value in line.items()} for line in lines]
    assert told == list(result.history)
    assert set(told[0]) == {
        "epoch",
        "training_loss",
        "validation_loss",
        "auroc_photographs",
        "auroc_rendered",
    }
    assert np.isfinite([list(line.values()) for line in told]).all()


def test_events_and_curve(finished):
    result, out = finished
    events = EventAccumulator(str(out / EVENTS)).Reload()
    for name in ("training_loss", "validation_loss", "auroc_rendered"):
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        np.testing.assert_allclose(
            [scalar.value for scalar in scalars], [each[name] for each in result.history], rtol=1e-6
        )
    with Image.open(out / CURVE) as image:
        image.verify()
        assert image.format == "PNG"


def test_the_best_epoch_is_kept(finished, rows):
    """ONNX Runtime, on pictures prepared anew, gives that epoch's figures."""
    result, _ = finished
    best = result.history[result.best_epoch - 1]
    assert best["validation_loss"] == min(each["validation_loss"] for each in result.history)
    held_out = load_data(tiny(), [row for row in rows if row.mark_type != "other"]).validation
    inputs = np.stack([prepare_pixels(s.pixels, s.inner, 32).tensor for s in held_out])
    session = onnxruntime.InferenceSession(
        load_bundle(result.bundle_folder).onnx_bytes(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"relative_density": inputs})
    targets = np.array([sample.target for sample in held_out])
    weights = balanced_weights(held_out, 0.5)
    assert log_loss(logits, targets, 1.0, weights) == pytest.approx(
        best["validation_loss"], abs=1e-4
    )
    photographs = [n for n, s in enumerate(held_out) if not s.drawn and max(s.target[:2]) == 1]
    assert auroc(targets[photographs, 1], separation(softmax(logits[photographs]))) == (
        pytest.approx(best["auroc_photographs"])
    )


def test_training_and_validation_share_no_group_and_no_picture(rows):
    data = load_data(tiny(), [row for row in rows if row.mark_type != "other"])
    sides = [
        ({s.group_id for s in side if not s.drawn}, {s.pixels.tobytes() for s in side})
        for side in (data.training, data.validation)
    ]
    for training, validation in zip(*sides, strict=True):
        assert training
        assert validation
        assert not training & validation
    assert [sum(s.drawn for s in side) for side in (data.training, data.validation)] == [40, 24]


def test_a_split_column_decides_and_a_leak_stops_the_run(rows, tmp_path):
    train = [row for row in rows if row.mark_type != "other"]
    groups = sorted({row.group_id for row in train})
    part = {group: ("fold-0", "fold-1", "fold-2")[n % 3] for n, group in enumerate(groups)}
    split = [replace(row, extra={"split": part[row.group_id]}) for row in train]
    config = tiny(validation_split="fold-1", test_split="fold-2")
    data = load_data(config, split)
    for side, name in ((data.training, "fold-0"), (data.validation, "fold-1")):
        wanted = [row.group_id for row in split if row.extra["split"] == name]
        assert [sample.group_id for sample in side if not sample.drawn] == wanted
    leak = [replace(split[0], extra={"split": "fold-2"}), *split[1:]]
    with pytest.raises(SplitError, match=r"person 0 \(.*0\.png in fold-2, 1\.png in fold-0\)"):
        fit(config, leak, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_progress_is_told_in_steps(rows, tmp_path):
    totals = {}

    def track(items, description, total=None):
        totals.setdefault(description, []).append(total)
        yield from cutting(0)(items, description, total)

    with pytest.raises(CutOffError):
        fit(tiny(), rows, tmp_path / "run", track=track)
    assert totals.pop("training") == [EPOCHS * STEPS]
    assert totals.pop("drawing marks") == [40, 24]
    assert sum(totals.pop("reading photographs")) == 26
    assert totals == {}


# Cut off and resumed.


def test_a_run_cut_off_inside_an_epoch_ends_in_the_same_weights(finished, rows, tmp_path):
    _, whole = finished
    out = tmp_path / "run"
    cut_off(tiny(), rows, out)
    assert not (out / BUNDLE_FOLDER).exists()
    assert len((out / METRICS).read_text().splitlines()) == 2
    steps = []

    def counting(items, description, total=None):
        for item in items:
            if description == "training":
                steps.append(total)
            yield item

    result = fit(tiny(), rows, out, resume=True, track=counting)
    assert steps == [(EPOCHS - 1) * STEPS] * (EPOCHS - 1) * STEPS
    assert same_model(out, whole)
    assert result.history == finished[0].history
    events = EventAccumulator(str(out / EVENTS)).Reload()
    assert [scalar.step for scalar in events.Scalars("training_loss")] == [1, 2, 3]


KILLED = """
import sys
from pathlib import Path
from diascope.config import load_config
from diascope.dataset import read_manifest
from diascope.training import fit
fit(load_config(sys.argv[1]), read_manifest(sys.argv[2]).rows, Path(sys.argv[3]))
"""


def toml(settings):
    lines = [f"{key} = {json.dumps(v)}" for key, v in settings.items() if not isinstance(v, dict)]
    for name, section in settings.items():
        if isinstance(section, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(v)}" for key, v in section.items())]
    return "\n".join(lines)


def test_a_killed_process_is_resumed_to_the_same_weights(finished, rows, tmp_path):
    _, whole = finished
    (tmp_path / "tiny.toml").write_text(toml(SETTINGS))
    out = tmp_path / "run"
    manifest = rows[0].file.parent / "manifest.csv"
    command = [sys.executable, "-c", KILLED, tmp_path / "tiny.toml", manifest, out]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (out / METRICS).exists():
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / BUNDLE_FOLDER).exists()
    fit(tiny(), rows, out, resume=True)
    assert same_model(out, whole)


def test_a_run_cut_off_before_its_bundle_was_saved_only_saves_it(finished, rows, tmp_path):
    result, whole = finished
    shutil.copy(whole / CHECKPOINT, tmp_path)
    shutil.copy(whole / METRICS, tmp_path)
    resumed = fit(tiny(), rows, tmp_path, resume=True, track=cutting(0))
    assert resumed.history == result.history
    assert same_model(tmp_path, whole)


@pytest.mark.parametrize(
    ("settings", "cells"),
    [
        ({"learning_rate": 0.02}, {}),
        ({"patience": 9}, {}),
        ({}, {"mark_type": BROWN}),
        ({}, {"source": "web"}),
        ({}, {"group_id": "alone"}),
        ({}, {"box": (4.0, 4.0, 40.0, 43.0)}),
        ({}, {"file": "3.png"}),
    ],
)
def test_a_changed_run_is_not_resumed(finished, rows, tmp_path, settings, cells):
    shutil.copy(finished[1] / CHECKPOINT, tmp_path)
    before = files(tmp_path)
    if "file" in cells:
        cells = {"file": rows[0].file.with_name(cells["file"])}
    with pytest.raises(ConfigError, match="changed since"):
        fit(tiny(**settings), [replace(rows[0], **cells), *rows[1:]], tmp_path, resume=True)
    assert files(tmp_path) == before


def test_without_a_checkpoint_nothing_is_resumed(rows, tmp_path):
    with pytest.raises(OutputError, match="no checkpoint to resume"):
        fit(tiny(), rows, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["HARM"]),))


def test_a_checkpoint_that_is_none_is_refused_and_never_run(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    whole = (finished[1] / CHECKPOINT).read_bytes()
    out = tmp_path / "run"
    out.mkdir()
    torch.save({"a": 1}, tmp_path / "other.pt")
    other = (tmp_path / "other.pt").read_bytes()
    for content in (b"", whole[: len(whole) // 2], other, pickle.dumps(Harmful())):
        (out / CHECKPOINT).write_bytes(content)
        with pytest.raises(OutputError, match="not a checkpoint of ours"):
            fit(tiny(**DRAWN), [], out, resume=True)
    assert not (tmp_path / "harm").exists()


# Outputs.


def test_a_finished_run_is_not_replaced_unasked(finished, rows):
    _, out = finished
    before = files(out)
    with pytest.raises(OutputError, match="--overwrite replaces it, --resume goes on with it"):
        fit(tiny(), rows, out)
    assert files(out) == before


def test_a_file_in_the_way_stays(tmp_path):
    (tmp_path / "run").write_text("mine")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="run"):
            fit(tiny(**DRAWN), [], tmp_path / "run", **how)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_run_that_cannot_start_leaves_the_former_one(finished, rows, tmp_path):
    out = Path(shutil.copytree(finished[1], tmp_path / "run"))
    before = files(out)
    with pytest.raises(SplitError):
        fit(tiny(), [row for row in rows if row.mark_type == RED], out, overwrite=True)
    assert files(out) == before


def test_a_run_that_replaces_another_mixes_nothing_in(finished, rows, tmp_path):
    out = Path(shutil.copytree(finished[1], tmp_path / "run"))
    model = files(out / BUNDLE_FOLDER)
    cut_off(tiny(seed=4), rows, out, overwrite=True)
    assert files(out / BUNDLE_FOLDER) == model  # until a new one is whole
    assert len((out / METRICS).read_text().splitlines()) == 2
    events = EventAccumulator(str(out / EVENTS)).Reload()
    assert [scalar.step for scalar in events.Scalars("training_loss")] == [1]


# What decides the weights, and what does not.


def metrics_of_one_epoch(config, rows, out):
    cut_off(config, rows, out)
    return (out / METRICS).read_text()


def test_processes_that_prepare_pictures_change_nothing(finished, rows, tmp_path):
    first_epoch = "".join((finished[1] / METRICS).read_text().splitlines(keepends=True)[:2])
    assert metrics_of_one_epoch(tiny(workers=2), rows, tmp_path / "two") == first_epoch
    assert metrics_of_one_epoch(tiny(seed=4), rows, tmp_path / "seed") != first_epoch


def test_a_fit_stops_when_nothing_gets_better(tmp_path):
    config = tiny(**DRAWN, epochs=40, patience=2, learning_rate=0.5, ema_decay=0.0)
    result = fit(config, [], tmp_path / "run")
    assert result.epochs == result.best_epoch + 2 < 40
    losses = [each["validation_loss"] for each in result.history]
    assert losses.index(min(losses)) == result.best_epoch - 1


def test_validation_sees_the_averaged_weights(tmp_path):
    """Without decay the average is the last weights; with it, it lies behind them."""
    kept = []
    for decay in (0.0, 0.8):
        cut_off(tiny(**DRAWN, ema_decay=decay), [], tmp_path / str(decay))
        kept.append(torch.load(tmp_path / str(decay) / CHECKPOINT, weights_only=True))
    plain, averaged = kept[0]["network"], kept[0]["averaged"]
    assert averaged.pop("n_averaged") == STEPS
    plain = {name: value for name, value in plain.items() if name.startswith("network.")}
    assert {f"module.{name.removeprefix('network.')}" for name in plain} == set(averaged)
    for name, values in plain.items():
        assert torch.equal(averaged[f"module.{name.removeprefix('network.')}"], values)
    behind = kept[1]["averaged"]["module.head.weight"]
    assert torch.equal(kept[1]["network"]["network.head.weight"], plain["network.head.weight"])
    assert not torch.allclose(behind, plain["network.head.weight"])
    assert torch.equal(kept[1]["best"][2]["head.weight"], behind)


def test_the_loss_on_places_by_hand():
    cover = torch.full((3, 4, 4), torch.nan)  # of the last picture nobody knows
    cover[0], cover[1] = 0.0, 1.0
    cover[0, :2, :2] = torch.tensor([[1.0, 1.0], [0.0, 0.0]])  # half of the first of four cells
    targets = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0]])
    logits = torch.zeros(3, 3, 2, 2)
    logits[0, 0, 0, 0] = 2.0  # surely red there
    logits[2] = 50.0 * torch.randn(3, 2, 2)
    log_sum = np.log(np.exp(2.0) + 2)
    red_half = -(0.5 * (2.0 - log_sum) + 0.5 * (0.0 - log_sum))
    first = (red_half + 3 * np.log(3)) / 4
    by_hand = (first + np.log(3)) / 2
    assert place_loss([logits], targets, cover).item() == pytest.approx(by_hand, rel=1e-5)
    twice = place_loss([logits, logits], targets, cover)
    assert twice.item() == pytest.approx(2 * by_hand, rel=1e-5)
    sure = torch.tensor([-60.0, -60.0, 0.0])[None, :, None, None].expand(3, 3, 2, 2)
    assert place_loss([sure], targets, torch.zeros(3, 4, 4)).item() == pytest.approx(0, abs=1e-6)
    assert place_loss([logits], targets, torch.full((3, 4, 4), torch.nan)).item() == 0


def test_places_are_taught_where_asked(finished, rows, tmp_path):
    untaught = load_bundle(fit(tiny(place_weight=0.0), rows, tmp_path / "run").bundle_folder)
    taught = load_bundle(finished[0].bundle_folder)
    assert untaught.files["weights.safetensors"] != taught.files["weights.safetensors"]


def test_it_learns(tmp_path):
    """Few pictures, seen over and over: what the loss was after one epoch falls by a quarter."""
    few = {"rendered_count": 24, "epochs": 6, "samples_per_epoch": 16 * 24}
    config = tiny(**DRAWN, **few, learning_rate=0.03, label_smoothing=0.0)
    cut_off(config, [], tmp_path / "run", at_step=5 * 24)
    with (tmp_path / "run" / METRICS).open() as file:
        losses = [float(line["training_loss"]) for line in csv.DictReader(file)]
    assert len(losses) == 5
    assert losses[-1] < 0.75 * losses[0]


# Starting from a bundle.


def test_a_fit_from_a_bundle_takes_its_shape_weights_and_terms(finished, tmp_path):
    start = load_bundle(finished[0].bundle_folder)
    settings = tiny(
        **DRAWN,
        name="finer",
        data_licence="Mine.",
        epochs=1,
        learning_rate=1e-9,
        weight_decay=0.0,
    ).model_dump(exclude={"network", "preprocess"})
    config = RunConfig.model_validate(settings)
    result = fit(config, [], tmp_path / "run", init_from=start.folder)
    finer = load_bundle(result.bundle_folder)
    assert finer.description.network == start.description.network
    assert finer.description.preprocessing == start.description.preprocessing
    assert finer.description.name == "finer"
    digest = start.description.files["weights.safetensors"]
    assert f"the weights of tiny (SHA-256 {digest[:12]}" in finer.description.data.summary
    # Photographs went into those weights: their terms stay.
    assert finer.description.data.photographs == 26
    assert "Mine." in (finer.folder / LICENCE).read_text()
    assert tiny().data_licence in (finer.folder / LICENCE).read_text()
    weights = start.weights()
    for name, values in finer.weights().items():
        if "running" not in name and "tracked" not in name:
            np.testing.assert_allclose(values, weights[name], atol=1e-6)


def test_a_share_of_the_start_stays_in_the_result(finished, tmp_path):
    start = finished[0].bundle_folder
    found = {}
    for share in (0.0, 0.25):
        config = tiny(**DRAWN, epochs=1, start_share=share)
        result = fit(config, [], tmp_path / f"run-{share}", init_from=start)
        found[share] = load_bundle(result.bundle_folder).weights()
    began, moved = load_bundle(start).weights(), 0.0
    for name, values in found[0.25].items():
        if values.dtype.kind == "f":
            expected = 0.75 * found[0.0][name] + 0.25 * began[name]
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)
            moved = max(moved, np.abs(values - found[0.0][name]).max())
    assert moved > 0.001


def test_a_share_of_nothing_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"train\.start_share = 0\.5: this run starts from nothing"
    ):
        fit(tiny(**DRAWN, start_share=0.5), [], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_shape_than_the_start_s_is_refused(finished, tmp_path):
    start = finished[0].bundle_folder
    with pytest.raises(ConfigError, match="network: not that of tiny"):
        fit(tiny(**DRAWN, network={"widths": [16, 24, 32]}), [], tmp_path / "run", init_from=start)


def test_the_input_is_of_the_start_s_size_unless_another_is_set(finished, tmp_path):
    start = finished[0].bundle_folder
    before = load_bundle(start)
    settings = {key: value for key, value in SETTINGS.items() if key != "preprocess"}
    for name, changes, size in (("taken", {}, 32), ("set", {"preprocess": {"size": 48}}, 48)):
        data, train = settings["data"] | DRAWN, settings["train"] | {"epochs": 1}
        config = parse_config(settings | {"data": data, "train": train} | changes, "tiny")
        after = load_bundle(fit(config, [], tmp_path / name, init_from=start).bundle_folder)
        assert after.description.preprocessing.size == size
        assert after.description.network == before.description.network
        shapes = [
            {name: each.shape for name, each in of.weights().items()} for of in (before, after)
        ]
        assert shapes[0] == shapes[1]


def test_photographs_are_not_denied(rows, tmp_path):
    config = tiny(data_licence="No photograph was used; drawn by code.")
    with pytest.raises(ConfigError, match="data_licence: this config says that no photograph"):
        fit(config, rows, tmp_path / "run")


def test_a_config_may_name_a_shipped_bundle_to_start_from(finished, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_shipped_folders", lambda: iter([tmp_path]))
    shutil.copytree(finished[0].bundle_folder, tmp_path / "rendered")
    cut_off(tiny(init_from="rendered"), rows, tmp_path / "config")
    cut_off(tiny(), rows, tmp_path / "call", init_from=finished[0].bundle_folder)
    told = [(tmp_path / name / METRICS).read_text() for name in ("config", "call")]
    assert told[0] == told[1]
    with pytest.raises(ConfigError, match="changed since"):  # without the bundle: another run
        fit(tiny(), rows, tmp_path / "call", resume=True)


def test_a_bundle_that_is_not_whole_is_no_start(finished, tmp_path):
    start = Path(shutil.copytree(finished[0].bundle_folder, tmp_path / "start"))
    (start / "weights.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        fit(tiny(**DRAWN), [], tmp_path / "run", init_from=start)
    assert not (tmp_path / "run").exists()


# What cannot be trained.


@pytest.mark.parametrize(
    ("share", "kinds", "told"),
    [
        (1.0, [RED, BROWN], "leaves no room for the manifest's photographs"),
        (0.5, [], "give a manifest with --data"),
        (0.0, [], "give a manifest with --data"),
        (0.5, [ManifestLabel.OTHER], "give a manifest with --data"),
    ],
)
def test_shares_must_fit_the_data(rows, tmp_path, share, kinds, told):
    chosen = [row for row in rows if row.mark_type in kinds]
    with pytest.raises(ConfigError, match=told):
        fit(tiny(rendered_share=share), chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("steps", "told"), [(1, "logits of the validation"), (STEPS, "the loss is")]
)
def test_a_loss_that_is_not_finite_ends_the_fit(tmp_path, steps, told):
    """After one step the validation shows it, after more the loss."""
    config = tiny(**DRAWN, learning_rate=1e30, samples_per_epoch=16 * steps)
    with pytest.raises(TrainingError, match=rf"epoch 1: {told} .*lower train\.learning_rate"):
        fit(config, [], tmp_path / "run")
    assert not (tmp_path / "run" / BUNDLE_FOLDER).exists()
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize(
    ("settings", "told"),
    [({"device": "cuda"}, "no CUDA GPU here"), ({"precision": "16-mixed"}, "needs a CUDA GPU")],
)
def test_what_needs_a_gpu_is_refused_without_one(tmp_path, settings, told):
    with pytest.raises(DeviceError, match=told):
        fit(tiny(**DRAWN, **settings), [], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_ranks_train_one_model(tmp_path):
    settings = SETTINGS | {"data": SETTINGS["data"] | DRAWN}
    settings["train"] = SETTINGS["train"] | {"devices": 2, "samples_per_epoch": 64}
    (tmp_path / "tiny.toml").write_text(toml(settings))
    # Each rank to a file of its own: what a process still holds in its stdout goes with it.
    (tmp_path / "run.py").write_text(
        "import os, sys; from pathlib import Path\n"
        "from diascope.config import load_config; from diascope.training import fit\n"
        "result = fit(load_config(sys.argv[1]), [], Path(sys.argv[2]))\n"
        "Path(f'rank-{os.environ[\"LOCAL_RANK\"]}').write_text(repr(result.history))\n"
    )
    command = [sys.executable, "run.py", "tiny.toml", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranks = {path.name: path.read_text() for path in tmp_path.glob("rank-*")}
    assert set(ranks) == {"rank-0", "rank-1"}, done.stderr
    assert ranks["rank-0"] == ranks["rank-1"]
    assert load_bundle(tmp_path / "run" / BUNDLE_FOLDER).description.name == "tiny"
