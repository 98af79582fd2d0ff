"""What supervision wants, as decision tables: clocks follow stages, what fires when a moment comes, rung after rung.

Everything that it wants goes through the law here, as it does in the service.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.supervision import policy
from services.supervision.deadlines.reckoning import resumption
from services.supervision.policy import moments
from shared.case.base import Address, Recorded
from shared.case.facts import Stage
from shared.case.reasons import Reason, Rejected
from shared.kit.effects import CommandRequest, Timer
from shared.reference.documents import DocumentKind
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from tests.support.law import (
    ANSWER,
    CITY,
    CO,
    HOUSING,
    LABOUR,
    LATER,
    LI,
    ORDER_WHERE,
    START,
    TOWNSHIP,
    WATER,
    WHERE,
    Ask,
    accepted,
    ask,
    given,
    then,
)  # fmt: skip
from tests.support.policy_life import CHAIN, HOUR, LIBRARY, PROVINCE, Life, document, law, library, limit, rung

TRIAGE, SIGN, HANDLE, FEEDBACK, REPORT = ((one, None) for one in (
    Stage.TRIAGE, Stage.SIGN, Stage.HANDLE, Stage.FEEDBACK, Stage.REPORT
))  # fmt: skip
WATERS, LABOURS = (Stage.CO_HANDLE, WATER), (Stage.CO_HANDLE, LABOUR)
REGISTERED = (ask("register"),)
ASSIGNED = (*REGISTERED, ask("triage"), ask("assign", **CO))
HANDLING = (*ASSIGNED, ask("sign-for"))
SETTLED = (*HANDLING, ask("co-report"), ask("settle"))
MAJOR = ask("register", severity="major")

STAGES: tuple[tuple[str, tuple[Ask, ...], set[Any]], ...] = (
    ("registered", REGISTERED, {TRIAGE}),
    ("major", (MAJOR,), {TRIAGE, REPORT}),
    ("major, escalated", (MAJOR, ask("escalate")), {TRIAGE}),
    ("found to be major", (*REGISTERED, ask("correct", severity="extreme")), {TRIAGE, REPORT}),
    ("triaged", (*REGISTERED, ask("triage")), {TRIAGE}),
    ("assigned", ASSIGNED, {SIGN, WATERS}),
    ("signed for", HANDLING, {HANDLE, WATERS}),
    ("another co-handler", (*HANDLING, ask("assign", co_units=(WATER, LABOUR))), {HANDLE, WATERS, LABOURS}),
    ("co-handler reported", (*HANDLING, ask("co-report")), {HANDLE}),
    ("co-handler taken off", (*HANDLING, ask("end-co-handling")), {HANDLE}),
    ("handed back", (*ASSIGNED, ask("hand-back")), {TRIAGE}),
    ("transferred", (*HANDLING, ask("transfer")), {TRIAGE}),
    ("settled", SETTLED, {FEEDBACK}),
    ("answered on the spot", (ask("register", **ANSWER),), {FEEDBACK}),
    ("sent back", (*SETTLED, ask("send-back")), {HANDLE, WATERS}),
    ("closed", (*SETTLED, ask("close")), set()),
    ("reopened", (*SETTLED, ask("close"), ask("reopen")), {TRIAGE}),
    ("declined", (*REGISTERED, ask("decline")), set()),
    ("under import", (ask("register", hold="import"), ask("triage")), set()),
    ("released", (ask("register", hold="import"), ask("release", hold="import")), {TRIAGE}),
)  # fmt: skip


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(("asked", "running"), [pytest.param(*row[1:], id=row[0]) for row in STAGES])
def test_each_stage_that_runs_has_its_clock_and_none_that_is_over(asked: tuple[Ask, ...], running: set[Any]) -> None:
    life = Life(*asked)
    assert life.running == running
    assert life.refused == []


def test_a_stage_that_begins_anew_has_a_new_clock_and_one_that_goes_on_keeps_its_own() -> None:
    life = Life(*HANDLING)
    before, waters = life.clock(Stage.HANDLE), life.state.clock(*WATERS)
    life.ask(ask("assign", co_units=(WATER, LABOUR), at=START + HOUR))
    assert (life.clock(Stage.HANDLE), life.state.clock(*WATERS)) == (before, waters)
    for one in (ask("co-report"), ask("co-report", unit=LABOUR), ask("settle"), ask("send-back", at=START + HOUR)):
        life.ask(one)
    assert life.clock(Stage.HANDLE).deadline.start == START + HOUR


@pytest.mark.clause("5.1.3a")
def test_what_ended_late_before_anybody_saw_it_is_declared_before_its_clock_is_closed() -> None:
    life = Life(*ASSIGNED)
    signed_at = life.clock(Stage.SIGN).deadline.due + HOUR
    life.ask(ask("sign-for", at=signed_at))
    assert life.names[-3:] == ["signed_for", "overdue", "deadlines_set"]
    assert (life.late.stage, life.late.ended_at, life.late.next_at) == (Stage.SIGN, signed_at, None)
    assert life.state.overdue_count == 1
    assert life.running == {HANDLE, WATERS}


def test_what_is_closed_late_is_declared_though_no_clock_is_set_any_more() -> None:
    life = Life(*SETTLED)
    life.ask(ask("close", at=life.clock(Stage.FEEDBACK).deadline.due + HOUR))
    assert life.names[-2:] == ["closed", "overdue"]
    assert life.late.stage is Stage.FEEDBACK


@pytest.mark.clause("5.1.3a")
def test_work_stamped_in_time_that_arrives_late_takes_the_overdue_back() -> None:
    life = Life(*ASSIGNED)
    due = life.clock(Stage.SIGN).deadline.due
    life.fire("overdue", Stage.SIGN, due + HOUR)
    assert life.state.overdue_count == 1
    life.ask(ask("sign-for", at=due - HOUR))
    assert "overdue_annulled" in life.names
    assert (life.state.late, life.state.overdue_count, life.running) == ((), 0, {HANDLE, WATERS})


def test_a_correction_gives_the_limit_of_what_the_case_is_about() -> None:
    life = Life(*REGISTERED)
    assert life.clock(Stage.TRIAGE).deadline.amount == 1
    life.ask(ask("correct", severity="larger"))
    new = life.clock(Stage.TRIAGE).deadline
    assert (new.amount, new.base, new.start, new.due) == (2, "hours", START, START + 2 * HOUR)
    life.ask(ask("correct", severity="larger"))
    assert life.names[-1] == "corrected", "the same limit is not set twice"


# The limits of handling in hours by nature; a matter, a severity and a law of their own are stricter.
HOURLY = (
    limit("triage", 1),
    *(
        limit("handle", amount, "hours", when=when, id=f"handle-{amount}", warn=1, pauses=["hearing"], extend_max=20,
              extend_by="desk")
        for amount, when in (
            (6, {"severity": ["extreme"]}), (7, {"subject": ["0101"]}), (8, {"nature": ["consultation"]}),
            (10, {"nature": ["dispute"]}), (12, {"nature": ["help"]}),
        )
    ),
)  # fmt: skip
HALF_A_MINUTE = timedelta(seconds=30)


def moved(*requests: Ask) -> Life:
    """A case in handling under a limit of 10 hours, after these commands."""
    return Life(*HANDLING, ask("co-report"), *requests, documents=library(limits=HOURLY))


def resumed(life: Life, at: datetime) -> Ask:
    continued = resumption(life.clock(Stage.HANDLE), at, life.library.calendar(TOWNSHIP))
    return Ask("resume", continued, at=at)


def paused(life: Life) -> Life:
    """The case after a pause of half a minute."""
    life.ask(ask("suspend", at=START + HOUR))
    life.ask(resumed(life, START + HOUR + HALF_A_MINUTE))
    return life


@pytest.mark.parametrize(
    ("correction", "hours"),
    [
        ({"nature": "consultation", "severity": None}, 8),
        ({"subject": "010101", "severity": None}, 7),
        ({"severity": "extreme"}, 6),
        ({"nature": "help", "severity": None}, 10),  # laxer: the moved limit holds
    ],
)
def test_a_correction_puts_a_paused_clock_under_the_stricter_limit_less_the_time_used(
    correction: dict[str, Any], hours: int
) -> None:
    life = paused(moved())
    life.ask(ask("correct", at=START + 2 * HOUR, **correction))
    deadline = life.clock(Stage.HANDLE).deadline
    assert (deadline.amount, deadline.due) == (hours, START + hours * HOUR + HALF_A_MINUTE)
    assert deadline.warn_at == deadline.due - HOUR
    assert life.refused == []


def test_a_correction_in_the_middle_of_a_pause_holds_when_the_clock_goes_on() -> None:
    life = moved(ask("suspend", at=START + HOUR), ask("correct", at=START + HOUR, nature="consultation", severity=None))
    clock = life.clock(Stage.HANDLE)
    assert (clock.suspended, clock.pauses, clock.deadline.due) == (True, 1, START + 8 * HOUR)
    life.ask(resumed(life, START + 3 * HOUR))
    assert life.clock(Stage.HANDLE).deadline.due == START + 10 * HOUR, "two hours of it stood still"


def test_an_extension_under_a_general_limit_does_not_outlive_the_law_s_own() -> None:
    life = moved(ask("extend", due=START + 20 * HOUR))
    life.ask(ask("correct", at=START + HOUR, nature="help", severity=None))
    clock = life.clock(Stage.HANDLE)
    assert (clock.deadline.amount, clock.deadline.due, clock.extensions) == (12, START + 12 * HOUR, 0)
    life.ask(ask("extend", due=START + 14 * HOUR))
    assert life.clock(Stage.HANDLE).deadline.due == START + 14 * HOUR, "the law's own limit may be extended"


def test_a_moved_clock_that_held_is_put_under_the_law_once_it_is_the_later_one() -> None:
    life = paused(moved())
    life.ask(ask("correct", at=START + 2 * HOUR, nature="help", severity=None))
    life.ask(ask("extend", due=START + 25 * HOUR, at=START + 2 * HOUR))
    deadline = life.clock(Stage.HANDLE).deadline
    assert (deadline.amount, deadline.due) == (12, START + 12 * HOUR + HALF_A_MINUTE)


def test_a_custom_limit_that_a_pause_moved_behind_the_law_gives_way_to_it() -> None:
    """Custom: 60 hours, law: 2 calendar days. A pause within one day moves the hours and not the days."""
    law_row = limit("handle", 2, "calendar_days", when={"nature": ["dispute"]}, basis={"mark": "L", "text": "the law"},
                    pauses=["hearing"])  # fmt: skip
    custom = limit("handle", 60, "hours", when={"nature": ["dispute"]}, pauses=["hearing"])
    life = Life(*HANDLING, ask("co-report"), documents=library(limits=(limit("triage", 1), custom, law_row)))
    assert life.clock(Stage.HANDLE).deadline.base == "hours"
    life.ask(ask("suspend", at=START))
    life.ask(resumed(life, START + 7 * HOUR))
    deadline = life.clock(Stage.HANDLE).deadline
    assert (deadline.base, deadline.due) == ("calendar_days", START + 63 * HOUR), "24:00 of the second day"


def test_the_clocks_of_several_co_handlers_are_put_under_the_stricter_limit_each_once() -> None:
    rows = [limit("triage", 1), limit("handle", 50), *(
        limit("co_handle", amount, "hours", when=when, pauses=["hearing"], id=f"co-{amount}")
        for amount, when in ((10, {"nature": ["dispute"]}), (8, {"nature": ["consultation"]}))
    )]  # fmt: skip
    life = Life(*REGISTERED, ask("triage"), ask("assign", co_units=(WATER, LABOUR)), documents=library(limits=rows))
    for unit in (WATER, LABOUR):
        life.ask(ask("suspend", stage="co_handle", unit=unit))
    correction = ask("correct", nature="consultation", severity=None)
    life.ask(correction)
    dues = [clock.deadline.due for clock in life.state.clocks if clock.deadline.stage is Stage.CO_HANDLE]
    assert dues == [START + 8 * HOUR] * 2
    recorded = next(recorded for recorded in reversed(life.history) if recorded.type == "case.corrected")
    assert policy.hold_the_stricter(recorded, life.state, life.library) == [], "a repetition asks for nothing"


def test_commands_for_several_clocks_of_one_case_have_different_ids() -> None:
    rows = [limit("triage", 1), *(
        limit("co_handle", amount, "hours", when=when, pauses=["hearing"], id=f"co-{amount}")
        for amount, when in ((10, {"nature": ["dispute"]}), (8, {"nature": ["consultation"]}))
    )]  # fmt: skip
    life = Life(*REGISTERED, ask("triage"), ask("assign", co_units=(WATER, LABOUR)), documents=library(limits=rows))
    for unit in (WATER, LABOUR):
        life.ask(ask("suspend", stage="co_handle", unit=unit))
    corrected = accepted(life.state, ask("correct", nature="consultation", severity=None))
    requests = policy.hold_the_stricter(corrected, then(life.state, corrected), life.library)
    assert len({request.what for request in requests}) == 2


def test_a_correction_takes_no_lateness_back() -> None:
    life = Life(*REGISTERED)
    due = life.clock(Stage.TRIAGE).deadline.due
    life.ask(ask("correct", severity="larger", at=due + HOUR))
    assert life.refused == [Reason.LATE_UNSEEN]
    assert life.clock(Stage.TRIAGE).deadline.due == due


def test_without_a_limit_there_is_no_clock() -> None:
    assert Life(*REGISTERED, documents=library(limits=[limit("handle", 5)])).running == set()


@pytest.mark.clause("11.1")
def test_a_report_upward_is_timed_where_a_limit_says_so() -> None:
    accidents = library(limits=[limit("report", 1, "hours", when={"subject": ["0101"]})])
    assert Life(ask("register", subject="010101"), documents=accidents).running == {REPORT}
    assert Life(MAJOR, documents=accidents).running == set()


# What fires


def due_of(life: Life) -> list[tuple[datetime, str]]:
    return [(due.at, due.what) for due in sorted(moments(WHERE.subject, life.state), key=lambda due: due.key)]


def test_a_clock_is_warned_of_then_overdue_then_on_the_first_rung_each_once() -> None:
    life = Life(*HANDLING, ask("co-report"))
    deadline = life.clock(Stage.HANDLE).deadline
    assert deadline.warn_at is not None
    assert due_of(life) == [(deadline.warn_at, "warn"), (deadline.due, "overdue")]
    assert len(life.fire("warn", Stage.HANDLE, deadline.warn_at)) == 1
    assert life.fire("warn", Stage.HANDLE, deadline.warn_at) == ()
    seen_at = deadline.due + 7 * HOUR
    (declared,) = life.fire("overdue", Stage.HANDLE, seen_at)
    told = declared.facts
    assert (told.due, told.seen_at) == (deadline.due, seen_at), "when it was due, when seen"
    assert due_of(life) == [(deadline.due, "rung")], "an outage skips no rung"


def test_a_moment_of_a_clock_that_is_gone_wants_nothing() -> None:
    life = Life(*HANDLING)
    for what in ("warn", "overdue", "rung", "resume"):
        assert life.fire(what, Stage.SIGN, LATER) == ()
    assert life.fire("rung", Stage.HANDLE, LATER) == (), "nothing is late"
    assert life.fire("resume", Stage.HANDLE, LATER) == (), "nothing stands still any more"


def test_a_pause_that_runs_out_goes_on_with_what_was_left() -> None:
    life = Life(*HANDLING)
    before = life.clock(Stage.HANDLE).deadline
    until = START + timedelta(days=2)
    life.ask(ask("suspend", until=until))
    assert (until, "resume") in due_of(life)
    life.fire("resume", Stage.HANDLE, until + HOUR)
    after = life.clock(Stage.HANDLE).deadline
    assert (after.due - before.due, life.clock(Stage.HANDLE).suspended) == (timedelta(days=2), False)


def test_an_extension_while_it_stands_still_leaves_the_pause_its_length() -> None:
    life = Life(*HANDLING)
    life.ask(ask("suspend", until=START + timedelta(days=1)))
    life.ask(ask("extend", at=START + 20 * HOUR, due=LATER))
    life.fire("resume", Stage.HANDLE, START + timedelta(days=1))
    assert life.clock(Stage.HANDLE).deadline.due == datetime(2026, 3, 13, 16, tzinfo=UTC), "the end of one day later"


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("what", ["warn", "overdue"])
def test_nothing_fires_by_an_old_calendar(what: str) -> None:
    life = Life(*HANDLING)
    before = life.clock(Stage.HANDLE).deadline
    life.library = library()
    life.library.put(document(DocumentKind.CALENDARS, 99, {"year": "2026", "holidays": ["2026-03-04", "2026-03-05"]}))
    (wanted,) = life.fire(what, Stage.HANDLE, before.due + HOUR)
    assert wanted.name == "recompute-deadline"
    after = life.clock(Stage.HANDLE).deadline
    assert after.calendar_reference == f"calendars:{NATION}@99"
    assert after.due == before.due + timedelta(days=2)
    assert life.state.late == ()
    assert wanted.facts.why == f"calendar {before.calendar_reference} -> {after.calendar_reference}"


def test_a_new_calendar_that_says_the_same_holds_nothing_up() -> None:
    life = Life(*HANDLING)
    life.library = library()
    life.library.put(document(DocumentKind.CALENDARS, 99, {"year": "2026", "holidays": ["2026-12-31"]}))
    *_, wanted = life.fire("overdue", Stage.HANDLE, life.clock(Stage.HANDLE).deadline.due + HOUR)
    assert wanted.name == "declare-overdue"


def test_what_an_agenda_that_is_behind_says_of_a_moved_deadline_is_left_until_it_knows() -> None:
    """Asked for under the old cause, the second warning would have the id of the first, and never come."""
    life = Life(*HANDLING, ask("co-report"))
    before = life.clock(Stage.HANDLE).deadline
    assert before.warn_at is not None
    told = tuple(moments(WHERE.subject, life.state))
    life.fire("warn", Stage.HANDLE, before.warn_at)
    life.ask(ask("extend", at=before.warn_at + HOUR, due=before.due + timedelta(days=1)))
    after = life.clock(Stage.HANDLE).deadline
    assert {one.what for one in told} == {"warn", "overdue"}
    for stale in told:
        assert policy.fire(WHERE, life.state, stale, after.due + HOUR, life.library) == ()
    assert after.warn_at is not None
    assert due_of(life) == [(after.warn_at, "warn"), (after.due, "overdue")]


def test_an_order_that_nobody_answers_is_overdue() -> None:
    order = given("issued")
    (due,) = moments(ORDER_WHERE.subject, order)
    (wanted,) = policy.fire(ORDER_WHERE, order, due, LATER, LIBRARY)
    assert isinstance(law(order, wanted, LATER), Recorded)
    nobody = given("no order")
    assert policy.fire(ORDER_WHERE, nobody, Timer(LATER, ORDER_WHERE.subject, "order"), LATER, LIBRARY) == ()


# The ladder


def late_at(stage: Stage, *requests: Ask, documents: ReferenceData = LIBRARY) -> Life:
    """A case whose stage is late, and nobody has done anything about it."""
    life = Life(*requests, documents=documents)
    life.fire("overdue", stage, life.clock(stage).deadline.due + HOUR)
    return life


@pytest.mark.clause("11.2")
@pytest.mark.clause("5.1.3a")
def test_the_ladder_reminds_urges_orders_and_climbs_level_by_level_to_the_province() -> None:
    life = late_at(Stage.HANDLE, *HANDLING, ask("co-report"))
    due = life.late.due
    rungs: list[tuple[str, float, Any]] = []
    for number in range(20):
        at = life.late.next_at
        if at is None:
            break
        (wanted,) = life.fire("rung", Stage.HANDLE, at)
        assert life.late.rung == number + 1, life.refused
        rungs.append((wanted.name, (at - due) / HOUR, wanted.facts))
        life.fire("rung", Stage.HANDLE, at)
        assert life.late.rung == number + 1, "no rung is taken twice, and none early"
    assert [(name, hours) for name, hours, _ in rungs] == [
        ("urge", 0), ("urge", 1), ("issue-order", 2), ("escalate", 4), ("escalate", 8), ("escalate", 12),
    ]  # fmt: skip
    remind, urge, order, *up = (told for *_, told in rungs)
    assert (remind.person, remind.informs) == (LI, (LI, HOUSING))
    assert (urge.person, urge.informs) == (None, (HOUSING, f"{TOWNSHIP}-centre"))
    assert order.due == due + 5 * HOUR
    assert (order.kind, order.unit, order.cases) == (
        "on_site",
        HOUSING,
        (WHERE.subject,),
    )
    for below, above, told in zip(CHAIN[:-1], CHAIN[1:], up, strict=True):
        assert told.to == above
        assert told.informs == (f"party of {below}", f"government of {below}", f"{above}-centre")
        assert told.acts == "who must escalate"
    assert (life.state.in_charge, life.late.next_at, len(life.state.orders)) == (PROVINCE, None, 1)


def climb(life: Life, now: datetime, outages: dict[int, datetime] | None = None) -> list[tuple[datetime, str]]:
    """Fire each rung when it is due, those in `outages` not before the moment there; the moments and commands."""
    taken = []
    for number in range(20):
        if life.late.next_at is None:
            break
        now = max(now, life.late.next_at, (outages or {}).get(number, now))
        (wanted,) = life.fire("rung", Stage.HANDLE, now)
        assert life.fire("rung", Stage.HANDLE, now) == (), "never more than one rung at once"
        taken.append((now, wanted.name))
    return taken


@pytest.mark.clause("11.2")
def test_after_an_outage_each_rung_waits_its_own_interval_from_the_one_that_was_announced() -> None:
    """Ten days without the ticker: nobody is escalated before they had the time that the ladder gives them."""
    life = Life(*HANDLING, ask("co-report"))
    seen_at = life.clock(Stage.HANDLE).deadline.due + timedelta(days=10)
    life.fire("warn", Stage.HANDLE, seen_at)
    life.fire("overdue", Stage.HANDLE, seen_at)
    taken = climb(life, seen_at)
    assert [((moment - seen_at) / HOUR, name) for moment, name in taken] == [
        (0, "urge"), (1, "urge"), (2, "issue-order"), (4, "escalate"), (8, "escalate"), (12, "escalate"),
    ]  # fmt: skip


@pytest.mark.clause("11.2")
def test_an_outage_in_the_middle_of_the_ladder_delays_what_follows_by_as_much() -> None:
    life = Life(*HANDLING, ask("co-report"))
    due = life.clock(Stage.HANDLE).deadline.due
    life.fire("overdue", Stage.HANDLE, due + timedelta(seconds=1))
    taken = climb(life, due + timedelta(seconds=1), {2: due + 100 * HOUR})
    hours = [round((moment - due) / HOUR, 3) for moment, _ in taken]
    assert hours == [0.0, 1.0, 100.0, 102.0, 106.0, 110.0]


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_a_ticker_that_is_in_time_delays_no_rung(seconds: int) -> None:
    life = Life(*HANDLING, ask("co-report"))
    due, lag = life.clock(Stage.HANDLE).deadline.due, timedelta(seconds=seconds)
    life.fire("overdue", Stage.HANDLE, due + timedelta(seconds=max(seconds, 1)))
    moments_due = []
    while life.late.next_at is not None:
        moments_due.append((life.late.next_at - due) / HOUR)
        life.fire("rung", Stage.HANDLE, life.late.next_at + lag)
    assert moments_due == [0, 1, 2, 4, 8, 12]


def test_rungs_in_days_off_are_a_day_apart_and_not_all_on_the_next_working_day() -> None:
    """Due on a Friday: the rungs of one and of two calendar days would both come on Monday."""
    ladder = [rung(f"r{days}", days, "urge", base="calendar_days") for days in (0, 1, 2)]
    life = Life(*HANDLING, ask("co-report"), documents=library(ladders=ladder, limits=[limit("handle", 4)]))
    due = life.clock(Stage.HANDLE).deadline.due
    life.fire("overdue", Stage.HANDLE, due + timedelta(seconds=1))
    days = [(moment - due) / timedelta(days=1) for moment, _ in climb(life, due + timedelta(seconds=1))]
    assert [round(day) for day in days] == [0, 3, 4]


def test_what_an_outage_delayed_says_so() -> None:
    life = Life(*HANDLING, ask("co-report"))
    due = life.clock(Stage.HANDLE).deadline.due
    life.fire("overdue", Stage.HANDLE, due + 5 * HOUR)
    (wanted,) = life.fire("rung", Stage.HANDLE, due + 5 * HOUR)
    assert "迟于应发时刻" in wanted.facts.note.text
    assert life.late.next_at is not None
    (wanted,) = life.fire("rung", Stage.HANDLE, life.late.next_at)
    assert "迟于应发时刻" not in wanted.facts.note.text


def test_what_waits_at_a_centre_is_that_centre_s_to_do() -> None:
    life = late_at(Stage.TRIAGE, *REGISTERED)
    assert life.late.next_at is not None
    (wanted,) = life.fire("rung", Stage.TRIAGE, life.late.next_at)
    assert (wanted.facts.unit, wanted.facts.person) == (f"{TOWNSHIP}-centre", None)
    assert life.late.rung == 1


def test_a_co_handling_unit_answers_for_its_own_lateness() -> None:
    life = Life(*HANDLING, ask("sign-for", unit=WATER, person="wang.fang"))
    clock = life.state.clock(*WATERS)
    assert clock is not None
    life.fire("overdue", Stage.CO_HANDLE, clock.deadline.due + HOUR, WATER)
    (wanted,) = life.fire("rung", Stage.CO_HANDLE, clock.deadline.due + HOUR, WATER)
    assert (wanted.facts.unit, wanted.facts.person) == (WATER, "wang.fang")
    assert (life.late.unit, life.late.rung) == (WATER, 1)


def test_a_ladder_that_orders_at_the_province_has_a_log_for_the_order() -> None:
    ladder = (rung("up", 0, "escalate", every=0), rung("order", 1, "order", order_kind="listed", answer=1))
    life = late_at(Stage.TRIAGE, *REGISTERED, ask("escalate", to=CITY), documents=library(ladders=ladder))
    for _ in range(2):
        assert life.late.next_at is not None
        (wanted,) = life.fire("rung", Stage.TRIAGE, life.late.next_at)
    assert life.state.in_charge == PROVINCE
    assert (wanted.address.kind, wanted.address.region) == ("order", CITY)
    assert life.state.orders == (wanted.address.id,)


def test_a_ladder_that_only_climbs_stops_at_the_top() -> None:
    life = late_at(
        Stage.TRIAGE, *REGISTERED, ask("escalate", to=PROVINCE), documents=library(ladders=(rung("up", 0, "escalate"),))
    )
    assert life.late.next_at is not None
    (wanted,) = life.fire("rung", Stage.TRIAGE, life.late.next_at)
    assert wanted.name == "urge", "nobody is above: who has it is urged"
    assert life.late.next_at is None


def test_a_rung_whose_document_vanished_urges_and_ends() -> None:
    life = late_at(Stage.HANDLE, *HANDLING, ask("co-report"))
    life.library = library(ladders=())
    assert life.late.next_at is not None
    (wanted,) = life.fire("rung", Stage.HANDLE, life.late.next_at)
    assert (wanted.name, wanted.facts.acts, wanted.facts.next_at) == ("urge", "", None)
    assert life.late.rung == 1
    assert life.late.next_at is None


def test_without_a_ladder_an_overdue_stands_alone() -> None:
    life = late_at(Stage.HANDLE, *HANDLING, ask("co-report"), documents=library(ladders=()))
    assert (life.late.next_at, due_of(life)) == (None, [])


def test_who_does_the_work_is_climbed_over_no_more() -> None:
    life = late_at(Stage.HANDLE, *HANDLING, ask("co-report"))
    moment = life.late.next_at
    assert moment is not None
    life.ask(ask("settle", at=moment + HOUR))
    assert life.fire("rung", Stage.HANDLE, moment + HOUR) == ()
    assert life.late.ended_at == moment + HOUR, "it stays late, and its ladder is over"


@pytest.mark.clause("11.2")
def test_what_is_to_come_is_what_comes() -> None:
    life = late_at(Stage.HANDLE, *HANDLING, ask("co-report"))
    ahead = [
        (number, row.act, at) for number, row, at in policy.rungs_ahead(LIBRARY, life.state, life.clock(Stage.HANDLE))
    ]
    acts = {"urge": ("remind", "urge"), "issue-order": ("order",), "escalate": ("escalate",)}
    for number, act, at in ahead:
        assert (life.late.rung, life.late.next_at) == (number, at)
        (wanted,) = life.fire("rung", Stage.HANDLE, at)
        assert act in acts[wanted.name]
    assert (len(ahead), life.late.next_at) == (6, None)


@pytest.mark.clause("5.1.1f")
def test_every_case_of_an_order_is_told_and_one_that_refuses_is_noted() -> None:
    order = given("issued")
    issued = law(given("no order"), CommandRequest(ORDER_WHERE, "issue-order", ask("issue-order").command.facts), START)
    assert isinstance(issued, Recorded)
    (ordered,) = policy.tell_the_cases(issued, order, LIBRARY)
    assert (ordered.address, ordered.name) == (WHERE, "order")
    refused = law(given("closed"), ordered, START)
    assert isinstance(refused, Rejected)
    (noted,) = policy.note_refusal(issued, ordered, refused)
    recorded = law(order, noted, START)
    assert isinstance(recorded, Recorded)
    assert then(order, recorded).refused_by == (WHERE.subject,)
    assert Address.parse(order.cases[0]) == WHERE


def test_each_stage_has_a_name_for_people() -> None:
    assert set(policy.STAGE_NAMES) == set(Stage)
