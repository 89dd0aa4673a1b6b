"""Figures as text: tables and notes for a terminal, rows for a model card."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from diascope.bundle import DRAWN, Figure
from diascope.figures import (
    LEAST_ROWS,
    ChangeFigures,
    ColourAlone,
    Evaluation,
    Measure,
    MeasureName,
    Report,
    Section,
    Sweep,
    SweepPart,
    ToneScale,
    UnreadableRow,
)

_PRINTED = (
    MeasureName.AUROC,
    MeasureName.BALANCED_ACCURACY,
    MeasureName.SENSITIVITY,
    MeasureName.SPECIFICITY,
)
DECLINING = (
    MeasureName.DECLINED_OF_OTHER,
    MeasureName.NEITHER_CALLED_NEITHER,
    MeasureName.NEITHER_GIVEN_A_COLOUR,
)
"""Measures on rows that are neither red nor brown."""

_FEW = f"(few): insufficient data, under {LEAST_ROWS} rows"
_ALIKE = "(alike): no draw of the bootstrap differs, the true interval is wider"

Rows = list[tuple[str, ...]]


def table(report: Report) -> list[tuple[str, ...]]:
    """Rows of text to print, the first the header: all rows, then each source."""
    words = [name.replace("_", " ").replace("auroc", "AUROC") for name in _PRINTED]
    rows: list[tuple[str, ...]] = [("rows of", "n", *words)]
    for part in (report.overall, *report.sources):
        cells = (cell(part.measures[name]) for name in _PRINTED)
        rows.append((part.name, str(part.n), *cells))
    return rows


def notes(report: Report) -> list[str]:
    """Lines to print under a table: rows to decline, pictures not read, figures missing."""
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
    """A line for each reason that a value is missing."""
    missing = [f"{name}: {each.note}" for name, each in named if each.value is None]
    return list(dict.fromkeys(missing))


def legend(printed: Iterable[str]) -> list[str]:
    """A line for each mark of :func:`cell` that stands in what is printed."""
    words = " ".join(printed)
    return [line for line in (_FEW, _ALIKE) if line.split(":")[0] in words]


def figures_of(report: Report, command: str) -> list[Figure]:
    """What a model card shows: every measure, sources, tones and the gap, colour alone.

    ``command`` measures it again. A measure without a value is left out.
    """
    named: list[tuple[str, str, Measure]] = [
        (name, report.data, each) for name, each in report.overall.measures.items()
    ]
    if report.colour_alone.aurocs is not None:
        alone = report.colour_alone.aurocs
        named.append((f"{MeasureName.AUROC}_of_colour_alone", report.data, alone.colour))
        named.append((f"{MeasureName.AUROC}_gain", report.data, alone.gain))
    for scale in report.tones:
        data = f"{report.data}: {scale.scale}{' estimated' if scale.estimated else ''}"
        named.append(("auroc_gap_between_tones", data, scale.gap))
        named += [
            (MeasureName.AUROC, f"{data}, {each.name}", each.measures[MeasureName.AUROC])
            for each in scale.groups
        ]
    named += [
        (MeasureName.AUROC, f"{report.data}: {each.name}", each.measures[MeasureName.AUROC])
        for each in report.sources
    ]
    return as_figures(named, command)


def card_figures(whole: Evaluation) -> list[Figure]:
    """What a model card shows of a run: pictures, sturdiness and drawn tones."""
    found: list[Figure] = []
    if whole.pictures is not None:
        found += figures_of(whole.pictures, whole.command)
        found += sturdiness_figures(whole.pictures, whole.command)
    if whole.sweep is not None:
        found += sweep_figures(whole.sweep, whole.command)
    return found


def sturdiness_figures(report: Report, command: str) -> list[Figure]:
    """What a model card shows of changed pictures: verdict flips and AUROC lost."""
    named = []
    for each in report.sturdiness:
        data = f"{report.data}: {each.words}"
        named += [("verdict_flips", data, each.flips), ("auroc_loss", data, each.loss)]
    return as_figures(named, command)


def told_of(whole: Evaluation) -> tuple[list[Rows], list[str]]:
    """Tables and lines to print of a run."""
    tables: list[Rows] = []
    lines: list[str] = []
    if whole.pictures is not None:
        tables.append(table(whole.pictures))
        if whole.pictures.sturdiness:
            tables.append(sturdiness_table(whole.pictures.sturdiness))
        lines += [*tone_lines(whole.pictures.tones), *colour_lines(whole.pictures.colour_alone)]
        lines += notes(whole.pictures)
        if whole.learnt_photographs:
            lines.append(
                f"this model learnt from {whole.learnt_photographs} photographs: where the "
                "pictures measured are among them, every figure on them flatters it"
            )
    if whole.sweep is not None:
        tables += sweep_tables(whole.sweep)
    cells = (text for rows in tables for row in rows for text in row)
    return tables, [*lines, *legend([*cells, *lines])]


def colour_lines(found: ColourAlone) -> list[str]:
    """Lines on what colour statistics alone can do, and who wins."""
    if found.aurocs is None:
        return [f"colour statistics alone: {found.how}"]
    return [
        f"colour statistics alone ({found.how}): AUROC {cell(found.aurocs.colour)}",
        f"gain of the network: {cell(found.aurocs.gain)}; {found.aurocs.words}",
    ]


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


def tone_lines(scales: Sequence[ToneScale]) -> list[str]:
    """A line for the gap of each scale of skin tone, and one for each of its groups."""
    lines = []
    for scale in scales:
        estimated = ", estimated from the picture" if scale.estimated else ""
        lines.append(f"AUROC gap between skin tones ({scale.scale}{estimated}): {told(scale.gap)}")
        for each in scale.groups:
            auroc = each.measures[MeasureName.AUROC]
            lines.append(f"  {each.name}: AUROC {told(auroc)}, {auroc.n} red or brown")
    return lines


def sturdiness_table(changes: Sequence[ChangeFigures]) -> Rows:
    """Rows of text to print, the first the header: what each change does."""
    rows: Rows = [
        ("change", "of named", "red <-> brown", "verdict lost", "n", "AUROC after", "AUROC loss")
    ]
    for each in changes:
        verdicts, ranks = map(cell, (each.flips, each.lost)), map(cell, (each.auroc, each.loss))
        rows.append((each.words, str(each.flips.n), *verdicts, str(each.auroc.n), *ranks))
    return rows


def sweep_tables(sweep: Sweep) -> list[Rows]:
    """Tables of text to print: the gaps first, then tones, contrasts (at full strength, as
    shown), layouts, sizes, cells."""
    gaps: Rows = [("drawn marks on skins of all tones", "value", "n")]
    named = [
        ("AUROC gap between tones", sweep.auroc_gap),
        ("the same by chance alone (mean, range)", sweep.gap_by_chance),
        (f"lowest AUROC: {sweep.lowest.name}", sweep.lowest.measure),
        *(
            (f"gap of the share declined, {each.name}", each.measure)
            for each in sweep.declined_gaps
        ),
    ]
    gaps += [(name, cell(each), str(each.n)) for name, each in named]
    tables = [gaps]
    parts = (("tone", sweep.tones), ("contrast", sweep.contrasts), ("shown", sweep.shown))
    others = (("layout", sweep.layouts), ("size of the mark", sweep.sizes))
    for word, inside in (*parts, *others):
        tables.append(_part_table(word, inside))
    cells = [
        part.model_copy(update={"name": f"{tone.name}, {part.name}"})
        for tone, row in zip(sweep.tones, sweep.cells, strict=True)
        for part in row
    ]
    bare: Rows = [("unmarked skin", "given a colour", "n")]
    bare += [(each.name, cell(each.measure), str(each.measure.n)) for each in sweep.bare_called]
    return [*tables, _part_table("tone and contrast", cells), bare]


def _part_table(word: str, parts: Iterable[SweepPart]) -> Rows:
    rows: Rows = [
        (word, "n", "Delta E shown", "AUROC red vs brown", "declined", "right when decided")
    ]
    for part in parts:
        measures = map(cell, (part.auroc, part.declined, part.right))
        rows.append((part.name, str(part.n), f"{part.shown:.1f}", *measures))
    return rows


def sweep_figures(sweep: Sweep, command: str) -> list[Figure]:
    """What a model card shows of a sweep: the gaps, the lowest tone, each tone."""
    data = f"{DRAWN} tones, {sweep.config['name']}.toml"
    named = [
        ("auroc_gap_between_tones", data, sweep.auroc_gap),
        ("auroc_gap_by_chance", data, sweep.gap_by_chance),
    ]
    named += [
        ("declined_gap_between_tones", f"{data}: {each.name}", each.measure)
        for each in sweep.declined_gaps
    ]
    for part in (*sweep.tones, *sweep.contrasts, *sweep.shown):
        named.append((MeasureName.AUROC, f"{data}: {part.name}", part.auroc))
        named.append(("declined", f"{data}: {part.name}", part.declined))
    return as_figures(named, command)


def told(measure: Measure) -> str:
    """A measure in a sentence: value and interval, or why there is none."""
    return measure.note or "no value" if measure.value is None else cell(measure)


def cell(measure: Measure) -> str:
    """A measure as text: value, interval and what to doubt; ``-`` for no value."""
    if measure.value is None:
        return "-"
    marks = " (few)" * measure.is_few + " (alike)" * measure.draws_alike
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]{marks}"


def as_json(report: BaseModel) -> bytes:
    """Indented JSON of a report."""
    return report.model_dump_json(indent=2).encode() + b"\n"
