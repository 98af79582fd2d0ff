"""Reactions: what a service does when it hears of an event. One durable per service and stream, each message by itself.

A reaction must not depend on order or count: it reads the case as it now is, says which commands should follow, and
these are decided under the guard like any other; their ids derive from the cause, so a redelivery changes nothing.

A partial batch is worked at once. What fails comes again after a growing delay; what fails too often, or cannot be
read, is parked with its reason and shown to the operator. FastStream's own pull loses this:
it spins when its durable is gone, waits to fill a batch and spends all deliveries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from shared.case.base import Meta, Recorded, Unknown, derived_id
from shared.case.reasons import Reason, Rejected
from shared.kit import telemetry
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application, Origin
from shared.kit.command_handler import Committed, command
from shared.kit.dead_letters import DeadLetters
from shared.kit.effects import CommandRequest, Reaction
from shared.kit.problems import Unavailable
from shared.kit.seal import unseal_fields
from shared.kit.telemetry import BEHIND
from shared.kit.vault import KeyErased
from shared.log.port import Delivery, Durable, DurableMissing
from shared.log.port import Unavailable as LogUnavailable

FETCH_COUNT_MAX = 256
DEBOUNCED_COUNT_MAX = 1024
FETCH_WAIT_S = 5.0
ATTEMPTS_COUNT_MAX = 8
DELAY_S_MIN = 0.2
DELAY_S_MAX = 60.0
PAUSE_S = 1.0
DEBOUNCE_S_MAX = 2.0


REACTION_S = telemetry.histogram("caseflow_reaction_seconds", "Time of one reaction to one event", "reaction")
Observer = Callable[[Recorded[Any]], Awaitable[None]]


class ReactionRunner:
    """Runs the reactions of one service on every log stream until cancelled."""

    def __init__(
        self,
        *,
        application: Application,
        reactions: Sequence[Reaction],
        observers: Mapping[str, Observer] = MappingProxyType({}),
        debounce_s: float = 0.0,
    ) -> None:
        """`observers`: type of event (or `*`) -> what else hears of it. `debounce_s`: how long to rest between batches,
        for reactions that depend on where a case comes to rest.
        """
        identity, data, runtime = application.identity, application.data, application.runtime
        self.owner = identity.owner
        self._debounce_s = debounce_s
        self._fetch_count = FETCH_COUNT_MAX if not debounce_s else DEBOUNCED_COUNT_MAX
        self._by_event: dict[type[Any], list[Reaction]] = {}
        for reaction in reactions:
            for event in reaction.events:
                self._by_event.setdefault(event, []).append(reaction)
        self._application, self._handler = application, application.handler
        self._log, self._vault = data.log, data.vault
        self._runtime, self._clock = runtime, runtime.clock
        self._reference_data, self._actor = identity.reference_data, identity.service_actor
        self._dead_letters = DeadLetters(self.owner, data.streams, runtime.telemetry)
        self._observers = observers
        self._durables: dict[str, Durable] = {}
        runtime.telemetry.before_reading(self._measure)

    async def _measure(self) -> None:
        for stream, durable in self._durables.items():
            behind = await durable.behind()
            self._runtime.telemetry.set(BEHIND, behind, f"{self.owner}.reactions", stream)

    async def run(self) -> None:
        """React on all streams; returns only by cancellation."""
        async with asyncio.TaskGroup() as group:
            for stream in self._log.streams():
                group.create_task(self._follow(stream), name=f"react.{self.owner}.{stream}")

    async def _follow(self, stream: str) -> None:
        try:
            await self._follow_on(stream)
        finally:
            self._runtime.load_gate.follows(self.owner, stream, False)

    async def _follow_on(self, stream: str) -> None:
        durable: Durable | None = None
        while True:
            try:
                durable = durable or await self._log.durable(stream, f"{self.owner}-reactions")
                self._durables[stream] = durable
                count = await self.step(durable, FETCH_WAIT_S)
                await self._rest(stream, count)
                await self._runtime.load_gate.breathe(self._clock, self.owner)
            except (LogUnavailable, Unavailable):  # the log, or the vault that a batch asks for its keys
                self._runtime.load_gate.follows(self.owner, stream, False)  # nobody waits for who cannot go on
                await self._clock.sleep(PAUSE_S)
            except DurableMissing:
                # every reaction is idempotent: starting again from the first event repeats nothing
                telemetry.warn("durable missing, made anew from the first event", stream=stream, service=self.owner)
                durable = None

    async def _rest(self, stream: str, count: int) -> None:
        """After a batch, with nothing in hand: what a process holds that is killed comes again much later.

        Where a case comes to stand is up to other reactors: for those that are behind, one that lingers waits too.
        """
        full = count == self._fetch_count
        if not self._debounce_s:
            self._runtime.load_gate.follows(self.owner, stream, full)
            if not count:
                await self._clock.sleep(0)
            return
        give_up_at = self._clock.monotonic() + DEBOUNCE_S_MAX
        if count and not full:
            await self._clock.sleep(self._debounce_s)
        while self._runtime.load_gate.behind(stream) and self._clock.monotonic() < give_up_at:
            await self._clock.sleep(self._debounce_s)

    async def step(self, durable: Durable, wait_s: float) -> int:
        """Fetch what is there and work it, as many at once as the pace allows; how many messages that was."""
        deliveries = await durable.fetch(self._fetch_count, wait_s)
        if deliveries:
            await self._runtime.failpoints.hit("react.fetched")
            with self._runtime.telemetry.span(f"react.{self.owner}", count=len(deliveries)):
                await self._fetch_keys([delivery.recorded for delivery in deliveries])
                todo = _by_case(deliveries)
                workers = (self._work_all(todo) for _ in range(min(self._runtime.load_gate.slots, len(deliveries))))
                for failed in filter(None, await asyncio.gather(*workers, return_exceptions=True)):
                    raise failed
        return len(deliveries)

    async def _fetch_keys(self, batch: Sequence[Recorded[Any]]) -> None:
        """The keys that this batch needs, in one question; the vault remembers them."""
        wanted = [r.address.id for r in batch if any(one.unseals for one in self._by_event.get(type(r.event), ()))]
        if len(wanted) > 1:
            await self._vault.keys(wanted)

    async def _work_all(self, todo: Iterator[list[Delivery]]) -> None:
        for deliveries in todo:
            newest, silent = deliveries[-1].recorded, False
            for delivery in deliveries:
                if silent:  # what did not answer for the one before it would keep the rest in hand too long
                    await delivery.nack(DELAY_S_MIN)
                else:
                    silent = await self._work(delivery, newest)

    async def _work(self, delivery: Delivery, newest: Recorded[Any]) -> bool:
        """React and acknowledge; True where the log or the vault gave no answer."""
        try:
            await self.react(delivery.recorded, newest)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever went wrong, the message comes again or is parked: never lost
            await self._again_or_park(delivery, error)
            return _patient(error)
        await self._runtime.failpoints.hit("react.handled")
        await delivery.ack()
        await self._runtime.failpoints.hit("react.acked")
        return False

    async def _again_or_park(self, delivery: Delivery, error: Exception) -> None:
        if _patient(error) or delivery.attempts < ATTEMPTS_COUNT_MAX:
            await delivery.nack(min(DELAY_S_MIN * 2 ** min(delivery.attempts, 16), DELAY_S_MAX))
            return
        reason = type(error).__name__  # never its text: it may quote content
        telemetry.warn("parked", service=self.owner, event=delivery.recorded.id, reason=reason)
        await self._dead_letters.park_event(f"{self.owner}-reactions", delivery.recorded, reason)
        await self._runtime.failpoints.hit("react.parked")
        await delivery.term()

    async def react(self, recorded: Recorded[Any], newest: Recorded[Any] | None = None) -> None:
        """Do whatever follows from one event, of a case in which `newest` has happened too.

        Raises what went wrong; doing it again is harmless.
        """
        if isinstance(recorded.event, Unknown):
            return
        for reaction in self._by_event.get(type(recorded.event), ()):
            held = await self._handler.state_since(newest or recorded)
            opened = await self._opened(recorded) if reaction.unseals else recorded
            if opened is not None:
                began = self._clock.monotonic()
                await self._follow_up(reaction, opened, held)
                self._runtime.telemetry.observe(REACTION_S, self._clock.monotonic() - began, reaction.name)
        observer = self._observers.get(recorded.type) or self._observers.get("*")
        if observer is not None:
            await observer(recorded)

    async def _follow_up(self, reaction: Reaction, cause: Recorded[Any], held: Versioned) -> None:
        """Decide on the case as known here; what the law refuses while the case went on meanwhile is decided anew."""
        while True:
            refused = []
            for request in reaction.decide(cause, held.state, self._reference_data):
                outcome = await self._execute(reaction, cause, held.state, request)
                if isinstance(outcome, Rejected):
                    refused.append((request, outcome))
            if any(outcome.reason is Reason.NEWER_EVENT for _, outcome in refused):
                raise Unavailable("the case holds an event newer than this program")
            newest = await self._handler.state(cause.address) if refused else held
            if newest.sequence == held.sequence:
                break
            held = newest
        if reaction.refused is not None:
            for request, outcome in refused:
                for other in reaction.refused(cause, request, outcome):
                    await self._execute(reaction, cause, held.state, other)

    async def _execute(
        self, reaction: Reaction, cause: Recorded[Any], state: Any, request: CommandRequest
    ) -> Committed | Rejected:
        now = self._clock.now()
        meta = Meta(
            command_id=derived_id(reaction.name, cause.id, request.address.subject, request.name + request.what),
            # a case under import lives by the clock of its file, so does what follows from it; nothing comes before its
            # cause, also where another machine's clock is ahead of ours
            time=cause.meta.time if _imported(state) else max(now, cause.meta.time),
            recorded_at=now,
            actor=self._actor(request.address),
            causation_id=cause.id,
            correlation_id=cause.meta.correlation_id or cause.id,
            traceparent=cause.meta.traceparent,
        )
        try:
            origin = Origin(reaction.name, request.address.id, cause.id.encode())
            return await self._application.decide(command(request.address, meta, request.name, request.facts), origin)
        except KeyErased:  # it was born, lived and was erased since: a message that comes again finds its key gone
            return Rejected(Reason.ERASED)

    async def _opened(self, recorded: Recorded[Any]) -> Recorded[Any] | None:
        try:
            key = await self._vault.key(recorded.address.id)
        except KeyErased:
            return None
        event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
        return Recorded(recorded.id, recorded.address, recorded.meta, event, recorded.position)


def _by_case(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """What a batch holds of each case, in order: side by side they would decide the same, and all but one in vain.

    What comes again may come behind what is newer.
    """
    cases: dict[str, list[Delivery]] = {}
    for delivery in sorted(deliveries, key=lambda one: one.recorded.position.sequence if one.recorded.position else 0):
        cases.setdefault(delivery.recorded.address.subject, []).append(delivery)
    return iter(cases.values())


def _patient(error: Exception) -> bool:
    """Whether it is enough to wait."""
    return isinstance(error, LogUnavailable | Unavailable)


def _imported(state: Any) -> bool:
    return "import" in getattr(state, "holds", ())
