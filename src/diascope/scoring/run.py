"""A whole run: inputs to a file of rows that appears when it is whole, and may be resumed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from diascope.errors import OutputError
from diascope.files import written_whole
from diascope.inference import Predictor
from diascope.progress import Stages, Track, silent
from diascope.scoring.batch import BatchScorer
from diascope.scoring.cluster import Cluster
from diascope.scoring.engine import BATCH_SIZE, Workers, plan, scored
from diascope.scoring.output import (
    Format,
    beside,
    check_output,
    format_of,
    json_bytes,
    metadata,
)
from diascope.scoring.parts import Parts, kept, parts_folder, unfinished_rows
from diascope.scoring.rows import Row, Status
from diascope.scoring.spool import SpooledInputs

PART_ROWS = 2000
"""Rows of a part: what a killed run can lose, and the row groups of a Parquet file."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has done.

    Attributes:
        counts: all rows by status.
        scored: rows of this run; fewer than all where it resumed.
        seconds: of this run.
        stages: seconds by stage, summed over its workers.
    """

    counts: Mapping[Status, int]
    scored: int
    seconds: float
    stages: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Pictures per second of this run."""
        return self.scored / max(self.seconds, 1e-9)

    @property
    def slowest(self) -> tuple[str, float] | None:
        """The stage that took most and its share of all; None: nothing was done."""
        total = sum(self.stages.values())
        if total <= 0:
            return None
        stage = max(self.stages, key=lambda name: self.stages[name])
        return stage, self.stages[stage] / total


class Run:
    """Rows of one output, from the check before the work to the whole file.

    Raises:
        OutputError: the output or what an unfinished run left is there, and neither ``resume`` nor
            ``overwrite`` is asked for; or no known format.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        kind: Format | None = None,
        resume: bool = False,
        overwrite: bool = False,
        part_rows: int = PART_ROWS,
    ) -> None:
        self._out = Path(out)
        self._kind = kind or format_of(out)
        self._resume = resume
        self._part_rows = part_rows
        if resume and overwrite:
            raise OutputError(f"{out}: resume goes on and overwrite begins again; choose one")
        check_output(out, self._kind, overwrite=overwrite or resume)
        left = unfinished_rows(self._out)
        if left is not None and not (resume or overwrite):
            raise OutputError(
                f"{out}: {left:,} rows of an unfinished run are in {parts_folder(self._out)};\n"
                "use --resume to go on, or --overwrite to begin again"
            )

    def write(
        self,
        predictor: Predictor,
        inputs: SpooledInputs,
        *,
        workers: Workers = "auto",
        batch_size: int = BATCH_SIZE,
        track: Track = silent,
        counts: Counter[Status] | None = None,
    ) -> Summary:
        """Score what is missing and put the file in its place; ``counts`` follows the rows.

        Raises:
            OutputError: the file cannot be written, or the run cannot be resumed.
            EngineError: workers that die whatever they are given.
        """
        start = perf_counter()
        counts = Counter() if counts is None else counts
        about = {**metadata(predictor, _device(workers)), "inputs": _listed(inputs)}
        basis = {**_basis(about), "format": self._kind.suffix, "part_rows": self._part_rows}
        if (done := self._whole_already(about)) is not None:
            return Summary(done, 0, 0.0, {})
        scorer = BatchScorer(predictor)
        with ExitStack() as stack:
            parts = (Parts.resumed if self._resume else Parts.fresh)(self._out, self._kind, basis)
            stack.callback(parts.release)
            counts.update(parts.counts)
            first = parts.rows
            work = plan(
                workers, len(inputs) - first, remote=inputs.remote, gpu=predictor.device == "cuda"
            )
            rows = stack.enter_context(
                closing(scored(scorer, inputs.after(first), batch_size, work))
            )
            shown = track(rows, "scoring", len(inputs) - first)
            self._add_parts(iter(shown), parts, counts, scorer.stages)
            self._finish(parts, {**about, "rows": _plain(counts)})
        return Summary(counts, len(inputs) - first, perf_counter() - start, scorer.stages)

    def _add_parts(
        self, rows: Iterator[Row], parts: Parts, counts: Counter[Status], stages: Stages
    ) -> None:
        for some in _chunks(rows, self._part_rows, counts):
            with stages.spending("writing"):
                parts.add(self._kind.part(some), Counter(row.status for row in some))

    def _finish(self, parts: Parts, about: Mapping[str, Any]) -> None:
        with kept(self._out), ExitStack() as stack:
            # Entered first, renamed last: the rows never stand without what made them.
            out = stack.enter_context(written_whole(self._out, "xb"))
            self._kind.join(parts.files(), out, about)
            if not self._kind.carries_about:
                told = stack.enter_context(written_whole(beside(self._out), "xb"))
                told.write(json_bytes(about))
        parts.remove()

    def _whole_already(self, about: Mapping[str, Any]) -> Mapping[Status, int] | None:
        """The counts of an output that a run with this very basis has finished."""
        if not (self._resume and self._out.exists()) or unfinished_rows(self._out) is not None:
            return None
        try:
            told = self._kind.told(self._out)
            counts = {Status(name): count for name, count in told["rows"].items()}
            same = _basis(told) == _basis(about)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            same = False
        if same:
            Parts.discard(self._out, self._kind)
            return counts
        raise OutputError(
            f"{self._out}: exists already and is of another run; "
            "use --overwrite or give another name"
        )


def stream(
    predictor: Predictor,
    inputs: SpooledInputs,
    kind: Format,
    out: IO[bytes],
    *,
    workers: Workers = "auto",
    batch_size: int = BATCH_SIZE,
    track: Track = silent,
    counts: Counter[Status] | None = None,
) -> Summary:
    """Write rows to an open stream as they come, such as standard output; nothing is kept.

    Raises:
        OutputError: the stream was closed at its other end.
    """
    start = perf_counter()
    counts = Counter() if counts is None else counts
    scorer = BatchScorer(predictor)
    about = metadata(predictor, _device(workers))
    work = plan(workers, len(inputs), remote=inputs.remote, gpu=predictor.device == "cuda")
    with closing(scored(scorer, inputs.after(0), batch_size, work)) as rows:
        shown = iter(track(rows, "scoring", len(inputs)))
        try:
            kind.stream(_chunks(shown, batch_size, counts), out, about)
        except OSError as error:
            raise OutputError(f"the rows cannot be written: {error.strerror or error}") from error
    return Summary(counts, len(inputs), perf_counter() - start, scorer.stages)


def _device(workers: Workers) -> str | None:
    return workers.device if isinstance(workers, Cluster) else None


def _listed(inputs: SpooledInputs) -> dict[str, Any]:
    return {"count": len(inputs), "digest": inputs.digest}


def _basis(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the rows depend on; what changes none of them stays out."""
    guidance, model = about["guidance"]["digest"], about["model"]["digest"]
    names = ("diascope", "settings", "columns", "inputs")
    return {"model": model, "guidance": guidance, **{name: about[name] for name in names}}


def _plain(counts: Mapping[Status, int]) -> dict[str, int]:
    return {status.value: counts.get(status, 0) for status in Status}


def _chunks(rows: Iterator[Row], size: int, counts: Counter[Status]) -> Iterator[list[Row]]:
    while some := list(_counted(islice(rows, size), counts)):
        yield some


def _counted(rows: Iterable[Row], counts: Counter[Status]) -> Iterator[Row]:
    for row in rows:
        counts[row.status] += 1
        yield row
