"""From logits to calibrated probabilities, and from those to a verdict: fit and apply."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from diascope.config import GateConfig
from diascope.labels import MarkType, Verdict

Floats = npt.NDArray[np.float64]

TEMPERATURES = (0.25, 10.0)
"""A fitted temperature is looked for between these."""

_STEPS = 400


class GateReason(StrEnum):
    """Why the probabilities alone declined: a closed list, each with its words."""

    NO_MARK = "no_mark"
    TOO_CLOSE = "too_close"

    @property
    def words(self) -> str:
        """The reason as a sentence."""
        return {
            GateReason.NO_MARK: "No red or brown mark stands out from the skin around it.",
            GateReason.TOO_CLOSE: "Red and brown are too close to call from this picture.",
        }[self]


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities float64 of logits along the last axis, divided by ``temperature``."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_loss(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    temperature: float = 1.0,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Mean cross-entropy in nats of logits (N, 3) against soft targets (N, 3)."""
    probabilities = np.maximum(softmax(logits, temperature), 1e-12)
    losses = -(np.asarray(targets) * np.log(probabilities)).sum(axis=-1)
    return float(np.average(losses, weights=None if weights is None else np.asarray(weights)))


def fit_temperature(
    logits: npt.ArrayLike, targets: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Temperature that minimises the cross-entropy of held-out logits (N, 3).

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017; searched on a grid even in
    the logarithm, whose step is one per cent. ``weights`` (N,) weigh the rows.
    """
    grid = np.geomspace(*TEMPERATURES, _STEPS)
    return float(min(grid, key=lambda t: log_loss(logits, targets, t, weights)))


def separation(probabilities: npt.ArrayLike) -> Floats:
    """P(hyperpigmented | erythematous or hyperpigmented) of probabilities (..., 3)."""
    values = np.asarray(probabilities, dtype=np.float64)
    brown = values[..., _index(MarkType.HYPERPIGMENTED)]
    either = brown + values[..., _index(MarkType.ERYTHEMATOUS)]
    return np.asarray(np.divide(brown, either, out=np.full_like(either, 0.5), where=either > 0))


def decide(
    probabilities: npt.ArrayLike, gates: GateConfig
) -> tuple[Verdict, tuple[GateReason, ...]]:
    """Verdict of one picture's probabilities (3,), and why it declines if it does.

    ``neither`` where it is the likeliest of the three or reaches its threshold; ``unclear`` where
    neither red nor brown is likely enough beside the other.

    Raises:
        ValueError: a probability that is not finite.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"probabilities {values} are not finite")
    neither = values[_index(MarkType.NEITHER)]
    if neither >= gates.neither_threshold or neither == values.max():
        return Verdict.NEITHER, (GateReason.NO_MARK,)
    brown = float(separation(values))
    if max(brown, 1.0 - brown) < gates.separation_floor:
        return Verdict.UNCLEAR, (GateReason.TOO_CLOSE,)
    return (Verdict.HYPERPIGMENTED if brown > 0.5 else Verdict.ERYTHEMATOUS), ()


def _index(mark_type: MarkType) -> int:
    return tuple(MarkType).index(mark_type)
