"""Make the stored answers of the shipped bundles again.

Command: python tests/golden/remake.py

Run it when a shipped bundle is trained anew or preparation changes on purpose; the difference it
makes to the files belongs into the change's review. The pictures are drawn, so no photograph is
stored. ``python tests/golden/remake.py --pictures`` draws them anew, too.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from diascope.bundle import ONNX, SHIPPED
from diascope.image import read_picture
from diascope.inference import Predictor
from diascope.labels import ManifestLabel, MarkType
from diascope.preprocess import decode_side, prepare
from diascope.renderer import render

HERE = Path(__file__).parent
PICTURES = tuple(HERE / f"{mark_type}.jpg" for mark_type in MarkType)
TENSORS = HERE / "tensors.npz"


def draw() -> None:
    """Draw the pictures: plain marks, large enough for a JPEG decoded at half its size."""
    tones = {MarkType.ERYTHEMATOUS: 35.0, MarkType.HYPERPIGMENTED: 20.0, MarkType.NEITHER: -5.0}
    for number, (mark_type, ita) in enumerate(tones.items()):
        kind = ManifestLabel(mark_type)
        drawn = render(number, seed=1, size=640, mark_type=kind, ita=ita, contrast=(18.0, 30.0))
        Image.fromarray(drawn.pixels[:560]).save(HERE / f"{mark_type}.jpg", quality=90)


def prepared(size: int) -> np.ndarray:
    """Inputs of the pictures, float32 (3, 3, S, S), as the running code prepares them."""
    pictures = [read_picture(path, decode_side=decode_side(size)) for path in PICTURES]
    return np.stack([prepare(picture, None, size).tensor for picture in pictures])


def stored(size: int) -> np.ndarray:
    """Inputs of the pictures as they were stored, float32 (3, 3, S, S)."""
    with np.load(TENSORS) as file:
        return file[f"relative_density_{size}"].astype(np.float32)


def answers(predictor: Predictor) -> dict[str, object]:
    """What a bundle says of the stored tensors and of the stored pictures."""
    description = predictor.bundle.description
    predictions = predictor.predict_batch(PICTURES)
    return {
        "network": description.files[ONNX],
        "of_tensors": predictor.probabilities(stored(description.preprocessing.size)).tolist(),
        "of_pictures": [list(prediction.class_probabilities) for prediction in predictions],
        "verdicts": [prediction.verdict.value for prediction in predictions],
    }


def main() -> None:
    """Write everything anew."""
    if "--pictures" in sys.argv[1:]:
        draw()
    predictors = [Predictor.load(name) for name in SHIPPED]
    sizes = {predictor.bundle.description.preprocessing.size for predictor in predictors}
    # Rounded on purpose: half the bytes, and the rounded values are then the input.
    tensors = {f"relative_density_{size}": prepared(size).astype(np.float16) for size in sizes}
    np.savez_compressed(TENSORS, **tensors)
    for name, predictor in zip(SHIPPED, predictors, strict=True):
        golden = json.dumps(answers(predictor), indent=2)
        (HERE / f"{name}.json").write_text(golden + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
