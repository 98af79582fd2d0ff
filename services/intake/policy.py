"""What intake wants to happen: a split case's parts become cases; and what a resident may see of their own case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.case import events as e
from shared.case.base import Address, Event, Recorded, contains, new_id
from shared.case.facts import (
    Channel,
    Registration,
)
from shared.case.state import NEW, CaseState, evolve
from shared.kit.effects import CommandRequest, Reaction, ReactionContext


def register_parts(seen: ReactionContext) -> Sequence[CommandRequest]:
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
            handed_by=state.handed_by if state.handed_by and _below(state.handed_by, part.region) else None,
            hold=next(iter(h for h in state.holds if h == "import"), None),
        )
        id = new_id(part.region, f"{seen.recorded.id} {number}")
        nexts.append(CommandRequest(Address("case", part.region, id), "register", facts))
    return nexts


def _below(upper: str, lower: str) -> bool:
    """Whether the superior that handed a matter down goes on following a part of it."""
    return contains(upper, lower) and upper != lower


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
    "case.merged": "merged",
    "case.split": "split",
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


@dataclass(frozen=True, slots=True)
class PublicStep:
    """One step of a case in the open: what happened, by which event, and the case right after it."""

    step: str
    recorded: Recorded[Any]
    state: CaseState


def step_of(type_: str) -> str | None:
    """What an event type is called in public, None when it is not shown."""
    return _PUBLIC.get(type_)


def steps_in_the_open(events: Iterable[Recorded[Any]]) -> list[PublicStep]:
    """The public steps of a case, from all of its events, sealed as they are."""
    found, state = [], NEW
    for recorded in events:
        state = evolve(state, recorded)
        if (step := step_of(recorded.type)) is not None:
            found.append(PublicStep(step, recorded, state))
    return found
