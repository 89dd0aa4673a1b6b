"""Pictures of your own: folders named after labels, or a table that lists them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from diascope.errors import SourceError
from diascope.labels import ManifestLabel
from diascope.preprocess import Box
from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import Cells, picture_files, read_table, whole_number

_TABLES = (".csv", ".parquet")
_PAIRS = ("1-2", "2-3", "3-4", "4-5", "5-6")
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}
_EDGES = ("left", "top", "right", "bottom")


def _rows(root: Path) -> Iterator[SourceRow]:
    if root.suffix.lower() in _TABLES:
        yield from _table(root)
    else:
        yield from _folders(root)


def _folders(root: Path) -> Iterator[SourceRow]:
    """The folder a picture lies in is its label, whatever lies above."""
    for name in picture_files(root):
        parts = PurePosixPath(name).parts
        if len(parts) < 2:
            raise SourceError(
                f"{root / name}: no folder names its label; put it into one below {root.name}"
            )
        yield _stated(SourceRow(name, name, pictures=(name,)), parts[-2])


def _table(path: Path) -> Iterator[SourceRow]:
    for where, cells in read_table(path, ("path",)):
        patient, source = cells.get("patient_id", ""), cells.get("source", "")
        label = cells.get("mark_type") or cells.get("label") or cells.get("condition") or ""
        row = SourceRow(
            where,
            cells.get("id") or cells["path"],
            pictures=(cells["path"],) if cells["path"] else (),
            patient_id=patient,
            # Each source may number its patients from 1.
            group_id=cells.get("group_id", "") or (patient and f"{source}/{patient}".lstrip("/")),
            fitzpatrick=_tone(cells.get("fitzpatrick", "")),
            monk=whole_number(cells.get("monk", ""), 1, 10),
            box=_box(cells, where),
            source=source,
            licence=cells.get("licence", ""),
            drop=None if label else Drop.NO_LABEL,
        )
        yield _stated(row, label, cells.get("condition") or cells.get("label") or "")


def _stated(row: SourceRow, label: str, condition: str = "") -> SourceRow:
    """The row with its label; a label that is a mark type needs no label map."""
    return replace(
        row,
        labels=((condition or label, 1.0),) if label else (),
        mark_type=ManifestLabel(label) if label in list(ManifestLabel) else None,
    )


def _tone(text: str) -> str:
    """A Fitzpatrick type, in Roman numerals too, or a pair of neighbours as DDI has them."""
    if text in _PAIRS:
        return text
    return whole_number(str(_ROMAN.get(text.upper(), text)), 1, 6)


def _box(cells: Cells, where: str) -> Box | None:
    edges = [cells.get(name, "") for name in _EDGES]
    if not any(edges):
        return None
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except ValueError:
        left = top = right = bottom = math.nan
    if not (left < right and top < bottom and math.isfinite(right - left + bottom - top)):
        raise SourceError(
            f"{where}: the box is not four numbers with left < right and top < bottom"
        )
    return left, top, right, bottom


SOURCE = Source(
    name="folders",
    title="Pictures of your own",
    access=Access.OWN,
    address="--root DIR, or --root TABLE.csv or .parquet",
    licence="",
    terms="Yours, and those of the people shown: their consent is your task.",
    citation="",
    holds="Folders named erythematous, hyperpigmented, neither, other or mixed, or named after "
    "conditions that --map decides; or a table with path and mark_type, or path and label.",
    traps=(
        "A table may also have id, condition, source, patient_id, group_id, fitzpatrick, monk, "
        "left, top, right, bottom, licence: what it has not stays empty.",
        "Classes from different places teach a network the place.",
    ),
    rows=_rows,
)
