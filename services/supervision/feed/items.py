"""What a supervisor hears of an event: pure, facts in the open only, never content (docs/feeds.md).

An item is for one centre: the one in charge right after the event, on a change of hands the one before as well, and the
one that handed the matter down and follows it (clauses 5.1.1 i and 11.2). A case under import is left alone until the
import releases it; then it arrives, if it is still open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.case import events as e
from shared.case.base import Recorded, Unknown, derived_id, level_of
from shared.case.facts import Hold, Nature, OrderKind, Outcome, PauseCause, Severity, Stage
from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState, variant
from shared.kit.submission import CloudEvent
from shared.log import topology

SOURCE = "/supervision"
TYPE_PREFIX = "feed."
LEFT, FOLLOWED, NOTICE = "left", "followed", "notice"


class ItemKind(NamedTuple):
    """A kind of item: the events it follows from (`type` or `type+variant`), and what it says."""

    on: tuple[str, ...]
    says: str


_MOVES = ("case.transferred", "case.escalated", "case.handed_down")
_BIRTHS = ("case.registered", "case.registered+answered")
_ENDS = ("case.closed", "case.declined", "case.withdrawn", "case.merged", "case.split")
_AGAIN = ("case.reopened", "case.sent_back", "case.sent_back+unassigned")
_ANSWERS = ("order.answered", "order.accepted", "order.refused", "order.withdrawn")
ITEM_KINDS: Mapping[str, ItemKind] = {
    LEFT: ItemKind(_MOVES, "another centre is in charge now; told to the one that was"),
    "arrived": ItemKind((*_BIRTHS, *_MOVES, "case.released+import"), "the centre is in charge of it from now on"),
    "warned": ItemKind(("case.warned",), "a deadline is near"),
    "overdue": ItemKind(("case.overdue", "order.overdue"), "a deadline passed"),
    "annulled": ItemKind(
        ("case.overdue_annulled",), "an overdue does not stand: what was done in time came to us late"
    ),
    "escalated": ItemKind(("case.escalated",), "it came up to this centre (clause 11.2)"),
    "handed_down": ItemKind(("case.handed_down",), "it came down to this centre (clause 5.1.1 i)"),
    "urged": ItemKind(("case.urged",), "the unit, or its person, was urged"),
    "ordered": ItemKind(("case.ordered", "order.issued"), "a supervision order was issued, or covers the case"),
    "answered": ItemKind(_ANSWERS, "an order was answered, its answer accepted or refused, or it was withdrawn"),
    "extended": ItemKind(("case.extended",), "a deadline was moved"),
    "suspended": ItemKind(("case.suspended", "case.resumed"), "a clock stands still, or goes on again"),
    "settled": ItemKind(("case.settled", "case.registered+answered"), "the resident has the reply"),
    "closed": ItemKind(_ENDS, "the case ended: closed, declined, withdrawn, merged or split"),
    "reopened": ItemKind(_AGAIN, "taken up again, or to be handled again"),
    NOTICE: ItemKind((*_BIRTHS, "case.extended", "case.settled"), "for the resident: a template and what fills it"),
    FOLLOWED: ItemKind((), "the same as `inner`, told to the centre that handed the matter down"),
}
TEMPLATES: Mapping[str, str] = {
    "case.registered": "registered",
    "case.registered+answered": "settled",
    "case.extended": "extended",
    "case.settled": "settled",
}


def _kinds_by_event() -> dict[str, tuple[str, ...]]:
    events = dict.fromkeys(event for kind in ITEM_KINDS.values() for event in kind.on)
    return {event: tuple(name for name, kind in ITEM_KINDS.items() if event in kind.on) for event in events}


_KINDS_OF = _kinds_by_event()
EVENT_TYPES = frozenset(event.partition("+")[0] for event in _KINDS_OF)


class FeedData(BaseModel):
    """The facts in the open: which item for which centre, of which case or order, where it stands right after.

    `event` is the event's type, `position` its place on the log; `previous` the centre that was in charge before a
    change of hands. `stage`, `due` and `seen_at` name the deadline, `rung`, `moment`, `next_at`, `acts` and `informs`
    the rung of the ladder; `template` the text of a notice, which number, unit and due fill.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    level: int
    region: str
    number: str
    event: str
    position: str
    version: int
    status: str
    in_charge: str
    case: str | None = None
    order: str | None = None
    order_kind: OrderKind | None = None
    cases_count: int | None = None
    inner: str | None = None
    template: str | None = None
    previous: str | None = None
    nature: Nature | None = None
    subject: str | None = None
    severity: Severity | None = None
    people_count: int | None = None
    outcome: Outcome | None = None
    unit: str | None = None
    person: str | None = None
    stage: Stage | None = None
    due: AwareDatetime | None = None
    seen_at: AwareDatetime | None = None
    until: AwareDatetime | None = None
    cause: PauseCause | None = None
    rung: int | None = None
    moment: AwareDatetime | None = None
    next_at: AwareDatetime | None = None
    acts: str | None = None
    informs: tuple[str, ...] | None = None


