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
    """How far each read model has come, as the projection runners of this process say.

    Where another process is the writer, the checkpoint table says it: `add_source` names who reads it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: dict[str, Lookup] = {}
        self._at: dict[tuple[str, str], int] = {}
        self._waiting: dict[tuple[str, str], list[tuple[int, asyncio.Future[None]]]] = {}

    def add_source(self, service: str, look_up: Lookup) -> None:
        """Ask `look_up(model, stream)` for the sequence reached by a read model of this service."""
        self._sources[service] = look_up

    def set(self, model: str, position: Position) -> None:
        """A projection runner has committed up to here: wake those who wait for it."""
        key = (model, position.stream)
        self._at[key] = max(self._at.get(key, 0), position.sequence)
        waiting = self._waiting.pop(key, [])
        for sequence, future in waiting:
            if sequence <= position.sequence and not future.done():
                future.set_result(None)
        if behind := [entry for entry in waiting if entry[0] > position.sequence]:
            self._waiting[key] = behind

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
        source = self._sources.get(model.partition(".")[0])
        poll = asyncio.ensure_future(self._poll(source, model, position)) if source else None
        try:
            async with asyncio.timeout(wait_s_max):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            if poll is not None:
                poll.cancel()
            left = [entry for entry in self._waiting.get(key, []) if entry[1] is not future]
            if left:
                self._waiting[key] = left
            else:
                self._waiting.pop(key, None)

    async def _poll(self, source: Lookup, model: str, position: Position) -> None:
        while self.at(model, position.stream) < position.sequence:
            await self._clock.sleep(POLL_S)
            sequence = await source(model, position.stream)
            if sequence > self.at(model, position.stream):
                self.set(model, Position(position.stream, sequence))
