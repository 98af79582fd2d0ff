"""The streams around the log in memory, for the simulation: submissions, receipts, progress, parked, sealed objects.

`pause` is awaited at every call, and at `publish.stored` after a message was taken, where a scheduler may raise
LogUnavailable to lose the acknowledgement.
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
WAIT_S_MIN = 1e-6  # a shorter wait may end before the clock has moved at all
Pause = Callable[[str], Awaitable[None]]
_STREAMS = {"submit": SUBMISSIONS, "receipt": RECEIPTS, "progress": PROGRESS, "parked": PARKED, "feed": FEED}


class Ticks(Protocol):
    """The part of the clock that a stream needs."""

    def monotonic(self) -> float: ...
    def now(self) -> datetime: ...


@dataclass
class Place:
    """What a durable remembers."""

    handed: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    due: dict[int, float] = field(default_factory=dict)


@dataclass
class Kept:
    """One stream: its messages by sequence, gone ones left out, and its durables."""

    messages: OrderedDict[int, RawMessage] = field(default_factory=OrderedDict)
    stored_at: dict[int, datetime] = field(default_factory=dict)
    end: int = 0
    durables: dict[str, Place] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


class MemoryStreams:
    """`Streams` without a server. It outlives whoever uses it, as the server does."""

    def __init__(self, clock: Ticks, pause: Pause) -> None:
        self.clock, self.pause = clock, pause
        self.kept: dict[str, Kept] = {name: Kept() for name in _STREAMS.values()}
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
        kept = self.kept[_STREAMS[subject.partition(".")[0]]]
        if msg_id is not None and msg_id in kept.ids:
            return Ack(kept.ids[msg_id], True)
        last = next((m.sequence for m in reversed(kept.messages.values()) if m.subject == subject), 0)
        if expected is not None and expected != last:
            raise LogConflict(subject, expected, last)
        if expected_end is not None and expected_end != kept.end:
            raise LogConflict(subject, expected_end, kept.end)
        kept.end += 1
        kept.messages[kept.end] = RawMessage(subject, kept.end, data, headers)
        kept.stored_at[kept.end] = self.clock.now()
        if msg_id is not None:
            kept.ids[msg_id] = kept.end
        sequence = kept.end
        kept.wake()
        await self.pause("publish.stored")
        return Ack(sequence, False)

    async def publish_all(self, messages: Sequence[Outgoing], expected_end: int) -> Ack:
        """All of them or none, as one batch."""
        await self.pause("publish")
        kept = self.kept[_STREAMS[messages[0].subject.partition(".")[0]]]
        if expected_end != kept.end:
            raise LogConflict(messages[0].subject, expected_end, kept.end)
        for one in messages:
            kept.end += 1
            kept.messages[kept.end] = RawMessage(one.subject, kept.end, one.data, one.headers)
            kept.stored_at[kept.end] = self.clock.now()
        end = kept.end
        kept.wake()
        await self.pause("publish.stored")
        return Ack(end, False)

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        await self.pause("last")
        pattern = subject.replace(">", "*")
        return next((m for m in reversed(self.kept[stream].messages.values()) if fnmatch(m.subject, pattern)), None)

    async def read(self, stream: str, subject: str, after: int = 0) -> list[RawMessage]:
        await self.pause("read")
        pattern = subject.replace(">", "*")
        return [m for m in self.kept[stream].messages.values() if m.sequence > after and fnmatch(m.subject, pattern)]

    async def end(self, stream: str) -> int:
        await self.pause("end")
        return self.kept[stream].end

    async def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[RawMessage], None]:
        while True:
            await self.pause("follow")
            found = await self.read(stream, subject, after)
            if found:
                after = found[-1].sequence
                yield found
            else:
                await self.kept[stream].grown.wait()

    async def durable_raw(self, stream: str, name: str, subject: str) -> MemoryRawDurable:
        await self.pause("durable")
        self.kept[stream].durables.setdefault(name, Place())
        return MemoryRawDurable(self, self.kept[stream], name)

    async def wipe(self, stream: str, sequence: int) -> None:
        await self.pause("wipe")
        self.kept[stream].messages.pop(sequence, None)

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
    """Where a service speaks to other systems, without FastStream: it publishes on the streams in memory."""

    def __init__(self, streams: MemoryStreams) -> None:
        self._streams = streams

    async def publish(self, stream: str, subject: str, data: bytes, *, expected: int) -> int:
        assert _STREAMS[subject.partition(".")[0]] == stream
        return (await self._streams.publish(subject, data, expected=expected)).sequence


@dataclass(frozen=True)
class MemoryRawDurable:
    """`RawDurable` in memory: redelivers what is not settled in ACK_WAIT_S."""

    streams: MemoryStreams
    kept: Kept
    name: str

    async def fetch(self, count_max: int, wait_s: float) -> list[MemoryRawDelivery]:
        await self.streams.pause("fetch")
        clock = self.streams.clock
        end = clock.monotonic() + wait_s
        while True:
            if (place := self.kept.durables.get(self.name)) is None:
                raise DurableMissing(f"the durable {self.name} was deleted")
            if found := self._take(place, count_max):
                return found
            left = min([end, *place.due.values()]) - clock.monotonic()
            if end <= clock.monotonic():
                return []
            try:
                async with asyncio.timeout(max(left, WAIT_S_MIN)):
                    await self.kept.grown.wait()
            except TimeoutError:
                pass

    def _take(self, place: Place, count_max: int) -> list[MemoryRawDelivery]:
        now = self.streams.clock.monotonic()
        again = sorted(sequence for sequence, due in place.due.items() if due <= now)
        found = []
        for sequence in [*again, *range(place.handed + 1, self.kept.end + 1)][:count_max]:
            place.handed = max(place.handed, sequence)
            message = self.kept.messages.get(sequence)
            if message is None:  # wiped
                place.due.pop(sequence, None)
                continue
            place.attempts[sequence] = place.attempts.get(sequence, 0) + 1
            place.due[sequence] = now + ACK_WAIT_S
            stored_at = self.kept.stored_at[sequence]
            found.append(MemoryRawDelivery(self, message, place.attempts[sequence], stored_at))
        return found


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
        place = self.durable.kept.durables.get(self.durable.name)
        if place is not None and place.attempts.get(self.message.sequence) == self.attempts:
            place.due[self.message.sequence] = self.durable.streams.clock.monotonic() + delay_s
            self.durable.kept.wake()

    async def term(self) -> None:
        await self.durable.streams.pause("term")
        self._settle()

    def _settle(self) -> None:
        place = self.durable.kept.durables.get(self.durable.name)
        if place is not None:
            place.attempts.pop(self.message.sequence, None)
            place.due.pop(self.message.sequence, None)


def texts(streams: MemoryStreams) -> list[Any]:
    """Everything that stands on these streams, for whoever looks for content in the clear."""
    return [message.data for kept in streams.kept.values() for message in kept.messages.values()]
