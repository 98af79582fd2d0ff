"""The rows of posts and of people (clause 12.1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from shared.case.base import Code, Level, PersonId, Region, UnitCode
from shared.case.rights import Right, separation_conflict
from shared.reference.row import Name, ReferenceRow, sorted_set


class PostRow(ReferenceRow):
    """A post and its rights (clause 12.1). `levels` are the levels of centres that have the post; empty means all."""

    code: Code
    title: Name
    rights: Annotated[tuple[Right, ...], AfterValidator(sorted_set)]
    levels: Annotated[tuple[Level, ...], AfterValidator(sorted_set)] = ()

    @model_validator(mode="after")
    def _separated(self) -> Self:
        if reason := separation_conflict(frozenset(self.rights)):
            raise ValueError(reason)
        return self


class PersonRow(ReferenceRow):
    """A person who works in a unit. The region is that of the unit when none is given.

    `stands_aside_from` are units and people in whose cases the person takes no part (petitions regulation, article 28).
    `away_from` and `away_until` are the first and the last local day of an absence; without a last day it goes on.
    `deputy` stands in for a person who is away or not active.
    """

    id: PersonId
    name: Name
    unit: UnitCode
    post: Code
    region: Region = ""
    deputy: PersonId | None = None
    active: bool = True
    stands_aside_from: Annotated[tuple[UnitCode | PersonId, ...], Field(max_length=50)] = ()
    away_from: date | None = None
    away_until: date | None = None

    def present(self, day: date) -> bool:
        """Whether the person is active and not away on a local day."""
        away = self.away_from is not None and self.away_from <= day <= (self.away_until or date.max)
        return self.active and not away

    @model_validator(mode="after")
    def _absence_in_order(self) -> Self:
        if self.away_until is not None and (self.away_from is None or self.away_until < self.away_from):
            raise ValueError("away_until needs an away_from that is not later; give both days, or away_from alone")
        return self

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("region") and isinstance(data.get("unit"), str):
            return {**data, "region": data["unit"][:12]}
        return data


# Whether a person takes no part in the case in question.
Barred = Callable[[PersonRow], bool]


def nobody_barred(person: PersonRow) -> bool:
    """For a question that is about no case."""
    return False
