"""Rows to a file, with what made them beside it; whole or not at all."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diascope.errors import OutputError
from diascope.files import written_whole
from diascope.inference import Predictor
from diascope.labels import INTENDED_USE
from diascope.scoring.rows import COLUMNS, Row, Status


def check_output(out: Path | str, *, overwrite: bool = False) -> Path:
    """Refuse an output before the work is done rather than after.

    Raises:
        OutputError: it or its ``.meta.json`` exists and ``overwrite`` is False, it is a folder,
            or it does not end in .csv.
    """
    out = Path(out)
    if out.suffix.lower() != ".csv":
        raise OutputError(f"{out}: rows are written as CSV; give a name that ends in .csv")
    if out.is_dir():
        raise OutputError(f"{out}: this is a folder; give the name of a file")
    for file in (out, _beside(out)):
        if file.exists() and not overwrite:
            raise OutputError(f"{file}: exists already; use --overwrite or give another name")
    return out


def _beside(out: Path) -> Path:
    return out.with_suffix(".meta.json")


def metadata(predictor: Predictor) -> dict[str, Any]:
    """What made the rows, as JSON types: diascope, model, guidance pack and intended use."""
    description = predictor.bundle.description
    return {
        "intended_use": INTENDED_USE,
        "diascope": version("diascope"),
        "model": {
            "name": description.name,
            "digest": predictor.bundle.digest,
            "intended_use": description.intended_use,
        },
        "guidance": {"name": predictor.pack.name, "version": predictor.pack.version},
        "columns": list(COLUMNS),
    }


def write_csv(
    rows: Iterable[Row], out: Path | str, about: Mapping[str, Any], *, overwrite: bool = False
) -> Counter[Status]:
    """Write rows as CSV (UTF-8) and ``about`` beside it as ``<name>.meta.json``.

    Both appear whole or not at all. A number that is not known is an empty cell; floats are
    written so that they read back as the same float. The answer counts the rows by status.

    Raises:
        OutputError: as :func:`check_output`, or the file cannot be written.
    """
    out = check_output(out, overwrite=overwrite)
    counts: Counter[Status] = Counter()
    # backslashreplace: a file name need not be text.
    text = partial(written_whole, mode="x", encoding="utf-8", errors="backslashreplace", newline="")
    with text(out) as file, text(_beside(out)) as beside:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            counts[row.status] += 1
            table.writerow([_cell(getattr(row, name)) for name in COLUMNS])
        beside.write(json.dumps(about, indent=2) + "\n")
    return counts


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
