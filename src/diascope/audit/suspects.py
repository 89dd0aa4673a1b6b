"""Labels that are likely wrong: confident learning on probabilities out of cross-validation.

Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, J Artif
Intell Res 2021;70:1373. Its own library, cleanlab, is under the AGPL.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label others like it do not bear.

    ``p_given`` and ``p_suggested`` are probabilities in [0, 1] by models that did not see the row
    nor any of its group.
    """

    row: int
    given: str
    suggested: str
    p_given: float
    p_suggested: float

    @property
    def margin(self) -> float:
        """How far the given label lies behind: the lower, the likelier it is wrong."""
        return self.p_given - self.p_suggested


def suspects(
    probabilities: npt.NDArray[np.float64], labels: Sequence[str], classes: Sequence[str]
) -> list[Suspect]:
    """Rows confidently of another class than labelled, the likeliest errors first.

    A row is confidently of a class when its probability (n, c) reaches the mean probability that
    rows labelled so have for it (eq. 2 of the paper); of several, the likeliest counts (eq. 1).
    Ranked by normalised margin, the probability of the given label less that of the other.
    """
    given = np.array([classes.index(label) for label in labels])
    thresholds = np.array([probabilities[given == k, k].mean() for k in range(len(classes))])
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    called = confident.argmax(axis=1)
    is_suspect = (confident.max(axis=1) >= 0) & (called != given)
    found = [
        Suspect(
            int(row),
            classes[given[row]],
            classes[called[row]],
            float(probabilities[row, given[row]]),
            float(probabilities[row, called[row]]),
        )
        for row in np.flatnonzero(is_suspect)
    ]
    return sorted(found, key=lambda suspect: (suspect.margin, suspect.row))
