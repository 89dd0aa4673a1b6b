"""One row per picture: its fields are the columns of every table, a public contract."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

from diascope.errors import ImageError, UnreadableReason
from diascope.guidance import Claim
from diascope.inference import Prediction
from diascope.labels import ManifestLabel, MarkType, Verdict
from diascope.scoring.places import ScoreInput

SEPARATOR = ";"
"""Between several codes or ids in one cell."""


class Status(StrEnum):
    """What became of a picture."""

    OK = "ok"
    DECLINED = "declined"
    UNREADABLE = "unreadable"

    @classmethod
    def of(cls, verdict: Verdict) -> "Status":
        """``ok`` for a verdict that names a colour, else ``declined``."""
        return cls.DECLINED if verdict.declines else cls.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scored picture; the fields, in this order, are the columns of a table.

    What is not known of a picture that could not be read stays empty. ``reason`` is an
    ``UnreadableReason``, or the codes of why it declined, joined by ``;`` as ``claim_ids`` and
    ``document_ids`` are.
    """

    id: str
    path: str
    status: Status
    reason: str
    verdict: Verdict | None = None
    image_verdict: Verdict | None = None
    p_erythematous: float | None = None
    p_hyperpigmented: float | None = None
    p_neither: float | None = None
    separation: float | None = None
    ita_degrees: float | None = None
    blanches: bool | None
    width: int | None = None
    height: int | None = None
    claim_ids: str = ""
    document_ids: str = ""
    model: str


COLUMNS = tuple(field.name for field in fields(Row))
"""Columns of a table of rows, in order."""

Cell = str | float | int | bool | None

_cells = attrgetter(*COLUMNS)


def plain_cells(row: Row) -> tuple[Cell, ...]:
    """A row's cells in the order of ``COLUMNS``, text as plain Unicode.

    A file name need not be text: what is not is written out as an escape.
    """
    return tuple(
        cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
        for cell in _cells(row)
    )


class Citations:
    """The cells of a prediction's claims, put together once for each set of claims that occurs."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[str, str]] = {}

    def __call__(self, answer: Prediction) -> tuple[str, str]:
        """Claim ids and document ids, each joined."""
        # With one guidance pack, these settle the claims.
        asked = (answer.verdict, answer.contexts, answer.glass_test.note)
        if asked not in self._known:
            self._known[asked] = (
                SEPARATOR.join(claim.id for claim in answer.guidance),
                SEPARATOR.join(document_ids(answer.guidance)),
            )
        return self._known[asked]


def row_of(
    item: ScoreInput, answer: Prediction | ImageError, model: str, citations: Citations
) -> Row:
    """The row of one picture; ``model`` names the bundle, ``citations`` are one predictor's."""
    if isinstance(answer, ImageError):
        return unreadable(item, answer.reason, model)
    claim_ids, document_names = citations(answer)
    return Row(
        id=item.id,
        path=item.path,
        status=Status.of(answer.verdict),
        reason=SEPARATOR.join(answer.reasons),
        verdict=answer.verdict,
        image_verdict=answer.image_verdict,
        p_erythematous=answer.probabilities[MarkType.ERYTHEMATOUS],
        p_hyperpigmented=answer.probabilities[MarkType.HYPERPIGMENTED],
        p_neither=answer.probabilities[MarkType.NEITHER],
        separation=answer.separation,
        ita_degrees=answer.ita_degrees,
        blanches=answer.blanches,
        width=answer.width,
        height=answer.height,
        claim_ids=claim_ids,
        document_ids=document_names,
        model=model,
    )


def unreadable(item: ScoreInput, reason: UnreadableReason, model: str) -> Row:
    """The row of a picture that could not be read: it holds no number."""
    return Row(
        id=item.id,
        path=item.path,
        status=Status.UNREADABLE,
        reason=reason.value,
        blanches=item.blanches,
        model=model,
    )


def record_of(item: ScoreInput, answer: Prediction | ImageError) -> dict[str, Any]:
    """One picture as JSON types: path and status, then the prediction or why there is none."""
    if isinstance(answer, ImageError):
        reason, detail = answer.reason.value, answer.detail
        return {
            "path": item.path,
            "status": Status.UNREADABLE.value,
            "reason": reason,
            "detail": detail,
        }
    return {"path": item.path, "status": Status.of(answer.verdict).value, **answer.to_dict()}


def document_ids(claims: Iterable[Claim]) -> tuple[str, ...]:
    """Documents that stand behind claims, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(name for claim in claims for name in claim.document_ids))


def agrees(label: ManifestLabel, verdict: Verdict) -> bool:
    """Whether a verdict is right for a label: ``mixed`` wants ``unclear``, ``other`` no colour."""
    if label is ManifestLabel.OTHER:
        return verdict.declines
    if label is ManifestLabel.MIXED:
        return verdict is Verdict.UNCLEAR
    return verdict.value == label.value
