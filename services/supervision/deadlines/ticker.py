"""The ticker: fires every due timer, each once, in due order, whichever process is killed. No deadline passes unseen.

One copy is active, by a lock of the agenda. Two copies at once do no harm: the id of a command derives from the event
that set its timer, and under the guard of the log the law accepts each command once. The ticker remembers nothing but
the agenda, a read model of the log, so after an outage it goes on with the oldest timer.

On each log stream a few appends are in flight, of different cases, sent in due order over one connection. The events
therefore stand on the log in due order, and people at the desk never wait long behind the appends of the ticker. Where
another writer changed a case at the same moment, the append of that case is repeated a little later.
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

TICK_BATCH_COUNT = 200  # the states of a batch are read at once; after it the ticker waits for the read model
TICK_COUNT_MAX = 10_000  # a tick ends after so many timers, and the lock is verified again
APPENDS_IN_FLIGHT_MAX = 16  # on one stream; fewer while people wait for an answer
SLEEP_S_MAX = 1.0  # the longest delay until a new timer, or a change of the system clock, is noticed
AGENDA_WAIT_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer that is due, with the state of its case or order as the agenda has it."""

    timer: Timer
    state: Any
    sequence: int


class Agenda(Protocol):
    """The timers of all cases and orders: a read model in Postgres, or in memory."""

    async def lock(self) -> Lock | None: ...
    async def due(self, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]: ...
    async def next_at(self, after: datetime) -> datetime | None: ...


