"""Reporting's event stream: every flow event that the caller may see, in the order of the log, never with content.

`Accept: text/event-stream` gives server-sent events without an end. Otherwise the answer is lines of JSON, which end at
the present end of the log unless `live=true`. A cursor of the stream has one position per log stream, as in
`LOG_5101:17,LOG_5107:9`. It is the id of each event and each heartbeat; `?after=` and `Last-Event-ID` take it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from services.reporting.http import CaseQueriesOf
from services.reporting.queries import CaseQueries
from services.reporting.read_model import Model
from shared.case.base import Position, Recorded, Region, Unknown, region_prefix
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.http import ERRORS, App, Who
from shared.kit.json_lines import as_one_line
from shared.kit.listeners import BUSY_RETRY_S, EndlessResponse, ListenerSlots
from shared.kit.problems import BadRequest, ProblemError, TooManyRequests, Unauthorized, Unavailable
from shared.kit.runtime import Runtime
from shared.log import port as log_port
from shared.log.topology import LOG_PREFIX

EVENT_HEARTBEAT_S = 15.0
EVENT_LISTENERS_MAX = 200
EVENT_LISTEN_S_MAX = 3600.0  # then the listener connects again, with the rights that it has then
MODEL_WAIT_S_MAX = 2.0
AFTER_CHARS_MAX = 4000

StreamBatch = tuple[str, list[Recorded[Any]]]

router = APIRouter(responses=ERRORS)


def listener_slots(runtime: Runtime) -> ListenerSlots:
    """The slots for listeners of the event stream in one app."""
    full = TooManyRequests("Too many listen to the event stream already.", retry_after_s=BUSY_RETRY_S)
    return ListenerSlots(runtime, "reporting.events", EVENT_LISTENERS_MAX, full)


async def listener_slots_of(request: Request) -> ListenerSlots:
    """The slots of the app that serves a request."""
    slots: ListenerSlots = request.app.state.event_listeners
    return slots


@router.get(
    "/events",
    operation_id="reporting_events",
    summary="The flow events that the caller may see, in the order of the log, live; never any content.",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}, "text/event-stream": {}}}},
)
async def events(
    request: Request,
    caller: Who,
    application: App,
    queries: CaseQueriesOf,
    slots: Annotated[ListenerSlots, Depends(listener_slots_of)],
    region: Annotated[
        Region | None, Query(description="Only cases that are in charge, or began, in this region and below")
    ] = None,
    after: Annotated[str | None, Query(max_length=AFTER_CHARS_MAX)] = None,
    live: Annotated[bool | None, Query(description="Go on at the end of the log; server-sent events always do")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=AFTER_CHARS_MAX)] = None,
) -> StreamingResponse:
    sse = "text/event-stream" in request.headers.get("accept", "")
    positions = await _start_of_streams(application, region, last or after)
    listener = Listener(application, queries, caller, region or "", positions, sse or bool(live))
    media_type = "text/event-stream" if sse else "application/x-ndjson"
    return EndlessResponse(_written(listener, sse), slots.take(caller), media_type)


async def _written(listener: Listener, sse: bool) -> AsyncIterator[bytes]:
    async for kind, cursor, item in listener.items():
        yield _sse(kind, cursor, item) if sse else _line(kind, cursor, item)


def _line(kind: str, cursor: str, item: dict[str, Any]) -> bytes:
    return as_one_line(to_json({"kind": kind, "after": cursor, **item})) + b"\n"


def _sse(kind: str, cursor: str, item: dict[str, Any]) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor.encode(), kind.encode(), as_one_line(to_json(item)))


async def _start_of_streams(application: Application, region: str | None, text: str | None) -> dict[str, int]:
    """The position behind which to start in each log stream that can hold events of the region.

    Raises BadRequest for a malformed cursor, an unknown stream, and a position past the end of a stream: such a
    listener has read from another log, whose events differ from these.
    """
    log = application.data.log
    positions = {stream: 0 for stream in log.streams() if _overlaps(stream, region)}
    for part in text.split(",") if text else ():
        try:
            given = Position.parse(part.strip())
        except ValueError as error:
            raise BadRequest(f"`after` is {error}.", code="after.malformed") from None
        if given.stream not in log.streams():
            streams = ", ".join(log.streams())
            raise BadRequest(f"No such log stream; there are {streams}.", code="after.unknown_stream")
        end = await log.end(given.stream)
        if given.sequence > end:
            raise BadRequest(
                f"{given.stream} ends at {end}, before {given.sequence}: the log was restored from an older copy, or "
                "this cursor is from another installation. Start again without it.",
                code="after.beyond_end",
            )
        if given.stream in positions:
            positions[given.stream] = given.sequence
    return positions


def _overlaps(stream: str, region: str | None) -> bool:
    area = stream.removeprefix(LOG_PREFIX)
    # A case stays in the stream where it began, and may by now be in charge anywhere in its province.
    return region is None or area[:2] == region_prefix(region)[:2]


class Listener:
    """One reader of the event stream: follows the log streams and shows the events that the read model allows."""

    def __init__(
        self,
        application: Application,
        queries: CaseQueries,
        caller: Caller,
        region: str,
        positions: dict[str, int],
        live: bool,
    ) -> None:
        self._log, self._runtime = application.data.log, application.runtime
        self._queries, self._caller, self._region = queries, caller, region
        self._identity = application.identity
        self._positions, self._live = positions, live

    @property
    def cursor(self) -> str:
        """The position of this reader, as the text of `?after=`."""
        return ",".join(f"{stream}:{sequence}" for stream, sequence in self._positions.items())

    async def items(self) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
        """Tuples (kind, cursor, item). The kind is event or heartbeat, and end or error for the last one."""
        try:
            async with aclosing(self._items()) as items:
                async for item in items:
                    yield item
        except (log_port.LogError, ProblemError) as error:
            yield "error", self.cursor, _problem(error)

    async def _items(self) -> AsyncGenerator[tuple[str, str, dict[str, Any]], None]:
        """As `items`. Raises LogError and ProblemError in place of the last one."""
        until = self._runtime.clock.monotonic() + EVENT_LISTEN_S_MAX
        ends = {stream: await self._log.end(stream) for stream in self._positions}
        batches: asyncio.Queue[StreamBatch | Exception] = asyncio.Queue(1)
        tasks = [
            asyncio.create_task(self._follow(stream, batches), name=f"events.{stream}") for stream in self._positions
        ]
        tasks.append(asyncio.create_task(self._put_stopping(batches), name="events.ending"))
        try:
            while self._runtime.clock.monotonic() < until:
                if not self._live and all(self._positions[stream] >= end for stream, end in ends.items()):
                    break
                try:
                    async with asyncio.timeout(
                        EVENT_HEARTBEAT_S
                    ):  # asyncio.wait_for loses a cancellation that arrives with the result
                        batch = await batches.get()
                except TimeoutError:
                    yield "heartbeat", self.cursor, {}
                    continue
                if isinstance(batch, Exception):
                    raise batch
                while not (projected := await self._is_projected(batch[1][-1])):
                    if self._runtime.clock.monotonic() >= until:
                        break
                    yield "heartbeat", self.cursor, {}
                if not projected:
                    break
                for item in await self._shown(*batch):
                    yield item
            yield "end", self.cursor, {}
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, stream: str, batches: asyncio.Queue[StreamBatch | Exception]) -> None:
        try:
            async for batch in self._log.follow(stream, self._positions[stream]):
                await batches.put((stream, list(batch)))
        except Exception as error:  # the listener is told, whatever it is; `items` raises what it does not know
            await batches.put(error)

    async def _put_stopping(self, batches: asyncio.Queue[StreamBatch | Exception]) -> None:
        await self._runtime.stopping.wait()
        await batches.put(_stops())

    async def _is_projected(self, recorded: Recorded[Any]) -> bool:
        """Whether the read model has seen an event, waiting for it. Raises Unavailable when the service stops."""
        if self._runtime.stopping.is_set():
            raise _stops()
        assert recorded.position is not None, "an event that was read has its position"
        return await self._runtime.progress.wait(Model.name, recorded.position, MODEL_WAIT_S_MAX)

    async def _shown(self, stream: str, batch: Sequence[Recorded[Any]]) -> list[tuple[str, str, dict[str, Any]]]:
        """The events of a batch that the caller may see, by the rights of now. Raises Unauthorized for a person who is
        not active any more."""
        ids = list({recorded.address.id for recorded in batch})
        caller = self._identity.person(self._caller.person)
        if caller is None:
            raise Unauthorized("The token is not known or no longer in force.", code="token.unknown")
        visible = await self._queries.visible(caller, self._region, ids)
        items = []
        for recorded in batch:
            assert recorded.position is not None, "an event that was read has its position"
            self._positions[stream] = recorded.position.sequence
            if recorded.address.id in visible:
                items.append(("event", self.cursor, flow(recorded)))
        return items


def flow(recorded: Recorded[Any]) -> dict[str, Any]:
    """An event without its content: sealed fields are left out, and no seal is shown."""
    event, meta = recorded.event, recorded.meta
    if isinstance(event, Unknown):
        version, facts = event.version, {}
    else:
        version = event.VERSION
        facts = event.model_dump(mode="json", exclude=set(event.PRIVATE), exclude_none=True)
    return {
        "id": recorded.id,
        "type": recorded.type,
        "version": version,
        "aggregate": recorded.address.kind,
        "aggregate_id": recorded.address.id,
        "region": recorded.address.region,
        "position": str(recorded.position),
        "time": meta.time,
        "recorded_at": meta.recorded_at,
        "actor": meta.actor,
        "references": meta.references,
        "facts": facts,
    }


def _stops() -> Unavailable:
    return Unavailable("The service stops; connect again with the last cursor.")


def _problem(error: Exception) -> dict[str, Any]:
    if isinstance(error, ProblemError):
        return error.problem.model_dump(exclude_defaults=True)
    damaged = isinstance(error, log_port.Damaged | log_port.Malformed)
    code, detail = ("log.gap", "The log has a gap here.") if damaged else ("unavailable", "The log does not answer.")
    return {"code": code, "detail": detail, "status": 500 if damaged else 503}
