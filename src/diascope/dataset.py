"""Manifest rows -> samples in memory; groups and splits that cannot leak."""

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow.csv import write_csv
from pyarrow.parquet import read_table as read_parquet

from diascope.config import DataConfig
from diascope.duplicates import CopyPair, find_copies, join_groups
from diascope.errors import ImageError, ManifestError, SplitError
from diascope.image import read_picture
from diascope.labels import ManifestLabel, MarkType
from diascope.preprocess import Box, cut, read_for
from diascope.progress import Track, silent

NEEDED_COLUMNS = ("path", "mark_type", "condition", "source", "group_id")
BOX_COLUMNS = ("left", "top", "right", "bottom")
PURE_LABELS = frozenset(ManifestLabel(kind) for kind in MarkType)
"""Labels that are a class of the network."""
RENDERED_SOURCE = "rendered"
"""Source of every drawn sample."""

SPLIT_COLUMN = "split"
"""Names the part of a split that a row is in; see :func:`split_rows`."""
COPY_SIDE = 192
"""Copies are looked for on pictures of this shorter side, in pixels."""

UNKNOWN_TONES = ("", "-1", "0", "na", "nan", "none", "unknown")
"""Words of a tone column, in lower case, that say that there is no label."""
_NAMED = 5  # rows of one fault that an error names


@dataclass(frozen=True)
class ManifestRow:
    """One picture of a manifest; ``path`` as written, ``file`` where it is.

    ``id`` and ``group_id`` are the path where the manifest gives none: a picture is then a group
    of its own. ``box`` is in pixels of the upright original; ``extra`` holds all other columns.
    """

    id: str
    path: str
    file: Path
    mark_type: ManifestLabel
    condition: str
    source: str
    group_id: str
    box: Box | None
    extra: dict[str, str]

    @property
    def person(self) -> str:
        """The patient, told apart by source: numbers start anew in each; empty where not known."""
        patient = self.extra.get("patient_id", "")
        return f"{self.source}\n{patient}" if patient else ""

    @property
    def tone(self) -> str:
        """Skin tone as the manifest says: Fitzpatrick, else Monk; empty where it does not."""
        for scale in ("fitzpatrick", "monk"):
            tone = self.extra.get(scale, "")
            if tone.lower() not in UNKNOWN_TONES:
                return f"{scale} {tone}"
        return ""


@dataclass(frozen=True)
class Manifest:
    """All rows of a manifest in their order; ``digest`` is the file's SHA-256."""

    path: Path
    rows: tuple[ManifestRow, ...]
    digest: str


