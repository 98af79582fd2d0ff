"""One thread, virtual time, nothing ambient: an event loop that a seed decides, and the clocks that run on it."""

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
    """Everybody waits and nobody will wake: a deadlock of the world."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own scheduling, first come first served, over a clock that jumps to the next moment due."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._selector = self  # the part of a selector that the base class uses
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual

    def select(self, timeout: float | None) -> tuple[()]:
        """No I/O ever comes; instead of waiting, time moves on."""
        if timeout is None:
            raise Stuck("nobody is ready and nobody will be")
        if timeout > 0:
            self._virtual += timeout
        return ()

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class Group:
    """The tasks of one process, so that all of them can die at once. Order of creation is order of death."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self._tasks: list[asyncio.Task[Any]] = []
        self.context = copy_context()
        self.context.run(GROUP.set, self)

    def note(self, task: asyncio.Task[Any]) -> None:
        self._tasks.append(task)
        if len(self._tasks) > 256:
            self._tasks = [one for one in self._tasks if not one.done()]

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as this process, whoever asks for it."""
        return asyncio.get_running_loop().create_task(coroutine, context=self.context.copy())

    def running(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]

    def kill(self) -> None:
        """All tasks end where they are; what they would clean up finds nothing that answers."""
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
    loop.set_exception_handler(lambda _, context: None)  # of killed tasks; what matters is looked at by the world
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
    """`Clock` of one process: a time of day that jumps, drifts and stops, chance from the world's seed.

    The time of day passes `pace` times as fast as the seconds that services wait for (`monotonic`, `sleep`).
    """

    def __init__(self, chance: Random, pace: float = 1.0) -> None:
        self._chance = chance
        self.pace = self.rate = pace
        self.offset_s = 0.0
        self._at_s = self._shown_s = 0.0  # what it showed when the rate was last set

    def _reading(self) -> float:
        return self._shown_s + (asyncio.get_running_loop().time() - self._at_s) * self.rate

    def now(self) -> datetime:
        return START + timedelta(seconds=self._reading() + self.offset_s)

    def run_at(self, rate: float) -> None:
        """From now on so many seconds pass in one: 0 and it stands still."""
        self._shown_s, self._at_s, self.rate = self._reading(), asyncio.get_running_loop().time(), rate

    def set_by(self, right: SimClock) -> None:
        """Show the time that another one shows, and run as it does."""
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
