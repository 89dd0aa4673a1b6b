"""The worst mistakes: red called brown, brown called red, the surest first."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from diascope.dataset import Manifest
from diascope.errors import OutputError
from diascope.evaluation.measuring import COLOURED, surest
from diascope.figures import JudgedRow, Mistake
from diascope.image import read_picture

MOST = 12
"""Mistakes that a report names."""
NEVER_SHOWN = "shared"
"""No picture is shown from below a folder of this name: it holds what may not be passed on."""

_SIDE = 240  # longer side of a thumbnail in pixels


def worst_mistakes(judged: Sequence[JudgedRow]) -> tuple[Mistake, ...]:
    """Red and brown rows that got the other colour, at most ``MOST``."""
    wrong = [
        (sure, row)
        for row, sure in zip(judged, surest(judged)[0], strict=True)
        if row.mark_type in COLOURED
        and not row.verdict.declines
        and row.verdict.value != row.mark_type.value
    ]
    wrong.sort(key=lambda pair: (-pair[0], pair[1].path))
    return tuple(
        Mistake(
            path=row.path,
            source=row.source,
            condition=row.condition,
            mark_type=row.mark_type,
            verdict=row.verdict,
            probability=sure,
        )
        for sure, row in wrong[:MOST]
    )


def check_may_show(*files: Path) -> None:
    """Refuse manifests and pictures that may not be passed on.

    Raises:
        OutputError: one lies, links followed, below a folder called ``shared``.
    """
    for file in files:
        if NEVER_SHOWN in file.resolve().parts:
            raise OutputError(
                f"{file}: pictures below a folder called {NEVER_SHOWN} are never put into a page;\n"
                "leave --show-mistakes out: the page then names them"
            )


def thumbnails(mistakes: Sequence[Mistake], manifest: Manifest) -> dict[str, bytes]:
    """Small JPEGs by path, drawn anew from the pixels: no metadata of the file goes with them.

    Raises:
        OutputError: as :func:`check_may_show`.
        ImageError: a picture can no longer be read.
    """
    file_of = {row.path: row.file for row in manifest.rows}
    files = {each.path: file_of[each.path] for each in mistakes}
    check_may_show(manifest.path, *files.values())
    return {path: _thumbnail(file) for path, file in files.items()}


def _thumbnail(file: Path) -> bytes:
    image = Image.fromarray(read_picture(file, decode_side=_SIDE).pixels)
    image.thumbnail((_SIDE, _SIDE))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()
