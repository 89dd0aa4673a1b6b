"""The one function that every engine runs: a batch of inputs in, a batch of rows out."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any, cast

from diascope.errors import ImageError
from diascope.image import Limits, PictureSource
from diascope.inference import Prediction, Predictor
from diascope.progress import Stages
from diascope.scoring.places import Fetched, ScoreInput, is_distant
from diascope.scoring.rows import Citations, Row, row_of

FETCHES = 8
"""Pictures that one scorer fetches from stores and servers at the same time."""

Answer = Prediction | ImageError
"""What there is to say of one input."""


class BatchScorer:
    """A predictor that answers inputs with rows.

    May be shared between threads and pickled to other processes: it carries the bundle as it was
    when its digests were checked, and opens its session where it arrives.

    Attributes:
        predictor: as given.
        stages: seconds spent so far, by stage.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.stages = Stages()
        self._citations = Citations()
        self._fetchers: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the predictor only."""
        return type(self), (self.predictor,)

    @property
    def max_bytes(self) -> int:
        """Most bytes of a file."""
        return (self.predictor.limits or Limits()).max_bytes

    def __call__(self, batch: Sequence[ScoreInput]) -> list[Row]:
        """Exactly one row per input, in their order; a row does not depend on its neighbours."""
        model = self.predictor.name
        answers = self.answers(batch)
        with self.stages.spending("rows"):
            return [
                row_of(item, answer, model, self._citations)
                for item, answer in zip(batch, answers, strict=True)
            ]

    def answers(self, batch: Sequence[ScoreInput]) -> list[Answer]:
        """The prediction of each input, or why it could not be read."""
        with self._sources(batch) as sources:
            return self.predictor.predict_batch(
                sources,
                boxes=[item.box for item in batch],
                blanches=[item.blanches for item in batch],
                contexts=[item.contexts for item in batch],
                on_error="return",
                stages=self.stages,
            )

    @contextmanager
    def _sources(self, batch: Sequence[ScoreInput]) -> Iterator[list[PictureSource]]:
        """What the predictor reads: files as they are, others fetched a few ahead."""
        distant = [item for item in batch if is_distant(item.file)]
        if not distant:
            yield [cast(PictureSource, item.file) for item in batch]
            return
        if self._fetchers is None:
            self._fetchers = ThreadPoolExecutor(FETCHES, "fetch")
        ahead = _Ahead(self._fetchers, distant, self.max_bytes)
        try:
            yield [
                cast(PictureSource, _Source(item.path, ahead.take, self.stages))
                if is_distant(item.file)
                else cast(PictureSource, item.file)
                for item in batch
            ]
        finally:
            ahead.cancel()


class _Ahead:
    """Bytes of places in their order, a few fetched ahead: no more are ever held."""

    def __init__(self, pool: ThreadPoolExecutor, items: Sequence[ScoreInput], most: int) -> None:
        self._pool, self._most = pool, most
        self._waiting = deque(items)
        self._running: deque[Future[bytes]] = deque()
        for _ in range(FETCHES):
            self._start()

    def take(self) -> bytes:
        """The bytes of the next one.

        Raises:
            ImageError: it cannot be read.
        """
        next_one = self._running.popleft()
        try:
            return next_one.result()
        finally:  # whether it came or not, or there would soon be none ahead
            self._start()

    def cancel(self) -> None:
        for future in self._running:
            future.cancel()

    def _start(self) -> None:
        if self._waiting:
            place = cast(Fetched, self._waiting.popleft().file)
            self._running.append(self._pool.submit(place.fetch, self._most))


class _Source:
    """A file to the predictor, which reads it when its turn has come."""

    def __init__(self, name: str, take: Callable[[], bytes], stages: Stages) -> None:
        self.name = name
        self._take, self._stages = take, stages

    def read(self, _: int = -1) -> bytes:
        start = perf_counter()
        try:
            return self._take()
        except ImageError as error:
            raise ImageError(error.reason, self.name, error.detail) from None
        finally:
            self._stages.move("reading", "fetching", perf_counter() - start)
