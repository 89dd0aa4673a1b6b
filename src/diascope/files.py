"""Files written whole or not at all, and none with pictures of people where git takes it up."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from diascope.errors import OutputError


def check_free(file: Path, overwrite: bool) -> None:
    """Refuse to replace a file unasked.

    Raises:
        OutputError: it exists and ``overwrite`` is False, or its folder is a file.
    """
    if file.parent.exists() and not file.parent.is_dir():
        raise OutputError(f"{file.parent}: this is a file; give a folder")
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: exists already; use --overwrite or give another folder")


def check_unversioned(page: Path) -> None:
    """Refuse a page with pictures of people that git would take up.

    Raises:
        OutputError: it lies in a git work tree that does not ignore it.
    """
    tree = _work_tree(page.resolve().parent)
    if tree is not None and not _is_ignored(page.resolve(), tree):
        raise OutputError(
            f"{page.parent}: lies in the git work tree {tree.name}, which does not ignore it; the "
            "page holds pictures of people:\ngive a folder outside, or add it to .gitignore first"
        )


def _work_tree(folder: Path) -> Path | None:
    """The git work tree that a folder, there yet or not, lies in."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


def _is_ignored(file: Path, tree: Path) -> bool:
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-C", str(tree), "check-ignore", "--quiet", str(file)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all; its folder is made if missing.

    Raises:
        OutputError: it cannot be written.
    """
    with written_whole(file, "xb") as stream:
        stream.write(content)


@contextmanager
def written_whole(file: Path, mode: str, **how: Any) -> Iterator[IO[Any]]:
    """A stream to a file that gets its name only when all of it is on the disk.

    ``mode`` is "xb" or "x"; ``how`` is handed to ``Path.open``.

    Raises:
        OutputError: it cannot be written.
    """
    # Beside the target, so that the last step is a rename.
    draft = file.with_name(f".{file.name}.{token_hex(6)}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open(mode, **how) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # no draft, or not even its folder
            draft.unlink()


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk, too."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
