"""A recipe judged on pictures left out, beside what colour alone can do on the same rows.

Whole sources are left out, or groups dealt into folds. No picture is judged by a network, or by a
colour baseline, that saw it, a copy of it, or another picture of its person.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from diascope import metrics
from diascope.baseline import (
    DECODE_SIDE,
    colour_separation,
    colour_statistics,
    fit_colour_baseline,
)
from diascope.bundle import WEIGHTS, Figure, load_bundle, resolve_bundle
from diascope.config import RunConfig
from diascope.dataset import (
    SPLIT_COLUMN,
    Manifest,
    ManifestRow,
    check_apart,
    joined_rows,
    known_groups,
    trainable,
)
from diascope.errors import ConfigError, ImageError, OutputError, SplitError
from diascope.evaluation.judging import data_name, judge, unreadable_row
from diascope.evaluation.measuring import (
    COLOURED,
    auroc_of,
    measure,
    section,
    separation_of,
)
from diascope.evaluation.telling import (
    DECLINING,
    as_figures,
    as_json,
    cell,
    declining_notes,
    legend,
    measure_notes,
    unreadable_notes,
)
from diascope.evaluation.tone import label_of
from diascope.figures import (
    Aurocs,
    JudgedRow,
    Measure,
    MeasureName,
    Part,
    Section,
    UnreadableRow,
)
from diascope.files import check_free, write_whole
from diascope.image import read_picture
from diascope.inference import Predictor
from diascope.labels import INTENDED_USE
from diascope.progress import Track, silent
from diascope.splits import check_groups, deal
from diascope.training import CHECKPOINT, fit

REPORT = "cross_validation.json"
PREDICTIONS = "predictions.csv"

_FOLD_STATE = "fold.json"
_POOLED = (
    MeasureName.COVERAGE,
    MeasureName.COVERAGE_OF_RED,
    MeasureName.COVERAGE_OF_BROWN,
    MeasureName.ACCURACY_DECIDED,
    MeasureName.ACCURACY_AT_70,
    MeasureName.AURC,
    MeasureName.AUGRC,
    MeasureName.ECE,
    MeasureName.ECE_BEFORE,
    MeasureName.ECE_IF_PERFECT,
    MeasureName.BRIER,
    MeasureName.BRIER_BEFORE,
    *DECLINING,
    MeasureName.OTHER_CALLED_AT_70,
    MeasureName.CONFORMAL_OF_RED,
    MeasureName.CONFORMAL_OF_BROWN,
    MeasureName.CONFORMAL_OF_NEITHER,
)

Floats = npt.NDArray[np.float64]


class LeftOutRow(JudgedRow):
    """A picture judged by a network, and by colour alone, that never saw it."""

    fold: str
    colour_separation: float


class FoldReport(Part):
    """One fold: rows that neither the network nor colour alone was trained on.

    ``copies_kept_out`` counts rows outside the fold that share a group with one inside it.
    """

    name: str
    trained_on: int
    copies_kept_out: int
    aurocs: Aurocs
    network: Section


class CrossValidation(Part):
    """A recipe judged on pictures left out: by fold, pooled, and as the mean over folds.

    ``mean_over`` names the folds of the mean: those with both red and brown rows.
    """

    schema_version: Literal[2] = 2
    by: Literal["source", "group"]
    seed: int
    config: RunConfig
    data: str
    data_digest: str
    bootstrap_draws: int = metrics.DRAWS
    folds: tuple[FoldReport, ...]
    pooled: Section
    pooled_aurocs: Aurocs
    mean_over: tuple[str, ...]
    mean_aurocs: Aurocs
    unreadable: tuple[UnreadableRow, ...]
    intended_use: str = INTENDED_USE


_StatisticOf = Callable[[Sequence[LeftOutRow], Callable[[LeftOutRow], float]], metrics.Statistic]


@dataclass(frozen=True)
class Fold:
    """Rows to judge and rows to train on; no group is on both sides."""

    name: str
    held_out: tuple[ManifestRow, ...]
    training: tuple[ManifestRow, ...]
    copies_kept_out: int


class _FoldState(Part):
    """What a fold leaves behind: of what it is made and, once it is done, its rows."""

    digest: str
    rows: tuple[LeftOutRow, ...] | None


def cross_validate(
    config: RunConfig,
    manifest: Manifest,
    *,
    by: Literal["source", "group"],
    out: Path,
    folds: Sequence[Sequence[str]] | None = None,
    group_folds: int = 5,
    seed: int = 0,
    config_folder: Path | None = None,
    init_from: Path | None = None,
    overwrite: bool = False,
    track: Track = silent,
) -> CrossValidation:
    """Train on all but a fold, judge the fold, for every fold; the same for colour alone.

    No row shares a group (the manifest's, copies found, persons known) with a row of the fold it
    is judged in. Writes ``cross_validation.json`` and ``predictions.csv`` in ``out``; a run cut
    off goes on after its last finished fold.

    Args:
        config: the recipe; every fold is trained with it.
        manifest: photographs.
        by: "source" leaves whole sources out, "group" deals groups into ``group_folds`` folds.
        out: folder for the figures and the folds' bundles.
        folds: names of the sources each fold leaves out; None: each source with red or brown
            rows by itself. Sources in no fold are always trained on.
        group_folds: number of folds by group.
        seed: of the deal by group.
        config_folder: folder that ``config.data.groups`` is relative to.
        init_from: bundle that every fold starts from; None: as ``config.init_from`` says.
        overwrite: start afresh where ``out`` holds figures or finished folds.
        track: shows progress.

    Raises:
        ManifestError: a label of skin tone that is none; the file of known groups cannot be read or
            is of other pictures; a picture went while this ran.
        ConfigError: the bundle to start from learnt from photographs, or settings do not fit.
        BundleError: the bundle to start from is not there or not whole.
        SplitError: an unknown source, too few groups, or a fold without which a class is missing.
        OutputError: figures, or folds of another recipe, are in ``out``; or it cannot be written.
        ImageError: a picture that is left out changed or went while this ran.
        DeviceError: a device that is not there.
        TrainingError: a loss that is not finite.
    """
    check_free(out / REPORT, overwrite)
    for row in manifest.rows:
        label_of(row)  # a label that is none is told before hours of work, not after the first fold
    known = known_groups(config.data.groups, manifest.rows, config_folder)
    if init_from is None and config.init_from is not None:
        init_from = resolve_bundle(config.init_from)
    start = _Start.of(init_from)
    colour, unreadable = _colour_of(manifest.rows, track)
    readable = [_without_split(row) for row in manifest.rows if row.path in colour]
    rows = joined_rows(readable, config.data, known=known, track=track)
    by_source = by == "source"
    plan = leave_sources_out(rows, folds) if by_source else deal_groups(rows, group_folds, seed)
    for stale in (out / REPORT, out / PREDICTIONS):
        stale.unlink(missing_ok=True)
    judged: list[LeftOutRow] = []
    for number, fold in enumerate(track(plan, "folds", len(plan))):
        runner = _FoldRun(config, start, fold, colour, out / f"fold-{number}")
        judged += runner.rows(overwrite=overwrite, track=track)
    whole, pooled_aurocs = _whole_folds(judged), _aurocs(judged, auroc_of)
    report = CrossValidation(
        by=by,
        seed=seed,
        config=config,
        data=data_name(manifest),
        data_digest=manifest.digest,
        folds=tuple(_fold_report(fold, judged) for fold in plan),
        pooled=_pooled(judged, len(unreadable), pooled_aurocs.network),
        pooled_aurocs=pooled_aurocs,
        mean_over=whole,
        mean_aurocs=_aurocs([row for row in judged if row.fold in whole], _mean_auroc),
        unreadable=tuple(unreadable),
    )
    write_whole(out / PREDICTIONS, _as_csv(judged))
    write_whole(out / REPORT, as_json(report))
    return report


def table(report: CrossValidation) -> list[tuple[str, ...]]:
    """Rows of text to print, the first the header: each fold, the pooled rows, the mean."""
    return [
        ("left out", "red", "brown", "AUROC of network", "of colour alone", "gain"),
        *((fold.name, *_counts(fold.network), *_cells(fold.aurocs)) for fold in report.folds),
        ("pooled", *_counts(report.pooled), *_cells(report.pooled_aurocs)),
        (_mean_words(report), "", "", *_cells(report.mean_aurocs)),
    ]


def notes(report: CrossValidation) -> list[str]:
    """Lines to print under a table: rows to decline, pictures not read, figures missing, marks."""
    named = [(fold.name, fold.aurocs) for fold in report.folds]
    named += [("pooled", report.pooled_aurocs), (_mean_words(report), report.mean_aurocs)]
    lines = [
        *declining_notes(report.pooled),
        *unreadable_notes(report.unreadable),
        *measure_notes((name, aurocs.network) for name, aurocs in named),
    ]
    return [*lines, *legend([*lines, *(text for row in table(report) for text in row)])]


def figures_of(report: CrossValidation, command: str) -> list[Figure]:
    """What a model card shows: network, colour alone and gain, by fold, pooled, as the mean.

    Of the pooled rows also how many were decided, how well, and what was declined rightly.
    ``command`` measures it again. A measure without a value is left out.
    """
    return as_figures(_named(report), command)


def _mean_words(report: CrossValidation) -> str:
    return f"mean over {len(report.mean_over)} of {len(report.folds)} folds"


def _named(report: CrossValidation) -> Iterator[tuple[str, str, Measure]]:
    parts = [(f"{fold.name} left out", fold.aurocs) for fold in report.folds]
    parts += [("folds pooled", report.pooled_aurocs), (_mean_words(report), report.mean_aurocs)]
    name = f"{MeasureName.AUROC}_by_{report.by}"
    for where, aurocs in parts:
        data = f"{report.data}: {where}"
        yield name, data, aurocs.network
        yield f"{name}_of_colour_alone", data, aurocs.colour
        yield f"{name}_gain", data, aurocs.gain
    for measured in _POOLED:
        data = f"{report.data}: folds pooled"
        yield f"{measured}_by_{report.by}", data, report.pooled.measures[measured]


# Figures


def _fold_report(fold: Fold, judged: Sequence[LeftOutRow]) -> FoldReport:
    rows = [row for row in judged if row.fold == fold.name]
    return FoldReport(
        name=fold.name,
        trained_on=len(fold.training),
        copies_kept_out=fold.copies_kept_out,
        aurocs=_aurocs(rows, auroc_of),
        network=section(fold.name, rows, unreadable=0),
    )


def _pooled(judged: Sequence[LeftOutRow], unreadable: int, auroc: Measure) -> Section:
    """All rows; the AUROC with the one interval whose draws keep to folds."""
    found = section("pooled", judged, unreadable)
    return found.model_copy(update={"measures": found.measures | {MeasureName.AUROC: auroc}})


def _aurocs(judged: Sequence[LeftOutRow], statistic_of: _StatisticOf) -> Aurocs:
    rows = [row for row in judged if row.mark_type in COLOURED]
    network, colour = statistic_of(rows, separation_of), statistic_of(rows, _colour_of_row)
    # Within a fold and a class, so that every draw holds both in every fold.
    strata = [f"{row.fold} {row.mark_type}" for row in rows]
    measured = partial(measure, rows, least_classes=2, strata=strata)
    return Aurocs(
        network=measured(network),
        colour=measured(colour),
        gain=measured(lambda counts: network(counts) - colour(counts)),
    )


def _colour_of_row(row: LeftOutRow) -> float:
    return row.colour_separation


def _whole_folds(judged: Sequence[LeftOutRow]) -> tuple[str, ...]:
    """Names of the folds that hold both red and brown."""
    labels = {(row.fold, row.mark_type) for row in judged}
    names = dict.fromkeys(row.fold for row in judged)
    return tuple(name for name in names if all((name, label) in labels for label in COLOURED))


def _mean_auroc(
    rows: Sequence[LeftOutRow], score: Callable[[LeftOutRow], float]
) -> metrics.Statistic:
    names = sorted({row.fold for row in rows})
    members = {fold: [i for i, row in enumerate(rows) if row.fold == fold] for fold in names}
    parts = [(index, auroc_of([rows[i] for i in index], score)) for index in members.values()]

    def mean(counts: Floats) -> Floats:
        return np.asarray(np.mean([auroc(counts[..., index]) for index, auroc in parts], axis=0))

    return mean


# Folds


def leave_sources_out(
    rows: Sequence[ManifestRow], folds: Sequence[Sequence[str]] | None = None
) -> list[Fold]:
    """Folds of whole sources; None: each source with red or brown rows by itself.

    Raises:
        SplitError: an unknown source, one in two folds, or a fold that leaves a class untrained.
    """
    if folds is None:
        coloured = {row.source for row in rows if row.mark_type in COLOURED}
        folds = [[source] for source in sorted(coloured)]
    if not folds or not all(folds):
        raise SplitError("no source to leave out; name one or more for every fold")
    known = sorted({row.source for row in rows})
    named = Counter(source for fold in folds for source in fold)
    for source, times in named.items():
        if source not in known:
            raise SplitError(f"{source}: no such source; here are {', '.join(known)}")
        if times > 1:
            raise SplitError(f"{source}: in two folds; leave each source out once")
    return [
        _fold("+".join(fold), rows, {row.path for row in rows if row.source in fold})
        for fold in folds
    ]


def deal_groups(rows: Sequence[ManifestRow], count: int, seed: int) -> list[Fold]:
    """Folds of groups dealt at random by ``seed``, classes as even as the groups allow.

    Raises:
        SplitError: fewer groups of red or brown than folds.
    """
    check_groups(rows, COLOURED, count)
    folds = deal([row.mark_type for row in rows], [row.group_id for row in rows], count, seed)
    return [
        _fold(
            f"group fold {number}",
            rows,
            {row.path for row, fold in zip(rows, folds, strict=True) if fold == number},
        )
        for number in range(count)
    ]


def _without_split(row: ManifestRow) -> ManifestRow:
    """Without the column split, which is another deal: the folds here take its place."""
    return replace(row, extra={k: v for k, v in row.extra.items() if k != SPLIT_COLUMN})


def _fold(name: str, rows: Sequence[ManifestRow], paths: set[str]) -> Fold:
    held_out = [row for row in rows if row.path in paths]
    outside = trainable([row for row in rows if row.path not in paths])
    groups = {row.group_id for row in held_out}
    training = [row for row in outside if row.group_id not in groups]
    for label in COLOURED:
        if not any(row.mark_type is label for row in training):
            raise SplitError(
                f"fold {name}: no {label} rows are left to train on; leave fewer sources out"
            )
    return Fold(name, tuple(held_out), tuple(training), len(outside) - len(training))


@dataclass(frozen=True)
class _FoldRun:
    """The work of one fold, in a folder of its own."""

    config: RunConfig
    start: "_Start | None"
    fold: Fold
    colour: Mapping[str, Floats]
    folder: Path

    def rows(self, *, overwrite: bool, track: Track) -> tuple[LeftOutRow, ...]:
        """The fold's rows, judged: as an earlier run left them, or trained for now."""
        check_apart(self.fold.training, self.fold.held_out)
        file = self.folder / _FOLD_STATE
        digest = _digest(self.config, self.start, self.fold, self.colour)
        state = _FoldState(digest=digest, rows=None)
        earlier = None if overwrite else _earlier(file, state.digest)
        if earlier is not None and earlier.rows is not None:
            return earlier.rows
        write_whole(file, as_json(state))
        result = fit(
            self.config,
            self.fold.training,
            self.folder,
            init_from=None if self.start is None else self.start.folder,
            resume=earlier is not None and (self.folder / CHECKPOINT).is_file(),
            overwrite=overwrite or earlier is not None,
            track=track,
        )
        rows = self._judged(Predictor.load(result.bundle_folder), track)
        write_whole(file, as_json(state.model_copy(update={"rows": rows})))
        return rows

    def _judged(self, predictor: Predictor, track: Track) -> tuple[LeftOutRow, ...]:
        judged, lost = judge(predictor, self.fold.held_out, track)
        if lost:
            detail = f"could be read before, but not now: {lost[0].detail}"
            raise ImageError(lost[0].reason, lost[0].path, detail)
        return tuple(
            LeftOutRow(**row.model_dump(), fold=self.fold.name, colour_separation=score)
            for row, score in zip(judged, self._colour_scores(), strict=True)
        )

    def _colour_scores(self) -> list[float]:
        training = [row for row in self.fold.training if row.mark_type in COLOURED]
        model = fit_colour_baseline(
            [self.colour[row.path] for row in training],
            [row.mark_type is COLOURED[-1] for row in training],
        )
        held_out = [self.colour[row.path] for row in self.fold.held_out]
        return [float(score) for score in colour_separation(model, held_out)]


def _earlier(file: Path, digest: str) -> _FoldState | None:
    """What an earlier run left of this fold, if anything."""
    if not file.exists():
        return None
    try:
        state = _FoldState.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        state = None
    if state is None or state.digest != digest:
        raise OutputError(
            f"{file.parent}: a fold of another recipe, other pictures or other labels; "
            "use --overwrite or give another folder"
        )
    return state


@dataclass(frozen=True)
class _Start:
    """The bundle that every fold starts from, and the digest of its weights."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, folder: Path | None) -> "_Start | None":
        """None: from nothing."""
        if folder is None:
            return None
        description = load_bundle(folder).description
        if description.data.photographs > 0:
            raise ConfigError(
                f"init_from: {description.name} learnt from {description.data.photographs} "
                "photographs, which may be those left out;\n"
                'start from drawn marks alone (init_from = "rendered") or leave init_from out'
            )
        return cls(folder, description.files[WEIGHTS])


def _digest(
    config: RunConfig, start: _Start | None, fold: Fold, colour: Mapping[str, Floats]
) -> str:
    """Of the recipe, its start, the rows and, through their colour statistics, the pictures."""
    whole = hashlib.sha256(config.model_dump_json().encode())
    whole.update((start.digest if start else "").encode())
    for row in (*fold.training, *fold.held_out):
        fields = (row.path, row.mark_type.value, row.source, row.group_id, row.box)
        whole.update(json.dumps(fields).encode() + colour[row.path].tobytes())
    for row in fold.held_out:  # what else of them stands in the table that a fold keeps
        whole.update(json.dumps((row.id, row.condition, label_of(row))).encode())
    whole.update(str(len(fold.training)).encode())
    return whole.hexdigest()


def _colour_of(
    rows: Sequence[ManifestRow], track: Track
) -> tuple[dict[str, Floats], list[UnreadableRow]]:
    """Colour statistics by path, and the pictures that cannot be read."""
    colour, unreadable = {}, []
    for row in track(rows, "measuring colour", len(rows)):
        try:
            picture = read_picture(row.file, decode_side=None if row.box else DECODE_SIDE)
            colour[row.path] = colour_statistics(picture, row.box)
        except ImageError as error:
            unreadable.append(unreadable_row(row, error))
    return colour, unreadable


# Printing and writing


def _cells(aurocs: Aurocs) -> tuple[str, str, str]:
    return cell(aurocs.network), cell(aurocs.colour), cell(aurocs.gain)


def _counts(of: Section) -> tuple[str, str]:
    red, brown = (str(of.labels.get(label, 0)) for label in COLOURED)
    return red, brown


def _as_csv(rows: Sequence[LeftOutRow]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(LeftOutRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in rows)
    return text.getvalue().encode()
