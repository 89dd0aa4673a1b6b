import pytest
from pydantic import ValidationError

from diascope.figures import Aurocs, Measure, Section


def measure(value, low, high, n=100):
    return Measure(value=value, low=low, high=high, n=n, groups=n, note=None)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (measure(0.1, 0.02, 0.2), "the network ranks better than colour alone"),
        (measure(0.1, -0.02, 0.2), "the network is not shown to rank better than colour alone"),
        (measure(-0.1, -0.2, -0.01), "colour alone ranks better than the network"),
        (measure(0.1, 0.02, 0.2, n=29), "too few pictures to say who ranks better"),
        (measure(None, None, None), "too few pictures to say who ranks better"),
    ],
)
def test_the_winner_is_said_by_the_interval(gain, words):
    assert Aurocs(network=gain, colour=gain, gain=gain).words == words


@pytest.mark.parametrize("wrong", [{"value": float("nan")}, {"value": float("inf")}, {"extra": 1}])
def test_nothing_unknown_and_nothing_infinite(wrong):
    fields = {**measure(0.5, 0.4, 0.6).model_dump(), **wrong}
    with pytest.raises(ValidationError):
        Measure(**fields)


def test_json_needs_every_field():
    with pytest.raises(ValidationError, match="measures"):
        Section.model_validate_json(
            '{"name": "all", "n": 0, "unreadable": 0, "labels": {}, "verdicts": {}}'
        )
