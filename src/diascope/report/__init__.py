"""Figures as JSON -> one self-contained HTML page that a clinician can read on a phone.

No inference and no measuring here, and nothing from the network: plots are inline SVG.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from diascope.figures import (
    LEAST_ROWS,
    Evaluation,
    Measure,
    MeasureName,
    NamedMeasure,
    Report,
    Section,
    Sweep,
)
from diascope.labels import ManifestLabel
from diascope.report import plots

FEW = "\N{DAGGER}"
"""Stands after a figure on too few rows."""
ALIKE = "\N{DOUBLE DAGGER}"
"""Stands after an interval that is too narrow: no draw of the bootstrap differs."""
_TEMPLATE = "page.html.jinja"
FLIPS_WANTED = 0.02
"""Aim: at most this share of verdicts flips between red and brown under a change."""


@dataclass(frozen=True)
class Plot:
    """A picture of figures, with the words that stand for it."""

    svg: bytes
    words: str

    @property
    def uri(self) -> str:
        """As a data URI."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg).decode('ascii')}"


def page(evaluation: Evaluation, shown: Mapping[str, bytes] | None = None) -> str:
    """The whole page; the same figures give the same bytes.

    Args:
        evaluation: what was measured.
        shown: small JPEGs of mistakes by path, where the reader asked for them.
    """
    environment = Environment(
        loader=PackageLoader("diascope.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["told"] = _told_cell
    environment.filters["percent"] = _percent_cell
    environment.filters["jpeg"] = _jpeg_uri
    pictures, sweep = evaluation.pictures, evaluation.sweep
    return environment.get_template(_TEMPLATE).render(
        it=evaluation,
        pictures=pictures,
        sweep=sweep,
        name=MeasureName,
        label=ManifestLabel,
        few=LEAST_ROWS,
        mark=FEW,
        alike=ALIKE,
        summary=summary(evaluation),
        plots={} if pictures is None else _picture_plots(pictures),
        drawn={} if sweep is None else _sweep_plots(sweep),
        shown=shown or {},
    )


def told(measure: Measure, digits: int = 3) -> str:
    """A measure in a cell: value and interval, why there is none, and what to doubt."""
    if measure.value is None or measure.low is None or measure.high is None:
        return measure.note or "no value"
    text = f"{measure.value:.{digits}f} ({measure.low:.{digits}f} to {measure.high:.{digits}f})"
    return text + _marks(measure)


def percent(measure: Measure) -> str:
    """A share in a cell, as a percentage with its interval."""
    if measure.value is None or measure.low is None or measure.high is None:
        return measure.note or "no value"
    numbers = [f"{100 * value:.1f}" for value in (measure.value, measure.low, measure.high)]
    text = f"{numbers[0]} % ({numbers[1]} to {numbers[2]})"
    return text + _marks(measure)


def _marks(measure: Measure) -> str:
    return f" {FEW}" * measure.is_few + f" {ALIKE}" * measure.draws_alike


def _told_cell(measure: Measure) -> Markup:
    return _ranged(told(measure))


def _percent_cell(measure: Measure) -> Markup:
    return _ranged(percent(measure))


def _ranged(text: str) -> Markup:
    """The text with its interval kept together where lines are short."""
    whole = str(escape(text))
    return Markup(re.sub(r"\((\S+ to \S+)\)", r'<span class="range">(\1)</span>', whole))  # noqa: S704


def _jpeg_uri(content: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(content).decode('ascii')}"


# Sentences


def summary(evaluation: Evaluation) -> list[str]:
    """The page in some sentences: differences between skin tones first."""
    lines = []
    if evaluation.sweep is not None:
        lines += _sweep_sentences(evaluation.sweep)
    if evaluation.pictures is not None:
        lines += _picture_sentences(evaluation.pictures)
    return lines


def _sweep_sentences(sweep: Sweep) -> list[str]:
    return [
        f"Skin tone, drawn marks: between the tones where it does best and worst, the ranking of "
        f"red against brown differs by {told(sweep.auroc_gap)}; chance alone would show "
        f"{told(sweep.gap_by_chance)}. Lowest: {sweep.lowest.name}, "
        f"AUROC {told(sweep.lowest.measure)}. {sweep.n} drawn pictures."
    ]


def _picture_sentences(pictures: Report) -> list[str]:
    measures = pictures.overall.measures
    lines = [
        f"Skin tone, photographs ({_scale_words(scale.scale)}): the gap in AUROC between the best "
        f"and the worst tone is {told(scale.gap)}."
        for scale in pictures.tones
    ]
    auroc = measures[MeasureName.AUROC]
    if auroc.value is not None:
        lines.append(
            f"Of a red and a brown mark, it ranks the brown one as browner {100 * auroc.value:.0f} "
            f"times in 100: AUROC {told(auroc)}, {auroc.n} pictures."
        )
    lines.append(_beside_colour(pictures))
    coverage, right = measures[MeasureName.COVERAGE], measures[MeasureName.ACCURACY_DECIDED]
    lines.append(
        f"It names a colour for {percent(coverage)} of red and brown marks, and the colour named "
        f"is right in {percent(right)}."
    )
    declined = measures[MeasureName.DECLINED_OF_OTHER]
    if declined.value is not None:
        lines.append(
            f"Of lesions that should get no colour at all it declines {percent(declined)}; the "
            "others get a red or brown verdict that means nothing."
        )
    unmarked = measures[MeasureName.NEITHER_GIVEN_A_COLOUR]
    if unmarked.value is not None:
        lines.append(
            f"Of pictures without a mark it gives {percent(unmarked)} a colour: a colour named "
            "does not show that there is a mark."
        )
    worst = max(pictures.sturdiness, key=lambda each: each.flips.value or 0.0, default=None)
    if worst is not None:
        lines.append(
            f"The change that flips most verdicts between red and brown is {worst.words}: "
            f"{percent(worst.flips)}."
        )
    return lines


def _scale_words(scale: str) -> str:
    if scale == "ita":
        return "estimated from the picture, so the light and the camera are in it"
    return f"{scale.capitalize()} labels"


def _beside_colour(pictures: Report) -> str:
    found = pictures.colour_alone
    if found.aurocs is None:
        return f"Beside plain colour statistics: {found.how}."
    return (
        f"Beside plain colour statistics (AUROC {told(found.aurocs.colour)}): a difference of "
        f"{told(found.aurocs.gain)}. {found.aurocs.words.capitalize()}."
    )


# Plots


def _picture_plots(pictures: Report) -> dict[str, Plot]:
    found = {}
    alone = pictures.colour_alone
    if alone.network is not None and alone.colour is not None and alone.aurocs is not None:
        svg = plots.roc(alone.network, alone.colour, alone.aurocs)
        found["roc"] = Plot(svg, "ROC curves of the network and of colour statistics alone")
    if pictures.calibration.bins:
        svg = plots.reliability(pictures.calibration.bins)
        found["reliability"] = Plot(svg, "Share right against probability, in bins of equal size")
    if pictures.declining.selective_risk.x:
        svg = plots.risk_coverage(pictures.declining)
        found["risk"] = Plot(svg, "Share of errors as the least sure pictures are declined")
    found["sources"] = _intervals(
        "AUROC by source", [_auroc_of(each) for each in pictures.sources], "AUROC, red vs brown"
    )
    for scale in pictures.tones:
        found[scale.scale] = _intervals(
            f"AUROC by skin tone, {_scale_words(scale.scale)}",
            [_auroc_of(each) for each in scale.groups],
            "AUROC, red vs brown",
        )
    if pictures.sturdiness:
        flips = [NamedMeasure(name=each.words, measure=each.flips) for each in pictures.sturdiness]
        found["flips"] = _intervals(
            "Verdicts that flip between red and brown, by change of the picture",
            flips,
            "share of red and brown verdicts",
            aim=FLIPS_WANTED,
        )
    return found


def _sweep_plots(sweep: Sweep) -> dict[str, Plot]:
    names = [part.name for part in sweep.tones]
    return {
        "auroc": Plot(
            plots.by_tone(sweep, "auroc", "AUROC, red vs brown"),
            f"AUROC by skin tone and contrast of the mark, from {names[0]} to {names[-1]}. Lines "
            "are 95 % intervals",
        ),
        "declined": Plot(
            plots.by_tone(sweep, "declined", "share declined"),
            "Share of marks without a verdict by skin tone and contrast. Lines are 95 % intervals",
        ),
    }


def _auroc_of(section: Section) -> NamedMeasure:
    return NamedMeasure(name=section.name, measure=section.measures[MeasureName.AUROC])


def _intervals(
    words: str, rows: Sequence[NamedMeasure], axis: str, aim: float | None = None
) -> Plot:
    words = f"{words}. Lines are 95 % intervals; hollow: insufficient data"
    return Plot(plots.intervals(rows, axis, aim), words)
