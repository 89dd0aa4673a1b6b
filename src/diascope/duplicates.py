"""Copies of one photograph in a set of pictures, and the groups they form.

A copy may be mirrored, turned, cropped, resized, compressed again, watermarked, brighter or
darker. Landmarks (SIFT; Lowe, Int J Comput Vis 2004;60:91) that two pictures share propose a pair;
aligning the two and comparing them block by block decides, so that a watermark, a censor bar or a
studio background in common joins nothing. Landmarks are compared only with those near the same
pivot, so that work grows about in step with the number of pictures: see ``benchmarks/``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diascope.progress import Track, silent

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

_SIDE = 256
"""Longest side in pixels at which pictures are compared."""
_FEATURES = 300
_LANDMARKS = 64
"""Features of a picture that propose pairs, spread over ``_GRID`` x ``_GRID`` cells."""
_GRID = 5
_CONTRAST = 0.004
"""SIFT's contrast threshold, a tenth of the usual one: skin is smooth."""
_FINE, _COARSE = 1.2, 8.0
"""Widths in pixels of the Gaussians whose difference is a picture's texture."""

_LANDMARK_COSINE = 0.93
_NEAREST = 4
_SHARED_NEAREST = 2
_SHARED_ANY = 12
"""Landmarks that propose a pair: two, each among the other's nearest; or any, more than a
watermark has."""
_PER_PIVOT = 1024
"""Landmarks for each of which one is drawn as a pivot; fewer are all compared with all."""
_LISTED, _PROBED = 4, 2
"""A landmark is listed under its nearest pivots and compared with the lists of nearer ones."""
_MOST_MATCHES = 48
"""Matches of a landmark kept per list, the closest: a watermark may be in every picture."""
_CELLS_AT_ONCE = 4_000_000

_FEATURE_COSINE = 0.85
_LEAST_FEATURES = 4
_ALIGNMENT_ERROR = 3.0
"""Pixels a feature may lie off the alignment of its pair."""
_LARGEST_SCALE = 5.0
_LARGEST_STRETCH = 1.6
"""Ratio of the two scales of an alignment: pictures squeezed to a square are known."""

_BLOCK = 24
_BLOCK_INSIDE = 0.6
_BLOCK_VARIANCE = 1.0
"""Variance of the texture in grey levels below which a block says nothing."""
_BLOCK_CORRELATION = 0.5
_LEAST_BLOCKS = 6
_LEAST_SPREAD = 16.0
"""Pixels that agreeing blocks must spread across: a line of text has 12, copies over 24."""
_LEAST_OVERLAP = 0.15
"""Share of the smaller picture that must be seen in the other."""
_LEAST_AGREEMENT = 0.55

# SIFT: 4 x 4 cells (row, column) of 8 directions, turned so that the feature's own direction is 0.
# Mirroring a patch reverses the rows and the sense of the directions.
_MIRROR = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


@dataclass(frozen=True, slots=True)
class CopyPair:
    """Two pictures of one photograph: their indices, ``i < j``, and the evidence.

    ``agreement`` is the share of the textured blocks they have in common whose correlation is
    above 0.5, ``overlap`` the share of picture ``i`` that ``j`` covers, both in [0, 1].
    """

    i: int
    j: int
    agreement: float
    overlap: float
    is_mirrored: bool


@dataclass(frozen=True, slots=True)
class _Signature:
    """What is kept of a picture: grey (h, w) and its features, the most useful first.

    ``descriptors`` are SIFT's own bytes (n, 128).
    """

    grey: Pixels
    points: Floats
    descriptors: Pixels


@dataclass(frozen=True, slots=True)
class _View:
    """A picture to compare: texture (h, w), features' places (n, 2) and unit vectors (n, 128)."""

    texture: Floats
    points: Floats
    vectors: Floats


def find_copies(
    pictures: Iterable[Pixels], *, total: int | None = None, track: Track = silent
) -> list[CopyPair]:
    """Pairs of pictures that show one photograph, whole or in crops that overlap.

    Pictures are sRGB uint8 (H, W, 3), read once, in order, and not kept, so a generator saves
    memory; ``total`` says how many. About 100 kB are kept of each. Two shots from almost the same
    place count as one photograph. The same pictures give the same pairs, sorted by (i, j).

    Raises:
        ValueError: a picture of another shape or dtype.
    """
    signatures = [_sign(picture) for picture in track(pictures, "looking for copies", total)]
    proposed = sorted(_candidates(signatures, track))
    pairs: dict[tuple[int, int], CopyPair] = {}
    for i, j, is_mirrored in track(proposed, "comparing likely copies"):
        pair = _compare(signatures, i, j, is_mirrored)
        if pair is None or ((i, j) in pairs and pairs[i, j].agreement >= pair.agreement):
            continue
        pairs[i, j] = pair
    return [pairs[key] for key in sorted(pairs)]


