"""The words of the shipped claims: plain, short, sourced, and nobody else's."""

import re
import sys
import types
from importlib.metadata import version

import pytest

from diascope.guidance import Topic, load_pack

CLAIMS = load_pack().claims
EVERY_CLAIM = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)

# Names of publishers, marks, substances, devices and illnesses: they cannot be put more plainly.
NAMES = (
    "Academy of Dermatology|AHAs|American|Asian Acne Board|StatPearls|DermNet|MDedge|NHS Lothian|"
    "Cancer Institute NSW|UKTIS|FDA|NHS|PIE|PIH|erythema|melanomas?|melanin|cellulitis|"
    "antibiotics|purpura|inflammation|retinoids?|retinol|adapalene|benzoyl peroxide|hydroquinone|"
    "ochronosis|azelaic acid|hydroxy acids|glycolic acid|oxymetazoline|tranexamic acid|"
    "brimonidine|Nd:YAG|PDL|IPL|RF|LED|cryotherapy|Coratherapy|dermatologists?|SPF|vascular|"
    "regeneration"
)
KNOWN = re.compile(rf"\b(?:{NAMES})\b")


@pytest.fixture(scope="module")
def textstat():
    # textstat 0.7.4 imports pkg_resources, gone from setuptools, for word lists not used here.
    if "pkg_resources" not in sys.modules:
        sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
    import textstat

    assert version("textstat") == "0.7.4"
    return textstat


@EVERY_CLAIM
def test_reading_grade_is_nine_or_lower(claim, textstat):
    plain = KNOWN.sub(lambda name: re.sub(r"[\w:]+", "word", name[0]), claim.text)
    assert textstat.flesch_kincaid_grade(plain) <= 9


@EVERY_CLAIM
def test_says_what_a_document_says_and_promises_nothing(claim):
    banned = (
        r"you should|you have|you must|diagnos|guarantee|cure|sure to|safe\b|proven|best for you|"
        r"\bmg\b|\bml\b|\d+ ?% (?:cream|gel|serum)|times a day|twice|per day|every night|daily"
    )
    assert not re.search(banned, claim.text, re.IGNORECASE)


@EVERY_CLAIM
def test_names_no_brand(claim):
    assert not re.search(r"Sculpted|Loretta|Ciraldo|Rodam", claim.text)


@EVERY_CLAIM
def test_treatment_is_said_by_somebody(claim):
    speakers = r"page|answer|review|consensus|guide|Academy|StatPearls|DermNet|MDedge|study"
    if claim.topic in (Topic.SELF_CARE, Topic.PROFESSIONAL_CARE, Topic.AFTERCARE, Topic.AVOID):
        assert re.search(rf"{speakers}|UKTIS|FDA", claim.text)


def runs(text, length):
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@pytest.mark.shared
@pytest.mark.parametrize(("names", "length"), [("*.txt", 6), ("literature.md", 7)])
def test_no_run_of_words_comes_from_a_document(shared_dir, names, length):
    documents = sorted((shared_dir / "documents").glob(names))
    assert documents
    copied = set().union(*(runs(document.read_text(), length) for document in documents))
    assert not {c.id: shared for c in CLAIMS if (shared := runs(c.text, length) & copied)}
