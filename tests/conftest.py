"""What every test file may use."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# No deadline: two shared cores make timing meaningless. The same examples in every run.
settings.register_profile("diascope", deadline=None, derandomize=True, database=None)
settings.load_profile("diascope")

REPO_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout's root folder."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The read-only folder of documents and photographs beside the project."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no shared/ folder beside the project")
    return folder


def untrained_network(config, size):
    """A network of random weights whose logits differ enough that every verdict occurs."""
    import torch

    from diascope.network import MarkNetwork
    from diascope.preprocess import prepare_pixels
    from diascope.renderer import render

    pictures = [render(index, seed=1, size=size).pixels for index in range(64)]
    tensors = [prepare_pixels(pixels, None, size).tensor for pixels in pictures]
    torch.set_num_threads(1)  # threads that wait for each other are slow on busy cores
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(20260)
        network = MarkNetwork(config)
        inputs = torch.from_numpy(np.stack(tensors))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # one pass gives it its running statistics
        network.train()(inputs)
        pooled = network.eval().features(inputs)[1]
        network.head.weight.normal_(std=0.5).div_(pooled.std(dim=0))
        network.head.bias.copy_(-network.head.weight @ pooled.mean(dim=0))
    return network


@pytest.fixture(scope="session")
def untrained_bundle(tmp_path_factory) -> Path:
    """A whole bundle of a small network that was never trained: its verdicts mean nothing."""
    torch = pytest.importorskip("torch")
    from diascope.bundle import BundleDescription, Preprocessing, TrainingData, save_bundle
    from diascope.config import GateConfig, NetworkConfig, QualityConfig
    from diascope.export import to_onnx
    from diascope.network import parameter_count

    size, config = 64, NetworkConfig(widths=[16, 24, 32])
    network = untrained_network(config, size)
    description = BundleDescription(
        name="untrained",
        version="0.1.0",
        created=datetime(2025, 1, 1, tzinfo=UTC),
        preprocessing=Preprocessing(size=size),
        network=config,
        parameters=parameter_count(network),
        temperature=1.5,
        gates=GateConfig(),
        quality=QualityConfig(),
        data=TrainingData(digest=None, summary="Nothing.", rendered=0, photographs=0),
        data_licence="none",
        intended_use="Tests.",
        library_versions={"torch": torch.__version__},
        command="none",
    )
    weights = {name: values.numpy() for name, values in network.state_dict().items()}
    folder = tmp_path_factory.mktemp("models") / "untrained"
    return save_bundle(folder, description, weights, to_onnx(network, size), None).folder
