"""A guidance pack: its files read and cross-checked as a whole, then looked up."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diascope.errors import GuidanceError
from diascope.guidance.glass import GlassNote
from diascope.guidance.schema import (
    TREATMENT_TOPICS,
    Claim,
    ClaimsFile,
    Context,
    Disagreement,
    Document,
    DocumentsFile,
    Source,
    Stance,
    Topic,
    parse_span,
)
from diascope.labels import Verdict

CLAIMS_FILE = "claims.toml"
DOCUMENTS_FILE = "documents.toml"
_NEEDED_TOPICS = (Topic.RED_FLAG, Topic.WHEN_TO_ASK)
_ORDER = tuple(Topic)

Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class GuidancePack:
    """Documents and claims that passed every check; never sees a picture."""

    name: str
    version: str
    date: date
    documents: Mapping[str, Document]
    disagreements: Mapping[str, Disagreement]
    claims: tuple[Claim, ...]

    def claims_for(
        self,
        verdict: Verdict,
        contexts: Sequence[Context | str] = (),
        glass: GlassNote = GlassNote.NOT_DONE,
    ) -> tuple[Claim, ...]:
        """Claims to show, red flags first, then by topic, then as in the pack's file.

        ``glass`` is the note of :func:`~diascope.guidance.combine`, ``verdict`` its verdict. Sore
        or broken skin gets no treatment; a contradiction brings "when to ask" up behind the flags.

        Raises:
            GuidanceError: an unknown context.
        """
        verdict, given = Verdict(verdict), frozenset(read_contexts(contexts))
        halted = TREATMENT_TOPICS if Context.BROKEN_OR_SORE_SKIN in given else frozenset()
        shown = (
            claim
            for claim in self.claims
            if claim.serves(verdict, given, glass) and claim.topic not in halted
        )
        return tuple(sorted(shown, key=lambda claim: _rank(claim.topic, glass)))


def load_pack(folder: Path | str | None = None) -> GuidancePack:
    """Read and check a pack's documents.toml and claims.toml; the shipped pack without a folder.

    Raises:
        GuidanceError: a file that is missing or no TOML, or an entry that breaks a rule; the
            message names file, claim and mend.
    """
    place = resources.files("diascope.guidance") if folder is None else Path(folder)
    name = "shipped" if folder is None else str(folder)
    documents_name, claims_name = f"{name}/{DOCUMENTS_FILE}", f"{name}/{CLAIMS_FILE}"
    raw_documents = _read_toml(place / DOCUMENTS_FILE, documents_name)
    raw_claims = _read_toml(place / CLAIMS_FILE, claims_name)
    listed = _validate(DocumentsFile, raw_documents, documents_name)
    _refuse_repeats(documents_name, "document", [document.id for document in listed.documents])
    documents = {document.id: document for document in listed.documents}
    _cite(raw_claims, documents, claims_name)
    parsed = _validate(ClaimsFile, raw_claims, claims_name)
    disagreements = {item.id: item for item in parsed.disagreements}
    _refuse_repeats(claims_name, "claim", [claim.id for claim in parsed.claims])
    _refuse_repeats(claims_name, "disagreement", [item.id for item in parsed.disagreements])
    for claim in parsed.claims:
        for source in claim.sources:
            _check_locator(claim, source, documents[source.document], claims_name)
    _check_disagreements(parsed.claims, disagreements, claims_name)
    _check_every_verdict(parsed.claims, claims_name)
    return GuidancePack(name, parsed.version, parsed.date, documents, disagreements, parsed.claims)


def read_contexts(words: str | Iterable[str]) -> tuple[Context, ...]:
    """Contexts named in a sequence, or in one text with commas, semicolons or spaces between.

    Raises:
        GuidanceError: a word that is no context; it would otherwise silence a caution.
    """
    if isinstance(words, str):
        words = words.replace(",", " ").replace(";", " ").split()
    known = {context.value: context for context in Context}
    contexts = []
    for word in words:
        if word not in known:
            raise GuidanceError(f"{word!r} is no context; known are {', '.join(known)}")
        contexts.append(known[word])
    return tuple(dict.fromkeys(contexts))


def _rank(topic: Topic, glass: GlassNote) -> int:
    if glass.contradicts and topic is Topic.WHEN_TO_ASK:
        return _ORDER.index(Topic.RED_FLAG)
    return _ORDER.index(topic)


def _read_toml(file: Traversable, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise GuidanceError(
            f"{name}: no such file; a pack is a folder with {DOCUMENTS_FILE} and {CLAIMS_FILE}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise GuidanceError(f"{name}: not readable as TOML: {error}") from error


def _cite(raw: dict[str, Any], documents: Mapping[str, Document], name: str) -> None:
    """Put each document's citation and grade into the sources that name it."""
    for where, entry in _source_tables(raw):
        if filled := sorted({"citation", "grade"} & entry.keys()):
            raise GuidanceError(
                f"{name}: {where}: unknown key {filled[0]}; it belongs in {DOCUMENTS_FILE}"
            )
        document = documents.get(str(entry.get("document")))
        if document is None:
            raise GuidanceError(
                f"{name}: {where}: unknown document {entry.get('document')!r}; "
                f"add it to {DOCUMENTS_FILE} or correct the id"
            )
        entry |= {"citation": document.citation, "grade": document.grade}


