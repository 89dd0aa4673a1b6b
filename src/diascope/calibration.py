"""From logits to calibrated probabilities, and from those to a verdict: fit and apply.

A verdict declines by one of two rules, which the bundle names: fixed thresholds, or conformal sets.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from enum import StrEnum
from math import ceil, floor
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from diascope.config import GateConfig
from diascope.labels import LABEL_ORDER, MarkType, Verdict

Floats = npt.NDArray[np.float64]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Decision = tuple[Verdict, "tuple[GateReason, ...]"]

TEMPERATURES = (0.25, 10.0)
"""A fitted temperature is looked for between these."""

_STEPS = 400


class GateReason(StrEnum):
    """Why the probabilities alone declined: a closed list, each with its words."""

    NO_MARK = "no_mark"
    TOO_CLOSE = "too_close"
    NOT_SURE = "not_sure"
    UNLIKE_TRAINING = "unlike_training"

    @property
    def words(self) -> str:
        """The reason as a sentence."""
        return {
            GateReason.NO_MARK: "No red or brown mark stands out from the skin around it.",
            GateReason.TOO_CLOSE: "Red and brown are too close to call from this picture.",
            GateReason.NOT_SURE: "No colour is likely enough to be named from this picture.",
            GateReason.UNLIKE_TRAINING: "The picture is unlike those the model learnt from: "
            "neither red, brown nor unmarked skin fits it well.",
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


class ConformalGate(BaseModel):
    """Which classes a picture may belong to, and how sure a colour must be to be named.

    Attributes:
        coverage: share of each class that its sets are to hold, of pictures like those of the fit.
        least_probability: from which a mark type is in the set; 0 where the fit had too few
            groups to exclude it.
        named_share: share of red and brown marks that may get a colour, the surest.
        least_to_name: probability from which a colour is named; 0 where all may be.
        familiar_share: share of pictures near enough to those learnt from to be judged.
        most_distance: beyond which a picture is unlike them; None where all are near enough, or
            the fit had too few groups to tell.
        rows: pictures of each mark type in the fit.
        groups: persons or copies among them.
        data: what they were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    coverage: float = Field(ge=0.5, lt=1.0)
    least_probability: dict[MarkType, Probability]
    named_share: float = Field(gt=0.0, le=1.0)
    least_to_name: Probability
    familiar_share: float = Field(gt=0.0, le=1.0)
    most_distance: float | None = Field(ge=0.0)
    rows: dict[MarkType, int]
    groups: dict[MarkType, int]
    data: str = Field(min_length=1)

    @model_validator(mode="after")
    def _every_mark_type_has_its_own(self) -> "ConformalGate":
        for name in ("least_probability", "rows", "groups"):
            if tuple(getattr(self, name)) != LABEL_ORDER:
                raise ValueError(f"{name} must name {', '.join(LABEL_ORDER)}, in this order")
        return self