class Ticker:
    """Fires due timers, in the name of the service that `application` is."""

    def __init__(
        self,
        *,
        name: str,
        model: str,
        agenda: Agenda,
        policy: TimerPolicy,
        application: Application,
    ) -> None:
        """`model` is the read model of `agenda`: the ticker waits until it has seen the events of fired timers."""
        self.name, self._model, self._agenda, self._policy = name, model, agenda, policy
        self._application, self._handler = application, application.handler
        self._log, self._vault = application.data.log, application.data.vault
        self._runtime, self._clock = application.runtime, application.runtime.clock
        self._actor = application.identity.service_actor

    async def run(self) -> None:
        """Tick for ever, while this copy is the leader; returns only by cancellation."""
        await run_as_leader(self.name, self._agenda.lock, self._tick_while, self._clock, _warn)

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
        """Fire all timers that are due now, oldest first, and wait until the agenda has seen it; how many fired.

        A fired timer may set another one that is due before the rest, as the first rung of a ladder. After each batch
        that fired, the ticker therefore begins with the oldest timer again. A timer from which no event came waits for
        the next tick.
        """
        fired, after, fruitless = 0, None, set[Timer]()
        while batch := await self._agenda.due(self._clock.now(), after, TICK_BATCH_COUNT):
            await self._runtime.failpoints.hit("ticker.fetched")
            positions = await self._fire_batch([due for due in batch if due.timer not in fruitless])
            fruitless.update(due.timer for due in batch if due.timer not in positions)
            fired += len(positions)
            for position in {position.stream: position for position in positions.values()}.values():
                await self._runtime.progress.wait(self._model, position, AGENDA_WAIT_S_MAX)
            if (not positions and len(batch) < TICK_BATCH_COUNT) or (positions and fired >= TICK_COUNT_MAX):
                break
            after = None if positions else batch[-1].timer
            await self._runtime.load_gate.breathe(self._clock)
        return fired

    async def _fire_batch(self, batch: Sequence[DueTimer]) -> dict[Timer, Position]:
        """Fire a batch, the log streams side by side; the timers that fired, with the positions of their events."""
        sealing = [Address.parse(due.timer.subject).id for due in batch if due.timer.what == "rung"]
        if sealing:
            await self._vault.keys(sealing)
        by_stream: dict[str, list[DueTimer]] = {}
        for due in batch:
            by_stream.setdefault(self._log.stream_of(Address.parse(due.timer.subject)), []).append(due)
        with self._runtime.telemetry.span(f"tick.{self.name}", count=len(batch)):
            fired = await asyncio.gather(*(self._fire_in_order(due_timers) for due_timers in by_stream.values()))
        return {timer: position for positions in fired for timer, position in positions.items()}

    async def _fire_in_order(self, due_timers: Sequence[DueTimer]) -> dict[Timer, Position]:
        """Fire the timers of one stream in order, with as many appends in flight as the load gate allows."""
        fired: dict[Timer, Position] = {}
        in_flight: dict[str, tuple[Timer, Sequence[CommandRequest], datetime]] = {}

        async def land() -> None:
            flights = list(in_flight.values())
            in_flight.clear()
            positions = await asyncio.gather(*(self._fire(*flight) for flight in flights), return_exceptions=True)
            for (timer, *_), position in zip(flights, positions, strict=True):
                if isinstance(position, BaseException):
                    raise position
                if position is not None:
                    fired[timer] = position

        for due in due_timers:
            subject = due.timer.subject
            if subject in in_flight or len(in_flight) >= min(APPENDS_IN_FLIGHT_MAX, self._runtime.load_gate.slots):
                await land()  # a second timer of the same case is decided on the state after the first
            now, requests = await self._requests(due, self._policy)
            # An event of another address (an order) needs a new key first, which takes time: it flies alone.
            alone = any(request.address.subject != subject for request in requests)
            if alone:
                await land()
            in_flight[subject] = due.timer, requests, now
            if alone:
                await land()
        await land()
        return fired

    async def _fire(self, timer: Timer, requests: Sequence[CommandRequest], now: datetime) -> Position | None:
        position = await self._decide_all(timer, requests, now)
        if position is not None:
            self._runtime.telemetry.observe(LATE, max((now - timer.at).total_seconds(), 0.0), timer.what)
            await self._runtime.failpoints.hit("ticker.fired")
        return position

    async def work(self, due: DueTimer, policy: TimerPolicy) -> Position | None:
        """Decide the commands of a policy for one timer; the position of the event, None when there is none.

        A repetition adds no event.
        """
        now, requests = await self._requests(due, policy)
        return await self._decide_all(due.timer, requests, now)

    async def _requests(self, due: DueTimer, policy: TimerPolicy) -> tuple[datetime, Sequence[CommandRequest]]:
        address = Address.parse(due.timer.subject)
        self._handler.prime(address, Versioned(due.state, due.sequence))
        versioned = await self._handler.state(address)
        now = self._clock.now()
        # The agenda's own state decides until there is a newer one, because the timer follows from that state.
        state = versioned.state if versioned.sequence > due.sequence else due.state
        return now, policy(address, state, due.timer, now)

    async def _decide_all(self, timer: Timer, requests: Sequence[CommandRequest], now: datetime) -> Position | None:
        position = None
        for request in requests:
            outcome = await self._decide(timer, request, now)
            if isinstance(outcome, Committed) and outcome.recorded is not None:
                position = outcome.position
        return position

    async def _decide(self, timer: Timer, request: CommandRequest, now: datetime) -> Committed | Rejected | None:
        """Decide one command. A rejection means that another event came first; the agenda will soon have it."""
        what = f"{request.name} {timer.stage} {timer.unit} {request.what}"
        meta = Meta(
            command_id=derived_id(self.name, timer.cause, request.address.subject, what),
            time=now,
            recorded_at=now,
            actor=self._actor(request.address),
            causation_id=timer.cause or None,
            correlation_id=timer.cause or None,
        )
        try:
            return await self._application.decide(command(request.address, meta, request.name, request.facts))
        except KeyErased:
            return None


def _warn(reason: str) -> None:
    telemetry.warn("the ticker waits", reason=reason)


LATE = telemetry.histogram("caseflow_ticker_late_seconds", "How late what is due fires", "type")
