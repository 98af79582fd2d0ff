"""The services as processes of a world, composed by their own `app.build` over memory, which can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context
from datetime import datetime
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from services.intake import app as intake_app
from services.routing import app as routing_app
from services.supervision import app as supervision_app
from shared.case.base import Address, Event, Owner, Position, Recorded
from shared.kit.aggregate_cache import AggregateCache
from shared.kit.data import Data
from shared.kit.failpoints import Failpoints
from shared.kit.identity import Identity
from shared.kit.reactions import FETCH_WAIT_S
from shared.kit.retry import PAUSE_S
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.submissions import AT_ONCE_COUNT_MAX, Submissions
from shared.kit.vault import MasterKeys
from shared.log.memory import MemoryLog, _Durable, _DurableState
from shared.log.port import Durable, DurableMissing, LogConflict, LogUnavailable, for_owner
from shared.log.topology import SUBMISSIONS, SUBMITTED
from shared.reference.documents import Document
from tests.sim.faults import Faults
from tests.sim.hours import PACE, own_library
from tests.sim.loop import GROUP, Group, SimClock
from tests.support.store import MemoryDatabase, Tables
from tests.support.streams import MemoryEdge, MemoryRawDurable, MemoryStreams
from tests.support.vaults import SharedVault

OWNERS = (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)
COPIES = 2
OLD_MASTERS, NEW_MASTERS = MasterKeys([b"o" * 32, b"n" * 32]), MasterKeys([b"n" * 32, b"o" * 32])
SETTINGS = Settings()
ELSEWHERE = frozenset({"supervision.webhooks"})  # jobs that call other machines; tests on real servers run them
APPS: dict[Owner, Any] = {
    Owner.INTAKE: intake_app,
    Owner.ROUTING: routing_app,
    Owner.SUPERVISION: supervision_app,
}


class SimLog(MemoryLog):
    """The log of a world: it notes conflicts and stale readers, and lets an append arrive late."""

    def __init__(self, areas: tuple[str, ...], clock: SimClock, faults: Faults) -> None:
        super().__init__(areas, clock, faults.pause)
        self.faults, self.right = faults, clock
        self.late: list[asyncio.Task[None]] = []
        self.true_at: dict[str, datetime] = {}  # event id -> time of the first append, by the right clock

    async def append(self, recorded: Recorded[Event], expected: int) -> Position:
        faults = self.faults
        self.true_at.setdefault(recorded.id, self.right.now())
        if faults.on and GROUP.get() and faults.chance.random() < faults.weather.fault / 4:
            faults.reached["late"] += 1
            arrives = self._arrive(recorded, expected, faults.chance.random() * 4)
            loop = asyncio.get_running_loop()
            self.late.append(
                loop.create_task(arrives, context=Context())
            )  # in no process group, as it happens on the server
            raise LogUnavailable("the append is on its way")
        try:
            return await super().append(recorded, expected)
        except LogConflict:
            faults.reached["conflict"] += 1
            raise

    async def _arrive(self, recorded: Recorded[Event], expected: int, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        with suppress(LogConflict):
            await super().append(recorded, expected)

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
        events = await super().load(address, after)
        if after and events:
            self.faults.reached["stale"] += 1
        return events

    async def durable(self, stream: str, name: str) -> Durable:
        log = self._stream(stream)
        await self.pause("durable")
        log.durables.setdefault(name, _DurableState())
        return _SimDurable(self, log, stream, name)

    def events(self, subject: str) -> list[Recorded[Event]]:
        """The events of an aggregate, read past the port, for the judge and the actors."""
        return self._by_subject.get(subject, [])

    def all(self) -> Iterator[Recorded[Event]]:
        """Every event of every stream."""
        for stream in self._streams.values():
            yield from stream.events


class _SimDurable(_Durable):
    async def _wait(self, seconds: float) -> None:
        """As the base, without two tasks for each wait."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self.stream.grown.wait()
        except TimeoutError:
            pass


