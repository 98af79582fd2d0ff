"""The cases of a historic file, in any order: their moments, due dates, pauses and lateness."""

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
from infra.backtest.mapping import CASE_PREFIX, MOMENTS, SPANS, BacktestMapping
from infra.backtest.mapping_parts import MomentSpec, matches_any
from infra.backtest.xes import CELL_CHARS_MAX, traces
from infra.importing.file_rows import check_columns, kind_of, read_rows
from infra.importing.file_times import BadTime, BareDay, TimeReader
from shared.case.base import derived_id
from shared.case.facts import Nature, PauseCause

XES = ".xes"
OPEN_HEADING = (XES, ".ndjson", ".jsonl", ".json")  # the columns of these files are known only at their end
PROGRESS_EVERY_COUNT = 1000


class LeftOut(Exception):
    """A row or case cannot be played: the column and the reason."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(f"{column} {why}".strip())


class ReadingStopped(Exception):
    """Reading was stopped from outside."""


class FileEvent(NamedTuple):
    """A row of the file: an event of an event log, else a whole case."""

    id: str
    number: int
    at: datetime | None
    fault: str
    cells: dict[str, str]


class ClockPause(NamedTuple):
    """A pause of the clock with its cause; `until` is None for a pause without end."""

    at: datetime
    until: datetime | None
    cause: PauseCause


@dataclass(frozen=True, slots=True)
class HistoricCase:
    """A case of the file. `moments` are those of `MOMENTS`, in order of time, None for a missing one.

    `ended` is the end of the stage in the file. `dues` are the due dates, each with the moment from which it held.
    `limit` is the index of the limit in the mapping. `stated_late` is the lateness that the file states, by a word or
    an activity, `stated_late_at` its moment. `file_end` and `file_due` are the dates for a lateness by dates. `odd`
    names oddities of the case.
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
    file_end: datetime | None
    file_due: datetime | None
    odd: tuple[str, ...]
    pauses: tuple[ClockPause, ...] = ()

    @property
    def began(self) -> datetime:
        """The beginning of the case."""
        first = self.moments[0]
        assert first is not None, "a case without a beginning is left out"
        return first


