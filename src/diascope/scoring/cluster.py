"""The same batches on many machines: Ray Data over a pool of actors, rows in input order.

The one place that imports ray, and only when it is used.
"""

import logging
import math
import os
import pickle
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast
from urllib.parse import urlsplit

from diascope.errors import ClusterError, DiascopeError, MissingExtraError
from diascope.inference import Device, Predictor
from diascope.machine import available_cores
from diascope.scoring.batch import BatchScorer
from diascope.scoring.inputs import ScoreInput
from diascope.scoring.rows import Row

TASK = 512
"""Most pictures of one task: what a killed worker has to do again."""
WINDOW = 1_000_000
"""Most inputs whose names are held at once."""
RETRIES = 3
"""How often a task is given out again after its worker died."""

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


def score_on_cluster(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    address: str | None = None,
    device: Device = "cpu",
    batch_size: int = 32,
    workers: int | None = None,
) -> Iterator[Row]:
    """Exactly one row per input, in the order of the inputs: those of the local engine.

    Args:
        predictor: goes to the workers with its bundle and its guidance as they were verified.
        inputs: what they name is read by the workers, so it has to be there for all of them.
        address: of a cluster that runs already, such as ``auto`` or ``ray://host:10001``; it is
            left running. None: one is started on this machine, and stopped at the end.
        device: ``auto`` or ``cuda`` shares out the cluster's GPUs among the workers.
        batch_size: pictures per step of a worker.
        workers: processes, a core each; None: one per core of the cluster.

    Raises:
        MissingExtraError: ray is not installed.
        ClusterError: no cluster answers there, it has no GPU for ``cuda``, or a task outlives
            ``RETRIES`` more workers no more than the first.
    """
    ray = _ray()
    remaining = iter(inputs)
    with _cluster(ray, address, workers):
        pool = _Pool.of(ray.cluster_resources(), device, workers)
        while window := list(islice(remaining, WINDOW)):
            yield from _score_window(ray, predictor, window, pool, batch_size)


@dataclass(frozen=True)
class _Pool:
    """Workers of a cluster, and what each takes of it besides one core."""

    workers: int
    gpus_each: float

    @classmethod
    def of(cls, resources: dict[str, float], device: Device, workers: int | None) -> "_Pool":
        workers = workers or max(1, int(resources.get("CPU", 1)))
        gpus = 0.0 if device == "cpu" else resources.get("GPU", 0.0)
        if device == "cuda" and not gpus:
            raise ClusterError("device cuda: the cluster has no GPU; use cpu or auto")
        # Ray counts shares of a GPU in ten thousandths, and takes above one only whole ones.
        return cls(workers, min(1.0, math.floor(1e4 * gpus / workers) / 1e4))


class _Worker:
    """An actor: the predictor is built once, in its process."""

    def __init__(self, predictor: Predictor, device: Device, batch_size: int) -> None:
        bundle, pack = predictor.bundle, predictor.pack
        self.score = BatchScorer(Predictor(bundle, pack, device, predictor.runtime, threads=1))
        self.batch_size = batch_size

    def __call__(self, task: dict[str, Any]) -> dict[str, list[bytes]]:
        """Rows of one task, or the error that ends the run, as bytes that cross machines."""
        inputs: list[ScoreInput] = pickle.loads(task["inputs"][0])  # noqa: S301 our own bytes
        starts = range(0, len(inputs), self.batch_size)
        try:
            batches = [self.score(inputs[at : at + self.batch_size]) for at in starts]
            answer: list[Row] | DiascopeError = [row for rows in batches for row in rows]
        except DiascopeError as error:
            answer = error
        return {"rows": [pickle.dumps(answer)]}


def _score_window(
    ray: Any, predictor: Predictor, inputs: list[ScoreInput], pool: _Pool, batch_size: int
) -> Iterator[Row]:
    fair = math.ceil(len(inputs) / (_TASKS_EACH * pool.workers))
    size = min(TASK, max(batch_size, fair))
    starts = range(0, len(inputs), size)
    tasks = [{"inputs": pickle.dumps(inputs[at : at + size])} for at in starts]
    device: Device = "cuda" if pool.gpus_each else "cpu"
    with _ordered_and_quiet(ray):
        answers = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool.workers),
            fn_constructor_args=(predictor, device, batch_size),
            num_cpus=1,
            num_gpus=pool.gpus_each or None,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    try:
        for answer in answers.iter_rows():
            yield from _rows(answer["rows"])
    except ray.exceptions.RayActorError as error:
        raise ClusterError(
            f"workers died of the same {size} pictures {1 + RETRIES} times: too little memory, or "
            "a file that breaks a decoder\ngive fewer --workers, or try --engine local"
        ) from error


def _rows(answer: bytes) -> list[Row]:
    rows = pickle.loads(answer)  # noqa: S301 our own worker's bytes
    if isinstance(rows, DiascopeError):
        raise rows
    return cast(list[Row], rows)


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
def _cluster(ray: Any, address: str | None, workers: int | None) -> Iterator[None]:
    """Join a cluster or start one here, and leave it; one that was joined before stays joined."""
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        if address:
            _knock(address)
            ray.init(address, **quiet)
        else:
            ray.init(
                "local",  # without it, ray would join whatever cluster it finds
                num_cpus=workers or available_cores(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                **quiet,
            )
    except (OSError, RuntimeError, ValueError) as error:
        told = str(error).partition("\n")[0][:200]
        raise ClusterError(f"{address or 'a cluster on this machine'}: {told}") from error
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
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        # The retries have no parameter of their own as yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
