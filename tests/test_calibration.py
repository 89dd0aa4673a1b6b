import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from diascope.calibration import (
    TEMPERATURES,
    GateReason,
    decide,
    fit_temperature,
    log_loss,
    separation,
    softmax,
)
from diascope.config import GateConfig
from diascope.labels import Verdict

logits_of_one = arrays.arrays(np.float64, 3, elements=st.floats(-50, 50))
ONE_HOT = np.eye(3)


# Probabilities.


def test_softmax_by_hand():
    logits = np.log([[1.0, 2.0, 5.0], [4.0, 1.0, 3.0]])
    np.testing.assert_allclose(softmax(logits), [[0.125, 0.25, 0.625], [0.5, 0.125, 0.375]])
    # Half of each logit is the root of each odds: 1 : 2 : 3 of 1 : 4 : 9.
    np.testing.assert_allclose(softmax(np.log([1.0, 4.0, 9.0]), 2.0), np.array([1, 2, 3]) / 6)


@given(logits_of_one, st.floats(0.25, 10), st.floats(-1e3, 1e3))
def test_softmax_gives_probabilities_and_takes_no_offset(logits, temperature, offset):
    probabilities = softmax(logits, temperature)
    assert probabilities.sum() == pytest.approx(1.0)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(softmax(logits + offset, temperature), probabilities, atol=1e-9)
    assert probabilities[logits.argmax()] == probabilities.max()


def test_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(softmax([1e4, 0.0, -1e4]), [1.0, 0.0, 0.0])
    assert softmax(np.float32([3, 2, 1])).dtype == np.float64


def test_log_loss_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    targets = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    first, second = np.log(2), -0.5 * np.log(0.1) - 0.5 * np.log(0.8)
    assert log_loss(logits, targets) == pytest.approx((first + second) / 2)
    weighted = log_loss(logits, targets, weights=[3.0, 1.0])
    assert weighted == pytest.approx((3 * first + second) / 4)


def test_log_loss_of_a_sure_mistake_is_finite():
    assert log_loss([[1e4, 0.0, 0.0]], [[0.0, 1.0, 0.0]]) == pytest.approx(-np.log(1e-12))


# Temperature.


def drawn_labels(logits, seed=0):
    """Labels drawn from the probabilities of the logits, which are calibrated to them."""
    rng = np.random.default_rng(seed)
    return ONE_HOT[[rng.choice(3, p=row) for row in softmax(logits)]]


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0, 4.0])
def test_a_known_temperature_is_found(true):
    logits = np.random.default_rng(1).normal(0, 2, (4000, 3))
    fitted = fit_temperature(true * logits, drawn_labels(logits))
    assert fitted == pytest.approx(true, rel=0.08)


@pytest.mark.parametrize("true", [0.4, 1.3, 5.0])
def test_the_mean_of_all_labels_gives_the_temperature_exactly(true):
    """Soft targets that are the probabilities: cross-entropy is least where they are met."""
    logits = np.random.default_rng(2).normal(0, 2, (50, 3))
    assert fit_temperature(true * logits, softmax(logits)) == pytest.approx(true, rel=0.006)


def test_the_fitted_temperature_is_no_worse_than_any_other():
    logits = np.random.default_rng(3).normal(0, 3, (300, 3))
    targets = ONE_HOT[np.random.default_rng(4).integers(0, 3, 300)]
    fitted = log_loss(logits, targets, fit_temperature(logits, targets))
    for temperature in np.geomspace(*TEMPERATURES, 50):
        assert fitted <= log_loss(logits, targets, temperature) + 1e-4


def test_weights_count_as_repeated_rows():
    logits = np.random.default_rng(5).normal(0, 2, (60, 3))
    targets = drawn_labels(logits)
    times = np.random.default_rng(6).integers(1, 5, 60)
    repeated = fit_temperature(logits.repeat(times, axis=0), targets.repeat(times, axis=0))
    assert fit_temperature(logits, targets, times) == repeated
    assert fit_temperature(logits, targets) != repeated


