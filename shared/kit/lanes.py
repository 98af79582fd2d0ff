"""Turns: of the messages of a lane that are in hand the earliest is worked first, and one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush

from shared.kit.clock import Clock


@dataclass(slots=True)
class _Lane:
    waiting: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)
    is_busy: bool = False


class Lanes:
    """The lanes of one consumer. Messages that were delivered together may ask for their turns in any order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._asked_count = 0

    @asynccontextmanager
    async def turn(self, name: str, sequence: int) -> AsyncIterator[None]:
        """Wait until the message has the lane; it leaves the lane with the block."""
        lane = self._lanes.setdefault(name, _Lane())
        granted = asyncio.get_running_loop().create_future()
        self._asked_count += 1
        heappush(lane.waiting, (sequence, self._asked_count, granted))
        try:
            await self._clock.sleep(0)  # so that whatever was delivered with it has asked as well
            self._grant(name, lane)
            await granted
        except asyncio.CancelledError:
            if granted.cancel() or granted.cancelled():  # its place is passed over
                self._grant(name, lane)
            else:
                self._leave(name, lane)
            raise
        try:
            yield
        finally:
            self._leave(name, lane)

    def _leave(self, name: str, lane: _Lane) -> None:
        lane.is_busy = False
        self._grant(name, lane)

    def _grant(self, name: str, lane: _Lane) -> None:
        """Give a free lane to the earliest message that waits."""
        while lane.waiting and not lane.is_busy:
            _, _, granted = heappop(lane.waiting)
            if not granted.done():
                lane.is_busy = True
                granted.set_result(None)
        if not lane.waiting and not lane.is_busy:
            self._lanes.pop(name, None)
