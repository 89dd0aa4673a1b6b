"""Claims as text, Markdown and JSON: the same claims in order, every one with its sources."""

import json
import re
from pathlib import Path

import pytest

from diascope.guidance import (
    Claim,
    Stance,
    Topic,
    as_dict,
    as_markdown,
    as_text,
    combine,
    lay_out,
    load_pack,
)
from diascope.labels import INTENDED_USE, Verdict

PACK = load_pack()


def claim(identity, sources, text="A red mark.", topic="avoid"):
    return Claim(
        id=identity,
        topic=topic,
        verdicts=["erythematous"],
        text=text,
        sources=[
            {
                "document": document,
                "locator": locator,
                "stance": stance,
                "citation": f"Title of {document}.",
                "grade": "B",
            }
            for document, locator, stance in sources
        ],
    )


def test_sources_are_numbered_as_they_first_appear_with_their_sentences():
    first = claim("a", [("one", "3-4", "supports"), ("two", "two", "disputes")])
    second = claim("b", [("two", "two", "supports"), ("one", "9", "supports")])
    third = claim("c", [("one", "1", "disputes"), ("one", "2-3", "disputes")])
    sheet = lay_out([first, second, third])
    assert [reference.document for reference in sheet.references] == ["one", "two"]
    assert sheet.marks(first) == "[1:3-4; against 2]"
    assert sheet.marks(second) == "[1:9, 2]"
    assert sheet.marks(third) == "[against 1:1+2-3]"


def test_a_place_in_words_stands_in_the_list_of_sources():
    text = as_text([claim("a", [("one", "section 2", "supports")])])
    assert "[1] Title of one. Place: section 2." in text


@pytest.mark.parametrize("verdict", Verdict)
def test_text_holds_every_claim_once_in_order_and_the_intended_use(verdict):
    claims = PACK.claims_for(verdict)
    flat = " ".join(as_text(claims).split())
    places = [flat.index(f"- {shown.text} [") for shown in claims]
    assert places == sorted(places)
    assert all(flat.count(shown.text) == 1 for shown in claims)
    assert flat.endswith(INTENDED_USE)
    assert all(len(line) <= 88 for line in as_text(claims).splitlines())


@pytest.mark.parametrize("verdict", Verdict)
def test_every_number_in_a_text_has_its_source(verdict):
    text = as_text(PACK.claims_for(verdict))
    body, _, sources = text.partition("\nSources")
    listed = set(re.findall(r"^\[(\d+)\]", sources, re.MULTILINE))
    marks = re.findall(r"\[([^\]]+)\]", body)
    cited = {
        number for mark in marks for number in re.findall(r"(?:^|[,;\s])(\d+)(?=[:,;]|$)", mark)
    }
    assert cited == listed
    assert len(marks) == body.count("\n- ")


def test_sections_come_in_the_order_of_the_issue():
    sheet = lay_out(PACK.claims_for(Verdict.ERYTHEMATOUS))
    assert [section.topic for section in sheet.sections] == [
        Topic.RED_FLAG,
        Topic.RECOGNISE,
        Topic.CAUSE,
        Topic.SELF_CARE,
        Topic.PROFESSIONAL_CARE,
        Topic.TIME_COURSE,
        Topic.AVOID,
        Topic.WHEN_TO_ASK,
    ]


def test_markdown_signs_of_a_text_do_not_act():
    written = as_markdown([claim("a", [("one", "1", "supports")], "See *[this](x)* <b>_now_</b>.")])
    assert r"- See \*\[this\](x)\* \<b\>\_now\_\</b\>. \[1:1\]" in written
    assert written.endswith(f"*{INTENDED_USE}*\n")


def test_dict_is_json_and_resolves_every_source():
    written = json.loads(json.dumps(as_dict(PACK.claims_for(Verdict.HYPERPIGMENTED))))
    assert written["intended_use"] == INTENDED_USE
    sources = [source for shown in written["claims"] for source in shown["sources"]]
    assert {source["document"] for source in sources} == set(written["documents"])
    assert {source["stance"] for source in sources} == {stance.value for stance in Stance}
    spa = written["documents"]["medical-spa"]
    assert spa["grade"] == "C"
    assert spa["citation"] == PACK.documents["medical-spa"].citation


def test_nothing_to_show_is_no_error():
    assert lay_out([]).sections == ()
    assert as_dict([])["claims"] == []


def test_the_glass_table_of_the_documentation_is_the_function(repo_root: Path):
    page = (repo_root / "docs" / "guidance.md").read_text(encoding="utf-8")
    answers = (None, True, False)
    rows = re.findall(r"^\| `(\w+)` \|((?: `\w+`, `\w+` \|){3})$", page, re.MULTILINE)
    table = {Verdict(name): re.findall(r"`(\w+)`, `(\w+)`", cells) for name, cells in rows}
    assert table == {
        verdict: [
            (combine(verdict, answer).verdict.value, combine(verdict, answer).note.value)
            for answer in answers
        ]
        for verdict in Verdict
    }
