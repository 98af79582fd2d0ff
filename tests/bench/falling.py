"""Cases whose deadlines fall due during a measurement: their seed on the log, and their events after it."""

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

SEED_S, SEED_PER_S = 45.0, 900.0  # seconds from the first write to the first due moment
DRAIN_S_MAX = 600.0
POLL_S = 0.5
# By the ladder of the demo a reminder follows an overdue at once: two events for each deadline. In the other city
# the first rung comes after a month.
REMINDED, QUIET = "510104001000", "510703100000"
QUIET_CITY = "510700000000"


@dataclass
class Fired:
    """The fired deadlines of a region in the order of the log: due moment, lateness in ms, subject."""

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
    """Wait until all deadlines due by a moment have fired. Raises TimeoutError."""
    reported_at = time.monotonic()
    async with asyncio.timeout(DRAIN_S_MAX):
        while left := await postgres.fetchval(SQL["count_due"], by):
            if time.monotonic() - reported_at > 5:
                reported_at = time.monotonic()
                say(f"still to fire: {left:,}")
            await asyncio.sleep(0.5)


async def fired_of(log: Log, region: str, ends: dict[str, int]) -> Fired:
    """The deadlines fired in the stream of a region after `ends`. Raises AssertionError when not in due order."""
    stream = log.stream_of(Address("case", region, "x"))
    end, fired = await log.end(stream), Fired()
    if end == ends[stream]:
        return fired
    async with aclosing(cast(Any, log.follow(stream, ends[stream]))) as batches:
        async for batch in batches:
            for recorded in batch:
                if recorded.type == "case.overdue" and recorded.event.due > datetime.now(UTC) - timedelta(hours=1):
                    fired.dues.append(recorded.event.due)
                    fired.late_ms.append(1000 * (recorded.meta.recorded_at - recorded.event.due).total_seconds())
                    fired.subjects.append(recorded.address.subject)
            if batch[-1].position.sequence >= end:
                break
    order = list(zip(fired.dues, fired.subjects, strict=True))
    assert order == sorted(order), f"{stream}: not in due order"
    assert len(set(fired.subjects)) == len(order), f"{stream}: fired twice"
    return fired


async def written(data: Path, planned: list[Planned], say: Say) -> None:
    """Make streams, tables, documents and keys, and write the cases to the log; no service runs."""
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
    """Skip the reactions to the seeded events, and build supervision's read model of them."""
    connection = await connect(endpoints.nats["admin"], name="bench")
    try:
        await deadlines.skip(connection, supervision, services)
    finally:
        await connection.close()
    await deadlines.project(supervision, say)


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[Endpoints, RunningService]]:
    """Both servers of a data folder, and supervision connected to them."""
    async with servers(data) as endpoints, connected(Owner.SUPERVISION, endpoints) as supervision:
        yield endpoints, supervision
