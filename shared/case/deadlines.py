"""The law of the clocks: what may be done with a deadline of a case (clause 5.1.3 a).

Extension and pause follow the petitions regulation, articles 34 and 36. Nothing fires early, nothing twice, and a case
under import is left to the clock of its file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.case import events as e
from shared.case.base import Event
from shared.case.commands import Command
from shared.case.facts import Hold
from shared.case.reasons import Reason
from shared.case.state import CaseState, Clock


def _set(state: CaseState, event: e.DeadlinesSet, command: Command) -> Reason | None:
    if not event.opens and not event.closes:
        return Reason.NOTHING_SET
    running = {clock.deadline.stage for clock in state.clocks}
    if any(stage not in running for stage in event.closes):
        return Reason.NO_SUCH_DEADLINE
    kept = {(c.deadline.stage, c.deadline.unit) for c in state.clocks if c.deadline.stage not in event.closes}
    opened = [(deadline.stage, deadline.unit) for deadline in event.opens]
    twice = len(set(opened)) != len(opened) or any(key in kept for key in opened)
    return Reason.DEADLINE_OPEN if twice else None


def _recompute(state: CaseState, event: e.DeadlineRecomputed, command: Command) -> Reason | None:
    clock = state.clock(event.deadline.stage, event.deadline.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    return None if clock.deadline.due == event.due_before else Reason.DEADLINE_MOVED


def _request(state: CaseState, event: e.ExtensionRequested | e.PauseRequested, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if isinstance(event, e.ExtensionRequested):
        if event.due <= clock.deadline.due:
            return Reason.NOT_LATER
        return Reason.REQUEST_PENDING if clock.extension_requested else None
    if clock.suspended:
        return Reason.ALREADY_SUSPENDED
    return Reason.REQUEST_PENDING if clock.pause_requested else None


def _extend(state: CaseState, event: e.Extended, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if event.approver in state.stand_aside:
        return Reason.MUST_STAND_ASIDE
    if state.person_of(event.unit) in (event.approver, command.meta.actor.person):
        return Reason.SELF_APPROVAL
    return None if event.due > clock.deadline.due else Reason.NOT_LATER


def _refuse(state: CaseState, event: e.ExtensionRefused | e.PauseRefused, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    extension = isinstance(event, e.ExtensionRefused)
    asked = clock.extension_requested if extension else clock.pause_requested
    return None if asked else Reason.NO_REQUEST


def _suspend(state: CaseState, event: e.Suspended, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if command.meta.actor.person == state.person_of(event.unit):
        return Reason.SELF_APPROVAL
    return Reason.ALREADY_SUSPENDED if clock.suspended else None


def _resume(state: CaseState, event: e.Resumed, command: Command) -> Reason | None:
    clock = state.clock(event.deadline.stage, event.deadline.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if not clock.suspended:
        return Reason.NOT_SUSPENDED
    return Reason.NOT_LATER if event.deadline.due < clock.deadline.due else None


def _fire(state: CaseState, event: e.Warned | e.Overdue, command: Command) -> Reason | None:
    clock = state.clock(event.stage, event.unit)
    if clock is None:
        return Reason.NO_SUCH_DEADLINE
    if clock.deadline.due != event.due:
        return Reason.DEADLINE_MOVED
    if Hold.IMPORT in state.holds:
        return Reason.HELD
    if clock.suspended:
        return Reason.ALREADY_SUSPENDED
    return _too_early_or_twice(clock, event)


def _too_early_or_twice(clock: Clock, event: e.Warned | e.Overdue) -> Reason | None:
    if isinstance(event, e.Overdue):
        if clock.overdue:
            return Reason.ALREADY_FIRED
        return Reason.NOT_YET_DUE if event.seen_at <= clock.deadline.due else None
    if clock.warned or clock.overdue:
        return Reason.ALREADY_FIRED
    moment = clock.deadline.warn_at
    return Reason.NOT_YET_DUE if moment is None or event.seen_at < moment else None


def _annul(state: CaseState, event: e.OverdueAnnulled, command: Command) -> Reason | None:
    return None if (event.stage, event.unit) in state.late else Reason.NOTHING_TO_ANNUL


RULES: dict[type[Event], Callable[[CaseState, Any, Command], Reason | None]] = {
    e.DeadlinesSet: _set,
    e.DeadlineRecomputed: _recompute,
    e.ExtensionRequested: _request,
    e.PauseRequested: _request,
    e.Extended: _extend,
    e.ExtensionRefused: _refuse,
    e.PauseRefused: _refuse,
    e.Suspended: _suspend,
    e.Resumed: _resume,
    e.Warned: _fire,
    e.Overdue: _fire,
    e.OverdueAnnulled: _annul,
}
