"""Supervision's read model in Postgres: what is due when, and what calls for an order; dropped and rebuilt at will."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.supervision.deadlines.ticker import DueTimer
from services.supervision.policy import moments
from services.supervision.projection import watched_row
from shared.kit.effects import ADAPTERS, AggregateChange, Timer
from shared.kit.sql import AdvisoryLock, Database, Session, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))
TABLES: tuple[str, ...] = ("watched", "moments")
BEGINNING = Timer(datetime.min.replace(tzinfo=UTC), "", "")


class Watched:
    """The read model `supervision.watched`."""

    name = "supervision.watched"
    kinds = frozenset({"case", "order"})

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
        told = [
            (due.subject, due.what, due.stage, due.unit, due.at, due.cause)
            for subject, state in states
            for due in moments(subject, state)
        ]
        if told:
            await session.execute("write_moments", *_columns(told))

    async def clear(self, session: Session) -> None:
        """Empty the tables."""
        await session.execute("clear_watched")


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


class PgAgenda:
    """What is due, for the ticker and for the recomputation; the right to be the active one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lock(self) -> AdvisoryLock | None:
        """The right to be the active ticker, None while another has it. Raises Unavailable."""
        return await self._database.try_advisory_lock("supervision.ticker")

    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        """What is due by `now`, in due order, after a place. Raises Unavailable."""
        at = (after or BEGINNING).key
        async with self._database.session() as session:
            return [_dued(row) for row in await session.fetch("due", now, *at, count_max)]

    async def next_at(self, after: datetime) -> datetime | None:
        """When the next thing is due after a moment. Raises Unavailable."""
        async with self._database.session() as session:
            moment: datetime | None = await session.fetch_value("next_moment", after)
            return moment

    async def running(self, after: Timer | None, count_max: int) -> list[DueTimer]:
        """Deadlines that run, soonest first, after a place: what a newer calendar may move. Raises Unavailable."""
        at = (after or BEGINNING).key
        async with self._database.session() as session:
            return [_dued(row) for row in await session.fetch("running", *at, count_max)]

    async def clockless(self, after: str, count_max: int) -> list[str]:
        """Open cases of which nothing is due, by subject, after one. Raises Unavailable."""
        async with self._database.session() as session:
            return [row["subject"] for row in await session.fetch("clockless", after, count_max)]

    async def calendars(self) -> list[str]:
        """The calendars that every running deadline was reckoned with. Raises Unavailable."""
        async with self._database.session() as session:
            return [row["reference"] for row in await session.fetch("calendars_applied")]

    async def note_calendars(self, references: Sequence[str]) -> None:
        """Every running deadline was reckoned with these. Raises Unavailable."""
        async with self._database.transaction() as session:
            await session.execute("forget_calendars")
            await session.execute("note_calendars", list(references))


def _dued(row: Any) -> DueTimer:
    due = Timer(row["at"], row["subject"], row["what"], row["stage"], row["unit"], row["cause"])
    kind = due.subject.partition(".")[0]
    return DueTimer(due, ADAPTERS[kind].validate_json(row["state"]), row["sequence"])
