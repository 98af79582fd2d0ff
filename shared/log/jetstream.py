"""The log on JetStream: the port over a connection to a NATS server (docs/decisions/0011-guard-by-last-sequence.md)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from shared.case.base import Address, Event, Position, Recorded
from shared.log.connection import ApiError, NatsConnection, not_stored
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

# A stream with one replica answers 10071; one with three also 10164 or 10158, during another append to the subject.
CODES_CONFLICT = frozenset({10071, 10158, 10164})
GUARD = "Nats-Expected-Last-Subject-Sequence"

_log = logging.getLogger(__name__)


class JetStreamLog:
    """`Log` over a connection. `streams.ensure_topology` makes the streams that it needs."""

    def __init__(self, connection: NatsConnection, topology: Topology, *, decoder: EventDecoder | None = None) -> None:
        """The services of one process share a `decoder`; by default the log has one of its own."""
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
                raise not_stored(stream, error.code, str(error)) from error
            return await self._settle(stream, subject, data, expected, None)
        except LogUnavailable as error:
            return await self._settle(stream, subject, data, expected, error)
        self._decoder.remember(replace(recorded, position=position), data)
        return position

    async def _settle(
        self, stream: str, subject: str, data: bytes, expected: int, unanswered: LogUnavailable | None
    ) -> Position:
        """The position of an append that was refused or got no reply. Raises LogConflict, LogUnavailable.

        The guard allows the event only as the first one after `expected`, so the event that stands there decides. It is
        this append when its bytes are equal: another attempt under the same id is sealed anew and may differ.
        """
        next_message = await leader_get(self._connection, stream, {"seq": expected + 1, "next_by_subj": subject})
        if next_message is not None and next_message.data == data:
            return Position(stream, next_message.sequence)
        if next_message is None and unanswered is not None:
            raise unanswered
        last = await leader_get(self._connection, stream, {"last_by_subj": subject})
        raise LogConflict(subject, expected, last.sequence if last else 0)

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        events = await self.peek(address, after)
        if self._topology.replicas > 1:  # with one replica the direct get came from the leader
            stream, read_to = self.stream_of(address), _sequence(events) or after
            last = await leader_get(self._connection, stream, {"last_by_subj": address.subject})
            while last is not None and read_to < last.sequence:
                query = {"seq": read_to + 1, "next_by_subj": address.subject}
                message = await leader_get(self._connection, stream, query)
                if message is None:
                    break
                events.append(self._event(stream, message))
                read_to = message.sequence
        return events

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        stream = self.stream_of(address)
        messages = await direct_get(self._connection, stream, address.subject, after)
        return [self._event(stream, message) for message in messages]

    async def at(self, position: Position) -> Recorded[Event] | None:
        stream = self._topology.check(position.stream)
        if position.sequence < 1:
            return None
        message = await leader_get(self._connection, stream, {"seq": position.sequence})
        return self._event(stream, message) if message else None

    async def end(self, stream: str) -> int:
        return await last_sequence(self._connection, self._topology.check(stream))

    def streams(self) -> tuple[str, ...]:
        return self._topology.streams

    def stream_of(self, address: Address) -> str:
        return self._topology.stream_of(address)

    async def follow(self, stream: str, after: int) -> AsyncIterator[list[Recorded[Event]]]:
        async with aclosing(follow(self._connection, self._topology.check(stream), after)) as batches:
            async for batch in batches:
                yield [self._event(stream, message) for message in batch]

    async def durable(self, stream: str, name: str) -> Durable:
        return _Durable(stream, await durable(self._connection, self._topology.check(stream), name), self._decoder)

    def _event(self, stream: str, message: RawMessage) -> Recorded[Event]:
        return self._decoder.event_at(stream, message.sequence, message.data)


def _sequence(events: list[Recorded[Event]]) -> int:
    return events[-1].position.sequence if events and events[-1].position else 0


@dataclass(frozen=True, slots=True)
class _Durable:
    stream: str
    raw: RawDurable
    decoder: EventDecoder

    async def fetch(self, count_max: int, wait_s: float) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for delivery in await self.raw.fetch(count_max, wait_s):
            message = delivery.message
            try:
                event = self.decoder.event_at(self.stream, message.sequence, message.data)
            except Malformed:
                facts = {"stream": self.stream, "sequence": message.sequence}
                _log.error("a message that is no event is not delivered", extra={"attributes": facts})
                await delivery.term()
                continue
            deliveries.append(_Delivery(event, delivery))
        return deliveries

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
