"""The four services in one process on one origin, for `caseflow up` and for tests.

`prepare` makes streams, durables and tables and publishes the reference documents of the demo. `running` opens the
services, runs their jobs and gives the web app. Settings may name external servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from infra.servers import problem_pages
from infra.servers.embedded import Endpoints
from infra.servers.partners import load_partners
from infra.servers.services import BY_OWNER, SERVICES
from shared.case.base import Owner
from shared.kit import problems, vault
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, connect_as, end_all, follow_reference_data, open_service, run_jobs
from shared.kit.settings import Settings
from shared.kit.sql import migrate
from shared.kit.web_app import inner_app
from shared.log import topology
from shared.log.streams import Streams, ensure_subscriptions, ensure_topology
from shared.log.topology import Topology
from shared.reference.documents import Document
from shared.reference.load import demo_documents
from shared.reference.publish import publish

KIT_MIGRATIONS = Path(vault.__file__).parent / "migrations"
Announce = Callable[[str], None]


def settings_for(base: Settings, endpoints: Endpoints, user: str) -> Settings:
    """The settings of a service, or of the administrator, on the embedded servers."""
    dsns = {role: SecretStr(dsn) for role, dsn in endpoints.postgres.items()}
    return base.model_copy(
        update={
            "pg_dsn": dsns,
            "nats_url": endpoints.nats[user],
            "master_key": endpoints.master_key,
            "demo": base.demo is not False,
        }
    )


async def prepare(settings: Settings, say: Announce = lambda text: None) -> None:
    """Make streams, durables of subscribers and tables, and publish the documents of the demo.

    A repetition changes nothing. Raises Unavailable, LogUnavailable, WrongTopology, MigrationRefused, BadSettings.
    """
    connection = await connect_as(settings, "admin")
    try:
        created = await ensure_topology(connection, Topology(tuple(settings.areas), settings.replicas))
        if created:
            say(f"made the streams {', '.join(created)}")
        partners = load_partners(settings)
        if partners is not None:
            durables = [topology.subscription(reader.name, reader.subjects) for reader in partners.subscribers]
            for name in await ensure_subscriptions(connection, durables):
                say(f"set up the durable {name} of the feed")
        admin = settings.dsn("admin")
        for schema, role, folder in migrations():
            for name in await migrate(admin, schema, role, folder):
                say(f"schema {schema}: applied {name}")
        if settings.demo:
            counts = await publish(Streams(connection), await _absent(Streams(connection)))
            if counts.published:
                say(f"published {counts.published} reference documents of the demo")
    finally:
        await connection.close()


async def _absent(streams: Streams) -> list[Document]:
    """The documents of the demo without a version, so that a start does not undo what an operator has published."""
    return [
        document
        for document in demo_documents()
        if await streams.last(topology.REFERENCE, topology.reference(document.kind, document.region)) is None
    ]


def migrations() -> list[tuple[str, str, Path]]:
    """The schema, role and folder of all migrations, shared ones first."""
    kit = [("kit", str(service.owner), KIT_MIGRATIONS) for service in SERVICES]
    own = [(str(service.owner), str(service.owner), service.migrations) for service in SERVICES]
    return [*kit, ("vault", "vault", vault.MIGRATIONS), *own]


@dataclass(frozen=True)
class Running:
    """The running services and the web app of their origin."""

    services: Sequence[RunningService]
    runtime: Runtime
    app: Starlette
    inner: Starlette  # for the inner port
    jobs: asyncio.Task[None]  # ends only when a job failed


@asynccontextmanager
async def running(settings: Mapping[Owner, Settings], runtime: Runtime) -> AsyncIterator[Running]:
    """Open these services and run their jobs within the block. `jobs` ends when one of them fails."""
    async with AsyncExitStack() as stack:
        services = await open_services(stack, settings, runtime)
        first = services[0]
        reference_data, streams = first.identity.reference_data, first.data.streams
        others = {"reference_data": partial(follow_reference_data, reference_data, streams, runtime.clock)}
        jobs = asyncio.create_task(run_jobs(services, others), name="jobs")
        try:
            yield Running(services, runtime, _origin(services), _inner(services), jobs)
        finally:
            await end_all([jobs])


async def open_services(
    stack: AsyncExitStack, settings: Mapping[Owner, Settings], runtime: Runtime
) -> list[RunningService]:
    """Connect these services until the stack is closed. They share the runtime and the reference documents."""
    services: list[RunningService] = []
    for owner, own in settings.items():
        reference_data = services[0].identity.reference_data if services else None
        opened = open_service(BY_OWNER[owner], own, runtime=runtime, reference_data=reference_data)
        services.append(await stack.enter_async_context(opened))
    return services


def _inner(services: Sequence[RunningService]) -> Starlette:
    """The web app of the inner port, with the same paths as the origin."""
    mounts = [Mount(f"/{service.owner}", inner_app(service.application)) for service in services]
    inner = Starlette(routes=[Route("/healthz", _alive), *mounts])
    problems.install(inner)
    return inner


async def _alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _origin(services: Sequence[RunningService]) -> Starlette:
    """The web app with each service under its name, and with `/healthz`."""

    async def home(request: Request) -> Response:
        names = ", ".join(f"/{service.owner}" for service in services)
        return PlainTextResponse(
            f"caseflow\n\nServices: {names}; each has /docs, /openapi.json, /healthz, /readyz, /metrics.\n"
            "Problems: /problems.\n"
        )

    mounts = [Mount(f"/{service.owner}", service.app) for service in services]
    origin = Starlette(routes=[Route("/", home), Route("/healthz", _alive), *problem_pages.ROUTES, *mounts])
    problems.install(origin)  # for paths outside of all services
    return origin
