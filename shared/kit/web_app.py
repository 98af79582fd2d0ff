"""The web app that every service has: problems, body limits, traces, `/docs`, `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.case.facts import ATTACHMENTS_MAX
from shared.kit import docs_page, problems, telemetry
from shared.kit.application import Application
from shared.kit.http import App
from shared.kit.openapi import ServiceApp
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.translations import TRANSLATIONS

READY_WAIT_S_MAX = 2.0
REQUESTS = telemetry.counter(
    "caseflow_http_requests_total", "Requests answered", "service", "route", "method", "status"
)
SECONDS = telemetry.histogram("caseflow_http_seconds", "Time to answer", "service", "route", "method")

health = APIRouter(include_in_schema=False)


@health.get("/healthz")
async def healthy() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "ok"}


@health.get("/readyz")
async def ready(application: App) -> dict[str, str]:
    """Whether database and log answer, and the log has room. Raises Unavailable."""
    data = application.data
    try:
        async with asyncio.timeout(READY_WAIT_S_MAX):
            await data.database.ping()
            for stream in data.log.streams():
                await data.log.end(stream)
            storage = await data.streams.storage()
    except TimeoutError:
        raise problems.Unavailable("Database or log does not answer in time.") from None
    if storage.is_full:
        raise problems.Unavailable(f"The log is full: {storage.bytes_used} of {storage.bytes_max} bytes are used.")
    return {"status": "ready"}


figures = APIRouter(include_in_schema=False)


@figures.get("/metrics")
async def metrics(application: App) -> Response:
    """The metrics of the process as Prometheus reads them."""
    text = await application.runtime.telemetry.metrics_text()
    return Response(text, media_type=telemetry.METRICS_MEDIA_TYPE)


async def known_parameters(request: Request) -> None:
    """Refuse a query with a parameter that the address does not have, or has once and receives twice.

    A filter with a typing error would otherwise give an answer to another question. Raises Unprocessable.
    """
    sent = request.query_params.multi_items()
    if not sent:
        return
    known = _parameters(request.app, request.scope["route"].path, request.method)
    if known is None:
        return
    names = Counter(name for name, _ in sent)
    faults = [
        problems.field_error(f"query.{name}", "parameter.unknown" if name not in known else "parameter.repeated")
        for name, count in names.items()
        if name not in known or (count > 1 and not known[name])
    ]
    if faults:
        raise problems.Unprocessable(
            f"The query has parameters that this address does not have, or the same one twice. "
            f"It has {', '.join(sorted(known))}." if known
            else "The query has parameters that this address does not have. It has none.",
            code=faults[0].code, fields=faults,
        )  # fmt: skip


def _parameters(app: FastAPI, path: str, method: str) -> dict[str, bool] | None:
    """The query parameters of an address by name, as its OpenAPI document says, and whether each may come repeatedly.

    None for an address outside the document.
    """
    operation = app.openapi()["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return None
    return {
        parameter["name"]: "array" in str(parameter["schema"])
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }


def web_app(application: Application, *routers: APIRouter, operations: Path | None = None) -> FastAPI:
    """The app of a service with these routers; `operations` holds the texts and examples of its OpenAPI document."""
    owner, settings = application.identity.owner, application.identity.settings
    app = ServiceApp(
        operations, title=f"caseflow {owner}", version="1", docs_url=None, redoc_url=None,
        servers=[{"url": f"/{owner}"}], dependencies=[Depends(known_parameters)],
    )  # fmt: skip
    app.state.application = application
    problems.install(app, TRANSLATIONS, telemetry.trace_id)
    app.add_middleware(BodyLimit, bytes_max=settings.body_bytes_max, upload_bytes_max=_upload_bytes_max(settings))
    app.add_middleware(Traced, service=str(owner), runtime=application.runtime)
    for router in (health, docs_page.router, *routers):
        app.include_router(router)
    if settings.inner_port is None:
        app.include_router(figures)
    return app


def inner_app(application: Application) -> FastAPI:
    """What a service answers on the inner port: health and metrics, to whoever reaches it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.application = application
    problems.install(app, TRANSLATIONS, telemetry.trace_id)
    for router in (health, figures):
        app.include_router(router)
    return app


def _upload_bytes_max(settings: Settings) -> int:
    return settings.attachment_bytes_max * ATTACHMENTS_MAX + settings.body_bytes_max


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
        declared = int(length) if length.isdigit() else 0
        received = 0

        async def limited() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bytes_max or declared > bytes_max:
                raise problems.TooLarge(f"The body is larger than {bytes_max} bytes.")
            return message

        await self._app(scope, limited, send)


class Traced:
    """One span and one count for each request, named by its route and never by its content."""

    def __init__(self, app: ASGIApp, service: str, runtime: Runtime) -> None:
        self._app, self._service, self._runtime = app, service, runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1") or None
        clock, own = self._runtime.clock, self._runtime.telemetry
        started = clock.monotonic()
        status = 0

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        method = scope["method"]
        first = nullcontext() if method == "GET" else self._runtime.load_gate.answering()
        with first, own.continued(given, clock), own.span("http", method=method):
            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", "?")
                own.add(REQUESTS, self._service, route, method, str(status))
                own.observe(SECONDS, clock.monotonic() - started, self._service, route, method)
