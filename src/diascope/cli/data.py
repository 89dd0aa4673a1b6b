"""``diascope data``: labelled pictures, published ones or your own, on their way to a manifest."""

# ruff: noqa: PLC0415 cold start: each command imports what it runs

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diascope.cli.terminal import console, examples, say, tracking

if TYPE_CHECKING:
    from diascope.sources.prepare import Choices

group = typer.Typer(
    help="Turn labelled pictures, published ones or your own, into a manifest; split and audit it.",
    no_args_is_help=True,
)

SOME_FAILED = 3
"""Exit status when some pictures could not be fetched and the others were."""

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A data set, as diascope data list names it.")
]
MinWeight = Annotated[
    float | None,
    typer.Option(
        "--min-weight",
        metavar="SHARE",
        show_default="half",
        help="Where a row has several weighted conditions: the least share of the weight that "
        "one mark type must have, above 0 and at most 1.",
    ),
]
OnlySure = Annotated[
    bool,
    typer.Option("--only-sure", help="Leave out conditions whose mark type is likely, not sure."),
]
LabelMapFile = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="FILE",
        help="A label map of your own (label, mark_type, reason, certainty) in place of the "
        "shipped one.",
    ),
]
Unmapped = Annotated[
    Literal["refuse", "exclude"],
    typer.Option("--unmapped", help="What to do with conditions that the label map lacks."),
]


@group.command("list", epilog=examples("diascope data list"))
def list_sets() -> None:
    """Print the data sets that can be read, how each is got, and its licence."""
    from diascope.cli.display import figures_table, print_wide
    from diascope.sources import SOURCES

    rows = [(source.name, source.title, source.access, source.licence) for source in SOURCES]
    print_wide(figures_table([("name", "data set", "access", "licence"), *rows]))


@group.command("describe", epilog=examples("diascope data describe scin"))
def describe(name: Name) -> None:
    """Print what a data set holds for red and brown marks, its traps, licence and citation."""
    from diascope.sources import source_named
    from diascope.sources.prepare import OUT_OF_DOMAIN

    source = source_named(name)
    say(
        f"{source.title} ({source.name})",
        *([] if source.in_domain else [OUT_OF_DOMAIN]),
        source.holds,
        f"Access: {source.access}, {source.address}",
        *([f"Licence: {source.licence}"] if source.licence else []),
        source.terms,
        *(f"- {trap}" for trap in source.traps),
        *([f"Cite: {source.citation}"] if source.citation else []),
    )


@group.command(
    "fetch",
    epilog=examples(
        "diascope data fetch scin --to scin",
        "diascope data fetch fitzpatrick17k --to fitzpatrick17k --accept-licence",
    ),
)
def fetch(
    name: Name,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where tables and pictures go.")],
    everything: Annotated[
        bool,
        typer.Option(
            "--all/--marks",
            help="All pictures, or those that may be trained on: red, brown, mixed, unmarked.",
        ),
    ] = False,
    accepted: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without being asked.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="URL",
            show_default="the set's own",
            help="A mirror that has the files below it, by the names they get here.",
        ),
    ] = None,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=16, help="Files fetched at once.")
    ] = 4,
    min_weight: MinWeight = None,
    map_file: LabelMapFile = None,
    unmapped: Unmapped = "refuse",
) -> None:
    """Fetch an open data set: its tables, then the pictures whose labels matter.

    Run it again to go on after a break: only what is missing is asked for. What failed, and why,
    is in fetch_report.json; the exit status is then 3.
    """
    from diascope.sources import source_named
    from diascope.sources.fetch import REPORT, check_open
    from diascope.sources.fetch import fetch as fetch_set

    source = source_named(name)
    check_open(source)
    say(f"{source.title}: {source.licence}", source.terms, f"See {source.address}")
    if not accepted and sys.stdin.isatty():
        accepted = typer.confirm("Do you accept this licence?", err=True)
    with tracking() as track:
        report = fetch_set(
            source,
            to,
            accepted=accepted,
            everything=everything,
            mirror=mirror,
            connections=connections,
            choices=_choices(min_weight, map_file, unmapped),
            track=track,
        )
    counts = report["pictures"]
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    say(f"{to}: {told}", *(_failures(report["failed"], to / REPORT)))
    if counts["failed"]:
        raise typer.Exit(SOME_FAILED if counts["fetched"] or counts["present"] else 1)


def _failures(failed: list[dict[str, str]], report: Path) -> list[str]:
    shown = [f"{one['name']}: {one['reason']}" for one in failed[:3]]
    more = [f"and {len(failed) - 3} more"] if len(failed) > 3 else []
    return [*shown, *more, f"see {report}"] if failed else []


def _choices(
    min_weight: float | None, map_file: Path | None, unmapped: str, **more: bool
) -> "Choices":
    from diascope.sources.prepare import MIN_WEIGHT, Choices

    share = MIN_WEIGHT if min_weight is None else min_weight
    return Choices(share, map_file=map_file, exclude_unmapped=unmapped == "exclude", **more)


@group.command(
    "prepare",
    epilog=examples(
        "diascope data prepare scin --root scin --out scin/manifest.csv",
        "diascope data prepare fitzpatrick17k --root tables --out labels.parquet --labels-only",
        "diascope data prepare folders --root mine --out mine/manifest.csv --map mine/labels.csv",
    ),
)
def prepare(
    name: Name,
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Where the data set is: its own root, or the folder that holds its tables. For "
            "folders also a table, .csv or .parquet.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The manifest, .csv or .parquet, in a folder above the pictures.",
        ),
    ],
    labels_only: Annotated[
        bool,
        typer.Option(
            "--labels-only",
            help="One row per row of the table, excluded ones too; needs no picture.",
        ),
    ] = False,
    min_weight: MinWeight = None,
    only_sure: OnlySure = False,
    map_file: LabelMapFile = None,
    unmapped: Unmapped = "refuse",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")
    ] = False,
) -> None:
    """Write one manifest of a data set, ready for diascope train --data.

    Every picture is decoded once. Whatever is left out is counted by reason; each fault is named
    with its file and row in NAME.report.json beside the manifest.
    """
    from diascope.sources import source_named
    from diascope.sources.prepare import prepare as prepare_set
    from diascope.sources.prepare import report_file

    with tracking() as track:
        report = prepare_set(
            source_named(name),
            root,
            out,
            _choices(min_weight, map_file, unmapped, only_sure=only_sure, labels_only=labels_only),
            overwrite=overwrite,
            track=track,
        )
    _print_report(report)
    say(f"{out}: written; what was left out, and each fault by row, is in {report_file(out)}")


def _print_report(report: dict[str, Any]) -> None:
    from diascope.cli.display import figures_table

    head = ("rows", "pictures")
    total = ("in all", str(report["rows"]), str(report["pictures"]))
    counts, left = report["mark_types"], report["dropped"]
    console().print(figures_table([("mark type", *head), *_lines(counts), total]))
    if left:
        console().print(figures_table([("left out because", *head), *_lines(left)]))
    if report["note"]:
        say(report["note"])


def _lines(counts: dict[str, dict[str, int]]) -> list[tuple[str, str, str]]:
    return [(name, str(n["rows"]), str(n["pictures"])) for name, n in counts.items()]
