"""The registration form, and the facts of the registration that it stands for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from shared.case.base import Code, PersonId, Region, UnitCode
from shared.case.facts import (
    Channel,
    Matter,
    Nature,
    Note,
    Parties,
    Party,
    Registration,
    Retention,
    Severity,
    Short,
    Text,
    Title,
)


class RegisterBody(BaseModel):
    """The registration form, as a desk, a page or a phone sends it (clause 5.1.3 a).

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


def registration_facts(
    body: RegisterBody, person: str, unit: str, now: datetime, file_names: Sequence[str] = ()
) -> Registration:
    """The facts of a registration; whoever sends it was asked first unless the form says otherwise (clause 11.1)."""
    same_names = [
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
        **{name: getattr(body, name) for name in same_names},
        contact_time=body.contact_time or now,
        first_asked=body.first_asked or person,
        first_asked_unit=body.first_asked_unit or unit,
        matter=Matter(title=body.title, text=body.text, address=body.address, file_names=tuple(file_names)),
        reporter=Parties(parties=body.parties) if body.parties else None,
        answer=Note(text=body.answer) if body.answer else None,
    )
