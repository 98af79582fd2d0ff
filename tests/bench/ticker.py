"""(h) The lateness of timers with a million open deadlines, the highest rate of due moments, the cost of a tick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from infra.servers.embedded import Endpoints
from services.supervision.deadlines.ticker import Ticker
from services.supervision.queries import PgAgenda
from shared.kit.clock import SystemClock
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService
from tests.bench.base import Figure, Say
from tests.bench.falling import (
    QUIET,
    REMINDED,
    SEED_PER_S,
    SEED_S,
    Fired,
    drained,
    fired_of,
    opened,
    projected,
    until,
    written,
)  # fmt: skip
from tests.support import deadlines
from tests.support.deadlines import Planned
from tests.support.log import AREAS
from tests.support.services import again, worker_of
from tests.support.stack import Stack
from tests.support.supervising import Process

LATE_MS_MAX = 250.0
PER_S = 500
STEADY_S, QUICK_STEADY_S = 30, 10
STEPS_PER_S, STEP_S, PAUSE_S = (700, 900, 1100, 1300, 1600), 8, 6
OPEN_FEW, OPEN_MANY, QUICK_OPEN_MANY = 10_000, 1_000_000, 100_000
TICKS, TICK_EVERY_S = 100, 10
FLAT = 1.5  # times the cost with few open deadlines
ALONE = "supervision as a process of its own, no other service running"


@dataclass(frozen=True)
class Phase:
    """A phase in which deadlines fall due at an even rate."""

    name: str
    region: str
    per_s: int
    first: datetime
    count: int

    @property
    def end(self) -> datetime:
        return self.first + timedelta(seconds=self.count / self.per_s)


async def measure(data: Path, quick: bool, say: Say) -> AsyncIterator[Figure]:
    """All figures of the ticker, on a folder of its own."""
    open_count = QUICK_OPEN_MANY if quick else OPEN_MANY
    phases = list(_phases(datetime.now(UTC), quick))
    planned = [case for phase in phases for case in _plan(phase)]
    past = deadlines.plan("tick", _past(2 * TICKS), (QUIET,))
    await written(data, [*past, *planned], say)
    async with opened(data) as (endpoints, supervision):
        await projected(endpoints, supervision, ("supervision",), say)
        admin = await asyncpg.connect(endpoints.postgres["admin"])
        try:
            costs = []
            for number, (first, last) in enumerate(((0, OPEN_FEW), (OPEN_FEW, open_count))):
                await deadlines.seed_open(admin, first, last, phases[-1].end + timedelta(days=3), say)
                costs.append(await _tick_costs(data, supervision, past[number * TICKS : (number + 1) * TICKS]))
            for figure in _flat(costs[0], costs[1], open_count):
                yield figure
            log = supervision.data.log
            ends = {stream: await log.end(stream) for stream in log.streams()}
            cpu = await _run(data, endpoints, admin, phases, say)
        finally:
            await admin.close()
        fired = {region: await fired_of(log, region, ends) for region in (QUIET, REMINDED)}
        for figure in _late(phases, fired, cpu, open_count):
            yield figure


def _phases(now: datetime, quick: bool) -> Iterator[Phase]:
    """The phases: the required rate without and with reminders at once, then rising rates."""
    steady_s = QUICK_STEADY_S if quick else STEADY_S
    shapes = [("steady", QUIET, PER_S, steady_s), ("reminded", REMINDED, PER_S, steady_s)]
    shapes += [(f"step {per_s}", QUIET, per_s, STEP_S) for per_s in (STEPS_PER_S[:1] if quick else STEPS_PER_S)]
    total = sum(per_s * seconds for _, _, per_s, seconds in shapes)
    first = now + timedelta(seconds=SEED_S + total / SEED_PER_S)
    for name, region, per_s, seconds in shapes:
        phase = Phase(name, region, per_s, first, per_s * seconds)
        yield phase
        first = phase.end + timedelta(seconds=PAUSE_S)


def _plan(phase: Phase) -> list[Planned]:
    return deadlines.plan(phase.name, deadlines.steady(phase.first, phase.per_s, phase.count), (phase.region,))


def _past(count: int) -> Iterator[datetime]:
    return deadlines.steady(datetime.now(UTC) - timedelta(days=1), 1 / TICK_EVERY_S, count)


async def _run(
    data: Path, endpoints: Endpoints, postgres: asyncpg.Connection, phases: Sequence[Phase], say: Say
) -> dict[str, float]:
    """Run supervision as a process of its own through all phases; returns its share of a core in each."""
    process = Process("supervision", endpoints, AREAS, data.with_name("supervision.out"), forked=False)
    cpu = dict[str, float]()
    process.start()
    try:
        assert process.process is not None
        pid = process.process.pid
        for phase in phases:
            await until(phase.first, say, f"{phase.name}: {phase.per_s}/s")
            before = _cpu(pid)
            await until(phase.end, say, "")
            cpu[phase.name] = (_cpu(pid) - before) / (phase.count / phase.per_s)
        await drained(postgres, phases[-1].end, say)
    finally:
        process.kill()
    return cpu


def _late(
    phases: Sequence[Phase], fired: Mapping[str, Fired], cpu: Mapping[str, float], open_count: int
) -> Iterator[Figure]:
    counts = {region: sum(phase.count for phase in phases if phase.region == region) for region in fired}
    assert {region: len(result.dues) for region, result in fired.items()} == counts, "some did not fire"
    late_ms = {phase.name: _percentiles(fired[phase.region].during(phase.first, phase.end)) for phase in phases}
    for name, what in (
        ("steady", f"lateness at {PER_S} falling due per second with {open_count:,} open, p99; {ALONE}"),
        ("reminded", f"the same where each is followed by a reminder at once ({2 * PER_S} events/s)"),
    ):
        more = {"p50_ms": late_ms[name][50], "max_ms": late_ms[name][100]}
        held_by = f"supervision at {cpu[name]:.0%} of a core"
        yield Figure(f"late_{name}", what, late_ms[name][99], "ms", LATE_MS_MAX, "less", more=more, held_by=held_by)
    steps = {phase.per_s: phase.name for phase in phases if phase.region == QUIET}
    held = [per_s for per_s, name in steps.items() if late_ms[name][99] <= LATE_MS_MAX]
    p99_by_rate = {f"p99_ms_at_{per_s}": late_ms[name][99] for per_s, name in steps.items()}
    what = f"most falling due per second with a p99 of lateness within {LATE_MS_MAX:.0f} ms, of those tried"
    held_by = "supervision at " + ", ".join(f"{cpu[name]:.0%}" for name in steps.values()) + " of a core"
    yield Figure("late_most", what, float(max(held, default=0)), "/s", PER_S, "more", more=p99_by_rate, held_by=held_by)


def _percentiles(ordered: list[float]) -> dict[int, float]:
    return {p: round(ordered[min(len(ordered) * p // 100, len(ordered) - 1)], 1) for p in (50, 99, 100)}


def _cpu(pid: int) -> float:
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


# The cost of a tick


class _SteppedClock(SystemClock):
    """A clock with a fixed time of day; waits are real."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class TickCost:
    """Elapsed and CPU time in ms, of this process and the servers, for a tick without due timers and one that fires."""

    idle_ms: float
    idle_cpu_ms: float
    fire_ms: float
    fire_cpu_ms: float


