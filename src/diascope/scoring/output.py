"""Rows as files: CSV, JSON Lines, Parquet; how a part is written and how parts become the file."""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, Any, Protocol

from diascope.errors import OutputError
from diascope.guidance import GuidancePack
from diascope.image import Limits
from diascope.inference import Predictor
from diascope.labels import INTENDED_USE
from diascope.scoring.rows import COLUMNS, Cell, Row, plain_cells

STANDARD_OUTPUT = "-"

About = Mapping[str, Any]
"""What made the rows, as JSON types."""


class Format(Protocol):
    """A kind of file for rows; parts written one by one make the same bytes as one after another.

    Attributes:
        suffix: of its files.
        carries_about: whether the file itself says what made the rows.
    """

    suffix: str
    carries_about: bool

    def part(self, rows: Sequence[Row]) -> bytes:
        """Rows as one part."""
        ...

    def join(self, parts: Iterable[Path], out: IO[bytes], about: About) -> None:
        """Write the whole file from its parts, one of them in memory at a time."""
        ...

    def stream(self, chunks: Iterable[Sequence[Row]], out: IO[bytes], about: About) -> None:
        """Write the whole file as its rows come."""
        ...

    def told(self, out: Path) -> About:
        """What a whole file says made it.

        Raises:
            OSError, ValueError: nothing that can be read.
        """
        ...


class _Text:
    """Lines of text; what made them stands beside them in ``NAME.meta.json``."""

    suffix, carries_about = "", False
    head = b""

    def part(self, rows: Sequence[Row]) -> bytes:
        raise NotImplementedError

    def join(self, parts: Iterable[Path], out: IO[bytes], about: About) -> None:
        out.write(self.head)
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, out)

    def stream(self, chunks: Iterable[Sequence[Row]], out: IO[bytes], about: About) -> None:
        out.write(self.head)
        for rows in chunks:
            out.write(self.part(rows))
            out.flush()

    def told(self, out: Path) -> About:
        about: About = json.loads(beside(out).read_bytes())
        return about


class _Lines:
    """Lines of ``csv.writer``, which quotes a cell for the ends of lines that it writes only.

    A file name may hold a carriage return; unquoted, readers would make two rows of it.
    """

    END = "\r\n"

    def __init__(self, text: StringIO) -> None:
        self._text = text

    def write(self, line: str) -> None:
        self._text.write(line.removesuffix(self.END) + "\n")


class Csv(_Text):
    """CSV, UTF-8, with a header; what is not known is empty, a float reads back as it was."""

    suffix = ".csv"
    head = (",".join(COLUMNS) + "\n").encode()

    def part(self, rows: Sequence[Row]) -> bytes:
        """Lines without the header."""
        text = StringIO(newline="")
        table = csv.writer(_Lines(text), lineterminator=_Lines.END)
        table.writerows([map(_csv_cell, plain_cells(row)) for row in rows])
        return text.getvalue().encode()


class Jsonl(_Text):
    """JSON Lines, UTF-8: an object per row; what is not known is null."""

    suffix = ".jsonl"

    def part(self, rows: Sequence[Row]) -> bytes:
        """One line per row."""
        records = (dict(zip(COLUMNS, plain_cells(row), strict=True)) for row in rows)
        return b"".join(
            json.dumps(each, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            for each in records
        )


class Parquet:
    """Parquet with the schema of ``scoring.table``; a row group per part."""

    suffix, carries_about = ".parquet", True
    _KEY = "diascope"

    def part(self, rows: Sequence[Row]) -> bytes:
        """A whole Parquet file of one row group."""
        from diascope.scoring import table  # noqa: PLC0415 pyarrow for those who use it

        content = BytesIO()
        table.write([table.table_of(rows)], content, table.schema())
        return content.getvalue()

    def join(self, parts: Iterable[Path], out: IO[bytes], about: About) -> None:
        """Row groups in the order of the parts; ``about`` as JSON in the file's metadata."""
        from diascope.scoring import table  # noqa: PLC0415

        schema = table.schema({self._KEY: json.dumps(about)})
        table.write(map(table.read, parts), out, schema)

    def stream(self, chunks: Iterable[Sequence[Row]], out: IO[bytes], about: About) -> None:
        """A row group per chunk."""
        from diascope.scoring import table  # noqa: PLC0415

        table.write(map(table.table_of, chunks), out, table.schema({self._KEY: json.dumps(about)}))

    def told(self, out: Path) -> About:
        """The file's metadata."""
        from diascope.scoring import table  # noqa: PLC0415

        about: About = json.loads(table.metadata_of(out)[self._KEY.encode()])
        return about


FORMATS: Mapping[str, Format] = {"csv": Csv(), "jsonl": Jsonl(), "parquet": Parquet()}


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)


def format_of(out: Path | str, name: str | None = None) -> Format:
    """The format of an output by its suffix, or by ``name``.

    Raises:
        OutputError: no known suffix, or one of another format.
    """
    suffix = Path(out).suffix.lower()
    if name is None:
        name = suffix.removeprefix(".")
    if name not in FORMATS:
        raise OutputError(
            f"{out}: rows are written as CSV, JSON Lines or Parquet; "
            "give a name that ends in .csv, .jsonl or .parquet"
        )
    if suffix and suffix != FORMATS[name].suffix:
        raise OutputError(f"{out}: is no name for {name}; end it in {FORMATS[name].suffix}")
    return FORMATS[name]


def beside(out: Path) -> Path:
    """The file that says what made the rows of a text file."""
    return out.with_suffix(".meta.json")


def check_output(out: Path | str, kind: Format, *, overwrite: bool = False) -> Path:
    """Refuse an output before the work is done rather than after.

    Raises:
        OutputError: it or its ``.meta.json`` exists and ``overwrite`` is False, or it is a folder.
    """
    out = Path(out)
    if out.is_dir():
        raise OutputError(f"{out}: this is a folder; give the name of a file")
    for file in (out, *(() if kind.carries_about else (beside(out),))):
        if file.exists() and not overwrite:
            raise OutputError(f"{file}: exists already; use --overwrite or give another name")
    return out


def metadata(predictor: Predictor, device: str | None = None) -> dict[str, Any]:
    """What made the rows, as JSON types: diascope, model, guidance pack and intended use.

    ``device`` is the workers' where it is not the predictor's own.
    """
    description = predictor.bundle.description
    return {
        "intended_use": INTENDED_USE,
        "diascope": version("diascope"),
        "model": {
            "name": description.name,
            "digest": predictor.bundle.digest,
            "intended_use": description.intended_use,
        },
        "guidance": {
            "name": predictor.pack.name,
            "version": predictor.pack.version,
            "digest": _guidance_digest(predictor.pack),
        },
        "settings": {
            "device": device or predictor.device,
            "runtime": predictor.runtime,
            "limits": asdict(predictor.limits or Limits()),
        },
        "columns": list(COLUMNS),
    }


def _guidance_digest(pack: GuidancePack) -> str:
    content = "\n".join(claim.model_dump_json() for claim in pack.claims)
    return hashlib.sha256(content.encode()).hexdigest()


def json_bytes(about: About) -> bytes:
    """JSON for people to read."""
    return (json.dumps(about, indent=2) + "\n").encode()
