"""What must hold whatever is asked of a case or an order: each rule is a function named after it.

The rules judge the events and compare with the state; where the law keeps an account of its own (who is bound by a
ruling, what has fired, the last word of the resident), the watch keeps another one from the events alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.case import events as e
from shared.case.base import Event, Recorded, contains, event_id
from shared.case.catalogue import STAGE_CHANGES
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, Verdict
from shared.case.facts import DeclineReason, Hold, KeptFrom, Outcome, Retention, Satisfaction
from shared.case.lifecycle import ENDED, EXISTING, Status, Variant, next_status
from shared.case.orders import NEW_ORDER, ORDER_STATE, ORDER_TRANSITIONS, OrderState, OrderStatus, fold_order
from shared.case.reasons import Rejected
from shared.case.state import NEW, STATE, CaseState, fold, variant
from tests.support.law import Ask, then, when
from tests.support.law_watch_time import Clocks

AFTER_CLOSING = (
    e.CalledBack,
    e.Rated,
    e.Corrected,
    e.Held,
    e.Released,
    e.Erased,
    e.OverdueDeclared,
    e.OverdueAnnulled,
    e.Reopened,
)


@dataclass
class CaseWatch:
    """A case on its way: what was asked, what came of it, and the watch's own account."""

    state: CaseState = NEW
    events: list[Recorded[Any]] = field(default_factory=list)
    asked: list[Command] = field(default_factory=list)
    transitions: set[tuple[Status, type[Event], Variant]] = field(default_factory=set)
    bound_unit: str | None = None
    last_word: Satisfaction = Satisfaction.UNRATED
    clocks: Clocks = field(default_factory=Clocks)

    def ask(self, asked: Ask) -> Verdict:
        """Put it to the law. Raises AssertionError when a rule does not hold."""
        command = asked.command
        before = self.state
        verdict = when(before, command)
        assert when(before, command) == verdict, "the same question to the same case has one answer"
        self.asked.append(command)
        if isinstance(verdict, Rejected):
            return verdict
        recorded = verdict.recorded
        assert recorded is not None, "a new command is not applied yet"
        self.state = then(before, recorded)
        self.events.append(recorded)
        self.transitions.add((before.status, type(recorded.known), variant(recorded.known, before)))
        for rule in CASE_RULES:
            rule(self, before, recorded, self.state)
        _is_of_its_command(command, recorded)
        assert when(self.state, command) == Accepted(None), "applied twice, nothing new comes of it"
        return verdict

    def ask_again(self, index: int) -> None:
        """What was applied is never applied again, whatever came since."""
        command = self.asked[index % len(self.asked)]
        if command.meta.command_id in self.state.applied:
            assert when(self.state, command) == Accepted(None)

    def look_back(self) -> None:
        """The case is the fold of its events, from the beginning as from anywhere between, and survives as JSON."""
        assert fold(self.events) == self.state
        half = len(self.events) // 2
        assert fold(self.events[half:], fold(self.events[:half])) == self.state
        assert STATE.validate_json(STATE.dump_json(self.state, by_alias=True)) == self.state
        assert STATE.validate_python(STATE.dump_python(self.state, mode="json", by_alias=True)) == self.state
        assert len({one.id for one in self.events}) == len(self.events)


def _is_of_its_command(command: Command, recorded: Recorded[Any]) -> None:
    spec = COMMANDS[command.name]
    assert type(recorded.known) is spec.event
    assert (recorded.address, recorded.meta) == (command.address, command.meta)
    assert recorded.id == event_id(command.meta.command_id, command.address.subject)
    assert recorded.known.__dict__ == command.facts.__dict__


