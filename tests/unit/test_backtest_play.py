"""Cases of a file lived by the law and the ticker: what is declared, at which instant, and why the file may differ."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.backtest.comparison import EXPLANATIONS, UNEXPLAINED, CaseComparison, DifferenceReason, Timeliness
from infra.backtest.mapping import BacktestMapping
from tests.support.backtest import LOG, TABLE, lived, played

pytestmark = pytest.mark.slow

HEAD = "id,start,end,due"
DAY = {"amount": 1, "base": "calendar_days"}
LATE, IN_TIME, NOTHING = Timeliness.LATE, Timeliness.IN_TIME, Timeliness.NOTHING
INSTANT = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.clause("5.1.3a")
def test_late_and_in_time_to_the_microsecond(tmp_path: Path) -> None:
    rows = [
        "early,2024-03-01 10:00,2024-03-04 11:59,2024-03-04 12:00",
        "equal,2024-03-01 10:00,2024-03-04 12:00,2024-03-04 12:00",
        "late,2024-03-01 10:00,2024-03-04 12:00:00.000001,2024-03-04 12:00",
        "open,2024-03-01 10:00,,2024-03-04 12:00",
        "running,2024-03-01 10:00,,2024-03-09 12:00",
        "none,2024-03-01 10:00,2024-03-05 12:00,",
    ]
    found, report = lived(tmp_path, TABLE, [HEAD, *rows], warn=DAY)
    assert {id: (one.declared, one.stated) for id, one in found.items()} == {
        "early": (IN_TIME, IN_TIME),
        "equal": (IN_TIME, IN_TIME),
        "late": (LATE, LATE),
        "open": (LATE, LATE),
        "running": (IN_TIME, IN_TIME),
        "none": (NOTHING, NOTHING),
    }
    due = at("2024-03-04T12:00+01:00")
    assert found["late"].played.overdue == found["open"].played.overdue == ((due, due + INSTANT),)
    warned = at("2024-03-03T12:00+01:00") + INSTANT
    assert [found[id].played.warned for id in ("early", "late", "running")] == [(warned,), (warned,), ()]
    assert (report.warned, report.overdue, report.open_late, report.deadlines) == (4, 2, 1, 5)
    assert report.good


def test_why_the_file_says_something_else(tmp_path: Path) -> None:
    rows = {
        "missing,2024-03-01 10:00,2024-03-04 12:00,,yes": DifferenceReason.DUE_MISSING,
        "before,2024-03-01 10:00,2024-03-04 12:00,2024-02-01,yes": DifferenceReason.DUE_BEFORE_CASE,
        "equal,2024-03-01 10:00,2024-03-04 12:00,2024-03-04 12:00,yes": DifferenceReason.END_IS_DUE,
        "second,2024-03-01 10:00,2024-03-04 12:00:00.4,2024-03-04 12:00,no": DifferenceReason.WITHIN_A_SECOND,
        "day,2024-03-01 10:00,2024-03-04 17:00,2024-03-04 12:00,no": DifferenceReason.SAME_DAY,
        "midnight,2024-03-01 10:00,2024-03-04 17:00,2024-03-05 00:00,yes": DifferenceReason.SAME_DAY,
        "wrong,2024-03-01 10:00,2024-03-09 17:00,2024-03-04 12:00,no": DifferenceReason.CONTRADICTS_ITSELF,
        "open,2024-03-01 10:00,,2024-03-04 12:00,no": DifferenceReason.STILL_OPEN,
        "after,2024-03-01 10:00,2024-06-01 10:00,2024-05-01,yes": DifferenceReason.ENDS_LATER,
    }
    late = {"column": "late", "is": "yes"}
    found, report = lived(tmp_path, TABLE, [HEAD + ",late", *rows], late=late, until="2024-04-01")
    assert {id: one.why for id, one in found.items()} == {row.split(",")[0]: why for row, why in rows.items()}
    assert report.unexplained == 0
    assert set(EXPLANATIONS) == set(DifferenceReason)


def test_a_rule_that_the_mapping_does_not_state_is_unexplained(tmp_path: Path) -> None:
    found, report = lived(
        tmp_path, TABLE, ["id,start,end,late", "a,2024-03-01,2024-03-05,yes"], due=None,
        limits=[{"amount": 30, "base": "calendar_days"}], late={"column": "late", "is": "yes"},
    )  # fmt: skip
    assert found["a"].why is DifferenceReason.RULE_DIFFERS
    assert DifferenceReason.RULE_DIFFERS in UNEXPLAINED
    assert not report.good


def test_a_ticker_that_errs_is_found_out(tmp_path: Path) -> None:
    found, report = lived(tmp_path, TABLE, [HEAD, "a,2024-03-01 10:00,2024-03-09 10:00,2024-03-04"], warn=DAY)
    played, comparison = found["a"].played, CaseComparison(report.mapping, report.until)
    ((due, seen_at),) = played.overdue
    assert comparison.compare(played).why is None
    for wrong in (
        replace(played, overdue=()),
        replace(played, overdue=((due, seen_at), (due, seen_at))),
        replace(played, overdue=((due, seen_at + INSTANT),)),
        replace(played, overdue=((due, due),)),
        replace(played, warned=()),
        replace(played, warned=played.warned * 2),
        replace(played, deadline=None, dues=()),
    ):
        assert comparison.compare(wrong).why is DifferenceReason.TICKER
    assert comparison.compare(replace(played, refused=("settle: case.closed",))).why is DifferenceReason.REFUSED


def test_a_due_date_that_moves(tmp_path: Path) -> None:
    lines = [
        "id,act,time,due,end", "a,x,2024-03-01 10:00,2024-03-05 10:00,2024-03-20 10:00",
        "a,y,2024-03-10 10:00,2024-03-25 10:00,2024-03-20 10:00",
        "b,x,2024-03-01 10:00,2024-03-05 10:00,2024-03-20 10:00",
        "b,y,2024-03-02 10:00,2024-03-25 10:00,2024-03-20 10:00",
    ]  # fmt: skip
    found, _ = lived(tmp_path, LOG, lines, due="due", settled="end", warn=DAY)
    assert (found["a"].declared, found["a"].stated, found["a"].why) == (LATE, IN_TIME, DifferenceReason.DUE_MOVED)
    assert [due for due, _ in found["a"].played.overdue] == [at("2024-03-05T10:00+01:00")]
    assert (found["b"].declared, found["b"].stated, found["b"].why) == (IN_TIME, IN_TIME, None)
    assert found["b"].due == at("2024-03-25T10:00+01:00")


DAYS = {"base": "calendar_days"}
PAUSES = [{"stops": {"activity": "ask"}, "goes_on": {"activity": "papers"}, "cause": "papers"}]


@pytest.mark.parametrize(
    ("acts", "limit", "due", "ours"),
    [
        # five days, stopped on the second and going on eight days later: the day it goes on does not count
        (["x 03-01", "ask 03-03", "papers 03-11", "pay 03-15 00:00"], DAYS, "2024-03-15T00:00+01:00", IN_TIME),
        (["x 03-01", "ask 03-03", "papers 03-11", "pay 03-15 00:01"], DAYS, "2024-03-15T00:00+01:00", LATE),
        (["x 03-01", "ask 03-03", "pay 03-30"], DAYS, "2024-03-07T00:00+01:00", IN_TIME),  # it still stands
        (["x 03-01", "ask 03-09", "papers 03-11", "pay 03-30"], DAYS, "2024-03-07T00:00+01:00", LATE),  # too late
        (["x 03-01", "ask 03-03", "ask 03-05", "papers 03-11", "ask 03-12", "papers 03-20", "pay 03-30"],
         DAYS, "2024-03-23T00:00+01:00", LATE),
        (["x 03-31", "ask 03-31 03:00", "papers 03-31 04:00", "pay 04-01"],
         {"base": "hours"}, "2024-03-31T07:00+02:00", LATE),
    ],
)  # fmt: skip
def test_a_clock_that_stands_still(
    tmp_path: Path, acts: list[str], limit: dict[str, Any], due: str, ours: Timeliness
) -> None:
    lines = ["id,act,time", *(f"a,{act},2024-{at}" for act, _, at in (one.partition(" ") for one in acts))]
    found, report = lived(
        tmp_path, LOG, [*lines, "z,x,2024-05-01"], settled={"activity": "pay"}, limits=[{"amount": 5} | limit],
        pauses=PAUSES, until="2024-05-02",
    )  # fmt: skip
    assert (found["a"].due, found["a"].declared, found["a"].why) == (at(due), ours, None)
    assert report.unexplained == 0


SIXTY = {"amount": 60, "base": "calendar_days", "ends": "clock"}


@pytest.mark.parametrize(
    ("notified", "penalty"),
    [
        ("2024-02-15T00:00:00+01:00", "2024-04-15T00:00:00+02:00"),  # an hour less passes than sixty times 24
        ("2024-09-10T00:00:00+02:00", "2024-11-09T00:00:00+01:00"),  # an hour more
        ("2024-01-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00"),
        ("2024-01-31T02:30:00+01:00", "2024-03-31T03:30:00+02:00"),  # 02:30 is skipped on that day
    ],
)
def test_sixty_days_across_a_change_of_clock_time(tmp_path: Path, notified: str, penalty: str) -> None:
    lines = ["id,act,time", "a,fine,2024-01-01T00:00:00+01:00", f"a,notify,{notified}", f"a,penalty,{penalty}",
             "b,fine,2024-01-01T00:00:00+01:00", f"b,notify,{notified}", f"b,pay,{penalty}"]  # fmt: skip
    found, report = lived(
        tmp_path, LOG, lines, signed={"activity": "notify"}, settled={"activity": "pay"}, limits=[SIXTY],
        late={"activity": "penalty"}, until="2024-12-01",
    )  # fmt: skip
    assert found["a"].due == found["b"].due == at(penalty)
    assert (found["a"].declared, found["a"].stated) == (LATE, LATE)
    assert (found["b"].declared, found["b"].stated) == (IN_TIME, IN_TIME)  # paid at the very moment
    assert report.declared_by_file == {"the same moment": 1}


def test_a_file_that_counts_sixty_times_24_hours_is_told_by_its_clock_change(tmp_path: Path) -> None:
    row = "a,2024-02-15 00:00,2024-04-15 00:30,2024-04-15 01:00"  # 1,440 hours after the start
    found, report = lived(tmp_path, TABLE, [HEAD, row], limits=[SIXTY], late="dates")
    assert (found["a"].declared, found["a"].stated, found["a"].why) == (LATE, IN_TIME, DifferenceReason.CLOCK_CHANGE)
    assert report.dues == {"the same day": 1}


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("more", "row", "due"),
    [
        ({"base": "working_days", "calendar": "weekends"}, "2024-03-01 10:00", "2024-03-06T00:00+01:00"),
        ({"base": "working_days", "calendar": "weekends", "holidays": ["2024-03-04"]},
         "2024-03-01", "2024-03-07T00:00+01:00"),
        ({"base": "calendar_days", "calendar": "weekends"}, "2024-02-29 10:00", "2024-03-05T00:00+01:00"),  # moves on
        ({"base": "calendar_days"}, "2024-02-29 10:00", "2024-03-03T00:00+01:00"),
        ({"base": "hours"}, "2024-03-31 01:00", "2024-03-31T04:00+02:00"),  # hours that pass
        ({"base": "hours", "ends": "office", "calendar": "weekends", "office": ["09:00-12:00", "13:00-17:00"]},
         "2024-03-01 16:30", "2024-03-04T10:30+01:00"),
        ({"base": "working_days", "ends": "office", "calendar": "weekends", "office": ["09:00-17:00"]},
         "2024-03-01 10:00", "2024-03-05T17:00+01:00"),
        ({"base": "working_days", "calendar": "china"}, "2024-02-08 10:00", "2024-02-19T00:00+01:00"),
    ],
)  # fmt: skip
def test_limits_of_our_own(tmp_path: Path, more: dict[str, Any], row: str, due: str) -> None:
    """Two units each; China's Spring Festival of 2024 is off from February 10 to 17, with Sunday the 18th made up."""
    found, report = lived(
        tmp_path, TABLE, [HEAD, f"a,{row},2024-12-01,"], limits=[{"amount": 2} | more], late="nothing"
    )
    assert found["a"].due == at(due)
    assert (found["a"].declared, found["a"].stated) == (LATE, NOTHING)
    assert report.good


