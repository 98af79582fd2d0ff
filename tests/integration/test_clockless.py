"""A case that nobody gave a clock is found and gets one: nothing is late in silence, whatever went wrong before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Endpoints
from services.supervision.jobs import Clockless
from services.supervision.queries import PgAgenda
from shared.case.base import Owner
from shared.case.facts import Stage
from shared.kit.projections import ProjectionRunner
from shared.kit.settings import Settings
from shared.log.connection import connect
from shared.log.envelope import encode_event
from tests.support.deadlines import life, new_keys, plan
from tests.support.nats import NatsServer
from tests.support.services import connected, worker_of


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own: the streams of the whole topology are no other test's business."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


@pytest.mark.clause("5.1.3a")
async def test_an_open_case_without_a_clock_gets_one_and_only_one(
    servers: Endpoints, nats: NatsServer, areas: tuple[str, str]
) -> None:
    await prepare(settings_for(Settings(areas=areas), servers, "admin").model_copy(update={"nats_url": nats.url}))
    async with connected(Owner.SUPERVISION, servers, areas=areas, nats_url=nats.url) as supervision:
        data, handler = supervision.data, supervision.application.handler
        one = plan("clockless", [supervision.runtime.clock.now() + timedelta(days=1)], (f"{areas[0]}000000",))[0]
        keys = await new_keys(data.vault, [one])
        born = next(life(one, supervision, keys[one.address.id]))
        admin = await connect(nats.url, name="clockless")
        await admin.api(one.address.subject, encode_event(born))
        await admin.close()

        (projector,) = supervision.projections
        clockless = worker_of(supervision, "supervision.clockless", Clockless)

        await catch_up(projector, data.log.stream_of(one.address))
        assert await clockless.look() >= 1
        state = (await handler.state(one.address, fresh=True)).state
        assert [clock.deadline.stage for clock in state.clocks] == [Stage.TRIAGE]

        await catch_up(projector, data.log.stream_of(one.address))
        assert one.address.subject not in await PgAgenda(data.database).clockless("", 100)
        version = state.version
        await clockless.look()
        assert (await handler.state(one.address, fresh=True)).state.version == version


async def catch_up(projector: ProjectionRunner, stream: str) -> None:
    """Project what the stream holds, once."""
    after = await projector.checkpoint(stream)
    log = projector._log
    while after < await log.end(stream):
        async for batch in log.follow(stream, after):
            await projector.apply(stream, batch)
            assert batch[-1].position is not None
            after = batch[-1].position.sequence
            break
