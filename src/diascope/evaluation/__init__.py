"""Figures of a saved bundle, measured through ``Predictor``: overall, per source, per skin tone.

Red against brown is judged by the separation, P(hyperpigmented | erythematous or hyperpigmented):
hyperpigmented is the positive class and called from 0.5 on. Of rows marked ``other`` the share
declined is measured; rows marked ``mixed`` are counted by verdict and enter no figure.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from diascope import metrics
from diascope.bundle import Bundle
from diascope.config import SweepConfig, load_sweep
from diascope.dataset import Manifest, known_groups, read_manifest
from diascope.evaluation.colour_alone import colour_alone, curve
from diascope.evaluation.judging import data_name, judge, with_joined_groups
from diascope.evaluation.measuring import CLASSES, COLOURED, calls, section, surest
from diascope.evaluation.mistakes import check_may_show, thumbnails, worst_mistakes
from diascope.evaluation.sturdiness import measure_sturdiness
from diascope.evaluation.sweep import sweep_tones
from diascope.evaluation.telling import as_json, card_figures, told_of
from diascope.evaluation.tone import tone_scales
from diascope.figures import (
    Calibration,
    ChangeFigures,
    ConditionVerdicts,
    Curve,
    Declining,
    Evaluation,
    JudgedRow,
    ReliabilityBin,
    Report,
    Section,
    Sweep,
    UnreadableRow,
)
from diascope.files import check_free, check_unversioned, write_whole
from diascope.inference import Device, Predictor
from diascope.labels import ManifestLabel, Verdict
from diascope.machine import available_cores
from diascope.progress import Track, silent

REPORT = "evaluation.json"
PAGE = "evaluation.html"

__all__ = [
    "PAGE",
    "REPORT",
    "Plan",
    "card_figures",
    "check_output",
    "evaluate",
    "evaluation_of",
    "run",
    "sweep_tones",
    "thumbnails",
    "told_of",
    "write_report",
]


def evaluate(
    predictor: Predictor,
    manifest: Manifest,
    *,
    join_copies: bool = True,
    groups: Path | None = None,
    sturdiness: bool = False,
    workers: int = 1,
    track: Track = silent,
) -> Report:
    """Measure a bundle on a manifest, overall and per source and tone, through ``predict_batch``.

    Verdicts are those of the pixels alone. Intervals resample groups: the manifest's, joined where
    they share a patient or a group of ``groups``, a CSV (path, group_id) of copies and persons
    known, and, with ``join_copies``, where copies are found, a search that grows with the square of
    the rows. With ``sturdiness`` every red
    and brown picture is judged again after each change of ``perturbation``, by ``workers``
    processes.

    Raises:
        ManifestError: a label of skin tone that is none, or ``groups`` cannot be read or is of
            other pictures.
    """
    known = known_groups(groups, manifest.rows)
    judged, unreadable = judge(predictor, manifest.rows, track)
    judged = with_joined_groups(judged, manifest.rows, known, copies=join_copies, track=track)
    changes: tuple[ChangeFigures, ...] = ()
    if sturdiness:
        changes = measure_sturdiness(predictor, manifest.rows, judged, workers=workers, track=track)
    return Report(
        data=data_name(manifest),
        data_digest=manifest.digest,
        copies_joined=join_copies,
        bootstrap_draws=metrics.DRAWS,
        overall=section("all", judged, len(unreadable)),
        sources=_by_source(manifest, judged, unreadable, track),
        tones=tone_scales(judged),
        colour_alone=colour_alone(judged, manifest, track),
        calibration=_calibration(judged, predictor.bundle.description.temperature),
        declining=_declining(judged),
        other=_other(judged),
        sturdiness=changes,
        mistakes=worst_mistakes(judged),
        unreadable=tuple(unreadable),
    )


@dataclass(frozen=True)
class Plan:
    """What to measure a bundle on, read and checked before the work begins."""

    manifest: Manifest | None
    sweep: SweepConfig | None
    groups: Path | None = None
    sturdiness: bool = True
    show_mistakes: bool = False

    @classmethod
    def read(
        cls,
        data: Path | None,
        sweep: Path | None,
        *,
        groups: Path | None = None,
        sturdiness: bool = True,
        show_mistakes: bool = False,
    ) -> Self:
        """Read a manifest, the config of a sweep, or both.

        Raises:
            ManifestError: the manifest is not whole.
            ConfigError: the sweep cannot be read.
            OutputError: mistakes are to be shown that may not be passed on.
        """
        tones = None if sweep is None else load_sweep(sweep)
        manifest = None if data is None else read_manifest(data)
        if manifest is not None and show_mistakes:
            check_may_show(manifest.path, *(row.file for row in manifest.rows))
        return cls(manifest, tones, groups, sturdiness, show_mistakes)


def run(
    plan: Plan,
    model: str | None,
    *,
    device: Device = "cpu",
    workers: int | None = None,
    command: str,
    track: Track = silent,
) -> tuple[Evaluation, dict[str, bytes]]:
    """Measure a bundle on everything planned; figures, and small JPEGs of mistakes to show.

    ``workers`` processes; None: one per core. A bundle on a GPU works in one.

    Raises:
        DiascopeError: the bundle cannot be loaded, or a picture that was judged is gone.
    """
    workers = workers or available_cores()
    # With several workers, the cores are taken by them.
    predictor = Predictor.load(model, device=device, threads=None if workers == 1 else 1)
    workers = workers if predictor.device == "cpu" else 1
    pictures, drawn = None, None
    if plan.manifest is not None:
        pictures = evaluate(
            predictor,
            plan.manifest,
            groups=plan.groups,
            sturdiness=plan.sturdiness,
            workers=workers,
            track=track,
        )
    if plan.sweep is not None:
        drawn = sweep_tones(predictor, plan.sweep, workers=workers, track=track)
    shown = {}
    if plan.show_mistakes and plan.manifest is not None and pictures is not None:
        shown = thumbnails(pictures.mistakes, plan.manifest)
    return evaluation_of(predictor.bundle, command, pictures=pictures, sweep=drawn), shown


def evaluation_of(
    bundle: Bundle, command: str, *, pictures: Report | None, sweep: Sweep | None
) -> Evaluation:
    """Everything measured of a bundle in one run, with what it is and the command that did it."""
    description = bundle.description
    return Evaluation(
        diascope=version("diascope"),
        command=command,
        model=description.name,
        model_digest=bundle.digest,
        model_use=description.intended_use,
        learnt_from=description.data.summary,
        learnt_photographs=description.data.photographs,
        gates=description.gates.model_dump(mode="json"),
        pictures=pictures,
        sweep=sweep,
    )


def write_report(
    report: Evaluation, out: Path, page: str | None, *, overwrite: bool = False
) -> Path:
    """Write ``evaluation.json`` in ``out`` and, where one is given, the page; the JSON's path.

    Raises:
        OutputError: one exists and ``overwrite`` is False, or cannot be written.
    """
    check_output(out, page=page is not None, overwrite=overwrite)
    write_whole(out / REPORT, as_json(report))
    if page is not None:
        write_whole(out / PAGE, page.encode())
    elif overwrite:
        (out / PAGE).unlink(missing_ok=True)  # of other figures
    return out / REPORT


def check_output(out: Path, *, page: bool, overwrite: bool, show_mistakes: bool = False) -> None:
    """Refuse to replace figures unasked, or to show people where git would, before the work.

    Raises:
        OutputError: as :func:`write_report`, or pictures are to be shown on a page that git would
            take up.
    """
    for name in (REPORT, PAGE) if page else (REPORT,):
        check_free(out / name, overwrite)
    if show_mistakes:
        check_unversioned(out / PAGE)


# Parts of a report


def _by_source(
    manifest: Manifest,
    judged: Sequence[JudgedRow],
    unreadable: Sequence[UnreadableRow],
    track: Track,
) -> tuple[Section, ...]:
    source_of = {row.path: row.source for row in manifest.rows}
    lost = Counter(source_of[row.path] for row in unreadable)
    sources = sorted(set(source_of.values()))
    return tuple(
        section(
            source or "(no source)", [row for row in judged if row.source == source], lost[source]
        )
        for source in track(sources, "measuring sources", len(sources))
    )


def _calibration(judged: Sequence[JudgedRow], temperature: float) -> Calibration:
    classed = [row for row in judged if row.mark_type in CLASSES]
    called, sure = calls(classed)
    bins = metrics.reliability(sure, called == [row.mark_type for row in classed])
    return Calibration(
        temperature=temperature,
        bins=tuple(
            ReliabilityBin(confidence=confidence, accuracy=accuracy, n=n)
            for confidence, accuracy, n in zip(*bins, strict=True)
        ),
    )


def _declining(judged: Sequence[JudgedRow]) -> Declining:
    coloured = [row for row in judged if row.mark_type in COLOURED]
    if not coloured:
        return Declining(selective_risk=Curve(x=(), y=()), generalised_risk=Curve(x=(), y=()))
    coverage, risk, generalised = metrics.risk_coverage(*surest(coloured))
    return Declining(
        selective_risk=curve(coverage, risk), generalised_risk=curve(coverage, generalised)
    )


def _other(judged: Sequence[JudgedRow]) -> tuple[ConditionVerdicts, ...]:
    """Lesions to decline by condition, those most often given a colour first."""
    found: dict[str, Counter[Verdict]] = {}
    for row in judged:
        if row.mark_type is ManifestLabel.OTHER:
            found.setdefault(row.condition, Counter())[row.verdict] += 1
    listed = [
        ConditionVerdicts(
            condition=condition,
            n=verdicts.total(),
            erythematous=verdicts[Verdict.ERYTHEMATOUS],
            hyperpigmented=verdicts[Verdict.HYPERPIGMENTED],
            declined=sum(times for verdict, times in verdicts.items() if verdict.declines),
        )
        for condition, verdicts in found.items()
    ]
    return tuple(sorted(listed, key=lambda each: (each.declined / each.n, each.condition)))
