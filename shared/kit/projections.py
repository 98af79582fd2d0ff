"""Projections: read models made from the log, each written in one transaction with its checkpoint.

Events come in strict order from an ordered consumer. A batch is folded, turned into rows by the pure functions of the
service's `read_model.py`, written by its statements, and committed together with the checkpoint (stream, sequence,
event id). If the log holds another event at the checkpoint, the tables were made from another log: the runner refuses
to go on and asks for a rebuild. Each read model has one writer, by advisory lock; the other processes read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from shared.case.base import Position, Recorded, Unknown
from shared.case.catalogue import CREATES
from shared.kit import telemetry
from shared.kit.command_handler import DECIDERS
from shared.kit.effects import ADAPTERS, AggregateChange
from shared.kit.leader import Lock, renew, run_as_leader
from shared.kit.problems import Unavailable
from shared.kit.runtime import Runtime
from shared.kit.sql import Database, Session, Statements
from shared.kit.telemetry import BEHIND
from shared.log.port import Log

FOLDED_COUNT_MAX = 20_000
REBUILD_COUNT = 4000  # events in one transaction of a rebuild
T = TypeVar("T")
KIT_STATEMENTS = Statements.load(Path(__file__).with_name("projections.sql"))


class KeptElsewhere(Unavailable):
    """Another process projects the read model; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("Another process keeps this read model. Stop it, then rebuild.")


class RebuildNeeded(Exception):
    """The read model was made from another log. Run `caseflow rebuild` for its service."""


