"""The log over JetStream: the port, as the real server keeps it (why so: "The log" in the design)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from shared.case.base import Address, Event, Position, Recorded
from shared.log.connection import ApiError, NatsConnection
from shared.log.consumers import (
    RawDelivery,
    RawDurable,
    RawMessage,
    direct_get,
    durable,
    follow,
    last_sequence,
    leader_get,
)
from shared.log.envelope import EventDecoder, encode_event
from shared.log.port import Delivery, Durable, LogConflict, LogUnavailable, Malformed
from shared.log.topology import Topology

# One replica says 10071; three say 10164 or 10158 while another append to the subject is in flight.
CODES_CONFLICT = frozenset({10071, 10158, 10164})
GUARD = "Nats-Expected-Last-Subject-Sequence"

_log = logging.getLogger(__name__)


class JetStreamLog:
    """`Log` over a connection. The streams must be there: `streams.ensure_topology`."""

    def __init__(self, connection: NatsConnection, topology: Topology, *, decoder: EventDecoder | None = None) -> None:
        """`decoder` is what the services of one process share; without it the log has one of its own."""
        self._connection = connection
        self._topology = topology
        self._decoder = decoder or EventDecoder()

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        stream, subject, data = self.stream_of(recorded.address), recorded.address.subject, encode_event(recorded)
        try:
            ack = await self._connection.api(subject, data, {GUARD: str(expected)})
            position = Position(ack["stream"], ack["seq"])
        except ApiError as error:
            if error.code not in CODES_CONFLICT:
                raise LogUnavailable(f"{stream}: {error}") from error
            return await self._settle(stream, subject, data, expected, None)
        except LogUnavailable as error:
            return await self._settle(stream, subject, data, expected, error)
        self._decoder.remember(replace(recorded, position=position), data)
        return position

    async def _settle(
        self, stream: str, subject: str, data: bytes, expected: int, unanswered: LogUnavailable | None
    ) -> Position:
        """What became of an append that was refused or not answered.

        The guard leaves our event one place only: right after `expected`. So whatever stands there decides. It is ours
        when it has our bytes: another try under the same id is sealed anew, and may say something else.
        """
        after = await leader_get(self._connection, stream, {"seq": expected + 1, "next_by_subj": subject})
        if after is not None and after.data == data:
            return Position(stream, after.sequence)
        if after is None and unanswered is not None:
            raise unanswered
        last = await leader_get(self._connection, stream, {"last_by_subj": subject})
        raise LogConflict(subject, expected, last.sequence if last else 0)

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        found = await self.peek(address, after)
        if self._topology.replicas > 1:  # with one replica the direct get came from the leader
            stream, have = self.stream_of(address), _sequence(found) or after
            last = await leader_get(self._connection, stream, {"last_by_subj": address.subject})
            while last is not None and have < last.sequence:
                one = await leader_get(self._connection, stream, {"seq": have + 1, "next_by_subj": address.subject})
                if one is None:
                    break
                found.append(self._event(stream, one))
                have = one.sequence
        return found

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        stream = self.stream_of(address)
        return [self._event(stream, one) for one in await direct_get(self._connection, stream, address.subject, after)]

    async def at(self, position: Position) -> Recorded[Event] | None:
        stream = self._topology.check(position.stream)
        if position.sequence < 1:
            return None
        found = await leader_get(self._connection, stream, {"seq": position.sequence})
        return self._event(stream, found) if found else None

    async def end(self, stream: str) -> int:
        return await last_sequence(self._connection, self._topology.check(stream))

    def streams(self) -> tuple[str, ...]:
        return self._topology.streams

    def stream_of(self, address: Address) -> str:
        return self._topology.stream_of(address)

    async def follow(self, stream: str, after: int) -> AsyncIterator[list[Recorded[Event]]]:
        async with aclosing(follow(self._connection, self._topology.check(stream), after)) as batches:
            async for batch in batches:
                yield [self._event(stream, one) for one in batch]

    async def durable(self, stream: str, name: str) -> Durable:
        return _Durable(stream, await durable(self._connection, self._topology.check(stream), name), self._decoder)

    def _event(self, stream: str, message: RawMessage) -> Recorded[Event]:
        return self._decoder.event_at(stream, message.sequence, message.data)


def _sequence(found: list[Recorded[Event]]) -> int:
    return found[-1].position.sequence if found and found[-1].position else 0


@dataclass(frozen=True, slots=True)
class _Durable:
    stream: str
    raw: RawDurable
    decoder: EventDecoder

    async def fetch(self, count_max: int, wait_s: float) -> list[Delivery]:
        found: list[Delivery] = []
        for one in await self.raw.fetch(count_max, wait_s):
            try:
                found.append(_Delivery(self.decoder.event_at(self.stream, one.message.sequence, one.message.data), one))
            except Malformed as error:
                _log.error("%s; not delivered", error)
                await one.term()
        return found

    async def behind(self) -> int:
        return await self.raw.behind()


@dataclass(frozen=True, slots=True)
class _Delivery:
    recorded: Recorded[Event]
    raw: RawDelivery

    @property
    def attempts(self) -> int:
        return self.raw.attempts

    async def ack(self) -> None:
        await self.raw.ack()

    async def nack(self, delay_s: float) -> None:
        await self.raw.nack(delay_s)

    async def term(self) -> None:
        await self.raw.term()
