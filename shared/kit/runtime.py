"""What a process has besides its data: its clock, what it remembers, who goes first, how far its read models are.

`caseflow up` makes one value for its four services, `caseflow serve` one for its one, the simulation one for each of
its processes. Nothing of this is module state: two processes in one interpreter share nothing that they would not share
on two machines.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from shared.kit.aggregate_cache import AggregateCache
from shared.kit.clock import Clock
from shared.kit.effects import StateTexts
from shared.kit.failpoints import Failpoints
from shared.kit.load_gate import LoadGate
from shared.kit.read_your_writes import ProjectionProgress
from shared.kit.telemetry import Telemetry, gauge
from shared.log.envelope import EventDecoder

CACHE_HITS = gauge(
    "caseflow_aggregate_cache_hits", "Look-ups that found a case or an order remembered, since the start"
)
CACHE_MISSES = gauge("caseflow_aggregate_cache_misses", "Look-ups that had to ask the log, since the start")
EVENTS_CACHED = gauge("caseflow_event_cache_hits", "Events read that were decoded before, since the start")
EVENTS_DECODED = gauge(
    "caseflow_event_cache_misses", "Events read from the log that had to be decoded, since the start"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The state of one process. `stopping` is set when its web server stops: streams without end must end then."""

    clock: Clock
    progress: ProjectionProgress
    aggregates: AggregateCache = field(default_factory=AggregateCache)
    state_texts: StateTexts = field(default_factory=StateTexts)
    event_decoder: EventDecoder = field(default_factory=EventDecoder)
    load_gate: LoadGate = field(default_factory=LoadGate)
    failpoints: Failpoints = field(default_factory=Failpoints)
    telemetry: Telemetry = field(default_factory=Telemetry)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(
        cls,
        clock: Clock,
        *,
        aggregates: AggregateCache | None = None,
        failpoints: Failpoints | None = None,
        telemetry: Telemetry | None = None,
    ) -> Runtime:
        """The runtime of a process that keeps its time by `clock`; other parts are made anew unless they are given."""
        runtime = cls(
            clock=clock,
            progress=ProjectionProgress(clock),
            aggregates=aggregates or AggregateCache(),
            failpoints=failpoints or Failpoints(),
            telemetry=telemetry or Telemetry(),
        )
        runtime.telemetry.before_reading(runtime._measure)
        return runtime

    async def _measure(self) -> None:
        self.telemetry.set(CACHE_HITS, self.aggregates.hit_count)
        self.telemetry.set(CACHE_MISSES, self.aggregates.miss_count)
        self.telemetry.set(EVENTS_CACHED, self.event_decoder.hit_count)
        self.telemetry.set(EVENTS_DECODED, self.event_decoder.miss_count)
