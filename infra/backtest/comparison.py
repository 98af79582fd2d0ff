"""What we declared against what the file says, case by case, and why the two differ.

The ticker is judged as well: what it declared must follow from the due moments that were in force and the end of the
stage, by the plain comparison of two times made here; nothing twice, nothing early, nothing an instant late.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from infra.backtest.mapping import BacktestMapping
from infra.backtest.playback import PlayedCase
from infra.backtest.world import LATE_AFTER
from shared.case.facts import Ends

_SECOND = timedelta(seconds=1)


class Timeliness(StrEnum):
    """Late, in time, or nothing is said of it (ours: there is no deadline)."""

    LATE = "late"
    IN_TIME = "in time"
    NOTHING = "nothing"


class DifferenceReason(StrEnum):
    """Why we say another thing than the file; `UNEXPLAINED` are those that nothing in the file explains."""

    DUE_MISSING = "due_missing"
    DUE_BEFORE_CASE = "due_before_case"
    NO_LIMIT = "no_limit"
    NEVER_BEGAN = "stage_never_began"
    DUE_MOVED = "due_moved"
    CLOCK_CHANGE = "clock_change"
    DUE_DIFFERS = "due_differs"
    STILL_OPEN = "still_open"
    ENDS_LATER = "ends_after_the_end"
    END_IS_DUE = "end_is_due"
    WITHIN_A_SECOND = "within_a_second"
    SAME_DAY = "same_day"
    CONTRADICTS_ITSELF = "contradicts_itself"
    RULE_DIFFERS = "rule_differs"
    REFUSED = "refused"
    TICKER = "ticker"


EXPLANATIONS: dict[DifferenceReason, str] = {
    DifferenceReason.DUE_MISSING: "the file calls it late and gives no due date",
    DifferenceReason.DUE_BEFORE_CASE: "its due date lies before it began; the law takes no such deadline",
    DifferenceReason.NO_LIMIT: "no limit of the mapping is meant for it",
    DifferenceReason.NEVER_BEGAN: "its stage never began, so no clock ran",
    DifferenceReason.DUE_MOVED: (
        "the file moved its due date; we declared by the one in force then, the file judges by the last"
    ),
    DifferenceReason.CLOCK_CHANGE: "the due moments differ by a change of clock time between begin and end",
    DifferenceReason.DUE_DIFFERS: (
        "our limit and the due date of the file are different moments; each verdict follows from its own"
    ),
    DifferenceReason.STILL_OPEN: "it has no end in the file; we judge it at the end of the log",
    DifferenceReason.ENDS_LATER: "it ends after the moment up to which we played",
    DifferenceReason.END_IS_DUE: "it ended at the very moment it was due, which is in time",
    DifferenceReason.WITHIN_A_SECOND: "it ended within a second of its due moment; the file rounds",
    DifferenceReason.SAME_DAY: "it ended on the day it was due; the file counts days, we count moments",
    DifferenceReason.CONTRADICTS_ITSELF: "the file's word contradicts its own due date and end, which we follow",
    DifferenceReason.RULE_DIFFERS: "UNEXPLAINED: the file goes by a rule that the mapping does not state",
    DifferenceReason.REFUSED: "UNEXPLAINED: the law refused what the file says was done",
    DifferenceReason.TICKER: "UNEXPLAINED: the ticker did not declare what follows from the dates: a fault of ours",
}
UNEXPLAINED = frozenset({DifferenceReason.RULE_DIFFERS, DifferenceReason.REFUSED, DifferenceReason.TICKER})


@dataclass(frozen=True, slots=True)
class ComparedCase:
    """One case with both verdicts, and why they differ (None: they do not)."""

    played: PlayedCase
    ours: Timeliness
    theirs: Timeliness
    why: DifferenceReason | None

    @property
    def due(self) -> datetime | None:
        """Our due moment, the last one in force."""
        return None if self.played.deadline is None else self.played.deadline.due


class CaseComparison:
    """Judges cases that were played up to a moment."""

    def __init__(self, mapping: BacktestMapping, until: datetime) -> None:
        self._mapping, self._until = mapping, until

    def judge(self, played: PlayedCase) -> ComparedCase:
        """Both verdicts on a case."""
        ours, theirs = self._ours(played), self._theirs(played)
        return ComparedCase(played, ours, theirs, self._why(played, ours, theirs))

    def _ours(self, played: PlayedCase) -> Timeliness:
        if played.deadline is None:
            return Timeliness.NOTHING
        return Timeliness.LATE if played.overdue else Timeliness.IN_TIME

    def _theirs(self, played: PlayedCase) -> Timeliness:
        case = played.case
        if case.stated_late is not None:
            late = case.stated_late and (case.stated_late_at is None or case.stated_late_at <= self._until)
        elif case.their_due is not None:
            ended = case.their_end
            late = case.their_due < (self._until if ended is None or ended > self._until else ended)
        else:
            return Timeliness.NOTHING
        return Timeliness.LATE if late else Timeliness.IN_TIME

    def _why(self, played: PlayedCase, ours: Timeliness, theirs: Timeliness) -> DifferenceReason | None:
        if played.refused:
            return DifferenceReason.REFUSED
        if not self._ticker_is_right(played):
            return DifferenceReason.TICKER
        if theirs is Timeliness.LATE and self._earlier(played):
            return DifferenceReason.RULE_DIFFERS
        if theirs in (ours, Timeliness.NOTHING):
            return None
        if ours is Timeliness.NOTHING:
            return self._why_no_deadline(played) if theirs is Timeliness.LATE else None
        return self._why_dates(played, ours)

    def _earlier(self, played: PlayedCase) -> bool:
        """Whether the file called it late on a day before that of our due moment."""
        stated_late_at, deadline = played.case.stated_late_at, played.deadline
        if stated_late_at is None or deadline is None:
            return False
        due = (
            deadline.due - LATE_AFTER if deadline.ends is Ends.DAY else deadline.due
        )  # 24:00 is of the day that it ends
        return stated_late_at.astimezone(self._mapping.zone).date() < due.astimezone(self._mapping.zone).date()

    def _why_no_deadline(self, played: PlayedCase) -> DifferenceReason:
        case = played.case
        if "stage_never_began" in case.odd:
            return DifferenceReason.NEVER_BEGAN
        if self._mapping.limits:
            return DifferenceReason.NO_LIMIT
        return DifferenceReason.DUE_BEFORE_CASE if case.dues else DifferenceReason.DUE_MISSING

    def _why_dates(self, played: PlayedCase, ours: Timeliness) -> DifferenceReason:
        case, ended = played.case, played.ended
        assert played.deadline is not None
        due = played.deadline.due
        if case.ended is not None and case.ended > self._until:
            return DifferenceReason.ENDS_LATER
        if len(played.dues) > 1 and not self._mapping.limits:
            return DifferenceReason.DUE_MOVED
        theirs = case.their_due or (case.dues[-1][1] if case.dues else None)
        if theirs is not None and theirs != due:
            return (
                DifferenceReason.CLOCK_CHANGE if self._by_clock_change(played, theirs) else DifferenceReason.DUE_DIFFERS
            )
        if ended is None:
            return DifferenceReason.STILL_OPEN
        if ended == due:
            return DifferenceReason.END_IS_DUE
        if abs(ended - due) < _SECOND:
            return DifferenceReason.WITHIN_A_SECOND
        if self._same_day(ended, due):
            return DifferenceReason.SAME_DAY
        if theirs is not None and (ended > due) is (ours is Timeliness.LATE):
            return DifferenceReason.CONTRADICTS_ITSELF
        return DifferenceReason.RULE_DIFFERS

    def _by_clock_change(self, played: PlayedCase, theirs: datetime) -> bool:
        assert played.deadline is not None
        start, due = played.deadline.start.astimezone(self._mapping.zone), theirs.astimezone(self._mapping.zone)
        change = (due.utcoffset() or timedelta()) - (start.utcoffset() or timedelta())
        return bool(change) and abs(played.deadline.due - theirs) == abs(change)

    def _same_day(self, moment: datetime, other: datetime) -> bool:
        """Whether two moments are of one local day; 24:00 is of the day that it ends."""
        zone = self._mapping.zone
        day = (other - LATE_AFTER).astimezone(zone).date()
        return moment.astimezone(zone).date() in (day, other.astimezone(zone).date())

    def _ticker_is_right(self, played: PlayedCase) -> bool:
        """Whether it declared just what two times say, at the first instant at which the clock could tell."""
        if not played.dues:
            return not played.overdue and not played.warned
        last = played.ended or self._until
        ran_out = (period for period in played.dues if period.due < (period.until or last))
        expected = [(period.due, max(period.due + LATE_AFTER, period.since)) for period in ran_out]
        if list(played.overdue) != expected:
            return False
        if len(played.dues) != 1 or played.deadline is None:
            return True
        warn_at, (since, until, _) = played.deadline.warn_at, played.dues[0]
        warning_due = warn_at is not None and warn_at < (until or last)
        return list(played.warned) == (
            [max(warn_at + LATE_AFTER, since)] if warn_at is not None and warning_due else []
        )
