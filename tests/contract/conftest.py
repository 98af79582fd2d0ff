"""The same suite judges both logs: `make` gives a fresh one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from shared.kit.clock import SystemClock
from shared.log.connection import connect
from shared.log.jetstream import JetStreamLog
from shared.log.memory import MemoryLog
from shared.log.port import Log
from shared.log.streams import ensure_topology
from shared.log.topology import Topology
from tests.support.log import AREAS
from tests.support.nats import NatsServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


@pytest_asyncio.fixture(params=["memory", "jetstream"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog(AREAS, SystemClock())
        return
    server: NatsServer = request.getfixturevalue("server")
    connection = await connect(server.url)
    topology = Topology(AREAS)
    await ensure_topology(connection, topology)
    yield JetStreamLog(connection, topology)
    await connection.close()
