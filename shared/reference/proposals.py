"""The thresholds from which on a supervision order is proposed (clause 5.1.1 f), and what dissatisfaction leads to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.reference.row import BasisRow, ReferenceRow


class Proposal(StrEnum):
    """The counts that can propose a supervision order (clause 5.1.1 f; Weifang 12345, article 26), and dissatisfaction
    with a closed case, which proposes its reopening (clause 12.3)."""

    HAND_BACKS = "hand_backs"
    REPEATS = "repeats"
    LATENESS = "lateness"
    PEOPLE = "people"
    DISSATISFIED = "dissatisfied"


class Consequence(StrEnum):
    """The consequence of dissatisfaction with a closed case: a proposal to the centre, or the reopening at once."""

    PROPOSE = "propose"
    REOPEN = "reopen"


class ProposalRow(ReferenceRow):
    """The least count of hand-backs, repeated demands, late stages or people from which on an order is proposed.

    The row `dissatisfied` has a consequence instead of a count.
    """

    id: Proposal
    at_least: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    then: Consequence | None = None
    basis: BasisRow

    @model_validator(mode="after")
    def _count_or_consequence(self) -> Self:
        if self.id is Proposal.DISSATISFIED:
            if self.then is None or self.at_least is not None:
                raise ValueError("it has no at_least; say `then: propose` or `then: reopen`")
        elif self.at_least is None or self.then is not None:
            raise ValueError("it has no then; say `at_least` and a number")
        return self
