"""diascope tells red marks from brown marks in photographs of skin, with sourced guidance.

>>> from diascope import Predictor  # doctest: +SKIP
>>> Predictor.load().predict("photo.jpg").verdict  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diascope.inference import Prediction, Predictor
    from diascope.labels import INTENDED_USE, LABEL_ORDER, MarkType, Verdict
    from diascope.scoring import score

__version__ = "0.1.0"

_HOMES = {
    "INTENDED_USE": "diascope.labels",
    "LABEL_ORDER": "diascope.labels",
    "MarkType": "diascope.labels",
    "Prediction": "diascope.inference",
    "Predictor": "diascope.inference",
    "Verdict": "diascope.labels",
    "score": "diascope.scoring",
}

__all__ = ["INTENDED_USE", "LABEL_ORDER", "MarkType", "Prediction", "Predictor", "Verdict", "score"]


def __getattr__(name: str) -> Any:
    # Loaded at first use, so that `import diascope` stays fast.
    if name not in _HOMES:
        raise AttributeError(f"module 'diascope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
