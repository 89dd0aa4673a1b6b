"""HAM10000: dermoscopic pictures of pigmented lesions; out of domain."""

from collections.abc import Iterator
from pathlib import Path

from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import find_table, read_table

TABLE = "HAM10000_metadata.csv"


def _rows(root: Path) -> Iterator[SourceRow]:
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    for where, cells in read_table(find_table(root, TABLE), columns):
        yield SourceRow(
            where,
            cells["image_id"],
            labels=((cells["dx"], 1.0),) if cells["dx"] else (),
            pictures=(f"{cells['image_id']}.jpg",) if cells["image_id"] else (),
            group_id=cells["lesion_id"],
            drop=None if cells["dx"] else Drop.NO_LABEL,
        )


SOURCE = Source(
    name="ham10000",
    title="HAM10000",
    access=Access.OWN,
    address="https://doi.org/10.7910/DVN/DBW86T",
    licence="CC BY-NC 4.0",
    terms="Non-commercial use, with attribution. Download table and pictures from the page; name "
    f"the table {TABLE} and unpack the pictures beside it.",
    citation="Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of "
    "multi-source dermatoscopic images of common pigmented skin lesions. Sci Data "
    "2018;5:180161.",
    holds="Moles, tumours and vascular lesions through a dermatoscope: nothing to train on, and "
    "no test of declining photographs either.",
    traps=(
        "Out of domain: a dermatoscope touches the skin, polarises the light and magnifies.",
        "A lesion has several pictures: lesion_id is the group.",
        "Patients are not told apart.",
    ),
    rows=_rows,
    by_name=True,
    in_domain=False,
)
