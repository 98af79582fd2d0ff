"""The law of a case: `decide(command, state)` gives one event, no event, or the reason of a rejection.

The module is pure: no clock, no I/O, no randomness. Time, actor and ids are fields of the command. A command whose id
the case has applied before is accepted with no event: every decision is idempotent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.case import events as e
from shared.case.base import Event, Recorded, contains, event_id, region_prefix, trusted
from shared.case.commands import COMMANDS, Command
from shared.case.deadlines import RULES as CLOCK_RULES
from shared.case.deadlines import out_of_turn
from shared.case.facts import PARTIES_MAX, DeclineReason, Hold, KeptFrom, Outcome, PartMatters, Retention, Satisfaction
from shared.case.lifecycle import ENDED, Status
from shared.case.reasons import Reason, Rejected
from shared.case.retention import erasable_from, erasable_text
from shared.case.state import CaseState, transition


@dataclass(frozen=True, slots=True)
class Accepted:
    """The law allows the command: the event to append, or None when the command was applied before."""

    recorded: Recorded[Any] | None


Verdict = Accepted | Rejected
CaseRule = Callable[[CaseState, Any, Command], Reason | Rejected | None]
_RULES: dict[type[Event], CaseRule] = {}
# The reasons of the ended statuses from which no case is reopened.
_ENDED_REASONS = {Status.MERGED: Reason.CASE_MERGED, Status.SPLIT: Reason.CASE_SPLIT}


def decide(command: Command, state: CaseState) -> Verdict:
    """Whether the law allows the command in `state`, and the event to append. A repeated command leads to no event."""
    if command.meta.command_id in state.applied:
        return Accepted(None)
    if state.newer_event:
        return Rejected(Reason.NEWER_EVENT)
    event = event_of(command)
    if (rejected := _rejected_by_status(state, event, command)) is not None:
        return rejected
    rule = _RULES.get(type(event))
    reason = rule(state, event, command) if rule else None
    if reason is None:
        return Accepted(record(command, event))
    return reason if isinstance(reason, Rejected) else Rejected(reason)


def event_of(command: Command) -> Event:
    """The event of a command, before the law has decided."""
    return trusted(COMMANDS[command.name].event, dict(vars(command.facts)))


def record(command: Command, event: Event) -> Recorded[Any]:
    """The event in the form of the log. Its id follows from the command and the aggregate."""
    address = command.address
    return Recorded(event_id(command.meta.command_id, address.subject), address, command.meta, event)


def _rejected_by_status(state: CaseState, event: Event, command: Command) -> Rejected | None:
    """The rules for every command: the case is registered, it is not erased, and the table allows the event."""
    creates = isinstance(event, e.Registered)
    if state.status is Status.NEW and not creates:
        return Rejected(Reason.NOT_REGISTERED)
    if creates and state.status is not Status.NEW:
        return Rejected(Reason.ALREADY_REGISTERED)
    if state.erased:
        return Rejected(Reason.ERASED)
    if transition(state, event) is None:
        reason = _ENDED_REASONS.get(state.status, Reason.CASE_CLOSED if state.status in ENDED else Reason.WRONG_STATUS)
        when = f"; {erasable_text(state.retention, None)}" if isinstance(event, e.ErasureRequestFacts) else ""
        return Rejected(reason, f"status {state.status}, command {command.name}{when}")
    if state.contact_time is not None and command.meta.time < state.contact_time:
        stated = command.meta.time != command.meta.recorded_at  # else the time is this server's own
        return Rejected(Reason.BEFORE_CASE if stated else Reason.CLOCK_BEHIND)
    return None


def _for(*types: type[Event]) -> Callable[[CaseRule], CaseRule]:
    def register(rule: CaseRule) -> CaseRule:
        for type_ in types:
            _RULES[type_] = rule
        return rule

    return register


def _above(upper: str, lower: str) -> bool:
    return contains(upper, lower) and region_prefix(upper) != region_prefix(lower)


# Intake


@_for(e.Registered)
def _register(state: CaseState, event: e.Registered, command: Command) -> Reason | None:
    if event.region != command.address.region or not contains(event.region, (event.grid or event.region)[:12]):
        return Reason.WRONG_REGION
    if event.contact_time > command.meta.time:
        return Reason.CONTACT_AFTER_REGISTRATION
    if event.handed_by and not _above(event.handed_by, event.region):
        return Reason.NOT_ABOVE
    if event.hold is Hold.LEGAL:
        return Reason.HOLD_AT_REGISTRATION
    return _answer_on_the_spot(event) if event.answer is not None else None


def _answer_on_the_spot(event: e.Registered) -> Reason | None:
    """The desk that answers a demand handles it: not the unit complained of, not a person who must stand aside."""
    if event.complained_unit == event.first_asked_unit:
        return Reason.UNIT_COMPLAINED_OF
    return Reason.MUST_STAND_ASIDE if event.first_asked in event.stand_aside else None


@_for(e.Corrected)
def _correct(state: CaseState, event: e.Corrected, command: Command) -> Reason | Rejected | None:
    corrected = (event.nature, event.subject, event.severity, event.matter, event.complained_unit)
    if all(value is None for value in corrected) and not (event.stand_aside or event.informant):
        return Reason.NOTHING_CORRECTED
    return _keep_from(state, event)


def _keep_from(state: CaseState, event: KeptFrom) -> Reason | Rejected | None:
    """A unit newly complained of, or a person who must newly stand aside, must not have the case any more."""
    unit, open = event.complained_unit, state.status not in ENDED
    if unit is not None and state.complained_unit not in (None, unit):
        return Reason.COMPLAINS_OF_ANOTHER
    if open and unit in state.units:
        return Rejected(Reason.UNIT_COMPLAINED_OF, "it has the case; give it to another unit first")
    if open and set(event.stand_aside) & set(state.people):
        return Rejected(Reason.MUST_STAND_ASIDE, "the case is in their hands; give it to another person first")
    return Reason.TOO_MANY_ASIDE if len({*state.stand_aside, *event.stand_aside}) > PARTIES_MAX else None


@_for(e.Attached)
def _attach(state: CaseState, event: e.Attached, command: Command) -> Reason | Rejected | None:
    if event.contact_time > command.meta.time:
        return Reason.CONTACT_AFTER_REGISTRATION
    if event.merged_from is not None and (reason := _merge_order(state, event, command)):
        return reason
    return _keep_from(state, event)


def _merge_order(state: CaseState, event: e.Attached, command: Command) -> Reason | None:
    if event.merged_from == command.address.id:
        return Reason.SAME_CASE
    # merging follows one order of all cases (registration time, id), so that merged cases form no ring
    assert state.registered_at is not None
    merged_at = event.merged_registered_at
    later = merged_at is None or (state.registered_at, command.address.id) > (merged_at, event.merged_from or "")
    return Reason.LATER_CASE if later else None


@_for(e.Supplemented, e.Rated)
def _forward(state: CaseState, event: e.Supplemented | e.Rated, command: Command) -> Reason | None:
    """The words of the reporter of a merged case go on to the case in which it continues."""
    if state.status is Status.MERGED:
        return None if event.forwarded_to else Reason.CASE_MERGED
    return Reason.WRONG_STATUS if event.forwarded_to else None


@_for(e.CalledBack)
def _call_back(state: CaseState, event: e.CalledBack, command: Command) -> Reason | None:
    has_result = event.outcome is not None or event.satisfaction is not Satisfaction.UNRATED
    return Reason.NOT_REACHED if has_result and not event.contacted else None


# Routing: the units and the person that have the case


@_for(e.Triaged, e.Assigned, e.Ruled)
def _route(state: CaseState, event: e.Triaged | e.Assigned | e.Ruled, command: Command) -> Reason | None:
    named = (event.unit, *event.co_units)
    if len(set(named)) != len(named):
        return Reason.UNIT_TWICE
    if state.complained_unit in named:
        return Reason.UNIT_COMPLAINED_OF
    if isinstance(event, e.Ruled) and state.hand_backs == 0:
        return Reason.NOTHING_TO_RULE
    if isinstance(event, e.Assigned) and state.unit == event.unit and set(state.co_units) == set(event.co_units):
        return Reason.SAME_UNIT
    return None


@_for(e.SignedFor, e.Reassigned)
def _name_person(state: CaseState, event: e.SignedFor | e.Reassigned, command: Command) -> Reason | None:
    if event.person in state.stand_aside:
        return Reason.MUST_STAND_ASIDE
    if event.unit == state.unit:
        return Reason.SAME_PERSON if event.person == state.person else _signs_again(state.person, event)
    co = next((co for co in state.co_handlers if co.unit == event.unit), None)
    if co is None:
        return Reason.NOT_RESPONSIBLE_UNIT
    return Reason.SAME_PERSON if event.person == co.person else _signs_again(co.person, event)


def _signs_again(person: str | None, event: e.SignedFor | e.Reassigned) -> Reason | None:
    """A unit signs once. After that, and not before, its person changes by reassignment."""
    return Reason.WRONG_STATUS if (person is not None) is isinstance(event, e.SignedFor) else None


@_for(e.HandedBack)
def _hand_back(state: CaseState, event: e.HandedBack, command: Command) -> Reason | None:
    if event.unit != state.unit:
        return Reason.NOT_RESPONSIBLE_UNIT
    return Reason.HAND_BACK_REFUSED if state.no_hand_back else None


@_for(e.Declined)
def _decline(state: CaseState, event: e.Declined, command: Command) -> Reason | None:
    """A declined demand names the legal path that is open (Beijing 12345, 11). An invalid demand has none."""
    path_named = event.legal_path.strip() or event.reason is DeclineReason.INVALID
    return None if path_named else Reason.BASIS_MISSING


@_for(e.Transferred)
def _transfer(state: CaseState, event: e.Transferred, command: Command) -> Reason | None:
    return Reason.SAME_CENTRE if event.to == state.in_charge else None


@_for(e.Merged)
def _merge(state: CaseState, event: e.Merged, command: Command) -> Reason | None:
    return Reason.SAME_CASE if event.into == command.address.id else None


@_for(e.Unmerged)
def _unmerge(state: CaseState, event: e.Unmerged, command: Command) -> Reason | None:
    return None if event.merged_at == state.since else Reason.MERGED_AGAIN


@_for(e.Split)
def _split(state: CaseState, event: e.Split, command: Command) -> Reason | None:
    parts = event.matters
    differ = isinstance(parts, PartMatters) and len(parts.matters) != len(event.parts)
    return Reason.PARTS_DIFFER if differ else None


# Routing: the handling of the case


@_for(e.Progressed)
def _progress(state: CaseState, event: e.Progressed, command: Command) -> Reason | None:
    return None if event.unit == state.unit or event.unit in state.co_units else Reason.NOT_RESPONSIBLE_UNIT


@_for(e.CoReported, e.CoHandlingEnded)
def _co_handle(state: CaseState, event: e.CoReported | e.CoHandlingEnded, command: Command) -> Reason | None:
    co = next((co for co in state.co_handlers if co.unit == event.unit), None)
    if co is None:
        return Reason.NOT_CO_HANDLING
    return Reason.ALREADY_REPORTED if co.reported and isinstance(event, e.CoReported) else None


@_for(e.Settled)
def _settle(state: CaseState, event: e.Settled, command: Command) -> Reason | Rejected | None:
    if not event.basis.strip():
        return Reason.BASIS_MISSING
    waiting = [co.unit for co in state.co_handlers if not co.reported]
    return Rejected(Reason.CO_HANDLERS_OPEN, ", ".join(waiting)) if waiting else None


@_for(e.Closed)
def _close(state: CaseState, event: e.Closed, command: Command) -> Reason | None:
    """A case with a dissatisfied resident is handled again, unless a legal basis ends it (petitions regulation, 36)."""
    unhappy = state.satisfaction is Satisfaction.DISSATISFIED or state.outcome is Outcome.UNSOLVED
    return Reason.NOT_SATISFIED if unhappy and not event.basis else None


@_for(e.ReopeningProposed)
def _propose_reopening(state: CaseState, event: e.ReopeningProposed, command: Command) -> Reason | None:
    return Reason.ALREADY_PROPOSED if state.reopening_proposed else None


@_for(e.ReopeningDeclined)
def _decline_reopening(state: CaseState, event: e.ReopeningDeclined, command: Command) -> Reason | None:
    return None if state.reopening_proposed else Reason.NOT_PROPOSED


# Supervision: the centre in charge, urging, orders, holds and erasure (its clocks: shared/case/deadlines.py)


@_for(e.Escalated)
def _escalate(state: CaseState, event: e.Escalated, command: Command) -> Reason | None:
    if not _above(event.to, state.in_charge):
        return Reason.NOT_ABOVE
    return out_of_turn(state, event, command)


@_for(e.HandedDown)
def _hand_down(state: CaseState, event: e.HandedDown, command: Command) -> Reason | None:
    return None if _above(state.in_charge, event.to) else Reason.NOT_BELOW


@_for(e.Urged)
def _urge(state: CaseState, event: e.Urged, command: Command) -> Reason | None:
    known = event.unit in (state.unit, state.triaged_unit, *state.co_units)
    centre = event.unit.startswith(state.in_charge) and (state.unit is None or state.status is Status.SETTLED)
    return out_of_turn(state, event, command) if known or centre else Reason.NOT_RESPONSIBLE_UNIT


@_for(e.Ordered)
def _order(state: CaseState, event: e.Ordered, command: Command) -> Reason | None:
    return Reason.ALREADY_ORDERED if event.order in state.orders else out_of_turn(state, event, command)


@_for(e.Held)
def _hold(state: CaseState, event: e.Held, command: Command) -> Reason | None:
    if event.hold is Hold.IMPORT:
        return Reason.IMPORT_AT_REGISTRATION
    return Reason.HELD if event.hold in state.holds else None


@_for(e.ReleaseRequested)
def _request_release(state: CaseState, event: e.ReleaseRequested, command: Command) -> Reason | None:
    if Hold.LEGAL not in state.holds:
        return Reason.NOT_HELD
    return Reason.REQUESTED_ALREADY if state.release_requested_by else None


@_for(e.ReleaseRequestEnded)
def _end_release_request(state: CaseState, event: e.ReleaseRequestEnded, command: Command) -> Reason | None:
    return None if state.release_requested_by else Reason.NOT_REQUESTED


@_for(e.Released)
def _release(state: CaseState, event: e.Released, command: Command) -> Reason | None:
    if event.hold not in state.holds:
        return Reason.NOT_HELD
    if event.hold is Hold.IMPORT:  # it ends with the import, on nobody's request
        return None
    return _second_person(state.release_requested_by, event, command)


@_for(e.ErasureRequested, e.Erased)
def _erase(state: CaseState, event: e.ErasureRequested | e.Erased, command: Command) -> Rejected | None:
    """Content is erased when its retention has run out, by two persons, and never under a hold."""
    reason = _not_erasable(state, event, command)
    if reason is None and isinstance(event, e.Erased):
        reason = _second_person(state.erasure_requested_by, event, command)
    elif reason is None and state.erasure_requested_by:
        reason = Reason.REQUESTED_ALREADY
    return Rejected(reason, erasable_text(state.retention, state.since)) if reason else None


def _not_erasable(state: CaseState, event: e.ErasureRequested | e.Erased, command: Command) -> Reason | None:
    if state.holds:
        return Reason.HELD
    if state.retention is Retention.PERMANENT:
        return Reason.KEPT_FOR_EVER
    if event.retention is not state.retention:
        return Reason.RETENTION_DIFFERS
    assert state.since is not None, "a case that ended has the moment of its end"
    moment = erasable_from(state.retention, state.since)
    return Reason.KEPT_LONGER if moment is None or command.meta.time < moment else None


@_for(e.ErasureRequestEnded)
def _end_erasure_request(state: CaseState, event: e.ErasureRequestEnded, command: Command) -> Reason | None:
    return None if state.erasure_requested_by else Reason.NOT_REQUESTED


def _second_person(requested_by: str | None, event: e.Released | e.Erased, command: Command) -> Reason | None:
    """The reason why a command does not approve the request of another person."""
    if requested_by is None or event.requested_by != requested_by:
        return Reason.NOT_REQUESTED
    return Reason.SECOND_PERSON_NEEDED if command.meta.actor.person == requested_by else None


def of_older_law(event: Event, reason: Reason) -> bool:
    """Whether a reason is younger than an event on the log: before requests existed, one person released and erased."""
    younger = (Reason.NOT_REQUESTED, Reason.KEPT_LONGER)
    return reason in younger and isinstance(event, e.Released | e.Erased) and event.requested_by is None


_RULES.update(CLOCK_RULES)
