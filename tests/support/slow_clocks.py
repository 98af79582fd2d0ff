"""The oracle of a clock under pauses, extensions, corrections, new calendars, transfers and reopenings.

It keeps the plain history of a stage and counts it from the start each time, by the walks of slow_time. It shares no
code with the product but the words of a calendar and of a time base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache

from shared.case.calendar import Calendar
from shared.case.facts import Ends, TimeBase
from tests.support import slow_time

# The same walks come again and again in one test.
_reckon = lru_cache(10_000)(slow_time.reckon)
_before = lru_cache(10_000)(slow_time.before)
_resume = lru_cache(10_000)(slow_time.resume)


@dataclass(frozen=True)
class SlowLimit:
    """A limit: its amount, warning and greatest extension in units of its base."""

    amount: int
    base: TimeBase
    ends: Ends = Ends.DAY
    warn: int = 0
    extend_max: int = 0


@dataclass
class SlowClock:
    """One stage: its limit, and its extensions and pauses in order as (kind, moment) pairs."""

    start: datetime
    limit: SlowLimit
    calendar: Calendar
    marks: list[tuple[str, datetime]] = field(default_factory=list)

    @property
    def suspended(self) -> bool:
        """Whether a pause is open."""
        return [kind for kind, _ in self.marks if kind != "extend"][-1:] == ["stop"]

    def end(self, limit: SlowLimit, extended: bool = True) -> datetime:
        """The end of a limit with the pauses of the clock, and with its extensions where `extended`."""
        due, last = _reckon(self.start, limit.amount, limit.base, self.calendar, limit.ends, True)
        stopped = self.start
        for kind, moment in self.marks:
            if kind == "stop":
                stopped = moment
            elif kind == "extend" and extended and moment > due:
                due, last = moment, None
            elif kind == "go":
                due, last = self._after_pause(limit, due, last, stopped, moment)
        return due

    def _after_pause(
        self, limit: SlowLimit, due: datetime, last: date | None, stopped: datetime, goes_on: datetime
    ) -> tuple[datetime, date | None]:
        """The end after a pause. An extended clock of days has the day of its end as its last day."""
        if limit.base is not TimeBase.HOURS and last is None:
            last = (due - slow_time.MINUTE).astimezone(self.calendar.tz).date()
        resumed = _resume(due, last, stopped, goes_on, limit.base, self.calendar, limit.ends)
        if resumed == due or last is None:
            return resumed, last
        return resumed, self._counted_to(limit, last, stopped, goes_on)

    def _counted_to(self, limit: SlowLimit, last: date, stopped: datetime, goes_on: datetime) -> date:
        """The last day counted after a pause, before any move over days off."""
        counts, day = slow_time.counter(limit.base, self.calendar), stopped.astimezone(self.calendar.tz).date()
        left = 0
        while day < last:
            day += slow_time.DAY
            left += counts(day)
        again = goes_on.astimezone(self.calendar.tz).date()
        return max(last, slow_time.last_after(again, left, limit.base, self.calendar))

    @property
    def due(self) -> datetime:
        """The due moment by the limit that holds."""
        return self.end(self.limit)

    @property
    def warn_at(self) -> datetime | None:
        """The moment to warn, None without one between start and end."""
        limit, due = self.limit, self.due
        if not limit.warn:
            return None
        moment: datetime = _before(due, limit.warn, limit.base, self.calendar, limit.ends)
        return moment if self.start < moment < due else None

    @property
    def bound(self) -> datetime | None:
        """The latest moment of an extension."""
        limit = self.limit
        if not limit.extend_max:
            return None
        longest = SlowLimit(limit.amount + limit.extend_max, limit.base, limit.ends)
        return self.end(longest, extended=False)

    def correct(self, law: SlowLimit) -> None:
        """The case is another matter: an unmoved clock has its law, one that people moved has the stricter of two."""
        if not self.marks or self.end(law, extended=False) < self.due:
            if law != self.limit:
                self.marks = [mark for mark in self.marks if mark[0] != "extend"]
            self.limit = law

    def pause(self, at: datetime) -> None:
        self.marks.append(("stop", at))

    def resume(self, at: datetime, law: SlowLimit) -> None:
        self.marks.append(("go", at))
        self.correct(law)

    def extend(self, by: timedelta, law: SlowLimit) -> datetime:
        """The due moment of an extension by so much."""
        due = self.due + by
        self.marks.append(("extend", due))
        self.correct(law)
        return due
