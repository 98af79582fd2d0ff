"""A wrong merge that is undone: the case stands where it stood, and its clocks never stopped."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.supervision import policy
from services.supervision.policy import moments
from shared.case.base import Recorded, new_id
from shared.case.clocks import Overdue
from shared.case.decide import Accepted
from shared.case.facts import Satisfaction, Stage
from shared.case.lifecycle import Status
from shared.case.reasons import Reason
from shared.case.state import CaseState, standing
from tests.support.law import (
    DUE,
    LATER,
    OTHER_CASE,
    RUNG,
    SITUATIONS,
    START,
    TOO_LATE,
    TOWNSHIP,
    WHERE,
    Ask,
    accepted,
    accepted_command,
    after,
    ask,
    history,
    refused,
    then,
    when,
)
from tests.support.law import given as state_of
from tests.support.policy_life import Life

IN_HANDLING = (ask("register"), ask("triage"), ask("assign"), ask("sign-for"))

IN_PROGRESS = [name for name in SITUATIONS if state_of(name).status.value in ("awaiting_triage", "triaged", "assigned")]
IN_PROGRESS += [name for name in SITUATIONS if state_of(name).status is Status.HANDLING]
# Of a state, the events and their time count on; the rest is where the case stood.
COUNTED = {"version", "applied", "last_at"}


def lived(situation: str, *requests: Ask) -> tuple[list[Recorded[Any]], CaseState]:
    """The events of a situation and of further requests, and the state after them."""
    events, state = list(history(situation)), state_of(situation)
    for request in requests:
        events.append(accepted(state, request))
        state = then(state, events[-1])
    return events, state


def undo(events: list[Recorded[Any]], at: datetime = LATER) -> Ask:
    return Ask("unmerge", standing(events), at=at)


def differences(one: CaseState, other: CaseState) -> dict[str, tuple[Any, Any]]:
    names = [field.name for field in fields(one) if field.name not in COUNTED]
    return {name: pair for name in names if (pair := (getattr(one, name), getattr(other, name)))[0] != pair[1]}


@pytest.mark.parametrize("situation", IN_PROGRESS)
def test_the_case_stands_where_it_stood_with_its_clocks_and_timers(situation: str) -> None:
    before = state_of(situation)
    events, merged = lived(situation, ask("merge"))
    assert merged.status is Status.MERGED
    undone = then(merged, event := accepted(merged, undo(events, START)))
    # what fires from now on has another cause, so that its commands are new ones
    runs = {clock.key for clock in before.clocks if clock.overdue and clock.ended_at is None}
    late = (replace(overdue, cause=event.id) if overdue.key in runs else overdue for overdue in before.late)
    before = replace(before, late=tuple(late))
    if situation.endswith("annulled"):  # the stage runs and is late: it is declared anew
        fires = (replace(clock, overdue=False, set_by=event.id) for clock in before.clocks)
        before = replace(before, clocks=tuple(fires))
    assert differences(undone, before) == {}
    assert list(moments(WHERE.subject, undone)) == list(moments(WHERE.subject, before))


def test_an_overdue_that_was_declared_meanwhile_stands_once_and_its_ladder_begins() -> None:
    """The stage was late when the case was merged; nobody had seen it. What was declared stays declared."""
    late_at = TOO_LATE + timedelta(hours=1)
    declared = ask("declare-overdue", seen_at=late_at, at=late_at)
    events, merged = lived("clocked", ask("merge", at=late_at), declared)
    back_at = late_at + timedelta(days=3)
    request = undo(events, back_at)
    undone = then(merged, event := accepted(merged, request))
    (late,) = undone.late
    assert late == Overdue(late.stage, None, DUE, event.id, next_at=back_at)
    assert (undone.overdue_count, undone.clocks[0].overdue, undone.clocks[0].ended_at) == (1, True, None)
    assert refused(undone, declared) is Reason.ALREADY_FIRED
    assert [timer.what for timer in moments(WHERE.subject, undone)] == ["rung"]


@pytest.mark.parametrize("declared_before", [True, False])
def test_an_overdue_that_was_annulled_meanwhile_fires_again(declared_before: bool) -> None:
    """The stage ended in time by the merge, so the overdue was annulled; without the merge it goes on and is late."""
    declaring, annulling = ask("declare-overdue"), ask("annul-overdue")
    requests = (declaring, ask("merge", at=DUE)) if declared_before else (ask("merge", at=TOO_LATE), declaring)
    events, merged = lived("clocked", *requests, annulling)
    undone = then(merged, event := accepted(merged, undo(events)))
    (timer,) = (timer for timer in moments(WHERE.subject, undone) if timer.what == "overdue")
    assert (timer.at, timer.cause) == (DUE, event.id), "a cause of its own: the first command was applied already"
    again = after(undone, ask("declare-overdue", seen_at=LATER, at=LATER))
    assert (len(again.late), again.overdue_count) == (1, 1)


def test_a_rung_after_an_undone_merge_is_no_repetition_of_the_one_that_came_to_nothing() -> None:
    """An order of the ladder, issued just before the merge, was refused by the merged case: it is issued again."""
    life = Life(*IN_HANDLING)
    life.fire("overdue", Stage.HANDLE, life.clock(Stage.HANDLE).deadline.due + timedelta(seconds=1))
    for _ in range(2):
        assert life.late.next_at is not None
        life.fire("rung", Stage.HANDLE, life.late.next_at)
    moment = life.late.next_at
    assert moment is not None

    def rung_order() -> tuple[str, str]:
        (timer,) = (timer for timer in moments(WHERE.subject, life.state) if timer.what == "rung")
        (request,) = policy.fire(WHERE, life.state, timer, moment, life.library)
        assert request.name == "issue-order"
        return timer.cause, request.address.id

    first = rung_order()
    life.ask(ask("merge", at=moment))
    life.ask(Ask("unmerge", standing(life.history), at=moment + timedelta(hours=1)))
    assert life.late.next_at == moment
    assert not set(first) & set(rung_order())
    life.fire("rung", Stage.HANDLE, moment + timedelta(hours=1))
    assert (len(life.state.orders), life.late.rung) == (1, 3)


def test_a_rung_that_was_due_meanwhile_comes_at_once() -> None:
    events, merged = lived("overdue, on the ladder", ask("merge"))
    undone = then(merged, accepted(merged, undo(events, RUNG + timedelta(days=9))))
    (timer,) = moments(WHERE.subject, undone)
    assert (timer.what, timer.at) == ("rung", RUNG)


def test_a_merge_is_undone_once_and_another_merge_may_follow() -> None:
    events, merged = lived("handled", ask("merge"))
    request = undo(events)
    command = request.command
    undone = then(merged, recorded := accepted_command(merged, command))
    assert recorded.known.status == "handling"
    assert when(undone, command) == Accepted(None)
    assert refused(undone, request) is Reason.WRONG_STATUS
    again = after(undone, ask("merge", at=LATER + timedelta(days=1)))
    assert again.merged_into == OTHER_CASE
    assert refused(again, request) is Reason.MERGED_AGAIN, "an undoing of the first merge undoes no other"


@pytest.mark.parametrize(
    ("own", "merged", "counts"),
    [
        ("unrated", "satisfied", "unrated"),  # nobody is satisfied on behalf of another
        ("unrated", "dissatisfied", "dissatisfied"),
        ("satisfied", "dissatisfied", "dissatisfied"),
        ("dissatisfied", "satisfied", "dissatisfied"),
        ("basically", "satisfied", "basically"),
    ],
)
def test_of_a_forwarded_rating_only_dissatisfaction_counts(own: str, merged: str, counts: str) -> None:
    forwarded = ask("rate", satisfaction=merged, from_case=OTHER_CASE)
    state = after(state_of("settled"), ask("rate", satisfaction=own), forwarded)
    assert state.satisfaction is Satisfaction(counts)


def test_what_the_reporter_of_a_merged_case_says_stays_with_that_case() -> None:
    """The own case keeps supplement and rating after the merge is undone."""
    forwarded: dict[str, Any] = {"forwarded_to": OTHER_CASE}
    events, merged = lived("handled", ask("merge"), ask("supplement", **forwarded), ask("rate", by="zhou", **forwarded))
    undone = then(merged, accepted(merged, undo(events)))
    assert [recorded.type for recorded in events[-2:]] == ["case.supplemented", "case.rated"]
    assert undone.satisfaction is Satisfaction.SATISFIED
    assert after(undone, ask("settle", at=START)).satisfaction is Satisfaction.UNRATED


@given(
    minutes=st.lists(st.integers(0, 3), min_size=2, max_size=6),
    attempts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30),
)
def test_no_merges_and_undoings_make_a_ring(minutes: list[int], attempts: list[tuple[int, int, bool]]) -> None:
    """Whatever is merged, undone and merged again: from each case the way ends at a case that is not merged."""
    ids = [new_id(TOWNSHIP, f"case {number}") for number in range(len(minutes))]
    times = [START + timedelta(minutes=minute) for minute in minutes]
    into: dict[int, int] = {}
    for merged, survivor, undone in attempts:
        if max(merged, survivor) >= len(ids):
            continue
        if undone:
            into.pop(merged, None)
        elif merged not in into and survivor not in into:
            request = ask("attach", merged_from=ids[merged], merged_registered_at=times[merged])
            command = replace(request.command, address=replace(WHERE, id=ids[survivor]))
            if isinstance(when(replace(state_of("registered"), registered_at=times[survivor]), command), Accepted):
                into[merged] = survivor
        for case in range(len(ids)):
            steps = 0
            while case in into:
                case, steps = into[case], steps + 1
                assert steps <= len(ids)
