"""The deadline of a case: by the due date of its file, or by a limit of the mapping and its calendar."""

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
YEARS = frozenset(range(1900, 2200))  # a calendar of weekends alone leaves nothing to be published
FILE_BASIS = "due date of the file"
CHINA = "510000000000"  # the demo's documents hold the national calendar at its province


class DeadlineSource:
    """Reckons deadlines by a mapping."""

    def __init__(self, mapping: BacktestMapping) -> None:
        self._mapping = mapping
        self._begin = MOMENTS.index(SPANS[mapping.stage][0])
        self._calendars: dict[WorkingDaysSpec, Calendar] = {}

    def deadline(self, case: HistoricCase) -> Deadline | None:
        """The clock that the stage gets, None when nothing limits it or the law takes no such limit."""
        began = case.moments[self._begin]
        if began is None or "stage_never_began" in case.odd:
            return None
        if self._mapping.limits:
            return None if case.limit is None else self._reckoned(self._mapping.limits[case.limit], case, began)
        held = [due for at, due in case.dues if at <= began] or [due for _, due in case.dues[:1]]
        return self.by_file(case, held[-1]) if held else None

    def by_file(self, case: HistoricCase, due: datetime) -> Deadline | None:
        """The clock that a due date of the file sets; None when it lies before the case."""
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

    def resumed(self, case: HistoricCase, deadline: Deadline, stood: ClockPause) -> Deadline:
        """The clock that goes on after a pause, with what was left of it (petitions regulation, 36)."""
        assert case.limit is not None
        assert stood.until is not None, "a pause that lasts moves nothing"
        limit = self._mapping.limits[case.limit]
        calendar, moves_on = self._calendar(limit), limit.calendar != "none"
        old = deadline.due, deadline.last_day
        reckoned = resume(*old, stood.at, stood.until, limit.base, calendar, limit.ends, moves_on)
        warn_at = None
        if limit.warn:
            warning = before(reckoned.due, limit.warn, limit.base, calendar, limit.ends)
            warn_at = _within(stood.until, warning, reckoned.due)
        moved = {"due": reckoned.due, "last_day": reckoned.last_day, "warn_at": warn_at}
        return deadline.model_copy(update=moved)

    def _calendar(self, days: WorkingDaysSpec) -> Calendar:
        spec = WorkingDaysSpec(calendar=days.calendar, holidays=days.holidays, office=days.office)
        if spec not in self._calendars:
            self._calendars[spec] = _calendar(spec, self._mapping.time_zone)
        return self._calendars[spec]


def _within(start: datetime, moment: datetime, due: datetime) -> datetime | None:
    return moment if start < moment < due else None


def _calendar(days: WorkingDaysSpec, zone: str) -> Calendar:
    if days.calendar == "china":
        china = _china()
        return replace(china, zone=zone, holidays=china.holidays | set(days.holidays), office=days.hours)
    return Calendar(frozenset(days.holidays), zone=zone, office=days.hours, published=YEARS, rest=frozenset())


@cache
def _china() -> Calendar:
    return ReferenceData(demo_documents()).calendar(CHINA)
