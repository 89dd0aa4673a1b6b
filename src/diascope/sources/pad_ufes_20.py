"""PAD-UFES-20: lesions photographed with phones, with their patients."""

from collections.abc import Iterator
from pathlib import Path

from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import find_table, read_table, whole_number

TABLE = "metadata.csv"


def _rows(root: Path) -> Iterator[SourceRow]:
    # fitspatrick is how the set spells it.
    columns = ("patient_id", "lesion_id", "diagnostic", "img_id", "fitspatrick")
    for where, cells in read_table(find_table(root, TABLE), columns):
        patient, label = cells["patient_id"], cells["diagnostic"]
        yield SourceRow(
            where,
            cells["img_id"],
            labels=((label, 1.0),) if label else (),
            pictures=(cells["img_id"],) if cells["img_id"] else (),
            patient_id=patient,
            group_id=patient or cells["lesion_id"],
            fitzpatrick=whole_number(cells["fitspatrick"], 1, 6),
            drop=None if label else Drop.NO_LABEL,
        )


SOURCE = Source(
    name="pad_ufes_20",
    title="PAD-UFES-20",
    access=Access.OWN,
    address="https://data.mendeley.com/datasets/zr7vgbcyr2/1",
    licence="CC BY 4.0",
    terms="Free, with attribution. Download the archive from the page and unpack it.",
    citation="Pacheco AGC, Lima GR, Salomao AS, et al. PAD-UFES-20: a skin lesion dataset "
    "composed of patient data and clinical images collected from smartphones. Data Brief "
    "2020;32:106221.",
    holds="Phone pictures of six kinds of lesion, each to decline: nothing red or brown.",
    traps=(
        "The column of the tone is spelt fitspatrick, and empty for many.",
        "lesion_id is no patient: one patient has several lesions and pictures; the patient is "
        "the group.",
        "Pictures are spread over imgs_part_1 to 3.",
    ),
    rows=_rows,
    by_name=True,
)
