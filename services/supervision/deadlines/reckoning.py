"""The deadline of a stage, reckoned from limits and calendars, and the history of its due moment.

Pure. The limit in force is applied when the clock is set, and again when a correction changes which limit applies. The
deadline carries the terms of its limit. Opening, extending, resuming and recomputing a clock use one function,
`reckoned`, which counts from the start by the documents in force (Civil Code, articles 200 to 204; petitions
regulation, articles 22 to 36).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple, Protocol

from shared.case import events as e
from shared.case.base import Reference
from shared.case.calendar import Calendar, Reckoned, before, last_day_of, reckon, resume
from shared.case.clocks import Move, RunningDeadline, seen_late
from shared.case.facts import SHORT_CHARS_MAX, Allowance, Deadline, Ends, Stage, TimeBase
from shared.case.state import CaseState
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.ladders import LadderRow, ladder_for, rung
from shared.reference.limits import LimitChoice, LimitRow
from shared.reference.people import Barred, PersonRow
from shared.reference.units import CentreRow


class DocumentsInForce(Protocol):
    """The documents in force, as policies use them. `ReferenceData` implements it."""

    def calendar(self, region: str) -> Calendar: ...
    def limit(self, stage: Stage, facts: RoutingFacts) -> LimitChoice | None: ...
    def ladders(self, region: str) -> Sequence[Document]: ...
    def centre(self, region: str) -> CentreRow | None: ...
    def centre_of(self, region: str) -> CentreRow | None: ...
    def stand_in(self, id: str, at: datetime, barred: Barred) -> PersonRow | None: ...


INSTANT = timedelta(microseconds=1)  # the smallest distance of two moments; 24:00 still belongs to the day that it ends


def facts_of(state: CaseState) -> RoutingFacts:
    """The facts of a case that limits and ladders look at."""
    assert state.nature is not None, "a registered case has a nature"
    return RoutingFacts(state.nature, state.in_charge, state.subject, state.severity)


def deadline_for(
    reference_data: DocumentsInForce, state: CaseState, stage: Stage, unit: str | None, since: datetime
) -> Deadline | None:
    """The deadline of a stage that began at `since`; None when no limit is set for it.

    A limit of the law is a ceiling: a custom limit may be stricter than the law but not laxer.
    """
    candidates = candidates_for(reference_data, state, stage, unit, since)
    return min(candidates, key=lambda deadline: deadline.due, default=None)


def candidates_for(
    reference_data: DocumentsInForce,
    state: CaseState,
    stage: Stage,
    unit: str | None,
    since: datetime,
    moves: Sequence[Move] = (),
) -> list[Deadline]:
    """The deadlines by each limit that applies to a stage: the limit chosen, then the ceiling of the law."""
    choice = reference_data.limit(stage, facts_of(state))
    if choice is None:
        return []
    calendar = reference_data.calendar(state.in_charge)
    limits = [(choice.row, choice.reference), *([choice.ceiling] if choice.ceiling else [])]
    return [
        _opened(row, reference, calendar, stage, unit, _start(row, state, since), choice.why, moves)
        for row, reference in limits
    ]


def _start(row: LimitRow, state: CaseState, since: datetime) -> datetime:
    """The moment from which a limit counts.

    A reopened case, or one that was sent back, has its whole time again. For an imported case the time counts from its
    import at the earliest.
    """
    again = state.send_backs or state.reopened
    start = state.registered_at if row.counts_from == "registered" and state.registered_at and not again else since
    return max(start, state.live_since) if state.live_since else start


def _opened(
    row: LimitRow,
    reference: str,
    calendar: Calendar,
    stage: Stage,
    unit: str | None,
    start: datetime,
    why: str,
    moves: Sequence[Move],
) -> Deadline:
    allows = Allowance(
        extend_by=row.extend_by,
        extend_max=row.extend_max,
        extend_times_max=row.extend_times_max if row.extend_by else 0,
        pauses=row.pauses,
        pause_times_max=row.pause_times_max,
        pause_days_max=row.pause_days_max,
    )
    terms = Terms(start, row.amount, row.base, row.ends, row.warn, allows)
    return Deadline(
        stage=stage,
        start=start,
        base=row.base,
        amount=row.amount,
        legal_basis=str(row.basis),
        limit_reference=reference,
        unit=unit,
        ends=row.ends,
        warn=row.warn,
        choice=why,
        **reckoned(terms, moves, calendar),
    )


# One reckoning: every due moment, warning, bound and citation comes from `reckoned`


class Terms(NamedTuple):
    """The terms of a limit, by which a clock counts from its start. A deadline carries them under the same names."""

    start: datetime
    amount: int
    base: TimeBase
    ends: Ends
    warn: int
    allows: Allowance | None


def reckoned(terms: Terms | Deadline, moves: Sequence[Move], calendar: Calendar) -> dict[str, Any]:
    """The fields of a deadline that follow from its terms, counted from its start by the calendar in force.

    They are the due moment with its last day, the warning, the bound of an extension and the documents cited. `moves`
    are the extensions and pauses since the start. A clock with none was just opened.
    """
    *_, (_, last) = due_history(terms, moves, calendar)
    allows = terms.allows
    if allows is not None and allows.extend_max:
        longest = terms.amount + allows.extend_max
        pauses = [move for move in moves if move.type != e.Extended.TYPE]
        *_, (_, bound) = due_history(terms, pauses, calendar, longest)
        allows = allows.model_copy(update={"extend_until": bound.due})
    return {
        "due": last.due,
        "last_day": last.last_day,
        "warn_at": _warn_at(terms, last.due, calendar),
        "calendar_reference": calendar_reference(calendar, last, terms.ends),
        "calendars": _cited(calendar, terms, last.due, allows),
        "allows": allows,
    }


def due_history(
    terms: Terms | Deadline, moves: Iterable[Move], calendar: Calendar, amount: int = 0
) -> Iterator[tuple[str, Reckoned]]:
    """Each due moment of a clock with the id of the event that set it, "" for the first one; oldest first.

    An extension names its due moment, which is no earlier than the one without it. `amount` stands in the place of the
    amount of the terms.
    """
    now = reckon(terms.start, amount or terms.amount, terms.base, calendar, terms.ends)
    yield "", now
    stopped_at = terms.start
    for move in moves:
        if move.type == e.Extended.TYPE and move.due is not None:
            now = Reckoned(move.due, None, lambda: iter(())) if move.due > now.due else now
        elif move.type == e.Suspended.TYPE:
            stopped_at = move.at
        elif move.type == e.Resumed.TYPE:
            now = resume(now.due, now.last_day, stopped_at, move.at, terms.base, calendar, terms.ends)
        else:
            continue
        yield move.event, now


def _warn_at(terms: Terms | Deadline, due: datetime, calendar: Calendar) -> datetime | None:
    if not terms.warn:
        return None
    moment = before(due, terms.warn, terms.base, calendar, terms.ends)
    return moment if terms.start < moment < due else None


def recomputed_deadline(clock: RunningDeadline, calendar: Calendar, *more: Move) -> Deadline:
    """The deadline of a clock by the calendar in force, with its extensions and pauses and those in `more`."""
    return clock.deadline.model_copy(update=reckoned(clock.deadline, (*clock.moves, *more), calendar))


def extended_deadline(clock: RunningDeadline, due: datetime, at: datetime, calendar: Calendar) -> Deadline:
    """The deadline of a clock that is extended to `due` at the moment `at`."""
    return recomputed_deadline(clock, calendar, Move("", e.Extended.TYPE, at, due))


def resumption(clock: RunningDeadline, at: datetime, calendar: Calendar) -> dict[str, Any]:
    """The deadline of a suspended clock that is resumed at a moment, and the moment at which it goes on.

    A pause ends at its `until`, also where that is seen later. A clock that was overdue before it stopped keeps its due
    moment: the overdue stands.
    """
    goes_on = min(at, clock.resume_at) if clock.resume_at else at
    if clock.overdue:
        return {"deadline": clock.deadline, "goes_on_at": goes_on}
    new, allows = recomputed_deadline(clock, calendar, Move("", e.Resumed.TYPE, goes_on)), clock.deadline.allows
    if allows is not None and allows.extend_until and not allows.extend_max:  # set before a bound had its terms
        old, stopped_at = clock.deadline, next(move.at for move in reversed(clock.moves) if _stops(move))
        until = resume(allows.extend_until, None, stopped_at, goes_on, old.base, calendar, old.ends).due
        new = new.model_copy(update={"allows": allows.model_copy(update={"extend_until": until})})
    return {"deadline": new, "goes_on_at": goes_on}


def _stops(move: Move) -> bool:
    return move.type == e.Suspended.TYPE


@dataclass(frozen=True, slots=True)
class LimitComparison:
    """The deadline of a clock that people moved, and the law's own by another limit. The earlier one holds."""

    moved: Deadline
    law: Deadline
    zone: tzinfo

    @property
    def law_holds(self) -> bool:
        """Whether the law's own limit is the stricter one."""
        return self.law.due < self.moved.due

    @property
    def text(self) -> str:
        """Both limits with their due moments, and the reason why the one holds."""
        holds = "the law's own limit holds" if self.law_holds else "the moved one holds"
        moved, law = (self._limit(deadline) for deadline in (self.moved, self.law))
        reason = "it is due earlier, with the same pauses in both"
        return f"moved: {moved}; the law's own for this case: {law}; {holds}: {reason}"[:SHORT_CHARS_MAX]

    def _limit(self, deadline: Deadline) -> str:
        due = deadline.due.astimezone(self.zone).isoformat(timespec="minutes")
        return f"{deadline.amount} {deadline.base.replace('_', ' ')} ({deadline.legal_basis[:60]}), due {due}"


