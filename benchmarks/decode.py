"""How a JPEG is decoded small: time of each way, and what it changes for the network.

    python benchmarks/decode.py [--count 12]

Drawn pictures, enlarged, with a sensor's noise, as JPEGs of 12 megapixels and of 720 x 540. Ways:
simplejpeg whole, and at the smallest n/8 whose shorter side is still ``decode_side``; Pillow whole,
and its ``draft``, which knows 1/2, 1/4 and 1/8 only. The difference is of the network's input
(optical density, mean over all pixels) and of the model's probabilities, each to the whole decode
of simplejpeg; told apart by whether rounding moved the reference skin.
"""

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from diascope import Predictor
from diascope.image import Picture, Pixels
from diascope.preprocess import Prepared, decode_side, prepare
from diascope.renderer import render

SIZE = 128
SIDE = decode_side(SIZE)


def simple(data: bytes, _: Image.Image) -> Pixels:
    return simplejpeg.decode_jpeg(data, "RGB")


def simple_small(data: bytes, _: Image.Image) -> Pixels:
    return simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE)


def pillow(_: bytes, image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def pillow_draft(_: bytes, image: Image.Image) -> Pixels:
    scale = SIDE / min(image.size)
    image.draft("RGB", (int(image.width * scale), int(image.height * scale)))
    return np.asarray(image)


WAYS = (simple, simple_small, pillow, pillow_draft)


def jpegs(count: int, width: int, height: int) -> list[bytes]:
    """JPEGs of one size, with detail down to the pixel."""
    files = []
    for index in range(count):
        random = np.random.default_rng(index)
        small = render(index, seed=12, size=512).pixels
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = random.standard_normal(large.shape, dtype=np.float32) * 3
        pixels = np.clip(large + grain, 0, 255).astype(np.uint8)
        files.append(simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="420"))
    return files


def rate(way: Callable[[bytes, Image.Image], Pixels], files: list[bytes]) -> float:
    """Pictures per second of one core, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for data in files:
            way(data, Image.open(io.BytesIO(data)))
        best = min(best, time.process_time() - start)
    return len(files) / best


def seen(way: Callable[[bytes, Image.Image], Pixels], files: list[bytes]) -> list[Prepared]:
    pictures = [way(data, Image.open(io.BytesIO(data))) for data in files]
    return [
        prepare(Picture(pixels, pixels.shape[1], pixels.shape[0], True), None, SIZE)
        for pixels in pictures
    ]


def tensors(pictures: list[Prepared]) -> np.ndarray:
    return np.stack([picture.tensor for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description="decoding JPEGs small")
    parser.add_argument("--count", type=int, default=12)
    count = parser.parse_args().count
    predictor = Predictor.load("rendered", threads=1)
    for width, height in ((4000, 3000), (720, 540)):
        files = jpegs(count, width, height)
        whole = seen(simple, files)
        known = predictor.probabilities(tensors(whole))
        for way in WAYS:
            small = seen(way, files)
            apart = np.abs(tensors(small) - tensors(whole))
            changed = np.abs(predictor.probabilities(tensors(small)) - known).max(axis=1)
            pairs = zip(small, whole, strict=True)
            moved = max(np.abs(one.reference - other.reference).max() for one, other in pairs)
            print(
                f"{width} x {height} {way.__name__:13} {rate(way, files):6.1f} pictures/s; input "
                f"{apart.mean():.5f} mean; probability {changed.max():.4f} most, "
                f"{changed.mean():.4f} mean; reference {moved:.2f} levels most"
            )


if __name__ == "__main__":
    main()
