"""The clients of people, platforms and imports, and the check of each answer at its arrival.

An answer is judged against the states of the log between request and answer. A refusal must be right for one of these
states, an accepted command must be on the log, and a command accepted once is accepted again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.supervision.enrichers import suspended_clock
from shared.case.base import FILLED, Facts, Owner, Position, Recorded
from shared.case.commands import Command
from shared.case.lifecycle import Status
from shared.case.reasons import Reason, Rejected
from shared.kit import access
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.command_handler import Committed
from shared.kit.problems import ProblemError, Unavailable
from shared.log.port import LogUnavailable
from tests.sim.hours import library
from tests.sim.law import LAWS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

TRIES_COUNT_MAX = 6
# The answers other than "done" that name no reason of the law.
PERMITTED = frozenset({"access.refused", "not_registered"})
UNNAMED = frozenset("unit.unknown person.unknown region.unknown centre.unknown clock.several content.erased".split())
OTHER_BODY = "idempotency.key_reused"
LOST = "lost"  # no answer: the process died, or the log or the database did not answer


@dataclass
class Asked:
    """A command as its sender knows it, with the answers so far."""

    command: Command
    caller: Caller | None
    body: str = ""
    answers: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return "done" in self.answers

    @property
    def unknown(self) -> bool:
        return LOST in self.answers


class Client:
    """Sends commands to a running copy of a service and judges the answers."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def send(self, asked: Asked, owner: Owner, do: Callable[[Process], Awaitable[Any]], patient: bool) -> str:
        """Send until there is an answer, at most TRIES_COUNT_MAX times; returns the last answer."""
        answer = LOST
        for attempt in range(TRIES_COUNT_MAX):
            if attempt:
                await asyncio.sleep(0.2 + 3 * self.world.chance.random())
            answer = await self._once(asked, owner, do)
            if answer != LOST or (not patient and self.world.chance.random() < 0.5):
                break
        return answer

    async def until_answered(self, asked: Asked, owner: Owner, do: Callable[[Process], Awaitable[Any]]) -> str:
        """Send until there is an answer."""
        while (answer := await self.send(asked, owner, do, patient=True)) == LOST:
            await asyncio.sleep(1)
        return answer

    async def _once(self, asked: Asked, owner: Owner, do: Callable[[Process], Awaitable[Any]]) -> str:
        process = await self.world.copy_of(owner)
        subject = asked.command.address.subject
        stood = self._stands(asked.command)
        before = len(self.world.log.events(subject))
        task = process.group.start(_answered_by(process, do))
        await asyncio.wait([task])
        after = len(self.world.log.events(subject))
        if task.cancelled():
            asked.answers.append(LOST)
            return LOST
        error = task.exception()
        if error is None:
            answer = self._answered(asked, task.result(), stood, before, after)
        else:
            answer = self._failed(asked, error, stood, before, after)
        asked.answers.append(answer)
        return answer

    def _stands(self, command: Command) -> bool:
        ids = (event.meta.command_id for event in self.world.log.events(command.address.subject))
        return command.meta.command_id in ids

    def _answered(self, asked: Asked, result: Any, stood: bool, before: int, after: int) -> str:
        """Judge a Committed, a Rejected, or an Answer over HTTP."""
        if isinstance(result, Rejected):
            self._rejection(asked, result.reason.code, stood, before, after)
            return result.reason.code
        command = asked.command
        if not self._stands(command):
            self.world.violated("acknowledged, and not on the log", command)
        events = self.world.log.events(command.address.subject)
        events = [entry for entry in events if entry.meta.command_id == command.meta.command_id]
        event = events[0] if events else None
        if len(events) > 1:
            self.world.violated("acknowledged, and on the log twice", command)
        if isinstance(result, Committed):
            event_id, position = result.recorded.id if result.recorded else None, result.position
        else:
            event_id, position = result.event, Position.parse(result.position)
        if event is not None and asked.caller is not None:
            self._permitted(asked, event)
        if event is not None and event_id is not None and (event_id != event.id or position != event.position):
            self.world.violated("acknowledged as another event, or at another place", command)
        if OTHER_BODY in asked.answers:
            self.world.violated("accepted after another body was said to stand", command)
        return "done"

    def _permitted(self, sent: Asked, event: Recorded[Any]) -> None:
        """A command on the log: the rights allowed it in some state before its event, and its references exist."""
        command, caller = sent.command, sent.caller
        assert caller is not None
        creates = access.is_creation(command.name)
        count = self.world.log.events(command.address.subject).index(event)
        states = [None] if creates else [self.world.state(command.address, n) for n in range(1, count + 1)]
        if all(access.refusal(caller, command, state) is not None for state in states):
            self.world.violated("accepted without the right", command)
        known, unit = library(), getattr(command.facts, "unit", None)
        if unit is not None and not known.has_unit(unit):
            self.world.violated("accepted for a unit that there is not", command)

    def _failed(self, asked: Asked, error: BaseException, stood: bool, before: int, after: int) -> str:
        if isinstance(error, Unavailable | LogUnavailable):
            return LOST
        if not isinstance(error, ProblemError):
            self.world.violated(f"failed with {type(error).__name__}: {error}", asked.command, error)
            return "error"
        code = error.problem.code
        if code in PERMITTED and asked.caller is not None:
            self._refusal(asked, code, stood, before, after)
        elif code == OTHER_BODY:
            if asked.accepted or not self.world.has_twin(asked):
                self.world.violated("said to be another body, and there is none", asked.command)
        elif code in _CODES:
            self._rejection(asked, code, stood, before, after)
        elif code not in UNNAMED:
            self.world.violated(f"answered {code}: {error}", asked.command, error)
        return code

    def _rejection(self, asked: Asked, code: str, stood: bool, before: int, after: int) -> None:
        """Check that the law gives this reason in one of the states between request and answer."""
        command = asked.command
        if stood or asked.accepted:
            self.world.violated(f"rejected ({code}), though it stands", command)
            return
        for count in range(before, after + 1):
            verdict = LAWS[command.address.kind].decide(command, self.world.state(command.address, count))
            if isinstance(verdict, Rejected) and verdict.reason.code == code:
                return
        in_another = self._of_the_merged(command) or self._goes_on_elsewhere(command, before, after)
        by_enricher = code in (Reason.SELF_APPROVAL.code, Reason.SECOND_PERSON_NEEDED.code)
        own = by_enricher and self._of_their_own(asked, before, after)
        if not (in_another or own or self._nothing_still(command, code, before, after)):
            self.world.violated(f"rejected ({code}) for no state the case was in", command)

    def _of_the_merged(self, command: Command) -> bool:
        """Whether the answer may concern the case that an attachment would merge."""
        return command.name == "attach" and getattr(command.facts, "merged_from", None) is not None

    def _goes_on_elsewhere(self, command: Command, before: int, after: int) -> bool:
        """Whether the answer may concern the case in which a merged case goes on, or a merge of another moment."""
        states = (self.world.state(command.address, count) for count in range(before, after + 1))
        forwarded = command.name in ("supplement", "rate", "unmerge")
        return forwarded and any(state.status is Status.MERGED for state in states)

    def _of_their_own(self, asked: Asked, before: int, after: int) -> bool:
        """Whether the caller, or whom the caller stands in for, asked for what is approved or has the case in hand."""
        caller, command = asked.caller, asked.command
        events = self.world.log.events(command.address.subject)[:after]
        requests = (recorded for recorded in events if recorded.type.endswith(("_requested", ".answered")))
        actors = [recorded.meta.actor for recorded in requests]
        concerned = {name for actor in actors for name in (actor.person, actor.acting_for)}
        if command.address.kind == "case":
            states = (self.world.state(command.address, count) for count in range(before, after + 1))
            concerned |= {state.person_of(getattr(command.facts, "unit", None)) for state in states}
        return caller is not None and not concerned.isdisjoint(caller.people)

    def _nothing_still(self, command: Command, code: str, before: int, after: int) -> bool:
        """Whether no clock could be resumed, which the enricher checks before the law."""
        states = (self.world.state(command.address, count) for count in range(before, after + 1))
        return command.name == "resume" and any(_still(state, command) == code for state in states)

    def _refusal(self, asked: Asked, code: str, stood: bool, before: int, after: int) -> None:
        command, caller = asked.command, asked.caller
        assert caller is not None
        if stood or asked.accepted:
            self.world.violated(f"refused ({code}), though it stands", command)
            return
        for count in range(before, after + 1):
            if not count or access.refusal(caller, command, self.world.state(command.address, count)) is not None:
                return
        if not (self._of_the_merged(command) or self._goes_on_elsewhere(command, before, after)):
            self.world.violated(f"refused ({code}) for no state the case was in", command)


