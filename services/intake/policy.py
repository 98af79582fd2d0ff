"""What intake wants to happen: a split case's parts become cases; and what a resident may see of their own case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from shared.case import events as e
from shared.case.base import Address, Event, Recorded, new_id
from shared.case.facts import Channel, Registration
from shared.kit.react import Next, Reaction, Seen


def register_parts(seen: Seen) -> Sequence[Next]:
    """Each part of a split case is born with the first asked person of the whole (clause 11.1: for ever)."""
    event, state = seen.recorded.event, seen.state
    assert isinstance(event, e.Split)
    nexts = []
    matters = event.matters.matters  # type: ignore[union-attr]
    for number, (part, matter) in enumerate(zip(event.parts, matters, strict=True), 1):
        facts = Registration(
            channel=Channel(state.channel),
            contact_time=state.contact_time,
            matter=matter,
            region=part.region,
            nature=part.nature,
            subject=part.subject,
            severity=state.severity,
            retention=state.retention,
            first_asked=state.first_asked,
            first_asked_unit=state.first_asked_unit,
            complained_unit=state.complained_unit,
            stand_aside=state.stand_aside,
            informant=state.informant,
            parent=seen.recorded.address.id,
            hold=next(iter(h for h in state.holds if h == "import"), None),
        )
        id = new_id(part.region, f"{seen.recorded.id} {number}")
        nexts.append(Next(Address("case", part.region, id), "register", facts))
    return nexts


REACTIONS: tuple[Reaction, ...] = (
    Reaction("intake.register_parts", frozenset({"case.split"}), register_parts, opens=True),
)

_PUBLIC = {
    "case.registered": "registered",
    "case.supplemented": "supplemented",
    "case.attached": "repeated",
    "case.declined": "declined",
    "case.assigned": "assigned",
    "case.ruled": "assigned",
    "case.signed_for": "handling",
    "case.transferred": "transferred",
    "case.progressed": "progressed",
    "case.extended": "extended",
    "case.settled": "settled",
    "case.sent_back": "handled_again",
    "case.closed": "closed",
    "case.reopened": "reopened",
    "case.withdrawn": "withdrawn",
}
Steps = list[tuple[str, datetime, str | None]]


def public_steps(events: Iterable[tuple[Recorded[Any], Event]]) -> tuple[Steps, str | None]:
    """The steps of a case as its resident may see them, and the reply in force. Names units, never people."""
    steps: Steps = []
    reply: str | None = None
    for recorded, event in events:
        what = _PUBLIC.get(recorded.type)
        if what is None:
            continue
        steps.append((what, recorded.meta.time, getattr(event, "unit", None)))
        if isinstance(event, e.Settled):
            reply = event.reply.text  # type: ignore[union-attr]
        elif isinstance(event, e.Registered) and event.answer is not None:
            reply = event.answer.text  # type: ignore[union-attr]
        elif isinstance(event, e.SentBack | e.Reopened):
            reply = None
    return steps, reply
