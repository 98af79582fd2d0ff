"""Reactions: the commands that follow from an event. One durable consumer per service and stream.

A reaction must not depend on the order or the count of deliveries. It reads the case as it is now and returns the
commands that should follow. These are decided like any other command, and their ids derive from the event, so that a
redelivery changes nothing.

A batch that is not full is worked at once. A delivery that fails is redelivered after a growing delay. A delivery that
fails too often, or cannot be read, is parked with its reason for the operator. FastStream's pull subscriber is not used
here: it spins when its durable is gone, waits until a batch is full, and uses up all deliveries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from shared.case.base import Meta, Recorded, Unknown, derived_id
from shared.case.reasons import Reason, Rejected
from shared.kit import access, telemetry
from shared.kit.aggregate_cache import Versioned
from shared.kit.application import Application, Origin
from shared.kit.command_handler import Committed, command
from shared.kit.effects import CommandRequest, Reaction
from shared.kit.problems import Unavailable
from shared.kit.retry import ATTEMPTS_COUNT_MAX, DELAY_S_MIN, PAUSE_S, delay_s
from shared.kit.seal import unseal_fields
from shared.kit.telemetry import BEHIND
from shared.kit.vault import KeyErased
from shared.log.port import Delivery, Durable, DurableMissing, LogUnavailable
from shared.log.topology import durable_of_reactions

FETCH_COUNT_MAX = 256
DEBOUNCED_COUNT_MAX = 1024
FETCH_WAIT_S = 5.0
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
        """`observers`: type of event (or `*`) -> a function that is called with each such event. `debounce_s`: the
        pause between two batches, for reactions to a case that changes several times in a moment.
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
        self._dead_letters = application.dead_letters
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
                durable = durable or await self._log.durable(stream, durable_of_reactions(self.owner))
                self._durables[stream] = durable
                count = await self.step(durable, FETCH_WAIT_S)
                await self._rest(stream, count)
                await self._runtime.load_gate.breathe(self._clock, self.owner)
            except (LogUnavailable, Unavailable):  # of the log, or of the vault that holds the keys of the batch
                self._runtime.load_gate.follows(self.owner, stream, False)  # it cannot go on: none waits for it
                await self._clock.sleep(PAUSE_S)
            except DurableMissing:
                # Every reaction is idempotent, so that a start from the first event repeats nothing.
                telemetry.warn("durable missing, made again from the first event", stream=stream, service=self.owner)
                durable = None

    async def _rest(self, stream: str, count: int) -> None:
        """Pause after a batch, while this process holds no delivery: a delivery of a killed process comes much later.

        A runner that debounces also waits for the other runners that are behind, since these change the same cases.
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
        """Fetch the deliveries that are there and work them, as many at once as the load gate allows; their count."""
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
        """Read the keys that this batch needs in one query; the vault caches them."""
        ids = [r.address.id for r in batch if any(each.unseals for each in self._by_event.get(type(r.event), ()))]
        if len(ids) > 1:
            await self._vault.keys(ids)

    async def _work_all(self, todo: Iterator[list[Delivery]]) -> None:
        for deliveries in todo:
            newest, silent = deliveries[-1].recorded, False
            for delivery in deliveries:
                if silent:  # a log or vault that gave no answer once would hold the rest too long
                    await delivery.nack(DELAY_S_MIN)
                else:
                    silent = await self._work(delivery, newest)

    async def _work(self, delivery: Delivery, newest: Recorded[Any]) -> bool:
        """React and acknowledge; True when the log or the vault gave no answer."""
        try:
            await self.react(delivery.recorded, newest)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # any failure: the delivery comes again or is parked, and is never lost
            await self._again_or_park(delivery, error)
            return _patient(error)
        await self._runtime.failpoints.hit("react.handled")
        await delivery.ack()
        await self._runtime.failpoints.hit("react.acked")
        return False

    async def _again_or_park(self, delivery: Delivery, error: Exception) -> None:
        if _patient(error) or delivery.attempts < ATTEMPTS_COUNT_MAX:
            await delivery.nack(delay_s(delivery.attempts))
            return
        reason = type(error).__name__  # never its text: it may quote content
        telemetry.warn("parked", service=self.owner, event=delivery.recorded.id, reason=reason)
        await self._dead_letters.park_event(durable_of_reactions(self.owner), delivery.recorded, reason)
        await self._runtime.failpoints.hit("react.parked")
        await delivery.term()

    async def react(self, recorded: Recorded[Any], newest: Recorded[Any] | None = None) -> None:
        """Execute the commands that follow from one event. `newest`: the newest event of the same case at hand.

        Raises the failure of a command; the whole may be repeated.
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
        """Decide on the cached state; decide again when the law refused a command and the case has changed since."""
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
            # An imported case has the times of its file, and so have the commands that follow. No command is earlier
            # than its cause, also when the clock of another machine is ahead.
            time=cause.meta.time if _imported(state) else max(now, cause.meta.time),
            recorded_at=now,
            actor=self._actor(request.address),
            causation_id=cause.id,
            correlation_id=cause.meta.correlation_id or cause.id,
            traceparent=cause.meta.traceparent,
        )
        try:
            creates = access.is_creation(request.name)
            origin = Origin(reaction.name, request.address.id, cause.id.encode()) if creates else None
            requested = command(request.address, meta, request.name, request.facts)
            outcome = await self._application.decide(requested, origin)
        except KeyErased:  # the case was erased after the first delivery of this event
            return Rejected(Reason.ERASED)
        if request.to_survivor and isinstance(outcome, Rejected) and outcome.reason is Reason.CASE_MERGED:
            survivor, _ = await self._application.survivor(request.address)
            return await self._execute(reaction, cause, state, replace(request, address=survivor))
        return outcome

    async def _opened(self, recorded: Recorded[Any]) -> Recorded[Any] | None:
        try:
            key = await self._vault.key(recorded.address.id)
        except KeyErased:
            return None
        event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
        return Recorded(recorded.id, recorded.address, recorded.meta, event, recorded.position)


def _by_case(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """The deliveries of each case, in the order of the log: side by side they would conflict with each other.

    They are sorted, since a redelivery may come behind newer events.
    """
    cases: dict[str, list[Delivery]] = {}
    for delivery in sorted(deliveries, key=_sequence):
        cases.setdefault(delivery.recorded.address.subject, []).append(delivery)
    return iter(cases.values())


def _sequence(delivery: Delivery) -> int:
    position = delivery.recorded.position
    return position.sequence if position else 0


def _patient(error: Exception) -> bool:
    """Whether the failure ends by itself, when the log or the vault answers again."""
    return isinstance(error, LogUnavailable | Unavailable)


def _imported(state: Any) -> bool:
    return "import" in getattr(state, "holds", ())
