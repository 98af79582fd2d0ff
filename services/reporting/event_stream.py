"""Reporting's event stream: every flow event that the caller may see, in the order of the log, never with content.

`Accept: text/event-stream` gives server-sent events that go on; else lines of JSON, which end at the present unless
`live=true`. A place in the stream names one position per log stream, `LOG_5101:17,LOG_5107:9`: it is the id of each
event and of each heartbeat, and what `?after=` and `Last-Event-ID` take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from services.reporting.http import Queries
from services.reporting.queries import CaseQueries
from shared.case.base import Position, Recorded, Region, Unknown, region_prefix
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.http import ERRORS, App, Who
from shared.kit.problems import BadRequest, ProblemError, TooManyRequests, Unavailable
from shared.kit.telemetry import OPEN_STREAMS
from shared.log import port as log_port
from shared.log.topology import LOG_PREFIX

MODEL = "reporting"
HEARTBEAT_S = 15.0
LISTENERS_MAX = 200
LISTEN_S_MAX = 3600.0  # then the listener comes again, with the rights that it has then
SEEN_WAIT_S_MAX = 2.0
AFTER_CHARS_MAX = 4000

Batch = tuple[str, list[Recorded[Any]]]

router = APIRouter(responses=ERRORS)


class Seats:
    """How many listeners the app has."""

    def __init__(self) -> None:
        self.taken = 0


async def seats_of(request: Request) -> Seats:
    """The seats of the app that a request came to."""
    seats: Seats = request.app.state.event_seats
    return seats


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
    queries: Queries,
    seats: Annotated[Seats, Depends(seats_of)],
    region: Annotated[Region | None, Query(description="Only cases in charge or begun there and below")] = None,
    after: Annotated[str | None, Query(max_length=AFTER_CHARS_MAX)] = None,
    live: Annotated[bool | None, Query(description="Go on at the end; server-sent events always do")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=AFTER_CHARS_MAX)] = None,
) -> StreamingResponse:
    sse = "text/event-stream" in request.headers.get("accept", "")
    places = await _places(application, region, last or after)
    if seats.taken >= LISTENERS_MAX:
        raise TooManyRequests("Too many listen to the event stream already.", retry_after_s=30)
    listener = Listener(application, queries, caller, region or "", places, sse or bool(live))
    media_type = "text/event-stream" if sse else "application/x-ndjson"
    return StreamingResponse(
        _written(listener, seats, sse, application), media_type=media_type, headers={"Cache-Control": "no-store"}
    )


async def _written(listener: Listener, seats: Seats, sse: bool, application: Application) -> AsyncIterator[bytes]:
    telemetry = application.runtime.telemetry
    seats.taken += 1
    telemetry.set(OPEN_STREAMS, seats.taken, "reporting.events")
    try:
        async for kind, place, item in listener.items():
            yield _sse(kind, place, item) if sse else _line(kind, place, item)
    finally:
        seats.taken -= 1
        telemetry.set(OPEN_STREAMS, seats.taken, "reporting.events")


def _line(kind: str, place: str, item: dict[str, Any]) -> bytes:
    return to_json({"kind": kind, "after": place, **item}) + b"\n"


def _sse(kind: str, place: str, item: dict[str, Any]) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (place.encode(), kind.encode(), to_json(item))


async def _places(application: Application, region: str | None, text: str | None) -> dict[str, int]:
    """Where to start in each log stream that can hold what is asked for.

    Raises BadRequest for a place that is none, in a stream that is not here, or past the end of it: such a listener has
    read from another log, and what it has is not what is here.
    """
    log = application.data.log
    places = {stream: 0 for stream in log.streams() if _overlaps(stream, region)}
    for part in text.split(",") if text else ():
        try:
            given = Position.parse(part.strip())
        except ValueError as error:
            raise BadRequest(f"`after` is {error}.", code="after.malformed") from None
        if given.stream not in log.streams():
            streams = ", ".join(log.streams())
            raise BadRequest(f"No such log stream; there are {streams}.", code="after.unknown_stream")
        try:
            end = await log.end(given.stream)
        except log_port.LogUnavailable as error:
            raise Unavailable("The log does not answer.") from error
        if given.sequence > end:
            raise BadRequest(
                f"{given.stream} ends at {end}, before {given.sequence}: the log was restored from an older copy, or "
                "this place is from another installation. Start again without it.",
                code="after.beyond_end",
            )
        if given.stream in places:
            places[given.stream] = given.sequence
    return places


def _overlaps(stream: str, region: str | None) -> bool:
    area = stream.removeprefix(LOG_PREFIX)
    # A case lives for ever where it began, and may be in charge anywhere in its province by now.
    return region is None or area[:2] == region_prefix(region)[:2]


class Listener:
    """One reader of the event stream: follows the log streams, shows what the read model says may be seen."""

    def __init__(
        self,
        application: Application,
        queries: CaseQueries,
        caller: Caller,
        region: str,
        places: dict[str, int],
        live: bool,
    ) -> None:
        self._log, self._runtime = application.data.log, application.runtime
        self._queries, self._caller, self._region = queries, caller, region
        self._places, self._live = places, live

    @property
    def place(self) -> str:
        """Where this reader is, as `?after=` takes it."""
        return ",".join(f"{stream}:{sequence}" for stream, sequence in self._places.items())

    async def items(self) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
        """(kind, place, item): kinds are event, heartbeat, and at the end end or error."""
        until = self._runtime.clock.monotonic() + LISTEN_S_MAX
        ends = {stream: await self._log.end(stream) for stream in self._places}
        batches: asyncio.Queue[Batch | Exception] = asyncio.Queue(1)
        tasks = [asyncio.create_task(self._follow(stream, batches), name=f"events.{stream}") for stream in self._places]
        tasks.append(asyncio.create_task(self._until_the_end(batches), name="events.ending"))
        try:
            while self._runtime.clock.monotonic() < until:
                if not self._live and all(self._places[stream] >= end for stream, end in ends.items()):
                    break
                try:
                    async with asyncio.timeout(HEARTBEAT_S):  # wait_for loses a cancellation that meets its answer
                        batch = await batches.get()
                except TimeoutError:
                    yield "heartbeat", self.place, {}
                    continue
                if isinstance(batch, Exception):
                    yield "error", self.place, _problem(batch)
                    return
                for item in await self._shown(*batch):
                    yield item
            yield "end", self.place, {}
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, stream: str, batches: asyncio.Queue[Batch | Exception]) -> None:
        try:
            async for batch in self._log.follow(stream, self._places[stream]):
                await batches.put((stream, list(batch)))
        except (log_port.LogError, ProblemError) as error:
            await batches.put(error)

    async def _until_the_end(self, batches: asyncio.Queue[Batch | Exception]) -> None:
        await self._runtime.stopping.wait()
        await batches.put(Unavailable("The service stops; come again with the last place."))

    async def _shown(self, stream: str, batch: Sequence[Recorded[Any]]) -> list[tuple[str, str, dict[str, Any]]]:
        """What the caller may see of a batch, once the read model knows its cases."""
        last = batch[-1].position
        assert last is not None, "what is read has its position"
        while not await self._runtime.progress.wait(MODEL, last, SEEN_WAIT_S_MAX):
            pass
        ids = list({recorded.address.id for recorded in batch})
        visible = await self._queries.visible(self._caller, self._region, ids)
        items = []
        for recorded in batch:
            assert recorded.position is not None, "what is read has its position"
            self._places[stream] = recorded.position.sequence
            if recorded.address.id in visible:
                items.append(("event", self.place, flow(recorded)))
        return items


def flow(recorded: Recorded[Any]) -> dict[str, Any]:
    """An event without its content: what is sealed on the log is left out, not shown as a seal."""
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


def _problem(error: Exception) -> dict[str, Any]:
    if isinstance(error, ProblemError):
        return error.problem.model_dump(exclude_defaults=True)
    damaged = isinstance(error, log_port.Damaged | log_port.Malformed)
    code, detail = ("log.gap", "The log has a gap here.") if damaged else ("unavailable", "The log does not answer.")
    return {"code": code, "detail": detail, "status": 500 if damaged else 503}
