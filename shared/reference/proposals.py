"""The thresholds from which on a supervision order is proposed (clause 5.1.1 f)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.reference.row import BasisRow, ReferenceRow


class Proposal(StrEnum):
    """The counts that can propose a supervision order (clause 5.1.1 f; Weifang 12345, article 26)."""

    HAND_BACKS = "hand_backs"
    REPEATS = "repeats"
    LATENESS = "lateness"
    PEOPLE = "people"


class ProposalRow(ReferenceRow):
    """The least count of hand-backs, repeated demands, late stages or people from which on an order is proposed."""

    id: Proposal
    at_least: Annotated[int, Field(ge=1, le=1_000_000)]
    basis: BasisRow