def _still(state: Any, command: Command) -> str:
    try:
        suspended_clock(state, command)
    except ProblemError as error:
        return error.problem.code
    return ""


async def _answered_by(process: Process, do: Callable[[Process], Awaitable[Any]]) -> Any:
    """A request, which goes before the background work of a process at the load gate."""
    with process.runtime.load_gate.answering():
        return await do(process)


def _reason_codes() -> frozenset[str]:
    from shared.case.reasons import Reason

    return frozenset(reason.code for reason in Reason)


_CODES = _reason_codes()


def over_http(asked: Asked) -> Callable[[Process], Awaitable[Any]]:
    """A request of a person, through all steps of the application layer."""
    caller, first = asked.caller, asked.command
    assert caller is not None
    sent = replace(first, facts=_as_in_a_body(first.facts))

    async def do(process: Process) -> Any:
        application = process.application
        enricher = application._enrichers.get(first.name)

        async def noted(application: Application, caller: Caller, command: Command) -> Command:
            assert enricher is not None
            asked.command = await enricher(application, caller, command)
            return asked.command

        # the judge needs the enriched command, so the enricher of this request notes it
        own = copy(application)
        own._enrichers = {first.name: noted} if enricher else {}
        asked.command = first
        return await own.execute(caller, sent)

    return do


def _as_in_a_body(facts: Facts) -> Facts:
    """Facts without those that the service fills in, which no body holds."""
    fields = type(facts).model_fields
    return facts.model_construct(
        **{name: getattr(facts, name) for name in fields if FILLED not in fields[name].metadata}
    )


def by_itself(asked: Asked) -> Callable[[Process], Awaitable[Any]]:
    """A decision of the service itself, for a timer or an import."""
    return lambda process: process.application.decide(asked.command)
