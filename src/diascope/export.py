"""torch -> ONNX: the same network for ONNX Runtime, with its features and last feature map."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from diascope.network import MarkNetwork

INPUT_NAME = "relative_density"
OUTPUT_NAMES = ("logits", "features", "feature_map")
OPSET = 18

_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")


class _AllOutputs(nn.Module):
    """The network with its forward pass returning all three outputs."""

    def __init__(self, network: MarkNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, relative_density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, pooled features, last feature map."""
        return self.network.features(relative_density)


def to_onnx(network: MarkNetwork, size: int) -> bytes:
    """ONNX file of a network in evaluation mode, weights inside; the network stays as it is.

    Input ``relative_density`` float32 (N, 3, size, size); outputs ``logits`` (N, 3),
    ``features`` (N, C) and ``feature_map`` (N, C, h, w), for any N.
    """
    whole = _AllOutputs(copy.deepcopy(network)).cpu().eval()
    whole = whole.to(memory_format=torch.contiguous_format)
    with _quiet():
        program = torch.onnx.export(
            whole,
            (torch.zeros(2, 3, size, size),),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # only the older exporter gives none
        # Every node carries a stack trace: paths of the machine that exported it.
        ClearMetadataAndDocStringPass()(program.model)
        return bytes(program.model_proto.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's chatter; its errors still rise."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
