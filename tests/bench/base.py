"""The common part of all measurements: figures, the inside of a stack, CPU and memory costs, the bare log."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psutil

from shared.log.connection import NatsConnection
from shared.log.jetstream import GUARD
from tests.support.stack import Stack

APPEND_BYTES = 700  # about the size of an event
SETTLE_S_MAX = 300.0
MODELS = {"routing": "routing.work", "reporting": "reporting", "supervision": "supervision.watched"}
POLL_S = 0.02
STRANGERS_SHARE_SHOWN = 0.05
Say = Callable[[str], None]


@dataclass
class Figure:
    """A measured number with its aim, the peer measured in the same run, and its bottleneck (`held_by`)."""

    name: str
    what: str
    value: float
    unit: str
    aim: float | None = None
    better: Literal["more", "less"] = "more"
    peer: str = ""
    peer_value: float | None = None
    more: Mapping[str, float | int | str] = field(default_factory=dict)
    held_by: str = ""

    @property
    def ratio(self) -> float | None:
        """The value as a share of that of the peer."""
        return self.value / self.peer_value if self.peer_value else None

    @property
    def met(self) -> bool | None:
        """Whether the value reaches its aim; None without an aim."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.better == "more" else self.value <= self.aim


@dataclass(frozen=True)
class Cost:
    """CPU seconds of each part of the stack over a period, and the length of the period in seconds."""

    cpu: Mapping[str, float]
    seconds: float
    others: float  # CPU seconds of all other processes of the machine except the load generator

    def per(self, count: int) -> dict[str, float]:
        """CPU milliseconds of each part per operation."""
        return {f"{part}_cpu_ms": round(1000 * cpu / count, 3) for part, cpu in self.cpu.items()}

    def busiest(self) -> str:
        """The part nearest to a whole core, and the load of all cores."""
        part = max(self.cpu, key=lambda name: self.cpu[name])
        cores = psutil.cpu_count() or 1
        whole, others = (cpu_s / self.seconds / cores for cpu_s in (sum(self.cpu.values()), self.others))
        text = f"{part} at {self.cpu[part] / self.seconds:.0%} of a core; caseflow on {whole:.0%} of {cores} cores"
        return f"{text}, strangers on {others:.0%}" if others > STRANGERS_SHARE_SHOWN else text


class Costs:
    """Counts the CPU time of caseflow's process, of NATS and of Postgres with its workers."""

    def __init__(self, stack: Stack) -> None:
        assert stack.process is not None
        self._roots = {"python": stack.process.pid, **stack.servers}
        self._began, self._at, self._busy = self._read(), time.perf_counter(), _busy()

    def spent(self) -> Cost:
        """The cost since this object was made."""
        cpu = {part: now - self._began[part] for part, now in self._read().items()}
        return Cost(cpu, time.perf_counter() - self._at, max(_busy() - self._busy - sum(cpu.values()), 0.0))

    def _read(self) -> dict[str, float]:
        return {part: sum(map(_cpu, _family(part, pid))) for part, pid in self._roots.items()}


def memory_mb(stack: Stack) -> dict[str, float]:
    """Proportional set size of each part in MB: shared pages count once."""
    assert stack.process is not None
    roots = {"python": stack.process.pid, **stack.servers}
    return {part: round(sum(map(_pss_mb, _family(part, pid))), 1) for part, pid in roots.items()}


def _family(part: str, pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)  # the servers are children of this process and are counted apart
    return [root] if part == "python" else [root, *root.children(recursive=True)]


def _busy() -> float:
    """CPU seconds of the whole machine without this process."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice - own.user - own.system)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _pss_mb(process: psutil.Process) -> float:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


class Bench:
    """Access to the log and the tables of a running stack."""

    def __init__(self, stack: Stack, connection: NatsConnection, postgres: asyncpg.Connection) -> None:
        self.stack, self.connection, self.postgres = stack, connection, postgres

    async def ends(self) -> dict[str, int]:
        """The last sequence of each log stream."""
        names = (await self.connection.api("$JS.API.STREAM.NAMES"))["streams"]
        logs = [name for name in names if name.startswith("LOG_")]
        return {name: (await self.connection.api(f"$JS.API.STREAM.INFO.{name}"))["state"]["last_seq"] for name in logs}

    async def caught_up(self) -> dict[str, int]:
        """Wait until every reaction is done and every read model is at the end; returns the ends of the streams.

        Raises TimeoutError after SETTLE_S_MAX.
        """
        async with asyncio.timeout(SETTLE_S_MAX):
            while True:
                ends = await self.ends()
                if await self._behind(ends) == 0 and ends == await self.ends():
                    return ends
                await asyncio.sleep(POLL_S)

    async def _behind(self, ends: Mapping[str, int]) -> int:
        behind = 0
        for stream, end in ends.items():
            for consumer in (await self.connection.api(f"$JS.API.CONSUMER.LIST.{stream}"))["consumers"]:
                if "durable_name" in consumer["config"]:
                    behind += consumer["num_pending"] + consumer["num_ack_pending"]
            for schema, model in MODELS.items():
                seen = f"select sequence from {schema}.checkpoints where stream = $1 and model = $2"
                behind += end - (await self.postgres.fetchval(seen, stream, model) or 0)
        return behind

    async def bare_appends(self, count: int, in_flight: int = 16) -> float:
        """Guarded publishes per second to a stream of the same server, configured as a log stream is."""
        stream = {"name": "BENCH", "subjects": ["bench.>"], "storage": "file", "allow_direct": True, "discard": "new"}
        await self.connection.api("$JS.API.STREAM.CREATE.BENCH", stream)
        numbers, data = iter(range(count)), b"x" * APPEND_BYTES

        async def publish() -> None:
            for number in numbers:
                await self.connection.api(f"bench.{number}", data, {GUARD: "0"})

        began = time.perf_counter()
        await asyncio.gather(*(publish() for _ in range(in_flight)))
        seconds = time.perf_counter() - began
        await self.connection.api("$JS.API.STREAM.DELETE.BENCH")
        return count / seconds

    async def bare_hot(self, count: int) -> float:
        """Guarded publishes per second to one subject, one after the other: the limit of a hot case."""
        stream = {"name": "BENCH", "subjects": ["bench.>"], "storage": "file", "allow_direct": True, "discard": "new"}
        await self.connection.api("$JS.API.STREAM.CREATE.BENCH", stream)
        last, began = 0, time.perf_counter()
        for _ in range(count):
            last = (await self.connection.api("bench.hot", b"x" * APPEND_BYTES, {GUARD: str(last)}))["seq"]
        seconds = time.perf_counter() - began
        await self.connection.api("$JS.API.STREAM.DELETE.BENCH")
        return count / seconds


@asynccontextmanager
async def watched(stack: Stack) -> AsyncIterator[Bench]:
    """Open the log and the tables of a running stack."""
    async with stack.connection() as connection:
        postgres = await asyncpg.connect(stack.postgres_dsn())
        try:
            yield Bench(stack, connection, postgres)
        finally:
            await postgres.close()


def percentiles(times: list[float]) -> dict[str, Any]:
    """p50 and p99 in milliseconds of times in seconds."""
    ordered = sorted(times)
    return {f"p{p}_ms": round(1000 * ordered[min(len(ordered) * p // 100, len(ordered) - 1)], 2) for p in (50, 99)}
