"""The REFERENCE stream in memory, for simulation and tests: the same guard, the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from shared.log.port import LogConflict


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """One message, sequences from 1."""

    subject: str
    sequence: int
    data: bytes


class MemoryReferenceStream:
    """A `Shelf` of one stream, whatever name it is asked by."""

    def __init__(self) -> None:
        self.messages: list[MemoryMessage] = []
        self._news = asyncio.Event()

    async def publish(self, subject: str, data: bytes, *, expected: int | None = None) -> MemoryMessage:
        last = await self.last("", subject)
        actual = last.sequence if last else 0
        if expected is not None and expected != actual:
            raise LogConflict(subject, expected, actual)
        self.messages.append(MemoryMessage(subject, len(self.messages) + 1, data))
        self._news.set()
        self._news = asyncio.Event()
        return self.messages[-1]

    async def last(self, stream: str, subject: str) -> MemoryMessage | None:
        return next((message for message in reversed(self.messages) if message.subject == subject), None)

    async def end(self, stream: str) -> int:
        return len(self.messages)

    async def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[MemoryMessage], None]:
        while True:
            news = self._news
            if batch := self.messages[after:]:
                after = len(self.messages)
                yield batch
            else:
                await news.wait()
