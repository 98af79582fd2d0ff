"""The rows that say when a supervision order is proposed (clause 5.1.1 f)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.reference.row import BasisRow, ReferenceRow


class Proposal(StrEnum):
    """What in the log proposes a supervision order (clause 5.1.1 f; Weifang 12345, article 26)."""

    HAND_BACKS = "hand_backs"
    REPEATS = "repeats"
    LATENESS = "lateness"
    PEOPLE = "people"


class ProposalRow(ReferenceRow):
    """From which number on an order is proposed: hand-backs, repeated demands, stages that were late, people."""

    id: Proposal
    at_least: Annotated[int, Field(ge=1, le=1_000_000)]
    basis: BasisRow