@pytest.mark.parametrize(
    ("stage", "moments", "end"),
    [
        ("triage", {"assigned": "end"}, "2024-03-05"),
        ("sign", {"assigned": "mid", "signed": "end"}, "2024-03-05"),
        ("feedback", {"settled": "mid", "closed": "end"}, "2024-03-05"),
    ],
)
def test_every_stage_can_be_judged(tmp_path: Path, stage: str, moments: dict[str, str], end: str) -> None:
    base = {key: value for key, value in TABLE.items() if key != "settled"}
    lines = ["id,start,mid,end,due", f"late,2024-03-01,2024-03-02,{end},2024-03-04",
             f"fine,2024-03-01,2024-03-02,{end},2024-03-05", "open,2024-03-01,2024-03-02,,2024-03-04"]  # fmt: skip
    found, _ = lived(tmp_path, base, lines, stage=stage, **moments)
    assert {id: one.declared for id, one in found.items()} == {"late": LATE, "fine": IN_TIME, "open": LATE}
    assert not any(one.why or one.played.refused for one in found.values())


def test_many_due_at_one_instant_and_until(tmp_path: Path) -> None:
    rows = [f"{n},2024-03-01,2024-03-{5 + n % 20:02d},2024-03-10" for n in range(520)]  # more than one batch
    found, report = lived(tmp_path, TABLE, [HEAD, *rows, "z,2024-05-01,,2024-05-02"], until="2024-04-01")
    assert report.overdue == sum(5 + n % 20 > 10 for n in range(520))
    assert (report.later, len(found), sum(report.why.values())) == (1, 520, 0)


