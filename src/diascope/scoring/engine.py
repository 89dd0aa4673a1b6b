"""The local engine: batches through threads or worker processes, rows out in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

from diascope.inference import Predictor
from diascope.machine import available_cores
from diascope.scoring.archive import Held, held
from diascope.scoring.batch import Answer, BatchScorer
from diascope.scoring.cluster import Cluster, score_on_cluster
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import Row
from diascope.scoring.workers import WorkerPool

Workers = int | Literal["auto"] | Cluster

BATCH_SIZE = 32
FEW = 400
"""Pictures for which starting processes would cost more than they gain."""

_BATCH_BYTES = 32_000_000  # of a batch whose bytes are in memory

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Plan:
    """Who does the work: ``workers`` threads of this process, or processes with one thread each."""

    workers: int
    processes: bool


def plan(
    workers: Workers, count: int | None, *, remote: bool = False, gpu: bool = False
) -> Plan | Cluster:
    """Settle who works on ``count`` inputs (None: not known).

    ``auto`` takes threads of this process for few pictures, and processes, one per core, for many
    and for distant ones; on a GPU one process feeds it. A number above 1 means processes.
    """
    if isinstance(workers, Cluster):
        return workers
    if workers != "auto":
        return Plan(workers, workers > 1)
    if gpu:
        return Plan(1, False)
    return Plan(available_cores(), remote or (count or 0) > FEW)


def score_inputs(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
    processes: bool = False,
) -> Iterator[Row]:
    """Exactly one row per input, in the order of the inputs.

    ``workers`` threads, or processes, work on batches of ``batch_size`` at the same time; a row
    does not depend on any of these.
    """
    yield from scored(BatchScorer(predictor), inputs, batch_size, Plan(workers, processes))


def scored(
    scorer: BatchScorer, inputs: Iterable[ScoreInput], batch_size: int, work: Plan | Cluster
) -> Generator[Row, None, None]:
    """Rows of a scorer, whose ``stages`` then say where the time went."""
    if isinstance(work, Cluster):
        yield from score_on_cluster(scorer, inputs, batch_size, work)
        return
    batches = _batches(held(inputs, scorer.max_bytes), batch_size)
    with _answers(scorer, batches, work) as answers:
        for rows in answers:
            yield from rows


def predict_inputs(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
) -> Iterator[tuple[ScoreInput, Answer]]:
    """Each input with its prediction, or with why it could not be read; in order."""
    scorer = BatchScorer(predictor)

    def predict(batch: Sequence[ScoreInput]) -> list[tuple[ScoreInput, Answer]]:
        return list(zip(batch, scorer.answers(batch), strict=True))

    for pairs in _ordered(predict, _batches(inputs, batch_size), workers):
        yield from pairs


@contextmanager
def _answers(
    scorer: BatchScorer, batches: Iterable[Sequence[ScoreInput]], work: Plan
) -> Iterator[Iterator[list[Row]]]:
    if not work.processes:
        yield _ordered(scorer, batches, work.workers)
        return
    pool = WorkerPool(scorer, work.workers)
    try:
        yield pool.map(batches)
    finally:
        pool.close()


def _batches(inputs: Iterable[ScoreInput], size: int) -> Iterator[list[ScoreInput]]:
    remaining = iter(inputs)
    while batch := list(_light(islice(remaining, size))):
        yield batch


def _light(inputs: Iterable[ScoreInput]) -> Iterator[ScoreInput]:
    """Inputs until their bytes, where they are in memory, are many."""
    total = 0
    for item in inputs:
        yield item
        if isinstance(item.file, Held) and isinstance(item.file.content, bytes):
            total += len(item.file.content)
        if total >= _BATCH_BYTES:
            return


def _ordered(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """``work`` of every item in order, by threads, with a bounded look-ahead: memory stays flat."""
    # One worker is a thread, too: the main thread then hears Ctrl-C at once.
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
        pool.shutdown(wait=False, cancel_futures=True)
