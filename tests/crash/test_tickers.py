"""Two tickers, each killed at random and started again: every deadline fires once, in due order, so does its rung."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Embedded, Endpoints
from shared.case.base import Owner, Recorded
from shared.kit.clock import Clock
from shared.kit.seal import unseal_fields
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from shared.log import fsck
from shared.log.connection import connect
from shared.log.fsck import FsckLookups
from shared.log.port import Log
from tests.support import command, deadlines
from tests.support.deadlines import Planned
from tests.support.folders import copy_made, open_folder
from tests.support.log import AREAS
from tests.support.services import connected
from tests.support.supervising import Process

COPIES = 2
REGIONS = ("510104001000", "510703100000")  # a stream each
SEED_S = 2.0  # and WRITE_PER_S cases more each second
WRITE_PER_S = 400
LIFE_S_MIN = 2.0  # of a process, some of which it needs to start
CATCH_UP_S_MAX = 900.0


@dataclass
class Seen:
    """What the log tells of the cases, from the end of the seeding on."""

    fired: dict[str, list[Recorded[Any]]] = field(default_factory=dict)
    urged: Counter[str] = field(default_factory=Counter)
    moments: list[datetime] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def take(self, recorded: Recorded[Any]) -> None:
        event, subject = cast(Any, recorded.event), recorded.address.subject
        if recorded.type == "case.overdue":
            self.fired.setdefault(subject, []).append(recorded)
            self.late_s.append((recorded.meta.recorded_at - event.due).total_seconds())
        elif recorded.type == "case.urged":
            assert event.rung == 0
            self.urged[subject] += 1
            self.moments.append(event.moment)
        else:
            raise AssertionError(f"{recorded.type} of {subject}: nobody asked for it")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Endpoints, RunningService]]:
    """Servers of their own, and supervision connected to them."""
    servers = Embedded()
    copy_made(folder / "data")
    endpoints = await servers.start(folder / "data", nats_port=0)
    try:
        await prepare(settings_for(Settings(areas=AREAS), endpoints, "admin"))
        async with connected(Owner.SUPERVISION, endpoints) as supervision:
            yield endpoints, supervision
    finally:
        await servers.stop()


def say(text: str) -> None:
    """Progress and figures, seen with `-s` and where a test says so."""
    sys.stderr.write(f"{text}\n")


async def seed(endpoints: Endpoints, supervision: RunningService, per_s: float, count: int) -> list[Planned]:
    """So many cases on the log, due from a moment on that leaves the time to write them."""
    first = supervision.runtime.clock.now() + timedelta(seconds=SEED_S + count / WRITE_PER_S)
    planned = deadlines.plan("killed", deadlines.steady(first, per_s, count), REGIONS)
    keys = await deadlines.new_keys(supervision.data.vault, planned)
    connection = await connect(endpoints.nats["admin"], name="seed")
    try:
        await deadlines.write(connection, supervision, planned, keys, say)
        await deadlines.skip(connection, supervision, ["supervision"])
    finally:
        await connection.close()
    await deadlines.project(supervision, say)
    return planned


async def killed_at_random(process: Process, random: Random, life_s_max: float, until: datetime, clock: Clock) -> int:
    """Start a copy and kill it, again and again until a moment; then leave it running. How often it was killed."""
    kills = 0
    while True:
        process.spawn()
        await clock.sleep(random.uniform(LIFE_S_MIN, life_s_max))
        if clock.now() > until:
            return kills
        await asyncio.to_thread(process.kill)
        kills += 1


async def watch(log: Log, stream: str, after: int, count: int) -> Seen:
    """Read on until each of `count` cases has gone late and its first rung was taken, and whatever comes with it."""
    seen = Seen()
    async with aclosing(cast(Any, log.follow(stream, after))) as batches:
        async for batch in batches:
            for recorded in batch:
                seen.take(recorded)
            if len(seen.fired) == len(seen.urged) == count:
                return seen
    raise AssertionError("a stream does not end")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "per_s", "life_s_max"),
    [pytest.param(5, 100, 4.0, id="short"), pytest.param(120, 500, 10.0, id="long", marks=pytest.mark.deep)],
)
async def test_two_tickers_killed_at_random_fire_every_deadline_once_in_due_order(
    seconds: int, per_s: int, life_s_max: float, pytestconfig: pytest.Config
) -> None:
    with open_folder("tickers") as folder:
        async with opened(folder) as (endpoints, supervision):
            await asyncio.to_thread(command.warm)  # in time, and not in this loop
            planned = await seed(endpoints, supervision, per_s, seconds * per_s)
            log, vault = supervision.data.log, supervision.data.vault
            ends = {stream: await log.end(stream) for stream in log.streams()}
            copies = [Process("supervision", endpoints, AREAS, folder / f"{n}.out") for n in range(COPIES)]
            try:
                kills, seen = await _race(supervision, planned, copies, life_s_max, ends)
            finally:
                for copy in copies:
                    copy.kill()
            late_ms = sorted(1000 * late for one in seen.values() for late in one.late_s)
            told = ", ".join(f"p{p} {late_ms[len(late_ms) * p // 100]:,.0f} ms" for p in (50, 90, 99))
            with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                told = f"{len(planned):,} deadlines, {per_s}/s, {kills} kills of {COPIES} copies: late {told}"
                say(f"\n{told}")
            for stream, one in seen.items():
                _judge(stream, one)
            assert kills >= COPIES
            report = await fsck.check_log(log, FsckLookups(keys=vault.keys, unseal=unseal_fields))
            assert report.clean, "\n".join(str(finding) for finding in report.findings[:5])


async def _race(
    supervision: RunningService, planned: list[Planned], copies: list[Process], life_s_max: float, ends: dict[str, int]
) -> tuple[int, dict[str, Seen]]:
    log, clock = supervision.data.log, supervision.runtime.clock
    counts = Counter(log.stream_of(one.address) for one in planned)
    last = planned[-1].due
    left_s = (last - clock.now()).total_seconds() + CATCH_UP_S_MAX
    async with asyncio.timeout(left_s), asyncio.TaskGroup() as group:
        watching = {s: group.create_task(watch(log, s, ends[s], count)) for s, count in counts.items()}
        running = [
            group.create_task(killed_at_random(copy, Random(n), life_s_max, last, clock))
            for n, copy in enumerate(copies)
        ]  # what chance decides is when each dies, not what they find
    return sum(task.result() for task in running), {s: task.result() for s, task in watching.items()}


def _judge(stream: str, seen: Seen) -> None:
    """Once, not early, in due order; the rung of each likewise."""
    twice = [subject for subject, events in seen.fired.items() if len(events) > 1]
    assert not twice, f"{stream}: fired twice: {twice[:5]}"
    assert max(seen.urged.values()) == 1, f"{stream}: a rung was taken twice"
    dues = [cast(Any, events[0].event).due for events in seen.fired.values()]
    assert dues == sorted(dues), f"{stream}: not in due order"
    assert seen.moments == sorted(seen.moments), f"{stream}: the rungs are not in order"
    assert min(seen.late_s) > 0, f"{stream}: fired early"
