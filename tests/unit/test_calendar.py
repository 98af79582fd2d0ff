"""When a limit is over, by decision tables: days off as they were published, the Civil Code, summer time, pauses."""

from __future__ import annotations

import resource
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.case.calendar import Calendar, before, reckon, resume
from shared.case.facts import Ends, TimeBase
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION

CHINA = ReferenceData(demo_documents()).calendar(NATION)  # 2004 to 2026, office from 9 to 12 and from 13 to 17
DAYS, WORKING, HOURS = TimeBase.CALENDAR_DAYS, TimeBase.WORKING_DAYS, TimeBase.HOURS


def at(text: str, calendar: Calendar = CHINA) -> datetime:
    """A moment by the wall clock of the calendar."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(calendar.zone)).astimezone(UTC)


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("start", "amount", "base", "last", "due"),
    [
        # National Day and Mid-Autumn 2025: off from 1 to 8 October, worked on Sunday 28 September, Saturday 11 October
        ("2025-09-26 10:00", 5, WORKING, "2025-10-10", "2025-10-11 00:00"),
        ("2025-09-26 10:00", 6, WORKING, "2025-10-11", "2025-10-12 00:00"),
        ("2025-09-27 10:00", 1, WORKING, "2025-09-28", "2025-09-29 00:00"),  # from a day off to a make-up day
        ("2025-09-26 10:00", 5, DAYS, "2025-10-01", "2025-10-10 00:00"),  # moves on over eight days off
        ("2025-09-26 10:00", 15, DAYS, "2025-10-11", "2025-10-12 00:00"),  # a make-up Saturday is no day off
        # Spring Festival 2026: off from 15 to 23 February, worked on the Saturdays 14 and 28
        ("2026-02-12 17:00", 5, WORKING, "2026-02-26", "2026-02-27 00:00"),
        ("2026-02-12 17:00", 7, WORKING, "2026-02-28", "2026-03-01 00:00"),
        ("2026-02-12 17:00", 3, DAYS, "2026-02-15", "2026-02-25 00:00"),
        # Spring Festival 2020 was prolonged to 2 February
        ("2020-01-23 09:00", 1, WORKING, "2020-02-03", "2020-02-04 00:00"),
        # the ends of months, the leap day, the turn of a year
        ("2026-01-31 09:00", 30, DAYS, "2026-03-02", "2026-03-03 00:00"),
        ("2024-01-31 09:00", 29, DAYS, "2024-02-29", "2024-03-01 00:00"),
        ("2024-02-28 09:00", 1, WORKING, "2024-02-29", "2024-03-01 00:00"),
        ("2023-02-28 09:00", 1, DAYS, "2023-03-01", "2023-03-02 00:00"),
        ("2025-12-31 09:00", 1, DAYS, "2026-01-01", "2026-01-05 00:00"),  # off to Saturday the 3rd, the 4th is made up
        ("2025-12-31 09:00", 1, WORKING, "2026-01-04", "2026-01-05 00:00"),
        # 2027 is not published: New Year is off, Spring Festival (6 February) is not known yet
        ("2026-12-31 09:00", 1, DAYS, "2027-01-01", "2027-01-05 00:00"),
        ("2027-02-05 09:00", 3, WORKING, "2027-02-10", "2027-02-11 00:00"),
        ("2027-04-30 09:00", 1, WORKING, "2027-05-03", "2027-05-04 00:00"),
        ("2027-09-30 09:00", 1, WORKING, "2027-10-04", "2027-10-05 00:00"),
    ],
)
def test_days_off_and_made_up(start: str, amount: int, base: TimeBase, last: str, due: str) -> None:
    got = reckon(at(start), amount, base, CHINA)
    assert (got.last_day, got.due) == (date.fromisoformat(last), at(due))


@pytest.mark.clause("Civil Code 201")
@pytest.mark.clause("Civil Code 203")
@pytest.mark.parametrize(
    ("start", "amount", "base", "ends", "due"),
    [
        # 201: the first day does not count, whatever the hour; hours count from the hour
        ("2026-11-02 00:00", 3, DAYS, Ends.DAY, "2026-11-06 00:00"),
        ("2026-11-02 23:59", 3, DAYS, Ends.DAY, "2026-11-06 00:00"),
        ("2026-11-03 00:00", 3, DAYS, Ends.DAY, "2026-11-07 00:00"),
        ("2026-11-06 16:30", 24, HOURS, Ends.DAY, "2026-11-07 16:30"),  # also on a Saturday
        ("2026-11-06 16:30", 24, HOURS, Ends.CLOCK, "2026-11-07 16:30"),
        # 203: the last day, if it is off, is the next one that is not; it ends at 24:00, or when the office closes
        ("2026-11-04 10:00", 3, DAYS, Ends.DAY, "2026-11-10 00:00"),
        ("2026-11-04 10:00", 3, DAYS, Ends.OFFICE, "2026-11-09 17:00"),
        ("2026-11-04 10:00", 3, DAYS, Ends.CLOCK, "2026-11-09 10:00"),
        ("2026-11-04 10:00", 3, WORKING, Ends.OFFICE, "2026-11-09 17:00"),
        ("2026-11-04 19:00", 1, WORKING, Ends.OFFICE, "2026-11-05 17:00"),
        # office hours: over noon, over a weekend, from before it opens, from a day off, to the minute it closes
        ("2026-11-05 11:00", 2, HOURS, Ends.OFFICE, "2026-11-05 14:00"),
        ("2026-11-06 16:00", 4, HOURS, Ends.OFFICE, "2026-11-09 12:00"),
        ("2026-11-06 07:15", 1, HOURS, Ends.OFFICE, "2026-11-06 10:00"),
        ("2026-11-07 20:00", 8, HOURS, Ends.OFFICE, "2026-11-10 10:00"),
        ("2026-11-06 10:00", 6, HOURS, Ends.OFFICE, "2026-11-06 17:00"),
        ("2026-11-06 17:00", 1, HOURS, Ends.OFFICE, "2026-11-09 10:00"),
        ("2025-09-28 16:00", 2, HOURS, Ends.OFFICE, "2025-09-29 10:00"),  # a make-up Sunday has office hours
    ],
)
def test_the_civil_code_and_the_office(start: str, amount: int, base: TimeBase, ends: Ends, due: str) -> None:
    assert reckon(at(start), amount, base, CHINA, ends).due == at(due)


def test_no_amount_is_the_rest_of_the_day_and_never_in_the_past() -> None:
    evening = at("2026-11-05 19:00")
    assert reckon(at("2026-11-07 19:00"), 0, WORKING, CHINA).due == at("2026-11-10 00:00")  # a Saturday moves on
    assert reckon(evening, 0, WORKING, CHINA).due == at("2026-11-06 00:00")
    assert reckon(evening, 0, WORKING, CHINA, Ends.OFFICE).due == evening
    assert reckon(evening, 0, HOURS, CHINA).due == evening
    assert reckon(evening, 0, HOURS, CHINA, Ends.OFFICE).due == at("2026-11-06 09:00")


def test_a_last_day_that_does_not_move_on() -> None:
    assert reckon(at("2026-11-04 10:00"), 3, DAYS, CHINA, moves_on=False).due == at("2026-11-08 00:00")


def test_an_office_without_hours_is_always_open() -> None:
    calendar = replace(CHINA, offices=())
    assert reckon(at("2026-11-06 16:00"), 4, HOURS, calendar, Ends.OFFICE).due == at("2026-11-06 20:00")
    assert reckon(at("2026-11-05 16:00"), 1, DAYS, calendar, Ends.OFFICE).due == at("2026-11-07 00:00")


SAO_PAULO = Calendar(zone="America/Sao_Paulo", published=frozenset(range(2004, 2031)))
AMSTERDAM = replace(SAO_PAULO, zone="Europe/Amsterdam")


@pytest.mark.parametrize(
    ("calendar", "start", "amount", "base", "ends", "due"),
    [
        # 4 November 2018 began at 01:00 in Sao Paulo; on 17 February 2018 the hour before midnight came twice
        (SAO_PAULO, "2018-11-02 10:00", 1, DAYS, Ends.DAY, "2018-11-04T03:00Z"),
        (SAO_PAULO, "2018-02-16 10:00", 1, DAYS, Ends.DAY, "2018-02-18T03:00Z"),
        (SAO_PAULO, "2018-11-03 10:00", 1, DAYS, Ends.CLOCK, "2018-11-04T12:00Z"),
        (SAO_PAULO, "2018-11-03 10:00", 24, HOURS, Ends.DAY, "2018-11-04T13:00Z"),
        # 29 March 2026 has no half past two in Amsterdam; 25 October 2026 has two
        (AMSTERDAM, "2026-03-28 02:30", 1, DAYS, Ends.CLOCK, "2026-03-29T01:30Z"),
        (AMSTERDAM, "2026-03-28 02:30", 1, DAYS, Ends.DAY, "2026-03-29T22:00Z"),
        (AMSTERDAM, "2026-10-24 02:30", 1, DAYS, Ends.CLOCK, "2026-10-25T00:30Z"),
        (AMSTERDAM, "2026-10-24 02:30", 25, HOURS, Ends.DAY, "2026-10-25T01:30Z"),
    ],
)
def test_summer_time(calendar: Calendar, start: str, amount: int, base: TimeBase, ends: Ends, due: str) -> None:
    got = reckon(at(start, calendar), amount, base, calendar, ends, moves_on=False)
    assert got.due == datetime.fromisoformat(due)


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("start", "amount", "base", "ends", "stopped", "goes_on", "due"),
    [
        # Monday 2 November, 5 working days: due Monday the 9th, 24:00. The 4th is used, three days are left.
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-04 09:00", "2026-11-04 18:00", "2026-11-10 00:00"),
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-04 09:00", "2026-11-05 08:00", "2026-11-11 00:00"),
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-04 09:00", "2026-11-06 08:00", "2026-11-12 00:00"),
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-06 18:00", "2026-11-08 08:00", "2026-11-10 00:00"),
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-09 18:00", "2026-11-12 08:00", "2026-11-13 00:00"),
        ("2026-11-02 10:00", 5, WORKING, Ends.DAY, "2026-11-10 00:00", "2026-11-12 08:00", "2026-11-10 00:00"),  # late
        # 3 days from the 4th: the last is Saturday the 7th, and moves on; stopped on the 5th, two are left
        ("2026-11-04 10:00", 3, DAYS, Ends.DAY, "2026-11-05 10:00", "2026-11-06 10:00", "2026-11-10 00:00"),
        ("2026-11-04 10:00", 3, DAYS, Ends.DAY, "2026-11-05 10:00", "2026-11-08 10:00", "2026-11-11 00:00"),
        ("2026-11-04 10:00", 3, DAYS, Ends.DAY, "2026-11-08 10:00", "2026-11-10 10:00", "2026-11-11 00:00"),
        ("2026-11-04 10:00", 3, DAYS, Ends.OFFICE, "2026-11-07 10:00", "2026-11-10 20:00", "2026-11-11 17:00"),
        ("2026-11-04 10:00", 1, WORKING, Ends.CLOCK, "2026-11-05 09:00", "2026-11-09 08:00", "2026-11-09 10:00"),
        ("2026-11-04 10:00", 1, WORKING, Ends.CLOCK, "2026-11-05 09:00", "2026-11-09 11:00", "2026-11-10 10:00"),
        # over National Day 2026 (1 to 7 October; the 10th is worked)
        ("2026-09-28 10:00", 5, WORKING, Ends.DAY, "2026-09-30 10:00", "2026-10-08 10:00", "2026-10-13 00:00"),
        # hours: exactly what was left goes on
        ("2026-11-06 16:00", 4, HOURS, Ends.DAY, "2026-11-06 17:30", "2026-11-06 18:00", "2026-11-06 20:30"),
        ("2026-11-06 16:00", 4, HOURS, Ends.OFFICE, "2026-11-06 16:30", "2026-11-07 12:00", "2026-11-09 13:30"),
        ("2026-11-06 16:00", 4, HOURS, Ends.OFFICE, "2026-11-07 08:00", "2026-11-08 08:00", "2026-11-09 12:00"),
    ],
)
def test_a_pause(start: str, amount: int, base: TimeBase, ends: Ends, stopped: str, goes_on: str, due: str) -> None:
    limit = reckon(at(start), amount, base, CHINA, ends)
    assert resume(limit.due, limit.last_day, at(stopped), at(goes_on), base, CHINA, ends).due == at(due)


def test_a_named_due_moment_stands_still_too() -> None:
    named, stopped = at("2026-11-12 00:00"), at("2026-11-10 12:00")
    got = resume(named, None, stopped, at("2026-11-13 12:00"), WORKING, CHINA)
    assert (got.due, got.last_day) == (at("2026-11-17 00:00"), date(2026, 11, 16))


@pytest.mark.parametrize(
    ("named", "base", "ends", "stopped", "goes_on", "due"),
    [
        # Whoever named an hour meant it: a pause within a day, at noon or over a weekend takes none of it away
        ("2026-11-12 10:00", DAYS, Ends.DAY, "2026-11-11 09:00", "2026-11-11 18:00", "2026-11-12 10:00"),
        ("2026-11-09 20:00", WORKING, Ends.OFFICE, "2026-11-06 09:00", "2026-11-07 18:00", "2026-11-09 20:00"),
        ("2026-11-12 20:00", HOURS, Ends.OFFICE, "2026-11-12 12:10", "2026-11-12 12:20", "2026-11-12 20:00"),
        ("2026-11-12 00:00", DAYS, Ends.CLOCK, "2026-11-09 09:00", "2026-11-10 09:00", "2026-11-13 00:00"),
        ("2026-11-12 00:00", DAYS, Ends.DAY, "2026-11-09 09:00", "2026-11-10 09:00", "2026-11-13 00:00"),
    ],
)
def test_a_named_hour_and_a_pause(named: str, base: TimeBase, ends: Ends, stopped: str, goes_on: str, due: str) -> None:
    assert resume(at(named), None, at(stopped), at(goes_on), base, CHINA, ends).due == at(due)


def test_the_second_of_two_equal_hours() -> None:
    """It began at the second half past two of an October night; the hour that March skips is read as any other."""
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    skipped = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert reckon(second, 154, DAYS, AMSTERDAM, Ends.CLOCK, moves_on=False).due == skipped
    assert before(datetime(2027, 10, 31, 1, 30, tzinfo=UTC), 217, DAYS, AMSTERDAM, Ends.CLOCK) == skipped


@pytest.mark.parametrize(
    ("due", "amount", "base", "ends", "warn"),
    [
        ("2026-11-10 00:00", 1, WORKING, Ends.DAY, "2026-11-09 00:00"),
        ("2026-11-10 00:00", 2, WORKING, Ends.DAY, "2026-11-06 00:00"),
        ("2026-11-10 00:00", 2, DAYS, Ends.DAY, "2026-11-08 00:00"),
        ("2026-11-09 17:00", 1, WORKING, Ends.OFFICE, "2026-11-06 17:00"),
        ("2026-11-09 10:00", 1, WORKING, Ends.CLOCK, "2026-11-06 10:00"),
        ("2025-10-11 00:00", 3, WORKING, Ends.DAY, "2025-09-30 00:00"),
        ("2026-01-07 00:00", 5, WORKING, Ends.DAY, "2025-12-30 00:00"),  # 30, 31, Sunday the 4th is made up, 5, 6
        ("2026-11-09 10:00", 4, HOURS, Ends.DAY, "2026-11-09 06:00"),
        ("2026-11-09 10:00", 4, HOURS, Ends.OFFICE, "2026-11-06 14:00"),
        ("2026-11-09 10:00", 0, HOURS, Ends.OFFICE, "2026-11-09 10:00"),
    ],
)
def test_the_moment_to_warn(due: str, amount: int, base: TimeBase, ends: Ends, warn: str) -> None:
    assert before(at(due), amount, base, CHINA, ends) == at(warn)


def test_why_a_day_is_off() -> None:
    said = {
        "2026-10-01": "holiday",
        "2026-10-03": "holiday",  # a Saturday
        "2026-10-10": None,  # a Saturday that is worked
        "2026-10-11": "weekend",
        "2027-10-01": "holiday (provisional)",
        "2027-10-09": "weekend (provisional)",
        "2027-10-11": None,
    }
    assert {day: CHINA.day_off(date.fromisoformat(day)) for day in said} == said
    assert not CHINA.provisional(date(2026, 12, 31))
    assert CHINA.provisional(date(2027, 10, 11))


def test_the_explanation_of_a_working_week_over_national_day() -> None:
    calendar = replace(CHINA, references={2025: "calendars:000000000000@17"})
    steps = reckon(at("2025-09-26 10:00"), 6, WORKING, calendar).steps
    assert [(step.what, step.day_from, step.day_to) for step in steps] == [
        ("start", "2025-09-26T10:00:00+08:00", "2025-09-26T10:00:00+08:00"),
        ("skip", "2025-09-27", "2025-09-27"),
        ("count", "2025-09-28", "2025-09-30"),
        ("skip", "2025-10-01", "2025-10-08"),
        ("count", "2025-10-09", "2025-10-11"),
        ("end", "2025-10-12T00:00:00+08:00", "2025-10-12T00:00:00+08:00"),
    ]
    assert steps[2].why == "3 working days, 2025-09-28 is made up; calendars:000000000000@17"
    assert steps[3].why == "holiday; calendars:000000000000@17"


def test_the_explanation_says_what_is_provisional_and_what_moved_on() -> None:
    limit = reckon(at("2026-12-25 10:00"), 7, DAYS, replace(CHINA, references={}))
    assert [(step.what, step.why) for step in limit.steps[1:]] == [
        ("count", "7 calendar days; provisional: 2027 is not published"),
        (
            "move",
            "the last day is off: holiday (provisional), weekend (provisional) (Civil Code, article 203); "
            "provisional: 2027 is not published",
        ),
        ("end", "24:00 of the last day (Civil Code, article 203)"),
    ]
    after = resume(limit.due, limit.last_day, at("2026-12-28 10:00"), at("2026-12-30 10:00"), DAYS, CHINA)
    assert [step.what for step in after.steps] == ["pause", "count", "move", "end"]


def test_the_explanation_of_office_hours() -> None:
    limit = reckon(at("2026-11-06 16:00"), 4, HOURS, CHINA, Ends.OFFICE)
    assert [(step.what, step.why) for step in limit.steps] == [
        ("count", "1:00:00 of office hours"),
        ("count", "3:00:00 of office hours"),
        ("end", "hours count while the office is open"),
    ]
    later = resume(limit.due, None, at("2026-11-06 16:30"), at("2026-11-09 09:00"), HOURS, CHINA, Ends.OFFICE)
    assert [step.what for step in later.steps] == ["pause", "count", "count", "end"]


def test_what_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="has no offset"):
        reckon(datetime(2026, 1, 1), 1, DAYS, CHINA)
    with pytest.raises(ValueError, match="not negative"):
        reckon(at("2026-01-01 00:00"), -1, DAYS, CHINA)


def test_calendars_that_say_the_same_are_equal() -> None:
    other = replace(CHINA, published=frozenset(CHINA.published))
    reckon(at("2026-01-05 00:00"), 300, WORKING, other)  # what it has worked out does not count
    assert other == CHINA
    assert hash(other) == hash(CHINA)
    assert replace(CHINA, makeup=frozenset()) != CHINA


def test_two_thousand_limits_take_no_time() -> None:
    """A guard against counting day by day: a limit takes some microseconds, even one of ten years."""
    start, loops = at("2010-01-04 09:00"), 2_000
    begin = _processor_s()
    for n in range(loops):
        reckon(start + timedelta(hours=n), 2_500, WORKING, CHINA)
    assert (_processor_s() - begin) / loops < 200e-6


def _processor_s() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime
