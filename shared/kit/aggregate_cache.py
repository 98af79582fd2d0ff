"""What a process knows of cases and orders: their newest folded states, and what the last events made of them.

A state is a function of the log alone, so all services of one process share what one of them has folded or appended:
nobody reads and folds an event again that another has just made, and a case has one queue for all of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from shared.case.base import Recorded

CACHED_COUNT_MAX = 50_000
MADE_COUNT_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Versioned:
    """An aggregate as this process knows it: its folded state and the stream sequence of its last event."""

    state: Any
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class StateChange:
    """What an event of this process made of its aggregate; the stream sequences of the one before it and of itself."""

    before: Any
    after: Any
    since: int
    sequence: int


class AggregateCache:
    """The memory of one process, bounded; what is forgotten stands on the log.

    Whoever holds folded states beside it in the same process holds no more of them than `cached_count_max`.
    """

    def __init__(self, cached_count_max: int = CACHED_COUNT_MAX) -> None:
        self.cached_count_max = cached_count_max
        self._cache: OrderedDict[str, Versioned] = OrderedDict()
        self._made: OrderedDict[str, StateChange] = OrderedDict()
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.hit_count = self.miss_count = 0

    def queue(self, subject: str) -> asyncio.Lock:
        """Where those who decide on this aggregate wait for each other; keep it while it is needed."""
        return self._queues.setdefault(subject, asyncio.Lock())

    def get(self, subject: str) -> Versioned | None:
        """The aggregate as far as it is known; others may have gone on with it."""
        known = self._cache.get(subject)
        if known is None:
            self.miss_count += 1
        else:
            self.hit_count += 1
        return known

    def remember(self, subject: str, held: Versioned) -> None:
        """Know an aggregate, unless a newer one is known."""
        known = self._cache.get(subject)
        if known is None or known.sequence < held.sequence:
            self._cache[subject] = held
        self._cache.move_to_end(subject)
        if len(self._cache) > self.cached_count_max:
            self._cache.popitem(last=False)

    def forget(self, subject: str) -> None:
        """Drop an aggregate."""
        self._cache.pop(subject, None)

    def note(self, recorded: Recorded[Any], made: StateChange) -> None:
        """An event was appended here, and this is what it made."""
        self._made[recorded.id] = made
        if len(self._made) > min(MADE_COUNT_MAX, self.cached_count_max):
            self._made.popitem(last=False)

    def made(self, recorded: Recorded[Any]) -> StateChange | None:
        """What an event made, while this process remembers that it appended it; None for others and older ones."""
        made = self._made.get(recorded.id)
        return made if made and recorded.position and made.sequence == recorded.position.sequence else None
