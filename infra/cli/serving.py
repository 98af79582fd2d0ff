"""`caseflow up` and `caseflow serve`: the four services with servers of their own, or one with those of others."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn

from infra.cli.base import DataFolder, Refused, app, hook, run, settings
from infra.servers.attach import mark_ready
from infra.servers.composition import Running, prepare, running, settings_for
from infra.servers.embedded import Embedded, require_port
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
GC_YOUNG_COUNT, GC_MIDDLE_COUNT, GC_OLD_COUNT = 20_000, 20, 20


def announce(text: str) -> None:
    """Tell what is being done, on stdout: it is all that these two commands have to tell."""
    typer.echo(f"caseflow: {text}")


@app.command()
def up(
    data: DataFolder = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; CASEFLOW_PORT sets it too.")] = None,
) -> None:
    """Start NATS, Postgres and the four services on one origin; ctrl-C stops them."""
    own = settings()
    own = own.model_copy(update={"data": data or own.data, "port": port or own.port})
    run(_up(own), "stopped", code=0)


async def _up(own: Settings) -> None:
    require_port(own.port)
    embedded = Embedded(announce)
    endpoints = await embedded.start(own.data.resolve())
    try:
        telemetry.log_to(sys.stderr, "caseflow", own.log_level)
        await prepare(settings_for(own, endpoints, "admin"), announce)
        mark_ready(own.data.resolve())
        each = {owner: settings_for(own, endpoints, owner) for owner in OWNERS}
        with process("caseflow", own) as runtime:
            async with running(each, runtime) as stack:
                await _serve(stack, each[Owner.INTAKE], embedded)
    finally:
        announce("stopping")
        await embedded.stop()


async def _serve(stack: Running, own: Settings, embedded: Embedded | None) -> None:
    """Answer HTTP until told to stop, or until a server or a background job ends. Raises what ended a job."""
    config = uvicorn.Config(
        stack.app, host=own.host, port=own.port, log_config=None, access_log=False, loop="none", lifespan="off",
        http="httptools", timeout_graceful_shutdown=_STOP_S_MAX,
    )  # fmt: skip
    server = _Server(config, stack)
    # What lives long (documents, folded cases) is no garbage: looking all through it held every request for 100 ms and
    # more, the longer the more cases the caches hold. Young garbage is collected as before.
    gc.freeze()
    gc.set_threshold(GC_YOUNG_COUNT, GC_MIDDLE_COUNT, GC_OLD_COUNT)
    serving = asyncio.create_task(server.serve())
    died = asyncio.create_task(embedded.died()) if embedded else None
    announce(f"ready on http://{own.host}:{own.port}")
    say_demo(own)
    await asyncio.wait({serving, stack.jobs} | ({died} if died else set()), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    if died is not None:
        died.cancel()
    await serving
    if died is not None and died.done() and not died.cancelled():
        raise Refused(died.result())
    if stack.jobs.done():
        await stack.jobs


class _Server(uvicorn.Server):
    """Tells those who listen without end that it stops, before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, stack: Running) -> None:
        super().__init__(config)
        self._stack = stack

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stack.runtime.stopping.set()
        await super().shutdown(sockets)


def say_demo(own: Settings) -> None:
    """The demo users and how to use them."""
    if not own.demo:
        return
    typer.echo("\nDemo users, for example `curl -H 'Authorization: Bearer demo-jj-triage' ...`:")
    people = [row for document in demo_documents() if document.kind is DocumentKind.PEOPLE for row in document.rows]
    for row in people:
        typer.echo(f"  demo-{row.id:<16} {row.name}  {row.post:<16} {row.unit}")
    typer.echo()


@app.command()
def serve(service: Annotated[Owner, typer.Argument(help="intake, routing, supervision or reporting")]) -> None:
    """Serve one service with external NATS and Postgres, named by settings (CASEFLOW_NATS_URL, CASEFLOW_PG_DSN_...)."""
    own = settings()
    telemetry.log_to(sys.stderr, service, own.log_level)
    run(_serve_one(own, service), "stopped", code=0)


async def _serve_one(own: Settings, service: Owner) -> None:
    own.dsn(service.value)  # raises BadSettings at once, not after a wait for servers that nobody named
    if "admin" in own.pg_dsn:
        await prepare(own, announce)
    with process(service, own) as runtime:
        async with running({service: own}, runtime) as stack:
            await _serve(stack, own, None)


@contextmanager
def process(service: str, own: Settings) -> Iterator[Runtime]:
    """The runtime of this process; what it has not exported of its traces goes out at the end."""
    own_telemetry = telemetry.Telemetry.of(service, own)
    try:
        yield Runtime.of(SystemClock(), failpoints=Failpoints(hook(own)), telemetry=own_telemetry)
    finally:
        own_telemetry.shutdown()
