"""What to score: a folder, glob, manifest, list, archive or address, picture by picture."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from glob import has_magic, iglob
from pathlib import Path, PurePath

from diascope.errors import ManifestError
from diascope.guidance import Context
from diascope.image import PICTURE_SUFFIXES
from diascope.preprocess import Box
from diascope.scoring import archive, manifest
from diascope.scoring.places import Place, ScoreInput
from diascope.scoring.remote import Address, is_address, redacted

LIST_SUFFIXES = (".txt", ".lst")
STANDARD_INPUT = "-"

Source = str | os.PathLike[str]


def source_inputs(source: Source, *, labelled: bool = False) -> Iterator[ScoreInput]:
    """Pictures of a source, one by one.

    A source is a folder (recursive, sorted by path; a linked folder outside it is followed once),
    a glob, a manifest (.csv, .jsonl, .parquet), a list of paths and addresses (.txt, .lst, or
    ``-`` for standard input), an archive (.zip, .tar, .tar.gz and the like), one picture, or an
    address of any of these but an archive.

    A manifest needs the column ``path`` (relative to it, inside its folder; or an address) and may
    have ``id``, ``left, top, right, bottom``, ``blanches`` (yes, no or empty) and ``contexts``
    (joined by ``;``); ``mark_type`` is read only where ``labelled`` is asked for. Whether the
    pictures exist is found out when they are scored.

    Raises:
        ManifestError: nothing there, no column ``path``, a column twice, a row of another length
            than the header, values that are none, or an archive that is refused.
        MissingExtraError: an address whose package is not installed.
    """
    name = os.fspath(source)
    if is_address(name):
        return _remote_inputs(name, labelled)
    if name == STANDARD_INPUT:
        return _listed(sys.stdin.buffer)
    if Path(name).is_dir():
        return _folder_inputs(name)
    return _file_inputs(name, labelled)


def _file_inputs(name: str, labelled: bool) -> Iterator[ScoreInput]:
    lower = name.lower()
    if lower.endswith(manifest.SUFFIXES):
        return manifest.manifest_inputs(name, labelled=labelled)
    if archive.is_archive(name):
        return archive.archive_inputs(name, is_picture_name)
    if lower.endswith(LIST_SUFFIXES):
        return _list_file(name)
    if has_magic(name) and not Path(name).exists():
        return _glob_inputs(name)
    if is_picture_name(name):
        return iter([named_input(name)])
    raise ManifestError(
        f"{name}: no such folder or manifest; check the path\n"
        f"(a folder, a glob, {', '.join((*manifest.SUFFIXES, *LIST_SUFFIXES, *archive.SUFFIXES))}, "
        "an address, or - for a list on standard input)"
    )


def read_inputs(source: Source, *, labelled: bool = False) -> tuple[ScoreInput, ...]:
    """Everything that :func:`source_inputs` gives, at once.

    Raises:
        ManifestError: as there, or no pictures.
    """
    inputs = tuple(source_inputs(source, labelled=labelled))
    if not inputs:
        raise no_pictures(source)
    return inputs


def no_pictures(source: Source) -> ManifestError:
    """What to say of a source that holds none."""
    return ManifestError(
        f"{redacted(os.fspath(source))}: holds no pictures; give a folder of them or a CSV manifest"
    )


def listed_inputs(
    names: Iterable[str],
    *,
    box: Box | None = None,
    blanches: bool | None = None,
    contexts: Sequence[Context] = (),
    expand: bool = False,
) -> tuple[ScoreInput, ...]:
    """Pictures named one by one, with what is known of all of them.

    With ``expand``, a folder or a CSV manifest stands for the pictures it holds, which keep what
    the manifest says of them.

    Raises:
        ManifestError: with ``expand``, as :func:`read_inputs`.
    """
    inputs: list[ScoreInput] = []
    for name in names:
        if expand and (name.lower().endswith(".csv") or Path(name).is_dir()):
            inputs += read_inputs(name, labelled=True)
        else:
            inputs.append(ScoreInput(name, name, Path(name), box, blanches, tuple(contexts)))
    return tuple(inputs)


def is_picture_name(name: str) -> bool:
    """Whether a file's name ends as a picture's does."""
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def named_input(name: str) -> ScoreInput:
    """One picture by its path or address."""
    place: Place = Address(name) if is_address(name) else Path(name)
    return ScoreInput(redacted(name), redacted(name), place)


def _list_file(name: str) -> Iterator[ScoreInput]:
    try:
        with Path(name).open("rb") as lines:
            yield from _listed(lines)
    except FileNotFoundError:
        raise ManifestError(f"{name}: no such list; check the path") from None
    except OSError as error:
        raise ManifestError(f"{name}: cannot be read: {error.strerror}") from error


def _listed(lines: Iterable[bytes]) -> Iterator[ScoreInput]:
    for number, line in enumerate(lines):
        # What some editors put before the first line is no part of a name.
        text = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        name = os.fsdecode(text.rstrip(b"\r\n"))
        if not name.strip():
            continue
        yield named_input(name)


def _glob_inputs(pattern: str) -> Iterator[ScoreInput]:
    # Unlike Path.glob it takes an absolute pattern.
    for name in sorted(iglob(pattern, recursive=True)):  # noqa: PTH207
        if not Path(name).is_dir():
            yield named_input(name)


def _remote_inputs(url: str, labelled: bool) -> Iterator[ScoreInput]:
    address = Address(url)
    address.check()
    path = url.partition("?")[0].lower()
    if path.endswith(manifest.SUFFIXES):
        return manifest.manifest_inputs(url, labelled=labelled)
    if path.endswith(LIST_SUFFIXES):
        return _listed(address.open())
    if archive.is_archive(path):
        raise ManifestError(f"{redacted(url)}: an archive is read from a disk; copy it here first")
    if is_picture_name(path) and "*" not in path:
        return iter([named_input(url)])
    if address.scheme in ("http", "https"):
        raise ManifestError(
            f"{redacted(url)}: a web server lists no folder; give a list or manifest of addresses"
        )
    return (named_input(name) for name in address.files() if is_picture_name(name))


def _folder_inputs(folder: str) -> Iterator[ScoreInput]:
    for name in _Tree(folder).names(Path(folder)):
        yield ScoreInput(name, name, Path(folder, name))


class _Tree:
    """A folder walked in the order of its paths, one folder's names in memory at a time."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._linked: set[tuple[int, int]] = set()  # folders reached by a link, and those below

    def names(self, folder: Path, prefix: str = "", linked: bool = False) -> Iterator[str]:
        """Paths of the pictures below, relative to the root, with ``/``."""
        if linked and not self._enter(folder):
            return
        for name, is_link in self._entries(folder):
            if not name.endswith("/"):
                yield prefix + name
            elif not is_link or self._leads_out(folder / name):
                yield from self.names(folder / name, prefix + name, linked or is_link)

    def _entries(self, folder: Path) -> list[tuple[str, bool]]:
        """Names of pictures, and of folders with a ``/``, so that they sort as what is in them."""
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        found.append((f"{entry.name}/", entry.is_symlink()))
                    elif is_picture_name(entry.name):
                        found.append((entry.name, False))
        except OSError as error:
            # Passed over without a word, its pictures would be missed.
            raise ManifestError(
                f"{error.filename}: the folder cannot be listed: {error.strerror}"
            ) from None
        return sorted(found)

    def _leads_out(self, link: Path) -> bool:
        # What lies inside has its rows under its own name; what holds the root is a loop.
        target = os.path.realpath(link)
        return os.path.commonpath([target, self._root]) not in (self._root, target)

    def _enter(self, folder: Path) -> bool:
        status = folder.stat()
        known = (status.st_dev, status.st_ino)
        new = known not in self._linked
        self._linked.add(known)
        return new
