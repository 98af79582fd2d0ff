"""Comparison of the declared lateness with that of the file, case by case, with the reason for each difference.

The ticker is checked as well. Its declarations must follow from the due moments in force and the end of the stage, by a
plain comparison of two times: none twice, none early, none an instant late.
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
    """Late, in time, or neither: there is no deadline, or the file states nothing."""

    LATE = "late"
    IN_TIME = "in time"
    NOTHING = "nothing"


class DifferenceReason(StrEnum):
    """The reasons for a difference. Those in `UNEXPLAINED` mean that nothing in the file explains it."""

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
    """A case with the declared timeliness, that of the file, and the reason for a difference (None: they are equal)."""

    played: PlayedCase
    declared: Timeliness
    stated: Timeliness
    why: DifferenceReason | None

    @property
    def due(self) -> datetime | None:
        """The last due moment in force."""
        return None if self.played.deadline is None else self.played.deadline.due


class CaseComparison:
    """Compares cases that were played up to a moment."""

    def __init__(self, mapping: BacktestMapping, until: datetime) -> None:
        self._mapping, self._until = mapping, until

    def compare(self, played: PlayedCase) -> ComparedCase:
        """Compare one case."""
        declared, stated = self._declared(played), self._stated(played)
        return ComparedCase(played, declared, stated, self._why(played, declared, stated))

    def _declared(self, played: PlayedCase) -> Timeliness:
        if played.deadline is None:
            return Timeliness.NOTHING
        return Timeliness.LATE if played.overdue else Timeliness.IN_TIME

    def _stated(self, played: PlayedCase) -> Timeliness:
        case = played.case
        if case.stated_late is not None:
            late = case.stated_late and (case.stated_late_at is None or case.stated_late_at <= self._until)
        elif case.file_due is not None:
            ended = case.file_end
            late = case.file_due < (self._until if ended is None or ended > self._until else ended)
        else:
            return Timeliness.NOTHING
        return Timeliness.LATE if late else Timeliness.IN_TIME

    def _why(self, played: PlayedCase, declared: Timeliness, stated: Timeliness) -> DifferenceReason | None:
        if played.refused:
            return DifferenceReason.REFUSED
        if not self._ticker_is_right(played):
            return DifferenceReason.TICKER
        if stated is Timeliness.LATE and self._stated_earlier(played):
            return DifferenceReason.RULE_DIFFERS
        if stated in (declared, Timeliness.NOTHING):
            return None
        if declared is Timeliness.NOTHING:
            return self._why_no_deadline(played) if stated is Timeliness.LATE else None
        return self._why_dates(played, declared)

    def _stated_earlier(self, played: PlayedCase) -> bool:
        """Whether the file states lateness on a day before the day of the due moment."""
        stated_late_at, deadline = played.case.stated_late_at, played.deadline
        if stated_late_at is None or deadline is None:
            return False
        # 24:00 belongs to the day that it ends.
        due = deadline.due - LATE_AFTER if deadline.ends is Ends.DAY else deadline.due
        return stated_late_at.astimezone(self._mapping.zone).date() < due.astimezone(self._mapping.zone).date()

    def _why_no_deadline(self, played: PlayedCase) -> DifferenceReason:
        case = played.case
        if "stage_never_began" in case.odd:
            return DifferenceReason.NEVER_BEGAN
        if self._mapping.limits:
            return DifferenceReason.NO_LIMIT
        return DifferenceReason.DUE_BEFORE_CASE if case.dues else DifferenceReason.DUE_MISSING

    def _why_dates(self, played: PlayedCase, declared: Timeliness) -> DifferenceReason:
        case, ended = played.case, played.ended
        assert played.deadline is not None
        due = played.deadline.due
        if case.ended is not None and case.ended > self._until:
            return DifferenceReason.ENDS_LATER
        if len(played.dues) > 1 and not self._mapping.limits:
            return DifferenceReason.DUE_MOVED
        file_due = case.file_due or (case.dues[-1][1] if case.dues else None)
        if file_due is not None and file_due != due:
            clock_change = self._by_clock_change(played, file_due)
            return DifferenceReason.CLOCK_CHANGE if clock_change else DifferenceReason.DUE_DIFFERS
        if ended is None:
            return DifferenceReason.STILL_OPEN
        if ended == due:
            return DifferenceReason.END_IS_DUE
        if abs(ended - due) < _SECOND:
            return DifferenceReason.WITHIN_A_SECOND
        if self._same_day(ended, due):
            return DifferenceReason.SAME_DAY
        if file_due is not None and (ended > due) is (declared is Timeliness.LATE):
            return DifferenceReason.CONTRADICTS_ITSELF
        return DifferenceReason.RULE_DIFFERS

    def _by_clock_change(self, played: PlayedCase, file_due: datetime) -> bool:
        assert played.deadline is not None
        start, due = played.deadline.start.astimezone(self._mapping.zone), file_due.astimezone(self._mapping.zone)
        change = (due.utcoffset() or timedelta()) - (start.utcoffset() or timedelta())
        return bool(change) and abs(played.deadline.due - file_due) == abs(change)

    def _same_day(self, ended: datetime, due: datetime) -> bool:
        """Whether two moments are on one local day; 24:00 belongs to the day that it ends."""
        zone = self._mapping.zone
        day = (due - LATE_AFTER).astimezone(zone).date()
        return ended.astimezone(zone).date() in (day, due.astimezone(zone).date())

    def _ticker_is_right(self, played: PlayedCase) -> bool:
        """Whether the ticker declared each overdue moment and warning, once and at the first possible instant."""
        if not played.dues:
            return not played.overdue and not played.warned
        last = played.ended or self._until
        passed = (in_force for in_force in played.dues if in_force.due < (in_force.until or last))
        expected = [(in_force.due, max(in_force.due + LATE_AFTER, in_force.since)) for in_force in passed]
        if list(played.overdue) != expected:
            return False
        if len(played.dues) != 1 or played.deadline is None:
            return True
        warn_at, (since, until, _) = played.deadline.warn_at, played.dues[0]
        if warn_at is None or warn_at >= (until or last):
            return not played.warned
        return list(played.warned) == [max(warn_at + LATE_AFTER, since)]
