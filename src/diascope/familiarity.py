"""How far a picture lies from those the network learnt from, in the space of its pooled features.

Meant for pictures that are no skin at all, or not as it was photographed: it does not tell a red or
brown mark from another lesion (figures: benchmarks/README.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from diascope.labels import LABEL_ORDER, MarkType

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Where the pictures of training lie.

    Attributes:
        means: float64 (K, C), the mean pooled features of each class that was there.
        precision: float64 (C, C), the inverse of the covariance that the classes share.
    """

    means: Floats
    precision: Floats

    def distances(self, features: npt.ArrayLike) -> Floats:
        """Squared Mahalanobis distance (N,) of pooled features (N, C) to the nearest class.

        Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and
        Adversarial Attacks, NeurIPS 2018, equation 2, on the last layer alone.
        """
        apart = np.asarray(features, dtype=np.float64)[:, None, :] - self.means
        return np.asarray(np.einsum("nkc,cd,nkd->nk", apart, self.precision, apart).min(axis=1))

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """What is stored: float32, half the bytes."""
        return {
            "means": self.means.astype(np.float32),
            "precision": self.precision.astype(np.float32),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[np.floating]]) -> Self:
        """Rebuild from :meth:`arrays`.

        Raises:
            ValueError: other arrays, other shapes, or a number that is not finite.
        """
        if set(arrays) != {"means", "precision"}:
            raise ValueError(f"holds {', '.join(sorted(arrays))}, not means and precision")
        means, precision = (np.asarray(arrays[name], float) for name in ("means", "precision"))
        width = means.shape[-1]
        if means.ndim != 2 or not means.size or precision.shape != (width, width):
            raise ValueError(f"means {means.shape} and precision {precision.shape} do not fit")
        if not (np.isfinite(means).all() and np.isfinite(precision).all()):
            raise ValueError("holds numbers that are not finite")
        return cls(means, precision)


def fit_feature_space(features: npt.ArrayLike, labels: Sequence[MarkType]) -> FeatureSpace:
    """Means of the classes and their shared covariance, of pooled features (N, C) of training.

    The covariance is shrunk (Ledoit, Wolf, J Multivar Anal 2004;88:365), so that fewer pictures
    than features will do.

    Raises:
        ValueError: fewer than two rows, or lengths that differ.
    """
    from sklearn.covariance import ledoit_wolf  # noqa: PLC0415 no part of the base install

    values = np.asarray(features, dtype=np.float64)
    if len(values) != len(labels) or len(labels) < 2:
        raise ValueError(f"{len(values)} rows of features, {len(labels)} labels; give two or more")
    own = np.array([LABEL_ORDER.index(label) for label in labels])
    present = np.unique(own)
    means = np.stack([values[own == place].mean(axis=0) for place in present])
    covariance, _ = ledoit_wolf(values - means[np.searchsorted(present, own)], assume_centered=True)
    return FeatureSpace(means, np.linalg.pinv(covariance, hermitian=True))
