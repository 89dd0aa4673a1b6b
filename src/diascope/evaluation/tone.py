"""Figures by skin tone: a label of the manifest, or the typology angle seen in the picture."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from diascope.colour import ITA_GROUPS, ita_group
from diascope.dataset import UNKNOWN_TONES, ManifestRow
from diascope.errors import ManifestError
from diascope.evaluation.measuring import (
    COLOURED,
    auroc_of,
    measure,
    no_measure,
    section,
    separation_of,
)
from diascope.figures import LEAST_ROWS, JudgedRow, Measure, ToneScale
from diascope.metrics import Floats

FITZPATRICK = ("I", "II", "III", "IV", "V", "VI")
FITZPATRICK_PAIRS = tuple(f"{low}-{high}" for low, high in pairwise(FITZPATRICK))
"""Two neighbouring types in one label, as DDI gives them."""
MONK = tuple(str(number) for number in range(1, 11))


def label_of(row: ManifestRow) -> str:
    """The skin-tone label of a manifest's row, such as ``Fitzpatrick IV``; empty without one.

    Columns ``fitzpatrick`` (1 to 6, or I to VI; 5-6 is a pair) and ``monk`` (1 to 10); the first
    that is filled.

    Raises:
        ManifestError: a value that is no type of its scale.
    """
    scales = (("fitzpatrick", FITZPATRICK, FITZPATRICK_PAIRS), ("monk", MONK, ()))
    for scale, types, pairs in scales:
        given = row.extra.get(scale, "").strip()
        if given.lower() in UNKNOWN_TONES:
            continue
        word = re.sub(r"^(fst|mst|type|fitzpatrick|monk)[\s_-]*", "", given.lower()).upper()
        word = "-".join(_type(part, types) for part in word.split("-"))
        if word not in (*types, *pairs):
            raise ManifestError(
                f"{row.path}: {scale} {given!r} is no type of that scale;\n"
                f"give {types[0]} to {types[-1]}, or leave it empty"
            )
        return f"{scale.capitalize()} {word}"
    return ""


def _type(word: str, types: Sequence[str]) -> str:
    """A type by its number in the scale; anything else unchanged."""
    return types[int(word) - 1] if word.isdecimal() and 1 <= int(word) <= len(types) else word


def tone_scales(judged: Sequence[JudgedRow]) -> tuple[ToneScale, ...]:
    """Figures by each scale that labels rows and, for rows without a label, by estimated ITA."""
    fitzpatrick = [f"Fitzpatrick {each}" for each in (*FITZPATRICK, *FITZPATRICK_PAIRS)]
    monk = [f"Monk {each}" for each in MONK]
    bare = [row for row in judged if not row.tone]
    found = (
        _scale("fitzpatrick", judged, fitzpatrick, lambda row: row.tone),
        _scale("monk", judged, monk, lambda row: row.tone),
        _scale("ita", bare, [name for _, name in ITA_GROUPS], _estimated),
    )
    return tuple(scale for scale in found if scale.groups)


def _estimated(row: JudgedRow) -> str:
    return ita_group(row.ita_degrees)


def _scale(
    scale: Literal["fitzpatrick", "monk", "ita"],
    rows: Sequence[JudgedRow],
    names: Sequence[str],
    tone_of: Callable[[JudgedRow], str],
) -> ToneScale:
    members = {name: [row for row in rows if tone_of(row) == name] for name in names}
    groups = [section(name, inside, 0) for name, inside in members.items() if inside]
    coloured = {
        name: [row for row in inside if row.mark_type in COLOURED]
        for name, inside in members.items()
    }
    return ToneScale(
        scale=scale, estimated=scale == "ita", gap=auroc_gap(coloured), groups=tuple(groups)
    )


def auroc_gap(tones: dict[str, list[JudgedRow]]) -> Measure:
    """Largest less least AUROC over the tones with enough rows of both colours.

    A largest less a least is never below 0: few rows lean high.
    """
    enough = {
        name: rows
        for name, rows in tones.items()
        if len(rows) >= LEAST_ROWS and len({row.mark_type for row in rows}) == len(COLOURED)
    }
    rows = [row for inside in enough.values() for row in inside]
    if len(enough) < 2:
        return no_measure(
            len(rows), f"no value: fewer than two tones with {LEAST_ROWS} rows, red and brown"
        )
    ends = np.cumsum([len(inside) for inside in enough.values()])
    parts = [
        (slice(end - len(inside), end), auroc_of(inside, separation_of))
        for end, inside in zip(ends, enough.values(), strict=True)
    ]

    def gap(counts: Floats) -> Floats:
        return np.asarray(np.ptp([auroc(counts[..., index]) for index, auroc in parts], axis=0))

    strata = [f"{name} {row.mark_type}" for name, inside in enough.items() for row in inside]
    return measure(rows, gap, strata=strata)
