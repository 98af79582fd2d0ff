"""What intake wants to happen: a split case's parts become cases; and what a resident may see of their own case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from shared.case import events as e
from shared.case.announcements import StepName
from shared.case.base import Address, Code, Event, PersonId, Recorded, Region, UnitCode, contains, new_id
from shared.case.catalogue import step_of
from shared.case.facts import (
    Channel,
    Matter,
    Nature,
    Note,
    Parties,
    PartMatters,
    Party,
    Registration,
    Retention,
    Severity,
    Short,
    Text,
    Title,
)
from shared.case.state import NEW, CaseState, evolve
from shared.kit.effects import CommandRequest, Reaction, reaction


class RegisterBody(BaseModel):
    """What a desk, a page or a phone sends to register a demand (registration form: domain 1.a).

    `handed_by`: the region of the superior centre that hands the matter down and follows it (clause 5.1.1 i).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel
    region: Region
    nature: Nature
    title: Title
    text: Text
    address: Short = ""
    parties: Annotated[tuple[Party, ...], Field(max_length=50)] = ()
    subject: Code | None = None
    severity: Severity = Severity.GENERAL
    retention: Retention = Retention.YEAR_1
    first_asked: PersonId | None = None
    first_asked_unit: UnitCode | None = None
    contact_time: AwareDatetime | None = None
    grid: Annotated[str, Field(pattern=r"^[0-9]{15}$")] | None = None
    complained_unit: UnitCode | None = None
    stand_aside: Annotated[tuple[PersonId, ...], Field(max_length=50)] = ()
    informant: bool = False
    people_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    handed_by: Region | None = None
    answer: Text | None = None
    time: AwareDatetime | None = None

    @model_validator(mode="after")
    def _handed_down_by_a_superior(self) -> Self:
        if self.handed_by is not None and self.channel is not Channel.SUPERIOR:
            raise PydanticCustomError("handed_by", "handed_by is for what a superior hands down: channel superior")
        return self


def registration(
    body: RegisterBody, person: str, unit: str, now: datetime, file_names: Sequence[str] = ()
) -> Registration:
    """The facts of a registration; whoever sends it was asked first unless it says otherwise (clause 11.1)."""
    same = [
        "channel",
        "region",
        "nature",
        "subject",
        "severity",
        "retention",
        "grid",
        "complained_unit",
        "stand_aside",
        "informant",
        "people_count",
        "handed_by",
    ]
    return Registration(
        **{name: getattr(body, name) for name in same},
        contact_time=body.contact_time or now,
        first_asked=body.first_asked or person,
        first_asked_unit=body.first_asked_unit or unit,
        matter=Matter(title=body.title, text=body.text, address=body.address, file_names=tuple(file_names)),
        reporter=Parties(parties=body.parties) if body.parties else None,
        answer=Note(text=body.answer) if body.answer else None,
    )


def register_parts(recorded: Recorded[e.Split], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Each part of a split case is registered with the first asked person of the whole (clause 11.1: for ever)."""
    event, requests = recorded.known, []
    assert isinstance(event.matters, PartMatters), "the content is unsealed for this reaction"
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
            hold=next(iter(h for h in case.holds if h == "import"), None),
        )
        id = new_id(part.region, f"{recorded.id} {number}")
        requests.append(CommandRequest(Address("case", part.region, id), "register", facts))
    return requests


def _below(upper: str, lower: str) -> bool:
    """Whether the superior that handed a matter down goes on following a part of it."""
    return contains(upper, lower) and upper != lower


REACTIONS: tuple[Reaction, ...] = (reaction("intake.register_parts", register_parts, unseals=True),)

Steps = list[tuple[StepName, datetime, str | None]]


def public_steps(events: Iterable[tuple[Recorded[Any], Event]]) -> tuple[Steps, str | None]:
    """The steps of a case as its resident may see them, and the reply in force. Names units, never people."""
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
    """One step of a case in the open: what happened, by which event, and the case right after it."""

    step: StepName
    recorded: Recorded[Any]
    state: CaseState


def steps_in_the_open(events: Iterable[Recorded[Any]]) -> list[PublicStep]:
    """The public steps of a case, from all of its events, sealed as they are."""
    found, state = [], NEW
    for recorded in events:
        state = evolve(state, recorded)
        if (step := step_of(recorded.event)) is not None:
            found.append(PublicStep(step, recorded, state))
    return found
