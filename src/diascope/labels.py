"""The words a manifest, a network and a prediction use, and the one order of the classes."""

from enum import StrEnum


class MarkType(StrEnum):
    """What a mark looks like; the network's classes, in the order of its outputs.

    Appearances, not causes: an erythematous mark is red (vessels), a hyperpigmented one brown or
    black (melanin); neither is skin without such a mark.
    """

    ERYTHEMATOUS = "erythematous"
    HYPERPIGMENTED = "hyperpigmented"
    NEITHER = "neither"


LABEL_ORDER: tuple[MarkType, ...] = tuple(MarkType)
"""Index i of every logit and probability vector belongs to ``LABEL_ORDER[i]``."""


class Verdict(StrEnum):
    """What a prediction says after its gates; the last three decline."""

    ERYTHEMATOUS = "erythematous"
    HYPERPIGMENTED = "hyperpigmented"
    UNCLEAR = "unclear"
    NEITHER = "neither"
    NOT_ASSESSABLE = "not_assessable"

    @property
    def declines(self) -> bool:
        """True for every verdict that names no colour of mark."""
        return self not in (Verdict.ERYTHEMATOUS, Verdict.HYPERPIGMENTED)

    @property
    def words(self) -> str:
        """The verdict for a reader who does not know the field's terms; never an all-clear."""
        return _VERDICT_WORDS[self]


_VERDICT_WORDS = {
    Verdict.ERYTHEMATOUS: "looks like a red mark",
    Verdict.HYPERPIGMENTED: "looks like a brown mark",
    Verdict.UNCLEAR: "red or brown cannot be told",
    Verdict.NEITHER: "no red or brown mark seen; that rules nothing out",
    Verdict.NOT_ASSESSABLE: "the picture cannot be judged",
}


class ManifestLabel(StrEnum):
    """The mark types a manifest may name: the three classes and two words more.

    ``other`` is a lesion to decline (scale, crust, mole, tumour, infection) and is never trained
    on; ``mixed`` is red and brown at once, a target of one half each.
    """

    ERYTHEMATOUS = "erythematous"
    HYPERPIGMENTED = "hyperpigmented"
    NEITHER = "neither"
    OTHER = "other"
    MIXED = "mixed"

    @property
    def target(self) -> tuple[float, float, float] | None:
        """Training target over ``LABEL_ORDER``, summing to 1; None for ``other``."""
        return _TARGETS[self]


_TARGETS: dict[ManifestLabel, tuple[float, float, float] | None] = {
    ManifestLabel.ERYTHEMATOUS: (1.0, 0.0, 0.0),
    ManifestLabel.HYPERPIGMENTED: (0.0, 1.0, 0.0),
    ManifestLabel.NEITHER: (0.0, 0.0, 1.0),
    ManifestLabel.OTHER: None,
    ManifestLabel.MIXED: (0.5, 0.5, 0.0),
}

INTENDED_USE = (
    "For research and education: diascope describes the colour of a mark in a photograph and "
    "points to documents; it is not a medical device and does not replace a clinician."
)
"""Stands in every output that carries a verdict."""
