"""The small CNN: relative optical density in, three logits out."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import Conv2dNormActivation

from diascope.config import NetworkConfig
from diascope.labels import LABEL_ORDER

AXES = ((1.0, 1.0, 1.0), (-8.0, 8.0, 0.0), (0.0, -8.0, 8.0))
"""Rows that take R, G, B densities to lightness, to green less red (the erythema index) and to
blue less green: apart and of like size, faint colours are learnt beside strong shadows."""


class MarkNetwork(nn.Module):
    """A residual network of torchvision's basic blocks, one per stage, each halving the side.

    It sees relative optical density along ``AXES``.
    Global average pooling and one linear layer follow the last feature map, so that class
    activation maps (Zhou et al., CVPR 2016) are exact.
    """

    axes: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        first = config.widths[0]
        stages = [_stage(before, after) for before, after in pairwise(config.widths)]
        axes = torch.tensor(AXES)[:, :, None, None]
        self.register_buffer("axes", axes, persistent=False)
        self.stem = Conv2dNormActivation(3, first, kernel_size=5, stride=2)
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], len(LABEL_ORDER))

    def forward(self, relative_density: Tensor) -> Tensor:
        """Logits (N, 3) in ``LABEL_ORDER`` of relative optical density (N, 3, S, S)."""
        return self.features(relative_density)[0]

    def features(self, relative_density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, 3), pooled features (N, C) and the last feature map (N, C, h, w)."""
        feature_map = self.stage_maps(relative_density)[-1]
        return *self.classified(feature_map), feature_map

    def stage_maps(self, relative_density: Tensor) -> list[Tensor]:
        """Feature maps (N, C, h, w) of every stage, the finest first."""
        seen = self.stem(nn.functional.conv2d(relative_density, self.axes))
        maps = []
        for stage in self.stages:
            seen = stage(seen)
            maps.append(seen)
        return maps

    def classified(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 3) and pooled features (N, C) of the last feature map."""
        pooled = feature_map.mean(dim=(2, 3))
        return self.head(self.dropout(pooled)), pooled


class TaughtNetwork(nn.Module):
    """The network in training, with heads that say where a mark is; they do not travel.

    Deep supervision (Lee et al., AISTATS 2015) of the last two stages: each cell of their maps
    tells red, brown and bare skin apart.
    """

    def __init__(self, network: MarkNetwork, widths: list[int]) -> None:
        super().__init__()
        self.network = network
        self.place = nn.ModuleList(
            nn.Conv2d(width, len(LABEL_ORDER), 1) for width in widths[1:][-2:]
        )

    def forward(self, relative_density: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N, 3), and logits (N, 3, h, w) of the cells of the last stages."""
        maps = self.network.stage_maps(relative_density)
        logits, _ = self.network.classified(maps[-1])
        return logits, [head(seen) for head, seen in zip(self.place, maps[-2:], strict=True)]


def _stage(before: int, after: int) -> BasicBlock:
    shortcut = nn.Sequential(conv1x1(before, after, stride=2), nn.BatchNorm2d(after))
    return BasicBlock(before, after, stride=2, downsample=shortcut)


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def evaluation_network(config: NetworkConfig, weights: dict[str, Tensor]) -> MarkNetwork:
    """Network with stored weights, ready to predict."""
    network = MarkNetwork(config)
    network.load_state_dict(weights)
    return network.eval().to(memory_format=torch.channels_last)
