"""(j) Many deadlines due at one instant: the rate at which they fire, and the latency of registrations meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.bench.base import Cost, Costs, Figure, Say, percentiles, watched
from tests.bench.desk import BARE, registrations
from tests.bench.falling import (
    DRAIN_S_MAX,
    QUIET,
    SEED_PER_S,
    SEED_S,
    Fired,
    drained,
    fired_of,
    opened,
    projected,
    until,
    written,
)
from tests.bench.load import connect
from tests.support import deadlines
from tests.support.stack import Stack

DESK_MS_MAX = 100.0
CROWD, QUICK_CROWD = 50_000, 5_000
IDLE_S, WARM_S = 15.0, 3.0
DESK_PER_S, DESK_LINES = 40, 8
SHOWN_CHARS_MAX = 3000
SERVICES = ("supervision", "routing", "intake", "reporting")


@dataclass(frozen=True)
class Drain:
    """The fired deadlines, the seconds of registrations before and meanwhile, bare publishes per second, the cost."""

    fired: Fired
    idle: list[float]
    busy: list[float]
    limit: float
    cost: Cost


async def measure(stack: Stack, quick: bool, say: Say) -> AsyncIterator[Figure]:
    """All figures of a crowd, on a stack that is not started."""
    count = QUICK_CROWD if quick else CROWD
    due = datetime.now(UTC) + timedelta(seconds=2 * SEED_S + IDLE_S + 2 * count / SEED_PER_S)
    planned = deadlines.plan("crowd", [due] * count, (QUIET,))
    await written(stack.data, planned, say)
    async with opened(stack.data) as (endpoints, supervision):
        await projected(endpoints, supervision, SERVICES, say)
        log = supervision.data.log
        ends = {stream: await log.end(stream) for stream in log.streams()}
    try:
        stack.start()
        drain = await _drain(stack, due, count, ends, say)
    except BaseException:
        say(stack.text[-SHOWN_CHARS_MAX:])
        raise
    seconds = max(drain.fired.late_ms) / 1000
    more: dict[str, float | int | str] = {"drained_s": round(seconds, 1), "in_due_order": "yes", "lost": 0}
    more |= drain.cost.per(count)
    what = f"{count:,} deadlines due at one instant, all services in one process"
    yield Figure("crowd", what, count / seconds, "/s", None, "more", BARE, drain.limit, more, drain.cost.busiest())
    busy_ms = percentiles(drain.busy)
    what = f"registrations over HTTP while they fire, {DESK_PER_S} a second, p99"
    more = {"p50_ms": busy_ms["p50_ms"], "registered": len(drain.busy)}
    idle_ms = float(percentiles(drain.idle)["p99_ms"])
    yield Figure(
        "crowd_desk", what, float(busy_ms["p99_ms"]), "ms", DESK_MS_MAX, "less", "the same before", idle_ms, more
    )


async def _drain(stack: Stack, due: datetime, count: int, ends: dict[str, int], say: Say) -> Drain:
    async with watched(stack) as bench:
        await bench.caught_up()
        await _working(stack, datetime.now(UTC) + timedelta(seconds=WARM_S))
        idle = await _working(stack, datetime.now(UTC) + timedelta(seconds=IDLE_S))
        limit = await bench.bare_appends(3000)
        await until(due, say, f"{count:,} at one instant")
        costs, ended = Costs(stack), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_working(stack, due + timedelta(seconds=DRAIN_S_MAX), ended))
            await drained(bench.postgres, due, say)
            ended.set()
        cost = costs.spent()
        async with stack.log() as log:
            fired = await fired_of(log, QUIET, ends)
    assert len(fired.dues) == count, f"{len(fired.dues):,} of {count:,} fired"
    return Drain(fired, idle, working.result(), limit, cost)


async def _working(stack: Stack, until: datetime, ended: asyncio.Event | None = None) -> list[float]:
    """Register at an even pace until a moment; returns the time of each registration in seconds."""
    times: list[float] = []
    wait_s = DESK_LINES / DESK_PER_S
    requests = registrations(1_000_000, start=int(time.monotonic() * 1000))

    async def register(number: int) -> None:
        line = await connect(stack.port)
        await asyncio.sleep(wait_s * number / DESK_LINES)
        try:
            while datetime.now(UTC) < until and not (ended and ended.is_set()):
                began = time.perf_counter()
                status, body = await line.ask(next(requests))
                assert status == 201, body
                times.append(time.perf_counter() - began)
                await asyncio.sleep(max(wait_s - times[-1], 0.0))
        finally:
            line.close()

    await asyncio.gather(*(register(number) for number in range(DESK_LINES)))
    return times
