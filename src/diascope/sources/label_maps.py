"""Condition names -> mark types: one CSV per data set, and what several labels come to.

A mark type is an appearance. What is red because vessels are wide is erythematous, what is brown
because of melanin hyperpigmented; whatever is scaly, raised, open, infected or a tumour is other,
however red or brown. No set and no map labels a cause such as PIE or PIH.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diascope.errors import SourceError
from diascope.labels import ManifestLabel
from diascope.sources.source import Drop, SourceRow

EXCLUDED = "excluded"
"""Beside the five mark types of a manifest: a condition that says nothing certain of colour."""

REASONS: dict[str, frozenset[str]] = {
    ManifestLabel.ERYTHEMATOUS: frozenset(["vessels"]),
    ManifestLabel.HYPERPIGMENTED: frozenset(["melanin"]),
    ManifestLabel.MIXED: frozenset(["vessels_and_melanin"]),
    ManifestLabel.NEITHER: frozenset(["unmarked"]),
    ManifestLabel.OTHER: frozenset(
        [
            "blister_or_wound",
            "blood",
            "bump",
            "infection",
            "mole",
            "scale",
            "scar",
            "tumour",
            "white",
        ]
    ),
    EXCLUDED: frozenset(
        ["ambiguous", "not_skin", "colour_unknown", "other_pigment", "not_a_label"]
    ),
}
"""Mark type -> the reasons a label map may give for it; data/label_maps/README.md has the words."""

CERTAINTIES = ("sure", "likely")
_COLUMNS = ["label", "mark_type", "reason", "certainty"]
_NAMED = 5  # labels that an error names
_EVEN = 1e-9  # weights closer than this are equal


@dataclass(frozen=True)
class Decision:
    """What a row counts as: a mark type or ``excluded``, for which condition, and why."""

    mark_type: str
    condition: str
    reason: str
    certain: bool = True


@dataclass(frozen=True)
class LabelMap:
    """Decisions by condition; names are compared without regard to case and outer blanks."""

    name: str
    digest: str
    decisions: Mapping[str, Decision]

    def get(self, label: str) -> Decision | None:
        """Look a condition up; None where the map lacks it."""
        return self.decisions.get(_key(label))


def _key(label: str) -> str:
    return label.strip().casefold()


def shipped_file(name: str) -> Path | None:
    """Where the label map that comes with diascope stands; None where a set has none."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_label_maps", package.parents[1] / "data" / "label_maps"):
        if (folder / f"{name}.csv").is_file():
            return folder / f"{name}.csv"
    return None


def shipped_map(name: str) -> LabelMap | None:
    """Load the label map that comes with diascope; None where a set has none."""
    file = shipped_file(name)
    return None if file is None else read_map(file)


def read_map(path: Path) -> LabelMap:
    """Read a label map: label, mark_type, reason, certainty.

    Raises:
        SourceError: not readable, another header, a label twice, a word not of the closed lists.
    """
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8-sig").splitlines(keepends=True)
        table = csv.DictReader(lines, strict=True)
        if table.fieldnames != _COLUMNS:
            raise SourceError(f"{path}: the first line of a label map is {','.join(_COLUMNS)}")
        decisions: dict[str, Decision] = {}
        for cells in table:
            where = f"{path} line {table.line_num}"
            decision = _decision(cells, where)
            former = decisions.setdefault(_key(decision.condition), decision)
            # A set may write a condition in two ways; the map has both, and they agree.
            agree = replace(former, condition=decision.condition) == decision
            is_again = former is not decision and former.condition == decision.condition
            if is_again or not agree:
                raise SourceError(f"{where}: {decision.condition!r} stands twice; remove one")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not readable as a label map: {error}") from error
    return LabelMap(path.name, hashlib.sha256(data).hexdigest(), decisions)


def _decision(cells: dict[str, str], where: str) -> Decision:
    if None in cells or None in cells.values() or not cells["label"].strip():
        raise SourceError(f"{where}: a label map has {', '.join(_COLUMNS)} on every line")
    label, mark_type, reason, certainty = (cells[name].strip() for name in _COLUMNS)
    if mark_type not in REASONS:
        raise SourceError(f"{where}: unknown mark_type {mark_type!r}; known: {', '.join(REASONS)}")
    if reason not in REASONS[mark_type]:
        known = ", ".join(sorted(REASONS[mark_type]))
        raise SourceError(f"{where}: unknown reason {reason!r} for {mark_type}; known: {known}")
    if certainty not in CERTAINTIES:
        known = ", ".join(CERTAINTIES)
        raise SourceError(f"{where}: unknown certainty {certainty!r}; known: {known}")
    return Decision(mark_type, label, reason, certainty == "sure")


