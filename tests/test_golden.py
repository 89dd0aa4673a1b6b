"""The shipped bundles answer as they did: tensors tight, pictures loose.

After a change on purpose: python tests/golden/remake.py
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from golden.remake import HERE, PICTURES, TENSORS, prepared, stored

from diascope import Predictor
from diascope.bundle import ONNX, SHIPPED, WEIGHTS

REMAKE = "made for another network; run: python tests/golden/remake.py"

predictors = pytest.mark.parametrize("predictor", SHIPPED, indirect=True)


@pytest.fixture(scope="module")
def predictor(request):
    return Predictor.load(request.param, threads=1)


@pytest.fixture
def golden(predictor):
    file = HERE / f"{predictor.bundle.folder.name}.json"
    assert file.exists(), f"{file.name} is missing; run: python tests/golden/remake.py"
    stored_answers = json.loads(file.read_text(encoding="utf-8"))
    assert stored_answers["network"] == predictor.bundle.description.files[ONNX], REMAKE
    return stored_answers


def test_every_stored_file_is_used():
    expected = {f"{name}.json" for name in SHIPPED} | {"remake.py", TENSORS.name}
    expected |= {picture.name for picture in PICTURES}
    assert {file.name for file in HERE.iterdir() if file.is_file()} == expected


@predictors
def test_a_shipped_bundle_is_called_as_its_folder(predictor):
    assert predictor.bundle.description.name == predictor.bundle.folder.name


def check_tensors(predictor, golden):
    size = predictor.bundle.description.preprocessing.size
    given = predictor.probabilities(stored(size))
    np.testing.assert_allclose(given, golden["of_tensors"], atol=1e-5, rtol=0)


@predictors
def test_stored_tensors_give_the_stored_probabilities(predictor, golden):
    check_tensors(predictor, golden)


@predictors
@pytest.mark.parametrize("order", [[1, 0, 2], [2, 0, 1]])
def test_a_wrong_label_order_is_found(predictor, golden, order):
    """A planted bug: the network's outputs in another order than the labels."""
    weights = predictor.bundle.weights()
    shuffled = {
        name: np.ascontiguousarray(values[order]) if name.startswith("head.") else values
        for name, values in weights.items()
    }
    files = {**predictor.bundle.files, WEIGHTS: safetensors.numpy.save(shuffled)}
    planted = Predictor(replace(predictor.bundle, files=files), predictor.pack, runtime="torch")
    with pytest.raises(AssertionError):
        check_tensors(planted, golden)
    honest = Predictor(predictor.bundle, predictor.pack, runtime="torch")
    size = predictor.bundle.description.preprocessing.size
    given = honest.probabilities(stored(size))
    np.testing.assert_allclose(given, golden["of_tensors"], atol=1e-4, rtol=0)


@predictors
def test_stored_pictures_are_prepared_as_the_stored_tensors(predictor):
    size = predictor.bundle.description.preprocessing.size
    # One step of 8 bits is 0.002 to 0.02 of density here; decoders differ by one or two.
    assert np.abs(prepared(size) - stored(size)).mean() < 0.005


@predictors
def test_stored_pictures_give_about_the_stored_probabilities(predictor, golden):
    predictions = predictor.predict_batch(PICTURES)
    given = [prediction.class_probabilities for prediction in predictions]
    np.testing.assert_allclose(given, golden["of_pictures"], atol=0.02, rtol=0)
    assert [prediction.verdict for prediction in predictions] == golden["verdicts"]


@predictors
def test_the_answers_tell_the_pictures_apart(golden):
    # Stored answers that are all alike would guard nothing.
    spread = np.ptp(np.array(golden["of_pictures"]), axis=0)
    assert spread.max() > 0.3