def test_temperatures_keep_to_their_bounds():
    sure_and_right = fit_temperature(ONE_HOT, ONE_HOT)
    sure_and_wrong = fit_temperature(50 * ONE_HOT, ONE_HOT[[1, 2, 0]])
    assert (sure_and_right, sure_and_wrong) == pytest.approx(TEMPERATURES)


# Separation and verdict.


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.2, 0.6, 0.2], 0.75),
        ([1.0, 0.0, 0.0], 0.0),
        ([0.0, 0.5, 0.5], 1.0),
        ([0.1, 0.1, 0.8], 0.5),
        ([0.0, 0.0, 1.0], 0.5),  # nothing known of either
    ],
)
def test_separation_by_hand(probabilities, expected):
    assert separation(probabilities) == pytest.approx(expected)


def test_separation_keeps_the_other_axes():
    np.testing.assert_allclose(separation([[[0.2, 0.6, 0.2], [0.3, 0.1, 0.6]]]), [[0.75, 0.25]])


@given(logits_of_one)
def test_separation_is_the_share_of_brown_whatever_neither_is(logits):
    probabilities = softmax(logits)
    brown = separation(probabilities)
    assert 0 <= brown <= 1
    assert brown == pytest.approx(1 / (1 + np.exp(logits[0] - logits[1])), abs=1e-6)


GATES = GateConfig(separation_floor=0.65, neither_threshold=0.5)
RED, BROWN = (Verdict.ERYTHEMATOUS, ()), (Verdict.HYPERPIGMENTED, ())
CLEAR = (Verdict.NEITHER, (GateReason.NO_MARK,))
UNCLEAR = (Verdict.UNCLEAR, (GateReason.TOO_CLOSE,))


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.9, 0.05, 0.05], RED),
        ([0.05, 0.9, 0.05], BROWN),
        ([0.05, 0.05, 0.9], CLEAR),
        ([0.5, 0.5, 0.0], UNCLEAR),
        ([0.36, 0.64, 0.0], UNCLEAR),
        ([0.34, 0.66, 0.0], BROWN),
        ([0.66, 0.34, 0.0], RED),
        ([0.25, 0.25, 0.5], CLEAR),  # the threshold itself declines
        ([0.5, 0.01, 0.49], RED),
        ([0.26, 0.25, 0.49], CLEAR),  # under the threshold, but the likeliest
        ([0.33, 0.35, 0.32], UNCLEAR),
        ([0.0, 0.0, 1.0], CLEAR),
    ],
)
def test_verdicts(probabilities, expected):
    assert decide(probabilities, GATES) == expected


def test_gates_move_the_verdict():
    probabilities = [0.25, 0.6, 0.15]
    assert decide(probabilities, GATES) == BROWN
    assert decide(probabilities, GateConfig(separation_floor=0.8)) == UNCLEAR
    assert decide(probabilities, GateConfig(neither_threshold=0.1)) == CLEAR


@given(logits_of_one, st.floats(0.5, 0.99), st.floats(0.01, 1.0))
def test_a_verdict_gives_reasons_exactly_where_it_declines(logits, floor, threshold):
    gates = GateConfig(separation_floor=floor, neither_threshold=threshold)
    probabilities = softmax(logits)
    verdict, reasons = decide(probabilities, gates)
    assert verdict.declines == bool(reasons)
    assert all(reason.words.endswith(".") for reason in reasons)
    if not verdict.declines:
        assert max(separation(probabilities), 1 - separation(probabilities)) >= floor
        assert probabilities[2] < threshold
        # Red and brown changed places.
        assert (
            decide(probabilities[[1, 0, 2]], gates)[0] in set(Verdict) - {verdict} or floor == 0.5
        )


@pytest.mark.parametrize("wrong", [[np.nan, 0.5, 0.5], [0.5, np.nan, 0.5], [0.1, 0.9, np.inf]])
def test_no_verdict_from_what_is_no_number(wrong):
    with pytest.raises(ValueError, match="not finite"):
        decide(wrong, GATES)
