"""The end of a time limit in hours, calendar days or working days (Civil Code, articles 201 to 203).

The module is pure arithmetic on a `Calendar`, which states the days off and the documents that publish them. Days are
local days of the calendar's zone, also where summer time makes them shorter or longer. Hours are elapsed hours. Every
moment returned is aware, in UTC. A wall-clock time that summer time skips is read with the offset before the change; a
wall-clock time that comes twice is its first occurrence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, partial
from itertools import groupby
from zoneinfo import ZoneInfo

from shared.case.facts import Ends, TimeBase

ZONE = "Asia/Shanghai"
# Statutory days off with a fixed date in the solar calendar: New Year, Labour Day, National Day.
FIXED_REST = frozenset({(1, 1), (5, 1), (5, 2), (10, 1), (10, 2), (10, 3)})
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_SATURDAY = 5


OfficeHours = tuple[tuple[time, time], ...]
MonthDay = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Office:
    """The opening hours from a year on: `hours`, and those of the seasons from one (month, day) to another.

    A season may span the turn of the year. A time that is not later than the opening is one of the following day, so
    that 24:00 is written 0:00. `reference` is the document that states them.
    """

    since: int
    hours: OfficeHours = ()
    seasons: tuple[tuple[MonthDay, MonthDay, OfficeHours], ...] = ()
    reference: str = ""

    def on(self, day: date) -> OfficeHours:
        """The opening hours of a day."""
        at = (day.month, day.day)
        for first, last, hours in self.seasons:
            if first <= at <= last or (last < first and not last < at < first):
                return hours
        return self.hours


@dataclass(frozen=True)
class Calendar:
    """The working days of a zone and the opening hours of its offices.

    `holidays` are days off beside weekends, `makeup` are weekend days that are worked. A year that is not `published`
    is provisional: its weekends and the days (month, day) of `rest` are off until its document is published. `office`
    are opening hours of every working day, in order. Without them those of `offices` hold, each from its year on, the
    first one also for the years before it. `references` name the document of each year, `notices` those of days that
    the document of another year states. Raises ZoneInfoNotFoundError for an unknown zone.
    """

    holidays: frozenset[date] = frozenset()
    makeup: frozenset[date] = frozenset()
    published: frozenset[int] = frozenset()
    zone: str = ZONE
    office: OfficeHours = ()
    references: Mapping[int, str] = field(default_factory=dict, hash=False)
    rest: frozenset[MonthDay] = FIXED_REST
    offices: tuple[Office, ...] = ()
    notices: Mapping[date, str] = field(default_factory=dict, hash=False)
    _worked: dict[int, list[date]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        ZoneInfo(self.zone)

    @cached_property
    def tz(self) -> ZoneInfo:
        """The time zone of the calendar."""
        return ZoneInfo(self.zone)

    def is_working(self, day: date) -> bool:
        """Whether the day is a working day."""
        return self.day_off(day) is None

    def provisional(self, day: date) -> bool:
        """Whether the year of the day is not published yet."""
        return day.year not in self.published

    def reference_for(self, day: date) -> str | None:
        """The document that states the day, else the one that publishes the days off of its year."""
        return self.notices.get(day) or self.references.get(day.year)

    def cited(self, first: date, last: date, office: bool = False) -> tuple[str, ...]:
        """The documents of the days from one to another, and of their opening hours where `office`."""
        years = range(first.year, last.year + 1)
        references = [self.references.get(year) for year in years]
        references += [reference for day, reference in sorted(self.notices.items()) if first <= day <= last]
        if office and not self.office:
            references += [stated.reference for year in years if (stated := self._office_of(year))]
        return tuple(dict.fromkeys(reference for reference in references if reference))

    @property
    def has_office(self) -> bool:
        """Whether opening hours are stated."""
        return bool(self.office or self.offices)

    def office_on(self, day: date) -> OfficeHours:
        """The opening hours of a working day, in order."""
        if self.office:
            return self.office
        stated = self._office_of(day.year)
        return stated.on(day) if stated else ()

    def _office_of(self, year: int) -> Office | None:
        stated = [office for office in self.offices if office.since <= year]
        return stated[-1] if stated else next(iter(self.offices), None)

    def day_off(self, day: date) -> str | None:
        """The reason for a day off: `weekend` or `holiday`, either with `(provisional)`; None for a working day."""
        provisional = self.provisional(day)
        if day in self.holidays or (provisional and (day.month, day.day) in self.rest):
            reason = "holiday"
        elif day.weekday() >= _SATURDAY and day not in self.makeup:
            reason = "weekend"
        else:
            return None
        return f"{reason} (provisional)" if provisional else reason

    def worked_after(self, day: date, count: int) -> date:
        """The `count`-th working day after `day`."""
        year = day.year
        worked = self._year(year)
        index = bisect_right(worked, day) + count - 1
        while index >= len(worked):
            index -= len(worked)
            year += 1
            worked = self._year(year)
        return worked[index]

    def worked_back(self, day: date, count: int) -> date:
        """The `count`-th working day backwards; `day` itself is the first if it is worked."""
        year = day.year
        worked = self._year(year)
        index = bisect_right(worked, day) - count
        while index < 0:
            year -= 1
            worked = self._year(year)
            index += len(worked)
        return worked[index]

    def worked_between(self, day: date, last: date) -> int:
        """The number of working days after `day`, up to and including `last`."""
        count = bisect_right(self._year(last.year), last) - bisect_right(self._year(day.year), day)
        return count + sum(len(self._year(year)) for year in range(day.year, last.year))

    def moved_on(self, day: date) -> date:
        """The day itself if it is worked, else the next working day (Civil Code, article 203)."""
        while self.day_off(day):
            day += _DAY
        return day

    def local(self, moment: datetime) -> datetime:
        """The local time of a moment. Raises ValueError for a moment without an offset."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no offset; give an aware moment")
        return moment.astimezone(self.tz)

    def moment(self, day: date, clock: time) -> datetime:
        """The moment in UTC of a wall-clock time on a day."""
        return datetime.combine(day, clock, self.tz).astimezone(UTC)

    def _year(self, year: int) -> list[date]:
        """The working days of a year in order, computed once."""
        if (worked := self._worked.get(year)) is None:
            first = date(year, 1, 1)
            days = (first + timedelta(days=n) for n in range((date(year, 12, 31) - first).days + 1))
            worked = self._worked[year] = [day for day in days if self.day_off(day) is None]
        return worked


