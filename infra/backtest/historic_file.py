"""A historic file as cases: what each of them says of its moments, its due dates and its lateness, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice, pairwise
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from infra.backtest.disk_sort import sorted_on_disk
from infra.backtest.file_times import BadTime, BareDay, TimeReader
from infra.backtest.mapping import CASE_PREFIX, MOMENTS, SPANS, BacktestMapping
from infra.backtest.mapping_parts import MomentSpec, matches_any
from infra.backtest.xes import CELL_CHARS_MAX, traces
from infra.importing.file_rows import heading_of, kind_of, read_rows
from shared.case.base import derived_id
from shared.case.facts import Nature, PauseCause

XES = ".xes"
OPEN_HEADING = (XES, ".ndjson", ".jsonl")  # what columns there are is known when all is read
PROGRESS_EVERY_COUNT = 1000


class LeftOut(Exception):
    """The row, or the case, cannot be played: the column, and why."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(f"{column} {why}".strip())


class ReadingStopped(Exception):
    """Nobody wants to know the rest."""


class FileEvent(NamedTuple):
    """One row of the file: of an event log an event, else a whole case."""

    id: str
    number: int
    at: datetime | None
    fault: str
    cells: dict[str, str]


class ClockPause(NamedTuple):
    """The clock stood still from one moment to another, None while it still does, and what for."""

    at: datetime
    until: datetime | None
    cause: PauseCause


@dataclass(frozen=True, slots=True)
class HistoricCase:
    """One case of the file. `moments` are those of `MOMENTS`, in order of time, None where there is none.

    `ended` is when its stage ended as the file has it. `dues` are its due dates, each with the moment from which it
    held; `limit` is the limit of our own that is meant. `stated_late` is the
    statement of the file on its lateness, `stated_late_at` the moment since when; `their_end` and `their_due` are the
    dates from which the statement follows. `odd` names the irregularities of the case.
    """

    number: int
    id: str
    nature: str
    subject: str | None
    moments: tuple[datetime | None, ...]
    ended: datetime | None
    dues: tuple[tuple[datetime, datetime], ...]
    limit: int | None
    stated_late: bool | None
    stated_late_at: datetime | None
    their_end: datetime | None
    their_due: datetime | None
    odd: tuple[str, ...]
    pauses: tuple[ClockPause, ...] = ()

    @property
    def began(self) -> datetime:
        """When the case began."""
        first = self.moments[0]
        assert first is not None, "a case without a beginning is left out"
        return first