class FeedItem(CloudEvent):
    """One item: CloudEvents 1.0. `subject` is the id of the case, or of the order; `time` that of the event."""

    id: str
    source: str = SOURCE
    type: str
    subject: str
    time: datetime
    data: FeedData

    @property
    def nats_subject(self) -> str:
        """Where the item goes."""
        return topology.feed(self.data.kind, self.data.level, self.data.region, self.subject)


def items(before: Any, after: Any, recorded: Recorded[Any], number: str) -> tuple[FeedItem, ...]:
    """The items of an event, in their order: `before` and `after` are the states of its case or order around it.

    `number` is the one that people read out. The ids follow from event, kind, level and region: made again, they are
    the same.
    """
    if isinstance(recorded.event, Unknown) or recorded.type not in EVENT_TYPES:
        return ()
    if isinstance(after, OrderState):
        kinds = _KINDS_OF.get(recorded.type, ())
        data = _order(after, recorded, number)
        return tuple(_item(recorded, data, kind, after.region) for kind in kinds)
    if Hold.IMPORT in after.holds:
        return ()
    return tuple(_of_case(before, after, recorded, number))


def item_id(recorded: Recorded[Any], kind: str, region: str) -> str:
    """The id of the item of this kind that an event gives the centre of a region."""
    return derived_id("feed", recorded.id, kind, f"{int(level_of(region))}.{region}")


def _of_case(before: CaseState, after: CaseState, recorded: Recorded[Any], number: str) -> Iterator[FeedItem]:
    event = _variant(before, after, recorded.known)
    kinds = _KINDS_OF.get(event, ())
    data = _case(before, after, recorded, number)
    for kind in kinds:
        told = data | {"template": TEMPLATES[event]} if kind == NOTICE else data
        yield _item(recorded, told, kind, before.in_charge if kind == LEFT else after.in_charge)
    inner = [kind for kind in kinds if kind != NOTICE]
    if after.handed_by is not None and inner:
        yield _item(recorded, data | {"inner": inner[-1]}, FOLLOWED, after.handed_by)


def _variant(before: CaseState, after: CaseState, event: Any) -> str:
    if isinstance(event, e.Released):
        return "case.released+import" if event.hold is Hold.IMPORT and after.status in OPEN else "case.released"
    return variant(event, before)


def _item(recorded: Recorded[Any], data: Mapping[str, Any], kind: str, region: str) -> FeedItem:
    said = FeedData(kind=kind, level=int(level_of(region)), region=region, **data)
    return FeedItem(
        id=item_id(recorded, kind, region),
        type=TYPE_PREFIX + kind,
        subject=recorded.address.id,
        time=recorded.meta.time,
        data=said,
    )


def _case(before: CaseState, after: CaseState, recorded: Recorded[Any], number: str) -> dict[str, Any]:
    event = recorded.known
    moved = before.in_charge and before.in_charge != after.in_charge
    return _about(recorded, number, after) | {
        "in_charge": after.in_charge,
        "case": recorded.address.id,
        "order": getattr(event, "order", None),
        "order_kind": event.kind if isinstance(event, e.Ordered) else None,
        "previous": before.in_charge if moved else None,
        "nature": after.nature,
        "subject": after.subject,
        "severity": after.severity,
        "people_count": after.people_count,
        "outcome": after.outcome,
        "unit": getattr(event, "unit", None) or getattr(event, "late_unit", None) or after.unit,
        "person": event.person if isinstance(event, e.Urged) else None,
    }


def _order(after: OrderState, recorded: Recorded[Any], number: str) -> dict[str, Any]:
    return _about(recorded, number, after) | {
        "in_charge": after.region,
        "order": recorded.address.id,
        "order_kind": after.kind,
        "cases_count": len(after.cases),
        "unit": after.unit,
        "due": after.due,
    }


def _about(recorded: Recorded[Any], number: str, after: Any) -> dict[str, Any]:
    event = recorded.known
    clock = getattr(event, "deadline", event)  # a clock that goes on is stated whole
    return {
        "number": number,
        "event": recorded.type,
        "position": str(recorded.position),
        "version": after.version,
        "status": after.status.value,
        "stage": getattr(clock, "stage", None) or getattr(event, "late_stage", None),
        "due": getattr(clock, "due", None),
        "acts": getattr(event, "acts", None) or None,
        "informs": getattr(event, "informs", None) or None,
    } | {name: getattr(event, name, None) for name in ("seen_at", "until", "cause", "rung", "moment", "next_at")}