@dataclass(frozen=True, slots=True)
class CountingStep:
    """One line of an explanation: a period (its ends in ISO 8601), its treatment, and the reason.

    `what` is the treatment: start, count, skip, move, pause or end.
    """

    what: str
    day_from: str
    day_to: str
    why: str


@dataclass(frozen=True, slots=True)
class Reckoned:
    """The due moment, with the last day counted before any move over days off (None for hours) and the explanation."""

    due: datetime
    last_day: date | None
    _explain: Callable[[], Iterator[CountingStep]] = field(repr=False, compare=False)

    @property
    def steps(self) -> tuple[CountingStep, ...]:
        """The explanation of the count, computed on demand."""
        return tuple(self._explain())


def reckon(
    start: datetime,
    amount: int,
    base: TimeBase,
    calendar: Calendar,
    ends: Ends = Ends.DAY,
    moves_on: bool = True,
) -> Reckoned:
    """The end of a limit of `amount` hours or days that begins at `start`.

    The first day does not count. Where the limit `moves_on` and its last day is off, the next working day is the last.
    Raises ValueError for a start without an offset or a negative amount.
    """
    if amount < 0:
        raise ValueError(f"{amount} {base}: a limit is not negative")
    local = calendar.local(start)
    if base is TimeBase.HOURS:
        due = _after_hours(start, timedelta(hours=amount), calendar, ends)
        return Reckoned(due, None, partial(_hour_steps, start, due, calendar, ends))
    due, last = _after_days(local, local.time(), amount, base, calendar, ends, moves_on)
    return Reckoned(due, last, partial(_day_steps, local, last, due, base, calendar, ends))


def resume(
    due: datetime,
    last_day: date | None,
    suspended_at: datetime,
    resumed_at: datetime,
    base: TimeBase,
    calendar: Calendar,
    ends: Ends = Ends.DAY,
    moves_on: bool = True,
) -> Reckoned:
    """The end of a limit that was suspended from `suspended_at` to `resumed_at`; never earlier than `due`.

    Days: the day of the suspension counts as used and the day of the resumption does not count. The counted days after
    the suspension up to `last_day` remain. Where an approver named the due moment, `last_day` is None and the day of
    `due` takes its place. Hours: the remaining time runs on from the resumption. A limit that was over before the
    suspension does not change. Raises ValueError for moments without an offset.
    """
    stopped, goes_on = calendar.local(suspended_at), calendar.local(resumed_at)
    unchanged = Reckoned(due, last_day, partial(_pause_step, stopped, goes_on, "nothing of it was left to stand still"))
    if suspended_at >= due or resumed_at <= suspended_at:
        return unchanged
    if base is TimeBase.HOURS:
        return _resumed_hours(due, suspended_at, resumed_at, calendar, ends)
    if stopped.date() >= goes_on.date():
        return Reckoned(due, last_day, partial(_pause_step, stopped, goes_on, "it went on the same day"))
    last = last_day or last_day_of(due, calendar, ends)
    left = max(0, _counted(stopped.date(), last, base, calendar))
    clock = calendar.local(due).time()
    new, new_last = _after_days(goes_on, clock, left, base, calendar, ends, moves_on)
    if new <= resumed_at:  # the hour of that day is past already
        new, new_last = _after_days(goes_on, clock, left + 1, base, calendar, ends, moves_on)
    new, new_last = max(due, new), max(last, new_last)
    return Reckoned(new, new_last, partial(_resumed_steps, stopped, goes_on, new_last, new, base, calendar, ends))


