"""The deadline of a stage, reckoned from limits and calendars, and the history of its due moment.

Pure. The limit in force is applied when the clock is set. The deadline then carries its terms, and of the documents
only a newer calendar changes it (Civil Code, articles 200 to 204; petitions regulation, articles 22 to 36).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.case import events as e
from shared.case.calendar import Calendar, Reckoned, before, reckon, resume
from shared.case.clocks import RunningDeadline
from shared.case.facts import Allowance, Deadline, Ends, Stage, TimeBase
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
    choice = reference_data.limit(stage, facts_of(state))
    if choice is None:
        return None
    calendar = reference_data.calendar(state.in_charge)
    custom = _deadline(
        choice.row, choice.reference, calendar, stage, unit, _start(choice.row, state, since), choice.why
    )
    if choice.ceiling is None:
        return custom
    row, reference = choice.ceiling
    law = _deadline(row, reference, calendar, stage, unit, _start(row, state, since), choice.why)
    return custom if custom.due <= law.due else law


def _start(row: LimitRow, state: CaseState, since: datetime) -> datetime:
    """The moment from which a limit counts.

    A reopened case, or one that was sent back, has its whole time again. For an imported case the time counts from its
    import at the earliest.
    """
    again = state.send_backs or state.reopened
    start = state.registered_at if row.counts_from == "registered" and state.registered_at and not again else since
    return max(start, state.live_since) if state.live_since else start


def _deadline(
    row: LimitRow, reference: str, calendar: Calendar, stage: Stage, unit: str | None, start: datetime, why: str
) -> Deadline:
    reckoned = reckon(start, row.amount, row.base, calendar, row.ends)
    return Deadline(
        stage=stage,
        start=start,
        due=reckoned.due,
        warn_at=_warn_at(start, reckoned.due, row.warn, row.base, calendar, row.ends),
        base=row.base,
        amount=row.amount,
        legal_basis=str(row.basis),
        limit_reference=reference,
        calendar_reference=calendar_reference(calendar, reckoned),
        unit=unit,
        ends=row.ends,
        last_day=reckoned.last_day,
        warn=row.warn,
        choice=why,
        allows=_allowance(row, start, calendar),
    )


def _allowance(row: LimitRow, start: datetime, calendar: Calendar) -> Allowance:
    until = reckon(start, row.amount + row.extend_max, row.base, calendar, row.ends).due if row.extend_max else None
    return Allowance(
        extend_by=row.extend_by,
        extend_until=until,
        extend_times_max=row.extend_times_max if row.extend_by else 0,
        pauses=row.pauses,
        pause_times_max=row.pause_times_max,
        pause_days_max=row.pause_days_max,
    )


def _warn_at(
    start: datetime, due: datetime, warn: int, base: TimeBase, calendar: Calendar, ends: Ends
) -> datetime | None:
    if not warn:
        return None
    moment = before(due, warn, base, calendar, ends)
    return moment if start < moment < due else None


def deadline_after_pause(clock: RunningDeadline, at: datetime, calendar: Calendar) -> Deadline:
    """The deadline of a suspended clock that goes on at a moment."""
    old = clock.deadline
    stopped_at = next(move.at for move in reversed(clock.moves) if move.type == e.Suspended.TYPE)
    new = resume(old.due, old.last_day, stopped_at, at, old.base, calendar, old.ends)
    allows = old.allows
    if allows is not None and allows.extend_until is not None:
        until = resume(allows.extend_until, None, stopped_at, at, old.base, calendar, old.ends).due
        allows = allows.model_copy(update={"extend_until": until})
    return _with(old, new, calendar, allows=allows)


def recomputed_deadline(clock: RunningDeadline, calendar: Calendar) -> Deadline:
    """The deadline of a clock by the calendar in force, with all extensions and pauses since it was set."""
    *_, (_, last) = due_history(clock, calendar)
    return _with(clock.deadline, last, calendar)


def due_history(clock: RunningDeadline, calendar: Calendar) -> Iterator[tuple[str, Reckoned]]:
    """Each due moment of a clock with the id of the event that set it, "" for the first one; oldest first."""
    old = clock.deadline
    now = reckon(old.start, old.amount, old.base, calendar, old.ends)
    yield "", now
    stopped_at = old.start
    for move in clock.moves:
        if move.type == e.Extended.TYPE and move.due is not None:
            now = Reckoned(move.due, None, lambda: iter(()))
        elif move.type == e.Suspended.TYPE:
            stopped_at = move.at
        elif move.type == e.Resumed.TYPE:
            now = resume(now.due, now.last_day, stopped_at, move.at, old.base, calendar, old.ends)
        else:
            continue
        yield move.event, now


def _with(old: Deadline, new: Reckoned, calendar: Calendar, **more: Any) -> Deadline:
    warn_at = _warn_at(old.start, new.due, old.warn, old.base, calendar, old.ends)
    changes = {
        "due": new.due,
        "last_day": new.last_day,
        "warn_at": warn_at,
        "calendar_reference": calendar_reference(calendar, new),
    }
    return old.model_copy(update=changes | more)


def calendar_reference(calendar: Calendar, deadline: Reckoned | Deadline) -> str | None:
    """The citation of the document with the days off around the due moment; None while its year is provisional."""
    return calendar.reference_for(deadline.last_day or deadline.due.date())


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


def moment_after(calendar: Calendar, moment: datetime, amount: int, base: TimeBase) -> datetime:
    """The moment `amount` units later; days count to their end. With an amount of 0, the moment itself."""
    if not amount:
        return moment
    return reckon(moment - (INSTANT if base is not TimeBase.HOURS else timedelta(0)), amount, base, calendar).due
