"""The queries on supervision's tables except those of webhooks: the agenda, and cases that call for orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.supervision.deadlines.ticker import DueTimer
from services.supervision.read_model import MomentRow, WatchedRow
from shared.case.base import region_prefix
from shared.kit.effects import ADAPTERS, Timer
from shared.kit.sql import AdvisoryLock, Database, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"), rows=(WatchedRow, MomentRow))
BEGINNING = Timer(datetime.min.replace(tzinfo=UTC), "", "")


class TroubledQueries:
    """Cases that may call for a supervision order. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def troubled(self, *, region: str, after: tuple[str, str], least: Sequence[int], limit: int) -> list[Any]:
        """The cases of a region that call for a proposal, behind `after` (centre in charge, id).

        They are open and reach one of the `least` counts, or closed, and their reopening is proposed.
        """
        prefix_end = f"{region_prefix(region)}:"
        return await self._database.fetch("troubled", prefix_end, *after, *least, limit)


class PgAgenda:
    """The agenda in Postgres: timers for the ticker and the recomputation, and the lock of the active ticker."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def lock(self) -> AdvisoryLock | None:
        """The lock of the active ticker; None while another has it. Raises Unavailable."""
        return await self._database.try_advisory_lock("supervision.ticker")

    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        """The timers that are due by `now`, in due order, behind the timer `after`. Raises Unavailable."""
        position = (after or BEGINNING).key
        return [_due_timer(row) for row in await self._database.fetch("due", now, *position, count_max)]

    async def next_at(self, after: datetime) -> datetime | None:
        """The moment of the first timer after `after`; None when there is none. Raises Unavailable."""
        moment: datetime | None = await self._database.fetch_value("next_moment", after)
        return moment

    async def running(self, after: Timer | None, count_max: int) -> list[DueTimer]:
        """The running deadlines behind the timer `after`, soonest first, which a newer calendar may move.

        Raises Unavailable.
        """
        position = (after or BEGINNING).key
        return [_due_timer(row) for row in await self._database.fetch("running", *position, count_max)]

    async def clockless(self, after: str, count_max: int) -> list[str]:
        """The subjects of open cases without a timer, in order, behind the subject `after`. Raises Unavailable."""
        return [row["subject"] for row in await self._database.fetch("clockless", after, count_max)]

    async def calendars(self) -> list[str]:
        """The references of the calendars by which every running deadline is computed. Raises Unavailable."""
        return [row["reference"] for row in await self._database.fetch("calendars_applied")]

    async def note_calendars(self, references: Sequence[str]) -> None:
        """Note that every running deadline is computed by these calendars. Raises Unavailable."""
        async with self._database.transaction() as session:
            await session.execute("forget_calendars")
            await session.execute("note_calendars", list(references))


def _due_timer(row: Any) -> DueTimer:
    timer = Timer(row["at"], row["subject"], row["what"], row["stage"], row["unit"], row["cause"])
    kind = timer.subject.partition(".")[0]
    return DueTimer(timer, ADAPTERS[kind].validate_json(row["state"]), row["sequence"])
