"""Verdicts and ranking when the same picture comes in other light, size or file."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from diascope.dataset import ManifestRow
from diascope.errors import ImageError
from diascope.evaluation.measuring import COLOURED, auroc_of, measure, measure_share, separation_of
from diascope.figures import ChangeFigures, JudgedRow, Part
from diascope.image import read_picture
from diascope.inference import Predictor
from diascope.labels import Verdict
from diascope.perturbation import Change, perturb
from diascope.preprocess import decode_side
from diascope.progress import Track
from diascope.renderer import in_processes


class Answer(Part):
    """What was said of one picture after a change."""

    verdict: Verdict
    separation: float


class ChangedRow(JudgedRow):
    """A picture judged as read and after each change that left it readable."""

    after: dict[Change, Answer]


def measure_sturdiness(
    predictor: Predictor,
    rows: Sequence[ManifestRow],
    judged: Sequence[JudgedRow],
    *,
    workers: int,
    track: Track,
) -> tuple[ChangeFigures, ...]:
    """Figures of every change, on the red and brown rows that were read.

    Each change is applied to the picture as read for the network (a JPEG may be decoded smaller)
    and judged through ``predict_batch``.
    """
    row_of = {row.path: row for row in rows}
    coloured = [row for row in judged if row.mark_type in COLOURED]
    work = partial(_answers, predictor=predictor)
    answers = in_processes(work, [row_of[each.path] for each in coloured], workers)
    changed = [
        ChangedRow(**row.model_dump(), after=after)
        for row, after in zip(
            coloured, track(answers, "judging changed pictures", len(coloured)), strict=True
        )
    ]
    return tuple(change_figures(change, changed) for change in Change) if changed else ()


def _answers(row: ManifestRow, *, predictor: Predictor) -> dict[Change, Answer]:
    """Of a picture after every change that can be read."""
    size = predictor.bundle.description.preprocessing.size
    picture = read_picture(row.file, decode_side=None if row.box else decode_side(size))
    changed = [perturb(picture.pixels, row.box, change) for change in Change]
    given = predictor.predict_batch(
        [each.source for each in changed], boxes=[each.box for each in changed], on_error="return"
    )
    return {
        change: Answer(verdict=answer.image_verdict, separation=answer.separation)
        for change, answer in zip(Change, given, strict=True)
        if not isinstance(answer, ImageError)
    }


def change_figures(change: Change, rows: Sequence[ChangedRow]) -> ChangeFigures:
    """Flips, lost verdicts and AUROC of one change, each with its interval."""
    read = [row for row in rows if change in row.after]
    decided = [row for row in read if not row.verdict.declines]
    after = [row.after[change].verdict for row in decided]
    lost = [verdict.declines for verdict in after]
    flipped = [
        not verdict.declines and verdict is not row.verdict
        for row, verdict in zip(decided, after, strict=True)
    ]
    before = auroc_of(read, separation_of)
    then = auroc_of(read, lambda row: row.after[change].separation)
    return ChangeFigures(
        change=change.value,
        words=change.words,
        unreadable=len(rows) - len(read),
        flips=measure_share(decided, flipped),
        lost=measure_share(decided, lost),
        auroc=measure(read, then, least_classes=2),
        loss=measure(
            read, lambda counts: np.asarray(before(counts) - then(counts)), least_classes=2
        ),
    )
