"""`GET /supervision/feed`: the feed as server-sent events, for supervisors (WHATWG HTML, 9.2).

The id of an event is its sequence in FEED, so `Last-Event-ID` goes on where a listener was, whatever was restarted
since; without it a listener hears what comes from now on. What is not kept is told as an event `gap`. An item is shown
only to who may see the flow of its case as the case is now.

FastAPI's own encoder says ids, comments and retry as they should be; its generator routes are not used, because they
cannot let go of a listener that has stopped reading.
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
from starlette.types import Message as Sent
from starlette.types import Send

from services.supervision.feed.items import FeedItem
from shared.case.announcements import FeedKind
from shared.case.base import Address, Position, Region, contains
from shared.case.orders import OrderState
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller, barred, may_see_flow
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application
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
SEND_S_MAX = 60.0  # a listener that reads nothing for so long is let go
LISTEN_S_MAX = 3600.0  # then the listener comes again, with the rights that it has then
LISTENERS_MAX = 200
LISTENERS_PER_PERSON_MAX = 8
BUSY_RETRY_S = 30
ID_DIGITS_MAX = 18
SLICE_COUNT = 32
PRESENT_S_MAX = 1.0
PRESENT_COUNT_MAX = 10_000


router = APIRouter(responses=ERRORS)


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """The items that a listener asks for, and behind which sequence of FEED."""

    caller: Caller
    region: str
    kinds: frozenset[str]
    level: int | None
    after: int
    gap: dict[str, int] | None = None

    @property
    def subject(self) -> str:
        """The subject that the server is asked for; of several kinds the listener sorts out the others."""
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 else "*"
        return topology.feeds(self.region, kind, self.level)


class Feed:
    """The feed of one app: its seats, and the present states that its listeners share."""

    def __init__(self, application: Application) -> None:
        self.application, self.seats, self.present = application, Seats(application.runtime), Present(application)


async def feed_of(request: Request) -> Feed:
    """The feed of the app that a request came to."""
    feed: Feed = request.app.state.feed
    return feed


@router.get(
    "/feed",
    operation_id="supervision_feed",
    summary="What happens to the cases of a region, live, as server-sent events; never any content.",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events named by kind; `gap`"}},
)
async def listen(
    caller: Who,
    feed: Annotated[Feed, Depends(feed_of)],
    kind: Annotated[list[str] | None, Query(description="Only these kinds: " + ", ".join(FeedKind))] = None,
    level: Annotated[int | None, Query(ge=1, le=5, description="Only for centres of this level")] = None,
    region: Annotated[Region | None, Query(description="For centres there and below; else the caller's")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", description="Go on behind this one; 0: all")] = None,
) -> StreamingResponse:
    region = region or caller.region
    if not contains(caller.region, region):
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    kinds = _kinds(kind)
    after, gap = await place(feed.application.data.streams, last)
    listener = FeedListener(feed, FeedRequest(caller, region, kinds, level, after, gap))
    return _Live(listener.lines(), feed.seats.take(caller))


def _kinds(names: Sequence[str] | None) -> frozenset[str]:
    for name in names or ():
        if name not in set(FeedKind):
            raise Unprocessable(f"`kind` is none of {', '.join(FeedKind)}.", code="kind.unknown")
    return frozenset(names or FeedKind)


async def place(streams: Streams, last: str | None) -> tuple[int, dict[str, int] | None]:
    """Behind which sequence to go on, and what is not kept of what was asked for. Raises BadRequest, Unavailable."""
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
    asked = int(last)
    after = end if asked > end else max(asked, first - 1)
    return after, None if after == asked else {"asked": asked, "first": first, "last": end}


class Seats:
    """How many listen, and who."""

    def __init__(self, runtime: Runtime) -> None:
        self._taken: Counter[str] = Counter()
        self._telemetry = runtime.telemetry

    def take(self, caller: Caller) -> AbstractContextManager[None]:
        """A seat for as long as a block lasts. Raises TooManyRequests, Unavailable, before the block begins."""
        if self._taken[caller.person] >= LISTENERS_PER_PERSON_MAX:
            raise TooManyRequests("You listen to the feed too often already.", retry_after_s=BUSY_RETRY_S)
        if self._taken.total() >= LISTENERS_MAX:
            raise Unavailable("Too many listen to the feed here already.", retry_after_s=BUSY_RETRY_S)
        return self._seat(caller.person)

    @contextmanager
    def _seat(self, person: str) -> Iterator[None]:
        self._taken[person] += 1
        self._telemetry.set(OPEN_STREAMS, self._taken.total(), "supervision.feed")
        try:
            yield
        finally:
            self._taken[person] -= 1
            self._telemetry.set(OPEN_STREAMS, self._taken.total(), "supervision.feed")


class Present:
    """Cases and orders as they are now, asked of the log once for all who hear of them at the same time."""

    def __init__(self, application: Application) -> None:
        self._application, self._clock = application, application.runtime.clock
        self._asked: OrderedDict[str, tuple[float, asyncio.Task[Versioned]]] = OrderedDict()

    async def state(self, address: Address, sequence: int) -> Any:
        """Its state, at least as new as its event at `sequence` and at most PRESENT_S_MAX old. Raises Unavailable."""
        began, subject = self._clock.monotonic(), address.subject
        while True:
            since, task = self._asked.get(subject) or self._ask(address)
            if since < began - PRESENT_S_MAX:
                since, task = self._ask(address)
            held = await asyncio.shield(task)
            if held.sequence >= sequence or since >= began:
                return held.state
            if self._asked.get(subject) == (since, task):
                self._ask(address)

    def _ask(self, address: Address) -> tuple[float, asyncio.Task[Versioned]]:
        task = asyncio.create_task(self._application.load_for_service(address), name="feed.present")
        asked = self._asked[address.subject] = self._clock.monotonic(), task
        if len(self._asked) > PRESENT_COUNT_MAX:
            self._asked.popitem(last=False)
        return asked


def hears(caller: Caller, item: FeedItem, state: Any) -> bool:
    """Whether the caller may hear an item of a case (or order) in `state`, which is the present one.

    That a case has left is told to the centre that it left, which may not see it any more.
    """
    data = item.data
    if isinstance(state, OrderState):
        reads = bool(caller.rights & {Right.READ, Right.AUDIT})
        return caller.unit == state.unit or (reads and contains(caller.region, state.region))
    if barred(caller, state):  # auditors too: `may_see_flow` lets them see the flow of every case
        return False
    if may_see_flow(caller, state):
        return True
    return data.kind == FeedKind.LEFT and may_see_flow(caller, replace(state, in_charge=data.region))


class FeedListener:
    """One reader of the feed."""

    def __init__(self, feed: Feed, request: FeedRequest) -> None:
        self._streams, self._runtime = feed.application.data.streams, feed.application.runtime
        self._clock, self._present, self._request = self._runtime.clock, feed.present, request
        self._at = request.after

    async def lines(self) -> AsyncIterator[bytes]:
        """The events as they are sent, with a comment when nothing happens; it ends when the log cannot be read."""
        yield self._sent(comment="caseflow feed", retry=RETRY_MS)
        if self._request.gap is not None:
            yield self._sent(event="gap", data=to_json(self._request.gap).decode())
        until = self._clock.monotonic() + LISTEN_S_MAX
        batches = self._streams.follow_raw(FEED, self._request.subject, self._at)
        coming = asyncio.ensure_future(anext(batches))
        ending = asyncio.ensure_future(self._runtime.stopping.wait())
        try:
            while self._clock.monotonic() < until and not ending.done():
                await asyncio.wait({coming, ending}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    yield self._sent(comment="nothing new")
                    continue
                batch = coming.result()
                for start in range(0, len(batch), SLICE_COUNT):
                    for message, item in await self._heard(batch[start : start + SLICE_COUNT]):
                        self._at = message.sequence
                        yield self._sent(event=item.data.kind, data=message.data.decode())
                    await self._runtime.load_gate.breathe(self._clock)
                self._at = batch[-1].sequence
                coming = asyncio.ensure_future(anext(batches))
        except (log_port.LogError, Unavailable) as error:  # the listener comes again and is told why
            telemetry.warn("a listener of the feed was let go", reason=type(error).__name__)
        finally:
            coming.cancel()
            ending.cancel()
            await asyncio.gather(coming, ending, return_exceptions=True)
            await batches.aclose()

    def _sent(self, **said: Any) -> bytes:
        data = said.pop("data", None)
        return format_sse_event(data_str=data, id=str(self._at), **said)

    async def _heard(self, batch: Sequence[RawMessage]) -> list[tuple[RawMessage, FeedItem]]:
        """What of these messages is asked for and may be heard."""
        wanted = [(one, FeedItem.model_validate_json(one.data)) for one in batch if self._wants(one)]
        states = await asyncio.gather(*(self._state(item) for _, item in wanted))
        caller = self._request.caller
        return [
            pair
            for pair, state in zip(wanted, states, strict=True)
            if state is not None and hears(caller, pair[1], state)
        ]

    def _wants(self, message: RawMessage) -> bool:
        return message.subject.split(".", 2)[1] in self._request.kinds

    async def _state(self, item: FeedItem) -> Any:
        kind = "case" if item.data.case is not None else "order"
        try:
            address = Address.of(kind, item.subject)
            return await self._present.state(address, Position.parse(item.data.position).sequence)
        except NoArea:  # an area that was given up
            return None


class _Live(EventSourceResponse):
    """A response that never ends by itself, and lets go of who has stopped reading."""

    def __init__(self, content: AsyncIterator[bytes], seat: AbstractContextManager[None]) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._seat = seat

    async def stream_response(self, send: Send) -> None:
        """As Starlette does it, each piece in time."""

        async def timely(message: Sent) -> None:
            async with asyncio.timeout(SEND_S_MAX):
                await send(message)

        with self._seat:
            try:
                await super().stream_response(timely)
            except TimeoutError:
                telemetry.warn("a listener of the feed read nothing and was let go")
