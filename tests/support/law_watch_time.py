"""What must hold of the clocks of a case, by an account of its own: kept from the events and from who has the case.

Which event ends which stage stands here a second time, in other words than in the law: so neither can be wrong alone.
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
# What ends triage, signing, handling or feedback whoever has the case; signing and another unit: see `_main_ends`.
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
class Own:
    """One clock as the watch knows it; `seen`: its overdue for this due moment stands on the log."""

    start: datetime
    due: datetime
    warn_at: datetime | None
    allows: Allowance | None
    ended: datetime | None = None
    seen: bool = False
    warned: bool = False
    suspended: bool = False
    extensions: int = 0
    pauses: int = 0

    @property
    def late_in_silence(self) -> bool:
        return self.ended is not None and self.ended > self.due and not self.seen and not self.suspended


@dataclass
class Ladder:
    """An overdue that stands: which rung comes next, and when."""

    rung: int
    at: datetime | None


@dataclass
class Clocks:
    """The account of one case."""

    own: dict[Key, Own] = field(default_factory=dict)
    ladders: dict[Key, Ladder] = field(default_factory=dict)
    declared: int = 0

    def follow(self, before: CaseState, recorded: Recorded[Any], after: CaseState) -> None:
        """Enter one more event. Raises AssertionError when it should not have come."""
        event, at = recorded.known, recorded.meta.time
        imported = Hold.IMPORT in before.holds
        if isinstance(event, e.DeadlinesSet):
            self._set(event, at, imported)
        elif isinstance(event, e.Warned | e.OverdueDeclared):
            self._fired(event, imported)
        elif isinstance(event, e.Extended | e.Suspended | e.Resumed | e.DeadlineRecomputed):
            self._moved(event, recorded, imported)
        elif isinstance(event, e.OverdueAnnulled):
            del self.ladders[event.stage, event.unit]
            self.declared -= 1
        elif isinstance(event, RUNGS) and event.rung is not None:
            self._rung(event, at)
        self._end(before, event, after, at)
        self._agrees(after)

    def _set(self, event: e.DeadlinesSet, at: datetime, imported: bool) -> None:
        gone = {key: one for key, one in self.own.items() if key[0] in event.closes}
        opened = {(one.stage, one.unit): one for one in event.opens}
        for key, one in gone.items():
            assert not one.late_in_silence, "what ended late is declared before its clock goes"
            named = opened.get(key)
            assert one.ended is not None or named is not None, "a stage that runs keeps a clock"
            stays = named is not None and named.due == one.due
            late = one.ended is None and one.due < at and not (one.seen or one.suspended or imported)
            assert stays or not late, "what is late now is declared before its clock goes"
        kept = {key: one for key, one in self.own.items() if key not in gone}
        assert not kept.keys() & opened.keys()
        for key, named in opened.items():
            was = gone.get(key)
            kept[key] = Own(named.start, named.due, named.warn_at, named.allows)
            if was is not None and (was.start, was.due) == (named.start, named.due):
                warned = was.warned and was.warn_at == named.warn_at
                kept[key] = replace(was, warn_at=named.warn_at, allows=named.allows, ended=None, warned=warned)
        self.own = kept

    def _fired(self, event: e.Warned | e.OverdueDeclared, imported: bool) -> None:
        key = event.stage, event.unit
        one = self.own[key]
        assert event.due == one.due
        assert not imported
        assert not one.suspended
        assert not one.seen, "nothing fires twice"
        if isinstance(event, e.Warned):
            assert one.warn_at is not None
            assert one.ended is None
            assert event.seen_at >= one.warn_at, "nothing fires early"
            assert not one.warned, "nothing fires twice"
            self.own[key] = replace(one, warned=True)
            return
        assert event.seen_at > one.due, "nothing fires early"
        assert one.ended is None or one.ended > one.due, "what ended in time is never late"
        self.own[key] = replace(one, seen=True)
        self.ladders[key] = Ladder(0, event.next_at)
        self.declared += 1

    def _moved(self, event: Any, recorded: Recorded[Any], imported: bool) -> None:
        named = event.deadline if isinstance(event, e.Resumed | e.DeadlineRecomputed) else event
        key = named.stage, named.unit
        one, at = self.own[key], recorded.meta.time
        assert one.ended is None, "nobody moves what is over"
        late = one.due < at and not (one.seen or one.suspended or imported)
        if isinstance(event, e.Extended):
            assert event.due > one.due
            assert not late, "an extension hides no lateness"
            _extensible(one, event, recorded)
            shift = one.warn_at + (event.due - one.due) if one.warn_at else None
            more = one.extensions + 1
            self.own[key] = replace(one, due=event.due, warn_at=shift, seen=False, warned=False, extensions=more)
        elif isinstance(event, e.Suspended):
            assert not late, "a pause hides no lateness"
            _pausable(one, event, at)
            self.own[key] = replace(one, suspended=True, pauses=one.pauses + 1)
        else:
            resumed = isinstance(event, e.Resumed)
            assert not resumed or (one.suspended and named.due >= one.due)
            seen, warned = one.seen and one.due == named.due, one.warned and one.warn_at == named.warn_at
            new = replace(one, due=named.due, warn_at=named.warn_at, allows=named.allows)
            moved = replace(new, seen=seen, warned=warned)
            self.own[key] = replace(moved, suspended=False) if resumed else moved

    def _rung(self, event: Any, at: datetime) -> None:
        key = event.late_stage, event.late_unit
        ladder, one = self.ladders[key], self.own[key]
        assert one.seen
        assert one.ended is None, "who is done is urged no more"
        assert not one.suspended
        assert event.rung == ladder.rung, "no rung is skipped, none doubled"
        assert event.moment == ladder.at
        assert ladder.at is not None
        assert at >= ladder.at, "no rung is early"
        self.ladders[key] = Ladder(ladder.rung + 1, event.next_at)

    def _end(self, before: CaseState, event: Any, after: CaseState, at: datetime) -> None:
        reporting = {co.unit for co in after.co_handlers if not co.reported} if after.status in WORKING else set()
        for key, one in self.own.items():
            stage, unit = key
            if stage is Stage.CO_HANDLE:
                over = unit not in reporting
            elif stage is Stage.REPORT:
                over = isinstance(event, e.Escalated) or after.status in ENDED
            else:
                over = _main_ends(before, event)
            if over and one.ended is None:
                self.own[key] = replace(one, ended=at)
        if after.status in ENDED:
            self.own = {key: one for key, one in self.own.items() if one.late_in_silence}

    def _agrees(self, after: CaseState) -> None:
        """The law's own account is the same."""
        told = {
            clock.key: (clock.deadline.due, clock.ended_at, clock.overdue, clock.warned, clock.suspended)
            for clock in after.clocks
        }
        own = {key: (one.due, one.ended, one.seen, one.warned, one.suspended) for key, one in self.own.items()}
        assert len(told) == len(after.clocks), "one clock for each stage and unit"
        assert told == own
        assert {key for key, one in self.own.items() if one.ended is None} <= after.running_stages
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


def _extensible(one: Own, event: e.Extended, recorded: Recorded[Any]) -> None:
    """Petitions regulation, 34: by the post that the limit names, no oftener and no further than it says."""
    if (allows := one.allows) is None:
        return
    assert allows.extend_by == recorded.meta.actor.post
    assert allows.extend_until is None or event.due <= allows.extend_until
    assert not allows.extend_times_max or one.extensions < allows.extend_times_max


def _pausable(one: Own, event: e.Suspended, at: datetime) -> None:
    """For a cause that the limit names, no oftener and no longer than it says (petitions regulation, 36)."""
    assert not one.suspended
    assert event.until is None or event.until > at
    if (allows := one.allows) is None:
        return
    assert event.cause in allows.pauses
    assert not allows.pause_times_max or one.pauses < allows.pause_times_max
    if allows.pause_days_max:
        assert event.until is not None
        assert event.until <= at + timedelta(days=allows.pause_days_max)
