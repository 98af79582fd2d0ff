"""Background work of reporting."""

from __future__ import annotations

from services.reporting.queries import STATEMENTS
from shared.kit.clock import Clock
from shared.kit.intervals import run_every
from shared.kit.sql import Database

INDEX_SWEEP_EVERY_S = 600.0
SWEEP_ROWS_MAX = 5_000


class SearchSweep:
    """Limits the search index to cases that are open or ended a short while ago."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database.using(STATEMENTS), clock

    async def run(self) -> None:
        """Sweep at intervals; returns only by cancellation."""
        await run_every(self._clock, INDEX_SWEEP_EVERY_S, self.sweep_once, "the sweep of the search index waits")

    async def sweep_once(self) -> None:
        """Delete the index entries of cases that ended long enough ago. Raises Unavailable."""
        while await self._database.execute("sweep_grams", self._clock.now(), SWEEP_ROWS_MAX) == SWEEP_ROWS_MAX:
            await self._clock.sleep(0)
