"""Background work at intervals, which waits while the servers are away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shared.kit import telemetry
from shared.kit.clock import Clock
from shared.kit.problems import Unavailable
from shared.log.port import LogUnavailable


async def run_every(clock: Clock, seconds: float, work: Callable[[], Awaitable[object]], waiting: str) -> None:
    """Do the work again and again, `seconds` apart; returns only by cancellation.

    A database or log that gives no answer ends one round with the warning `waiting`, and not the process.
    """
    while True:
        try:
            await work()
        except (LogUnavailable, Unavailable) as error:
            telemetry.warn(waiting, reason=type(error).__name__)
        await clock.sleep(seconds)
