"""From judged rows to figures, each with its bootstrap interval over groups."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from diascope import metrics
from diascope.calibration import softmax
from diascope.figures import (
    CALLED_FROM,
    LEAST_ROWS,
    Counts,
    JudgedRow,
    Measure,
    MeasureName,
    Section,
)
from diascope.labels import LABEL_ORDER, ManifestLabel, Verdict

COLOURED = (ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED)
"""Labels that are told apart, the positive one last."""
COVERED = 0.7
"""Coverage at which accuracy is told."""

CLASSES = tuple(ManifestLabel(label.value) for label in LABEL_ORDER)
_RED, _BROWN = COLOURED


class Grouped(Protocol):
    """A row that can be drawn in a bootstrap."""

    @property
    def mark_type(self) -> ManifestLabel:
        """What its label says."""
        ...

    @property
    def group_id(self) -> str:
        """Rows that share it are drawn together."""
        ...


class Answered(Grouped, Protocol):
    """A row with a verdict."""

    @property
    def verdict(self) -> Verdict:
        """What was said."""
        ...


A = TypeVar("A", bound=Answered)
G = TypeVar("G", bound=Grouped)

Floats = metrics.Floats


def section(name: str, rows: Sequence[JudgedRow], unreadable: int) -> Section:
    """Count and measure a set of rows."""
    labels = Counter(row.mark_type for row in rows)
    return Section(
        name=name,
        n=len(rows),
        unreadable=unreadable,
        labels={label: labels[label] for label in ManifestLabel if labels[label]},
        verdicts=count_verdicts(rows),
        measures=_measures(rows),
    )


def count_verdicts(rows: Sequence[Answered]) -> Counts:
    """Verdicts of each label."""
    return {
        label: dict(sorted(Counter(row.verdict for row in inside).items()))
        for label in ManifestLabel
        if (inside := [row for row in rows if row.mark_type is label])
    }


def _measures(rows: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    coloured = [row for row in rows if row.mark_type in COLOURED]
    classed = [row for row in rows if row.mark_type in CLASSES]
    red, brown = ([row for row in coloured if row.mark_type is label] for label in COLOURED)
    truth = np.array([row.mark_type for row in classed], dtype=np.str_)
    called, _ = calls(classed)
    auroc = auroc_of(coloured, separation_of)
    balanced = partial(metrics.balanced_accuracy, truth, called)
    found = {
        MeasureName.AUROC: measure(coloured, auroc, least_classes=2),
        MeasureName.BALANCED_ACCURACY: measure(classed, balanced, least_classes=2),
        MeasureName.SENSITIVITY: _share(brown, partial(metrics.sensitivity, *_binary(brown))),
        MeasureName.SPECIFICITY: _share(red, partial(metrics.specificity, *_binary(red))),
        MeasureName.COVERAGE: measure_decided(coloured),
        MeasureName.COVERAGE_OF_RED: measure_decided(red),
        MeasureName.COVERAGE_OF_BROWN: measure_decided(brown),
        MeasureName.ACCURACY_DECIDED: measure_right(coloured),
        **_selective_measures(coloured),
        **_calibration_measures(classed),
        **_declining_measures(rows, coloured),
        **_conformal_measures(classed),
    }
    return {name: found[name] for name in MeasureName}


def measure_decided(rows: Sequence[A]) -> Measure:
    """Share of rows that got a red or brown verdict."""
    return measure_share(rows, [not row.verdict.declines for row in rows])


def measure_right(rows: Sequence[A]) -> Measure:
    """Share right of the red and brown verdicts."""
    decided = [row for row in rows if not row.verdict.declines]
    return measure_share(decided, [row.verdict.value == row.mark_type.value for row in decided])


def _selective_measures(coloured: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    sure, right = surest(coloured)
    return {
        MeasureName.ACCURACY_AT_70: measure(
            coloured, partial(metrics.accuracy_at_coverage, sure, right, COVERED)
        ),
        MeasureName.AURC: measure(coloured, partial(metrics.aurc, sure, right)),
        MeasureName.AUGRC: measure(coloured, partial(metrics.augrc, sure, right)),
    }


def _calibration_measures(classed: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    truth = [CLASSES.index(row.mark_type) for row in classed]
    found = {}
    for ece, brier, probabilities in (
        (MeasureName.ECE, MeasureName.BRIER, probabilities_of(classed)),
        (MeasureName.ECE_BEFORE, MeasureName.BRIER_BEFORE, before_temperature(classed)),
    ):
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
        found[ece] = measure(classed, partial(metrics.expected_calibration_error, sure, right))
        found[brier] = measure(classed, partial(metrics.brier_score, probabilities, truth))
    found[MeasureName.ECE_IF_PERFECT] = no_measure(0, "no value: no rows")
    if classed:
        perfect = metrics.calibration_error_if_perfect(calls(classed)[1])
        found[MeasureName.ECE_IF_PERFECT] = Measure(**perfect.model_dump(), note=_few(perfect.n))
    return found


def _declining_measures(
    rows: Sequence[JudgedRow], coloured: Sequence[JudgedRow]
) -> dict[MeasureName, Measure]:
    other = [row for row in rows if row.mark_type is ManifestLabel.OTHER]
    neither = [row for row in rows if row.mark_type is ManifestLabel.NEITHER]
    is_declined = [row.verdict.declines for row in other]
    is_neither = [row.verdict is Verdict.NEITHER for row in neither]
    is_coloured = [not row.verdict.declines for row in neither]
    at_70 = no_measure(0, "no value: no rows")
    if other and coloured:
        # The threshold is held fixed in the draws.
        least = np.quantile(surest(coloured)[0], 1 - COVERED, method="lower")
        at_70 = measure_share(other, surest(other)[0] >= least)
    return {
        MeasureName.DECLINED_OF_OTHER: measure_share(other, is_declined),
        MeasureName.OTHER_CALLED_AT_70: at_70,
        MeasureName.NEITHER_CALLED_NEITHER: measure_share(neither, is_neither),
        MeasureName.NEITHER_GIVEN_A_COLOUR: measure_share(neither, is_coloured),
    }


def _conformal_measures(classed: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    """Share of each class whose conformal set holds it."""
    found = {}
    for name, label in zip(_CONFORMAL, CLASSES, strict=True):
        rows = [row for row in classed if row.mark_type is label]
        if rows and any(row.conformal_set is None for row in rows):
            found[name] = no_measure(len(rows), "no value: the model has no conformal sets")
            continue
        holds = [label.value in (row.conformal_set or "").split() for row in rows]
        found[name] = measure_share(rows, holds)
    return found


_CONFORMAL = (
    MeasureName.CONFORMAL_OF_RED,
    MeasureName.CONFORMAL_OF_BROWN,
    MeasureName.CONFORMAL_OF_NEITHER,
)


def probabilities_of(rows: Sequence[JudgedRow]) -> Floats:
    """Calibrated probabilities (n, 3) in ``LABEL_ORDER``."""
    return np.array(
        [(row.p_erythematous, row.p_hyperpigmented, row.p_neither) for row in rows]
    ).reshape(-1, len(LABEL_ORDER))


def before_temperature(rows: Sequence[JudgedRow]) -> Floats:
    """Probabilities (n, 3) of the same logits, undivided."""
    logarithms = np.log(np.maximum(probabilities_of(rows), np.finfo(np.float64).tiny))
    return softmax(logarithms * np.array([row.temperature for row in rows])[:, None])


def calls(rows: Sequence[JudgedRow]) -> tuple[npt.NDArray[np.str_], Floats]:
    """The likeliest class of each row, and its probability."""
    probabilities = probabilities_of(rows)
    return np.array(LABEL_ORDER)[probabilities.argmax(axis=1)], probabilities.max(axis=1)


def surest(rows: Sequence[JudgedRow]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Probability of the colour called, red or brown, and whether that is the label's; (n,)."""
    brown = np.array([row.separation >= CALLED_FROM for row in rows], dtype=bool)
    red_or_brown = probabilities_of(rows)[:, :2]
    sure = np.where(brown, red_or_brown[:, 1], red_or_brown[:, 0])
    return sure, brown == np.array(_is_brown(rows), dtype=bool)


