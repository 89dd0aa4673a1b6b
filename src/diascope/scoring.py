"""Many pictures in, one true row each out: inputs -> rows -> file.

Rows keep the order of the inputs; a picture that cannot be read becomes a row that says so.
"""

import csv
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from itertools import islice
from math import isfinite
from pathlib import Path, PurePath
from typing import Any, TypeVar

from diascope.errors import GuidanceError, ImageError, ManifestError, OutputError
from diascope.files import written_whole
from diascope.guidance import Claim, Context, read_contexts
from diascope.inference import Prediction, Predictor
from diascope.labels import INTENDED_USE, ManifestLabel, MarkType, Verdict
from diascope.preprocess import Box

PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"]
)
"""Files of a folder that get a row, whether they can be read or not; in lower case."""

BOX_COLUMNS = ("left", "top", "right", "bottom")
SEPARATOR = ";"
"""Between several codes or ids in one cell."""

A = TypeVar("A")
B = TypeVar("B")

_NAMED = 5  # rows of one fault that an error names
_ANSWERS = {"": None, "yes": True, "no": False}


class Status(StrEnum):
    """What became of a picture."""

    OK = "ok"
    DECLINED = "declined"
    UNREADABLE = "unreadable"

    @classmethod
    def of(cls, verdict: Verdict) -> "Status":
        """``ok`` for a verdict that names a colour, else ``declined``."""
        return cls.DECLINED if verdict.declines else cls.OK


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scored picture; the fields, in this order, are the columns of a table.

    What is not known of a picture that could not be read stays empty. ``reason`` is an
    ``UnreadableReason``, or the codes of why it declined, joined by ``;`` as ``contexts``,
    ``claim_ids`` and ``document_ids`` are. ``resolution`` to ``skin_share`` are those of
    ``quality.Quality``.
    """

    id: str
    path: str
    status: Status
    reason: str
    verdict: Verdict | None = None
    image_verdict: Verdict | None = None
    p_erythematous: float | None = None
    p_hyperpigmented: float | None = None
    p_neither: float | None = None
    separation: float | None = None
    ita_degrees: float | None = None
    blanches: bool | None
    width: int | None = None
    height: int | None = None
    resolution: int | None = None
    sharpness: float | None = None
    exposure: float | None = None
    clipped_share: float | None = None
    skin_share: float | None = None
    contexts: str = ""
    claim_ids: str = ""
    document_ids: str = ""
    model: str


COLUMNS = tuple(field.name for field in fields(Row))
"""Columns of a table of rows, in order."""


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


def score(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[Row]:
    """Exactly one row per input, in the order of the inputs.

    ``workers`` threads predict batches of ``batch_size`` at the same time; a row does not depend
    on either.
    """
    pairs = predict_inputs(predictor, inputs, batch_size=batch_size, workers=workers)
    for item, answer in pairs:
        yield row_of(item, answer, predictor.name)


def predict_inputs(
    predictor: Predictor,
    inputs: Iterable[ScoreInput],
    *,
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[tuple[ScoreInput, Prediction | ImageError]]:
    """Each input with its prediction, or with why it could not be read; in order."""

    def predict(batch: Sequence[ScoreInput]) -> list[tuple[ScoreInput, Prediction | ImageError]]:
        answers = predictor.predict_batch(
            [item.file for item in batch],
            boxes=[item.box for item in batch],
            blanches=[item.blanches for item in batch],
            contexts=[item.contexts for item in batch],
            on_error="return",
        )
        return list(zip(batch, answers, strict=True))

    for pairs in _ordered(predict, _batches(inputs, batch_size), workers):
        yield from pairs


def _batches(inputs: Iterable[ScoreInput], size: int) -> Iterator[list[ScoreInput]]:
    remaining = iter(inputs)
    while batch := list(islice(remaining, size)):
        yield batch


def _ordered(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """``work`` of every item in order, by threads, with a bounded look-ahead: memory stays flat."""
    if workers <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, "score")
    running: deque[Future[B]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def row_of(item: ScoreInput, answer: Prediction | ImageError, model: str) -> Row:
    """The row of one picture; ``model`` names the bundle."""
    if isinstance(answer, ImageError):
        return Row(
            id=item.id,
            path=item.path,
            status=Status.UNREADABLE,
            reason=answer.reason.value,
            blanches=item.blanches,
            contexts=SEPARATOR.join(item.contexts),
            model=model,
        )
    return Row(
        id=item.id,
        path=item.path,
        status=Status.of(answer.verdict),
        reason=SEPARATOR.join(answer.reasons),
        verdict=answer.verdict,
        image_verdict=answer.image_verdict,
        p_erythematous=answer.probabilities[MarkType.ERYTHEMATOUS],
        p_hyperpigmented=answer.probabilities[MarkType.HYPERPIGMENTED],
        p_neither=answer.probabilities[MarkType.NEITHER],
        separation=answer.separation,
        ita_degrees=answer.ita_degrees,
        blanches=answer.blanches,
        width=answer.width,
        height=answer.height,
        **asdict(answer.quality),
        contexts=SEPARATOR.join(answer.contexts),
        claim_ids=SEPARATOR.join(claim.id for claim in answer.guidance),
        document_ids=SEPARATOR.join(document_ids(answer.guidance)),
        model=model,
    )


def record_of(item: ScoreInput, answer: Prediction | ImageError) -> dict[str, Any]:
    """One picture as JSON types: path and status, then the prediction or why there is none."""
    if isinstance(answer, ImageError):
        reason, detail = answer.reason.value, answer.detail
        return {
            "path": item.path,
            "status": Status.UNREADABLE.value,
            "reason": reason,
            "detail": detail,
        }
    return {"path": item.path, "status": Status.of(answer.verdict).value, **answer.to_dict()}


def document_ids(claims: Iterable[Claim]) -> tuple[str, ...]:
    """Documents that stand behind claims, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(name for claim in claims for name in claim.document_ids))


def agrees(label: ManifestLabel, verdict: Verdict) -> bool:
    """Whether a verdict is right for a label: ``mixed`` wants ``unclear``, ``other`` no colour."""
    if label is ManifestLabel.OTHER:
        return verdict.declines
    if label is ManifestLabel.MIXED:
        return verdict is Verdict.UNCLEAR
    return verdict.value == label.value


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
