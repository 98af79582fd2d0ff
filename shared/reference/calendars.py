"""The row of a year with its days off and office hours, and the calendar that documents form together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, time
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.case.calendar import ZONE, Calendar
from shared.reference.row import CitedDocument, ReferenceRow, TextLine, sorted_set

DAYS_MAX = 130  # of one kind in one year: more would be a mistake
Year = Annotated[str, StringConstraints(pattern=r"^(19|20|21)[0-9]{2}$")]
DayList = Annotated[tuple[date, ...], Field(max_length=DAYS_MAX), AfterValidator(sorted_set)]
OfficeHours = Annotated[
    str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$")
]
_SATURDAY, _DECEMBER = 5, 12


def _zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone; write it as in Asia/Shanghai or Europe/Amsterdam") from None
    return name


class CalendarRow(ReferenceRow):
    """The days of one year (yearly notice of the State Council): `holidays` are off, `makeup` are weekend days worked.

    A year that is not `published` is a forecast, and deadlines that rest on it are provisional. `office` are the
    opening hours, as `09:00-12:00`. Opening hours and `zone` come from the nearest document that states them, from its
    newest such year. Without any, the zone is Asia/Shanghai.
    """

    year: Year
    holidays: DayList = ()
    makeup: DayList = ()
    published: bool = True
    notice: TextLine = ""
    zone: Annotated[str, StringConstraints(max_length=60), AfterValidator(_zone)] = ""
    office: Annotated[tuple[OfficeHours, ...], Field(max_length=6)] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for day in (*self.holidays, *self.makeup):
            # the notice of 2019 names 30 December 2018
            new_year = day.month == _DECEMBER and day.year == int(self.year) - 1
            if str(day.year) != self.year and not new_year:
                raise ValueError(f"{day} is not in {self.year}; move it to the row of {day.year}")
        for day in self.makeup:
            if day.weekday() < _SATURDAY:
                raise ValueError(f"{day} is worked anyhow: a make-up day is a Saturday or Sunday; remove it")
            if day in self.holidays:
                raise ValueError(f"{day} is both off and worked; remove it from holidays or from makeup")
        end = time.min
        for opens, closes in self.hours:
            if closes <= opens:
                raise ValueError(f"office hours {opens:%H:%M}-{closes:%H:%M} run backwards; they end on the same day")
            if opens < end:
                raise ValueError(f"office hours {opens:%H:%M}-{closes:%H:%M} begin before the ones before them end")
            end = closes
        return self

    @property
    def hours(self) -> tuple[tuple[time, time], ...]:
        """The office hours as times of day."""
        pairs = (text.split("-") for text in self.office)
        return tuple((time.fromisoformat(opens), time.fromisoformat(closes)) for opens, closes in pairs)


def calendar_of(documents: Iterable[CitedDocument]) -> Calendar:
    """The calendar of these documents, nearest first. The nearest document that has a year gives its days off."""
    rows: dict[str, tuple[CalendarRow, str]] = {}
    all_rows: list[CalendarRow] = []
    for document in documents:
        newest = sorted(document.rows, key=lambda row: row.year, reverse=True)
        all_rows += newest
        for row in newest:
            rows.setdefault(row.year, (row, document.reference))
    return Calendar(
        holidays=frozenset(day for row, _ in rows.values() for day in row.holidays),
        makeup=frozenset(day for row, _ in rows.values() for day in row.makeup),
        published=frozenset(int(year) for year, (row, _) in rows.items() if row.published),
        zone=next((row.zone for row in all_rows if row.zone), ZONE),
        office=next((row.hours for row in all_rows if row.office), ()),
        references={int(year): reference for year, (_, reference) in rows.items()},
    )
