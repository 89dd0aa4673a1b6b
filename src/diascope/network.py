"""The small CNN: relative optical density in, three logits out."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import Conv2dNormActivation

from diascope.config import NetworkConfig
from diascope.labels import LABEL_ORDER


class MarkNetwork(nn.Module):
    """A residual network of torchvision's basic blocks, one per stage, each halving the side.

    Global average pooling and one linear layer follow the last feature map, so that class
    activation maps (Zhou et al., CVPR 2016) are exact.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        first = config.widths[0]
        stages = [_stage(before, after) for before, after in pairwise(config.widths)]
        self.stem = Conv2dNormActivation(3, first, kernel_size=5, stride=2)
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], len(LABEL_ORDER))

    def forward(self, relative_density: Tensor) -> Tensor:
        """Logits (N, 3) in ``LABEL_ORDER`` of relative optical density (N, 3, S, S)."""
        return self.features(relative_density)[0]

    def features(self, relative_density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, 3), pooled features (N, C) and the last feature map (N, C, h, w)."""
        feature_map = self.stages(self.stem(relative_density))
        pooled = feature_map.mean(dim=(2, 3))
        return self.head(self.dropout(pooled)), pooled, feature_map


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