class ReadModel(Protocol):
    """The tables of one service as a projection runner writes them."""

    name: str
    kinds: frozenset[str]
    tables: tuple[str, ...]

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, bytes | str | Any]:
        """The folded states of these aggregates as `state_json` wrote them, by subject; missing ones left out."""

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows of these aggregates; doing it again, or with older positions, changes nothing."""

    async def clear(self, session: Session) -> None:
        """Empty every table of the model, for a rebuild."""


class ProjectionRunner:
    """Keeps one read model of one service."""

    def __init__(self, *, model: ReadModel, database: Database, log: Log, runtime: Runtime) -> None:
        self.model, self._database, self._log = model, database, log
        self._runtime, self._clock = runtime, runtime.clock
        self._folded: OrderedDict[str, Any] = OrderedDict()
        self._at: dict[str, int] = {}  # stream -> the sequence that this runner has written
        runtime.telemetry.before_reading(self._measure)

    async def _measure(self) -> None:
        for stream in self._log.streams():
            behind = await self._log.end(stream) - self._runtime.progress.at(self.model.name, stream)
            self._runtime.telemetry.set(BEHIND, behind, self.model.name, stream)

    async def run(self) -> None:
        """Project without end, as soon as this process is the one writer. Raises RebuildNeeded, log_port.Damaged."""
        name = f"project.{self.model.name}"
        await run_as_leader(
            name, lambda: self._database.try_advisory_lock(name), self._together, self._clock, self._forget
        )

    def _forget(self, reason: str) -> None:
        self._folded.clear()

    async def _together(self, lock: Lock) -> None:
        async with asyncio.TaskGroup() as group:
            for stream in self._log.streams():
                group.create_task(self._follow(stream), name=f"project.{self.model.name}.{stream}")
            group.create_task(renew(lock, self._clock))

    async def _follow(self, stream: str) -> None:
        after = await self.checkpoint(stream)
        self._runtime.progress.set(self.model.name, Position(stream, after))
        async for batch in self._log.follow(stream, after):
            await self.apply(stream, batch)
            await self._runtime.load_gate.breathe(self._clock)

    async def checkpoint(self, stream: str) -> int:
        """The sequence reached on a stream, once the log proved to be the same. Raises RebuildNeeded."""
        row = await self._database.using(KIT_STATEMENTS).fetch_one("read_checkpoint", self.model.name, stream)
        if row is None:
            return 0
        there = await self._log.at(Position(stream, row["sequence"]))
        if there is None or there.id != row["event_id"]:
            raise RebuildNeeded(
                f"{self.model.name} has read {stream} up to {row['sequence']}, where the log now holds another event. "
                "The log was restored from elsewhere: run `caseflow rebuild`."
            )
        return int(row["sequence"])

    async def apply(self, stream: str, batch: Sequence[Recorded[Any]]) -> None:
        """Project one batch: rows and checkpoint in one transaction. A failure leaves both as they were.

        Events before the checkpoint are skipped, since a writer that lost its lock may write for a second beside the
        next writer. Raises Unavailable when another process writes at the same time.
        """
        if not batch:
            return
        last = batch[-1]
        assert last.position is not None, "what is read has its position"
        with self._runtime.telemetry.span(f"project.{self.model.name}", count=len(batch)):
            try:
                async with self._database.transaction() as session:
                    await self._write(session, stream, batch)
            except BaseException:
                self._folded.clear()
                raise
        self._at[stream] = last.position.sequence
        await self._runtime.failpoints.hit("project.committed")
        self._runtime.progress.set(self.model.name, last.position)

    async def _write(self, session: Session, stream: str, batch: Sequence[Recorded[Any]]) -> None:
        own = session.using(KIT_STATEMENTS)
        row = await own.fetch_one("read_checkpoint", self.model.name, stream)
        reached = int(row["sequence"]) if row else 0
        if self._at.get(stream, 0) != reached:  # another process has written: the folded states are old
            self._folded.clear()
        new = [recorded for recorded in batch if recorded.position and recorded.position.sequence > reached]
        if not new:
            return
        changes = await self._fold(session, new)
        await self._runtime.failpoints.hit("project.folded")
        await self.model.write(session, changes)
        last = new[-1]
        assert last.position is not None, "what is read has its position"
        at = (self.model.name, stream, last.position.sequence, last.id, reached)
        if not await own.execute("write_checkpoint", *at):
            raise Unavailable("Another process writes this read model.")
        await self._runtime.failpoints.hit("project.written")

    async def _fold(self, session: Session, batch: Sequence[Recorded[Any]]) -> list[AggregateChange]:
        known = [r for r in batch if r.address.kind in self.model.kinds]
        by_subject: OrderedDict[str, list[Recorded[Any]]] = OrderedDict()
        for recorded in known:
            if isinstance(recorded.event, Unknown):
                telemetry.warn("skipped an event newer than this program", type=recorded.event.type)
            by_subject.setdefault(recorded.address.subject, []).append(recorded)
        # Taken before anything is awaited or remembered: remembering evicts other states, which this batch may need.
        states = {s: self._folded[s] for s in by_subject if s in self._folded}
        changed = {recorded.id: change for recorded in known if (change := self._runtime.aggregates.made(recorded))}
        begins = {recorded.id for recorded in known if type(recorded.event) in CREATES or recorded.id in changed}
        missing = [s for s, events in by_subject.items() if s not in states and events[0].id not in begins]
        stored = await self.model.states(session, missing) if missing else {}
        changes = []
        for subject, events in by_subject.items():
            address, position = events[0].address, events[-1].position
            assert position is not None, "what is read has its position"
            law = DECIDERS[address.kind]
            state = states.get(subject)
            if state is None:
                text = stored.get(subject)
                state = ADAPTERS[address.kind].validate_json(text) if text else law.new
            for recorded in events:
                change = changed.get(recorded.id)
                state = change.after if change else law.evolve(state, recorded)
            self._remember(subject, state)
            text_of = self._runtime.state_texts.text
            changes.append(AggregateChange(address, state, position, events, text_of(address.kind, state)))
        return changes

    def _remember(self, subject: str, state: Any) -> None:
        self._folded[subject] = state
        self._folded.move_to_end(subject)
        if len(self._folded) > min(FOLDED_COUNT_MAX, self._runtime.aggregates.cached_count_max):
            self._folded.popitem(last=False)

    async def rebuild(self, progress: Callable[[str, int, int], None]) -> AsyncGenerator[None, None]:
        """Empty the model and project the whole log up to its present end, batch by batch; yields after each.

        It can be interrupted: the next start goes on from the checkpoint. Raises KeptElsewhere.
        """
        lock = await self._database.try_advisory_lock(f"project.{self.model.name}")
        if lock is None:
            raise KeptElsewhere
        try:
            async with self._database.transaction() as session:
                await self.model.clear(session)
                await session.using(KIT_STATEMENTS).execute("clear_checkpoints", self.model.name)
            self._folded.clear()
            for stream in self._log.streams():
                end = await self._log.end(stream)
                async with aclosing(_ahead(self._large_batches(stream, end))) as batches:
                    async for batch in batches:
                        await self.apply(stream, batch)
                        position = batch[-1].position
                        assert position is not None, "what is read has its position"
                        progress(stream, position.sequence, end)
                        yield
        finally:
            await lock.release()

    async def _large_batches(self, stream: str, end: int) -> AsyncGenerator[list[Recorded[Any]], None]:
        """The whole stream up to `end`, in large batches: more events of a case in one batch mean fewer rows."""
        if end == 0:
            return
        batch: list[Recorded[Any]] = []
        async for events in self._log.follow(stream, 0):
            batch += events
            position = batch[-1].position
            assert position is not None, "what is read has its position"
            if len(batch) >= REBUILD_COUNT or position.sequence >= end:
                yield batch
                batch = []
            if position.sequence >= end:
                return


async def _ahead(batches: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same batches, each read and decoded while the one before it is written."""
    async with aclosing(batches):
        coming = asyncio.ensure_future(anext(batches, None))
        try:
            while (batch := await coming) is not None:
                coming = asyncio.ensure_future(anext(batches, None))
                yield batch
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
