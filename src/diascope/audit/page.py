"""Findings as one self-contained HTML page, and as tables beside it."""

import base64
import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined

from diascope.audit.findings import Audit
from diascope.audit.survey import Seen
from diascope.colour import ITA_GROUPS, ita_group
from diascope.errors import OutputError
from diascope.files import check_free, check_unversioned, write_whole
from diascope.labels import INTENDED_USE, ManifestLabel

PAGE = "audit.html"
COPIES, GROUPS, SUSPECTS, UNREADABLE = (
    "copies.csv",
    "groups.csv",
    "suspects.csv",
    "unreadable.csv",
)

PAIRS_SHOWN = 300
GROUPS_SHOWN = 60
IN_GROUP_SHOWN = 8
SUSPECTS_SHOWN = 24
"""Most pictures per label and suggestion; the tables beside the page hold all."""
SHEET_SHOWN = 18

_ITA_BIN, _ITA_LOW, _ITA_HIGH = 10, -90, 90
_ESTIMATED = "≈ "


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture on the page: what it is called and its thumbnail as a data URI."""

    path: str
    label: str
    condition: str
    source: str
    group: str
    ita: str
    size: str
    uri: str


def check_output(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder before the work is done rather than after.

    Pictures of people must not get into version control: inside a git work tree, the folder has
    to be one that git ignores.

    Raises:
        OutputError: a page is there and ``overwrite`` is False, ``out`` is a file, or git would
            take it up.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: this is a file; give a folder")
    for name in (PAGE, COPIES, GROUPS, SUSPECTS, UNREADABLE):
        check_free(out / name, overwrite)
    check_unversioned(out / PAGE)


def write_audit(found: Audit, out: Path, *, overwrite: bool = False) -> Path:
    """Write ``audit.html`` and, for machines, the tables beside it; the page's path.

    ``copies.csv`` has a row per pair, ``groups.csv`` (path, group_id) is what ``--groups`` takes,
    ``suspects.csv`` and ``unreadable.csv`` have a row per picture.

    Raises:
        OutputError: as :func:`check_output`, or it cannot be written.
    """
    check_output(out, overwrite=overwrite)
    for name, rows in _tables(found).items():
        write_whole(out / name, _as_csv(rows))
    write_whole(out / PAGE, page(found).encode("utf-8", errors="backslashreplace"))
    return out / PAGE


def page(found: Audit) -> str:
    """The page: HTML with styles and pictures inside, which asks nothing of any network."""
    template = files("diascope") / "audit" / "page.html.jinja"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    figures = [_figure(seen) for seen in found.survey.seen]
    labelled = Counter(row.mark_type.value for row in found.manifest.rows)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        name=Path(*found.manifest.path.resolve().parts[-2:]).as_posix(),
        digest=found.manifest.digest,
        rows=len(found.manifest.rows),
        unreadable=[
            (row.path, error.reason.value, error.detail) for row, error in found.survey.unreadable
        ],
        counts=_counts(found),
        totals=[labelled[label] for label in _labels(found)],
        labels=_labels(found),
        pairs=_pairs(found, figures),
        pairs_found=len(found.survey.pairs),
        new_pairs=sum(not joined for joined in found.joined_before),
        conflicts=len(found.conflicts),
        groups=_groups(found, figures),
        groups_found=len(found.groups()),
        suspects=_suspects(found, figures),
        suspects_found=None if found.suspects is None else len(found.suspects),
        judged=[label.value for label in found.judged],
        folds=found.folds,
        model=found.model,
        photographs=found.photographs,
        histograms=_histograms(found),
        ita_ticks=range(_ITA_LOW, _ITA_HIGH + 1, 30),
        tone_auroc=found.tone_auroc,
        darker=None if found.darker is None else found.darker.value,
        sheets=_sheets(found, figures),
        intended_use=INTENDED_USE,
    )


def _figure(seen: Seen) -> Figure:
    row = seen.row
    return Figure(
        row.path,
        row.mark_type.value,
        row.condition,
        row.source,
        row.group_id,
        f"{seen.ita_degrees:.0f}",
        f"{seen.width} x {seen.height}",
        "data:image/jpeg;base64," + base64.b64encode(seen.thumbnail).decode(),
    )


def _labels(found: Audit) -> list[str]:
    """Labels that the manifest has, in their order."""
    present = {row.mark_type for row in found.manifest.rows}
    return [label.value for label in ManifestLabel if label in present]


def _tone(seen: Seen) -> str:
    if seen.row.tone:
        return seen.row.tone
    return f"{_ESTIMATED}{ita_group(seen.ita_degrees)}"


def _counts(found: Audit) -> list[tuple[str, str, list[int]]]:
    """Source, tone, and pictures of each label; the first row of a source is its total."""
    labels = _labels(found)
    order = {name: number for number, (_, name) in enumerate(ITA_GROUPS)}
    cells = Counter(
        (seen.row.source, _tone(seen), seen.row.mark_type.value) for seen in found.survey.seen
    )
    cells.update(
        (row.source, "not read", row.mark_type.value) for row, _ in found.survey.unreadable
    )
    lines = []
    for source in sorted({source for source, _, _ in cells}):
        tones = {tone for name, tone, _ in cells if name == source}
        total = [sum(cells[source, tone, label] for tone in tones) for label in labels]
        lines.append((source or "(no source)", "", total))
        for tone in sorted(tones, key=lambda t: (order.get(t.removeprefix(_ESTIMATED), -1), t)):
            lines.append(("", tone, [cells[source, tone, label] for label in labels]))
    return lines


def _pairs(found: Audit, figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Label conflicts first, then pairs that nothing joined before."""
    shown = []
    clashing = {each.pair for each in found.conflicts}
    for pair, joined in zip(found.survey.pairs, found.joined_before, strict=True):
        shown.append(
            {
                "first": figures[pair.i],
                "second": figures[pair.j],
                "agreement": round(100 * pair.agreement),
                "overlap": round(100 * pair.overlap),
                "mirrored": pair.is_mirrored,
                "joined": joined,
                "conflict": pair in clashing,
            }
        )
    return sorted(shown, key=lambda each: (not each["conflict"], each["joined"]))[:PAIRS_SHOWN]