def differs(new: Deadline, old: Deadline) -> bool:
    """Whether two reckonings of a deadline differ in a moment that somebody relies on."""
    bounds = [deadline.allows.extend_until if deadline.allows else None for deadline in (new, old)]
    return (new.due, new.warn_at) != (old.due, old.warn_at) or bounds[0] != bounds[1]


def calendar_reference(calendar: Calendar, deadline: Reckoned | Deadline, ends: Ends = Ends.DAY) -> str | None:
    """The citation of the document with the days off around the due moment; None while its year is provisional."""
    return calendar.reference_for(deadline.last_day or last_day_of(deadline.due, calendar, ends))


def _cited(
    calendar: Calendar, terms: Terms | Deadline, due: datetime, allows: Allowance | None
) -> tuple[Reference, ...]:
    """The documents of the days from the start to the due moment or, where that is later, to the bound."""
    latest = max(due, allows.extend_until) if allows and allows.extend_until else due
    days = calendar.local(terms.start).date(), calendar.local(latest).date()
    return calendar.cited(*days, office=terms.ends is Ends.OFFICE)


def out_of_force(deadline: Deadline, calendar: Calendar) -> bool:
    """Whether a deadline cites other documents than the calendar in force would."""
    if deadline.calendars:
        return deadline.calendars != _cited(calendar, deadline, deadline.due, deadline.allows)
    return deadline.calendar_reference != calendar_reference(calendar, deadline, deadline.ends)


