"""The ticker: what is due fires, each thing once, in due order, whatever is killed. Nothing is late in silence.

One copy is active, by a lock of the agenda; the law under the guard is the backstop, and the id of what fires follows
from the event that set the moment, so two copies at once do no more than one. Nothing is remembered but the agenda, a
read model of the log: after an outage it goes on with the oldest moment.

On each log stream a few appends are in flight, of different cases and sent in due order over one connection, so that
the log tells what fired in due order and people at the desk never wait for long behind the clock's appends. Only where
somebody else changed a case at the same moment, its append comes again, a little later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.case.base import Address, Meta, Position, derived_id
from shared.case.reasons import Rejected
from shared.kit import telemetry
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application
from shared.kit.command_handler import Committed, command
from shared.kit.effects import CommandRequest, Timer, TimerPolicy
from shared.kit.leader import Lock, run_as_leader
from shared.kit.vault import KeyErased

BATCH_COUNT_MAX = 200  # their states are read at once, and the read model is waited for after each batch
TICK_COUNT_MAX = 10_000  # then the lock is looked at again
IN_FLIGHT_COUNT_MAX = 16  # on one stream; fewer while people wait for an answer
SLEEP_S_MAX = 1.0  # also how soon a clock that was set right, or a moment just set, is noticed
SEEN_WAIT_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class DueTimer:
    """Something due, with its case or order as the agenda knows it."""

    due: Timer
    state: Any
    sequence: int


class Agenda(Protocol):
    """What is due: a read model in Postgres, or in memory."""

    async def lock(self) -> Lock | None: ...
    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]: ...
    async def next_at(self, after: datetime) -> datetime | None: ...


class Ticker:
    """Fires what is due, as the service that `application` is."""

    def __init__(
        self,
        *,
        name: str,
        model: str,
        agenda: Agenda,
        policy: TimerPolicy,
        application: Application,
    ) -> None:
        """`model`: the read model that `agenda` is a part of; the ticker waits until it has seen what fired."""
        self.name, self._model, self._agenda, self._fire = name, model, agenda, policy
        self._application, self._handler = application, application.handler
        self._log, self._vault = application.data.log, application.data.vault
        self._runtime, self._clock = application.runtime, application.runtime.clock
        self._actor = application.identity.service_actor

    async def run(self) -> None:
        """Tick for ever, as soon as this copy is the active one; returns only by cancellation."""
        await run_as_leader(self.name, self._agenda.lock, self._tick_while, self._clock, _tell)

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
        """Fire all that is due now, oldest first, and wait until the agenda has seen it; how many things fired.

        What fires may set something that was due before the rest (the first rung of a ladder): after each batch it
        begins with the oldest again. What nothing came of stays for the next tick.
        """
        fired, place, tried = 0, None, set[Timer]()
        while batch := await self._agenda.due(self._clock.now(), place, BATCH_COUNT_MAX):
            await self._runtime.failpoints.hit("ticker.fetched")
            done = await self._work([one for one in batch if one.due not in tried])
            tried.update(one.due for one in batch if one.due not in done)
            fired += len(done)
            for position in {position.stream: position for position in done.values()}.values():
                await self._runtime.progress.wait(self._model, position, SEEN_WAIT_S_MAX)
            if (not done and len(batch) < BATCH_COUNT_MAX) or (done and fired >= TICK_COUNT_MAX):
                break
            place = None if done else batch[-1].due
            await self._runtime.load_gate.breathe(self._clock)
        return fired

    async def _work(self, batch: Sequence[DueTimer]) -> dict[Timer, Position]:
        """Work a batch, the log streams side by side; where the event of each that fired lies."""
        sealing = [Address.parse(one.due.subject).id for one in batch if one.due.what == "rung"]
        if sealing:
            await self._vault.keys(sealing)
        by_stream: dict[str, list[DueTimer]] = {}
        for one in batch:
            by_stream.setdefault(self._log.stream_of(Address.parse(one.due.subject)), []).append(one)
        with self._runtime.telemetry.span(f"tick.{self.name}", count=len(batch)):
            fired = await asyncio.gather(*(self._in_order(some) for some in by_stream.values()))
        return {due: position for one in fired for due, position in one.items()}

    async def _in_order(self, some: Sequence[DueTimer]) -> dict[Timer, Position]:
        """Fire these one behind the other, as many at once as the pace allows."""
        fired: dict[Timer, Position] = {}
        flying: dict[str, tuple[Timer, Sequence[CommandRequest], datetime]] = {}

        async def land() -> None:
            gone = list(flying.values())
            flying.clear()
            done = await asyncio.gather(*(self._fire_one(*one) for one in gone), return_exceptions=True)
            for (due, *_), position in zip(gone, done, strict=True):
                if isinstance(position, BaseException):
                    raise position
                if position is not None:
                    fired[due] = position

        for one in some:
            subject = one.due.subject
            if subject in flying or len(flying) >= min(IN_FLIGHT_COUNT_MAX, self._runtime.load_gate.slots):
                await land()  # the same case once more is decided on what it is then
            now, wanted = await self._wanted(one, self._fire)
            # An event of another address (an order) has a key made first, and that takes time.
            by_itself = any(other.address.subject != subject for other in wanted)
            if by_itself:
                await land()
            flying[subject] = one.due, wanted, now
            if by_itself:
                await land()
        await land()
        return fired

    async def _fire_one(self, due: Timer, wanted: Sequence[CommandRequest], now: datetime) -> Position | None:
        position = await self._ask_all(due, wanted, now)
        if position is not None:
            self._runtime.telemetry.observe(LATE, max((now - due.at).total_seconds(), 0.0), due.what)
            await self._runtime.failpoints.hit("ticker.fired")
        return position

    async def work(self, one: DueTimer, fire: TimerPolicy) -> Position | None:
        """Ask for what `fire` wants; where its event lies, None when nothing came of it. Again: nothing more."""
        now, wanted = await self._wanted(one, fire)
        return await self._ask_all(one.due, wanted, now)

    async def _wanted(self, one: DueTimer, fire: TimerPolicy) -> tuple[datetime, Sequence[CommandRequest]]:
        address = Address.parse(one.due.subject)
        self._handler.prime(address, Versioned(one.state, one.sequence))
        held = await self._handler.state(address)
        now = self._clock.now()
        # as the agenda knows it, for as long as it has not gone on: what the agenda says follows from that
        state = held.state if held.sequence > one.sequence else one.state
        return now, fire(address, state, one.due, now)

    async def _ask_all(self, due: Timer, wanted: Sequence[CommandRequest], now: datetime) -> Position | None:
        position = None
        for one in wanted:
            outcome = await self._ask(due, one, now)
            if isinstance(outcome, Committed) and outcome.recorded is not None:
                position = outcome.position
        return position

    async def _ask(self, due: Timer, wanted: CommandRequest, now: datetime) -> Committed | Rejected | None:
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
            return await self._application.decide(command(wanted.address, meta, wanted.name, wanted.facts))
        except KeyErased:
            return None


def _tell(reason: str) -> None:
    telemetry.warn("the ticker waits", reason=reason)


LATE = telemetry.histogram("caseflow_ticker_late_seconds", "How late what is due fires", "type")
