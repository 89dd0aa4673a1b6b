"""Manifests: a CSV, JSON Lines or Parquet table of pictures, one ``ScoreInput`` per row."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from math import isfinite
from pathlib import Path, PurePath
from typing import IO, Any
from urllib.parse import quote

from diascope.errors import GuidanceError, ManifestError
from diascope.guidance import Context, read_contexts
from diascope.labels import ManifestLabel
from diascope.preprocess import Box
from diascope.scoring.places import Place, ScoreInput
from diascope.scoring.remote import Address, is_address, redacted

BOX_COLUMNS = ("left", "top", "right", "bottom")
SUFFIXES = (".csv", ".jsonl", ".parquet")

_NAMED = 5  # rows of one fault that an error names
_FAULTS = 100  # kinds of fault that are counted apart
_ANSWERS = {"": None, "yes": True, "no": False}
_KNOWN = ("path", "id", *BOX_COLUMNS, "blanches", "contexts", "mark_type")

Cells = Mapping[str, Any]


def manifest_inputs(file: str, *, labelled: bool = False) -> Iterator[ScoreInput]:
    """Pictures of a manifest, in its order; ``file`` is a path or an address.

    Faulty rows are passed over while it is read, and told at its end.

    Raises:
        ManifestError: as :func:`~diascope.scoring.read_inputs`.
    """
    suffix = PurePath(redacted(file).partition("?")[0]).suffix.lower()
    faults = _Faults(redacted(file))
    base: Callable[[str], Place] = _beside(file)
    for line, cells in _TABLES[suffix](file):
        try:
            yield _input(_whole(cells), base, labelled)
        except ValueError as error:
            faults.note(str(error), f"line {line} {_shown(cells.get('path'))}".strip())
    faults.tell()


class _Faults:
    """What is wrong with a manifest's rows: counted, and the first few named."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._named: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._others = 0

    def note(self, fault: str, where: str) -> None:
        if fault not in self._counts and len(self._counts) == _FAULTS:
            self._others += 1
            return
        self._counts[fault] += 1
        named = self._named.setdefault(fault, [])
        if len(named) < _NAMED:
            named.append(where)

    def tell(self) -> None:
        """Raise the commonest fault in full: at most three lines."""
        if not self._counts:
            return
        fault, count = self._counts.most_common(1)[0]
        others = self._counts.total() - count + self._others
        more = f", and {count - _NAMED} more" if count > _NAMED else ""
        rest = f"\n({others} rows have other faults)" if others else ""
        raise ManifestError(
            f"{self._name}: {fault}, {count} rows: mend or remove them\n"
            f"{'; '.join(self._named[fault])}{more}{rest}"
        )


def _shown(path: object) -> str:
    return redacted(path.strip()) if isinstance(path, str) else ""


def _beside(file: str) -> Callable[[str], Place]:
    if is_address(file):
        folder = file.partition("?")[0].rpartition("/")[0]
        # In a web address ?, # and % are no part of a file's name as they stand.
        quoted = quote if Address(file).scheme in ("http", "https") else str
        return lambda name: Address(f"{folder}/{quoted(name)}")
    return lambda name: Path(file).parent / name


def _opened(file: str) -> IO[bytes]:
    if is_address(file):
        return Address(file).open()
    return Path(file).open("rb")


def _csv_cells(file: str) -> Iterator[tuple[int, Cells]]:
    with _reading(file, "CSV"), TextIOWrapper(_opened(file), "utf-8-sig", newline="") as text:
        table = csv.DictReader(text, strict=True)
        _check_columns(table.fieldnames or (), redacted(file))
        for cells in table:
            # csv puts surplus fields under None, and None for those that are missing.
            whole = None not in cells and None not in cells.values()
            yield table.line_num, cells if whole else {**cells, _LENGTH: ""}


def _json_cells(file: str) -> Iterator[tuple[int, Cells]]:
    with _reading(file, "JSON Lines"), TextIOWrapper(_opened(file), "utf-8-sig") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            cells = json.loads(line)
            if not isinstance(cells, dict):
                raise ValueError(f"line {number} is no JSON object")
            yield number, cells


