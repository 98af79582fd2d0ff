"""CloudEvents 1.0, structured JSON: the form in which an event stands on the log.

Attributes of CloudEvents are plain values, so the actor takes five of them and the references are one string,
separated by spaces. `time` is when it happened, `recordedat` when we took it ("Two times" in the design).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
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
from shared.log.port import Malformed, NotSealed, TooLarge

ACTORS_COUNT_MAX = 4096
Decoder = Callable[[str, int, dict[str, Any]], Event | Unknown]


def _sealed(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_sealed, value))
    return value is None or (isinstance(value, str) and value.startswith(SEAL_PREFIX))


def encode(recorded: Recorded[Event]) -> bytes:
    """The bytes of an event. Raises NotSealed, TooLarge, and TypeError for an event this program does not know."""
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
        raise TooLarge(
            f"{event.TYPE} takes {len(data)} bytes, at most {EVENT_BYTES_MAX} fit; put longer text in an attachment"
        )
    return data


_actor_attributes = itemgetter("actorperson", "actorpost", "actorunit", "actorcentre", "actorregion")


@lru_cache(maxsize=ACTORS_COUNT_MAX)
def _actor(person: str, post: str, unit: str, centre: str, region: str) -> Actor:
    return Actor(person=person, post=post, unit=unit, centre=centre, region=region)


def _meta(body: dict[str, Any]) -> Meta:
    # the log holds values that were validated when they were written; only the times must be parsed
    time, recorded_at = datetime.fromisoformat(body["time"]), datetime.fromisoformat(body["recordedat"])
    if time.tzinfo is None or recorded_at.tzinfo is None:
        raise ValueError("a time has no offset")
    references = body.get("references")
    values = {
        "command_id": body["commandid"],
        "time": time,
        "recorded_at": recorded_at,
        "actor": _actor(*_actor_attributes(body)),
        "causation_id": body.get("causationid"),
        "correlation_id": body.get("correlationid"),
        "traceparent": body.get("traceparent"),
        "references": tuple(references.split(" ")) if references else (),
    }
    return trusted(Meta, values)


def decode(data: bytes, position: Position | None, decoder: Decoder = catalogue.decode) -> Recorded[Event]:
    """The event that `encode` wrote; attributes and fields it does not know are tolerated.

    Raises Malformed, whose text names places and kinds of error and never a value.
    """
    try:
        body = from_json(data)
        event = decoder(body["type"], body["version"], body["data"])
        return Recorded(body["id"], Address.parse(body["subject"]), _meta(body), event, position)
    except ValidationError as error:
        what = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors(include_input=False)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error.args[0]}" if isinstance(error, KeyError) else type(error).__name__
    raise Malformed(f"{position or 'message'} is no event of ours: {what}")
