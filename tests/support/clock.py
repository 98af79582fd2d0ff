"""A clock that stands still until a test moves it, with seeded chance."""

from __future__ import annotations

import asyncio
import heapq
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # a Monday, nine in the morning in China


class FakeClock:
    """Deterministic `Clock`: the same start, seed and calls give the same times, ids and bytes.

    `advance` moves time and wakes the sleepers in the order of their due times. `jump` moves the time of day and wakes
    nobody, as a wrong or corrected system clock does.
    """

    def __init__(self, start: datetime = START, seed: int = 0) -> None:
        if start.tzinfo is None:
            raise ValueError("FakeClock needs an aware start, for example datetime(2026, 3, 2, tzinfo=UTC)")
        self._wall = start.astimezone(UTC)
        self._elapsed = 0.0
        self._chance = random.Random(seed)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._slept += 1
        waiting = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._slept, waiting))
        await waiting

    def random(self) -> float:
        return self._chance.random()

    def new_id(self) -> str:
        return str(UUID(bytes=self.token_bytes(16), version=4))

    def token_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)

    def next_due(self) -> float | None:
        """The `monotonic` time at which the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled meanwhile
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Move time on. Each sleeper runs at its own due time, before time moves further."""
        end = self._elapsed + seconds
        while (due := self.next_due()) is not None and due <= end:
            self._elapsed = max(self._elapsed, due)
            heapq.heappop(self._sleepers)[2].set_result(None)
            await self.settle()
        self._elapsed = end
        await self.settle()

    def jump(self, seconds: float) -> None:
        """Move the time of day by `seconds`, back or forth; waits stay as they are."""
        self._wall += timedelta(seconds=seconds)

    async def settle(self, rounds: int = 20) -> None:
        """Let the ready tasks run."""
        for _ in range(rounds):
            await asyncio.sleep(0)
