"""A whole import: three readings of the file, many rows at once, counts that add up, a position to resume from.

Rows are counted in the order of the file, so that all rows below the saved position are done. Rows above it that were
done when the process ended are sent again under the same ids, which changes nothing.
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

from infra.importing.file_rows import read_rows
from infra.importing.imported_case import ROW_ID_CHARS_MAX, ImportedCase, UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.plan import ImportPlan
from infra.importing.row_importer import ImportPhase, RowImporter, RowOutcome, RowResult
from infra.importing.rows import FileRow
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
OnPosition = Callable[["ImportPosition"], None]


@dataclass
class ImportPosition:
    """The progress of an import: the reading, its rows so far, and their outcomes."""

    phase: ImportPhase = ImportPhase.CASES
    rows: int = 0
    rejected_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # status -> rows

    @property
    def read(self) -> int:
        """The count of rows with a known outcome, which is the sum of the four outcomes."""
        return sum(self.counts[name] for name in (*(outcome.value for outcome in RowOutcome), "rejected"))


class ImportJournal:
    """The saved position of an import and the file of rejected rows.

    A position holds for one file, one mapping and one installation.
    """

    def __init__(self, position_file: Path, rejected: Path, file: Path, mapping: Path) -> None:
        self.rejected, self._file = rejected, position_file
        stat = file.stat()
        identity = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {sha256(mapping.read_bytes()).hexdigest()}"
        self._of = sha256(identity.encode()).hexdigest()

    def open(self) -> ImportPosition:
        """The position of an interrupted import, else the beginning. Raises OSError."""
        position = self._read() or ImportPosition()
        with self.rejected.open("a+b") as file:
            file.truncate(position.rejected_bytes)
            if position.rejected_bytes == 0:
                file.write(b"\xef\xbb\xbf" + (",".join(REJECTED_HEADING) + "\r\n").encode())
                position.rejected_bytes = file.tell()
        return position

    def _read(self) -> ImportPosition | None:
        try:
            fields = json.loads(self._file.read_text())
            if fields.pop("of") != self._of or not self.rejected.exists():
                return None
            phase = ImportPhase(fields.pop("phase"))
            counts, ended = Counter[str](fields.pop("counts")), Counter[str](fields.pop("ended"))
            return ImportPosition(phase=phase, counts=counts, ended=ended, **fields)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def save(self, position: ImportPosition) -> None:
        """Save the position as a whole; if the process is killed, the position before stays."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, json.dumps(vars(position) | {"of": self._of}))

    def reject(self, position: ImportPosition, row: tuple[int, str, str, str]) -> None:
        """Write a rejected row: number, id, column and reason, without its content."""
        with self.rejected.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)
            position.rejected_bytes = file.tell()

    def close(self, position: ImportPosition) -> None:
        """End a complete import: remove the position, and the file of rejected rows when there are none."""
        self._file.unlink(missing_ok=True)
        if not position.counts["rejected"]:
            self.rejected.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Processed:
    """A processed row: its result, or its rejection. Neither, when another reading counts the row."""

    result: RowResult | None = None
    rejected: tuple[int, str, str, str] | None = None


