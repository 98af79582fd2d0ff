"""The catalogue: every event type by its name on the wire, and how raw data becomes an event.

Unknown fields are refused on write and tolerated on read; a type or version newer than this program knows becomes
`Unknown`, which a projection skips and a decider refuses to write behind.
"""

from __future__ import annotations

from typing import Any, Literal

from shared.case import events as all_events
from shared.case.base import Event, Unknown
from shared.case.upcasts import upcast

EVENTS: dict[str, type[Event]] = {cls.TYPE: cls for cls in (getattr(all_events, name) for name in all_events.__all__)}


def decode(type: str, version: int, data: dict[str, Any]) -> Event | Unknown:
    """The event that `data` of this type and version stands for, brought to today's version.

    Raises pydantic.ValidationError when the data of a known version are not what that version wrote.
    """
    cls = EVENTS.get(type)
    if cls is None or version > cls.VERSION:
        return Unknown(type, version, data)
    if version < cls.VERSION:
        data = upcast(type, version, data, cls.VERSION)
    extra: Literal["ignore"] = "ignore"
    return cls.model_validate(data, extra=extra)
