"""Routing's worklist in Postgres: a read model, dropped and rebuilt at will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.routing.projection import work_row
from shared.kit.effects import AggregateChange
from shared.kit.sql import Session, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))
TABLES = ("work",)


class Work:
    """The read model `routing.work`."""

    name = "routing.work"
    kinds = frozenset({"case"})

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases."""
        return {row["subject"]: row["state"] for row in await session.fetch("work_states", subjects)}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows; the same again, or older, changes nothing."""
        if changes:
            columns = zip(*(work_row(change) for change in changes), strict=True)
            await session.execute("write_work", *(list(column) for column in columns))

    async def clear(self, session: Session) -> None:
        """Empty the worklist."""
        await session.execute("clear_work")