class ImportRun:
    """Runs one import until its end or a cancellation."""

    def __init__(
        self, path: Path, mapping: ImportMapping, plan: ImportPlan, row_importer: RowImporter, journal: ImportJournal,
        clock: Clock, progress: OnPosition = lambda position: None,
    ) -> None:  # fmt: skip
        self._path, self._mapping, self._plan, self._row_importer = path, mapping, plan, row_importer
        self._journal, self._clock, self.progress = journal, clock, progress
        self._now = clock.now()
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.position = journal.open()
        self._saved_at = clock.monotonic()

    async def run(self) -> ImportPosition:
        """Import every row. Raises BadFile, and Unavailable or LogUnavailable without answers for PATIENCE_S_MAX."""
        try:
            for phase in list(ImportPhase)[list(ImportPhase).index(self.position.phase) :]:
                if phase is not self.position.phase:
                    self.position.phase, self.position.rows = phase, 0
                if phase is ImportPhase.CASES or self._plan.repeats:
                    await self._reading(phase)
        except BaseException:
            self._journal.save(self.position)
            raise
        self._journal.close(self.position)
        return self.position

    async def _reading(self, phase: ImportPhase) -> None:
        """Read the file once. Rows start in order and are counted in order, _IN_FLIGHT_COUNT_MAX at once."""
        slots = asyncio.Semaphore(_IN_FLIGHT_COUNT_MAX)
        processed_rows: dict[int, _Processed] = {}
        counted = self.position.rows

        async def process(index: int, row: FileRow) -> None:
            nonlocal counted
            processed_rows[index] = await self._process(row, phase)
            await self._row_importer.failpoints.hit("import.row")
            while (processed := processed_rows.pop(counted, None)) is not None:
                counted += 1
                self._count(processed)
                slots.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for index, row in self._rows(counted):
                    await slots.acquire()
                    group.create_task(process(index, row))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _rows(self, start: int) -> AsyncIterator[tuple[int, FileRow]]:
        """The rows from `start` on with their indexes, read in a thread, _READ_COUNT at a time."""
        rows, index = islice(read_rows(self._path, self._mapping), start, None), start
        while batch := await asyncio.to_thread(lambda: list(islice(rows, _READ_COUNT))):
            for row in batch:
                yield index, row
                index += 1

    async def _process(self, row: FileRow, phase: ImportPhase) -> _Processed:
        number, plan = row.number, self._plan
        case, repeated = plan.repeats.get(number), number in plan.repeated
        belongs = {
            ImportPhase.CASES: case is None,
            ImportPhase.REPEATS: case is not None,
            ImportPhase.ENDINGS: repeated,
        }
        if not belongs[phase]:
            return _Processed()
        is_last = phase is not ImportPhase.CASES or not repeated  # a repeated case is counted in the last reading
        try:
            if number in plan.doubles:
                raise UnfitRow(self._mapping.id, f"stands in row {plan.doubles[number]} already")
            imported = imported_case(row, self._mapping, self._now)
            # Repeats of one case join it in the order of the file, so that each run gives the same events.
            async with self._queues.setdefault(case.id if case else str(number), asyncio.Lock()):
                result = await self._import_patiently(imported, case, is_last)
        except UnfitRow as unfit:
            id = row.cells.get(self._mapping.id, "").strip()[:ROW_ID_CHARS_MAX]
            return _Processed(rejected=(number, id, unfit.column, unfit.reason)) if is_last else _Processed()
        return _Processed(result if is_last else None)

    async def _import_patiently(self, imported: ImportedCase, case: Address | None, to_the_end: bool) -> RowResult:
        """Import a row, again while servers may be restarting. Raises UnfitRow, Unavailable, LogUnavailable."""
        give_up_at = self._clock.monotonic() + PATIENCE_S_MAX
        pause_s = PAUSE_S_MIN
        while True:
            try:
                if case is not None:
                    return await self._row_importer.attach(imported, case)
                return await self._row_importer.import_row(imported, to_the_end)
            except (Unavailable, LogUnavailable):
                if self._clock.monotonic() > give_up_at:
                    raise
            except (NoArea, EventTooLarge) as error:
                raise UnfitRow("", str(error)) from None
            except ProblemError as error:
                raise UnfitRow("", f"{error.problem.code}: {error.problem.detail}") from None
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _count(self, processed: _Processed) -> None:
        position = self.position
        position.rows += 1
        if processed.rejected is not None:
            self._journal.reject(position, processed.rejected)
            position.counts["rejected"] += 1
        elif processed.result is not None:
            position.counts[processed.result.outcome] += 1
            position.counts["by fallback"] += processed.result.by_fallback
            if processed.result.status is not None:
                position.ended[processed.result.status] += 1
        self.progress(position)
        if self._clock.monotonic() - self._saved_at > _POSITION_SAVED_EVERY_S:
            self._journal.save(position)
            self._saved_at = self._clock.monotonic()
