"""The oracle of shared/case/calendar.py: time limits counted day by day and minute by minute.

Its only knowledge of a time zone is the wall clock at a given minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from shared.case.calendar import Calendar
from shared.case.facts import Ends, TimeBase

DAY, MINUTE, HOUR = timedelta(days=1), timedelta(minutes=1), timedelta(hours=1)
WIDEST = timedelta(hours=16)  # no zone is further from Greenwich


def works(calendar: Calendar, day: date) -> bool:
    """Whether the day is a working day."""
    fixed = [(1, 1), (5, 1), (5, 2), (10, 1), (10, 2), (10, 3)]
    if day.year not in calendar.published and (day.month, day.day) in fixed:
        return False
    if day in calendar.makeup:
        return True
    return day not in calendar.holidays and day.isoweekday() not in (6, 7)


def open_now(calendar: Calendar, moment: datetime) -> bool:
    """Whether the office is open in the minute that begins at `moment`."""
    shown = moment.astimezone(ZoneInfo(calendar.zone))
    today, yesterday, clock = shown.date(), shown.date() - DAY, shown.time()
    if works(calendar, today):
        for opens, closes in hours_of(calendar, today):
            if opens <= clock and (clock < closes or closes <= opens):
                return True
    if works(calendar, yesterday):
        return any(closes <= opens and clock < closes for opens, closes in hours_of(calendar, yesterday))
    return False


def hours_of(calendar: Calendar, day: date) -> tuple[tuple[time, time], ...]:
    """The opening hours of a day; an end that is no later than its opening is one of the day after."""
    if calendar.office or not calendar.offices:
        return calendar.office
    office = calendar.offices[0]
    for later in calendar.offices[1:]:
        if later.since <= day.year:
            office = later
    for (first_month, first_day), (last_month, last_day), hours in office.seasons:
        turn, at = (first_month, first_day) > (last_month, last_day), day.month * 100 + day.day
        begun, ended = at >= first_month * 100 + first_day, at > last_month * 100 + last_day
        if (begun or not ended) if turn else (begun and not ended):
            return hours
    return office.hours


def no_hours(calendar: Calendar) -> bool:
    """Whether no opening hours are stated."""
    return not calendar.office and not calendar.offices


def minutes(start: datetime, step: timedelta = MINUTE) -> Iterator[datetime]:
    """The moments from `start` on, `step` apart, without end."""
    while True:
        yield start
        start += step


@lru_cache(maxsize=200_000)
def day_begins(zone: str, day: date) -> datetime:
    """The first minute of a day, even where its midnight does not exist."""
    around = datetime.combine(day, time.min, UTC) - WIDEST
    return next(m for m in minutes(around) if m.astimezone(ZoneInfo(zone)).date() >= day)


def shows(zone: str, day: date, clock: time) -> datetime:
    """The first minute at which the wall clock shows `clock`; where it skips that, as long after the noon before."""
    begins, ends = day_begins(zone, day), day_begins(zone, day + DAY)
    for moment in minutes(begins):
        if moment >= ends:
            noon = shows(zone, day - DAY, time(12))
            return noon + (datetime.combine(day, clock) - datetime.combine(day - DAY, time(12)))
        shown = moment.astimezone(ZoneInfo(zone))
        if (shown.hour, shown.minute) == (clock.hour, clock.minute):
            return moment
    raise AssertionError


def counter(base: TimeBase, calendar: Calendar) -> Callable[[date], bool]:
    """A test for the days that count."""
    return (lambda day: works(calendar, day)) if base is TimeBase.WORKING_DAYS else (lambda day: True)


def last_after(day: date, amount: int, base: TimeBase, calendar: Calendar) -> date:
    """The day on which `amount` days have been counted; `day` itself does not count."""
    counts = counter(base, calendar)
    while amount:
        day += DAY
        amount -= counts(day)
    return day


def over(last: date, clock: time, calendar: Calendar, ends: Ends, moves_on: bool = True) -> datetime:
    """The end of a limit with this last day."""
    while moves_on and not works(calendar, last):
        last += DAY
    if ends is Ends.CLOCK:
        return shows(calendar.zone, last, clock)
    if ends is Ends.OFFICE and (hours := hours_of(calendar, last)):
        opens, closes = hours[-1]
        return shows(calendar.zone, last if opens < closes else last + DAY, closes)
    return day_begins(calendar.zone, last + DAY)


def count_minutes(start: datetime, amount: int, calendar: Calendar, ends: Ends) -> datetime:
    """The end of `amount` minutes; of office hours when the limit `ends` with the office."""
    for moment in minutes(start):
        if not amount:
            return moment
        amount -= ends is not Ends.OFFICE or no_hours(calendar) or open_now(calendar, moment)
    raise AssertionError


def reckon(
    start: datetime, amount: int, base: TimeBase, calendar: Calendar, ends: Ends, moves_on: bool
) -> tuple[datetime, date | None]:
    """The due moment and the last day counted, for an amount above zero."""
    if base is TimeBase.HOURS:
        return count_minutes(start, amount * 60, calendar, ends), None
    shown = start.astimezone(ZoneInfo(calendar.zone))
    last = last_after(shown.date(), amount, base, calendar)
    return over(last, shown.time(), calendar, ends, moves_on), last


def resume(
    due: datetime,
    last: date | None,
    stopped: datetime,
    goes_on: datetime,
    base: TimeBase,
    calendar: Calendar,
    ends: Ends,
) -> datetime:
    """The due moment of a clock that stood still from `stopped` to `goes_on`."""
    zone = ZoneInfo(calendar.zone)
    if stopped >= due:
        return due
    if last is None:
        left = sum(
            ends is not Ends.OFFICE or no_hours(calendar) or open_now(calendar, stopped + n * MINUTE)
            for n in range((due - stopped) // MINUTE)
        )
        return max(due, count_minutes(goes_on, left, calendar, ends)) if left else max(due, goes_on)
    stopped_on, goes_on_on = stopped.astimezone(zone).date(), goes_on.astimezone(zone).date()
    if stopped_on == goes_on_on:
        return due
    counts, left, day = counter(base, calendar), 0, stopped_on
    while day < last:
        day += DAY
        left += counts(day)
    clock = due.astimezone(zone).time()
    new = over(last_after(goes_on_on, left, base, calendar), clock, calendar, ends)
    if new <= goes_on:
        new = over(last_after(goes_on_on, left + 1, base, calendar), clock, calendar, ends)
    return max(due, new)


def before(due: datetime, amount: int, base: TimeBase, calendar: Calendar, ends: Ends) -> datetime:
    """The last moment at which `amount` was left before `due`, for an amount above zero."""
    if base is TimeBase.HOURS:
        left = amount * 60
        for moment in minutes(due, -MINUTE):
            if not left:
                return moment
            left -= ends is not Ends.OFFICE or no_hours(calendar) or open_now(calendar, moment - MINUTE)
    counts, shown = counter(base, calendar), due.astimezone(ZoneInfo(calendar.zone))
    over = DAY if ends is Ends.OFFICE and closes_after_midnight(due, calendar) else timedelta(0)
    day = (due - MINUTE).astimezone(ZoneInfo(calendar.zone)).date() if ends is Ends.DAY else shown.date() - DAY - over
    while True:
        amount -= counts(day)
        if not amount:
            break
        day -= DAY
    return day_begins(calendar.zone, day) if ends is Ends.DAY else shows(calendar.zone, day + over, shown.time())


def closes_after_midnight(due: datetime, calendar: Calendar) -> bool:
    """Whether a moment lies in office hours that began the day before, or at their end."""
    shown = due.astimezone(ZoneInfo(calendar.zone))
    evening = hours_of(calendar, shown.date() - DAY)[-1:]
    return any(closes <= opens and shown.time() <= closes for opens, closes in evening)
