"""Copies of one photograph in a set of pictures, and the groups they form.

A copy may be mirrored, turned, cropped, resized, compressed again, watermarked, brighter or
darker. Landmarks (SIFT; Lowe, Int J Comput Vis 2004;60:91) that two pictures share propose a pair;
aligning the two and comparing them block by block decides, so that a watermark, a censor bar or a
studio background in common joins nothing. Work grows with the square of the number of pictures:
700 take about 20 seconds on one core, 3,000 some minutes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diascope.progress import Track, silent

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_SIDE = 256
"""Longest side in pixels at which pictures are compared."""
_FEATURES = 300
_LANDMARKS = 64
"""Features of a picture that propose pairs, spread over a grid of cells."""
_GRID = 5
_CHUNK = 256
_LANDMARK_SIMILARITY = 0.93
"""Least cosine of two RootSIFT descriptors that propose a pair."""
_SHARED_LANDMARKS = 2
_COMMON_PICTURES = 15
_COMMON_SHARE = 0.03
"""A landmark in more pictures than both of these is a watermark or a bar and proposes nothing."""
_FEATURE_SIMILARITY = 0.85
_ALIGNMENT_ERROR = 3.0
"""Pixels a feature may lie off the alignment of its pair."""
_LARGEST_SCALE = 5.0
_LARGEST_STRETCH = 1.6
_BLOCK = 24
_TEXTURE = 1.0
"""Variance of grey levels, after the band-pass, below which a block says nothing."""
_BLOCK_CORRELATION = 0.5
_LEAST_BLOCKS = 6
_LEAST_OVERLAP = 0.15
_LEAST_AGREEMENT = 0.55

# SIFT: 4 x 4 cells (row, column) of 8 directions, turned so that the feature's own direction is 0.
# Mirroring a patch reverses the rows and the sense of the directions.
_MIRROR = (np.arange(128).reshape(4, 4, 8)[::-1][:, :, (-np.arange(8)) % 8]).ravel()


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
    mirrored: bool


@dataclass(frozen=True, slots=True)
class _Signature:
    """What is kept of a picture: texture float32 (h, w), features by falling usefulness."""

    texture: Floats
    points: Floats
    descriptors: Floats

    def mirrored(self) -> "_Signature":
        points = self.points.copy()
        points[:, 0] = self.texture.shape[1] - 1 - points[:, 0]
        texture = np.ascontiguousarray(self.texture[:, ::-1])
        return _Signature(texture, points, self.descriptors[:, _MIRROR])


def find_copies(pictures: Iterable[Pixels], *, track: Track = silent) -> list[CopyPair]:
    """Pairs of pictures that are copies, or crops that overlap, of one photograph.

    Pictures are sRGB uint8 (H, W, 3); they are read once, in order, and not kept, so a generator
    saves memory. The same pictures give the same pairs, sorted by (i, j).
    """
    signatures = [_sign(picture) for picture in track(pictures, "Looking for copies")]
    pairs: dict[tuple[int, int], CopyPair] = {}
    for i, j, is_mirrored in _candidates(signatures):
        pair = _compare(signatures, i, j, is_mirrored)
        if pair and (known := pairs.get((i, j), pair)).agreement <= pair.agreement:
            pairs[i, j] = pair if known is not pair else known
    return [pairs[key] for key in sorted(pairs)]


def join_groups(
    keys: Sequence[str], pairs: Iterable[CopyPair | tuple[int, int]], *groupings: Sequence[str]
) -> list[str]:
    """Group of each row, named by the first key in it: pairs and equal group names join rows.

    Each grouping names a group per row, an empty name being none; names of different groupings
    are never compared. Pairs hold indices into ``keys``.

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
        first_of: dict[str, int] = {}
        for row, name in enumerate(grouping):
            if name:
                yield first_of.setdefault(name, row), row


def _root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


def _sign(picture: Pixels) -> _Signature:
    scale = _SIDE / max(picture.shape[:2])
    size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
    filtering = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=filtering), cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=0.004)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    levels = grey.astype(np.float32)
    texture = cv2.GaussianBlur(levels, (0, 0), 1.2) - cv2.GaussianBlur(levels, (0, 0), 8.0)
    if not keypoints:
        return _Signature(texture, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float32)
    order = _spread(points, np.array([keypoint.response for keypoint in keypoints]), size)
    return _Signature(texture, points[order], _root_sift(descriptors[order]))


def _spread(points: Floats, strengths: npt.NDArray[np.float64], size: tuple[int, int]) -> Indices:
    """Order that takes the strongest point of every cell, then every cell's second, and so on."""
    cells = np.minimum(points * _GRID // np.array(size), _GRID - 1).astype(np.int64)
    cell = cells[:, 1] * _GRID + cells[:, 0]
    by_cell = np.lexsort((-strengths, cell))
    rank = np.empty(len(points), dtype=np.int64)
    rank[by_cell] = np.arange(len(points)) - np.searchsorted(cell[by_cell], cell[by_cell])
    return np.lexsort((-strengths, rank))


def _root_sift(descriptors: Floats) -> Floats:
    """Unit vectors (Arandjelovic and Zisserman, CVPR 2012: three things everyone should know)."""
    totals = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.sqrt(descriptors / totals), dtype=np.float32)


