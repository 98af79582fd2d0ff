"""The feed over real HTTP, and its subscribers, for tests."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from infra.servers.embedded import Endpoints
from shared.case.base import Owner, Recorded
from shared.kit.listeners import ListenerSlots
from shared.log.connection import connect
from shared.log.jetstream import JetStreamLog
from shared.log.port import LogUnavailable
from shared.log.streams import Streams
from shared.log.topology import FEED, Topology
from tests.support.feeds import AREAS, expected, fill, written
from tests.support.nats import NatsServer
from tests.support.services import connected

HEARD_S_MAX = 10.0
BUFFER_BYTES = 4096
Case = list[Recorded[Any]]


@dataclass(frozen=True)
class Heard:
    """A server-sent event as a client parses it (WHATWG HTML, 9.2.6)."""

    event: str
    id: int
    data: dict[str, Any]


class Feed:
    """The feed at a port, and the log behind it."""

    def __init__(self, port: int, log: JetStreamLog, streams: Streams, slots: ListenerSlots) -> None:
        self.port, self.log, self.streams, self.slots = port, log, streams, slots
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HEARD_S_MAX)

    @asynccontextmanager
    async def listening(self, person: str, last: int | str | None = None, **params: Any) -> AsyncIterator[Listening]:
        """A subscription for the length of the block."""
        headers = {"Authorization": f"Bearer demo-{person}"} | ({} if last is None else {"Last-Event-ID": str(last)})
        async with self.client.stream("GET", "/feed", headers=headers, params=params) as answer:
            if answer.status_code != 200:
                await answer.aread()
            yield Listening(answer)

    async def refused(self, person: str, last: int | str | None = None, **params: Any) -> httpx.Response:
        """The answer to a subscription that is refused."""
        async with self.listening(person, last, **params) as listening:
            assert listening.answer.status_code != 200
            assert listening.answer.headers["content-type"] == "application/problem+json"
            return listening.answer

    async def up(self) -> None:
        """Wait until the log answers again."""
        async with asyncio.timeout(HEARD_S_MAX):
            while True:
                with suppress(LogUnavailable):
                    await self.log.end(self.log.streams()[0])
                    return
                await asyncio.sleep(0.05)

    async def written(self, cases: Sequence[Case]) -> int:
        """Put these cases on the log and wait until FEED has all items; returns the end of FEED."""
        await fill(self.log, cases)
        items = await expected(self.log)
        async with asyncio.timeout(HEARD_S_MAX):
            while await written(self.streams, self.log) != items:
                await asyncio.sleep(0.01)
        return await self.streams.end(FEED)


class Listening:
    """The blocks and events of an answer as they arrive."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.opening: list[str] = []
        self._blocks = self._parsed()

    async def _parsed(self) -> AsyncIterator[list[tuple[str, str]]]:
        block: list[tuple[str, str]] = []
        async for line in self.answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                block.append((name, value))
            elif block:
                yield block
                block = []

    async def block(self) -> dict[str, str]:
        """The next block, also one without data."""
        async with asyncio.timeout(HEARD_S_MAX):
            return dict(await anext(self._blocks))

    async def next(self) -> Heard:
        """The next event."""
        while True:
            block = await self.block()
            if "data" in block:
                return Heard(block["event"], int(block["id"]), json.loads(block["data"]))

    async def until(self, id: int) -> list[Heard]:
        """The events up to the position `id` of FEED, which an event or a block without data reaches."""
        events: list[Heard] = []
        while True:
            block = await self.block()
            if "data" in block:
                events.append(Heard(block["event"], int(block["id"]), json.loads(block["data"])))
            if int(block["id"]) >= id:
                return events


@asynccontextmanager
async def serving(nats: NatsServer, endpoints: Endpoints, port: int) -> AsyncIterator[Feed]:
    """Supervision's feed with its writer; at the end the server closes its connections at once."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        service = await stack.enter_async_context(connected(Owner.SUPERVISION, endpoints, nats_url=nats.url))
        connection = await connect(nats.url, wait_s=0.5)
        stack.push_async_callback(connection.close)
        config = uvicorn.Config(service.app, loop="none", lifespan="off", log_config=None, timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        writing = asyncio.ensure_future(service.jobs["supervision.feed"]())
        log, streams = JetStreamLog(connection, Topology(AREAS)), Streams(connection)
        feed = Feed(listener.getsockname()[1], log, streams, service.app.state.feed.slots)
        stack.push_async_callback(feed.client.aclose)
        try:
            yield feed
        finally:
            server.should_exit = True
            await serving
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
