"""Responses that do not end by themselves: slots for their listeners, and the end of one that has stopped reading."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager

from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.problems import ProblemError, TooManyRequests
from shared.kit.runtime import Runtime
from shared.kit.telemetry import OPEN_STREAMS

WRITE_S_MAX = 60.0  # a listener that reads nothing for so long is disconnected
LISTENERS_PER_PERSON_MAX = 8
BUSY_RETRY_S = 30


class ListenerSlots:
    """The listeners of one endless response, counted by person and in all."""

    def __init__(self, runtime: Runtime, name: str, count_max: int, full: ProblemError) -> None:
        """`name`: the label of the metric. `full`: raised when `count_max` listeners are there."""
        self._taken: Counter[str] = Counter()
        self._telemetry, self._name, self._full = runtime.telemetry, name, full
        self.count_max = count_max

    def take(self, caller: Caller) -> AbstractContextManager[None]:
        """A slot for the duration of a block. Raises TooManyRequests, or `full`, before the block begins."""
        if self._taken[caller.person] >= LISTENERS_PER_PERSON_MAX:
            raise TooManyRequests(
                f"You listen {LISTENERS_PER_PERSON_MAX} times already. Close another listener first.",
                retry_after_s=BUSY_RETRY_S,
            )
        if self._taken.total() >= self.count_max:
            raise self._full
        return self._slot(caller.person)

    @contextmanager
    def _slot(self, person: str) -> Iterator[None]:
        self._taken[person] += 1
        self._telemetry.set(OPEN_STREAMS, self._taken.total(), self._name)
        try:
            yield
        finally:
            self._taken[person] -= 1
            self._telemetry.set(OPEN_STREAMS, self._taken.total(), self._name)


class EndlessResponse(StreamingResponse):
    """A response that does not end by itself. It holds a slot, and disconnects a listener that has stopped reading."""

    def __init__(self, content: AsyncIterator[bytes], slot: AbstractContextManager[None], media_type: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, headers=headers, media_type=media_type)
        self._slot = slot

    async def stream_response(self, send: Send) -> None:
        """Send as Starlette does, each piece within WRITE_S_MAX."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(WRITE_S_MAX):
                await send(message)

        with self._slot:
            try:
                await super().stream_response(send_in_time)
            except TimeoutError:
                telemetry.warn("a listener read nothing and was disconnected")
