"""The agenda in memory, for a ticker without a database: in a back-test or a simulation.

The same tests judge this agenda and the one in Postgres. An entry lies on a heap until its moment comes, and in a
sorted list from then on. An entry out of force stays where it is and is skipped, so that a change costs little.
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

# (subject, state) -> the timers of a case or an order: a pure function of the service
Moments = Callable[[str, Any], Iterable[Timer]]
AgendaEntry = tuple[datetime, str, str, str, str, str]  # the fields of a Timer, which sort in due order


@dataclass(slots=True)
class _Watched:
    state: Any
    sequence: int
    entries: frozenset[AgendaEntry]


class MemoryLock:
    """The lock of the active ticker of one agenda, until it is released or lost."""

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
        """Release the lock; another ticker may take it at once."""
        if self.held:
            self._agenda.holder = None


class MemoryAgenda:
    """`Agenda` without a database. `moments` gives the timers of a state."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._watched: dict[str, _Watched] = {}
        self._upcoming: list[AgendaEntry] = []  # a heap
        self._arrived: list[AgendaEntry] = []  # sorted
        self._queued: set[AgendaEntry] = set()  # the entries of both, in force or not
        self._calendars: list[str] = []
        self.holder: MemoryLock | None = None

    def put(self, changes: Iterable[AggregateChange]) -> None:
        """Put cases and orders as they now are; a change that is older than the one here is skipped."""
        for change in changes:
            subject, known = change.address.subject, self._watched.get(change.address.subject)
            if known is not None and known.sequence >= change.position.sequence:
                continue
            entries = frozenset((*timer.key, timer.cause) for timer in self._moments(subject, change.state))
            self._watched[subject] = _Watched(change.state, change.position.sequence, entries)
            for entry in entries - self._queued:
                self._queued.add(entry)
                heappush(self._upcoming, entry)

    def clear(self) -> None:
        """Remove every case and order, as before a rebuild; the lock is not touched."""
        self._watched.clear()
        self._upcoming.clear()
        self._arrived.clear()
        self._queued.clear()

    async def lock(self) -> MemoryLock | None:
        """The lock of the active ticker; None while another has it."""
        if self.holder is not None:
            return None
        self.holder = MemoryLock(self)
        return self.holder

    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        """The timers that are due by `now`, in due order, behind the timer `after`."""
        self._move_arrived(now, clean=after is None)
        due: list[DueTimer] = []
        start = 0 if after is None else bisect_right(self._arrived, after.key, key=lambda entry: entry[:5])
        for index in range(start, len(self._arrived)):
            entry = self._arrived[index]
            if entry[0] > now or len(due) == count_max:
                break
            if self._in_force(entry):
                due.append(self._due_timer(entry))
        return due

    async def next_at(self, after: datetime) -> datetime | None:
        """The moment of the first timer after `after`; None when there is none."""
        self._move_arrived(after)
        start = bisect_right(
            self._arrived, after, key=lambda entry: entry[0]
        )  # the list may go beyond `after` where the system clock went back
        arrived = next((entry[0] for entry in self._arrived[start:] if self._in_force(entry)), None)
        upcoming = self._upcoming[0][0] if self._upcoming else None
        return min((moment for moment in (arrived, upcoming) if moment is not None), default=None)

    async def running(self, after: Timer | None, count_max: int) -> list[DueTimer]:
        """The running deadlines behind the timer `after`, soonest first: those that a newer calendar may move."""
        entries = (entry for watched in self._watched.values() for entry in watched.entries if entry[2] == "overdue")
        left = (entry for entry in entries if after is None or entry[:5] > after.key)
        return [self._due_timer(entry) for entry in nsmallest(count_max, left)]

    async def calendars(self) -> list[str]:
        """The references of the calendars by which every running deadline is computed."""
        return self._calendars

    async def note_calendars(self, references: Sequence[str]) -> None:
        """Note that every running deadline is computed by these calendars."""
        self._calendars = sorted(references)

    def __iter__(self) -> Iterator[Timer]:
        """All timers in force, in no order."""
        return (Timer(*entry) for watched in self._watched.values() for entry in watched.entries)

    def _move_arrived(self, now: datetime, clean: bool = False) -> None:
        """Move entries whose moment has come from the heap to the list; the top of the heap is in force afterwards."""
        if clean:
            for entry in self._arrived:
                if not self._in_force(entry):
                    self._queued.discard(entry)
            self._arrived = [entry for entry in self._arrived if entry in self._queued]
        arrived = []
        while self._upcoming and (self._upcoming[0][0] <= now or not self._in_force(self._upcoming[0])):
            entry = heappop(self._upcoming)
            if self._in_force(entry):
                arrived.append(entry)
            else:
                self._queued.discard(entry)
        for entry in arrived if len(arrived) < len(self._arrived) else ():
            insort(self._arrived, entry)
        if len(arrived) >= len(self._arrived):
            self._arrived = sorted(self._arrived + arrived)

    def _in_force(self, entry: AgendaEntry) -> bool:
        watched = self._watched.get(entry[1])
        return watched is not None and entry in watched.entries

    def _due_timer(self, entry: AgendaEntry) -> DueTimer:
        watched = self._watched[entry[1]]
        return DueTimer(Timer(*entry), watched.state, watched.sequence)
