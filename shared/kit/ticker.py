"""The ticker: what is due fires, each thing once, in due order, whatever is killed. Nothing is late in silence.

One copy is active, by a lock of the agenda; the law under the guard is the backstop, and the id of what fires follows
from the event that set the moment, so two copies at once do no more than one. Nothing is remembered but the agenda, a
read model of the log: after an outage it goes on with the oldest moment.

It works one thing at a time on each log stream, so that the log tells what fired in due order and people at the desk
never wait for more than one append of the clock's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.case.base import Actor, Address, Meta, Position, derived_id
from shared.case.reasons import Rejected
from shared.kit import telemetry
from shared.kit.await_position import Reached
from shared.kit.clock import Clock
from shared.kit.failpoints import failpoint
from shared.kit.handle import Done, Handler, Held, command
from shared.kit.pace import PACE
from shared.kit.problems import Unavailable
from shared.kit.pure import Due, Fire, Next
from shared.kit.vault import KeyErased
from shared.log.port import Log
from shared.log.port import Unavailable as LogUnavailable

BATCH_COUNT_MAX = 500
SLEEP_S_MAX = 1.0  # also how soon a clock that was set right, or a moment just set, is noticed
LOCK_RETRY_S = 1.0
PAUSE_S = 0.5
SEEN_WAIT_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Dued:
    """Something due, with its case or order as the agenda knows it."""

    due: Due
    state: Any
    sequence: int


class Lock(Protocol):
    """The right to be the active ticker, until released or lost."""

    @property
    def held(self) -> bool: ...
    async def verify(self) -> None: ...
    async def release(self) -> None: ...


class Agenda(Protocol):
    """What is due: a read model in Postgres, or in memory."""

    async def lock(self) -> Lock | None: ...
    async def due(self, now: datetime, after: Due | None, count_max: int) -> list[Dued]: ...
    async def next_at(self, after: datetime) -> datetime | None: ...


class Ticker:
    """Fires what is due. `prepare` makes what a new aggregate needs (its key) before its first event."""

    def __init__(
        self,
        name: str,
        model: str,
        agenda: Agenda,
        fire: Fire,
        log: Log,
        handler: Handler,
        clock: Clock,
        reached: Reached,
        actor: Callable[[Address], Actor],
        prepare: Callable[[Address], Awaitable[None]],
    ) -> None:
        self.name, self._model, self._agenda, self._fire = name, model, agenda, fire
        self._log, self._handler, self._clock, self._reached = log, handler, clock, reached
        self._actor, self._prepare = actor, prepare

    async def run(self) -> None:
        """Tick for ever, as soon as this copy is the active one; returns only by cancellation."""
        while True:
            try:
                lock = await self._agenda.lock()
                if lock is None:
                    await self._clock.sleep(LOCK_RETRY_S)
                    continue
                try:
                    await self._tick_while(lock)
                finally:
                    await lock.release()
            except (LogUnavailable, Unavailable) as error:
                telemetry.warn("the ticker waits", reason=type(error).__name__)
                await self._clock.sleep(PAUSE_S)

    async def _tick_while(self, lock: Lock) -> None:
        while lock.held:
            await lock.verify()
            if not await self.tick():
                await self._clock.sleep(await self._until_next())

    async def _until_next(self) -> float:
        now = self._clock.now()
        following = await self._agenda.next_at(now)
        if following is None:
            return SLEEP_S_MAX
        return min(max((following - now).total_seconds(), 0.0), SLEEP_S_MAX)

    async def tick(self) -> int:
        """Fire all that is due now, oldest first, and wait until the agenda has seen it; how many things fired."""
        fired, place = 0, None
        ends: dict[str, Position] = {}
        while True:
            batch = await self._agenda.due(self._clock.now(), place, BATCH_COUNT_MAX)
            if not batch:
                break
            await failpoint("ticker.fetched")
            place = batch[-1].due
            for position in await self._work(batch):
                ends[position.stream] = position
                fired += 1
            if len(batch) < BATCH_COUNT_MAX:
                break
            await PACE.breathe(self._clock)
        for position in ends.values():
            await self._reached.wait(self._model, position, SEEN_WAIT_S_MAX)
        return fired

    async def _work(self, batch: Sequence[Dued]) -> list[Position]:
        """Work a batch, one thing at a time on each log stream; where each that fired lies."""
        by_stream: dict[str, list[Dued]] = {}
        for one in batch:
            by_stream.setdefault(self._log.stream_of(Address.parse(one.due.subject)), []).append(one)
        with telemetry.span(f"tick.{self.name}", count=len(batch)):
            done = await asyncio.gather(*(self._in_order(some) for some in by_stream.values()))
        return [position for positions in done for position in positions]

    async def _in_order(self, some: Sequence[Dued]) -> list[Position]:
        positions = []
        for one in some:
            position = await self.work(one)
            if position is not None:
                positions.append(position)
                await failpoint("ticker.fired")
        return positions

    async def work(self, one: Dued, fire: Fire | None = None) -> Position | None:
        """Ask for what one moment wants; where its event lies, None when nothing came of it. Again: nothing more."""
        address = Address.parse(one.due.subject)
        self._handler.prime(address, Held(one.state, one.sequence))
        held = await self._handler.state(address)
        now = self._clock.now()
        position = None
        for wanted in (fire or self._fire)(address, held.state, one.due, now):
            outcome = await self._ask(one.due, wanted, now)
            if isinstance(outcome, Done) and outcome.recorded is not None:
                position = outcome.position
                if fire is None:
                    LATE.labels(one.due.what).observe(max((now - one.due.at).total_seconds(), 0.0))
        return position

    async def _ask(self, due: Due, wanted: Next, now: datetime) -> Done | Rejected | None:
        """Ask for one thing. What the law refuses has been overtaken: the agenda will know soon."""
        what = f"{wanted.name} {due.stage} {due.unit} {wanted.what}"
        meta = Meta(
            command_id=derived_id(self.name, due.cause, wanted.address.subject, what),
            time=now,
            recorded_at=now,
            actor=self._actor(wanted.address),
            causation_id=due.cause or None,
            correlation_id=due.cause or None,
        )
        try:
            if wanted.address.subject != due.subject:
                await self._prepare(wanted.address)
            return await self._handler.handle(command(wanted.address, meta, wanted.name, wanted.facts))
        except KeyErased:
            return None


LATE = telemetry.histogram("caseflow_ticker_late_seconds", "How late what is due fires", "type")
