"""The job that sends webhooks: one process sends, as items come, and a kill of the feed's server loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from services.supervision.feed.webhooks import WebhookSender
from shared.kit.clock import SystemClock
from shared.log.port import LogUnavailable
from tests.support.nats import NatsServer
from tests.support.webhooks import World, open_world, prepare


@pytest.fixture
def world(webhook_world: World) -> World:
    return webhook_world


async def test_the_job_serves_all_places_as_items_come_and_one_process_alone_sends(world: World) -> None:
    job = asyncio.create_task(world.webhooks.run())
    twin = WebhookSender(world.service.application)
    other = asyncio.create_task(twin.run())
    try:
        webhooks = [await world.webhook() for _ in range(3)]
        case = await world.case()
        items = [await world.item(case) for _ in range(5)]
        await world.receiver.until(15)
        await asyncio.sleep(0.2)
        assert sorted(world.receiver.ids) == sorted([item.id for item in items] * 3), "each webhook each item once"
        for _, secret in webhooks:
            assert [one.id for one in world.receiver.got if one.is_signed_by(secret)] == [one.id for one in items]
    finally:
        for task in (job, other):
            task.cancel()
        await asyncio.gather(job, other, return_exceptions=True)


@pytest.mark.deep
async def test_a_kill_of_the_feeds_server_loses_nothing(
    server: NatsServer, database: Mapping[str, str], tmp_path: Path
) -> None:
    await prepare(server.url, database)
    async with open_world(server.url, database, tmp_path, SystemClock()) as world:
        job = asyncio.create_task(world.webhooks.run())
        try:
            webhook, _ = await world.webhook()
            cases = [await world.case() for _ in range(5)]
            items = [await world.item(case) for case in cases for _ in range(10)]
            await world.receiver.until(10)
            server.kill()
            server.start()
            async with asyncio.timeout(10):
                while True:
                    with suppress(LogUnavailable):
                        items += [await world.item(case) for case in cases]
                        break
            await world.receiver.until(55)
            async with asyncio.timeout(10):
                while set(world.receiver.ids) < {one.id for one in items}:
                    await asyncio.sleep(0.02)
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
        for case in cases:
            seen = [got.id for got in world.receiver.got if got.item["subject"] == case.id]
            wanted = [one.id for one in items if one.subject == case.id]
            assert list(dict.fromkeys(seen)) == wanted
        assert (await world.now(webhook)).waiting == 0
