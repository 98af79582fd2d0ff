"""Which deadline a stage of a case gets, and how its due moment comes about: limits and calendars applied to a clock.

Pure. The documents in force are asked when a clock is set; from then on the clock carries what was decided, and only a
newer calendar moves it (Civil Code, articles 200 to 204; petitions regulation, articles 22 to 36).
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
from shared.reference.models import CentreRow, Document, LimitRow
from shared.reference.models_time import LadderRow
from shared.reference.rules import Choice, RoutingFacts, ladder_for, rung


class InForce(Protocol):
    """The documents in force, as far as policies ask them: `Library` is one."""

    def calendar(self, region: str) -> Calendar: ...
    def limit(self, stage: Stage, facts: RoutingFacts) -> Choice | None: ...
    def ladders(self, region: str) -> Sequence[Document]: ...
    def centre(self, region: str) -> CentreRow | None: ...
    def centre_of(self, region: str) -> CentreRow | None: ...


INSTANT = timedelta(microseconds=1)  # the end of a day belongs to it, not to the next one


def facts_of(state: CaseState) -> RoutingFacts:
    """What limits and ladders look at."""
    assert state.nature is not None, "a case that is born has a nature"
    return RoutingFacts(state.nature, state.in_charge, state.subject, state.severity)


def deadline_for(
    library: InForce, state: CaseState, stage: Stage, unit: str | None, since: datetime
) -> Deadline | None:
    """The deadline of a stage that began at `since`; None when no limit is set for it.

    A law's own limit is a ceiling: a promise may be stricter than the law, never laxer.
    """
    choice = library.limit(stage, facts_of(state))
    if choice is None:
        return None
    calendar = library.calendar(state.in_charge)
    made = _deadline(choice.row, choice.reference, calendar, stage, unit, _start(choice.row, state, since), choice.why)
    if choice.ceiling is None:
        return made
    row, reference = choice.ceiling
    law = _deadline(row, reference, calendar, stage, unit, _start(row, state, since), choice.why)
    return made if made.due <= law.due else law


def _start(row: LimitRow, state: CaseState, since: datetime) -> datetime:
    """From when a limit counts: what is handled again has its time again.

    Of an imported case no earlier than it became ours: its past is its file's.
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
        calendar_reference=cited(calendar, reckoned),
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


def resumed(clock: RunningDeadline, at: datetime, calendar: Calendar) -> Deadline:
    """The deadline of a clock that stood still since its last move and goes on at a moment."""
    old = clock.deadline
    stopped_at = next(move.at for move in reversed(clock.moves) if move.type == e.Suspended.TYPE)
    new = resume(old.due, old.last_day, stopped_at, at, old.base, calendar, old.ends)
    allows = old.allows
    if allows is not None and allows.extend_until is not None:
        until = resume(allows.extend_until, None, stopped_at, at, old.base, calendar, old.ends).due
        allows = allows.model_copy(update={"extend_until": until})
    return _with(old, new, calendar, allows=allows)


def reckoned_anew(clock: RunningDeadline, calendar: Calendar) -> Deadline:
    """The deadline of a clock by the calendar in force, with all that moved it since it was set."""
    *_, (_, last) = retold(clock, calendar)
    return _with(clock.deadline, last, calendar)


def retold(clock: RunningDeadline, calendar: Calendar) -> Iterator[tuple[str, Reckoned]]:
    """How the due moment came about: (event that moved it, "" for the setting; due moment and steps), oldest first."""
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
    said = {"due": new.due, "last_day": new.last_day, "warn_at": warn_at, "calendar_reference": cited(calendar, new)}
    return old.model_copy(update=said | more)


def cited(calendar: Calendar, one: Reckoned | Deadline) -> str | None:
    """The document that says what is off when this is due; None while its year is provisional."""
    return calendar.reference_for(one.last_day or one.due.date())


def rung_at(
    library: InForce, state: CaseState, stage: Stage, due: datetime, number: int
) -> tuple[LadderRow, datetime] | None:
    """The rung of a late stage by the ladder in force, and its moment; None when there is none of this number."""
    ladder = ladder_for(library.ladders(state.in_charge), stage, facts_of(state))
    found = rung(ladder, number)
    if found is None:
        return None
    row, after = found
    return row, later(library.calendar(state.in_charge), due, after, row.base)


def later(calendar: Calendar, moment: datetime, amount: int, base: TimeBase) -> datetime:
    """`amount` units after a moment, days to their end; the moment itself for none."""
    if not amount:
        return moment
    return reckon(moment - (INSTANT if base is not TimeBase.HOURS else timedelta(0)), amount, base, calendar).due
