"""One picture, one answer: whatever the runtime, the size of the batch, and the way in."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from diascope import Predictor
from diascope.bundle import SHIPPED, load_bundle, resolve_bundle
from diascope.image import read_picture
from diascope.network import evaluation_network
from diascope.preprocess import prepare
from diascope.renderer import render

COUNT = 64
BOX = (30.0, 20.0, 90.0, 100.0)


@pytest.fixture(scope="module", params=["untrained", *SHIPPED])
def folder(request, untrained_bundle) -> Path:
    return untrained_bundle if request.param == "untrained" else resolve_bundle(request.param)


@pytest.fixture(scope="module")
def pictures():
    return [render(index, seed=6).pixels for index in range(COUNT)]


@pytest.fixture(scope="module")
def tensors(folder, pictures):
    size = load_bundle(folder).description.preprocessing.size
    inputs = [prepare(read_picture(picture), None, size).tensor for picture in pictures]
    # Far from anything seen, too: black beside white, and no contrast at all.
    extremes = np.stack([np.where(np.indices((3, size, size)).sum(0) % 2, 2.0, -2.0)] * 2)
    extremes[1] = 0.0
    return np.concatenate([np.stack(inputs), extremes]).astype(np.float32)


def test_torch_and_onnx_agree_on_every_output(folder, tensors):
    bundle = load_bundle(folder)
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bundle.onnx_bytes(), one_thread)
    names = [output.name for output in session.get_outputs()]
    weights = {name: torch.tensor(values) for name, values in bundle.weights().items()}
    network = evaluation_network(bundle.description.network, weights)

    from_onnx = session.run(None, {session.get_inputs()[0].name: tensors})
    with torch.inference_mode():
        from_torch = network.features(torch.from_numpy(tensors))

    assert names == ["logits", "features", "feature_map"]
    for name, one, other in zip(names, from_onnx, from_torch, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4, rtol=1e-5, err_msg=name)


def test_features_are_what_the_last_layer_turns_into_probabilities(folder, tensors):
    weights = load_bundle(folder).weights()
    for runtime in ("onnx", "torch"):
        predictor = Predictor.load(folder, runtime=runtime, threads=1)
        features = predictor.features(tensors)
        logits = features @ weights["head.weight"].T + weights["head.bias"]
        scaled = np.exp(logits.astype(float) / predictor.bundle.description.temperature)
        expected = scaled / scaled.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(predictor.probabilities(tensors), expected, atol=1e-4)


def test_torch_and_onnx_predict_the_same(folder, pictures):
    by_onnx = Predictor.load(folder, runtime="onnx", threads=1).predict_batch(pictures)
    by_torch = Predictor.load(folder, runtime="torch", threads=1).predict_batch(pictures)
    np.testing.assert_allclose(
        [each.class_probabilities for each in by_onnx],
        [each.class_probabilities for each in by_torch],
        atol=1e-4,
        rtol=0,
    )
    assert len({each.class_probabilities for each in by_onnx}) == COUNT


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_the_size_of_the_batch_changes_nothing(folder, tensors, runtime):
    predictor = Predictor.load(folder, runtime=runtime, threads=1)

    def in_batches_of(size):
        starts = range(0, len(tensors), size)
        return np.concatenate([predictor.probabilities(tensors[i : i + size]) for i in starts])

    alone = in_batches_of(1)
    np.testing.assert_allclose(in_batches_of(7), alone, atol=1e-5, rtol=0)
    np.testing.assert_allclose(in_batches_of(64), alone, atol=1e-5, rtol=0)


# The three ways in.


@pytest.fixture(scope="module")
def files(tmp_path_factory, pictures):
    """JPEG and PNG pictures, one of them large, one grey, one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, pixels in enumerate(pictures[:8]):
        image = Image.fromarray(pixels)
        suffix = "png" if index % 2 else "jpg"
        image.save(folder / f"{index}.{suffix}")
    Image.fromarray(pictures[8]).resize((1600, 1200)).save(folder / "large.jpg")
    Image.fromarray(pictures[9]).convert("L").save(folder / "grey.png")
    (folder / "none.jpg").write_bytes(b"none")
    return folder


def diascope(*arguments, status):
    command = [Path(sys.executable).with_name("diascope"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout


def same(one, other):
    """Equal, numbers within 1e-6."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, abs=1e-6) if isinstance(other, float) else other)


def test_command_line_import_and_batch_say_the_same(untrained_bundle, files):
    good = sorted(file for file in files.iterdir() if file.name != "none.jpg")
    predictor = Predictor.load(untrained_bundle)
    given = {"blanches": False, "contexts": ("pregnancy", "dark_skin")}

    imported = [predictor.predict(file, **given).to_dict() for file in good]
    in_batch = [
        prediction.to_dict()
        for prediction in predictor.predict_batch(
            good,
            blanches=[given["blanches"]] * len(good),
            contexts=[given["contexts"]] * len(good),
        )
    ]
    options = ["--blanches", "no", "--context", "pregnancy", "--context", "dark_skin"]
    out = diascope("predict", *good, "--json", "--model", untrained_bundle, *options, status=0)
    printed = json.loads(out)

    assert same(in_batch, imported)
    assert [record.pop("path") for record in printed] == [str(file) for file in good]
    for record in printed:
        declines = record["verdict"] not in ("erythematous", "hyperpigmented")
        assert record.pop("status") == ("declined" if declines else "ok")
    assert same(printed, imported)


def test_a_box_means_the_same_on_the_command_line(untrained_bundle, files):
    picture = files / "0.jpg"
    box = ",".join(f"{edge:g}" for edge in BOX)
    out = diascope(
        "predict", picture, "--json", "--model", untrained_bundle, "--box", box, status=0
    )
    printed = json.loads(out)[0]
    imported = Predictor.load(untrained_bundle).predict(picture, box=BOX).to_dict()
    assert same(printed["probabilities"], imported["probabilities"])
    assert same(printed["ita_degrees"], imported["ita_degrees"])


def test_scored_rows_hold_the_imported_numbers(untrained_bundle, files, tmp_path):
    rows_file = tmp_path / "rows.csv"
    diascope("score", files, "--out", rows_file, "--model", untrained_bundle, status=3)
    with rows_file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    predictor = Predictor.load(untrained_bundle)

    assert [row["path"] for row in rows] == sorted(file.name for file in files.iterdir())
    for row in rows:
        assert row["model"] == predictor.name
        if row["path"] == "none.jpg":
            assert (row["status"], row["reason"]) == ("unreadable", "not_an_image")
            assert row["p_erythematous"] == row["verdict"] == ""
            continue
        prediction = predictor.predict(files / row["path"])
        numbers = [float(row[f"p_{name}"]) for name in prediction.probabilities]
        assert numbers == pytest.approx(prediction.class_probabilities, abs=1e-6)
        assert float(row["separation"]) == pytest.approx(prediction.separation, abs=1e-6)
        assert float(row["ita_degrees"]) == pytest.approx(prediction.ita_degrees, abs=1e-6)
        assert row["verdict"] == prediction.verdict
        assert row["image_verdict"] == prediction.image_verdict
        assert row["reason"].split(";") == list(prediction.reasons or [""])
        assert row["claim_ids"].split(";") == [claim.id for claim in prediction.guidance]
        assert (int(row["width"]), int(row["height"])) == (prediction.width, prediction.height)
