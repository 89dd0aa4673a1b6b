import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from diascope.calibration import (
    TEMPERATURES,
    ConformalGate,
    GateReason,
    conformal_set,
    decide,
    decide_by_set,
    filled,
    fit_conformal,
    fit_temperature,
    log_loss,
    separation,
    softmax,
)
from diascope.config import GateConfig
from diascope.labels import LABEL_ORDER, MarkType, Verdict

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


# Conformal sets.

RED_MARK, BROWN_MARK, NO_MARK = MarkType


def of_red(shares):
    """Probabilities of red pictures: P(red) as given, the rest brown."""
    shares = np.asarray(shares, dtype=float)
    return np.stack([shares, 1 - shares, np.zeros_like(shares)], axis=1)


def gate(red=0.4, brown=0.4, neither=0.4, name=0.0, distance=None):
    return ConformalGate(
        coverage=0.9,
        least_probability=dict(zip(LABEL_ORDER, (red, brown, neither), strict=True)),
        named_share=0.7,
        least_to_name=name,
        familiar_share=0.98,
        most_distance=distance,
        rows=dict.fromkeys(LABEL_ORDER, 20),
        groups=dict.fromkeys(LABEL_ORDER, 20),
        data="tests",
    )


def test_a_threshold_by_hand():
    # Ten pictures at 90 %: rank 11 x 0.9 = 9.9, nine tenths of the way from the ninth to the tenth.
    shares = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.3]
    fitted = fit_conformal(of_red(shares), [RED_MARK] * 10, coverage=0.9)
    assert fitted.least_probability[RED_MARK] == pytest.approx(0.325)
    # At 8 of 11: rank 8, a whole one.
    fitted = fit_conformal(of_red(shares), [RED_MARK] * 10, coverage=8 / 11)
    assert fitted.least_probability[RED_MARK] == 0.6
    assert fitted.rows == {RED_MARK: 10, BROWN_MARK: 0, NO_MARK: 0}


def test_too_few_groups_exclude_nothing():
    # Rank 9 x 0.9 = 8.1 of eight: no threshold can promise 90 %.
    fitted = fit_conformal(of_red(np.linspace(0.5, 1, 8)), [RED_MARK] * 8, coverage=0.9)
    assert fitted.least_probability == dict.fromkeys(LABEL_ORDER, 0.0)
    assert conformal_set([0.0, 0.0, 1.0], fitted) == set(LABEL_ORDER)
    nine = fit_conformal(of_red(np.linspace(0.5, 1, 9)), [RED_MARK] * 9, coverage=0.9)
    assert nine.least_probability[RED_MARK] == 0.5


@pytest.mark.parametrize(("pictures", "coverage"), [(29, 0.9), (99, 0.9), (39, 0.8)])
def test_coverage_is_what_the_theory_says(pictures, coverage):
    """Of exchangeable scores the hits of a new sample are beta-binomial (Vovk 2012)."""
    rng, draws, fresh = np.random.default_rng(7), 400, 200
    rank = round((pictures + 1) * coverage)
    hits = []
    for _ in range(draws):
        fitted = fit_conformal(
            of_red(rng.beta(4, 1, pictures)), [RED_MARK] * pictures, coverage=coverage
        )
        new = of_red(rng.beta(4, 1, fresh))
        hits.append(sum(RED_MARK in conformal_set(each, fitted) for each in new))
    law = stats.betabinom(fresh, rank, pictures + 1 - rank)
    assert law.mean() / fresh >= coverage
    margin = stats.norm.ppf(0.9995) * law.std() / np.sqrt(draws)
    assert np.mean(hits) == pytest.approx(law.mean(), abs=margin)
    inside = np.mean([law.ppf(0.025) <= each <= law.ppf(0.975) for each in hits])
    assert inside > 0.92


def test_few_pictures_hold_no_more_than_wanted():
    """Rank 12.6 of 13: the next whole rank would hold 13 of 14, 0.929."""
    rng, held = np.random.default_rng(8), []
    for _ in range(4000):
        fitted = fit_conformal(of_red(rng.uniform(size=13)), [RED_MARK] * 13, coverage=0.9)
        held.append(1 - fitted.least_probability[RED_MARK])  # of even shares, those above
    assert np.mean(held) == pytest.approx(0.9, abs=4 * np.std(held) / np.sqrt(len(held)))


