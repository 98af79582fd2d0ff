"""The worklist's rows, from the folded case. Pure."""

from __future__ import annotations

from typing import Any

from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json


def work_row(change: AggregateChange) -> tuple[Any, ...]:
    """One row of `work`, in the order of the statement `write_work`; lists of codes joined by spaces."""
    state: CaseState = change.state
    people = [p for p in (state.person, *(co.person for co in state.co_handlers)) if p]
    return (
        change.address.subject,
        change.address.id,
        change.position.sequence,
        state.status.value,
        state.region,
        state.in_charge,
        state.unit,
        state.person,
        " ".join(u for u in (state.unit, *state.co_units) if u),
        " ".join(people),
        state.complained_unit,
        " ".join(state.stand_aside),
        state.first_asked,
        state.registered_at,
        state_json("case", state),
    )
