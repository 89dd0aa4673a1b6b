"""Figures of a saved bundle, measured through ``Predictor``, overall and per source.

Red against brown is judged by the separation, P(hyperpigmented | erythematous or hyperpigmented):
hyperpigmented is the positive class and called from 0.5 on. Of rows marked ``other`` the share
declined is measured; rows marked ``mixed`` are counted by verdict and enter no figure.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from diascope import metrics
from diascope.bundle import Figure
from diascope.config import DataConfig, GateConfig
from diascope.dataset import RENDERED_SOURCE, Manifest, ManifestRow, joined_rows, trainable
from diascope.errors import ImageError, UnreadableReason
from diascope.files import check_free, write_whole
from diascope.inference import Prediction, Predictor
from diascope.labels import INTENDED_USE, LABEL_ORDER, ManifestLabel, MarkType, Verdict
from diascope.progress import Track, silent

CALLED_FROM = 0.5
"""Separation from which a mark is called hyperpigmented."""
LEAST_ROWS = 30
"""A figure on fewer rows is marked as insufficient data."""
REPORT = "evaluation.json"
COLOURED = (ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED)
"""Labels that are told apart, the positive one last."""

_CLASSES = tuple(ManifestLabel(label.value) for label in LABEL_ORDER)
_BROWN = ManifestLabel.HYPERPIGMENTED
_CHUNK = 64  # pictures held at once

R = TypeVar("R", bound="JudgedRow")


class MeasureName(StrEnum):
    """What is measured; the first is the one that counts."""

    AUROC = "auroc_red_vs_brown"
    """Area under the ROC curve of the separation."""
    BALANCED_ACCURACY = "balanced_accuracy"
    """Mean share called right of the three classes (of those present), before the gates."""
    SENSITIVITY = "sensitivity"
    """Share of brown called brown."""
    SPECIFICITY = "specificity"
    """Share of red called red."""
    COVERAGE = "coverage"
    """Share of red and brown that got a red or brown verdict."""
    ACCURACY_DECIDED = "accuracy_decided"
    """Share of those verdicts that are right."""
    ECE = "ece"
    """Expected calibration error of the likeliest of the three classes."""
    DECLINED_OF_OTHER = "declined_of_other"
    """Share of lesions to decline that got no red or brown verdict."""
    NEITHER_CALLED_NEITHER = "neither_called_neither"
    """Share of neither that got the verdict neither."""


_PRINTED = (
    MeasureName.AUROC,
    MeasureName.BALANCED_ACCURACY,
    MeasureName.SENSITIVITY,
    MeasureName.SPECIFICITY,
)
DECLINING = (MeasureName.DECLINED_OF_OTHER, MeasureName.NEITHER_CALLED_NEITHER)
"""Measures on rows that are neither red nor brown."""


class Part(BaseModel):
    """Part of a report: JSON out and in, nothing unknown, nothing infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Measure(Part):
    """A figure on ``n`` rows with its 95 % interval, or none and a note that says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int
    note: str | None


class JudgedRow(Part):
    """One picture: what its label says and what a predictor said."""

    id: str
    path: str
    mark_type: ManifestLabel
    condition: str
    source: str
    group_id: str
    verdict: Verdict
    p_erythematous: float
    p_hyperpigmented: float
    p_neither: float
    separation: float


class UnreadableRow(Part):
    """A picture that could not be read and is in no figure."""

    id: str
    path: str
    reason: UnreadableReason
    detail: str


class Section(Part):
    """Everything measured on one set of rows: all, a source, or a fold."""

    name: str
    n: int
    unreadable: int
    labels: dict[ManifestLabel, int]
    verdicts: dict[ManifestLabel, dict[Verdict, int]]
    measures: dict[MeasureName, Measure]


class Report(Part):
    """Figures of one bundle on one manifest; same input, same report."""

    schema_version: Literal[1] = 1
    model: str
    model_digest: str
    data: str
    data_digest: str
    positive: MarkType = MarkType.HYPERPIGMENTED
    called_from: float = CALLED_FROM
    gates: GateConfig
    copies_joined: bool
    bootstrap_draws: int = metrics.DRAWS
    overall: Section
    sources: tuple[Section, ...]
    unreadable: tuple[UnreadableRow, ...]
    intended_use: str = INTENDED_USE


def evaluate(
    predictor: Predictor,
    manifest: Manifest,
    *,
    join_copies: bool = True,
    groups: Path | None = None,
    track: Track = silent,
) -> Report:
    """Measure a bundle on a manifest, overall and per source, through ``predict_batch``.

    Verdicts are those of the pixels alone. Intervals resample groups: the manifest's and, with
    ``join_copies``, the copies found, a search that grows with the square of the rows, joined by
    ``groups``, a CSV (path, group_id) of copies and persons known.
    """
    judged, unreadable = judge(predictor, manifest.rows, track)
    if join_copies:
        judged = _with_joined_groups(judged, manifest.rows, groups, track)
    source_of = {row.path: row.source for row in manifest.rows}
    lost = Counter(source_of[row.path] for row in unreadable)
    description = predictor.bundle.description
    return Report(
        model=description.name,
        model_digest=predictor.bundle.digest,
        data=data_name(manifest),
        data_digest=manifest.digest,
        gates=description.gates,
        copies_joined=join_copies,
        overall=section("all", judged, len(unreadable)),
        sources=tuple(
            section(
                source or "(no source)",
                [row for row in judged if row.source == source],
                lost[source],
            )
            for source in sorted(set(source_of.values()))
        ),
        unreadable=tuple(unreadable),
    )


def write_report(report: Report, out: Path, *, overwrite: bool = False) -> Path:
    """Write ``evaluation.json`` in ``out``, whole or not at all; its path.

    Raises:
        OutputError: it exists and ``overwrite`` is False, or it cannot be written.
    """
    file = out / REPORT
    check_free(file, overwrite)
    write_whole(file, as_json(report))
    return file


def table(report: Report) -> list[tuple[str, ...]]:
    """Rows of text to print, the first the header: all rows, then each source."""
    words = [name.replace("_", " ").replace("auroc", "AUROC") for name in _PRINTED]
    rows: list[tuple[str, ...]] = [("rows of", "n", *words)]
    for part in (report.overall, *report.sources):
        cells = (cell(part.measures[name]) for name in _PRINTED)
        rows.append((part.name, str(part.n), *cells))
    return rows


def notes(report: Report) -> list[str]:
    """Lines to print under a table: rows to decline, pictures not read, figures missing or few."""
    parts = (report.overall, *report.sources)
    return [
        *declining_notes(report.overall),
        *unreadable_notes(report.unreadable),
        *measure_notes((part.name, part.measures[name]) for part in parts for name in _PRINTED),
    ]


def declining_notes(part: Section) -> list[str]:
    """A line for each measure on rows that are neither red nor brown."""
    return [
        f"{name.replace('_', ' ')}: "
        + (each.note or "" if each.value is None else f"{cell(each)}, {each.n} rows")
        for name, each in ((name, part.measures[name]) for name in DECLINING)
    ]


def unreadable_notes(rows: Sequence[UnreadableRow]) -> list[str]:
    """A line for each picture that is in no figure."""
    return [f"{row.path}: not read ({row.reason}), in no figure" for row in rows]


def measure_notes(named: Iterable[tuple[str, Measure]]) -> list[str]:
    """A line for each reason that a value is missing, and one for all on few rows."""
    found = list(named)
    missing = [f"{name}: {each.note}" for name, each in found if each.value is None]
    few = any(each.value is not None and each.n < LEAST_ROWS for _, each in found)
    legend = [f"(few): insufficient data, under {LEAST_ROWS} rows"] if few else []
    return [*dict.fromkeys(missing), *legend]


def figures_of(report: Report, command: str) -> list[Figure]:
    """What a model card shows: every measure over all rows, the AUROC of each source.

    ``command`` measures it again. A measure without a value is left out.
    """
    named = [(name, report.data, each) for name, each in report.overall.measures.items()]
    named += [
        (MeasureName.AUROC, f"{report.data}: {each.name}", each.measures[MeasureName.AUROC])
        for each in report.sources
    ]
    return as_figures(named, command)


def as_figures(named: Iterable[tuple[str, str, Measure]], command: str) -> list[Figure]:
    """Figures of (name, data, measure), without the measures that have no value."""
    return [
        Figure(
            name=str(name),
            value=of.value,
            low=of.low,
            high=of.high,
            n=of.n,
            data=data,
            command=command,
        )
        for name, data, of in named
        if of.value is not None and of.low is not None and of.high is not None
    ]


# Judging pictures


def judge(
    predictor: Predictor, rows: Sequence[ManifestRow], track: Track
) -> tuple[list[JudgedRow], list[UnreadableRow]]:
    """What a predictor says of each row, and the pictures it could not read; in order."""
    judged, unreadable = [], []
    for row, prediction in track(_predictions(predictor, rows), "judging pictures", len(rows)):
        if isinstance(prediction, ImageError):
            unreadable.append(unreadable_row(row, prediction))
        else:
            judged.append(_judged(row, prediction))
    return judged, unreadable


def _predictions(
    predictor: Predictor, rows: Sequence[ManifestRow]
) -> Iterator[tuple[ManifestRow, Prediction | ImageError]]:
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        predictions = predictor.predict_batch(
            [row.file for row in chunk], boxes=[row.box for row in chunk], on_error="return"
        )
        yield from zip(chunk, predictions, strict=True)


def _judged(row: ManifestRow, prediction: Prediction) -> JudgedRow:
    return JudgedRow(
        id=row.id,
        path=row.path,
        mark_type=row.mark_type,
        condition=row.condition,
        source=row.source,
        group_id=row.group_id,
        verdict=prediction.image_verdict,
        p_erythematous=prediction.probabilities[MarkType.ERYTHEMATOUS],
        p_hyperpigmented=prediction.probabilities[MarkType.HYPERPIGMENTED],
        p_neither=prediction.probabilities[MarkType.NEITHER],
        separation=prediction.separation,
    )


def unreadable_row(row: ManifestRow, error: ImageError) -> UnreadableRow:
    """A row whose picture raised an error."""
    return UnreadableRow(id=row.id, path=row.path, reason=error.reason, detail=error.detail)


def _with_joined_groups(
    judged: Sequence[JudgedRow], rows: Sequence[ManifestRow], groups: Path | None, track: Track
) -> list[JudgedRow]:
    # The search is dear: only rows that enter an interval, and drawn pictures have no copies.
    read = {row.path for row in judged if row.source != RENDERED_SOURCE}
    wanted = trainable([row for row in rows if row.path in read])
    known = None if groups is None else str(groups)
    joined = joined_rows(wanted, DataConfig(join_copies=True, groups=known), track=track)
    group_of = {row.path: row.group_id for row in joined}
    return [
        row.model_copy(update={"group_id": group_of.get(row.path, row.group_id)}) for row in judged
    ]


def data_name(manifest: Manifest) -> str:
    """Folder, file and first digits of the digest of a manifest; nothing of the machine."""
    return f"{'/'.join(manifest.path.resolve().parts[-2:])} {manifest.digest[:8]}"


# Measuring


def section(name: str, rows: Sequence[JudgedRow], unreadable: int) -> Section:
    """Count and measure a set of rows."""
    by_label = {label: [row for row in rows if row.mark_type is label] for label in ManifestLabel}
    by_label = {label: members for label, members in by_label.items() if members}
    return Section(
        name=name,
        n=len(rows),
        unreadable=unreadable,
        labels={label: len(members) for label, members in by_label.items()},
        verdicts={
            label: dict(sorted(Counter(row.verdict for row in members).items()))
            for label, members in by_label.items()
        },
        measures=_measures(rows),
    )


def _measures(rows: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    classed = [row for row in rows if row.mark_type in _CLASSES]
    coloured = [row for row in rows if row.mark_type in COLOURED]
    brown = [row for row in coloured if row.mark_type is _BROWN]
    red = [row for row in coloured if row.mark_type is not _BROWN]
    decided = [row for row in coloured if not row.verdict.declines]
    is_decided = [not row.verdict.declines for row in coloured]
    is_right = [row.verdict.value == row.mark_type.value for row in decided]
    truth = np.array([row.mark_type for row in classed], dtype=np.str_)
    called, sure = _calls(classed)
    calibration = partial(metrics.expected_calibration_error, sure, truth == called)
    return {
        MeasureName.AUROC: measure(coloured, auroc_of(coloured, separation_of), least_classes=2),
        MeasureName.BALANCED_ACCURACY: measure(
            classed, partial(metrics.balanced_accuracy, truth, called), least_classes=2
        ),
        MeasureName.SENSITIVITY: measure(brown, partial(metrics.sensitivity, *_binary(brown))),
        MeasureName.SPECIFICITY: measure(red, partial(metrics.specificity, *_binary(red))),
        MeasureName.COVERAGE: measure(coloured, partial(metrics.proportion, is_decided)),
        MeasureName.ACCURACY_DECIDED: measure(decided, partial(metrics.proportion, is_right)),
        MeasureName.ECE: measure(classed, calibration),
        **_declining_measures(rows),
    }


def _declining_measures(rows: Sequence[JudgedRow]) -> dict[MeasureName, Measure]:
    other = [row for row in rows if row.mark_type is ManifestLabel.OTHER]
    neither = [row for row in rows if row.mark_type is ManifestLabel.NEITHER]
    is_declined = [row.verdict.declines for row in other]
    is_neither = [row.verdict is Verdict.NEITHER for row in neither]
    return {
        MeasureName.DECLINED_OF_OTHER: measure(other, partial(metrics.proportion, is_declined)),
        MeasureName.NEITHER_CALLED_NEITHER: measure(
            neither, partial(metrics.proportion, is_neither)
        ),
    }


def _calls(rows: Sequence[JudgedRow]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """The likeliest class of each row, and its probability."""
    probabilities = np.array(
        [(row.p_erythematous, row.p_hyperpigmented, row.p_neither) for row in rows]
    ).reshape(-1, len(LABEL_ORDER))
    return np.array(LABEL_ORDER)[probabilities.argmax(axis=1)], probabilities.max(axis=1)


def _binary(rows: Sequence[JudgedRow]) -> tuple[list[bool], list[bool]]:
    """Whether each row is brown, and whether it is called so."""
    return _is_brown(rows), [row.separation >= CALLED_FROM for row in rows]


def _is_brown(rows: Sequence[JudgedRow]) -> list[bool]:
    """True for each row of the positive class."""
    return [row.mark_type is _BROWN for row in rows]


def measure(
    rows: Sequence[JudgedRow],
    statistic: metrics.Statistic,
    *,
    least_classes: int = 1,
    strata: Sequence[str] | None = None,
) -> Measure:
    """A statistic of rows with its interval; no value where ``least_classes`` labels are missing.

    Draws keep the number of groups of each of the ``strata``: the labels, if None.
    """
    labels = sorted({row.mark_type for row in rows})
    groups = [row.group_id for row in rows]
    if len(labels) < least_classes:
        note = f"no value: {labels[0]} rows only" if labels else "no value: no rows"
        return Measure(
            value=None, low=None, high=None, n=len(rows), groups=len(set(groups)), note=note
        )
    found = metrics.bootstrap_interval(
        statistic, [row.mark_type for row in rows] if strata is None else strata, groups
    )
    return Measure(**found.model_dump(), note=_doubt(found))


def _doubt(found: metrics.Interval) -> str | None:
    doubts = []
    if found.n < LEAST_ROWS:
        doubts.append(f"insufficient data: {found.n} rows, under {LEAST_ROWS}")
    if found.low == found.high:
        doubts.append("the draws do not differ: the true interval is wider")
    return "; ".join(doubts) or None


def auroc_of(rows: Sequence[R], score: Callable[[R], float]) -> metrics.Statistic:
    """AUROC of a score of rows, as a statistic to draw for."""
    return partial(metrics.auroc, _is_brown(rows), [score(row) for row in rows])


def separation_of(row: JudgedRow) -> float:
    """The network's score of brown against red."""
    return row.separation


# Printing and writing


def cell(measure: Measure) -> str:
    """A measure as text: value and interval, ``-`` for no value."""
    if measure.value is None:
        return "-"
    few = " (few)" if measure.n < LEAST_ROWS else ""
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]{few}"


def as_json(report: BaseModel) -> bytes:
    """Indented JSON of a report."""
    return report.model_dump_json(indent=2).encode() + b"\n"