def test_each_class_has_the_coverage_by_itself():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(12_000, 3))
    labels = [LABEL_ORDER[n % 3] for n in range(len(logits))]
    # The last class is far harder to tell: one threshold for all would fail it.
    logits[np.arange(len(logits)), np.arange(len(logits)) % 3] += np.tile([3.0, 2.0, 0.5], 4000)
    probabilities = softmax(logits)
    fitted = fit_conformal(probabilities[:6000], labels[:6000], coverage=0.9)
    for place, name in enumerate(LABEL_ORDER):
        own = probabilities[6000:][place::3]
        held = np.mean([name in conformal_set(each, fitted) for each in own])
        assert held == pytest.approx(0.9, abs=0.025)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.integers(1, 4),
    st.sampled_from([0.5, 0.7, 0.9]),
)
def test_copies_of_a_picture_are_no_new_evidence(shares, copies, coverage):
    once = fit_conformal(of_red(shares), [RED_MARK] * len(shares), coverage=coverage)
    many = fit_conformal(
        of_red(np.repeat(shares, copies)),
        [RED_MARK] * len(shares) * copies,
        np.repeat(np.arange(len(shares)), copies).tolist(),
        coverage=coverage,
    )
    assert many.least_probability == once.least_probability
    assert many.groups == once.groups


def test_the_surest_are_named():
    probabilities = np.concatenate([of_red(np.linspace(0.55, 1, 50))] * 2)
    labels = [RED_MARK] * 50 + [BROWN_MARK] * 50
    fitted = fit_conformal(probabilities, labels, coverage=0.9, named_share=0.7)
    named = (probabilities[:, 0] >= fitted.least_to_name).mean()
    assert named == pytest.approx(0.7, abs=0.03)
    assert fit_conformal(probabilities, labels, coverage=0.9).least_to_name == 0.0


def test_the_nearest_pass_as_familiar():
    labels, distances = [RED_MARK] * 60, np.arange(60.0)
    given = {"coverage": 0.9, "distances": distances}
    # Rank 61 x 0.9 = 54.9 of 0, 1, 2 ...
    fitted = fit_conformal(of_red(np.ones(60)), labels, familiar_share=0.9, **given)
    assert fitted.most_distance == pytest.approx(53.9)
    # 99 % of new ones cannot be promised from 60, and all need no bound.
    for share in (0.99, 1.0):
        fitted = fit_conformal(of_red(np.ones(60)), labels, familiar_share=share, **given)
        assert fitted.most_distance is None
    assert fit_conformal(of_red(np.ones(60)), labels, coverage=0.9).most_distance is None


def test_what_lies_too_far_is_not_assessable():
    sure, rule = (0.98, 0.01, 0.01), GateConfig(rule="conformal")
    bounded = gate(distance=30.0)
    assert decide(sure, rule, bounded, 30.0) == RED
    far = (Verdict.NOT_ASSESSABLE, (GateReason.UNLIKE_TRAINING,))
    assert decide(sure, rule, bounded, 30.1) == far
    assert decide(sure, rule, gate(), 1e9) == RED
    with pytest.raises(ValueError, match="bounds the distance, and none is given"):
        decide(sure, rule, bounded)


@pytest.mark.parametrize(
    ("probabilities", "labels", "groups"),
    [
        ([[0.5, 0.5, 0.0]], [], None),
        ([[np.nan, 0.5, 0.5]], [RED_MARK], None),
        ([[0.5, 0.5, 0.0]], [RED_MARK], [1, 2]),
        ([[0.5, 0.5]], [RED_MARK], None),
    ],
)
def test_a_fit_takes_whole_rows_only(probabilities, labels, groups):
    with pytest.raises(ValueError, match=r"probabilities"):
        fit_conformal(probabilities, labels, groups, coverage=0.9)


