"""Every read of the worklist."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from services.routing.read_model import WorkRow
from shared.case.base import region_prefix
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.sql import Database, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"), rows=(WorkRow,))


class WorkQueries:
    """The table `work`, as callers may read it. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def queue(self, *, caller: Caller, region: str, after: tuple[datetime, str] | None, limit: int) -> list[Any]:
        """Cases of a region that wait for the triage desk and that the caller may see, oldest first."""
        time, id = after or (None, None)
        return await self._database.fetch(
            "queue", region_prefix(region), time, id, caller.person, caller.unit, region_prefix(caller.region),
            Right.READ in caller.rights, limit,
        )  # fmt: skip

    async def open_cases_of(self, *, region: str, person: str | None, unit: str | None) -> list[Any]:
        """Open cases of a region that a person is responsible for, or a unit, in a stable order."""
        return await self._database.fetch("cases_of", region_prefix(region), person, unit)

    async def states(self, subjects: Sequence[str]) -> dict[str, str]:
        """The folded states of these cases by subject, for a trial of rules by the administrator."""
        rows = await self._database.fetch("work_states", subjects)
        return {row["subject"]: row["state"] for row in rows}
