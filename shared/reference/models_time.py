"""What the documents about lateness say: the rungs of a ladder, and what is worth a supervision order."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from shared.case.base import Code
from shared.case.facts import SHORT_CHARS_MAX, OrderKind, Stage, TimeBase
from shared.reference.row import BasisRow, Row, When

AMOUNT_MAX = 10_000


class Act(StrEnum):
    """What a rung does: remind the person, urge the unit, issue an order, put the level above in charge."""

    REMIND = "remind"
    URGE = "urge"
    ORDER = "order"
    ESCALATE = "escalate"


class Informed(StrEnum):
    """Whom a rung informs, as seen from the centre in charge before it (clause 11.2)."""

    PERSON = "person"
    UNIT = "unit"
    CENTRE = "centre"
    PARTY_COMMITTEE = "party_committee"
    GOVERNMENT = "government"
    CENTRE_ABOVE = "centre_above"


# Clause 11.2: what a centre cannot solve goes to its own party committee and government and to the centre above.
DOUBLE_REPORT = frozenset({Informed.PARTY_COMMITTEE, Informed.GOVERNMENT, Informed.CENTRE_ABOVE})


class LadderRow(Row):
    """One rung for what is late (clause 11.2). Rows with the same conditions are one ladder.

    It is taken `after` units of `base` past the due moment, and then again `every` so many when that is not 0.
    `acts` says in words who must act, `informs` who is told. An order gives `answer` units of `answer_base`.
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
        """What rungs of one ladder have in common, in whatever order it was written."""
        return frozenset(self.stages), *(frozenset(getattr(self.when, name)) for name in When.model_fields)


class Proposal(StrEnum):
    """What in the log proposes a supervision order (clause 5.1.1 f; Weifang 12345, article 26)."""

    HAND_BACKS = "hand_backs"
    REPEATS = "repeats"
    LATENESS = "lateness"
    PEOPLE = "people"


class ProposalRow(Row):
    """From which number on an order is proposed: hand-backs, repeated demands, stages that were late, people."""

    id: Proposal
    at_least: Annotated[int, Field(ge=1, le=1_000_000)]
    basis: BasisRow