def _parquet_cells(file: str) -> Iterator[tuple[int, Cells]]:
    # A tenth of a second, for those who use it.
    from pyarrow import parquet  # noqa: PLC0415

    with _reading(file, "Parquet"), _opened(file) as stream:
        table = parquet.ParquetFile(stream)
        names = table.schema_arrow.names
        _check_columns(names, redacted(file))
        number = 0
        for batch in table.iter_batches(1024, columns=[name for name in _KNOWN if name in names]):
            for cells in batch.to_pylist():
                number += 1
                yield number, cells


_TABLES = {".csv": _csv_cells, ".jsonl": _json_cells, ".parquet": _parquet_cells}
_LENGTH = "\0length"  # marks a CSV row of another length; no header can hold it


@contextmanager
def _reading(file: str, kind: str) -> Iterator[None]:
    name = redacted(file)
    try:
        yield
    except FileNotFoundError:
        raise ManifestError(f"{name}: no such folder or manifest; check the path") from None
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise ManifestError(f"{name}: not readable as a {kind} manifest: {error}") from error


def _check_columns(columns: Sequence[str], name: str) -> None:
    if "path" not in columns:
        raise ManifestError(
            f"{name}: column path is missing; it holds file names relative to the manifest"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ManifestError(f"{name}: column {', '.join(twice)} stands twice; remove one")


def _whole(cells: Cells) -> dict[str, str]:
    if _LENGTH in cells:
        raise ValueError("not as many fields as columns (a field that holds a comma needs quotes)")
    return {name: _text(name, cells[name]) for name in _KNOWN if name in cells}


def _text(name: str, value: object) -> str:
    """A cell as CSV would write it, whatever the table's own types are."""
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return "" if value != value else repr(value)  # a table of floats has NaN for nothing
        case list() if all(isinstance(each, str) for each in value):
            return ";".join(value)
    raise ValueError(f"{name} is neither text nor a number")


def _input(cells: Mapping[str, str], base: Callable[[str], Place], labelled: bool) -> ScoreInput:
    name = cells.get("path", "")
    if not name:
        raise ValueError("path is empty")
    if is_address(name):
        place: Place = Address(name)
    elif PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError("path points outside the manifest's folder (paths are relative to it)")
    else:
        place = base(name)
    return ScoreInput(
        id=redacted(cells.get("id") or name),
        path=redacted(name),
        file=place,
        box=_box(cells),
        blanches=_blanches(cells.get("blanches", "")),
        contexts=_contexts(cells.get("contexts", "")),
        mark_type=_mark_type(cells.get("mark_type", "")) if labelled else None,
    )


def _box(cells: Mapping[str, str]) -> Box | None:
    edges = [cells.get(name, "") for name in BOX_COLUMNS]
    return parse_box(edges) if any(edges) else None


def parse_box(edges: Sequence[str]) -> Box:
    """Left, top, right, bottom as numbers.

    Raises:
        ValueError: not four finite numbers with left < right and top < bottom.
    """
    fault = "box is not four numbers with left < right and top < bottom"
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except ValueError:
        raise ValueError(fault) from None
    if not (all(map(isfinite, (left, top, right, bottom))) and left < right and top < bottom):
        raise ValueError(fault)
    return left, top, right, bottom


def _blanches(answer: str) -> bool | None:
    if answer.lower() not in _ANSWERS:
        raise ValueError(f"blanches is {answer!r} (known: yes, no, empty)")
    return _ANSWERS[answer.lower()]


def _contexts(cell: str) -> tuple[Context, ...]:
    try:
        return read_contexts(cell)
    except GuidanceError as error:
        raise ValueError(str(error)) from error


def _mark_type(label: str) -> ManifestLabel | None:
    known = [label.value for label in ManifestLabel]
    if label and label not in known:
        raise ValueError(f"unknown mark_type {label!r} (known: {', '.join(known)}, or empty)")
    return ManifestLabel(label) if label else None
