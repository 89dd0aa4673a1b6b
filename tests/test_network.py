import pytest
import torch

from diascope.config import NetworkConfig, load_config
from diascope.network import (
    AXES,
    MarkNetwork,
    TaughtNetwork,
    evaluation_network,
    parameter_count,
)

torch.set_num_threads(1)

SMALL = NetworkConfig(widths=[16, 24])


@pytest.fixture(scope="module")
def network():
    """A small network with running statistics, ready to predict."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = MarkNetwork(SMALL)
        for _ in range(3):
            made.train()(torch.randn(8, 3, 64, 64))
    return made.eval()


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def test_shipped_configs_keep_to_the_size_that_was_asked_for(repo_root):
    runs = [path for path in (repo_root / "configs").glob("*.toml") if path.stem != "sweep"]
    assert runs
    for path in runs:
        assert parameter_count(MarkNetwork(load_config(path).network)) <= 400_000, path


def test_parameters_by_hand():
    # Two widths: stem, one block, its shortcut, head; a batch norm has two values per channel.
    stem = 3 * 16 * 25 + 2 * 16
    block = 16 * 24 * 9 + 2 * 24 + 24 * 24 * 9 + 2 * 24 + 16 * 24 + 2 * 24
    assert parameter_count(MarkNetwork(SMALL)) == stem + block + 24 * 3 + 3


@torch.no_grad()
def test_shapes(network, inputs):
    logits, pooled, feature_map = network.features(inputs)
    assert logits.shape == (4, 3)
    assert pooled.shape == (4, 24)
    assert feature_map.shape == (4, 24, 16, 16)


def test_light_and_shadow_move_one_axis_alone():
    axes = torch.tensor(AXES)
    torch.testing.assert_close(axes @ torch.tensor([0.1, 0.3, 0.6]), torch.tensor([1.0, 1.6, 2.4]))
    torch.testing.assert_close(axes @ torch.ones(3), torch.tensor([3.0, 0.0, 0.0]))


def test_the_network_sees_densities_along_its_axes(network, inputs):
    seen = []
    hook = network.stem.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    network(inputs)
    hook.remove()
    torch.testing.assert_close(seen[0], torch.einsum("ij,njhw->nihw", torch.tensor(AXES), inputs))


@torch.no_grad()
def test_what_teaches_places_leaves_the_network_as_it_is(network, inputs):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    taught = TaughtNetwork(network, SMALL.widths).eval()
    logits, places = taught(inputs)
    torch.testing.assert_close(logits, network(inputs))
    assert [tuple(each.shape) for each in places] == [(4, 3, 16, 16)]  # one stage has one map
    deep = MarkNetwork(NetworkConfig(widths=[16, 16, 24, 32]))
    _, places = TaughtNetwork(deep, [16, 16, 24, 32])(inputs)
    assert [tuple(each.shape) for each in places] == [(4, 3, 8, 8), (4, 3, 4, 4)]
    assert list(network.state_dict()) == list(before)


@torch.no_grad()
def test_class_activation_maps_are_exact(network, inputs):
    """The head at every cell of the last map, averaged over the cells, is the logits."""
    logits, _, feature_map = network.features(inputs)
    cells = torch.einsum("kc,nchw->nkhw", network.head.weight, feature_map)
    exact = cells.mean(dim=(2, 3)) + network.head.bias
    torch.testing.assert_close(exact, logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pooled_features_through_the_head_are_the_logits(network, inputs):
    logits, pooled, feature_map = network.features(inputs)
    torch.testing.assert_close(network.head(pooled), logits)
    torch.testing.assert_close(network(inputs), logits)
    torch.testing.assert_close(feature_map.mean(dim=(2, 3)), pooled)


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_neighbours(network, inputs):
    alone = torch.cat([network(inputs[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(alone, network(inputs), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_stored_weights_give_the_same_network_back(network, inputs):
    stored = {name: values.clone() for name, values in network.state_dict().items()}
    again = evaluation_network(SMALL, stored)
    assert not again.training
    torch.testing.assert_close(again(inputs), network(inputs), rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    dropping = MarkNetwork(NetworkConfig(widths=[16, 16], dropout=0.9))
    pictures = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        dropping.eval()
        torch.testing.assert_close(dropping(pictures), dropping(pictures))
        dropping.dropout.train()
        assert not torch.allclose(dropping(pictures), dropping(pictures))


def test_every_parameter_learns():
    network = MarkNetwork(SMALL)
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_weights_of_another_shape_are_refused(network):
    with pytest.raises(RuntimeError, match="size mismatch"):
        evaluation_network(NetworkConfig(widths=[16, 32]), network.state_dict())
