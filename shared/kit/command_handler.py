"""The I/O shell around the law: load the state, decide, seal, append, remember.

Inside a process each aggregate has a queue, so that its commands are decided one after the other. Between processes the
log accepts an event only behind the sequence that it was decided on. On a conflict the handler loads the newer events
and decides again, with jittered backoff, for at most RETRY_S_MAX seconds.

An acceptance may rest on a cached state, since the log checks the sequence. A rejection and an "applied already" rest
on the newest state, read from the leader of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from shared.case.base import Address, Event, Position, Recorded
from shared.case.catalogue import CREATES
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, Verdict, decide
from shared.case.orders import NEW_ORDER, decide_order, evolve_order
from shared.case.reasons import Rejected
from shared.case.state import NEW, evolve
from shared.kit import telemetry
from shared.kit.aggregate_cache import StateChange, Versioned
from shared.kit.preconditions import UNCHECKED, Precondition, Unmet, judged
from shared.kit.problems import Unavailable
from shared.kit.runtime import Runtime
from shared.kit.seal import seal_fields
from shared.kit.vault import Vault
from shared.log import port as log_port
from shared.log.port import Log

RETRY_S_MAX = 2.0
BACKOFF_S_MIN = 0.002
BACKOFF_S_MAX = 0.1

RETRIES = telemetry.counter("caseflow_command_retries_total", "Commands decided again, by the cause", "reason")


@dataclass(frozen=True, slots=True)
class Decider:
    """The law of one kind of aggregate."""

    new: Any
    decide: Callable[[Command, Any], Verdict]
    evolve: Callable[[Any, Recorded[Any]], Any]


DECIDERS: dict[str, Decider] = {
    "case": Decider(NEW, decide, evolve),
    "order": Decider(NEW_ORDER, decide_order, evolve_order),
}


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a command: the state after it, the position of the last event, and the new event.

    `recorded` is None when the command was applied before.
    """

    state: Any
    position: Position
    recorded: Recorded[Any] | None


