"""Routing's events: the units and the person that have the case, and the handling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from shared.case.base import CaseId, Event, Facts, Filled, Owner, PersonId, Private, Region, UnitCode
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
    Satisfaction,
)


class TriageFacts(Classification, Routed):
    """The classification and the units of the case, with the rule that decided (clause 5.1.3 a: centralised triage)."""


class Triaged(TriageFacts, Event, type="case.triaged", owner=Owner.ROUTING):
    """The triage desk, or a rule, classified the case and named its units."""


class DeclineFacts(Explained):
    """The reason for declining, and the legal path that is open (none for an invalid demand)."""

    reason: DeclineReason
    legal_path: Basis


class Declined(DeclineFacts, Event, type="case.declined", owner=Owner.ROUTING):
    """The centre declined the matter and named the legal path (Beijing 12345, article 11)."""


class SplitFacts(Facts):
    """The parts of a split case. Each becomes a case of its own."""

    parts: Annotated[tuple[Part, ...], Field(min_length=2, max_length=PARTS_MAX)]
    matters: Private[PartMatters]


class Split(SplitFacts, Event, type="case.split", owner=Owner.ROUTING):
    """The case contained several demands and continues as its parts."""


class MergeFacts(Facts):
    """The case in which this one continues."""

    into: CaseId


class Merged(MergeFacts, Event, type="case.merged", owner=Owner.ROUTING):
    """The case was a repeat: it continues in another case, to which it was attached before."""


class UnmergingFacts(Explained):
    """The reason, and where the case stood when it was merged at `merged_at`.

    `status` and `since` are its status and the start of its stage. `clocks` are its clocks, as the JSON text that a
    stored state has of them.
    """

    merged_at: Filled[AwareDatetime]
    status: Filled[Literal["awaiting_triage", "triaged", "assigned", "handling"]]
    since: Filled[AwareDatetime]
    clocks: Filled[str]


class Unmerged(UnmergingFacts, Event, type="case.unmerged", owner=Owner.ROUTING):
    """A wrong merge was undone: the case goes on by itself from where it stood, and its clocks never stopped."""


class AssignmentFacts(Routed):
    """The units of the case. After a `direct` designation no hand-back is allowed (Weifang 12345, article 22)."""

    direct: bool = False


class Assigned(AssignmentFacts, Event, type="case.assigned", owner=Owner.ROUTING):
    """One responsible unit was named, with its co-handling units (clause 5.1.3 a: a named unit).

    Where the unit has the case already, only the co-handling units change: person, status and reports stay.
    """


class SigningFacts(Facts):
    """The unit that signs, and its responsible person."""

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
    """The unit that hands the case back, and the basis why it is not the unit's remit."""

    unit: UnitCode
    basis: Basis


class HandedBack(HandBackFacts, Event, type="case.handed_back", owner=Owner.ROUTING):
    """The unit handed the case back to the centre in charge, never to the resident (clause 5.1.1 c)."""


class RulingFacts(Handlers, Explained):
    """The units whose remit the case is, after a dispute. No hand-back is allowed after it."""


class Ruled(RulingFacts, Event, type="case.ruled", owner=Owner.ROUTING):
    """The centre ruled on the remit (clause 5.1.1 c; Weifang 12345, article 22)."""


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
    """The act of handling, and whether the resident was contacted."""

    unit: UnitCode
    note: Private[Note]
    contacted: bool = False
    attachments: Attachments = ()


class Progressed(ProgressFacts, Event, type="case.progressed", owner=Owner.ROUTING):
    """A unit of the case reported an act of handling."""


class CoReported(ProgressFacts, Event, type="case.co_reported", owner=Owner.ROUTING):
    """A co-handling unit reported the end of its part (clause 5.1.1 b)."""


class SettlementFacts(Facts):
    """The outcome, the reply to the resident, and the legal or policy basis (clause 5.1.3 a: by law)."""

    outcome: Outcome
    reply: Private[Note]
    basis: Basis
    attachments: Attachments = ()


class Settled(SettlementFacts, Event, type="case.settled", owner=Owner.ROUTING):
    """Handling ended and the resident has the reply."""


class SentBack(Explained, Event, type="case.sent_back", owner=Owner.ROUTING):
    """The matter was not solved or the resident not satisfied: handled again (Jinan 12345, article 27)."""


class ClosingFacts(Facts):
    """The ground for closing the case."""

    basis: Basis = ""


class Closed(ClosingFacts, Event, type="case.closed", owner=Owner.ROUTING):
    """The case was closed and filed."""


class ReopeningProposalFacts(Facts):
    """The word of the resident that calls for it."""

    satisfaction: Satisfaction = Satisfaction.DISSATISFIED
    outcome: Outcome | None = None


class ReopeningProposed(ReopeningProposalFacts, Event, type="case.reopening_proposed", owner=Owner.ROUTING):
    """The resident of a closed case is not satisfied: the centre in charge decides whether it is reopened."""


class ReopeningDeclined(Explained, Event, type="case.reopening_declined", owner=Owner.ROUTING):
    """The centre decided on the proposal that the case stays closed."""


class Reopened(Explained, Event, type="case.reopened", owner=Owner.ROUTING):
    """A closed case was opened again."""
