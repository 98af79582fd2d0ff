"""Routing's worklist in Postgres, from the folded case: a read model, dropped and rebuilt at will."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.case.state import CaseState
from shared.kit.effects import AggregateChange
from shared.kit.sql import Session


class Work:
    """The read model `routing.work`."""

    name = "routing.work"
    kinds = frozenset({"case"})
    tables: tuple[str, ...] = ("work",)

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases."""
        rows = await session.fetch("work_states", subjects)
        return {row["subject"]: row["state"] for row in rows}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows; the same again, or older, changes nothing."""
        if changes:
            columns = zip(*(work_row(change) for change in changes), strict=True)
            await session.execute("write_work", *(list(column) for column in columns))

    async def clear(self, session: Session) -> None:
        """Empty the worklist."""
        await session.execute("clear_work")


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
        change.state_text,
    )
