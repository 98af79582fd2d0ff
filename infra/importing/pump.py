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

from infra.folder import write_private
from infra.importing.carry import Came, Carrier, Phase, Result
from infra.importing.demand import ID_CHARS_MAX, Demand, Unfit, demand_of
from infra.importing.mapping import Mapping
from infra.importing.plan import Plan
from infra.importing.rows import Line, read
from shared.case.base import Address
from shared.kit.clock import Clock
from shared.kit.failpoints import failpoint
from shared.kit.problems import ProblemError, Unavailable
from shared.log.port import NoArea, TooLarge
from shared.log.port import Unavailable as LogUnavailable

IN_FLIGHT_COUNT_MAX = 48
READ_COUNT = 64
PLACE_EVERY_S = 1.0
PATIENCE_S_MAX = 120.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.2, 5.0
REJECTED_HEADING = ("row", "id", "column", "reason")
Progress = Callable[[int, int, "Place"], None]


@dataclass
class Place:
    """How far an import has come: in which reading, how many rows of it, and what they came to."""

    phase: Phase = Phase.CASES
    rows: int = 0
    rejected_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # status -> rows

    @property
    def read(self) -> int:
        """Rows whose fate is known; the four sums add up to it."""
        return sum(self.counts[name] for name in (*(came.value for came in Came), "rejected"))


class Notebook:
    """Where the place and the rejected rows are kept. The place is for one file, one mapping, one installation."""

    def __init__(self, place: Path, rejected: Path, file: Path, mapping: Path) -> None:
        self.rejected, self._file = rejected, place
        stat = file.stat()
        told = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {sha256(mapping.read_bytes()).hexdigest()}"
        self._of = sha256(told.encode()).hexdigest()

    def open(self) -> Place:
        """The place of an import that was interrupted, else the beginning. Raises OSError."""
        place = self._read() or Place()
        with self.rejected.open("a+b") as file:
            file.truncate(place.rejected_bytes)
            if place.rejected_bytes == 0:
                file.write(b"\xef\xbb\xbf" + (",".join(REJECTED_HEADING) + "\r\n").encode())
                place.rejected_bytes = file.tell()
        return place

    def _read(self) -> Place | None:
        try:
            told = json.loads(self._file.read_text())
            if told.pop("of") != self._of or not self.rejected.exists():
                return None
            phase = Phase(told.pop("phase"))
            counts, ended = Counter[str](told.pop("counts")), Counter[str](told.pop("ended"))
            return Place(phase=phase, counts=counts, ended=ended, **told)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def note(self, place: Place) -> None:
        """Keep the place; a kill leaves the one before."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, json.dumps(vars(place) | {"of": self._of}))

    def reject(self, place: Place, row: tuple[int, str, str, str]) -> None:
        """Write a rejected row: its number, id, column and reason, never its content."""
        with self.rejected.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)
            place.rejected_bytes = file.tell()

    def close(self, place: Place) -> None:
        """The import is complete: the next one begins at the beginning; no list is left of nothing."""
        self._file.unlink(missing_ok=True)
        if not place.counts["rejected"]:
            self.rejected.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What is known of a row: nothing to count, or a result, or why not."""

    result: Result | None = None
    rejected: tuple[int, str, str, str] | None = None


class Pump:
    """Runs one import to its end, or until cancelled."""

    def __init__(
        self, path: Path, mapping: Mapping, plan: Plan, carrier: Carrier, notebook: Notebook, clock: Clock,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._path, self._mapping, self._plan, self._carrier = path, mapping, plan, carrier
        self._notebook, self._clock, self._progress = notebook, clock, progress
        self._now = clock.now()
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.place = notebook.open()
        self._noted_at = clock.monotonic()

    async def run(self) -> Place:
        """Carry every row. Raises Unavailable when the servers stay silent for PATIENCE_S_MAX, BadFile."""
        try:
            for phase in list(Phase)[list(Phase).index(self.place.phase) :]:
                if phase is not self.place.phase:
                    self.place.phase, self.place.rows = phase, 0
                if phase is Phase.CASES or self._plan.repeats:
                    await self._reading(phase)
        except BaseException:
            self._notebook.note(self.place)
            raise
        self._notebook.close(self.place)
        return self.place

    async def _reading(self, phase: Phase) -> None:
        """One reading of the file: rows start in order and are counted in order, at most so many in between."""
        room = asyncio.Semaphore(IN_FLIGHT_COUNT_MAX)
        fates: dict[int, _Fate] = {}
        counted = self.place.rows

        async def row(index: int, line: Line) -> None:
            nonlocal counted
            fates[index] = await self._fate(line, phase)
            await failpoint("import.row")
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

    async def _lines(self, start: int) -> AsyncIterator[tuple[int, Line]]:
        """The rows from `start` on with their places, read in a thread, some at a time."""
        lines, index = islice(read(self._path, self._mapping), start, None), start
        while batch := await asyncio.to_thread(lambda: list(islice(lines, READ_COUNT))):
            for line in batch:
                yield index, line
                index += 1

    async def _fate(self, line: Line, phase: Phase) -> _Fate:
        number, plan = line.number, self._plan
        case, repeated = plan.repeats.get(number), number in plan.repeated
        concerned = {Phase.CASES: case is None, Phase.REPEATS: case is not None, Phase.ENDINGS: repeated}
        if not concerned[phase]:
            return _Fate()
        ends = phase is not Phase.CASES or not repeated  # else it is counted when its repeats have joined it
        try:
            if number in plan.doubles:
                raise Unfit(self._mapping.id, f"stands in row {plan.doubles[number]} already")
            demand = demand_of(line, self._mapping, self._now)
            # several repeats of one case join it in the order of the file, so that every run tells the same story
            async with self._queues.setdefault(case.id if case else str(number), asyncio.Lock()):
                result = await self._patiently(demand, case, ends)
        except Unfit as unfit:
            id = line.cells.get(self._mapping.id, "").strip()[:ID_CHARS_MAX]
            return _Fate(rejected=(number, id, unfit.column, unfit.reason)) if ends else _Fate()
        return _Fate(result if ends else None)

    async def _patiently(self, demand: Demand, case: Address | None, whole: bool) -> Result:
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
            except (NoArea, TooLarge) as error:
                raise Unfit("", str(error)) from None
            except ProblemError as error:
                raise Unfit("", f"{error.problem.code}: {error.problem.detail}") from None
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
        if self._clock.monotonic() - self._noted_at > PLACE_EVERY_S:
            self._notebook.note(place)
            self._noted_at = self._clock.monotonic()