def _source_tables(raw: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    # Anything of another shape is left for the schema to name.
    for claim in _tables(raw.get("claims")):
        for source in _tables(claim.get("sources")):
            yield f"claim {claim.get('id')!r}", source


def _tables(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _validate(model: type[Parsed], raw: dict[str, Any], name: str) -> Parsed:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise GuidanceError(_explain(error, raw, name)) from error


def _explain(error: ValidationError, raw: dict[str, Any], name: str) -> str:
    first = error.errors(include_url=False)[0]
    where, key = _locate(first["loc"], raw)
    match first["type"]:
        case "extra_forbidden":
            problem = f"unknown key {key}; remove it or correct its spelling"
        case "missing":
            problem = f"{key} is missing; add it"
        case "too_short":
            problem = f"{key} is empty; a {key.rstrip('s')} is needed"
        case "value_error":
            problem = f"{key}: " * bool(key) + first["msg"].removeprefix("Value error, ")
        case _:
            problem = f"{key} = {_shortened(first['input'])}: {first['msg']}"
    more = error.error_count() - 1
    return f"{name}: {where}{problem}" + (f"\n(and {more} more)" if more else "")


def _locate(location: tuple[int | str, ...], raw: dict[str, Any]) -> tuple[str, str]:
    """The entry an error lies in, by its id, and the key within it."""
    match location:
        case (str(section), int(index), *key):
            entry = raw[section][index]
            identity = entry.get("id", index + 1) if isinstance(entry, dict) else index + 1
            return f"{section.rstrip('s')} {_shortened(identity)}: ", ".".join(map(str, key))
        case _:
            return "", ".".join(map(str, location))


def _shortened(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _refuse_repeats(name: str, kind: str, ids: Sequence[str]) -> None:
    for identity, count in Counter(ids).items():
        if count > 1:
            raise GuidanceError(
                f"{name}: {kind} {identity!r} stands there {count} times; give each its own id"
            )


def _check_locator(claim: Claim, source: Source, document: Document, name: str) -> None:
    where = f"{name}: claim {claim.id!r}: {document.id} {source.locator}"
    if document.sentences is None:
        if source.sha256 is not None:
            raise GuidanceError(f"{where}: has no numbered sentences; remove sha256")
        return
    try:
        _, last = parse_span(source.locator)
    except ValueError as error:
        raise GuidanceError(f"{where}: {error}") from None
    if last > document.sentences:
        raise GuidanceError(
            f"{where}: past the end; the document has {document.sentences} sentences"
        )
    if source.sha256 is None:
        raise GuidanceError(
            f"{where}: sha256 of these sentences is missing; "
            "write 64 zeros and `diascope guidance verify` will tell it"
        )


def _check_disagreements(
    claims: Sequence[Claim], disagreements: Mapping[str, Disagreement], name: str
) -> None:
    stances: dict[str, set[Stance]] = {identity: set() for identity in disagreements}
    for claim in claims:
        if claim.disagreement is None:
            continue
        if claim.disagreement not in stances:
            raise GuidanceError(
                f"{name}: claim {claim.id!r}: unknown disagreement {claim.disagreement!r}; "
                "add it under [[disagreements]] or correct the id"
            )
        stances[claim.disagreement] |= {source.stance for source in claim.sources}
    for identity, taken in stances.items():
        if taken != set(Stance):
            raise GuidanceError(
                f"{name}: disagreement {identity!r} is not shown; its claims need a source "
                "that supports its position and one that disputes it"
            )


def _check_every_verdict(claims: Sequence[Claim], name: str) -> None:
    for verdict in Verdict:
        for topic in _NEEDED_TOPICS:
            if not any(
                claim.topic is topic and claim.always and verdict in claim.verdicts
                for claim in claims
            ):
                raise GuidanceError(
                    f"{name}: verdict {verdict} has no claim of topic {topic} that is always "
                    "shown; add one without only_with, not_with and glass"
                )
