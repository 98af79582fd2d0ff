"""Intake's events: the creation of a case, and the statements of its resident."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from shared.case.base import CaseId, Event, Facts, Filled, Owner, Private
from shared.case.facts import (
    Attachments,
    Classification,
    Demand,
    Explained,
    KeptFrom,
    Matter,
    Note,
    Outcome,
    Registration,
    Satisfaction,
)


class Registered(Registration, Event, type="case.registered", owner=Owner.INTAKE):
    """A case was registered (clause 5.1.3 a: uniform intake; 11.1: registered at once)."""


class SupplementFacts(Facts):
    """More words and papers for the same demand."""

    note: Private[Note]
    attachments: Attachments = ()


class Forwarded(Facts):
    """The way of a resident's words from a merged case to the case in which it goes on.

    On the merged case `forwarded_to` names that case. On that case `from_case` names the merged one, whose reporter
    the words are of.
    """

    forwarded_to: Filled[CaseId | None] = None
    from_case: Filled[CaseId | None] = None


class ResidentSupplementFacts(SupplementFacts, Forwarded):
    """More words and papers of the resident, and the way from a merged case."""


class Supplemented(ResidentSupplementFacts, Event, type="case.supplemented", owner=Owner.INTAKE):
    """The resident or the desk added to the demand."""


class CorrectionFacts(Classification, KeptFrom):
    """The facts that were wrong or unknown at registration. Only the fields given change; no exclusion is removed."""

    matter: Private[Matter] | None = None
    note: Private[Note]


class Corrected(CorrectionFacts, Event, type="case.corrected", owner=Owner.INTAKE):
    """The registration was corrected. The first version stays on the log."""


class AttachmentFacts(Demand):
    """A repeat of an open case's demand, with its own reporter.

    `merged_from` names the repeat where it was a case of its own, registered at `merged_registered_at`, with
    `merged_repeats` repeats attached to it. The earlier case survives.
    """

    merged_from: CaseId | None = None
    merged_registered_at: Filled[AwareDatetime | None] = None
    merged_repeats: Filled[Annotated[int, Field(ge=1)] | None] = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.merged_from is None) is not (self.merged_registered_at is None):
            raise ValueError("merged_from and merged_registered_at go together")
        return self


class Attached(AttachmentFacts, Event, type="case.attached", owner=Owner.INTAKE):
    """A repeat was attached (petitions regulation, article 19: the same fact in progress is not accepted anew)."""


class Withdrawn(Explained, Event, type="case.withdrawn", owner=Owner.INTAKE):
    """The resident withdrew the demand."""


class CallBackFacts(Facts):
    """The answers of the resident when called back; no answers if nobody was reached (Jinan 12345, article 27)."""

    contacted: bool
    outcome: Outcome | None = None
    satisfaction: Satisfaction = Satisfaction.UNRATED
    note: Private[Note] | None = None


class CalledBack(CallBackFacts, Event, type="case.called_back", owner=Owner.INTAKE):
    """The resident was called back about the outcome."""


class RatingFacts(Forwarded):
    """The rating by the resident (clause 12.3: supervision by the public)."""

    satisfaction: Satisfaction
    note: Private[Note] | None = None


class Rated(RatingFacts, Event, type="case.rated", owner=Owner.INTAKE):
    """The resident rated the outcome."""
