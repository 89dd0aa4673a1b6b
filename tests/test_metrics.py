from functools import partial

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from diascope import metrics

SCORES = st.integers(0, 8).map(lambda step: step / 8)  # coarse: ties are common
ROWS = st.lists(st.tuples(st.booleans(), SCORES, st.integers(0, 4)), min_size=4, max_size=40)


def two_classes(rows):
    positive, scores, counts = (np.array(column) for column in zip(*rows, strict=True))
    positive[:2], counts[:2] = (True, False), 1
    return positive, scores, counts.astype(float)


def noisy_rows(n=400, seed=3):
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 3 == 0
    return positive, rng.normal(size=n) + positive


def test_auroc_by_hand_counts_a_tie_as_half():
    # Pairs: 0.5 against 0.5 is half, against 0.2 one; 0.8 wins both. 3.5 of 4.
    assert metrics.auroc([True, True, False, False], [0.5, 0.8, 0.5, 0.2]) == 0.875


@given(ROWS)
def test_auroc_is_scikit_learns_with_the_same_weights(rows):
    positive, scores, counts = two_classes(rows)
    expected = roc_auc_score(positive, scores, sample_weight=counts)
    assert metrics.auroc(positive, scores, counts) == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_auroc_knows_only_the_order_of_scores(rows):
    positive, scores, _ = two_classes(rows)
    area = metrics.auroc(positive, scores)
    assert metrics.auroc(positive, np.exp(3 * scores) - 7) == pytest.approx(area, abs=1e-12)
    assert metrics.auroc(~positive, scores) == pytest.approx(1 - area, abs=1e-12)
    assert metrics.auroc(positive[::-1], scores[::-1]) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(
    ("positive", "scores", "message"),
    [
        ([True, True], [0.1, 0.2], "two classes"),
        ([False, False], [0.1, 0.2], "two classes"),
        ([True, False], [0.1, np.nan], "finite"),
        ([True, False], [0.1, np.inf], "finite"),
    ],
)
def test_auroc_refuses_what_it_cannot_measure(positive, scores, message):
    with pytest.raises(ValueError, match=message):
        metrics.auroc(positive, scores)


def test_sensitivity_and_specificity_by_hand():
    positive = [True, True, True, False, False]
    called = [True, False, True, True, False]
    assert metrics.sensitivity(positive, called) == pytest.approx(2 / 3)
    assert metrics.specificity(positive, called) == pytest.approx(1 / 2)
    assert metrics.sensitivity(positive, called) == recall_score(positive, called)
    with pytest.raises(ValueError, match="no row of the class"):
        metrics.sensitivity([False], [True])
    with pytest.raises(ValueError, match="no row of the class"):
        metrics.specificity([True], [True])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_balanced_accuracy_is_scikit_learns(rows):
    rows = [(0, 0), (1, 1), (2, 2), *rows]  # scikit-learn warns of classes only called
    labels, calls = zip(*rows, strict=True)
    expected = balanced_accuracy_score(labels, calls)
    assert metrics.balanced_accuracy(labels, calls) == pytest.approx(expected, abs=1e-12)


def test_balanced_accuracy_leaves_out_classes_without_rows():
    assert metrics.balanced_accuracy(["red", "red", "brown"], ["red", "neither", "brown"]) == 0.75
    with pytest.raises(ValueError, match="two classes"):
        metrics.balanced_accuracy(["red", "red"], ["red", "brown"])


def test_ece_by_hand():
    # Two rows: each its own bin, so gaps 0.1 and 0.6.
    assert metrics.expected_calibration_error([0.9, 0.6], [True, False]) == pytest.approx(0.35)
    # Equal confidence shares one bin: |0.8 - 3/4|.
    same = metrics.expected_calibration_error([0.8] * 4, [True, True, True, False])
    assert same == pytest.approx(0.05)


