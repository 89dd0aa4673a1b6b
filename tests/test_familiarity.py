"""How far a picture lies from what was learnt."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from diascope.familiarity import FeatureSpace, fit_feature_space
from diascope.labels import LABEL_ORDER

RED, BROWN, NEITHER = LABEL_ORDER


def clouds(count=60, width=4, seed=0):
    """Three classes around means of their own, with one covariance."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width))
    labels = [LABEL_ORDER[n % 3] for n in range(count)]
    means = np.stack([np.full(width, 4.0 * LABEL_ORDER.index(label)) for label in labels])
    return means + rng.normal(size=(count, width)) @ mix, labels


def test_a_distance_by_hand():
    space = FeatureSpace(np.array([[0.0, 0.0], [10.0, 0.0]]), np.diag([1.0, 4.0]))
    # From (0, 0): 9 + 4; from (10, 0): 0 + 16.
    np.testing.assert_allclose(space.distances([[3.0, 1.0], [10.0, -2.0]]), [13.0, 16.0])


def test_it_is_the_mahalanobis_distance_to_the_nearest_class():
    features, labels = clouds()
    space = fit_feature_space(features, labels)
    own = np.array([LABEL_ORDER.index(label) for label in labels])
    means = np.stack([features[own == place].mean(axis=0) for place in range(3)])
    residuals = features - means[own]
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(residuals).covariance_)
    expected = [min(mahalanobis(row, mean, precision) ** 2 for mean in means) for row in features]
    np.testing.assert_allclose(space.distances(features), expected, rtol=1e-6)


def test_the_far_are_far():
    features, labels = clouds(300)
    space = fit_feature_space(features, labels)
    near = space.distances(features)
    assert near.mean() == pytest.approx(4, rel=0.2)  # chi square of four degrees
    assert space.distances(np.full((1, 4), 100.0))[0] > near.max()


def test_fewer_pictures_than_features_will_do():
    features, labels = clouds(12, width=40)
    distances = fit_feature_space(features, labels).distances(features)
    assert np.isfinite(distances).all()
    assert (distances >= 0).all()


def test_a_class_that_is_absent_has_no_mean():
    features, labels = clouds()
    rows = [row for row, label in enumerate(labels) if label is not BROWN]
    space = fit_feature_space(features[rows], [labels[row] for row in rows])
    np.testing.assert_allclose(
        space.means, [features[0::3].mean(axis=0), features[2::3].mean(axis=0)]
    )


def test_stored_and_taken_up_again():
    space = fit_feature_space(*clouds())
    again = FeatureSpace.of_arrays(space.arrays())
    features = clouds(seed=1)[0]
    np.testing.assert_allclose(again.distances(features), space.distances(features), rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"precision": np.eye(3)}, "do not fit"),
        ({"means": np.zeros(4)}, "do not fit"),
        ({"means": np.zeros((0, 4))}, "do not fit"),
        ({"means": np.full((2, 4), np.nan)}, "not finite"),
        ({"more": np.zeros(1)}, "not means and precision"),
    ],
)
def test_other_arrays_are_refused(change, fault):
    with pytest.raises(ValueError, match=fault):
        FeatureSpace.of_arrays({"means": np.zeros((2, 4)), "precision": np.eye(4)} | change)


@pytest.mark.parametrize(("rows", "labels"), [(1, [RED]), (3, [])])
def test_a_fit_wants_rows(rows, labels):
    with pytest.raises(ValueError, match="give two or more"):
        fit_feature_space(np.ones((rows, 3)), labels)
