"""A data set -> one manifest, and a report in which every row that was left out is counted."""

import csv
import hashlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diascope.duplicates import join_groups
from diascope.errors import SourceError
from diascope.files import check_free, write_whole
from diascope.labels import ManifestLabel
from diascope.machine import available_cores
from diascope.progress import Track, silent
from diascope.sources.label_maps import (
    EXCLUDED,
    Decision,
    LabelMap,
    check_all_decided,
    decide,
    read_map,
    shipped_file,
    shipped_map,
)
from diascope.sources.pictures import Checked, check_picture, finder, safe_relative
from diascope.sources.source import Drop, Source, SourceRow

EDGES = ("left", "top", "right", "bottom")
COLUMNS = (
    *("path", "mark_type", "condition", "source", "patient_id", "group_id"),
    *("fitzpatrick", "monk", *EDGES, "licence", "sha256"),
)
"""Of every manifest that ``prepare`` writes; an empty cell is unknown."""

OUT_OF_DOMAIN = (
    "Out of domain: these are no photographs of skin as a phone takes them; do not train on them "
    "or quote figures from them."
)
MIN_WEIGHT = 0.5
"""Least share of a row's weight for one mark type: half of what its dermatologists said."""


@dataclass(frozen=True)
class Choices:
    """How labels become mark types.

    Attributes:
        min_weight: see ``MIN_WEIGHT``.
        only_sure: leave out what the label map calls likely.
        map_file: a label map in place of the shipped one.
        exclude_unmapped: count conditions that the map lacks instead of refusing them.
        labels_only: one row per row of the table; no picture is looked for.
    """

    min_weight: float = MIN_WEIGHT
    only_sure: bool = False
    map_file: Path | None = None
    exclude_unmapped: bool = False
    labels_only: bool = False


@dataclass(frozen=True)
class Judged:
    """A row of the set with what it counts as."""

    row: SourceRow
    decision: Decision

    def dropped(self, reason: Drop) -> "Judged":
        """Leave it out after all."""
        return replace(self, decision=replace(self.decision, mark_type=EXCLUDED, reason=reason))

    @property
    def counts(self) -> bool:
        """True where the row is not excluded."""
        return self.decision.mark_type != EXCLUDED


@dataclass(frozen=True)
class _Entry:
    """One picture of a judged row, as it may stand in the manifest."""

    judged: Judged
    path: str
    file: Path
    checked: Checked


def judge(source: Source, root: Path, choices: Choices) -> tuple[list[Judged], LabelMap]:
    """Read a set's rows and decide each; rows of one id, or of one picture, are compared.

    Raises:
        SourceError: the set is laid out otherwise, or the label map lacks a condition.
    """
    if not 0 < choices.min_weight <= 1:
        raise SourceError(f"--min-weight {choices.min_weight:g}: give a share above 0, at most 1")
    labels = _labels(source, choices.map_file)
    rows = list(source.rows(root))
    if not rows:
        raise SourceError(f"{root}: nothing of {source.name} is here; check --root")
    if not choices.exclude_unmapped:
        check_all_decided(rows, labels, _mend(source, choices.map_file))
    concepts = shipped_map(source.concept_map) if source.concept_map else None
    judged = [
        Judged(
            row,
            decide(
                row,
                labels,
                min_weight=choices.min_weight,
                only_sure=choices.only_sure,
                concepts=concepts,
            ),
        )
        for row in rows
    ]
    return _without_two_labels(_without_second_ids(judged)), labels


def _labels(source: Source, map_file: Path | None) -> LabelMap:
    if map_file is not None:
        return read_map(map_file)
    return shipped_map(source.name) or LabelMap("no label map", "", {})


def _mend(source: Source, map_file: Path | None) -> str:
    shipped = shipped_file(source.name)
    if map_file is not None:
        mend = f"add lines to {map_file}"
    elif shipped is not None:
        mend = f"add lines to a copy of {shipped} and give it with --map"
    else:
        mend = "give a label map (label,mark_type,reason,certainty) with --map"
    return f"{mend}, or leave them out with --unmapped exclude"


