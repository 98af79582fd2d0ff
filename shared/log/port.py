"""The port of the log: its calls and its errors.

A decision is one `append`, guarded by the stream sequence of the aggregate's last event. `jetstream` and `memory`
implement the port, and one suite of contract tests holds for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

from shared.case.base import Address, Event, Owner, Position, Recorded, Unknown

READ_BATCH_COUNT_MAX = 500
ACK_WAIT_S = 30  # an event that is not settled within this time is delivered again


class LogError(Exception):
    """A call of the log failed; the subclass is the reason."""


class LogConflict(LogError):
    """Another event of the aggregate came first. The caller loads the new events and decides again."""

    def __init__(self, subject: str, expected: int, actual_sequence: int) -> None:
        super().__init__(
            f"{subject}: expected last sequence {expected}, the log has {actual_sequence}; load and decide again"
        )
        self.actual_sequence = actual_sequence


class LogUnavailable(LogError):
    """The log did not answer. An append may have been stored or not; the caller appends the same event again."""


class LogFull(LogUnavailable):
    """The server has no room for another message. The text names the limit."""


class EventTooLarge(LogError):
    """The event is larger than EVENT_BYTES_MAX. Longer text belongs in an attachment."""


class NotSealed(LogError):
    """A private field of an event to be appended is not sealed."""


class WrongOwner(LogError):
    """A service tried to append an event that another service owns."""


class NoArea(LogError):
    """No area of this installation holds the region, or no log stream has that name."""


class DurableMissing(LogError):
    """Somebody else deleted the durable consumer, and its acknowledgements with it."""


class Malformed(LogError):
    """A message on the log is no event in our envelope."""


class Damaged(LogError):
    """The stream ends before a position that was read, or has a gap: it was restored from an older copy."""


class Delivery(Protocol):
    """An event that is delivered to a reaction. `attempts` counts its deliveries, this one included."""

    @property
    def recorded(self) -> Recorded[Event]: ...
    @property
    def attempts(self) -> int: ...
    async def ack(self) -> None:
        """Acknowledge: the event is not delivered again."""

    async def nack(self, delay_s: float) -> None:
        """Refuse for now: the event is delivered again after `delay_s` seconds."""

    async def term(self) -> None:
        """Give up: the event is not delivered again. The caller parks it first."""


class Durable(Protocol):
    """A durable consumer of a stream, by name. Several processes may fetch from the same one."""

    async def fetch(self, count_max: int, wait_s: float) -> list[Delivery]:
        """At most `count_max` deliveries, without waiting for a full batch; [] after `wait_s` seconds without any.

        A malformed message is terminated, and fsck reports it. Raises DurableMissing, LogUnavailable.
        """

    async def behind(self) -> int:
        """The count of events that are not acknowledged yet. Raises DurableMissing, LogUnavailable."""


class Log(Protocol):
    """The log, with one stream for each area."""

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        """Append an event if the aggregate's last event has stream sequence `expected` (0: the aggregate has none).

        The same bytes again, right after `expected`, succeed: a repetition after a lost acknowledgement needs no other
        handling. The same id with other bytes is a LogConflict.

        Raises LogConflict, LogUnavailable, EventTooLarge, NotSealed, WrongOwner, NoArea.
        """

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        """The events of an aggregate with a stream sequence above `after`, in order, as the leader has them.

        Raises LogUnavailable, NoArea, Malformed.
        """

    async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        """Like `load`, from any replica, which may lack the newest events. An acceptance may rest on it, no refusal."""

    async def at(self, position: Position) -> Recorded[Event] | None:
        """The event at a position; None when there is none."""

    async def end(self, stream: str) -> int:
        """The last sequence of a stream, 0 when it is empty."""

    def streams(self) -> tuple[str, ...]:
        """The names of the log streams, one per area."""

    def stream_of(self, address: Address) -> str:
        """The stream of an aggregate. Raises NoArea."""

    def follow(self, stream: str, after: int) -> AsyncIterator[list[Recorded[Event]]]:
        """The events of a stream above `after`, in strict order, then new ones; never ends by itself.

        A batch has at most READ_BATCH_COUNT_MAX events and does not wait to be full. Reading outlives restarts of the
        server, without gap or repetition. Raises Damaged when the stream ends before `after` or has a gap, Malformed.
        """

    async def durable(self, stream: str, name: str) -> Durable:
        """The durable `name` of a stream; a new one begins at the first event."""


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
    """The same log for one service. Its `append` raises WrongOwner for events of other services."""
    return cast(Log, _Owned(log, owner))