class CommandHandler:
    """Decides commands on the log of one service. Safe to call from many tasks at once."""

    def __init__(self, *, log: Log, vault: Vault, runtime: Runtime) -> None:
        self._log, self._vault = log, vault
        self._clock, self._failpoints = runtime.clock, runtime.failpoints
        self._aggregates, self._telemetry = runtime.aggregates, runtime.telemetry

    async def handle(self, command: Command, precondition: Precondition = UNCHECKED) -> Committed | Rejected | Unmet:
        """Decide a command and append its event, exactly once however often it is sent.

        An unmet precondition, like a rejection, rests on the newest state; an acceptance on the state that it names.
        Raises Unavailable when the log gave no answer for RETRY_S_MAX seconds, or when the vault gives none: the same
        command may be sent again. Raises KeyErased when the key of the content is destroyed, AlreadySealed,
        EventTooLarge.
        """
        async with self._aggregates.queue(command.address.subject):
            return await self._until_settled(command, precondition)

    async def state(self, address: Address, fresh: bool = False) -> Versioned:
        """The state of an aggregate, cached or read; with `fresh` newer events are read first. Raises Unavailable."""
        held = self._aggregates.get(address.subject)
        if held is None or fresh:
            held = await self._top_up(address, held)
        return held

    def prime(self, address: Address, held: Versioned) -> None:
        """Cache a state that a read model holds, unless the cache holds a newer one.

        A state that met an event newer than the program that folded it is left out: this program may know the event.
        """
        if not held.state.newer_event:
            self._aggregates.remember(address.subject, held)

    async def state_since(self, recorded: Recorded[Any]) -> Versioned:
        """The state of an aggregate, at least as new as this event. Raises Unavailable.

        A reaction to the event may decide on it, since later events bring reactions of their own.
        """
        address, position = recorded.address, recorded.position
        assert position is not None, "what is read has its position"
        held = self._aggregates.get(address.subject)
        if held is None and (after := self._after(recorded)) is not None:
            held = Versioned(after, position.sequence)
            self._aggregates.remember(address.subject, held)
        if held is None or held.sequence < position.sequence:
            held = await self._top_up(address, held)
        return held

    def _after(self, recorded: Recorded[Any]) -> Any:
        """The state after an event when no read is needed: the change is cached, or the event is the first one."""
        if made := self._aggregates.made(recorded):
            return made.after
        law = DECIDERS[recorded.address.kind]
        return law.evolve(law.new, recorded) if type(recorded.event) in CREATES else None

    async def _until_settled(self, command: Command, precondition: Precondition) -> Committed | Rejected | Unmet:
        give_up_at = self._clock.monotonic() + RETRY_S_MAX
        backoff_s = BACKOFF_S_MIN
        fresh = False
        while True:
            try:
                return await self._once(command, precondition, fresh)
            except (log_port.LogConflict, log_port.LogUnavailable) as error:
                self._telemetry.add(RETRIES, "conflict" if isinstance(error, log_port.LogConflict) else "unavailable")
                if self._clock.monotonic() + backoff_s >= give_up_at:
                    raise Unavailable("The log gave no answer in time; the same command may be sent again.") from error
            await self._clock.sleep(backoff_s * (0.5 + self._clock.random()))
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
            fresh = True

    async def _once(self, command: Command, precondition: Precondition, fresh: bool) -> Committed | Rejected | Unmet:
        address = command.address
        law = DECIDERS[address.kind]
        held = self._aggregates.get(address.subject)
        if held is None and COMMANDS[command.name].event in CREATES:
            held = Versioned(law.new)  # as a rule there is no event yet; the log checks it
        guessed = held is not None and not fresh
        if held is None or fresh:
            held = await self._top_up(address, held)
        await self._failpoints.hit("handle.loaded")
        verdict = _verdict(law, command, held.state, precondition)
        if guessed and not (isinstance(verdict, Accepted) and verdict.recorded):
            held = await self._top_up(address, held)
            verdict = _verdict(law, command, held.state, precondition)
        if isinstance(verdict, Rejected | Unmet):
            return verdict
        if verdict.recorded is None:
            return Committed(held.state, self._position(address, held), None)
        await self._failpoints.hit("handle.decided")
        sealed = await self._sealed(verdict.recorded)
        position = await self._log.append(sealed, held.sequence)
        await self._failpoints.hit("handle.appended")
        sealed = replace(sealed, position=position)
        after = law.evolve(held.state, sealed)
        self._aggregates.note(sealed, StateChange(held.state, after, held.sequence, position.sequence))
        self._aggregates.remember(address.subject, Versioned(after, position.sequence))
        return Committed(after, position, sealed)

    async def _sealed(self, recorded: Recorded[Any]) -> Recorded[Any]:
        event: Event = recorded.known
        if all(getattr(event, name) is None for name in event.PRIVATE):
            return recorded
        key = await self._vault.key(recorded.address.id)
        sealed = seal_fields(event, key, recorded.address.id, recorded.id, self._clock)
        return Recorded(recorded.id, recorded.address, recorded.meta, sealed)

    async def _top_up(self, address: Address, held: Versioned | None) -> Versioned:
        law = DECIDERS[address.kind]
        held = held or Versioned(law.new)
        try:
            newer = await self._log.load(address, held.sequence)
        except log_port.LogUnavailable as error:
            raise Unavailable("The log does not answer.") from error
        state = held.state
        for recorded in newer:
            state = law.evolve(state, recorded)
        if newer:
            last = newer[-1].position
            assert last is not None, "what is loaded has its position"
            held = Versioned(state, last.sequence)
        if held.sequence:
            self._aggregates.remember(address.subject, held)
        return held

    def _position(self, address: Address, held: Versioned) -> Position:
        return Position(self._log.stream_of(address), held.sequence)


def _verdict(law: Decider, command: Command, state: Any, precondition: Precondition) -> Verdict | Unmet:
    verdict = law.decide(command, state)
    return judged(verdict, command, state, precondition) or verdict


def command(address: Address, meta: Any, name: str, facts: Any) -> Command:
    """A command of the catalogue. Raises TypeError when the facts are not the command's own: a mistake of ours."""
    spec = COMMANDS[name]
    if not isinstance(facts, spec.facts) or address.kind != spec.kind:
        raise TypeError(f"{name} of a {spec.kind} takes {spec.facts.__name__}, got {type(facts).__name__}")
    return Command(address, meta, name, facts)
