"""Plots as SVG: colour-blind safe, labelled, legible at the width of a phone."""

from collections.abc import Sequence
from io import BytesIO
from textwrap import shorten, wrap
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from diascope.figures import (
    LEAST_ROWS,
    Aurocs,
    Curve,
    Declining,
    Measure,
    NamedMeasure,
    ReliabilityBin,
    Sweep,
)

# Okabe and Ito, Color Universal Design, 2008.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5f6b76"

_WIDTH = 4.6  # inches: a phone shows its text at about 11 px
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "svg.fonttype": "path",
    "svg.hashsalt": "diascope",
    "text.parse_math": False,  # a source may be called "$x$"
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MARKERS = ("o", "s", "^", "D", "v")
_LONGEST, _LINE = 48, 26  # characters of a name, and of a line of it


def roc(network: Curve, colour: Curve, aurocs: Aurocs) -> bytes:
    """Both ROC curves, brown being positive."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.plot(network.x, network.y, color=BLUE, label=f"network {_short(aurocs.network)}")
        axes.plot(
            colour.x,
            colour.y,
            color=ORANGE,
            linestyle="--",
            label=f"colour alone {_short(aurocs.colour)}",
        )
        axes.set_xlabel("red called brown, share of red")
        axes.set_ylabel("brown called brown, share of brown")
        axes.legend(loc="lower right", frameon=False, title=f"AUROC, n = {aurocs.network.n}")
        return _svg(figure)


def reliability(bins: Sequence[ReliabilityBin]) -> bytes:
    """Share right against mean probability of the class called."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.plot(
            [each.confidence for each in bins],
            [each.accuracy for each in bins],
            color=BLUE,
            marker="o",
            linewidth=1,
        )
        axes.set_xlabel("mean probability of the class called")
        axes.set_ylabel("share called right")
        total = sum(each.n for each in bins)
        words = f"n = {total}\nabove the dotted line: too modest"
        axes.text(0.02, 0.96, words, transform=axes.transAxes, va="top", color=GREY)
        return _svg(figure)


def risk_coverage(declining: Declining) -> bytes:
    """Errors among those kept, and errors kept among all, by the share kept."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.2)
        for curve, colour, style, word in (
            (declining.selective_risk, BLUE, "-", "wrong, of those kept"),
            (declining.generalised_risk, ORANGE, "--", "kept and wrong, of all"),
        ):
            axes.plot(curve.x, curve.y, color=colour, linestyle=style, label=word)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("share of red and brown pictures kept, surest first")
        axes.set_ylabel("share of errors")
        axes.legend(loc="upper left", frameon=False)
        return _svg(figure)


def intervals(rows: Sequence[NamedMeasure], axis: str, aim: float | None) -> bytes:
    """A line for each row: value, 95 % interval and n; few rows are hollow."""
    with matplotlib.rc_context(_STYLE):
        names = [_name(row.name) for row in rows]
        lines = sum(name.count("\n") for name in names)
        figure, axes = _axes(0.9 + 0.42 * len(rows) + 0.16 * lines)
        for place, row in enumerate(rows):
            _interval(axes, row.measure, place)
        if aim is not None:
            axes.axvline(aim, color=GREY, linestyle=":", linewidth=1)
            axes.text(aim, -0.6, " aim", color=GREY, va="bottom")
        axes.set_yticks(
            range(len(rows)),
            [f"{name}\nn = {row.measure.n}" for name, row in zip(names, rows, strict=True)],
        )
        axes.tick_params(axis="y", labelsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.set_xlabel(axis)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        return _svg(figure)


def by_tone(sweep: Sweep, field: Literal["auroc", "declined"], axis: str) -> bytes:
    """A line for each contrast over the skin tones, the lightest first, with intervals."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.6)
        colours = (ORANGE, BLUE, GREEN, GREY)
        for number, contrast in enumerate(sweep.contrasts):
            cells = [
                (place, getattr(part, field))
                for place, row in enumerate(sweep.cells)
                for part in row
                if part.name == contrast.name and getattr(part, field).value is not None
            ]
            values = [measure.value for _, measure in cells]
            below = [measure.value - measure.low for _, measure in cells]
            above = [measure.high - measure.value for _, measure in cells]
            shift = 0.09 * (number - (len(sweep.contrasts) - 1) / 2)
            axes.errorbar(
                [place + shift for place, _ in cells],
                values,
                [below, above],
                color=colours[number % len(colours)],
                marker=_MARKERS[number % len(_MARKERS)],
                linewidth=1.2,
                markersize=5,
                label=contrast.name,
            )
        names = [part.name.removeprefix("ITA ").replace(" to ", "\nto ") for part in sweep.tones]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("typology angle in degrees: light skin left, dark skin right")
        axes.set_ylabel(axis)
        each = sweep.cells[0][0].n if sweep.cells and sweep.cells[0] else 0
        figure.legend(
            frameon=False,
            title=f"contrast of the mark; n = {each} a point",
            fontsize=9,
            loc="outside upper left",
            ncols=len(sweep.contrasts),
            columnspacing=1.0,
            handletextpad=0.4,
        )
        return _svg(figure)


def _interval(axes: Any, measure: Measure, place: int) -> None:
    if measure.value is None or measure.low is None or measure.high is None:
        axes.text(0.02, place, "no value", transform=axes.get_yaxis_transform(), color=GREY,
                  va="center")  # fmt: skip
        return
    few = measure.n < LEAST_ROWS
    axes.plot([measure.low, measure.high], [place, place], color=GREY if few else BLUE)
    axes.plot(
        measure.value,
        place,
        marker="o",
        color=GREY if few else BLUE,
        markerfacecolor="white" if few else BLUE,
    )


def _short(measure: Measure) -> str:
    return "" if measure.value is None else f"{measure.value:.3f}"


def _name(name: str) -> str:
    return "\n".join(wrap(shorten(name, _LONGEST, placeholder=" ..."), _LINE))


def _axes(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _square() -> tuple[Figure, Any]:
    figure, axes = _axes(4.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    stream = BytesIO()
    # No date: the same figures give the same bytes.
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
