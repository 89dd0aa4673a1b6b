"""A set's pictures: found under its root, and looked at before they count."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from diascope.errors import ImageError
from diascope.image import read_picture
from diascope.sources.source import Drop
from diascope.sources.tables import picture_files

_LOOK = 256  # shorter side at which a JPEG is decoded to be looked at: every byte is still read


@dataclass(frozen=True)
class Checked:
    """What was found of one picture; ``sha256`` of its bytes where it can be used."""

    sha256: str = ""
    fault: Drop | None = None
    detail: str = ""


def safe_relative(text: str) -> PurePosixPath | None:
    """Give a path of a table as a path below a root; None where it leads elsewhere."""
    path = PurePosixPath(text)
    odd = not text or "\\" in text or ":" in text or not text.isprintable()
    return None if odd or path.is_absolute() or ".." in path.parts or not path.parts else path


def check_picture(path: Path) -> Checked:
    """Decode a picture and take its SHA-256; tells an HTML page by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if is_html(start):
            return Checked(fault=Drop.HTML_PAGE, detail="an HTML page, saved as a picture")
        read_picture(path, decode_side=_LOOK)
        with path.open("rb") as file:
            return Checked(sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except ImageError as error:
        return Checked(fault=Drop.UNREADABLE, detail=f"{error.reason}: {error.detail}")
    except OSError as error:
        return Checked(fault=Drop.UNREADABLE, detail=str(error.strerror or error))


def is_html(start: bytes) -> bool:
    """Tell a web page by how its bytes begin."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--"))


def finder(root: Path, by_name: bool) -> Callable[[PurePosixPath], Path | None]:
    """A way from a picture's path in the table to its file; None where it is not there.

    With ``by_name`` the file is looked for by its name anywhere under the root, first of all in
    sorted order. Otherwise the root may also be the folder that the path begins with.
    """
    base = root if root.is_dir() else root.parent
    if by_name:
        places: dict[str, Path] = {}
        for name in picture_files(base):
            places.setdefault(PurePosixPath(name).name, base / name)
        return lambda path: places.get(path.name)

    def find(path: PurePosixPath) -> Path | None:
        for folder in (base, base.parent):
            if (folder / path).is_file():
                return folder / path
        return None

    return find
