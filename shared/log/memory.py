"""The log in one process, for tests and the simulation: the contract of the real one, deterministic, without tasks.

Events pass through the envelope on their way in, so what is refused on the real log is refused here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from shared.case.base import Address, Event, Position, Recorded
from shared.log.envelope import EventDecoder, encode_event
from shared.log.port import READ_BATCH_COUNT_MAX, Damaged, Delivery, Durable, DurableMissing, LogConflict
from shared.log.topology import Topology

ACK_WAIT_S = 30.0
WAIT_S_MIN = 1e-6  # a shorter wait may end before the clock has moved at all

PauseHook = Callable[[str], Awaitable[None]]
LagHook = Callable[[str], int]


class Ticks(Protocol):
    """The part of the clock that waiting needs."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


async def _no_pause(point: str) -> None: ...


def _no_lag(subject: str) -> int:
    return 0


@dataclass
class _Stream:
    events: list[Recorded[Event]] = field(default_factory=list)
    durables: dict[str, _Place] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


@dataclass
class _Place:
    """What a durable remembers: how far it has handed out, and what of that is not settled yet."""

    handed: int = 0
    attempts: dict[int, int] = field(default_factory=dict)  # by sequence, unsettled only
    due: dict[int, float] = field(default_factory=dict)  # when an unsettled one is delivered again


class MemoryLog:
    """`Log` without a server.

    `pause` is awaited at every call, at `<call>` and, for an append, at `append.stored` too: there a scheduler
    interleaves, and raises LogUnavailable to lose a request or, at `append.stored`, an acknowledgement. `lag` says how
    many of an aggregate's newest events a `peek` does not see. The log outlives whoever uses it, as the server does.
    """

    def __init__(
        self, areas: Iterable[str], clock: Ticks, pause: PauseHook = _no_pause, lag: LagHook = _no_lag
    ) -> None:
        self.topology = Topology(tuple(areas))
        self.clock = clock
        self.pause = pause
        self.lag = lag
        self._streams = {name: _Stream() for name in self.topology.streams}
        self._by_subject: dict[str, list[Recorded[Event]]] = {}
        self._decoder = EventDecoder()

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        stream, data = self.stream_of(recorded.address), encode_event(recorded)
        await self.pause("append")
        log, subject = self._streams[stream], recorded.address.subject
        own = self._by_subject.setdefault(subject, [])
        actual = _sequence(own[-1]) if own else 0
        if actual != expected:
            after = next((one for one in own if _sequence(one) > expected), None)
            # the same bytes: another try under the same id seals anew, and may say something else
            if after is None or after != self._decoder.decode(data, after.position):
                raise LogConflict(subject, expected, actual)
            return _position(after)
        taken = self._decoder.decode(data, Position(stream, len(log.events) + 1))
        log.events.append(taken)
        own.append(taken)
        log.wake()
        await self.pause("append.stored")
        return _position(taken)

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        self.stream_of(address)
        await self.pause("load")
        return self._of(address.subject, after)

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        self.stream_of(address)
        await self.pause("peek")
        found = self._of(address.subject, 0)
        seen = found[: max(0, len(found) - self.lag(address.subject))]
        return [one for one in seen if _sequence(one) > after]

    async def at(self, position: Position) -> Recorded[Event] | None:
        events = self._stream(position.stream).events
        await self.pause("at")
        return events[position.sequence - 1] if 1 <= position.sequence <= len(events) else None

    async def end(self, stream: str) -> int:
        log = self._stream(stream)
        await self.pause("end")
        return len(log.events)

    def streams(self) -> tuple[str, ...]:
        return self.topology.streams

    def stream_of(self, address: Address) -> str:
        return self.topology.stream_of(address)

    async def follow(self, stream: str, after: int) -> AsyncIterator[list[Recorded[Event]]]:
        log = self._stream(stream)
        while True:
            await self.pause("follow")
            if after > len(log.events):
                raise Damaged(f"{stream} ends at {len(log.events)}, before {after}: it was restored from an older copy")
            if batch := log.events[after : after + READ_BATCH_COUNT_MAX]:
                after += len(batch)
                yield batch
            else:
                await log.grown.wait()

    async def durable(self, stream: str, name: str) -> Durable:
        log = self._stream(stream)
        await self.pause("durable")
        log.durables.setdefault(name, _Place())
        return _Durable(self, log, stream, name)

    async def delete_durable(self, stream: str, name: str) -> None:
        """What an operator may do behind our back."""
        self._stream(stream).durables.pop(name, None)

    def _stream(self, stream: str) -> _Stream:
        return self._streams[self.topology.check(stream)]

    def _of(self, subject: str, after: int) -> list[Recorded[Event]]:
        return [one for one in self._by_subject.get(subject, ()) if _sequence(one) > after]


