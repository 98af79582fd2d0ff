"""The order of work in one process: answers to callers come first, and the jobs behind them never starve.

While a command of a caller is in work, reactions work few events at once and every job pauses between two batches.
The events that arrive during a pause are worked in one batch, which also costs less.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.kit.clock import Clock

SLOTS_COUNT = 32  # events that one reaction runner works at once
BUSY_SLOTS_COUNT = 4
BREATH_S = 0.02


class LoadGate:
    """The commands of callers in work, the followers that are behind, and the share of the process for each job."""

    def __init__(self) -> None:
        self._answering = 0
        self._behind: set[tuple[str, str]] = set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A block that answers a caller."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    @property
    def slots(self) -> int:
        """The count of events that a reaction runner may work at once now."""
        return BUSY_SLOTS_COUNT if self._answering else SLOTS_COUNT

    def follows(self, follower: str, stream: str, behind: bool) -> None:
        """Note whether a stream holds more events for this follower than its last batch took."""
        (self._behind.add if behind else self._behind.discard)((follower, stream))

    def behind(self, stream: str) -> bool:
        """Whether any follower of this stream is behind."""
        return any(behind == stream for _, behind in self._behind)

    async def breathe(self, clock: Clock, follower: str = "") -> None:
        """Pause between two batches while a caller waits, or while a follower other than `follower` is behind."""
        if self._answering or any(other != follower for other, _ in self._behind):
            await clock.sleep(BREATH_S)
