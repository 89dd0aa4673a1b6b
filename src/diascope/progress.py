"""How long work shows itself: the library asks for a track, the command line draws it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items through and shows how many have gone by."""

    def __call__(
        self, items: Iterable[T], description: str, total: int | None = None
    ) -> Iterable[T]:
        """Yield ``items`` unchanged, in order; ``total`` where they have no length."""
        ...


def silent(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Show nothing: the library's default."""
    return items


class Stages(dict[str, float]):
    """Seconds spent, by the name of a stage; those of several threads or processes add up."""

    @contextmanager
    def spending(self, stage: str) -> Iterator[None]:
        """Count the time until the block ends."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add(stage, perf_counter() - start)

    def move(self, one: str, other: str, seconds: float) -> None:
        """Count seconds of one stage for another."""
        self.add(one, -seconds)
        self.add(other, seconds)

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds for a stage."""
        self[stage] = self.get(stage, 0.0) + seconds
