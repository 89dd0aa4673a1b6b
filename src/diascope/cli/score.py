"""The work of ``diascope score``: what is checked, run and said, in that order."""

import os
import shlex
import sys
from collections import Counter
from typing import NoReturn

from diascope.cli.terminal import notice, say, tracking
from diascope.errors import OutputError
from diascope.inference import Predictor
from diascope.labels import INTENDED_USE
from diascope.scoring import (
    FORMATS,
    Cluster,
    Run,
    SpooledInputs,
    Status,
    Summary,
    format_of,
    no_pictures,
    source_inputs,
    stream,
)
from diascope.scoring.cluster_parts import ClusterRun
from diascope.scoring.engine import Workers
from diascope.scoring.output import STANDARD_OUTPUT

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell gives it."""


class Scoring:
    """One run of the command; everything that can be refused is refused before the work."""

    def __init__(
        self, out: str, format_name: str | None, *, resume: bool, overwrite: bool, part_rows: int
    ) -> None:
        self._out = out
        self._counts: Counter[Status] = Counter()
        self._run: Run | ClusterRun | None = None
        if out.endswith("/"):
            if format_name not in (None, "parquet"):
                raise OutputError(f"{out}: a folder gets Parquet parts; leave --format out")
            self._run = ClusterRun(out, resume=resume, overwrite=overwrite, part_rows=part_rows)
        elif out == STANDARD_OUTPUT:
            if resume:
                raise OutputError("--resume needs a file to go on with; give --out a name")
            self._kind = FORMATS[format_name or "csv"]
        else:
            self._kind = format_of(out, format_name)
            self._run = Run(
                out, kind=self._kind, resume=resume, overwrite=overwrite, part_rows=part_rows
            )

    def inputs(self, source: str) -> SpooledInputs:
        """Everything there is to score, counted.

        Raises:
            ManifestError: nothing, or not what it should be.
        """
        with tracking(least=2.0) as track:
            inputs = SpooledInputs(track(source_inputs(source), "listing"))
        if not len(inputs):
            raise no_pictures(source)
        return inputs

    def score(
        self, predictor: Predictor, inputs: SpooledInputs, workers: Workers, batch_size: int
    ) -> Summary:
        """Score, write, and say how it went."""
        with tracking(self._note) as track:
            if isinstance(self._run, ClusterRun):
                if not isinstance(workers, Cluster):
                    raise OutputError(
                        f"{self._out}: a folder of parts is written by --engine ray; "
                        "give the name of a file"
                    )
                summary = self._run.write(
                    predictor,
                    inputs,
                    workers,
                    batch_size=batch_size,
                    track=track,
                    counts=self._counts,
                )
            elif self._run is None:
                summary = stream(
                    predictor,
                    inputs,
                    self._kind,
                    sys.stdout.buffer,
                    workers=workers,
                    batch_size=batch_size,
                    track=track,
                    counts=self._counts,
                )
            else:
                summary = self._run.write(
                    predictor,
                    inputs,
                    workers=workers,
                    batch_size=batch_size,
                    track=track,
                    counts=self._counts,
                )
        self._tell(summary, predictor.name)
        return summary

    def interrupted(self) -> NoReturn:
        """Say how to go on, and leave at once: a thread may wait for a far server."""
        if self._run is None:
            notice("interrupted; the rows that were written are good")
        else:
            notice("interrupted; the rows so far are kept. To go on:", _resuming(sys.argv[1:]))
        sys.stderr.flush()
        os._exit(INTERRUPTED)

    def _note(self) -> str:
        declined, bad = self._counts[Status.DECLINED], self._counts[Status.UNREADABLE]
        return f"{declined} declined, {bad} unreadable"

    def _tell(self, summary: Summary, model: str) -> None:
        counts = summary.counts
        told = ", ".join(f"{counts.get(status, 0)} {status}" for status in Status)
        name = "standard output" if self._run is None else self._out
        lines = [f"{name}: {sum(counts.values())} rows ({told}), model {model}"]
        if not summary.scored:
            lines.append("whole already: nothing was left to score")
        if summary.slowest:
            stage, share = summary.slowest
            lines.append(
                f"{summary.scored} pictures in {summary.seconds:.1f} s, {summary.rate:.1f}/s; "
                f"slowest stage: {stage} ({share:.0%} of the work)"
            )
        tell = notice if self._run is None else say
        tell(*lines, INTENDED_USE)


def _resuming(arguments: list[str]) -> str:
    kept = [each for each in arguments if each not in ("--resume", "--overwrite")]
    return shlex.join(["diascope", *kept, "--resume"])
