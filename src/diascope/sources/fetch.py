"""An open data set -> its tables and the pictures whose labels matter, on this machine."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diascope.download import Outcome, Patience, Status, Wanted, download
from diascope.errors import SourceError
from diascope.files import write_whole
from diascope.image import MAX_BYTES
from diascope.labels import ManifestLabel
from diascope.progress import Track, silent
from diascope.sources.pictures import check_picture, is_html, safe_relative
from diascope.sources.prepare import Choices, Judged, judge
from diascope.sources.source import Access, Source

REPORT = "fetch_report.json"
_TABLE_BYTES = 1_000_000_000
_IMAGES = "images"  # where pictures go whose tables give bare names
_MARKS = {label for label in ManifestLabel if label is not ManifestLabel.OTHER}
_ROADS = {
    Access.FORM: "its owners give it out on request",
    Access.ACCOUNT: "it needs an account",
    Access.OWN: "it is read from your own copy",
}


def check_open(source: Source) -> None:
    """Refuse a set that cannot be fetched, and say how to get it.

    Raises:
        SourceError: the set is behind a form or an account, or is your own.
    """
    if source.access is not Access.OPEN:
        raise SourceError(
            f"{source.name} is not fetched: {_ROADS[source.access]} ({source.address})\n"
            f"{source.terms}\n"
            f"then diascope data prepare {source.name} --root DIR --out manifest.csv"
        )


def fetch(
    source: Source,
    to: Path,
    *,
    accepted: bool,
    everything: bool = False,
    mirror: str | None = None,
    connections: int = 4,
    patience: Patience | None = None,
    choices: Choices | None = None,
    track: Track = silent,
) -> dict[str, Any]:
    """Fetch tables, then pictures; what is there already is not asked for again.

    Without ``everything`` only pictures that may be trained on are fetched. ``mirror`` is an
    address below which the files stand by their names. Returns the report of ``fetch_report.json``.

    Raises:
        SourceError: the set is not open, its licence is not accepted, a table cannot be got.
        OutputError: the disk is full.
    """
    check_open(source)
    if not accepted:
        raise SourceError(
            f"{source.name}: {source.licence}: {source.terms}\n"
            "accept it with --accept-licence; nothing was fetched"
        )
    get = partial(download, folder=to, connections=connections, patience=patience, track=track)
    tables = [
        Wanted(_address(name, address, mirror), name, _TABLE_BYTES)
        for name, address in source.tables
    ]
    outcomes = get(tables, check=_table_fault, description="fetching tables")
    _check_tables(source, outcomes)
    judged, _ = judge(source, to, choices or Choices())
    wanted, refused = _pictures(source, judged, everything, mirror)
    outcomes = get(wanted, check=_picture_fault, description="fetching pictures")
    report = _report(source, judged, [*outcomes, *refused])
    write_whole(to / REPORT, json.dumps(report, indent=2).encode() + b"\n")
    return report


def _address(name: str, address: str, mirror: str | None) -> str:
    return address if mirror is None else f"{mirror.rstrip('/')}/{quote(name)}"


def _check_tables(source: Source, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            raise SourceError(
                f"{outcome.wanted.address}: {outcome.reason}\n"
                f"without this table of {source.name} nothing can be fetched; run it again later, "
                f"or put the table at {outcome.wanted.name} yourself"
            )


def _pictures(
    source: Source, judged: Sequence[Judged], everything: bool, mirror: str | None
) -> tuple[list[Wanted], list[Outcome]]:
    """What to fetch, each name once, and what cannot be asked for."""
    wanted: dict[str, Wanted] = {}
    refused = []
    for item in judged:
        if not (everything or item.decision.mark_type in _MARKS):
            continue
        for picture, address in zip(item.row.pictures, item.row.addresses, strict=True):
            name = f"{_IMAGES}/{picture}" if source.by_name else picture
            one = Wanted(_address(name, address, mirror), name, MAX_BYTES)
            if safe_relative(picture) is None:
                refused.append(Outcome(one, Status.FAILED, "a name that leads out of the folder"))
            elif not one.address:
                refused.append(Outcome(one, Status.FAILED, "the table gives no address"))
            else:
                wanted.setdefault(name, one)
    return list(wanted.values()), refused


def _table_fault(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "an empty file"
    return "an HTML page in place of a table" if is_html(start) else None


def _picture_fault(path: Path) -> str | None:
    checked = check_picture(path)
    return checked.detail if checked.fault is not None else None


def _report(
    source: Source, judged: Sequence[Judged], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    counts = Counter(outcome.status for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    return {
        "source": source.name,
        "licence": source.licence,
        "licence_accepted": True,
        "rows": len(judged),
        "pictures": {str(status): counts[status] for status in Status},
        "failed": [
            {"name": one.wanted.name, "address": one.wanted.address, "reason": one.reason}
            for one in failed
        ],
    }