def _binary(rows: Sequence[JudgedRow]) -> tuple[list[bool], list[bool]]:
    """Whether each row is brown, and whether it is called so."""
    return _is_brown(rows), [row.separation >= CALLED_FROM for row in rows]


def _is_brown(rows: Sequence[Grouped]) -> list[bool]:
    """True for each row of the positive class."""
    return [row.mark_type is _BROWN for row in rows]


def measure(
    rows: Sequence[Grouped],
    statistic: metrics.Statistic,
    *,
    least_classes: int = 1,
    strata: Sequence[str] | None = None,
) -> Measure:
    """A statistic of rows with its interval; no value where ``least_classes`` labels are missing.

    Draws keep the number of groups of each of the ``strata``: the labels, if None.
    """
    labels = sorted({row.mark_type for row in rows})
    groups = [row.group_id for row in rows]
    if len(labels) < least_classes:
        note = f"no value: {labels[0]} rows only" if labels else "no value: no rows"
        return no_measure(len(rows), note, groups=len(set(groups)))
    found = metrics.bootstrap_interval(
        statistic, [row.mark_type for row in rows] if strata is None else strata, groups
    )
    same = "the draws do not differ: the true interval is wider" if found.low == found.high else ""
    doubts = [doubt for doubt in (_few(found.n), same) if doubt]
    return Measure(**found.model_dump(), note="; ".join(doubts) or None)


def measure_share(rows: Sequence[Grouped], hits: npt.ArrayLike) -> Measure:
    """Share of rows that are hits (n,), with its interval.

    A bootstrap knows too little near 0 and 1: no bound is closer to them than that of no hit at
    all, or of nothing else, in as many groups (``metrics.most_of_none``).
    """
    return _share(rows, partial(metrics.proportion, np.asarray(hits, dtype=bool)))


def _share(rows: Sequence[Grouped], statistic: metrics.Statistic) -> Measure:
    found = measure(rows, statistic)
    if found.low is None or found.high is None:
        return found
    room = metrics.most_of_none([row.group_id for row in rows])
    bounds = {"low": min(found.low, 1.0 - room), "high": max(found.high, room)}
    return found.model_copy(update={**bounds, "note": _few(found.n)})


def no_measure(n: int, note: str, *, groups: int = 0) -> Measure:
    """A measure without a value, and why."""
    return Measure(value=None, low=None, high=None, n=n, groups=groups, note=note)


def _few(n: int) -> str | None:
    return f"insufficient data: {n} rows, under {LEAST_ROWS}" if n < LEAST_ROWS else None


def auroc_of(rows: Sequence[G], score: Callable[[G], float]) -> metrics.Statistic:
    """AUROC of a score of rows, as a statistic to draw for."""
    return partial(metrics.auroc, _is_brown(rows), [score(row) for row in rows])


def separation_of(row: JudgedRow) -> float:
    """The network's score of brown against red."""
    return row.separation
