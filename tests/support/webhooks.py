"""The webhook sender on real servers with a clock that a test moves: cases, feed items, webhooks and a receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from infra.servers.services import BY_OWNER
from services.supervision.feed.delivery import Webhook
from services.supervision.feed.webhook_store import NoticeStore
from services.supervision.feed.webhooks import WebhookSender
from shared.case.base import Address, Event, Meta, Owner, Recorded, event_id, level_of, new_id
from shared.case.events import Registered
from shared.case.facts import Channel, Matter, Nature, Parties, Party
from shared.kit import vault
from shared.kit.clock import Clock
from shared.kit.feed_item import FeedData, FeedItem
from shared.kit.runtime import Runtime
from shared.kit.seal import seal_fields
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from shared.kit.sql import Database, Statements, migrate
from shared.kit.vault import MasterKeys, PgVault
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.streams import Streams, ensure_topology
from shared.log.topology import FEED, Topology
from tests.support.clock import FakeClock
from tests.support.log import DESK
from tests.support.receivers import Receiver
from tests.support.services import composed, data_of

CITY, COUNTY, TOWNSHIP = "510100000000", "510104000000", "510104017000"
PHONE = "139 0000-1234"
_numbers = count(1)


@dataclass
class World:
    """Supervision with its clock, and a receiver of webhooks."""

    service: RunningService
    clock: FakeClock
    receiver: Receiver
    webhooks: WebhookSender
    _made: list[str] = field(default_factory=list)
    _ends: dict[str, int] = field(default_factory=dict)

    @property
    def book(self) -> NoticeStore:
        return NoticeStore(self.service.data.database)

    async def webhook(self, **changed: Any) -> tuple[Webhook, str]:
        """Store a webhook and return it with its secret: the overdue items of the city to the receiver, by default."""
        values: dict[str, Any] = {
            "id": self.clock.new_id(), "url": self.receiver.url, "kinds": ("overdue",), "level": None, "region": CITY,
            "creator": "cd-supervisor", "numbers": False, "created_at": self.clock.now(), "cursor": await self.end(),
        }  # fmt: skip
        webhook = Webhook(**values | changed)
        self._made.append(webhook.id)
        return webhook, await self.webhooks.store.make(webhook)

    async def now(self, webhook: Webhook) -> Webhook:
        """The webhook as stored now."""
        stored = await self.webhooks.store.read(webhook.id)
        assert stored is not None
        return stored

    async def send(self, webhook: Webhook) -> Webhook:
        """Run one round of deliveries; returns the webhook after it."""
        await self.webhooks.serve(webhook.id)
        return await self.now(webhook)

    async def later(self, webhook: Webhook, seconds: float) -> Webhook:
        """Advance the clock, then run one round of deliveries."""
        await self.clock.advance(seconds)
        return await self.send(webhook)

    async def case(self, region: str = TOWNSHIP, **facts: Any) -> Address:
        """Register a case whose reporter has a phone number."""
        address = Address("case", region, new_id(region, f"case {next(_numbers)}"))
        values: dict[str, Any] = {
            "channel": Channel.VISIT, "contact_time": self.clock.now(), "region": region, "nature": Nature.COMPLAINT,
            "matter": Matter(title="电梯", text="电梯坏了"), "reporter": Parties(parties=(Party(phone=PHONE),)),
            "first_asked": "jj-window", "first_asked_unit": f"{COUNTY}-centre",
        }  # fmt: skip
        await self.service.data.vault.new_keys(None, [(address.id, region)])
        await self.put(address, Registered(**values | facts))
        return address

    async def put(self, address: Address, event: Event) -> None:
        """Seal an event of a case and append it to the log."""
        command = f"{address.id} {self._ends.get(address.id, 0)} {event.TYPE}"
        id = event_id(command, address.subject)
        sealed = seal_fields(event, await self.service.data.vault.key(address.id), address.id, id, self.clock)
        meta = Meta(command_id=command, time=self.clock.now(), recorded_at=self.clock.now(), actor=DESK)
        position = await self.service.data.log.append(
            Recorded(id, address, meta, sealed), self._ends.get(address.id, 0)
        )
        self._ends[address.id] = position.sequence

    async def number(self, address: Address) -> str:
        """The number of a case."""
        application = self.service.application
        return application.data.number(address, (await application.load_for_service(address)).state)

    async def item(self, address: Address, kind: str = "overdue", region: str = "", **facts: Any) -> FeedItem:
        """Publish a feed item of a case for the centre of a region."""
        region = region or address.region
        stream = self.service.data.log.stream_of(address)
        values: dict[str, Any] = {
            "kind": kind, "level": int(level_of(region)), "region": region, "number": "N-1", "event": "case.overdue",
            "position": f"{stream}:{self._ends[address.id]}", "version": 1, "status": "handling", "in_charge": region,
            "case": address.id,
        }  # fmt: skip
        item = FeedItem(
            id=new_id(region, f"item {next(_numbers)}"), type=f"feed.{kind}", subject=address.id, time=self.clock.now(),
            data=FeedData(**values | facts),
        )  # fmt: skip
        await self.service.data.streams.publish(item.nats_subject, item.model_dump_json(exclude_none=True).encode())
        return item

    async def end(self) -> int:
        return await self.service.data.streams.end(FEED)

    def again(self) -> WebhookSender:
        """Replace the sender by a new one without memory, as in another process."""
        self.webhooks = WebhookSender(self.service.application)
        return self.webhooks


def _supervision(
    connection: NatsConnection, database: Database, dsns: Mapping[str, str], folder: Path, runtime: Runtime
) -> RunningService:
    key = folder / "master.key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    settings = Settings(demo=True, master_key=key, pg_dsn={"supervision": SecretStr(dsns["supervision"])})
    log = JetStreamLog(connection, Topology(("5101",)))
    vault = PgVault(database, MasterKeys.load(key), runtime.clock)
    data = data_of(log=log, streams=Streams(connection), vault=vault, database=database)
    return composed(Owner.SUPERVISION, settings=settings, data=data, runtime=runtime)


async def prepare(url: str, dsns: Mapping[str, str]) -> None:
    """Make streams and tables."""
    for schema, role, migrations in (
        ("vault", "vault", vault.MIGRATIONS),
        ("supervision", "supervision", BY_OWNER[Owner.SUPERVISION].migrations),
    ):
        await migrate(dsns["admin"], schema, role, migrations)
    connection = await connect(url)
    await ensure_topology(connection, Topology(("5101",)))
    await connection.close()


@asynccontextmanager
async def open_world(
    url: str, dsns: Mapping[str, str], folder: Path, service_clock: Clock | None = None
) -> AsyncIterator[World]:
    """A world on prepared servers. Its webhooks are deleted at the end.

    `service_clock`: a clock of the service other than that of the world, which stands still.
    """
    clock = FakeClock()
    connection = await connect(url)
    database = await Database.connect(dsns["supervision"], Statements({}), "supervision", size_max=4)
    receiver = Receiver()
    await receiver.start()
    service = _supervision(connection, database, dsns, folder, Runtime.of(service_clock or clock))
    world = World(service, clock, receiver, WebhookSender(service.application))
    try:
        yield world
    finally:
        for id in world._made:
            await world.webhooks.store.delete(id)
        await world.webhooks.close()
        await receiver.stop()
        await database.close()
        await connection.close()
