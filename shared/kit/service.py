"""What a service is made of, put together once: connections, keys, documents, the handler, the web app, the jobs.

Each service has a role of its own in Postgres and a user of its own in NATS, also when one process holds all four.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.case.base import Actor, Address, Owner, Position, Recorded, Unknown
from shared.kit import problems, telemetry
from shared.kit.access import Caller
from shared.kit.aggregate_cache import AggregateCache
from shared.kit.clock import Clock
from shared.kit.command_handler import CommandHandler
from shared.kit.load_gate import LOAD_GATE
from shared.kit.projections import KIT_STATEMENTS
from shared.kit.read_your_writes import ProjectionProgress
from shared.kit.seal import AlreadySealed
from shared.kit.settings import BadSettings, Role, Settings
from shared.kit.sql import Database, Statements
from shared.kit.vault import MasterKeys, PgVault, Vault
from shared.log import topology
from shared.log.case_numbers import case_number
from shared.log.connection import connect
from shared.log.jetstream import JetStreamLog
from shared.log.port import EventTooLarge, Log, LogUnavailable, NoArea, for_owner
from shared.log.streams import Streams
from shared.log.topology import Topology
from shared.reference.reference_data import ReferenceData
from shared.reference.rights import Right

RESIDENT = "resident"
DEMO_TOKEN_PREFIX = "demo-"
READY_WAIT_S_MAX = 2.0
LIBRARY_PAUSE_S = 1.0
ACTORS_COUNT_MAX = 4096


@dataclass
class Kit:
    """What one service has at hand. `ending` is set when the web server stops: who listens without end must go."""

    owner: Owner
    settings: Settings
    clock: Clock
    log: Log
    streams: Streams
    vault: Vault
    database: Database
    library: ReferenceData
    handler: CommandHandler
    reached: ProjectionProgress
    tokens: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of a token in hex -> person
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    def caller(self, token: str) -> Caller | None:
        """Who a bearer token stands for; demo tokens only in the embedded mode."""
        person = self.tokens.get(sha256(token.encode()).hexdigest())
        if person is None and self.settings.demo and token.startswith(DEMO_TOKEN_PREFIX):
            person = token.removeprefix(DEMO_TOKEN_PREFIX)
        return None if person is None else self.person(person)

    def person(self, id: str) -> Caller | None:
        """A person of the reference documents in force, with the rights of their post."""
        row = self.library.person(id)
        post = self.library.post(row.post) if row is not None and row.active else None
        if row is None or post is None:
            return None
        return Caller(row.id, row.post, row.unit, row.region, frozenset(post.rights))

    def resident(self, region: str) -> Caller:
        """A resident who proved with the secret that a case is theirs."""
        return Caller(RESIDENT, RESIDENT, f"{region}-centre", region, frozenset({Right.REGISTER}))

    def own_actor(self, address: Address) -> Actor:
        """The service itself, as it reacts to what it hears."""
        return _service_actor(self.owner, address.region)

    def references(self, region: str) -> tuple[str, ...]:
        """The reference documents in force that a decision in this region cites."""
        return self.library.references(region, self.owner)

    def number(self, address: Address, state: Any) -> str:
        """The case number that can be read out over the phone."""
        return case_number(Position(self.log.stream_of(address), state.registration_sequence))

    async def follow_library(self) -> None:
        """Keep the reference documents current; never returns."""
        while True:
            try:
                await self.library.follow(self.streams)
            except LogUnavailable:
                await self.clock.sleep(LIBRARY_PAUSE_S)

    def is_newer(self, recorded: Recorded[Any]) -> bool:
        """Whether the event is of a type or version newer than this program."""
        return isinstance(recorded.event, Unknown)

    async def park(self, service: str, reaction: str, recorded: Recorded[Any], reason: str) -> None:
        """Leave what a reaction could not do to the operator: the place of the event and the reason, no content."""
        told = {"event": recorded.id, "position": str(recorded.position), "type": recorded.type, "reason": reason}
        await self.streams.publish(
            topology.parked(service, reaction), to_json(told), msg_id=f"{reaction} {recorded.id}"
        )


@lru_cache(ACTORS_COUNT_MAX)
def _service_actor(owner: Owner, region: str) -> Actor:
    return Actor(person=f"service-{owner}", post="service", unit=f"{region}-centre", centre=region, region=region)


Job = Callable[[], Awaitable[None]]


@dataclass
class Service:
    """A service ready to run: its web app and what it does in the background."""

    kit: Kit
    app: FastAPI
    jobs: Mapping[str, Job]


@asynccontextmanager
async def open_kit(
    owner: Owner, settings: Settings, statements: Statements, clock: Clock, library: ReferenceData | None = None,
    known: AggregateCache | None = None,
) -> AsyncIterator[Kit]:  # fmt: skip
    """Connect a service. The services of one process share `library` and `known`. Raises Unavailable, BadSettings."""
    async with AsyncExitStack() as stack:
        user, password = settings.nats_user or None, settings.nats_password.get_secret_value() or None
        connection = await connect(settings.nats_url, user=user, password=password, name=f"caseflow {owner}")
        stack.push_async_callback(connection.close)
        role: Role = owner.value
        database = await Database.connect(settings.dsn(role), statements, role, settings.pg_pool_size_max)
        stack.push_async_callback(database.close)
        log = JetStreamLog(connection, Topology(tuple(settings.areas), settings.replicas))
        streams = Streams(connection)
        if library is None:
            library = ReferenceData()
            await library.load(streams)
        vault = PgVault(database, MasterKeys.load(settings.master_key_file), clock)
        owned = for_owner(log, owner)
        kit_statements = database.using(KIT_STATEMENTS)

        async def look_up(model: str, stream: str) -> int:
            rows = await kit_statements.fetch("read_checkpoints", model)
            return next((row["sequence"] for row in rows if row["stream"] == stream), 0)

        yield Kit(
            owner, settings, clock, owned, streams, vault, database, library,
            CommandHandler(owned, vault, clock, known), ProjectionProgress(clock, look_up),
            read_tokens(settings.tokens_file),
        )  # fmt: skip


def read_tokens(path: Path) -> dict[str, str]:
    """Who has which token: lines `<sha256 of the token in hex> <person>`; no file, no tokens. Raises BadSettings."""
    if not path.exists():
        return {}
    tokens = {}
    for place, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        digest, _, person = line.partition(" ")
        if len(digest) != 64 or not person.strip():
            raise BadSettings(f"{path}:{place}: expected the SHA-256 of a token in hex, a space and the person's id")
        tokens[digest.lower()] = person.strip()
    return tokens


# What other layers raise, as an answer to whoever asked, over HTTP and over NATS alike.
TRANSLATIONS: Mapping[type[Exception], Callable[[Any], problems.ProblemError]] = {
    EventTooLarge: lambda _: problems.TooLarge("This is too long for one event; attach it as a file."),
    NoArea: lambda _: problems.Unprocessable("No area here holds the region.", code="region.no_area"),
    AlreadySealed: lambda _: problems.Unprocessable("Send the content itself, not a seal.", code="content.sealed"),
    LogUnavailable: lambda _: problems.Unavailable("The log does not answer."),
}


def web_app(kit: Kit, title: str) -> FastAPI:
    """The service's app: problems, body limits, traces, `/healthz`, `/readyz`, `/metrics`."""
    app = FastAPI(
        title=f"caseflow {title}", version="1", docs_url=None, redoc_url=None, servers=[{"url": f"/{kit.owner}"}]
    )
    app.state.desk = kit
    problems.install(app, TRANSLATIONS, telemetry.trace_id)
    app.add_middleware(BodyLimit, bytes_max=kit.settings.body_bytes_max, upload_bytes_max=_upload_max(kit.settings))
    app.add_middleware(Traced, kit=kit)

    @app.get("/healthz", include_in_schema=False)
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> dict[str, str]:
        await asyncio.wait_for(kit.database.ping(), READY_WAIT_S_MAX)
        for stream in kit.log.streams():
            await asyncio.wait_for(kit.log.end(stream), READY_WAIT_S_MAX)
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Any:
        from starlette.responses import Response

        return Response(telemetry.metrics_text(), media_type=telemetry.METRICS_MEDIA_TYPE)

    return app


