"""What colour alone can do: logistic regression on colour statistics, the network's yardstick."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from diascope.colour import erythema_index, ita_degrees, melanin_index, srgb_to_lab
from diascope.image import Picture
from diascope.preprocess import Box, cut
from diascope.progress import Track, silent

Floats = npt.NDArray[np.float64]

DECODE_SIDE = 128
"""A JPEG may be decoded as small as this shorter side, in pixels, for its statistics."""

_PENALTY = 0.1  # inverse strength: the features of a few hundred rows are many
_SIDE = 128  # longer side at which the statistics are taken
_CHANNELS = ("lightness", "a", "b", "ita", "erythema", "melanin")
_PERCENTILES = (5, 25, 50, 75, 95)
_KINDS = ("mean", "std", *(f"p{each}" for each in _PERCENTILES))

STATISTICS = tuple(f"{channel}_{kind}" for kind in _KINDS for channel in _CHANNELS)
"""Names of the values of :func:`colour_statistics`, in order."""


def colour_statistics(picture: Picture, box: Box | None = None) -> Floats:
    """CIELAB, ITA, erythema and melanin index over a picture: float64 (42,), as ``STATISTICS``.

    With a box, in pixels of the upright original, over the part that the network would see.
    Centre less surround was tried beside these: it did worse on sources left out.

    Raises:
        ImageError: a box outside the picture.
    """
    pixels = picture.pixels if box is None else cut(picture, box)[0]
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    values = _channels(small)
    return np.concatenate(
        [values.mean(axis=0), values.std(axis=0), *np.percentile(values, _PERCENTILES, axis=0)]
    )


def fit_colour_baseline(statistics: npt.ArrayLike, is_brown: npt.ArrayLike) -> Pipeline:
    """Logistic regression of brown against red, (n,) bool, on standardised statistics (n, 42).

    Both classes weigh the same, however many rows each has.
    """
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    return make_pipeline(StandardScaler(), model).fit(
        np.asarray(statistics), np.asarray(is_brown, dtype=bool)
    )


def out_of_fold_probabilities(
    features: npt.ArrayLike, labels: Sequence[str], folds: Sequence[int], *, track: Track = silent
) -> tuple[Floats, list[str]]:
    """P of each label for each row, by a model of all folds but the row's own.

    Multinomial logistic regression on standardised features (n, k). Answers float64 (n, c), rows
    summing to 1, and the c labels in the order of the columns. A fold whose training rows lack a
    label gives it 0.
    """
    values, names, fold = np.asarray(features), np.asarray(labels), np.asarray(folds)
    classes = sorted(set(labels))
    found = np.zeros((len(names), len(classes)))
    for number in track(sorted(set(folds)), "judging labels"):
        held = fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=5000))
        model.fit(values[~held], names[~held])
        columns = [classes.index(each) for each in model.classes_]
        found[np.ix_(held, columns)] = model.predict_proba(values[held])
    return found, classes


def colour_separation(model: Pipeline, statistics: npt.ArrayLike) -> Floats:
    """P(brown), in [0, 1], of each row of statistics (n, 42): float64 (n,)."""
    return np.asarray(model.predict_proba(np.asarray(statistics))[:, 1])


def cross_fitted_separation(
    statistics: npt.ArrayLike, is_brown: npt.ArrayLike, groups: npt.ArrayLike, folds: int
) -> Floats:
    """P(brown) of each row, float64 (n,), by a fit on the other folds; no group is on both sides.

    Raises:
        ValueError: fewer groups of a class than folds.
    """
    values, brown = np.asarray(statistics), np.asarray(is_brown, dtype=bool)
    deal = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    scores = np.empty(brown.size)
    for training, held_out in deal.split(values, brown, np.asarray(groups)):
        model = fit_colour_baseline(values[training], brown[training])
        scores[held_out] = colour_separation(model, values[held_out])
    return scores


def _channels(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Values (pixels, 6) in the order of ``_CHANNELS``."""
    flat = pixels.reshape(-1, 3)
    lab = srgb_to_lab(flat)
    rest = (ita_degrees(lab), erythema_index(flat), melanin_index(flat))
    return np.column_stack([lab, *rest]).astype(np.float64)
