"""The facts that the log rests on, each shown on the real server (docs/decisions/0011-guard-by-last-sequence.md)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from time import monotonic, process_time
from typing import Any, cast

import pytest

from shared.case.base import Address, Event, Position, Recorded
from shared.log.connection import ApiError, NatsConnection, connect
from shared.log.envelope import EventDecoder
from shared.log.jetstream import CODES_CONFLICT, GUARD, JetStreamLog
from shared.log.port import Damaged, DurableMissing, LogConflict, LogUnavailable
from shared.log.streams import WrongTopology, ensure_topology
from shared.log.topology import Topology
from tests.support.log import AREAS, address, recorded
from tests.support.nats import NatsServer
from tests.support.proxy import Relay

LOG = "LOG_5101"
TOPOLOGY = Topology(AREAS)


@asynccontextmanager
async def opened(url: str, wait_s: float = 5.0) -> AsyncIterator[tuple[NatsConnection, JetStreamLog]]:
    connection = await connect(url, wait_s=wait_s)
    try:
        await ensure_topology(connection, TOPOLOGY)
        yield connection, JetStreamLog(connection, TOPOLOGY)
    finally:
        await connection.close()


async def test_logs_that_share_a_decoder_decode_once_and_others_for_themselves(server: NatsServer) -> None:
    async with opened(server.url) as (connection, log):
        position = await log.append(recorded(address(1), "a"), 0)
        decoder = EventDecoder()
        one, other = (JetStreamLog(connection, TOPOLOGY, decoder=decoder) for _ in range(2))
        event = await one.at(position)
        assert await other.at(position) is event
        assert [event] == await other.load(address(1))
        assert (decoder.hit_count, decoder.miss_count) == (2, 1)
        appended = await log.at(position)
        assert appended == event
        assert appended is not event


async def write(log: JetStreamLog, first: int, count: int) -> None:
    """One event each for `count` cases, a few at a time, tried again for as long as the log is away."""
    slots = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with slots:
            while True:
                try:
                    await log.append(recorded(address(number), "a"), 0)
                    return
                except LogUnavailable:
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(one(number) for number in range(first, first + count)))


async def test_the_guard_counts_stream_sequences_of_the_exact_subject(server: NatsServer) -> None:
    async with opened(server.url) as (_, log):
        for number in range(1, 6):
            await log.append(recorded(address(number), "a"), 0)
        with pytest.raises(LogConflict) as refused:  # its first event, but the fifth of the stream
            await log.append(recorded(address(5), "b"), 1)
        assert refused.value.actual_sequence == 5
        assert await log.append(recorded(address(5), "b"), 5) == Position(LOG, 6)
        # Another aggregate moved on meanwhile: no matter.
        assert await log.append(recorded(address(1), "b"), 1) == Position(LOG, 7)


async def test_a_conflict_is_10071_on_one_replica(server: NatsServer) -> None:
    async with opened(server.url) as (connection, log):
        await log.append(recorded(address(), "a"), 0)
        with pytest.raises(ApiError) as refused:
            await connection.api(address().subject, b"x", {GUARD: "0"})
        assert refused.value.code == 10071
        assert refused.value.code in CODES_CONFLICT


async def test_a_lost_acknowledgement_is_settled_by_reading_again(server: NatsServer) -> None:
    relay = Relay(server.port)
    async with opened(await relay.start(), wait_s=0.4) as (_, log):
        relay.lose_next = b'"stream":"LOG_5101"'
        assert await log.append(recorded(address(), "a"), 0) == Position(LOG, 1)
        assert relay.lost_count == 1
        assert [one.meta.command_id for one in await log.load(address())] == ["a"]
    await relay.stop()


async def test_an_append_nobody_can_settle_is_unavailable_and_done_when_tried_again(server: NatsServer) -> None:
    relay = Relay(server.port)
    async with opened(await relay.start(), wait_s=0.3) as (_, log):
        relay.deaf = True
        with pytest.raises(LogUnavailable):
            await log.append(recorded(address(), "a"), 0)
        relay.deaf = False
        assert await log.append(recorded(address(), "a"), 0) == Position(LOG, 1)
        assert await log.end(LOG) == 1
    await relay.stop()


async def test_an_append_that_lost_to_another_whose_answer_was_lost_is_a_conflict(server: NatsServer) -> None:
    relay = Relay(server.port)
    async with opened(server.url) as (_, other), opened(await relay.start(), wait_s=0.4) as (_, log):
        await other.append(recorded(address(), "other"), 0)
        relay.lose_next = b"wrong last sequence"
        with pytest.raises(LogConflict) as refused:
            await log.append(recorded(address(), "a"), 0)
        assert refused.value.actual_sequence == 1
        assert relay.lost_count == 1
    await relay.stop()


async def test_every_question_of_the_publisher_ends(server: NatsServer) -> None:
    # nats-py's publish_async waits for ever on an error (nats.py#985); ours ends on answer, error, silence, no stream.
    async with opened(server.url, wait_s=0.3) as (connection, _):
        subject = address().subject
        async with asyncio.timeout(5):
            answers = await asyncio.gather(
                *(connection.api(subject, b"x", {GUARD: "7"}) for _ in range(100)), return_exceptions=True
            )
            assert {type(one) for one in answers} == {ApiError}
            with pytest.raises(LogUnavailable, match="no stream"):
                await connection.api("case.99.01.04.001.002.x", b"x")
            server.freeze()
            with pytest.raises(LogUnavailable, match="within"):
                await connection.api(subject, b"x")
            server.thaw()
        assert not connection._waiting


async def test_a_log_stream_gives_nothing_up(server: NatsServer) -> None:
    async with opened(server.url) as (connection, log):
        await log.append(recorded(address(), "a"), 0)
        with pytest.raises(ApiError) as kept:
            await connection.api(f"$JS.API.STREAM.MSG.DELETE.{LOG}", {"seq": 1})
        assert kept.value.code == 10057
        with pytest.raises(ApiError) as kept:
            await connection.api(f"$JS.API.STREAM.PURGE.{LOG}")
        assert kept.value.code == 10110
        config = (await connection.api(f"$JS.API.STREAM.INFO.{LOG}"))["config"]
        for lift in ({"deny_delete": False}, {"deny_purge": False}):
            with pytest.raises(ApiError):
                await connection.api(f"$JS.API.STREAM.UPDATE.{LOG}", {**config, **lift})
        assert len(await log.load(address())) == 1


async def test_schedules_would_lift_the_denial_in_silence_so_such_a_stream_is_refused(server: NatsServer) -> None:
    connection = await connect(server.url)
    wanted = next(one for one in TOPOLOGY.configurations() if one["name"] == LOG)
    scheduled = {**wanted, "allow_msg_schedules": True}
    with pytest.raises(ApiError, match="message scheduling cannot use discard new"):
        await connection.api(f"$JS.API.STREAM.CREATE.{LOG}", scheduled)
    made = await connection.api(f"$JS.API.STREAM.CREATE.{LOG}", {**scheduled, "discard": "old"})
    assert made["config"]["deny_purge"] is False  # the fact; and why the check below exists
    with pytest.raises(WrongTopology, match="LOG_5101 has deny_purge = False"):
        await ensure_topology(connection, TOPOLOGY)
    await connection.close()


@pytest.mark.parametrize("change", [{"max_age": 10**9 * 3600}, {"deny_delete": False}, {"discard": "old"}])
async def test_a_stream_that_may_lose_events_is_refused(server: NatsServer, change: dict[str, Any]) -> None:
    connection = await connect(server.url)
    wanted = next(one for one in TOPOLOGY.configurations() if one["name"] == LOG)
    await connection.api(f"$JS.API.STREAM.CREATE.{LOG}", {**wanted, **change})
    with pytest.raises(WrongTopology, match=next(iter(change))):
        await ensure_topology(connection, TOPOLOGY)
    await connection.close()


async def test_an_area_is_added_but_never_redrawn(server: NatsServer) -> None:
    async with opened(server.url) as (connection, log):
        await log.append(recorded(address(), "a"), 0)
        assert await ensure_topology(connection, TOPOLOGY) == []
        assert await ensure_topology(connection, Topology((*AREAS, "33"))) == ["LOG_33"]
        with pytest.raises(LogUnavailable, match="overlap"):
            await ensure_topology(connection, Topology(("510104",)))


@pytest.mark.parametrize("sealed", [True, False])
async def test_what_passes_through_is_encrypted_at_rest(tmp_path: Path, sealed: bool) -> None:
    plain = {} if sealed else {"jetstream": {"store_dir": str(tmp_path / "n" / "store"), "sync_interval": "always"}}
    server = NatsServer(tmp_path / "n", **plain)
    server.start()
    async with opened(server.url) as (connection, log):
        await log.append(recorded(address(), "a", "MARKERMARKER"), 0)
        await connection.api("submit.platform.51.01.04.001.002", b"MARKERMARKER")
    server.stop()
    files = [one.read_bytes() for one in server.store.rglob("*") if one.is_file()]
    assert sum(map(len, files)) > 1000
    # Without the key the same search does find it, so the search is a good one.
    assert sum(b"MARKERMARKER" in one for one in files) == (0 if sealed else 2)


async def test_following_outlives_kill_9_without_skip_or_repeat(server: NatsServer) -> None:
    count = 1500
    async with opened(server.url, wait_s=1.0) as (_, log):
        writing = asyncio.ensure_future(write(log, 0, count))
        seen: list[int] = []
        killed = 0
        async with aclosing(cast(Any, log.follow(LOG, 0))) as batches, asyncio.timeout(40):
            async for batch in batches:
                seen += [one.position.sequence for one in batch]
                if killed < 2 and len(seen) > 400 * (killed + 1):
                    killed += 1
                    server.kill()
                    server.start()
                if len(seen) >= count:
                    break
        await writing
        assert killed == 2
        assert seen == list(range(1, count + 1))
        # Every acknowledged append is there once: each case has exactly its one event.
        assert await log.end(LOG) == count
        assert (
            len({one.address for one in [await log.at(Position(LOG, n)) for n in range(1, count + 1)] if one}) == count
        )


async def test_an_older_log_put_back_is_noticed_at_the_start_and_while_following(
    server: NatsServer, tmp_path: Path
) -> None:
    async with opened(server.url, wait_s=1.0) as (_, log):
        await write(log, 0, 5)
        server.stop()
        shutil.copytree(server.store, tmp_path / "backup")
        server.start()
        await write(log, 5, 5)
        async with aclosing(cast(Any, log.follow(LOG, 0))) as batches, asyncio.timeout(20):
            seen = 0
            while seen < 10:
                seen = (await anext(batches))[-1].position.sequence
            server.stop()
            shutil.rmtree(server.store)
            shutil.copytree(tmp_path / "backup", server.store)
            server.start()
            with pytest.raises(Damaged, match="ends at 5, before 10"):
                await anext(batches)
        with pytest.raises(Damaged, match="ends at 5, before 7"):
            await anext(cast(Any, log.follow(LOG, 7)))


async def test_a_hole_in_the_log_is_noticed(server: NatsServer) -> None:
    connection = await connect(server.url)
    wanted = next(one for one in TOPOLOGY.configurations() if one["name"] == LOG)
    await connection.api(f"$JS.API.STREAM.CREATE.{LOG}", {**wanted, "deny_delete": False})
    log = JetStreamLog(connection, TOPOLOGY)
    await write(log, 0, 5)
    await connection.api(f"$JS.API.STREAM.MSG.DELETE.{LOG}", {"seq": 3})
    async with aclosing(cast(Any, log.follow(LOG, 0))) as batches, asyncio.timeout(5):
        with pytest.raises(Damaged, match="hole: 4 follows 2"):
            await anext(batches)
    await connection.close()


@pytest.mark.parametrize("when", ["before", "while waiting"])
async def test_a_deleted_durable_is_said_at_once_and_does_not_spin(server: NatsServer, when: str) -> None:
    async with opened(server.url) as (connection, log):
        durable = await log.durable(LOG, "reaction")
        delete = f"$JS.API.CONSUMER.DELETE.{LOG}.reaction"
        if when == "before":
            await connection.api(delete)
            waiting = asyncio.ensure_future(durable.fetch(100, 30))
        else:
            waiting = asyncio.ensure_future(durable.fetch(100, 30))
            await asyncio.sleep(0.1)
            await connection.api(delete)
        begun, busy = monotonic(), process_time()
        with pytest.raises(DurableMissing, match="reaction of LOG_5101 was deleted"):
            await waiting
        assert monotonic() - begun < 2
        assert process_time() - busy < 0.5


async def test_a_durable_outlives_kill_9(server: NatsServer) -> None:
    async with opened(server.url, wait_s=1.0) as (_, log):
        durable = await log.durable(LOG, "reaction")
        await write(log, 0, 3)
        for one in (await durable.fetch(2, 1))[:1]:
            await one.ack()
        await asyncio.sleep(0.1)  # acknowledgements are sent, not answered
        server.kill()
        server.start()
        found: list[int] = []
        async with asyncio.timeout(20):
            while 3 not in found:
                try:
                    found += [
                        one.recorded.position.sequence for one in await durable.fetch(10, 1) if one.recorded.position
                    ]
                except LogUnavailable:
                    await asyncio.sleep(0.05)
        assert 1 not in found


async def test_sixteen_writers_on_one_case_all_get_through(server: NatsServer) -> None:
    async with opened(server.url) as (_, log):

        async def writer(name: int) -> None:
            for number in range(5):
                while True:
                    last = (await log.load(address()))[-1:]
                    expected = last[0].position.sequence if last and last[0].position else 0
                    try:
                        await log.append(recorded(address(), f"{name}-{number}"), expected)
                        break
                    except LogConflict:
                        continue

        async with asyncio.timeout(30):
            await asyncio.gather(*(writer(name) for name in range(16)))
        commands = [one.meta.command_id for one in await log.load(address())]
        assert len(commands) == len(set(commands)) == 80


async def test_a_case_of_more_events_than_one_answer_holds_is_loaded_whole(server: NatsServer) -> None:
    async with opened(server.url) as (_, log):
        last = 0
        for number in range(1100):
            last = (await log.append(recorded(address(), str(number)), last)).sequence
        assert [one.meta.command_id for one in await log.load(address())] == [str(number) for number in range(1100)]


async def test_a_stale_answer_of_a_replica_is_topped_up_from_the_leader(server: NatsServer) -> None:
    async with opened(server.url) as (connection, _):

        class Late(JetStreamLog):
            """Asks a replica that lacks the newest three events of whatever it is asked for."""

            async def peek(self, address: Address, after: int = 0) -> list[Recorded[Event]]:
                return (await super().peek(address, after))[:-3]

        log = Late(
            connection, Topology(AREAS, replicas=3)
        )  # the server has one; the log believes in three and asks the leader
        last = 0
        for number in range(5):
            last = (await log.append(recorded(address(), str(number)), last)).sequence
            await log.append(recorded(address(2 + number), "x"), 0)
        assert [one.meta.command_id for one in await log.peek(address())] == ["0", "1"]
        assert [one.meta.command_id for one in await log.load(address())] == ["0", "1", "2", "3", "4"]
        assert [one.meta.command_id for one in await log.load(address(), last - 1)] == ["4"]
        assert await log.load(address(), last) == []
        assert await log.load(address(99)) == []
