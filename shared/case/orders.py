"""The law of a supervision order, an aggregate of its own: issued, answered, accepted or refused, overdue, withdrawn.

A reaction appends one `case.ordered` to each of its cases. A refusal by a case is recorded on the order (Weifang 12345,
article 26; clause 5.1.1 f).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from shared.case import events as e
from shared.case.base import Event, Recorded, Unknown
from shared.case.commands import Command
from shared.case.decide import Accepted, Verdict, event_of, record
from shared.case.facts import OrderKind
from shared.case.lifecycle import Transition
from shared.case.reasons import Reason, Rejected


class OrderStatus(StrEnum):
    """The status of an order."""

    NEW = "unborn"
    ISSUED = "issued"
    ANSWERED = "answered"
    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class OrderState:
    """One order: kind, unit, cases, the cases that refused it, due moment. `issued_by` is its first event."""

    status: OrderStatus = OrderStatus.NEW
    version: int = 0
    kind: OrderKind | None = None
    region: str = ""
    unit: str = ""
    cases: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()
    due: datetime | None = None
    issued_by: str = ""
    overdue: bool = False
    newer_event: bool = False
    applied: frozenset[str] = field(default_factory=frozenset)


ORDER_STATE = TypeAdapter(OrderState)
NEW_ORDER = OrderState()

_O = OrderStatus
_TABLE: tuple[Transition[OrderStatus], ...] = (
    Transition(
        e.OrderIssued, (_O.NEW,), _O.ISSUED, "Weifang 12345, 26: refused, overdue or unsolved matters are supervised"
    ),
    Transition(e.OrderAnswered, (_O.ISSUED,), _O.ANSWERED, "petitions regulation 39: the unit reports in the set time"),
    Transition(e.OrderAnswered, (_O.ANSWERED,), None, "more papers for the same answer"),
    Transition(e.OrderAccepted, (_O.ANSWERED,), _O.ACCEPTED, "the centre accepts the answer"),
    Transition(e.OrderRefused, (_O.ANSWERED,), _O.ISSUED, "the unit must answer again"),
    Transition(e.OrderOverdue, (_O.ISSUED,), None, "every overdue is declared"),
    Transition(e.OrderWithdrawn, (_O.ISSUED, _O.ANSWERED), _O.WITHDRAWN, "the centre takes the order back"),
    Transition(
        e.OrderCaseRefused, (_O.ISSUED, _O.ANSWERED, _O.ACCEPTED, _O.WITHDRAWN), None, "the case ended meanwhile"
    ),
)
ORDER_TRANSITIONS: dict[tuple[OrderStatus, type[Event]], Transition[OrderStatus]] = {
    (source, row.event): row for row in _TABLE for source in row.sources
}


def decide_order(command: Command, state: OrderState) -> Verdict:
    """Whether the law allows the command in `state`, and the event to append. A repeated command leads to no event."""
    if command.meta.command_id in state.applied:
        return Accepted(None)
    if state.newer_event:
        return Rejected(Reason.NEWER_EVENT)
    event = event_of(command)
    creates = isinstance(event, e.OrderIssued)
    if state.status is OrderStatus.NEW and not creates:
        return Rejected(Reason.NOT_REGISTERED)
    if creates and state.status is not OrderStatus.NEW:
        return Rejected(Reason.ALREADY_REGISTERED)
    if (state.status, type(event)) not in ORDER_TRANSITIONS:
        return Rejected(Reason.WRONG_STATUS, f"status {state.status}, command {command.name}")
    reason = _rule(state, event, command)
    return Rejected(reason) if reason else Accepted(record(command, event))


def _rule(state: OrderState, event: Event, command: Command) -> Reason | None:
    if isinstance(event, e.OrderIssued):
        if event.region != command.address.region:
            return Reason.WRONG_REGION
        if len(set(event.cases)) != len(event.cases):
            return Reason.SAME_CASE
        return Reason.NOT_LATER if event.due <= command.meta.time else None
    if isinstance(event, e.OrderOverdue):
        if state.overdue:
            return Reason.ALREADY_FIRED
        if event.due != state.due:
            return Reason.DEADLINE_MOVED
        return Reason.NOT_YET_DUE if event.seen_at <= event.due else None
    if isinstance(event, e.OrderCaseRefused):
        if event.case not in state.cases:
            return Reason.NOT_REGISTERED
        return Reason.ALREADY_REPORTED if event.case in state.refused_by else None
    return None


def evolve_order(state: OrderState, recorded: Recorded[Any]) -> OrderState:
    """The order after one more event."""
    event = recorded.event
    state = replace(state, version=state.version + 1, applied=state.applied | {recorded.meta.command_id})
    if isinstance(event, Unknown):
        return replace(state, newer_event=True)
    if transition := ORDER_TRANSITIONS.get((state.status, type(event))):
        state = replace(state, status=transition.status_after(state.status))
    if isinstance(event, e.OrderIssued):
        issued: dict[str, Any] = {name: getattr(event, name) for name in ("kind", "region", "unit", "cases", "due")}
        return replace(state, **issued, issued_by=recorded.id)
    if isinstance(event, e.OrderOverdue):
        return replace(state, overdue=True)
    if isinstance(event, e.OrderCaseRefused):
        return replace(state, refused_by=(*state.refused_by, event.case))
    return state