def before(due: datetime, amount: int, base: TimeBase, calendar: Calendar, ends: Ends = Ends.DAY) -> datetime:
    """The moment to warn: the last moment with `amount` hours or days left (00:00 of the first of these days)."""
    if amount == 0:
        return due
    if base is TimeBase.HOURS:
        return _before_hours(due, timedelta(hours=amount), calendar, ends)
    working = base is TimeBase.WORKING_DAYS
    if ends is Ends.DAY:
        last = last_day_of(due, calendar, ends)
        day = calendar.worked_back(last, amount) if working else last - timedelta(days=amount - 1)
        return calendar.moment(day, time.min)
    local, last = calendar.local(due), last_day_of(due, calendar, ends)
    day = calendar.worked_back(last - _DAY, amount) if working else last - timedelta(days=amount)
    return calendar.moment(day + (local.date() - last), local.time().replace(fold=0))


def _after_days(
    local: datetime, clock: time, amount: int, base: TimeBase, calendar: Calendar, ends: Ends, moves_on: bool
) -> tuple[datetime, date]:
    """The due moment and the last day counted, `amount` days after the day of `local`."""
    day = local.date()
    if base is TimeBase.WORKING_DAYS:
        last = calendar.worked_after(day, amount) if amount else day
    else:
        last = day + timedelta(days=amount)
    end = calendar.moved_on(last) if moves_on else last
    if ends is Ends.CLOCK:
        due = calendar.moment(end, clock.replace(fold=0))
    elif ends is Ends.OFFICE and (spans := _opening(calendar, end)):
        due = spans[-1][1]
    else:
        due = calendar.moment(end + _DAY, time.min)
    return max(due, local.astimezone(UTC)), last


def last_day_of(due: datetime, calendar: Calendar, ends: Ends = Ends.DAY) -> date:
    """The last day of a due moment; 24:00, or the end of office hours over midnight, belongs to the day before."""
    day = calendar.local(due - _TICK if ends is Ends.DAY else due).date()
    if ends is Ends.OFFICE and (spans := _opening(calendar, day - _DAY)) and spans[-1][1] >= due:
        return day - _DAY
    return day


def _counted(day: date, last: date, base: TimeBase, calendar: Calendar) -> int:
    return calendar.worked_between(day, last) if base is TimeBase.WORKING_DAYS else (last - day).days


def _opening(calendar: Calendar, day: date) -> list[tuple[datetime, datetime]]:
    """The office hours that begin on a day, as pairs of moments."""
    return [
        (calendar.moment(day, opens), calendar.moment(day if opens < closes else day + _DAY, closes))
        for opens, closes in calendar.office_on(day)
    ]


