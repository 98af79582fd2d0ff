"""The report of a back-test: its figures in words and as JSON, and its differences row by row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TextIO

from infra.backtest.comparison import EXPLANATIONS, UNEXPLAINED, ComparedCase, Timeliness
from infra.backtest.historic_file import ReadingCounts
from infra.backtest.mapping import BacktestMapping

SHOWN_COUNT_MAX = 20
BAR_CHARS = 40
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
DURATION_STEPS: tuple[tuple[timedelta, str], ...] = (
    (HOUR, "1 hour"), (DAY, "1 day"), (7 * DAY, "7 days"), (30 * DAY, "30 days"), (90 * DAY, "90 days"),
)  # fmt: skip
MORE, STILL_OPEN = "more", "still open"
DIFFERENCE_COLUMNS = (
    "row",
    "case",
    "begin",
    "due",
    "end",
    "ours",
    "file",
    "file_due",
    "file_end",
    "why",
    "explanation",
    "odd",
)
AGREEMENT = (Timeliness.LATE, Timeliness.IN_TIME, Timeliness.NOTHING)


@dataclass
class BacktestReport:
    """The figures of a back-test up to `until`."""

    mapping: BacktestMapping
    until: datetime
    reading: ReadingCounts
    began: datetime | None = None
    later: int = 0
    played: int = 0
    warned: int = 0
    open_late: int = 0
    matrix: Counter[tuple[Timeliness, Timeliness]] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    dues: Counter[str] = field(default_factory=Counter)
    declared_by_file: Counter[str] = field(default_factory=Counter)
    late_by: Counter[str] = field(default_factory=Counter)
    early_by: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, compared: ComparedCase) -> dict[str, str] | None:
        """Count a case; its row for the file of differences, None when there is no difference."""
        played = compared.played
        self.played += 1
        self.warned += bool(played.warned)
        self.matrix[compared.declared, compared.stated] += 1
        self._measure(compared)
        if compared.why is None:
            return None
        self.why[compared.why] += 1
        row = self._row(compared)
        if len(self.examples) < SHOWN_COUNT_MAX:
            self.examples.append(row)
        return row

    def _measure(self, compared: ComparedCase) -> None:
        played, due = compared.played, compared.due
        if due is None:
            return
        ended = played.ended
        if compared.declared is Timeliness.LATE and ended is None:
            self.open_late += 1
            self.late_by[STILL_OPEN] += 1
        elif ended is not None:
            (self.late_by if ended > due else self.early_by)[_step(abs(ended - due))] += 1
        case = played.case
        if self.mapping.limits and case.dues:
            self.dues[self._apart(due, case.dues[-1][1])] += 1
        if compared.declared is Timeliness.LATE and case.stated_late and case.stated_late_at is not None:
            self.declared_by_file[self._apart(due, case.stated_late_at)] += 1

    def _apart(self, ours: datetime, theirs: datetime) -> str:
        if ours == theirs:
            return "the same moment"
        if abs(ours - theirs) < SECOND:
            return "the same second"
        zone = self.mapping.zone
        if ours.astimezone(zone).date() == theirs.astimezone(zone).date():
            return "the same day"
        return "the file's is later" if theirs > ours else "the file's is earlier"

    def _row(self, compared: ComparedCase) -> dict[str, str]:
        played, why = compared.played, compared.why
        assert why is not None
        case = played.case
        cells = (
            str(case.number), case.id, self._local(case.began), self._local(compared.due), self._local(played.ended),
            compared.declared, compared.stated,
            self._local(case.file_due or case.stated_late_at), self._local(case.file_end),
            why, "; ".join((EXPLANATIONS[why], *played.refused)), " ".join(case.odd),
        )  # fmt: skip
        return dict(zip(DIFFERENCE_COLUMNS, map(str, cells), strict=True))

    def _local(self, moment: datetime | None) -> str:
        return "" if moment is None else moment.astimezone(self.mapping.zone).isoformat(" ")

    @property
    def deadlines(self) -> int:
        """The count of cases with a deadline."""
        return self.played - sum(self.matrix[Timeliness.NOTHING, theirs] for theirs in Timeliness)

    @property
    def overdue(self) -> int:
        """The count of cases that were declared overdue."""
        return sum(self.matrix[Timeliness.LATE, theirs] for theirs in Timeliness)

    @property
    def unexplained(self) -> int:
        """The count of differences without an explanation."""
        return sum(self.why[why] for why in UNEXPLAINED)

    @property
    def good(self) -> bool:
        """Whether there was a deadline and every difference is explained."""
        return self.deadlines > 0 and self.unexplained == 0

    def as_json(self) -> dict[str, Any]:
        """The figures as values for JSON."""
        reading = self.reading
        return {
            "source": self.mapping.source,
            "stage": self.mapping.stage,
            "rows": reading.rows,
            "rows_of_no_case": dict(reading.dropped),
            "cases": reading.cases,
            "left_out": dict(reading.left_out.most_common()),
            "began_after_the_end": self.later,
            "played": self.played,
            "from": None if self.began is None else self.began.isoformat(),
            "until": self.until.isoformat(),
            "deadlines": self.deadlines,
            "warned": self.warned,
            "declared_overdue": {"all": self.overdue, "still_open": self.open_late},
            "file_says_late": sum(self.matrix[ours, Timeliness.LATE] for ours in Timeliness),
            "agreement": {f"{o}": {f"{t}": self.matrix[o, t] for t in AGREEMENT} for o in AGREEMENT},
            "differences": dict(self.why.most_common()),
            "unexplained": self.unexplained,
            "examples": self.examples,
            "due_by_limit_and_by_file": dict(self.dues),
            "due_and_declared_by_file": dict(self.declared_by_file),
            "late_by": _ordered(self.late_by),
            "early_by": _ordered(self.early_by),
            "odd": dict(reading.odd.most_common()),
            "seconds": round(self.seconds, 1),
        }

    def as_text(self) -> Iterator[str]:
        """The report for a terminal, line by line."""
        reading = self.reading
        left = sum(reading.left_out.values())
        later = f", {self.later} began after the end" if self.later else ""
        totals = f"{reading.rows} rows, {reading.cases} cases = {self.played} played, {left} left out{later}"
        yield f"{self.mapping.source}: {totals}"
        yield from _counts(reading.left_out + reading.dropped)
        if not self.played:
            return
        yield f"by the clock of the log from {self._local(self.began)} to {self._local(self.until)}"
        still = f" ({self.open_late} of them still open at the end)" if self.open_late else ""
        yield f"{self.deadlines} deadlines: {self.warned} warned, {self.overdue} declared overdue{still}"
        yield from self._agreement()
        for title, counts in (
            ("our due moment and the file's", self.dues),
            ("due and declared", self.declared_by_file),
        ):
            if counts:
                yield f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
        yield from self._differences()
        if reading.odd:
            yield "odd in the file: " + ", ".join(f"{name} {count}" for name, count in reading.odd.most_common())
        yield from self._picture()

    def _agreement(self) -> Iterator[str]:
        yield ""
        yield f"{'':>18}{'file: late':>14}{'in time':>12}{'says nothing':>15}"
        names = {Timeliness.LATE: "ours: overdue", Timeliness.IN_TIME: "in time", Timeliness.NOTHING: "no deadline"}
        for ours in AGREEMENT:
            late, in_time, nothing = (self.matrix[ours, theirs] for theirs in AGREEMENT)
            yield f"{names[ours]:>18}{late:>14}{in_time:>12}{nothing:>15}"
        yield ""

    def _differences(self) -> Iterator[str]:
        total = sum(self.why.values())
        yield f"{total} differences" + (f", {self.unexplained} unexplained" if total else "")
        for why, count in self.why.most_common():
            yield f"  {count:>7}  {why}: {EXPLANATIONS[why]}"  # type: ignore[index]
        for row in self.examples:
            yield (
                f"    row {row['row']} {row['case']}: due {row['due'] or '-'}, end {row['end'] or '-'}, "
                f"ours {row['ours']}, file {row['file']}: {row['why']}"
            )
        if total > len(self.examples):
            yield f"    and {total - len(self.examples)} more; --differences FILE writes them all"

    def _picture(self) -> Iterator[str]:
        """A diagram of the time between due moment and end of the cases."""
        most = max([*self.late_by.values(), *self.early_by.values()], default=0)
        if not most:
            return
        yield ""
        early, late = _ordered(self.early_by), _ordered(self.late_by)
        for title, counts in (("in time by", dict(reversed(early.items()))), ("late by", late)):
            for step, count in counts.items():
                bar = "█" * max(round(BAR_CHARS * count / most), 1 if count else 0)
                yield f"{title:>10} {_named(step):>12} {bar} {count}"


class DifferencesFile:
    """The rows of cases with a difference, as CSV."""

    def __init__(self, file: TextIO | None) -> None:
        self._writer = None if file is None else csv.DictWriter(file, DIFFERENCE_COLUMNS)
        if self._writer is not None:
            self._writer.writeheader()

    def write(self, row: dict[str, str]) -> None:
        """Write a row. A cell that a spreadsheet would take for a formula is written as text."""
        if self._writer is not None:
            self._writer.writerow({name: _inert(cell) for name, cell in row.items()})


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


def _step(apart: timedelta) -> str:
    return next((name for most, name in DURATION_STEPS if apart <= most), MORE)


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in (*(name for _, name in DURATION_STEPS), MORE, STILL_OPEN) if counts[name]}


def _named(step: str) -> str:
    return step if step in (MORE, STILL_OPEN) else f"≤ {step}"


def _counts(counts: Counter[str]) -> Iterator[str]:
    for name, count in counts.most_common(SHOWN_COUNT_MAX):
        yield f"  {count:>7}  {name}"
    if len(counts) > SHOWN_COUNT_MAX:
        yield f"           and {len(counts) - SHOWN_COUNT_MAX} more reasons"
