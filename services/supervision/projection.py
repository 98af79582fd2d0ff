"""Supervision's read model, from the folded case or order: what is due when, what calls for an order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.case.clocks import Clock
from shared.case.facts import Hold
from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState, OrderStatus
from shared.case.state import CaseState
from shared.kit.pure import Change, Due, state_json


def moments(subject: str, state: CaseState | OrderState) -> Iterator[Due]:
    """What comes next of each clock, and when; nothing for a case under import, which lives by its file's clock."""
    if isinstance(state, OrderState):
        if state.status is OrderStatus.ISSUED and state.due is not None and not state.overdue:
            yield Due(state.due, subject, "order", cause=state.issued_by)
        return
    if Hold.IMPORT in state.holds or state.erased:
        return
    for clock in state.clocks:
        yield from _of_clock(subject, state, clock)


def _of_clock(subject: str, state: CaseState, clock: Clock) -> Iterator[Due]:
    deadline = clock.deadline
    stage, unit = deadline.stage.value, deadline.unit or ""
    if clock.ended_at is not None and not clock.late_unseen:
        return
    if clock.suspended:
        if clock.resume_at is not None:
            yield Due(clock.resume_at, subject, "resume", stage, unit, clock.moves[-1].event)
        return
    if clock.overdue:
        late = state.late_one(*clock.key)
        if late is not None and late.next_at is not None:
            yield Due(late.next_at, subject, "rung", stage, unit, late.cause)
        return
    if deadline.warn_at is not None and not clock.warned and clock.ended_at is None:
        yield Due(deadline.warn_at, subject, "warn", stage, unit, clock.set_by)
    yield Due(deadline.due, subject, "overdue", stage, unit, clock.set_by)


def watched_row(change: Change) -> tuple[Any, ...]:
    """One row of `watched`, in the order of the statement `write_watched`."""
    state: CaseState | OrderState = change.state
    kind = change.address.kind
    case = state if isinstance(state, CaseState) else CaseState()
    return (
        change.address.subject,
        change.address.id,
        change.position.sequence,
        kind,
        case.in_charge or getattr(state, "region", ""),
        case.status in OPEN and not case.erased,
        case.hand_backs,
        case.repeats,
        case.lateness,
        case.people_count,
        len(case.orders),
        state_json(kind, state),
    )
