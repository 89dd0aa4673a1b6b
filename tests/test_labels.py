import pytest

from diascope.labels import INTENDED_USE, LABEL_ORDER, ManifestLabel, MarkType, Verdict


def test_label_order_is_the_contract():
    assert [str(label) for label in LABEL_ORDER] == ["erythematous", "hyperpigmented", "neither"]


def test_verdicts_are_those_of_the_contract():
    assert {str(verdict) for verdict in Verdict} == {
        "erythematous",
        "hyperpigmented",
        "unclear",
        "neither",
        "not_assessable",
    }


def test_only_a_colour_of_mark_is_no_declining():
    assert {verdict for verdict in Verdict if not verdict.declines} == {
        Verdict.ERYTHEMATOUS,
        Verdict.HYPERPIGMENTED,
    }


@pytest.mark.parametrize("mark_type", MarkType)
def test_a_class_in_a_manifest_is_its_own_target(mark_type):
    target = ManifestLabel(mark_type.value).target
    assert target is not None
    assert target[LABEL_ORDER.index(mark_type)] == 1.0
    assert sum(target) == 1.0


def test_mixed_is_half_red_half_brown():
    assert ManifestLabel.MIXED.target == (0.5, 0.5, 0.0)


def test_other_is_never_trained_on():
    assert ManifestLabel.OTHER.target is None


def test_a_manifest_knows_no_other_words():
    words = {str(label) for label in ManifestLabel}
    assert words == {str(mark_type) for mark_type in MarkType} | {"other", "mixed"}


def test_intended_use_says_what_it_is_not():
    assert "research and education" in INTENDED_USE
    assert "not a medical device" in INTENDED_USE