async def _tick_costs(data: Path, supervision: RunningService, past: Sequence[Planned]) -> TickCost:
    clock = _SteppedClock(past[0].due - timedelta(seconds=5))
    agenda = PgAgenda(supervision.data.database)
    stepped = again(supervision, Runtime.of(clock))
    ticker = worker_of(stepped, "supervision.ticker", Ticker)
    (projection,) = stepped.projections
    projecting = asyncio.create_task(projection.run())
    try:

        async def look() -> None:
            assert await ticker.tick() == 0, "nothing is due yet"
            assert await agenda.next_at(clock.now()) is not None

        idle, idle_cpu = await _timed(data, [look] * TICKS)

        def step(case: Planned) -> Any:
            async def tick() -> None:
                clock.at = case.due + timedelta(milliseconds=1)
                assert await ticker.tick() == 1, "one thing is due at a time"

            return tick

        await step(past[0])()
        fire, fire_cpu = await _timed(data, [step(case) for case in past[1:]])
    finally:
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
    return TickCost(idle, idle_cpu, fire, fire_cpu)


async def _timed(data: Path, steps: Sequence[Any]) -> tuple[float, float]:
    """The median time, and the CPU time of all parts, in ms per step."""
    pids = [psutil.Process().pid, *Stack(data).servers.values()]
    times, before = [], sum(map(_family_cpu, pids))
    for step in steps:
        began = time.perf_counter()
        await step()
        times.append(time.perf_counter() - began)
    spent = sum(map(_family_cpu, pids)) - before
    return 1000 * sorted(times)[len(times) // 2], 1000 * spent / len(times)


def _family_cpu(pid: int) -> float:
    one = psutil.Process(pid)
    return _cpu(pid) + (0.0 if pid == psutil.Process().pid else sum(_cpu(child.pid) for child in one.children()))


def _flat(few: TickCost, many: TickCost, open_count: int) -> Iterator[Figure]:
    peer = f"the same with {OPEN_FEW:,} open"
    idle = {"cpu_ms": round(many.idle_cpu_ms, 2), f"cpu_ms_at_{OPEN_FEW}": round(few.idle_cpu_ms, 2)}
    what = f"a tick with nothing due, {open_count:,} open, median"
    yield Figure("tick_idle", what, many.idle_ms, "ms", FLAT * few.idle_ms, "less", peer, few.idle_ms, idle)
    fire = {"cpu_ms": round(many.fire_cpu_ms, 2), f"cpu_ms_at_{OPEN_FEW}": round(few.fire_cpu_ms, 2)}
    what = f"a tick that fires one, until the read model has it, {open_count:,} open, median"
    yield Figure("tick_fire", what, many.fire_ms, "ms", FLAT * few.fire_ms, "less", peer, few.fire_ms, fire)