@dataclass(slots=True)
class ReadingCounts:
    """Counts of a reading: rows, rows of no case, cases, cases left out by reason, oddities; and the last moment."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    last: datetime | None = None

    def note_moment(self, moment: datetime) -> None:
        """Take a moment into account for the last one."""
        if self.last is None or moment > self.last:
            self.last = moment


class HistoricFile:
    """Reads a file by its mapping."""

    def __init__(
        self, path: Path, mapping: BacktestMapping, on_progress: Callable[[int], None] = lambda rows: None
    ) -> None:
        self._path, self._mapping, self._on_progress = path, mapping, on_progress
        self._times = TimeReader(mapping.zone, mapping.time_formats, mapping.twice == "second")
        self._empty = frozenset(mapping.empty)
        self._named = tuple(dict.fromkeys(column for _, column in mapping.named()))
        self._known: set[str] = set()
        self._stopped = False
        self.counts = ReadingCounts()

    def stop(self) -> None:
        """Stop the reading, in another thread, by ReadingStopped."""
        self._stopped = True

    def cases(self) -> Iterator[HistoricCase]:
        """The cases that can be played. Raises BadFile, BadMapping when the file lacks a column."""
        open_heading = kind_of(self._path) in OPEN_HEADING
        if not open_heading:
            check_columns(self._path, self._mapping)
        ids: set[bytes] = set()
        for group in self._groups():
            self.counts.cases += 1
            try:
                case = self._case(group, ids)
            except LeftOut as left:
                self.counts.left_out[str(left)] += 1
                continue
            self.counts.odd.update(case.odd)
            yield case
        if open_heading and self.counts.rows:
            self._mapping.check(sorted(self._known))

    def _groups(self) -> Iterator[list[FileEvent]]:
        """The rows of each case."""
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
        for row in read_rows(self._path, self._mapping):
            self._counted()
            self._known.update(row.cells)
            cells = {name: cell for name in self._named if (cell := self._cell(row.cells.get(name, "")))}
            id = cells.get(self._mapping.id, "")
            if events and (row.fault or not id):  # the row belongs to no case
                self.counts.dropped[row.fault or f"has no {self._mapping.id}"] += 1
            faults = (f"{name} {row.cell_faults[name]}" for name in self._named if name in row.cell_faults)
            yield self._file_event(id, row.number, cells, f"row {row.fault}" if row.fault else next(faults, ""))

    def _of_traces(self) -> Iterator[list[FileEvent]]:
        for trace in traces(self._path):
            trace_cells = {CASE_PREFIX + key: value for key, value in trace.cells.items()}
            self._known.update(trace_cells)
            for event in trace.events:
                self._counted()
                self._known.update(event)
            events = trace.events if self._mapping.rows == "events" and trace.events else [{}]
            rows = (self._named_cells(event, trace_cells) for event in events)
            yield [self._file_event(cells.get(self._mapping.id, ""), trace.number, cells, "") for cells in rows]

    def _named_cells(self, event: Mapping[str, str], trace_cells: Mapping[str, str]) -> dict[str, str]:
        """The cells of the columns that the mapping names, from the event or else from its trace."""
        values = ((name, self._cell(event.get(name) or trace_cells.get(name, ""))) for name in self._named)
        return {name: cell for name, cell in values if cell}

    def _counted(self) -> None:
        self.counts.rows += 1
        if self._stopped:
            raise ReadingStopped
        if self.counts.rows % PROGRESS_EVERY_COUNT == 0:
            self._on_progress(self.counts.rows)

    def _cell(self, text: str) -> str:
        text = text[:CELL_CHARS_MAX].strip()
        return "" if text in self._empty else text

    def _file_event(self, id: str, number: int, cells: dict[str, str], fault: str) -> FileEvent:
        at = None
        if self._mapping.rows == "events" and not fault and (cell := cells.get(self._mapping.time)):
            try:
                at = self._times.read(cell, BareDay.FIRST).at
            except BadTime as error:
                fault = f"{self._mapping.time} {error}"
        return FileEvent(id, number, at, fault, cells)

    def _case(self, group: list[FileEvent], ids: set[bytes]) -> HistoricCase:
        """The case of these rows. Raises LeftOut."""
        mapping, first = self._mapping, group[0]
        fault = next((event.fault for event in group if event.fault), "")
        if fault:
            raise LeftOut("", fault)
        if not first.id:
            raise LeftOut(mapping.id, "is empty")
        id_hash = bytes.fromhex(derived_id("backtest", mapping.source, first.id, "").replace("-", ""))[:8]
        if id_hash in ids:
            raise LeftOut(mapping.id, "stands in an earlier row already")
        ids.add(id_hash)
        events = sorted(group, key=lambda event: (event.at is not None, event.at or 0))
        odd = {"events_out_of_order"} if events != group else set()
        cells: dict[str, str] = {}
        for event in events:
            cells |= event.cells
        for out in mapping.leave_out:
            if out.holds(cells) or (out.is_ and any(out.holds(event.cells) for event in events)):
                raise LeftOut("", out.why)
        return self._historic_case(_CaseReader(self, events, cells, odd))

    def _historic_case(self, reader: _CaseReader) -> HistoricCase:
        mapping = self._mapping
        moments, ended = reader.moments()
        stated_late, stated_late_at = reader.lateness()
        late = mapping.late
        by_dates = (late is None and mapping.due is not None) or (late is not None and late.by == "dates")
        dues = reader.dues(moments)
        file_end, file_due = (ended, dues[-1][1] if dues else None) if by_dates else (None, None)
        if late is not None and late.ended is not None and late.due is not None:
            file_end, file_due = reader.time(late.ended, BareDay.LAST), reader.time(late.due, BareDay.OVER)
        limits = enumerate(mapping.limits)
        limit = next((index for index, spec in limits if not spec.when or spec.when.holds(reader.cells)), None)
        nature = mapping.nature.of(reader.cells, {}) if mapping.nature else Nature.HELP
        if nature not in list(Nature):
            raise LeftOut("nature", "is none that the mapping lists")
        subject = mapping.subject.of(reader.cells, {}) if mapping.subject else None
        for moment in (*moments, stated_late_at, *(event.at for event in reader.events)):
            if moment is not None:
                self.counts.note_moment(moment)
        return HistoricCase(
            min(event.number for event in reader.events),
            reader.events[0].id,
            nature,
            subject,
            moments,
            ended,
            dues,
            limit,
            stated_late,
            stated_late_at,
            file_end,
            file_due,
            tuple(sorted(reader.odd)),
            reader.pauses(),
        )

    def time(self, column: str, cell: str, bare_day: BareDay, odd: set[str]) -> datetime:
        """A cell as a moment; its oddity is added to `odd`. Raises LeftOut."""
        try:
            moment = self._times.read(cell, bare_day)
        except BadTime as error:
            raise LeftOut(column, str(error)) from None
        if moment.odd is not None:
            odd.add(f"local_time_{moment.odd}")
        return moment.at


class _CaseReader:
    """Reads the fields of a case from its rows, which are in order of time."""

    def __init__(self, source: HistoricFile, events: list[FileEvent], cells: dict[str, str], odd: set[str]) -> None:
        self._source, self._mapping = source, source._mapping
        self.events, self.cells, self.odd = events, cells, odd

    def time(self, column: str, bare_day: BareDay) -> datetime | None:
        """The time in a column, from the last row that has one."""
        cell = self.cells.get(column)
        return self._source.time(column, cell, bare_day, self.odd) if cell else None

    def moments(self) -> tuple[tuple[datetime | None, ...], datetime | None]:
        """The moments in order of time, and the end of the stage in the file. Raises LeftOut."""
        begin, end = SPANS[self._mapping.stage]
        mapped = dict(self._mapping.moments())
        over = MOMENTS[MOMENTS.index(end) :]  # a day without an hour means its last moment for these
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
        """The moments in order: a missing one equals the next one, and none lies before the one before it."""
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

    def _moment(self, moment: MomentSpec, bare_day: BareDay) -> datetime | None:
        moments = list(self._all(moment, bare_day))
        if not moments:
            return None
        return moments[0] if moment.column or moment.which == "first" else moments[-1]

    def _all(self, moment: MomentSpec, bare_day: BareDay) -> Iterator[datetime]:
        """All moments of a specification, in order of time; of several columns only the first that has a time."""
        if moment.column:
            if moment.when is None or moment.when.holds(self.cells):
                times = (self.time(column, bare_day) for column in moment.column)
                yield from islice((at for at in times if at is not None), 1)
            return
        column, when = self._mapping.activity, moment.when
        for event in self.events:
            matches = matches_any(event.cells.get(column, ""), moment.activity)
            if matches and (when is None or when.holds(event.cells)) and event.at is not None:
                yield event.at

    def pauses(self) -> tuple[ClockPause, ...]:
        """The pauses of the clock in order. One that begins during another one does not count."""
        candidates: list[ClockPause] = []
        for pause in self._mapping.pauses:
            goes_on = list(self._all(pause.goes_on, BareDay.FIRST))
            candidates += (
                ClockPause(at, next((moment for moment in goes_on if moment > at), None), pause.cause)
                for at in self._all(pause.stops, BareDay.FIRST)
            )
        pauses: list[ClockPause] = []
        for candidate in sorted(candidates, key=attrgetter("at")):
            if not pauses or (pauses[-1].until is not None and pauses[-1].until <= candidate.at):
                pauses.append(candidate)
        return tuple(pauses)

    def lateness(self) -> tuple[bool | None, datetime | None]:
        """The lateness that the file states by a word or an activity, and its moment; None when it states nothing."""
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
        """The due dates, each with the moment from which it held. An event log may have several."""
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
