"""The terminal: standard output, complaints, and progress on stderr.

Progress is a bar where someone watches and a plain line now and then where nobody does.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diascope.errors import DiascopeError
from diascope.progress import Track

T = TypeVar("T")


def examples(*lines: str) -> str:
    """Commands for the end of ``--help``: a Markdown list, as Typer joins lines of a code block."""
    return "Examples:\n\n" + "\n\n".join(f"- `{line}`" for line in lines)


FIRST_LINE, NEXT_LINES = 5.0, 30.0
"""Seconds until the first plain line, and between those that follow."""


def console() -> Console:
    """Standard output; nothing in a user's file names is taken for markup."""
    return Console(markup=False, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Text with whatever a terminal might act on, or cannot show, written out as an escape."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )


def say(*lines: str) -> None:
    """Print lines on standard output, whole however long."""
    for line in lines:
        _print(console(), line)


def notice(*lines: str) -> None:
    """Print lines on stderr, whole however long."""
    for line in lines:
        _print(Console(stderr=True), line)


def complain(error: DiascopeError) -> None:
    """Print an error's lines on stderr."""
    _print(Console(stderr=True), f"Error: {error}")


def _nothing() -> str:
    return ""


@contextmanager
def tracking(note: Callable[[], str] = _nothing, least: float = 0.0) -> Iterator[Track]:
    """A track for the library's work; what it logs meanwhile is shown above the bars.

    ``note`` gives words that stand behind the count, such as other counts. Of work that took less
    than ``least`` seconds no line is left.
    """
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _NoteColumn(note),
        console=console,
        redirect_stdout=False,  # results go to stdout, also when only stderr is a terminal
        disable=not console.is_terminal,
    )
    with _logged(console), bars:
        yield _Bars(bars, note, least) if console.is_terminal else _Lines(console, note, least)


class _Bars:
    """One bar per piece of work; a finished one becomes a line, so that few stay."""

    def __init__(self, bars: Progress, note: Callable[[], str], least: float) -> None:
        self._bars, self._note, self._least = bars, note, least

    def __call__(
        self, items: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        total = _length(items, total)
        task = self._bars.add_task(description, total=total)
        pace = _Pace(description, total, self._note)
        try:
            for item in items:
                yield item
                pace.count += 1
                self._bars.advance(task)
            if pace.seconds >= self._least:
                _print(self._bars.console, pace.summary())
        finally:
            self._bars.remove_task(task)


class _Lines:
    """A plain line after a while, then now and then, and one at the end."""

    def __init__(self, console: Console, note: Callable[[], str], least: float) -> None:
        self._console, self._note, self._least = console, note, least

    def __call__(
        self, items: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        pace = _Pace(description, _length(items, total), self._note)
        due = FIRST_LINE
        for item in items:
            yield item
            pace.count += 1
            if pace.seconds >= due and not pace.done:
                due = pace.seconds + NEXT_LINES
                _print(self._console, pace.line())
        if pace.seconds >= self._least:
            _print(self._console, pace.summary())


class _Pace:
    """How many have gone by, how fast, and how long the rest will take."""

    def __init__(self, description: str, total: int | None, note: Callable[[], str]) -> None:
        self._description, self._total, self._note = description, total, note
        self._start = monotonic()
        self.count = 0

    @property
    def seconds(self) -> float:
        return monotonic() - self._start

    @property
    def done(self) -> bool:
        return self.count == self._total

    @property
    def rate(self) -> float:
        return self.count / max(self.seconds, 1e-3)

    def line(self) -> str:
        if self._total is None:
            return f"{self._description}: {self.count}, {_speed(self.rate)}{self._noted}"
        left = max(0, self._total - self.count) / max(self.rate, 1e-9)
        of = f"{self.count} of {self._total}"
        speed = _speed(self.rate)
        return f"{self._description}: {of}, {speed}, {_clock(left)} left{self._noted}"

    @property
    def _noted(self) -> str:
        note = self._note()
        return f", {note}" if note else ""

    def summary(self) -> str:
        took = f"{_clock(self.seconds)}, {_speed(self.rate)}"
        return f"{self._description}: {self.count} in {took}"


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _speed(speed), style="progress.data.speed")


class _NoteColumn(ProgressColumn):
    def __init__(self, note: Callable[[], str]) -> None:
        super().__init__()
        self._note = note

    def render(self, task: Task) -> Text:
        return Text(self._note())


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        _print(self._console, record.getMessage())


@contextmanager
def _logged(console: Console) -> Iterator[None]:
    log, handler = logging.getLogger("diascope"), _ToConsole(console)
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # lightning puts a handler of its own on the root
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _length(items: Iterable[object], total: int | None) -> int | None:
    return length_hint(items) or None if total is None else total


def _speed(rate: float) -> str:
    """Items per second, or seconds per item where that says more."""
    return f"{1 / rate:.0f} s each" if 0 < rate < 0.5 else f"{rate:.1f}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _print(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, emoji=False, soft_wrap=True)