def join_groups(
    keys: Sequence[str], pairs: Iterable[CopyPair | tuple[int, int]], *groupings: Sequence[str]
) -> list[str]:
    """Group of each row, named by the first key in it: pairs and equal group names join rows.

    Pairs hold indices into ``keys``. Each grouping names a group per row, an empty name being
    none; a name in one grouping has nothing to do with the same name in another.

    Raises:
        ValueError: a grouping whose length is not that of ``keys``.
    """
    parents = list(range(len(keys)))
    for i, j in _links(pairs, groupings, len(keys)):
        first, second = sorted((_root(parents, i), _root(parents, j)))
        parents[second] = first
    return [keys[_root(parents, row)] for row in range(len(keys))]


def _links(
    pairs: Iterable[CopyPair | tuple[int, int]], groupings: Sequence[Sequence[str]], rows: int
) -> Iterator[tuple[int, int]]:
    for pair in pairs:
        yield (pair.i, pair.j) if isinstance(pair, CopyPair) else pair
    for grouping in groupings:
        if len(grouping) != rows:
            raise ValueError(f"a grouping names {len(grouping)} groups for {rows} rows")
        first_row: dict[str, int] = {}
        for row, name in enumerate(grouping):
            if name:
                yield first_row.setdefault(name, row), row


def _root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


def _sign(picture: Pixels) -> _Signature:
    grey = _grey(picture)
    sift = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=_CONTRAST)
    keypoints, raw = sift.detectAndCompute(grey, None)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
    strengths = np.array([keypoint.response for keypoint in keypoints], np.float32)
    descriptors = np.zeros((0, 128), np.uint8) if raw is None else np.asarray(raw, np.uint8)
    order = _spread(points, strengths, grey.shape)
    return _Signature(grey, points[order], descriptors[order])


def _view(signature: _Signature, *, is_mirrored: bool = False) -> _View:
    grey, points, raw = signature.grey, signature.points, signature.descriptors
    if is_mirrored:
        grey, points, raw = grey[:, ::-1], points.copy(), raw[:, _MIRROR]
        points[:, 0] = grey.shape[1] - 1 - points[:, 0]
    levels = grey.astype(np.float32)
    texture = cv2.GaussianBlur(levels, (0, 0), _FINE) - cv2.GaussianBlur(levels, (0, 0), _COARSE)
    return _View(np.asarray(texture, np.float32), points, _root_sift(raw))


def _grey(picture: Pixels) -> Pixels:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is uint8 (H, W, 3), this one {picture.dtype} {picture.shape}")
    scale = _SIDE / max(picture.shape[:2])
    height, width = (max(8, round(side * scale)) for side in picture.shape[:2])
    filtering = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=filtering)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _spread(points: Floats, strengths: Floats, shape: tuple[int, ...]) -> Indices:
    """Order that takes the strongest point of every cell, then every cell's second, and so on."""
    cells = np.minimum(points * _GRID // np.array(shape[1::-1]), _GRID - 1).astype(np.int64)
    cell = cells[:, 1] * _GRID + cells[:, 0]
    by_cell = np.lexsort((-strengths, cell))
    rank = np.empty(len(points), np.int64)
    rank[by_cell] = np.arange(len(points)) - np.searchsorted(cell[by_cell], cell[by_cell])
    return np.lexsort((-strengths, rank))


def _root_sift(descriptors: Pixels) -> Floats:
    """Unit vectors: roots of descriptors that sum to 1 (Arandjelovic, Zisserman, CVPR 2012)."""
    values = descriptors.astype(np.float32)
    return np.asarray(np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1.0)))