def fit_conformal(
    probabilities: npt.ArrayLike,
    labels: Sequence[MarkType],
    groups: Sequence[Hashable] | None = None,
    *,
    coverage: float,
    named_share: float = 1.0,
    distances: npt.ArrayLike | None = None,
    familiar_share: float = 1.0,
    data: str = "held-out pictures",
) -> ConformalGate:
    """Fit class-conditional split-conformal sets on held-out probabilities (N, 3).

    The score of a picture is 1 - P(its own class); a class's threshold is the score of rank
    (n + 1) coverage among its n, so that a new exchangeable picture of that class is in its set
    with that coverage (Vovk, Conditional validity of inductive conformal predictors, ACML 2012;
    Sadinle, Lei, Wasserman, J Am Stat Assoc 2019;114:223; Angelopoulos, Bates, arXiv:2107.07511).
    Between two ranks the score is interpolated, so that the coverage is near to what is asked for:
    the next whole rank would hold too much where groups are few. Pictures of one group are no new
    evidence: each group weighs one, spread over its pictures (Dunn, Wasserman, Ramdas, J Am Stat
    Assoc 2023;118:2491).

    With ``named_share`` below 1 the threshold to name a colour is fitted likewise, on the likelier
    of the two colours over red and brown pictures (Hendrycks, Gimpel, ICLR 2017); and with
    ``distances`` (N,) of the pictures to those learnt from and ``familiar_share`` below 1, the
    distance beyond which a picture is unlike them.

    Raises:
        ValueError: a probability that is not finite, or lengths that differ.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    names = list(range(len(labels))) if groups is None else list(groups)
    _check_rows(values, labels, names)
    members = {name: [n for n, own in enumerate(labels) if own == name] for name in LABEL_ORDER}
    groups_of = {name: [names[row] for row in rows] for name, rows in members.items()}
    coloured = [row for name in _COLOURS for row in members[name]]
    surest = values[coloured][:, [_index(name) for name in _COLOURS]].max(axis=1, initial=0.0)
    return ConformalGate(
        coverage=coverage,
        least_probability={
            name: _reached(values[rows, _index(name)], groups_of[name], coverage) or 0.0
            for name, rows in members.items()
        },
        named_share=named_share,
        least_to_name=0.0
        if named_share == 1.0
        else _reached(surest, [names[row] for row in coloured], named_share) or 0.0,
        familiar_share=familiar_share,
        most_distance=None
        if distances is None or familiar_share == 1.0
        else _most(np.asarray(distances, dtype=np.float64), names, familiar_share),
        rows={name: len(rows) for name, rows in members.items()},
        groups={name: len(set(of)) for name, of in groups_of.items()},
        data=data,
    )


def filled(gate: ConformalGate, spare: ConformalGate) -> ConformalGate:
    """``gate`` with the thresholds of ``spare`` for classes of which it had too few groups."""
    lacking = [name for name in LABEL_ORDER if gate.least_probability[name] == 0]
    if not lacking:
        return gate
    changed = {
        field: getattr(gate, field) | {name: getattr(spare, field)[name] for name in lacking}
        for field in ("least_probability", "rows", "groups")
    }
    names = ", ".join(lacking)
    return gate.model_copy(update={**changed, "data": f"{gate.data}; of {names}: {spare.data}"})


def _check_rows(values: Floats, labels: Sequence[MarkType], names: Sequence[Hashable]) -> None:
    if values.shape != (len(labels), len(LABEL_ORDER)) or len(names) != len(labels):
        raise ValueError(f"{values.shape} probabilities, {len(labels)} labels, {len(names)} groups")
    if not np.isfinite(values).all():
        raise ValueError("probabilities are not finite")


def _most(distances: Floats, groups: Sequence[Hashable], share: float) -> float | None:
    nearness = _reached(-distances, groups, share)
    return None if nearness is None else -nearness


def _reached(values: Floats, groups: Sequence[Hashable], share: float) -> float | None:
    """Value of rank (G + 1) share among G groups, the largest first; None where that is over G.

    The value of a whole rank is the largest that so much weight reaches; between, interpolated.
    """
    sizes = Counter(groups)
    rank = round((len(sizes) + 1) * share, 9)  # so that parts such as three thirds count as whole
    if rank > len(sizes):
        return None
    order = np.argsort(-values, kind="stable")
    weight = np.cumsum([1.0 / sizes[groups[row]] for row in order])
    whole = np.array([floor(rank), ceil(rank)])
    below, above = values[order[np.searchsorted(weight, whole - 1e-9)]]
    return float(below + (rank - whole[0]) * (above - below))


def conformal_set(probabilities: npt.ArrayLike, gate: ConformalGate) -> frozenset[MarkType]:
    """Mark types that a picture with these probabilities (3,) may be of; none, if none fits."""
    values = np.asarray(probabilities, dtype=np.float64)
    return frozenset(
        name
        for name, value in zip(LABEL_ORDER, values, strict=True)
        if value >= gate.least_probability[name]
    )


def decide(
    probabilities: npt.ArrayLike,
    gates: GateConfig,
    gate: ConformalGate | None = None,
    distance: float | None = None,
) -> Decision:
    """Verdict of one picture's probabilities (3,), and why it declines if it does.

    By the rule ``floor``: ``neither`` where it is the likeliest of the three or reaches its
    threshold; ``unclear`` where neither red nor brown is likely enough beside the other. By the
    rule ``conformal``: as :func:`decide_by_set`, with ``gate`` and, where it bounds it, the
    ``distance`` to the pictures learnt from.

    Raises:
        ValueError: a probability that is not finite, or the rule ``conformal`` without gate.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"probabilities {values} are not finite")
    if gates.rule == "conformal":
        if gate is None:
            raise ValueError("the rule conformal needs what was fitted for it")
        return decide_by_set(values, gate, distance)
    neither = values[_index(MarkType.NEITHER)]
    if neither >= gates.neither_threshold or neither == values.max():
        return Verdict.NEITHER, (GateReason.NO_MARK,)
    brown = float(separation(values))
    if max(brown, 1.0 - brown) < gates.separation_floor:
        return Verdict.UNCLEAR, (GateReason.TOO_CLOSE,)
    return (Verdict.HYPERPIGMENTED if brown > 0.5 else Verdict.ERYTHEMATOUS), ()


def decide_by_set(
    probabilities: npt.ArrayLike, gate: ConformalGate, distance: float | None = None
) -> Decision:
    """Verdict by the conformal set of probabilities (3,).

    Too far from the pictures learnt from, or an empty set: ``not_assessable``. Both colours in it:
    ``unclear``, and so where the likeliest of the three is not in it. Else ``neither`` where that
    is the likeliest; else the one colour in it, if it is sure enough to be named and the picture
    cannot as well be of unmarked skin. Where no unmarked skin was fitted, nobody can tell, and only
    sureness counts.

    Raises:
        ValueError: the gate bounds the distance and none is given.
    """
    values = dict(zip(LABEL_ORDER, np.asarray(probabilities, dtype=np.float64), strict=True))
    possible = conformal_set(probabilities, gate)
    if gate.most_distance is not None and distance is None:
        raise ValueError("the gate bounds the distance, and none is given")
    far = gate.most_distance is not None and cast(float, distance) > gate.most_distance
    if far or not possible:
        return Verdict.NOT_ASSESSABLE, (GateReason.UNLIKE_TRAINING,)
    if possible.issuperset(_COLOURS):
        return Verdict.UNCLEAR, (GateReason.TOO_CLOSE,)
    likeliest = max(LABEL_ORDER, key=lambda name: (values[name], name.value))
    if likeliest not in possible:
        return Verdict.UNCLEAR, (GateReason.NOT_SURE,)
    if likeliest is MarkType.NEITHER:
        return Verdict.NEITHER, (GateReason.NO_MARK,)
    maybe_bare = MarkType.NEITHER in possible and gate.least_probability[MarkType.NEITHER] > 0
    if maybe_bare or values[likeliest] < gate.least_to_name:
        return Verdict.UNCLEAR, (GateReason.NOT_SURE,)
    return Verdict(likeliest.value), ()


_COLOURS = (MarkType.ERYTHEMATOUS, MarkType.HYPERPIGMENTED)


def _index(mark_type: MarkType) -> int:
    return tuple(MarkType).index(mark_type)
