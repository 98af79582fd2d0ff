"""The streams around the log, on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from shared.log import topology
from shared.log.connection import NatsConnection, connect
from shared.log.port import LogConflict
from shared.log.streams import Ack, Outgoing, Streams, WrongTopology, ensure_topology
from shared.log.topology import Topology
from tests.support.log import AREAS
from tests.support.nats import NatsServer

REGION = "510104001002"


@pytest_asyncio.fixture
async def connection(server: NatsServer) -> AsyncIterator[NatsConnection]:
    one = await connect(server.url)
    await ensure_topology(one, Topology(AREAS))
    yield one
    await one.close()


@pytest_asyncio.fixture
async def streams(connection: NatsConnection) -> Streams:
    return Streams(connection)


async def test_a_receipt_is_kept_once_and_read_back(streams: Streams) -> None:
    subject = topology.receipt("12345", "id-1")
    assert await streams.publish(subject, b"taken", {"X": "1"}, msg_id="m") == Ack(1, False)
    assert await streams.publish(subject, b"taken", msg_id="m") == Ack(1, True)
    last = await streams.last(topology.RECEIPTS, subject)
    assert last is not None
    assert (last.data, last.sequence, (last.headers or {})["X"]) == (b"taken", 1, "1")
    assert await streams.last(topology.RECEIPTS, topology.receipt("12345", "id-2")) is None
    assert await streams.end(topology.RECEIPTS) == 1


async def test_a_second_writer_of_the_feed_is_refused(streams: Streams) -> None:
    subject = topology.feed("overdue", 3, REGION, "case-1")
    assert (await streams.publish(subject, b"1", expected_end=0)).sequence == 1
    with pytest.raises(LogConflict) as refused:
        await streams.publish(topology.feed("arrived", 3, REGION, "case-2"), b"2", expected_end=0)
    assert refused.value.actual_sequence == 1


async def test_a_batch_is_taken_whole_behind_its_place_or_not_at_all(streams: Streams) -> None:
    batch = [Outgoing(topology.feed("overdue", 3, REGION, f"case-{n}"), b"%d" % n, {"N": str(n)}) for n in range(1000)]
    assert await streams.sequences(topology.FEED) == (0, 0)
    assert (await streams.publish_all(batch, 0)).sequence == 1000
    for place in (999, 1001):  # another has written since, or what we have read is gone
        with pytest.raises(LogConflict):
            await streams.publish_all(batch[:3], place)
    assert (await streams.publish_all(batch[:1], 1000)).sequence == 1001
    found = await streams.read(topology.FEED, topology.FEED_ITEMS)
    assert [one.data for one in found] == [one.data for one in (*batch, batch[0])]
    assert [(one.headers or {})["N"] for one in found[:3]] == ["0", "1", "2"]
    assert await streams.sequences(topology.FEED) == (1, 1001)


async def test_a_batch_for_a_stream_that_takes_none_is_refused_with_what_to_do(streams: Streams) -> None:
    with pytest.raises(WrongTopology, match="allow_atomic"):
        await streams.publish_all([Outgoing(topology.receipt("a", n), b"", {}) for n in "12"], 0)
    assert await streams.end(topology.RECEIPTS) == 0


async def test_a_reference_document_is_guarded_by_its_subject_and_all_versions_are_read(streams: Streams) -> None:
    units = topology.reference("units", "510104000000")
    assert (await streams.publish(units, b"1", expected=0)).sequence == 1
    await streams.publish(topology.reference("rules"), b"r", expected=0)
    with pytest.raises(LogConflict):
        await streams.publish(units, b"2", expected=0)
    await streams.publish(units, b"2", expected=1)
    assert [one.data for one in await streams.read(topology.REFERENCE, "reference.units.*")] == [b"1", b"2"]
    assert [one.sequence for one in await streams.read(topology.REFERENCE, "reference.>", after=1)] == [2, 3]


async def test_following_a_part_of_a_stream(streams: Streams) -> None:
    for number in range(3):
        await streams.publish(topology.progress("one", str(number)), b"1")
        await streams.publish(topology.progress("two", str(number)), b"2")
    found: list[int] = []
    async with aclosing(streams.follow_raw(topology.PROGRESS, "progress.two.*", 2)) as batches, asyncio.timeout(5):
        async for batch in batches:
            found += [one.sequence for one in batch]
            if len(found) == 2:
                break
    assert found == [4, 6]


async def test_each_owner_takes_submissions_with_its_own_durable(streams: Streams) -> None:
    await streams.publish(topology.submission("12345", REGION), b"x")
    for owner in ("intake", "routing"):
        durable = await streams.durable_raw(topology.SUBMISSIONS, owner, "submit.>")
        [one] = await durable.fetch(10, 1)
        assert (one.message.data, one.attempts) == (b"x", 1)
        await one.ack()


async def test_two_platforms_that_use_the_same_message_id_lose_nothing(streams: Streams) -> None:
    one, other = (topology.submission(source, REGION) for source in ("12345", "grid"))
    await streams.publish(one, b"a resident's demand", msg_id="1")
    await asyncio.sleep(2 * topology.DUPLICATE_WINDOW_NS_MIN / 1e9)
    ack = await streams.publish(other, b"another resident's demand", msg_id="1")
    assert (ack.sequence, ack.duplicate) == (2, False)
    (kept,) = await streams.read(topology.SUBMISSIONS, other)
    assert kept.data == b"another resident's demand"


async def test_attachments(streams: Streams) -> None:
    large = bytes(range(256)) * 2000
    await streams.put("case-1/a", large)
    await streams.put("case-1/b", b"")
    assert await streams.get("case-1/a") == large
    assert await streams.get("case-1/b") == b""
    await streams.put("case-1/a", b"again")
    assert await streams.get("case-1/a") == b"again"
    assert sorted(await streams.names()) == ["case-1/a", "case-1/b"]
    await streams.delete("case-1/a")
    await streams.delete("case-1/none")
    assert await streams.get("case-1/a") is None
    assert await streams.get("case-1/none") is None


async def test_a_stream_of_other_subjects_is_not_taken_over(connection: NatsConnection) -> None:
    await connection.api("$JS.API.STREAM.DELETE.RECEIPTS")
    await connection.api(
        "$JS.API.STREAM.CREATE.RECEIPTS", {"name": "RECEIPTS", "subjects": ["receipts.>"], "storage": "file"}
    )
    with pytest.raises(WrongTopology, match="RECEIPTS holds"):
        await ensure_topology(connection, Topology(AREAS))


@pytest.mark.parametrize("areas", [(), ("5101", "510104"), ("5101", "5101"), ("510",), ("51010400",), ("x",)])
def test_areas_that_cannot_be_are_refused(areas: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="area"):
        Topology(areas)


def test_what_a_subject_cannot_hold_is_named_by_its_digest_and_a_source_must_fit() -> None:
    assert topology.receipt("12345", "a-1") == "receipt.12345.a-1"
    assert topology.receipt("12345", "a.*").startswith("receipt.12345.sha256-")
    with pytest.raises(ValueError, match="source"):
        topology.submission("a.b", REGION)
