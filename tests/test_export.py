import logging
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from diascope.config import NetworkConfig
from diascope.export import INPUT_NAME, OUTPUT_NAMES, to_onnx
from diascope.network import MarkNetwork

SIZE = 64

torch.set_num_threads(1)


def small_network():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = MarkNetwork(NetworkConfig(widths=[16, 24]))
        for _ in range(3):
            network.train()(torch.randn(8, 3, SIZE, SIZE))
    return network


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def exported(network):
    return to_onnx(network, SIZE)


@pytest.fixture(scope="module")
def session(exported):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_gives_what_torch_gives(network, session, count):
    inputs = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
    with torch.no_grad():
        expected = network.eval().features(inputs)
    given = session.run(list(OUTPUT_NAMES), {INPUT_NAME: inputs.numpy()})
    for name, ours, theirs in zip(OUTPUT_NAMES, given, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=0, err_msg=name)


def test_names_and_shapes(session):
    (taken,) = session.get_inputs()
    assert taken.name == "relative_density"
    assert taken.shape[1:] == [3, SIZE, SIZE]
    assert isinstance(taken.shape[0], str)  # any N
    outputs = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert outputs == {"logits": [3], "features": [24], "feature_map": [24, 16, 16]}


def test_the_same_network_gives_the_same_bytes_in_silence(network, exported, capfd, caplog):
    assert to_onnx(network, SIZE) == exported
    assert [*capfd.readouterr()] == ["", ""]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_file_names_nothing_of_this_machine(exported, repo_root):
    for path in (str(repo_root), sys.prefix, sys.base_prefix, "site-packages", ".py"):
        assert path.encode() not in exported


def test_the_network_stays_as_it_was():
    network = small_network().train().to(memory_format=torch.channels_last)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    to_onnx(network, SIZE)
    assert network.training
    assert all(module.training for module in network.modules())
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name])
    kernel = network.stages[0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
