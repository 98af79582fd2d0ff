"""One copy of many does a job: the one that has the lock. Others wait for it, so any number may run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from shared.kit.clock import Clock
from shared.kit.problems import Unavailable
from shared.log import port as log_port

LOCK_RETRY_S = 1.0
RESTART_S = 0.5


class Lock(Protocol):
    """The right to be the one, until released or lost."""

    @property
    def held(self) -> bool: ...
    async def verify(self) -> None: ...
    async def release(self) -> None: ...


async def run_as_leader(
    name: str,
    lock: Callable[[], Awaitable[Lock | None]],
    work: Callable[[Lock], Coroutine[Any, Any, None]],
    clock: Clock,
    failed: Callable[[str], None],
) -> None:
    """Work for ever, whenever this copy has the lock; returns only by cancellation.

    When servers do not answer, or another copy was quicker, the lock is given up, `failed` hears the error's name, and
    after a pause all begins anew. Raises whatever else the work raises.
    """
    while True:
        try:
            held = await lock()
            if held is None:
                await clock.sleep(LOCK_RETRY_S)
                continue
            try:
                # in a task of its own: a group cancels the task that holds it when a child fails, and 3.11 leaves that
                # standing, as if somebody had told us to stop
                await asyncio.create_task(work(held), name=name)
            finally:
                await held.release()
        except* (Unavailable, log_port.LogUnavailable, log_port.LogConflict) as error:
            failed(type(error.exceptions[0]).__name__)
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # 3.11 loses a cancellation that meets a child's error
            raise asyncio.CancelledError
        await clock.sleep(RESTART_S)


async def renew(lock: Lock, clock: Clock) -> None:
    """Ask for the lock now and then while others work under it. Raises Unavailable when it is lost."""
    while True:
        await clock.sleep(LOCK_RETRY_S)
        await lock.verify()
