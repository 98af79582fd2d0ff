"""Time limits are what a slow, obvious count says, in zones with and without summer time, from 2004 to 2030."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.case.calendar import Calendar, Office, before, reckon, resume
from shared.case.facts import Ends, TimeBase
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from tests.support import DEEP, slow_time

pytestmark = pytest.mark.slow

ZONES = ("Asia/Shanghai", "Europe/Amsterdam", "America/New_York", "America/Sao_Paulo", "UTC")
FIRST, LAST = datetime(2004, 1, 1, tzinfo=UTC), datetime(2030, 12, 31, tzinfo=UTC)
REAL = ReferenceData(demo_documents()).calendar(NATION)
MIDNIGHT = time(0)  # as an end: 24:00
DAYTIME = ((time(9), time(12)), (time(13), time(17)))
OFFICES = (
    (),
    DAYTIME,
    ((time(8, 30), time(12)), (time(13), time(17, 30))),
    ((time(6), time(22)),),
    ((time(8), MIDNIGHT),),
    ((MIDNIGHT, MIDNIGHT),),
    ((time(9), time(12)), (time(22), time(6))),
)
SUMMER = ((5, 1), (9, 30), ((time(8), time(12)), (time(15), time(18))))
WINTER = ((11, 15), (2, 29), ((time(9, 30), time(16)),))
# none; one that changes within the years and has seasons; nights that follow days
SEASONS: tuple[tuple[Office, ...], ...] = (
    (),
    (Office(2010, DAYTIME), Office(2016, DAYTIME, (SUMMER, WINTER)), Office(2024, ((time(20), time(4)),))),
    (Office(2026, ((MIDNIGHT, MIDNIGHT),), (WINTER,)),),
)
HOURS_MAX = 60 if DEEP else 24  # of limits: the slow count takes them minute by minute
quick = settings(max_examples=settings.default.max_examples * 2 if settings.default else 80)


def _changes(zone: str) -> list[datetime]:
    """The minutes at which summer time begins or ends, to the hour."""
    hours = (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days))
    offset = ZoneInfo(zone).utcoffset
    days = [
        day
        for day in hours
        if offset(day.replace(tzinfo=None)) != offset((day + timedelta(days=1)).replace(tzinfo=None))
    ]
    return days or [FIRST]


CHANGES = {zone: _changes(zone) for zone in ZONES}
DAYS = st.dates(FIRST.date(), LAST.date())
DAY_BASES = st.sampled_from((TimeBase.CALENDAR_DAYS, TimeBase.WORKING_DAYS))
ENDS = st.sampled_from(Ends)


@st.composite
def calendars(draw: st.DrawFn, start: datetime) -> Calendar:
    """The real one or one with odd days off around a moment, in any zone."""
    zone, office = draw(st.sampled_from(ZONES)), draw(st.sampled_from(OFFICES))
    offices = () if office else draw(st.sampled_from(SEASONS))
    if draw(st.booleans()):
        return replace(REAL, zone=zone, office=office, offices=offices)
    near = st.integers(-20, 60).map(lambda n: (start + timedelta(days=n)).date())
    holidays = draw(st.frozensets(near, max_size=20))
    weekend = draw(st.frozensets(near, max_size=8))
    makeup = frozenset(day for day in weekend if day.isoweekday() > 5) - holidays
    years = draw(st.frozensets(st.sampled_from((start.year, start.year + 1))))
    return Calendar(holidays, makeup, years, zone, office, offices=offices)


@st.composite
def starts(draw: st.DrawFn) -> datetime:
    """A moment to the minute: any, or one near a change of summer time or the turn of a year."""
    day = draw(
        st.one_of(
            st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)).map(
                lambda one: one.replace(tzinfo=UTC)
            ),
            st.sampled_from(sorted({day for days in CHANGES.values() for day in days})),
            st.integers(2004, 2030).map(lambda year: datetime(year, 12, 28, tzinfo=UTC)),
        )
    )
    moment = day.replace(second=0, microsecond=0) + timedelta(minutes=draw(st.integers(-3 * 1440, 3 * 1440)))
    return max(FIRST, moment)


@st.composite
def placed(draw: st.DrawFn) -> tuple[datetime, Calendar]:
    start = draw(starts())
    return start, draw(calendars(start))


@given(placed(), st.integers(1, 70), DAY_BASES, ENDS, st.booleans())
@quick
def test_days_are_those_of_a_walk(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends, moves_on: bool
) -> None:
    start, calendar = place
    got = reckon(start, amount, base, calendar, ends, moves_on)
    assert (got.due, got.last_day) == slow_time.reckon(start, amount, base, calendar, ends, moves_on)
    assert got.due.tzinfo is UTC


@given(placed(), st.integers(1, HOURS_MAX), ENDS)
def test_hours_are_those_of_a_walk(place: tuple[datetime, Calendar], amount: int, ends: Ends) -> None:
    start, calendar = place
    got = reckon(start, amount, TimeBase.HOURS, calendar, ends)
    assert got.due == slow_time.reckon(start, amount, TimeBase.HOURS, calendar, ends, True)[0]
    assert got.last_day is None


@given(placed(), st.integers(1, 30), DAY_BASES, ENDS, st.integers(0, 45 * 1440), st.integers(0, 40 * 1440))
@quick
def test_a_pause_of_days_is_what_a_walk_says(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends, used: int, paused: int
) -> None:
    start, calendar = place
    limit = reckon(start, amount, base, calendar, ends)
    stopped = start + timedelta(minutes=used)
    goes_on = stopped + timedelta(minutes=paused)
    got = resume(limit.due, limit.last_day, stopped, goes_on, base, calendar, ends)
    assert got.due == slow_time.resume(limit.due, limit.last_day, stopped, goes_on, base, calendar, ends)
    assert got.due >= limit.due
    assert got.due == limit.due or got.due > goes_on


@given(placed(), st.integers(1, HOURS_MAX), ENDS, st.floats(0, 1.1), st.integers(0, 6 * 1440))
def test_a_pause_of_hours_is_what_a_walk_says(
    place: tuple[datetime, Calendar], amount: int, ends: Ends, share: float, paused: int
) -> None:
    start, calendar = place
    due = reckon(start, amount, TimeBase.HOURS, calendar, ends).due
    stopped = start + timedelta(minutes=(due - start).total_seconds() * share // 60)
    goes_on = stopped + timedelta(minutes=paused)
    got = resume(due, None, stopped, goes_on, TimeBase.HOURS, calendar, ends)
    assert got.due == slow_time.resume(due, None, stopped, goes_on, TimeBase.HOURS, calendar, ends)


@given(placed(), st.integers(2, 40), DAY_BASES, ENDS, st.data())
@quick
def test_a_warning_comes_when_so_many_days_are_left(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends, data: st.DataObject
) -> None:
    start, calendar = place
    left = data.draw(st.integers(1, amount - 1), label="left")
    due = reckon(start, amount, base, calendar, ends).due
    warn = before(due, left, base, calendar, ends)
    assert warn == slow_time.before(due, left, base, calendar, ends)
    assert before(due, left + 1, base, calendar, ends) < warn < before(due, 0, base, calendar, ends) == due


@given(placed(), st.integers(2, HOURS_MAX), ENDS, st.data())
def test_a_warning_comes_when_so_many_hours_are_left(
    place: tuple[datetime, Calendar], amount: int, ends: Ends, data: st.DataObject
) -> None:
    start, calendar = place
    left = data.draw(st.integers(1, amount - 1), label="left")
    due = reckon(start, amount, TimeBase.HOURS, calendar, ends).due
    warn = before(due, left, TimeBase.HOURS, calendar, ends)
    assert warn == slow_time.before(due, left, TimeBase.HOURS, calendar, ends)
    assert start <= warn < due


@given(placed(), st.integers(0, 400), st.sampled_from(TimeBase), ENDS, st.booleans())
@quick
def test_a_longer_limit_is_never_over_sooner_and_none_before_it_began(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends, moves_on: bool
) -> None:
    start, calendar = place
    shorter = reckon(start, amount, base, calendar, ends, moves_on)
    longer = reckon(start, amount + 1, base, calendar, ends, moves_on)
    assert start <= shorter.due <= longer.due
    assert longer.due > start
    if base is not TimeBase.HOURS:
        assert calendar.is_working(calendar.moved_on(shorter.last_day or date.min))


@given(placed(), st.integers(1, 40), DAY_BASES, ENDS)
@quick
def test_the_explanation_names_every_day_once(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends
) -> None:
    start, calendar = place
    limit = reckon(start, amount, base, calendar, ends)
    first, *runs, end = limit.steps
    day, counted = calendar.local(start).date(), 0
    assert (first.what, end.what, end.day_to) == (
        "start",
        "end",
        calendar.local(limit.due).isoformat(timespec="seconds"),
    )
    for run in runs:
        if run.what == "move":  # begins with the last day itself
            assert (run.day_from, counted) == (day.isoformat(), amount)
            break
        assert run.day_from == (day + timedelta(days=1)).isoformat()
        last = date.fromisoformat(run.day_to)
        counted += (last - day).days if run.what == "count" else 0
        day = last
    assert (day, counted) == (limit.last_day, amount)


@given(placed(), st.integers(1, 20), DAY_BASES, ENDS, st.lists(st.integers(0, 5 * 1440), max_size=6))
def test_pauses_one_after_another_only_add_time(
    place: tuple[datetime, Calendar], amount: int, base: TimeBase, ends: Ends, waits: list[int]
) -> None:
    now, calendar = place
    limit = reckon(now, amount, base, calendar, ends)
    for used, paused in zip(waits[::2], waits[1::2], strict=False):
        stopped = now + timedelta(minutes=used)
        now = stopped + timedelta(minutes=paused)
        assume(stopped < limit.due)
        after = resume(limit.due, limit.last_day, stopped, now, base, calendar, ends)
        assert after.due >= limit.due
        assert after.last_day is not None
        assert limit.last_day is not None
        assert after.last_day >= limit.last_day
        limit = after


@pytest.mark.deep
@pytest.mark.parametrize("zone", ZONES)
def test_every_day_of_the_years(zone: str) -> None:
    calendar = replace(REAL, zone=zone)
    for day in range((LAST - FIRST).days):
        for minute in (0, 6 * 60 + 59, 23 * 60 + 30):
            start = FIRST + timedelta(days=day, minutes=minute)
            for amount, base in ((1, TimeBase.WORKING_DAYS), (5, TimeBase.WORKING_DAYS), (30, TimeBase.CALENDAR_DAYS)):
                got = reckon(start, amount, base, calendar)
                assert (got.due, got.last_day) == slow_time.reckon(start, amount, base, calendar, Ends.DAY, True)
