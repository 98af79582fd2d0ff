"""A clock on which days pass in seconds, for real servers."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

from shared.kit.clock import SystemClock

SLEEP_S_MAX = 0.02  # in real time; a second of this clock is too short for a sleep


class FastClock(SystemClock):
    """The time of day begins at `start` and runs `rate` times as fast. Chance is that of the machine."""

    def __init__(self, start: datetime, rate: float) -> None:
        self._start, self._rate, self._began = start, rate, time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self._rate)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, SLEEP_S_MAX))