def _intervals(calendar: Calendar, start: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The office hours from a moment on, as pairs of moments, in order and without end."""
    day = calendar.moved_on(calendar.local(start).date() - _DAY)  # its hours may go on over midnight
    while True:
        for opens, closes in _opening(calendar, day):
            if closes >= start:
                yield max(opens, start), closes
                start = closes  # where hours of two days meet, none counts twice
        day = calendar.worked_after(day, 1)


def _after_hours(start: datetime, left: timedelta, calendar: Calendar, ends: Ends) -> datetime:
    if ends is not Ends.OFFICE or not calendar.has_office:
        return start.astimezone(UTC) + left
    start = start.astimezone(UTC)
    for opens, closes in _intervals(calendar, start):
        if opens + left <= closes:
            return opens + left
        left -= closes - opens
    raise AssertionError("office hours have no end")


def _before_hours(due: datetime, left: timedelta, calendar: Calendar, ends: Ends) -> datetime:
    if ends is not Ends.OFFICE or not calendar.has_office:
        return due - left
    day = calendar.worked_back(calendar.local(due).date(), 1)
    while True:
        for opens, closes in reversed(_opening(calendar, day)):
            end = min(closes, due)
            if end - left >= opens:
                return end - left
            left -= max(timedelta(), end - opens)
            due = min(due, opens)
        day = calendar.worked_back(day - _DAY, 1)


def _resumed_hours(
    due: datetime, suspended_at: datetime, resumed_at: datetime, calendar: Calendar, ends: Ends
) -> Reckoned:
    left = due - suspended_at
    if ends is Ends.OFFICE and calendar.has_office:
        left = timedelta()
        for opens, closes in _intervals(calendar, suspended_at):
            if opens >= due:
                break
            left += min(closes, due) - opens
    new = max(due, _after_hours(resumed_at, left, calendar, ends))

    def explain() -> Iterator[CountingStep]:
        why = f"{left} were left when it stood still"
        yield from _pause_step(calendar.local(suspended_at), calendar.local(resumed_at), why)
        yield from _hour_steps(resumed_at, new, calendar, ends)

    return Reckoned(new, None, explain)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _pause_step(stopped: datetime, goes_on: datetime, why: str) -> Iterator[CountingStep]:
    yield CountingStep("pause", _iso(stopped), _iso(goes_on), why)


def _hour_steps(start: datetime, due: datetime, calendar: Calendar, ends: Ends) -> Iterator[CountingStep]:
    if ends is not Ends.OFFICE or not calendar.has_office:
        yield CountingStep(
            "count", _iso(calendar.local(start)), _iso(calendar.local(due)), f"{due - start}, every hour counts"
        )
        return
    for opens, closes in _intervals(calendar, start):
        if opens >= due:
            break
        shown = _iso(calendar.local(opens)), _iso(calendar.local(min(closes, due)))
        yield CountingStep("count", *shown, f"{min(closes, due) - opens} of office hours")
    yield CountingStep(
        "end", _iso(calendar.local(due)), _iso(calendar.local(due)), "hours count while the office is open"
    )


def _day_steps(
    start: datetime, last: date, due: datetime, base: TimeBase, calendar: Calendar, ends: Ends
) -> Iterator[CountingStep]:
    yield CountingStep("start", _iso(start), _iso(start), "the first day does not count (Civil Code, article 201)")
    yield from _count_steps(start.date(), last, due, base, calendar, ends)


def _resumed_steps(
    stopped: datetime, goes_on: datetime, last: date, due: datetime, base: TimeBase, calendar: Calendar, ends: Ends
) -> Iterator[CountingStep]:
    yield from _pause_step(stopped, goes_on, "the day it stops is used, the day it goes on does not count")
    yield from _count_steps(goes_on.date(), last, due, base, calendar, ends)


_ENDS = {Ends.DAY: "24:00 of the last day", Ends.OFFICE: "close of office", Ends.CLOCK: "the same time of day"}


def _count_steps(
    day: date, last: date, due: datetime, base: TimeBase, calendar: Calendar, ends: Ends
) -> Iterator[CountingStep]:
    """The days after `day` as runs of counted and of skipped days, then the move over days off, then the end."""
    working = base is TimeBase.WORKING_DAYS
    runs = groupby(_days(day + _DAY, last), calendar.is_working if working else lambda _: True)
    for counts, run in runs:
        days = list(run)
        if counts:
            made_up = "".join(f", {makeup} is made up" for makeup in days if working and makeup in calendar.makeup)
            yield _step("count", days, f"{len(days)} {base.replace('_', ' ')}{made_up}", calendar)
        else:
            yield _step("skip", days, _reasons(days, calendar), calendar)
    end = last_day_of(due, calendar, ends)
    if moved := [day_off for day_off in _days(last, end - _DAY) if not calendar.is_working(day_off)]:
        why = f"the last day is off: {_reasons(moved, calendar)} (Civil Code, article 203)"
        yield _step("move", moved, why, calendar)
    shown = _iso(calendar.local(due))
    yield CountingStep("end", shown, shown, f"{_ENDS[ends]} (Civil Code, article 203)")


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _reasons(days: list[date], calendar: Calendar) -> str:
    return ", ".join(dict.fromkeys(reason for day in days if (reason := calendar.day_off(day))))


def _step(what: str, days: list[date], why: str, calendar: Calendar) -> CountingStep:
    """The step of a run of days, with the documents that publish its years, or the years that are not published."""
    sources = (calendar.reference_for(day) for day in (days[0], days[-1]))
    if cited := list(dict.fromkeys(source for source in sources if source)):
        why = f"{why}; {', '.join(cited)}"
    if years := sorted({day.year for day in (days[0], days[-1]) if calendar.provisional(day)}):
        why = f"{why}; provisional: {', '.join(map(str, years))} is not published"
    return CountingStep(what, days[0].isoformat(), days[-1].isoformat(), why)
