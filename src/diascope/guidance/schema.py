"""What a guidance pack may hold: documents, claims and disagreements, checked one by one.

Checks that need more than one entry, such as a claim's document, are in :mod:`.pack`.
"""

import re
from collections.abc import Set
from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from diascope.guidance.glass import GlassNote
from diascope.labels import Verdict

MAX_CLAIM_LENGTH = 220
"""Characters of a claim's text."""


class Topic(StrEnum):
    """What a claim is about, in the order in which claims are shown."""

    RED_FLAG = "red_flag"
    RECOGNISE = "recognise"
    CAUSE = "cause"
    SELF_CARE = "self_care"
    PROFESSIONAL_CARE = "professional_care"
    AFTERCARE = "aftercare"
    TIME_COURSE = "time_course"
    AVOID = "avoid"
    WHEN_TO_ASK = "when_to_ask"


TREATMENT_TOPICS = frozenset({Topic.SELF_CARE, Topic.PROFESSIONAL_CARE, Topic.AFTERCARE})
"""Never shown with a verdict that declines, nor for sore or broken skin."""


class Context(StrEnum):
    """What a person says of themselves; adds claims and takes claims away."""

    PREGNANCY = "pregnancy"
    DARK_SKIN = "dark_skin"
    BROKEN_OR_SORE_SKIN = "broken_or_sore_skin"
    AFTER_PROCEDURE = "after_procedure"
    ACTIVE_ACNE = "active_acne"
    USING_ACTIVES = "using_actives"


class Stance(StrEnum):
    """Whether a source says what the claim says of it, or takes the other side.

    Where the claim shows a disagreement, towards that disagreement's position.
    """

    SUPPORTS = "supports"
    DISPUTES = "disputes"


class Grade(StrEnum):
    """How far to trust a document.

    A: guideline, systematic review or regulator. B: narrative review, society or textbook page.
    C: clinic, brand, magazine or teaching page.
    """

    A = "A"
    B = "B"
    C = "C"


class DocumentKind(StrEnum):
    """What sort of document it is."""

    CLINIC_PAGE = "clinic page"
    MAGAZINE_ANSWER = "magazine answer"
    REVIEW = "review"
    GUIDELINE = "guideline"
    REGULATOR = "regulator"
    STUDY = "study"
    REFERENCE_PAGE = "reference page"
    SOCIETY_PAGE = "society page"
    HEALTH_SERVICE_PAGE = "health service page"
    TEACHING_PAGE = "teaching page"


class SetAsideReason(StrEnum):
    """Why a sentence of a document is used by no claim: the closed list."""

    GREETING = "greeting"
    ADVERTISEMENT = "advertisement"
    REPEATS = "repeats"
    NOT_ABOUT_MARKS = "not_about_marks"

    @property
    def about_marks(self) -> bool:
        """True for a sentence that speaks of marks all the same."""
        return self is SetAsideReason.REPEATS


_SPAN = re.compile(r"([1-9]\d{0,5})(?:-([1-9]\d{0,5}))?")


def parse_span(locator: str) -> tuple[int, int]:
    """First and last sentence number, from 1, of a locator such as ``7`` or ``7-9``.

    Raises:
        ValueError: no such form, or the last comes before the first.
    """
    match = _SPAN.fullmatch(locator)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise ValueError(f"{locator!r} is no span of sentences; write it as 7 or 7-9")
    return first, last


def _printable(text: str) -> str:
    # Keeps terminal escapes and line breaks of a stranger's pack out of every output.
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("must be one line of printable text, with no space around it")
    return text


def _year(value: int | str) -> int | str:
    if value != "undated" and not (isinstance(value, int) and 1800 <= value <= 2200):
        raise ValueError('must be a year such as 2024, or "undated"')
    return value


