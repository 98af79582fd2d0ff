"""Who goes first in a process: people at the desk wait for nobody, and what follows from their acts never starves.

While a command of somebody is being answered, reactions work few events at a time and every job takes a breath between
two batches. What arrives meanwhile is done together, which also makes it cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.kit.clock import Clock

SLOTS_COUNT = 32  # events that a reactor works at once
BUSY_SLOTS_COUNT = 4
BREATH_S = 0.02


class LoadGate:
    """How many commands are being answered, and what that leaves to the jobs behind."""

    def __init__(self) -> None:
        self._answering = 0
        self._behind: set[tuple[str, str]] = set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Somebody waits for the answer to a command."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    @property
    def slots(self) -> int:
        """How many events a reactor may work at once now."""
        return BUSY_SLOTS_COUNT if self._answering else SLOTS_COUNT

    def follows(self, who: str, stream: str, behind: bool) -> None:
        """A follower of the log says whether a stream has more for it to do than it could take in hand."""
        (self._behind.add if behind else self._behind.discard)((who, stream))

    def behind(self, stream: str) -> bool:
        """Whether somebody has more to do on a stream than they could take in hand."""
        return any(one == stream for _, one in self._behind)

    async def breathe(self, clock: Clock, who: str = "") -> None:
        """Between two batches: let the desk go first, then those who are behind, unless that is `who` breathes."""
        if self._answering or any(other != who for other, _ in self._behind):
            await clock.sleep(BREATH_S)
