"""The local engine: batches of inputs through threads, rows out in the order of the inputs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from diascope.inference import Predictor
from diascope.scoring.batch import Answer, BatchScorer
from diascope.scoring.inputs import ScoreInput
from diascope.scoring.rows import Row

A = TypeVar("A")
B = TypeVar("B")


def score_inputs(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[Row]:
    """Exactly one row per input, in the order of the inputs.

    ``workers`` threads predict batches of ``batch_size`` at the same time; a row does not depend
    on either.
    """
    for rows in _ordered(BatchScorer(predictor), _batches(inputs, batch_size), workers):
        yield from rows


def predict_inputs(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[tuple[ScoreInput, Answer]]:
    """Each input with its prediction, or with why it could not be read; in order."""
    scorer = BatchScorer(predictor)

    def predict(batch: Sequence[ScoreInput]) -> list[tuple[ScoreInput, Answer]]:
        return list(zip(batch, scorer.answers(batch), strict=True))

    for pairs in _ordered(predict, _batches(inputs, batch_size), workers):
        yield from pairs


def _batches(inputs: Iterable[ScoreInput], size: int) -> Iterator[list[ScoreInput]]:
    remaining = iter(inputs)
    while batch := list(islice(remaining, size)):
        yield batch


def _ordered(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """``work`` of every item in order, by threads, with a bounded look-ahead: memory stays flat."""
    if workers <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, "score")
    running: deque[Future[B]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
