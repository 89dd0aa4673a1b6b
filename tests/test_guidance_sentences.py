"""The sentence splitter: locators hang on its numbers, so its rules are pinned here."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diascope.guidance import split_sentences
from diascope.guidance.schema import parse_span
from diascope.guidance.sentences import span_digest


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there? Three! Four", ("One here.", "Two there?", "Three!", "Four")),
        ("Wrapped over\ntwo lines. Next", ("Wrapped over two lines.", "Next")),
        ("A heading\n\nA body.", ("A heading", "A body.")),
        ("Wraps\n  \nand stops", ("Wraps", "and stops")),
        ("He said “Stop.” Then he left.", ("He said “Stop.”", "Then he left.")),
        ("It works. “Quoted next.”", ("It works.", "“Quoted next.”")),
        ('"Why?" —A reader', ('"Why?"', "—A reader")),
        ("See Dr. Smith. Then rest.", ("See Dr. Smith.", "Then rest.")),
        ("Creams, e.g. Vaseline, help.", ("Creams, e.g. Vaseline, help.",)),
        ("In Miami, Fla. and beyond.", ("In Miami, Fla. and beyond.",)),
        ("It takes 1.5 weeks. 2 at most.", ("It takes 1.5 weeks.", "2 at most.")),
        ("No space.After it", ("No space.After it",)),
        ("\ufeffMarked.\r\n\r\nWindows line.", ("Marked.", "Windows line.")),
        ("", ()),
        (" \n\n \n", ()),
    ],
)
def test_splits(text, sentences):
    assert split_sentences(text) == sentences


WORDS = st.lists(st.sampled_from(["Ab", "cd", "Dr.", "e.g.", "9", "go.", "“Hm?”", "(x!)", "—So"]))


@given(st.lists(WORDS, max_size=5))
def test_loses_no_word_and_ignores_where_lines_break(blocks):
    spaced = "\n\n".join(" ".join(block) for block in blocks)
    wrapped = "\n\n".join("\n".join(block) for block in blocks)
    assert " ".join(split_sentences(spaced)) == " ".join(spaced.split())
    assert split_sentences(spaced) == split_sentences(wrapped)


def test_a_span_is_digested_as_its_sentences_joined_by_a_space():
    sentences = ("One.", "Two.", "Three.")
    assert span_digest(sentences, 2, 3) == hashlib.sha256(b"Two. Three.").hexdigest()
    assert span_digest(sentences, 2, 2) == hashlib.sha256(b"Two.").hexdigest()


def test_spans():
    assert parse_span("7") == (7, 7)
    assert parse_span("7-12") == (7, 12)
    for wrong in ("0", "7-", "-7", "9-7", "07", "7 - 9", "7-9-11", "", "seven", "٧"):
        with pytest.raises(ValueError, match="is no span of sentences"):
            parse_span(wrong)