@dataclass(frozen=True)
class Sample:
    """One picture in memory, ready to be changed and prepared.

    Attributes:
        pixels: sRGB uint8 (H, W, 3).
        inner: the mark's box in these pixels, if one was given.
        target: over ``LABEL_ORDER``, sums to 1.
        source: where the picture is from; ``rendered`` for drawn ones.
        group_id: pictures that share it never part in a split.
        cover: uint8 (C, C), how much of each cell of the picture the mark takes, 255: all of it;
            None for photographs, of which nobody knows.
    """

    pixels: npt.NDArray[np.uint8]
    inner: Box | None
    target: tuple[float, float, float]
    source: str
    group_id: str
    cover: npt.NDArray[np.uint8] | None = None

    @property
    def drawn(self) -> bool:
        """Rendered, not photographed."""
        return self.cover is not None


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest, CSV or Parquet; every path, label and box in it is checked.

    Raises:
        ManifestError: no such file, no table, a missing column, a row of another length than the
            header, an unknown label, a path that does not exist, a box that is none, the same
            path twice; faults are counted, the first five named.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        text = io.StringIO(_text(data, path), newline="")
        # Strict: an open quote would swallow every row after it.
        table = csv.DictReader(text, strict=True)
        _check_columns(table.fieldnames or (), path)
        rows = _rows(table, path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ManifestError(
            f"{path}: not readable as a CSV or Parquet manifest: {error}"
        ) from error
    if not rows:
        raise ManifestError(f"{path}: no rows; a manifest has one line per picture")
    return Manifest(path, rows, hashlib.sha256(data).hexdigest())


def _text(data: bytes, path: Path) -> str:
    """The manifest as CSV: a Parquet one becomes that, its nulls empty cells."""
    if path.suffix.lower() != ".parquet":
        return data.decode("utf-8-sig")
    text = io.BytesIO()
    write_csv(read_parquet(io.BytesIO(data)), text)
    return text.getvalue().decode()


def _check_columns(columns: Sequence[str], path: Path) -> None:
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise ManifestError(
            f"{path}: column {', '.join(missing)} is missing; "
            f"a manifest has {', '.join(NEEDED_COLUMNS)} and may have {', '.join(BOX_COLUMNS)}, "
            "separated by commas"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ManifestError(f"{path}: column {', '.join(twice)} stands twice; remove one")


def _rows(table: "csv.DictReader[str]", path: Path) -> tuple[ManifestRow, ...]:
    faults: dict[str, list[str]] = {}
    rows: list[ManifestRow] = []
    seen: set[str] = set()
    for cells in table:
        fields = {name: (value or "").strip() for name, value in cells.items() if name}
        is_whole = None not in cells and None not in cells.values()
        fault = _fault(fields, path.parent, seen) if is_whole else _UNEVEN
        if fault:
            named = f" ({fields['mark_type']!r})" if fault == _UNKNOWN_LABEL else ""
            faults.setdefault(fault, []).append(f"line {table.line_num} {fields['path']}{named}")
            continue
        seen.add(os.path.normpath(fields["path"]))
        rows.append(_row(fields, path.parent))
    if faults:
        raise ManifestError(_tell(faults, path))
    return tuple(rows)


_UNEVEN = "not as many fields as columns (a field that holds a comma needs quotes)"
_UNKNOWN_LABEL = f"unknown mark_type (known: {', '.join(ManifestLabel)})"


def _fault(fields: dict[str, str], folder: Path, seen: set[str]) -> str | None:
    if fields["mark_type"] not in list(ManifestLabel):
        return _UNKNOWN_LABEL
    if Path(fields["path"]).is_absolute() or ".." in Path(fields["path"]).parts:
        return "path leads out of the manifest's folder (keep the manifest above its pictures)"
    if not fields["path"] or not _is_file(folder / fields["path"]):
        return "path does not exist (paths are relative to the manifest)"
    if os.path.normpath(fields["path"]) in seen:
        return "path stands twice"
    try:
        _box(fields)
    except ValueError:
        return "box is not four numbers with left < right and top < bottom"
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _tell(faults: dict[str, list[str]], path: Path) -> str:
    """The commonest fault in full: at most three lines."""
    fault, where = max(faults.items(), key=lambda item: len(item[1]))
    total = sum(len(lines) for lines in faults.values())
    more = f", and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    others = f"\n({_count(total - len(where))} with other faults)" if total > len(where) else ""
    named = "; ".join(where[:_NAMED])
    return f"{path}: {fault}; mend or remove {_count(len(where))}\n{named}{more}{others}"


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


def _box(fields: dict[str, str]) -> Box | None:
    edges = [fields.get(name, "") for name in BOX_COLUMNS]
    if not any(edges):
        return None
    left, top, right, bottom = (float(edge) for edge in edges)
    if not (np.isfinite([left, top, right, bottom]).all() and left < right and top < bottom):
        raise ValueError("not a box")
    return left, top, right, bottom


def _row(fields: dict[str, str], folder: Path) -> ManifestRow:
    known = {*NEEDED_COLUMNS, *BOX_COLUMNS, "id"}
    return ManifestRow(
        id=fields.get("id") or fields["path"],
        path=fields["path"],
        file=folder / fields["path"],
        mark_type=ManifestLabel(fields["mark_type"]),
        condition=fields["condition"],
        source=fields["source"],
        group_id=fields["group_id"] or fields["path"],
        box=_box(fields),
        extra={name: value for name, value in fields.items() if name not in known},
    )


def joined_rows(
    rows: Sequence[ManifestRow],
    config: DataConfig,
    *,
    config_folder: Path | None = None,
    known: Mapping[str, str] | None = None,
    track: Track = silent,
) -> tuple[ManifestRow, ...]:
    """The rows with groups that also hold the copies found and the persons known.

    Persons are those of the column ``patient_id``, within a source, and of ``known``, as
    :func:`known_groups` gives it: needed where ``rows`` are but a part of a manifest. None: read
    as ``config.groups`` says.

    Raises:
        ManifestError: the file of known groups cannot be read, or is of other pictures.
        ImageError: a picture cannot be read.
    """
    if known is None:
        known = known_groups(config.groups, rows, config_folder)
    pairs = []
    if config.join_copies:
        pictures = (read_picture(row.file, decode_side=COPY_SIDE).pixels for row in rows)
        pairs = find_copies(pictures, total=len(rows), track=track)
    return with_joined_groups(rows, pairs, known)


def with_joined_groups(
    rows: Sequence[ManifestRow], pairs: Sequence[CopyPair], known: Mapping[str, str]
) -> tuple[ManifestRow, ...]:
    """The rows with one group where copies, a patient or a known group join them.

    Pairs hold indices into ``rows``; ``known`` is of :func:`known_groups`.
    """
    paths = [row.path for row in rows]
    named = [known.get(os.path.normpath(path), "") for path in paths]
    persons = [row.person for row in rows]
    groups = join_groups(paths, pairs, [row.group_id for row in rows], persons, named)
    return tuple(replace(row, group_id=group) for row, group in zip(rows, groups, strict=True))


def known_groups(
    name: Path | str | None, rows: Sequence[ManifestRow], folder: Path | None = None
) -> dict[str, str]:
    """Group of each path of a CSV (path, group_id) in a folder; empty without a name.

    Raises:
        ManifestError: it cannot be read, or names no picture of ``rows``, all of a manifest.
    """
    if not name:
        return {}
    path = (folder or Path()) / name
    known = _read_groups(path)
    if rows and not any(os.path.normpath(row.path) in known for row in rows):
        raise ManifestError(
            f"{path}: of its {len(known)} paths none is in the manifest, so these are groups of "
            "other pictures;\npaths are relative to the manifest: mend them, name another file, or "
            'leave it out (in a config: --set data.groups="")'
        )
    return known


def _read_groups(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            known = {}
            table = csv.DictReader(file, strict=True)
            for row in table:
                if None in (row["path"], row["group_id"]):
                    raise csv.Error(f"line {table.line_num} has too few fields")
                known[os.path.normpath(row["path"])] = row["group_id"]
            return known
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ManifestError(
            f"{path}: not readable as known groups (columns path, group_id): {error}"
        ) from error


def split_rows(
    rows: Sequence[ManifestRow], config: DataConfig, seed: int
) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Training and validation rows: as the column ``split`` says, else :func:`split_by_group`.

    With the column, validation is the part ``config.validation_split``; the part
    ``config.test_split`` is left out, and everything else is trained on.

    Raises:
        SplitError: a group or person in two parts, a row in none, no row to validate on, or fewer
            than two classes to train on; as :func:`split_by_group` without the column.
    """
    if not any(row.extra.get(SPLIT_COLUMN) for row in rows):
        return split_by_group(rows, config.validation_share, seed)
    check_split(rows)
    parts: dict[str, list[ManifestRow]] = {}
    for row in rows:
        parts.setdefault(row.extra[SPLIT_COLUMN], []).append(row)
    if config.validation_split not in parts:
        raise SplitError(
            f"no row has the split {config.validation_split!r}; here are {', '.join(parts)}: "
            "name the one to validate on with --set data.validation_split=NAME"
        )
    apart = {config.validation_split, config.test_split}
    training = [row for part, inside in parts.items() if part not in apart for row in inside]
    classes = {row.mark_type for row in training} & PURE_LABELS
    if len(classes) < 2:
        raise SplitError(
            f"outside {' and '.join(sorted(apart & set(parts)))} there is only one class "
            f"({', '.join(classes) or 'none'}) to train on; leave less out, or add rows of another"
        )
    return training, parts[config.validation_split]


def check_split(rows: Sequence[ManifestRow]) -> None:
    """Refuse a column ``split`` that leaks, or that leaves rows out.

    Raises:
        SplitError: rows of one group, or of one person, in two parts, or a row in none; the first
            are named.
    """
    lost = [row.path for row in rows if not row.extra.get(SPLIT_COLUMN)]
    if lost:
        raise SplitError(
            f"{_count(len(lost))} in no part of the split: {_some(lost)}\n"
            "fill the column split for every row, or remove it"
        )
    names = [row.group_id for row in rows]
    groups = join_groups(names, [], names, [row.person for row in rows])
    parts: dict[str, dict[str, str]] = {}
    for row, group in zip(rows, groups, strict=True):
        parts.setdefault(group, {}).setdefault(row.extra[SPLIT_COLUMN], row.path)
    leaks = [
        f"{group} ({', '.join(f'{path} in {part}' for part, path in inside.items())})"
        for group, inside in parts.items()
        if len(inside) > 1
    ]
    if leaks:
        raise SplitError(
            f"{len(leaks)} groups are in more than one part of the split, which then leaks:\n"
            f"{_some(leaks)}\n"
            "keep each group in one part, or remove the column and run diascope data split"
        )


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more


def split_by_group(
    rows: Sequence[ManifestRow], share: float, seed: int
) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Training and validation rows; no group on both sides, each class on both.

    Groups are dealt out per (mark type, source), at random by ``seed``, until validation holds
    ``share`` of each; a group that holds several is dealt with its commonest. ``mixed`` is no
    class of its own.

    Raises:
        SplitError: fewer than two classes, or a class whose groups cannot be parted.
    """
    members: dict[str, list[ManifestRow]] = {}
    for row in rows:
        members.setdefault(row.group_id, []).append(row)
    deal = _Deal(members, np.random.default_rng(seed))
    strata: dict[tuple[str, str], list[str]] = {}
    for group, inside in members.items():
        commonest = Counter((row.mark_type.value, row.source) for row in inside)
        strata.setdefault(max(sorted(commonest), key=commonest.__getitem__), []).append(group)
    for stratum in sorted(strata):
        deal.hold_out_share(sorted(strata[stratum]), share)
    deal.hold_out_every_class()
    training = [row for row in rows if row.group_id not in deal.held_out]
    validation = [row for row in rows if row.group_id in deal.held_out]
    check_apart(training, validation)
    return training, validation


def check_apart(training: Sequence[ManifestRow], held_out: Sequence[ManifestRow]) -> None:
    """Refuse rows that share a group or a picture over the two sides.

    Raises:
        SplitError: a person, a copy or a picture is on both sides.
    """
    for kind, key in (("group", "group_id"), ("picture", "path")):
        seen = {getattr(row, key) for row in training}
        leaked = sorted({getattr(row, key) for row in held_out} & seen)
        if leaked:
            raise SplitError(
                f"{kind} {leaked[0]} is on both sides of a split ({len(leaked)} in all); "
                "figures on it would mean nothing"
            )


class _Deal:
    """Groups held out for validation, never the last of a class in training."""

    def __init__(self, members: dict[str, list[ManifestRow]], rng: np.random.Generator) -> None:
        self.held_out: set[str] = set()
        self._members, self._rng = members, rng
        self._classes = {
            group: {row.mark_type for row in inside} & PURE_LABELS
            for group, inside in members.items()
        }
        self._left = Counter(kind for kinds in self._classes.values() for kind in kinds)
        if len(self._left) < 2:
            raise SplitError(
                f"only one class ({', '.join(self._left) or 'none'}) to train on; "
                "add rows of another"
            )

    def hold_out_share(self, groups: Sequence[str], share: float) -> None:
        """Hold out groups of one stratum until they make up ``share`` of its rows.

        A group that is more than half of them stays in training.
        """
        rows = sum(len(self._members[group]) for group in groups)
        wanted = share * rows
        for group in self._rng.permutation(groups)[: len(groups) - 1]:
            if wanted < 0.5:
                return
            if self._can_spare(group) and len(self._members[group]) <= rows / 2:
                self._hold_out(str(group))
                wanted -= len(self._members[group])

    def hold_out_every_class(self) -> None:
        """Hold out a smallest group of every class that validation lacks so far."""
        for kind in sorted(self._left):
            if any(kind in self._classes[group] for group in self.held_out):
                continue
            fit = [g for g, kinds in self._classes.items() if kind in kinds and self._can_spare(g)]
            if not fit:
                raise SplitError(
                    f"{kind} has too few groups to split into training and validation; "
                    "add pictures of other persons"
                )
            shuffled = [str(group) for group in self._rng.permutation(sorted(fit))]
            self._hold_out(min(shuffled, key=lambda group: len(self._members[group])))

    def _can_spare(self, group: str) -> bool:
        return all(self._left[kind] > 1 for kind in self._classes[group])

    def _hold_out(self, group: str) -> None:
        self.held_out.add(group)
        self._left.subtract(self._classes[group])


def trainable(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Rows that may be trained on: all but ``other``."""
    return [row for row in rows if row.mark_type is not ManifestLabel.OTHER]


def load_samples(rows: Sequence[ManifestRow], size: int, *, track: Track = silent) -> list[Sample]:
    """Read the pictures of rows, no larger than training needs.

    Raises:
        ManifestError: pictures that cannot be read: all are counted, the first five named.
    """
    samples, failed = [], []
    for row in track(rows, "reading photographs", len(rows)):
        try:
            samples.append(_sample(row, size))
        except ImageError as error:
            failed.append(str(error))
    if failed:
        raise ManifestError(
            f"{len(failed)} pictures cannot be read: mend or remove these rows\n"
            + "; ".join(failed[:_NAMED])
        )
    return samples


def _sample(row: ManifestRow, size: int) -> Sample:
    target = row.mark_type.target
    if target is None:
        raise ValueError(f"{row.path}: {row.mark_type} is never trained on")
    picture = read_for(row.file, row.box, size)
    pixels, inner = picture.pixels, None
    if row.box is not None:
        try:
            pixels, inner = cut(picture, row.box)
        except ImageError as error:
            detail = f"{error.name} {error.detail}"
            raise ImageError(error.reason, str(row.file), detail) from error
    return Sample(pixels, inner, target, row.source, row.group_id)


def rendered_sample(
    pixels: npt.NDArray[np.uint8],
    mark_type: ManifestLabel,
    index: int,
    cover: npt.NDArray[np.uint8],
) -> Sample:
    """A drawn picture as a sample; each is a group of its own."""
    target = mark_type.target
    if target is None:
        raise ValueError("other cannot be drawn")
    group = f"{RENDERED_SOURCE}-{index}"
    return Sample(pixels, None, target, RENDERED_SOURCE, group, cover)


def balanced_weights(samples: Sequence[Sample], rendered_share: float) -> npt.NDArray[np.float64]:
    """Probability of each sample; drawn and photographed ones in the shares asked for.

    Drawn ones are equally likely; among the photographs every class is equally likely, within
    a class every source, within a source every picture. A mixed one is half of either class.
    """
    drawn = np.array([sample.drawn for sample in samples])
    weights = np.ones(len(samples))
    if not drawn.all():
        weights[~drawn] = _even([sample for sample in samples if not sample.drawn])
    if drawn.any() and not drawn.all():
        weights[drawn] *= rendered_share / weights[drawn].sum()
        weights[~drawn] *= (1.0 - rendered_share) / weights[~drawn].sum()
    return np.asarray(weights / weights.sum())


def _even(samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """Weight (N,) of each: one per class, the same for its sources, the same within a source."""
    parts = np.array([sample.target for sample in samples])
    names, source = np.unique([sample.source for sample in samples], return_inverse=True)
    in_cell = np.zeros((len(names), parts.shape[1]))
    np.add.at(in_cell, source, parts)
    sources = (in_cell > 0).sum(axis=0)
    whole = in_cell[source] * sources
    shares = np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0)
    return np.asarray(shares.sum(axis=1))
