"""The tables of docs/evaluation.md, as Markdown, of the runs that `make models` leaves in runs/.

python benchmarks/evaluation_tables.py
"""

import json
from pathlib import Path
from typing import Any

from diascope.evaluation import telling
from diascope.figures import Measure

RUNS = Path("runs")
SEEDS = ("photos-by-source", "seeds/by-source-1", "seeds/by-source-2")


def read(name: str) -> dict[str, Any]:
    return json.loads((RUNS / name).read_text(encoding="utf-8"))


def cell(measure: dict[str, Any], *, percent: bool = False) -> str:
    found = Measure(**measure)
    if not percent or found.value is None:
        return telling.cell(found)
    value, low, high = (100 * measure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]{' (few)' * found.is_few}"


def table(title: str, header: str, rows: list[tuple[str, ...]]) -> None:
    print(f"\n{title}\n\n| {header} |\n|{' - |' * (header.count('|') + 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def left_out() -> None:
    reports = [read(f"{name}/cross_validation.json") for name in SEEDS if (RUNS / name).exists()]
    first = reports[0]
    coloured = [n for n, fold in enumerate(first["folds"]) if fold["aurocs"]["network"]["value"]]
    rows = [
        (
            first["folds"][n]["name"],
            str(first["folds"][n]["aurocs"]["network"]["n"]),
            *(cell(each["folds"][n]["aurocs"]["network"]) for each in reports),
            cell(first["folds"][n]["aurocs"]["colour"]),
        )
        for n in coloured
    ]
    for words, key in (("mean of the three", "mean_aurocs"), ("pooled", "pooled_aurocs")):
        found = [each[key] for each in reports]
        n = str(found[0]["network"]["n"])
        rows.append(
            (words, n, *(cell(each["network"]) for each in found), cell(found[0]["colour"]))
        )
        rows.append((f"{words}: gain over colour", n, *(cell(each["gain"]) for each in found), ""))
    seeds = " | ".join(f"seed {n}" for n in range(len(reports)))
    table("Left out:", f"AUROC, sources left out | n | {seeds} | colour alone", rows)


def by_measure() -> None:
    parts = {
        "photos, groups left out": read("photos-by-group/cross_validation.json")["pooled"],
        "photos, sources left out": read("photos-by-source/cross_validation.json")["pooled"],
        "rendered": read("rendered/evaluation/evaluation.json")["pictures"]["overall"],
    }
    names = list(next(iter(parts.values()))["measures"])
    rows = [
        (
            name.replace("_", " "),
            str(next(iter(parts.values()))["measures"][name]["n"]),
            *(cell(part["measures"][name]) for part in parts.values()),
        )
        for name in names
    ]
    table("Measures:", f"figure | n of the first | {' | '.join(parts)}", rows)


def conditions() -> None:
    rows = []
    for each in read("rendered/evaluation/evaluation.json")["pictures"]["other"]:
        counts = [str(each[key]) for key in ("n", "erythematous", "hyperpigmented", "declined")]
        rows.append((each["condition"], *counts))
    rows.sort(key=lambda row: -int(row[1]))
    table("Other:", "condition | n | called red | called brown | declined", rows)


def sweeps() -> None:
    found = [
        read(f"{name}/evaluation.json")["sweep"] for name in ("rendered/evaluation", "photos/tones")
    ]
    gaps = [
        ("AUROC, largest less least", *(cell(each["auroc_gap"]) for each in found)),
        ("the same by chance alone", *(cell(each["gap_by_chance"]) for each in found)),
    ]
    for n, each in enumerate(found[0]["declined_gaps"]):
        cells = (cell(sweep["declined_gaps"][n]["measure"], percent=True) for sweep in found)
        gaps.append((f"share declined, {each['name']}", *cells))
    table("Gaps:", "gap between tones | rendered | photos", gaps)
    for words in ("tones", "contrasts", "shown", "layouts", "sizes"):
        rows = []
        for n, part in enumerate(found[0][words]):
            cells = [part["name"], str(part["n"]), f"{part['shown']:.1f}"]
            for sweep in found:
                cells.append(cell(sweep[words][n]["auroc"]))
                cells.append(cell(sweep[words][n]["declined"], percent=True))
            rows.append(tuple(cells))
        header = "n | Delta E shown | AUROC, rendered | declined | AUROC, photos | declined"
        table(f"{words}:", f"{words} | {header}", rows)
    rows = [
        (
            tone["name"],
            *(
                f"{found[k]['cells'][n][m]['auroc']['value']:.3f}"
                for k in range(2)
                for m in range(len(found[0]["contrasts"]))
            ),
        )
        for n, tone in enumerate(found[0]["tones"])
    ]
    contrasts = [part["name"] for part in found[0]["contrasts"]]
    header = " | ".join(f"{name}, {each}" for name in ("rendered", "photos") for each in contrasts)
    table("Cells:", f"AUROC | {header}", rows)
    rows = [
        (
            each["name"],
            str(each["measure"]["n"]),
            *(cell(sweep["bare_called"][n]["measure"], percent=True) for sweep in found),
        )
        for n, each in enumerate(found[0]["bare_called"])
    ]
    table("Unmarked:", "unmarked skin given a colour | n | rendered | photos", rows)


def tones() -> None:
    pictures = read("rendered/evaluation/evaluation.json")["pictures"]
    for scale in pictures["tones"]:
        rows = [("gap", "", cell(scale["gap"]))]
        rows += [
            (
                part["name"],
                str(part["measures"]["auroc_red_vs_brown"]["n"]),
                cell(part["measures"]["auroc_red_vs_brown"]),
            )
            for part in scale["groups"]
        ]
        table(f"Photographs by {scale['scale']}:", "tone | n | AUROC, rendered", rows)


def changes() -> None:
    for name in ("rendered/evaluation", "photos/drawn"):
        rows = [
            (
                each["words"],
                str(each["flips"]["n"]),
                cell(each["flips"], percent=True),
                cell(each["lost"], percent=True),
                str(each["auroc"]["n"]),
                cell(each["loss"]),
            )
            for each in read(f"{name}/evaluation.json")["pictures"]["sturdiness"]
        ]
        header = "change | colours named | flips | named no more | n | AUROC lost"
        table(f"Changes, {name}:", header, rows)


if __name__ == "__main__":
    for show in (left_out, by_measure, conditions, sweeps, tones, changes):
        show()
