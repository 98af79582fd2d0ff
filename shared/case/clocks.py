"""The clocks of a case as values: running deadlines, their moves, the overdues that stand, and their changes by events.

A clock ends with its stage (`ended_at`). It is removed when supervision closes it by an event on the log. A clock that
ended late and unseen stays until its overdue is declared: every overdue is recorded (clause 5.1.3 a).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from shared.case import events as e
from shared.case.base import Recorded
from shared.case.facts import Deadline, Stage

_BY_PEOPLE = (e.Extended.TYPE, e.Suspended.TYPE, e.Resumed.TYPE)
Key = tuple[Stage, str | None]  # the stage; the unit where each co-handling unit has its own clock


# Timers fire within seconds of their moment, unless this system was out or the case was recorded late.
SEEN_LATE_AFTER = timedelta(minutes=1)


def seen_late(moment: datetime, seen_at: datetime) -> bool:
    """Whether a moment was seen late: this system was out, or the case was recorded after it."""
    return seen_at - moment > SEEN_LATE_AFTER


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a due moment after it was set: the event, the moment from which it holds and the new due moment."""

    event: str
    type: str
    at: datetime
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunningDeadline:
    """A deadline in force. `set_by` is the event that set the due moment, and the cause of the firings that follow.

    `warned` and `overdue` mark that it has fired, once for its due moment. The overdues that stand are in the state's
    `late`. `resume_at` is the end of a pause, `ended_at` the end of the stage. `put_under` marks a clock that
    follows the law's own limit in place of the one under which people had moved it.
    """

    deadline: Deadline
    set_by: str
    warned: bool = False
    overdue: bool = False
    suspended: bool = False
    extensions: int = 0
    extension_requested: bool = False
    pause_requested: bool = False
    pauses: int = 0
    resume_at: datetime | None = None
    ended_at: datetime | None = None
    moves: tuple[Move, ...] = ()
    put_under: bool = False

    @property
    def key(self) -> Key:
        return self.deadline.stage, self.deadline.unit

    @property
    def moved(self) -> bool:
        """Whether a person extended or suspended it."""
        return any(move.type in _BY_PEOPLE for move in self.moves)

    @property
    def late_unseen(self) -> bool:
        """Whether the stage ended after the due moment and the overdue is not declared yet."""
        return self.ended_at is not None and self.ended_at > self.deadline.due and not (self.overdue or self.suspended)


@dataclass(frozen=True, slots=True)
class Overdue:
    """An overdue that stands: `rung` rungs of the ladder were taken, the next rung is due at `next_at`.

    `cause` is the event that set `next_at`, or the undoing of a merge after which the ladder goes on. `ended_at` is the
    end of the stage, None while it runs.
    """

    stage: Stage
    unit: str | None
    due: datetime
    cause: str
    rung: int = 0
    next_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def key(self) -> Key:
        return self.stage, self.unit


RunningDeadlines = tuple[RunningDeadline, ...]
Overdues = tuple[Overdue, ...]
STORED = TypeAdapter(RunningDeadlines)  # their form in a stored state and in an event


def find(clocks: Iterable[RunningDeadline], key: Key) -> RunningDeadline | None:
    """The clock of a stage. A stage has one clock at most: another opens only after the first is closed."""
    return next((clock for clock in clocks if clock.key == key), None)


def ended(clocks: RunningDeadlines, still: Collection[Key], at: datetime) -> RunningDeadlines:
    """The clocks after the stages other than `still` ended at the moment `at`."""
    return tuple(
        clock if clock.ended_at is not None or clock.key in still else replace(clock, ended_at=at) for clock in clocks
    )


def late_ended(lates: Overdues, clocks: RunningDeadlines) -> Overdues:
    """The overdues, with the ends of their stages taken from `clocks`."""
    ends = {clock.key: clock.ended_at for clock in clocks if clock.overdue and clock.ended_at is not None}
    return tuple(replace(overdue, ended_at=overdue.ended_at or ends.get(overdue.key)) for overdue in lates)


def run_on(before: RunningDeadlines, lates: Overdues, id: str, at: datetime) -> dict[str, Any]:
    """The clocks and overdues after a merge was undone by the event `id`: the clocks `before` it have never ended.

    An overdue that was declared meanwhile has no rungs yet, since its stage had ended: its ladder begins now. Whatever
    fires from now on has the undoing as its cause: a command of the merged time may have come to nothing, and under the
    same cause it would be no new command.
    """
    running = {clock.key: clock for clock in before if clock.ended_at is None}
    late = []
    for overdue in lates:
        clock = running.get(overdue.key)
        if clock is not None and clock.deadline.due == overdue.due:
            overdue = replace(overdue, ended_at=None, cause=id, next_at=overdue.next_at if clock.overdue else at)
        late.append(overdue)
    declared = {(overdue.key, overdue.due) for overdue in late}
    return {"clocks": tuple(_runs_on(clock, declared, id, at) for clock in before), "late": tuple(late)}


def _runs_on(
    clock: RunningDeadline, declared: Collection[tuple[Key, datetime]], id: str, at: datetime
) -> RunningDeadline:
    """A clock after a merge was undone. It is overdue where its overdue stands; one that was annulled fires again."""
    overdue = (clock.key, clock.deadline.due) in declared
    if clock.ended_at is not None:
        return replace(clock, overdue=clock.overdue or overdue)
    fires_again = not overdue and (clock.overdue or clock.deadline.due < at)
    return replace(clock, overdue=overdue, set_by=id if fires_again else clock.set_by)


