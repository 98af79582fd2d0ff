"""Playback of the cases of a file in order of time, with commands decided by the law and ticks in between."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from infra.backtest.deadlines import DeadlineSource
from infra.backtest.historic_file import HistoricCase
from infra.backtest.mapping import MOMENTS, SPANS, BacktestMapping
from infra.backtest.world import LONG_AGO, BacktestWorld
from shared.case import events as e
from shared.case.base import Actor, Address, Meta, derived_id, new_id
from shared.case.commands import COMMANDS
from shared.case.facts import Channel, Deadline, Matter, Note, Outcome, PauseCause, Stage
from shared.case.reasons import Rejected
from shared.kit.command_handler import command

FILE, HANDLER = (
    "file",
    "file-handler",
)  # FILE does all acts of the file but suspending, since nobody may suspend an own clock
_YIELD_EVERY_STEPS = 200  # steps between two yields, at which an interruption takes effect
COMMANDS_OF_MOMENT: dict[str, tuple[str, ...]] = {
    "registered": ("register",),
    "assigned": ("triage", "assign"),
    "signed": ("sign-for",),
    "settled": ("settle",),
    "closed": ("close",),
}
SetsDue: TypeAlias = e.DeadlinesSet | e.DeadlineRecomputed | e.Resumed
MATTER, REPLY = Matter(title=FILE, text=FILE), Note(text=FILE)


@dataclass(frozen=True, slots=True)
class PlayStep:
    """A command of a case: its moment and name, whether it ends the stage, and the deadline that it sets."""

    at: datetime
    name: str
    ends: bool = False
    deadline: Deadline | None = None
    due_before: datetime | None = None
    cause: PauseCause | None = None


class DueInForce(NamedTuple):
    """A due moment with the time for which it was in force; None: until the end of the stage or of the playback."""

    since: datetime
    until: datetime | None
    due: datetime


@dataclass(frozen=True, slots=True)
class PlayedCase:
    """A case after its playback: its due moments, warnings, and overdue moments with the times of their declaration.

    `deadline` is the last one in force, `ended` the end of the stage. `refused` are the commands that the law rejected.
    """

    case: HistoricCase
    deadline: Deadline | None
    dues: tuple[DueInForce, ...] = ()
    warned: tuple[datetime, ...] = ()
    overdue: tuple[tuple[datetime, datetime], ...] = ()
    ended: datetime | None = None
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _OpenCase:
    """A case that has begun, with its remaining steps in order of time."""

    case: HistoricCase
    address: Address
    steps: Iterator[PlayStep]
    refused: list[str] = field(default_factory=list)
    ended: datetime | None = None
    sent_count: int = 0
    at_rest: bool = False  # no steps remain


class Playback:
    """Plays cases up to a moment. They come in order of their beginning."""

    def __init__(self, mapping: BacktestMapping, until: datetime) -> None:
        self._mapping, self._until = mapping, until
        self._deadlines = DeadlineSource(mapping)
        # A closing after the stage decides nothing; without it a settled case is at its end and need not be held.
        self._played_moments = MOMENTS if mapping.stage is Stage.FEEDBACK else MOMENTS[:-1]
        region = mapping.region
        self._centre, self._unit = f"{region}-centre", f"{region}-{FILE}"
        self._actor = Actor(person=FILE, post=FILE, unit=self._centre, centre=region, region=region)
        self._coming: list[tuple[datetime, int, PlayStep, _OpenCase]] = []
        self._open: dict[str, _OpenCase] = {}
        self._order = count()
        self._world = BacktestWorld(LONG_AGO, region)
        self.later_count = self.tick_count = self.step_count = self.held_count_max = 0

    async def run(self, cases: Iterable[HistoricCase]) -> AsyncIterator[PlayedCase]:
        """Play all cases. Each is yielded at its end, open ones at the end of the playback."""
        source = iter(cases)
        following = next(source, None)
        while True:
            moment = self._next(following)
            tick = await self._world.next_tick()
            if tick is not None and tick <= (moment or self._until):
                async for played in self._tick(tick):
                    yield played
            elif moment is None:
                break
            elif self._coming and self._coming[0][0] == moment:
                ended_case = await self._step()
                if ended_case is not None:
                    yield ended_case
            elif following is not None:
                self._begin(following)
                following = next(source, None)
        for open_case in tuple(self._open.values()):
            yield self._result(open_case)
        self.later_count = (following is not None) + sum(1 for _ in source)

    def _next(self, following: HistoricCase | None) -> datetime | None:
        """The moment of the next step in the file; None when none remains before the end."""
        moments = [self._coming[0][0]] if self._coming else []
        if following is not None:
            moments.append(following.began)
        moment = min(moments, default=None)
        return None if moment is None or moment > self._until else moment

    async def _tick(self, moment: datetime) -> AsyncIterator[PlayedCase]:
        """Run the ticker at a moment; the cases that end with it."""
        self._world.clock.to(moment)
        self.tick_count += 1
        fired = await self._world.tick()
        if not fired:
            raise AssertionError(f"the ticker did not fire for a moment due before {moment.isoformat()}")
        for address in fired:
            open_case = self._open.get(address.id)
            if open_case is not None and open_case.at_rest and self._world.is_idle(address):
                yield self._result(open_case)
        await self._yield()

    async def _yield(self) -> None:
        """Yield to other tasks, so that an interruption takes effect."""
        if (self.step_count + self.tick_count) % _YIELD_EVERY_STEPS == 0:
            await asyncio.sleep(0)

    def _begin(self, case: HistoricCase) -> None:
        command_id = derived_id("backtest", self._mapping.source, case.id, "register")
        address = Address("case", self._mapping.region, new_id(self._mapping.region, command_id))
        open_case = _OpenCase(case, address, self._steps(case))
        self._open[address.id] = open_case
        self.held_count_max = max(self.held_count_max, len(self._open))
        self._queue(open_case)

    def _queue(self, open_case: _OpenCase) -> None:
        """Enter the next step of a case, if it has one before the end."""
        step = next(open_case.steps, None)
        if step is not None and step.at <= self._until:
            heapq.heappush(self._coming, (step.at, next(self._order), step, open_case))
        else:
            open_case.at_rest = True

    def _steps(self, case: HistoricCase) -> Iterator[PlayStep]:
        """The steps of a case in order of time, those of one moment in order of the life cycle."""
        begin, end = SPANS[self._mapping.stage]
        deadline = self._deadlines.deadline(case)
        steps: list[PlayStep] = []
        for name, at in zip(self._played_moments, case.moments, strict=False):
            if at is None:
                break
            steps += [PlayStep(at, command_name, name == end) for command_name in COMMANDS_OF_MOMENT[name]]
            if name == begin and deadline is not None:
                steps.append(PlayStep(at, "set-deadlines", deadline=deadline))
        began, ended = (case.moments[MOMENTS.index(name)] for name in (begin, end))
        if deadline is not None and began is not None:
            changes = self._pauses if self._mapping.limits else self._moves
            steps += changes(case, deadline, began, ended or self._until)
        return iter(sorted(steps, key=attrgetter("at")))

    def _pauses(self, case: HistoricCase, deadline: Deadline, began: datetime, ended: datetime) -> Iterator[PlayStep]:
        """The suspensions before the due moment, and the resumptions before the end of the stage."""
        for pause in case.pauses:
            if not began < pause.at < min(ended, deadline.due):
                continue
            yield PlayStep(pause.at, "suspend", cause=pause.cause)
            if pause.until is None or pause.until >= ended:
                return
            deadline = self._deadlines.resumed(case, deadline, pause)
            yield PlayStep(pause.until, "resume", deadline=deadline)

    def _moves(self, case: HistoricCase, deadline: Deadline, began: datetime, ended: datetime) -> Iterator[PlayStep]:
        """The changes of the due date in the file during the stage."""
        for at, due in case.dues:
            new = self._deadlines.by_file(case, due) if began < at < ended else None
            if new is not None and new.due != deadline.due:
                yield PlayStep(at, "recompute-deadline", deadline=new, due_before=deadline.due)
                deadline = new

    async def _step(self) -> PlayedCase | None:
        """Take the next step; the case when it ends with it."""
        at, _, step, open_case = heapq.heappop(self._coming)
        self._world.clock.to(at)
        self.step_count += 1
        await self._send(open_case, step)
        if step.ends:
            open_case.ended = at
        await self._yield()
        self._queue(open_case)
        return self._result(open_case) if open_case.at_rest and self._world.is_idle(open_case.address) else None

    async def _send(self, open_case: _OpenCase, step: PlayStep) -> None:
        case, now = open_case.case, self._world.clock.now()
        open_case.sent_count += 1
        meta = Meta(
            command_id=derived_id("backtest", self._mapping.source, case.id, f"{step.name} {open_case.sent_count}"),
            time=now,
            recorded_at=now,
            actor=self._actor,
        )
        facts = COMMANDS[step.name].facts(**self._facts(case, step))
        outcome = await self._world.decide(command(open_case.address, meta, step.name, facts))
        if isinstance(outcome, Rejected):
            open_case.refused.append(f"{step.name}: {outcome.reason.code}")

    def _facts(self, case: HistoricCase, step: PlayStep) -> dict[str, Any]:
        match step.name:
            case "register":
                return {
                    "channel": Channel.PLATFORM, "contact_time": case.began, "matter": MATTER, "nature": case.nature,
                    "subject": case.subject, "region": self._mapping.region, "first_asked": FILE,
                    "first_asked_unit": self._centre, "source": self._mapping.source,
                }  # fmt: skip
            case "triage" | "assign":
                return {"unit": self._unit, "basis": FILE}
            case "sign-for":
                return {"unit": self._unit, "person": HANDLER}
            case "set-deadlines":
                return {"opens": (step.deadline,)}
            case "recompute-deadline":
                return {"deadline": step.deadline, "due_before": step.due_before, "why": "the file moved its due date"}
            case "suspend":
                return {"stage": self._mapping.stage, "cause": step.cause, "note": REPLY}
            case "resume":
                return {"deadline": step.deadline}
            case "settle":
                return {"outcome": Outcome.EXPLAINED, "reply": REPLY, "basis": FILE}
        return {"basis": FILE}

    def _result(self, open_case: _OpenCase) -> PlayedCase:
        """The result of a case that is at its end, from its events. The world then forgets the case."""
        del self._open[open_case.address.id]
        deadline: Deadline | None = None
        dues, warned, overdue = list[DueInForce](), [], []
        for recorded in self._world.events(open_case.address):
            event = recorded.event
            if isinstance(event, SetsDue | e.Suspended) and dues and dues[-1].until is None:
                dues[-1] = dues[-1]._replace(until=recorded.meta.time)
            if isinstance(event, SetsDue):
                deadline = event.opens[0] if isinstance(event, e.DeadlinesSet) else event.deadline
                dues.append(DueInForce(recorded.meta.time, None, deadline.due))
            elif isinstance(event, e.Warned):
                warned.append(event.seen_at)
            elif isinstance(event, e.OverdueDeclared):
                overdue.append((event.due, event.seen_at))
        self._world.forget(open_case.address)
        return PlayedCase(
            open_case.case,
            deadline,
            tuple(dues),
            tuple(warned),
            tuple(overdue),
            open_case.ended,
            tuple(open_case.refused),
        )
