"""SCIN: photographs that people took of their own skin, labelled by dermatologists."""

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low

from diascope.errors import SourceError
from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import Cells, find_table, read_table

CASES, LABELS = "scin_cases.csv", "scin_labels.csv"
BUCKET = "https://storage.googleapis.com/dx-scin-public-data"
NO_PATHOLOGY = "NO_DISCERNIBLE_PATHOLOGY"
"""Label of a case in which every dermatologist who was asked saw unmarked skin."""

_PICTURES = tuple(f"image_{n}_path" for n in (1, 2, 3))
_GRADABLE = tuple(f"dermatologist_gradable_for_skin_condition_{n}" for n in (1, 2, 3))
_TONES = tuple(f"dermatologist_fitzpatrick_skin_type_label_{n}" for n in (1, 2, 3))
_MONK = ("monk_skin_tone_label_india", "monk_skin_tone_label_us")
_WEIGHTED = "weighted_skin_condition_label"
_LONGEST = 10_000  # characters of a label; the longest published has a few hundred


def _rows(root: Path) -> Iterator[SourceRow]:
    """One row per case: its pictures share its label, which was given to the case."""
    labels: dict[str, list[tuple[str, Cells]]] = {}
    needed = ("case_id", _WEIGHTED, *_GRADABLE, *_TONES, *_MONK)
    for where, cells in read_table(find_table(root, LABELS), needed):
        labels.setdefault(_case_id(cells, where), []).append((where, cells))
    for where, cells in read_table(find_table(root, CASES), ("case_id", *_PICTURES)):
        case = _case_id(cells, where)
        pictures = tuple(cells[name] for name in _PICTURES if cells[name])
        yield _row(case, pictures, labels.pop(case, None), where)
    for case, left in labels.items():
        yield SourceRow(left[0][0], case, drop=Drop.NOT_IN_OTHER_TABLE)


def _case_id(cells: Cells, where: str) -> str:
    case = cells["case_id"]
    if not re.fullmatch(r"-?\d+", case):
        raise SourceError(
            f"{where}: case_id {case!r} is no whole number: a spreadsheet may have rounded it; "
            "download the table again"
        )
    return case


def _row(
    case: str, pictures: tuple[str, ...], found: list[tuple[str, Cells]] | None, where: str
) -> SourceRow:
    addresses = tuple(f"{BUCKET}/{picture}" for picture in pictures)
    if found is None or len(found) > 1:
        fault = Drop.DUPLICATE_ID if found else Drop.NOT_IN_OTHER_TABLE
        return SourceRow(where, case, pictures=pictures, addresses=addresses, drop=fault)
    where, cells = found[0]
    weights = _weights(cells[_WEIGHTED])
    labels, drop = _labels(weights, [cells[name] for name in _GRADABLE if cells[name]])
    return SourceRow(
        where,
        case,
        labels=labels,
        pictures=pictures,
        addresses=addresses,
        group_id=case,
        fitzpatrick=_fitzpatrick([cells[name] for name in _TONES]),
        monk=_monk([cells[name] for name in _MONK]),
        drop=drop,
    )


def _weights(text: str) -> dict[str, float] | None:
    """Read a Python dict written as text: condition -> weight above 0. None where it is none."""
    try:
        found = ast.literal_eval(text) if len(text) <= _LONGEST else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    for name, weight in found.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (isinstance(name, str) and is_number and math.isfinite(weight) and weight > 0):
            return None
    return {name: float(weight) for name, weight in found.items()}


def _labels(
    weights: dict[str, float] | None, gradable: list[str]
) -> tuple[tuple[tuple[str, float], ...], Drop | None]:
    if weights is None:
        return (), Drop.BROKEN_LABEL
    if weights:
        return tuple(weights.items()), None
    if gradable and all(NO_PATHOLOGY in answer for answer in gradable):
        return ((NO_PATHOLOGY, 1.0),), None
    seen = [answer for answer in gradable if not answer.startswith("NO_")]
    return (), Drop.NO_LABEL if seen else Drop.UNGRADABLE


def _fitzpatrick(labels: list[str]) -> str:
    """Give the one label, the median of three, or of two the one they share; else nothing."""
    given = [int(label[3:]) for label in labels if re.fullmatch("FST[1-6]", label)]
    if not given or (len(given) == 2 and given[0] != given[1]):
        return ""
    return str(median_low(given))


def _monk(labels: list[str]) -> str:
    """Give the tone on which both teams of annotators agree; else nothing."""
    is_tone = re.fullmatch("[1-9]|10", labels[0])
    return labels[0] if is_tone and labels[0] == labels[1] else ""


SOURCE = Source(
    name="scin",
    title="SCIN, Skin Condition Image Network",
    access=Access.OPEN,
    address="https://github.com/google-research-datasets/scin",
    licence="SCIN Data Use License",
    terms="Free to share and adapt, with attribution. Do not try to find out who is shown, and "
    "read the licence itself (LICENSE in the repository) before you publish anything.",
    citation="Ward A, Li J, Wang J, et al. Creating an empirical dermatology dataset through "
    "crowdsourcing with web search advertisements. JAMA Netw Open 2024;7(11):e2446615.",
    holds="Photographs that people took themselves, of all skin tones, with up to three "
    "weighted conditions per case: the closest of all sets to what a user sends. Mostly eczema, "
    "bites and infections; few red marks without scale, very few brown ones.",
    traps=(
        "A label belongs to a case of one to three pictures: they form one group.",
        "Conditions are differential diagnoses with weights: what most of the weight says counts "
        "(--min-weight), and a case whose conditions disagree on the colour is left out.",
        "case_id is text: a spreadsheet rounds it.",
        "A picture may stand in two cases: the cases are then joined, or both left out where "
        "their labels differ.",
        "Two teams gave Monk tones; a tone is kept where they agree.",
    ),
    rows=_rows,
    tables=tuple((f"dataset/{name}", f"{BUCKET}/dataset/{name}") for name in (CASES, LABELS)),
)
