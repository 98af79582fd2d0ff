"""Invariants of cases and orders under any sequence of commands: each invariant is a function named after it.

The functions judge the events and compare them with the state. The law derives some facts from several events: the unit
that a ruling binds, the clocks that fired, the last rating of the resident. The watch derives them a second time, from
the events alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import reduce
from typing import Any

from shared.case import events as e
from shared.case.base import Event, Recorded, contains, event_id
from shared.case.catalogue import ENDS, STAGE_CHANGES
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, Verdict
from shared.case.facts import DeclineReason, Hold, KeptFrom, Outcome, Retention, Satisfaction
from shared.case.lifecycle import ENDED, EXISTING, TRANSITIONS, Status, Variant
from shared.case.orders import NEW_ORDER, ORDER_STATE, ORDER_TRANSITIONS, OrderState, OrderStatus, evolve_order
from shared.case.reasons import Rejected
from shared.case.state import NEW, STATE, CaseState, fold, standing, variant
from tests.support.law import Ask, then, when
from tests.support.law_watch_time import Clocks

AFTER_CLOSING = (
    e.Supplemented,
    e.CalledBack,
    e.Rated,
    e.ReopeningProposed,
    e.ReopeningDeclined,
    e.Corrected,
    e.Held,
    e.ReleaseRequested,
    e.ReleaseRequestEnded,
    e.Released,
    e.ErasureRequested,
    e.ErasureRequestEnded,
    e.Erased,
    e.OverdueDeclared,
    e.OverdueAnnulled,
    e.Reopened,
)


@dataclass
class CaseWatch:
    """A case under test: its commands, its events, and the facts that the watch derives itself."""

    state: CaseState = NEW
    events: list[Recorded[Any]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    transitions: set[tuple[Status, type[Event], Variant]] = field(default_factory=set)
    bound_unit: str | None = None
    last_word: Satisfaction = Satisfaction.UNRATED
    clocks: Clocks = field(default_factory=Clocks)

    def ask(self, request: Ask) -> Verdict:
        """Send a command to the law. Raises AssertionError when an invariant is broken."""
        if request.name == "unmerge" and self.events:
            request = replace(request, facts=standing(self.events))
        command = request.command
        before = self.state
        verdict = when(before, command)
        assert when(before, command) == verdict, "the same command on the same state has one verdict"
        self.commands.append(command)
        if isinstance(verdict, Rejected):
            return verdict
        recorded = verdict.recorded
        assert recorded is not None, "a new command adds an event"
        self.state = then(before, recorded)
        self.events.append(recorded)
        self.transitions.add((before.status, type(recorded.known), variant(recorded.known, before)))
        for rule in CASE_RULES:
            rule(self, before, recorded, self.state)
        _is_of_its_command(command, recorded)
        assert when(self.state, command) == Accepted(None), "a repeated command adds no event"
        return verdict

    def ask_again(self, index: int) -> None:
        """Send an earlier command again: one that was applied adds no event, whatever events came since."""
        command = self.commands[index % len(self.commands)]
        if command.meta.command_id in self.state.applied:
            assert when(self.state, command) == Accepted(None)

    def look_back(self) -> None:
        """Check that the state is the fold of the events, also from the middle on, and survives as JSON."""
        assert fold(self.events) == self.state
        half = len(self.events) // 2
        assert fold(self.events[half:], fold(self.events[:half])) == self.state
        assert STATE.validate_json(STATE.dump_json(self.state, by_alias=True)) == self.state
        assert STATE.validate_python(STATE.dump_python(self.state, mode="json", by_alias=True)) == self.state
        assert len({entry.id for entry in self.events}) == len(self.events)


def _is_of_its_command(command: Command, recorded: Recorded[Any]) -> None:
    spec = COMMANDS[command.name]
    assert type(recorded.known) is spec.event
    assert (recorded.address, recorded.meta) == (command.address, command.meta)
    assert recorded.id == event_id(command.meta.command_id, command.address.subject)
    assert recorded.known.__dict__ == command.facts.__dict__


def the_table_allows_the_transition(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    transition = TRANSITIONS[before.status, type(recorded.known), variant(recorded.known, before)]
    assert after.status is transition.status_after(before.status)
    assert after.status in EXISTING


def every_event_raises_the_version(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    assert after.version == before.version + 1 == len(watch.events)
    assert after.applied == before.applied | {recorded.meta.command_id}
    assert len(after.applied) == after.version


def stage_changes_are_listed(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """STAGE_CHANGES holds each event that changes the running stages or the facts that limits depend on."""
    same_stages = before.running_stages == after.running_stages
    same_facts = (before.nature, before.subject, before.severity) == (after.nature, after.subject, after.severity)
    assert (same_stages and same_facts) or type(recorded.known) in STAGE_CHANGES


def one_responsible_unit(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """From assignment to the end, except when the case was answered on the spot (clauses 5.1.3 a and 8.2 a)."""
    if after.status in (Status.ASSIGNED, Status.HANDLING):
        assert after.unit is not None
    if after.status in (Status.AWAITING_TRIAGE, Status.TRIAGED):
        assert (after.unit, after.person, after.co_handlers) == (None, None, ())
    if after.status in (Status.SETTLED, Status.CLOSED) and after.unit is None:
        assert watch.events[0].known.answer is not None
        moved = (e.Assigned, e.Ruled, e.SentBack, e.Reopened)
        assert not any(isinstance(entry.known, moved) for entry in watch.events)
    assert len({after.unit, *after.co_units}) == 1 + len(after.co_handlers), (
        "no unit is responsible and co-handling at once"
    )


def one_responsible_person(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """From signing on (clause 5.1.3 a)."""
    if after.status is Status.HANDLING or (after.status is Status.SETTLED and after.unit):
        assert after.person is not None
    if after.status is Status.ASSIGNED:
        assert after.person is None


def a_new_co_handler_disturbs_nobody(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """New co-handling units take nothing from the responsible unit and from those that stay (clause 5.1.1 b)."""
    if isinstance(recorded.known, e.Assigned) and recorded.known.unit == before.unit:
        assert (after.status, after.person) == (before.status, before.person)
        stayed = [co for co in before.co_handlers if co.unit in recorded.known.co_units]
        assert set(stayed) <= set(after.co_handlers)
        assert after.no_hand_back or not before.no_hand_back


def the_first_asked_person_stays(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clause 11.1. The region of the address never changes either."""
    registered = watch.events[0].known
    assert (after.first_asked, after.first_asked_unit) == (registered.first_asked, registered.first_asked_unit)
    assert after.region == registered.region


