"""A split is data: every row of a manifest in one named part, no group or person in two."""

import csv
import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from sklearn.model_selection import StratifiedGroupKFold

from diascope.dataset import (
    BOX_COLUMNS,
    NEEDED_COLUMNS,
    PURE_LABELS,
    SPLIT_COLUMN,
    Manifest,
    ManifestRow,
    check_split,
)
from diascope.errors import OutputError, SplitError
from diascope.files import check_free, write_whole
from diascope.labels import ManifestLabel


@dataclass(frozen=True)
class Split:
    """Rows with their part in ``SPLIT_COLUMN``, groups joined, and how they were dealt.

    ``seed`` and ``folds`` are None where whole sources are the parts.
    """

    rows: tuple[ManifestRow, ...]
    by: Literal["group", "source"]
    seed: int | None
    folds: int | None

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows of every mark type in every part, parts in order."""
        found: dict[str, Counter[str]] = {}
        for row in self.rows:
            found.setdefault(row.extra[SPLIT_COLUMN], Counter())[row.mark_type.value] += 1
        return {part: dict(found[part]) for part in sorted(found, key=_in_order)}


def deal(strata: Sequence[str], groups: Sequence[str], count: int, seed: int) -> list[int]:
    """Fold of each row, in [0, count): no group in two, strata as even as the groups allow.

    scikit-learn's StratifiedGroupKFold, shuffled by ``seed``.
    """
    folds = [0] * len(groups)
    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare stratum need not be in every fold.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, held) in enumerate(dealer.split(groups, strata, groups)):
            for row in held:
                folds[row] = number
    return folds


def check_groups(rows: Sequence[ManifestRow], labels: Sequence[ManifestLabel], count: int) -> None:
    """Refuse to deal a label into more folds than it has groups.

    Raises:
        SplitError: naming the label, its groups and what mends it.
    """
    for label in labels:
        groups = len({row.group_id for row in rows if row.mark_type is label})
        if groups < count:
            raise SplitError(
                f"{label} has {groups} groups: too few for {count} folds; "
                "use fewer folds or add pictures of other persons"
            )


def split_by_folds(rows: Sequence[ManifestRow], count: int, seed: int) -> Split:
    """Parts ``fold-0`` to ``fold-<count - 1>``, even in class, source and skin tone.

    Groups must be joined already (``dataset.joined_rows``). The tone is the manifest's
    ``fitzpatrick`` or else ``monk``.

    Raises:
        SplitError: one class only, a class of fewer groups than folds, or a split there already.
    """
    _check_unsplit(rows)
    classes = [label for label in ManifestLabel if label in {row.mark_type for row in rows}]
    pure = [label for label in classes if label in PURE_LABELS]
    if len(pure) < 2:
        raise SplitError(
            f"only one class ({', '.join(pure) or 'none'}) to deal; add rows of another"
        )
    check_groups(rows, pure, count)
    folds = deal(_strata(rows, count), [row.group_id for row in rows], count, seed)
    parts = [f"fold-{fold}" for fold in folds]
    return Split(_with_parts(rows, parts), "group", seed, count)


def split_by_source(rows: Sequence[ManifestRow]) -> Split:
    """Each source a part of its own; a group of several goes whole to the one with most of it.

    Raises:
        SplitError: fewer than two sources, a row without one, or a split there already.
    """
    _check_unsplit(rows)
    sources = {row.source for row in rows}
    if len(sources) < 2 or "" in sources:
        named = ", ".join(sorted(sources - {""})) or "none"
        raise SplitError(
            f"leaving a source out needs two or more, and one for every row; here: {named}\n"
            "fill the column source, or deal groups into folds"
        )
    members: dict[str, Counter[str]] = {}
    for row in rows:
        members.setdefault(row.group_id, Counter())[row.source] += 1
    home = {group: max(sorted(each), key=each.__getitem__) for group, each in members.items()}
    return Split(_with_parts(rows, [home[row.group_id] for row in rows]), "source", None, None)


def check_split_output(out: Path, manifest: Path, *, overwrite: bool) -> None:
    """Refuse an output before the work is done rather than after.

    Raises:
        OutputError: it exists, is no CSV, is the manifest itself, or does not lie in the
            manifest's folder or above, from where the pictures' paths could be written.
    """
    if out.suffix.lower() != ".csv":
        raise OutputError(f"{out}: a split is written as CSV; give a name that ends in .csv")
    if out.resolve() == manifest.resolve():
        raise OutputError(f"{out}: is the manifest itself; give the split a name of its own")
    if not manifest.resolve().is_relative_to(out.parent.resolve()):
        raise OutputError(
            f"{out}: paths in a manifest lead down from it; "
            f"write the split into {manifest.parent} or a folder above"
        )
    for file in (out, _beside(out)):
        check_free(file, overwrite)


def write_split(split: Split, manifest: Manifest, out: Path, *, overwrite: bool = False) -> Path:
    """Write the manifest's rows with their part, and ``<name>.meta.json`` beside them.

    The answer is the name of the latter: seed, counts, and SHA-256 of the manifest and of the
    split. Columns are the manifest's; ``group_id`` holds the joined groups, ``path`` is relative
    to the new file.

    Raises:
        OutputError: as :func:`check_split_output`, or it cannot be written.
        SplitError: a group in two parts.
    """
    check_split_output(out, manifest.path, overwrite=overwrite)
    check_split(split.rows)
    table = _as_csv(split.rows, out.parent)
    about = {
        "diascope": version("diascope"),
        "manifest": manifest.path.name,
        "manifest_digest": manifest.digest,
        "split_digest": hashlib.sha256(table).hexdigest(),
        "by": split.by,
        "seed": split.seed,
        "folds": split.folds,
        "groups": len({row.group_id for row in split.rows}),
        "rows": split.counts(),
    }
    write_whole(_beside(out), (json.dumps(about, indent=2) + "\n").encode())
    write_whole(out, table)
    return _beside(out)


def _beside(out: Path) -> Path:
    return out.with_suffix(".meta.json")


def _in_order(part: str) -> tuple[str, int]:
    name, _, number = part.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (part, 0)


def _check_unsplit(rows: Sequence[ManifestRow]) -> None:
    if any(row.extra.get(SPLIT_COLUMN) for row in rows):
        raise SplitError(
            f"column {SPLIT_COLUMN}: the manifest is split already, and training keeps to it; "
            "remove the column to deal anew"
        )


def _with_parts(rows: Sequence[ManifestRow], parts: Sequence[str]) -> tuple[ManifestRow, ...]:
    return tuple(
        replace(row, extra={**row.extra, SPLIT_COLUMN: part})
        for row, part in zip(rows, parts, strict=True)
    )


def _strata(rows: Sequence[ManifestRow], count: int) -> list[str]:
    """Class, source and tone of each row; coarser where they have fewer groups than folds."""
    strata = [[row.mark_type.value, row.source, row.tone] for row in rows]
    for kept in (2, 1):
        groups: dict[str, set[str]] = {}
        for row, stratum in zip(rows, strata, strict=True):
            groups.setdefault("\n".join(stratum), set()).add(row.group_id)
        strata = [each if len(groups["\n".join(each)]) >= count else each[:kept] for each in strata]
    return ["\n".join(each) for each in strata]


def _as_csv(rows: Sequence[ManifestRow], folder: Path) -> bytes:
    columns = [*NEEDED_COLUMNS]
    if any(row.box for row in rows):
        columns += BOX_COLUMNS
    if any(row.id != row.path for row in rows):
        columns.insert(0, "id")
    columns += dict.fromkeys(name for row in rows for name in row.extra)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_cells(row, folder) for row in rows)
    return text.getvalue().encode()


def _cells(row: ManifestRow, folder: Path) -> dict[str, object]:
    return {
        **row.extra,
        **dict(zip(BOX_COLUMNS, row.box or (), strict=False)),
        "id": row.id,
        "path": Path(os.path.relpath(row.file, folder)).as_posix(),
        "mark_type": row.mark_type.value,
        "condition": row.condition,
        "source": row.source,
        "group_id": row.group_id,
    }
