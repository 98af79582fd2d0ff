"""What the services ask of the log, and what can go wrong with it.

A decision is one `append`, guarded by the stream sequence of the aggregate's last event. Two implementations stand
behind this port, `jetstream` and `memory`; one contract suite judges both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

from shared.case.base import Address, Event, Owner, Position, Recorded, Unknown

READ_BATCH_COUNT_MAX = 500


class LogError(Exception):
    """The log did not do what was asked; the subclass says why."""


class LogConflict(LogError):
    """Another event of the aggregate came first: load what is new and decide again."""

    def __init__(self, subject: str, expected: int, actual_sequence: int) -> None:
        super().__init__(
            f"{subject}: expected last sequence {expected}, the log has {actual_sequence}; load and decide again"
        )
        self.actual_sequence = actual_sequence


class LogUnavailable(LogError):
    """No answer from the log. An append may or may not have been taken: try the same event again."""


class EventTooLarge(LogError):
    """The event is larger than EVENT_BYTES_MAX; longer text belongs in an attachment."""


class NotSealed(LogError):
    """A private field would have gone to the log in the clear."""


class WrongOwner(LogError):
    """A service tried to append an event that another service owns."""


class NoArea(LogError):
    """No area of this installation holds the region, or no log stream has that name."""


class DurableMissing(LogError):
    """The durable consumer was deleted behind our back: what it had acknowledged is lost with it."""


class Malformed(LogError):
    """A message on the log is not an envelope of ours."""


class Damaged(LogError):
    """The stream ends before a position that was read from it, or has a hole: it was restored from an older copy."""


class Delivery(Protocol):
    """One event handed to a reaction, `attempts` counting this hand-over (1 = the first)."""

    @property
    def recorded(self) -> Recorded[Event]: ...
    @property
    def attempts(self) -> int: ...
    async def ack(self) -> None:
        """Done; never delivered again."""

    async def nack(self, delay_s: float) -> None:
        """Not now; delivered again after `delay_s` seconds."""

    async def term(self) -> None:
        """Given up; never delivered again. Park it first."""


class Durable(Protocol):
    """A named place of a reaction on a stream; many processes may fetch from the same one."""

    async def fetch(self, count_max: int, wait_s: float) -> list[Delivery]:
        """What is there, at most `count_max`; a partial batch at once, [] after `wait_s` seconds.

        Raises DurableMissing when the durable was deleted, LogUnavailable when the log does not answer,
        Malformed never: such a message is terminated and reported by fsck.
        """

    async def behind(self) -> int:
        """How many events are not acknowledged yet. Raises DurableMissing, LogUnavailable."""


class Log(Protocol):
    """The log of all areas."""

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        """Append one event if the aggregate's last event has stream sequence `expected` (0: it has none).

        The same bytes that the log already took right after `expected` are a success, not a conflict, so a lost
        acknowledgement needs nothing from the caller. The same id with other bytes is a LogConflict: load the
        aggregate again. Raises LogConflict, LogUnavailable, EventTooLarge, NotSealed, WrongOwner, NoArea.
        """

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        """All events of one aggregate with a stream sequence above `after`, in order, as the leader has them.

        Raises LogUnavailable, NoArea, Malformed.
        """

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        """Like `load`, from any replica: may lack the newest events. Good enough to accept on, never to refuse."""

    async def at(self, position: Position) -> Recorded[Event] | None:
        """The event at a position, None when there is none."""

    async def end(self, stream: str) -> int:
        """The last sequence of a stream, 0 when it is empty."""

    def streams(self) -> tuple[str, ...]:
        """The names of the log streams, one per area."""

    def stream_of(self, address: Address) -> str:
        """The stream that an aggregate lives in. Raises NoArea."""

    def follow(self, stream: str, after: int) -> AsyncIterator[list[Recorded[Event]]]:
        """Every event of a stream above `after`, in strict order, then live; it never ends by itself.

        Yields what is there, at most FETCH_COUNT_MAX, and never waits to fill. Outlives restarts of the server without
        skipping or repeating. Raises Damaged when the stream ends before `after` or has a hole, Malformed.
        """

    async def durable(self, stream: str, name: str) -> Durable:
        """The durable `name` on a stream, made (from the first event on) when there is none yet."""


class _Owned:
    def __init__(self, log: Log, owner: Owner) -> None:
        self._log = log
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        if isinstance(recorded.event, Unknown) or recorded.event.OWNER is not self._owner:
            raise WrongOwner(f"{self._owner} may not append {recorded.type}")
        return await self._log.append(recorded, expected)


def for_owner(log: Log, owner: Owner) -> Log:
    """The same log, for one service: its append refuses the events of every other (WrongOwner)."""
    return cast(Log, _Owned(log, owner))
