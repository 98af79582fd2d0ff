"""`GET /supervision/feed`: the feed as server-sent events, for supervisors (WHATWG HTML, 9.2).

The id of an event is its sequence in FEED, so a listener that sends `Last-Event-ID` goes on from there, also after a
restart of any process. A listener without it receives the items from now on. Items that FEED no longer holds are
announced by an event `gap`. An item is sent only to a caller who may see the flow of its case as the case is now.

FastAPI's encoder formats ids, comments and retry. Its generator routes are not used, because they cannot disconnect a
listener that has stopped reading.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic_core import to_json

from services.supervision.feed.tickets import FeedTicket, TicketStore
from shared.case.announcements import FeedKind
from shared.case.base import Address, Position, Region, contains
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application, View, sees
from shared.kit.feed_item import FeedItem
from shared.kit.http import ERRORS, App, Bearer, Who, caller_of
from shared.kit.json_lines import as_one_line
from shared.kit.listeners import BUSY_RETRY_S, EndlessResponse, ListenerSlots
from shared.kit.problems import BadRequest, Forbidden, Unauthorized, Unavailable, Unprocessable
from shared.log import port as log_port
from shared.log import topology
from shared.log.consumers import RawMessage
from shared.log.port import NoArea
from shared.log.streams import Streams
from shared.log.topology import FEED

KEEPALIVE_S = 15.0
RETRY_MS = 2000
FEED_LISTEN_S_MAX = 3600.0  # then the listener connects again, with the rights that it has then
FEED_LISTENERS_MAX = 200
ID_DIGITS_MAX = 18
ITEMS_PER_SLICE = 32
PRESENT_S_MAX = 1.0
PRESENT_COUNT_MAX = 10_000


router = APIRouter(responses=ERRORS)


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """The items that a listener asks for. `after` is the sequence of FEED behind which they begin."""

    caller: Caller
    region: str
    kinds: frozenset[str]
    level: int | None
    after: int
    gap: dict[str, int] | None = None

    @property
    def subject(self) -> str:
        """The subject of the subscription. For several kinds it holds all kinds, and the listener drops the others."""
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 else "*"
        return topology.feeds(self.region, kind, self.level)


class Feed:
    """The feed of one app: the slots of its listeners, and the present states that they share."""

    def __init__(self, application: Application) -> None:
        self.application, self.present = application, Present(application)
        self.tickets = TicketStore(application.data.database, application.runtime.clock)
        full = Unavailable("Too many listen to the feed here already.", retry_after_s=BUSY_RETRY_S)
        self.slots = ListenerSlots(application.runtime, "supervision.feed", FEED_LISTENERS_MAX, full)


async def feed_of(request: Request) -> Feed:
    """The feed of the app that serves a request."""
    feed: Feed = request.app.state.feed
    return feed


FeedOf = Annotated[Feed, Depends(feed_of)]


async def listener_of(
    application: App,
    feed: FeedOf,
    bearer: Bearer,
    ticket: Annotated[
        str | None, Query(max_length=80, description="A ticket in place of the token, from POST /feed/tickets")
    ] = None,
) -> Caller:
    """Who listens: the person of the ticket, or of the bearer token. Raises Unauthorized."""
    if ticket is None:
        return await caller_of(application, bearer)
    person = await feed.tickets.take(ticket)
    caller = None if person is None else application.identity.person(person)
    if caller is None:
        raise Unauthorized(
            "The ticket is not known, was used, or is over.", code="ticket.unknown",
            advice="Get another by POST /supervision/feed/tickets; each opens the feed once.",
        )  # fmt: skip
    return caller


@router.post(
    "/feed/tickets",
    status_code=201,
    operation_id="supervision_feed_ticket",
    summary="Issue a ticket by which a browser opens the feed, once and soon.",
)
async def make_ticket(caller: Who, feed: FeedOf, response: Response) -> FeedTicket:
    response.headers["Cache-Control"] = "no-store"
    return await feed.tickets.make(caller)


@router.get(
    "/feed",
    operation_id="supervision_feed",
    summary="The feed items of a region, live, as server-sent events; without any content.",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events named by kind; `gap`"}},
)
async def listen(
    caller: Annotated[Caller, Depends(listener_of)],
    feed: FeedOf,
    kind: Annotated[list[str] | None, Query(description="Only items of these kinds: " + ", ".join(FeedKind))] = None,
    level: Annotated[int | None, Query(ge=1, le=5, description="Only for centres of this level")] = None,
    region: Annotated[
        Region | None, Query(description="Items for the centres of this region and below; by default the caller's")
    ] = None,
    last: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Go on behind this event; 0: from the first one")
    ] = None,
    last_event_id: Annotated[
        str | None, Query(description="The same for a browser's EventSource, which sends no header of its own at first")
    ] = None,
) -> StreamingResponse:
    region = region or caller.region
    if not contains(caller.region, region):
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    kinds = _kinds(kind)
    after, gap = await start_of(feed.application.data.streams, last or last_event_id)
    listener = FeedListener(feed, FeedRequest(caller, region, kinds, level, after, gap))
    return EndlessResponse(listener.lines(), feed.slots.take(caller), "text/event-stream")


def _kinds(names: Sequence[str] | None) -> frozenset[str]:
    for name in names or ():
        if name not in set(FeedKind):
            raise Unprocessable(f"`kind` is none of {', '.join(FeedKind)}.", code="kind.unknown")
    return frozenset(names or FeedKind)


async def start_of(streams: Streams, last: str | None) -> tuple[int, dict[str, int] | None]:
    """The sequence behind which a listener goes on, and the gap where FEED no longer holds all that it asked for.

    Raises BadRequest, LogUnavailable.
    """
    if last and not (last.isascii() and last.isdigit() and len(last) <= ID_DIGITS_MAX):
        raise BadRequest(
            "`Last-Event-ID` is the id of an event of this feed, a number.", code="last_event_id.malformed"
        )
    first, end = await streams.sequences(FEED)
    if not last:
        return end, None
    requested = int(last)
    after = end if requested > end else max(requested, first - 1)
    return after, None if after == requested else {"asked": requested, "first": first, "last": end}


class Present:
    """The present states of cases and orders, loaded once for all listeners that need one at the same time."""

    def __init__(self, application: Application) -> None:
        self._application, self._clock = application, application.runtime.clock
        self._loads: OrderedDict[str, tuple[float, asyncio.Task[Versioned]]] = OrderedDict()

    async def state(self, address: Address, sequence: int) -> Any:
        """The state of a case or order, not older than its event at `sequence`, nor than PRESENT_S_MAX.

        Raises Unavailable.
        """
        began, subject = self._clock.monotonic(), address.subject
        while True:
            since, task = self._loads.get(subject) or self._load(address)
            if since < began - PRESENT_S_MAX:
                since, task = self._load(address)
            versioned = await asyncio.shield(task)
            if versioned.sequence >= sequence or since >= began:
                return versioned.state
            if self._loads.get(subject) == (since, task):
                self._load(address)

    def _load(self, address: Address) -> tuple[float, asyncio.Task[Versioned]]:
        task = asyncio.create_task(self._application.load_for_service(address), name="feed.present")
        load = self._loads[address.subject] = self._clock.monotonic(), task
        if len(self._loads) > PRESENT_COUNT_MAX:
            self._loads.popitem(last=False)
        return load


def hears(caller: Caller, item: FeedItem, state: Any) -> bool:
    """Whether the caller may receive an item of a case (or order) whose present state is `state`.

    An item of the kind `left` goes to the centre that the case has left, although that centre may not see it any more.
    """
    if sees(caller, state, View.FLOW):
        return True
    left = item.data.kind == FeedKind.LEFT
    return left and sees(caller, replace(state, in_charge=item.data.region), View.FLOW)


class FeedListener:
    """One connection that reads the feed."""

    def __init__(self, feed: Feed, request: FeedRequest) -> None:
        self._streams, self._runtime = feed.application.data.streams, feed.application.runtime
        self._clock, self._present, self._request = self._runtime.clock, feed.present, request
        self._identity = feed.application.identity
        self._at = request.after

    async def lines(self) -> AsyncIterator[bytes]:
        """The events as text, and a comment after KEEPALIVE_S without an item. Ends when the log cannot be read,
        and when the person is not active any more; rights count as they are when an item comes.
        """
        yield self._formatted(comment="caseflow feed", retry=RETRY_MS)
        if self._request.gap is not None:
            yield self._formatted(event="gap", data=to_json(self._request.gap).decode())
        until = self._clock.monotonic() + FEED_LISTEN_S_MAX
        batches = self._streams.follow_raw(FEED, self._request.subject, self._at)
        next_batch = asyncio.ensure_future(anext(batches))
        ending = asyncio.ensure_future(self._runtime.stopping.wait())
        try:
            while self._clock.monotonic() < until and not ending.done():
                await asyncio.wait({next_batch, ending}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if not next_batch.done():
                    yield self._formatted(comment="nothing new")
                    continue
                batch = next_batch.result()
                caller = self._identity.person(self._request.caller.person)
                if caller is None:  # not active any more
                    break
                for start in range(0, len(batch), ITEMS_PER_SLICE):
                    for message, item in await self._visible(caller, batch[start : start + ITEMS_PER_SLICE]):
                        self._at = message.sequence
                        yield self._formatted(event=item.data.kind, data=as_one_line(message.data).decode())
                    await self._runtime.load_gate.breathe(self._clock)
                self._at = batch[-1].sequence
                next_batch = asyncio.ensure_future(anext(batches))
        except (log_port.LogError, Unavailable) as error:  # the listener connects again and gets the problem then
            telemetry.warn("a listener of the feed was let go", reason=type(error).__name__)
        finally:
            next_batch.cancel()
            ending.cancel()
            await asyncio.gather(next_batch, ending, return_exceptions=True)
            await batches.aclose()

    def _formatted(self, **fields: Any) -> bytes:
        data = fields.pop("data", None)
        return format_sse_event(data_str=data, id=str(self._at), **fields)

    async def _visible(self, caller: Caller, batch: Sequence[RawMessage]) -> list[tuple[RawMessage, FeedItem]]:
        """The messages that the listener asked for and may receive, with their items."""
        requested = [(message, FeedItem.model_validate_json(message.data)) for message in batch if self._fits(message)]
        states = await asyncio.gather(*(self._state(item) for _, item in requested))
        return [
            pair
            for pair, state in zip(requested, states, strict=True)
            if state is not None and hears(caller, pair[1], state)
        ]

    def _fits(self, message: RawMessage) -> bool:
        return message.subject.split(".", 2)[1] in self._request.kinds

    async def _state(self, item: FeedItem) -> Any:
        kind = "case" if item.data.case is not None else "order"
        try:
            address = Address.of(kind, item.subject)
            return await self._present.state(address, Position.parse(item.data.position).sequence)
        except NoArea:  # the topology no longer has the area
            return None
