"""Rows of an unfinished run: whole parts and a journal, in a hidden folder beside the output.

The journal's first line is what the rows depend on: model, guidance, settings, inputs. Each part is
on the disk before its line in the journal is; what stands there when a run is killed at any moment
is as good as what an undisturbed run would have written.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from diascope.errors import OutputError
from diascope.files import written_whole
from diascope.scoring.output import Format
from diascope.scoring.rows import Status

_JOURNAL, _LOCK = "journal.jsonl", "lock"
_WORDS = {
    "diascope": "the version of diascope",
    "model": "the model",
    "guidance": "the guidance pack",
    "settings": "a setting (device, runtime or limits)",
    "columns": "the columns",
    "inputs": "the list of inputs",
    "format": "the format",
    "part_rows": "the size of a part",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: one part that is whole."""

    rows: int
    sha256: str
    counts: Mapping[str, int]


class Parts:
    """The parts of one output; held by one run at a time.

    Attributes:
        entries: parts that are there, in order.
    """

    def __init__(self, out: Path, kind: Format, basis: Mapping[str, Any]) -> None:
        self._out, self._kind, self._basis = out, kind, json.loads(json.dumps(basis))
        self._folder = parts_folder(out)
        self._lock: IO[bytes] | None = None
        self.entries: list[Entry] = []

    @classmethod
    def fresh(cls, out: Path, kind: Format, basis: Mapping[str, Any]) -> Self:
        """Begin anew; what an earlier run left is removed.

        Raises:
            OutputError: another run holds it, or it cannot be written.
        """
        parts = cls(out, kind, basis)
        with parts._held():
            parts._clear()
            parts._write_journal()
        return parts

    @classmethod
    def resumed(cls, out: Path, kind: Format, basis: Mapping[str, Any]) -> Self:
        """Go on where an earlier run stopped; where there was none, begin.

        Raises:
            OutputError: the model, the inputs or a setting have changed, another run holds it, or
                it cannot be written.
        """
        parts = cls(out, kind, basis)
        with parts._held():
            parts.entries = parts._found()
            parts._clear(keep=len(parts.entries))
            parts._write_journal()
        return parts

    @classmethod
    def discard(cls, out: Path, kind: Format) -> None:
        """Remove what a run that was killed while it tidied up has left.

        Raises:
            OutputError: another run holds it.
        """
        parts = cls(out, kind, {})
        if parts._folder.is_dir():
            with parts._held():
                parts.remove()

    @property
    def rows(self) -> int:
        """How many rows are in the parts."""
        return sum(entry.rows for entry in self.entries)

    @property
    def counts(self) -> Counter[Status]:
        """The rows by status."""
        total: Counter[Status] = Counter()
        for entry in self.entries:
            total.update({Status(name): count for name, count in entry.counts.items()})
        return total

    def add(self, content: bytes, counts: Mapping[Status, int]) -> None:
        """Put the next part on the disk, then into the journal.

        Raises:
            OutputError: it cannot be written; what was there before stays.
        """
        entry = Entry(
            sum(counts.values()),
            hashlib.sha256(content).hexdigest(),
            {status.value: count for status, count in counts.items()},
        )
        with kept(self._out):
            with written_whole(self._file(len(self.entries)), "xb") as stream:
                stream.write(content)
            with (self._folder / _JOURNAL).open("ab") as journal:
                journal.write(_line(entry))
                journal.flush()
                os.fsync(journal.fileno())
        self.entries.append(entry)

    def files(self) -> Iterator[Path]:
        """The parts, in order."""
        return map(self._file, range(len(self.entries)))

    def remove(self) -> None:
        """Remove the parts, once the output is whole."""
        # The journal first: without it, what is left is no unfinished run.
        (self._folder / _JOURNAL).unlink(missing_ok=True)
        self._clear()
        (self._folder / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's file is in it
            self._folder.rmdir()
        self.release()

    def release(self) -> None:
        """Let another run have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _file(self, index: int) -> Path:
        return self._folder / f"{index:06}{self._kind.suffix}"

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder against other runs from here on, if the block ends well."""
        try:
            self._hold()
            yield
        except BaseException:
            self.release()
            raise

    def _hold(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / _LOCK).open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{self._out}: another run is writing it; wait for it") from None
        except OSError as error:
            raise OutputError(f"{self._out}: cannot be written: {error.strerror}") from error

    def _found(self) -> list[Entry]:
        """Parts that the journal names and that are as they were written."""
        basis, entries = _journal(self._folder)
        if basis is None:
            return []
        changed = [words for name, words in _WORDS.items() if basis.get(name) != self._basis[name]]
        if changed:
            raise OutputError(
                f"{self._out}: cannot be resumed, since {' and '.join(changed)} changed;\n"
                "run as before, or use --overwrite to begin again"
            )
        whole = []
        for index, entry in enumerate(entries):
            if not _is_whole(self._file(index), entry):
                break
            whole.append(entry)
        return whole

    def _clear(self, keep: int = 0) -> None:
        kept = {self._file(index) for index in range(keep)}
        for file in self._folder.iterdir():
            ours = file.suffix in (".csv", ".jsonl", ".parquet", ".partial")
            if ours and file not in kept:
                file.unlink()

    def _write_journal(self) -> None:
        with kept(self._out), written_whole(self._folder / _JOURNAL, "xb") as journal:
            journal.write(json.dumps(self._basis).encode() + b"\n")
            journal.writelines(map(_line, self.entries))


def parts_folder(out: Path) -> Path:
    """Where the parts of an output are."""
    return out.with_name(f".{out.name}.parts")


def unfinished_rows(out: Path) -> int | None:
    """How many rows an unfinished run has left; None: there is none."""
    basis, entries = _journal(parts_folder(out))
    return None if basis is None else sum(entry.rows for entry in entries)


def _journal(folder: Path) -> tuple[dict[str, Any] | None, list[Entry]]:
    """The first line, and those after it as far as they are whole."""
    try:
        first, *lines = (folder / _JOURNAL).read_bytes().split(b"\n")
        basis = json.loads(first)
    except (OSError, ValueError):
        return None, []
    entries = []
    for line in lines:
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):  # cut off, or the end
            break
    return basis, entries


def _line(entry: Entry) -> bytes:
    told = {"rows": entry.rows, "sha256": entry.sha256, "counts": entry.counts}
    return json.dumps(told).encode() + b"\n"


def _is_whole(file: Path, entry: Entry) -> bool:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256
    except OSError:
        return False


@contextmanager
def kept(out: Path) -> Iterator[None]:
    """Say with an error of writing that nothing is lost."""
    try:
        yield
    except (OutputError, OSError) as error:
        why = error.__cause__ if isinstance(error, OutputError) else error
        told = getattr(why, "strerror", None) or str(error)
        raise OutputError(
            f"{out}: cannot be written: {told}\n"
            "the rows so far are kept; mend that, then run the same with --resume"
        ) from error
