"""The cases of a file, lived in order of time: what they do is asked of the law, and the ticker looks in between."""

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

FILE, HANDLER = "file", "file-handler"  # who did whatever the file says was done; nobody stops a clock of their own
_YIELD_EVERY_STEPS = 200  # steps between two moments at which an interruption is heard
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
    """One command of a case: when, which, whether its stage ends with it, and the clock that it sets."""

    at: datetime
    name: str
    ends: bool = False
    deadline: Deadline | None = None
    due_before: datetime | None = None
    cause: PauseCause | None = None


class DueInForce(NamedTuple):
    """A due moment that was in force from one moment to another: None is the end of the stage, or of the play."""

    since: datetime
    until: datetime | None
    due: datetime


@dataclass(frozen=True, slots=True)
class PlayedCase:
    """What became of a case by its own log: due moments in force, when it was warned, what was overdue and since when.

    `deadline` is the last one in force, `ended` when its stage was over. `refused` is what the law did not take.
    """

    case: HistoricCase
    deadline: Deadline | None
    dues: tuple[DueInForce, ...] = ()
    warned: tuple[datetime, ...] = ()
    overdue: tuple[tuple[datetime, datetime], ...] = ()
    ended: datetime | None = None
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Living:
    """A case that has begun: what it still does, soonest first."""

    case: HistoricCase
    address: Address
    steps: Iterator[PlayStep]
    refused: list[str] = field(default_factory=list)
    ended: datetime | None = None
    command_count: int = 0
    at_rest: bool = False  # it does nothing more


class Playback:
    """Plays cases that come in order of their beginning, up to a moment."""

    def __init__(self, mapping: BacktestMapping, until: datetime) -> None:
        self._mapping, self._until = mapping, until
        self._limits = DeadlineSource(mapping)
        self._lived = MOMENTS if mapping.closed or mapping.stage is Stage.FEEDBACK else MOMENTS[:-1]
        region = mapping.region
        self._centre, self._unit = f"{region}-centre", f"{region}-{FILE}"
        self._actor = Actor(person=FILE, post=FILE, unit=self._centre, centre=region, region=region)
        self._coming: list[tuple[datetime, int, PlayStep, _Living]] = []
        self._open: dict[str, _Living] = {}
        self._order = count()
        self._world = BacktestWorld(LONG_AGO, region)
        self.later_count = self.tick_count = self.step_count = 0

    async def run(self, cases: Iterable[HistoricCase]) -> AsyncIterator[PlayedCase]:
        """Play them all; each comes out when it is over, the open ones at the end."""
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
                if (ended := await self._step()) is not None:
                    yield ended
            elif following is not None:
                self._begin(following)
                following = next(source, None)
        for living in tuple(self._open.values()):
            yield self._over(living)
        self.later_count = (following is not None) + sum(1 for _ in source)

    def _next(self, following: HistoricCase | None) -> datetime | None:
        """When the file goes on, None when it does not before the end."""
        moments = [self._coming[0][0]] if self._coming else []
        if following is not None:
            moments.append(following.began)
        moment = min(moments, default=None)
        return None if moment is None or moment > self._until else moment

    async def _tick(self, moment: datetime) -> AsyncIterator[PlayedCase]:
        """The ticker looks; what is over by that."""
        self._world.clock.to(moment)
        self.tick_count += 1
        fired = await self._world.tick()
        if not fired:
            raise AssertionError(f"the ticker leaves what was due before {moment.isoformat()}")
        for address in fired:
            living = self._open.get(address.id)
            if living is not None and living.at_rest and self._world.is_idle(address):
                yield self._over(living)
        await self._breathe()

    async def _breathe(self) -> None:
        """Let an interruption be heard now and then."""
        if (self.step_count + self.tick_count) % _YIELD_EVERY_STEPS == 0:
            await asyncio.sleep(0)

    def _begin(self, case: HistoricCase) -> None:
        born = derived_id("backtest", self._mapping.source, case.id, "register")
        address = Address("case", self._mapping.region, new_id(self._mapping.region, born))
        living = _Living(case, address, self._steps(case))
        self._open[address.id] = living
        self._queue(living)

    def _queue(self, living: _Living) -> None:
        """Wait for the next step of a case, if it has one before the end."""
        step = next(living.steps, None)
        if step is not None and step.at <= self._until:
            heapq.heappush(self._coming, (step.at, next(self._order), step, living))
        else:
            living.at_rest = True

    def _steps(self, case: HistoricCase) -> Iterator[PlayStep]:
        """What a case does, in order of time; what its file says at one moment in the order of its life."""
        begin, end = SPANS[self._mapping.stage]
        deadline = self._limits.deadline(case)
        steps: list[PlayStep] = []
        for name, at in zip(self._lived, case.moments, strict=False):
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
        """The clock stands still before it is due, and goes on while the stage runs."""
        for stood in case.pauses:
            if not began < stood.at < min(ended, deadline.due):
                continue
            yield PlayStep(stood.at, "suspend", cause=stood.cause)
            if stood.until is None or stood.until >= ended:
                return
            deadline = self._limits.resumed(case, deadline, stood)
            yield PlayStep(stood.until, "resume", deadline=deadline)

    def _moves(self, case: HistoricCase, deadline: Deadline, began: datetime, ended: datetime) -> Iterator[PlayStep]:
        """The file sets another due date while the stage runs."""
        for at, due in case.dues:
            new = self._limits.by_file(case, due) if began < at < ended else None
            if new is not None and new.due != deadline.due:
                yield PlayStep(at, "recompute-deadline", deadline=new, due_before=deadline.due)
                deadline = new

    async def _step(self) -> PlayedCase | None:
        """The next thing that a case does; the case when it is over."""
        at, _, step, living = heapq.heappop(self._coming)
        self._world.clock.to(at)
        self.step_count += 1
        await self._ask(living, step)
        if step.ends:
            living.ended = at
        await self._breathe()
        self._queue(living)
        return self._over(living) if living.at_rest and self._world.is_idle(living.address) else None

    async def _ask(self, living: _Living, step: PlayStep) -> None:
        case, now = living.case, self._world.clock.now()
        living.command_count += 1
        meta = Meta(
            command_id=derived_id("backtest", self._mapping.source, case.id, f"{step.name} {living.command_count}"),
            time=now,
            recorded_at=now,
            actor=self._actor,
        )
        facts = COMMANDS[step.name].facts(**self._facts(case, step))
        outcome = await self._world.ask(command(living.address, meta, step.name, facts))
        if isinstance(outcome, Rejected):
            living.refused.append(f"{step.name}: {outcome.reason.code}")

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

    def _over(self, living: _Living) -> PlayedCase:
        """What the log says of a case of which nothing more will come, which is then forgotten."""
        del self._open[living.address.id]
        deadline: Deadline | None = None
        dues, warned, overdue = list[DueInForce](), [], []
        for recorded in self._world.events(living.address):
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
        self._world.forget(living.address)
        return PlayedCase(
            living.case, deadline, tuple(dues), tuple(warned), tuple(overdue), living.ended, tuple(living.refused)
        )
