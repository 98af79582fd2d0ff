"""Proposals to a centre: the cases that call for a supervision order, the order that is proposed (clause 5.1.1 f), and
the closed cases whose reopening is proposed (clause 12.3).

Pure. A case counts its hand-backs, repeats, late stages and people. A reference document has the thresholds from which
these counts propose an order. A person turns a proposal into an order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.supervision.deadlines.explanations import fields_from
from services.supervision.deadlines.reckoning import facts_of, moment_after
from shared.case.facts import Hold, Nature, Note, OrderKind, Severity, TimeBase
from shared.case.lifecycle import OPEN, STAGES, Status
from shared.case.state import CaseState
from shared.reference.documents import DocumentKind
from shared.reference.ladders import Act, ladder_for
from shared.reference.proposals import Proposal
from shared.reference.reference_data import ReferenceData

ANSWER_WORKING_DAYS = 3  # the time to answer an order where no ladder states it
FIGURE_MAX = 2**31 - 1  # more than any count of a case
FIGURE_NAMES = {
    Proposal.HAND_BACKS: "退回次数",
    Proposal.REPEATS: "重复诉求次数",
    Proposal.LATENESS: "超期次数",
    Proposal.PEOPLE: "涉及人数",
}


class Meets(BaseModel):
    """A threshold that a case meets: the count of the case, and the count from which on an order is proposed."""

    model_config = ConfigDict(frozen=True)

    what: Proposal
    figure: int
    at_least: int


class ProposalItem(BaseModel):
    """A case for which a supervision order, or the reopening of the closed case, is proposed, and why."""

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
    """A page of proposals, by centre. `next` is the cursor of the next page.

    The search for a page is limited, so a page may be short, or empty, and still have a `next`.
    """

    proposals: list[ProposalItem]
    next: str | None = None
    complete: bool = True


def item(id: str, number: str, state: CaseState, meets: list[Meets]) -> ProposalItem:
    """A case in the list of proposals."""
    return ProposalItem(**fields_from(ProposalItem, state), id=id, number=number, meets=meets)


def proposed(reference_data: ReferenceData, state: CaseState) -> list[Meets]:
    """The thresholds for which an order is proposed for a case; none when the case has an order already.

    For a closed case whose resident is not satisfied it is the reopening that is proposed (clause 12.3).
    """
    if state.reopening_proposed and not state.erased:
        return [Meets(what=Proposal.DISSATISFIED, figure=1, at_least=1)]
    if state.orders or state.erased or state.status not in OPEN or Hold.IMPORT in state.holds:
        return []
    figures = {
        Proposal.HAND_BACKS: state.hand_backs,
        Proposal.REPEATS: state.repeats,
        Proposal.LATENESS: state.overdue_count,
        Proposal.PEOPLE: state.people_count,
    }
    thresholds = reference_data.proposals(state.in_charge)
    return [
        Meets(what=what, figure=figure, at_least=thresholds[what])
        for what, figure in figures.items()
        if what in thresholds and figure >= thresholds[what]
    ]


def lowest(reference_data: ReferenceData) -> list[int]:
    """The lowest threshold of each kind in force anywhere. A case below all of them is not read."""
    rows = [
        row
        for document in reference_data.documents()
        if document.kind is DocumentKind.PROPOSALS
        for row in document.rows
    ]
    return [min((row.at_least for row in rows if row.id is what), default=FIGURE_MAX) for what in FIGURE_NAMES]


def order_proposed(
    reference_data: ReferenceData, state: CaseState, meets: list[Meets], now: datetime
) -> dict[str, Any]:
    """The facts of an order as proposed: those that the ladder of the case's stage would give it."""
    ladder = ladder_for(reference_data.ladders(state.in_charge), STAGES[state.status], facts_of(state))
    row = next((row for row in ladder if row.act is Act.ORDER), None)
    amount, base = (row.answer, row.answer_base) if row else (ANSWER_WORKING_DAYS, TimeBase.WORKING_DAYS)
    why = "；".join(f"{FIGURE_NAMES[met.what]} {met.figure}（达到 {met.at_least}）" for met in meets)
    return {
        "kind": row.order_kind if row else OrderKind.ORDINARY,
        "unit": state.unit or f"{state.in_charge}-centre",
        "due": moment_after(reference_data.calendar(state.in_charge), now, amount, base),
        "note": Note(text=f"据系统督办建议：{why}。"),
    }
