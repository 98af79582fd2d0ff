"""The policy of intake: the parts of a split case become cases. Also the public steps of a case. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.case import events as e
from shared.case.announcements import StepName
from shared.case.base import Address, Event, Recorded, contains, new_id
from shared.case.catalogue import step_of
from shared.case.facts import Channel, PartMatters, Registration
from shared.case.state import NEW, CaseState, evolve
from shared.kit.effects import CommandRequest, Reaction, reaction


def register_parts(recorded: Recorded[e.Split], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Register each part of a split case, with the first-asked person of the whole (clause 11.1: for ever)."""
    event, requests = recorded.known, []
    assert isinstance(event.matters, PartMatters), "this reaction has the content unsealed"
    for number, (part, matter) in enumerate(zip(event.parts, event.matters.matters, strict=True), 1):
        facts = Registration(
            channel=Channel(case.channel),
            contact_time=case.contact_time,
            matter=matter,
            region=part.region,
            nature=part.nature,
            subject=part.subject,
            severity=case.severity,
            retention=case.retention,
            first_asked=case.first_asked,
            first_asked_unit=case.first_asked_unit,
            complained_unit=case.complained_unit,
            stand_aside=case.stand_aside,
            informant=case.informant,
            parent=recorded.address.id,
            handed_by=case.handed_by if case.handed_by and _below(case.handed_by, part.region) else None,
            hold=next(iter(hold for hold in case.holds if hold == "import"), None),
        )
        id = new_id(part.region, f"{recorded.id} {number}")
        requests.append(CommandRequest(Address("case", part.region, id), "register", facts))
    return requests


def _below(upper: str, lower: str) -> bool:
    """Whether a region lies below another one: a superior follows only the parts that lie below it."""
    return contains(upper, lower) and upper != lower


REACTIONS: tuple[Reaction, ...] = (reaction("intake.register_parts", register_parts, unseals=True),)

Steps = list[tuple[StepName, datetime, str | None]]


def public_steps(events: Iterable[tuple[Recorded[Any], Event]]) -> tuple[Steps, str | None]:
    """The steps of a case as its resident may see them, and the reply in force. They name units, never people."""
    steps: Steps = []
    reply: str | None = None
    for recorded, event in events:
        step = step_of(event)
        if step is None:
            continue
        steps.append((step, recorded.meta.time, getattr(event, "unit", None)))
        if isinstance(event, e.Settled):
            reply = event.reply.text  # type: ignore[union-attr]
        elif isinstance(event, e.Registered) and event.answer is not None:
            reply = event.answer.text  # type: ignore[union-attr]
        elif isinstance(event, e.SentBack | e.Reopened):
            reply = None
    return steps, reply


@dataclass(frozen=True, slots=True)
class PublicStep:
    """One public step of a case: its name, its event, and the case right after the event."""

    step: StepName
    recorded: Recorded[Any]
    state: CaseState


def steps_in_the_open(events: Iterable[Recorded[Any]]) -> list[PublicStep]:
    """The public steps of a case, from all of its events; sealed content is not needed."""
    steps, state = [], NEW
    for recorded in events:
        state = evolve(state, recorded)
        if (step := step_of(recorded.event)) is not None:
            steps.append(PublicStep(step, recorded, state))
    return steps
