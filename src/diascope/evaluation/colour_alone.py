"""The network beside what colour statistics can do on the same rows."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from diascope import metrics
from diascope.dataset import Manifest, ManifestRow
from diascope.evaluation.measuring import COLOURED, auroc_of, measure, separation_of
from diascope.figures import Aurocs, ColourAlone, Curve, JudgedRow
from diascope.image import read_picture
from diascope.metrics import Floats
from diascope.progress import Track

_FOLDS = 5
_POINTS = 300  # of a curve that is kept


def colour_alone(judged: Sequence[JudgedRow], manifest: Manifest, track: Track) -> ColourAlone:
    """AUROC of network and colour statistics with logistic regression, and the paired difference.

    Colour statistics are fitted on the same rows, each group judged by a fit that never saw it: a
    help that the network does not have on pictures new to it.
    """
    coloured = [row for row in judged if row.mark_type in COLOURED]
    is_brown = [row.mark_type is COLOURED[-1] for row in coloured]
    groups = {
        label: {row.group_id for row in coloured if row.mark_type is label} for label in COLOURED
    }
    folds = min(_FOLDS, *(len(inside) for inside in groups.values()))
    if folds < 2:
        return _without("not measured: fewer than two groups of red or of brown")
    try:
        # In the training extra, which the base install may lack.
        from diascope.baseline import cross_fitted_separation  # noqa: PLC0415
    except ImportError:
        return _without("not measured: it needs pip install 'diascope[train]'")
    statistics = _statistics(coloured, manifest.rows, track)
    group_ids = [row.group_id for row in coloured]
    try:
        scores = cross_fitted_separation(statistics, is_brown, group_ids, folds)
    except ValueError:
        return _without("not measured: the groups leave a fold without red or without brown")
    return ColourAlone(
        how=(
            f"fitted on the same rows in {folds} folds of groups, each judged by the fit of the "
            "others"
        ),
        aurocs=_aurocs(coloured, scores),
        network=roc(is_brown, [row.separation for row in coloured]),
        colour=roc(is_brown, scores),
    )


def _without(why: str) -> ColourAlone:
    return ColourAlone(how=why, aurocs=None, network=None, colour=None)


def _statistics(
    judged: Sequence[JudgedRow], rows: Sequence[ManifestRow], track: Track
) -> list[Floats]:
    from diascope.baseline import DECODE_SIDE, colour_statistics  # noqa: PLC0415 as above

    row_of = {row.path: row for row in rows}
    statistics = []
    for each in track(judged, "measuring colour", len(judged)):
        row = row_of[each.path]
        picture = read_picture(row.file, decode_side=None if row.box else DECODE_SIDE)
        statistics.append(colour_statistics(picture, row.box))
    return statistics


def _aurocs(coloured: Sequence[JudgedRow], scores: Floats) -> Aurocs:
    network = auroc_of(coloured, separation_of)
    is_brown = [row.mark_type is COLOURED[-1] for row in coloured]
    colour = partial(metrics.auroc, is_brown, scores)
    return Aurocs(
        network=measure(coloured, network),
        colour=measure(coloured, colour),
        gain=measure(coloured, lambda counts: np.asarray(network(counts) - colour(counts))),
    )


def roc(is_brown: Sequence[bool], scores: Sequence[float] | Floats) -> Curve:
    """The ROC curve, brown being positive."""
    return curve(*metrics.roc_curve(is_brown, scores))


def curve(x: Floats, y: Floats) -> Curve:
    """A curve with no more points than a plot shows."""
    keep = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return Curve(x=tuple(x[keep].tolist()), y=tuple(y[keep].tolist()))
