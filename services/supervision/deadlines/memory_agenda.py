"""What is due, in memory: the agenda of a ticker that plays a log by itself, in a back-test or a simulation.

Judged by the same suite as the one in Postgres. Entries lie on a heap until their moment comes and in a sorted list
from then on; what is no longer in force stays where it is and is passed over, so that a change costs little.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush, nsmallest
from typing import Any

from services.supervision.deadlines.ticker import DueTimer
from shared.kit.effects import AggregateChange, Timer
from shared.kit.problems import Unavailable

# (subject, state) -> what is due of it: the pure function of a service's projection
Moments = Callable[[str, Any], Iterable[Timer]]
Entry = tuple[datetime, str, str, str, str, str]  # the fields of a Due, which sort by its place


@dataclass(slots=True)
class _Watched:
    state: Any
    sequence: int
    entries: frozenset[Entry]


class MemoryLock:
    """The right to be the active ticker of one agenda, until released or lost."""

    def __init__(self, agenda: MemoryAgenda) -> None:
        self._agenda = agenda

    @property
    def held(self) -> bool:
        return self._agenda.holder is self

    async def verify(self) -> None:
        """Raises Unavailable when the lock is lost."""
        if not self.held:
            raise Unavailable("The lock is lost.")

    async def release(self) -> None:
        """Give it up; another may take it at once."""
        if self.held:
            self._agenda.holder = None


class MemoryAgenda:
    """`Agenda` without a database. `moments` says what is due of a state."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._watched: dict[str, _Watched] = {}
        self._coming: list[Entry] = []  # a heap
        self._come: list[Entry] = []  # sorted
        self._queued: set[Entry] = set()  # all that lies on either, in force or not
        self._calendars: list[str] = []
        self.holder: MemoryLock | None = None

    def put(self, changes: Iterable[AggregateChange]) -> None:
        """Cases and orders as they now are; what is older than what is known changes nothing."""
        for change in changes:
            subject, known = change.address.subject, self._watched.get(change.address.subject)
            if known is not None and known.sequence >= change.position.sequence:
                continue
            entries = frozenset((*due.key, due.cause) for due in self._moments(subject, change.state))
            self._watched[subject] = _Watched(change.state, change.position.sequence, entries)
            for entry in entries - self._queued:
                self._queued.add(entry)
                heappush(self._coming, entry)

    def clear(self) -> None:
        """Forget every case and order, as before a rebuild; the lock stays where it is."""
        self._watched.clear()
        self._coming.clear()
        self._come.clear()
        self._queued.clear()

    async def lock(self) -> MemoryLock | None:
        """The right to be the active ticker, None while another has it."""
        if self.holder is not None:
            return None
        self.holder = MemoryLock(self)
        return self.holder

    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        """What is due by `now`, in due order, after a place."""
        self._ripen(now, tidy=after is None)
        found: list[DueTimer] = []
        start = 0 if after is None else bisect_right(self._come, after.key, key=lambda entry: entry[:5])
        for place in range(start, len(self._come)):
            entry = self._come[place]
            if entry[0] > now or len(found) == count_max:
                break
            if self._in_force(entry):
                found.append(self._dued(entry))
        return found

    async def next_at(self, after: datetime) -> datetime | None:
        """When the next thing is due after a moment."""
        self._ripen(after)
        start = bisect_right(self._come, after, key=lambda entry: entry[0])  # more than there are: the clock went back
        come = next((entry[0] for entry in self._come[start:] if self._in_force(entry)), None)
        coming = self._coming[0][0] if self._coming else None
        return min((moment for moment in (come, coming) if moment is not None), default=None)

    async def running(self, after: Timer | None, count_max: int) -> list[DueTimer]:
        """Deadlines that run, soonest first, after a place: what a newer calendar may move."""
        entries = (entry for one in self._watched.values() for entry in one.entries if entry[2] == "overdue")
        left = (entry for entry in entries if after is None or entry[:5] > after.key)
        return [self._dued(entry) for entry in nsmallest(count_max, left)]

    async def calendars(self) -> list[str]:
        """The calendars that every running deadline was reckoned with."""
        return self._calendars

    async def note_calendars(self, references: Sequence[str]) -> None:
        """Every running deadline was reckoned with these."""
        self._calendars = sorted(references)

    def __iter__(self) -> Iterator[Timer]:
        """All that is in force, in no order."""
        return (Timer(*entry) for one in self._watched.values() for entry in one.entries)

    def _ripen(self, now: datetime, tidy: bool = False) -> None:
        """Move what has come by `now` from the heap to the list; the top of the heap is in force afterwards."""
        if tidy:
            for entry in self._come:
                if not self._in_force(entry):
                    self._queued.discard(entry)
            self._come = [entry for entry in self._come if entry in self._queued]
        come = []
        while self._coming and (self._coming[0][0] <= now or not self._in_force(self._coming[0])):
            entry = heappop(self._coming)
            if self._in_force(entry):
                come.append(entry)
            else:
                self._queued.discard(entry)
        for entry in come if len(come) < len(self._come) else ():
            insort(self._come, entry)
        if len(come) >= len(self._come):
            self._come = sorted(self._come + come)

    def _in_force(self, entry: Entry) -> bool:
        watched = self._watched.get(entry[1])
        return watched is not None and entry in watched.entries

    def _dued(self, entry: Entry) -> DueTimer:
        watched = self._watched[entry[1]]
        return DueTimer(Timer(*entry), watched.state, watched.sequence)
