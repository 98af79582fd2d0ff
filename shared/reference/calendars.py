"""The row of a year with its days off and office hours, and the calendar that documents form together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.case.calendar import ZONE, Calendar, MonthDay, Office, OfficeHours
from shared.reference.row import CitedDocument, ReferenceRow, TextLine, sorted_set

DAYS_MAX = 130  # of one kind in one year: more would be a mistake
Year = Annotated[str, StringConstraints(pattern=r"^(19|20|21)[0-9]{2}$")]
DayList = Annotated[tuple[date, ...], Field(max_length=DAYS_MAX), AfterValidator(sorted_set)]
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY_OF_YEAR = "[01][0-9]-[0-3][0-9]"
OfficeHoursText = Annotated[
    str, StringConstraints(pattern=rf"^({_DAY_OF_YEAR}\.\.{_DAY_OF_YEAR} )?{_CLOCK}-({_CLOCK}|24:00)$")
]
LEAP_YEAR = 2024  # a season may begin or end on 29 February
_SATURDAY = 5


def _zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone; write it as in Asia/Shanghai or Europe/Amsterdam") from None
    return name


class CalendarRow(ReferenceRow):
    """The days of one year (yearly notice of the State Council): `holidays` are off, `makeup` are weekend days worked.

    A notice may name days of the December before and the January after its year. A year that is not `published` is a
    forecast, and deadlines that rest on it are provisional. `office` are the opening hours, as `09:00-12:00`, until
    `24:00`, or over midnight as `22:00-06:00`. Hours of a season follow its days, as `05-01..09-30 08:30-12:00`. They
    hold from this year on until a later year states others. `zone` comes from the nearest document that states it, from
    its newest such year. Without any, the zone is Asia/Shanghai.
    """

    year: Year
    holidays: DayList = ()
    makeup: DayList = ()
    published: bool = True
    notice: TextLine = ""
    zone: Annotated[str, StringConstraints(max_length=60), AfterValidator(_zone)] = ""
    office: Annotated[tuple[OfficeHoursText, ...], Field(max_length=24)] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for day in (*self.holidays, *self.makeup):
            if not _within(day, int(self.year)):
                raise ValueError(f"{day} is not in {self.year}; move it to the row of {day.year}")
        for day in self.makeup:
            if day.weekday() < _SATURDAY:
                raise ValueError(f"{day} is worked anyhow: a make-up day is a Saturday or Sunday; remove it")
            if day in self.holidays:
                raise ValueError(f"{day} is both off and worked; remove it from holidays or from makeup")
        opening = self.opening
        for season in ("", *opening.by_season):
            _in_order(opening.by_season[season] if season else opening.hours)
        opening.check()
        return self

    @property
    def opening(self) -> Opening:
        """The office hours of the year and of its seasons. Raises ValueError for a day that no year has."""
        return Opening.of(self.office)

    @property
    def hours(self) -> OfficeHours:
        """The office hours outside the seasons, as times of day; 24:00 as 0:00."""
        return self.opening.hours

    @property
    def outside(self) -> tuple[date, ...]:
        """The days that it names of the years before and after its own."""
        return tuple(day for day in (*self.holidays, *self.makeup) if str(day.year) != self.year)


@dataclass(frozen=True)
class Opening:
    """Office hours as times of day: those of each season by its text, and those of all other days."""

    hours: OfficeHours
    by_season: dict[str, OfficeHours]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Opening:
        """The hours that texts as `05-01..09-30 08:30-12:00` state."""
        by_season: dict[str, OfficeHours] = {}
        for text in texts:
            season, _, span = text.rpartition(" ")
            opens, closes = span.split("-")
            pair = time.fromisoformat(opens), time.min if closes == "24:00" else time.fromisoformat(closes)
            by_season[season] = (*by_season.get(season, ()), pair)
        return cls(by_season.pop("", ()), by_season)

    @property
    def seasons(self) -> tuple[tuple[MonthDay, MonthDay, OfficeHours], ...]:
        """The seasons by their first and last (month, day)."""
        return tuple((*map(_month_day, season.split("..")), hours) for season, hours in self.by_season.items())  # type: ignore[misc]

    def check(self) -> None:
        """Check the seasons against each other. Raises ValueError for days with two seasons, or with no hours."""
        days = [date(LEAP_YEAR, 1, 1) + timedelta(days=n) for n in range(366)]
        for day in days if self.by_season else ():
            covering = [
                season
                for season, (first, last, hours) in zip(self.by_season, self.seasons, strict=True)
                if Office(0, (), ((first, last, hours),)).on(day)
            ]
            if len(covering) > 1:
                raise ValueError(f"{day:%m-%d} is in two seasons, {' and '.join(covering)}; let one end before it")
            if not covering and not self.hours:
                raise ValueError(f"{day:%m-%d} is in no season; add hours without a season, or one that has it")
        ends = [closes for hours in self._all for opens, closes in hours if closes <= opens]
        first = min((hours[0][0] for hours in self._all if hours), default=time.min)
        if ends and max(ends) > first:
            text = f"office hours over midnight until {max(ends):%H:%M}"
            raise ValueError(f"{text} go on after those of the next day begin")

    @property
    def _all(self) -> tuple[OfficeHours, ...]:
        return (self.hours, *self.by_season.values())


def _month_day(text: str) -> MonthDay:
    try:
        day = date.fromisoformat(f"{LEAP_YEAR}-{text}")
    except ValueError:
        raise ValueError(f"{text} is no day of a year; write month and day, as 05-01") from None
    return day.month, day.day


def _within(day: date, year: int) -> bool:
    """Whether a notice of a year may name the day: of the year, the December before, the January after."""
    return day.year == year or (day.year, day.month) in ((year - 1, 12), (year + 1, 1))


def _in_order(hours: OfficeHours) -> None:
    """Check the hours of a day. Raises ValueError for hours of no length, and for overlaps."""
    end: time | None = time.min
    for opens, closes in hours:
        text = f"office hours {opens:%H:%M}-{closes:%H:%M}"
        if opens == closes != time.min:
            raise ValueError(f"{text} have no length; round the clock is 00:00-24:00")
        if end is None or opens < end:
            raise ValueError(f"{text} begin before the ones before them end")
        end = closes if opens < closes else None  # over midnight: none may follow


def calendar_of(documents: Iterable[CitedDocument]) -> Calendar:
    """The calendar of these documents, nearest first.

    The nearest document that has a year gives its days off. The opening hours of a year are those that the nearest
    document states for it or for the nearest year before it.
    """
    rows: dict[str, tuple[CalendarRow, str]] = {}
    all_rows: list[CalendarRow] = []
    stated: list[list[Office]] = []
    for document in documents:
        newest = sorted(document.rows, key=lambda row: row.year, reverse=True)
        all_rows += newest
        stated.append([_office(row, document.reference) for row in newest if row.office])
        for row in newest:
            rows.setdefault(row.year, (row, document.reference))
    return Calendar(
        holidays=frozenset(day for row, _ in rows.values() for day in row.holidays),
        makeup=frozenset(day for row, _ in rows.values() for day in row.makeup),
        published=frozenset(int(year) for year, (row, _) in rows.items() if row.published),
        zone=next((row.zone for row in all_rows if row.zone), ZONE),
        references={int(year): reference for year, (_, reference) in rows.items()},
        offices=tuple(_offices(stated)),
        notices={day: reference for row, reference in rows.values() for day in row.outside},
    )


def _office(row: CalendarRow, reference: str) -> Office:
    return Office(int(row.year), row.hours, row.opening.seasons, reference)


def _offices(stated: Sequence[Sequence[Office]]) -> Iterator[Office]:
    """The opening hours by year, from documents nearest first, each with its newest year first."""
    for year in sorted({office.since for offices in stated for office in offices}):
        nearest = next(office for offices in stated for office in offices if office.since <= year)
        yield replace(nearest, since=year)