def the_table_allows_it(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    assert after.status is next_status(before.status, type(recorded.known), variant(recorded.known, before))
    assert after.status in EXISTING


def every_event_counts(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    assert after.version == before.version + 1 == len(watch.events)
    assert after.applied == before.applied | {recorded.meta.command_id}
    assert len(after.applied) == after.version


def stages_change_by_events_that_say_so(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Supervision hears of every event after which other stages run, or of which the limits look at other facts."""
    same_stages = before.running_stages == after.running_stages
    same_facts = (before.nature, before.subject, before.severity) == (after.nature, after.subject, after.severity)
    assert (same_stages and same_facts) or type(recorded.known) in STAGE_CHANGES


def one_responsible_unit(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """From assignment to the end, but for what was answered on the spot (clauses 5.1.3 a and 8.2 a)."""
    if after.status in (Status.ASSIGNED, Status.HANDLING):
        assert after.unit is not None
    if after.status in (Status.AWAITING_TRIAGE, Status.TRIAGED):
        assert (after.unit, after.person, after.co_handlers) == (None, None, ())
    if after.status in (Status.SETTLED, Status.CLOSED) and after.unit is None:
        assert watch.events[0].known.answer is not None
        moved = (e.Assigned, e.Ruled, e.SentBack, e.Reopened)
        assert not any(isinstance(one.known, moved) for one in watch.events)
    assert len({after.unit, *after.co_units}) == 1 + len(after.co_handlers), "nobody leads and co-handles"


def one_responsible_person(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """From signing on (clause 5.1.3 a)."""
    if after.status is Status.HANDLING or (after.status is Status.SETTLED and after.unit):
        assert after.person is not None
    if after.status is Status.ASSIGNED:
        assert after.person is None


def who_is_at_work_stays_at_work(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Other co-handling units take nothing from the responsible unit and from those that stay (clause 5.1.1 b)."""
    if isinstance(recorded.known, e.Assigned) and recorded.known.unit == before.unit:
        assert (after.status, after.person) == (before.status, before.person)
        stayed = [co for co in before.co_handlers if co.unit in recorded.known.co_units]
        assert set(stayed) <= set(after.co_handlers)
        assert after.no_hand_back or not before.no_hand_back


def the_first_asked_stays(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Clause 11.1; so does the address."""
    born = watch.events[0].known
    assert (after.first_asked, after.first_asked_unit) == (born.first_asked, born.first_asked_unit)
    assert after.region == born.region


def who_is_complained_of_never_has_it(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clauses 8.1 f and 12.3; petitions regulation, 28 and 30: whenever it became known, and for ever after."""
    told = [one.known for one in watch.events if isinstance(one.known, KeptFrom)]
    complained = {one.complained_unit for one in told} - {None}
    aside = {person for one in told for person in one.stand_aside}
    assert complained == {after.complained_unit} - {None}
    assert (set(after.stand_aside), after.informant) == (aside, any(one.informant for one in told))
    if after.status in ENDED:  # who had it has it no longer
        return
    has = {after.triaged_unit, *after.triaged_co_units} if after.unit is None else {after.unit, *after.co_units}
    assert not has & complained
    assert not {after.person, *(co.person for co in after.co_handlers)} & aside


def a_ruling_binds(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """After a ruling or a direct designation no hand-back, until the case is reassigned elsewhere (Weifang 22)."""
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


def only_the_allowed_follows_the_end(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    assert not before.erased, "nothing follows erasure (clause 9.4 b)"
    if before.status in ENDED:
        assert isinstance(recorded.known, AFTER_CLOSING)
    if after.status in ENDED:
        assert all(clock.late_unseen for clock in after.clocks)


def it_moves_along_the_tree(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Up by escalation, down by handing down, across by transfer, and by nothing else (clauses 4, 11.2, 5.1.1 i)."""
    event = recorded.known
    if isinstance(event, e.Registered):
        assert after.in_charge == recorded.address.region
    elif isinstance(event, e.Escalated | e.HandedDown | e.Transferred):
        assert after.in_charge == event.to != before.in_charge
        assert not isinstance(event, e.Escalated) or contains(after.in_charge, before.in_charge)
        assert not isinstance(event, e.HandedDown) or contains(before.in_charge, after.in_charge)
    else:
        assert after.in_charge == before.in_charge


def co_handlers_report_first(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Clause 5.1.1 b: settled when every co-handling unit has reported or was taken off, by the events alone."""
    if not isinstance(recorded.known, e.Settled):
        return
    named: set[str] = set()
    waiting: set[str] = set()
    unit: str | None = None
    for event in (one.known for one in watch.events):
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


def who_is_not_satisfied_is_heard(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Not satisfied or not solved is closed on a legal basis only (Jinan 27; petitions regulation, 36)."""
    event = recorded.known
    if isinstance(event, e.CalledBack) and not event.contacted:
        assert (after.outcome, after.satisfaction) == (before.outcome, before.satisfaction)
    if isinstance(event, e.Rated | e.CalledBack) and event.satisfaction is not Satisfaction.UNRATED:
        watch.last_word = event.satisfaction
    if isinstance(event, e.Settled | e.SentBack | e.Reopened | e.Assigned | e.Ruled):
        watch.last_word = Satisfaction.UNRATED
    assert after.satisfaction is watch.last_word
    if isinstance(event, e.Closed) and not event.basis:
        assert watch.last_word is not Satisfaction.DISSATISFIED
        assert before.outcome is not Outcome.UNSOLVED


def it_is_handled_by_law(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Clause 5.1.3 a: no settlement without its basis; Beijing 12345, 11: who is declined is told another path."""
    event = recorded.known
    assert not isinstance(event, e.Settled) or event.basis
    assert not isinstance(event, e.Declined) or event.legal_path or event.reason is DeclineReason.INVALID


def nothing_is_late_in_silence(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """Clause 5.1.3 a, by an account of its own: each clock fires once, in time, and its rungs come in turn."""
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


def a_case_comes_under_import_by_its_birth_only(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """So nobody stops the clocks of a case that is alive."""
    birth = isinstance(recorded.known, e.Registered)
    assert birth or Hold.IMPORT in before.holds or Hold.IMPORT not in after.holds


def content_goes_only_when_it_may(
    watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState
) -> None:
    """Clause 9.4 b: by its own class, never for ever, never under a hold."""
    if isinstance(recorded.known, e.Erased):
        assert before.status in ENDED
        assert before.holds == ()
        assert before.retention is recorded.known.retention is not Retention.PERMANENT
    assert after.erased is isinstance(recorded.known, e.Erased)


def the_earlier_case_survives(watch: CaseWatch, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
    """So no two cases, and no ring of them, go on in one another."""
    event = recorded.known
    if isinstance(event, e.Attached) and event.merged_from:
        assert event.merged_registered_at is not None
        ours = watch.events[0].meta.time, recorded.address.id
        assert ours < (event.merged_registered_at, event.merged_from)
    assert not isinstance(event, e.Merged) or event.into != recorded.address.id


CASE_RULES = (
    the_table_allows_it,
    stages_change_by_events_that_say_so,
    every_event_counts,
    one_responsible_unit,
    one_responsible_person,
    who_is_at_work_stays_at_work,
    the_first_asked_stays,
    who_is_complained_of_never_has_it,
    a_ruling_binds,
    only_the_allowed_follows_the_end,
    it_moves_along_the_tree,
    co_handlers_report_first,
    who_is_not_satisfied_is_heard,
    it_is_handled_by_law,
    nothing_is_late_in_silence,
    nobody_approves_their_own_request,
    a_case_comes_under_import_by_its_birth_only,
    content_goes_only_when_it_may,
    the_earlier_case_survives,
)


@dataclass
class OrderWatch:
    """An order on its way."""

    state: OrderState = NEW_ORDER
    events: list[Recorded[Any]] = field(default_factory=list)
    transitions: set[tuple[OrderStatus, type[Event]]] = field(default_factory=set)

    def ask(self, asked: Ask) -> Verdict:
        """Put it to the law. Raises AssertionError when a rule does not hold."""
        command, before = asked.command, self.state
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
        born = self.events[0].known
        assert (after.kind, after.unit, after.cases, after.due) == (born.kind, born.unit, born.cases, born.due)
        assert set(after.refused_by) <= set(after.cases)
        assert len(set(after.refused_by)) == len(after.refused_by)
        assert sum(isinstance(one.known, e.OrderOverdue) for one in self.events) == after.overdue
        return verdict

    def look_back(self) -> None:
        """The order is the fold of its events and survives as JSON."""
        assert fold_order(self.events) == self.state
        assert ORDER_STATE.validate_json(ORDER_STATE.dump_json(self.state, by_alias=True)) == self.state