def test_ece_of_thirty_rows_has_bins_of_two():
    confidence = np.linspace(0.4, 0.98, 30)
    correct = np.tile([True, False], 15)
    pairs = confidence.reshape(15, 2).mean(axis=1)
    expected = np.abs(pairs - 0.5).mean()
    ece = metrics.expected_calibration_error
    assert ece(confidence, correct) == pytest.approx(expected, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(30)
    assert ece(confidence[shuffled], correct[shuffled]) == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_counts_mean_repeated_rows(rows):
    positive, scores, counts = two_classes(rows)
    called = scores >= 0.5
    repeat = partial(np.repeat, repeats=counts.astype(int))
    for statistic, left, right in (
        (metrics.auroc, positive, scores),
        (metrics.sensitivity, positive, called),
        (metrics.specificity, positive, called),
        (metrics.balanced_accuracy, positive, called),
    ):
        expected = [statistic(repeat(left), repeat(right)), statistic(left, right)]
        both = statistic(left, right, np.stack([counts, np.ones_like(counts)]))
        np.testing.assert_allclose(both, expected, rtol=0, atol=1e-12)
    assert metrics.proportion(called, counts) == pytest.approx(repeat(called).mean())


def test_interval_of_a_proportion_is_the_textbooks():
    hits = np.arange(400) < 300
    found = metrics.bootstrap_interval(partial(metrics.proportion, hits), np.zeros(400))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (found.value, found.n, found.groups) == (0.75, 400, 400)
    assert found.low == pytest.approx(0.75 - half, abs=0.005)
    assert found.high == pytest.approx(0.75 + half, abs=0.005)


def test_interval_of_auroc_agrees_with_hanley_and_mcneil():
    positive, scores = noisy_rows(900)
    found = metrics.bootstrap_interval(partial(metrics.auroc, positive, scores), positive)
    area, hits, misses = found.value, positive.sum(), (~positive).sum()
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (hits - 1) * (one - area**2) + (misses - 1) * (two - area**2)
    error = np.sqrt((area * (1 - area) + spread) / (hits * misses))
    assert found.low < area < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_groups_of_copies_count_once():
    positive, scores = noisy_rows(120)
    alone = metrics.bootstrap_interval(partial(metrics.auroc, positive, scores), positive)
    twice, scores_twice = np.repeat(positive, 2), np.repeat(scores, 2)
    area = partial(metrics.auroc, twice, scores_twice)
    grouped = metrics.bootstrap_interval(area, twice, np.repeat(np.arange(120), 2))
    fooled = metrics.bootstrap_interval(area, twice)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert (grouped.n, grouped.groups) == (240, 120)
    assert grouped.high - grouped.low > 1.2 * (fooled.high - fooled.low)


@pytest.mark.parametrize("groups", [None, [0, *range(50)], [7] * 51])
def test_every_draw_holds_both_classes(groups):
    positive = np.arange(51) == 0
    drawn = []

    def rows_of_each_class(counts):
        drawn.append(np.atleast_2d(np.stack([counts @ positive, counts @ ~positive], axis=-1)))
        return counts @ positive

    metrics.bootstrap_interval(rows_of_each_class, positive, groups, draws=200)
    assert np.concatenate(drawn).min() >= 1


def test_interval_depends_on_the_seed_and_on_nothing_else():
    positive, scores = noisy_rows()
    interval = partial(
        metrics.bootstrap_interval, partial(metrics.auroc, positive, scores), positive
    )
    assert interval(seed=1) == interval(seed=1)
    assert interval(seed=1).low != interval(seed=2).low


def test_large_samples_are_drawn_in_parts(monkeypatch):
    positive, scores = noisy_rows(100)
    monkeypatch.setattr(metrics, "_DRAWN_AT_ONCE", 1000)
    sizes = []

    def area(counts):
        sizes.append(len(np.atleast_2d(counts)))
        return metrics.auroc(positive, scores, counts)

    metrics.bootstrap_interval(area, positive, draws=25)
    assert sizes == [1, 10, 10, 5]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no rows"):
        metrics.proportion([])
    with pytest.raises(ValueError, match="no rows"):
        metrics.expected_calibration_error([], [])
    with pytest.raises(ValueError, match="no rows"):
        metrics.bootstrap_interval(partial(metrics.proportion, []), [])
    with pytest.raises(ValueError, match="2 group ids for 3 rows"):
        metrics.bootstrap_interval(partial(metrics.proportion, [1, 1, 0]), [0, 0, 0], ["a", "b"])


def test_brier_by_hand():
    # (0.2^2 + 0.1^2 + 0.1^2) and (0.5^2 + 0.7^2 + 0.2^2).
    rows = [(0.8, 0.1, 0.1), (0.5, 0.3, 0.2)]
    assert metrics.brier_score(rows, [0, 1]) == pytest.approx((0.06 + 0.78) / 2)
    assert metrics.brier_score([(1.0, 0.0, 0.0)], [2]) == 2.0


@given(st.integers(0, 10_000))
def test_brier_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    probabilities, counts = rng.dirichlet([1, 1, 1], 20), rng.integers(0, 3, 20) + 0.0
    labels = np.append(rng.integers(0, 3, 17), [0, 1, 2])
    counts[-1] = 1
    expected = sklearn.metrics.brier_score_loss(labels, probabilities, sample_weight=counts)
    assert metrics.brier_score(probabilities, labels, counts) == pytest.approx(expected)


@given(ROWS)
def test_roc_curve_is_scikit_learns(rows):
    positive, scores, _ = two_classes(rows)
    expected = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)[:2]
    np.testing.assert_allclose(metrics.roc_curve(positive, scores), expected)


