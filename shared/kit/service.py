"""A service as a value, and the same service connected: identity, data, runtime, application layer, web app, jobs.

Each service exports one value `SERVICE`. One list names the four; composition, NATS users, Postgres roles, doctor and
the generators read that list. Each service has a role of its own in Postgres and a user of its own in NATS, also where
one process holds all four.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI

from shared.case.base import Owner
from shared.kit import telemetry
from shared.kit.application import Application
from shared.kit.clock import Clock
from shared.kit.data import Data
from shared.kit.effects import Reaction
from shared.kit.identity import Identity, TokenFile
from shared.kit.messaging import (
    Broker,
    BrokerEdge,
    Redelivery,
    Router,
    connect_broker,
    make_broker,
    run_subscribers,
    stop,
)
from shared.kit.projections import KIT_STATEMENTS, ProjectionRunner
from shared.kit.read_your_writes import Lookup
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.sql import Database, Statements
from shared.kit.submissions import Submissions
from shared.kit.vault import MasterKeys, PgVault
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.port import LogUnavailable, for_owner
from shared.log.streams import Streams
from shared.log.topology import Topology
from shared.reference.reference_data import ReferenceData

CANCEL_EVERY_S = 1.0
REFERENCE_PAUSE_S = 1.0

Job = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A connected service: its application layer, its web app, and the background jobs that a process may run."""

    application: Application
    app: FastAPI
    jobs: Mapping[str, Job]
    projections: Sequence[ProjectionRunner] = ()
    submissions: Submissions | None = None

    @property
    def identity(self) -> Identity:
        """The identity of the service."""
        return self.application.identity

    @property
    def data(self) -> Data:
        """The connections of the service."""
        return self.application.data

    @property
    def runtime(self) -> Runtime:
        """The runtime of the process that the service is in."""
        return self.application.runtime

    @property
    def owner(self) -> Owner:
        """The name of the service."""
        return self.identity.owner


class Build(Protocol):
    """The composition of a service from its parts: `build` in its `app.py`."""

    def __call__(self, *, identity: Identity, data: Data, runtime: Runtime) -> RunningService: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service: its name, its tables and statements, the NATS subjects it may publish on, its composition.

    `reactions`: a service that has any has a durable consumer on every log stream. `messages` makes
    the router of the messages that it hears and says over NATS at its edge.
    """

    owner: Owner
    statements: Statements
    migrations: Path
    publishes: tuple[str, ...]
    reactions: tuple[Reaction, ...]
    build: Build
    messages: Callable[[], Router] | None = None


async def connect_as(settings: Settings, name: str) -> NatsConnection:
    """Connect to NATS as the user of these settings, shown there as `name`. Raises LogUnavailable."""
    user, password = _credentials(settings)
    return await connect(settings.nats_url, user=user, password=password, name=f"caseflow {name}")


def _credentials(settings: Settings) -> tuple[str | None, str | None]:
    """User and password for NATS; a URL may hold them instead."""
    return settings.nats_user or None, settings.nats_password.get_secret_value() or None


@asynccontextmanager
async def open_service(
    service: Service, settings: Settings, *, runtime: Runtime, reference_data: ReferenceData | None = None
) -> AsyncIterator[RunningService]:
    """Connect a service; its jobs do not run yet. Services of one process share `runtime` and `reference_data`.

    Raises Unavailable, LogUnavailable, BadSettings, BadMaster.
    """
    owner = service.owner
    async with AsyncExitStack() as stack:
        connection = await connect_as(settings, owner)
        stack.push_async_callback(connection.close)
        role = owner.value
        database = await Database.connect(settings.dsn(role), service.statements, role, settings.pg_pool_size_max)
        stack.push_async_callback(database.close)
        topology = Topology(tuple(settings.areas), settings.replicas)
        log = JetStreamLog(connection, topology, decoder=runtime.event_decoder)
        streams = Streams(connection)
        if reference_data is None:
            reference_data = ReferenceData()
            await reference_data.load(streams)
        masters = MasterKeys.load(settings.master_key_file)
        vault = PgVault(database, masters, runtime.clock, runtime.failpoints)
        runtime.progress.add_source(owner, checkpoint_source(database))
        user, password = _credentials(settings)
        broker = make_broker(
            settings.nats_url, name=f"caseflow {owner} edge", user=user, password=password, middlewares=(Redelivery,)
        )
        running = service.build(
            identity=Identity(
                owner=owner, settings=settings, reference_data=reference_data, tokens=TokenFile(settings.tokens_file)
            ),
            data=Data(
                log=for_owner(log, owner), streams=streams, edge=BrokerEdge(broker), vault=vault, database=database
            ),
            runtime=runtime,
        )
        if service.messages is None:
            yield running
            return
        broker.include_router(service.messages())
        stack.push_async_callback(stop, broker)
        await connect_broker(broker)
        yield replace(running, jobs={**running.jobs, f"{owner}.messages": partial(_hear, broker, running)})


async def _hear(broker: Broker, running: RunningService) -> None:
    """The job that takes what a service hears at its edge."""

    async def make_durable(stream: str, durable: str, subject: str) -> None:
        await running.data.streams.durable_raw(stream, durable, subject)

    await run_subscribers(broker, running.runtime.clock, make_durable, submissions=running.submissions)


def checkpoint_source(database: Database) -> Lookup:
    """Asks a service's checkpoint table how far a read model is."""
    statements = database.using(KIT_STATEMENTS)

    async def look_up(model: str, stream: str) -> int:
        rows = await statements.fetch("read_checkpoints", model)
        return next((row["sequence"] for row in rows if row["stream"] == stream), 0)

    return look_up


async def follow_reference_data(reference_data: ReferenceData, streams: Streams, clock: Clock) -> None:
    """Keep the reference documents of a process current; never returns."""
    while True:
        try:
            await reference_data.follow(streams)
        except LogUnavailable:
            await clock.sleep(REFERENCE_PAUSE_S)


async def run_jobs(services: Sequence[RunningService], others: Mapping[str, Job]) -> None:
    """Run the background jobs of these services, and others, until cancelled. Raises the error that ended one."""
    jobs = dict(others) | {name: job for service in services for name, job in service.jobs.items()}
    tasks = [asyncio.create_task(_named(name, job), name=name) for name, job in jobs.items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end_all(tasks)


async def end_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended. A task loses a cancellation that arrives together with its answer."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        with suppress(asyncio.CancelledError):  # cancelled again: so are those that still run
            await asyncio.wait(pending, timeout=CANCEL_EVERY_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _named(name: str, job: Job) -> None:
    try:
        await job()
    except Exception as error:
        telemetry.error("a background job ended", error, step=name)
        raise
