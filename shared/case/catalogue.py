"""The lists of events, derived from the catalogue and the tables of transitions; and the decoding of an event.

No list of events is written by hand: the row and the transitions of a new event put it on every list.

Unknown fields are refused on write and tolerated on read. An event of a type or version newer than this program becomes
`Unknown`: a projection skips it, and a decider refuses to write after it.
"""

from __future__ import annotations

from typing import Any, Literal

from shared.case.announcements import StepName
from shared.case.base import Event, Unknown
from shared.case.commands import COMMANDS, CommandSpec
from shared.case.lifecycle import ENDED, TRANSITIONS, Status
from shared.case.orders import ORDER_TRANSITIONS, OrderStatus
from shared.case.upcasts import upcast

# The event classes by type, the name on the wire.
EVENTS: dict[str, type[Event]] = {spec.event.TYPE: spec.event for spec in COMMANDS.values()}
# The command of each event.
COMMAND_OF: dict[type[Event], CommandSpec] = {spec.event: spec for spec in COMMANDS.values()}
# The events that create an aggregate, a case or an order.
CREATES: frozenset[type[Event]] = frozenset(
    [event for status, event, _ in TRANSITIONS if status is Status.NEW]
    + [event for status, event in ORDER_TRANSITIONS if status is OrderStatus.NEW]
)
# The events that end a case.
ENDS: frozenset[type[Event]] = frozenset(row.event for row in TRANSITIONS.values() if row.target in ENDED)
# The events that open an ended case again.
REOPENS: frozenset[type[Event]] = frozenset(
    event
    for (status, event, _), row in TRANSITIONS.items()
    if status in ENDED and row.status_after(status) not in ENDED
)
# The events after which other stages of a case may run, or the same stages under other time limits.
STAGE_CHANGES: frozenset[type[Event]] = frozenset(row.event for row in TRANSITIONS.values() if row.changes_stages)

# The events that lead to feed items.
ANNOUNCED: frozenset[type[Event]] = frozenset(
    spec.event for spec in COMMANDS.values() if any(feed.items for feed in (spec.feed, *spec.variant_feeds.values()))
)


def step_of(event: Event | Unknown) -> StepName | None:
    """The step that an event shows to the resident; None when it shows none."""
    spec = None if isinstance(event, Unknown) else COMMAND_OF[type(event)]
    return spec.step if spec else None


def decode(type: str, version: int, data: dict[str, Any]) -> Event | Unknown:
    """The event in `data` of this type and version, converted to the current version.

    Raises pydantic.ValidationError when the data of a known version do not have its form.
    """
    cls = EVENTS.get(type)
    if cls is None or version > cls.VERSION:
        return Unknown(type, version, data)
    if version < cls.VERSION:
        data = upcast(type, version, data, cls.VERSION)
    extra: Literal["ignore"] = "ignore"
    return cls.model_validate(data, extra=extra)
