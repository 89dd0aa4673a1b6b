"""The same batches on many machines: Ray Data over a pool of actors, rows in input order.

The one place that imports ray, and only when it is used.
"""

import logging
import math
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from diascope.errors import DiascopeError, EngineError, MissingExtraError
from diascope.inference import Device, Predictor
from diascope.machine import available_cores
from diascope.progress import Stages
from diascope.scoring.archive import Member, Streamed
from diascope.scoring.batch import BatchScorer
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import Row
from diascope.scoring.workers import WorkerPool

TASK = 512
"""Most pictures of one task: what a killed worker has to do again."""
WINDOW = 1_000_000
"""Most inputs whose names are held at once."""

_TASKS_EACH = 4  # at least so many per worker where there are pictures enough: all end together
_OBJECT_STORE = 256 * 2**20  # bytes on this machine; only names and rows pass through it
_PATIENCE = 10.0  # seconds for a cluster to answer

# Ray reads these when it is imported, and what it starts inherits them.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray tells of a worker's death on stdout, where the rows may go.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines that Ray joins.

    Attributes:
        address: of a cluster that runs already, such as ``auto`` or ``ray://host:10001``; it is
            left running. None: one is started on this machine, and stopped at the end.
        workers: processes, a core each; None: one per core of the cluster.
        device: ``auto`` or ``cuda`` shares out the cluster's GPUs among the workers.
    """

    address: str | None = None
    workers: int | None = None
    device: Device = "cpu"


Write = Callable[[str, list[Row]], Any]
"""What a worker does with the rows of a named part; what it returns goes back."""


def score_on_cluster(
    scorer: BatchScorer, inputs: Iterable[ScoreInput], batch_size: int, cluster: Cluster
) -> Iterator[Row]:
    """Exactly one row per input, in the order of the inputs: those of the local engine.

    The predictor goes to the workers with its bundle and its guidance as they were verified. What
    the inputs name is read by the workers, so it has to be there for all of them.

    Raises:
        MissingExtraError: ray is not installed.
        EngineError: no cluster answers, it has no GPU for ``cuda``, or its workers keep dying.
    """
    ray = _ray()
    remaining = iter(inputs)
    with _joined(ray, cluster):
        pool = _Pool.of(ray.cluster_resources(), cluster)
        while window := list(islice(remaining, WINDOW)):
            fair = math.ceil(len(window) / (_TASKS_EACH * pool.workers))
            size = min(TASK, max(batch_size, fair))
            parts = [("", window[at : at + size]) for at in range(0, len(window), size)]
            for rows in _answers(ray, scorer, parts, batch_size, pool, _hand_back):
                yield from rows


def write_on_cluster(
    scorer: BatchScorer,
    parts: Iterable[tuple[str, list[ScoreInput]]],
    batch_size: int,
    cluster: Cluster,
    write: Write,
) -> Iterator[Any]:
    """What ``write`` returns of the rows of each named part, in order; the workers call it.

    Raises:
        MissingExtraError, EngineError: as :func:`score_on_cluster`.
    """
    ray = _ray()
    remaining = iter(parts)
    with _joined(ray, cluster):
        pool = _Pool.of(ray.cluster_resources(), cluster)
        while window := list(_some(remaining)):
            yield from _answers(ray, scorer, window, batch_size, pool, write)


def _some(parts: Iterator[tuple[str, list[ScoreInput]]]) -> Iterator[tuple[str, list[ScoreInput]]]:
    inputs = 0
    for part in parts:
        yield part
        inputs += len(part[1])
        if inputs >= WINDOW:
            return


def _hand_back(_: str, rows: list[Row]) -> list[Row]:
    return rows


def _anywhere(item: ScoreInput) -> ScoreInput:
    """An input that a process in another folder understands."""
    place = item.file
    if isinstance(place, Streamed):
        raise EngineError(
            f"{place.archive}: a compressed tar is read in order, by one machine; "
            "use --engine local, or pack it as .tar or .zip"
        )
    if isinstance(place, Member):
        return replace(item, file=replace(place, archive=str(Path(place.archive).absolute())))
    if isinstance(place, str | os.PathLike):
        return replace(item, file=Path(place).absolute())
    return item


@dataclass(frozen=True, slots=True)
class _Pool:
    """Workers of a cluster, and what each takes of it besides one core."""

    workers: int
    gpus_each: float

    @classmethod
    def of(cls, resources: dict[str, float], cluster: Cluster) -> "_Pool":
        workers = cluster.workers or max(1, int(resources.get("CPU", 1)))
        gpus = 0.0 if cluster.device == "cpu" else resources.get("GPU", 0.0)
        if cluster.device == "cuda" and not gpus:
            raise EngineError("device cuda: the cluster has no GPU; use cpu or auto")
        # Ray counts shares of a GPU in ten thousandths, and takes above one only whole ones.
        return cls(workers, min(1.0, math.floor(1e4 * gpus / workers) / 1e4))


class _Actor:
    """One core's worker, as the local engine's: what a picture may kill is a process below it."""

    def __init__(self, predictor: Predictor, device: Device, batch_size: int, write: Write) -> None:
        given = predictor
        alone = Predictor(given.bundle, given.pack, device, given.runtime, 1, given.limits)
        self.scorer = BatchScorer(alone)
        self.pool = WorkerPool(self.scorer, 1)
        self.batch_size = batch_size
        self.write = write

    def __call__(self, task: dict[str, Any]) -> dict[str, list[bytes]]:
        """What is made of one part and the seconds of its stages, or the error that ends all."""
        name, inputs = pickle.loads(task["part"][0])  # noqa: S301 our own bytes
        starts = range(0, len(inputs), self.batch_size)
        self.scorer.stages.clear()
        try:
            batches = self.pool.map(inputs[at : at + self.batch_size] for at in starts)
            rows = [row for batch in batches for row in batch]
            answer: Any = self.write(name, rows), self.scorer.stages
        except DiascopeError as error:
            answer = error
        return {"answer": [pickle.dumps(answer)]}


def _answers(
    ray: Any,
    scorer: BatchScorer,
    parts: Sequence[tuple[str, list[ScoreInput]]],
    batch_size: int,
    pool: _Pool,
    write: Write,
) -> Iterator[Any]:
    tasks = [
        {"part": pickle.dumps((name, [_anywhere(item) for item in inputs]))}
        for name, inputs in parts
    ]
    device: Device = "cuda" if pool.gpus_each else "cpu"
    with _ordered_and_quiet(ray):
        # Ray Data gives the task of an actor that died to another, however often.
        answers = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool.workers),
            fn_constructor_args=(scorer.predictor, device, batch_size, write),
            num_cpus=1,
            num_gpus=pool.gpus_each or None,
        )
    try:
        for record in answers.iter_rows():
            yield _told(record["answer"], scorer.stages)
    except ray.exceptions.RayActorError as error:
        raise EngineError(
            "the cluster's workers keep dying: they may lack memory, or diascope is not installed "
            "there\n(its version has to be this one's); use fewer --workers, then --resume"
        ) from error


def _told(answer: bytes, stages: Stages) -> Any:
    told = pickle.loads(answer)  # noqa: S301 our own worker's bytes
    if isinstance(told, DiascopeError):
        raise told
    made, spent = told
    for stage, seconds in spent.items():
        stages.add(stage, seconds)
    return made


def _ray() -> Any:
    """Ray, imported so that it is quiet and tells nobody that it runs."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 seconds of start-up, and no part of the base install
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "engine ray needs packages that are not installed:\npip install 'diascope[ray]'"
        ) from error
    return ray


@contextmanager
def _joined(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Join a cluster or start one here, and leave it; one that was joined before stays joined."""
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        if cluster.address:
            _knock(cluster.address)
            ray.init(cluster.address, **quiet)
        else:
            ray.init(
                "local",  # without it, ray would join whatever cluster it finds
                num_cpus=cluster.workers or available_cores(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                **quiet,
            )
    except (OSError, RuntimeError, ValueError) as error:
        told = str(error).partition("\n")[0][:200]
        where = cluster.address or "a cluster on this machine"
        raise EngineError(f"{where} cannot be joined: {told}") from error
    try:
        yield
    finally:
        ray.shutdown()  # ends what was started here, and leaves what was joined


def _knock(address: str) -> None:
    # Ray waits for minutes for a cluster that is not there.
    where = urlsplit(address if "//" in address else f"//{address}")
    if where.hostname and where.port:
        socket.create_connection((where.hostname, where.port), timeout=_PATIENCE).close()


@contextmanager
def _ordered_and_quiet(ray: Any) -> Iterator[None]:
    """Data sets made inside keep their order and draw no bars."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with ray.data.DataContext.current(context):
        yield