def the_unit_complained_of_never_has_the_case(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clauses 8.1 f and 12.3; petitions regulation, 28 and 30: for ever from the event that names them."""
    restrictions = [entry.known for entry in watch.events if isinstance(entry.known, KeptFrom)]
    complained = {event.complained_unit for event in restrictions} - {None}
    aside = {person for event in restrictions for person in event.stand_aside}
    assert complained == {after.complained_unit} - {None}
    assert (set(after.stand_aside), after.informant) == (aside, any(event.informant for event in restrictions))
    if after.status in ENDED:  # nobody has an ended case
        return
    handlers = {after.triaged_unit, *after.triaged_co_units} if after.unit is None else {after.unit, *after.co_units}
    assert not handlers & complained
    assert not {after.person, *(co.person for co in after.co_handlers)} & aside


def a_ruling_excludes_hand_back(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """No hand-back after a ruling or a direct designation, until the case goes to another unit (Weifang 22)."""
    event = recorded.known
    if isinstance(event, e.HandedBack):
        assert watch.bound_unit is None
        assert event.unit == before.unit
        assert after.in_charge == before.in_charge, "to the same centre (clause 5.1.1 c)"
    if isinstance(event, e.Ruled) or (isinstance(event, e.Assigned) and event.direct):
        watch.bound_unit = event.unit
    elif isinstance(event, e.Assigned | e.Transferred | e.Reopened):
        stays = isinstance(event, e.Assigned) and event.unit == watch.bound_unit
        watch.bound_unit = watch.bound_unit if stays else None


def only_allowed_events_follow_the_end(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    assert not before.erased, "nothing follows erasure (clause 9.4 b)"
    if before.status in ENDED:
        merged = (e.Unmerged,) if before.status is Status.MERGED else ()
        assert isinstance(recorded.known, (*AFTER_CLOSING, *merged))
        if isinstance(recorded.known, e.Supplemented):
            assert recorded.known.forwarded_to if before.status is Status.MERGED else recorded.known.from_case
    if after.status in ENDED:
        assert all(clock.late_unseen for clock in after.clocks)


def the_case_moves_along_the_tree(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Up by escalation, down by hand-down, across by transfer; no other event moves it (clauses 4, 11.2, 5.1.1 i)."""
    event = recorded.known
    if isinstance(event, e.Registered):
        assert after.in_charge == recorded.address.region
    elif isinstance(event, e.Escalated | e.HandedDown | e.Transferred):
        assert after.in_charge == event.to != before.in_charge
        assert not isinstance(event, e.Escalated) or contains(after.in_charge, before.in_charge)
        assert not isinstance(event, e.HandedDown) or contains(before.in_charge, after.in_charge)
    else:
        assert after.in_charge == before.in_charge


def co_handlers_report_before_settlement(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clause 5.1.1 b: at settlement each co-handling unit has reported or was taken off, by the events alone."""
    if not isinstance(recorded.known, e.Settled):
        return
    named: set[str] = set()
    waiting: set[str] = set()
    unit: str | None = None
    for event in (entry.known for entry in watch.events):
        if isinstance(event, e.Assigned) and event.unit == unit:
            named, waiting = set(event.co_units), (waiting | set(event.co_units) - named) & set(event.co_units)
        elif isinstance(event, e.Assigned | e.Ruled):
            named, waiting, unit = set(event.co_units), set(event.co_units), event.unit
        elif isinstance(event, e.HandedBack | e.Transferred | e.Reopened):
            unit = None
        elif isinstance(event, e.CoReported):
            waiting.discard(event.unit)
        elif isinstance(event, e.CoHandlingEnded):
            waiting.discard(event.unit)
            named.discard(event.unit)
        elif isinstance(event, e.SentBack):
            waiting = set(named)
    assert not waiting


def dissatisfaction_blocks_closing(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """A case rated dissatisfied or unsolved is closed on a legal basis only (Jinan 27; petitions regulation, 36)."""
    event = recorded.known
    if isinstance(event, e.CalledBack) and not event.contacted:
        assert (after.outcome, after.satisfaction) == (before.outcome, before.satisfaction)
    of_another = isinstance(event, e.Rated) and event.from_case is not None
    forwarded = of_another and event.satisfaction is not Satisfaction.DISSATISFIED
    if isinstance(event, e.Rated | e.CalledBack) and event.satisfaction is not Satisfaction.UNRATED and not forwarded:
        watch.last_word = event.satisfaction
    if isinstance(event, e.Settled | e.SentBack | e.Reopened | e.Assigned | e.Ruled):
        watch.last_word = Satisfaction.UNRATED
    assert after.satisfaction is watch.last_word
    if isinstance(event, e.Closed) and not event.basis:
        assert watch.last_word is not Satisfaction.DISSATISFIED
        assert before.outcome is not Outcome.UNSOLVED


def settled_and_declined_name_the_law(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clause 5.1.3 a: no settlement without a basis. Beijing 12345, 11: a refusal names another legal path."""
    event = recorded.known
    assert not isinstance(event, e.Settled) or event.basis
    assert not isinstance(event, e.Declined) or event.legal_path or event.reason is DeclineReason.INVALID


def every_overdue_is_declared(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Clause 5.1.3 a, by the clocks of the watch: each clock fires once and in time, and its rungs come in order."""
    watch.clocks.follow(before, recorded, after)


def nobody_approves_their_own_request(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Petitions regulation, 34: an extension needs another's approval; so does a pause."""
    event = recorded.known
    if not isinstance(event, e.Extended | e.Suspended):
        return
    people = {None: before.person, before.unit: before.person} | {co.unit: co.person for co in before.co_handlers}
    responsible = people.get(event.unit)
    assert responsible is None or responsible not in (getattr(event, "approver", None), recorded.meta.actor.person)
    assert getattr(event, "approver", None) not in before.stand_aside


def only_registration_sets_the_import_hold(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """The import hold stops all clocks, so a case in progress must not receive it."""
    registration = isinstance(recorded.known, e.Registered)
    assert registration or Hold.IMPORT in before.holds or Hold.IMPORT not in after.holds


def content_is_erased_only_when_permitted(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clause 9.4 b: when its own retention class ran out after its last end, by two persons, never under a hold."""
    if isinstance(recorded.known, e.Erased):
        assert before.status in ENDED
        assert before.holds == ()
        assert before.retention is recorded.known.retention is not Retention.PERMANENT
        ends = [entry.meta.time for entry in watch.events if type(entry.known) in ENDS]
        assert recorded.meta.time >= ends[-1] + _KEPT_DAYS_MIN[before.retention]
        cancels = (e.Reopened, e.Held, e.ErasureRequestEnded)
        _was_requested(watch, recorded, e.ErasureRequested, cancels)
    if isinstance(recorded.known, e.Released) and recorded.known.hold is Hold.LEGAL:
        _was_requested(watch, recorded, e.ReleaseRequested, (e.Held, e.ReleaseRequestEnded))
    assert after.erased is isinstance(recorded.known, e.Erased)


# No class is shorter than so many days, whatever the months of the year.
_KEPT_DAYS_MIN = {
    Retention.MONTHS_3: timedelta(days=89),
    Retention.MONTHS_6: timedelta(days=181),
    Retention.YEAR_1: timedelta(days=365),
}


def _was_requested(
    watch: CaseWatch, approval: Recorded[Any], request: type[Event], cancels: tuple[type[Event], ...]
) -> None:
    """By the events alone: another person requested it, and nothing cancelled the request since."""
    earlier = [entry for entry in watch.events if isinstance(entry.known, (request, *cancels))]
    assert earlier
    assert isinstance(earlier[-1].known, request)
    assert earlier[-1].meta.actor.person == approval.known.requested_by != approval.meta.actor.person


def the_earlier_case_survives(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """The order by registration time excludes a ring of merged cases."""
    event = recorded.known
    if isinstance(event, e.Attached) and event.merged_from:
        assert event.merged_registered_at is not None
        own = watch.events[0].meta.time, recorded.address.id
        assert own < (event.merged_registered_at, event.merged_from)
    assert not isinstance(event, e.Merged) or event.into != recorded.address.id


CASE_RULES = (
    the_table_allows_the_transition,
    stage_changes_are_listed,
    every_event_raises_the_version,
    one_responsible_unit,
    one_responsible_person,
    a_new_co_handler_disturbs_nobody,
    the_first_asked_person_stays,
    the_unit_complained_of_never_has_the_case,
    a_ruling_excludes_hand_back,
    only_allowed_events_follow_the_end,
    the_case_moves_along_the_tree,
    co_handlers_report_before_settlement,
    dissatisfaction_blocks_closing,
    settled_and_declined_name_the_law,
    every_overdue_is_declared,
    nobody_approves_their_own_request,
    only_registration_sets_the_import_hold,
    content_is_erased_only_when_permitted,
    the_earlier_case_survives,
)


@dataclass
class OrderWatch:
    """An order under test: its events and transitions."""

    state: OrderState = NEW_ORDER
    events: list[Recorded[Any]] = field(default_factory=list)
    transitions: set[tuple[OrderStatus, type[Event]]] = field(default_factory=set)

    def ask(self, request: Ask) -> Verdict:
        """Send a command to the law. Raises AssertionError when an invariant is broken."""
        command, before = request.command, self.state
        verdict = when(before, command)
        if isinstance(verdict, Rejected):
            return verdict
        recorded = verdict.recorded
        assert recorded is not None
        after = self.state = then(before, recorded)
        self.events.append(recorded)
        self.transitions.add((before.status, type(recorded.known)))
        _is_of_its_command(command, recorded)
        assert when(after, command) == Accepted(None)
        transition = ORDER_TRANSITIONS[before.status, type(recorded.known)]
        assert after.status is transition.status_after(before.status)
        assert after.version == before.version + 1 == len(after.applied) == len(self.events)
        issued = self.events[0].known
        assert (after.kind, after.unit, after.cases, after.due) == (issued.kind, issued.unit, issued.cases, issued.due)
        assert set(after.refused_by) <= set(after.cases)
        assert len(set(after.refused_by)) == len(after.refused_by)
        assert sum(isinstance(entry.known, e.OrderOverdue) for entry in self.events) == after.overdue
        return verdict

    def look_back(self) -> None:
        """The order is the fold of its events and survives as JSON."""
        assert reduce(evolve_order, self.events, NEW_ORDER) == self.state
        assert ORDER_STATE.validate_json(ORDER_STATE.dump_json(self.state, by_alias=True)) == self.state
