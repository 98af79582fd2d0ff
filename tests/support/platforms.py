"""A platform beside the services: it publishes as its own NATS user and reads its receipts and progress."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats
from httpx import AsyncClient
from nats.aio.client import Client

from infra.servers.composition import settings_for
from infra.servers.embedded import Endpoints
from infra.servers.partners import DEMO_PLATFORM
from shared.case.base import Owner
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from tests.support.polling import WAIT_S_MAX, until
from tests.support.servers import own_servers
from tests.support.services import web_of

SUBJECT = "submit.demo.51.01.04.017.000"
DECIDING = (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)


@dataclass
class World:
    """The servers, the services' settings, and the demo platform's own connection."""

    endpoints: Endpoints
    settings: dict[Owner, Settings]
    platform: Client
    admin: Client
    _ids: int = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"t{self._ids}"

    async def submit(self, command: str, data: Any, id: str = "", case: str | None = None) -> tuple[str, int]:
        """Publish a submission; returns its id and the sequence of the acknowledgement."""
        id = id or self.new_id()
        event = {"specversion": "1.0", "id": id, "source": "demo", "type": f"command.{command}", "data": data}
        return id, await self.publish(json.dumps(event | ({"subject": case} if case else {})).encode())

    async def publish(self, data: bytes, subject: str = SUBJECT) -> int:
        ack = json.loads((await self.platform.request(subject, data, timeout=WAIT_S_MAX)).data)
        return int(ack["seq"])

    async def last(self, subject: str) -> dict[str, Any] | None:
        stream = "RECEIPTS" if subject.startswith("receipt.") else "PROGRESS"
        answer = await self.platform.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=WAIT_S_MAX)
        return json.loads(answer.data) if answer.data else None

    async def receipt(self, token: str) -> dict[str, Any]:
        """Wait for the receipt at the last token of its subject."""
        receipt: dict[str, Any] = await until(lambda: self.last(f"receipt.demo.{token}"))
        return receipt

    async def step(self, number: str, name: str) -> dict[str, Any]:
        """Wait for a public step of the case with this number."""

        async def reached() -> dict[str, Any] | None:
            last = await self.last(f"progress.demo.{number}")
            return last if last is not None and last["data"]["step"] == name else None

        progress: dict[str, Any] = await until(reached)
        return progress

    async def all(self, stream: str, subject: str) -> list[dict[str, Any]]:
        """Every message of a subject, read by the admin."""
        js = self.admin.jetstream()
        last = (await js.stream_info(stream)).state.last_seq
        events, sequence = [], 1
        while sequence <= last:
            try:
                message = await js.get_msg(stream, seq=sequence, subject=subject, next=True, direct=True)
            except nats.js.errors.NotFoundError:
                break
            events.append(json.loads(message.data or b""))
            assert message.seq is not None
            sequence = message.seq + 1
        return events


@asynccontextmanager
async def services(world: World, failpoints: Failpoints | None = None) -> AsyncIterator[AsyncClient]:
    async with web_of(world.settings, Runtime.of(SystemClock(), failpoints=failpoints)) as web:
        yield web


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Prepared servers, and the connection of the demo platform; no service runs yet."""
    async with AsyncExitStack() as after:
        endpoints = await after.enter_async_context(own_servers("platforms", Settings()))
        each = {owner: settings_for(Settings(), endpoints, owner) for owner in DECIDING}
        platform = await nats.connect(endpoints.platforms["demo"], inbox_prefix=DEMO_PLATFORM.inbox_prefix.encode())
        after.push_async_callback(platform.close)
        admin = await nats.connect(endpoints.nats["admin"])
        after.push_async_callback(admin.close)
        yield World(endpoints, each, platform, admin)
