"""What in the log proposes a supervision order for a case, and what that order would say (clause 5.1.1 f).

Pure. Repeated hand-backs, repeated demands, lateness and many people are counted by the case itself; from which number
on they propose something is a document. A person turns a proposal into an order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.supervision.deadlines.explanations import said_by
from shared.case.facts import Hold, Nature, Note, OrderKind, Severity, TimeBase
from shared.case.lifecycle import OPEN, STAGES, Status
from shared.case.state import CaseState
from shared.reference.deadline_reckoning import facts_of, moment_after
from shared.reference.documents import DocumentKind
from shared.reference.ladders import Act, ladder_for
from shared.reference.proposals import Proposal
from shared.reference.reference_data import ReferenceData

ANSWER_WORKING_DAYS = 3  # how long an order gives where no ladder says it
FIGURE_MAX = 2**31 - 1  # no case counts so far
WORDS = {
    Proposal.HAND_BACKS: "退回次数",
    Proposal.REPEATS: "重复诉求次数",
    Proposal.LATENESS: "超期次数",
    Proposal.PEOPLE: "涉及人数",
}


class Meets(BaseModel):
    """A threshold that a case meets: how often it was, and from which number on an order is proposed."""

    model_config = ConfigDict(frozen=True)

    what: Proposal
    figure: int
    at_least: int


class ProposalItem(BaseModel):
    """A case for which a supervision order is proposed, and why (clause 5.1.1 f)."""

    id: str
    number: str
    status: Status
    in_charge: str
    unit: str | None
    nature: Nature | None
    subject: str | None
    severity: Severity
    registered_at: AwareDatetime
    meets: list[Meets]


class Proposals(BaseModel):
    """A page of proposals, by centre. `next` leads on; where few fit, a page may be short, even empty, and lead on."""

    proposals: list[ProposalItem]
    next: str | None = None
    complete: bool = True


def item(id: str, number: str, state: CaseState, meets: list[Meets]) -> ProposalItem:
    """A case in the list of proposals."""
    return ProposalItem(**said_by(ProposalItem, state), id=id, number=number, meets=meets)


def proposed(library: ReferenceData, state: CaseState) -> list[Meets]:
    """Why an order is proposed for a case; empty when none is, or one was issued already."""
    if state.orders or state.erased or state.status not in OPEN or Hold.IMPORT in state.holds:
        return []
    figures = {
        Proposal.HAND_BACKS: state.hand_backs,
        Proposal.REPEATS: state.repeats,
        Proposal.LATENESS: state.overdue_count,
        Proposal.PEOPLE: state.people_count,
    }
    thresholds = library.proposals(state.in_charge)
    return [
        Meets(what=what, figure=figure, at_least=thresholds[what])
        for what, figure in figures.items()
        if what in thresholds and figure >= thresholds[what]
    ]


def lowest(library: ReferenceData) -> list[int]:
    """The lowest threshold of each kind in force anywhere: a case below all of them need not be looked at."""
    rows = [row for one in library.documents() if one.kind is DocumentKind.PROPOSALS for row in one.rows]
    return [min((row.at_least for row in rows if row.id is what), default=FIGURE_MAX) for what in Proposal]


def order_proposed(library: ReferenceData, state: CaseState, meets: list[Meets], now: datetime) -> dict[str, Any]:
    """What an order says that is issued as it is proposed: as the ladder of the case's stage would order it."""
    ladder = ladder_for(library.ladders(state.in_charge), STAGES[state.status], facts_of(state))
    row = next((row for row in ladder if row.act is Act.ORDER), None)
    amount, base = (row.answer, row.answer_base) if row else (ANSWER_WORKING_DAYS, TimeBase.WORKING_DAYS)
    why = "；".join(f"{WORDS[one.what]} {one.figure}（达到 {one.at_least}）" for one in meets)
    return {
        "kind": row.order_kind if row else OrderKind.ORDINARY,
        "unit": state.unit or f"{state.in_charge}-centre",
        "due": moment_after(library.calendar(state.in_charge), now, amount, base),
        "note": Note(text=f"据系统督办建议：{why}。"),
    }