def _without_second_ids(judged: Sequence[Judged]) -> list[Judged]:
    """The first row of an id stays if all of them say the same; else none does."""
    by_id: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(judged):
        by_id[item.row.id].append(place)
    kept = list(judged)
    for places in by_id.values():
        if len(places) > 1:
            agree = len({judged[place].decision for place in places}) == 1
            for place in places[1:] if agree else places:
                kept[place] = judged[place].dropped(Drop.DUPLICATE_ID)
    return kept


def _without_two_labels(judged: Sequence[Judged]) -> list[Judged]:
    """Rows that name one picture and differ in mark type are all left out."""
    names: dict[str, set[str]] = defaultdict(set)
    for item in judged:
        if item.counts:
            for picture in item.row.pictures:
                names[picture].add(item.decision.mark_type)
    torn = {picture for picture, kinds in names.items() if len(kinds) > 1}
    return [
        item.dropped(Drop.TWO_LABELS) if item.counts and torn & {*item.row.pictures} else item
        for item in judged
    ]


def prepare(
    source: Source,
    root: Path,
    out: Path,
    choices: Choices | None = None,
    *,
    overwrite: bool = False,
    track: Track = silent,
) -> dict[str, Any]:
    """Write the manifest of a set, CSV or Parquet by its name, and its report beside it.

    Returns the report as it stands in ``<out>.report.json``.

    Raises:
        SourceError: see ``judge``; or ``out`` does not stand above the pictures.
        OutputError: an output exists already or cannot be written.
    """
    choices = choices or Choices()
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise SourceError(f"{out}: a manifest ends in .csv or .parquet")
    for file in (out, report_file(out)):
        check_free(file, overwrite)
    judged, labels = judge(source, root, choices)
    counts = _Counts()
    if choices.labels_only:
        lines = [_line(source, item, ", ".join(item.row.pictures[:1])) for item in judged]
        for item in judged:
            counts.take(item)
    else:
        entries = _entries(source, root, out, judged, counts, track)
        lines = [_line(source, entry.judged, entry.path, entry.checked.sha256) for entry in entries]
    data = _as_parquet(lines) if out.suffix.lower() == ".parquet" else _as_csv(lines)
    report = {
        **_about(source, choices, labels),
        **counts.as_dict(),
        "manifest_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_whole(out, data)
    write_whole(report_file(out), json.dumps(report, indent=2).encode() + b"\n")
    return report


def report_file(out: Path) -> Path:
    """Where the report of a manifest stands."""
    return out.with_name(f"{out.name}.report.json")


class _Counts:
    """What became of every row and picture."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.pictures: Counter[str] = Counter()
        self.conditions: dict[str, Counter[str]] = defaultdict(Counter)
        self.tones: dict[str, Counter[str]] = defaultdict(Counter)
        self.dropped_rows: Counter[str] = Counter()
        self.dropped_pictures: Counter[str] = Counter()
        self.faults: list[dict[str, str]] = []
        self._first_fault: dict[str, Drop] = {}  # where a row stands -> of its pictures

    def take(self, judged: Judged) -> None:
        """Count a row by its decision, with the pictures its table names."""
        decision, pictures = judged.decision, len(judged.row.pictures)
        self.rows[decision.mark_type] += 1
        self.pictures[decision.mark_type] += pictures
        self.conditions[decision.mark_type][decision.condition] += 1
        self.tones[decision.mark_type][judged.row.fitzpatrick or "unknown"] += 1
        if not judged.counts:
            self.dropped_rows[decision.reason] += 1
            self.dropped_pictures[decision.reason] += pictures
            if decision.reason in _NAMED_DROPS:
                self._name(judged.row.where, decision.reason, judged.row.id)

    def drop(self, judged: Judged, reason: Drop, detail: str) -> None:
        """Count one picture of a row out again."""
        self.pictures[judged.decision.mark_type] -= 1
        self.pictures[EXCLUDED] += 1
        self.dropped_pictures[reason] += 1
        self._first_fault.setdefault(judged.row.where, reason)
        self._name(judged.row.where, reason, detail)

    def without_picture(self, judged: Judged) -> None:
        """Name a row for which the table names no picture."""
        self._first_fault[judged.row.where] = Drop.NO_PICTURE
        self._name(judged.row.where, Drop.NO_PICTURE, "the table names none")

    def drop_row(self, judged: Judged) -> None:
        """Count a row out again of which no picture is left, by what the first of them lacked."""
        decision, tone = judged.decision, judged.row.fitzpatrick or "unknown"
        for kind, change in ((decision.mark_type, -1), (EXCLUDED, 1)):
            self.rows[kind] += change
            self.conditions[kind][decision.condition] += change
            self.tones[kind][tone] += change
        self.dropped_rows[self._first_fault[judged.row.where]] += 1

    def _name(self, where: str, reason: str, detail: str) -> None:
        self.faults.append({"where": where, "reason": reason, "detail": detail})

    def as_dict(self) -> dict[str, Any]:
        reasons = sorted({*self.dropped_rows, *self.dropped_pictures})
        counted = self.rows.keys() | self.pictures.keys()
        kinds = [kind for kind in (*ManifestLabel, EXCLUDED) if kind in counted]
        return {
            "rows": self.rows.total(),
            "pictures": self.pictures.total(),
            "mark_types": {
                str(kind): {"rows": self.rows[kind], "pictures": self.pictures[kind]}
                for kind in kinds
            },
            "conditions": {str(kind): _sorted(self.conditions[kind]) for kind in kinds},
            "fitzpatrick": {str(kind): _sorted(self.tones[kind]) for kind in kinds},
            "dropped": {
                reason: {
                    "rows": self.dropped_rows[reason],
                    "pictures": self.dropped_pictures[reason],
                }
                for reason in reasons
            },
            "faults": self.faults,
        }


_NAMED_DROPS = {
    Drop.BROKEN_LABEL,
    Drop.DUPLICATE_ID,
    Drop.NOT_IN_MAP,
    Drop.NOT_IN_OTHER_TABLE,
    Drop.TWO_LABELS,
    Drop.UNSAFE_PATH,
    Drop.WRONGLY_LABELLED,
}
"""Reasons that are faults of a table: each row of them is named in the report."""


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted((+counts).items(), key=lambda item: (-item[1], item[0])))


def _entries(
    source: Source,
    root: Path,
    out: Path,
    judged: Sequence[Judged],
    counts: _Counts,
    track: Track,
) -> list[_Entry]:
    """Pictures of the rows that count: there, whole, of one label, each once."""
    find = finder(root, source.by_name)
    named: list[tuple[Judged, str, Path]] = []
    for item in judged:
        counts.take(item)
        if item.counts:
            named += _located(item, find, counts)
    for _, name, file in named:
        _check_above(out, file, name)
    entries = [
        _Entry(item, os.path.relpath(file, out.parent), file, checked)
        for (item, _, file), checked in zip(
            named, _checked([file for *_, file in named], track), strict=True
        )
    ]
    whole = []
    for entry in entries:
        if entry.checked.fault is not None:
            counts.drop(entry.judged, entry.checked.fault, f"{entry.path}: {entry.checked.detail}")
        else:
            whole.append(entry)
    kept = _each_once(whole, counts)
    left = {entry.judged.row.where for entry in kept}
    for item in judged:
        if item.counts and item.row.where not in left:
            counts.drop_row(item)
    if not kept:
        raise SourceError(_nothing_left(source, root, counts))
    return kept


def _nothing_left(source: Source, root: Path, counts: _Counts) -> str:
    why = ", ".join(f"{n} {reason}" for reason, n in counts.dropped_pictures.most_common(3))
    return (
        f"{root}: no picture of {source.name} is left to write ({why or 'none named'})\n"
        f"put the pictures there, fetch them, or count the labels alone with --labels-only"
    )


def _located(
    judged: Judged, find: Callable[[Any], Path | None], counts: _Counts
) -> Iterator[tuple[Judged, str, Path]]:
    if not judged.row.pictures:
        counts.without_picture(judged)
    for name in judged.row.pictures:
        path = safe_relative(name)
        if path is None:
            counts.drop(judged, Drop.UNSAFE_PATH, f"{name!r} leads out of the data set's folder")
            continue
        file = find(path)
        if file is None:
            counts.drop(judged, Drop.NO_PICTURE, f"{name} is not there")
        else:
            yield judged, name, file


def _check_above(out: Path, file: Path, name: str) -> None:
    if Path(os.path.relpath(file, out.parent)).parts[0] == "..":
        raise SourceError(
            f"{out}: a manifest stands above its pictures, and {name} is at {file.parent}\n"
            f"give an --out in a folder above it"
        )


def _checked(files: Sequence[Path], track: Track) -> Iterable[Checked]:
    with ThreadPoolExecutor(available_cores()) as pool:
        yield from track(pool.map(check_picture, files), "checking pictures", len(files))


def _each_once(entries: Sequence[_Entry], counts: _Counts) -> list[_Entry]:
    """Of equal pictures the first, in a group with whoever is in the others' groups.

    Equal pictures of different mark types are all left out.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        same[entry.checked.sha256].append(place)
    groups = _joined(entries, same)
    kept = []
    for place, entry in enumerate(entries):
        places = same[entry.checked.sha256]
        first = entries[places[0]]
        kinds = {entries[other].judged.decision.mark_type for other in places}
        if len(kinds) > 1:
            others = ", ".join(entries[p].judged.row.where for p in places if p != place)
            counts.drop(entry.judged, Drop.TWO_LABELS, f"{entry.path}: another label at {others}")
        elif entry is not first:
            told = f"{entry.path}: the picture of {first.judged.row.where}, {first.path}"
            counts.drop(entry.judged, Drop.SAME_PICTURE, told)
        else:
            row = replace(entry.judged.row, group_id=groups[place])
            kept.append(replace(entry, judged=replace(entry.judged, row=row)))
    return kept


def _joined(entries: Sequence[_Entry], same: dict[str, list[int]]) -> list[str]:
    """Group of each entry, joined over equal pictures, named as its first member names it.

    Patients are joined here too: of one whose picture goes, the others must stay with its twin.
    """
    pairs = [(places[0], other) for places in same.values() for other in places[1:]]
    rows = [entry.judged.row for entry in entries]
    own = [row.group_id for row in rows]
    persons = [f"{row.source}\n{row.patient_id}" if row.patient_id else "" for row in rows]
    joined = join_groups([str(place) for place in range(len(entries))], pairs, own, persons)
    names: dict[str, str] = {}
    for key, name in zip(joined, own, strict=True):
        names[key] = names.get(key) or name
    return [names[key] for key in joined]


def _line(source: Source, judged: Judged, path: str, sha256: str = "") -> dict[str, str]:
    row, decision = judged.row, judged.decision
    edges = dict(zip(EDGES, row.box, strict=True)) if row.box else {}
    return {
        "path": Path(path).as_posix() if path else "",
        "mark_type": decision.mark_type,
        "condition": decision.condition,
        "source": row.source or source.name,
        # Another set may count its patients in the same way.
        "patient_id": f"{source.name}/{row.patient_id}" if row.patient_id else "",
        "group_id": f"{source.name}/{row.group_id}" if row.group_id else "",
        "fitzpatrick": row.fitzpatrick,
        "monk": row.monk,
        **{name: f"{edges[name]:.10g}" if edges else "" for name in EDGES},
        "licence": row.licence or source.licence,
        "sha256": sha256,
    }


def _as_csv(lines: Sequence[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue().encode()


def _as_parquet(lines: Sequence[dict[str, str]]) -> bytes:
    """Every column as text, null where it is unknown."""
    columns = {
        name: pa.array([line[name] or None for line in lines], pa.string()) for name in COLUMNS
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _about(source: Source, choices: Choices, labels: LabelMap) -> dict[str, Any]:
    return {
        "source": source.name,
        "title": source.title,
        "licence": source.licence,
        "citation": source.citation,
        "note": "" if source.in_domain else OUT_OF_DOMAIN,
        "label_map": {"file": labels.name, "sha256": labels.digest},
        "min_weight": choices.min_weight,
        "only_sure": choices.only_sure,
        "labels_only": choices.labels_only,
    }