def rung_at(
    reference_data: DocumentsInForce, state: CaseState, stage: Stage, due: datetime, number: int
) -> tuple[LadderRow, datetime] | None:
    """The rung of an overdue stage by the ladder in force, and its moment; None when no rung has this number."""
    ladder = ladder_for(reference_data.ladders(state.in_charge), stage, facts_of(state))
    numbered = rung(ladder, number)
    if numbered is None:
        return None
    row, after = numbered
    return row, moment_after(reference_data.calendar(state.in_charge), due, after, row.base)


def next_rung_at(
    reference_data: DocumentsInForce, state: CaseState, stage: Stage, due: datetime, number: int, since: datetime
) -> datetime | None:
    """The moment of a rung after the announcement before it, at `since`; None when no rung has this number.

    It has its distance from the due moment, and its own interval from that announcement: nobody has less time to act.
    """
    numbered = rung_at(reference_data, state, stage, due, number)
    if numbered is None:
        return None
    row, moment = numbered
    ladder = ladder_for(reference_data.ladders(state.in_charge), stage, facts_of(state))
    after, before_it = (rung(ladder, index) if index >= 0 else None for index in (number, number - 1))
    interval = (after[1] if after else 0) - (before_it[1] if before_it else 0)
    if interval <= 0:
        return moment
    return max(moment, moment_after(reference_data.calendar(state.in_charge), since, interval, row.base))


def announced_at(moment: datetime, seen_at: datetime) -> datetime:
    """The moment of an announcement: when it was due, or when it was seen where an outage delayed it."""
    return seen_at if seen_late(moment, seen_at) else moment


def moment_after(calendar: Calendar, moment: datetime, amount: int, base: TimeBase) -> datetime:
    """The moment `amount` units later; days count to their end. With an amount of 0, the moment itself."""
    if not amount:
        return moment
    return reckon(moment - (INSTANT if base is not TimeBase.HOURS else timedelta(0)), amount, base, calendar).due
