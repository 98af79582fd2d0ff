"""The writer of the feed on the real servers: whatever is killed, FEED holds each item of the log once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from services.supervision.feed import writer as feed_writer
from services.supervision.feed.writer import AT, REACHED, FeedWriter
from shared.kit import leader
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.read_your_writes import ProjectionProgress
from shared.kit.runtime import Runtime
from shared.kit.sql import Database, Statements
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.port import Damaged, LogConflict
from shared.log.streams import Ack, Streams, ensure_topology
from shared.log.topology import FEED, FEED_MARK, Topology
from tests.support.feeds import AREAS, expected, fill, lives, messages, written
from tests.support.nats import NatsServer
from tests.support.services import data_of

pytestmark = pytest.mark.timeout(60)

CLOCK = SystemClock()
WAIT_S_MAX = 20.0


class World:
    """A log, FEED, and a database for the lock; all copies of the writer have the same failpoints."""

    def __init__(self, connection: NatsConnection, database: Database) -> None:
        self.log, self.streams, self.database = JetStreamLog(connection, Topology(AREAS)), Streams(connection), database
        self.failpoints = Failpoints()

    def writer(self) -> tuple[FeedWriter, ProjectionProgress]:
        """A copy of the writer, not started, and what it tells of its place."""
        runtime = Runtime.of(CLOCK, failpoints=self.failpoints)
        data = data_of(log=self.log, streams=self.streams, database=self.database)
        return FeedWriter(data=data, runtime=runtime), runtime.progress

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[ProjectionProgress]:
        """A copy that runs for the length of the block."""
        writer, reached = self.writer()
        task = asyncio.create_task(writer.run())
        try:
            yield reached
        finally:
            await ended_by_us(task)

    async def caught_up(self, *copies: ProjectionProgress) -> None:
        """Wait until one of the copies has read all that the log holds."""
        async with asyncio.timeout(WAIT_S_MAX):
            for stream in self.log.streams():
                end = await self.log.end(stream)
                while max(copy.at("feed", stream) for copy in copies) < end:
                    await asyncio.sleep(0.01)

    async def check(self) -> int:
        """FEED holds what a reckoning from the whole log says, each item once, in order; how many items."""
        wanted = await expected(self.log)
        assert await written(self.streams, self.log) == wanted
        return sum(map(len, wanted.values()))


@pytest_asyncio.fixture
async def world(server: NatsServer, database: Mapping[str, str]) -> AsyncIterator[World]:
    connection = await connect(server.url, wait_s=1.0)
    await ensure_topology(connection, Topology(AREAS))
    tables = await Database.connect(database["supervision"], Statements({}), "supervision", size_max=2)
    yield World(connection, tables)
    await tables.close()
    await connection.close()


async def test_every_item_of_the_log_is_written_once_in_order_and_what_comes_later_too(world: World) -> None:
    await fill(world.log, lives(60, seed=1))
    async with world.writing() as reached:
        await world.caught_up(reached)
        before = await world.check()
        await fill(world.log, lives(20, seed=2))
        await world.caught_up(reached)
        assert await world.check() > before > 60


async def test_a_writer_that_has_forgotten_a_case_loads_it_as_it_was_right_before_the_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_writer, "FEED_STATES_COUNT_MAX", 8)
    cases = lives(60, seed=3)
    await fill(world.log, [case[:3] for case in cases])
    async with world.writing() as reached:
        await world.caught_up(reached)
    before = await world.check()
    await fill(world.log, [case[3:] for case in cases])
    async with world.writing() as reached:
        await world.caught_up(reached)
    assert await world.check() > before


@dataclass
class Killing:
    """Cancels a task when so many items (or batches of them) are out."""

    hits: int
    task: asyncio.Task[None] | None = None

    async def __call__(self, name: str) -> None:
        self.hits -= name == "feed.published"
        if self.hits == 0 and self.task is not None:
            self.task.cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_anywhere_and_started_again_it_neither_loses_nor_doubles(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(seed)
    monkeypatch.setattr(feed_writer, "SINGLES_COUNT_MAX", (1000, 50, 5)[seed])
    monkeypatch.setattr(feed_writer, "PUBLISH_COUNT_MAX", 20)
    await fill(world.log, lives(30, seed=seed))
    more = asyncio.create_task(fill(world.log, lives(30, seed=100 + seed)))
    runs, ended = 0, False
    while not ended:
        runs += 1
        writer, reached = world.writer()
        killing = Killing(rng.randrange(1, 9))
        with world.failpoints.armed(killing):
            writing = killing.task = asyncio.create_task(writer.run())
            done = asyncio.create_task(world.caught_up(reached))
            await asyncio.wait({writing, done}, return_when=asyncio.FIRST_COMPLETED)
            ended = done.done() and more.done()
            await ended_by_us(writing)
            await ended_by_us(done)
    assert runs > 3
    async with world.writing() as reached:
        await world.caught_up(reached)
    await world.check()


async def test_a_second_copy_waits_and_takes_over_when_the_first_ends(world: World) -> None:
    await fill(world.log, lives(20, seed=5))
    async with world.writing() as second:
        async with world.writing() as first:
            await world.caught_up(first, second)
        await fill(world.log, lives(20, seed=6))
        await world.caught_up(second, first)
    await world.check()


class NoLock:
    """A lock that keeps nobody out: what a lost connection makes of ours, until it is noticed."""

    async def verify(self) -> None:
        """It seems to be held."""

    async def release(self) -> None:
        """There is nothing to give up."""


async def test_two_writers_at_once_disturb_each_other_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def granted(key: str) -> NoLock:
        return NoLock()

    monkeypatch.setattr(world.database, "try_advisory_lock", granted)
    monkeypatch.setattr(leader, "RESTART_S", 0.02)
    refused = 0
    publish = world.streams.publish

    async def counted(*args: Any, **named: Any) -> Ack:
        nonlocal refused
        try:
            return await publish(*args, **named)
        except LogConflict:
            refused += 1
            raise

    monkeypatch.setattr(world.streams, "publish", counted)
    async with world.writing() as one, world.writing() as other, world.writing() as third:
        await asyncio.gather(*(fill(world.log, lives(15, seed=seed)) for seed in (7, 8, 9)))
        await world.caught_up(one, other, third)
    await world.check()
    assert refused > 0, "they met"


@pytest.mark.parametrize(
    "count", [pytest.param(15, id="one by one", marks=pytest.mark.deep), pytest.param(300, id="in batches")]
)
async def test_the_server_killed_while_it_writes(world: World, server: NatsServer, count: int) -> None:
    await fill(world.log, lives(count, seed=10))
    hits = 0

    async def restarted(name: str) -> None:
        nonlocal hits
        hits += name == "feed.published"
        if name == "feed.published" and hits == 2:
            server.kill()
            server.start()

    with world.failpoints.armed(restarted):
        async with world.writing() as reached:
            await world.caught_up(reached)
            await fill(world.log, lives(5, seed=11))
            await world.caught_up(reached)
    assert hits > 3
    await world.check()


async def test_a_long_time_without_items_is_marked_so_that_nobody_reads_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_writer, "MARK_COUNT", 20)
    events = await fill(world.log, lives(5, seed=12))
    imported = lives(10, seed=13, only=["clocked, imported"])
    async with world.writing() as reached:
        await world.caught_up(reached)
        items = await world.streams.end(FEED)
        await fill(world.log, imported)
        await world.caught_up(reached)
        async with asyncio.timeout(WAIT_S_MAX):
            while await world.streams.end(FEED) == items:
                await asyncio.sleep(0.01)
    last = (await messages(world.streams))[-1]
    assert last.subject == FEED_MARK
    assert AT not in (last.headers or {})
    writer, again = world.writer()
    await writer.find_position()
    assert sum(again.at("feed", stream) for stream in world.log.streams()) >= events + 20
    await world.check()


async def test_a_feed_of_another_log_is_refused(world: World, server: NatsServer) -> None:
    await fill(world.log, lives(5, seed=14))
    async with world.writing() as reached:
        await world.caught_up(reached)
    last = (await messages(world.streams))[-1]
    other = last.data.replace(last.data[last.data.index(b'"id":"') + 6 :][:36], b"0" * 36)
    told = {name: (last.headers or {})[name] for name in (AT, REACHED)}
    await world.streams.publish(last.subject, other, told)
    writer, _ = world.writer()
    with pytest.raises(Damaged, match="one backup"):
        await writer.find_position()
    await world.streams.publish(last.subject, b"{}", {})
    with pytest.raises(Damaged, match="not its writer's"):
        await writer.find_position()


async def ended_by_us(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
