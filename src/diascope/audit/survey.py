"""Every picture of a manifest looked at once: what a page needs of it, and its copies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diascope.baseline import colour_statistics
from diascope.dataset import COPY_SIDE, ManifestRow
from diascope.duplicates import CopyPair, find_copies
from diascope.errors import ImageError
from diascope.image import Picture, read_picture
from diascope.inference import CHUNK, Predictor
from diascope.preprocess import decode_side, prepare
from diascope.progress import Track, silent

Floats = npt.NDArray[np.float64]

THUMBNAIL_SIDE = 160
"""Longest side of a thumbnail in pixels."""
_QUALITY = 75


@dataclass(frozen=True)
class Seen:
    """What is kept of a picture that could be read.

    ``thumbnail`` is a JPEG encoded anew from the upright sRGB pixels: nothing of the file's
    metadata is in it. ``ita_degrees`` is an estimate, as the camera's light is unknown.
    """

    row: ManifestRow
    thumbnail: bytes
    width: int
    height: int
    ita_degrees: float


@dataclass(frozen=True)
class Survey:
    """All rows of a manifest: seen, or not readable and why.

    ``features`` (n, k) has a row per picture seen, the network's pooled features beside colour
    statistics; pairs hold indices into ``seen``.
    """

    seen: tuple[Seen, ...]
    unreadable: tuple[tuple[ManifestRow, ImageError], ...]
    features: Floats
    pairs: tuple[CopyPair, ...]


def survey(
    rows: Sequence[ManifestRow],
    predictor: Predictor,
    *,
    copies: bool = True,
    track: Track = silent,
) -> Survey:
    """Look at every picture once; one that cannot be read, or whose box is off it, is kept apart.

    ``copies`` False looks for none.
    """
    looking = _Looking(predictor)
    if copies:
        pairs = find_copies(looking.at(rows), total=len(rows), track=track)
    else:
        pairs = []
        for _ in track(looking.at(rows), "looking at pictures", len(rows)):
            pass
    return Survey(tuple(looking.seen), tuple(looking.unreadable), looking.features(), tuple(pairs))


class _Looking:
    def __init__(self, predictor: Predictor) -> None:
        self.seen: list[Seen] = []
        self.unreadable: list[tuple[ManifestRow, ImageError]] = []
        self._predictor = predictor
        self._size = predictor.bundle.description.preprocessing.size
        self._waiting: list[npt.NDArray[np.float32]] = []
        self._embedded: list[npt.NDArray[np.floating]] = []
        self._colour: list[Floats] = []

    def at(self, rows: Sequence[ManifestRow]) -> Iterator[npt.NDArray[np.uint8]]:
        """Pixels of every picture that can be read, after noting the rest of it."""
        for row in rows:
            try:
                # As a split and training read it: the same copies are found.
                pixels = read_picture(row.file, decode_side=COPY_SIDE).pixels
                self._look(row)
            except ImageError as error:
                # A new one: the traceback of the caught one would keep the picture in memory.
                kept = ImageError(error.reason, error.name, error.detail)
                self.unreadable.append((row, kept))
                continue
            yield pixels

    def features(self) -> Floats:
        """Embedding and colour statistics of every picture seen, float64 (n, k)."""
        self._embed()
        if not self.seen:
            return np.zeros((0, 0))
        return np.hstack([np.concatenate(self._embedded), np.stack(self._colour)])

    def _look(self, row: ManifestRow) -> None:
        # A box may be a small part of the picture: it needs every pixel there is.
        picture = read_picture(row.file, decode_side=None if row.box else decode_side(self._size))
        prepared = prepare(picture, row.box, self._size)
        colour = colour_statistics(picture, row.box)
        self._waiting.append(prepared.tensor)
        self._colour.append(colour)
        self.seen.append(
            Seen(row, _thumbnail(picture), picture.width, picture.height, prepared.ita_degrees)
        )
        if len(self._waiting) == CHUNK:
            self._embed()

    def _embed(self) -> None:
        if self._waiting:
            self._embedded.append(self._predictor.features(np.stack(self._waiting)))
            self._waiting = []


def _thumbnail(picture: Picture) -> bytes:
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
