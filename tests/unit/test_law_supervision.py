"""Supervision's decisions about a case as a table: its clocks, its place in the tree, holds and erasure."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from shared.case.facts import Stage
from shared.case.lifecycle import Status
from shared.case.reasons import Reason
from tests.support.law import (
    CITY,
    CO_CLOCK,
    COUNTY,
    DESK_UNIT,
    DUE,
    ERASABLE,
    ERASABLE_ANEW,
    HOUSING,
    KIN,
    LABOUR,
    LATER,
    LI,
    NEIGHBOUR,
    START,
    TOWNSHIP,
    VILLAGE,
    WANG,
    WARN,
    WATER,
    accepted,
    after,
    ask,
    deadline,
    given,
    refused,
)
from tests.support.law_table import Row, check_row, lines, row

S, R = Status, Reason

A_MOMENT = timedelta(seconds=1)
_CO_CLOCKS = [deadline(Stage.CO_HANDLE, unit=WATER), deadline(Stage.CO_HANDLE, unit=LABOUR)]
_PUBLISHED = {"calendars": (f"calendars:{COUNTY}@9",)}  # during the pause

TABLE: tuple[Row, ...] = (
    # clocks start and end with the stage
    row("handled", "set-deadlines", S.HANDLING, clause="5.1.3a"),
    row("co-handled twice", "set-deadlines", S.HANDLING, opens=_CO_CLOCKS, clause="5.1.1b"),
    row("settled", "set-deadlines", S.SETTLED, opens=[deadline(Stage.FEEDBACK)]),
    row("handled", "set-deadlines", R.NOTHING_SET, opens=[]),
    row("handled", "set-deadlines", R.NO_SUCH_DEADLINE, closes=["sign"]),
    row("handled", "set-deadlines", R.DEADLINE_OPEN, opens=[deadline(), deadline(due=LATER)]),
    row("clocked", "set-deadlines", R.DEADLINE_OPEN),
    row("clocked", "set-deadlines", R.STAGE_RUNS, opens=[], closes=["handle"]),
    row("co-clocked", "set-deadlines", R.STAGE_RUNS, opens=[], closes=["co_handle"], clause="5.1.1b"),
    row("clocked", "set-deadlines", S.HANDLING, opens=[deadline(due=LATER)], closes=["handle"]),
    row("closed", "set-deadlines", R.CASE_CLOSED),
    row("clocked", "recompute-deadline", S.HANDLING),
    row("clocked", "recompute-deadline", R.DEADLINE_MOVED, due_before=LATER),
    row("handled", "recompute-deadline", R.NO_SUCH_DEADLINE),
    row("settled, clocked", "recompute-deadline", S.SETTLED, deadline=deadline(Stage.FEEDBACK, LATER)),
    # extension: a request, an approver and a reason
    row("clocked", "request-extension", S.HANDLING),
    row("clocked", "request-extension", R.NOT_LATER, due=DUE),
    row("handled", "request-extension", R.NO_SUCH_DEADLINE),
    row("extension asked", "request-extension", R.REQUEST_PENDING),
    row("extension asked", "extend", S.HANDLING),
    row("clocked", "extend", S.HANDLING),
    row("extension asked", "extend", R.SELF_APPROVAL, approver=LI),
    row("extension asked", "extend", R.SELF_APPROVAL, by=LI),
    row("extension asked", "extend", R.NOT_LATER, due=DUE),
    row("handled", "extend", R.NO_SUCH_DEADLINE),
    row("settled, clocked", "extend", R.WRONG_STATUS, stage="feedback"),
    row("extension asked", "refuse-extension", S.HANDLING),
    row("clocked", "refuse-extension", R.NO_REQUEST),
    row("pause asked", "refuse-extension", R.NO_REQUEST),
    row("handled", "refuse-extension", R.NO_SUCH_DEADLINE),
    # a clock stands still, and goes on
    row("clocked", "request-pause", S.HANDLING),
    row("pause asked", "request-pause", R.REQUEST_PENDING),
    row("suspended", "request-pause", R.ALREADY_SUSPENDED),
    row("handled", "request-pause", R.NO_SUCH_DEADLINE),
    row("pause asked", "suspend", S.HANDLING),
    row("clocked", "suspend", S.HANDLING),
    row("clocked", "suspend", R.SELF_APPROVAL, by=LI),
    row("suspended", "suspend", R.ALREADY_SUSPENDED),
    row("handled", "suspend", R.NO_SUCH_DEADLINE),
    row("pause asked", "refuse-pause", S.HANDLING),
    row("extension asked", "refuse-pause", R.NO_REQUEST),
    row("handled", "refuse-pause", R.NO_SUCH_DEADLINE),
    row("suspended", "resume", S.HANDLING),
    row("suspended", "resume", S.HANDLING, deadline=deadline()),
    row("suspended", "resume", R.NOT_LATER, deadline=deadline(due=DUE - A_MOMENT)),
    row(
        "suspended", "resume", S.HANDLING, at=WARN, deadline=deadline(due=DUE - A_MOMENT).model_copy(update=_PUBLISHED)
    ),
    row("clocked", "resume", R.NOT_SUSPENDED),
    row("handled", "resume", R.NO_SUCH_DEADLINE),
    # the clock of a co-handling unit is its own
    row("co-clocked", "request-extension", S.HANDLING, **CO_CLOCK, clause="5.1.1b"),
    row("co-clocked", "request-extension", R.NO_SUCH_DEADLINE, stage="co_handle"),
    row("co-clocked", "request-extension", R.NO_SUCH_DEADLINE, stage="co_handle", unit=LABOUR),
    row("co-clocked, extension asked", "request-extension", R.REQUEST_PENDING, **CO_CLOCK),
    row("co-clocked, extension asked", "request-extension", S.HANDLING),
    row("co-clocked, extension asked", "extend", S.HANDLING, **CO_CLOCK, clause="5.1.1b"),
    row("co-clocked, extension asked", "extend", S.HANDLING, **CO_CLOCK, approver=LI),
    row("co-clocked, extension asked", "extend", R.SELF_APPROVAL, **CO_CLOCK, approver=WANG),
    row("co-clocked, extension asked", "extend", R.SELF_APPROVAL, **CO_CLOCK, by=WANG),
    row("co-clocked, extension asked", "extend", R.SELF_APPROVAL, by=LI),
    row("co-clocked, extension asked", "extend", R.MUST_STAND_ASIDE, approver=KIN),
    row("co-clocked, extension asked", "refuse-extension", S.HANDLING, **CO_CLOCK),
    row("co-clocked, extension asked", "refuse-extension", R.NO_REQUEST),
    row("co-clocked", "request-pause", S.HANDLING, **CO_CLOCK, clause="5.1.1b"),
    row("co-clocked, pause asked", "suspend", S.HANDLING, **CO_CLOCK),
    row("co-clocked, pause asked", "suspend", R.SELF_APPROVAL, **CO_CLOCK, by=WANG),
    row("co-clocked, pause asked", "refuse-pause", S.HANDLING, **CO_CLOCK),
    row("co-clocked, suspended", "suspend", S.HANDLING),
    row("co-clocked, suspended", "suspend", R.ALREADY_SUSPENDED, **CO_CLOCK),
    row("co-clocked, suspended", "resume", S.HANDLING, deadline=deadline(Stage.CO_HANDLE, LATER, WATER)),
    # nothing fires early, nothing twice
    row("clocked", "warn", S.HANDLING, clause="5.1.3a"),
    row("clocked", "warn", R.NOT_YET_DUE, seen_at=WARN - A_MOMENT),
    row("clocked", "warn", R.DEADLINE_MOVED, due=LATER),
    row("warned", "warn", R.ALREADY_FIRED),
    row("overdue", "warn", R.ALREADY_FIRED),
    row("suspended", "warn", R.ALREADY_SUSPENDED),
    row("clocked, imported", "warn", R.HELD),
    row("handled", "warn", R.NO_SUCH_DEADLINE),
    row("clocked", "declare-overdue", S.HANDLING, clause="5.1.3a"),
    row("warned", "declare-overdue", S.HANDLING),
    row("clocked", "declare-overdue", R.NOT_YET_DUE, seen_at=DUE),
    row("clocked", "declare-overdue", R.DEADLINE_MOVED, due=DUE + A_MOMENT),
    row("overdue", "declare-overdue", R.ALREADY_FIRED),
    row("overdue, annulled", "declare-overdue", R.ALREADY_FIRED),
    row("overdue, recomputed to the same moment", "declare-overdue", R.ALREADY_FIRED),
    row("suspended", "declare-overdue", R.ALREADY_SUSPENDED),
    row("clocked, imported", "declare-overdue", R.HELD),
    row("handled", "declare-overdue", R.NO_SUCH_DEADLINE),
    row("settled, clocked", "declare-overdue", S.SETTLED, stage="feedback"),
    row("overdue", "annul-overdue", S.HANDLING),
    row("overdue, then closed", "annul-overdue", S.CLOSED),
    row("clocked", "annul-overdue", R.NOTHING_TO_ANNUL),
    row("overdue, annulled", "annul-overdue", R.NOTHING_TO_ANNUL),
    # up and down the tree
    row("registered", "escalate", S.AWAITING_TRIAGE, clause="11.2"),
    row("handled", "escalate", S.HANDLING, to=CITY, clause="11.2"),
    row("settled", "escalate", S.SETTLED, clause="11.2"),
    row("registered", "escalate", R.NOT_ABOVE, to=TOWNSHIP, clause="11.2"),
    row("registered", "escalate", R.NOT_ABOVE, to=VILLAGE, clause="11.2"),
    row("registered", "escalate", R.NOT_ABOVE, to="510105000000", clause="11.2"),
    row("escalated", "escalate", R.NOT_ABOVE, clause="11.2"),
    row("escalated", "escalate", S.AWAITING_TRIAGE, to=CITY, clause="11.2"),
    row("closed", "escalate", R.CASE_CLOSED),
    row("registered", "hand-down", S.AWAITING_TRIAGE, clause="5.1.1i 4"),
    row("escalated", "hand-down", S.AWAITING_TRIAGE, to=TOWNSHIP, clause="5.1.1i"),
    row("registered", "hand-down", R.NOT_BELOW, to=COUNTY, clause="5.1.1i"),
    row("registered", "hand-down", R.NOT_BELOW, to=TOWNSHIP, clause="5.1.1i"),
    row("registered", "hand-down", R.NOT_BELOW, to=NEIGHBOUR, clause="5.1.1i"),
    # reminders and orders
    row("handled", "urge", S.HANDLING),
    row("triaged", "urge", S.TRIAGED),
    row("co-handled", "urge", S.HANDLING, unit=WATER),
    row("handled", "urge", R.NOT_RESPONSIBLE_UNIT, unit=LABOUR),
    row("handed back", "urge", R.NOT_RESPONSIBLE_UNIT, unit="510104000000-housing"),
    row("registered", "urge", S.AWAITING_TRIAGE, unit=DESK_UNIT),
    row("settled", "urge", S.SETTLED),
    row("settled", "urge", S.SETTLED, unit=DESK_UNIT),
    row("settled", "urge", R.NOT_RESPONSIBLE_UNIT, unit=LABOUR[:11] + "1-labour"),
    row("closed", "urge", R.CASE_CLOSED),
    row("handled", "order", S.HANDLING, clause="5.1.1f"),
    row("ordered", "order", R.ALREADY_ORDERED),
    row("closed", "order", R.CASE_CLOSED),
    # holds and erasure
    row("registered", "hold", S.AWAITING_TRIAGE),
    row("closed", "hold", S.CLOSED),
    row("closed and held", "hold", R.HELD),
    row("registered", "hold", R.IMPORT_AT_REGISTRATION, hold="import"),
    row("imported", "hold", R.IMPORT_AT_REGISTRATION, hold="import"),
    row("imported", "hold", S.AWAITING_TRIAGE),
    row("imported", "release", S.AWAITING_TRIAGE, hold="import"),
    row("closed and held", "request-release", S.CLOSED, by=LI),
    row("closed and held, release requested", "request-release", R.REQUESTED_ALREADY),
    row("closed", "request-release", R.NOT_HELD),
    row("imported", "request-release", R.NOT_HELD),
    row("closed and held, release requested", "release", S.CLOSED),
    row("closed and held, release requested", "release", R.SECOND_PERSON_NEEDED, by=LI),
    row("closed and held, release requested", "release", R.NOT_REQUESTED, requested_by=WANG),
    row("closed and held", "release", R.NOT_REQUESTED),
    row("closed and held", "release", R.NOT_REQUESTED, requested_by=None),
    row("closed and held, release request ended", "release", R.NOT_REQUESTED),
    row("closed and held, release requested", "end-release-request", S.CLOSED),
    row("closed and held, release requested", "end-release-request", S.CLOSED, by=LI),
    row("closed and held, release request ended", "request-release", S.CLOSED),
    row("closed and held", "end-release-request", R.NOT_REQUESTED),
    row("closed", "release", R.NOT_HELD),
    row("imported", "release", R.NOT_HELD),
    row("closed", "request-erasure", S.CLOSED, at=ERASABLE, clause="9.4b"),
    row("declined", "request-erasure", S.DECLINED, at=ERASABLE, clause="9.4b"),
    row("withdrawn", "request-erasure", S.WITHDRAWN, at=ERASABLE, clause="9.4b"),
    row("merged", "request-erasure", S.MERGED, at=ERASABLE, clause="9.4b"),
    row("split", "request-erasure", S.SPLIT, at=ERASABLE, clause="9.4b"),
    row("settled", "request-erasure", R.WRONG_STATUS, at=ERASABLE, clause="9.4b"),
    row("closed", "request-erasure", R.KEPT_LONGER, clause="9.4b"),
    row("closed", "request-erasure", R.KEPT_LONGER, at=ERASABLE - A_MOMENT, clause="9.4b"),
    row("closed anew", "request-erasure", R.KEPT_LONGER, at=ERASABLE + timedelta(days=1), clause="9.4b"),
    row("closed and held", "request-erasure", R.HELD, at=ERASABLE, clause="9.4b"),
    row("closed for ever", "request-erasure", R.KEPT_FOR_EVER, at=ERASABLE, retention="permanent", clause="9.4b"),
    row("closed", "request-erasure", R.RETENTION_DIFFERS, at=ERASABLE, retention="months_3", clause="9.4b"),
    row("closed, erasure requested", "request-erasure", R.REQUESTED_ALREADY, at=ERASABLE, by=WANG, clause="9.4b"),
    row("closed, erasure requested", "end-erasure-request", S.CLOSED, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested", "end-erasure-request", S.CLOSED, at=ERASABLE, by=LI, clause="9.4b"),
    row("closed", "end-erasure-request", R.NOT_REQUESTED, clause="9.4b"),
    row("closed, erasure request ended", "request-erasure", S.CLOSED, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested", "erase", S.CLOSED, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested", "erase", R.SECOND_PERSON_NEEDED, at=ERASABLE, by=LI, clause="9.4b"),
    row("closed, erasure requested", "erase", R.NOT_REQUESTED, at=ERASABLE, requested_by=WANG, clause="9.4b"),
    row("closed, erasure requested", "erase", R.KEPT_LONGER, at=ERASABLE - A_MOMENT, clause="9.4b"),
    row("closed, erasure requested", "erase", R.RETENTION_DIFFERS, at=ERASABLE, retention="months_3", clause="9.4b"),
    row("closed", "erase", R.NOT_REQUESTED, at=ERASABLE, clause="9.4b"),
    row("closed", "erase", R.NOT_REQUESTED, at=ERASABLE, requested_by=None, clause="9.4b"),
    row("closed", "erase", R.KEPT_LONGER, clause="9.4b"),
    row("closed, erasure request ended", "erase", R.NOT_REQUESTED, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested, then held", "erase", R.HELD, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested, then held and released", "erase", R.NOT_REQUESTED, at=ERASABLE, clause="9.4b"),
    row("closed, erasure requested, then reopened", "erase", R.WRONG_STATUS, at=ERASABLE, clause="9.4b"),
    row("closed anew", "erase", R.KEPT_LONGER, at=ERASABLE, clause="9.4b"),
    row("merged, erasure requested, unmerged, closed", "erase", R.NOT_REQUESTED, at=ERASABLE_ANEW, clause="9.4b"),
    row("settled", "erase", R.WRONG_STATUS, at=ERASABLE, clause="9.4b"),
    row("closed and held", "erase", R.HELD, at=ERASABLE, clause="9.4b"),
    row("closed for ever", "erase", R.KEPT_FOR_EVER, at=ERASABLE, retention="permanent", clause="9.4b"),
    row("erased", "erase", R.ERASED, at=ERASABLE, clause="9.4b"),
    row("erased", "hold", R.ERASED, clause="9.4b"),
)


@lines(TABLE)
def test_supervision_decides(line: Row) -> None:
    check_row(line)


@pytest.mark.clause("11.2")
def test_an_escalation_changes_the_centre_in_charge_and_leaves_the_unit_at_work() -> None:
    state = after(given("handled"), ask("escalate"))
    assert (state.in_charge, state.unit, state.person, state.status) == (COUNTY, HOUSING, LI, S.HANDLING)


@pytest.mark.clause("5.1.1b")
def test_what_is_done_to_one_clock_leaves_the_others_as_they_were() -> None:
    before = given("co-clocked")
    for name in ("request-extension", "extend", "request-pause", "suspend"):
        now = after(before, ask(name, **CO_CLOCK))
        assert (now.clocks[0], now.clocks[1]) == (before.clocks[0], now.clock(Stage.CO_HANDLE, WATER))
        assert now.clocks[1] != before.clocks[1]


def test_an_extension_moves_the_warning_along_and_arms_the_clock_anew() -> None:
    before = given("overdue")
    now = after(before, ask("extend"))
    old, new = before.clocks[0], now.clocks[0]
    assert new.deadline.due == LATER
    assert new.deadline.warn_at - old.deadline.warn_at == LATER - DUE
    assert (new.warned, new.overdue, new.extensions) == (False, False, 1)
    assert new.set_by != old.set_by
    assert now.late == before.late, "granting time does not undo that it was late"


@pytest.mark.clause("5.1.1b")
def test_a_co_handling_clock_that_outlives_another_fires_no_second_time() -> None:
    late = ask("declare-overdue", stage="co_handle", unit=LABOUR)
    end_of_water = ask("set-deadlines", closes=["co_handle"], opens=_CO_CLOCKS[1:])
    ends = ask("co-report", unit=WATER)
    state = after(given("co-handled twice"), ask("set-deadlines", opens=_CO_CLOCKS), late, ends, end_of_water)
    assert [clock.deadline.unit for clock in state.clocks] == [LABOUR]
    assert refused(state, late) is R.ALREADY_FIRED


@pytest.mark.parametrize("due", [START, START - A_MOMENT])
def test_a_clock_that_ends_before_it_starts_cannot_even_be_named(due: datetime) -> None:
    with pytest.raises(ValidationError, match="due must lie after start"):
        deadline(due=due)


def test_a_clock_without_a_moment_to_warn_never_warns() -> None:
    silent = deadline().model_copy(update={"warn_at": None})
    state = after(given("handled"), ask("set-deadlines", opens=[silent]))
    assert refused(state, ask("warn", seen_at=DUE)) is R.NOT_YET_DUE


def test_an_imported_case_lives_by_the_clock_of_its_file_until_it_is_released() -> None:
    state = given("clocked, imported")
    assert refused(state, ask("declare-overdue")) is R.HELD
    assert after(state, ask("release", hold="import"), ask("declare-overdue")).late


@pytest.mark.parametrize("situation", ["settled, clocked", "clocked", "overdue"])
def test_no_clock_runs_on_a_case_that_has_ended(situation: str) -> None:
    state = given(situation)
    first = (ask("settle"),) if state.status is S.HANDLING else ()
    assert after(state, *first, ask("close")).clocks == ()


def test_time_is_what_the_command_says() -> None:
    """Deadlines are judged by what was seen when, never by a clock of the law's own."""
    early, late = (accepted(given("clocked"), ask("declare-overdue", at=at)) for at in (START, LATER))
    assert early.event == late.event
