"""The clocks of a case as values: what runs, what moved it, what is late, and what each event makes of them.

A clock ends with the stage that it is for (`ended_at`), and goes when supervision says so on the log; one that ended
late before anybody saw it stays until its overdue is declared: nothing is late in silence (clause 5.1.3 a).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from shared.case import events as e
from shared.case.base import Recorded
from shared.case.facts import Deadline, Stage

Key = tuple[Stage, str | None]  # a stage, and the unit where each co-handling one has a clock of its own


@dataclass(frozen=True, slots=True)
class Move:
    """What changed a due moment after it was set: which event, when, and the due moment that came of it."""

    event: str
    type: str
    at: datetime
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunningDeadline:
    """A deadline in force: `set_by` is the event that set the moment, the cause of whatever fires.

    `warned` and `overdue` say that it has fired, once for its due moment; whether an overdue stands is in `late`.
    `resume_at` is when a pause runs out, `ended_at` when the stage was over.
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

    @property
    def key(self) -> Key:
        return self.deadline.stage, self.deadline.unit

    @property
    def late_unseen(self) -> bool:
        """Whether its stage ended after the due moment, and no overdue says so yet."""
        return self.ended_at is not None and self.ended_at > self.deadline.due and not (self.overdue or self.suspended)


@dataclass(frozen=True, slots=True)
class Overdue:
    """An overdue that stands: `rung` rungs of the ladder were taken, the next one comes at `next_at`.

    `cause` is the event that set that moment; `ended_at` is when the stage was over, if it is.
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


def find(clocks: Iterable[RunningDeadline], key: Key) -> RunningDeadline | None:
    """The clock of a stage; there is one at most, and another opens only when it is closed."""
    return next((clock for clock in clocks if clock.key == key), None)


def ended(clocks: RunningDeadlines, still: Collection[Key], at: datetime) -> RunningDeadlines:
    """The clocks after the stages other than `still` ended at a moment."""
    return tuple(
        clock if clock.ended_at is not None or clock.key in still else replace(clock, ended_at=at) for clock in clocks
    )


def late_ended(lates: Overdues, clocks: RunningDeadlines) -> Overdues:
    """What is late, with the ends of the stages that `clocks` tell."""
    ends = {clock.key: clock.ended_at for clock in clocks if clock.overdue and clock.ended_at is not None}
    return tuple(replace(one, ended_at=one.ended_at or ends.get(one.key)) for one in lates)


def set_anew(clocks: RunningDeadlines, lates: Overdues, event: e.DeadlinesSet, id: str) -> dict[str, Any]:
    """A change of stage. A clock that is closed and opened again for the same moment goes on as it was, late or not."""
    kept = tuple(clock for clock in clocks if clock.deadline.stage not in event.closes)
    before = {_moment(clock.deadline): clock for clock in clocks}
    new = (*kept, *(_opened(before.get(_moment(deadline)), deadline, id) for deadline in event.opens))
    runs = {clock.key for clock in new if clock.overdue and clock.ended_at is None}
    return {"clocks": new, "late": tuple(replace(one, ended_at=None) if one.key in runs else one for one in lates)}


def _moment(deadline: Deadline) -> tuple[Any, ...]:
    return deadline.stage, deadline.unit, deadline.start, deadline.due


def _opened(before: RunningDeadline | None, deadline: Deadline, id: str) -> RunningDeadline:
    """What has fired for a moment does not fire again, whatever other version of a document leads to it now."""
    if before is None:
        return RunningDeadline(deadline, id)
    warned = before.warned and before.deadline.warn_at == deadline.warn_at
    set_by = before.set_by if before.deadline == deadline else id
    return replace(before, deadline=deadline, set_by=set_by, warned=warned, ended_at=None)


def extended(clocks: RunningDeadlines, event: e.Extended, recorded: Recorded[Any]) -> RunningDeadlines:
    """Somebody named a later due moment; the moment to warn moves along, and both may fire again."""
    clock = find(clocks, (event.stage, event.unit))
    if clock is None:
        return clocks
    old = clock.deadline
    warn_at = old.warn_at + (event.due - old.due) if old.warn_at else None
    new = old.model_copy(update={"due": event.due, "warn_at": warn_at, "last_day": None})
    fresh = {"warned": False, "overdue": False, "extension_requested": False, "extensions": clock.extensions + 1}
    return _changed(clocks, clock, _moved(clock, new, recorded) | fresh)


def reckoned_anew(
    clocks: RunningDeadlines, event: e.DeadlineRecomputed | e.Resumed, recorded: Recorded[Any]
) -> RunningDeadlines:
    """A due moment was reckoned anew: what has fired for another moment may fire again."""
    new = event.deadline
    clock = find(clocks, (new.stage, new.unit))
    if clock is None:
        return clocks
    changes = _moved(clock, new, recorded)
    changes["warned"] = clock.warned and clock.deadline.warn_at == new.warn_at
    changes["overdue"] = clock.overdue and clock.deadline.due == new.due
    if isinstance(event, e.Resumed):
        changes |= {"suspended": False, "pause_requested": False, "resume_at": None}
    return _changed(clocks, clock, changes)


def _moved(clock: RunningDeadline, new: Deadline, recorded: Recorded[Any]) -> dict[str, Any]:
    move = Move(recorded.id, recorded.type, recorded.meta.time, new.due)
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
    """What fired, was asked for, refused or stopped on one clock."""
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
    """One more overdue that stands; a new one of the same clock begins its ladder anew."""
    kept = annulled(lates, (event.stage, event.unit))
    return (*kept, Overdue(event.stage, event.unit, event.due, id, next_at=event.next_at, ended_at=ended_at))


def annulled(lates: Overdues, key: Key) -> Overdues:
    """Without the overdue of one clock."""
    return tuple(one for one in lates if one.key != key)


def climbed(lates: Overdues, event: e.Urged | e.Ordered | e.Escalated, id: str) -> Overdues:
    """A rung of the ladder was taken; what a person does by their own decision is none."""
    if event.rung is None:
        return lates
    key, rung = (event.late_stage, event.late_unit), event.rung + 1
    return tuple(replace(one, rung=rung, next_at=event.next_at, cause=id) if one.key == key else one for one in lates)
