"""Supervision's read model in Postgres, from folded cases and orders: what is due when, what calls for an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.supervision.policy import moments
from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange
from shared.kit.sql import Session


class Watched:
    """The read model `supervision.watched`."""

    name = "supervision.watched"
    kinds = frozenset({"case", "order"})
    tables: tuple[str, ...] = ("watched", "moments")

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases and orders."""
        return {row["subject"]: row["state"] for row in await session.fetch("watched_states", subjects)}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows and what is due; the same again, or older, changes nothing."""
        if not changes:
            return
        rows = await session.fetch("write_watched", *_columns([watched_row(change) for change in changes]))
        newer = {row["subject"] for row in rows}
        await session.execute("forget_moments", list(newer))
        states = [(subject, change.state) for change in changes if (subject := change.address.subject) in newer]
        timers = [
            (due.subject, due.what, due.stage, due.unit, due.at, due.cause)
            for subject, state in states
            for due in moments(subject, state)
        ]
        if timers:
            await session.execute("write_moments", *_columns(timers))

    async def clear(self, session: Session) -> None:
        """Empty the tables."""
        await session.execute("clear_watched")


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
        change.state_text,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
