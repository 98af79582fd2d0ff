"""A supervisor and an auditor: feed items in, through the durable that the operator has declared for them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from faststream import FastStream
from pydantic_core import from_json

from shared.kit.clock import Clock, SystemClock
from shared.kit.feed_item import FeedItem
from shared.kit.messaging import DurableWatch, make_client_broker, pull, stop
from shared.log import topology
from shared.log.connection import REQUEST_WAIT_S_MAX
from shared.log.port import LogUnavailable
from shared.log.topology import FEED, SUBSCRIBER_DOMAIN, api

EVERY_ITEM = "feed.*.*.>"  # of those that the durable hands out; the writer's own mark has two tokens
_LOOK_EVERY_S = 0.2

_Handler = Callable[[FeedItem], Awaitable[None]]


class SupervisorClient:
    """One subscriber under its `name`. `url` holds user and password: nats://subscriber-<name>:<password>@host:4222."""

    def __init__(self, name: str, url: str, clock: Clock | None = None) -> None:
        self.durable = topology.subscriber_name(name)
        self._clock = clock or SystemClock()
        self.broker = make_client_broker(
            url, user=self.durable, domain=SUBSCRIBER_DOMAIN, logger=logging.getLogger("caseflow.client")
        )
        self._watch = DurableWatch(self.broker, self._clock, domain=SUBSCRIBER_DOMAIN)
        self.app = FastStream(self.broker, lifespan=self._watched)

    def items(self, handler: _Handler) -> _Handler:
        """Decorator: takes the items one after the other, in the order of the feed, each at least once.

        An item is done when the handler returns; when it raises, the item comes again after a growing delay, and the
        next ones go on meanwhile. Take an item that comes twice for one: its `id` is the same.
        """
        consumer = pull(
            self.broker, EVERY_ITEM, stream=FEED, durable=self.durable, inboxes=topology.inbox_prefix(self.durable)
        )
        return consumer(handler)

    async def behind(self) -> int:
        """How many items are not done yet. Raises LogUnavailable when the durable is missing or does not answer."""
        info = await self._watch.info(FEED, self.durable)
        if not info:
            raise LogUnavailable(
                f"no answer about the durable {self.durable}: is the subscriber declared, and has caseflow been started"
                " since (docs/feeds.md)?"
            )
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """What surrounds the app: it starts only with a durable, and waits for one that is lost meanwhile."""
        await self.broker.connect()
        await self.behind()
        watching = asyncio.create_task(self._watch.run(), name=f"watch {self.durable}")
        try:
            yield
        finally:
            watching.cancel()


class AuditorClient(SupervisorClient):
    """A subscriber that is declared with `replays: true`: it may read again, from any place on."""

    async def replay(self, after: int = 0) -> None:
        """Hand every item behind the sequence `after` to the handlers again, and return when the last one is done.

        Raises LogUnavailable.
        """
        async with self._watched():
            await self._set_back(after)
            await self.broker.start()
            try:
                while await self.behind():
                    await self._clock.sleep(_LOOK_EVERY_S)
            finally:
                await stop(self.broker)

    async def _set_back(self, after: int) -> None:
        subject = api(f"CONSUMER.RESET.{FEED}.{self.durable}", SUBSCRIBER_DOMAIN)
        body = json.dumps({"seq": after + 1}).encode()
        answer: dict[str, Any] = from_json((await self.broker.request(body, subject, timeout=REQUEST_WAIT_S_MAX)).body)
        if "error" in answer:
            raise LogUnavailable(f"{self.durable} cannot be set back: {answer['error'].get('description')}")