def set_anew(clocks: RunningDeadlines, lates: Overdues, event: e.DeadlinesSet, id: str) -> dict[str, Any]:
    """The clocks and overdues after a change of stage. A clock closed and opened for one moment keeps its firings."""
    unclosed = tuple(clock for clock in clocks if clock.deadline.stage not in event.closes)
    before = {_moment(clock.deadline): clock for clock in clocks}
    new = (*unclosed, *(_opened(before.get(_moment(deadline)), deadline, id) for deadline in event.opens))
    runs = {clock.key for clock in new if clock.overdue and clock.ended_at is None}
    late = tuple(replace(overdue, ended_at=None) if overdue.key in runs else overdue for overdue in lates)
    return {"clocks": new, "late": late}


def _moment(deadline: Deadline) -> tuple[Any, ...]:
    return deadline.stage, deadline.unit, deadline.start, deadline.due


def _opened(before: RunningDeadline | None, deadline: Deadline, id: str) -> RunningDeadline:
    """The clock of a deadline. A due moment that has fired does not fire again, also under a new document version."""
    if before is None:
        return RunningDeadline(deadline, id)
    warned = before.warned and before.deadline.warn_at == deadline.warn_at
    set_by = before.set_by if before.deadline == deadline else id
    put_under = before.put_under and before.deadline.terms == deadline.terms
    return replace(before, deadline=deadline, set_by=set_by, warned=warned, ended_at=None, put_under=put_under)


def extended(clocks: RunningDeadlines, event: e.Extended, recorded: Recorded[Any]) -> RunningDeadlines:
    """The clocks after an extension. The due moment and the moment to warn may fire again."""
    clock = find(clocks, (event.stage, event.unit))
    if clock is None:
        return clocks
    old = clock.deadline
    warn_at = old.warn_at + (event.due - old.due) if old.warn_at else None
    shifted = {"due": event.due, "warn_at": warn_at, "last_day": None}
    new = event.deadline or old.model_copy(update=shifted)  # older events state the due moment alone
    fresh = {"warned": False, "overdue": False, "extension_requested": False, "extensions": clock.extensions + 1}
    return _changed(clocks, clock, _moved(clock, new, recorded) | fresh)


def reckoned_anew(
    clocks: RunningDeadlines, event: e.DeadlineRecomputed | e.Resumed, recorded: Recorded[Any]
) -> RunningDeadlines:
    """The clocks after a due moment was computed again. A moment that changed may fire again."""
    new = event.deadline
    clock = find(clocks, (new.stage, new.unit))
    if clock is None:
        return clocks
    changes = _moved(clock, new, recorded)
    changes["warned"] = clock.warned and clock.deadline.warn_at == new.warn_at
    changes["overdue"] = clock.overdue and clock.deadline.due == new.due
    if new.terms != clock.deadline.terms:  # another limit: an extension of the one before does not prolong it
        moves = tuple(move for move in changes["moves"] if move.type != e.Extended.TYPE)
        changes |= {"moves": moves, "extensions": 0, "put_under": True}
    if isinstance(event, e.Resumed):
        changes |= {"suspended": False, "pause_requested": False, "resume_at": None}
    return _changed(clocks, clock, changes)


def _moved(clock: RunningDeadline, new: Deadline, recorded: Recorded[Any]) -> dict[str, Any]:
    at = getattr(recorded.event, "goes_on_at", None) or recorded.meta.time
    move = Move(recorded.id, recorded.type, at, new.due)
    return {"deadline": new, "set_by": recorded.id, "moves": (*clock.moves, move)}


_FLAGS: dict[type[Any], dict[str, Any]] = {
    e.ExtensionRequested: {"extension_requested": True},
    e.ExtensionRefused: {"extension_requested": False},
    e.PauseRequested: {"pause_requested": True},
    e.PauseRefused: {"pause_requested": False},
    e.Suspended: {"suspended": True, "pause_requested": False},
    e.Warned: {"warned": True},
    e.OverdueDeclared: {"overdue": True},
}
FLAGGING = tuple(_FLAGS)


def flagged(clocks: RunningDeadlines, event: Any, recorded: Recorded[Any]) -> RunningDeadlines:
    """The clocks after one of them fired or was suspended, or after a request was made or refused."""
    clock = find(clocks, (event.stage, event.unit))
    if clock is None:
        return clocks
    changes = dict(_FLAGS[type(event)])
    if isinstance(event, e.Suspended):
        move = Move(recorded.id, event.TYPE, recorded.meta.time)
        changes |= {"pauses": clock.pauses + 1, "resume_at": event.until, "moves": (*clock.moves, move)}
    return _changed(clocks, clock, changes)


def _changed(clocks: RunningDeadlines, chosen: RunningDeadline, changes: dict[str, Any]) -> RunningDeadlines:
    return tuple(replace(clock, **changes) if clock is chosen else clock for clock in clocks)


def declared(lates: Overdues, event: e.OverdueDeclared, id: str, ended_at: datetime | None) -> Overdues:
    """The overdues with one more. A second overdue of the same clock starts its ladder from the first rung."""
    others = annulled(lates, (event.stage, event.unit))
    return (*others, Overdue(event.stage, event.unit, event.due, id, next_at=event.next_at, ended_at=ended_at))


def annulled(lates: Overdues, key: Key) -> Overdues:
    """The overdues without that of one clock."""
    return tuple(overdue for overdue in lates if overdue.key != key)


def climbed(lates: Overdues, event: e.Urged | e.Ordered | e.Escalated, id: str) -> Overdues:
    """The overdues after a rung of the ladder was taken. An act by a person's own decision is no rung."""
    if event.rung is None:
        return lates
    key, rung = (event.late_stage, event.late_unit), event.rung + 1
    return tuple(
        replace(overdue, rung=rung, next_at=event.next_at, cause=id) if overdue.key == key else overdue
        for overdue in lates
    )
