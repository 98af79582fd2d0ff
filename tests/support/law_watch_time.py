"""Invariants of the clocks of a case, derived a second time from the events and from the holders of the case.

The rule by which events end stages is written here in another form than in the law, so that an error in one of the two
shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shared.case import events as e
from shared.case.base import Recorded
from shared.case.facts import Allowance, Hold, Stage
from shared.case.lifecycle import ENDED, Status
from shared.case.state import CaseState

Key = tuple[Stage, str | None]
WORKING = (Status.ASSIGNED, Status.HANDLING)
RUNGS = (e.Urged, e.Ordered, e.Escalated)
# The events that end triage, signing, handling or feedback for any unit; assignment and signing: see `_main_ends`.
ENDS_MAIN = (
    e.Registered,
    e.Ruled,
    e.HandedBack,
    e.Transferred,
    e.Settled,
    e.SentBack,
    e.Closed,
    e.Declined,
    e.Split,
    e.Merged,
    e.Withdrawn,
    e.Reopened,
)


@dataclass(frozen=True)
class WatchedClock:
    """A clock as the watch derives it; `seen`: the overdue of this due moment is on the log."""

    start: datetime
    due: datetime
    warn_at: datetime | None
    allows: Allowance | None
    terms: tuple[object, ...] = ()
    documents: tuple[object, ...] = ()
    ended: datetime | None = None
    seen: bool = False
    warned: bool = False
    suspended: bool = False
    extensions: int = 0
    pauses: int = 0

    @property
    def undeclared_overdue(self) -> bool:
        return self.ended is not None and self.ended > self.due and not self.seen and not self.suspended


@dataclass
class Ladder:
    """The ladder of a valid overdue: the next rung and its moment."""

    rung: int
    at: datetime | None


@dataclass
class Clocks:
    """The clocks, ladders and overdue count of one case."""

    own: dict[Key, WatchedClock] = field(default_factory=dict)
    ladders: dict[Key, Ladder] = field(default_factory=dict)
    declared: int = 0
    before_merge: dict[Key, WatchedClock] = field(default_factory=dict)
    declared_while_merged: dict[Key, datetime] = field(default_factory=dict)

    def follow(self, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
        """Apply an event. Raises AssertionError when the event breaks an invariant."""
        event, at = recorded.known, recorded.meta.time
        imported = Hold.IMPORT in before.holds
        if isinstance(event, e.DeadlinesSet):
            self._set(event, at, imported)
        elif isinstance(event, e.Warned | e.OverdueDeclared):
            self._fired(event, imported)
            if before.status is Status.MERGED:
                self.declared_while_merged[event.stage, event.unit] = event.due
        elif isinstance(event, e.Extended | e.Suspended | e.Resumed | e.DeadlineRecomputed):
            self._moved(event, recorded, imported)
        elif isinstance(event, e.OverdueAnnulled):
            del self.ladders[event.stage, event.unit]
            self.declared -= 1
        elif isinstance(event, RUNGS) and event.rung is not None:
            self._rung(event, at)
        if isinstance(event, e.Merged):
            self.before_merge = dict(self.own)
        elif isinstance(event, e.Unmerged):
            self._run_on(at)
        self._end(before, event, after, at)
        self._agrees(after)

    def _run_on(self, at: datetime) -> None:
        """The clocks of a case whose merge is undone; the ladder of an overdue declared meanwhile begins now.

        An overdue that was annulled no longer stands, so that a clock that runs on is declared overdue anew.
        """
        self.own = {
            key: replace(clock, seen=clock.seen and (clock.ended is not None or key in self.ladders))
            for key, clock in self.before_merge.items()
        }
        for key, due in self.declared_while_merged.items():
            if key not in self.ladders or self.own[key].due != due:
                continue
            self.own[key] = replace(self.own[key], seen=True)
            if self.own[key].ended is None:
                self.ladders[key] = Ladder(0, at)
        self.before_merge, self.declared_while_merged = {}, {}

    def _set(self, event: e.DeadlinesSet, at: datetime, imported: bool) -> None:
        closed = {key: clock for key, clock in self.own.items() if key[0] in event.closes}
        opened = {(deadline.stage, deadline.unit): deadline for deadline in event.opens}
        for key, clock in closed.items():
            assert not clock.undeclared_overdue, (
                "the overdue of a clock that ended late is declared before the clock is closed"
            )
            successor = opened.get(key)
            assert clock.ended is not None or successor is not None, "a running stage has a clock"
            stays = successor is not None and successor.due == clock.due
            late = clock.ended is None and clock.due < at and not (clock.seen or clock.suspended or imported)
            assert stays or not late, "the overdue of a running clock is declared before the clock is closed"
        clocks = {key: clock for key, clock in self.own.items() if key not in closed}
        assert not clocks.keys() & opened.keys()
        for key, deadline in opened.items():
            previous = closed.get(key)
            clocks[key] = WatchedClock(
                deadline.start, deadline.due, deadline.warn_at, deadline.allows, deadline.terms,
                (deadline.calendar_reference, deadline.calendars),
            )  # fmt: skip
            if previous is not None and (previous.start, previous.due) == (deadline.start, deadline.due):
                warned = previous.warned and previous.warn_at == deadline.warn_at
                clocks[key] = replace(
                    previous,
                    warn_at=deadline.warn_at,
                    allows=deadline.allows,
                    terms=deadline.terms,
                    documents=clocks[key].documents,
                    ended=None,
                    warned=warned,
                )
        self.own = clocks

    def _fired(self, event: e.Warned | e.OverdueDeclared, imported: bool) -> None:
        key = event.stage, event.unit
        clock = self.own[key]
        assert event.due == clock.due
        assert not imported
        assert not clock.suspended
        assert not clock.seen, "nothing fires twice"
        if isinstance(event, e.Warned):
            assert clock.warn_at is not None
            assert clock.ended is None
            assert event.seen_at >= clock.warn_at, "nothing fires early"
            assert not clock.warned, "nothing fires twice"
            self.own[key] = replace(clock, warned=True)
            return
        assert event.seen_at > clock.due, "nothing fires early"
        assert clock.ended is None or clock.ended > clock.due, "a clock that ended in time is never overdue"
        self.own[key] = replace(clock, seen=True)
        self.ladders[key] = Ladder(0, event.next_at)
        self.declared += 1

    def _moved(self, event: Any, recorded: Recorded[Any], imported: bool) -> None:
        reckoned = getattr(event, "deadline", None)
        change = reckoned or event
        key = change.stage, change.unit
        clock, at = self.own[key], recorded.meta.time
        assert clock.ended is None, "a clock that ended does not move"
        late = clock.due < at and not (clock.seen or clock.suspended or imported)
        if isinstance(event, e.Extended):
            assert event.due > clock.due
            assert not late, "an extension hides no lateness"
            assert reckoned is None or reckoned.due == event.due
            allows = reckoned.allows if reckoned else clock.allows
            _extensible(replace(clock, allows=allows), event, recorded)
            shift = clock.warn_at + (event.due - clock.due) if clock.warn_at else None
            warn_at = reckoned.warn_at if reckoned else shift
            documents = (reckoned.calendar_reference, reckoned.calendars) if reckoned else clock.documents
            new = replace(
                clock, due=event.due, warn_at=warn_at, allows=allows, documents=documents,
                extensions=clock.extensions + 1,
            )  # fmt: skip
            self.own[key] = replace(new, seen=False, warned=False)
        elif isinstance(event, e.Suspended):
            assert not late, "a pause hides no lateness"
            _pausable(clock, event, at)
            self.own[key] = replace(clock, suspended=True, pauses=clock.pauses + 1)
        else:
            resumed = isinstance(event, e.Resumed)
            assert not resumed or clock.suspended
            by_documents = change.calendar_reference, change.calendars
            earlier = change.due < clock.due and by_documents == clock.documents
            assert not (resumed and earlier), "by the same calendar a pause makes nothing earlier"
            seen, warned = clock.seen and clock.due == change.due, clock.warned and clock.warn_at == change.warn_at
            new = replace(
                clock, due=change.due, warn_at=change.warn_at, allows=change.allows, terms=change.terms,
                documents=by_documents, extensions=clock.extensions if change.terms == clock.terms else 0,
            )  # fmt: skip
            moved = replace(new, seen=seen, warned=warned)
            self.own[key] = replace(moved, suspended=False) if resumed else moved

    def _rung(self, event: Any, at: datetime) -> None:
        key = event.late_stage, event.late_unit
        ladder, clock = self.ladders[key], self.own[key]
        assert clock.seen
        assert clock.ended is None, "no rung after the end of the stage"
        assert not clock.suspended
        assert event.rung == ladder.rung, "no rung is skipped, none doubled"
        assert event.moment == ladder.at
        assert ladder.at is not None
        assert at >= ladder.at, "no rung is early"
        self.ladders[key] = Ladder(ladder.rung + 1, event.next_at)

    def _end(self, before: CaseState, event: Any, after: CaseState, at: datetime) -> None:
        reporting = {co.unit for co in after.co_handlers if not co.reported} if after.status in WORKING else set()
        for key, clock in self.own.items():
            stage, unit = key
            if stage is Stage.CO_HANDLE:
                over = unit not in reporting
            elif stage is Stage.REPORT:
                over = isinstance(event, e.Escalated) or after.status in ENDED
            else:
                over = _main_ends(before, event)
            if over and clock.ended is None:
                self.own[key] = replace(clock, ended=at)
        if after.status in ENDED:
            self.own = {key: clock for key, clock in self.own.items() if clock.undeclared_overdue}

    def _agrees(self, after: CaseState) -> None:
        """Compare with the clocks, ladders and overdue count of the state."""
        in_state = {
            clock.key: (clock.deadline.due, clock.ended_at, clock.overdue, clock.warned, clock.suspended)
            for clock in after.clocks
        }
        own = {
            key: (clock.due, clock.ended, clock.seen, clock.warned, clock.suspended) for key, clock in self.own.items()
        }
        assert len(in_state) == len(after.clocks), "one clock for each stage and unit"
        assert in_state == own
        assert {key for key, clock in self.own.items() if clock.ended is None} <= after.running_stages
        assert {late.key: (late.rung, late.next_at) for late in after.late} == {
            key: (ladder.rung, ladder.at) for key, ladder in self.ladders.items()
        }
        assert after.overdue_count == self.declared


def _main_ends(before: CaseState, event: Any) -> bool:
    if isinstance(event, e.Assigned):
        return bool(event.unit != before.unit)
    if isinstance(event, e.SignedFor):
        return bool(event.unit == before.unit)
    return isinstance(event, ENDS_MAIN)


def _extensible(clock: WatchedClock, event: e.Extended, recorded: Recorded[Any]) -> None:
    """Petitions regulation, 34: by the post that the limit names, within its number of times and its last moment."""
    if (allows := clock.allows) is None:
        return
    assert allows.extend_by == recorded.meta.actor.post
    assert allows.extend_until is None or event.due <= allows.extend_until
    assert not allows.extend_times_max or clock.extensions < allows.extend_times_max


def _pausable(clock: WatchedClock, event: e.Suspended, at: datetime) -> None:
    """For a cause that the limit names, within its number of times and days (petitions regulation, 36)."""
    assert not clock.suspended
    assert event.until is None or event.until > at
    if (allows := clock.allows) is None:
        return
    assert event.cause in allows.pauses
    assert not allows.pause_times_max or clock.pauses < allows.pause_times_max
    if allows.pause_days_max:
        assert event.until is not None
        assert event.until <= at + timedelta(days=allows.pause_days_max)
