import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diascope.baseline import (
    STATISTICS,
    colour_separation,
    colour_statistics,
    cross_fitted_separation,
    fit_colour_baseline,
    out_of_fold_probabilities,
)
from diascope.colour import (
    erythema_index,
    ita_degrees,
    linear_to_srgb,
    melanin_index,
    srgb_to_lab,
)
from diascope.errors import ImageError
from diascope.image import read_picture
from diascope.labels import ManifestLabel
from diascope.preprocess import cut
from diascope.renderer import render

RED, BROWN = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED


def uniform(colour, height=40, width=60):
    return np.full((height, width, 3), colour, dtype=np.uint8)


def named(pixels, box=None):
    return dict(zip(STATISTICS, colour_statistics(read_picture(pixels), box), strict=True))


def patch(rng, is_brown):
    """Skin with a patch of melanin or haemoglobin (Beer-Lambert), under some light."""
    absorption = (0.36, 0.50, 0.79) if is_brown else (0.16, 0.78, 0.60)
    amount = np.zeros((48, 48, 1))
    amount[12:36, 12:36] = rng.uniform(0.1, 0.4)
    linear = rng.uniform(0.5, 1.0) * np.array([0.6, 0.38, 0.28]) * 10 ** (-amount * absorption)
    noisy = linear_to_srgb(linear) * 255 + rng.normal(0, 4, size=linear.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def patches():
    """Statistics of 200 patches, every other one brown, and which are."""
    rng = np.random.default_rng(0)
    is_brown = np.arange(200) % 2 == 0
    pictures = [read_picture(patch(rng, brown)) for brown in is_brown]
    return np.array([colour_statistics(picture) for picture in pictures]), is_brown


def test_one_colour_has_that_colours_values_and_no_spread():
    colour = np.array([201, 150, 131], dtype=np.uint8)
    found = named(uniform(colour))
    lab = srgb_to_lab(colour)
    expected = [*lab, ita_degrees(lab), erythema_index(colour), melanin_index(colour)]
    channels = ("lightness", "a", "b", "ita", "erythema", "melanin")
    for channel, value in zip(channels, expected, strict=True):
        for kind in ("mean", "p5", "p50", "p95"):
            assert found[f"{channel}_{kind}"] == pytest.approx(value, rel=1e-5)
        assert found[f"{channel}_std"] == pytest.approx(0, abs=1e-4)


def test_two_halves_have_their_mean_and_half_their_distance():
    pixels = uniform([200, 150, 130])
    pixels[:, 30:] = [170, 110, 90]
    found = named(pixels)
    left, right = (srgb_to_lab(pixels[0, x])[0] for x in (0, 59))
    assert found["lightness_mean"] == pytest.approx((left + right) / 2, abs=0.2)
    assert found["lightness_std"] == pytest.approx((left - right) / 2, abs=0.2)
    assert found["lightness_p5"] == pytest.approx(right, abs=0.2)
    assert found["lightness_p95"] == pytest.approx(left, abs=0.2)


def test_size_changes_little():
    small = render(3, 1, 128, mark_type=RED).pixels
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_allclose(
        colour_statistics(read_picture(large)), colour_statistics(read_picture(small)), atol=1e-9
    )


def test_a_box_is_measured_as_the_network_sees_it():
    pixels = render(4, 1, 128, mark_type=BROWN).pixels
    box = (40.0, 30.0, 70.0, 80.0)
    seen, _ = cut(read_picture(pixels), box)
    assert named(pixels, box) == named(seen)
    with pytest.raises(ImageError, match="covers under two pixels"):
        colour_statistics(read_picture(pixels), (500.0, 500.0, 600.0, 600.0))


def test_tells_red_patches_from_brown_ones(patches):
    statistics, is_brown = patches
    model = fit_colour_baseline(statistics[:120], is_brown[:120])
    scores = colour_separation(model, statistics[120:])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(is_brown[120:], scores) > 0.97


def test_shuffled_labels_teach_nothing(patches):
    statistics, is_brown = patches
    areas = []
    for seed in range(12):
        shuffled = np.random.default_rng(seed).permutation(is_brown)
        model = fit_colour_baseline(statistics[:120], shuffled[:120])
        areas.append(roc_auc_score(shuffled[120:], colour_separation(model, statistics[120:])))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)


def test_a_rare_class_weighs_as_much_as_a_common_one():
    rng = np.random.default_rng(0)
    is_brown = np.arange(2200) < 200
    statistics = rng.normal(size=(2200, len(STATISTICS)))  # nothing to learn
    scores = colour_separation(fit_colour_baseline(statistics, is_brown), statistics)
    assert scores.mean() == pytest.approx(0.5, abs=0.05)


def test_a_group_is_judged_by_a_fit_that_never_saw_it():
    """Forty persons, six like pictures each, nothing to learn but who they are."""
    areas = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), 6)
        statistics = rng.normal(size=(40, len(STATISTICS)))[groups]
        is_brown = rng.permutation(40)[groups] < 20
        scores = cross_fitted_separation(statistics, is_brown, groups, 5)
        areas.append(roc_auc_score(is_brown, scores))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.12)


def test_no_row_is_judged_by_a_model_that_saw_its_fold():
    """A label that is only in fold 1 cannot be given there, nor can its rows be right."""
    rng = np.random.default_rng(3)
    centres = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    kinds = np.array([0, 1] * 20 + [2] * 10)
    folds = [n // 10 for n in range(40)] + [1] * 10
    labels = ["abc"[kind] for kind in kinds]
    features = centres[kinds] + rng.normal(0, 0.5, (50, 2))
    found, classes = out_of_fold_probabilities(features, labels, folds)
    assert classes == ["a", "b", "c"]
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[np.array(folds) == 1, 2] == 0).all()
    assert (found[:40].argmax(axis=1) == kinds[:40]).all()


def test_judging_is_the_same_as_fitting_fold_by_fold():
    rng = np.random.default_rng(4)
    features, labels = rng.normal(size=(60, 5)), ["a", "b", "c"] * 20
    folds = [n % 4 for n in range(60)]
    found, _ = out_of_fold_probabilities(features, labels, folds)
    splits = [(np.flatnonzero(np.array(folds) != k), np.flatnonzero(np.array(folds) == k))
              for k in range(4)]  # fmt: skip
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    expected = cross_val_predict(model, features, labels, cv=splits, method="predict_proba")
    np.testing.assert_allclose(found, expected)
