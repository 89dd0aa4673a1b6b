"""Pictures per second of the renderer, on one core and on all.

    python benchmarks/renderer.py [--count 4000] [--size 128]

Starting the worker processes is part of the time.
"""

import argparse
import os
import time

from diascope.renderer import render_many


def rate(count: int, size: int, workers: int) -> float:
    """Pictures drawn per second."""
    start = time.perf_counter()
    drawn = sum(1 for _ in render_many(count, seed=1, size=size, workers=workers))
    return drawn / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="pictures per second of the renderer")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    for workers in sorted({1, os.cpu_count() or 1}):
        pictures = rate(arguments.count, arguments.size, workers)
        print(f"{workers} process(es): {pictures:.0f} pictures/s at {arguments.size} px")


if __name__ == "__main__":
    main()
