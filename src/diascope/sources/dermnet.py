"""DermNet as on Kaggle: an atlas whose folders mix diseases; the file's name has the topic."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diascope.errors import SourceError
from diascope.sources.source import Access, Source, SourceRow
from diascope.sources.tables import picture_files

_PARTS = ("train", "test")
# 07RosaceaK0216: a chapter, the topic, a code; 07PerioralDermEye: a chapter and the topic.
_OLD_NAME = re.compile(r"\d*([A-Za-z-]+?)(?:[A-Z]?\d.*)?")


def _rows(root: Path) -> Iterator[SourceRow]:
    if not any((root / part).is_dir() for part in _PARTS):
        raise SourceError(f"{root}: neither train nor test is here; give the folder above them")
    for part in _PARTS:
        if (root / part).is_dir():
            for name in picture_files(root / part):
                path = f"{part}/{name}"
                yield SourceRow(path, path, labels=((topic(path), 1.0),), pictures=(path,))


def topic(path: str) -> str:
    """Name the topic of a file, in lower case: ``acne-cystic-12.jpg`` -> ``acne-cystic``.

    The folder says less: "Acne and Rosacea Photos" holds rosacea, acne, milia and more.
    """
    stem = PurePosixPath(path).stem
    numbered = re.fullmatch(r"([A-Za-z].*?)[-_ ]+\d+", stem)
    old = _OLD_NAME.fullmatch(stem)
    name = numbered[1] if numbered else old[1] if old else stem
    return name.strip("-_ ").lower()


SOURCE = Source(
    name="dermnet",
    title="DermNet, as on Kaggle",
    access=Access.ACCOUNT,
    address="https://www.kaggle.com/datasets/shubhamgoel27/dermnet",
    licence="unclear: pictures of dermnet.com, watermarked, put on Kaggle by a third party",
    terms="No licence of the owner is known: research and education only, and publish no "
    "picture. It needs a Kaggle account; download and unpack it.",
    citation="DermNet skin disease atlas (dermnet.com), as gathered on Kaggle by S. Goel, 2020.",
    holds="The largest open atlas: rosacea, telangiectasia, sunburn and port-wine stain are red, "
    "melasma, cafe-au-lait spots and pigmentation after inflammation brown.",
    traps=(
        "The folder mixes diseases: the topic in the file's name is the label.",
        "Older names (07RosaceaK0216.jpg) have no dash: their letters are the topic.",
        "The same picture stands in train and in test: the split of the folders leaks and is "
        "not used.",
        "Pictures of one patient follow each other and are not marked: find near-duplicates.",
        "Topics that the label map does not hold stop prepare; --unmapped exclude counts them.",
    ),
    rows=_rows,
)
