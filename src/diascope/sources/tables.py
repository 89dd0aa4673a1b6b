"""A set's tables and folders: found, checked, read as text, every row with its place."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diascope.errors import SourceError
from diascope.image import PICTURE_SUFFIXES

Cells = dict[str, str]


def find_table(root: Path, name: str) -> Path:
    """Find a table in a set's root, or one folder below it.

    Raises:
        SourceError: it is not there, or in several folders.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; --root is where the data set was put")
    found = [root / name] if (root / name).is_file() else sorted(root.glob(f"*/{name}"))
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(path.parent) for path in found[:3])
        raise SourceError(f"{root}: {name} is in several folders; give one as --root\n{places}")
    raise SourceError(
        f"{root}: {name} is missing; --root is the folder that holds it or the one above"
    )


def read_table(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Cells]]:
    """Yield where each row stands and its cells as stripped text; a CSV, or a Parquet file.

    Raises:
        SourceError: not readable, a missing column, a row of another length.
    """
    rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    columns = next(rows)[1]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise SourceError(
            f"{path}: column {', '.join(missing)} is missing; download the table again, "
            f"unchanged\nit has {', '.join(columns)[:300]}"
        )
    yield from rows


def _csv(path: Path) -> Iterator[tuple[str, Cells]]:
    """The header as keys, then the rows; a line number is that of a row's first line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            yield path.name, dict.fromkeys(table.fieldnames or (), "")
            line = table.line_num + 1
            for cells in table:
                where = f"{path.name} line {line}"
                if None in cells or None in cells.values():
                    raise SourceError(
                        f"{path}: line {line} has not as many fields as the header; "
                        "download the table again"
                    )
                yield where, {name: value.strip() for name, value in cells.items()}
                line = table.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not readable as a CSV table: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[str, Cells]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{path}: not readable as a Parquet table: {error}") from error
    yield path.name, dict.fromkeys(table.column_names, "")
    for number, cells in enumerate(table.to_pylist(), start=1):
        yield f"{path.name} row {number}", {name: as_text(value) for name, value in cells.items()}


def as_text(value: object) -> str:
    """Give a cell of a Parquet table as a CSV would hold it: nothing for null."""
    return "" if value is None else str(value).strip()


def picture_files(root: Path) -> Iterator[str]:
    """Yield every picture under a folder by its path from there, with slashes, sorted.

    Raises:
        SourceError: a folder that is none, or may not be listed.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; --root is where the data set was put")
    for folder, folders, names in os.walk(root, onerror=_cannot_list):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            # Names with a leading dot are what file managers leave behind.
            if path.suffix.lower() in PICTURE_SUFFIXES and not name.startswith("."):
                yield path.relative_to(root).as_posix()


def _cannot_list(error: OSError) -> None:
    # os.walk would pass over such a folder without a word.
    raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def whole_number(text: str, low: int, high: int) -> str:
    """Give a number of a table, "3" or "3.0", as "3"; nothing where it is outside the range."""
    try:
        value = float(text)
    except ValueError:
        return ""
    return str(int(value)) if value in range(low, high + 1) else ""