def check_all_decided(rows: Sequence[SourceRow], labels: LabelMap, mend: str) -> None:
    """Refuse labels that the map lacks.

    Raises:
        SourceError: names the first five, each with the file and row it stands in.
    """
    lacking: dict[str, str] = {}
    for row in rows:
        if row.mark_type is None and row.drop is None:
            for label, _ in row.labels:
                if labels.get(label) is None:
                    lacking.setdefault(label, row.where)
    if not lacking:
        return
    named = "; ".join(f"{where}: {label!r}" for label, where in list(lacking.items())[:_NAMED])
    more = f", and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    count = f"{len(lacking)} label{'s' if len(lacking) > 1 else ''}"
    raise SourceError(f"{labels.name} does not decide {count}: {mend}\n{named}{more}")


def decide(
    row: SourceRow,
    labels: LabelMap,
    *,
    min_weight: float,
    only_sure: bool = False,
    concepts: LabelMap | None = None,
) -> Decision:
    """Say what a row counts as.

    The conditions' weights are summed by what the map makes of each; the mark type that has the
    most, and at least ``min_weight`` of all, counts, for its heaviest condition (of equals the
    first). Without one such the row is excluded. ``other`` stays ``other`` whatever was seen in
    the picture; a red or brown condition, or one whose colour is open, is then held against it.
    """
    if row.drop is not None:
        return Decision(EXCLUDED, row.labels[0][0] if row.labels else "", row.drop)
    if row.mark_type is not None:
        return Decision(row.mark_type, row.labels[0][0], "stated")
    decision = _weighed(row, labels, min_weight)
    if row.concepts is not None and concepts is not None:
        decision = _seen(decision, list(_looked_up(row.concepts, concepts, row.where)))
    if only_sure and decision.mark_type != EXCLUDED and not decision.certain:
        return replace(decision, mark_type=EXCLUDED, reason=Drop.UNCERTAIN)
    return decision


def _weighed(row: SourceRow, labels: LabelMap, min_weight: float) -> Decision:
    total = sum(weight for _, weight in row.labels)
    shares: dict[str, float] = {}
    heaviest: dict[str, tuple[float, Decision]] = {}
    for label, weight in row.labels:
        found = labels.get(label) or Decision(EXCLUDED, label, Drop.NOT_IN_MAP)
        decision = replace(found, condition=label)  # as the set spells it
        shares[decision.mark_type] = shares.get(decision.mark_type, 0.0) + weight / total
        if weight > heaviest.get(decision.mark_type, (0.0, decision))[0] + _EVEN:
            heaviest[decision.mark_type] = (weight, decision)
    (first, share), *others = sorted(shares.items(), key=lambda item: -item[1])
    decision = heaviest[first][1]
    is_tied = bool(others) and others[0][1] > share - _EVEN
    if share < min_weight - _EVEN or is_tied:
        top = max(row.labels, key=lambda pair: pair[1])[0]
        return Decision(EXCLUDED, top, Drop.BELOW_WEIGHT)
    return decision


def _looked_up(names: Sequence[str], concepts: LabelMap, where: str) -> Iterator[Decision]:
    for name in names:
        decision = concepts.get(name)
        if decision is None:
            raise SourceError(f"{where}: {concepts.name} does not decide {name!r}; add a line")
        yield decision


_COLOURS = {ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED, ManifestLabel.MIXED}


def _seen(decision: Decision, concepts: Sequence[Decision]) -> Decision:
    """The condition's decision, held against what a dermatologist saw in this picture."""
    if any(concept.reason == "not_a_label" for concept in concepts):
        return replace(decision, mark_type=EXCLUDED, reason="not_a_label")
    if decision.mark_type in (ManifestLabel.OTHER, ManifestLabel.NEITHER):
        return decision
    is_open = decision.mark_type == EXCLUDED
    is_flat = all(concept.mark_type != ManifestLabel.OTHER for concept in concepts)
    if is_open and not (decision.reason == "ambiguous" and is_flat):
        return decision
    colours = {c.mark_type for c in concepts if c.mark_type in _COLOURS}
    if not colours:
        return decision if is_open else _excluded(decision, "colour_unknown")
    colour = colours.pop() if len(colours) == 1 else ManifestLabel.MIXED
    opposite = {ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED}
    if {decision.mark_type, colour} == opposite:
        return _excluded(decision, "ambiguous")
    return Decision(colour, decision.condition, next(iter(REASONS[colour])), certain=is_flat)


def _excluded(decision: Decision, reason: str) -> Decision:
    return replace(decision, mark_type=EXCLUDED, reason=reason)
