"""``diascope data split`` and ``diascope data audit``."""

# ruff: noqa: PLC0415 cold start: each command imports what it runs

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diascope.cli.data import group
from diascope.cli.terminal import examples, say, tracking

if TYPE_CHECKING:
    from diascope.audit import Audit
    from diascope.splits import Split

SOME_UNREADABLE = 3
"""Exit status when some pictures could not be read and the others were looked at."""

_Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="CSV or Parquet with path, mark_type, condition, source, group_id and, where known, "
        "patient_id, fitzpatrick, monk.",
    ),
]
_Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="CSV",
        help="Copies and persons known (path, group_id), besides the copies found.",
    ),
]
_Copies = Annotated[
    bool, typer.Option("--copies/--no-copies", help="Look for near-duplicates among the pictures.")
]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")
]


@group.command(
    "split",
    epilog=examples(
        "diascope data split manifest.csv --out split.csv --folds 5",
        "diascope train --config configs/own.toml --data split.csv "
        "--set data.validation_split=fold-0 --set data.test_split=fold-1",
        "diascope data split manifest.csv --out by-source.csv --by source",
    ),
)
def split(
    manifest: _Manifest,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.csv", help="The new manifest, beside the old one or above it."
        ),
    ],
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Parts, named fold-0, fold-1 and so on.")
    ] = 5,
    by: Annotated[
        Literal["group", "source"],
        typer.Option(
            "--by",
            help="group deals groups into folds, even in class, source and tone; source makes "
            "each source a part, to leave one out.",
        ),
    ] = "group",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the deal into folds.")] = 0,
    groups: _Groups = None,
    copies: _Copies = True,
    overwrite: _Overwrite = False,
) -> None:
    """Write the manifest with a column split that no group, person or copy straddles.

    Patients, groups, copies found and copies known are joined first. diascope train keeps to the
    column and refuses one that leaks. FILE.meta.json has the seed, the counts and the digests.
    """
    from diascope import dataset, splits
    from diascope.config import DataConfig

    splits.check_split_output(out, manifest, overwrite=overwrite)
    read = dataset.read_manifest(manifest)
    config = DataConfig(join_copies=copies, groups=None if groups is None else str(groups))
    with tracking() as track:
        rows = dataset.joined_rows(read.rows, config, track=track)
    dealt = (
        splits.split_by_source(rows) if by == "source" else splits.split_by_folds(rows, folds, seed)
    )
    beside = splits.write_split(dealt, read, out, overwrite=overwrite)
    say(*_split_lines(dealt), f"{out}: {len(dealt.rows)} rows, {beside.name} beside it")


def _split_lines(dealt: "Split") -> list[str]:
    return [
        f"{part}: " + ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
        for part, labels in dealt.counts().items()
    ]


@group.command(
    "audit",
    epilog=examples(
        "diascope data audit photos/manifest.csv --out runs/audit",
        "diascope data audit manifest.csv --out runs/audit --model rendered --groups known.csv",
    ),
)
def audit(
    manifest: _Manifest,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where audit.html and its tables go; in a git work tree, a folder git ignores.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="PATH|photos|rendered",
            help="Its features are what labels are held against.",
        ),
    ] = "photos",
    groups: _Groups = None,
    copies: _Copies = True,
    cross_validation: Annotated[
        bool,
        typer.Option(
            "--cross-validation/--no-cross-validation", help="Look for likely label errors."
        ),
    ] = True,
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Of the cross-validation behind them.")
    ] = 5,
    overwrite: _Overwrite = False,
) -> None:
    """Show what a manifest holds, on one page with pictures that opens without a network.

    Counts by class, source and tone; copies and the groups they form; copies under two labels;
    likely label errors; skin tone by class; contact sheets. The page holds pictures of people,
    none of their metadata. Pictures that cannot be read are listed; the exit status is then 3.
    """
    from diascope import audit as audits
    from diascope import dataset
    from diascope.inference import Predictor

    audits.check_output(out, overwrite=overwrite)
    read = dataset.read_manifest(manifest)
    known = dataset.known_groups(groups, read.rows)
    predictor = Predictor.load(model)
    with tracking() as track:
        found = audits.audit(
            read,
            predictor,
            known=known,
            copies=copies,
            folds=folds if cross_validation else None,
            track=track,
        )
    page = audits.write_audit(found, out, overwrite=overwrite)
    say(*_audit_lines(found), f"{page}: open it in a browser; it holds pictures of people")
    if found.survey.unreadable:
        raise typer.Exit(SOME_UNREADABLE)


def _audit_lines(found: "Audit") -> list[str]:
    lost = found.survey.unreadable
    new = sum(not joined for joined in found.joined_before)
    lines = [
        f"{len(found.manifest.rows)} rows, {len(lost)} not readable",
        *(f"  {row.path}: {error.reason}" for row, error in lost[:5]),
        f"{len(found.survey.pairs)} pairs of copies, {new} not joined before; "
        f"{len(found.groups())} groups of two or more",
        f"{len(found.conflicts)} copies under two labels",
        *(
            f"  {found.rows[each.pair.i].path} is {each.first}, "
            f"{found.rows[each.pair.j].path} is {each.second}"
            for each in found.conflicts[:5]
        ),
    ]
    if found.suspects is not None:
        lines.append(f"{len(found.suspects)} likely label errors: suspicions, look at each")
    elif found.folds:
        lines.append(
            "likely label errors not looked for: that takes two labels with a group for each of "
            f"{found.folds} folds; try fewer with --folds"
        )
    return lines
