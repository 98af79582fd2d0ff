"""The REFERENCE stream as readers and publishers of documents use it, and an implementation in memory for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from shared.log.port import LogConflict


class ReferenceMessage(Protocol):
    """One message of the stream."""

    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class ReferenceStream(Protocol):
    """The calls that documents need. `shared.log.streams.Streams` and `MemoryReferenceStream` implement them."""

    async def publish(self, subject: str, data: bytes, *, expected: int | None = None) -> Any:
        """Publish when the subject's last sequence is `expected`. Raises LogConflict, LogUnavailable."""

    async def last(self, stream: str, subject: str) -> ReferenceMessage | None:
        """The last message of a subject."""

    async def end(self, stream: str) -> int:
        """The last sequence of the stream, 0 when it is empty."""

    def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[Any], None]:
        """The messages above `after`, then those that follow, in order, in batches."""


@dataclass(frozen=True, slots=True)
class MemoryReferenceMessage:
    """One message, sequences from 1."""

    subject: str
    sequence: int
    data: bytes


class MemoryReferenceStream:
    """A `ReferenceStream` that keeps one stream under every name."""

    def __init__(self) -> None:
        self.messages: list[MemoryReferenceMessage] = []
        self._news = asyncio.Event()

    async def publish(self, subject: str, data: bytes, *, expected: int | None = None) -> MemoryReferenceMessage:
        last = await self.last("", subject)
        actual = last.sequence if last else 0
        if expected is not None and expected != actual:
            raise LogConflict(subject, expected, actual)
        self.messages.append(MemoryReferenceMessage(subject, len(self.messages) + 1, data))
        self._news.set()
        self._news = asyncio.Event()
        return self.messages[-1]

    async def last(self, stream: str, subject: str) -> MemoryReferenceMessage | None:
        return next((message for message in reversed(self.messages) if message.subject == subject), None)

    async def end(self, stream: str) -> int:
        return len(self.messages)

    async def follow_raw(
        self, stream: str, subject: str, after: int
    ) -> AsyncGenerator[list[MemoryReferenceMessage], None]:
        while True:
            news = self._news
            if batch := self.messages[after:]:
                after = len(self.messages)
                yield batch
            else:
                await news.wait()
