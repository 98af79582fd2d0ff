"""Enrichers: facts of supervision's commands that the service knows and the sender does not state.

A command that was accepted before is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.supervision import policy
from services.supervision.deadlines.reckoning import extended_deadline, resumption
from shared.case import events as e
from shared.case.base import Event, Recorded
from shared.case.clocks import RunningDeadline
from shared.case.commands import Command
from shared.case.events.routing import TransferFacts
from shared.case.events.supervision import ErasureFacts, EscalationFacts, ExtensionFacts, ReleaseFacts
from shared.case.facts import Hold
from shared.case.reasons import Reason, Rejected
from shared.case.state import CaseState
from shared.kit.access import Caller
from shared.kit.application import Application, Enricher, rejected
from shared.kit.problems import Unprocessable

# The request that a command approves.
_APPROVES: dict[str, type[Event]] = {
    "extend": e.ExtensionRequested, "suspend": e.PauseRequested, "accept-answer": e.OrderAnswered,
    "release": e.ReleaseRequested, "erase": e.ErasureRequested,
}  # fmt: skip


async def by_another(application: Application, caller: Caller, command: Command) -> Command:
    """Refuse the approval by a person who made the request, who has the case in hand, or who stands in for either
    (petitions regulation, 34). Raises ProblemError.
    """
    history = await application.history_for_service(command.address)
    state, stated = history.state, command.facts
    if command.meta.command_id in state.applied:
        return command
    concerned = requesters(history.events, command.name, stated)
    if isinstance(state, CaseState):
        unit, now = _clock_of(stated)[1], application.runtime.clock.now()
        concerned |= {state.person_of(unit), policy.holder(application.identity.reference_data, state, unit, now)}
    if not concerned.isdisjoint(caller.people):
        raise rejected(Rejected(Reason.SELF_APPROVAL))
    return command


def requesters(events: Sequence[Recorded[Any]], name: str, stated: Any) -> set[str | None]:
    """Who made the request that a command approves, and the absent person for whom.

    The last request counts. The answer to an order is all that was answered since an answer was last refused.
    """
    concerned: set[str | None] = set()
    for recorded in events:
        event, actor = recorded.event, recorded.meta.actor
        if isinstance(event, e.OrderRefused):
            concerned = set()
        elif type(event) is _APPROVES[name] and _clock_of(event) == _clock_of(stated):
            earlier = concerned if isinstance(event, e.OrderAnswered) else set()
            concerned = {*earlier, actor.person, actor.acting_for}
    return concerned


def _clock_of(stated: Any) -> tuple[Any, Any]:
    """The stage and the unit whose clock facts are about; neither for an order."""
    return getattr(stated, "stage", None), getattr(stated, "unit", None)


async def approved(application: Application, caller: Caller, command: Command) -> Command:
    """Add the approver of an extension, the caller, and the deadline reckoned with it (petitions regulation, 34).

    Raises ProblemError for an own request.
    """
    command = await by_another(application, caller, command)
    assert isinstance(command.facts, ExtensionFacts)
    stated = command.facts
    state = (await application.load_for_service(command.address)).state
    clock = state.clock(stated.stage, stated.unit)
    filled: dict[str, object] = {"approver": caller.person}
    if clock is not None and command.meta.command_id not in state.applied:
        calendar = application.identity.reference_data.calendar(state.in_charge)
        filled["deadline"] = extended_deadline(clock, stated.due, command.meta.time, calendar)
    return replace(command, facts=stated.model_copy(update=filled))


async def resumed_deadline(application: Application, caller: Caller, command: Command) -> Command:
    """Add the deadline with which a suspended clock goes on (petitions regulation, 36).

    Raises ProblemError when no clock is suspended.
    """
    state = (await application.load_for_service(command.address)).state
    if command.meta.command_id in state.applied:
        return command
    clock = suspended_clock(state, command)
    calendar = application.identity.reference_data.calendar(state.in_charge)
    filled = resumption(clock, command.meta.time, calendar)
    return replace(command, facts=command.facts.model_copy(update=filled))


def suspended_clock(state: CaseState, command: Command) -> RunningDeadline:
    """The one suspended clock to which a command applies. Raises Unprocessable for several, ProblemError for none."""
    stage, unit = getattr(command.facts, "stage", None), getattr(command.facts, "unit", None)
    matching = [
        clock for clock in state.clocks if stage in (None, clock.deadline.stage) and unit in (None, clock.deadline.unit)
    ]
    suspended = [clock for clock in matching if clock.suspended]
    if len(suspended) > 1:
        names = clock_names(suspended)
        raise Unprocessable(f"Several clocks stand still: {names}. Name stage and unit.", code="clock.several")
    if not suspended:
        raise rejected(Rejected(Reason.NOT_SUSPENDED if matching else Reason.NO_SUCH_DEADLINE))
    return suspended[0]


def clock_names(clocks: Sequence[RunningDeadline]) -> str:
    """The names of clocks for people: the stage, and the unit where several units have a clock of that stage."""
    keys = (clock.key for clock in clocks)
    return ", ".join(f"{stage} of {unit}" if unit else stage for stage, unit in keys)


async def informed_above(application: Application, caller: Caller, command: Command) -> Command:
    """Add the names that an escalation informs (clause 11.2). Raises Unprocessable for a region without a centre."""
    state = (await application.load_for_service(command.address)).state
    if command.meta.command_id in state.applied:
        return command
    to = _region_with_centre(application, command)
    informs = policy.informed_of_escalation(application.identity.reference_data, state, to)
    return replace(command, facts=command.facts.model_copy(update={"informs": informs}))


async def to_a_centre(application: Application, caller: Caller, command: Command) -> Command:
    """Check that a case is handed down to a region with a centre. Raises Unprocessable."""
    state = (await application.load_for_service(command.address)).state
    if command.meta.command_id not in state.applied:
        _region_with_centre(application, command)
    return command


def _region_with_centre(application: Application, command: Command) -> str:
    assert isinstance(command.facts, EscalationFacts | TransferFacts)
    to, reference_data = command.facts.to, application.identity.reference_data
    if to in reference_data.regions and reference_data.centre(to) is None:
        nearest = reference_data.centre_of(to)
        advice = (
            f"The nearest above it is {nearest.unit} ({nearest.name})." if nearest else "Name one that has a centre."
        )
        raise Unprocessable(f"Region {to} has no centre.", code="centre.unknown", advice=advice)
    return to


async def requested(application: Application, caller: Caller, command: Command) -> Command:
    """Add the person whose request an erasure or the release of a legal hold approves; the law demands one.

    Raises ProblemError where one of the two persons stands in for the other: one power would decide twice. The law
    itself refuses the person who made the request.
    """
    facts = command.facts
    assert isinstance(facts, ErasureFacts | ReleaseFacts)
    history = await application.history_for_service(command.address)
    state = history.state
    if isinstance(facts, ErasureFacts):
        requested_by = state.erasure_requested_by
    else:
        requested_by = state.release_requested_by if facts.hold is Hold.LEGAL else None
    another = requested_by not in (None, caller.person) and command.meta.command_id not in state.applied
    if another and not requesters(history.events, command.name, facts).isdisjoint(caller.people):
        raise rejected(Rejected(Reason.SECOND_PERSON_NEEDED))
    return replace(command, facts=facts.model_copy(update={"requested_by": requested_by}))


ENRICHERS: Mapping[str, Enricher] = {
    "extend": approved, "suspend": by_another, "accept-answer": by_another, "resume": resumed_deadline,
    "escalate": informed_above, "hand-down": to_a_centre,
    "release": requested, "erase": requested,
}  # fmt: skip
