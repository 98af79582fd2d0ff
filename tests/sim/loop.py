"""An event loop in one thread and in virtual time, which is deterministic for a seed, and the clocks that run on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID

START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # a Monday, nine in the morning in China
T = TypeVar("T")


class Stuck(Exception):
    """A deadlock of the world: all tasks wait, and no timer is set."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The scheduling of asyncio (first come, first served) over a clock that jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._selector = self  # the part of a selector that the base class uses
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual

    def select(self, timeout: float | None) -> tuple[()]:
        """There is no I/O; instead of a wait, the time moves on."""
        if timeout is None:
            raise Stuck("no task is ready and no timer is set")
        if timeout > 0:
            self._virtual += timeout
        return ()

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class Group:
    """The tasks of one process, which a kill cancels together, in the order of their creation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self._tasks: list[asyncio.Task[Any]] = []
        self.context = copy_context()
        self.context.run(GROUP.set, self)

    def note(self, task: asyncio.Task[Any]) -> None:
        self._tasks.append(task)
        if len(self._tasks) > 256:
            self._tasks = [started for started in self._tasks if not started.done()]

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task of this process, whichever task calls."""
        return asyncio.get_running_loop().create_task(coroutine, context=self.context.copy())

    def running(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]

    def kill(self) -> None:
        """Cancel all tasks. Their cleanup reaches no port, as the group is no longer alive."""
        self.alive = False
        for task in self._tasks:
            if not task.done():
                task.cancel()


GROUP: ContextVar[Group | None] = ContextVar("group", default=None)


def _make(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
    context: Context | None = None,
) -> asyncio.Task[T]:
    task = asyncio.Task(coroutine, loop=loop, context=context)
    group = GROUP.get() if context is None else context.get(GROUP)
    if group is not None:
        group.note(task)
        if not group.alive:
            task.cancel()
    return task


def run(world: Callable[[], Awaitable[T]]) -> T:
    """Run a world to its end in a loop of its own."""
    loop = VirtualLoop()
    loop.set_task_factory(_make)
    loop.set_exception_handler(lambda _, context: None)  # errors of killed tasks; the world checks those of the others
    try:
        return loop.run_until_complete(world())
    finally:
        leftovers = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        for task in leftovers:
            task.cancel()
        if leftovers:
            loop.run_until_complete(asyncio.gather(*leftovers, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class SimClock:
    """`Clock` of one process: its time of day may jump, drift and stop; its chance comes from the seed of the world.

    The time of day passes `pace` times as fast as the seconds that services wait for (`monotonic`, `sleep`).
    """

    def __init__(self, chance: Random, pace: float = 1.0) -> None:
        self._chance = chance
        self.pace = self.rate = pace
        self.offset_s = 0.0
        self._at_s = self._shown_s = 0.0  # the loop time and the reading at the last change of the rate

    def _reading(self) -> float:
        return self._shown_s + (asyncio.get_running_loop().time() - self._at_s) * self.rate

    def now(self) -> datetime:
        return START + timedelta(seconds=self._reading() + self.offset_s)

    def run_at(self, rate: float) -> None:
        """From now on `rate` seconds of the time of day pass in a second; 0 stops it."""
        self._shown_s, self._at_s, self.rate = self._reading(), asyncio.get_running_loop().time(), rate

    def set_by(self, right: SimClock) -> None:
        """Take the time and the rate of another clock."""
        self._shown_s, self._at_s, self.rate = right._shown_s, right._at_s, right.rate
        self.offset_s = right.offset_s

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return self._chance.random()

    def new_id(self) -> str:
        return str(UUID(bytes=self.token_bytes(16), version=4))

    def token_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)
