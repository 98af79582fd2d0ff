"""The form of an event on the log: CloudEvents 1.0 as structured JSON.

Attributes of CloudEvents are plain values. So the actor has five attributes, and the references are one string,
separated by spaces. `time` is the time of the fact, `recordedat` the time of its recording
(docs/decisions/0009-two-times.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from shared.case import catalogue
from shared.case.base import (
    EVENT_BYTES_MAX,
    SEAL_PREFIX,
    Actor,
    Address,
    Event,
    Meta,
    Position,
    Recorded,
    Unknown,
    trusted,
)
from shared.log.port import EventTooLarge, Malformed, NotSealed

ACTORS_CACHED_COUNT_MAX = 4096
EVENTS_CACHED_COUNT_MAX = 2048
DataDecoder = Callable[[str, int, dict[str, Any]], Event | Unknown]  # type, version and data of an event


def _sealed(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_sealed, value))
    return value is None or (isinstance(value, str) and value.startswith(SEAL_PREFIX))


def encode_event(recorded: Recorded[Event]) -> bytes:
    """The bytes of an event. Raises NotSealed, EventTooLarge, and TypeError for an event of a newer program."""
    event, meta, actor = recorded.event, recorded.meta, recorded.meta.actor
    if isinstance(event, Unknown):
        raise TypeError(f"{event.type} version {event.version} is newer than this program: it cannot be written")
    for name in event.PRIVATE:
        if not _sealed(getattr(event, name)):
            raise NotSealed(f"{event.TYPE}.{name} is private and not sealed")
    body: dict[str, Any] = {
        "specversion": "1.0",
        "id": recorded.id,
        "source": "/" + event.OWNER.value,
        "type": event.TYPE,
        "version": event.VERSION,
        "subject": recorded.address.subject,
        "time": meta.time,
        "recordedat": meta.recorded_at,
        "actorperson": actor.person,
        "actorpost": actor.post,
        "actorunit": actor.unit,
        "actorcentre": actor.centre,
        "actorregion": actor.region,
        "commandid": meta.command_id,
    }
    if actor.acting_for is not None:
        body["actorfor"] = actor.acting_for
    if meta.causation_id is not None:
        body["causationid"] = meta.causation_id
    if meta.correlation_id is not None:
        body["correlationid"] = meta.correlation_id
    if meta.traceparent is not None:
        body["traceparent"] = meta.traceparent
    if meta.references:
        body["references"] = " ".join(meta.references)
    body["datacontenttype"] = "application/json"
    body["data"] = event
    data = to_json(body)
    if len(data) > EVENT_BYTES_MAX:
        raise EventTooLarge(
            f"{event.TYPE} takes {len(data)} bytes, at most {EVENT_BYTES_MAX} fit; put longer text in an attachment"
        )
    return data


class EventDecoder:
    """Decodes messages of the log for all readers of one process, and keeps the newest events that they share.

    The services and the read models of one process read the same messages, and messages that the process wrote itself.
    An event is kept with the bytes that it was decoded from: at the same position of another log, other bytes stand.
    Both caches are bounded. An actor is kept because each appears on many events.
    """

    def __init__(
        self, *, events_cached_count_max: int = EVENTS_CACHED_COUNT_MAX, decode_data: DataDecoder = catalogue.decode
    ) -> None:
        """`decode_data` makes the facts of an event from its type, version and data."""
        self._events_cached_count_max = events_cached_count_max
        self._decode_data = decode_data
        self._events: dict[tuple[str, int], tuple[bytes, Recorded[Event]]] = {}
        self._actors: dict[tuple[str | None, ...], Actor] = {}
        self.hit_count = self.miss_count = 0

    def event_at(self, stream: str, sequence: int, data: bytes) -> Recorded[Event]:
        """The event that these bytes hold at this position. Raises Malformed."""
        key = (stream, sequence)
        cached = self._events.get(key)
        if cached is not None and cached[0] == data:
            self.hit_count += 1
            return cached[1]
        self.miss_count += 1
        recorded = self.decode(data, Position(stream, sequence))
        self._keep(key, data, recorded)
        return recorded

    def remember(self, recorded: Recorded[Event], data: bytes) -> None:
        """Keep an event that this process has appended, with its position and its bytes."""
        assert recorded.position is not None, "an event on the log has a position"
        self._keep((recorded.position.stream, recorded.position.sequence), data, recorded)

    def decode(self, data: bytes, position: Position | None) -> Recorded[Event]:
        """The event that `encode_event` wrote, decoded anew; unknown attributes and fields are tolerated.

        Raises Malformed, whose text names fields and kinds of error and never a value.
        """
        try:
            body = from_json(data)
            event = self._decode_data(body["type"], body["version"], body["data"])
            return Recorded(body["id"], Address.parse(body["subject"]), self._meta(body), event, position)
        except ValidationError as error:
            reason = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in error.errors(include_input=False)
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error.args[0]}" if isinstance(error, KeyError) else type(error).__name__
        raise Malformed(f"{position or 'message'} is no event of ours: {reason}")

    def _keep(self, key: tuple[str, int], data: bytes, recorded: Recorded[Event]) -> None:
        if len(self._events) >= self._events_cached_count_max:
            del self._events[next(iter(self._events))]
        self._events[key] = (data, recorded)

    def _meta(self, body: dict[str, Any]) -> Meta:
        time, recorded_at = datetime.fromisoformat(body["time"]), datetime.fromisoformat(body["recordedat"])
        if time.tzinfo is None or recorded_at.tzinfo is None:
            raise ValueError("a time has no offset")
        references = body.get("references")
        return trusted(Meta, {
            "command_id": body["commandid"],
            "time": time,
            "recorded_at": recorded_at,
            "actor": self._actor(body),
            "causation_id": body.get("causationid"),
            "correlation_id": body.get("correlationid"),
            "traceparent": body.get("traceparent"),
            "references": tuple(references.split(" ")) if references else (),
        })  # fmt: skip

    def _actor(self, body: dict[str, Any]) -> Actor:
        person, post, unit = body["actorperson"], body["actorpost"], body["actorunit"]
        centre, region, acting_for = body["actorcentre"], body["actorregion"], body.get("actorfor")
        key = (person, post, unit, centre, region, acting_for)
        actor = self._actors.get(key)
        if actor is None:
            if len(self._actors) >= ACTORS_CACHED_COUNT_MAX:
                self._actors.clear()
            actor = Actor(person=person, post=post, unit=unit, centre=centre, region=region, acting_for=acting_for)
            self._actors[key] = actor
        return actor
