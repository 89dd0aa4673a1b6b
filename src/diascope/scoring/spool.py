"""A long list of inputs kept small: on the disk, counted and digested; never in memory."""

import hashlib
import json
import os
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any, cast

from diascope.errors import OutputError
from diascope.guidance import Context
from diascope.scoring.archive import Member, Streamed
from diascope.scoring.places import ScoreInput
from diascope.scoring.remote import Address, redacted

_MEMORY = 2**20  # bytes of a list that needs no file

_PLACES = {"member": Member, "streamed": Streamed, "address": Address, "file": Path}
_KINDS = {Member: "member", Streamed: "streamed", Address: "address"}


class SpooledInputs:
    """Inputs read from a source once and for all: what is scored is what was counted.

    The file has no name, so that no address with its secrets stays on the disk.

    Raises:
        OutputError: the temporary folder is full.
        MissingExtraError: an address whose package is not installed.
        TypeError: a picture that is no file, member or address.

    Attributes:
        count: how many there are.
        digest: SHA-256 in hex of every input and what is known of it, in order.
    """

    def __init__(self, inputs: Iterable[ScoreInput]) -> None:
        self._file = SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 lives as long as this
        weakref.finalize(self, self._file.close)
        self.count, self._schemes = 0, set[str]()
        digest = hashlib.sha256()
        for item in inputs:
            line = _encoded(item)
            self._write(line)
            # Signatures change from one listing to the next; the file they open does not.
            digest.update(redacted_line(item, line))
            self.count += 1
            self._note_address(item)
        self.digest = digest.hexdigest()

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise OutputError(
                f"{gettempdir()}: no room for the list of inputs ({error.strerror}); "
                "point TMPDIR to a larger disk"
            ) from error

    def _note_address(self, item: ScoreInput) -> None:
        if isinstance(item.file, Address) and item.file.scheme not in self._schemes:
            item.file.check()
            self._schemes.add(item.file.scheme)

    @property
    def remote(self) -> bool:
        """Whether any of them is an address."""
        return bool(self._schemes)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[ScoreInput]:
        self._file.seek(0)
        return map(_decoded, self._file)

    def after(self, start: int) -> Iterator[ScoreInput]:
        """Inputs from the one of this index on."""
        self._file.seek(0)
        for _ in range(start):
            next(self._file)
        return map(_decoded, self._file)


def redacted_line(item: ScoreInput, line: bytes) -> bytes:
    """The line of an input as it counts for the digest."""
    if not isinstance(item.file, Address):
        return line
    return _line(item, ["address", redacted(item.file.url)])


def _encoded(item: ScoreInput) -> bytes:
    place = item.file
    kind = _KINDS.get(type(place))
    if kind is None:
        # What is no path (bytes, a Pillow image) must not become one: a TypeError.
        return _line(item, ["file", os.fspath(cast("str | os.PathLike[str]", place))])
    return _line(item, [kind, *astuple(place)])  # type: ignore[call-overload]


def _line(item: ScoreInput, place: list[Any]) -> bytes:
    # ASCII, so that a name that is no text survives.
    known = [item.id, item.path, place, item.box, item.blanches, item.contexts]
    return json.dumps(known, separators=(",", ":")).encode() + b"\n"


def _decoded(line: bytes) -> ScoreInput:
    identity, path, (kind, *place), box, blanches, contexts = json.loads(line)
    return ScoreInput(
        identity,
        path,
        _PLACES[kind](*place),
        tuple(box) if box else None,
        blanches,
        tuple(map(Context, contexts)),
    )
