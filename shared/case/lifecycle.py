"""The lifecycle of a case as a table of transitions: (status, event, variant) -> status, each with its reason.

An event without a row for a status is not allowed in that status. A closed case is not handled until it is reopened;
the table names the events that are allowed after the end, with the reason. Clause numbers are those of GB/T 33200-2016;
other sources are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from shared.case import events as e
from shared.case.base import Event
from shared.case.facts import Stage


class Status(StrEnum):
    """The status of a case."""

    NEW = "unborn"
    AWAITING_TRIAGE = "awaiting_triage"
    TRIAGED = "triaged"
    ASSIGNED = "assigned"
    HANDLING = "handling"
    SETTLED = "settled"
    CLOSED = "closed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    SPLIT = "split"


S = Status
WITH_CENTRE = (S.AWAITING_TRIAGE, S.TRIAGED)
WITH_UNIT = (S.ASSIGNED, S.HANDLING)
IN_PROGRESS = (*WITH_CENTRE, *WITH_UNIT)
OPEN = (*IN_PROGRESS, S.SETTLED)
ENDED = (S.CLOSED, S.DECLINED, S.WITHDRAWN, S.MERGED, S.SPLIT)
EXISTING = (*OPEN, *ENDED)
# The stage of each open status, whose clock runs (clause 5.1.3 a).
STAGES: dict[Status, Stage] = {
    S.AWAITING_TRIAGE: Stage.TRIAGE,
    S.TRIAGED: Stage.TRIAGE,
    S.ASSIGNED: Stage.SIGN,
    S.HANDLING: Stage.HANDLE,
    S.SETTLED: Stage.FEEDBACK,
}


class Variant(StrEnum):
    """A variant of an event type, by the facts of the event or by the state before it."""

    PLAIN = ""
    ANSWERED = "answered"  # the desk answered the demand at registration
    CO = "co"  # the event is about co-handling units, not about the responsible one
    UNASSIGNED = "unassigned"  # no unit had the case
    FORWARDED = "forwarded"  # the words of the reporter of a merged case
    # the status to which an undone merge leads back
    AWAITING_TRIAGE = "awaiting_triage"
    TRIAGED = "triaged"
    ASSIGNED = "assigned"
    HANDLING = "handling"


V = Variant
AnyStatus = TypeVar("AnyStatus", bound=StrEnum)


def event_key(event: type[Event], variant: Variant = V.PLAIN) -> str:
    """An event type and its variant as one text, `type` or `type+variant`."""
    return f"{event.TYPE}+{variant}" if variant else event.TYPE


@dataclass(frozen=True, slots=True)
class Transition(Generic[AnyStatus]):
    """One row of a table: the event, the statuses that allow it, the status that follows (`target`), and the reason.

    `target` is None where the status does not change. `stages` marks such an event after which other stages may run, or
    the same stages under other time limits.
    """

    event: type[Event]
    sources: tuple[AnyStatus, ...]
    target: AnyStatus | None
    why: str
    variant: Variant = V.PLAIN
    stages: bool = False

    @property
    def changes_stages(self) -> bool:
        """Whether the clocks of the case may have to change: another status is another stage."""
        return self.target is not None or self.stages

    @property
    def key(self) -> str:
        """Event type and variant as one text."""
        return event_key(self.event, self.variant)

    def status_after(self, status: AnyStatus) -> AnyStatus:
        """The status after the event in `status`."""
        return self.target or status


_TABLE: tuple[Transition[Status], ...] = (
    Transition(e.Registered, (S.NEW,), S.AWAITING_TRIAGE, "5.1.3 a: uniform intake"),
    Transition(e.Registered, (S.NEW,), S.SETTLED, "8.2 a: explanation on the spot settles it", V.ANSWERED),
    Transition(
        e.Supplemented, (*OPEN, S.MERGED), None, "petitions regulation 20: more papers may come while the case is open"
    ),
    Transition(
        e.Supplemented,
        (*OPEN, *(status for status in ENDED if status is not S.MERGED)),
        None,
        "petitions regulation 19: the words of a merged case's reporter arrive, also where it has ended meanwhile",
        V.FORWARDED,
    ),
    Transition(
        e.Corrected, (*OPEN, S.CLOSED, S.DECLINED, S.WITHDRAWN), None, "12.2: the record is kept right", stages=True
    ),
    Transition(e.Attached, OPEN, None, "petitions regulation 19: a repeat of a case in progress joins it"),
    Transition(e.Withdrawn, IN_PROGRESS, S.WITHDRAWN, "the demand is the resident's own"),
    Transition(e.CalledBack, (S.SETTLED, S.CLOSED), None, "Jinan 12345, 27: every item is called back"),
    Transition(e.Rated, (S.SETTLED, S.CLOSED, S.MERGED), None, "12.3: supervision by the public"),
    Transition(e.Triaged, WITH_CENTRE, S.TRIAGED, "5.1.3 a: centralised triage; it may be corrected before assignment"),
    Transition(e.Declined, WITH_CENTRE, S.DECLINED, "Beijing 12345, 11: another legal path is open"),
    Transition(e.Split, WITH_CENTRE, S.SPLIT, "5.1.3 a: each demand has its own responsible unit"),
    Transition(e.Merged, IN_PROGRESS, S.MERGED, "petitions regulation 19: it goes on in the surviving case"),
    *(
        Transition(e.Unmerged, (S.MERGED,), status, "petitions regulation 19: not the same fact", Variant(status.value))
        for status in IN_PROGRESS
    ),
    Transition(e.Assigned, (S.TRIAGED, *WITH_UNIT), S.ASSIGNED, "5.1.3 a: a named unit; a dissolved one is replaced"),
    Transition(e.Assigned, WITH_UNIT, None, "5.1.1 b: other co-handling units; the responsible person stays", V.CO),
    Transition(e.SignedFor, (S.ASSIGNED,), S.HANDLING, "5.1.3 a: a named person of the responsible unit"),
    Transition(e.SignedFor, WITH_UNIT, None, "5.1.1 b: a co-handling unit names its person", V.CO),
    Transition(
        e.Reassigned, (S.HANDLING, S.SETTLED), None, "5.1.3 a: one person at any time, also if the case is sent back"
    ),
    Transition(e.Reassigned, WITH_UNIT, None, "5.1.1 b: another person of a co-handling unit", V.CO),
    Transition(e.HandedBack, WITH_UNIT, S.AWAITING_TRIAGE, "5.1.1 c: to the same centre, never to the resident"),
    Transition(e.Ruled, IN_PROGRESS, S.ASSIGNED, "5.1.1 c: the centre rules on the remit"),
    Transition(e.Transferred, IN_PROGRESS, S.AWAITING_TRIAGE, "4: the case moves in the tree without a gap or a copy"),
    Transition(e.CoHandlingEnded, WITH_UNIT, None, "5.1.1 b: a unit may be taken off", stages=True),
    Transition(e.Progressed, (S.HANDLING,), None, "5.1.2 a: feedback during handling"),
    Transition(e.CoReported, WITH_UNIT, None, "5.1.1 b: each co-handling unit has its own task", stages=True),
    Transition(e.Settled, (S.HANDLING,), S.SETTLED, "5.1.3 a: handled by law, with a reply"),
    Transition(e.SentBack, (S.SETTLED,), S.HANDLING, "Jinan 12345, 27: not satisfied, handled again"),
    Transition(e.SentBack, (S.SETTLED,), S.AWAITING_TRIAGE, "an answer on the spot was not enough", V.UNASSIGNED),
    Transition(e.Closed, (S.SETTLED,), S.CLOSED, "12.2: filed"),
    Transition(e.ReopeningProposed, (S.CLOSED,), None, "12.3: supervision by the public has a result"),
    Transition(e.ReopeningDeclined, (S.CLOSED,), None, "12.3: the centre answers what the public says"),
    Transition(e.Reopened, (S.CLOSED, S.DECLINED, S.WITHDRAWN), S.AWAITING_TRIAGE, "12.3: taken up again"),
    Transition(e.DeadlinesSet, OPEN, None, "5.1.3 a: each stage has a deadline"),
    Transition(e.DeadlineRecomputed, OPEN, None, "a published calendar changes due dates"),
    Transition(e.ExtensionRequested, IN_PROGRESS, None, "petitions regulation 34: requested with a reason"),
    Transition(e.Extended, IN_PROGRESS, None, "petitions regulation 34: approved, and the resident is told"),
    Transition(e.ExtensionRefused, IN_PROGRESS, None, "petitions regulation 34"),
    Transition(e.PauseRequested, IN_PROGRESS, None, "petitions regulation 36"),
    Transition(e.Suspended, IN_PROGRESS, None, "petitions regulation 36: the time of a hearing does not count"),
    Transition(e.PauseRefused, IN_PROGRESS, None, "petitions regulation 36"),
    Transition(
        e.Resumed, OPEN, None, "petitions regulation 36; the report upward may still be suspended after the reply"
    ),
    Transition(e.Warned, OPEN, None, "5.1.3 a: handled within a time limit"),
    Transition(e.OverdueDeclared, EXISTING, None, "5.1.3 a: every overdue is declared, also of a stage that has ended"),
    Transition(e.OverdueAnnulled, EXISTING, None, "an act in time is not overdue, even if its proof arrives later"),
    Transition(e.Escalated, OPEN, None, "11.2: the centre above is in charge", stages=True),
    Transition(e.HandedDown, OPEN, None, "5.1.1 i: the level reached hands the case down"),
    Transition(e.Urged, OPEN, None, "practice: a reminder comes before an order"),
    Transition(e.Ordered, OPEN, None, "Weifang 12345, 26: a supervision order covers the case"),
    Transition(e.Held, EXISTING, None, "personal information law 47: a legal duty to keep"),
    Transition(e.ReleaseRequested, EXISTING, None, "practice: one person requests, another decides"),
    Transition(e.ReleaseRequestEnded, EXISTING, None, "refused, or taken back by who made it"),
    Transition(e.Released, EXISTING, None, "the reason of the hold has ended", stages=True),
    Transition(e.ErasureRequested, ENDED, None, "practice: one person requests, another decides"),
    Transition(e.ErasureRequestEnded, ENDED, None, "refused, or taken back by who made it"),
    Transition(e.Erased, ENDED, None, "9.4 b: kept for the period of its class and no longer"),
)

TRANSITIONS: dict[tuple[Status, type[Event], Variant], Transition[Status]] = {
    (source, row.event, row.variant): row for row in _TABLE for source in row.sources
}
