"""Every cell of the glass-test table, and the sentence that goes with it."""

import pytest

from diascope.errors import GuidanceError
from diascope.guidance import GlassNote, combine
from diascope.labels import Verdict

RED, BROWN, UNCLEAR = Verdict.ERYTHEMATOUS, Verdict.HYPERPIGMENTED, Verdict.UNCLEAR
NEITHER, NOT_ASSESSABLE = Verdict.NEITHER, Verdict.NOT_ASSESSABLE

CELLS = {
    (RED, None): (RED, GlassNote.NOT_DONE),
    (RED, True): (RED, GlassNote.AGREES),
    (RED, False): (UNCLEAR, GlassNote.RED_STAYS),
    (BROWN, None): (BROWN, GlassNote.NOT_DONE),
    (BROWN, True): (UNCLEAR, GlassNote.BROWN_FADES),
    (BROWN, False): (BROWN, GlassNote.AGREES),
    (UNCLEAR, None): (UNCLEAR, GlassNote.NOT_DONE),
    (UNCLEAR, True): (RED, GlassNote.DECIDES),
    (UNCLEAR, False): (BROWN, GlassNote.DECIDES),
    (NEITHER, None): (NEITHER, GlassNote.NOT_DONE),
    (NEITHER, True): (NEITHER, GlassNote.NOT_USED),
    (NEITHER, False): (NEITHER, GlassNote.NOT_USED),
    (NOT_ASSESSABLE, None): (NOT_ASSESSABLE, GlassNote.NOT_DONE),
    (NOT_ASSESSABLE, True): (NOT_ASSESSABLE, GlassNote.NOT_USED),
    (NOT_ASSESSABLE, False): (NOT_ASSESSABLE, GlassNote.NOT_USED),
}


def test_the_table_is_whole():
    assert len(CELLS) == len(Verdict) * 3


@pytest.mark.parametrize(("cell", "expected"), CELLS.items(), ids=str)
def test_cell(cell, expected):
    test = combine(*cell)
    assert (test.verdict, test.note) == expected


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_words_say_what_the_note_means(cell):
    test = combine(*cell)
    assert ("agree" in test.words) == (test.note is GlassNote.AGREES)
    assert ("contradict" in test.words) == test.note.contradicts
    assert ("Ask a professional" in test.words) == test.note.contradicts
    assert ("that answer alone decides" in test.words) == (test.note is GlassNote.DECIDES)
    assert ("no glass test was given" in test.words) == (
        test.note is GlassNote.NOT_DONE and cell[0] in (RED, BROWN, UNCLEAR)
    )


@pytest.mark.parametrize("answer", [None, True, False])
def test_seeing_no_mark_is_no_all_clear(answer):
    words = combine(NEITHER, answer).words
    assert words.startswith("diascope sees no red or brown mark; that rules nothing out.")


@pytest.mark.parametrize("answer", ["no", "yes", 0, 1])
def test_an_answer_that_is_no_answer_is_refused(answer):
    with pytest.raises(GuidanceError, match="give True, False or None"):
        combine(RED, answer)
