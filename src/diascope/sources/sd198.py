"""SD-198: one folder of clinical pictures per disease."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diascope.errors import SourceError
from diascope.sources.source import Access, Source, SourceRow
from diascope.sources.tables import picture_files

_FOLDER = "images"


def _rows(root: Path) -> Iterator[SourceRow]:
    inside = f"{_FOLDER}/" if (root / _FOLDER).is_dir() else ""
    for name in picture_files(root / inside):
        parts = PurePosixPath(name).parts
        if len(parts) != 2:
            raise SourceError(
                f"{root / inside / name}: a picture of SD-198 is in its class's folder; "
                "give the folder that holds the 198 classes as --root"
            )
        path = f"{inside}{name}"
        yield SourceRow(path, path, labels=((parts[0], 1.0),), pictures=(path,))


SOURCE = Source(
    name="sd198",
    title="SD-198",
    access=Access.FORM,
    address="https://doi.org/10.1007/978-3-319-46466-4_13",
    licence="research only, as its authors ask; pictures of dermquest.com",
    terms="Research only; publish no picture. Ask the authors for it, or take the copy you have.",
    citation="Sun X, Yang J, Sun M, Wang K. A benchmark for automatic visual classification of "
    "clinical skin disease images. ECCV 2016.",
    holds="198 diseases, up to 60 pictures each: rosacea and telangiectasia are red, melasma, "
    "cafe-au-lait and sun pigmentation brown, and many lesions to decline.",
    traps=(
        "Class names are folders with underscores; some have brackets or an apostrophe.",
        "Patients are not told apart.",
    ),
    rows=_rows,
)
