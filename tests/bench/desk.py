"""(a) registrations, (b) the whole pipeline, (c) commands on many cases and on one, (g) memory, (h) start."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator

from tests.bench.base import Bench, Cost, Costs, Figure, Say, memory_mb, percentiles, watched
from tests.bench.load import Run, drive, request
from tests.support.client import HOUSING, MATTER, NOTE
from tests.support.stack import Stack

REGISTRATIONS_PER_DAY = 10_000
WARM_UP = 300
BARE = "bare guarded publishes, 16 in flight"


def registrations(count: int, start: int = 0) -> Iterator[bytes]:
    """Requests for registrations at the window, each with another text; a rule triages each."""
    for number in range(start, start + count):
        text = f"第{number}号楼的物业公司乱收停车费，电梯坏了一个月没人修。"
        body = {**MATTER, "title": f"小区物业不作为 {number}", "text": text}
        yield request("jj-window", "/intake/cases", body)


def ids(run: Run) -> list[str]:
    """The cases that a run of registrations created."""
    return [json.loads(body)["id"] for body in run.bodies if b'"position"' in body]


async def measure(stack: Stack, wanted: frozenset[str], quick: bool, say: Say) -> AsyncIterator[Figure]:
    """The selected figures of a stack under the work of people."""
    say("starting a stack")
    first_s = stack.start()
    async with watched(stack) as bench:
        await drive(stack.port, registrations(WARM_UP))
        await bench.caught_up()
        if "memory" in wanted:
            yield _memory(stack, "memory_idle", "the whole stack idle, a few cases in it", 350)
        if "registrations" in wanted:
            async for figure in _registrations(bench, quick, say):
                yield figure
        if "pipeline" in wanted:
            yield await _pipeline(bench, 300 if quick else 1500, say)
        if wanted & {"commands", "hot"}:
            async for figure in _commands(bench, wanted, quick, say):
                yield figure
        if "memory" in wanted:
            yield _memory(stack, "memory_loaded", "the whole stack after this run's load", None)
    if "start" in wanted:
        say("stopping and starting again")
        stack.stop()
        seconds = stack.start()
        yield Figure(
            "start", "second start to ready", seconds, "s", 6, "less", "first start, on an empty folder", first_s
        )


def _memory(stack: Stack, name: str, what: str, aim: float | None) -> Figure:
    parts = memory_mb(stack)
    largest = max(parts, key=lambda part: parts[part])
    return Figure(name, what, sum(parts.values()), "MB", aim, "less", more={**parts}, held_by=f"most is {largest}")


async def _registrations(bench: Bench, quick: bool, say: Say) -> AsyncIterator[Figure]:
    count = 1000 if quick else 3000
    stack = bench.stack
    limit = await bench.bare_appends(count)
    say(f"bare guarded publishes: {limit:.0f}/s")
    what = "durable registrations over HTTP, 16 callers, reactions running"
    before, costs = await bench.ends(), Costs(stack)
    run = await drive(stack.port, registrations(count))
    cost = costs.spent()
    yield _registered("registrations", what, run, limit, cost)
    ends = await bench.caught_up()
    whole = costs.spent()
    events = sum(ends.values()) - sum(before.values())
    say(f"with all that follows {whole.per(count)} ms of CPU and {events / count:.1f} events per registration")
    filler = 0 if quick else REGISTRATIONS_PER_DAY - count - WARM_UP - 500
    if filler > 0:
        say(f"{filler} more, to come to the {REGISTRATIONS_PER_DAY}th of the day")
        await drive(stack.port, registrations(filler), s_max=120)
        await bench.caught_up()
        limit = await bench.bare_appends(count)
        costs = Costs(stack)
        run = await drive(stack.port, registrations(1000))
        name = f"the same at the {REGISTRATIONS_PER_DAY}th of the day"
        yield _registered("registrations_10000th", name, run, limit, costs.spent())
        await bench.caught_up()


def _registered(name: str, what: str, run: Run, limit: float, cost: Cost) -> Figure:
    more = {**percentiles(run.times), "errors": run.errors, **cost.per(run.done)}
    return Figure(name, what, run.rate, "/s", 1000, "more", BARE, limit, more, cost.busiest())


async def _pipeline(bench: Bench, count: int, say: Say) -> Figure:
    say(f"{count} cases through the whole pipeline")
    limit = await bench.bare_appends(2000)
    before, costs, began = await bench.ends(), Costs(bench.stack), time.perf_counter()
    run = await drive(bench.stack.port, registrations(count))
    ends = await bench.caught_up()
    seconds, cost = time.perf_counter() - began, costs.spent()
    events = sum(ends.values()) - sum(before.values())
    more = {"events_per_case": round(events / run.done, 2), "errors": run.errors, **cost.per(run.done)}
    what = "cases registered, triaged, assigned, all reactions and read models caught up"
    peer, most = "bare guarded publishes of as many events", limit * run.done / events
    return Figure("pipeline", what, run.done / seconds, "/s", 300, "more", peer, most, more, cost.busiest())


async def _commands(bench: Bench, wanted: frozenset[str], quick: bool, say: Say) -> AsyncIterator[Figure]:
    count, rounds, port = (100, 3, bench.stack.port) if quick else (500, 4, bench.stack.port)
    say(f"commands on {count} cases")
    cases = ids(await drive(port, registrations(count)))
    await bench.caught_up()
    sign = {"unit": HOUSING, "person": "jj-housing-1"}
    signed = await drive(port, (request("jj-housing", f"/routing/cases/{id}/sign-for", sign) for id in cases))
    assert signed.errors == 0, f"sign-for: {signed.statuses}, {signed.bodies[-1]!r}"
    await bench.caught_up()
    said = {"unit": HOUSING, "note": NOTE, "contacted": True}
    progress = [request("jj-housing-1", f"/routing/cases/{id}/progress", said) for id in cases]
    if "commands" in wanted:
        limit = await bench.bare_appends(2000)
        costs = Costs(bench.stack)
        run = await drive(port, progress * rounds)
        yield _commanded("commands", f"commands on {count} cases over HTTP, 16 callers", run, None, limit, costs)
        await bench.caught_up()
    if "hot" in wanted:
        limit = await bench.bare_hot(1000)
        costs = Costs(bench.stack)
        run = await drive(port, progress[:1] * (300 if quick else 1000))
        yield _commanded("hot", "commands on one case over HTTP, 16 callers", run, 200, limit, costs)
        await bench.caught_up()


def _commanded(name: str, what: str, run: Run, aim: float | None, limit: float, costs: Costs) -> Figure:
    cost = costs.spent()
    more = {**percentiles(run.times), "errors": run.errors, **cost.per(max(run.done, 1))}
    peer = "bare guarded publishes to one subject, one by one" if name == "hot" else BARE
    return Figure(name, what, run.rate, "/s", aim, "more", peer, limit, more, cost.busiest())