def _upload_max(settings: Settings) -> int:
    return settings.attachment_bytes_max * settings.attachment_count_max + settings.body_bytes_max


class BodyLimit:
    """Refuses a body that is too large before it is read whole: 413, also when it does not say its length."""

    def __init__(self, app: ASGIApp, bytes_max: int, upload_bytes_max: int) -> None:
        self._app, self._bytes_max, self._upload_bytes_max = app, bytes_max, upload_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        multipart = headers.get(b"content-type", b"").startswith(b"multipart/")
        bytes_max = self._upload_bytes_max if multipart else self._bytes_max
        length = headers.get(b"content-length", b"0")
        told = int(length) if length.isdigit() else 0
        seen = 0

        async def limited() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > bytes_max or told > bytes_max:
                raise problems.TooLarge(f"The body is larger than {bytes_max} bytes.")
            return message

        await self._app(scope, limited, send)


class Traced:
    """One span and one count per request, named by its route and never by its content."""

    def __init__(self, app: ASGIApp, kit: Kit) -> None:
        self._app, self._kit = app, kit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1") or None
        started = self._kit.clock.monotonic()
        status = 0

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        method = scope["method"]
        first = nullcontext() if method == "GET" else LOAD_GATE.answering()
        with first, telemetry.continued(given, self._kit.clock), telemetry.span("http", method=method):
            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", "?")
                labels = (str(self._kit.owner), route, method, str(status))
                REQUESTS.labels(*labels).inc()
                SECONDS.labels(*labels[:3]).observe(self._kit.clock.monotonic() - started)


REQUESTS = telemetry.counter(
    "caseflow_http_requests_total", "Requests answered", "service", "route", "method", "status"
)
SECONDS = telemetry.histogram("caseflow_http_seconds", "Time to answer", "service", "route", "method")


async def run_jobs(services: Sequence[Service], *others: Job) -> None:
    """Run the background jobs of these services until cancelled. Raises what ended one of them."""
    async with asyncio.TaskGroup() as group:
        for other in others:
            group.create_task(_named(other.__name__, other), name=other.__name__)
        for service in services:
            for name, job in service.jobs.items():
                group.create_task(_named(name, job), name=name)


async def _named(name: str, job: Job) -> None:
    try:
        await job()
    except Exception as error:
        telemetry.error("a background job ended", error, step=name)
        raise
