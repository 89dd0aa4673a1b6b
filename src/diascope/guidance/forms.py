"""Claims as a sheet with numbered sources, and that sheet as text, Markdown or JSON."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diascope.guidance.schema import Claim, Grade, Source, Stance, Topic
from diascope.labels import INTENDED_USE

HEADINGS: dict[Topic, str] = {
    Topic.RED_FLAG: "First: when to see a doctor",
    Topic.RECOGNISE: "How to recognise it",
    Topic.CAUSE: "What it is",
    Topic.SELF_CARE: "What documents say of care at home",
    Topic.PROFESSIONAL_CARE: "What documents say of professional care",
    Topic.AFTERCARE: "After a procedure",
    Topic.TIME_COURSE: "How long it takes",
    Topic.AVOID: "What documents warn of",
    Topic.WHEN_TO_ASK: "When to ask a professional",
}
SOURCES_HEADING = "Sources (numbers after a colon count the document's sentences)"
_WIDTH = 88
_SPAN = re.compile(r"[1-9]\d*(?:-[1-9]\d*)?").fullmatch
_MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]<>#|])")


@dataclass(frozen=True, slots=True)
class Section:
    """Claims of one topic under its heading."""

    topic: Topic
    heading: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A document as it stands in the list of sources, with every place cited in it."""

    number: int
    document: str
    grade: Grade
    citation: str
    locators: tuple[str, ...]

    @property
    def places(self) -> str:
        """Places cited that are no sentence numbers, which stand with each claim; or nothing."""
        named = [place for place in self.locators if place != self.document and not _SPAN(place)]
        return f" Place: {'; '.join(named)}." if named else ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Sections in order and the sources they cite, numbered from 1 as they first appear."""

    sections: tuple[Section, ...]
    references: tuple[Reference, ...]

    def marks(self, claim: Claim) -> str:
        """A claim's sources as [number:sentences], those on the other side as "against"."""
        sides = []
        for stance, word in ((Stance.SUPPORTS, ""), (Stance.DISPUTES, "against ")):
            cited = [source for source in claim.sources if source.stance is stance]
            if cited:
                sides.append(word + ", ".join(self._cited(cited)))
        return f"[{'; '.join(sides)}]"

    def _cited(self, sources: Sequence[Source]) -> Iterator[str]:
        for reference in self.references:
            places = [s.locator for s in sources if s.document == reference.document]
            if places:
                spans = "+".join(filter(_SPAN, places))
                yield f"{reference.number}:{spans}" if spans else str(reference.number)


def lay_out(claims: Sequence[Claim]) -> Sheet:
    """Group claims by topic, as they first appear, and number their sources."""
    grouped: dict[Topic, list[Claim]] = {}
    for claim in claims:
        grouped.setdefault(claim.topic, []).append(claim)
    sections = tuple(
        Section(topic, HEADINGS[topic], tuple(members)) for topic, members in grouped.items()
    )
    return Sheet(sections, tuple(_references(sections)))


def as_text(claims: Sequence[Claim]) -> str:
    """Claims with numbered sources as plain text, at most 88 columns, ending in a line break."""
    sheet = lay_out(claims)
    lines: list[str] = []
    for section in sheet.sections:
        lines.append(section.heading)
        for claim in section.claims:
            lines += textwrap.wrap(f"- {claim.text} {sheet.marks(claim)}", _WIDTH, **_hang(2))
        lines.append("")
    lines.append(SOURCES_HEADING)
    for reference in sheet.references:
        entry = f"[{reference.number}] {reference.citation}{reference.places}"
        lines += textwrap.wrap(entry, _WIDTH, **_hang(4))
    lines += ["", *textwrap.wrap(INTENDED_USE, _WIDTH)]
    return "\n".join(lines) + "\n"


def as_markdown(claims: Sequence[Claim]) -> str:
    """Claims with numbered sources as Markdown; signs in the texts are escaped."""
    sheet = lay_out(claims)
    lines: list[str] = []
    for section in sheet.sections:
        lines += [f"## {section.heading}", ""]
        lines += [_escaped(f"{claim.text} {sheet.marks(claim)}", "- ") for claim in section.claims]
        lines.append("")
    lines += [f"## {SOURCES_HEADING}", ""]
    for reference in sheet.references:
        entry = f"{reference.citation}{reference.places}"
        lines.append(_escaped(entry, f"{reference.number}. "))
    lines += ["", f"*{INTENDED_USE}*"]
    return "\n".join(lines) + "\n"


def as_dict(claims: Sequence[Claim]) -> dict[str, Any]:
    """Claims and the documents they cite as plain values for JSON, with the intended use."""
    keys = {"id", "topic", "text", "disagreement"}
    source_keys = {"document", "locator", "stance"}
    return {
        "claims": [
            claim.model_dump(mode="json", include=keys)
            | {
                "sources": [
                    source.model_dump(mode="json", include=source_keys) for source in claim.sources
                ]
            }
            for claim in claims
        ],
        "documents": {
            reference.document: {
                "citation": reference.citation,
                "grade": reference.grade.value,
            }
            for reference in lay_out(claims).references
        },
        "intended_use": INTENDED_USE,
    }


def _references(sections: Sequence[Section]) -> Iterator[Reference]:
    sources = [s for section in sections for claim in section.claims for s in claim.sources]
    places: dict[str, dict[str, None]] = {}
    for source in sources:
        places.setdefault(source.document, {})[source.locator] = None
    first = {source.document: source for source in reversed(sources)}
    for number, (document, locators) in enumerate(places.items(), start=1):
        known = first[document]
        yield Reference(number, document, known.grade, known.citation, tuple(locators))


def _hang(columns: int) -> dict[str, Any]:
    return {"subsequent_indent": " " * columns, "break_on_hyphens": False}


def _escaped(text: str, prefix: str) -> str:
    return prefix + _MARKDOWN_SIGNS.sub(r"\\\1", text)