@pytest.mark.parametrize(
    ("probabilities", "fitted", "verdict", "reasons"),
    [
        ((0.8, 0.1, 0.1), gate(), Verdict.ERYTHEMATOUS, ()),
        ((0.1, 0.8, 0.1), gate(), Verdict.HYPERPIGMENTED, ()),
        ((0.1, 0.1, 0.8), gate(), Verdict.NEITHER, (GateReason.NO_MARK,)),
        ((0.45, 0.45, 0.1), gate(), Verdict.UNCLEAR, (GateReason.TOO_CLOSE,)),
        ((0.35, 0.34, 0.31), gate(), Verdict.NOT_ASSESSABLE, (GateReason.UNLIKE_TRAINING,)),
        ((0.45, 0.1, 0.45), gate(), Verdict.NEITHER, (GateReason.NO_MARK,)),
        ((0.55, 0.06, 0.39), gate(), Verdict.ERYTHEMATOUS, ()),
        ((0.55, 0.06, 0.39), gate(name=0.6), Verdict.UNCLEAR, (GateReason.NOT_SURE,)),
        # It may be unmarked skin; without a threshold for that, nobody can tell.
        ((0.5, 0.06, 0.44), gate(), Verdict.UNCLEAR, (GateReason.NOT_SURE,)),
        ((0.5, 0.06, 0.44), gate(neither=0.0), Verdict.ERYTHEMATOUS, ()),
        # The likeliest of all is not in the set: nothing less likely is told in its place.
        ((0.5, 0.1, 0.4), gate(red=0.6), Verdict.UNCLEAR, (GateReason.NOT_SURE,)),
        ((0.5, 0.4, 0.1), gate(red=0.6), Verdict.UNCLEAR, (GateReason.NOT_SURE,)),
        ((0.1, 0.41, 0.49), gate(neither=0.5), Verdict.UNCLEAR, (GateReason.NOT_SURE,)),
    ],
)
def test_the_set_decides(probabilities, fitted, verdict, reasons):
    assert decide_by_set(probabilities, fitted) == (verdict, reasons)
    assert decide(probabilities, GateConfig(rule="conformal"), fitted) == (verdict, reasons)


@given(logits_of_one, *[st.floats(0, 1)] * 4)
def test_a_colour_is_named_only_where_the_other_is_excluded(logits, red, brown, neither, name):
    probabilities, fitted = softmax(logits), gate(red, brown, neither, name)
    verdict, reasons = decide_by_set(probabilities, fitted)
    possible = conformal_set(probabilities, fitted)
    assert verdict.declines == bool(reasons)
    if not verdict.declines:
        assert verdict.value in possible
        assert probabilities.max() == probabilities[LABEL_ORDER.index(MarkType(verdict.value))]
        assert len(possible & {RED_MARK, BROWN_MARK}) == 1
        assert NO_MARK not in possible or neither == 0
        assert probabilities[LABEL_ORDER.index(MarkType(verdict.value))] >= name


def test_a_spare_fit_stands_in_where_groups_are_few():
    few, spare = gate(neither=0.0), gate(red=0.1, brown=0.2, neither=0.3)
    spare = spare.model_copy(
        update={"data": "drawn ones", "groups": dict.fromkeys(LABEL_ORDER, 99)}
    )
    both = filled(few, spare)
    assert list(both.least_probability.values()) == [0.4, 0.4, 0.3]
    assert list(both.groups.values()) == [20, 20, 99]
    assert both.data == "tests; of neither: drawn ones"
    assert (both.least_to_name, both.most_distance) == (few.least_to_name, few.most_distance)
    assert filled(spare, few) == spare


def test_the_rule_needs_what_was_fitted_for_it():
    with pytest.raises(ValueError, match="needs what was fitted"):
        decide([0.8, 0.1, 0.1], GateConfig(rule="conformal"))
    # The rule floor takes no notice of it.
    assert decide([0.35, 0.34, 0.31], GateConfig(separation_floor=0.5), gate()) == RED


@pytest.mark.parametrize(
    "change",
    [
        {"least_probability": {RED_MARK: 0.5}},
        {"rows": dict.fromkeys(reversed(LABEL_ORDER), 5)},
        {"least_to_name": 1.5},
        {"least_probability": dict.fromkeys(LABEL_ORDER, -0.1)},
    ],
)
def test_a_gate_that_is_none_is_refused(change):
    with pytest.raises(ValueError, match=r"must name|less than|greater than"):
        ConformalGate(**(gate().model_dump() | change))
