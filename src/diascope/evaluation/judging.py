"""What a predictor says of the rows of a manifest: one judged row for each picture read."""

from collections.abc import Iterator, Mapping, Sequence

from diascope.bundle import DRAWN
from diascope.calibration import ConformalGate, conformal_set
from diascope.config import DataConfig
from diascope.dataset import RENDERED_SOURCE, Manifest, ManifestRow, joined_rows
from diascope.errors import ImageError
from diascope.evaluation.tone import label_of
from diascope.figures import JudgedRow, UnreadableRow
from diascope.inference import Prediction, Predictor
from diascope.labels import MarkType
from diascope.progress import Track

_CHUNK = 64  # pictures held at once


def judge(
    predictor: Predictor, rows: Sequence[ManifestRow], track: Track
) -> tuple[list[JudgedRow], list[UnreadableRow]]:
    """What a predictor says of each row, and the pictures it could not read; in order.

    Raises:
        ManifestError: a label of skin tone that is none.
    """
    tones = [label_of(row) for row in rows]
    judged, unreadable = [], []
    answers = track(_predictions(predictor, rows), "judging pictures", len(rows))
    for (row, prediction), tone in zip(answers, tones, strict=True):
        if isinstance(prediction, ImageError):
            unreadable.append(unreadable_row(row, prediction))
        else:
            description = predictor.bundle.description
            gate = description.conformal
            judged.append(judged_row(row, tone, prediction, description.temperature, gate))
    return judged, unreadable


def _predictions(
    predictor: Predictor, rows: Sequence[ManifestRow]
) -> Iterator[tuple[ManifestRow, Prediction | ImageError]]:
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        predictions = predictor.predict_batch(
            [row.file for row in chunk], boxes=[row.box for row in chunk], on_error="return"
        )
        yield from zip(chunk, predictions, strict=True)


def judged_row(
    row: ManifestRow,
    tone: str,
    prediction: Prediction,
    temperature: float,
    gate: ConformalGate | None = None,
) -> JudgedRow:
    """A row with what was said of its picture; the verdict is the pixels' alone."""
    possible = None if gate is None else conformal_set(prediction.class_probabilities, gate)
    return JudgedRow(
        id=row.id,
        path=row.path,
        mark_type=row.mark_type,
        condition=row.condition,
        source=row.source,
        group_id=row.group_id,
        tone=tone,
        ita_degrees=prediction.ita_degrees,
        verdict=prediction.image_verdict,
        p_erythematous=prediction.probabilities[MarkType.ERYTHEMATOUS],
        p_hyperpigmented=prediction.probabilities[MarkType.HYPERPIGMENTED],
        p_neither=prediction.probabilities[MarkType.NEITHER],
        separation=prediction.separation,
        temperature=temperature,
        conformal_set=None if possible is None else " ".join(sorted(possible)),
    )


def unreadable_row(row: ManifestRow, error: ImageError) -> UnreadableRow:
    """A row whose picture raised an error."""
    return UnreadableRow(id=row.id, path=row.path, reason=error.reason, detail=error.detail)


def with_joined_groups(
    judged: Sequence[JudgedRow],
    rows: Sequence[ManifestRow],
    known: Mapping[str, str],
    *,
    copies: bool,
    track: Track,
) -> list[JudgedRow]:
    """Judged rows in groups that also hold the persons known and, if asked, the copies found."""
    # The search is dear, and drawn pictures have no copies.
    read = {row.path for row in judged if row.source != RENDERED_SOURCE}
    wanted = [row for row in rows if row.path in read]
    joined = joined_rows(wanted, DataConfig(join_copies=copies), known=known, track=track)
    group_of = {row.path: row.group_id for row in joined}
    return [
        row.model_copy(update={"group_id": group_of.get(row.path, row.group_id)}) for row in judged
    ]


def data_name(manifest: Manifest) -> str:
    """Folder, file and first digits of the digest of a manifest; nothing of the machine.

    Where every picture is drawn, that stands first: such figures hold of no photograph.
    """
    drawn = all(row.source == RENDERED_SOURCE for row in manifest.rows)
    name = f"{'/'.join(manifest.path.resolve().parts[-2:])} {manifest.digest[:8]}"
    return f"{DRAWN} pictures, {name}" if drawn else name
