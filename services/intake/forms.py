"""The facts of the registration that a registration form stands for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.case.facts import Matter, Note, Parties, Registration
from shared.kit.bodies import RegisterBody


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
