"""Can this picture be judged? A closed list of reasons to decline; it vetoes, never relabels.

The bounds are wide on purpose: they catch a covered lens and a burnt-out frame. The darkest skin
in ordinary light stays far above the lower one.
"""

from enum import StrEnum

from diascope.image import Picture

UNDER_EXPOSED_BELOW = 32
"""Under-exposed: 95 % of the pixels have no channel that reaches this sRGB value (1.4 % light)."""
OVER_EXPOSED_FROM = 250
"""A pixel is burnt out when all three channels reach this sRGB value."""
OVER_EXPOSED_SHARE = 0.75
"""Over-exposed: more than this share of the pixels is burnt out."""


class DeclineReason(StrEnum):
    """Why a picture cannot be judged: a closed list, each with its words."""

    NO_COLOUR = "no_colour"
    UNDER_EXPOSED = "under_exposed"
    OVER_EXPOSED = "over_exposed"

    @property
    def words(self) -> str:
        """The reason as a sentence, and what to do."""
        return {
            DeclineReason.NO_COLOUR: "The picture has no colour; give the colour photograph.",
            DeclineReason.UNDER_EXPOSED: "The picture is almost black; take it in more light.",
            DeclineReason.OVER_EXPOSED: "The picture is burnt out to white; take it in less light.",
        }[self]


def assess(picture: Picture) -> tuple[DeclineReason, ...]:
    """Every reason to decline the picture, in the order of the list; none for a usable one."""
    brightest = picture.pixels.max(axis=-1)
    burnt = picture.pixels.min(axis=-1) >= OVER_EXPOSED_FROM
    found = {
        DeclineReason.NO_COLOUR: not picture.has_colour,
        DeclineReason.UNDER_EXPOSED: (brightest >= UNDER_EXPOSED_BELOW).mean() < 0.05,
        DeclineReason.OVER_EXPOSED: burnt.mean() > OVER_EXPOSED_SHARE,
    }
    return tuple(reason for reason, applies in found.items() if applies)
