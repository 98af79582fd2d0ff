"""Routing's events: who has the case, and what they do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.case.base import CaseId, Event, Facts, Owner, PersonId, Private, Region, UnitCode
from shared.case.facts import (
    PARTS_MAX,
    Attachments,
    Basis,
    Classification,
    DeclineReason,
    Explained,
    Handlers,
    Note,
    Outcome,
    Part,
    PartMatters,
    Routed,
)


class TriageFacts(Classification, Routed):
    """Where the case belongs, and by which rule or person (clause 5.1.3 a: centralised triage)."""


class Triaged(TriageFacts, Event, type="case.triaged", owner=Owner.ROUTING):
    """The triage desk, or a rule, said what the case is and where it belongs."""


class DeclineFacts(Explained):
    """Why it is not taken up, and which legal path is open (none for what is invalid)."""

    reason: DeclineReason
    legal_path: Basis


class Declined(DeclineFacts, Event, type="case.declined", owner=Owner.ROUTING):
    """The centre does not take the matter up and tells the legal path (Beijing 12345, article 11)."""


class SplitFacts(Facts):
    """The parts that a case is split into; each becomes a case of its own."""

    parts: Annotated[tuple[Part, ...], Field(min_length=2, max_length=PARTS_MAX)]
    matters: Private[PartMatters]


class Split(SplitFacts, Event, type="case.split", owner=Owner.ROUTING):
    """The case held several demands and goes on as its parts."""


class MergeFacts(Facts):
    """The case that this one goes on in."""

    into: CaseId


class Merged(MergeFacts, Event, type="case.merged", owner=Owner.ROUTING):
    """The case was a repeat: it goes on in another, where it was attached first."""


class AssignmentFacts(Routed):
    """Who must handle it; `direct` when the centre designates and no hand-back is open (Weifang 12345, article 22)."""

    direct: bool = False


class Assigned(AssignmentFacts, Event, type="case.assigned", owner=Owner.ROUTING):
    """One responsible unit was named, with its co-handling units (clause 5.1.3 a: a named unit).

    For the unit that has the case already only the co-handling units change: person, status and reports stay.
    """


class SigningFacts(Facts):
    """Which unit signs, and who of it is responsible."""

    unit: UnitCode
    person: PersonId


class SignedFor(SigningFacts, Event, type="case.signed_for", owner=Owner.ROUTING):
    """A unit took the case and named one responsible person (clause 5.1.3 a: a named person)."""


class ReassignmentFacts(Facts):
    """The new responsible person of the same unit."""

    unit: UnitCode
    person: PersonId
    note: Private[Note] | None = None


class Reassigned(ReassignmentFacts, Event, type="case.reassigned", owner=Owner.ROUTING):
    """Another person of the unit is responsible from now on."""


class HandBackFacts(Explained):
    """The unit that gives the case back, and why it is not its remit."""

    unit: UnitCode
    basis: Basis


class HandedBack(HandBackFacts, Event, type="case.handed_back", owner=Owner.ROUTING):
    """The unit gave the case back to the centre in charge, never to the resident (clause 5.1.1 c)."""


class RulingFacts(Handlers, Explained):
    """Whose remit it is, after a dispute; no hand-back follows."""


class Ruled(RulingFacts, Event, type="case.ruled", owner=Owner.ROUTING):
    """The centre ruled on whose remit it is (clause 5.1.1 c; Weifang 12345, article 22)."""


class TransferFacts(Explained):
    """The centre that takes the case over."""

    to: Region


class Transferred(TransferFacts, Event, type="case.transferred", owner=Owner.ROUTING):
    """Another centre is in charge (clause 4: without a gap or a copy)."""


class CoHandlingEndFacts(Explained):
    """The co-handling unit that is taken off."""

    unit: UnitCode


class CoHandlingEnded(CoHandlingEndFacts, Event, type="case.co_handling_ended", owner=Owner.ROUTING):
    """A co-handling unit was taken off the case."""


class ProgressFacts(Facts):
    """What was done, and whether the resident was spoken to."""

    unit: UnitCode
    note: Private[Note]
    contacted: bool = False
    attachments: Attachments = ()


class Progressed(ProgressFacts, Event, type="case.progressed", owner=Owner.ROUTING):
    """The responsible unit did something for the case."""


class CoReported(ProgressFacts, Event, type="case.co_reported", owner=Owner.ROUTING):
    """A co-handling unit reported its part done (clause 5.1.1 b)."""


class SettlementFacts(Facts):
    """What came of it, the reply to the resident, and the legal or policy basis (clause 5.1.3 a: by law)."""

    outcome: Outcome
    reply: Private[Note]
    basis: Basis
    attachments: Attachments = ()


class Settled(SettlementFacts, Event, type="case.settled", owner=Owner.ROUTING):
    """Handling came to an end and the resident has the reply."""


class SentBack(Explained, Event, type="case.sent_back", owner=Owner.ROUTING):
    """Not done or not satisfied: to be handled again (Jinan 12345, article 27)."""


class ClosingFacts(Facts):
    """On what ground the case is closed."""

    basis: Basis = ""


class Closed(ClosingFacts, Event, type="case.closed", owner=Owner.ROUTING):
    """The case is closed and filed."""


class Reopened(Explained, Event, type="case.reopened", owner=Owner.ROUTING):
    """A closed case is taken up again."""
