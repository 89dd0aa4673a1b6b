"""Fitzpatrick17k: pictures of two atlases with skin tones; SkinCon's concepts where they are."""

import re
from collections.abc import Iterator
from pathlib import Path

from diascope.errors import SourceError
from diascope.sources.source import Access, Drop, Source, SourceRow
from diascope.sources.tables import find_table, read_table, whole_number

TABLE, SKINCON = "fitzpatrick17k.csv", "annotations_fitzpatrick17k.csv"
NOT_CONSIDERED = "Do not consider this image"

_WRONG = "3 Wrongly labelled"  # of the column qc
_COLUMNS = ("md5hash", "fitzpatrick_scale", "label", "qc", "url")
_NO_CONCEPTS = {"", "ImageID"}  # the first column of SkinCon's table has no name


def _rows(root: Path) -> Iterator[SourceRow]:
    path = find_table(root, TABLE)
    concepts = _concepts(path.parent)
    for where, cells in read_table(path, _COLUMNS):
        name = f"{cells['md5hash']}.jpg"
        yield SourceRow(
            where,
            cells["md5hash"],
            labels=((cells["label"], 1.0),) if cells["label"] else (),
            pictures=(name,),
            addresses=(cells["url"],),
            fitzpatrick=whole_number(cells["fitzpatrick_scale"], 1, 6),  # -1 is unknown
            concepts=concepts.get(name),
            drop=_drop(cells["md5hash"], cells["label"], cells["qc"]),
        )


def _drop(name: str, label: str, qc: str) -> Drop | None:
    if not re.fullmatch("[0-9a-f]{32}", name):
        return Drop.UNSAFE_PATH
    if qc == _WRONG:
        return Drop.WRONGLY_LABELLED
    return None if label else Drop.NO_LABEL


def _concepts(folder: Path) -> dict[str, tuple[str, ...]]:
    """Picture name -> concepts seen in it; nothing where SkinCon's table is not there."""
    path = folder / SKINCON
    found: dict[str, tuple[str, ...]] = {}
    if not path.is_file():
        return found
    for where, cells in read_table(path, ("ImageID", NOT_CONSIDERED)):
        name = cells["ImageID"]
        if name in found:
            raise SourceError(f"{where}: {name} stands twice; download the table again")
        columns = [column for column in cells if column not in _NO_CONCEPTS]
        found[name] = tuple(column for column in columns if whole_number(cells[column], 1, 1))
    return found


SOURCE = Source(
    name="fitzpatrick17k",
    title="Fitzpatrick17k, with SkinCon",
    access=Access.OPEN,
    address="https://github.com/mattgroh/fitzpatrick17k",
    licence="CC BY-NC-SA 3.0",
    terms="Non-commercial use, with attribution, shared alike. The pictures stay those of the "
    "two atlases they come from (DermaAmin, Atlas Dermatologico): ask them before you "
    "publish one.",
    citation="Groh M, Harris C, Soenksen L, et al. Evaluating deep neural networks trained on "
    "clinical images in dermatology with the Fitzpatrick 17k dataset. CVPR Workshops 2021. "
    "Daneshjou R, Yuksekgonul M, Cai ZR, Novoa R, Zou J. SkinCon: a skin disease dataset densely "
    "annotated by domain experts. NeurIPS Datasets and Benchmarks 2022.",
    holds="Atlas pictures with Fitzpatrick types: rosacea, telangiectasia and port-wine stain are "
    "red, pigmentation by drugs is brown. SkinCon says of 3,230 of them whether a dermatologist "
    "saw erythema, telangiectasia or brown: the most direct labels of colour there are.",
    traps=(
        "fitzpatrick_scale -1 is an unknown tone.",
        "Some rows have no address, and many addresses are dead: fetch tells which.",
        "About a fifth are near-duplicates and a fifth wrongly labelled, as CleanPatrick found: "
        "audit before training.",
        "SkinCon marks pictures not to be considered: they are left out.",
    ),
    rows=_rows,
    tables=(
        (TABLE, f"https://raw.githubusercontent.com/mattgroh/fitzpatrick17k/main/{TABLE}"),
        (SKINCON, f"https://skincon-dataset.github.io/files/{SKINCON}"),
    ),
    by_name=True,
    concept_map="skincon",
)
