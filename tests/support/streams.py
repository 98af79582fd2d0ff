"""The streams around the log in memory for the simulation: submissions, receipts, progress, parked, feed, objects.

`pause` is awaited at each call, and at `publish.stored` after a message is stored. There a scheduler may raise
LogUnavailable, so that the acknowledgement is lost.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from typing import Any, Protocol

from shared.log.consumers import RawMessage
from shared.log.port import DurableMissing, LogConflict
from shared.log.streams import Ack, Outgoing
from shared.log.topology import FEED, PARKED, PROGRESS, RECEIPTS, SUBMISSIONS

ACK_WAIT_S = 30.0
WAIT_S_MIN = 1e-6  # a shorter wait may end before the clock moves
Pause = Callable[[str], Awaitable[None]]
_STREAMS = {"submit": SUBMISSIONS, "receipt": RECEIPTS, "progress": PROGRESS, "parked": PARKED, "feed": FEED}


class Ticks(Protocol):
    """The part of the clock that a stream needs."""

    def monotonic(self) -> float: ...
    def now(self) -> datetime: ...


@dataclass
class DurableState:
    """The last sequence that a durable delivered, and the attempts and redelivery times of unsettled messages."""

    handed: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    due: dict[int, float] = field(default_factory=dict)


@dataclass
class StoredStream:
    """A stream: its messages by sequence, without deleted ones, and its durables."""

    messages: OrderedDict[int, RawMessage] = field(default_factory=OrderedDict)
    stored_at: dict[int, datetime] = field(default_factory=dict)
    end: int = 0
    durables: dict[str, DurableState] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


class MemoryStreams:
    """`Streams` without a server. Like the server it outlives the processes that use it."""

    def __init__(self, clock: Ticks, pause: Pause) -> None:
        self.clock, self.pause = clock, pause
        self.stored: dict[str, StoredStream] = {name: StoredStream() for name in _STREAMS.values()}
        self.objects: dict[str, bytes] = {}

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        expected: int | None = None,
        expected_end: int | None = None,
        msg_id: str | None = None,
    ) -> Ack:
        await self.pause("publish")
        stream = self.stored[_STREAMS[subject.partition(".")[0]]]
        if msg_id is not None and msg_id in stream.ids:
            return Ack(stream.ids[msg_id], True)
        last = next((m.sequence for m in reversed(stream.messages.values()) if m.subject == subject), 0)
        if expected is not None and expected != last:
            raise LogConflict(subject, expected, last)
        if expected_end is not None and expected_end != stream.end:
            raise LogConflict(subject, expected_end, stream.end)
        stream.end += 1
        stream.messages[stream.end] = RawMessage(subject, stream.end, data, headers)
        stream.stored_at[stream.end] = self.clock.now()
        if msg_id is not None:
            stream.ids[msg_id] = stream.end
        sequence = stream.end
        stream.wake()
        await self.pause("publish.stored")
        return Ack(sequence, False)

    async def publish_all(self, messages: Sequence[Outgoing], expected_end: int) -> Ack:
        """Store all messages or none, as one batch."""
        await self.pause("publish")
        stream = self.stored[_STREAMS[messages[0].subject.partition(".")[0]]]
        if expected_end != stream.end:
            raise LogConflict(messages[0].subject, expected_end, stream.end)
        for message in messages:
            stream.end += 1
            stream.messages[stream.end] = RawMessage(message.subject, stream.end, message.data, message.headers)
            stream.stored_at[stream.end] = self.clock.now()
        end = stream.end
        stream.wake()
        await self.pause("publish.stored")
        return Ack(end, False)

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        await self.pause("last")
        pattern = subject.replace(">", "*")
        return next((m for m in reversed(self.stored[stream].messages.values()) if fnmatch(m.subject, pattern)), None)

    async def read(self, stream: str, subject: str, after: int = 0) -> list[RawMessage]:
        await self.pause("read")
        pattern = subject.replace(">", "*")
        return [m for m in self.stored[stream].messages.values() if m.sequence > after and fnmatch(m.subject, pattern)]

    async def end(self, stream: str) -> int:
        await self.pause("end")
        return self.stored[stream].end

    async def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[RawMessage], None]:
        while True:
            await self.pause("follow")
            batch = await self.read(stream, subject, after)
            if batch:
                after = batch[-1].sequence
                yield batch
            else:
                await self.stored[stream].grown.wait()

    async def durable_raw(self, stream: str, name: str, subject: str) -> MemoryRawDurable:
        await self.pause("durable")
        self.stored[stream].durables.setdefault(name, DurableState())
        return MemoryRawDurable(self, self.stored[stream], name)

    async def wipe(self, stream: str, sequence: int) -> None:
        await self.pause("wipe")
        self.stored[stream].messages.pop(sequence, None)

    async def put(self, name: str, sealed: bytes) -> None:
        await self.pause("put")
        self.objects[name] = sealed

    async def get(self, name: str) -> bytes | None:
        await self.pause("get")
        return self.objects.get(name)

    async def has(self, name: str) -> bool:
        await self.pause("has")
        return name in self.objects

    async def delete(self, name: str) -> None:
        await self.pause("delete")
        self.objects.pop(name, None)

    async def names(self) -> list[str]:
        return list(self.objects)


class MemoryEdge:
    """The edge of a service without FastStream: it publishes on the streams in memory."""

    def __init__(self, streams: MemoryStreams) -> None:
        self._streams = streams

    async def publish(self, stream: str, subject: str, data: bytes, *, expected: int) -> int:
        assert _STREAMS[subject.partition(".")[0]] == stream
        return (await self._streams.publish(subject, data, expected=expected)).sequence


@dataclass(frozen=True)
class MemoryRawDurable:
    """`RawDurable` in memory: delivers a message again that is not settled within ACK_WAIT_S."""

    streams: MemoryStreams
    stream: StoredStream
    name: str

    async def fetch(self, count_max: int, wait_s: float) -> list[MemoryRawDelivery]:
        await self.streams.pause("fetch")
        clock = self.streams.clock
        end = clock.monotonic() + wait_s
        while True:
            if (state := self.stream.durables.get(self.name)) is None:
                raise DurableMissing(f"the durable {self.name} was deleted")
            if deliveries := self._take(state, count_max):
                return deliveries
            left = min([end, *state.due.values()]) - clock.monotonic()
            if end <= clock.monotonic():
                return []
            try:
                async with asyncio.timeout(max(left, WAIT_S_MIN)):
                    await self.stream.grown.wait()
            except TimeoutError:
                pass

    def _take(self, state: DurableState, count_max: int) -> list[MemoryRawDelivery]:
        now = self.streams.clock.monotonic()
        again = sorted(sequence for sequence, due in state.due.items() if due <= now)
        deliveries = []
        for sequence in [*again, *range(state.handed + 1, self.stream.end + 1)][:count_max]:
            state.handed = max(state.handed, sequence)
            message = self.stream.messages.get(sequence)
            if message is None:  # wiped
                state.due.pop(sequence, None)
                continue
            state.attempts[sequence] = state.attempts.get(sequence, 0) + 1
            state.due[sequence] = now + ACK_WAIT_S
            stored_at = self.stream.stored_at[sequence]
            deliveries.append(MemoryRawDelivery(self, message, state.attempts[sequence], stored_at))
        return deliveries


@dataclass(frozen=True)
class MemoryRawDelivery:
    """`RawDelivery` in memory."""

    durable: MemoryRawDurable
    message: RawMessage
    attempts: int
    stored_at: datetime

    async def ack(self) -> None:
        await self.durable.streams.pause("ack")
        self._settle()

    async def nack(self, delay_s: float) -> None:
        await self.durable.streams.pause("nack")
        state = self.durable.stream.durables.get(self.durable.name)
        if state is not None and state.attempts.get(self.message.sequence) == self.attempts:
            state.due[self.message.sequence] = self.durable.streams.clock.monotonic() + delay_s
            self.durable.stream.wake()

    async def term(self) -> None:
        await self.durable.streams.pause("term")
        self._settle()

    def _settle(self) -> None:
        state = self.durable.stream.durables.get(self.durable.name)
        if state is not None:
            state.attempts.pop(self.message.sequence, None)
            state.due.pop(self.message.sequence, None)


def texts(streams: MemoryStreams) -> list[Any]:
    """The data of all messages, for a search for content in the clear."""
    return [message.data for stream in streams.stored.values() for message in stream.messages.values()]