def _position(recorded: Recorded[Event]) -> Position:
    assert recorded.position is not None  # everything kept here was taken
    return recorded.position


def _sequence(recorded: Recorded[Event]) -> int:
    return _position(recorded).sequence


@dataclass(frozen=True)
class _Durable:
    log: MemoryLog
    stream: _Stream
    stream_name: str
    name: str

    async def fetch(self, count_max: int, wait_s: float) -> list[Delivery]:
        await self.log.pause("fetch")
        end = self.log.clock.monotonic() + wait_s
        while True:
            place = self.place()
            if found := self._take(place, count_max):
                return found
            left = end - self.log.clock.monotonic()
            if left <= 0:
                return []
            next_s = min([left, *(due - self.log.clock.monotonic() for due in place.due.values())])
            await self._wait(max(next_s, WAIT_S_MIN))

    async def behind(self) -> int:
        state = self.place()
        return len(self.stream.events) - state.handed + len(state.due)

    def place(self) -> _Place:
        """Where the durable stands. Raises DurableMissing."""
        place = self.stream.durables.get(self.name)
        if place is None:
            raise DurableMissing(f"the durable {self.name} of {self.stream_name} was deleted")
        return place

    def _take(self, place: _Place, count_max: int) -> list[Delivery]:
        now = self.log.clock.monotonic()
        again = sorted(sequence for sequence, due in place.due.items() if due <= now)
        fresh = range(place.handed + 1, len(self.stream.events) + 1)
        taken = [*again, *fresh][:count_max]
        found: list[Delivery] = []
        for sequence in taken:
            place.handed = max(place.handed, sequence)
            place.attempts[sequence] = place.attempts.get(sequence, 0) + 1
            place.due[sequence] = now + ACK_WAIT_S
            found.append(_Delivery(self, self.stream.events[sequence - 1], place.attempts[sequence]))
        return found

    async def _wait(self, seconds: float) -> None:
        # Whichever comes first: the stream grows, or the clock says that something is due.
        waits = [asyncio.ensure_future(self.stream.grown.wait()), asyncio.ensure_future(self.log.clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


@dataclass(frozen=True)
class _Delivery:
    durable: _Durable
    recorded: Recorded[Event]
    attempts: int

    async def ack(self) -> None:
        await self.durable.log.pause("ack")
        self._settle()

    async def nack(self, delay_s: float) -> None:
        await self.durable.log.pause("nack")
        place = self.durable.stream.durables.get(self.durable.name)
        if place is not None and place.attempts.get(_sequence(self.recorded)) == self.attempts:
            place.due[_sequence(self.recorded)] = self.durable.log.clock.monotonic() + delay_s
            self.durable.stream.wake()

    async def term(self) -> None:
        await self.durable.log.pause("term")
        self._settle()

    def _settle(self) -> None:
        place = self.durable.stream.durables.get(self.durable.name)
        if place is not None:
            place.attempts.pop(_sequence(self.recorded), None)
            place.due.pop(_sequence(self.recorded), None)