def _candidates(signatures: Sequence[_Signature], track: Track) -> Iterator[tuple[int, int, bool]]:
    """Pairs worth comparing, with whether the second is to be mirrored."""
    landmarks = [signature.descriptors[:_LANDMARKS] for signature in signatures]
    owners = np.repeat(np.arange(len(landmarks)), [len(each) for each in landmarks])
    if not len(owners):
        return
    descriptors = np.concatenate(landmarks)
    index = _Index(descriptors, owners)
    for is_mirrored in (False, True):
        queries = descriptors[:, _MIRROR] if is_mirrored else descriptors
        first, second, cosines = index.matches(queries, track)
        proposed = _voted(first, second, owners, _SHARED_ANY)
        is_near = _is_near(first, cosines) & _is_near(second, cosines)
        proposed |= _voted(first[is_near], second[is_near], owners, _SHARED_NEAREST)
        for i, j in proposed:
            yield i, j, is_mirrored


class _Index:
    """Landmarks listed under the pivots nearest to them: an inverted file.

    Sivic and Zisserman, ICCV 2003, with pivots drawn from the landmarks themselves.
    """

    def __init__(self, descriptors: Pixels, owners: Indices) -> None:
        self._descriptors, self._owners = descriptors, owners
        count = max(1, len(descriptors) // _PER_PIVOT)
        drawn = np.random.default_rng(0).choice(len(descriptors), count, replace=False)
        self._pivots = _root_sift(descriptors[np.sort(drawn)])
        self._lists = self._under_pivots(descriptors, _LISTED)

    def matches(self, queries: Pixels, track: Track) -> tuple[Indices, Indices, Floats]:
        """Landmarks alike in different pictures, with their cosine.

        ``queries`` are the same landmarks, or the same mirrored. Of each two, the first is in the
        earlier picture.
        """
        probing = self._under_pivots(queries, _PROBED)
        ends, cosines = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        lists = zip(probing, self._lists, strict=True)
        for rows, columns in track(lists, "comparing landmarks", len(probing)):
            step = max(1, _CELLS_AT_ONCE // max(1, len(columns)))
            for start in range(0, len(rows), step):
                asked, found, alike = self._alike(queries, rows[start : start + step], columns)
                both = np.sort([asked, found], axis=0)
                ends.append(both[0] * len(queries) + both[1])
                cosines.append(alike)
        # A match may be met from both ends, and in several lists.
        distinct, index = np.unique(np.concatenate(ends), return_index=True)
        first, second = np.divmod(distinct, len(queries))
        return first, second, np.concatenate(cosines)[index]

    def _alike(
        self, queries: Pixels, rows: Indices, columns: Indices
    ) -> tuple[Indices, Indices, Floats]:
        cosines = _root_sift(queries[rows]) @ _root_sift(self._descriptors[columns]).T
        cosines[self._owners[rows][:, None] == self._owners[columns]] = 0.0
        row, column = np.nonzero(_closest(cosines))
        return rows[row], columns[column], cosines[row, column]

    def _under_pivots(self, descriptors: Pixels, nearest: int) -> list[Indices]:
        """For each pivot, the rows that have it among their nearest."""
        count = len(self._pivots)
        nearest = min(nearest, count)
        pivots = np.empty((len(descriptors), nearest), np.int64)
        step = max(1, _CELLS_AT_ONCE // count)
        for start in range(0, len(descriptors), step):
            cosines = _root_sift(descriptors[start : start + step]) @ self._pivots.T
            pivots[start : start + step] = np.argpartition(-cosines, nearest - 1)[:, :nearest]
        order = np.argsort(pivots, axis=None, kind="stable")
        ends = np.searchsorted(pivots.ravel()[order], np.arange(1, count))
        return np.split(order // nearest, ends)


def _closest(cosines: Floats) -> Mask:
    """Where a row's landmark is matched: above the threshold, and no more than the most."""
    is_close = np.asarray(cosines > _LANDMARK_COSINE)
    crowded = np.flatnonzero(is_close.sum(axis=1) > _MOST_MATCHES)
    if len(crowded):
        kept = np.argpartition(-cosines[crowded], _MOST_MATCHES)[:, :_MOST_MATCHES]
        is_close[crowded] = False
        is_close[crowded[:, None], kept] = True
    return is_close


def _is_near(landmarks: Indices, cosines: Floats) -> Mask:
    """The matches that are among the nearest of their landmark."""
    order = np.lexsort((-cosines, landmarks))
    rank = np.empty(len(landmarks), np.int64)
    rank[order] = np.arange(len(landmarks)) - np.searchsorted(landmarks[order], landmarks[order])
    return np.asarray(rank < _NEAREST)


def _voted(first: Indices, second: Indices, owners: Indices, least: int) -> set[tuple[int, int]]:
    """Pairs of pictures that share enough landmarks, each counted once on its side."""
    count = int(owners[-1]) + 1
    pair = owners[first] * count + owners[second]
    agreed = []
    for side in (first, second):
        distinct = np.unique(pair * len(owners) + side) // len(owners)
        pairs, votes = np.unique(distinct, return_counts=True)
        agreed.append(pairs[votes >= least])
    both = np.intersect1d(agreed[0], agreed[1]).tolist()
    return {divmod(each, count) for each in both}


def _compare(
    signatures: Sequence[_Signature], i: int, j: int, is_mirrored: bool
) -> CopyPair | None:
    fixed, moving = _view(signatures[i]), _view(signatures[j], is_mirrored=is_mirrored)
    alignment = _align(fixed, moving)
    if alignment is None:
        return None
    height, width = fixed.texture.shape
    warped = cv2.warpAffine(moving.texture, alignment, (width, height))
    inside = cv2.warpAffine(np.ones_like(moving.texture), alignment, (width, height), flags=0)
    inside = cv2.erode(inside, np.ones((5, 5)))
    overlap = float(inside.mean())
    size = float(np.linalg.det(alignment[:, :2])) * moving.texture.size / inside.size
    if overlap < _LEAST_OVERLAP * min(1.0, size):
        return None
    agreement = _agreement(
        fixed.texture, np.asarray(warped, np.float32), np.asarray(inside, np.float32)
    )
    if agreement < _LEAST_AGREEMENT:
        return None
    return CopyPair(i, j, agreement, overlap, is_mirrored)


def _align(fixed: _View, moving: _View) -> Floats | None:
    """Affine map (2, 3) from moving to fixed; None when the features fit no plausible one."""
    if min(len(fixed.points), len(moving.points)) < _LEAST_FEATURES:
        return None
    cosines = fixed.vectors @ moving.vectors.T
    best = cosines.argmax(axis=1)
    is_mutual = cosines.argmax(axis=0)[best] == np.arange(len(best))
    is_kept = is_mutual & (cosines.max(axis=1) > _FEATURE_COSINE)
    if is_kept.sum() < _LEAST_FEATURES:
        return None
    matrix, _ = cv2.estimateAffine2D(
        moving.points[best[is_kept]],
        fixed.points[is_kept],
        ransacReprojThreshold=_ALIGNMENT_ERROR,
        maxIters=1000,
    )
    if matrix is None or not _is_plausible(matrix[:, :2]):
        return None
    return np.asarray(matrix, np.float32)


def _is_plausible(linear: npt.NDArray[np.floating]) -> bool:
    """Whether a map (2, 2) turns, resizes and perhaps squeezes a picture, but does not fold it."""
    largest, smallest = np.linalg.svd(linear, compute_uv=False)
    return bool(
        np.linalg.det(linear) > 0
        and smallest > 1 / _LARGEST_SCALE
        and largest < min(_LARGEST_SCALE, _LARGEST_STRETCH * smallest)
    )


def _agreement(first: Floats, second: Floats, inside: Floats) -> float:
    """Share of the telling blocks where two aligned textures correlate.

    0 where they are few, or those that correlate lie in a band, as text or a bar does.
    """
    weight = np.maximum(_block_means(inside), 0.1)
    means = [_block_means(each * inside) / weight for each in (first, second)]
    variances = [
        _block_means(each**2 * inside) / weight - mean**2
        for each, mean in zip((first, second), means, strict=True)
    ]
    covariance = _block_means(first * second * inside) / weight - means[0] * means[1]
    correlation = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-3))
    is_telling = (weight > _BLOCK_INSIDE) & (np.maximum(*variances) > _BLOCK_VARIANCE)
    agrees = is_telling & (correlation > _BLOCK_CORRELATION)
    if is_telling.sum() < _LEAST_BLOCKS or _narrow_spread(agrees) < _LEAST_SPREAD:
        return 0.0
    return float(agrees.sum() / is_telling.sum())


def _narrow_spread(blocks: Mask) -> float:
    """Standard deviation in pixels of the blocks' places along their narrower axis."""
    places = np.argwhere(blocks) * (_BLOCK / 2)
    if len(places) < 3:
        return 0.0
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(np.cov(places.T))[0])))


def _block_means(values: Floats) -> Floats:
    """Means of blocks that overlap by half; outside the picture counts as 0."""
    sums = cv2.boxFilter(values, -1, (_BLOCK, _BLOCK), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums[_BLOCK // 2 :: _BLOCK // 2, _BLOCK // 2 :: _BLOCK // 2], np.float32)
