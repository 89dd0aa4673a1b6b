"""A commented starter pack: an example leaflet, its claims, and the flags no pack may lack."""

import shutil
import tempfile
from importlib import resources
from pathlib import Path

from diascope.errors import OutputError


def new_pack(folder: Path | str) -> Path:
    """Write a starter pack (claims.toml, documents.toml, documents/) and return its folder.

    It loads, verifies against its own documents/ folder, and covers its example leaflet.

    Raises:
        OutputError: ``folder`` exists, or cannot be written; nothing is left half-written.
    """
    folder = Path(folder)
    if folder.exists():
        raise OutputError(f"{folder}: exists already; name a folder that does not")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-pack-") as place:
            written = Path(place) / "pack"
            with resources.as_file(resources.files("diascope.guidance") / "starter") as starter:
                shutil.copytree(starter, written)
            written.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder
