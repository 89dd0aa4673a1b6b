"""What is measured and how it is written down: the schema of ``evaluation.json``.

``evaluation`` fills it, ``report`` shows it; nothing here computes.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from diascope.errors import UnreadableReason
from diascope.labels import INTENDED_USE, ManifestLabel, MarkType, Verdict

SCHEMA_VERSION: Literal[2] = 2
"""Raised when an older diascope would read a new ``evaluation.json`` wrongly."""
CALLED_FROM = 0.5
"""Separation from which a mark is called hyperpigmented."""
LEAST_ROWS = 30
"""A figure on fewer rows is marked as insufficient data."""


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
    COVERAGE_OF_RED = "coverage_of_red"
    """Share of red that got a red or brown verdict."""
    COVERAGE_OF_BROWN = "coverage_of_brown"
    """Share of brown that got a red or brown verdict."""
    ACCURACY_DECIDED = "accuracy_decided"
    """Share of those verdicts that are right."""
    ACCURACY_AT_70 = "accuracy_at_70_coverage"
    """Share right, red or brown, of the surest 70 % of red and brown."""
    AURC = "aurc"
    """Area under the risk-coverage curve of red and brown, surest first; low is good."""
    AUGRC = "augrc"
    """Area under the generalised risk-coverage curve of the same; low is good."""
    ECE = "ece"
    """Expected calibration error of the likeliest of the three classes, 15 equal-mass bins."""
    ECE_BEFORE = "ece_before_temperature"
    """The same with the temperature taken away."""
    ECE_IF_PERFECT = "ece_if_perfect"
    """What perfect calibration would show at these confidences and this n, by simulation."""
    BRIER = "brier"
    """Brier score of the three classes, in [0, 2]; low is good."""
    BRIER_BEFORE = "brier_before_temperature"
    """The same with the temperature taken away."""
    DECLINED_OF_OTHER = "declined_of_other"
    """Share of lesions to decline that got no red or brown verdict."""
    OTHER_CALLED_AT_70 = "other_called_at_70_coverage"
    """Share of lesions to decline as sure of a colour as the surest 70 % of red and brown."""
    NEITHER_CALLED_NEITHER = "neither_called_neither"
    """Share of neither that got the verdict neither."""
    NEITHER_GIVEN_A_COLOUR = "neither_given_a_colour"
    """Share of neither that got a red or brown verdict."""
    CONFORMAL_OF_RED = "conformal_coverage_of_red"
    """Share of red whose conformal set holds red."""
    CONFORMAL_OF_BROWN = "conformal_coverage_of_brown"
    """Share of brown whose conformal set holds brown."""
    CONFORMAL_OF_NEITHER = "conformal_coverage_of_neither"
    """Share of neither whose conformal set holds neither."""


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

    @property
    def is_few(self) -> bool:
        """On too few rows to say much."""
        return self.n < LEAST_ROWS

    @property
    def draws_alike(self) -> bool:
        """No draw of the bootstrap differs, so that the true interval is wider than told."""
        return self.value is not None and self.low == self.high


class NamedMeasure(Part):
    """A measure of one of several."""

    name: str
    measure: Measure


class JudgedRow(Part):
    """One picture: what its label says and what a predictor said.

    ``tone`` is the skin-tone label of the manifest, empty without one; ``ita_degrees`` of the skin
    around the mark, an estimate; ``temperature`` is the one the probabilities were scaled with;
    ``conformal_set`` names the mark types it may be of, with spaces between; None without sets.
    """

    id: str
    path: str
    mark_type: ManifestLabel
    condition: str
    source: str
    group_id: str
    tone: str
    ita_degrees: float
    verdict: Verdict
    p_erythematous: float
    p_hyperpigmented: float
    p_neither: float
    separation: float
    temperature: float
    conformal_set: str | None = None


class UnreadableRow(Part):
    """A picture that could not be read and is in no figure."""

    id: str
    path: str
    reason: UnreadableReason
    detail: str


Counts = dict[ManifestLabel, dict[Verdict, int]]
"""Verdicts of each label."""


class Section(Part):
    """Everything measured on one set of rows: all, a source, a tone or a fold."""

    name: str
    n: int
    unreadable: int
    labels: dict[ManifestLabel, int]
    verdicts: Counts
    measures: dict[MeasureName, Measure]


class Aurocs(Part):
    """AUROC of red against brown: of the network, of colour alone, and the paired difference."""

    network: Measure
    colour: Measure
    gain: Measure

    @property
    def words(self) -> str:
        """Who ranks better, by the paired interval."""
        if self.gain.low is None or self.gain.high is None or self.gain.n < LEAST_ROWS:
            return "too few pictures to say who ranks better"
        if self.gain.low > 0:
            return "the network ranks better than colour alone"
        if self.gain.high < 0:
            return "colour alone ranks better than the network"
        return "the network is not shown to rank better than colour alone"


class Curve(Part):
    """Points of a curve."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class ColourAlone(Part):
    """The network beside colour statistics; ``how`` says what these were fitted on, or why not."""

    how: str
    aurocs: Aurocs | None
    network: Curve | None = Field(description="ROC")
    colour: Curve | None = Field(description="ROC")