def _candidates(signatures: Sequence[_Signature]) -> Iterator[tuple[int, int, bool]]:
    landmarks = [signature.descriptors[:_LANDMARKS] for signature in signatures]
    if not landmarks:
        return
    owners = np.repeat(np.arange(len(landmarks)), [len(each) for each in landmarks])
    descriptors = np.concatenate(landmarks)
    for is_mirrored in (False, True):
        queries = descriptors[:, _MIRROR] if is_mirrored else descriptors
        first, second = _matches(queries, descriptors, owners)
        first, second = _uncommon(first, second, owners)
        for i, j in _voted(first, second, owners):
            yield i, j, is_mirrored


def _matches(queries: Floats, descriptors: Floats, owners: Indices) -> tuple[Indices, Indices]:
    """Landmarks alike in different pictures, the first of the pair in the earlier picture."""
    first, second = [], []
    for start in range(0, len(queries), _CHUNK):
        rows, columns = np.nonzero(
            queries[start : start + _CHUNK] @ descriptors[start:].T > _LANDMARK_SIMILARITY
        )
        is_forward = owners[rows + start] < owners[columns + start]
        first.append(rows[is_forward] + start)
        second.append(columns[is_forward] + start)
    if not first:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(first), np.concatenate(second)


def _uncommon(first: Indices, second: Indices, owners: Indices) -> tuple[Indices, Indices]:
    count = int(owners.max(initial=0)) + 1
    limit = max(_COMMON_PICTURES, int(_COMMON_SHARE * count))
    met = np.concatenate([first * count + owners[second], second * count + owners[first]])
    pictures = np.bincount(np.unique(met) // count, minlength=len(owners))
    kept = (pictures[first] <= limit) & (pictures[second] <= limit)
    return first[kept], second[kept]


def _voted(first: Indices, second: Indices, owners: Indices) -> list[tuple[int, int]]:
    """Pairs of pictures with enough landmarks, counted once on either side."""
    count = int(owners.max(initial=0)) + 1
    pairs = owners[first] * count + owners[second]
    votes = []
    for side in (first, second):
        distinct = np.unique(np.stack([pairs, side]), axis=1)[0]
        votes.append(dict(zip(*np.unique(distinct, return_counts=True), strict=True)))
    return [
        (int(pair) // count, int(pair) % count)
        for pair in votes[0]
        if min(votes[0][pair], votes[1][pair]) >= _SHARED_LANDMARKS
    ]


def _compare(
    signatures: Sequence[_Signature], i: int, j: int, is_mirrored: bool
) -> CopyPair | None:
    fixed = signatures[i]
    moving = signatures[j].mirrored() if is_mirrored else signatures[j]
    alignment = _align(fixed, moving)
    if alignment is None:
        return None
    height, width = fixed.texture.shape
    warped = cv2.warpAffine(moving.texture, alignment, (width, height))
    whole = np.ones(moving.texture.shape, dtype=np.float32)
    inside = cv2.warpAffine(whole, alignment, (width, height), flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((5, 5)))
    overlap = float(inside.mean())
    agreement = _agreement(fixed.texture, warped, inside)
    smaller = min(1.0, abs(float(np.linalg.det(alignment[:, :2]))) * whole.size / inside.size)
    if agreement < _LEAST_AGREEMENT or overlap < _LEAST_OVERLAP * smaller:
        return None
    return CopyPair(i, j, agreement, overlap, is_mirrored)


def _align(fixed: _Signature, moving: _Signature) -> Floats | None:
    """Affine map (2, 3) from moving to fixed; None when the features fit no plausible one."""
    similarity = fixed.descriptors @ moving.descriptors.T
    if min(similarity.shape) < 4:
        return None
    best = similarity.argmax(axis=1)
    is_mutual = similarity.argmax(axis=0)[best] == np.arange(len(best))
    kept = is_mutual & (similarity.max(axis=1) > _FEATURE_SIMILARITY)
    if kept.sum() < 4:
        return None
    matrix, _ = cv2.estimateAffine2D(
        moving.points[best[kept]],
        fixed.points[kept],
        ransacReprojThreshold=_ALIGNMENT_ERROR,
        maxIters=1000,
    )
    return matrix if matrix is not None and _is_plausible(matrix) else None


def _is_plausible(matrix: Floats) -> bool:
    largest, smallest = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(
        np.linalg.det(matrix[:, :2]) > 0
        and smallest > 1 / _LARGEST_SCALE
        and largest < min(_LARGEST_SCALE, _LARGEST_STRETCH * smallest)
    )


def _agreement(first: Floats, second: Floats, inside: Floats) -> float:
    """Share of the textured blocks where two aligned textures correlate."""

    def mean(values: Floats) -> Floats:
        sums = cv2.boxFilter(values * inside, -1, (_BLOCK, _BLOCK), borderType=cv2.BORDER_CONSTANT)
        return np.asarray(sums[_BLOCK // 2 :: _BLOCK // 2, _BLOCK // 2 :: _BLOCK // 2] / weight)

    weight: Floats = np.ones(1, np.float32)
    weight = np.maximum(mean(np.ones_like(first)), 0.1)
    covariance = mean(first * second) - mean(first) * mean(second)
    variances = [mean(each**2) - mean(each) ** 2 for each in (first, second)]
    correlation = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-3))
    is_telling = (weight > 0.6) & (np.maximum(*variances) > _TEXTURE)
    if is_telling.sum() < _LEAST_BLOCKS:
        return 0.0
    return float((correlation[is_telling] > _BLOCK_CORRELATION).mean())
