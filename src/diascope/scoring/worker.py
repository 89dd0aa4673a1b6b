"""A worker process: gets a scorer, then answers batches with rows until the other end is gone.

Started by ``workers``; not for use by hand. It ends when its connection does, so that nothing is
left behind by a parent that was killed.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

import cv2

from diascope.errors import DiascopeError
from diascope.progress import Stages
from diascope.scoring.batch import BatchScorer
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import Row

Reply = tuple[list[Row], Stages] | Exception


def serve(connection: Connection) -> None:
    """Answer batches, one after the other, in the order they come."""
    cv2.setNumThreads(1)  # one process per core
    scorer: BatchScorer = connection.recv()
    connection.send(None)  # ready
    batches: SimpleQueue[Sequence[ScoreInput] | None] = SimpleQueue()
    Thread(target=_receive, args=(connection, batches), daemon=True).start()
    while (batch := batches.get()) is not None:
        connection.send(_reply(scorer, batch))


def _receive(connection: Connection, batches: "SimpleQueue[Sequence[ScoreInput] | None]") -> None:
    # Beside the work: else, with more than a socket holds on both ways, both ends would wait.
    with suppress(EOFError, ConnectionError):
        while True:
            batches.put(connection.recv())
    batches.put(None)


def _reply(scorer: BatchScorer, batch: Sequence[ScoreInput]) -> Reply:
    scorer.stages.clear()
    try:
        return scorer(batch), scorer.stages
    except DiascopeError as error:
        return error
    except Exception as error:  # noqa: BLE001 a fault of the program belongs to the parent
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError):
        serve(Connection(int(sys.argv[1])))