class SubmissionsJob:
    """Hands submissions to a service in batches, as FastStream does in the product."""

    def __init__(self, owner: Owner, submissions: Submissions, streams: MemoryStreams, clock: SimClock) -> None:
        self.submissions = submissions
        self._durable_name, self._streams, self._clock = f"{owner}-submissions", streams, clock

    async def run(self) -> None:
        """Take submissions as they come; returns only by cancellation."""
        durable: MemoryRawDurable | None = None
        while True:
            try:
                durable = durable or await self.durable()
                await self.step(durable, FETCH_WAIT_S)
                await self._clock.sleep(0)
            except LogUnavailable:
                await self._clock.sleep(PAUSE_S)
            except DurableMissing:
                durable = None

    async def durable(self) -> MemoryRawDurable:
        return await self._streams.durable_raw(SUBMISSIONS, self._durable_name, SUBMITTED)

    async def step(self, durable: MemoryRawDurable, wait_s: float) -> int:
        """Hand over the waiting submissions; returns their count."""
        deliveries = await durable.fetch(AT_ONCE_COUNT_MAX, wait_s)
        outcomes = await asyncio.gather(*map(self.submissions.take, deliveries), return_exceptions=True)
        for failure in filter(None, outcomes):
            raise failure
        return len(deliveries)


class Process:
    """A service as one process, whose memory ends with it."""

    def __init__(self, owner: Owner, number: int, world: Outside) -> None:
        self.owner, self.name = owner, f"{owner}-{number}"
        self.group = Group(self.name)
        self.clock = SimClock(world.chance, PACE)
        self.clock.set_by(world.clock)
        self.reference_data = own_library()
        for document in world.published:
            self.reference_data.put(document)
        faults = world.faults
        failpoints = Failpoints(faults.failpoint)
        self.database = MemoryDatabase(world.tables[owner], faults.pause)
        self.runtime = Runtime.of(
            self.clock, aggregates=world.aggregates if number == 1 else None, failpoints=failpoints
        )
        self.runtime.progress.add_source(owner, self._look_up)
        service = self._build(
            identity=Identity(owner=owner, settings=SETTINGS, reference_data=self.reference_data),
            data=Data(
                log=for_owner(world.log, owner),
                streams=cast(Any, world.streams),
                edge=MemoryEdge(world.streams),
                vault=SharedVault(world.masters, self.clock, faults.pause, world.vault, failpoints),
                database=cast(Any, self.database),
            ),
            runtime=self.runtime,
        )
        self.application, self.data = service.application, service.data
        self.jobs = {name: job for name, job in service.jobs.items() if name not in ELSEWHERE}
        self.submissions = SubmissionsJob(owner, service.submissions, world.streams, self.clock)
        self.jobs[f"{owner}.submissions"] = self.submissions.run
        (self.reactions,) = [job.__self__ for name, job in self.jobs.items() if name.endswith(".reactions")]
        self.failed: BaseException | None = None

    async def _look_up(self, model: str, stream: str) -> int:
        """The sequence that a read model has reached, also when the other copy of the service projects it."""
        rows = await self.database.fetch("read_checkpoints", model)
        return next((row["sequence"] for row in rows if row["stream"] == stream), 0)

    def _build(self, **parts: Any) -> Any:
        """The composition of the service, without its web app."""
        module = APPS[self.owner]
        absent = SimpleNamespace(state=SimpleNamespace())
        with patch.object(module, "web_app", lambda application, *routers, **options: absent):
            return module.build(**parts)

    def start(self) -> None:
        """Run the background jobs."""
        for job in self.jobs.values():
            self.group.start(self._watched(job))

    async def _watched(self, job: Any) -> None:
        try:
            await job()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failed = self.failed or error
            raise

    def die(self) -> None:
        self.group.kill()
        self.database.disconnect()


class Outside:
    """The parts that outlive the processes: the servers, the tables, the rows of the vault."""

    def __init__(self, chance: Random, faults: Faults) -> None:
        self.chance, self.faults = chance, faults
        self.clock = SimClock(chance, PACE)
        self.published: list[Document] = []  # newer reference documents, which reach the processes one after the other
        self.log = SimLog(("5101", "5107"), self.clock, faults)
        self.streams = MemoryStreams(self.clock, faults.pause)
        self.masters = OLD_MASTERS
        self.vault = SharedVault(NEW_MASTERS, self.clock, faults.pause)
        self.tables = {owner: Tables() for owner in OWNERS}
        # the first copies of the services share a cache, as in `caseflow up`
        self.aggregates = AggregateCache()
