"""Supervision's events of a case: clocks, urging, orders, escalation, holds and erasure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from shared.case.base import CaseId, Event, Facts, Filled, Owner, PersonId, Region, UnitCode
from shared.case.events.routing import TransferFacts
from shared.case.facts import (
    Basis,
    Deadline,
    Explained,
    Hold,
    OrderKind,
    PauseCause,
    Retention,
    Stage,
)


def _absent(value: object) -> bool:
    """Whether a field that older events lack is left out where they are shown."""
    return value is None


class ClockFacts(Facts):
    """A change of clocks with the stage: the clocks that open, and the stages whose clocks close."""

    opens: Annotated[tuple[Deadline, ...], Field(max_length=30)] = ()
    closes: Annotated[tuple[Stage, ...], Field(max_length=6)] = ()


class DeadlinesSet(ClockFacts, Event, type="case.deadlines_set", owner=Owner.SUPERVISION):
    """The clocks changed with the stage (clause 5.1.3 a: each stage has a deadline)."""


class RecomputationFacts(Facts):
    """The new clock of a stage, the former due moment, and the reason."""

    deadline: Deadline
    due_before: AwareDatetime
    why: Basis


class DeadlineRecomputed(RecomputationFacts, Event, type="case.deadline_recomputed", owner=Owner.SUPERVISION):
    """A published calendar or limit changed a due moment."""


class ClockNamed(Facts):
    """The clock of a stage; of the co-handling stage, that of one unit."""

    stage: Stage
    unit: UnitCode | None = None


class ExtensionRequestFacts(Explained, ClockNamed):
    """The clock and the due moment requested."""

    due: AwareDatetime


class ExtensionRequested(ExtensionRequestFacts, Event, type="case.extension_requested", owner=Owner.SUPERVISION):
    """The handler requested more time."""


class ExtensionFacts(Explained, ClockNamed):
    """The clock, the new due moment and the approver (petitions regulation, 34), and the deadline reckoned with it."""

    due: AwareDatetime
    approver: Filled[PersonId]
    deadline: Filled[Annotated[Deadline | None, Field(exclude_if=_absent)]] = None


class Extended(ExtensionFacts, Event, type="case.extended", owner=Owner.SUPERVISION):
    """The approver granted more time. A notice tells the resident the reason (petitions regulation, 34)."""


class ClockRefusalFacts(Explained, ClockNamed):
    """The clock whose request was refused."""


class ExtensionRefused(ClockRefusalFacts, Event, type="case.extension_refused", owner=Owner.SUPERVISION):
    """The approver refused more time."""


class PauseFacts(Explained, ClockNamed):
    """The clock to suspend, and the cause."""

    cause: PauseCause


class PauseRequested(PauseFacts, Event, type="case.pause_requested", owner=Owner.SUPERVISION):
    """The handler requested a pause of a clock."""


class SuspensionFacts(PauseFacts):
    """The suspended clock, the cause, and the latest end of the pause."""

    until: AwareDatetime | None = None


class Suspended(SuspensionFacts, Event, type="case.suspended", owner=Owner.SUPERVISION):
    """A clock was suspended (hearing, missing papers, waiting for the resident)."""


class PauseRefused(ClockRefusalFacts, Event, type="case.pause_refused", owner=Owner.SUPERVISION):
    """The approver refused a pause: the clock runs on."""


class ResumptionFacts(Facts):
    """The clock that is resumed, with its due moment, never earlier than before the pause by the same calendar.

    `goes_on_at` is the moment at which the clock goes on. Without it that is the time of the event.
    """

    stage: Stage | None = None
    unit: UnitCode | None = None
    deadline: Filled[Deadline]
    goes_on_at: Filled[Annotated[AwareDatetime | None, Field(exclude_if=_absent)]] = None


class Resumed(ResumptionFacts, Event, type="case.resumed", owner=Owner.SUPERVISION):
    """A clock was resumed with the time that was left."""


class FiringFacts(ClockNamed):
    """The clock that fired, its due moment, and the moment when it was seen."""

    due: AwareDatetime
    seen_at: AwareDatetime


class RungFacts(Facts):
    """The rung of the ladder from which an act follows. All fields are empty when a person acts by their own decision.

    Rung `rung` of the late stage was due at `moment`. If nobody acts, the next rung is due at `next_at`. `acts` names
    those who must act now, `informs` those informed (clause 11.2: the centre above, the own party committee and
    government).
    """

    late_stage: Filled[Stage | None] = None
    late_unit: Filled[UnitCode | None] = None
    rung: Filled[Annotated[int, Field(ge=0, le=1000)] | None] = None
    moment: Filled[AwareDatetime | None] = None
    next_at: Filled[AwareDatetime | None] = None
    acts: Filled[Basis] = ""
    informs: Filled[Annotated[tuple[Basis, ...], Field(max_length=10)]] = ()


class Warned(FiringFacts, Event, type="case.warned", owner=Owner.SUPERVISION):
    """A deadline is near."""


class OverdueFacts(FiringFacts):
    """The clock that ran out, and the moment of the first rung of the ladder if nobody acts."""

    next_at: AwareDatetime | None = None


class OverdueDeclared(OverdueFacts, Event, type="case.overdue", owner=Owner.SUPERVISION):
    """A deadline passed."""


class AnnulmentFacts(ClockNamed):
    """The clock whose overdue is annulled, and the event that proves the act in time."""

    proof: Basis


class OverdueAnnulled(AnnulmentFacts, Event, type="case.overdue_annulled", owner=Owner.SUPERVISION):
    """The record of an act in time arrived late: the overdue does not stand."""


class EscalationFacts(Explained, RungFacts):
    """The centre above that takes charge, and the bodies informed (clause 11.2: party committee and government too)."""

    to: Region


class Escalated(EscalationFacts, Event, type="case.escalated", owner=Owner.SUPERVISION):
    """The centre above is in charge (clause 11.2)."""


class HandedDown(TransferFacts, Event, type="case.handed_down", owner=Owner.SUPERVISION):
    """The centre in charge handed the case down again (clause 5.1.1 i)."""


class UrgeFacts(Explained, RungFacts):
    """The unit that is urged, or one person of it who is reminded."""

    unit: UnitCode
    person: PersonId | None = None


class Urged(UrgeFacts, Event, type="case.urged", owner=Owner.SUPERVISION):
    """The responsible unit was urged."""


class OrderedFacts(RungFacts):
    """The supervision order that names this case."""

    order: CaseId
    kind: OrderKind
    due: AwareDatetime


class Ordered(OrderedFacts, Event, type="case.ordered", owner=Owner.SUPERVISION):
    """A supervision order covers this case."""


class HoldFacts(Explained):
    """The hold to place."""

    hold: Hold


class Held(HoldFacts, Event, type="case.held", owner=Owner.SUPERVISION):
    """The case was put on hold for a legal reason: its content may not be erased."""


class ReleaseRequestFacts(Facts):
    """The basis on which the legal hold may end."""

    basis: Basis


class ReleaseRequested(ReleaseRequestFacts, Event, type="case.release_requested", owner=Owner.SUPERVISION):
    """The release of the legal hold was requested. Another person decides."""


class ReleaseRequestEnded(Explained, Event, type="case.release_request_ended", owner=Owner.SUPERVISION):
    """The request to release the legal hold was refused, or taken back."""


class ReleaseFacts(Facts):
    """The hold that ends, and the basis. `requested_by` is the person whose request the release of a legal hold
    approves; the release of an import hold, and one from before requests existed, has none."""

    hold: Hold
    basis: Basis = ""
    requested_by: Filled[PersonId | None] = None


class Released(ReleaseFacts, Event, type="case.released", owner=Owner.SUPERVISION):
    """A hold ended."""


class ErasureRequestFacts(Facts):
    """The retention class that ran out, and the basis (clause 9.4 b; personal information law, articles 19 and 47)."""

    retention: Retention
    basis: Basis


class ErasureRequested(ErasureRequestFacts, Event, type="case.erasure_requested", owner=Owner.SUPERVISION):
    """The erasure of the content was requested. Another person decides."""


class ErasureRequestEnded(Explained, Event, type="case.erasure_request_ended", owner=Owner.SUPERVISION):
    """The request to erase the content was refused, or taken back."""


class ErasureFacts(ErasureRequestFacts):
    """The retention class that ran out, and the basis (clause 9.4 b; personal information law, articles 19 and 47).

    `requested_by` is the person whose request the erasure approves; one from before requests existed has none.
    """

    requested_by: Filled[PersonId | None] = None


class Erased(ErasureFacts, Event, type="case.erased", owner=Owner.SUPERVISION):
    """The key was destroyed: the content cannot be read any more, the log and its proofs stay."""
