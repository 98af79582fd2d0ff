"""FastStream on a real server: each trap that shared/kit/messaging.py answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faststream.nats import NatsBroker, NatsMessage
from nats.errors import StaleConnectionError

from shared.kit.clock import SystemClock
from shared.kit.messaging import (
    DurableWatch,
    Recreate,
    StreamDelivery,
    given,
    make_broker,
    make_client_broker,
    pull,
    pull_deliveries,
    run_subscribers,
    stop,
)
from shared.log.connection import NatsConnection, connect
from shared.log.consumers import durable
from shared.log.jetstream import GUARD
from shared.log.port import ACK_WAIT_S, LogConflict, LogUnavailable
from tests.support.nats import NatsServer
from tests.support.polling import WAIT_S_MAX, until

STREAM, DURABLE = "PLACE", "worker"


@asynccontextmanager
async def connected(server: NatsServer, client: bool = True) -> AsyncIterator[tuple[NatsConnection, NatsBroker]]:
    """A stream with a durable, and a broker that is not started yet."""
    connection = await connect(server.url)
    broker = make_client_broker(server.url, user="test") if client else make_broker(server.url, name="test")
    try:
        await connection.api(f"$JS.API.STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["place.>"]})
        await durable(connection, STREAM, DURABLE, "place.>")
        yield connection, broker
    finally:
        await stop(broker)
        await connection.close()


def hearing(broker: NatsBroker) -> list[str]:
    """Subscribe to the durable; the texts of the messages that are taken."""
    taken: list[str] = []

    @pull(broker, "place.>", stream=STREAM, durable=DURABLE)
    async def take(message: NatsMessage) -> None:
        taken.append(message.body.decode())

    return taken


def recreating(connection: NatsConnection) -> Recreate:
    async def recreate(stream: str, name: str, subject: str) -> None:
        await durable(connection, stream, name, subject)

    return recreate


async def all_settled(connection: NatsConnection) -> None:
    """Wait until the durable has handed out everything and all of it is acknowledged."""

    async def settled() -> bool:
        info = await connection.api(f"$JS.API.CONSUMER.INFO.{STREAM}.{DURABLE}")
        return bool(info["num_pending"] == info["num_ack_pending"] == 0)

    await until(settled)


async def publish(connection: NatsConnection, *texts: str, headers: dict[str, str] | None = None) -> None:
    for text in texts:
        await connection.api(f"place.{text}", text.encode(), headers)


async def test_what_fails_comes_again_after_a_growing_delay_and_nothing_else_waits(server: NatsServer) -> None:
    taken: list[tuple[str, float]] = []
    async with connected(server) as (connection, broker):
        consumer = pull(broker, "place.>", stream=STREAM, durable=DURABLE)

        @consumer
        async def work(message: NatsMessage) -> None:
            text = message.body.decode()
            taken.append((text, time.monotonic()))
            if text == "bad" and sum(one == "bad" for one, _ in taken) < 3:
                raise RuntimeError("not now")

        await publish(connection, "bad", "good")
        await broker.start()
        await until(lambda: len(taken) == 4)
        assert [text for text, _ in taken] == ["bad", "good", "bad", "bad"]
        first, second, third = (at for text, at in taken if text == "bad")
        assert 0.35 < second - first < 0.8
        assert 0.75 < third - second < 1.6
        await all_settled(connection)


async def test_messages_that_cannot_be_decoded_come_again_and_hold_up_nothing(server: NatsServer) -> None:
    taken: list[Any] = []
    async with connected(server) as (connection, broker):

        @pull(broker, "place.>", stream=STREAM, durable=DURABLE)
        async def work(body: dict[str, int]) -> None:
            taken.append(body)

        await connection.api("place.bad", b"{", {"content-type": "application/json"})
        await connection.api("place.good", b'{"a": 1}')
        await broker.start()
        await until(lambda: bool(taken))
        info = await connection.api(f"$JS.API.CONSUMER.INFO.{STREAM}.{DURABLE}")
        assert taken == [{"a": 1}]
        assert info["num_ack_pending"] == 1


async def test_the_senders_headers_break_nothing_and_name_no_subject_of_ours(server: NatsServer) -> None:
    taken: list[bytes] = []
    async with connected(server, client=False) as (connection, broker):

        @pull_deliveries(broker, "place.>", stream=STREAM, durable=DURABLE, at_once=8)
        async def work(delivery: StreamDelivery) -> str:
            taken.append(delivery.message.data)
            return "an answer that nobody asked for"

        await connection.api("place.one", b"\xff{", {"content-type": "application/json", "reply_to": "place.forged"})
        await broker.start()
        await until(lambda: bool(taken))
        await asyncio.sleep(0.2)
        state = (await connection.api(f"$JS.API.STREAM.INFO.{STREAM}"))["state"]
        assert taken == [b"\xff{"]
        assert state["messages"] == 1


async def test_a_trickle_is_handed_on_at_once_and_waiting_costs_nothing(server: NatsServer) -> None:
    """With `PullSub(batch=True, timeout=0.05)` the median is 33 ms, and 15 of 400 came after 30 s."""
    waits: list[float] = []
    async with connected(server) as (connection, broker):

        @pull(broker, "place.>", stream=STREAM, durable=DURABLE)
        async def work(message: NatsMessage) -> None:
            waits.append(time.monotonic() - float(message.body))

        await broker.start()
        spent, began = time.process_time(), time.monotonic()
        await asyncio.sleep(1)
        idle = (time.process_time() - spent) / (time.monotonic() - began)
        for _ in range(100):
            await connection.api("place.one", str(time.monotonic()).encode())
            await asyncio.sleep(0.007)
        await until(lambda: len(waits) == 100)
    assert sorted(waits)[50] < 0.02
    assert max(waits) < ACK_WAIT_S / 10, "none waits until the server hands it out again"
    assert idle < 0.02


async def test_deliveries_begin_in_order_go_on_side_by_side_and_are_settled_one_by_one(server: NatsServer) -> None:
    begun: list[tuple[str, int]] = []
    at_once = most = 0
    async with connected(server, client=False) as (connection, broker):

        @pull_deliveries(broker, "place.>", stream=STREAM, durable=DURABLE, at_once=64)
        async def work(delivery: StreamDelivery) -> None:
            nonlocal at_once, most
            assert given("greeting") == "good day"
            text = delivery.message.data.decode()
            begun.append((text, delivery.attempts))
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            if (text, delivery.attempts) == ("7", 1):
                await delivery.nack(0.3)
            else:
                await delivery.ack()

        names = [str(number) for number in range(200)]
        await publish(connection, *names)
        began = datetime.now(UTC)
        running = asyncio.create_task(
            run_subscribers(broker, SystemClock(), recreating(connection), greeting="good day")
        )
        await until(lambda: len(begun) == 201)
        await all_settled(connection)
        assert datetime.now(UTC) - began > timedelta(seconds=0.3)
        running.cancel()
        await asyncio.wait({running})
    assert [text for text, attempts in begun if attempts == 1] == names
    assert [one for one in begun if one[1] > 1] == [("7", 2)]
    assert 32 <= most <= 64


@asynccontextmanager
async def watched(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, recreate: Callable[[NatsConnection], Recreate] | None = None
) -> AsyncIterator[tuple[NatsConnection, list[str]]]:
    """A broker that hears, its durable deleted while it is watched; the texts of the messages that it takes."""
    monkeypatch.setattr("shared.kit.messaging.WATCH_EVERY_S", 0.2)
    async with connected(server) as (connection, broker):
        taken = hearing(broker)
        await broker.start()
        watch = DurableWatch(broker, SystemClock(), recreate(connection) if recreate else None)
        task = asyncio.create_task(watch.run())
        try:
            await connection.api(f"$JS.API.CONSUMER.DELETE.{STREAM}.{DURABLE}")
            yield connection, taken
            assert not task.done(), "the watch goes on"
        finally:
            task.cancel()


async def busy_share(seconds: float) -> float:
    """The share of a core that this process takes for a while."""
    spent, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - spent) / (time.monotonic() - began)


async def test_a_deleted_durable_is_said_made_anew_and_does_not_spin(
    server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(server, monkeypatch, recreating) as (connection, taken):
        await publish(connection, "after")
        await until(lambda: taken == ["after"])
        assert await busy_share(0.5) < 0.1
    assert "a durable is missing" in caplog.text


class CountingWatch(DurableWatch):
    """A watch that keeps what it was told of its durables."""

    def __init__(self, broker: NatsBroker, recreate: Recreate) -> None:
        super().__init__(broker, SystemClock(), recreate)
        self.answers: list[dict[str, Any] | None] = []

    async def info(self, stream: str, durable: str) -> dict[str, Any] | None:
        self.answers.append(answer := await super().info(stream, durable))
        return answer


async def test_the_watch_outlives_a_server_that_is_away(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kit.messaging.WATCH_EVERY_S", 0.05)
    monkeypatch.setattr("shared.kit.messaging.REQUEST_WAIT_S_MAX", 0.2)
    async with connected(server) as (connection, broker):
        taken = hearing(broker)
        await broker.start()
        watch = CountingWatch(broker, recreating(connection))
        task = asyncio.create_task(watch.run())
        try:
            await asyncio.to_thread(server.kill)
            await until(lambda: watch.answers.count(None) >= 2)
            await asyncio.to_thread(server.start)
            await connection.wait_until_up(WAIT_S_MAX)
            await connection.api(f"$JS.API.CONSUMER.DELETE.{STREAM}.{DURABLE}")
            await publish(connection, "after")
            await until(lambda: taken == ["after"])
            assert {} in watch.answers, "it noticed what happened after the server came back"
            assert not task.done(), "the watch goes on"
        finally:
            task.cancel()


async def test_a_durable_that_cannot_be_made_yet_is_tried_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [LogUnavailable("not now"), LogUnavailable("not now")]

    def recreating_at_last(connection: NatsConnection) -> Recreate:
        async def recreate(stream: str, name: str, subject: str) -> None:
            if failures:
                raise failures.pop()
            await durable(connection, stream, name, subject)

        return recreate

    async with watched(server, monkeypatch, recreating_at_last) as (connection, taken):
        await publish(connection, "after")
        await until(lambda: taken == ["after"])
    assert not failures


async def test_a_durable_that_another_must_make_is_waited_for(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(server, monkeypatch) as (connection, taken):
        await asyncio.sleep(0.5)
        assert await busy_share(0.5) < 0.1
        await durable(connection, STREAM, DURABLE, "place.>")
        await publish(connection, "after")
        await until(lambda: taken == ["after"])


async def test_a_publish_that_comes_second_is_a_conflict(server: NatsServer) -> None:
    async with connected(server) as (_, broker):
        await broker.connect()
        assert (await broker.publish(b"1", "place.a", {GUARD: "0"}, stream=STREAM)).seq == 1
        with pytest.raises(LogConflict) as raised:
            await broker.publish(b"2", "place.a", {GUARD: "0"}, stream=STREAM)
        assert raised.value.actual_sequence == 1
        with pytest.raises(LogUnavailable):
            await broker.publish(b"3", "nowhere.a", stream=STREAM, timeout=0.5)


async def test_a_killed_server_is_waited_for_and_nothing_is_missed(server: NatsServer) -> None:
    async with connected(server) as (connection, broker):
        taken = hearing(broker)
        await broker.start()
        await publish(connection, "before")
        await until(lambda: taken == ["before"])
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await connection.wait_until_up(WAIT_S_MAX)
        await publish(connection, "after")
        await until(lambda: taken == ["before", "after"])


@pytest.mark.parametrize("close_broker", [True, False])
async def test_closing_in_any_moment_of_a_lost_link_is_quiet(server: NatsServer, close_broker: bool) -> None:
    """Whatever step of its reconnecting nats-py is at: the closing takes its turns of the event loop one by one."""
    for turns in range(8):
        async with connected(server) as (connection, broker):
            await broker.start()
            client = broker.connection if close_broker else connection.client
            await client._process_op_err(StaleConnectionError())  # as after pings without an answer
            for _ in range(turns):
                await asyncio.sleep(0)
            await (stop(broker) if close_broker else connection.close())
            assert client.is_closed
            assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]  # it runs in this task


async def test_stopping_while_the_server_is_away_leaves_nothing_behind(server: NatsServer) -> None:
    async with connected(server) as (_, broker):
        await broker.start()
        nats = broker.connection
        await asyncio.to_thread(server.kill)
        await until(lambda: nats.is_reconnecting)
        await stop(broker)
        assert nats.is_closed
