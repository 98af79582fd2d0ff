"""Every read of supervision's tables but those of webhooks: the agenda, and cases that call for orders."""

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
    """Cases that may call for a supervision order. All raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def troubled(self, *, region: str, after: tuple[str, str], least: Sequence[int], limit: int) -> list[Any]:
        """Open cases of a region that reach one of the `least` counts, behind (centre in charge, id)."""
        prefix_end = f"{region_prefix(region)}:"
        return await self._database.fetch("troubled", prefix_end, *after, *least, limit)


class PgAgenda:
    """What is due, for the ticker and for the recomputation; the right to be the active one."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def lock(self) -> AdvisoryLock | None:
        """The right to be the active ticker, None while another has it. Raises Unavailable."""
        return await self._database.try_advisory_lock("supervision.ticker")

    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        """What is due by `now`, in due order, after a place. Raises Unavailable."""
        at = (after or BEGINNING).key
        return [_due_timer(row) for row in await self._database.fetch("due", now, *at, count_max)]

    async def next_at(self, after: datetime) -> datetime | None:
        """When the next thing is due after a moment. Raises Unavailable."""
        moment: datetime | None = await self._database.fetch_value("next_moment", after)
        return moment

    async def running(self, after: Timer | None, count_max: int) -> list[DueTimer]:
        """Deadlines that run, soonest first, after a place: what a newer calendar may move. Raises Unavailable."""
        at = (after or BEGINNING).key
        return [_due_timer(row) for row in await self._database.fetch("running", *at, count_max)]

    async def clockless(self, after: str, count_max: int) -> list[str]:
        """Open cases of which nothing is due, by subject, after one. Raises Unavailable."""
        return [row["subject"] for row in await self._database.fetch("clockless", after, count_max)]

    async def calendars(self) -> list[str]:
        """The calendars that every running deadline was reckoned with. Raises Unavailable."""
        return [row["reference"] for row in await self._database.fetch("calendars_applied")]

    async def note_calendars(self, references: Sequence[str]) -> None:
        """Every running deadline was reckoned with these. Raises Unavailable."""
        async with self._database.transaction() as session:
            await session.execute("forget_calendars")
            await session.execute("note_calendars", list(references))


def _due_timer(row: Any) -> DueTimer:
    due = Timer(row["at"], row["subject"], row["what"], row["stage"], row["unit"], row["cause"])
    kind = due.subject.partition(".")[0]
    return DueTimer(due, ADAPTERS[kind].validate_json(row["state"]), row["sequence"])
