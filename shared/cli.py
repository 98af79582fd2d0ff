"""The `caseflow` command: start, serve, import, read the log, check it, rebuild, publish documents, find faults."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
import uvloop
from starlette.applications import Starlette

from infra.embedded import Embedded, require_port
from infra.folder import CannotStart
from infra.stack import SERVICES, prepare, running, settings_for
from shared.case.base import Owner
from shared.kit import failpoints, telemetry
from shared.kit.clock import SystemClock
from shared.kit.settings import BadSettings, Settings
from shared.reference.load import demo_documents
from shared.reference.models import Kind

STOP_S_MAX = 10
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def say(text: str) -> None:
    """Tell the person at the terminal what is being done."""
    print(f"caseflow: {text}", flush=True)


def fail(text: str) -> typer.Exit:
    """Say what went wrong and what to do; the exit to raise."""
    print(f"caseflow: {text}", file=sys.stderr, flush=True)
    return typer.Exit(1)


def settings() -> Settings:
    """The settings of the environment; failpoints and telemetry start with them."""
    try:
        own = Settings.from_env(os.environ)
        failpoints.arm(failpoints.from_spec(own.failpoints))
    except (BadSettings, ValueError) as error:
        raise fail(str(error)) from None
    return own


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Data folder; CASEFLOW_DATA sets it too.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; CASEFLOW_PORT sets it too.")] = None,
) -> None:
    """Start NATS, Postgres and the four services on one origin; ctrl-C stops them."""
    own = settings()
    own = own.model_copy(update={"data": data or own.data, "port": port or own.port})
    try:
        uvloop.run(_up(own))
    except CannotStart as error:
        raise fail(str(error)) from None


async def _up(own: Settings) -> None:
    require_port(own.port)
    embedded = Embedded(say)
    endpoints = await embedded.start(own.data.resolve())
    try:
        telemetry.setup("caseflow", own)
        await prepare(settings_for(own, endpoints, "admin"), say)
        each = {owner: settings_for(own, endpoints, owner) for owner in SERVICES}
        async with running(each, SystemClock()) as stack:
            await _serve(stack.app, each[Owner.INTAKE], embedded)
    finally:
        say("stopping")
        await embedded.stop()
        telemetry.shutdown()


async def _serve(app: Starlette, own: Settings, embedded: Embedded | None) -> None:
    config = uvicorn.Config(
        app, host=own.host, port=own.port, log_config=None, access_log=False, loop="none", lifespan="off",
        http="httptools", timeout_graceful_shutdown=STOP_S_MAX,
    )  # fmt: skip
    server = uvicorn.Server(config)
    watch = asyncio.create_task(embedded.died()) if embedded else None
    serve = asyncio.create_task(server.serve())
    say(f"ready on http://{own.host}:{own.port}")
    say_demo(own)
    waiting = {serve} | ({watch} if watch else set())
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if watch is not None and watch.done():
        say(watch.result())
    server.should_exit = True
    if watch is not None:
        watch.cancel()
    await serve


def say_demo(own: Settings) -> None:
    """The demo users and how to use them."""
    if not own.demo:
        return
    print("\nDemo users, for example `curl -H 'Authorization: Bearer demo-jj-triage' ...`:")
    people = [row for document in demo_documents() if document.kind is Kind.PEOPLE for row in document.rows]
    for row in people:
        print(f"  demo-{row.id:<16} {row.name}  {row.post:<16} {row.unit}")
    print(flush=True)


@app.command()
def serve(service: Annotated[Owner, typer.Argument(help="intake, routing, supervision or reporting")]) -> None:
    """Serve one service with external NATS and Postgres, named by settings (CASEFLOW_NATS_URL, CASEFLOW_PG_DSN_...)."""
    own = settings()
    telemetry.setup(service, own)
    uvloop.run(_serve_one(own, service))


async def _serve_one(own: Settings, service: Owner) -> None:
    if own.pg_dsn_admin is not None:
        await prepare(own, say)
    async with running({service: own}, SystemClock()) as stack:
        await _serve(stack.app, own, None)


def main() -> None:
    """The entry point of `caseflow`."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    app()


if __name__ == "__main__":
    main()
