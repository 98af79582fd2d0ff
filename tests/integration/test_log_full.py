"""A log without room: the error names the limit, reading goes on, and an append succeeds once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.kit.translations import translated
from shared.log import topology
from shared.log.connection import connect
from shared.log.port import LogFull
from shared.log.streams import Streams, ensure_topology
from shared.log.topology import Topology
from tests.support.log import AREAS
from tests.support.nats import KEY, NatsServer

pytestmark = pytest.mark.slow
MIB = 1024**2
REGION = "510104001002"


def server_with(folder: Path, limit: str, bytes_max: int) -> NatsServer:
    """A server on a folder whose files are limited."""
    jetstream = {"store_dir": str(folder / "store"), "sync_interval": "always", "key": KEY, "cipher": "aes"}
    if limit == "server":
        return NatsServer(folder, jetstream=jetstream | {"max_file_store": bytes_max})
    users = [{"user": "admin", "password": "word"}]
    accounts = {"OURS": {"jetstream": {"max_file": bytes_max}, "users": users}}
    return NatsServer(folder, jetstream=jetstream, accounts=accounts)


@pytest.fixture
def running() -> Iterator[list[NatsServer]]:
    servers: list[NatsServer] = []
    yield servers
    for server in servers:
        server.kill()


async def fill(streams: Streams) -> int:
    """Publish until the server refuses; the count of messages that stand. Raises LogFull after that count."""
    for count in range(64):
        subject = topology.feed("overdue", 3, REGION, str(count))
        await streams.publish(subject, b"x" * (MIB // 4), expected_end=count)
    return count


@pytest.mark.parametrize(("limit", "words"), [("server", "max_file_store"), ("account", "max_file")])
async def test_a_full_log_names_its_limit_and_goes_on_with_more_room(
    tmp_path: Path, running: list[NatsServer], limit: str, words: str
) -> None:
    server = server_with(tmp_path / "nats", limit, 4 * MIB)
    running.append(server)
    server.start()
    connection = await connect(server.url, user="admin", password="word")
    streams = Streams(connection)
    await ensure_topology(connection, Topology(AREAS))
    with pytest.raises(LogFull, match=words) as full:
        await fill(streams)
    problem = translated(full.value)
    assert problem is not None
    assert (problem.problem.status, words in problem.problem.detail) == (503, True)
    stand = await streams.end(topology.FEED)
    assert 0 < stand <= 16, "reading goes on"
    assert (await streams.storage()).is_full == (limit == "account"), "the limit of a server is told to nobody"
    await connection.close()
    server.stop()
    more = server_with(tmp_path / "nats", limit, 512 * MIB)
    running.append(more)
    more.start()
    connection = await connect(more.url, user="admin", password="word")
    streams = Streams(connection)
    await streams.publish(topology.feed("overdue", 3, REGION, "late"), b"now", expected_end=stand)
    assert not (await streams.storage()).is_full
    await connection.close()
