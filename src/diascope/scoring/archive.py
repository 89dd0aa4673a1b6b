"""Archives: members of a tar or zip, read where they lie; nothing is unpacked to a disk.

A listing refuses what a picture archive never holds: a member that points outside, sizes that no
such file can unpack to. Links are not followed.
"""

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from diascope.errors import ImageError, ManifestError, UnreadableReason
from diascope.scoring.places import ScoreInput

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_RATIO = 200
"""An archive that says it unpacks to more than this many times its size, and 100 MB, is refused."""

_SLACK = 100_000_000
_MOST_HEADER = 2**24  # bytes of one header; a longer one is no name
_STORED, _DEFLATED = 0, 8  # APPNOTE 4.4.5; -1: a tar's bytes as they are
_TAR = -1
_LINK, _ENCRYPTED, _RARE = "link", "encrypted", "rare"
_FAULTS = {
    _LINK: "a link or no regular file within the archive; pack the picture itself",
    _ENCRYPTED: "encrypted within the archive; unpack it first",
    _RARE: "packed by a rare method; pack it again as zip (deflate) or tar",
}
_OPENERS: dict[str, Callable[[str], Any]] = {
    ".tar": partial(open, mode="rb"),
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


@dataclass(frozen=True, slots=True)
class Member:
    """Bytes of an archive: where they begin, how many, how packed; may be read in any order."""

    archive: str
    name: str
    offset: int
    stored: int
    size: int
    method: int = _TAR
    crc: int = 0
    fault: str = ""

    def fetch(self, max_bytes: int) -> bytes:
        """The bytes of the file.

        Raises:
            ImageError: it cannot be read, with the reason.
        """
        if self.fault:
            _refuse(UnreadableReason.UNSUPPORTED, self.name, _FAULTS[self.fault])
        if self.size > max_bytes:
            _refuse_size(self.name, max_bytes)
        with Path(self.archive).open("rb") as file:
            file.seek(self.offset)
            if self.method != _TAR:
                head = file.read(30)
                if len(head) < 30 or head[:4] != b"PK\3\4":
                    _refuse_damaged(self.name)
                file.seek(sum(struct.unpack("<HH", head[26:30])), 1)
            raw = file.read(min(self.stored, max_bytes + 2**16))
        data = self._unpacked(raw) if self.method == _DEFLATED else raw
        if len(data) != self.size or (self.method != _TAR and zlib.crc32(data) != self.crc):
            _refuse_damaged(self.name)
        return data

    def _unpacked(self, raw: bytes) -> bytes:
        try:
            # One byte more than it says, so that a false size shows.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, self.size + 1)
        except zlib.error:
            _refuse_damaged(self.name)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A member of a compressed tar, which can only be read in order: see :func:`held`."""

    archive: str
    name: str
    index: int

    def fetch(self, max_bytes: int) -> bytes:
        """Read the archive up to here; slow.

        Raises:
            ImageError: it cannot be read, with the reason.
        """
        (item,) = held([ScoreInput(self.name, self.name, self)], max_bytes)
        assert isinstance(item.file, Held)
        return item.file.fetch(max_bytes)


@dataclass(frozen=True, slots=True, repr=False)
class Held:
    """Bytes of a file that were read already, or why they could not be."""

    name: str
    content: bytes | ImageError

    def fetch(self, max_bytes: int) -> bytes:
        """The bytes of the file.

        Raises:
            ImageError: it could not be read.
        """
        if isinstance(self.content, ImageError):
            raise ImageError(self.content.reason, self.name, self.content.detail)
        return self.content


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def archive_inputs(file: str, wanted: Callable[[str], bool]) -> Iterator[ScoreInput]:
    """Pictures of an archive, in its order; ``wanted`` tells them by their names.

    Raises:
        ManifestError: it is missing, damaged, has a member that points outside, or unpacks to
            more than it may.
    """
    with _listing(file):
        members = _zip_members(file) if file.lower().endswith(".zip") else _tar_members(file)
        for name, place in members:
            if wanted(name):
                yield ScoreInput(name, name, place)


def held(inputs: Iterable[ScoreInput], max_bytes: int) -> Iterator[ScoreInput]:
    """Inputs as they are, those of compressed tars with their bytes; one pass over each archive.

    A member that does not stand behind the one before it costs another pass.
    """
    current, last, content = "", -1, iter(tuple[tuple[int, Held], ...]())
    for item in inputs:
        place = item.file
        if isinstance(place, Streamed):
            if place.archive != current or place.index <= last:
                current, content = place.archive, _contents(place.archive, max_bytes)
            last = place.index
            item = replace(item, file=_until(content, place))
        yield item


def _until(content: Iterator[tuple[int, Held]], place: Streamed) -> Held:
    try:
        for index, found in content:
            if index == place.index:
                return found
    except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError):
        pass
    return Held(place.name, _error(UnreadableReason.TRUNCATED, place.name, _DAMAGED))


def _contents(file: str, max_bytes: int) -> Iterator[tuple[int, Held]]:
    with _tar(file, max_bytes) as tar:
        for index, entry in enumerate(_entries(tar)):
            name = entry.name
            if not _is_plain(entry):
                yield index, Held(name, _error(UnreadableReason.UNSUPPORTED, name, _FAULTS[_LINK]))
            elif entry.size > max_bytes:
                yield index, Held(name, _error(UnreadableReason.TOO_LARGE, name, _large(max_bytes)))
            else:
                stream = tar.extractfile(entry)
                data = stream.read() if stream else b""
                yield index, Held(name, data)


def _zip_members(file: str) -> Iterator[tuple[str, Member]]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_bound(file, sum(entry.file_size for entry in entries))
        for entry in entries:
            name = entry.filename
            _check_inside(file, name)
            if entry.is_dir():
                continue
            yield (
                name,
                Member(
                    file,
                    name,
                    entry.header_offset,
                    entry.compress_size,
                    entry.file_size,
                    entry.compress_type,
                    entry.CRC,
                    _zip_fault(entry),
                ),
            )


def _zip_fault(entry: zipfile.ZipInfo) -> str:
    if entry.external_attr >> 28 == 0o12:  # the Unix mode of a symbolic link
        return _LINK
    if entry.flag_bits & 1:
        return _ENCRYPTED
    return "" if entry.compress_type in (_STORED, _DEFLATED) else _RARE


def _tar_members(file: str) -> Iterator[tuple[str, Member | Streamed]]:
    plain, total = file.lower().endswith(".tar"), 0
    with _tar(file) as tar:
        for index, entry in enumerate(_entries(tar)):
            _check_inside(file, entry.name)
            # Before its bytes are skipped: they may not be there, or not end.
            total += entry.size if _is_plain(entry) else 0
            _check_bound(file, total)
            if entry.isdir():
                continue
            if plain:
                fault = "" if _is_plain(entry) else _LINK
                size, start = entry.size, entry.offset_data
                yield entry.name, Member(file, entry.name, start, size, size, fault=fault)
            else:
                yield entry.name, Streamed(file, entry.name, index)


def _is_plain(entry: tarfile.TarInfo) -> bool:
    return entry.isreg() and not entry.issparse()


@contextmanager
def _tar(file: str, max_bytes: int = 0) -> Iterator[tarfile.TarFile]:
    suffix = PurePosixPath(file.lower()).suffix
    with _OPENERS[suffix](file) as stream:
        bounded: Any = _Bounded(stream, max(_MOST_HEADER, max_bytes))
        # Not as a pipe ("r|"): that reads a header of any length piece by piece.
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            yield tar


def _entries(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := tar.next()) is not None:
        yield entry
        tar.members = []  # type: ignore[attr-defined] # it would keep all of them


class _Bounded:
    """A stream that gives no more at once than a picture or a header may have."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise tarfile.ReadError("a header of the archive is longer than any name")
        return self._stream.read(size)


def _check_inside(file: str, name: str) -> None:
    path = name.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":" or ".." in PurePosixPath(path).parts:
        raise ManifestError(
            f"{file}: the member {name!r} points outside the archive; pack it again without"
        )


def _check_bound(file: str, unpacked: int) -> None:
    size = Path(file).stat().st_size
    if unpacked > MOST_RATIO * size + _SLACK:
        raise ManifestError(
            f"{file}: unpacks to more than {MOST_RATIO} times its size, as no pictures do"
        )


_BROKEN = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@contextmanager
def _listing(file: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ManifestError(f"{file}: no such archive; check the path") from None
    except (*_BROKEN, NotImplementedError, ValueError, struct.error) as error:
        raise ManifestError(
            f"{file}: not a whole archive ({error}); copy it again from where it came"
        ) from error


_DAMAGED = "damaged or cut off within the archive; copy the archive again"


def _large(max_bytes: int) -> str:
    return f"the file has more than {max_bytes:,} bytes; save the picture smaller"


def _error(reason: UnreadableReason, name: str, detail: str) -> ImageError:
    return ImageError(reason, name, detail)


def _refuse(reason: UnreadableReason, name: str, detail: str) -> NoReturn:
    raise ImageError(reason, name, detail) from None


def _refuse_size(name: str, max_bytes: int) -> NoReturn:
    _refuse(UnreadableReason.TOO_LARGE, name, _large(max_bytes))


def _refuse_damaged(name: str) -> NoReturn:
    _refuse(UnreadableReason.TRUNCATED, name, _DAMAGED)
