import copy
import inspect
import pickle

import pytest

from diascope import errors
from diascope.errors import DiascopeError, ImageError, UnreadableReason

TREE = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, DiascopeError)
]


def test_every_error_is_caught_by_the_base():
    leaves = [error for error in TREE if error is not DiascopeError]
    assert len(leaves) >= 10
    assert all(error.__mro__[1] is DiascopeError for error in leaves)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_the_tree_at_the_top_of_the_file_is_whole(error):
    assert error.__name__ in inspect.getdoc(errors)


def test_unreadable_reasons_are_the_closed_list():
    assert {str(reason) for reason in UnreadableReason} == {
        "missing",
        "not_an_image",
        "truncated",
        "too_large",
        "too_small",
        "unsupported",
        "forbidden",
        "network",
    }


def test_image_error_names_the_picture():
    error = ImageError(UnreadableReason.MISSING, "a.jpg", "no such file; check the path")
    assert str(error) == "a.jpg: no such file; check the path"


@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_image_error_crosses_a_process_boundary_whole(travel):
    error = travel(ImageError(UnreadableReason.TOO_SMALL, "b.png", "1 x 1 pixels"))
    assert (error.reason, error.name, error.detail) == (
        UnreadableReason.TOO_SMALL,
        "b.png",
        "1 x 1 pixels",
    )
    assert str(error) == "b.png: 1 x 1 pixels"
