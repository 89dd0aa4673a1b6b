"""Guidance from documents: every sentence sourced, every disagreement shown; never sees pixels."""

from diascope.guidance.glass import GlassNote, GlassTest, combine
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

__all__ = [
    "Claim",
    "Context",
    "Disagreement",
    "Document",
    "GlassNote",
    "GlassTest",
    "Grade",
    "GuidancePack",
    "Source",
    "Stance",
    "Topic",
    "combine",
    "load_pack",
    "read_contexts",
]
