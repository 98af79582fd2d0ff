"""Reading one's own writes: wait until a read model has seen a position, without coupling writer and reader.

`?after=LOG_5101:17` on a query waits here, at most `wait_s_max` seconds; then the answer says that it may be older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shared.case.base import Position
from shared.kit.clock import Clock

POLL_S = 0.05

Lookup = Callable[[str, str], Awaitable[int]]


class ProjectionProgress:
    """How far each read model has come, as told by the projectors of this process.

    `look_up(model, stream)` asks the checkpoint table: for a process whose twin is the writer.
    """

    def __init__(self, clock: Clock, look_up: Lookup | None = None) -> None:
        self._clock = clock
        self._at: dict[tuple[str, str], int] = {}
        self._waiting: dict[tuple[str, str], list[tuple[int, asyncio.Future[None]]]] = {}
        self._look_up = look_up

    def set(self, model: str, position: Position) -> None:
        """A projector has committed up to here: wake who waits for it."""
        key = (model, position.stream)
        self._at[key] = max(self._at.get(key, 0), position.sequence)
        waiting = self._waiting.pop(key, [])
        still = []
        for wanted, future in waiting:
            if wanted > position.sequence:
                still.append((wanted, future))
            elif not future.done():
                future.set_result(None)
        if still:
            self._waiting[key] = still

    def at(self, model: str, stream: str) -> int:
        """The sequence reached, 0 when nothing is known."""
        return self._at.get((model, stream), 0)

    async def wait(self, model: str, position: Position, wait_s_max: float) -> bool:
        """Whether the model has seen `position` within `wait_s_max` seconds."""
        key = (model, position.stream)
        if self._at.get(key, 0) >= position.sequence:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append((position.sequence, future))
        poll = asyncio.ensure_future(self._poll(model, position)) if self._look_up else None
        try:
            async with asyncio.timeout(wait_s_max):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            if poll is not None:
                poll.cancel()
            left = [one for one in self._waiting.get(key, []) if one[1] is not future]
            if left:
                self._waiting[key] = left
            else:
                self._waiting.pop(key, None)

    async def _poll(self, model: str, position: Position) -> None:
        assert self._look_up is not None
        while self.at(model, position.stream) < position.sequence:
            await self._clock.sleep(POLL_S)
            sequence = await self._look_up(model, position.stream)
            if sequence > self.at(model, position.stream):
                self.set(model, Position(position.stream, sequence))
