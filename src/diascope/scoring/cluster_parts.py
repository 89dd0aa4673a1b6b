"""A folder of Parquet parts that a cluster's workers write: no row passes through one machine.

A part holds the rows of so many inputs after one another, so the parts in the order of their names
are the rows in the order of the inputs. ``_begun.json`` says what they depend on; ``_rows.json``,
what made them and how many there are, appears when all parts are there.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any, NoReturn

from diascope.errors import MissingExtraError, OutputError
from diascope.inference import Predictor
from diascope.progress import Track, silent
from diascope.scoring.batch import BatchScorer
from diascope.scoring.cluster import Cluster, write_on_cluster
from diascope.scoring.engine import BATCH_SIZE
from diascope.scoring.output import FORMATS, json_bytes, metadata
from diascope.scoring.places import ScoreInput
from diascope.scoring.remote import Address, is_address, redacted
from diascope.scoring.rows import Row, Status
from diascope.scoring.run import PART_ROWS, Summary
from diascope.scoring.spool import SpooledInputs

_BEGUN, _WHOLE = "_begun.json", "_rows.json"


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """A folder or the address of one, for all machines to write to."""

    url: str

    @classmethod
    def at(cls, place: str) -> "PartsFolder":
        """The same place for every machine."""
        if is_address(place):
            Address(place).check()
            return cls(place.rstrip("/"))
        return cls(str(Path(place).absolute()))

    def write(self, name: str, rows: list[Row]) -> dict[str, int]:
        """One part; returns its rows by status.

        Raises:
            OutputError: it cannot be written.
        """
        self.put(name, FORMATS["parquet"].part(rows))
        return dict(Counter(row.status.value for row in rows))

    def put(self, name: str, content: bytes) -> None:
        """One file, whole or not at all: a store shows an object when it is whole."""
        store, root = self._store()
        try:
            if is_address(self.url):
                store.pipe_file(f"{root}/{name}", content)
                return
            draft = Path(root, f".{name}.{token_hex(6)}.partial")
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(Path(root, name))
        except Exception as error:  # noqa: BLE001 each store has errors of its own
            self._refuse(f"{name} cannot be written", error)

    def get(self, name: str) -> bytes | None:
        """The bytes of a file; None: it is not there."""
        store, root = self._store()
        try:
            content: bytes = store.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 each store has errors of its own
            self._refuse(f"{name} cannot be read", error)
        return content

    def names(self) -> set[str]:
        """Names of the files in it."""
        store, root = self._store()
        try:
            store.invalidate_cache()
            return {path.rpartition("/")[2] for path in store.ls(root, detail=False)}
        except FileNotFoundError:
            return set()
        except Exception as error:  # noqa: BLE001 each store has errors of its own
            self._refuse("cannot be listed", error)

    def clear(self) -> None:
        """Remove what a run has written, the word that it is whole first."""
        store, root = self._store()
        ours = [name for name in self.names() if _is_part(name) or name == _BEGUN]
        for name in ([_WHOLE] if _WHOLE in self.names() else []) + sorted(ours, reverse=True):
            store.rm_file(f"{root}/{name}")

    def _store(self) -> tuple[Any, str]:
        try:
            store, root = import_module("fsspec.core").url_to_fs(self.url)
        except ImportError as error:
            raise MissingExtraError(
                f"{redacted(self.url)} needs packages that are not installed:\n"
                "pip install 'diascope[ray,cloud]'"
            ) from error
        return store, root

    def _refuse(self, what: str, error: Exception) -> NoReturn:
        # Only the kind of error: its text may hold the address with all its secrets.
        raise OutputError(f"{redacted(self.url)}: {what} ({type(error).__name__})") from error


class ClusterRun:
    """Rows of one folder of parts, from the check before the work to the last part.

    Raises:
        OutputError: the folder holds something, and neither ``resume`` nor ``overwrite`` is asked
            for; or it holds what is not of such a run.
    """

    def __init__(
        self,
        out: str,
        *,
        resume: bool = False,
        overwrite: bool = False,
        part_rows: int = PART_ROWS,
    ) -> None:
        if resume and overwrite:
            raise OutputError(f"{out}: resume goes on and overwrite begins again; choose one")
        self._folder = PartsFolder.at(out)
        self._shown = redacted(out)
        self._part_rows = part_rows
        self._overwrite = overwrite
        self._begun = self._folder.get(_BEGUN)
        # A draft is what a killed run has left.
        others = any(not name.endswith(".partial") for name in self._folder.names())
        if others and self._begun is None:
            raise OutputError(f"{self._shown}: holds other files; give a folder of its own")
        if self._begun is not None and not (resume or overwrite):
            raise OutputError(
                f"{self._shown}: holds a run's parts; "
                "use --resume to go on, or --overwrite to begin again"
            )

    def write(
        self,
        predictor: Predictor,
        inputs: SpooledInputs,
        cluster: Cluster,
        *,
        batch_size: int = BATCH_SIZE,
        track: Track = silent,
        counts: Counter[Status] | None = None,
    ) -> Summary:
        """Score what is missing; ``counts`` follows the rows.

        Raises:
            OutputError: a part cannot be written, or the run cannot be resumed.
            MissingExtraError, EngineError: as ``write_on_cluster``.
        """
        start = perf_counter()
        counts = Counter() if counts is None else counts
        about = {
            **metadata(predictor, cluster.device),
            "inputs": {"count": len(inputs), "digest": inputs.digest},
            "part_rows": self._part_rows,
        }
        kept = self._kept(json_bytes(about), len(inputs))
        for found in kept.values():
            counts.update(found)
        left = len(inputs) - counts.total()
        scorer = BatchScorer(predictor)
        missing = ((name, some) for name, some in self._parts(inputs) if name not in kept)
        done = write_on_cluster(scorer, missing, batch_size, cluster, self._folder.write)
        if left:
            for status in track(_each(done), "scoring", left):
                counts[status] += 1
        whole = {**about, "rows": {status.value: counts[status] for status in Status}}
        self._folder.put(_WHOLE, json_bytes(whole))
        return Summary(counts, left, perf_counter() - start, scorer.stages)

    def _kept(self, basis: bytes, count: int) -> dict[str, Counter[Status]]:
        """Whole parts of an earlier run that are right for this one; the folder is ready then."""
        if self._begun is not None and not self._overwrite:
            if self._begun != basis:
                raise OutputError(
                    f"{self._shown}: cannot be resumed, since the model, the guidance, the inputs "
                    "or a setting changed;\nrun as before, or use --overwrite to begin again"
                )
            found = {
                name: _statuses(self._folder, name)
                for name in sorted(self._folder.names())
                if _is_part(name)
            }
            # A folder on a disk may hold what a machine that lost its power left half-written.
            rows = self._part_rows
            whole = {f"part-{at // rows:08}.parquet": at for at in range(0, count, rows)}
            return {
                name: statuses
                for name, statuses in found.items()
                if name in whole and statuses.total() == min(rows, count - whole[name])
            }
        if self._begun is not None:
            self._folder.clear()
        self._folder.put(_BEGUN, basis)
        return {}

    def _parts(self, inputs: SpooledInputs) -> Iterator[tuple[str, list[ScoreInput]]]:
        remaining, index = inputs.after(0), 0
        while some := list(islice(remaining, self._part_rows)):
            yield f"part-{index:08}.parquet", some
            index += 1


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def _each(parts: Iterator[dict[str, int]]) -> Iterator[Status]:
    for counts in parts:
        for status, count in counts.items():
            yield from [Status(status)] * count


def _statuses(folder: PartsFolder, name: str) -> Counter[Status]:
    from diascope.scoring import table  # noqa: PLC0415 pyarrow for those who use it

    try:
        return Counter(map(Status, table.column(folder.get(name) or b"", "status")))
    except (ValueError, KeyError, OSError):  # no whole part
        return Counter()
