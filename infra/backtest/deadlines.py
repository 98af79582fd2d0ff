"""The deadline of a historic case: by the due date in its file, or by a limit of the mapping with its calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache

from infra.backtest.historic_file import ClockPause, HistoricCase
from infra.backtest.mapping import MOMENTS, SPANS, BacktestMapping
from infra.backtest.mapping_parts import LimitSpec, WorkingDaysSpec
from shared.case.calendar import Calendar, before, reckon, resume
from shared.case.facts import Deadline, Ends, TimeBase
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData

_DAYS_MAX = 10_000
YEARS = frozenset(range(1900, 2200))  # a calendar of weekends has no years to be published
FILE_BASIS = "due date of the file"
CHINA = "510000000000"  # the demo publishes the national calendar for its province


class DeadlineSource:
    """Gives the deadlines of cases by a mapping."""

    def __init__(self, mapping: BacktestMapping) -> None:
        self._mapping = mapping
        self._begin = MOMENTS.index(SPANS[mapping.stage][0])
        self._calendars: dict[WorkingDaysSpec, Calendar] = {}

    def deadline(self, case: HistoricCase) -> Deadline | None:
        """The deadline of the stage; None when there is no limit, or one that the law does not accept."""
        began = case.moments[self._begin]
        if began is None or "stage_never_began" in case.odd:
            return None
        if self._mapping.limits:
            return None if case.limit is None else self._reckoned(self._mapping.limits[case.limit], case, began)
        due_dates = [due for at, due in case.dues if at <= began] or [due for _, due in case.dues[:1]]
        return self.by_file(case, due_dates[-1]) if due_dates else None

    def by_file(self, case: HistoricCase, due: datetime) -> Deadline | None:
        """The deadline by a due date of the file; None when the date lies before the case."""
        start = case.began
        if due <= start:
            return None
        days = min(max((due - start).days, 1), _DAYS_MAX)
        warn, warn_at = self._mapping.warn, None
        if warn is not None:
            warn_at = _within(start, before(due, warn.amount, warn.base, self._calendar(warn), Ends.CLOCK), due)
        return Deadline(
            stage=self._mapping.stage, start=start, due=due, warn_at=warn_at, base=TimeBase.CALENDAR_DAYS, amount=days,
            ends=Ends.CLOCK, legal_basis=FILE_BASIS,
        )  # fmt: skip

    def _reckoned(self, limit: LimitSpec, case: HistoricCase, began: datetime) -> Deadline:
        start = case.began if limit.counts_from == "registered" else began
        calendar = self._calendar(limit)
        reckoned = reckon(start, limit.amount, limit.base, calendar, limit.ends, moves_on=limit.calendar != "none")
        warn_at = None
        if limit.warn:
            warn_at = _within(start, before(reckoned.due, limit.warn, limit.base, calendar, limit.ends), reckoned.due)
        return Deadline(
            stage=self._mapping.stage, start=start, due=reckoned.due, warn_at=warn_at, base=limit.base,
            amount=limit.amount, ends=limit.ends, last_day=reckoned.last_day, legal_basis=limit.basis,
        )  # fmt: skip

    def resumed(self, case: HistoricCase, deadline: Deadline, pause: ClockPause) -> Deadline:
        """The deadline after a pause, with the time that was left (petitions regulation, article 36)."""
        assert case.limit is not None
        assert pause.until is not None, "a pause without end moves no deadline"
        limit = self._mapping.limits[case.limit]
        calendar, moves_on = self._calendar(limit), limit.calendar != "none"
        old = deadline.due, deadline.last_day
        reckoned = resume(*old, pause.at, pause.until, limit.base, calendar, limit.ends, moves_on)
        warn_at = None
        if limit.warn:
            warn_at = _within(
                pause.until, before(reckoned.due, limit.warn, limit.base, calendar, limit.ends), reckoned.due
            )
        changes = {"due": reckoned.due, "last_day": reckoned.last_day, "warn_at": warn_at}
        return deadline.model_copy(update=changes)

    def _calendar(self, days: WorkingDaysSpec) -> Calendar:
        key = WorkingDaysSpec(calendar=days.calendar, holidays=days.holidays, office=days.office)
        if key not in self._calendars:
            self._calendars[key] = _calendar(key, self._mapping.time_zone)
        return self._calendars[key]


def _within(start: datetime, moment: datetime, due: datetime) -> datetime | None:
    return moment if start < moment < due else None


def _calendar(days: WorkingDaysSpec, zone: str) -> Calendar:
    if days.calendar == "china":
        china = _china()
        return replace(china, zone=zone, holidays=china.holidays | set(days.holidays), office=days.hours,
                       offices=())  # fmt: skip
    return Calendar(frozenset(days.holidays), zone=zone, office=days.hours, published=YEARS, rest=frozenset())


@cache
def _china() -> Calendar:
    return ReferenceData(demo_documents()).calendar(CHINA)