def _groups(found: Audit, figures: Sequence[Figure]) -> list[tuple[int, list[Figure]]]:
    """Groups of three or more; those of two copies are among the pairs."""
    large = [group for group in found.groups() if len(group) > 2][:GROUPS_SHOWN]
    return [(len(group), [figures[n] for n in group[:IN_GROUP_SHOWN]]) for group in large]


def _suspects(
    found: Audit, figures: Sequence[Figure]
) -> list[tuple[str, str, int, list[tuple[Figure, int, int]]]]:
    """By label and suggestion, the commonest first: how many, and the likeliest errors."""
    kinds: dict[tuple[str, str], list[tuple[Figure, int, int]]] = {}
    for each in found.suspects or ():
        shown = (figures[each.row], round(100 * each.p_given), round(100 * each.p_suggested))
        kinds.setdefault((each.given, each.suggested), []).append(shown)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return [(*kind, len(rows), rows[:SUSPECTS_SHOWN]) for kind, rows in ordered]


def _histograms(found: Audit) -> list[dict[str, object]]:
    """Share of each label's pictures in bins of estimated ITA; one scale for all."""
    edges = np.arange(_ITA_LOW, _ITA_HIGH + 1, _ITA_BIN)
    shares = {}
    for label in _labels(found):
        ita = [seen.ita_degrees for seen in found.survey.seen if seen.row.mark_type == label]
        if ita:
            counts, _ = np.histogram(ita, edges)
            shares[label] = (len(ita), float(np.median(ita)), counts / len(ita))
    top = max((bins.max() for _, _, bins in shares.values()), default=1.0) or 1.0
    return [
        {
            "label": label,
            "n": n,
            "median": round(median),
            "bars": [
                (int(low), int(low) + _ITA_BIN, round(100 * share), round(100 * share / top, 1))
                for low, share in zip(edges[:-1], bins, strict=True)
            ],
        }
        for label, (n, median, bins) in shares.items()
    ]


def _sheets(found: Audit, figures: Sequence[Figure]) -> list[tuple[str, str, int, list[Figure]]]:
    """Pictures of each label and source, spread evenly over the manifest's order."""
    members: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        members.setdefault((figure.label, figure.source), []).append(figure)
    order = _labels(found)
    sheets = []
    for label, source in sorted(members, key=lambda key: (order.index(key[0]), key[1])):
        inside = members[label, source]
        picked = np.linspace(0, len(inside) - 1, min(len(inside), SHEET_SHOWN)).astype(int)
        sheets.append((label, source or "(no source)", len(inside), [inside[n] for n in picked]))
    return sheets


def _tables(found: Audit) -> dict[str, list[tuple[object, ...]]]:
    rows = found.rows
    copies = [
        (
            rows[pair.i].path,
            rows[pair.j].path,
            f"{pair.agreement:.3f}",
            f"{pair.overlap:.3f}",
            "yes" if pair.is_mirrored else "no",
            "yes" if joined else "no",
            rows[pair.i].mark_type.value,
            rows[pair.j].mark_type.value,
        )
        for pair, joined in zip(found.survey.pairs, found.joined_before, strict=True)
    ]
    pieces = ["agreement", "overlap", "mirrored", "joined_before", "mark_type", "other_mark_type"]
    wrong = [
        (rows[each.row].path, each.given, each.suggested, f"{each.p_given:.3f}",
         f"{each.p_suggested:.3f}", f"{each.margin:.3f}")
        for each in found.suspects or ()
    ]  # fmt: skip
    return {
        COPIES: [("path", "other_path", *pieces), *copies],
        GROUPS: [
            ("path", "group_id"),
            *((rows[n].path, rows[n].group_id) for group in found.groups() for n in group),
        ],
        SUSPECTS: [
            ("path", "mark_type", "suggested", "p_mark_type", "p_suggested", "margin"),
            *wrong,
        ],
        UNREADABLE: [
            ("path", "reason", "detail"),
            *((row.path, e.reason.value, e.detail) for row, e in found.survey.unreadable),
        ],
    }


def _as_csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", errors="backslashreplace")
