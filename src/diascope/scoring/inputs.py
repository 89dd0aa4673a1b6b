"""What to score: a folder, a manifest or a list becomes ``ScoreInput`` after ``ScoreInput``."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePath
from typing import Any

from diascope.errors import GuidanceError, ManifestError
from diascope.guidance import Context, read_contexts
from diascope.labels import ManifestLabel
from diascope.preprocess import Box

PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"]
)
"""Files of a folder that get a row, whether they can be read or not; in lower case."""

BOX_COLUMNS = ("left", "top", "right", "bottom")

_NAMED = 5  # rows of one fault that an error names
_ANSWERS = {"": None, "yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """One picture to score and what is known of it.

    Attributes:
        id: the manifest's id, else the path.
        path: as written in the manifest, or relative to the folder.
        file: where the picture is.
        box: left, top, right, bottom of the mark in pixels of the upright original.
        blanches: answer of the glass test.
        contexts: what is known of the person.
        mark_type: the manifest's label, for tables that compare; never given to the predictor.
    """

    id: str
    path: str
    file: Path
    box: Box | None = None
    blanches: bool | None = None
    contexts: tuple[Context, ...] = ()
    mark_type: ManifestLabel | None = None


def read_inputs(path: Path | str, *, labelled: bool = False) -> tuple[ScoreInput, ...]:
    """Pictures of a folder (recursive, sorted by path) or of a CSV manifest (in its order).

    A manifest needs the column ``path`` (relative to it, inside its folder) and may have ``id``,
    ``left, top, right, bottom``, ``blanches`` (yes, no or empty) and ``contexts`` (joined by
    ``;``); ``mark_type`` is read only where ``labelled`` is asked for. Whether the pictures exist
    is found out when they are scored.

    Raises:
        ManifestError: nothing there, no pictures, no column ``path``, a column twice, a row of
            another length than the header, or values that are none.
    """
    path = Path(path)
    inputs = tuple(_folder_inputs(path) if path.is_dir() else _manifest_inputs(path, labelled))
    if not inputs:
        raise ManifestError(f"{path}: holds no pictures; give a folder of them or a CSV manifest")
    return inputs


def listed_inputs(
    names: Iterable[str],
    *,
    box: Box | None = None,
    blanches: bool | None = None,
    contexts: Sequence[Context] = (),
    expand: bool = False,
) -> tuple[ScoreInput, ...]:
    """Pictures named one by one, with what is known of all of them.

    With ``expand``, a folder or a CSV manifest stands for the pictures it holds, which keep what
    the manifest says of them.

    Raises:
        ManifestError: with ``expand``, as :func:`read_inputs`.
    """
    inputs: list[ScoreInput] = []
    for name in names:
        if expand and (name.lower().endswith(".csv") or Path(name).is_dir()):
            inputs += read_inputs(name, labelled=True)
        else:
            inputs.append(ScoreInput(name, name, Path(name), box, blanches, tuple(contexts)))
    return tuple(inputs)


def _folder_inputs(folder: Path) -> Iterator[ScoreInput]:
    names = []
    for here, _, files in os.walk(folder, onerror=_cannot_list):
        inside = Path(here).relative_to(folder)
        names += [inside / name for name in files if _is_picture_name(name)]
    for name in sorted(names, key=PurePath.as_posix):
        yield ScoreInput(name.as_posix(), name.as_posix(), folder / name)


def _is_picture_name(name: str) -> bool:
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def _cannot_list(error: OSError) -> None:
    # os.walk would pass over such a folder without a word.
    raise ManifestError(f"{error.filename}: the folder cannot be listed: {error.strerror}")


def _manifest_inputs(path: Path, labelled: bool) -> Iterator[ScoreInput]:
    faults: dict[str, list[str]] = {}
    inputs = []
    for line, cells in _manifest_cells(path):
        try:
            inputs.append(_input(_whole(cells), path.parent, labelled))
        except ValueError as error:
            where = f"line {line} {cells['path'] or ''}".strip()
            faults.setdefault(str(error), []).append(where)
    if faults:
        raise ManifestError(_tell(faults, path))
    return iter(inputs)


def _manifest_cells(path: Path) -> Iterator[tuple[int, dict[str | Any, str | Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            _check_columns(table.fieldnames or (), path)
            for cells in table:
                yield table.line_num, cells
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such folder or manifest; check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not readable as a CSV manifest: {error}") from error


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if "path" not in columns:
        raise ManifestError(
            f"{path}: column path is missing; it holds file names relative to the manifest"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ManifestError(f"{path}: column {', '.join(twice)} stands twice; remove one")


def _whole(cells: Mapping[str | Any, str | Any]) -> dict[str, str]:
    # csv puts surplus fields under None, and None for those that are missing.
    if None in cells or None in cells.values():
        raise ValueError("not as many fields as columns (a field that holds a comma needs quotes)")
    return {name: text.strip() for name, text in cells.items()}


def _input(cells: Mapping[str, str], folder: Path, labelled: bool) -> ScoreInput:
    name = cells["path"]
    if not name:
        raise ValueError("path is empty")
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError("path points outside the manifest's folder (paths are relative to it)")
    return ScoreInput(
        id=cells.get("id") or name,
        path=name,
        file=folder / name,
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


def _tell(faults: Mapping[str, Sequence[str]], path: Path) -> str:
    """The commonest fault in full: at most three lines."""
    fault, where = max(faults.items(), key=lambda item: len(item[1]))
    total = sum(map(len, faults.values()))
    more = f", and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    others = f"\n({total - len(where)} rows have other faults)" if total > len(where) else ""
    named = "; ".join(where[:_NAMED])
    return f"{path}: {fault}, {len(where)} rows: mend or remove them\n{named}{more}{others}"
