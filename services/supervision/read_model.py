"""The read model of supervision in Postgres: the timers of cases and orders, and the counts that call for an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from services.supervision.policy import moments
from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange
from shared.kit.rows import FIXED, BigInteger, Boolean, Id, Integer, String, Time, arrays_of
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
        """Upsert the rows and the timers; a repeated or older change has no effect."""
        if not changes:
            return
        columns = arrays_of([watched_row(change) for change in changes])
        newer = {row["subject"] for row in await session.fetch("write_watched", *columns)}
        await session.execute("forget_moments", list(newer))
        states = [(subject, change.state) for change in changes if (subject := change.address.subject) in newer]
        timers = [
            MomentRow(timer.subject, timer.what, timer.stage, timer.unit, timer.at, timer.cause)
            for subject, state in states
            for timer in moments(subject, state)
        ]
        if timers:
            await session.execute("write_moments", *arrays_of(timers))

    async def clear(self, session: Session) -> None:
        """Empty the tables."""
        await session.execute("clear_watched")


@dataclass(frozen=True, slots=True)
class WatchedRow:
    """One row of `watched`: a case or an order, with the counts that call for a supervision order."""

    subject: String
    id: Annotated[Id, FIXED]
    sequence: BigInteger
    kind: Annotated[String, FIXED]
    in_charge: String
    open: Boolean
    hand_backs: Integer
    repeats: Integer
    lateness: Integer
    people: Integer
    orders: Integer
    state: String


@dataclass(frozen=True, slots=True)
class MomentRow:
    """One row of `moments`: a timer of a case or an order."""

    subject: String
    what: String
    stage: String
    unit: String
    at: Time
    cause: String


def watched_row(change: AggregateChange) -> WatchedRow:
    """The row of a case or an order."""
    state: CaseState | OrderState = change.state
    case = state if isinstance(state, CaseState) else CaseState()
    return WatchedRow(
        subject=change.address.subject,
        id=change.address.id,
        sequence=change.position.sequence,
        kind=change.address.kind,
        in_charge=case.in_charge or getattr(state, "region", ""),
        open=case.status in OPEN and not case.erased,
        hand_backs=case.hand_backs,
        repeats=case.repeats,
        lateness=case.overdue_count,
        people=case.people_count,
        orders=len(case.orders),
        state=change.state_text,
    )
