"""`caseflow up` runs the four services with embedded servers, `caseflow serve` one with external servers."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvicorn
from starlette.types import ASGIApp

from infra.cli.base import DataFolder, Refused, app, hook, read_settings, run
from infra.operations.clock_ahead import ADVICE, recorded_ahead
from infra.servers.attach import mark_ready
from infra.servers.composition import Running, prepare, running, settings_for
from infra.servers.embedded import Embedded, require_port
from infra.servers.partners import DEMO_PARTNERS, Partners, load_partners
from infra.servers.services import OWNERS
from shared.case.base import Owner
from shared.kit import telemetry
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.reference.documents import DocumentKind
from shared.reference.load import demo_documents

_STOP_S_MAX = 10
_STARTED_POLL_S = 0.01
GC_YOUNG_COUNT, GC_MIDDLE_COUNT, GC_OLD_COUNT = 20_000, 20, 20


def announce(text: str) -> None:
    """Report a step on stdout, since these two commands have no other output."""
    typer.echo(f"caseflow: {text}")


@app.command()
def up(
    data: DataFolder = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; CASEFLOW_PORT sets it too.")] = None,
) -> None:
    """Start NATS, Postgres and the four services on one origin; ctrl-C stops them."""
    settings = read_settings(data)
    settings = settings.model_copy(update={"port": port or settings.port})
    run(_up(settings), "stopped", code=0)


async def _up(settings: Settings) -> None:
    require_port(settings.port)
    if settings.inner_port is not None:
        require_port(settings.inner_port, "CASEFLOW_INNER_PORT")
    telemetry.log_to(sys.stderr, "caseflow", settings.log_level)
    none = Partners() if settings.demo is False else DEMO_PARTNERS
    embedded = Embedded(announce, load_partners(settings) or none)
    endpoints = await embedded.start(settings.data.resolve())
    try:
        await prepare(settings_for(settings, endpoints, "admin"), announce)
        mark_ready(settings.data.resolve())
        nats = urlsplit(endpoints.nats[str(OWNERS[0])])
        announce(f"platforms and subscribers reach NATS on {nats.hostname}:{nats.port}")
        each = {owner: settings_for(settings, endpoints, owner) for owner in OWNERS}
        with process("caseflow", settings) as runtime:
            async with running(each, runtime) as stack:
                data = stack.services[0].data
                async for text in recorded_ahead(data.log, data.streams, runtime.clock.now()):
                    announce(f"{text}. {ADVICE}")
                await _serve(stack, each[Owner.INTAKE], embedded)
    finally:
        announce("stopping")
        await embedded.stop()


async def _serve(stack: Running, settings: Settings, embedded: Embedded | None) -> None:
    """Answer HTTP until a signal, or until a server does not stay up, or a job ends.

    Raises the error of a job, Refused for a server.
    """
    server = _Server(web_config(stack.app, settings), stack)
    inner = _InnerServer(web_config(stack.inner, _inner_settings(settings))) if settings.inner_port else None
    # Long-lived objects (documents, folded cases) are no garbage. A full collection over them delayed each request by
    # 100 ms and more, growing with the caches. Young garbage is collected as before.
    gc.freeze()
    gc.set_threshold(GC_YOUNG_COUNT, GC_MIDDLE_COUNT, GC_OLD_COUNT)
    serving = asyncio.create_task(server.serve())
    serving_inner = asyncio.create_task(inner.serve()) if inner else None
    async with _supervised(embedded) as given_up:
        while not (server.started or serving.done()):
            await asyncio.sleep(_STARTED_POLL_S)
        announce(f"ready on http://{settings.host}:{settings.port}")
        if settings.inner_port is not None:
            announce(f"metrics and health on http://{settings.inner_host}:{settings.inner_port}")
        say_demo(settings)
        await asyncio.wait({serving, stack.jobs, *given_up}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        if inner is not None and serving_inner is not None:
            inner.should_exit = True
            await serving_inner
        for supervision in given_up:
            if supervision.done():
                raise Refused(supervision.result())
    if stack.jobs.done():
        await stack.jobs


@asynccontextmanager
async def _supervised(embedded: Embedded | None) -> AsyncIterator[Sequence[asyncio.Task[str]]]:
    """The supervision of embedded servers for the length of a block: it is done when a server does not stay up."""
    given_up = [asyncio.create_task(embedded.supervise())] if embedded else []
    try:
        yield given_up
    finally:
        for supervision in given_up:
            supervision.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)


def web_config(asgi: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The HTTP server of an app. Without `proxies` nobody can choose the address under which his rate is counted."""
    return uvicorn.Config(
        asgi, host=settings.host, port=settings.port, log_config=None, access_log=False, loop="none",
        lifespan="off", http="httptools", timeout_graceful_shutdown=_STOP_S_MAX,
        proxy_headers=bool(settings.proxies), forwarded_allow_ips=[str(network) for network in settings.proxies],
    )  # fmt: skip


def _inner_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"host": settings.inner_host, "port": settings.inner_port})


class _InnerServer(uvicorn.Server):
    """Leaves signals to the server of the other port, and ends after it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(uvicorn.Server):
    """Ends streams without end before it waits for the end of requests."""

    def __init__(self, config: uvicorn.Config, stack: Running) -> None:
        super().__init__(config)
        self._stack = stack

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stack.runtime.stopping.set()
        await super().shutdown(sockets)


def say_demo(settings: Settings) -> None:
    """Print the demo users and an example of their use."""
    if not settings.demo:
        return
    if not settings.host.startswith(("127.", "localhost", "::1")):
        announce(f"whoever reaches {settings.host} can be any demo user; set CASEFLOW_DEMO=false for real cases")
    typer.echo("\nDemo users, for example `curl -H 'Authorization: Bearer demo-jj-triage' ...`:")
    people = [row for document in demo_documents() if document.kind is DocumentKind.PEOPLE for row in document.rows]
    for row in people:
        typer.echo(f"  demo-{row.id:<16} {row.name}  {row.post:<16} {row.unit}")
    typer.echo()


@app.command()
def serve(service: Annotated[Owner, typer.Argument(help="intake, routing, supervision or reporting")]) -> None:
    """Serve one service with external NATS and Postgres, named by settings (CASEFLOW_NATS_URL, CASEFLOW_PG_DSN_...)."""
    settings = read_settings()
    telemetry.log_to(sys.stderr, service, settings.log_level)
    run(_serve_one(settings, service), "stopped", code=0)


async def _serve_one(settings: Settings, service: Owner) -> None:
    settings.dsn(service.value)  # raises BadSettings before any wait for servers
    if "admin" in settings.pg_dsn:
        await prepare(settings, announce)
    with process(service, settings) as runtime:
        async with running({service: settings}, runtime) as stack:
            await _serve(stack, settings, None)


@contextmanager
def process(service: str, settings: Settings) -> Iterator[Runtime]:
    """The runtime of this process. Remaining traces are exported at the end."""
    own_telemetry = telemetry.Telemetry.of(service, settings)
    try:
        yield Runtime.of(SystemClock(), failpoints=Failpoints(hook(settings)), telemetry=own_telemetry)
    finally:
        own_telemetry.shutdown()
