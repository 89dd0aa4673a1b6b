"""The glass test as evidence: what a photograph says and whether the colour fades under glass.

A pure function over two answers; its table stands in docs/guidance.md.
"""

from dataclasses import dataclass
from enum import StrEnum

from diascope.errors import GuidanceError
from diascope.labels import Verdict


class GlassNote(StrEnum):
    """How a glass-test answer stood to the photograph; claims may be shown for some only."""

    NOT_DONE = "not_done"
    AGREES = "agrees"
    DECIDES = "decides"
    RED_STAYS = "red_stays"
    BROWN_FADES = "brown_fades"
    NOT_USED = "not_used"

    @property
    def contradicts(self) -> bool:
        """True where photograph and glass test point different ways."""
        return self in (GlassNote.RED_STAYS, GlassNote.BROWN_FADES)


@dataclass(frozen=True, slots=True)
class GlassTest:
    """The verdict after the glass test, how the answer stood, and that in a sentence."""

    verdict: Verdict
    note: GlassNote
    words: str


_RED, _BROWN, _UNCLEAR = Verdict.ERYTHEMATOUS, Verdict.HYPERPIGMENTED, Verdict.UNCLEAR
_NO_MARK = "diascope sees no red or brown mark; that rules nothing out."
_NO_MARK_STILL = f"{_NO_MARK} A glass test does not change that."
_NOT_JUDGED = "The photograph could not be judged; a glass test does not change that."

_TABLE: dict[tuple[Verdict, bool | None], GlassTest] = {
    (_RED, None): GlassTest(
        _RED, GlassNote.NOT_DONE, "In the photograph the mark looks red; no glass test was given."
    ),
    (_RED, True): GlassTest(
        _RED,
        GlassNote.AGREES,
        "The mark looks red and fades under glass: photograph and glass test agree.",
    ),
    (_RED, False): GlassTest(
        _UNCLEAR,
        GlassNote.RED_STAYS,
        "The mark looks red but does not fade under glass: the two contradict each other. "
        "Ask a professional.",
    ),
    (_BROWN, None): GlassTest(
        _BROWN,
        GlassNote.NOT_DONE,
        "In the photograph the mark looks brown; no glass test was given.",
    ),
    (_BROWN, True): GlassTest(
        _UNCLEAR,
        GlassNote.BROWN_FADES,
        "The mark looks brown but fades under glass: the two contradict each other. "
        "Ask a professional.",
    ),
    (_BROWN, False): GlassTest(
        _BROWN,
        GlassNote.AGREES,
        "The mark looks brown and does not fade under glass: photograph and glass test agree.",
    ),
    (_UNCLEAR, None): GlassTest(
        _UNCLEAR,
        GlassNote.NOT_DONE,
        "The photograph does not tell red from brown; no glass test was given.",
    ),
    (_UNCLEAR, True): GlassTest(
        _RED,
        GlassNote.DECIDES,
        "The photograph does not tell red from brown; the mark fades under glass, "
        "and that answer alone decides for red.",
    ),
    (_UNCLEAR, False): GlassTest(
        _BROWN,
        GlassNote.DECIDES,
        "The photograph does not tell red from brown; the mark does not fade under glass, "
        "and that answer alone decides for brown.",
    ),
    (Verdict.NEITHER, None): GlassTest(Verdict.NEITHER, GlassNote.NOT_DONE, _NO_MARK),
    (Verdict.NEITHER, True): GlassTest(Verdict.NEITHER, GlassNote.NOT_USED, _NO_MARK_STILL),
    (Verdict.NEITHER, False): GlassTest(Verdict.NEITHER, GlassNote.NOT_USED, _NO_MARK_STILL),
    (Verdict.NOT_ASSESSABLE, None): GlassTest(
        Verdict.NOT_ASSESSABLE, GlassNote.NOT_DONE, "The photograph could not be judged."
    ),
    (Verdict.NOT_ASSESSABLE, True): GlassTest(
        Verdict.NOT_ASSESSABLE, GlassNote.NOT_USED, _NOT_JUDGED
    ),
    (Verdict.NOT_ASSESSABLE, False): GlassTest(
        Verdict.NOT_ASSESSABLE, GlassNote.NOT_USED, _NOT_JUDGED
    ),
}


def combine(image_verdict: Verdict, blanches: bool | None) -> GlassTest:
    """Verdict of the photograph and the answer of a glass test, taken together.

    ``blanches``: True if the colour fades under a pressed glass, False if not, None if not tried.

    Raises:
        GuidanceError: ``blanches`` is none of the three.
    """
    if blanches is not None and not isinstance(blanches, bool):
        raise GuidanceError(
            f"blanches = {blanches!r} is no answer of a glass test; give True, False or None"
        )
    return _TABLE[Verdict(image_verdict), blanches]
