"""The life of a case as a table: (status, event) -> status, with a reason beside each arrow.

What is not in the table is not allowed. Nothing that handles a closed case follows but reopening; what may still follow
is listed with why. Clause numbers are those of GB/T 33200-2016; other sources are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.case.facts import Stage


class Status(StrEnum):
    """Where a case stands."""

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
# The stage that each status is, and whose clock runs (clause 5.1.3 a).
STAGES: dict[Status, Stage] = {
    S.AWAITING_TRIAGE: Stage.TRIAGE,
    S.TRIAGED: Stage.TRIAGE,
    S.ASSIGNED: Stage.SIGN,
    S.HANDLING: Stage.HANDLE,
    S.SETTLED: Stage.FEEDBACK,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """From where, by which event (`type` or `type+variant`), to where (None: the status stays), and why."""

    event: str
    sources: tuple[Status, ...]
    target: Status | None
    why: str


_TABLE: tuple[Transition, ...] = (
    Transition("case.registered", (S.NEW,), S.AWAITING_TRIAGE, "5.1.3 a: uniform intake"),
    Transition("case.registered+answered", (S.NEW,), S.SETTLED, "8.2 a: explanation on the spot settles it"),
    Transition("case.supplemented", OPEN, None, "petitions regulation 20: more papers may come while it is open"),
    Transition("case.corrected", (*OPEN, S.CLOSED, S.DECLINED, S.WITHDRAWN), None, "12.2: the record is kept right"),
    Transition("case.attached", OPEN, None, "petitions regulation 19: a repeat of what is in progress joins it"),
    Transition("case.withdrawn", IN_PROGRESS, S.WITHDRAWN, "the demand is the resident's own"),
    Transition("case.called_back", (S.SETTLED, S.CLOSED), None, "Jinan 12345, 27: every item is called back"),
    Transition("case.rated", (S.SETTLED, S.CLOSED), None, "12.3: supervision by the public"),
    Transition(
        "case.triaged", WITH_CENTRE, S.TRIAGED, "5.1.3 a: centralised triage; it may be set right before assignment"
    ),
    Transition("case.declined", WITH_CENTRE, S.DECLINED, "Beijing 12345, 11: another legal path is open"),
    Transition("case.split", WITH_CENTRE, S.SPLIT, "5.1.3 a: each demand has its own responsible unit"),
    Transition("case.merged", IN_PROGRESS, S.MERGED, "petitions regulation 19: it goes on in the surviving case"),
    Transition(
        "case.assigned", (S.TRIAGED, *WITH_UNIT), S.ASSIGNED, "5.1.3 a: a named unit; a dissolved one is replaced"
    ),
    Transition("case.assigned+co", WITH_UNIT, None, "5.1.1 b: other co-handling units; who is at work stays at work"),
    Transition("case.signed_for", (S.ASSIGNED,), S.HANDLING, "5.1.3 a: a named person of the responsible unit"),
    Transition("case.signed_for+co", WITH_UNIT, None, "5.1.1 b: a co-handling unit names its person"),
    Transition(
        "case.reassigned", (S.HANDLING, S.SETTLED), None, "5.1.3 a: one person at any time, also if it is sent back"
    ),
    Transition("case.reassigned+co", WITH_UNIT, None, "5.1.1 b: another person of a co-handling unit"),
    Transition("case.handed_back", WITH_UNIT, S.AWAITING_TRIAGE, "5.1.1 c: to the same centre, never to the resident"),
    Transition("case.ruled", IN_PROGRESS, S.ASSIGNED, "5.1.1 c: the centre says whose remit it is"),
    Transition("case.transferred", IN_PROGRESS, S.AWAITING_TRIAGE, "4: it moves in the tree without a gap or a copy"),
    Transition("case.co_handling_ended", WITH_UNIT, None, "5.1.1 b: a unit may be taken off"),
    Transition("case.progressed", (S.HANDLING,), None, "5.1.2 a: feedback while it is handled"),
    Transition("case.co_reported", WITH_UNIT, None, "5.1.1 b: each co-handling unit has its own task"),
    Transition("case.settled", (S.HANDLING,), S.SETTLED, "5.1.3 a: handled by law, with a reply"),
    Transition("case.sent_back", (S.SETTLED,), S.HANDLING, "Jinan 12345, 27: not satisfied, handled again"),
    Transition("case.sent_back+unassigned", (S.SETTLED,), S.AWAITING_TRIAGE, "an answer on the spot was not enough"),
    Transition("case.closed", (S.SETTLED,), S.CLOSED, "12.2: filed"),
    Transition("case.reopened", (S.CLOSED, S.DECLINED, S.WITHDRAWN), S.AWAITING_TRIAGE, "12.3: taken up again"),
    Transition("case.deadlines_set", OPEN, None, "5.1.3 a: each stage has a deadline"),
    Transition("case.deadline_recomputed", OPEN, None, "a published calendar changes due dates"),
    Transition("case.extension_requested", IN_PROGRESS, None, "petitions regulation 34: asked for with a reason"),
    Transition("case.extended", IN_PROGRESS, None, "petitions regulation 34: approved, and the resident is told"),
    Transition("case.extension_refused", IN_PROGRESS, None, "petitions regulation 34"),
    Transition("case.pause_requested", IN_PROGRESS, None, "petitions regulation 36"),
    Transition("case.suspended", IN_PROGRESS, None, "petitions regulation 36: the time of a hearing does not count"),
    Transition("case.pause_refused", IN_PROGRESS, None, "petitions regulation 36"),
    Transition("case.resumed", OPEN, None, "petitions regulation 36; the report upward waits on while a reply is out"),
    Transition("case.warned", OPEN, None, "5.1.3 a: handled within a time limit"),
    Transition(
        "case.overdue", EXISTING, None, "5.1.3 a: nothing is late in silence, also what ended before it was seen"
    ),
    Transition(
        "case.overdue_annulled", EXISTING, None, "what was done in time is not late, whenever the proof arrives"
    ),
    Transition("case.escalated", OPEN, None, "11.2: the centre above is in charge"),
    Transition("case.handed_down", OPEN, None, "5.1.1 i: the level reached hands it down"),
    Transition("case.urged", OPEN, None, "practice: a reminder comes before an order"),
    Transition("case.ordered", OPEN, None, "Weifang 12345, 26: a supervision order covers it"),
    Transition("case.held", EXISTING, None, "personal information law 47: a legal duty to keep"),
    Transition("case.released", EXISTING, None, "the hold's reason is gone"),
    Transition("case.erased", ENDED, None, "9.4 b: kept as long as its class says and no longer"),
)

TRANSITIONS: dict[tuple[Status, str], Transition] = {
    (source, arrow.event): arrow for arrow in _TABLE for source in arrow.sources
}


def next_status(status: Status, event: str) -> Status | None:
    """The status after `event` (`type` or `type+variant`) in `status`; None when the table has no such arrow."""
    arrow = TRANSITIONS.get((status, event))
    return None if arrow is None else arrow.target or status
