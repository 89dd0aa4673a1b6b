"""What a model's own numbers can tell of pictures that must get no colour.

    python benchmarks/declining.py MANIFEST [--model photos] [--config configs/photos.toml]

Red and brown photographs that the fit held out (by the config's seed and groups; all of them for a
model that saw no photograph) against rows marked other, and against pictures without skin: crops of
the two photographs that scikit-learn carries, and drawn patches of colour. For each score: AUROC,
and the share of the others that still gets a colour where 70 % of red and brown do; for distances
also the share refused where 2 % of red and brown are. 95 % intervals resample groups.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from diascope import dataset
from diascope.bundle import load_bundle, resolve_bundle
from diascope.calibration import softmax
from diascope.config import load_config
from diascope.familiarity import fit_feature_space
from diascope.image import read_picture
from diascope.labels import LABEL_ORDER, ManifestLabel, MarkType
from diascope.machine import available_cores
from diascope.preprocess import decode_side, prepare, prepare_pixels
from diascope.renderer import render_labelled

COVERAGE, REFUSED, DRAWS = 0.7, 0.02, 500
OTHER = "rows marked other"
COLOURED = (ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED)
CLASSES = [ManifestLabel(name.value) for name in LABEL_ORDER]


class Model:
    """A bundle's logits, probabilities and features."""

    def __init__(self, name: str) -> None:
        bundle = load_bundle(resolve_bundle(name))
        self.description = bundle.description
        self._session = onnxruntime.InferenceSession(
            bundle.onnx_bytes(), providers=["CPUExecutionProvider"]
        )

    def __call__(self, tensors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            self._session.run(
                ["logits", "features"], {"relative_density": np.stack(tensors[n : n + 64])}
            )
            for n in range(0, len(tensors), 64)
        ]
        logits, features = (np.concatenate(each) for each in zip(*parts, strict=True))
        return logits, features

    def rows(self, rows: Sequence[dataset.ManifestRow]) -> tuple[np.ndarray, np.ndarray]:
        size = self.description.preprocessing.size
        side = decode_side(size)
        pictures = (
            (read_picture(row.file, decode_side=None if row.box else side), row.box) for row in rows
        )
        return self([prepare(picture, box, size).tensor for picture, box in pictures])

    def arrays(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        size = self.description.preprocessing.size
        return self([prepare_pixels(pixels, None, size).tensor for pixels in pictures])


def without_skin(count: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    crops, patches = [], []
    for number in range(count):
        whole = load_sample_images().images[number % 2]
        side = int(rng.integers(100, 400))
        top, left = (int(rng.integers(0, edge - side)) for edge in whole.shape[:2])
        crops.append(np.ascontiguousarray(whole[top : top + side, left : left + side]))
        cells = int(rng.integers(2, 40))
        noise = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        patches.append(np.clip(cv2.resize(noise, (128, 128)), 0, 255).astype(np.uint8))
    return {"photographs without skin": crops, "patches of colour": patches}


def nearest(learnt: np.ndarray, features: np.ndarray, rank: int = 5) -> np.ndarray:
    """Distance to the fifth nearest of training at length 1 (Sun et al., ICML 2022)."""
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, learnt))
    return np.sort(np.sqrt(np.maximum(2 - 2 * one @ other.T, 0)), axis=1)[:, rank - 1]


def report(
    name: str, inside: np.ndarray, outside: np.ndarray, groups: tuple[np.ndarray, np.ndarray]
) -> None:
    """Scores are high for what may get a colour; groups of those inside, and of those outside."""
    rng = np.random.default_rng(0)
    mine, theirs = ([np.flatnonzero(of == group) for group in np.unique(of)] for of in groups)
    draws = [figures(inside, outside)]
    for _ in range(DRAWS):
        draws.append(figures(inside[drawn(mine, rng)], outside[drawn(theirs, rng)]))
    low, high = np.percentile(draws[1:], (2.5, 97.5), axis=0)
    words = ("AUROC", f"with a colour at {COVERAGE:.0%}", f"refused at {REFUSED:.0%}")
    told = [
        f"{word} {value:.3f} [{a:.3f}, {b:.3f}]"
        for word, value, a, b in zip(words, draws[0], low, high, strict=True)
    ]
    print(f"  {name}: {', '.join(told)}")


def drawn(members: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([members[n] for n in rng.integers(len(members), size=len(members))])


def figures(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float, float]:
    truth = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    return (
        float(roc_auc_score(truth, np.r_[inside, outside])),
        float((outside >= np.quantile(inside, 1 - COVERAGE)).mean()),
        float((outside < np.quantile(inside, REFUSED)).mean()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="scores that may decline, against what to decline")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--config", type=Path, default=Path("configs/photos.toml"))
    arguments = parser.parse_args()
    model, config = Model(arguments.model), load_config(arguments.config)
    rows = dataset.read_manifest(arguments.manifest).rows
    # Rows marked other too, as diascope train does: two pictures may be of one person through one.
    every = dataset.joined_rows(rows, config.data, config_folder=arguments.config.parent)
    joined = dataset.trainable(every)
    learnt, held_out = [], joined
    if model.description.data.photographs:
        learnt, held_out = dataset.split_by_group(joined, config.data.validation_share, config.seed)
    inside = [row for row in held_out if row.mark_type in COLOURED]
    learnt = [row for row in learnt if row.mark_type in CLASSES]
    if learnt:
        known, labels = model.rows(learnt)[1], [MarkType(row.mark_type.value) for row in learnt]
    else:
        size = model.description.preprocessing.size
        marks = list(render_labelled(3000, config.seed + 1, size, workers=available_cores()))
        marks = [(pixels, label) for pixels, label, _ in marks if label in CLASSES]
        known = model.arrays([pixels for pixels, _ in marks])[1]
        labels = [MarkType(label.value) for _, label in marks]
    space = fit_feature_space(known, labels)
    other = [row for row in every if row.mark_type is ManifestLabel.OTHER]
    outside = {OTHER: model.rows(other)} | {
        name: model.arrays(pictures) for name, pictures in without_skin(200).items()
    }
    mine, groups = model.rows(inside), np.array([row.group_id for row in inside])
    groups_of_other = np.array([row.group_id for row in other])

    def scores(logits: np.ndarray, features: np.ndarray) -> dict[str, np.ndarray]:
        chances = softmax(logits, model.description.temperature)
        return {
            "likelier colour": chances[:, :2].max(axis=1),
            "1 - P(neither)": 1 - chances[:, 2],
            "energy of the colours": np.logaddexp(logits[:, 0], logits[:, 1]),
            "Mahalanobis distance": -space.distances(features),
            "5th nearest of training": -nearest(known, features),
        }

    for name, theirs in outside.items():
        print(f"{arguments.model}: {len(inside)} red and brown against {len(theirs[0])} {name}")
        alone = np.arange(len(theirs[0]))
        of = groups_of_other if name == OTHER else alone
        for score, values in scores(*theirs).items():
            report(score, scores(*mine)[score], values, (groups, of))


if __name__ == "__main__":
    main()
