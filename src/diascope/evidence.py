"""How far a model card meets three reporting guidelines: item, status, place.

The items and where they are met stand in ``evidence.toml``; which hold of a model is told here.
"""

import tomllib
from collections.abc import Collection
from enum import StrEnum
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, model_validator


class Fact(StrEnum):
    """What may be so of a model and decides whether an item is met."""

    MEASURED = "measured"
    UNSEEN = "unseen"
    CALIBRATION = "calibration"
    TONE = "tone"
    COLOUR = "colour"
    STURDINESS = "sturdiness"


class Status(StrEnum):
    """How far an item is met."""

    MET = "met"
    PARTLY = "partly"
    NOT_MET = "not met"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Item(_Part):
    """One thing a guideline asks for; ``status`` holds where every fact of ``needs`` does."""

    item: str
    status: Status
    place: str
    needs: tuple[Fact, ...] = ()
    otherwise: Status | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Item":
        if bool(self.needs) != (self.otherwise is not None):
            raise ValueError(f"{self.item}: needs and otherwise belong together")
        return self

    def status_of(self, facts: Collection[Fact]) -> Status:
        """The status of a model of which these facts hold."""
        holds = self.otherwise is None or all(fact in facts for fact in self.needs)
        return self.status if holds or self.otherwise is None else self.otherwise


class Guideline(_Part):
    """A guideline's items in its order."""

    name: str
    source: str
    items: tuple[Item, ...]


@cache
def guidelines() -> tuple[Guideline, ...]:
    """TRIPOD+AI, CLAIM and CLEAR Derm."""
    text = files("diascope").joinpath("evidence.toml").read_text(encoding="utf-8")
    return tuple(Guideline.model_validate(each) for each in tomllib.loads(text)["guideline"])
