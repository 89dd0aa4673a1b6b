"""Rows as Arrow and Parquet: the typed schema, and tables of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import IO, Any, get_args, get_type_hints

import pyarrow as pa
from pyarrow import parquet

from diascope.scoring.rows import COLUMNS, Row, plain_cells

_TYPES = {bool: pa.bool_(), str: pa.string(), float: pa.float64(), int: pa.int64()}


def schema(about: Mapping[str, str] | None = None) -> pa.Schema:
    """The columns of :class:`Row` with their types; ``about`` becomes the file's metadata."""
    hints = get_type_hints(Row)
    return pa.schema(
        [_field(field.name, hints[field.name]) for field in fields(Row)], metadata=dict(about or {})
    )


def table_of(rows: Iterable[Row], about: Mapping[str, str] | None = None) -> pa.Table:
    """Rows as one Arrow table."""
    cells = [plain_cells(row) for row in rows]
    columns = {name: [row[index] for row in cells] for index, name in enumerate(COLUMNS)}
    return pa.table(columns, schema=schema(about))


def table_by_and_by(rows: Iterator[Row], size: int = 4096) -> pa.Table:
    """As :func:`table_of` for very many rows: few of them exist as objects at a time."""
    tables = [table_of(())]
    while some := list(islice(rows, size)):
        tables.append(table_of(some))
    return pa.concat_tables(tables)


def write(tables: Iterable[pa.Table], out: IO[bytes], columns: pa.Schema) -> None:
    """Parquet, a row group per table."""
    with parquet.ParquetWriter(out, columns) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, table.num_rows))


def read(file: Path) -> pa.Table:
    """A small Parquet file, whole."""
    return parquet.ParquetFile(file).read()


def column(content: bytes, name: str) -> list[Any]:
    """One column of the bytes of a Parquet file."""
    values: list[Any] = parquet.ParquetFile(pa.BufferReader(content)).read([name])[name].to_pylist()
    return values


def metadata_of(file: Path) -> Mapping[bytes, bytes]:
    """What a Parquet file says of itself."""
    return dict(parquet.read_schema(file).metadata or {})


def _field(name: str, hint: Any) -> pa.Field:
    kinds = set(get_args(hint) or (hint,))
    (kind,) = kinds - {NoneType}
    arrow = next(_TYPES[base] for base in _TYPES if issubclass(kind, base))
    return pa.field(name, arrow, nullable=NoneType in kinds)
