"""The parts of a back-test's mapping: conditions on cells, moments, limits, and the lateness that the file states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from infra.importing.mapping import ColumnName, MappingPart
from shared.case.facts import SHORT_CHARS_MAX, Ends, PauseCause, TimeBase

Words = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
ColumnNames = Annotated[
    tuple[ColumnName, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]
Amount = Annotated[int, Field(gt=0, le=10_000)]
ReasonText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=SHORT_CHARS_MAX)]


def matches_any(cell: str, words: Sequence[str]) -> bool:
    """Whether a cell equals one of the words, or contains a match of a word between slashes, a regular expression."""
    return any(re.search(word[1:-1], cell) if _is_pattern(word) else cell == word for word in words)


def _is_pattern(word: str) -> bool:
    return len(word) > 2 and word[0] == word[-1] == "/"


def _sound(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        try:
            re.compile(word[1:-1] if _is_pattern(word) else "")
        except re.error as error:
            raise ValueError(f"{word} is no regular expression: {error}") from None
    return words


class CellCondition(MappingPart):
    """A condition on the cell of a column: it is one of the words `is`, none of the words `not`, or empty."""

    column: ColumnName
    is_: Words = Field(default=(), alias="is")
    not_: Words = Field(default=(), alias="not")
    empty: bool | None = None

    _patterns = field_validator("is_", "not_")(_sound)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.is_ and not self.not_ and self.empty is None:
            raise ValueError("say what the cell must be: `is`, `not` or `empty: true`")
        return self

    def holds(self, cells: Mapping[str, str]) -> bool:
        """Whether the condition holds for a row, or for the cells of a case."""
        cell = cells.get(self.column, "")
        if self.empty is not None and self.empty is bool(cell):
            return False
        return (not self.is_ or matches_any(cell, self.is_)) and not (self.not_ and matches_any(cell, self.not_))


class MomentSpec(MappingPart):
    """A moment: the time in a column, the first of several that has one; or the time of an activity.

    Of an activity that occurs several times, `which` names the first or the last.
    """

    column: ColumnNames = ()
    activity: Words = ()
    when: CellCondition | None = None
    which: Literal["first", "last"] = "first"

    _patterns = field_validator("activity")(_sound)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.column) is bool(self.activity):
            raise ValueError("give a column, or the names of activities")
        return self


def _as_column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str | list) else value


MomentField = Annotated[MomentSpec, BeforeValidator(_as_column)]


class WorkingDaysSpec(MappingPart):
    """The calendar: `none`, `weekends` (weekends are off) or `china` (the calendar of the demo).

    `holidays` are off too; `office` are the opening hours of a working day, as `09:00-12:00`.
    """

    calendar: Literal["none", "weekends", "china"] = "none"
    holidays: tuple[date, ...] = ()
    office: tuple[str, ...] = ()

    @cached_property
    def hours(self) -> tuple[tuple[time, time], ...]:
        """The opening hours as times of day."""
        hours = []
        for text in self.office:
            opens, _, closes = text.partition("-")
            hours.append((time.fromisoformat(opens.strip()), time.fromisoformat(closes.strip())))
        return tuple(hours)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        try:
            hours = self.hours
        except ValueError:
            raise ValueError("office: write opening hours as 09:00-12:00") from None
        if any(opens >= closes for opens, closes in hours) or list(hours) != sorted(hours):
            raise ValueError("office: opening hours come in order, and each opens before it closes")
        if self.holidays and self.calendar == "none":
            raise ValueError("holidays: say `calendar: weekends` (or china), to which they are added")
        return self


class WarnSpec(WorkingDaysSpec):
    """The time between warning and due moment."""

    amount: Amount
    base: TimeBase

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.calendar == "none" and self.base is TimeBase.WORKING_DAYS:
            raise ValueError("working_days need a calendar: weekends or china")
        return self


class LimitSpec(WorkingDaysSpec):
    """A time limit for the cases that meet `when`."""

    amount: Amount
    base: TimeBase
    ends: Ends = Ends.DAY
    counts_from: Literal["stage", "registered"] = "stage"
    warn: Annotated[int, Field(ge=0, le=10_000)] = 0
    when: CellCondition | None = None
    basis: ReasonText = "limit of the mapping"

    @model_validator(mode="after")
    def _reckonable(self) -> Self:
        if self.calendar == "none" and self.base is TimeBase.WORKING_DAYS:
            raise ValueError("working_days need a calendar: weekends or china")
        if self.ends is Ends.OFFICE and not self.office:
            raise ValueError("ends: office needs opening hours, for example office: ['09:00-12:00', '13:30-18:00']")
        if self.base is TimeBase.HOURS and self.calendar == "none" and self.ends is Ends.OFFICE:
            raise ValueError("hours of office need a calendar: weekends or china")
        return self


class LateSpec(MappingPart):
    """The lateness that the file states: by its `dates`, by a column, by an activity, or not at all."""

    by: Literal["dates", "nothing"] | None = None
    column: ColumnName | None = None
    is_: Words = Field(default=(), alias="is")
    activity: Words = ()
    ended: ColumnName | None = None
    due: ColumnName | None = None

    _patterns = field_validator("is_", "activity")(_sound)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = (self.by is not None, self.column is not None, bool(self.activity), self.ended is not None)
        if sum(given) != 1:
            raise ValueError("give one of dates, nothing, `column` with `is`, `activity`, or `ended` with `due`")
        if (self.column is None) is not (not self.is_) or (self.ended is None) is not (self.due is None):
            raise ValueError("`column` goes with `is`, `ended` with `due`")
        return self


class LeaveOutSpec(CellCondition):
    """Rows that are not played, with the reason. In an event log: cases with an event that meets `is`."""

    why: ReasonText


class PauseSpec(MappingPart):
    """The suspensions of the clock of a limit: two columns, or two activities, which may occur several times."""

    stops: MomentField
    goes_on: MomentField
    cause: PauseCause = PauseCause.PAPERS
