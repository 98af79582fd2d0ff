"""(d) every read model against a bare ordered consumer on the same stream; (e) a rebuild with and without search."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import nats
from nats.aio.msg import Msg

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Endpoints
from services.reporting.read_model import Model
from services.routing.read_model import Work
from shared.case.base import Owner
from shared.kit.projections import ProjectionRunner, ReadModel
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from tests.bench.base import Figure, Say
from tests.bench.seed import STREAM, Seeder, lazy_nats, new_keys, servers
from tests.support.log import AREAS
from tests.support.reporting import EVENTS_PER_CASE
from tests.support.services import connected

LIVE_EVENTS = 100_000
REBUILD_EVENTS = 1_000_000
REBUILD_S_MAX = 900.0
TELL_EVERY_S = 10.0
PEER = "bare ordered consumer (nats-py) that checks the order"


async def measure(folder: Path, wanted: frozenset[str], quick: bool, say: Say) -> AsyncIterator[Figure]:
    """The figures of a seeded log."""
    data = folder / "data"
    count = LIVE_EVENTS if quick or "rebuild" not in wanted else REBUILD_EVENTS
    await _seed(data, count, say)
    async with servers(data) as endpoints, AsyncExitStack() as stack:
        routing = await stack.enter_async_context(connected(Owner.ROUTING, endpoints))
        reporting = await stack.enter_async_context(connected(Owner.REPORTING, endpoints))
        bare = await _bare(endpoints, min(count, LIVE_EVENTS))
        say(f"bare ordered consumer: {bare:,.0f} events/s")
        if "projections" in wanted:
            models: list[tuple[RunningService, ReadModel, str]] = [
                (routing, Work(), "routing.work"),
                (reporting, Model(reporting.data.vault), "reporting with its search index"),
            ]
            for service, model, name in models:
                key, what = f"projection_{service.owner}", f"projection of {name}"
                yield await _project(service, model, key, what, LIVE_EVENTS, bare, None, say)
        if "rebuild" in wanted:
            for index in (False, True):
                model = Model(reporting.data.vault, index)
                name = f"rebuild of {count:,} events {'with' if index else 'without'} the search index"
                say(name)
                key = f"rebuild_{'with' if index else 'without'}_index"
                yield await _project(reporting, model, key, name, count, bare, bare / 2, say)


async def _seed(data: Path, count: int, say: Say) -> None:
    say(f"seeding a log of {count:,} events")
    async with servers(data) as endpoints:
        await prepare(settings_for(Settings(areas=AREAS), endpoints, "admin"))
        async with connected(Owner.INTAKE, endpoints) as intake:
            keys = await new_keys(intake.data.vault, count // EVENTS_PER_CASE)
    async with lazy_nats(data) as connection:
        await Seeder(connection).write(keys, say)
        info = await connection.api(f"$JS.API.STREAM.INFO.{STREAM}")
        assert info["state"]["messages"] == count, f"{info['state']['messages']} of {count} events were taken"


async def _bare(endpoints: Endpoints, count: int) -> float:
    """Messages per second of the ordered consumer of nats-py, which reads only the sequence."""
    client = await nats.connect(endpoints.nats["admin"])
    try:
        seen, astray, done = 0, 0, asyncio.Event()

        async def heard(message: Msg) -> None:
            nonlocal seen, astray
            seen += 1
            astray += message.metadata.sequence.stream != seen
            if seen >= count:
                done.set()

        began = time.perf_counter()
        await client.jetstream().subscribe(">", stream=STREAM, ordered_consumer=True, cb=heard)
        await asyncio.wait_for(done.wait(), REBUILD_S_MAX)
        seconds = time.perf_counter() - began
        assert astray == 0, f"{astray} of {seen} messages out of order"
        return seen / seconds
    finally:
        await client.close()


async def _project(
    service: RunningService, model: ReadModel, key: str, what: str, count: int, bare: float, aim: float | None, say: Say
) -> Figure:
    """Rebuild a read model from the first `count` events in one process, as `caseflow rebuild` does."""
    data = service.data
    projector = ProjectionRunner(model=model, database=data.database, log=data.log, runtime=service.runtime)
    done, began, cpu = 0, time.perf_counter(), sum(os.times()[:2])
    told = began

    def progress(stream: str, at: int, end: int) -> None:
        nonlocal done
        done = at if stream == STREAM else done

    async with aclosing(projector.rebuild(progress)) as steps:
        async for _ in steps:
            now = time.perf_counter()
            if done >= count or now - began > REBUILD_S_MAX:
                break
            if now - told > TELL_EVERY_S:
                told = now
                say(f"{what}: {done:,} of {count:,} events")
    seconds, own = time.perf_counter() - began, sum(os.times()[:2]) - cpu
    held = f"python at {own / seconds:.0%} of a core, the rest is Postgres and NATS"
    more = {"events": done, "python_cpu_us_per_event": round(1e6 * own / done, 1)}
    return Figure(key, what, done / seconds, "/s", aim, "more", PEER, bare, more, held)
