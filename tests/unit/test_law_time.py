"""What is late, as a table: a clock ends with its stage, what ended late is declared, rungs are taken in turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest

from shared.case.facts import Deadline, Stage
from shared.case.lifecycle import Status
from shared.case.reasons import Reason
from tests.support.law import (
    BOUNDED,
    CITY,
    CO_CLOCK,
    COUNTY,
    DESK_UNIT,
    DUE,
    ERASABLE,
    LABOUR,
    LATER,
    LI,
    NEXT_RUNG,
    ON_NEXT_RUNG,
    ON_RUNG,
    RUNG,
    SITUATIONS,
    START,
    TOO_LATE,
    WATER,
    Ask,
    after,
    ask,
    deadline,
    given,
    refused,
)
from tests.support.law_table import Row, check_row, lines, row

S, R = Status, Reason

A_MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)
FEEDBACK: dict[str, Any] = {"opens": [deadline(Stage.FEEDBACK, LATER)], "closes": ["handle"]}
HANDLE_ANEW: dict[str, Any] = {"opens": [deadline(due=LATER)], "closes": ["handle"]}
_ORDER_RUNG = ON_RUNG | {"due": LATER}


def _bounded(due: datetime, extend_until: datetime = LATER, amount: int = 5) -> Deadline:
    """The deadline reckoned with an extension, by a calendar that may give another bound."""
    allows = BOUNDED.model_copy(update={"extend_until": extend_until})
    return deadline(due=due, allows=allows).model_copy(update={"amount": amount})


TABLE: tuple[Row, ...] = (
    # a clock is opened for a stage that runs, and for no other
    row("registered", "set-deadlines", S.AWAITING_TRIAGE, opens=[deadline(Stage.TRIAGE)], clause="5.1.3a"),
    row("triaged", "set-deadlines", S.TRIAGED, opens=[deadline(Stage.TRIAGE)]),
    row("assigned", "set-deadlines", S.ASSIGNED, opens=[deadline(Stage.SIGN)]),
    row("handled", "set-deadlines", S.HANDLING, opens=[deadline(), deadline(Stage.REPORT)]),
    row("co-handled", "set-deadlines", S.HANDLING, opens=[deadline(Stage.CO_HANDLE, unit=WATER)], clause="5.1.1b"),
    row("co-handled", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.CO_HANDLE)]),
    row("co-handled", "set-deadlines", R.STAGE_OVER, opens=[deadline(unit=WATER)]),
    row("handled", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.SIGN)]),
    row("handled", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.FEEDBACK)]),
    row("handled", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.CO_HANDLE, unit=WATER)]),
    row(
        "co-handled, co-handler reported", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.CO_HANDLE, DUE, WATER)]
    ),
    row("settled", "set-deadlines", R.STAGE_OVER),
    row("escalated", "set-deadlines", R.STAGE_OVER, opens=[deadline(Stage.REPORT)], clause="11.4"),
    # what ended in time is never late, whenever that is seen
    row("ended in time", "declare-overdue", R.STAGE_OVER, clause="5.1.3a"),
    row("ended in time", "set-deadlines", S.SETTLED, **FEEDBACK),
    row("ended in time, sent back", "declare-overdue", R.STAGE_OVER),
    row("ended in time, sent back", "warn", R.STAGE_OVER),
    row("ended in time, sent back", "set-deadlines", S.HANDLING, **HANDLE_ANEW),
    row("ended in time, sent back", "set-deadlines", R.DEADLINE_OPEN, opens=[deadline(due=LATER)]),
    row("ended while suspended", "declare-overdue", R.ALREADY_SUSPENDED),
    row("ended while suspended", "set-deadlines", S.SETTLED, **FEEDBACK),
    # nobody moves or stops a clock whose stage is over
    row("ended in time, sent back", "recompute-deadline", R.STAGE_OVER),
    row("ended in time, sent back", "request-extension", R.STAGE_OVER),
    row("ended in time, sent back", "extend", R.STAGE_OVER),
    row("ended in time, sent back", "request-pause", R.STAGE_OVER),
    row("ended in time, sent back", "suspend", R.STAGE_OVER),
    row("ended in time, sent back", "resume", R.STAGE_OVER),
    # what ended late is declared before its clock may go, also on a case that has ended
    row("ended late", "declare-overdue", S.SETTLED, clause="5.1.3a"),
    row("ended late", "declare-overdue", R.NOT_YET_DUE, seen_at=DUE),
    row("ended late", "warn", R.STAGE_OVER),
    row("ended late", "set-deadlines", R.LATE_UNSEEN, **FEEDBACK),
    row("ended late", "set-deadlines", R.LATE_UNSEEN, opens=[], closes=["handle"]),
    row("ended late, closed", "declare-overdue", S.CLOSED, clause="5.1.3a"),
    row("ended late, closed", "declare-overdue", R.DEADLINE_MOVED, due=LATER),
    row("ended late, closed, reopened", "declare-overdue", S.AWAITING_TRIAGE),
    row("closed", "declare-overdue", R.NO_SUCH_DEADLINE),
    row("ended late, closed, reopened", "set-deadlines", R.LATE_UNSEEN, opens=[], closes=["handle"]),
    row("ended late, closed, reopened", "set-deadlines", S.AWAITING_TRIAGE, opens=[deadline(Stage.TRIAGE)]),
    # nor is lateness hidden that nobody has declared yet, by moving, stopping or ending a clock that runs
    row("clocked", "set-deadlines", R.LATE_UNSEEN, at=TOO_LATE, **HANDLE_ANEW),
    row("clocked", "set-deadlines", R.LATE_UNSEEN, at=TOO_LATE, opens=[], closes=["handle"]),
    row("clocked", "set-deadlines", S.HANDLING, at=DUE, **HANDLE_ANEW),
    row("clocked", "set-deadlines", S.HANDLING, at=TOO_LATE, opens=[deadline()], closes=["handle"]),
    row("overdue", "set-deadlines", S.HANDLING, at=TOO_LATE, **HANDLE_ANEW),
    row("clocked", "extend", R.LATE_UNSEEN, at=TOO_LATE),
    row("overdue", "extend", S.HANDLING, at=TOO_LATE),
    row("clocked", "suspend", R.LATE_UNSEEN, at=TOO_LATE),
    row("overdue", "suspend", S.HANDLING, at=TOO_LATE),
    row("clocked, imported", "extend", S.HANDLING, at=TOO_LATE),
    row("clocked", "recompute-deadline", S.HANDLING, at=TOO_LATE),
    # what the limit allows
    row("clocked, bounded", "request-extension", S.HANDLING),
    row("clocked, bounded", "request-extension", R.EXTENDED_TOO_FAR, due=LATER + A_MOMENT),
    row("clocked, bounded", "extend", S.HANDLING),
    row("clocked, bounded", "extend", R.EXTENDED_TOO_FAR, due=LATER + A_MOMENT),
    row("clocked, bounded", "extend", S.HANDLING, deadline=_bounded(due=LATER)),
    row("clocked, bounded", "extend", R.NOT_LATER, deadline=_bounded(due=LATER + A_MOMENT)),
    row("clocked, bounded", "extend", R.DEADLINE_MOVED, deadline=_bounded(due=LATER, amount=6)),
    row("clocked, bounded", "extend", R.EXTENDED_TOO_FAR, deadline=_bounded(due=LATER, extend_until=DUE)),
    row("clocked, bounded", "extend", S.HANDLING, due=LATER + DAY, deadline=_bounded(LATER + DAY, LATER + DAY)),
    row("clocked, bounded, extended", "extend", S.HANDLING),
    row("clocked, bounded, extended twice", "extend", R.EXTENDED_TOO_OFTEN),
    row("clocked, bounded, extended twice", "request-extension", R.EXTENDED_TOO_OFTEN),
    row("clocked, by another post", "extend", R.WRONG_APPROVER),
    row("clocked, immovable", "extend", R.NO_EXTENSION),
    row("clocked, immovable", "request-extension", R.NO_EXTENSION),
    row("clocked, immovable", "suspend", R.NO_PAUSE),
    row("clocked, immovable", "request-pause", R.NO_PAUSE),
    row("clocked, bounded", "request-pause", S.HANDLING),
    row("clocked, bounded", "request-pause", R.NO_PAUSE, cause="papers"),
    row("clocked, bounded", "suspend", S.HANDLING, until=START + 3 * DAY),
    row("clocked, bounded", "suspend", R.NO_PAUSE, cause="papers", until=START + DAY),
    row("clocked, bounded", "suspend", R.PAUSE_TOO_LONG, until=START + 3 * DAY + A_MOMENT),
    row("clocked, bounded", "suspend", R.PAUSE_TOO_LONG),
    row("clocked, bounded", "suspend", R.NOT_LATER, until=START),
    row("clocked, bounded, paused", "suspend", R.PAUSED_TOO_OFTEN, until=START + DAY),
    row("clocked, bounded, paused", "request-pause", R.PAUSED_TOO_OFTEN),
    # rungs of the ladder: in turn, none twice, none early
    row("overdue, on the ladder", "urge", S.HANDLING, at=RUNG, **ON_RUNG, clause="5.1.1f 11.2"),
    row("overdue, on the ladder", "order", S.HANDLING, at=RUNG, **_ORDER_RUNG, clause="5.1.1f"),
    row("overdue, on the ladder", "escalate", S.HANDLING, at=RUNG, **ON_RUNG, clause="11.2"),
    row("overdue, on the ladder", "urge", R.NOT_YET_DUE, at=RUNG - A_MOMENT, **ON_RUNG),
    row("overdue, on the ladder", "escalate", R.NOT_YET_DUE, at=RUNG - A_MOMENT, **ON_RUNG, clause="11.2"),
    row("overdue, on the ladder", "order", R.NOT_YET_DUE, at=RUNG - A_MOMENT, **_ORDER_RUNG),
    row("overdue, on the ladder", "urge", R.WRONG_RUNG, at=NEXT_RUNG, **ON_NEXT_RUNG),
    row("overdue, on the ladder", "urge", R.WRONG_RUNG, at=RUNG, **ON_RUNG | {"moment": RUNG - A_MOMENT}),
    row("overdue, on the ladder", "escalate", R.NOT_ABOVE, at=RUNG, to=DESK_UNIT[:12], **ON_RUNG, clause="11.2"),
    row("overdue, on the ladder", "urge", S.HANDLING),
    row("overdue, on the ladder", "escalate", S.HANDLING, clause="11.2"),
    row("overdue, first rung taken", "urge", R.WRONG_RUNG, at=RUNG, **ON_RUNG),
    row("overdue, first rung taken", "order", R.WRONG_RUNG, at=RUNG, **_ORDER_RUNG),
    row("overdue, first rung taken", "escalate", R.NOT_YET_DUE, at=RUNG, **ON_NEXT_RUNG),
    row("overdue, first rung taken", "escalate", S.HANDLING, at=NEXT_RUNG, **ON_NEXT_RUNG, clause="11.2"),
    row("overdue, last rung taken", "urge", R.NOT_YET_DUE, at=LATER, **ON_NEXT_RUNG | {"rung": 2, "moment": None}),
    row("overdue, last rung taken", "escalate", S.HANDLING, to=CITY, clause="11.2"),
    row("overdue", "urge", R.WRONG_RUNG, at=RUNG, **ON_RUNG),
    row("clocked", "urge", R.NOT_LATE, at=RUNG, **ON_RUNG),
    row("overdue, on the ladder", "urge", R.NOT_LATE, at=RUNG, **ON_RUNG | {"late_stage": "sign"}),
    row("overdue, on the ladder", "urge", R.NOT_LATE, at=RUNG, **ON_RUNG, late_unit=WATER),
    row("overdue, on the ladder, annulled", "urge", R.NOT_LATE, at=RUNG, **ON_RUNG),
    row("overdue, on the ladder, extended", "urge", R.NOT_LATE, at=RUNG, **ON_RUNG),
    row("overdue, on the ladder, settled", "urge", R.STAGE_OVER, at=RUNG, **ON_RUNG),
    row("overdue, on the ladder, suspended", "urge", R.ALREADY_SUSPENDED, at=RUNG, **ON_RUNG),
    row("overdue, on the ladder, suspended", "order", R.ALREADY_SUSPENDED, at=RUNG, **_ORDER_RUNG),
)


@lines(TABLE)
def test_what_is_late_is_decided(line: Row) -> None:
    check_row(line)


# By which commands each stage ends: (situation in which its clock runs, what ends it).
_OPEN = {"triage": "registered", "sign": "assigned", "handle": "handled", "feedback": "settled"}
_CENTRE = ("decline", "split", "merge", "withdraw", "transfer")
_UNIT = ("hand-back", "transfer", "merge", "withdraw")
_ELSEWHERE = ask("assign", unit=LABOUR)
ENDING: dict[str, tuple[Ask, ...]] = {
    "triage": tuple(map(ask, _CENTRE)),
    "sign": (ask("sign-for"), _ELSEWHERE, *map(ask, _UNIT)),
    "handle": (ask("settle"), _ELSEWHERE, *map(ask, _UNIT)),
    "feedback": (ask("close"), ask("send-back")),
}
_ENDS = [(stage, one) for stage, asked in ENDING.items() for one in asked]


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(("stage", "end"), _ENDS, ids=[f"{stage} by {end.name}" for stage, end in _ENDS])
def test_a_clock_ends_with_its_stage_and_is_late_or_not_by_when_that_was(stage: str, end: Ask) -> None:
    clocked = after(given(_OPEN[stage]), ask("set-deadlines", opens=[deadline(Stage(stage))]))
    declare = ask("declare-overdue", stage=stage)
    in_time = after(clocked, Ask(end.name, end.facts, at=DUE))
    assert refused(in_time, declare) in (R.STAGE_OVER, R.NO_SUCH_DEADLINE)
    late = after(clocked, Ask(end.name, end.facts, at=TOO_LATE))
    (clock,) = late.clocks
    assert (clock.late_unseen, clock.ended_at) == (True, TOO_LATE)
    seen = after(late, declare)
    assert [one.ended_at for one in seen.late] == [TOO_LATE]
    assert refused(seen, declare) in (R.ALREADY_FIRED, R.NO_SUCH_DEADLINE)


_CO_ENDS = (
    ask("co-report", at=TOO_LATE),
    ask("end-co-handling", at=TOO_LATE),
    ask("assign", at=TOO_LATE),
    ask("hand-back", at=TOO_LATE),
    ask("transfer", at=TOO_LATE),
)


@pytest.mark.clause("5.1.1b")
@pytest.mark.parametrize("end", _CO_ENDS, ids=lambda end: end.name)
def test_the_clock_of_a_co_handling_unit_ends_with_its_task(end: Ask) -> None:
    state = after(given("co-clocked"), end)
    clock = state.clock(Stage.CO_HANDLE, WATER)
    assert (clock.late_unseen, clock.ended_at) == (True, TOO_LATE)
    assert after(state, ask("declare-overdue", **CO_CLOCK)).overdue_of(Stage.CO_HANDLE, WATER).ended_at == TOO_LATE
    handles = state.clock(Stage.HANDLE)
    assert (handles.ended_at is None) is (state.status is S.HANDLING), "the responsible unit's goes on if it does"


@pytest.mark.clause("5.1.3a")
def test_a_triage_that_is_set_right_goes_on() -> None:
    """Its clock ends when a unit has the case, not when somebody has an opinion whose it is."""
    clocked = after(given("registered"), ask("set-deadlines", opens=[deadline(Stage.TRIAGE)]))
    state = after(clocked, ask("triage", at=TOO_LATE), ask("triage", unit=LABOUR, at=TOO_LATE))
    assert state.clock(Stage.TRIAGE).ended_at is None
    assert after(state, ask("assign", at=LATER)).clock(Stage.TRIAGE).ended_at == LATER


@pytest.mark.clause("11.4")
def test_what_is_reported_upward_ends_the_duty_to_report_for_ever() -> None:
    clocked = after(given("handled"), ask("set-deadlines", opens=[deadline(Stage.REPORT)]))
    state = after(clocked, ask("escalate"))
    assert state.clock(Stage.REPORT).ended_at == START
    assert (Stage.REPORT, None) in clocked.running_stages - state.running_stages


@pytest.mark.clause("5.1.3a")
def test_a_case_has_ended_and_its_lateness_is_still_declared_once() -> None:
    state = given("ended late, closed")
    assert [clock.key for clock in state.clocks] == [(Stage.HANDLE, None)]
    declared = after(state, ask("declare-overdue"))
    assert (declared.clocks, declared.overdue_count) == ((), 1)
    assert refused(declared, ask("declare-overdue")) is R.NO_SUCH_DEADLINE
    erased = after(declared, ask("request-erasure", by=LI, at=ERASABLE), ask("erase", at=ERASABLE))
    assert refused(erased, ask("declare-overdue")) is R.ERASED


@pytest.mark.clause("5.1.3a")
def test_what_was_stamped_in_time_and_came_late_is_set_right() -> None:
    """The overdue stands until the proof comes; then it is annulled and counts no more."""
    state = after(given("overdue, on the ladder"), ask("settle", at=DUE))
    (late,) = state.late
    assert late.ended_at == DUE
    annulled = after(state, ask("annul-overdue"))
    assert (annulled.late, annulled.overdue_count) == ((), 0)


def test_a_second_overdue_of_a_clock_begins_its_ladder_anew_and_counts() -> None:
    extended = after(given("overdue, first rung taken"), ask("extend", due=LATER, at=NEXT_RUNG))
    assert (extended.late[0].rung, refused(extended, ask("urge", at=NEXT_RUNG, **ON_NEXT_RUNG))) == (1, R.NOT_LATE)
    again = after(extended, ask("declare-overdue", due=LATER, seen_at=LATER + DAY, next_at=LATER + 2 * DAY))
    (late,) = again.late
    assert (late.due, late.rung, late.next_at, again.overdue_count) == (LATER, 0, LATER + 2 * DAY, 2)


@pytest.mark.clause("11.2")
def test_a_rung_says_when_the_next_one_comes_and_what_set_it() -> None:
    before = given("overdue, on the ladder")
    state = after(before, ask("escalate", at=RUNG, **ON_RUNG))
    (late,) = state.late
    assert (late.rung, late.next_at, state.in_charge) == (1, NEXT_RUNG, COUNTY)
    assert late.cause != before.late[0].cause


def test_what_a_person_does_by_their_own_decision_is_no_rung() -> None:
    before = given("overdue, on the ladder")
    assert after(before, ask("urge"), ask("escalate"), ask("order")).late == before.late


def test_a_ladder_waits_while_its_clock_stands_still_and_goes_on_with_it() -> None:
    state = given("overdue, on the ladder, suspended")
    goes_on = after(state, ask("resume", deadline=deadline()))
    assert after(goes_on, ask("urge", at=RUNG, **ON_RUNG)).late[0].rung == 1


@pytest.mark.clause("5.1.1b")
def test_two_late_clocks_have_a_ladder_each() -> None:
    co = {"late_stage": "co_handle", "late_unit": WATER}
    both = after(
        given("co-clocked"), ask("declare-overdue", next_at=RUNG), ask("declare-overdue", next_at=RUNG, **CO_CLOCK)
    )
    state = after(both, ask("urge", at=RUNG, **ON_RUNG), ask("urge", at=RUNG, **ON_RUNG | co, unit=WATER))
    assert [one.rung for one in state.late] == [1, 1]
    assert refused(state, ask("urge", at=RUNG, **ON_RUNG | co, unit=WATER)) is R.WRONG_RUNG


@pytest.mark.clause("5.1.1b")
def test_who_co_handles_from_now_on_has_their_time_from_now_on() -> None:
    state = after(given("co-clocked"), ask("assign", co_units=(WATER, LABOUR), at=LATER))
    assert {co.unit: co.since for co in state.co_handlers} == {WATER: START, LABOUR: LATER}
    assert (Stage.CO_HANDLE, LABOUR) in state.running_stages


@pytest.mark.clause("5.1.3a")
def test_every_move_of_a_clock_is_told_with_what_came_of_it() -> None:
    moved = (
        ask("extend", due=DUE + DAY),
        ask("suspend", until=START + DAY, at=START + A_MOMENT),
        ask("resume", deadline=deadline(due=DUE + 2 * DAY), at=START + DAY),
        ask("recompute-deadline", deadline=deadline(due=LATER), due_before=DUE + 2 * DAY),
    )
    state = after(given("clocked"), *moved)
    (clock,) = state.clocks
    told = [(move.type, move.at, move.due) for move in clock.moves]
    assert told == [
        ("case.extended", START, DUE + DAY),
        ("case.suspended", START + A_MOMENT, None),
        ("case.resumed", START + DAY, DUE + 2 * DAY),
        ("case.deadline_recomputed", START, LATER),
    ]
    assert (clock.set_by, clock.resume_at, clock.pauses, clock.extensions) == (clock.moves[-1].event, None, 1, 1)


_EVERYTHING = [name for name, asked in SITUATIONS.items() if asked]


@pytest.mark.parametrize("situation", _EVERYTHING)
def test_every_open_stage_has_one_duty_and_no_other_clock_can_be_opened(situation: str) -> None:
    state = given(situation)
    main = {stage for stage, unit in state.running_stages if unit is None} - {Stage.REPORT}
    assert len(main) == (state.status in (S.AWAITING_TRIAGE, S.TRIAGED, S.ASSIGNED, S.HANDLING, S.SETTLED))
    for stage, unit in product(Stage, (None, WATER)):
        if (stage, unit) not in state.running_stages and main and not state.holds:
            assert refused(state, ask("set-deadlines", opens=[deadline(stage, unit=unit)])) is R.STAGE_OVER


def test_what_bounds_a_clock_stays_with_it() -> None:
    state = given("clocked, bounded, extended")
    assert state.clocks[0].deadline.allows == BOUNDED


def test_a_report_upward_that_stood_still_goes_on_though_the_case_was_settled_meanwhile() -> None:
    clocked = after(given("handled"), ask("set-deadlines", opens=[deadline(Stage.REPORT)]))
    settled = after(clocked, ask("suspend", stage=Stage.REPORT, until=START + DAY), ask("settle"))
    on = after(settled, ask("resume", deadline=deadline(Stage.REPORT, LATER)))
    clock = on.clock(Stage.REPORT)
    assert (on.status, clock.suspended, clock.deadline.due) == (S.SETTLED, False, LATER)


def test_the_same_moment_by_another_version_of_a_document_is_late_once() -> None:
    """A report that was due before the case was closed is due at the same moment when it is taken up again."""
    late = given("overdue")
    newer = deadline().model_copy(update={"calendar_reference": f"calendars:{COUNTY}@99"})
    set_anew = after(late, ask("set-deadlines", opens=[newer], closes=["handle"], at=TOO_LATE))
    assert refused(set_anew, ask("declare-overdue", at=TOO_LATE)) is R.ALREADY_FIRED
    again = set_anew.clock(Stage.HANDLE)
    assert (again.deadline, again.overdue, set_anew.overdue_count) == (newer, True, 1)


@pytest.mark.clause("11.4")
def test_a_report_that_was_late_when_its_case_was_closed_is_late_and_climbs_when_it_is_taken_up_again() -> None:
    closed = after(
        given("settled"), ask("set-deadlines", opens=[deadline(Stage.REPORT)]), ask("close", at=TOO_LATE),
        ask("reopen", at=TOO_LATE),
    )  # fmt: skip
    late = ask("declare-overdue", stage=Stage.REPORT, seen_at=TOO_LATE, next_at=RUNG, at=TOO_LATE)
    again = after(closed, late, ask("set-deadlines", opens=[deadline(Stage.REPORT)], closes=["report"], at=TOO_LATE))
    (one,) = again.late
    assert (one.ended_at, one.next_at, again.clock(Stage.REPORT).ended_at) == (None, RUNG, None)
    assert closed.clock(Stage.REPORT).late_unseen
