"""Ladders of measures against lateness (clause 11.2), and the choice of the ladder for an overdue stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self, cast

from pydantic import Field, StringConstraints, model_validator

from shared.case.base import Code
from shared.case.facts import (
    SHORT_CHARS_MAX,
    OrderKind,
    Stage,
    TimeBase,
)
from shared.reference.conditions import RoutingFacts, When, unmet
from shared.reference.limits import AMOUNT_MAX
from shared.reference.row import BasisRow, CitedDocument, ReferenceRow


class Act(StrEnum):
    """The measures: remind the person, urge the unit, issue an order, put the level above in charge."""

    REMIND = "remind"
    URGE = "urge"
    ORDER = "order"
    ESCALATE = "escalate"


class Informed(StrEnum):
    """The parties that a rung informs, relative to the centre in charge before it (clause 11.2)."""

    PERSON = "person"
    UNIT = "unit"
    CENTRE = "centre"
    PARTY_COMMITTEE = "party_committee"
    GOVERNMENT = "government"
    CENTRE_ABOVE = "centre_above"


# Clause 11.2: a centre reports an unsolved case to its own party committee and government and to the centre above.
DOUBLE_REPORT = frozenset({Informed.PARTY_COMMITTEE, Informed.GOVERNMENT, Informed.CENTRE_ABOVE})


class LadderRow(ReferenceRow):
    """One measure against the lateness of a stage (clause 11.2). Rows with the same conditions are one ladder.

    The rung is taken `after` units of `base` past the due moment, and again after each `every` units unless that is 0.
    `acts` names in words the party that must act, `informs` the parties that are informed. An order must be answered
    within `answer` units of `answer_base`.
    """

    id: Code
    stages: Annotated[tuple[Stage, ...], Field(max_length=len(Stage))] = ()
    when: When = When()
    after: Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
    base: TimeBase
    every: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    act: Act
    order_kind: OrderKind | None = None
    answer: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    answer_base: TimeBase = TimeBase.WORKING_DAYS
    acts: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=SHORT_CHARS_MAX)]
    informs: Annotated[tuple[Informed, ...], Field(max_length=len(Informed))] = ()
    basis: BasisRow

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.act is Act.ORDER and not (self.order_kind and self.answer):
            raise ValueError("an order needs order_kind, and answer: how long the unit has to answer it")
        if self.act is not Act.ORDER and (self.order_kind or self.answer or "answer_base" in self.model_fields_set):
            raise ValueError(f"order_kind, answer and answer_base are for act order; act is {self.act}: remove them")
        if len(set(self.informs)) < len(self.informs):
            raise ValueError("informs names somebody twice; remove one of the two")
        return self

    @cached_property
    def conditions(self) -> Any:
        """The conditions that rungs of one ladder share, independent of the order of writing."""
        return frozenset(self.stages), *(frozenset(getattr(self.when, name)) for name in When.model_fields)


def ladder_for(ladders: Iterable[CitedDocument], stage: Stage, facts: RoutingFacts) -> tuple[LadderRow, ...]:
    """The ladder of an overdue stage, its rungs in order; empty when there is none.

    It consists of the first row that matches, nearest document first, and of the rows with the same conditions.
    """
    for document in ladders:
        rows = cast("tuple[LadderRow, ...]", document.rows)
        for row in rows:
            if (not row.stages or stage in row.stages) and unmet(row.when, facts) is None:
                return tuple(other for other in rows if other.conditions == row.conditions)
    return ()


def rung(ladder: Sequence[LadderRow], number: int) -> tuple[LadderRow, int] | None:
    """The rung with a number from 0, and its distance from the due moment in units of its base.

    The last rung may repeat without end. None when the ladder has no rung of this number.
    """
    if number < len(ladder):
        return ladder[number], ladder[number].after
    if not ladder or not ladder[-1].every:
        return None
    last = ladder[-1]
    return last, last.after + (number - len(ladder) + 1) * last.every
