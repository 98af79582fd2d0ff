"""Waiting in an event loop until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

POLL_S = 0.01
WAIT_S_MAX = 20.0  # on a busy machine; what is waited for takes milliseconds


async def until(read: Callable[[], Any], wait_s_max: float = WAIT_S_MAX) -> Any:
    """Poll until `read`, which may be a coroutine function, returns a true value; returns it. Raises TimeoutError."""
    async with asyncio.timeout(wait_s_max):
        while True:
            value = read()
            if isawaitable(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(POLL_S)
