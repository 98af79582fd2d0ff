"""What three replicas do to the log: other conflict codes, stale direct reads, a leader killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from services.supervision.feed.writer import FeedWriter
from shared.case.base import Position
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.runtime import Runtime
from shared.log.connection import ApiError, NatsConnection, connect
from shared.log.jetstream import CODES_CONFLICT, GUARD, JetStreamLog
from shared.log.port import LogConflict, LogUnavailable
from shared.log.streams import Streams, ensure_topology
from shared.log.topology import FEED, Topology
from tests.support import feeds
from tests.support.log import address, recorded
from tests.support.nats import NatsServer, cluster
from tests.support.services import data_of

pytestmark = [pytest.mark.deep, pytest.mark.timeout(180)]

LOG = "LOG_5101"
CLOCK = SystemClock()
TOPOLOGY = Topology(("5101",), replicas=3)


@pytest_asyncio.fixture
async def servers(tmp_path: Path) -> AsyncIterator[list[NatsServer]]:
    all_ = cluster(tmp_path)
    for one in all_:
        one.start()
    yield all_
    for one in all_:
        one.kill()


@pytest_asyncio.fixture
async def connection(servers: list[NatsServer]) -> AsyncIterator[NatsConnection]:
    one = await connect(",".join(server.url for server in servers), wait_s=2.0)
    async with asyncio.timeout(60):
        while True:  # the cluster chooses its leaders first
            try:
                await ensure_topology(one, TOPOLOGY)
                break
            except LogUnavailable:
                await asyncio.sleep(0.2)
    yield one
    await one.close()


async def leader(connection: NatsConnection, servers: list[NatsServer], stream: str = LOG) -> NatsServer:
    """The server that leads a stream now; waits while one is chosen."""
    while True:
        with suppress(LogUnavailable):
            if name := (await connection.api(f"$JS.API.STREAM.INFO.{stream}"))["cluster"].get("leader"):
                return next(server for server in servers if server.folder.name == name)
        await asyncio.sleep(0.1)


async def test_conflicts_of_three_replicas_have_codes_we_know_and_one_writer_wins(connection: NatsConnection) -> None:
    codes: set[int] = set()
    for number in range(100):
        answers = await asyncio.gather(
            *(connection.api(address(number).subject, b"x", {GUARD: "0"}) for _ in range(8)), return_exceptions=True
        )
        refused = [one for one in answers if isinstance(one, ApiError)]
        assert len(refused) == 7
        codes |= {one.code for one in refused}
    assert codes <= CODES_CONFLICT
    assert 10164 in codes


async def test_a_load_right_after_an_acknowledgement_has_it_whichever_server_is_asked(
    connection: NatsConnection, servers: list[NatsServer]
) -> None:
    others = [await connect(one.url) for one in servers]
    writer, readers = JetStreamLog(connection, TOPOLOGY), [JetStreamLog(one, TOPOLOGY) for one in others]

    async def one(case: int) -> None:
        last = 0
        for number in range(50):
            last = (await writer.append(recorded(address(case), str(number)), last)).sequence
            [event] = await readers[number % 3].load(address(case), last - 1)
            assert event.position == Position(LOG, last)

    await asyncio.gather(*(one(case) for case in range(16)))
    for each in others:
        await each.close()


async def test_what_was_acknowledged_survives_the_death_of_the_leader(
    connection: NatsConnection, servers: list[NatsServer]
) -> None:
    log = JetStreamLog(connection, TOPOLOGY)
    taken: list[Position] = []

    async def writer(name: int) -> None:
        for number in range(60):
            where, last = address(name * 1000 + number), 0
            while True:
                try:
                    taken.append(await log.append(recorded(where, "a"), last))
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.1)
                except LogConflict as conflict:
                    raise AssertionError("the only writer of a case was refused") from conflict

    writing = asyncio.gather(*(writer(name) for name in range(16)))
    while len(taken) < 200:
        await asyncio.sleep(0.01)
    dead = await leader(connection, servers)
    dead.kill()
    while len(taken) < 500:
        await asyncio.sleep(0.01)
    dead.start()
    await writing
    seen: list[Position] = []
    async with aclosing(cast(Any, log.follow(LOG, 0))) as batches:
        while len(seen) < 960:
            seen += [one.position for one in await anext(batches)]
    assert seen == [Position(LOG, number) for number in range(1, 961)]
    assert sorted(taken, key=lambda one: one.sequence) == seen


async def test_the_feed_of_three_replicas_holds_each_item_once_though_two_write_and_its_leader_is_killed(
    connection: NatsConnection, servers: list[NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = Topology(feeds.AREAS, replicas=3)
    await ensure_topology(connection, topology)
    log, streams = JetStreamLog(connection, topology), Streams(connection)
    await feeds.fill(log, feeds.lives(150, seed=1))
    due = await feeds.expected(log)  # while its leaders stand; nothing is written to the log from here on
    begun, killed = asyncio.Event(), asyncio.Event()

    async def kill(name: str) -> None:
        if name == "feed.published" and not begun.is_set():
            begun.set()
            (await leader(connection, servers, FEED)).kill()
            killed.set()

    data = data_of(log=log, streams=streams, database=cast(Any, Unlocked()))
    runtimes = [Runtime.of(CLOCK, failpoints=Failpoints(kill)) for _ in range(2)]
    writers = [asyncio.create_task(FeedWriter(data=data, runtime=runtime).run()) for runtime in runtimes]
    await killed.wait()
    async with asyncio.timeout(60):
        while await _feed_of(streams, log) != due:
            await asyncio.sleep(0.2)
    for one in writers:
        one.cancel()
    await asyncio.gather(*writers, return_exceptions=True)


async def _feed_of(streams: Streams, log: JetStreamLog) -> Any:
    try:
        return await feeds.written(streams, log)
    except LogUnavailable:  # a leader is being chosen
        return None


class Unlocked:
    """A database whose locks keep nobody out."""

    async def try_advisory_lock(self, key: str) -> Unlocked:
        return self

    async def verify(self) -> None:
        """It seems to be held."""

    async def release(self) -> None:
        """There is nothing to give up."""
