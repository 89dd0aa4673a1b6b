"""Labels shuffled in training and validation, scored on shuffled ones: nothing is left to find.

Command: python benchmarks/shuffled_labels.py

A leak of labels anywhere between manifest and figure would show as an AUROC off 0.5. The same
recipe on the true labels shows that it can learn. Small and drawn, so that it takes minutes.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diascope.config import load_config
from diascope.cross_validation import cross_validate
from diascope.dataset import read_manifest
from diascope.labels import ManifestLabel
from diascope.renderer import write_rendered

SMOKE = Path(__file__).parents[1] / "configs" / "smoke.toml"
LABELS = (ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED)
SETTINGS = (
    "data.rendered_share=0.0",
    "data.rendered_count=0",
    "data.join_copies=false",
    "train.epochs=12",
    "train.samples_per_epoch=640",
    "train.learning_rate=0.005",
    "train.ema_decay=0.9",
)


def auroc(folder: Path, paths: list[str], labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Pooled AUROC over two folds of groups: of the network, and of colour alone."""
    lines = [f"{path},{label},,a,{path}" for path, label in zip(paths, labels, strict=True)]
    file = folder / f"labels-{seed}.csv"
    file.write_text("\n".join(["path,mark_type,condition,source,group_id", *lines]))
    config = load_config(SMOKE, [*SETTINGS, f"seed={seed}"])
    with TemporaryDirectory() as out:
        report = cross_validate(
            config, read_manifest(file), by="group", group_folds=2, out=Path(out), seed=seed
        )
    aurocs = report.pooled_aurocs
    return aurocs.network.value or 0.0, aurocs.colour.value or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="drawn pictures")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "drawn"
        write_rendered(
            folder, given.count, 61, 64, mark_types=LABELS, contrast=(12.0, 32.0), truth=False
        )
        rows = read_manifest(folder / "manifest.csv").rows
        paths, true = [row.path for row in rows], np.array([row.mark_type for row in rows])
        rng = np.random.default_rng(0)
        found = []
        for seed in range(given.seeds):
            found.append(auroc(folder, paths, rng.permutation(true), seed))
            print(f"shuffled {seed}: network {found[-1][0]:.3f}, colour {found[-1][1]:.3f}")
        means = np.mean(found, axis=0)
        print(f"mean of {given.seeds}: network {means[0]:.3f}, colour {means[1]:.3f}")
        network, colour = auroc(folder, paths, true, given.seeds)
        print(f"true labels: network {network:.3f}, colour {colour:.3f}")
    if abs(means[0] - 0.5) > 0.05:
        sys.exit("shuffled labels can be learnt: something leaks")


if __name__ == "__main__":
    main()