@dataclass(slots=True)
class ReadingCounts:
    """What was read: rows, those of no case, cases, those left out by reason; when anything happened last."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    last: datetime | None = None

    def saw(self, moment: datetime) -> None:
        """Something happened then."""
        if self.last is None or moment > self.last:
            self.last = moment


class HistoricFile:
    """CaseQueries one file by its mapping."""

    def __init__(self, path: Path, mapping: BacktestMapping, tell: Callable[[int], None] = lambda rows: None) -> None:
        self._path, self._mapping, self._tell = path, mapping, tell
        self._times = TimeReader(mapping.zone, mapping.time_formats, mapping.twice == "second")
        self._empty = frozenset(mapping.empty)
        self._named = tuple(dict.fromkeys(column for _, column in mapping.named()))
        self._known: set[str] = set()
        self._stopped = False
        self.tally = ReadingCounts()

    def stop(self) -> None:
        """Read no further: whoever reads in another thread is told by Stopped."""
        self._stopped = True

    def cases(self) -> Iterator[HistoricCase]:
        """Every case that can be played. Raises BadFile, BadMapping when the file lacks a column."""
        open_heading = kind_of(self._path) in OPEN_HEADING
        if not open_heading:
            self._mapping.check(heading_of(self._path, self._mapping))
        ids: set[bytes] = set()
        for group in self._groups():
            self.tally.cases += 1
            try:
                case = self._case(group, ids)
            except LeftOut as left:
                self.tally.left_out[str(left)] += 1
                continue
            self.tally.odd.update(case.odd)
            yield case
        if open_heading and self.tally.rows:
            self._mapping.check(sorted(self._known))

    def _groups(self) -> Iterator[list[FileEvent]]:
        """What belongs to one case."""
        if kind_of(self._path) == XES:
            yield from self._of_traces()
        elif self._mapping.rows == "cases":
            yield from ([event] for event in self._of_rows())
        else:
            by_case = sorted_on_disk((event for event in self._of_rows() if event.id), attrgetter("id"))
            for _, group in groupby(by_case, attrgetter("id")):
                yield list(group)

    def _of_rows(self) -> Iterator[FileEvent]:
        events = self._mapping.rows == "events"
        for line in read_rows(self._path, self._mapping):
            self._counted()
            self._known.update(line.cells)
            cells = {name: cell for name in self._named if (cell := self._cell(line.cells.get(name, "")))}
            id = cells.get(self._mapping.id, "")
            if events and (line.fault or not id):  # it belongs to no case
                self.tally.dropped[line.fault or f"has no {self._mapping.id}"] += 1
            yield self._happening(id, line.number, cells, line.fault and f"row {line.fault}")

    def _of_traces(self) -> Iterator[list[FileEvent]]:
        for trace in traces(self._path):
            own = {CASE_PREFIX + key: value for key, value in trace.cells.items()}
            self._known.update(own)
            for event in trace.events:
                self._counted()
                self._known.update(event)
            each = trace.events if self._mapping.rows == "events" and trace.events else [{}]
            rows = ({n: c for n in self._named if (c := self._cell(e.get(n) or own.get(n, "")))} for e in each)
            yield [self._happening(cells.get(self._mapping.id, ""), trace.number, cells, "") for cells in rows]

    def _counted(self) -> None:
        self.tally.rows += 1
        if self._stopped:
            raise ReadingStopped
        if self.tally.rows % PROGRESS_EVERY_COUNT == 0:
            self._tell(self.tally.rows)

    def _cell(self, text: str) -> str:
        text = text[:CELL_CHARS_MAX].strip()
        return "" if text in self._empty else text

    def _happening(self, id: str, number: int, cells: dict[str, str], fault: str) -> FileEvent:
        at = None
        if self._mapping.rows == "events" and not fault and (cell := cells.get(self._mapping.time)):
            try:
                at = self._times.read(cell, BareDay.FIRST).at
            except BadTime as error:
                fault = f"{self._mapping.time} {error}"
        return FileEvent(id, number, at, fault, cells)

    # One case

    def _case(self, group: list[FileEvent], ids: set[bytes]) -> HistoricCase:
        """One case of the file. Raises LeftOut."""
        mapping, first = self._mapping, group[0]
        fault = next((event.fault for event in group if event.fault), "")
        if fault:
            raise LeftOut("", fault)
        if not first.id:
            raise LeftOut(mapping.id, "is empty")
        mark = bytes.fromhex(derived_id("backtest", mapping.source, first.id, "").replace("-", ""))[:8]
        if mark in ids:
            raise LeftOut(mapping.id, "stands in an earlier row already")
        ids.add(mark)
        events = sorted(group, key=lambda event: (event.at is not None, event.at or 0))
        odd = {"events_out_of_order"} if events != group else set()
        cells: dict[str, str] = {}
        for event in events:
            cells |= event.cells
        for out in mapping.leave_out:
            if out.holds(cells) or (out.is_ and any(out.holds(event.cells) for event in events)):
                raise LeftOut("", out.why)
        return self._historic_case(_CaseRows(self, events, cells, odd))

    def _historic_case(self, rows: _CaseRows) -> HistoricCase:
        mapping = self._mapping
        moments, ended = rows.moments()
        stated_late, stated_late_at = rows.lateness()
        late = mapping.late
        by_dates = (late is None and mapping.due is not None) or (late is not None and late.by == "dates")
        dues = rows.dues(moments)
        their_end, their_due = (ended, dues[-1][1] if dues else None) if by_dates else (None, None)
        if late is not None and late.ended is not None and late.due is not None:
            their_end, their_due = rows.time(late.ended, BareDay.LAST), rows.time(late.due, BareDay.OVER)
        limit = next((n for n, spec in enumerate(mapping.limits) if not spec.when or spec.when.holds(rows.cells)), None)
        nature = mapping.nature.of(rows.cells, {}) if mapping.nature else Nature.HELP
        if nature not in list(Nature):
            raise LeftOut("nature", "is none that the mapping lists")
        subject = mapping.subject.of(rows.cells, {}) if mapping.subject else None
        for moment in (*moments, stated_late_at, *(event.at for event in rows.events)):
            if moment is not None:
                self.tally.saw(moment)
        return HistoricCase(
            min(event.number for event in rows.events),
            rows.events[0].id,
            nature,
            subject,
            moments,
            ended,
            dues,
            limit,
            stated_late,
            stated_late_at,
            their_end,
            their_due,
            tuple(sorted(rows.odd)),
            rows.pauses(),
        )

    def time(self, column: str, cell: str, alone: BareDay, odd: set[str]) -> datetime:
        """A cell as a moment; what is odd about it is noted. Raises LeftOut."""
        try:
            moment = self._times.read(cell, alone)
        except BadTime as error:
            raise LeftOut(column, str(error)) from None
        if moment.odd is not None:
            odd.add(f"local_time_{moment.odd}")
        return moment.at


class _CaseRows:
    """The rows of one case in order of time, read by the mapping."""

    def __init__(self, source: HistoricFile, events: list[FileEvent], cells: dict[str, str], odd: set[str]) -> None:
        self._source, self._mapping = source, source._mapping
        self.events, self.cells, self.odd = events, cells, odd

    def time(self, column: str, alone: BareDay) -> datetime | None:
        """The last time that stands in a column."""
        cell = self.cells.get(column)
        return self._source.time(column, cell, alone, self.odd) if cell else None

    def moments(self) -> tuple[tuple[datetime | None, ...], datetime | None]:
        """The moments in order of time, and when the stage ended as the file has it. Raises LeftOut."""
        begin, end = SPANS[self._mapping.stage]
        mapped = dict(self._mapping.moments())
        over = MOMENTS[MOMENTS.index(end) :]  # a day alone: by its last moment it was done
        by_name = {
            name: self._moment(moment, BareDay.LAST if name in over else BareDay.FIRST)
            for name, moment in mapped.items()
        }
        if "registered" not in mapped:
            by_name["registered"] = next((event.at for event in self.events if event.at is not None), None)
        if by_name["registered"] is None:
            named = mapped.get("registered")
            raise LeftOut(" or ".join(named.column) if named else "", "says no time when it was registered")
        ended = by_name[end]
        for before, name in pairwise(MOMENTS):
            if name not in mapped:
                by_name[name] = by_name[before]
        if by_name[begin] is None:
            self.odd.add("stage_never_began")
        return self._in_order([by_name[name] for name in MOMENTS], MOMENTS.index(end), mapped), ended

    def _in_order(
        self, moments: list[datetime | None], end: int, mapped: Mapping[str, MomentSpec]
    ) -> tuple[datetime | None, ...]:
        """What is known of a later moment holds for an earlier one that is missing; none lies before the one before."""
        for index in range(len(moments) - 2, 0, -1):
            if moments[index] is None:
                moments[index] = moments[index + 1]
        for index in range(1, len(moments)):
            now, before = moments[index], moments[index - 1]
            if now is not None and before is not None and now < before:
                if MOMENTS[index] in mapped:
                    self.odd.add("end_before_begin" if index == end else "moments_out_of_order")
                moments[index] = before
        return tuple(moments)

    def _moment(self, moment: MomentSpec, alone: BareDay) -> datetime | None:
        moments = list(self._all(moment, alone))
        return (moments[0] if moment.column or moment.which == "first" else moments[-1]) if moments else None

    def _all(self, moment: MomentSpec, alone: BareDay) -> Iterator[datetime]:
        """Every moment that is meant, in order of time; of columns the first that says something alone."""
        if moment.column:
            if moment.when is None or moment.when.holds(self.cells):
                times = (self.time(column, alone) for column in moment.column)
                yield from islice((at for at in times if at is not None), 1)
            return
        column, when = self._mapping.activity, moment.when
        for event in self.events:
            matches = matches_any(event.cells.get(column, ""), moment.activity)
            if matches and (when is None or when.holds(event.cells)) and event.at is not None:
                yield event.at

    def pauses(self) -> tuple[ClockPause, ...]:
        """When the clock stood still, one pause after the other; what begins during another one is none."""
        pauses: list[ClockPause] = []
        for pause in self._mapping.pauses:
            goes_on = list(self._all(pause.goes_on, BareDay.FIRST))
            pauses += (
                ClockPause(at, next((end for end in goes_on if end > at), None), pause.cause)
                for at in self._all(pause.stops, BareDay.FIRST)
            )
        in_turn: list[ClockPause] = []
        for later in sorted(pauses, key=attrgetter("at")):
            if not in_turn or (in_turn[-1].until is not None and in_turn[-1].until <= later.at):
                in_turn.append(later)
        return tuple(in_turn)

    def lateness(self) -> tuple[bool | None, datetime | None]:
        """The lateness that the file states by a word or an activity, and its moment; None where it states none."""
        late = self._mapping.late
        if late is None:
            return None, None
        if late.column is not None:
            cell = self.cells.get(late.column, "")
            return (matches_any(cell, late.is_) if cell else None), None
        if late.activity:
            at = self._moment(MomentSpec(activity=late.activity), BareDay.FIRST)
            return at is not None, at
        return None, None

    def dues(self, moments: tuple[datetime | None, ...]) -> tuple[tuple[datetime, datetime], ...]:
        """The due dates, each with the moment from which it held; more than one where an event log changes it."""
        column, began = self._mapping.due, moments[0]
        assert began is not None
        if column is None:
            return ()
        dues: list[tuple[datetime, datetime]] = []
        last = ""
        for event in self.events:
            cell = event.cells.get(column, "")
            if cell and cell != last:
                last, due = cell, self._source.time(column, cell, BareDay.OVER, self.odd)
                if not dues or dues[-1][1] != due:
                    dues.append((event.at if dues and event.at else began, due))
        if len(dues) > 1:
            self.odd.add("due_moved")
        return tuple(dues)
