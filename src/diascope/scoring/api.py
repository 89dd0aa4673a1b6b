"""The import API: what ``diascope score`` does, as an iterator of rows or an Arrow table."""

import os
from collections.abc import Iterable, Iterator
from itertools import count as count_from
from operator import length_hint
from typing import TYPE_CHECKING, Any

from diascope.image import PictureSource, source_name
from diascope.inference import Predictor
from diascope.scoring.batch import BatchScorer
from diascope.scoring.engine import BATCH_SIZE, Workers, plan, scored
from diascope.scoring.inputs import named_input, no_pictures, source_inputs
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import Row
from diascope.scoring.spool import SpooledInputs

if TYPE_CHECKING:
    import pyarrow as pa


class Rows(Iterator[Row]):
    """Rows as they are scored; ``close`` ends the work early."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows

    def __next__(self) -> Row:
        return next(self._rows)

    def close(self) -> None:
        """End the workers; there are no more rows."""
        if hasattr(self._rows, "close"):
            self._rows.close()

    def to_table(self) -> "pa.Table":
        """All rows that are left, as a pyarrow Table of the documented schema."""
        from diascope.scoring import table  # noqa: PLC0415 pyarrow for those who use it

        return table.table_by_and_by(self)


def score(
    inputs: str | os.PathLike[str] | Iterable[PictureSource | ScoreInput],
    *,
    model: Predictor | str | os.PathLike[str] | None = None,
    workers: Workers = "auto",
    batch_size: int = BATCH_SIZE,
    **settings: Any,
) -> Rows:
    """Exactly one row per input, in their order; what cannot be read has a row that says why.

    Args:
        inputs: a source as the command line takes it (a folder, glob, manifest, list, archive,
            address), or pictures: paths, addresses, bytes, Pillow images, arrays, ``ScoreInput``.
        model: a Predictor, a shipped bundle's name, or a bundle's folder; None: the default one.
        workers: threads or processes; ``auto`` chooses by the number of inputs.
        batch_size: pictures per step of a worker; no row depends on it.
        settings: of :meth:`Predictor.load`, such as ``device`` or ``limits``.

    Raises:
        ManifestError: a source that is none, or holds no pictures.
        BundleError, GuidanceError, DeviceError, MissingExtraError: as ``Predictor.load``.
        TypeError: one picture that is no path, or settings beside a Predictor.
    """
    _check_several(inputs)
    items: Iterable[ScoreInput]
    if isinstance(inputs, str | os.PathLike):
        items = spooled = SpooledInputs(source_inputs(inputs))
        if not len(spooled):
            raise no_pictures(inputs)
        count, remote = len(spooled), spooled.remote
    else:
        count, remote = length_hint(inputs, 0), False
        items = map(_input, count_from(0), inputs)
    if not isinstance(model, Predictor):
        model = Predictor.load(model, **{"threads": 1, **settings})
    elif settings:
        raise TypeError(f"a Predictor has its settings already: {', '.join(settings)}")
    work = plan(workers, count, remote=remote, gpu=model.device == "cuda")
    return Rows(scored(BatchScorer(model), items, batch_size, work))


def _check_several(inputs: object) -> None:
    # They can be gone through, too: by byte, line or row, each a picture that is none.
    single = isinstance(inputs, bytes | bytearray | memoryview) or hasattr(inputs, "read")
    if single or getattr(inputs, "ndim", 1) in (2, 3):
        raise TypeError("score takes a source or several pictures; give one picture in a list")


def _input(number: int, picture: PictureSource | ScoreInput) -> ScoreInput:
    if isinstance(picture, ScoreInput):
        return picture
    if isinstance(picture, str | os.PathLike):
        return named_input(os.fsdecode(picture))
    return ScoreInput(str(number), source_name(picture), picture)
