"""How far the tone sweep could be told apart by a reader who is shown where the mark is.

    python benchmarks/ceiling.py [--config configs/sweep.toml]

For every drawn mark of the sweep: the median optical density under the true mask less that of the
skin just around it (of the rest, where the mask leaves no such skin), the directions of that
difference, and the mask's share of the picture; boosted trees on these, by marks left out. No
network has the mask, so this is no bound in theory, but it shows what noise, light, mottled skin,
JPEG and marks that fill the picture leave of the colour.
"""

import argparse
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from diascope import metrics
from diascope.colour import optical_density
from diascope.config import SweepConfig, load_sweep
from diascope.evaluation.sweep import Drawing, contrast_name, draw, plan
from diascope.labels import ManifestLabel
from diascope.machine import available_cores
from diascope.renderer import in_processes

AROUND = np.ones((15, 15), dtype=np.uint8)
LEAST = 20  # pixels of skin that can be compared with


def statistics(drawing: Drawing, config: SweepConfig) -> tuple[np.ndarray, str]:
    drawn = draw(drawing, config)
    mask = drawn.mask
    near = (cv2.dilate(mask.astype(np.uint8), AROUND) > 0) & ~mask
    skin = next(each for each in (near, ~mask, np.ones_like(mask)) if each.sum() >= LEAST)
    density = optical_density(drawn.pixels)
    apart = np.median(density[mask], axis=0) - np.median(density[skin], axis=0)
    length = np.linalg.norm(apart) + 1e-6
    way = apart / length
    told = [*apart, *way, way[1] - way[0], way[2] - way[1], apart[1] - apart[0], mask.mean()]
    return np.array(told), drawn.layout


def lines(drawings: list[Drawing], layouts: list[str], score: np.ndarray) -> Iterator[str]:
    brown = np.array([each.mark_type is ManifestLabel.HYPERPIGMENTED for each in drawings])
    marks = np.array([each.index for each in drawings])
    kinds = {
        "tone": [each.tone for each in drawings],
        "contrast": [contrast_name(*each.contrast) for each in drawings if each.contrast],
        "layout": layouts,
    }
    for kind, names in kinds.items():
        for name in dict.fromkeys(names):
            rows = np.flatnonzero(np.array(names) == name)
            area = partial(metrics.auroc, brown[rows], score[rows])
            found = metrics.bootstrap_interval(area, brown[rows], marks[rows])
            yield (
                f"| {kind} | {name} | {len(rows)} "
                f"| {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/sweep.toml")
    config = load_sweep(parser.parse_args().config)
    drawings = [each for each in plan(config) if each.contrast is not None]
    work = partial(statistics, config=config)
    found = list(in_processes(work, drawings, available_cores()))
    values = np.stack([each for each, _ in found])
    brown = [each.mark_type is ManifestLabel.HYPERPIGMENTED for each in drawings]
    trees = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, random_state=0)
    score = cross_val_predict(
        trees,
        values,
        brown,
        groups=[each.index for each in drawings],
        cv=GroupKFold(5),
        method="predict_proba",
    )[:, 1]
    print("| by | | n | AUROC, mask known |\n| - | - | - | - |")
    print("\n".join(lines(drawings, [layout for _, layout in found], score)))


if __name__ == "__main__":
    main()
