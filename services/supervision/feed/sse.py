"""`GET /supervision/feed`: the feed as server-sent events, for supervisors (WHATWG HTML, 9.2).

The id of an event is its sequence in FEED, so a listener that sends `Last-Event-ID` goes on from there, also after a
restart of any process. A listener without it receives the items from now on. Items that FEED no longer holds are
announced by an event `gap`. An item is sent only to a caller who may see the flow of its case as the case is now.

FastAPI's encoder formats ids, comments and retry. Its generator routes are not used, because they cannot disconnect a
listener that has stopped reading.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Message as AsgiMessage
from starlette.types import Send

from shared.case.announcements import FeedKind
from shared.case.base import Address, Position, Region, contains
from shared.case.orders import OrderState
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller, barred, may_see_flow
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application
from shared.kit.feed_item import FeedItem
from shared.kit.http import ERRORS, Who
from shared.kit.problems import BadRequest, Forbidden, TooManyRequests, Unavailable, Unprocessable
from shared.kit.runtime import Runtime
from shared.kit.telemetry import OPEN_STREAMS
from shared.log import port as log_port
from shared.log import topology
from shared.log.consumers import RawMessage
from shared.log.port import NoArea
from shared.log.streams import Streams
from shared.log.topology import FEED

KEEPALIVE_S = 15.0
RETRY_MS = 2000
WRITE_S_MAX = 60.0  # a listener that reads nothing for so long is disconnected
FEED_LISTEN_S_MAX = 3600.0  # then the listener connects again, with the rights that it has then
FEED_LISTENERS_MAX = 200
LISTENERS_PER_PERSON_MAX = 8
BUSY_RETRY_S = 30
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
        self.slots = ListenerSlots(application.runtime)


async def feed_of(request: Request) -> Feed:
    """The feed of the app that serves a request."""
    feed: Feed = request.app.state.feed
    return feed


@router.get(
    "/feed",
    operation_id="supervision_feed",
    summary="The feed items of a region, live, as server-sent events; without any content.",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events named by kind; `gap`"}},
)
async def listen(
    caller: Who,
    feed: Annotated[Feed, Depends(feed_of)],
    kind: Annotated[list[str] | None, Query(description="Only items of these kinds: " + ", ".join(FeedKind))] = None,
    level: Annotated[int | None, Query(ge=1, le=5, description="Only for centres of this level")] = None,
    region: Annotated[
        Region | None, Query(description="Items for the centres of this region and below; by default the caller's")
    ] = None,
    last: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Go on behind this event; 0: from the first one")
    ] = None,
) -> StreamingResponse:
    region = region or caller.region
    if not contains(caller.region, region):
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    kinds = _kinds(kind)
    after, gap = await start_of(feed.application.data.streams, last)
    listener = FeedListener(feed, FeedRequest(caller, region, kinds, level, after, gap))
    return _EndlessResponse(listener.lines(), feed.slots.take(caller))


def _kinds(names: Sequence[str] | None) -> frozenset[str]:
    for name in names or ():
        if name not in set(FeedKind):
            raise Unprocessable(f"`kind` is none of {', '.join(FeedKind)}.", code="kind.unknown")
    return frozenset(names or FeedKind)


async def start_of(streams: Streams, last: str | None) -> tuple[int, dict[str, int] | None]:
    """The sequence behind which a listener goes on, and the gap where FEED no longer holds all that it asked for.

    Raises BadRequest, Unavailable.
    """
    if last and not (last.isascii() and last.isdigit() and len(last) <= ID_DIGITS_MAX):
        raise BadRequest(
            "`Last-Event-ID` is the id of an event of this feed, a number.", code="last_event_id.malformed"
        )
    try:
        first, end = await streams.sequences(FEED)
    except log_port.LogUnavailable as error:
        raise Unavailable("The log does not answer.") from error
    if not last:
        return end, None
    requested = int(last)
    after = end if requested > end else max(requested, first - 1)
    return after, None if after == requested else {"asked": requested, "first": first, "last": end}


class ListenerSlots:
    """The listeners of the feed, counted by person and in all."""

    def __init__(self, runtime: Runtime) -> None:
        self._taken: Counter[str] = Counter()
        self._telemetry = runtime.telemetry

    def take(self, caller: Caller) -> AbstractContextManager[None]:
        """A slot for the duration of a block. Raises TooManyRequests, Unavailable, before the block begins."""
        if self._taken[caller.person] >= LISTENERS_PER_PERSON_MAX:
            raise TooManyRequests("You listen to the feed too often already.", retry_after_s=BUSY_RETRY_S)
        if self._taken.total() >= FEED_LISTENERS_MAX:
            raise Unavailable("Too many listen to the feed here already.", retry_after_s=BUSY_RETRY_S)
        return self._slot(caller.person)

    @contextmanager
    def _slot(self, person: str) -> Iterator[None]:
        self._taken[person] += 1
        self._telemetry.set(OPEN_STREAMS, self._taken.total(), "supervision.feed")
        try:
            yield
        finally:
            self._taken[person] -= 1
            self._telemetry.set(OPEN_STREAMS, self._taken.total(), "supervision.feed")


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
    data = item.data
    if isinstance(state, OrderState):
        reads = bool(caller.rights & {Right.READ, Right.AUDIT})
        return caller.unit == state.unit or (reads and contains(caller.region, state.region))
    if barred(caller, state):  # checked for auditors too, whom `may_see_flow` lets see the flow of every case
        return False
    if may_see_flow(caller, state):
        return True
    return data.kind == FeedKind.LEFT and may_see_flow(caller, replace(state, in_charge=data.region))


class FeedListener:
    """One connection that reads the feed."""

    def __init__(self, feed: Feed, request: FeedRequest) -> None:
        self._streams, self._runtime = feed.application.data.streams, feed.application.runtime
        self._clock, self._present, self._request = self._runtime.clock, feed.present, request
        self._at = request.after

    async def lines(self) -> AsyncIterator[bytes]:
        """The events as text, and a comment after KEEPALIVE_S without an item. Ends when the log cannot be read."""
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
                for start in range(0, len(batch), ITEMS_PER_SLICE):
                    for message, item in await self._visible(batch[start : start + ITEMS_PER_SLICE]):
                        self._at = message.sequence
                        yield self._formatted(event=item.data.kind, data=message.data.decode())
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

    async def _visible(self, batch: Sequence[RawMessage]) -> list[tuple[RawMessage, FeedItem]]:
        """The messages that the listener asked for and may receive, with their items."""
        requested = [(message, FeedItem.model_validate_json(message.data)) for message in batch if self._fits(message)]
        states = await asyncio.gather(*(self._state(item) for _, item in requested))
        caller = self._request.caller
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


class _EndlessResponse(EventSourceResponse):
    """A response that does not end by itself, and disconnects a listener that has stopped reading."""

    def __init__(self, content: AsyncIterator[bytes], slot: AbstractContextManager[None]) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._slot = slot

    async def stream_response(self, send: Send) -> None:
        """Send as Starlette does, each piece within WRITE_S_MAX."""

        async def send_in_time(message: AsgiMessage) -> None:
            async with asyncio.timeout(WRITE_S_MAX):
                await send(message)

        with self._slot:
            try:
                await super().stream_response(send_in_time)
            except TimeoutError:
                telemetry.warn("a listener of the feed read nothing and was let go")
