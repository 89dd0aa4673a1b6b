"""The skin-tone sweep: the same drawn marks on skins of many tones, at equal contrast.

A mark of a number has the same place, shape and scene on every skin and at every contrast, so that
draws of the bootstrap, and gaps between tones, are paired by the mark.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from diascope import metrics
from diascope.config import SweepConfig
from diascope.evaluation.measuring import (
    COLOURED,
    auroc_of,
    count_verdicts,
    measure,
    measure_decided,
    measure_right,
    measure_share,
)
from diascope.figures import Measure, NamedMeasure, Part, Sweep, SweepPart
from diascope.inference import Predictor
from diascope.labels import ManifestLabel, Verdict
from diascope.metrics import Floats
from diascope.progress import Track, silent
from diascope.renderer import CONTRAST_RANGE, Rendered, in_processes, render

_GOLDEN = 0.6180339887498949  # spreads the angles within a tone group evenly
_SHUFFLES = 300
_SIZES = (0.005, 0.02, 0.1, 0.4)  # shares of the picture that part the sizes of marks
_SHOWN = (3.0, 6.0, 12.0)  # CIELAB distances that part the contrasts shown


@dataclass(frozen=True)
class Drawing:
    """One picture to draw: number, typology angle, and contrast (None: unmarked skin)."""

    index: int
    tone: str
    ita: float
    contrast: tuple[float, float] | None
    mark_type: ManifestLabel


class SweepRow(Part):
    """One drawn picture and its verdict; ``group_id`` is the mark's number.

    ``contrast`` is that of the mark at its full strength, ``shown`` the mean over what is drawn.
    """

    group_id: str
    tone: str
    contrast: str
    shown: float
    layout: str
    mark_share: float
    mark_type: ManifestLabel
    verdict: Verdict
    separation: float


def sweep_tones(
    predictor: Predictor, config: SweepConfig, *, workers: int = 1, track: Track = silent
) -> Sweep:
    """Draw the pictures of a sweep, judge them, and measure by tone and contrast."""
    drawings = list(plan(config))
    work = partial(_judged, predictor=predictor, config=config)
    answers = in_processes(work, drawings, workers)
    rows = list(track(answers, "judging drawn tones", len(drawings)))
    return measure_sweep(config, rows, track=track)


def plan(config: SweepConfig) -> Iterator[Drawing]:
    """Every picture of a sweep: tones by contrasts by marks by colours, and unmarked skin."""
    for high, low in pairwise(config.ita_edges):
        tone = tone_name(high, low)
        for index in range(config.marks):
            ita = high - (high - low) * ((index + 0.5) * _GOLDEN % 1.0)
            yield Drawing(index, tone, ita, None, ManifestLabel.NEITHER)
            for least, most in config.contrasts:
                for label in COLOURED:
                    yield Drawing(index, tone, ita, (least, most), label)


def tone_name(high: float, low: float) -> str:
    """What a tone group is called."""
    return f"ITA {low:g} to {high:g}"


def contrast_name(least: float, most: float) -> str:
    """What a range of contrasts is called."""
    return f"Delta E {least:g} to {most:g}"


def draw(drawing: Drawing, config: SweepConfig) -> Rendered:
    """The picture of a plan, and its truth."""
    return render(
        drawing.index,
        config.seed,
        config.size,
        mark_type=drawing.mark_type,
        ita=drawing.ita,
        contrast=drawing.contrast or CONTRAST_RANGE,
    )


def _judged(drawing: Drawing, *, predictor: Predictor, config: SweepConfig) -> SweepRow:
    contrast, drawn = drawing.contrast, draw(drawing, config)
    prediction = predictor.predict(drawn.pixels)
    return SweepRow(
        group_id=str(drawing.index),
        tone=drawing.tone,
        contrast="" if contrast is None else contrast_name(*contrast),
        shown=drawn.shown_delta_e,
        layout=drawn.layout,
        mark_share=float(drawn.mask.mean()),
        mark_type=drawing.mark_type,
        verdict=prediction.image_verdict,
        separation=prediction.separation,
    )


def measure_sweep(config: SweepConfig, rows: Sequence[SweepRow], *, track: Track = silent) -> Sweep:
    """Figures of judged drawings: gaps first, then tones, contrasts, and both."""
    tones = [tone_name(high, low) for high, low in pairwise(config.ita_edges)]
    contrasts = [contrast_name(least, most) for least, most in config.contrasts]
    marked = [row for row in rows if row.mark_type in COLOURED]
    by_tone = _parts(marked, tones, _tone_of)
    aurocs = [NamedMeasure(name=part.name, measure=part.auroc) for part in by_tone]
    cells = []
    for tone in track(tones, "measuring tones", len(tones)):
        cells.append(_parts([row for row in marked if row.tone == tone], contrasts, _contrast_of))
    return Sweep(
        config=config.model_dump(mode="json"),
        n=len(rows),
        auroc_gap=_gap(marked, tones, _auroc),
        gap_by_chance=gap_by_chance(marked, tones),
        lowest=min(aurocs, key=lambda each: each.measure.value or 0.0),
        declined_gaps=tuple(
            NamedMeasure(
                name=contrast,
                measure=_gap([row for row in marked if row.contrast == contrast], tones, _declined),
            )
            for contrast in contrasts
        ),
        tones=by_tone,
        contrasts=_parts(marked, contrasts, _contrast_of),
        shown=_parts(marked, [shown_name(distance) for distance in (0.0, *_SHOWN)], _shown_of),
        cells=tuple(cells),
        layouts=_parts(marked, sorted({row.layout for row in marked}), lambda row: row.layout),
        sizes=_parts(marked, [size_name(share) for share in (0.0, *_SIZES)], _size_of),
        bare_called=tuple(_bare_called(rows, tone) for tone in tones),
    )


def size_name(share: float) -> str:
    """Name of the sizes that a mark of this share of the picture belongs to."""
    edges = (0.0, *_SIZES, 1.0)
    place = int(np.searchsorted(_SIZES, share, side="right"))
    return f"{100 * edges[place]:g} to {100 * edges[place + 1]:g} % of the picture"


def shown_name(distance: float) -> str:
    """Name of the contrasts that a distance shown belongs to."""
    place = int(np.searchsorted(_SHOWN, distance, side="right"))
    if place == len(_SHOWN):
        return f"Delta E shown {_SHOWN[-1]:g} and over"
    return f"Delta E shown {(0.0, *_SHOWN)[place]:g} to {_SHOWN[place]:g}"


def _tone_of(row: SweepRow) -> str:
    return row.tone


def _contrast_of(row: SweepRow) -> str:
    return row.contrast


def _shown_of(row: SweepRow) -> str:
    return shown_name(row.shown)


def _size_of(row: SweepRow) -> str:
    return size_name(row.mark_share)


def _parts(
    rows: Sequence[SweepRow], names: Sequence[str], name_of: Callable[[SweepRow], str]
) -> tuple[SweepPart, ...]:
    members = {name: [row for row in rows if name_of(row) == name] for name in names}
    return tuple(_part(name, inside) for name, inside in members.items() if inside)


def _part(name: str, rows: Sequence[SweepRow]) -> SweepPart:
    return SweepPart(
        name=name,
        n=len(rows),
        shown=float(np.median([row.shown for row in rows])),
        auroc=measure(rows, _auroc(rows), least_classes=2),
        declined=measure_share(rows, _is_declined(rows)),
        right=measure_right(rows),
        verdicts=count_verdicts(rows),
    )


def _auroc(rows: Sequence[SweepRow]) -> metrics.Statistic:
    return auroc_of(rows, lambda row: row.separation)


def _declined(rows: Sequence[SweepRow]) -> metrics.Statistic:
    return partial(metrics.proportion, _is_declined(rows))


def _is_declined(rows: Sequence[SweepRow]) -> list[bool]:
    return [row.verdict.declines for row in rows]


def _gap(
    rows: Sequence[SweepRow],
    tones: Sequence[str],
    statistic_of: Callable[[Sequence[SweepRow]], metrics.Statistic],
) -> Measure:
    """Largest less least over the tones of a statistic, paired by the marks."""
    ordered = sorted(rows, key=lambda row: tones.index(row.tone))
    parts = []
    for tone in tones:
        index = [place for place, row in enumerate(ordered) if row.tone == tone]
        if index:
            inside = slice(index[0], index[-1] + 1)
            parts.append((inside, statistic_of(ordered[inside])))

    def gap(counts: Floats) -> Floats:
        return np.asarray(np.ptp([of(counts[..., inside]) for inside, of in parts], axis=0))

    return measure(ordered, gap, least_classes=2)


def gap_by_chance(rows: Sequence[SweepRow], tones: Sequence[str], seed: int = 0) -> Measure:
    """The AUROC gap where tones do not differ: each mark's answers dealt to the tones at random.

    Mean and range of 95 % of a permutation within marks (Good, Permutation Tests, 2000, ch. 3).
    """
    table: dict[tuple[str, str, ManifestLabel], list[float]] = {}
    for row in rows:
        table.setdefault((row.group_id, row.contrast, row.mark_type), []).append(row.separation)
    whole = {key: values for key, values in table.items() if len(values) == len(tones)}
    scores = np.array(list(whole.values()))
    is_brown = np.array([label is COLOURED[-1] for _, _, label in whole])
    rng = np.random.default_rng(seed)
    gaps = [
        np.ptp([metrics.auroc(is_brown, column) for column in rng.permuted(scores, axis=1).T])
        for _ in range(_SHUFFLES)
    ]
    low, high = np.percentile(gaps, [2.5, 97.5])
    marks = len({row.group_id for row in rows})
    return Measure(
        value=float(np.mean(gaps)), low=low, high=high, n=len(rows), groups=marks, note=None
    )


def _bare_called(rows: Sequence[SweepRow], tone: str) -> NamedMeasure:
    bare = [row for row in rows if row.mark_type is ManifestLabel.NEITHER and row.tone == tone]
    return NamedMeasure(name=tone, measure=measure_decided(bare))
