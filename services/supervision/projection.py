"""Supervision's read model, from the folded case or order: what is due when, what calls for an order. Pure."""

from __future__ import annotations

from typing import Any

from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json


def watched_row(change: AggregateChange) -> tuple[Any, ...]:
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
        case.overdue_count,
        case.people_count,
        len(case.orders),
        state_json(kind, state),
    )
