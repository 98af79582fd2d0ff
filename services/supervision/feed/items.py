"""What a supervisor hears of an event: pure, facts in the open only, never content (docs/feeds.md).

An item is for one centre: the one in charge right after the event, on a change of hands the one before as well, and the
one that handed the matter down and follows it (clauses 5.1.1 i and 11.2). A case under import is left alone until the
import releases it; then it arrives, if it is still open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.case import events as e
from shared.case.announcements import FeedKind, NoticeTemplate
from shared.case.base import Recorded, derived_id, level_of
from shared.case.catalogue import ANNOUNCED, COMMAND_OF
from shared.case.clocks import seen_late
from shared.case.facts import Hold
from shared.case.lifecycle import OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState, variant
from shared.kit.feed_item import TYPE_PREFIX, FeedData, FeedItem


def items(before: Any, after: Any, recorded: Recorded[Any], number: str) -> tuple[FeedItem, ...]:
    """The items of an event, in their order: `before` and `after` are the states of its case or order around it.

    `number` is the one that people read out. The ids follow from event, kind, level and region: made again, they are
    the same.
    """
    if type(recorded.event) not in ANNOUNCED:
        return ()
    if isinstance(after, OrderState):
        data = _order(after, recorded, number)
        kinds = COMMAND_OF[type(recorded.known)].feed.items
        return tuple(_item(recorded, data, kind, after.region) for kind in kinds)
    if Hold.IMPORT in after.holds:
        return ()
    return tuple(_of_case(before, after, recorded, number))


def item_id(recorded: Recorded[Any], kind: str, region: str, repeat: int | None = None) -> str:
    """The id of the item of this kind that an event gives the centre of a region, and the reporter of a repeat."""
    receiver = f"{int(level_of(region))}.{region}"
    return derived_id("feed", recorded.id, kind, receiver if repeat is None else f"{receiver} {repeat}")


def _of_case(before: CaseState, after: CaseState, recorded: Recorded[Any], number: str) -> Iterator[FeedItem]:
    event = recorded.known
    if isinstance(event, e.Released) and not (event.hold is Hold.IMPORT and after.status in OPEN):
        return  # only the end of an import brings a case to its centre, and only while it is open
    feed = COMMAND_OF[type(event)].feed_of(variant(event, before))
    data = _case(before, after, recorded, number)
    for kind in feed.items:
        if kind is not FeedKind.NOTICE:
            yield _item(recorded, data, kind, before.in_charge if kind is FeedKind.LEFT else after.in_charge)
        elif not isinstance(event, e.Attached):
            yield _item(recorded, data | {"template": feed.notice}, kind, after.in_charge)
    inner = [kind for kind in feed.items if kind is not FeedKind.NOTICE]
    if after.handed_by is not None and inner:
        yield _item(recorded, data | {"inner": inner[-1]}, FeedKind.FOLLOWED, after.handed_by)
    for repeat in _repeats_with_notice(event, feed.notice, after):
        yield _item(recorded, data | {"template": feed.notice, "repeat": repeat}, FeedKind.NOTICE, after.in_charge)


def _repeats_with_notice(event: Any, notice: NoticeTemplate | None, after: CaseState) -> range:
    """The attached repeats whose reporters get a notice of the event. The reporter of a merged case hears of the merge
    by that case."""
    if isinstance(event, e.Attached):
        return range(after.repeats, after.repeats + (event.merged_from is None))
    return range(1, after.repeats + 1) if notice and notice.for_repeat else range(0)


def _item(recorded: Recorded[Any], data: Mapping[str, Any], kind: str, region: str) -> FeedItem:
    facts = FeedData(kind=kind, level=int(level_of(region)), region=region, **data)
    return FeedItem(
        id=item_id(recorded, kind, region, facts.repeat),
        type=TYPE_PREFIX + kind,
        subject=recorded.address.id,
        time=recorded.meta.time,
        data=facts,
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
        "satisfaction": getattr(event, "satisfaction", None),
        "unit": getattr(event, "unit", None) or getattr(event, "late_unit", None) or after.unit,
        "person": event.person if isinstance(event, e.Urged) else None,
        "seen_late": _fired_late(before, recorded),
        "legal_path": event.legal_path or None if isinstance(event, e.Declined) else None,
    }


def _fired_late(before: CaseState, recorded: Recorded[Any]) -> bool | None:
    """True for what fires by itself and was seen late; None else."""
    event = recorded.known
    moment, seen_at = getattr(event, "moment", None), recorded.time
    if isinstance(event, e.Warned | e.OverdueDeclared):
        clock = before.clock(event.stage, event.unit)
        moment = event.due if isinstance(event, e.OverdueDeclared) or clock is None else clock.deadline.warn_at
        seen_at = event.seen_at
    return True if moment is not None and seen_late(moment, seen_at) else None


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
    clock = getattr(event, "deadline", None) or event  # a clock that goes on is stated whole
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
