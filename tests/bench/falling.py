"""Cases whose deadlines fall due while something is measured: seeded on the log, and what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Endpoints
from shared.case.base import Address, Owner
from shared.case.facts import TimeBase
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from shared.log.connection import connect
from shared.log.port import Log
from shared.log.streams import Streams
from shared.reference.documents import Document, DocumentKind
from shared.reference.ladders import Act, LadderRow
from shared.reference.publish import publish
from shared.reference.row import BasisRow, Mark
from tests.bench.base import Say
from tests.bench.seed import lazy_nats, servers
from tests.support import deadlines
from tests.support.deadlines import SQL, Planned
from tests.support.log import AREAS
from tests.support.services import connected

SEED_S, SEED_PER_S = 45.0, 900.0  # from writing the first case to the first that falls due
DRAIN_S_MAX = 600.0
POLL_S = 0.5
# By the demo's ladder the person is reminded as soon as a stage is late: two events for each deadline. In the other
# city nothing follows for a month.
REMINDED, QUIET = "510104001000", "510703100000"
QUIET_CITY = "510700000000"


@dataclass
class Fired:
    """What became of the deadlines of a region: when each was due, when it fired, in the order of the log."""

    dues: list[datetime] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    def during(self, start: datetime, end: datetime) -> list[float]:
        return sorted(late for due, late in zip(self.dues, self.late_ms, strict=True) if start <= due < end)


async def until(moment: datetime, say: Say, what: str) -> None:
    left_s = (moment - datetime.now(UTC)).total_seconds()
    if what:
        assert left_s > 0, "seeding took longer than it may: raise SEED_S"
        say(f"{what} in {left_s:.0f} s")
    await asyncio.sleep(max(left_s, 0.0))


async def drained(postgres: asyncpg.Connection, by: datetime, say: Say) -> None:
    """Until nothing that fell due by a moment waits. Raises TimeoutError."""
    told = time.monotonic()
    async with asyncio.timeout(DRAIN_S_MAX):
        while left := await postgres.fetchval(SQL["count_due"], by):
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"still to fire: {left:,}")
            await asyncio.sleep(0.5)


async def fired_of(log: Log, region: str, ends: dict[str, int]) -> Fired:
    """What fired in the stream of a region after these ends; in due order, or it fails."""
    stream = log.stream_of(Address("case", region, "x"))
    end, found = await log.end(stream), Fired()
    if end == ends[stream]:
        return found
    async with aclosing(cast(Any, log.follow(stream, ends[stream]))) as batches:
        async for batch in batches:
            for recorded in batch:
                if recorded.type == "case.overdue" and recorded.event.due > datetime.now(UTC) - timedelta(hours=1):
                    found.dues.append(recorded.event.due)
                    found.late_ms.append(1000 * (recorded.meta.recorded_at - recorded.event.due).total_seconds())
                    found.subjects.append(recorded.address.subject)
            if batch[-1].position.sequence >= end:
                break
    order = list(zip(found.dues, found.subjects, strict=True))
    assert order == sorted(order), f"{stream}: not in due order"
    assert len(set(found.subjects)) == len(order), f"{stream}: fired twice"
    return found


async def written(data: Path, planned: list[Planned], say: Say) -> None:
    """Streams, tables and documents; the cases with their keys on the log, while nobody runs."""
    say(f"{len(planned):,} cases that will fall due")
    async with servers(data) as endpoints:
        await prepare(settings_for(Settings(areas=AREAS), endpoints, "admin"))
        connection = await connect(endpoints.nats["admin"], name="bench")
        try:
            await publish(Streams(connection), [_quiet_ladder()])
        finally:
            await connection.close()
        async with connected(Owner.SUPERVISION, endpoints) as supervision:
            keys = await deadlines.new_keys(supervision.data.vault, planned)
    async with lazy_nats(data) as connection:
        await deadlines.write(connection, supervision, planned, keys, say)


def _quiet_ladder() -> Document:
    basis = BasisRow(mark=Mark.PRACTICE, text="bench")
    row = LadderRow(id="later", after=720, base=TimeBase.HOURS, act=Act.REMIND, acts="承办人", basis=basis)
    return Document(kind=DocumentKind.LADDERS, region=QUIET_CITY, note="bench", rows=(row,))


async def projected(endpoints: Endpoints, supervision: RunningService, services: Sequence[str], say: Say) -> None:
    """Nobody reacts to what was seeded; supervision's read model has it."""
    connection = await connect(endpoints.nats["admin"], name="bench")
    try:
        await deadlines.skip(connection, supervision, services)
    finally:
        await connection.close()
    await deadlines.project(supervision, say)


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[Endpoints, RunningService]]:
    """Both servers of the folder, and supervision connected to them."""
    async with servers(data) as endpoints, connected(Owner.SUPERVISION, endpoints) as supervision:
        yield endpoints, supervision
