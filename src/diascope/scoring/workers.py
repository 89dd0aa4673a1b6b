"""Worker processes: batches out, rows back in order; one that dies costs a retry, not a row.

Each worker is a fresh interpreter on a socket of its own, so it is always known which batch a death
belongs to. A batch that kills two workers is tried picture by picture; a picture that kills two
more gets a row that says it cannot be read.
"""

import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import cast

from diascope.errors import EngineError, UnreadableReason
from diascope.inference import Predictor
from diascope.scoring.archive import Held
from diascope.scoring.batch import BatchScorer
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import Row, unreadable

DEATHS = 2
"""Workers that one batch, and then one picture, may kill before it is given up."""
MOST_GIVEN_UP = 8
"""Pictures given up one after the other before the machine is to blame, not they."""

_AHEAD = 2  # batches at a worker: one in work, one that waits
_LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(eq=False)
class _Task:
    """A batch: rows that are done, inputs that are left, how many go to a worker at once."""

    left: Sequence[ScoreInput]
    step: int
    done: list[Row] = field(default_factory=list)
    deaths: int = 0

    @property
    def next(self) -> Sequence[ScoreInput]:
        return self.left[: self.step]

    def finish(self, rows: Sequence[Row]) -> None:
        self.done += rows
        self.left = self.left[len(rows) :]
        self.deaths = 0


class WorkerPool:
    """Worker processes that hold a copy of one scorer; close it to end them at once.

    Raises:
        EngineError: a worker cannot start, or they die whatever they are given.
    """

    def __init__(self, scorer: BatchScorer, count: int) -> None:
        self._scorer = scorer
        self._pickled = pickle.dumps(_one_thread(scorer))
        self._workers = [_Worker() for _ in range(count)]
        for worker in self._workers:  # they start at the same time
            worker.send(self._pickled)
        self._given_up = 0

    def map(self, batches: Iterable[Sequence[ScoreInput]]) -> Iterator[list[Row]]:
        """The rows of every batch, in order, with a bounded look-ahead."""
        source, order, again = iter(batches), deque[_Task](), deque[_Task]()
        most = 2 * _AHEAD * len(self._workers)
        while True:
            self._feed(source, order, again, most)
            while order and not order[0].left:
                yield order.popleft().done
            if not order:
                if self._feed(source, order, again, most) == 0:
                    return
                continue
            self._collect(again)

    def close(self) -> None:
        """End all workers now, whatever they do."""
        for worker in self._workers:
            worker.kill()

    def _feed(
        self,
        source: Iterator[Sequence[ScoreInput]],
        order: deque[_Task],
        again: deque[_Task],
        most: int,
    ) -> int:
        """Give work to every worker that has room, what was tried before first."""
        given = 0
        while worker := self._roomiest():
            if again:
                task = again.popleft()
            elif len(order) < most and (batch := next(source, None)) is not None:
                task = _Task(batch, len(batch))
                order.append(task)
            else:
                break
            worker.give(task)
            given += 1
        return given

    def _roomiest(self) -> "_Worker | None":
        worker = min(self._workers, key=lambda each: len(each.tasks))
        return worker if worker.has_room else None

    def _collect(self, again: deque[_Task]) -> None:
        """Wait until workers answer or die, and take what they say."""
        busy = {worker.connection: worker for worker in self._workers if worker.tasks}
        for ready in wait(list(busy)):
            worker = busy[cast(Connection, ready)]
            try:
                answer = worker.answer()
            except (EOFError, ConnectionError):
                self._bury(worker, again)
                continue
            if answer is not None:
                self._take(worker.tasks.popleft(), *answer, again)

    def _take(
        self, task: _Task, rows: list[Row], stages: dict[str, float], again: deque[_Task]
    ) -> None:
        task.finish(rows)
        self._given_up = 0
        for stage, seconds in stages.items():
            self._scorer.stages.add(stage, seconds)
        if task.left:
            again.append(task)

    def _bury(self, worker: "_Worker", again: deque[_Task]) -> None:
        """Put a new worker in the place of a dead one; its first task is the suspect."""
        worker.kill()
        if not worker.started:
            raise EngineError(
                "a worker process cannot start (its message stands above); "
                "use --workers 1 to work in one process"
            )
        suspect, *others = worker.tasks
        self._blame(suspect)
        again.extendleft(reversed([each for each in (suspect, *others) if each.left]))
        self._workers[self._workers.index(worker)] = new = _Worker()
        new.send(self._pickled)

    def _blame(self, task: _Task) -> None:
        task.deaths += 1
        if task.deaths < DEATHS:
            return
        if task.step > 1:
            task.step, task.deaths = 1, 0
            return
        self._given_up += 1
        if self._given_up >= MOST_GIVEN_UP:
            raise EngineError(
                f"worker processes keep dying, last at {task.left[0].path}:\n"
                "the machine may lack memory; use fewer --workers, then --resume"
            )
        model = self._scorer.predictor.name
        task.finish([unreadable(task.left[0], UnreadableReason.TRUNCATED, model)])


class _Worker:
    """One process and what it was given."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a folder of the user's must not stand in for a package.
            command = [sys.executable, "-P", "-m", "diascope.scoring.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 this interpreter, no user's words
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self.connection = Connection(ours.detach())
        self.tasks: deque[_Task] = deque()
        self.started = False

    @property
    def has_room(self) -> bool:
        # Bytes of pictures are many: one batch of them at a time.
        held = any(isinstance(item.file, Held) for task in self.tasks for item in task.next)
        return len(self.tasks) < (1 if held else _AHEAD)

    def give(self, task: _Task) -> None:
        self.tasks.append(task)
        self.send(pickle.dumps(task.next))

    def answer(self) -> tuple[list[Row], dict[str, float]] | None:
        """Rows of its first task and the seconds they took; None: it says that it is ready.

        Raises:
            EOFError, ConnectionError: it is dead.
            DiascopeError, RuntimeError: what the scorer raised.
        """
        reply = self.connection.recv()
        self.started = True
        if isinstance(reply, Exception):
            raise reply
        return cast(tuple[list[Row], dict[str, float]] | None, reply)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def send(self, content: bytes) -> None:
        with suppress(ConnectionError):  # it is dead: the next look at its answers tells
            self.connection.send_bytes(content)


def _one_thread(scorer: BatchScorer) -> BatchScorer:
    given = scorer.predictor
    if given.threads == 1:
        return scorer
    return BatchScorer(
        Predictor(given.bundle, given.pack, given.device, given.runtime, 1, given.limits)
    )


def _environment() -> dict[str, str]:
    """This process's, with one thread per library and the same places to import from."""
    environment = dict(os.environ) | dict.fromkeys(_LIBRARY_THREADS, "1")
    environment["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    return environment
