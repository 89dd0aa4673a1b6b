"""Guidance from documents: every sentence sourced, every disagreement shown; never sees pixels."""

from diascope.guidance.forms import (
    Reference,
    Section,
    Sheet,
    as_dict,
    as_markdown,
    as_text,
    lay_out,
)
from diascope.guidance.glass import GlassNote, GlassTest, combine
from diascope.guidance.originals import Coverage, SentenceUse, Verified, coverage, verify
from diascope.guidance.pack import GuidancePack, load_pack, read_contexts
from diascope.guidance.schema import (
    Claim,
    Context,
    Disagreement,
    Document,
    Grade,
    Source,
    Stance,
    Topic,
)
from diascope.guidance.sentences import split_sentences
from diascope.guidance.starter import new_pack

__all__ = [
    "Claim",
    "Context",
    "Coverage",
    "Disagreement",
    "Document",
    "GlassNote",
    "GlassTest",
    "Grade",
    "GuidancePack",
    "Reference",
    "Section",
    "SentenceUse",
    "Sheet",
    "Source",
    "Stance",
    "Topic",
    "Verified",
    "as_dict",
    "as_markdown",
    "as_text",
    "combine",
    "coverage",
    "lay_out",
    "load_pack",
    "new_pack",
    "read_contexts",
    "split_sentences",
    "verify",
]
