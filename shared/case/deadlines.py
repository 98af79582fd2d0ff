"""The law of the clocks: the rules for events about a deadline of a case (clause 5.1.3 a).

Extension and pause follow the petitions regulation, articles 34 and 36. No deadline fires early or twice. No deadline
of a case under import fires: the clock of its file rules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from shared.case import events as e
from shared.case.base import Event
from shared.case.clocks import RunningDeadline
from shared.case.commands import Command
from shared.case.facts import Hold
from shared.case.reasons import Reason
from shared.case.state import CaseState

ClockRule = Callable[[CaseState, Any, Command], Reason | None]


def _set(state: CaseState, event: e.DeadlinesSet, command: Command) -> Reason | None:
    if not event.opens and not event.closes:
        return Reason.NOTHING_SET
    running = {clock.deadline.stage for clock in state.clocks}
    if any(stage not in running for stage in event.closes):
        return Reason.NO_SUCH_DEADLINE
    closed = [clock for clock in state.clocks if clock.deadline.stage in event.closes]
    if any(clock.late_unseen for clock in closed):
        return Reason.LATE_UNSEEN
    if any(_passed(state, clock, command) for clock in closed if clock.deadline not in event.opens):
        return Reason.LATE_UNSEEN
    unclosed = {clock.key for clock in state.clocks if clock.deadline.stage not in event.closes}
    opened = [(deadline.stage, deadline.unit) for deadline in event.opens]
    if any(clock.ended_at is None and clock.key not in opened for clock in closed):
        return Reason.STAGE_RUNS
    if not state.running_stages.issuperset(opened):
        return Reason.STAGE_OVER
    twice = len(set(opened)) != len(opened) or any(key in unclosed for key in opened)
    return Reason.DEADLINE_OPEN if twice else None


def _while_running(rule: Callable[[CaseState, RunningDeadline, Any, Command], Reason | None]) -> ClockRule:
    """A rule about the clock that the event names. The clock must exist, and its stage must not be over."""

    def checked(state: CaseState, event: Any, command: Command) -> Reason | None:
        named = getattr(event, "deadline", None) or event
        clock = state.clock(named.stage, named.unit)
        if clock is None:
            return Reason.NO_SUCH_DEADLINE
        return Reason.STAGE_OVER if clock.ended_at is not None else rule(state, clock, event, command)

    return checked


def _passed(state: CaseState, clock: RunningDeadline, command: Command) -> bool:
    """Whether a running clock is late and its overdue not declared. To end or move it now would hide the overdue."""
    waits = clock.overdue or clock.suspended or clock.ended_at is not None or Hold.IMPORT in state.holds
    return not waits and clock.deadline.due < command.meta.time


@_while_running
def _recompute(
    state: CaseState, clock: RunningDeadline, event: e.DeadlineRecomputed, command: Command
) -> Reason | None:
    return None if clock.deadline.due == event.due_before else Reason.DEADLINE_MOVED


@_while_running
def _request_extension(
    state: CaseState, clock: RunningDeadline, event: e.ExtensionRequested, command: Command
) -> Reason | None:
    return _not_extensible(clock, event) or (Reason.REQUEST_PENDING if clock.extension_requested else None)


def _not_extensible(clock: RunningDeadline, event: e.ExtensionRequested | e.Extended) -> Reason | None:
    """The reason why the limit refuses a later due moment (petitions regulation, 34): by kind, count or date."""
    extended = (event.deadline if isinstance(event, e.Extended) else None) or clock.deadline
    if event.due <= clock.deadline.due or extended.due > event.due:
        return Reason.NOT_LATER
    if extended.terms != clock.deadline.terms:
        return Reason.DEADLINE_MOVED
    allows = extended.allows
    if allows is None:
        return None
    if allows.extend_by is None:
        return Reason.NO_EXTENSION
    if allows.extend_times_max and clock.extensions >= allows.extend_times_max:
        return Reason.EXTENDED_TOO_OFTEN
    return Reason.EXTENDED_TOO_FAR if allows.extend_until and event.due > allows.extend_until else None


@_while_running
def _request_pause(
    state: CaseState, clock: RunningDeadline, event: e.PauseRequested, command: Command
) -> Reason | None:
    return _not_pausable(clock, event) or (Reason.REQUEST_PENDING if clock.pause_requested else None)


def _not_pausable(clock: RunningDeadline, event: e.PauseRequested | e.Suspended) -> Reason | None:
    """The reason why the limit refuses a pause: by its cause or the count of pauses."""
    if clock.suspended:
        return Reason.ALREADY_SUSPENDED
    allows = clock.deadline.allows
    if allows is None:
        return None
    if event.cause not in allows.pauses:
        return Reason.NO_PAUSE
    return Reason.PAUSED_TOO_OFTEN if allows.pause_times_max and clock.pauses >= allows.pause_times_max else None


@_while_running
def _extend(state: CaseState, clock: RunningDeadline, event: e.Extended, command: Command) -> Reason | None:
    if event.approver in state.stand_aside:
        return Reason.MUST_STAND_ASIDE
    if state.person_of(event.unit) in (event.approver, command.meta.actor.person):
        return Reason.SELF_APPROVAL
    allows = clock.deadline.allows
    if allows is not None and allows.extend_by not in (None, command.meta.actor.post):
        return Reason.WRONG_APPROVER
    return _not_extensible(clock, event) or (Reason.LATE_UNSEEN if _passed(state, clock, command) else None)


def _refuse(state: CaseState, event: e.ExtensionRefused | e.PauseRefused, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    extension = isinstance(event, e.ExtensionRefused)
    pending = clock.extension_requested if extension else clock.pause_requested
    return None if pending else Reason.NO_REQUEST


@_while_running
def _suspend(state: CaseState, clock: RunningDeadline, event: e.Suspended, command: Command) -> Reason | None:
    if command.meta.actor.person == state.person_of(event.unit):
        return Reason.SELF_APPROVAL
    if event.until is not None and event.until <= command.meta.time:
        return Reason.NOT_LATER
    if _passed(state, clock, command):
        return Reason.LATE_UNSEEN
    return _not_pausable(clock, event) or _too_long(clock, event, command)


def _too_long(clock: RunningDeadline, event: e.Suspended, command: Command) -> Reason | None:
    days_max = clock.deadline.allows.pause_days_max if clock.deadline.allows else 0
    if not days_max:
        return None
    latest = command.meta.time + timedelta(days=days_max)
    return Reason.PAUSE_TOO_LONG if event.until is None or event.until > latest else None


@_while_running
def _resume(state: CaseState, clock: RunningDeadline, event: e.Resumed, command: Command) -> Reason | None:
    if not clock.suspended:
        return Reason.NOT_SUSPENDED
    by = [(deadline.calendar_reference, deadline.calendars) for deadline in (event.deadline, clock.deadline)]
    # by a calendar that was published during the pause the due moment may be earlier
    return Reason.NOT_LATER if by[0] == by[1] and event.deadline.due < clock.deadline.due else None


def _fire(state: CaseState, event: e.Warned | e.OverdueDeclared, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if clock.deadline.due != event.due:
        return Reason.DEADLINE_MOVED
    if Hold.IMPORT in state.holds:
        return Reason.HELD
    if clock.suspended:
        return Reason.ALREADY_SUSPENDED
    if clock.ended_at is not None and (isinstance(event, e.Warned) or clock.ended_at <= event.due):
        return Reason.STAGE_OVER  # the stage ended in time, even if its end was recorded later
    return _too_early_or_twice(clock, event)


def _too_early_or_twice(clock: RunningDeadline, event: e.Warned | e.OverdueDeclared) -> Reason | None:
    if isinstance(event, e.OverdueDeclared):
        if clock.overdue:
            return Reason.ALREADY_FIRED
        return Reason.NOT_YET_DUE if event.seen_at <= clock.deadline.due else None
    if clock.warned or clock.overdue:
        return Reason.ALREADY_FIRED
    moment = clock.deadline.warn_at
    return Reason.NOT_YET_DUE if moment is None or event.seen_at < moment else None


def _annul(state: CaseState, event: e.OverdueAnnulled, command: Command) -> Reason | None:
    return Reason.NOTHING_TO_ANNUL if state.overdue_of(event.stage, event.unit) is None else None


def out_of_turn(state: CaseState, event: e.Urged | e.Ordered | e.Escalated, command: Command) -> Reason | None:
    """The reason why a rung of the ladder may not be taken now. No rung is skipped, repeated or taken early.

    An act by a person's own decision is no rung and is allowed at any time.
    """
    if event.rung is None:
        return None
    late = state.overdue_of(event.late_stage, event.late_unit) if event.late_stage else None
    clock = None if late is None else state.clock(late.stage, late.unit)
    if late is None or clock is None or not clock.overdue:
        return Reason.NOT_LATE
    if clock.ended_at is not None:
        return Reason.STAGE_OVER
    if clock.suspended:
        return Reason.ALREADY_SUSPENDED
    if event.rung != late.rung or event.moment != late.next_at:
        return Reason.WRONG_RUNG
    return Reason.NOT_YET_DUE if event.moment is None or command.meta.time < event.moment else None


RULES: dict[type[Event], ClockRule] = {
    e.DeadlinesSet: _set,
    e.DeadlineRecomputed: _recompute,
    e.ExtensionRequested: _request_extension,
    e.PauseRequested: _request_pause,
    e.Extended: _extend,
    e.ExtensionRefused: _refuse,
    e.PauseRefused: _refuse,
    e.Suspended: _suspend,
    e.Resumed: _resume,
    e.Warned: _fire,
    e.OverdueDeclared: _fire,
    e.OverdueAnnulled: _annul,
}
