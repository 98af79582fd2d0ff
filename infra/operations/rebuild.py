"""The read models of all services: checksums, rebuilding, and comparison with a fresh replay of the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.servers.attach import Servers
from infra.servers.composition import open_services
from infra.servers.services import BY_OWNER
from shared.case.base import Owner
from shared.kit.clock import Clock
from shared.kit.projections import KIT_STATEMENTS, KeptElsewhere, ProjectionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService
from shared.kit.sql import Database, Session, Statements
from shared.log.fsck import FsckFinding, StreamProgress
from shared.log.port import Log

TABLE_STATEMENTS = Statements.load(Path(__file__).with_name("tables.sql"))
Checksums = dict[str, tuple[int, int]]  # table -> rows, checksum


@dataclass(frozen=True)
class OpenReadModel:
    """A read model of a connected service."""

    service: RunningService
    runner: ProjectionRunner

    @property
    def name(self) -> str:
        return self.runner.model.name

    @property
    def log(self) -> Log:
        return self.service.data.log

    @property
    def database(self) -> Database:
        return self.service.data.database

    async def checksums(self, session: Session) -> Checksums:
        """The checksum of each table that follows from the log alone, by the method of the read model if it has one."""
        if own := getattr(self.runner.model, "checksums", None):
            checksums: Checksums = await own(session)
            return checksums
        session = session.using(TABLE_STATEMENTS)
        await session.execute("make_tools")
        rows = {table: await session.fetch_one("checksum", table) for table in self.runner.model.tables}
        return {table: (row["rows"], int(row["checksum"])) for table, row in rows.items() if row is not None}


@asynccontextmanager
async def connected(
    servers: Servers, clock: Clock, owners: Sequence[Owner], runtime: Runtime | None = None
) -> AsyncIterator[dict[Owner, RunningService]]:
    """These services, connected, without their jobs. Raises Unavailable, LogUnavailable."""
    async with AsyncExitStack() as stack:
        settings = {owner: servers.settings(owner) for owner in owners}
        services = await open_services(stack, settings, runtime or Runtime.of(clock))
        yield {service.owner: service for service in services}


def read_models(services: Mapping[Owner, RunningService]) -> list[OpenReadModel]:
    """The read models of these services."""
    return [OpenReadModel(service, runner) for service in services.values() for runner in service.projections]


async def rebuild(model: OpenReadModel, resume: bool, progress: StreamProgress) -> None:
    """Empty the model and read the log anew; with `resume`, continue an interrupted rebuild.

    Raises KeptElsewhere.
    """
    if not resume:
        async for _ in model.runner.rebuild(progress):
            pass
        return
    lock = await model.database.try_advisory_lock(f"project.{model.name}")
    if lock is None:
        raise KeptElsewhere
    try:
        ends = {stream: await model.log.end(stream) for stream in model.log.streams()}
        await _replay(model.runner, model.log, ends, progress)
    finally:
        await lock.release()


async def _replay(runner: ProjectionRunner, log: Log, ends: Mapping[str, int], progress: StreamProgress) -> None:
    """Project events from the checkpoints up to these sequences."""
    for stream, end in ends.items():
        at = await runner.checkpoint(stream)
        if at >= end:
            continue
        async with aclosing(log.follow(stream, at)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                batch = [event for event in batch if event.position is not None and event.position.sequence <= end]
                await runner.apply(stream, batch)
                at = batch[-1].position.sequence if batch and batch[-1].position else end
                progress(stream, at, end)
                if at >= end:
                    break


async def table_differences(
    model: OpenReadModel, servers: Servers, clock: Clock, progress: StreamProgress
) -> AsyncIterator[FsckFinding]:
    """The differences of the tables from a fresh replay up to the same position, which uses temporary tables."""
    owner = model.service.owner
    async with model.database.transaction(snapshot=True) as session:
        rows = await session.using(KIT_STATEMENTS).fetch("read_checkpoints", model.name)
        standing = await model.checksums(session)
    ends = {row["stream"]: row["sequence"] for row in rows}
    dsn = servers.settings(owner).dsn(owner.value)
    # One connection, since temporary tables belong to a connection.
    shadow = await Database.connect(dsn, BY_OWNER[owner].statements, owner.value, 1)
    try:
        async with shadow.session() as session:
            await session.using(TABLE_STATEMENTS).execute("make_tools")
            await session.using(TABLE_STATEMENTS).fetch_value("shadow", owner.value)
        runner = ProjectionRunner(model=model.runner.model, database=shadow, log=model.log, runtime=Runtime.of(clock))
        await _replay(runner, model.log, ends, progress)
        async with shadow.session() as session:
            fresh = await model.checksums(session)
    finally:
        await shadow.close()
    for table, (count, checksum) in fresh.items():
        if standing.get(table) != (count, checksum):
            row_count = standing.get(table, (0, 0))[0]
            yield FsckFinding(
                "read_model", f"{owner}.{table}", details=f"{row_count} rows stand, {count} in a fresh replay"
            )
