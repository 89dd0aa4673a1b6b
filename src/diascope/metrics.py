"""How well predictions fit the labels, each figure with a bootstrap interval.

Every statistic takes ``counts``, how often each row was drawn, so that one call scores all draws
of a bootstrap: (n,) gives a float64 scalar, (draws, n) gives (draws,). scikit-learn scores one
draw at a time, seconds for 2,000; the tests hold these against it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Counts (..., n) to values (...)."""

ECE_BINS = 15
DRAWS = 2000
_DRAWN_AT_ONCE = 4_000_000  # counts held in memory, 32 MB


class Interval(BaseModel):
    """A figure with its 95 % bootstrap interval; ``n`` rows in ``groups`` independent groups."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float
    low: float
    high: float
    n: int = Field(ge=1)
    groups: int = Field(ge=1)


def proportion(hits: npt.ArrayLike, counts: Floats | None = None) -> Floats:
    """Share of drawn rows, in [0, 1], where ``hits`` (n,) bool is true: accuracy, coverage.

    Raises:
        ValueError: no rows.
    """
    hit = np.asarray(hits, dtype=np.float64)
    weights = _weights(counts, hit.size)
    return np.asarray(weights @ hit / weights.sum(axis=-1))


def sensitivity(
    positive: npt.ArrayLike, called: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Share of positive rows called positive, in [0, 1]; both (n,) bool.

    Raises:
        ValueError: no positive row.
    """
    is_positive = np.asarray(positive, dtype=bool)
    if not is_positive.any():
        raise ValueError("no row of the class that is to be found")
    weights = _weights(counts, is_positive.size)[..., is_positive]
    return proportion(np.asarray(called, dtype=bool)[is_positive], weights)


def specificity(
    positive: npt.ArrayLike, called: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Share of negative rows called negative, in [0, 1]; both (n,) bool.

    Raises:
        ValueError: no negative row.
    """
    return sensitivity(~np.asarray(positive, dtype=bool), ~np.asarray(called, dtype=bool), counts)


def balanced_accuracy(
    labels: npt.ArrayLike, calls: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Mean over the classes in ``labels`` (n,) of the share called right, in [0, 1].

    Brodersen et al., ICPR 2010, p. 3121. Classes that only ``calls`` (n,) names add no term.

    Raises:
        ValueError: fewer than two classes in ``labels``.
    """
    truth, called = np.asarray(labels), np.asarray(calls)
    classes = np.unique(truth)
    if classes.size < 2:
        raise ValueError("balanced accuracy needs two classes among the labels")
    recalls = [sensitivity(truth == each, called == each, counts) for each in classes]
    return np.asarray(np.mean(recalls, axis=0))


def auroc(positive: npt.ArrayLike, scores: npt.ArrayLike, counts: Floats | None = None) -> Floats:
    """Area under the ROC curve, in [0, 1]: P(positive scores higher), a tie counting one half.

    ``positive`` (n,) bool, ``scores`` (n,) finite. The Mann-Whitney statistic (Hanley and McNeil,
    Radiology 1982;143:29), rows weighted by ``counts``.

    Raises:
        ValueError: one class only, or a score that is not finite.
    """
    is_positive = np.asarray(positive, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    if is_positive.all() or not is_positive.any():
        raise ValueError("AUROC needs two classes")
    if not np.isfinite(values).all():
        raise ValueError("AUROC needs finite scores")
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    weights = _weights(counts, values.size)[..., order]
    hits = np.add.reduceat(weights * is_positive[order], starts, axis=-1)
    misses = np.add.reduceat(weights * ~is_positive[order], starts, axis=-1)
    below = np.cumsum(misses, axis=-1) - 0.5 * misses
    return np.asarray((hits * below).sum(axis=-1) / (hits.sum(axis=-1) * misses.sum(axis=-1)))


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Mean over 15 equal-mass bins of |confidence - accuracy|, weighted by mass, in [0, 1].

    ``confidence`` (n,) in [0, 1], the probability of the class called; ``correct`` (n,) bool.
    Guo et al., ICML 2017, eq. 3, with the equal-mass bins of Nixon et al., CVPRW 2019; rows of
    equal confidence share a bin. Bins stay those of all rows when ``counts`` are given. An
    absolute value of noise is above zero: few rows, and draws of them, lean high.

    Raises:
        ValueError: no rows.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    rank = np.searchsorted(np.sort(sure), sure)
    in_bin = np.arange(ECE_BINS) == (rank * ECE_BINS // max(sure.size, 1))[:, None]
    weights = _weights(counts, sure.size)
    gaps = np.abs((weights * (sure - np.asarray(correct, dtype=np.float64))) @ in_bin)
    return np.asarray(gaps.sum(axis=-1) / weights.sum(axis=-1))


def bootstrap_interval(
    statistic: Statistic,
    strata: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Value of a statistic over all rows and its 95 % percentile interval.

    Whole groups (copies, persons) are drawn with replacement, each row its own group where none
    are given, within strata of groups that hold the same set of ``strata`` (n,), the rows'
    classes: so every class is in every draw (Efron and Tibshirani 1993, ch. 13; Field and Welsh,
    J R Stat Soc B 2007;69:369). Same seed, same interval.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    classes = np.asarray(strata)
    keys = np.arange(classes.size) if groups is None else np.asarray(groups)
    if keys.shape != classes.shape:
        raise ValueError(f"{keys.size} group ids for {classes.size} rows")
    value = float(statistic(_weights(None, classes.size)))
    values = [statistic(counts) for counts in _drawn_counts(classes, keys, draws, seed)]
    low, high = np.percentile(np.concatenate(values), [2.5, 97.5])
    return Interval(
        value=value, low=low, high=high, n=classes.size, groups=int(np.unique(keys).size)
    )


def _weights(counts: Floats | None, rows: int) -> Floats:
    if rows == 0:
        raise ValueError("no rows to measure on")
    return np.ones(rows) if counts is None else counts


def _drawn_counts(
    classes: npt.NDArray[np.generic], groups: npt.NDArray[np.generic], draws: int, seed: int
) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    _, member = np.unique(groups, return_inverse=True)
    stratum = _stratum_of_group(classes, member)
    step = max(1, _DRAWN_AT_ONCE // classes.size)
    for start in range(0, draws, step):
        times = np.zeros((min(step, draws - start), stratum.size))
        for each in np.unique(stratum):
            inside = np.flatnonzero(stratum == each)
            times[:, inside] = rng.multinomial(
                inside.size, np.full(inside.size, 1 / inside.size), size=len(times)
            )
        yield times[:, member]


def _stratum_of_group(
    classes: npt.NDArray[np.generic], member: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    names, label = np.unique(classes, return_inverse=True)
    holds = np.zeros((member.max() + 1, names.size), dtype=bool)
    holds[member, label] = True
    _, stratum = np.unique(holds, axis=0, return_inverse=True)
    return np.asarray(stratum.ravel())
