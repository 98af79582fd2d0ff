"""A service for a test: on running servers, or composed of parts that the test made.

The composition is that of the product, `SERVICE.build`. The jobs of a service run only inside `working`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import httpx
import pytest

from infra.servers.composition import KIT_MIGRATIONS, running, settings_for
from infra.servers.embedded import Endpoints
from infra.servers.services import BY_OWNER
from shared.case.base import Owner
from shared.kit.application import Application, Creator
from shared.kit.clock import Clock, SystemClock
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, follow_reference_data, open_service
from shared.kit.settings import Settings
from shared.kit.sql import Database, migrate
from shared.kit.vault import Vault
from shared.log.port import Log
from shared.log.streams import Streams
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from tests.support.log import AREAS

ABSENT: Any = None  # a part that the code under test never uses
STOP_S = 1.0
T = TypeVar("T")


@cache
def demo_reference_data() -> ReferenceData:
    """The reference documents of the demo."""
    return ReferenceData(demo_documents())


def data_of(*, log: Log, streams: Streams, database: Database, vault: Vault = ABSENT) -> Data:
    """The data of a service."""
    return Data(log=log, streams=streams, edge=ABSENT, vault=vault, database=database)


def application(
    owner: Owner,
    log: Log,
    vault: Vault,
    clock: Clock,
    *,
    runtime: Runtime | None = None,
    reference_data: ReferenceData | None = None,
    creators: dict[str, Creator] | None = None,
) -> Application:
    """The application layer of a service over a log and a vault, without a database and without other streams."""
    return Application(
        identity=Identity(owner=owner, settings=Settings(), reference_data=reference_data or ReferenceData([])),
        data=Data(log=log, streams=ABSENT, edge=ABSENT, vault=vault, database=ABSENT),
        runtime=runtime or Runtime.of(clock),
        creators=creators or {},
    )


def composed(
    owner: Owner,
    *,
    data: Data,
    runtime: Runtime,
    settings: Settings | None = None,
    reference_data: ReferenceData | None = None,
) -> RunningService:
    """A service of parts that a test made; by default with the settings and the documents of the demo."""
    identity = Identity(
        owner=owner, settings=settings or Settings(demo=True), reference_data=reference_data or demo_reference_data()
    )
    return BY_OWNER[owner].build(identity=identity, data=data, runtime=runtime)


def again(service: RunningService, runtime: Runtime) -> RunningService:
    """The same service over the same data, as in another process."""
    return BY_OWNER[service.owner].build(identity=service.identity, data=service.data, runtime=runtime)


@asynccontextmanager
async def connected(
    owner: Owner, endpoints: Endpoints, clock: Clock | None = None, areas: tuple[str, ...] = AREAS, nats_url: str = ""
) -> AsyncIterator[RunningService]:
    """A service on prepared running servers; `nats_url` names another NATS server."""
    settings = settings_for(Settings(areas=areas), endpoints, owner)
    if nats_url:
        settings = settings.model_copy(update={"nats_url": nats_url})
    async with open_service(BY_OWNER[owner], settings, runtime=Runtime.of(clock or SystemClock())) as service:
        yield service


@asynccontextmanager
async def web_of(
    settings: Mapping[Owner, Settings], runtime: Runtime, *, raise_app_exceptions: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """Services at work in this process on prepared servers, and an HTTP client that calls them without a socket.

    Faults of a service are raised, or answered with 500.
    """
    async with running(settings, runtime) as services:
        transport = httpx.ASGITransport(services.app, raise_app_exceptions=raise_app_exceptions)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://caseflow", headers={"Accept-Language": "en"}
        ) as client:
            yield client


@asynccontextmanager
async def working(service: RunningService, without: Collection[str] = ()) -> AsyncIterator[None]:
    """Run the jobs of a service except `without`, and follow the reference documents; both end as at a process stop."""
    reference_data, streams, clock = service.identity.reference_data, service.data.streams, service.runtime.clock
    jobs = [job for name, job in service.jobs.items() if name not in without]
    tasks = [asyncio.ensure_future(job()) for job in jobs]
    tasks.append(asyncio.ensure_future(follow_reference_data(reference_data, streams, clock)))
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()  # raises what ended the job
                pytest.fail("a job ended by itself")
    finally:
        while not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_S)
        await asyncio.gather(*tasks, return_exceptions=True)


def worker_of(service: RunningService, job: str, type_: type[T]) -> T:
    """The object whose method is a job of a service."""
    worker: Any = getattr(service.jobs[job], "__self__", None)
    assert isinstance(worker, type_), f"{job} is not a method of {type_.__name__}"
    return worker


@asynccontextmanager
async def tables_of(owner: Owner, dsns: Mapping[str, str]) -> AsyncIterator[Database]:
    """The schema of a service in an empty database, as the service's role."""
    service = BY_OWNER[owner]
    for schema, folder in (("kit", KIT_MIGRATIONS), (owner.value, service.migrations)):
        await migrate(dsns["admin"], schema, owner.value, folder)
    database = await Database.connect(dsns[owner.value], service.statements, owner.value, size_max=4)
    try:
        yield database
    finally:
        await database.close()
