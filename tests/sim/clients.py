"""How people, platforms and imports ask, and what must be true of every answer at the moment it is given.

An answer is judged against what the log held between asking and answering: a refusal must be right for one of these
states, an acceptance must stand on the log, and whatever was accepted once is accepted again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.supervision.enrichers import suspended_clock
from shared.case.base import Owner, Position, Recorded
from shared.case.commands import Command
from shared.case.reasons import Rejected
from shared.kit import access
from shared.kit.access import Caller
from shared.kit.command_handler import Committed
from shared.kit.problems import ProblemError, Unavailable
from shared.log.port import LogUnavailable
from tests.sim.hours import library
from tests.sim.law import LAWS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

TRIES_COUNT_MAX = 6
# What an answer may be, other than done, when no reason of the law is named.
PERMITTED = frozenset({"access.refused", "not_registered"})
UNNAMED = frozenset("unit.unknown person.unknown region.unknown centre.unknown clock.several content.erased".split())
OTHER_BODY = "idempotency.key_reused"
LOST = "lost"  # no answer: the process died, or the log or a database was silent


@dataclass
class Asked:
    """One command as its sender knows it: under which id, and what was answered so far."""

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
    """Sends commands to whichever copy of a service is up, and judges what comes back."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def send(self, asked: Asked, owner: Owner, do: Callable[[Process], Awaitable[Any]], patient: bool) -> str:
        """Ask until there is an answer, or until patience ends; what was answered last."""
        answer = LOST
        for attempt in range(TRIES_COUNT_MAX):
            if attempt:
                await asyncio.sleep(0.2 + 3 * self.world.chance.random())
            answer = await self._once(asked, owner, do)
            if answer != LOST or (not patient and self.world.chance.random() < 0.5):
                break
        return answer

    async def until_answered(self, asked: Asked, owner: Owner, do: Callable[[Process], Awaitable[Any]]) -> str:
        """Ask for as long as it takes."""
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
        ids = (one.meta.command_id for one in self.world.log.events(command.address.subject))
        return command.meta.command_id in ids

    def _answered(self, asked: Asked, result: Any, stood: bool, before: int, after: int) -> str:
        """The answer is Done, Rejected, or an Answer over HTTP."""
        if isinstance(result, Rejected):
            self._rejection(asked, result.reason.code, stood, before, after)
            return result.reason.code
        command = asked.command
        if not self._stands(command):
            self.world.violated("acknowledged, and not on the log", command)
        events = self.world.log.events(command.address.subject)
        events = [one for one in events if one.meta.command_id == command.meta.command_id]
        event = events[0] if events else None
        if len(events) > 1:
            self.world.violated("acknowledged, and on the log twice", command)
        if isinstance(result, Committed):
            told, place = result.recorded.id if result.recorded else None, result.position
        else:
            told, place = result.event, Position.parse(result.position)
        if event is not None and asked.caller is not None:
            self._permitted(asked, event)
        if event is not None and told is not None and (told != event.id or place != event.position):
            self.world.violated("acknowledged as another event, or at another place", command)
        if OTHER_BODY in asked.answers:
            self.world.violated("accepted after another body was said to stand", command)
        return "done"

    def _permitted(self, asked: Asked, event: Recorded[Any]) -> None:
        """Somebody's command stands: the rights allowed it for some state before its event, its references exist."""
        command, caller = asked.command, asked.caller
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
        """The law gave this reason for one of the states between asking and answering."""
        command = asked.command
        if stood or asked.accepted:
            self.world.violated(f"rejected ({code}), though it stands", command)
            return
        for count in range(before, after + 1):
            verdict = LAWS[command.address.kind].decide(command, self.world.state(command.address, count))
            if isinstance(verdict, Rejected) and verdict.reason.code == code:
                return
        if not (self._of_the_merged(command) or self._nothing_still(command, code, before, after)):
            self.world.violated(f"rejected ({code}) for no state the case was in", command)

    def _of_the_merged(self, command: Command) -> bool:
        """Whether the answer may be about the case that an attachment would merge."""
        return command.name == "attach" and getattr(command.facts, "merged_from", None) is not None

    def _nothing_still(self, command: Command, code: str, before: int, after: int) -> bool:
        """Whether no clock could be told to go on, which is asked before the law is."""
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
        if not self._of_the_merged(command):
            self.world.violated(f"refused ({code}) for no state the case was in", command)


def _still(state: Any, command: Command) -> str:
    try:
        suspended_clock(state, command)
    except ProblemError as error:
        return error.problem.code
    return ""


async def _answered_by(process: Process, do: Callable[[Process], Awaitable[Any]]) -> Any:
    """A request, which the desk makes before all else that a process does."""
    with process.runtime.load_gate.answering():
        return await do(process)


def _reason_codes() -> frozenset[str]:
    from shared.case.reasons import Reason

    return frozenset(reason.code for reason in Reason)


_CODES = _reason_codes()


def over_http(asked: Asked) -> Callable[[Process], Awaitable[Any]]:
    """As a person's request: through every step of the application layer."""
    caller, first = asked.caller, asked.command
    assert caller is not None

    async def do(process: Process) -> Any:
        application = process.application
        enricher = application._enrichers.get(first.name)

        async def noted(application: Any, caller: Any, command: Command, state: Any) -> Command:
            asked.command = await enricher(application, caller, command, state) if enricher else command
            return asked.command

        # noted for the length of this request: the judge must know the command that the law was asked
        own = copy(application)
        own._enrichers = {first.name: noted} if enricher else {}
        asked.command = first
        return await own.execute(caller, first)

    return do


def by_itself(asked: Asked) -> Callable[[Process], Awaitable[Any]]:
    """As the service's own decision: the clock's, or an import's."""
    return lambda process: process.application.decide(asked.command)
