"""A pack held against its documents' own texts: which sentences changed, which are unused."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diascope.errors import GuidanceError
from diascope.guidance.pack import DOCUMENTS_FILE, GuidancePack
from diascope.guidance.schema import Claim, Document, SetAsideReason, Source, parse_span
from diascope.guidance.sentences import span_digest, split_sentences

LEAST_USED_SHARE = 0.7
"""Of the sentences about marks, the share that claims must use."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Verified:
    """What was held against the texts, and how many sources have no text to be held against."""

    documents: int
    spans: int
    rows: int
    without_text: int


@dataclass(frozen=True, slots=True)
class SentenceUse:
    """One sentence of a document, its text, and the claims that use it or why none does."""

    document: str
    number: int
    text: str
    claims: tuple[str, ...]
    reason: SetAsideReason | None

    @property
    def accounted(self) -> bool:
        """True if it is used or set aside with a reason."""
        return bool(self.claims) or self.reason is not None

    @property
    def about_marks(self) -> bool:
        """True unless it was set aside as a greeting, an advertisement or off the subject."""
        return self.reason is None or self.reason.about_marks


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every sentence of a pack's numbered documents."""

    sentences: tuple[SentenceUse, ...]

    @property
    def share(self) -> float:
        """Sentences used or set aside, of all, in [0, 1]."""
        return sum(sentence.accounted for sentence in self.sentences) / len(self.sentences)

    @property
    def used_share(self) -> float:
        """Sentences used, of those about marks, in [0, 1]; 0 where none is about marks."""
        about = [sentence for sentence in self.sentences if sentence.about_marks]
        return sum(bool(sentence.claims) for sentence in about) / max(len(about), 1)

    @property
    def unaccounted(self) -> tuple[SentenceUse, ...]:
        """Sentences neither used nor set aside."""
        return tuple(sentence for sentence in self.sentences if not sentence.accounted)

    @property
    def complete(self) -> bool:
        """True if all are accounted for and enough of those about marks are used."""
        return not self.unaccounted and self.used_share >= LEAST_USED_SHARE


def verify(pack: GuidancePack, documents_folder: Path | str) -> Verified:
    """Recompute every digest from the documents' texts, and look every row up.

    Raises:
        GuidanceError: a document that is missing or changed; names document, sentences and claims.
    """
    folder = Path(documents_folder)
    numbered = [document for document in pack.documents.values() if document.sentences]
    for document in numbered:
        _check_text(pack, document, _read(document, folder), folder)
    rows = {
        document.id: _row_ids(_read(document, folder).decode("utf-8", errors="replace"))
        for document in pack.documents.values()
        if document.file and not document.sentences
    }
    for claim, source in _sources(pack):
        if source.document in rows and source.locator not in rows[source.document]:
            file = pack.documents[source.document].file
            raise GuidanceError(
                f"{folder}/{file}: has no row {source.locator!r}, cited by claim {claim.id!r}; "
                "correct the locator"
            )
    cited = [source.document for _, source in _sources(pack)]
    spans = sum(pack.documents[document].sentences is not None for document in cited)
    in_rows = sum(document in rows for document in cited)
    return Verified(len(numbered), spans, in_rows, len(cited) - spans - in_rows)


def coverage(pack: GuidancePack, documents_folder: Path | str) -> Coverage:
    """Say of every sentence of every numbered document who uses it or why nobody does.

    Raises:
        GuidanceError: a document that is missing or changed, a sentence both used and set aside,
            one that repeats a sentence nobody uses, or a pack without numbered documents.
    """
    verify(pack, documents_folder)
    sentences = tuple(
        sentence
        for document in pack.documents.values()
        if document.sentences
        for sentence in _uses(pack, document, Path(documents_folder))
    )
    if not sentences:
        raise GuidanceError(
            f"{pack.name}/{DOCUMENTS_FILE}: no document has numbered sentences; "
            "give one its file, sha256 and sentences"
        )
    return Coverage(sentences)


def _uses(pack: GuidancePack, document: Document, folder: Path) -> Iterator[SentenceUse]:
    texts = split_sentences(_read(document, folder).decode("utf-8"))
    used: dict[int, list[str]] = {}
    for claim, source in _sources(pack):
        if source.document == document.id:
            first, last = parse_span(source.locator)
            for number in range(first, last + 1):
                used.setdefault(number, []).append(claim.id)
    aside = _set_aside(document, used, pack.name)
    for number, text in enumerate(texts, start=1):
        claims = tuple(dict.fromkeys(used.get(number, ())))
        yield SentenceUse(document.id, number, text, claims, aside.get(number))


def _set_aside(
    document: Document, used: dict[int, list[str]], name: str
) -> dict[int, SetAsideReason]:
    where = f"{name}/{DOCUMENTS_FILE}: document {document.id!r}"
    reasons = {}
    for entry in document.set_aside:
        if entry.of is not None and entry.of not in used:
            raise GuidanceError(
                f"{where}: sentence {entry.sentences} repeats {entry.of}, which no claim uses; "
                "name one that is used"
            )
        for number in entry.span:
            if number in used:
                raise GuidanceError(
                    f"{where}: sentence {number} is set aside, yet claim {used[number][0]!r} "
                    "uses it; take it out of set_aside"
                )
            reasons[number] = entry.reason
    return reasons


def _check_text(pack: GuidancePack, document: Document, content: bytes, folder: Path) -> None:
    digest = hashlib.sha256(content).hexdigest()
    try:
        sentences = split_sentences(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise GuidanceError(f"{folder}/{document.file}: is not UTF-8 text") from None
    changed = [
        (claim, source, found)
        for claim, source in _sources(pack)
        if source.document == document.id
        and (found := span_digest(sentences, *parse_span(source.locator))) != source.sha256
    ]
    if changed:
        raise GuidanceError(_explain_change(changed, document, folder))
    if (digest, len(sentences)) != (document.sha256, document.sentences):
        raise GuidanceError(
            f"{folder}/{document.file}: document {document.id!r} has changed, in no sentence that "
            f"a claim uses.\nRead it again, then write sentences = {len(sentences)}, "
            f'sha256 = "{digest}" in {DOCUMENTS_FILE}'
        )


def _explain_change(
    changed: list[tuple[Claim, Source, str]], document: Document, folder: Path
) -> str:
    spans = {source.locator: found for _, source, found in changed}
    claims = dict.fromkeys(claim.id for claim, _, _ in changed)
    mend = "; ".join(f"{locator}: {found}" for locator, found in list(spans.items())[:_SHOWN])
    return (
        f"{folder}/{document.file}: sentences {', '.join(spans)} are not those that claims cite "
        f"from document {document.id!r}.\nClaims to read again: {', '.join(claims)}.\n"
        f"If they hold, their sha256 by sentences: {mend}" + (" ..." if len(spans) > _SHOWN else "")
    )


def _sources(pack: GuidancePack) -> Iterator[tuple[Claim, Source]]:
    return ((claim, source) for claim in pack.claims for source in claim.sources)


def _read(document: Document, folder: Path) -> bytes:
    path = folder / str(document.file)
    try:
        return path.read_bytes()
    except OSError:
        raise GuidanceError(
            f"{path}: cannot be read; put the text of document {document.id!r} there, "
            "or name the folder that holds it"
        ) from None


def _row_ids(table: str) -> set[str]:
    rows = (line.split("|") for line in table.splitlines() if line.lstrip().startswith("|"))
    return {cells[1].strip() for cells in rows if len(cells) > 2}
