"""DDI: biopsied lesions on light, medium and dark skin."""

from collections.abc import Iterator
from pathlib import Path

from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import find_table, read_table

TABLE = "ddi_metadata.csv"


def _rows(root: Path) -> Iterator[SourceRow]:
    columns = ("DDI_ID", "DDI_file", "skin_tone", "malignant", "disease")
    for where, cells in read_table(find_table(root, TABLE), columns):
        yield SourceRow(
            where,
            cells["DDI_ID"],
            labels=((cells["disease"], 1.0),) if cells["disease"] else (),
            pictures=(cells["DDI_file"],) if cells["DDI_file"] else (),
            # 12, 34 and 56 are pairs of types, no ages and no numbers.
            fitzpatrick={"12": "1-2", "34": "3-4", "56": "5-6"}.get(cells["skin_tone"], ""),
            drop=None if cells["disease"] else Drop.NO_LABEL,
        )


SOURCE = Source(
    name="ddi",
    title="DDI, Diverse Dermatology Images",
    access=Access.FORM,
    address="https://ddi-dataset.github.io",
    licence="Stanford research use agreement",
    terms="Non-commercial research only; no redistribution. Ask for it with the form on the page "
    "(Stanford AIMI) and unpack it.",
    citation="Daneshjou R, Vodrahalli K, Novoa RA, et al. Disparities in dermatology AI "
    "performance on a diverse, curated clinical image set. Sci Adv 2022;8(32):eabq6147.",
    holds="Biopsied lesions, nearly all tumours and moles: pictures to decline, evenly over skin "
    "tones. Next to nothing red or brown.",
    traps=(
        "skin_tone 12, 34 and 56 are pairs of Fitzpatrick types: written 1-2, 3-4, 5-6.",
        "Pictures of one patient are not told apart.",
    ),
    rows=_rows,
    by_name=True,
)
