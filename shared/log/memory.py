"""The log in memory for tests and the simulation: the same contract, deterministic, without tasks of its own.

Events are encoded and decoded as on the real log, so that both refuse the same events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from shared.case.base import Address, Event, Position, Recorded
from shared.log.envelope import EventDecoder, encode_event
from shared.log.port import ACK_WAIT_S, READ_BATCH_COUNT_MAX, Damaged, Delivery, Durable, DurableMissing, LogConflict
from shared.log.topology import Topology

WAIT_S_MIN = 1e-6  # a shorter wait may end before the clock has moved

PauseHook = Callable[[str], Awaitable[None]]
LagHook = Callable[[str], int]


class Ticks(Protocol):
    """The part of a clock that waiting needs."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


async def _no_pause(point: str) -> None: ...


def _no_lag(subject: str) -> int:
    return 0


@dataclass
class _Stream:
    events: list[Recorded[Event]] = field(default_factory=list)
    durables: dict[str, _DurableState] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


@dataclass
class _DurableState:
    """The state of a durable: the last sequence that it has delivered, and the deliveries that are not settled."""

    delivered: int = 0
    attempts: dict[int, int] = field(default_factory=dict)  # by sequence, of unsettled deliveries
    due: dict[int, float] = field(default_factory=dict)  # when an unsettled event is delivered again


class MemoryLog:
    """`Log` without a server.

    `pause` is awaited in each call with the name of the call, and after an append is stored with `append.stored`. There
    a scheduler interleaves tasks, or raises LogUnavailable to lose a request or an acknowledgement. `lag` gives the
    count of an aggregate's newest events that a `peek` does not see. Like a server, the log outlives its users.
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
        events = self._by_subject.setdefault(subject, [])
        actual = _sequence(events[-1]) if events else 0
        if actual != expected:
            after = next((event for event in events if _sequence(event) > expected), None)
            # The content must be equal: another attempt under the same id is sealed anew and may differ.
            if after is None or after != self._decoder.decode(data, after.position):
                raise LogConflict(subject, expected, actual)
            return _position(after)
        stored = self._decoder.decode(data, Position(stream, len(log.events) + 1))
        log.events.append(stored)
        events.append(stored)
        log.wake()
        await self.pause("append.stored")
        return _position(stored)

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        self.stream_of(address)
        await self.pause("load")
        return self._of(address.subject, after)

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        self.stream_of(address)
        await self.pause("peek")
        events = self._of(address.subject, 0)
        seen = events[: max(0, len(events) - self.lag(address.subject))]
        return [event for event in seen if _sequence(event) > after]

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
        log.durables.setdefault(name, _DurableState())
        return _Durable(self, log, stream, name)

    async def delete_durable(self, stream: str, name: str) -> None:
        """Delete a durable, as an operator of the server may."""
        self._stream(stream).durables.pop(name, None)

    def _stream(self, stream: str) -> _Stream:
        return self._streams[self.topology.check(stream)]

    def _of(self, subject: str, after: int) -> list[Recorded[Event]]:
        return [event for event in self._by_subject.get(subject, ()) if _sequence(event) > after]


def _position(recorded: Recorded[Event]) -> Position:
    assert recorded.position is not None  # stored events have a position
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
            state = self.state()
            if deliveries := self._take(state, count_max):
                return deliveries
            left = end - self.log.clock.monotonic()
            if left <= 0:
                return []
            next_s = min([left, *(due - self.log.clock.monotonic() for due in state.due.values())])
            await self._wait(max(next_s, WAIT_S_MIN))

    async def behind(self) -> int:
        state = self.state()
        return len(self.stream.events) - state.delivered + len(state.due)

    def state(self) -> _DurableState:
        """The state of the durable. Raises DurableMissing."""
        state = self.stream.durables.get(self.name)
        if state is None:
            raise DurableMissing(f"the durable {self.name} of {self.stream_name} was deleted")
        return state

    def _take(self, state: _DurableState, count_max: int) -> list[Delivery]:
        now = self.log.clock.monotonic()
        again = sorted(sequence for sequence, due in state.due.items() if due <= now)
        fresh = range(state.delivered + 1, len(self.stream.events) + 1)
        taken = [*again, *fresh][:count_max]
        deliveries: list[Delivery] = []
        for sequence in taken:
            state.delivered = max(state.delivered, sequence)
            state.attempts[sequence] = state.attempts.get(sequence, 0) + 1
            state.due[sequence] = now + ACK_WAIT_S
            deliveries.append(_Delivery(self, self.stream.events[sequence - 1], state.attempts[sequence]))
        return deliveries

    async def _wait(self, seconds: float) -> None:
        # Until the stream grows or `seconds` have passed.
        waits = [asyncio.ensure_future(self.stream.grown.wait()), asyncio.ensure_future(self.log.clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


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
        state = self.durable.stream.durables.get(self.durable.name)
        if state is not None and state.attempts.get(_sequence(self.recorded)) == self.attempts:
            state.due[_sequence(self.recorded)] = self.durable.log.clock.monotonic() + delay_s
            self.durable.stream.wake()

    async def term(self) -> None:
        await self.durable.log.pause("term")
        self._settle()

    def _settle(self) -> None:
        state = self.durable.stream.durables.get(self.durable.name)
        if state is not None:
            state.attempts.pop(_sequence(self.recorded), None)
            state.due.pop(_sequence(self.recorded), None)