def test_roc_curve_needs_two_classes():
    with pytest.raises(ValueError, match="two classes"):
        metrics.roc_curve([True, True], [0.2, 0.3])


def test_risk_coverage_by_hand():
    # Surest first: right; then a tie of right and wrong; then wrong.
    given = ([0.9, 0.6, 0.6, 0.5], [True, True, False, False])
    coverage, risk, generalised = metrics.risk_coverage(*given)
    np.testing.assert_allclose(coverage, [1 / 4, 3 / 4, 1])
    np.testing.assert_allclose(risk, [0, 1 / 3, 2 / 4])
    np.testing.assert_allclose(generalised, [0, 1 / 4, 2 / 4])
    # AURC: errors among the first k, the tie spread evenly: 0/1, 0.5/2, 1/3, 2/4.
    assert metrics.aurc(*given) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    # AUGRC: trapezoids of widths 1/4, 2/4, 1/4 and mean heights 0, 1/8, 3/8.
    assert metrics.augrc(*given) == pytest.approx(0.5 * 0.125 + 0.25 * 0.375)
    assert metrics.accuracy_at_coverage(*given, 0.5) == pytest.approx(1.5 / 2)
    assert metrics.accuracy_at_coverage(*given, 1.0) == pytest.approx(0.5)


@given(ROWS)
def test_aurc_is_the_mean_of_selective_risks(rows):
    """Against the definition, a row at a time; rows counted thrice are three rows."""
    correct, confidence, counts = two_classes(rows)
    wrong = np.repeat(~correct, counts.astype(int))
    sure = np.repeat(confidence, counts.astype(int))
    spread = np.array([wrong[sure == each].mean() for each in sure])[np.argsort(-sure)]
    expected = (np.cumsum(spread) / np.arange(1, sure.size + 1)).mean()
    assert metrics.aurc(confidence, correct, counts) == pytest.approx(expected)
    kept = spread[: max(1, sure.size // 2)]
    share = kept.size / sure.size
    assert metrics.accuracy_at_coverage(confidence, correct, share, counts) == pytest.approx(
        1 - kept.mean()
    )


@given(ROWS)
def test_augrc_is_the_closed_form_of_its_paper(rows):
    correct, confidence, counts = two_classes(rows)
    right = np.average(correct, weights=counts)
    separation = roc_auc_score(correct, confidence, sample_weight=counts)
    expected = (1 - separation) * right * (1 - right) + (1 - right) ** 2 / 2
    assert metrics.augrc(confidence, correct, counts) == pytest.approx(expected)


@pytest.mark.parametrize("statistic", [metrics.aurc, metrics.augrc])
def test_many_draws_at_once_are_each_draw_alone(statistic):
    correct, confidence = noisy_rows(60)
    draws = np.random.default_rng(0).integers(0, 4, (7, 60)).astype(float)
    alone = [statistic(confidence, correct, counts) for counts in draws]
    np.testing.assert_allclose(statistic(confidence, correct, draws), alone)


def test_declining_nothing_wrong_costs_nothing():
    assert metrics.aurc([0.9, 0.2], [True, True]) == metrics.augrc([0.9, 0.2], [True, True]) == 0
    assert metrics.aurc([0.9, 0.2], [False, False]) == 1
    assert metrics.augrc([0.9, 0.2], [False, False]) == 0.5


def test_reliability_bins_hold_every_row_once():
    rng = np.random.default_rng(2)
    sure = rng.uniform(0.4, 1, 100)
    right = rng.random(100) < sure
    confidence, accuracy, rows = metrics.reliability(sure, right)
    assert rows.sum() == 100
    assert rows.size == metrics.ECE_BINS
    gaps = rows @ np.abs(confidence - accuracy) / 100
    assert gaps == pytest.approx(metrics.expected_calibration_error(sure, right))
    assert (np.diff(confidence) > 0).all()
    # All equally sure: one bin.
    assert [list(each) for each in metrics.reliability([0.5, 0.5], [True, False])] == [
        [0.5],
        [0.5],
        [2],
    ]


def test_a_perfect_forecast_shows_an_error_that_shrinks_with_rows():
    small, large = (
        metrics.calibration_error_if_perfect(np.full(n, 0.8), draws=400) for n in (50, 5000)
    )
    # One bin: |mean of n coins - 0.8|, whose mean is sqrt(2 / pi) of its standard deviation.
    deviation = np.sqrt(0.8 * 0.2 * 2 / np.pi)
    assert small.value == pytest.approx(deviation / np.sqrt(50), rel=0.1)
    assert large.value == pytest.approx(deviation / np.sqrt(5000), rel=0.1)
    assert small.low <= small.value <= small.high
    assert metrics.calibration_error_if_perfect([1.0, 1.0]).high == 0
