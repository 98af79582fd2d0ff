"""Why a deadline is what it is: told from the events of a case and the versions that it cites, also long afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.supervision.deadlines.explanations import (
    ClockHistory,
    calendar_cited,
    cite,
    clock_state,
    clocks_of,
    limit_rows,
    rungs_taken,
    steps_of,
    year_rows,
)
from services.supervision.policy import rungs_ahead
from shared.case.facts import Stage
from shared.reference.documents import DocumentKind
from shared.reference.regions import NATION
from tests.support.law import CO, START, WATER, ask
from tests.support.policy_life import HOUR, LIBRARY, LIMITS, Life, document, library, limit

HANDLING = (ask("register"), ask("triage"), ask("assign"), ask("sign-for"))
HANDLE = (Stage.HANDLE, None)
DAY = timedelta(days=1)
LATE_MARCH = {"year": "2026", "holidays": ["2026-03-05", "2026-03-06"]}


def told(life: Life, stage: Stage = Stage.HANDLE, unit: str | None = None) -> ClockHistory:
    return clocks_of(life.history)[stage, unit]


def steps(one: ClockHistory, life: Life, used: Any = None) -> list[tuple[str, str, str]]:
    calendar = calendar_cited(life.library.chain(DocumentKind.CALENDARS, NATION), [used] if used else [])
    return [(step.what, step.since, step.until) for step in steps_of(one, calendar)]


def test_the_days_are_told_as_runs_and_an_end_with_the_moment_to_warn() -> None:
    life = Life(*HANDLING)
    assert steps(told(life), life) == [
        ("choose", "2026-03-02T09:00:00+08:00", "2026-03-02T09:00:00+08:00"),
        ("start", "2026-03-02T09:00:00+08:00", "2026-03-02T09:00:00+08:00"),
        ("count", "2026-03-03", "2026-03-06"),
        ("skip", "2026-03-07", "2026-03-08"),
        ("count", "2026-03-09", "2026-03-09"),
        ("end", "2026-03-10T00:00:00+08:00", "2026-03-10T00:00:00+08:00"),
        ("warn", "2026-03-09T00:00:00+08:00", "2026-03-10T00:00:00+08:00"),
    ]


@pytest.mark.clause("5.1.3a")
def test_what_moved_the_moment_is_told_in_order_with_who_and_why() -> None:
    life = Life(*HANDLING)
    until = START + 2 * DAY
    for asked in (
        ask("request-extension"), ask("extend"), ask("suspend", at=START + HOUR, until=until),
    ):  # fmt: skip
        life.ask(asked)
    assert clock_state(told(life).clock) == "suspended"
    life.fire("resume", Stage.HANDLE, until)
    found = list(steps_of(told(life), LIBRARY.calendar(NATION)))
    moved = [(step.what, step.why) for step in found if step.event]
    assert moved[:3] == [
        ("ask", "chen.jun asks for more time"),
        ("extend", "chen.jun (desk) approved it"),
        ("stop", "hearing, by chen.jun"),
    ]
    assert [what for what, _ in moved[3:]] == ["pause", "count", "skip", "count", "skip", "count", "end"]
    assert (found[-1].what, found[-1].until) == ("warn", "2026-03-17T00:00:00+08:00"), "eight working days were left"
    assert told(life).clock.deadline.due.isoformat() == "2026-03-16T16:00:00+00:00"


@pytest.mark.clause("5.1.3a")
def test_a_newer_calendar_is_told_with_the_old_moment_the_new_one_and_why() -> None:
    life = Life(*HANDLING)
    before = life.clock(Stage.HANDLE).deadline
    life.library = library()
    life.library.put(document(DocumentKind.CALENDARS, 99, LATE_MARCH))
    life.fire("warn", Stage.HANDLE, before.due)
    one = told(life)
    calendar = life.library.calendar(NATION)
    found = list(steps_of(one, calendar))
    (again,) = (step for step in found if step.what == "recompute")
    shown = [calendar.local(moment).isoformat() for moment in (before.due, before.due + 2 * DAY)]
    assert [again.since, again.until] == shown
    assert again.why == f"calendar {before.calendar_reference} -> calendars:{NATION}@99"
    assert ("skip", "2026-03-05", "2026-03-08") in [(step.what, step.since, step.until) for step in found]
    assert "stand" not in [step.what for step in found]


def test_what_was_counted_by_an_older_calendar_is_told_by_it() -> None:
    life = Life(*HANDLING)
    life.ask(ask("settle", at=START + DAY))
    used = life.library.document(DocumentKind.CALENDARS, NATION)
    life.library = library()
    life.library.put(document(DocumentKind.CALENDARS, 99, LATE_MARCH))
    one = told(life)
    assert used is not None
    assert used.reference == one.clock.deadline.calendar_reference
    by_it = steps(one, life, used)
    assert ("skip", "2026-03-07", "2026-03-08") in by_it
    assert by_it[-1] == ("over", "2026-03-03T09:00:00+08:00", "2026-03-03T09:00:00+08:00")
    newer = life.library.documents()
    assert cite(used, year_rows(used, one.clock.deadline), newer).in_force is False
    lost = steps(one, life)  # as if its version could not be read: what was set stands, and that is said
    assert ("stand", "2026-03-12T00:00:00+08:00", "2026-03-10T00:00:00+08:00") in lost


def test_a_correction_replaces_the_clock_and_says_so() -> None:
    life = Life(ask("register"))
    before = life.clock(Stage.TRIAGE).deadline.due
    life.ask(ask("correct", severity="larger", at=START + HOUR))
    found = list(steps_of(told(life, Stage.TRIAGE), LIBRARY.calendar(NATION)))
    assert found[1].what == "replace"
    assert LIBRARY.calendar(NATION).local(before).isoformat(timespec="seconds") in found[1].why


def test_the_clock_of_each_stage_is_found_again_after_the_case_is_closed() -> None:
    life = Life(ask("register"), ask("triage"), ask("assign", **CO), ask("sign-for"), ask("co-report"))
    life.ask(ask("settle", at=START + HOUR))
    life.ask(ask("close", at=START + 2 * HOUR))
    assert life.state.clocks == ()
    found = clocks_of(life.history)
    assert sorted(stage.value for stage, _ in found) == ["co_handle", "feedback", "handle", "sign", "triage"]
    ended = {stage: one.clock.ended_at for (stage, _), one in found.items()}
    assert (ended[Stage.HANDLE], ended[Stage.FEEDBACK]) == (START + HOUR, START + 2 * HOUR)
    assert {clock_state(one.clock) for one in found.values()} == {"over"}
    assert found[Stage.CO_HANDLE, WATER].state.co_units == (WATER,)


def test_a_stage_that_comes_again_is_told_anew() -> None:
    life = Life(*HANDLING, ask("extend"), ask("settle"))
    assert len(told(life).events) == 1
    life.ask(ask("send-back", at=START + HOUR))
    again = told(life)
    assert (again.events, again.before, again.clock.deadline.start) == ((), None, START + HOUR)


@pytest.mark.clause("11.2")
def test_rungs_that_were_taken_are_told_when_due_when_seen_and_whom_they_told() -> None:
    life = Life(*HANDLING)
    due = life.clock(Stage.HANDLE).deadline.due
    life.fire("overdue", Stage.HANDLE, due + HOUR)
    for _ in range(4):
        moment = life.late.next_at
        assert moment is not None
        life.fire("rung", Stage.HANDLE, moment + 9 * HOUR)
    taken = rungs_taken(told(life))
    assert [(rung.rung, rung.act) for rung in taken] == [(0, "remind"), (1, "urge"), (2, "order"), (3, "escalate")]
    assert [rung.moment for rung in taken] == [due, due + 10 * HOUR, due + 20 * HOUR, due + 31 * HOUR], (
        "each waits its own interval from the one before, which was seen nine hours late"
    )
    assert all(rung.seen_late for rung in taken)
    assert all(rung.taken_at == rung.moment + 9 * HOUR for rung in taken)
    assert taken[3].informs[2] == f"{life.state.in_charge}-centre"
    life.ask(ask("settle", at=due + 50 * HOUR))
    assert list(rungs_ahead(LIBRARY, told(life).state, told(life).clock)) == []
    assert "overdue" in [what for what, *_ in steps(told(life), life)]


def test_the_row_of_a_limit_is_found_by_what_the_deadline_says_of_it() -> None:
    twins = (limit("handle", 5, id="first", when={"severity": ["extreme"]}), limit("handle", 5, id="second"))
    life = Life(*HANDLING, documents=library(limits=(*twins, *LIMITS)))
    deadline = life.clock(Stage.HANDLE).deadline
    (row,) = limit_rows(life.library.limits(NATION)[0], deadline)
    assert row.key == "second"
    other = document(DocumentKind.LIMITS, 7, limit("handle", 6))
    assert limit_rows(other, deadline) == []


def test_a_calendar_is_cited_with_the_days_that_a_deadline_runs_through() -> None:
    life = Life(*HANDLING, documents=library(calendars=[{"year": "2026", "holidays": ["2026-03-05", "2026-10-01"]}]))
    (document_,) = life.library.chain(DocumentKind.CALENDARS, NATION)
    (row,) = cite(document_, year_rows(document_, life.clock(Stage.HANDLE).deadline), [document_]).rows
    assert row == {"year": "2026", "holidays": ["2026-03-05"]}
    assert HANDLE in clocks_of(life.history)
