"""Where a picture is: a file, a member of an archive or an address; and what is known of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from diascope.guidance import Context
from diascope.image import PictureSource
from diascope.labels import ManifestLabel
from diascope.preprocess import Box


@runtime_checkable
class Fetched(Protocol):
    """A place whose bytes have to be fetched: no file of its own."""

    def fetch(self, max_bytes: int) -> bytes:
        """The bytes of the file; more than ``max_bytes`` are refused unread.

        Raises:
            ImageError: it cannot be read, with the reason.
        """
        ...


Place = PictureSource | Fetched


def is_distant(place: Place) -> bool:
    """Whether a place has to be fetched from."""
    # The first question is quick, and asked of most.
    return not isinstance(place, Path) and isinstance(place, Fetched)


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """One picture to score and what is known of it.

    Attributes:
        id: the manifest's id, else the path.
        path: as written in the manifest, or relative to the folder; an address without secrets.
        file: where the picture is.
        box: left, top, right, bottom of the mark in pixels of the upright original.
        blanches: answer of the glass test.
        contexts: what is known of the person.
        mark_type: the manifest's label, for tables that compare; never given to the predictor.
    """

    id: str
    path: str
    file: Place
    box: Box | None = None
    blanches: bool | None = None
    contexts: tuple[Context, ...] = ()
    mark_type: ManifestLabel | None = None