def test_a_settled_case_is_not_held_until_its_closing(tmp_path: Path) -> None:
    rows = [f"{n},2024-03-01T{n % 24:02d}:{n % 60:02d},2024-03-02,2024-03-04,2029-01-01" for n in range(100)]
    later = [f"later {n},2024-04-01T{n % 24:02d}:{n % 60:02d},2024-04-02,2024-04-04,2029-01-01" for n in range(100)]
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["id,start,end,due,closed", *rows, *later, ""]), "utf-8")
    mapping = BacktestMapping.model_validate(TABLE | {"closed": "closed"})
    play, report = asyncio.run(played(file, mapping))
    assert (report.deadlines, report.good) == (200, True)
    assert play.held_count_max == 100, "the first hundred are over before the second begin"


MINUTES = st.integers(0, 60 * 24 * 40)
CASES = st.lists(st.tuples(MINUTES, st.none() | MINUTES, st.none() | MINUTES), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(cases=CASES, until=MINUTES)
def test_it_declares_what_two_times_say(cases: list[tuple[int, int | None, int | None]], until: int) -> None:
    """Whatever begins, ends and is due when, also in the wrong order: as the plain comparison of two times says."""
    start = datetime(2024, 3, 10, tzinfo=UTC)  # the clock changes on the way

    def shown(minutes: int | None) -> str:
        return "" if minutes is None else (start + timedelta(minutes=minutes)).isoformat()

    rows = [f"c{n},{shown(b)},{shown(e)},{shown(d)}" for n, (b, e, d) in enumerate(cases)]
    with TemporaryDirectory() as folder:
        found, report = lived(
            Path(folder), TABLE, [HEAD, *rows], until=shown(until), warn={"amount": 5, "base": "hours"}
        )
    expected = {}
    for n, (begin, end, due) in enumerate(cases):
        if begin <= until:
            over = until if end is None or end > until else max(begin, end)
            expected[f"c{n}"] = NOTHING if due is None or due <= begin else LATE if due < over else IN_TIME
    assert {id: one.declared for id, one in found.items()} == expected
    assert report.unexplained == 0
    assert all(one.why in (None, DifferenceReason.DUE_BEFORE_CASE) for one in found.values())


ACTS = st.dictionaries(st.integers(1, 4000), st.sampled_from(["ask", "papers", "ask", "papers", "pay"]), max_size=8)


def ran_out(acts: dict[int, str], left: int, end: int) -> bool:
    """Whether a clock of so many minutes runs out before the end, told minute by minute of what happens."""
    running, since = True, 0
    for at, act in sorted(acts.items()):
        if at >= end:
            break
        if running:
            if at - since >= left:
                break
            if act == "ask":
                running, left = False, left - (at - since)
        elif act == "papers":
            running, since = True, at
    return running and end - since > left


@settings(max_examples=25, deadline=None)
@given(cases=st.lists(ACTS, min_size=1, max_size=6), hours=st.integers(1, 50))
def test_what_stood_still_does_not_count(cases: list[dict[int, str]], hours: int) -> None:
    """Pauses in any number and order: as a clock that is stopped and started by hand."""
    start, until = datetime(2024, 3, 30, tzinfo=UTC), 5000
    lines, expected = ["id,act,time"], {}
    for n, acts in enumerate(cases):
        timed = {0: "x"} | acts
        lines += [f"c{n},{act},{(start + timedelta(minutes=at)).isoformat()}" for at, act in timed.items()]
        end = max((at for at, act in acts.items() if act == "pay"), default=until)
        expected[f"c{n}"] = LATE if ran_out(acts, 60 * hours, end) else IN_TIME
    with TemporaryDirectory() as folder:
        found, report = lived(
            Path(folder), LOG, lines, settled={"activity": "pay", "which": "last"}, pauses=PAUSES,
            limits=[{"amount": hours, "base": "hours"}], until=(start + timedelta(minutes=until)).isoformat(),
        )  # fmt: skip
    assert {id: one.declared for id, one in found.items()} == expected
    assert report.unexplained == 0
