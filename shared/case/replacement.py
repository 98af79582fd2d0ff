"""Whether a command replaces a decision that stands. Pure.

The catalogue names the decision that a command may replace; the state says whether it stands. The first decision of its
kind replaces none: the first triage, the first assignment, the first settlement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.case.clocks import RunningDeadline
from shared.case.commands import COMMANDS, Command, Replaces
from shared.case.events.supervision import ClockNamed
from shared.case.orders import OrderState
from shared.case.state import CaseState


def replaces(command: Command, state: CaseState | OrderState) -> bool:
    """Whether a decision that stands in `state` is no longer in force after the command."""
    stands = _STANDS.get(COMMANDS[command.name].replaces)
    return stands is not None and stands(state, command)


def _has_moved(state: CaseState, _: Command) -> bool:
    return state.in_charge != state.region


def _is_routed(state: CaseState, command: Command) -> bool:
    return bool(state.units) or _has_moved(state, command)


def _names_a_person(state: CaseState, command: Command) -> bool:
    return state.person_of(getattr(command.facts, "unit", None)) is not None


def _was_settled(state: CaseState, _: Command) -> bool:
    """A settlement stands, or one was taken back before."""
    return state.settled_at is not None or state.send_backs > 0 or state.reopened


def _was_extended(state: CaseState, command: Command) -> bool:
    clock = _clock(state, command)
    return clock is not None and clock.extensions > 0


def _was_paused(state: CaseState, command: Command) -> bool:
    clock = _clock(state, command)
    return clock is not None and (clock.suspended or clock.pauses > 0)


def _clock(state: CaseState, command: Command) -> RunningDeadline | None:
    """The clock that the command names; where it names none, a suspended one (`resume`)."""
    facts = command.facts
    if isinstance(facts, ClockNamed):
        return state.clock(facts.stage, facts.unit)
    return next((clock for clock in state.clocks if clock.suspended), None)


def _always(state: CaseState | OrderState, _: Command) -> bool:
    """The law allows the command only where the decision stands."""
    return True


_STANDS: dict[Replaces, Callable[[Any, Command], bool]] = {
    Replaces.FACTS: _always,
    Replaces.TRIAGE: lambda state, _: state.triaged_unit is not None,
    Replaces.UNITS: lambda state, _: state.unit is not None,
    Replaces.PERSON: _names_a_person,
    Replaces.ROUTE: _is_routed,
    Replaces.CENTRE: _has_moved,
    Replaces.SETTLEMENT: _was_settled,
    Replaces.END: _always,
    Replaces.EXTENSION: _was_extended,
    Replaces.PAUSE: _was_paused,
    Replaces.HOLD: _always,
    Replaces.ANSWER: _always,
    Replaces.ORDER: _always,
}