Line = Annotated[str, AfterValidator(_printable)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# A plain name: a pack must not reach outside the folder it is verified against.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SetAside(_Entry):
    """Sentences that no claim uses, and why; ``of`` names the used sentence they repeat."""

    sentences: str
    reason: SetAsideReason
    of: int | None = Field(None, ge=1, strict=True)

    @model_validator(mode="after")
    def _repeats_names_a_sentence(self) -> "SetAside":
        parse_span(self.sentences)
        if (self.reason is SetAsideReason.REPEATS) != (self.of is not None):
            raise ValueError('"of" goes with the reason "repeats", and only with it')
        return self

    @property
    def span(self) -> range:
        """Numbers of the sentences set aside."""
        first, last = parse_span(self.sentences)
        return range(first, last + 1)


class Document(_Entry):
    """A document that claims cite: never its words, only where they stand.

    A numbered document has ``file``, ``sha256`` (of the file's bytes) and ``sentences`` (their
    count by :mod:`.sentences`); its locators are spans. One with a ``file`` alone is a table
    whose rows begin with an id; its locators are those ids. One without is cited by section.
    """

    id: Identifier
    title: Line
    publisher: Line
    year: Annotated[int | str, AfterValidator(_year)]
    kind: DocumentKind
    grade: Grade
    address: Line | None = None
    file: FileName | None = None
    sha256: Digest | None = None
    sentences: int | None = Field(None, ge=1, strict=True)
    set_aside: tuple[SetAside, ...] = ()

    @model_validator(mode="after")
    def _numbered_wholly_or_not(self) -> "Document":
        if (self.sha256 is None) != (self.sentences is None):
            raise ValueError("sha256 and sentences come together or not at all")
        if self.sentences is not None and self.file is None:
            raise ValueError("a document with numbered sentences needs its file name")
        for aside in self.set_aside:
            if max(aside.span[-1], aside.of or 1) > (self.sentences or 0):
                raise ValueError(f"sets aside sentence {aside.sentences}, past the last one")
        return self

    @property
    def citation(self) -> str:
        """Title, publisher, year, kind, grade and address in one line."""
        title = self.title if self.title.endswith((".", "?", "!")) else f"{self.title}."
        where = f" {self.address}" if self.address else ""
        kind = f"{self.kind.capitalize()}, grade {self.grade}."
        return f"{title} {self.publisher}, {self.year}. {kind}{where}"


class Source(_Entry):
    """Where a document says it: its id, the place in it, its stance; citation and grade.

    ``sha256`` is the digest of the sentences cited, for a numbered document. ``citation`` and
    ``grade`` are the document's own, put in when the pack is loaded.
    """

    document: str
    locator: Line
    stance: Stance
    sha256: Digest | None = None
    citation: str
    grade: Grade


class Claim(_Entry):
    """What a document says, in plain words of our own, and for whom it is shown.

    Shown for ``verdicts`` if any of ``only_with`` applies (or it is empty), none of ``not_with``
    does, and the glass test stood as one of ``glass`` (or it is empty).
    """

    id: Identifier
    topic: Topic
    verdicts: tuple[Verdict, ...] = Field(min_length=1)
    text: Line = Field(max_length=MAX_CLAIM_LENGTH)
    only_with: tuple[Context, ...] = ()
    not_with: tuple[Context, ...] = ()
    glass: tuple[GlassNote, ...] = ()
    disagreement: str | None = None
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> "Claim":
        if self.topic in TREATMENT_TOPICS and any(verdict.declines for verdict in self.verdicts):
            raise ValueError(
                f"topic {self.topic} goes with erythematous and hyperpigmented only: "
                "a verdict that declines gets no treatment"
            )
        if set(self.only_with) & set(self.not_with):
            raise ValueError("a context stands in both only_with and not_with")
        places = [(source.document, source.locator) for source in self.sources]
        if len(set(places)) < len(places):
            raise ValueError("names one place of one document twice")
        return self

    @property
    def always(self) -> bool:
        """True if its verdicts alone decide whether it is shown."""
        return not (self.only_with or self.not_with or self.glass)

    @property
    def document_ids(self) -> tuple[str, ...]:
        """Ids of the documents it cites, each once, in order."""
        return tuple(dict.fromkeys(source.document for source in self.sources))

    def serves(self, verdict: Verdict, contexts: Set[Context], glass: GlassNote) -> bool:
        """Whether it is shown for this verdict, these contexts and this glass test."""
        return (
            verdict in self.verdicts
            and (not self.only_with or not contexts.isdisjoint(self.only_with))
            and contexts.isdisjoint(self.not_with)
            and (not self.glass or glass in self.glass)
        )


class Disagreement(_Entry):
    """A question on which documents differ; ``position`` is what they support or dispute."""

    id: Identifier
    question: Line
    position: Line


class DocumentsFile(_Entry):
    """documents.toml."""

    documents: tuple[Document, ...] = Field(min_length=1)


class ClaimsFile(_Entry):
    """claims.toml: the pack's version and date, its disagreements and its claims."""

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    date: date
    disagreements: tuple[Disagreement, ...] = ()
    claims: tuple[Claim, ...] = Field(min_length=1)
