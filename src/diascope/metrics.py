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
    weights = _weights(counts, sure.size)
    gaps = np.abs((weights * (sure - np.asarray(correct, dtype=np.float64))) @ _in_bin(sure))
    return np.asarray(gaps.sum(axis=-1) / weights.sum(axis=-1))


def calibration_error_if_perfect(
    confidence: npt.ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """What :func:`expected_calibration_error` shows at these confidences without any error.

    The mean, and the range of 95 %, over ``draws`` in which each row is right with exactly its
    confidence (Broecker and Smith, Weather and Forecasting 2007;22:651, consistency resampling).

    Raises:
        ValueError: no rows.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    _weights(None, sure.size)
    rng, in_bin = np.random.default_rng(seed), _in_bin(sure)
    errors = [
        np.abs((sure - (rng.random(sure.size) < sure)) @ in_bin).sum() / sure.size
        for _ in range(draws)
    ]
    low, high = np.percentile(errors, [2.5, 97.5])
    value = float(np.mean(errors))
    return Interval(value=value, low=low, high=high, n=sure.size, groups=sure.size)


def reliability(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Mean confidence, accuracy and rows of each bin of :func:`expected_calibration_error`; (m,).

    The least confident first, empty bins left out (DeGroot and Fienberg, The Statistician
    1983;32:12).
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    in_bin = _in_bin(sure)
    rows = in_bin.sum(axis=0)
    filled = rows > 0
    means = [(values @ in_bin)[filled] / rows[filled] for values in (sure, right)]
    return means[0], means[1], rows[filled]


def _in_bin(sure: Floats) -> npt.NDArray[np.bool_]:
    """Rows by bins of equal mass, (n, 15)."""
    rank = np.searchsorted(np.sort(sure), sure)
    return np.asarray(np.arange(ECE_BINS) == (rank * ECE_BINS // max(sure.size, 1))[:, None])


def brier_score(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Mean over rows of the squared distance to the truth, summed over classes, in [0, 2].

    ``probabilities`` (n, K); ``labels`` (n,) integers, the true class of each row. Brier, Monthly
    Weather Review 1950;78:1, eq. 2.

    Raises:
        ValueError: no rows.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    weights = _weights(counts, len(values))
    truth = np.eye(values.shape[1])[np.asarray(labels, dtype=np.intp)]
    losses = ((values - truth) ** 2).sum(axis=1)
    return np.asarray(weights @ losses / weights.sum(axis=-1))


def roc_curve(positive: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates from (0, 0) to (1, 1), a point per score; both (m,).

    Raises:
        ValueError: one class only.
    """
    is_positive = np.asarray(positive, dtype=bool)
    if is_positive.all() or not is_positive.any():
        raise ValueError("an ROC curve needs two classes")
    weights = np.ones(is_positive.size)
    of_all, of_negative = _blocks(scores, ~is_positive, weights)
    misses = np.cumsum(of_negative) / of_negative.sum()
    hits = np.cumsum(of_all - of_negative) / (of_all - of_negative).sum()
    return np.append(0.0, misses), np.append(0.0, hits)


def risk_coverage(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Coverage, selective risk and generalised risk as the least confident are declined; (m,).

    A point per confidence, from the surest rows to all of them. Selective risk is the share of
    errors among the rows kept (Geifman and El-Yaniv, NeurIPS 2017); generalised risk the share of
    kept errors among all rows (Traub et al., NeurIPS 2024).

    Raises:
        ValueError: no rows.
    """
    wrong = ~np.asarray(correct, dtype=bool)
    kept, errors = _blocks(confidence, wrong, _weights(None, wrong.size))
    kept, errors = np.cumsum(kept), np.cumsum(errors)
    return kept / wrong.size, errors / kept, errors / wrong.size


def aurc(confidence: npt.ArrayLike, correct: npt.ArrayLike, counts: Floats | None = None) -> Floats:
    """Area under the risk-coverage curve, in [0, 1]; low is good.

    Mean over k of the share of errors among the k surest rows (Geifman and El-Yaniv, NeurIPS
    2017; as AURC, Geifman, Uziel and El-Yaniv, ICLR 2019). Errors of equally sure rows count as
    spread evenly among them. ``counts`` are whole numbers.

    Raises:
        ValueError: no rows.
    """
    wrong = ~np.asarray(correct, dtype=bool)
    weights = _weights(counts, wrong.size)
    size, errors = _blocks(confidence, wrong, weights)
    before, errors_before = _before(size), _before(errors)
    rate = np.divide(errors, size, out=np.zeros_like(errors), where=size > 0)
    # Sum over k of (E + k r) / (W + k) = r m + (E - r W) (H(W + m) - H(W)), H harmonic numbers.
    harmonic = _harmonic(int(weights.sum(axis=-1).max()))
    rise = harmonic[(before + size).astype(np.intp)] - harmonic[before.astype(np.intp)]
    areas = rate * size + (errors_before - rate * before) * rise
    return np.asarray(areas.sum(axis=-1) / weights.sum(axis=-1))


def augrc(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, counts: Floats | None = None
) -> Floats:
    """Area under the generalised risk-coverage curve, in [0, 1/2]; low is good.

    The mean share of errors that pass undeclined, over all coverages (Traub et al., NeurIPS 2024,
    eq. 6): ``(1 - AUROC of right against wrong) acc (1 - acc) + (1 - acc)^2 / 2``.

    Raises:
        ValueError: no rows.
    """
    wrong = ~np.asarray(correct, dtype=bool)
    weights = _weights(counts, wrong.size)
    size, errors = _blocks(confidence, wrong, weights)
    areas = size * (_before(errors) + errors / 2)
    return np.asarray(areas.sum(axis=-1) / weights.sum(axis=-1) ** 2)


def accuracy_at_coverage(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    coverage: float,
    counts: Floats | None = None,
) -> Floats:
    """Share right among the surest ``coverage`` of the rows, in [0, 1].

    One minus the selective risk (Geifman and El-Yaniv, NeurIPS 2017); rows of equal confidence
    count in equal part where not all of them fit.

    Raises:
        ValueError: no rows.
    """
    wrong = ~np.asarray(correct, dtype=bool)
    weights = _weights(counts, wrong.size)
    size, errors = _blocks(confidence, wrong, weights)
    wanted = coverage * weights.sum(axis=-1, keepdims=True)
    part = np.divide(wanted - _before(size), size, out=np.zeros_like(size), where=size > 0)
    kept = (errors * np.clip(part, 0.0, 1.0)).sum(axis=-1)
    return np.asarray(1.0 - kept / wanted[..., 0])


def _blocks(
    scores: npt.ArrayLike, marked: npt.NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    """Weight of the rows, and of those marked, at each score, the highest first: (..., m)."""
    values = -np.asarray(scores, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    ordered = weights[..., order]
    return (
        np.add.reduceat(ordered, starts, axis=-1),
        np.add.reduceat(ordered * marked[order], starts, axis=-1),
    )


def _before(sizes: Floats) -> Floats:
    """Sum of all earlier blocks."""
    return np.asarray(np.cumsum(sizes, axis=-1) - sizes)


def _harmonic(most: int) -> Floats:
    """Harmonic numbers H(0) to H(most)."""
    return np.append(0.0, np.cumsum(1.0 / np.arange(1, most + 1)))


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


def most_of_none(groups: npt.ArrayLike) -> float:
    """Upper 95 % bound of a share of which no row in ``groups`` (n,) is one, in [0, 1].

    Clopper and Pearson, Biometrika 1934;26:404, on as many trials as there are effective groups:
    n^2 over the sum of their squared sizes (Korn and Graubard, Survey Methodology 1998;24:193).
    A bootstrap would tell certainty: its draws do not differ.

    Raises:
        ValueError: no rows.
    """
    sizes = np.unique(np.asarray(groups), return_counts=True)[1]
    if sizes.size == 0:
        raise ValueError("no rows to measure on")
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return float(1.0 - 0.025 ** (1.0 / effective))


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
