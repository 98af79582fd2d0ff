"""The read models of all services: their checksums, rebuilding them, comparing them with a fresh replay of the log."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from infra.servers.attach import Servers
from shared.case.base import Owner
from shared.kit.clock import Clock
from shared.kit.problems import Unavailable
from shared.kit.projections import KIT_STATEMENTS, ProjectionRunner
from shared.kit.service import Kit, open_kit
from shared.kit.sql import Database, Session, Statements
from shared.log.fsck import FsckFinding
from shared.log.port import Log

TABLE_STATEMENTS = Statements.load(Path(__file__).with_name("tables.sql"))
Checksums = dict[str, tuple[int, int]]  # table -> rows, checksum
StreamProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class OpenReadModel:
    """A read model as its service keeps it."""

    kit: Kit
    store: ModuleType
    projector: ProjectionRunner

    @property
    def name(self) -> str:
        return self.projector._model.name

    @property
    def tables(self) -> Sequence[str]:
        tables: Sequence[str] = self.store.TABLES
        return tables

    async def checksums(self, session: Session) -> Checksums:
        """Of each table that follows from the log alone; the service's own way where it has one."""
        if own := getattr(self.store, "checksums", None):
            found: Checksums = await own(session)
            return found
        session = session.using(TABLE_STATEMENTS)
        await session.execute("make_tools")
        rows = {table: await session.fetch_one("checksum", table) for table in self.tables}
        return {table: (row["rows"], int(row["checksum"])) for table, row in rows.items() if row is not None}


@asynccontextmanager
async def open_kits(servers: Servers, clock: Clock, owners: Sequence[Owner]) -> AsyncIterator[dict[Owner, Kit]]:
    """The kits of these services, their jobs not running. Raises Unavailable."""
    async with AsyncExitStack() as stack:
        kits: dict[Owner, Kit] = {}
        for owner in owners:
            library = next((kit.library for kit in kits.values()), None)
            store = importlib.import_module(f"services.{owner}.store")
            opened = open_kit(owner, servers.settings(owner), store.STATEMENTS, clock, library)
            kits[owner] = await stack.enter_async_context(opened)
        yield kits


def read_models(kits: Mapping[Owner, Kit]) -> list[OpenReadModel]:
    """The read models of these services."""
    return [
        OpenReadModel(kit, importlib.import_module(f"services.{owner}.store"), projector)
        for owner, kit in kits.items()
        for projector in _projectors(kit)
    ]


def _projectors(kit: Kit) -> Iterator[ProjectionRunner]:
    """What keeps the read models of a service: the jobs of its composition root that project."""
    service = importlib.import_module(f"services.{kit.owner}.app").build(kit)
    for job in service.jobs.values():
        owner = getattr(job, "__self__", None)
        if isinstance(owner, ProjectionRunner):
            yield owner


async def rebuild(kept: OpenReadModel, resume: bool, progress: StreamProgress) -> None:
    """Empty the model and read the log anew; `resume`: go on from where a rebuild was interrupted.

    Raises Unavailable when a running copy keeps the model.
    """
    if not resume:
        async for _ in kept.projector.rebuild(progress):
            pass
        return
    lock = await kept.kit.database.try_advisory_lock(f"project.{kept.name}")
    if lock is None:
        raise Unavailable("Another process keeps this read model. Stop it, then rebuild.")
    try:
        ends = {stream: await kept.kit.log.end(stream) for stream in kept.kit.log.streams()}
        await _replay(kept.projector, kept.kit.log, ends, progress)
    finally:
        await lock.release()


async def _replay(projector: ProjectionRunner, log: Log, ends: Mapping[str, int], progress: StreamProgress) -> None:
    """Project from the checkpoints up to these sequences."""
    for stream, end in ends.items():
        at = await projector.checkpoint(stream)
        if at >= end:
            continue
        async with aclosing(log.follow(stream, at)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                batch = [one for one in batch if one.position is not None and one.position.sequence <= end]
                await projector.apply(stream, batch)
                at = batch[-1].position.sequence if batch and batch[-1].position else end
                progress(stream, at, end)
                if at >= end:
                    break


async def table_differences(
    kept: OpenReadModel, servers: Servers, clock: Clock, progress: StreamProgress
) -> AsyncIterator[FsckFinding]:
    """Where the tables differ from a fresh replay, made in temporary tables up to where the model has read."""
    owner = kept.kit.owner
    async with kept.kit.database.transaction(snapshot=True) as session:
        rows = await session.using(KIT_STATEMENTS).fetch("read_checkpoints", kept.name)
        there = await kept.checksums(session)
    ends = {row["stream"]: row["sequence"] for row in rows}
    dsn = servers.settings(owner).dsn(owner.value)
    shadow = await Database.connect(dsn, kept.store.STATEMENTS, owner.value, 1)  # one connection: one set of tables
    try:
        async with shadow.session() as session:
            await session.using(TABLE_STATEMENTS).execute("make_tools")
            await session.using(TABLE_STATEMENTS).fetch_value("shadow", owner.value)
        projector = ProjectionRunner(kept.projector._model, shadow, kept.kit.log, clock, kept.kit.reached)
        await _replay(projector, kept.kit.log, ends, progress)
        async with shadow.session() as session:
            fresh = await kept.checksums(session)
    finally:
        await shadow.close()
    for table, (count, checksum) in fresh.items():
        if there.get(table) != (count, checksum):
            stands = there.get(table, (0, 0))[0]
            yield FsckFinding("read_model", f"{owner}.{table}", what=f"{stands} rows stand, {count} in a fresh replay")
