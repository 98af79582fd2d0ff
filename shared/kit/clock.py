"""The one place of ambient time and randomness.

Whatever depends on the moment or on chance takes a `Clock`, so that the simulation and the tests can decide both.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Time and chance, as everything outside this file sees them."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back, so good for waits and ages."""

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds; 0 lets others run."""

    def random(self) -> float:
        """A number in [0, 1) for jitter and sampling. Not for secrets."""

    def new_id(self) -> str:
        """A fresh random id (UUID version 4, RFC 9562)."""

    def token_bytes(self, count: int) -> bytes:
        """`count` bytes nobody can guess: keys, nonces, tokens."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return random.random()

    def new_id(self) -> str:
        return str(UUID(bytes=os.urandom(16), version=4))

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)
