"""The whole import: three readings of the file, many rows in flight, counts that add up, a place to go on from.

Rows are counted in their order, so that the place on disk is a row below which everything is done. Whatever was done
above it when the process died is asked for again under the same ids, and changes nothing.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from weakref import WeakValueDictionary

from infra.importing.file_rows import FileRow, read_rows
from infra.importing.imported_case import ROW_ID_CHARS_MAX, ImportedCase, UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.plan import ImportPlan
from infra.importing.row_importer import ImportPhase, RowImporter, RowOutcome, RowResult
from infra.servers.folder import write_private
from shared.case.base import Address
from shared.kit.clock import Clock
from shared.kit.problems import ProblemError, Unavailable
from shared.log.port import EventTooLarge, LogUnavailable, NoArea

_IN_FLIGHT_COUNT_MAX = 48
_READ_COUNT = 64
_POSITION_SAVED_EVERY_S = 1.0
PATIENCE_S_MAX = 120.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.2, 5.0
REJECTED_HEADING = ("row", "id", "column", "reason")
OnPosition = Callable[[int, int, "ImportPosition"], None]


@dataclass
class ImportPosition:
    """How far an import has come: in which reading, how many rows of it, and what they came to."""

    phase: ImportPhase = ImportPhase.CASES
    rows: int = 0
    rejected_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # status -> rows

    @property
    def read(self) -> int:
        """Rows whose fate is known; the four sums add up to it."""
        return sum(self.counts[name] for name in (*(came.value for came in RowOutcome), "rejected"))


class ImportJournal:
    """Where the place and the rejected rows are kept. The place is for one file, one mapping, one installation."""

    def __init__(self, place: Path, rejected: Path, file: Path, mapping: Path) -> None:
        self.rejected, self._file = rejected, place
        stat = file.stat()
        told = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {sha256(mapping.read_bytes()).hexdigest()}"
        self._of = sha256(told.encode()).hexdigest()

    def open(self) -> ImportPosition:
        """The place of an import that was interrupted, else the beginning. Raises OSError."""
        place = self._read() or ImportPosition()
        with self.rejected.open("a+b") as file:
            file.truncate(place.rejected_bytes)
            if place.rejected_bytes == 0:
                file.write(b"\xef\xbb\xbf" + (",".join(REJECTED_HEADING) + "\r\n").encode())
                place.rejected_bytes = file.tell()
        return place

    def _read(self) -> ImportPosition | None:
        try:
            told = json.loads(self._file.read_text())
            if told.pop("of") != self._of or not self.rejected.exists():
                return None
            phase = ImportPhase(told.pop("phase"))
            counts, ended = Counter[str](told.pop("counts")), Counter[str](told.pop("ended"))
            return ImportPosition(phase=phase, counts=counts, ended=ended, **told)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def note(self, place: ImportPosition) -> None:
        """Keep the place; a kill leaves the one before."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, json.dumps(vars(place) | {"of": self._of}))

    def reject(self, place: ImportPosition, row: tuple[int, str, str, str]) -> None:
        """Write a rejected row: its number, id, column and reason, never its content."""
        with self.rejected.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)
            place.rejected_bytes = file.tell()

    def close(self, place: ImportPosition) -> None:
        """The import is complete: the next one begins at the beginning; no list is left of nothing."""
        self._file.unlink(missing_ok=True)
        if not place.counts["rejected"]:
            self.rejected.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What is known of a row: nothing to count, or a result, or why not."""

    result: RowResult | None = None
    rejected: tuple[int, str, str, str] | None = None


class ImportRun:
    """Runs one import to its end, or until cancelled."""

    def __init__(
        self, path: Path, mapping: ImportMapping, plan: ImportPlan, carrier: RowImporter, notebook: ImportJournal,
        clock: Clock, progress: OnPosition,
    ) -> None:  # fmt: skip
        self._path, self._mapping, self._plan, self._carrier = path, mapping, plan, carrier
        self._notebook, self._clock, self._progress = notebook, clock, progress
        self._now = clock.now()
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.place = notebook.open()
        self._noted_at = clock.monotonic()

    async def run(self) -> ImportPosition:
        """Carry every row. Raises Unavailable when the servers stay silent for PATIENCE_S_MAX, BadFile."""
        try:
            for phase in list(ImportPhase)[list(ImportPhase).index(self.place.phase) :]:
                if phase is not self.place.phase:
                    self.place.phase, self.place.rows = phase, 0
                if phase is ImportPhase.CASES or self._plan.repeats:
                    await self._reading(phase)
        except BaseException:
            self._notebook.note(self.place)
            raise
        self._notebook.close(self.place)
        return self.place

    async def _reading(self, phase: ImportPhase) -> None:
        """One reading of the file: rows start in order and are counted in order, at most so many in between."""
        room = asyncio.Semaphore(_IN_FLIGHT_COUNT_MAX)
        fates: dict[int, _Fate] = {}
        counted = self.place.rows

        async def row(index: int, line: FileRow) -> None:
            nonlocal counted
            fates[index] = await self._fate(line, phase)
            while (fate := fates.pop(counted, None)) is not None:
                counted += 1
                self._count(fate)
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for index, line in self._lines(counted):
                    await room.acquire()
                    group.create_task(row(index, line))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _lines(self, start: int) -> AsyncIterator[tuple[int, FileRow]]:
        """The rows from `start` on with their places, read in a thread, some at a time."""
        lines, index = islice(read_rows(self._path, self._mapping), start, None), start
        while batch := await asyncio.to_thread(lambda: list(islice(lines, _READ_COUNT))):
            for line in batch:
                yield index, line
                index += 1

    async def _fate(self, line: FileRow, phase: ImportPhase) -> _Fate:
        number, plan = line.number, self._plan
        case, repeated = plan.repeats.get(number), number in plan.repeated
        concerned = {
            ImportPhase.CASES: case is None,
            ImportPhase.REPEATS: case is not None,
            ImportPhase.ENDINGS: repeated,
        }
        if not concerned[phase]:
            return _Fate()
        ends = phase is not ImportPhase.CASES or not repeated  # else it is counted when its repeats have joined it
        try:
            if number in plan.doubles:
                raise UnfitRow(self._mapping.id, f"stands in row {plan.doubles[number]} already")
            demand = imported_case(line, self._mapping, self._now)
            # several repeats of one case join it in the order of the file, so that every run tells the same story
            async with self._queues.setdefault(case.id if case else str(number), asyncio.Lock()):
                result = await self._patiently(demand, case, ends)
        except UnfitRow as unfit:
            id = line.cells.get(self._mapping.id, "").strip()[:ROW_ID_CHARS_MAX]
            return _Fate(rejected=(number, id, unfit.column, unfit.reason)) if ends else _Fate()
        return _Fate(result if ends else None)

    async def _patiently(self, demand: ImportedCase, case: Address | None, whole: bool) -> RowResult:
        """Carry a row, again for as long as the servers may be starting anew. Raises Unfit, Unavailable."""
        give_up_at = self._clock.monotonic() + PATIENCE_S_MAX
        pause_s = PAUSE_S_MIN
        while True:
            try:
                if case is not None:
                    return await self._carrier.attach(demand, case)
                return await self._carrier.carry(demand, whole)
            except (Unavailable, LogUnavailable):
                if self._clock.monotonic() > give_up_at:
                    raise
            except (NoArea, EventTooLarge) as error:
                raise UnfitRow("", str(error)) from None
            except ProblemError as error:
                raise UnfitRow("", f"{error.problem.code}: {error.problem.detail}") from None
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _count(self, fate: _Fate) -> None:
        place = self.place
        place.rows += 1
        if fate.rejected is not None:
            self._notebook.reject(place, fate.rejected)
            place.counts["rejected"] += 1
        elif fate.result is not None:
            place.counts[fate.result.came] += 1
            place.counts["by fallback"] += fate.result.by_fallback
            if fate.result.status is not None:
                place.ended[fate.result.status] += 1
        self._progress(place.rows, self._plan.rows, place)
        if self._clock.monotonic() - self._noted_at > _POSITION_SAVED_EVERY_S:
            self._notebook.note(place)
            self._noted_at = self._clock.monotonic()
