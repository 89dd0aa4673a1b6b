"""Where the time of one picture goes, on one core, in processor time.

    python benchmarks/stages.py FOLDER [--batch 32] [--repeats 7]

FOLDER holds JPEGs, such as those that benchmarks/peers.py --work leaves. Each figure is the median
over the repeats; pictures are read from the page cache.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from diascope import Predictor
from diascope.image import Picture, read_picture
from diascope.preprocess import Prepared, decode_side, prepare, prepare_pixels
from diascope.quality import decline_reasons, measure
from diascope.scoring import BatchScorer, ScoreInput


def milliseconds(work: Callable[[], object], pictures: int, repeats: int) -> float:
    """Processor time per picture."""
    work()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start) / pictures)
    return statistics.median(spent)


def stages(files: list[Path], batch: int, repeats: int) -> dict[str, float]:
    """Name of each stage -> milliseconds of a processor per picture."""
    predictor = Predictor.load(threads=1)
    size = predictor.bundle.description.preprocessing.size
    side = decode_side(size)
    contents = [file.read_bytes() for file in files]
    pictures = [read_picture(content, decode_side=side) for content in contents]
    prepared = [prepare(picture, None, size) for picture in pictures]
    tensors = np.stack([each.tensor for each in prepared])
    inputs = [ScoreInput(file.name, file.name, file) for file in files]
    scorer = BatchScorer(predictor)
    starts = range(0, len(files), batch)

    def told(work: Callable[[], object]) -> float:
        return milliseconds(work, len(files), repeats)

    def decode(content: bytes) -> object:
        return simplejpeg.decode_jpeg(content, "RGB", min_height=side, min_width=side)

    def judge(picture: Picture, seen: Prepared) -> object:
        quality = measure(seen.pixels, min(picture.width, picture.height), seen.can_be_skin)
        return decline_reasons(quality, picture.has_colour, predictor.bundle.description.quality)

    spent = {
        "read the file": told(lambda: [file.read_bytes() for file in files]),
        "decode": told(lambda: [decode(content) for content in contents]),
        "header, profile, colour": told(
            lambda: [read_picture(content, decode_side=side) for content in contents]
        ),
        "resize": told(lambda: [prepare(picture, None, size) for picture in pictures]),
        # Pixels that have the network's size already are not resized.
        "reference skin, density": told(
            lambda: [prepare_pixels(each.pixels, None, size) for each in prepared]
        ),
        "quality": told(lambda: [judge(*both) for both in zip(pictures, prepared, strict=True)]),
        f"network, batches of {batch}": told(
            lambda: [predictor.probabilities(tensors[at : at + batch]) for at in starts]
        ),
    }
    spent["header, profile, colour"] -= spent["decode"]
    spent["resize"] -= spent["reference skin, density"]
    whole = told(lambda: [scorer(inputs[at : at + batch]) for at in starts])
    spent["gates, guidance, row"] = whole - sum(spent.values())
    return {**spent, "all": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description="where the time of one picture goes")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    files = sorted(arguments.folder.glob("*.jpg"))[: arguments.count]
    spent = stages(files, arguments.batch, arguments.repeats)
    print("| stage | ms per picture | share |\n| --- | --- | --- |")
    for name, value in spent.items():
        print(f"| {name} | {value:.3f} | {value / spent['all']:.0%} |")
    print(f"\n{1000 / spent['all']:,.0f} pictures/s and core; {len(files)} pictures")


if __name__ == "__main__":
    main()