class ReliabilityBin(Part):
    """Means of the ``n`` rows of one bin."""

    confidence: float
    accuracy: float
    n: int


class Calibration(Part):
    """How far probabilities can be taken at their word; its figures are in the section."""

    temperature: float
    bins: tuple[ReliabilityBin, ...]


class Declining(Part):
    """What declining the least sure buys, on red and brown rows."""

    selective_risk: Curve = Field(description="share wrong of those kept, by coverage")
    generalised_risk: Curve = Field(description="share kept and wrong of all, by coverage")


class ConditionVerdicts(Part):
    """Verdicts on the lesions to decline of one condition."""

    condition: str
    n: int
    erythematous: int
    hyperpigmented: int
    declined: int


class ToneScale(Part):
    """Figures by skin tone: of a label in the manifest, or of the estimated typology angle.

    ``gap`` is the largest less the least AUROC of groups with enough rows of both colours.
    """

    scale: Literal["fitzpatrick", "monk", "ita"]
    estimated: bool
    gap: Measure
    groups: tuple[Section, ...]


class ChangeFigures(Part):
    """What one change of the picture does to verdicts and ranking."""

    change: str
    words: str
    unreadable: int
    flips: Measure = Field(description="share of red and brown verdicts that become the other")
    lost: Measure = Field(description="share of red and brown verdicts that become none")
    auroc: Measure = Field(description="after the change")
    loss: Measure = Field(description="AUROC before less after, paired")


class Mistake(Part):
    """A picture that got the other colour, and how sure the network was of it."""

    path: str
    source: str
    condition: str
    mark_type: ManifestLabel
    verdict: Verdict
    probability: float = Field(description="of the colour called")


class Report(Part):
    """Figures of one bundle on one manifest; same input, same report."""

    data: str
    data_digest: str
    positive: MarkType = MarkType.HYPERPIGMENTED
    called_from: float = CALLED_FROM
    copies_joined: bool
    bootstrap_draws: int
    overall: Section
    sources: tuple[Section, ...]
    tones: tuple[ToneScale, ...]
    colour_alone: ColourAlone
    calibration: Calibration
    declining: Declining
    other: tuple[ConditionVerdicts, ...]
    sturdiness: tuple[ChangeFigures, ...]
    mistakes: tuple[Mistake, ...]
    unreadable: tuple[UnreadableRow, ...]


class SweepPart(Part):
    """Drawn marks of one tone, contrast, layout or size."""

    name: str
    n: int
    shown: float = Field(description="median CIELAB distance, each the mean over a mark as drawn")
    auroc: Measure
    declined: Measure = Field(description="share of red and brown marks without a colour")
    right: Measure = Field(description="share of the colours given that are right")
    verdicts: Counts


class Sweep(Part):
    """The same drawn marks on skins of many tones.

    Gaps are the largest less the least over the tones; ``gap_by_chance`` is what the draw alone
    would show where tones did not differ: the mean and the range of 95 %.
    """

    config: dict[str, JsonValue]
    n: int
    auroc_gap: Measure
    gap_by_chance: Measure
    lowest: NamedMeasure
    declined_gaps: tuple[NamedMeasure, ...] = Field(description="by contrast")
    tones: tuple[SweepPart, ...]
    contrasts: tuple[SweepPart, ...]
    shown: tuple[SweepPart, ...] = Field(description="by the CIELAB distance shown")
    cells: tuple[tuple[SweepPart, ...], ...] = Field(description="tones by contrasts")
    layouts: tuple[SweepPart, ...]
    sizes: tuple[SweepPart, ...]
    bare_called: tuple[NamedMeasure, ...] = Field(
        description="share of unmarked skin that got a colour, by tone"
    )


class Evaluation(Part):
    """``evaluation.json``: what was measured of a bundle, on pictures, on drawn tones, or both."""

    schema_version: Literal[2] = SCHEMA_VERSION
    diascope: str = Field(description="version that measured")
    command: str
    model: str
    model_digest: str
    model_use: str = Field(description="the bundle's own intended use")
    learnt_from: str
    learnt_photographs: int
    gates: dict[str, JsonValue]
    pictures: Report | None
    sweep: Sweep | None
    intended_use: str = INTENDED_USE
