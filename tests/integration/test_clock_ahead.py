"""Events of a clock that ran ahead are told, and those of a clock that keeps time are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.operations.clock_ahead import RECORDED_AHEAD_S_MAX, recorded_ahead
from shared.log.connection import connect
from shared.log.jetstream import JetStreamLog
from shared.log.streams import Streams, ensure_topology
from shared.log.topology import Topology
from tests.support.log import AREAS, address, recorded
from tests.support.nats import NatsServer

pytestmark = pytest.mark.slow


async def test_an_event_recorded_in_the_future_is_told(server: NatsServer) -> None:
    connection = await connect(server.url)
    topology, streams, now = Topology(AREAS), Streams(connection), datetime.now(UTC)
    await ensure_topology(connection, topology)
    log = JetStreamLog(connection, topology)
    assert [text async for text in recorded_ahead(log, streams, now)] == [], "an empty log"
    for number, ahead_s in enumerate((0.0, RECORDED_AHEAD_S_MAX - 1, 3600.0), 1):
        event = recorded(address(number), f"command {number}")
        at = now + timedelta(seconds=ahead_s)
        await log.append(replace(event, meta=event.meta.model_copy(update={"recorded_at": at})), 0)
        sentences = [text async for text in recorded_ahead(log, streams, now)]
        assert len(sentences) == (ahead_s > RECORDED_AHEAD_S_MAX)
    assert at.isoformat(timespec="seconds") in sentences[0]
    await connection.close()
