"""A world: servers, two copies of each service, actors, and faults from a seed; at the end it heals and is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from shared.case.base import Address, Owner, Recorded
from shared.case.catalogue import CREATES
from shared.case.commands import Command
from shared.case.state import CaseState
from shared.log.topology import durable_of_reactions
from shared.reference.documents import DocumentKind
from tests.sim.clients import Asked
from tests.sim.faults import Faults, Weather
from tests.sim.hours import PACE, calendar
from tests.sim.law import LAWS
from tests.sim.loop import Group, SimClock, run
from tests.sim.process import COPIES, NEW_MASTERS, OWNERS, Outside, Process

if TYPE_CHECKING:
    from tests.sim.operator import Operator

CASES_COUNT_MIN, STEPS_COUNT_MIN = 20, 200
CALM_S_MAX = 900.0  # virtual: the time to come to rest after the end of the faults
NEXT = "next"  # the next event that has a reaction
WORLD_S_MAX = 3_000.0  # virtual: the time in which all actors must have ended
ACTORS_COUNT = 10


class Unfinished(Exception):
    """The world did not come to rest."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant, and the aggregate that it concerns."""

    what: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.what}{f' [{self.about}]' if self.about else ''}"


@dataclass
class Outcome:
    """The violations and the coverage of a world."""

    seed: int
    violations: list[Violation] = field(default_factory=list)
    events: int = 0
    cases: int = 0
    steps: int = 0
    transitions: set[tuple[str, str]] = field(default_factory=set)
    faults: dict[str, int] = field(default_factory=dict)
    failpoints: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    digest: str = ""


class World(Outside):
    """All servers, processes and actors of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        chance = Random(seed)
        super().__init__(chance, Faults(Random(seed + 1), Weather.draw(chance), self.kill))
        self.weather = self.faults.weather
        self.processes: dict[str, Process] = {}
        self.violations: list[Violation] = []
        self.asked: dict[str, list[Asked]] = {}
        self.steps = 0
        self.submitted: dict[int, str] = {}  # sequence in SUBMISSIONS -> its id
        self.poison: str | None = None  # the id of the event at which reactions fail, or NEXT
        self._states: dict[str, list[Any]] = {}
        self._born: dict[str, list[Address]] = {"case": [], "order": []}
        self._read: dict[str, int] = {}
        self.ahead = timedelta(0)  # the largest lead of a process clock over the right time

    # The state of the log, read past the ports.

    def state(self, address: Address, count: int | None = None) -> Any:
        """The aggregate from the log, or its state after its first `count` events."""
        law = LAWS[address.kind]
        states = self._states.setdefault(address.subject, [law.new])
        for recorded in self.log.events(address.subject)[len(states) - 1 :]:
            states.append(law.evolve(states[-1], recorded))
        return states[-1 if count is None else count]

    def born(self, kind: str) -> list[Address]:
        """Every aggregate of a kind, about in the order of creation."""
        for name, stream in self.log._streams.items():
            for recorded in stream.events[self._read.get(name, 0) :]:
                if type(recorded.event) in CREATES and recorded.address not in self._born[recorded.address.kind]:
                    self._born[recorded.address.kind].append(recorded.address)
            self._read[name] = len(stream.events)
        return self._born[kind]

    def case(self) -> tuple[Address, CaseState] | None:
        """A random case, mostly a recent one."""
        there = self.born("case")
        if not there:
            return None
        at = max(self.chance.randrange(len(there)), self.chance.randrange(len(there)))
        return there[at], self.state(there[at])

    def note(self, asked: Asked) -> Asked:
        """Record a command that is sent, by its id."""
        self.asked.setdefault(asked.command.meta.command_id, []).append(asked)
        return asked

    def has_twin(self, asked: Asked) -> bool:
        """Whether the same id was used with another body."""
        return any(other.body != asked.body for other in self.asked.get(asked.command.meta.command_id, ()))

    def violated(self, what: str, about: Command | str = "", error: BaseException | None = None) -> None:
        """Record a broken invariant."""
        subject = about if isinstance(about, str) else f"{about.name} {about.address.subject} {about.meta.command_id}"
        self.violations.append(Violation(what, subject))
        if error is not None and DEBUG:
            import traceback

            traceback.print_exception(error)

    # Processes

    async def copy_of(self, owner: Owner) -> Process:
        """A running process of a service; waits for one."""
        while True:
            up = [one for one in self.processes.values() if one.owner is owner and one.group.alive]
            if up:
                return self.chance.choice(up)
            await asyncio.sleep(0.5)

    def start(self, owner: Owner, number: int) -> None:
        process = Process(owner, number, self)
        if self.faults.on and self.chance.random() < 0.3:
            process.clock.offset_s += self.chance.uniform(-3, 3)
        self._infect(process)
        self.processes[process.name] = process
        process.start()

    def _infect(self, process: Process) -> None:
        reactions, react = process.reactions, process.reactions.react

        async def reacting(recorded: Recorded[Any], *newest: Recorded[Any]) -> None:
            if self.poison == NEXT and type(recorded.event) in reactions._by_event:
                self.poison = recorded.id
            if recorded.id == self.poison:
                self.faults.reached["poison"] += 1
                raise RuntimeError("poison")
            await react(recorded, *newest)

        reactions.react = reacting

    def kill(self, group: Group) -> None:
        """Kill a process and start it again after a while."""
        process = self.processes.get(group.name)
        if process is None or process.group is not group:
            return
        self.measure()
        process.die()
        self.by_itself(self._restart(process, self.faults.chance.random() * 5))

    async def _restart(self, process: Process, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        number = int(process.name.rpartition("-")[2])
        self.start(process.owner, number)

    def by_itself(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine outside all processes."""
        return asyncio.get_running_loop().create_task(coroutine, context=Context())

    async def trouble(self) -> None:
        """The faults outside the calls of ports: clocks, durables, redeliveries, master keys, calendars, locks."""
        chance, reached = self.faults.chance, self.faults.reached
        changed = False
        while self.faults.on:
            await asyncio.sleep(chance.random() * 4)
            draw = chance.random()
            process = chance.choice(sorted(self.processes.values(), key=lambda one: one.name))
            if draw < 0.08 and self.weather.fault:
                self._disturb(process.clock)
            elif draw < 0.10 and self.weather.outage:
                reached["durable_deleted"] += 1
                stream = chance.choice(self.log.streams())
                await self.log.delete_durable(stream, durable_of_reactions(chance.choice(OWNERS)))
            elif draw < 0.3 and self.weather.fault:
                self._redeliver()
            elif draw < 0.35 and not changed:
                changed = True
                self.masters = NEW_MASTERS
            elif draw < 0.5 and self.weather.slow and self.poison is None:
                self.poison = NEXT
            elif draw < 0.53:
                self.by_itself(self._publish_calendar())
            elif draw < 0.56 and self.weather.outage:
                self._pass(timedelta(hours=chance.choice((1, 3, 30))))
            elif draw < 0.6 and self.weather.fault and process.database.drop_locks():
                reached["lock_lost"] += 1

    def _disturb(self, clock: SimClock) -> None:
        """Let the time of day of a process jump, drift or stand still, until the next fault of its clock."""
        chance, reached = self.faults.chance, self.faults.reached
        self.measure()
        clock.run_at(PACE)
        kind = chance.choice(("clock_jump", "clock_jump", "clock_drift", "clock_stop"))
        reached[kind] += 1
        if kind == "clock_jump":
            clock.offset_s = self.clock.offset_s + chance.choice((1, 1, 10, 600)) * chance.uniform(-9, 9)
        elif kind == "clock_drift":
            clock.run_at(PACE * chance.choice((0.5, 0.9, 1.1, 2)))
        else:
            clock.run_at(0)
        self.measure()

    def measure(self) -> None:
        """Record the largest lead of a process clock over the right time."""
        ahead = (one.clock.now() - self.clock.now() for one in self.processes.values())
        self.ahead = max(self.ahead, *ahead)

    def _pass(self, much: timedelta) -> None:
        """Move all clocks on, as if all processes had been switched off."""
        self.faults.reached["time_gap"] += 1
        for clock in (self.clock, *(process.clock for process in self.processes.values())):
            clock.offset_s += much.total_seconds()

    async def _publish_calendar(self) -> None:
        """Publish a newer calendar, which reaches the processes one after the other."""
        self.faults.reached["calendar"] += 1
        document = calendar(self.faults.chance, 1_000 + len(self.published))
        self.published.append(document)
        for process in list(self.processes.values()):
            await asyncio.sleep(self.faults.chance.choice((0.2, 1, 4)) * self.faults.chance.random())
            for newest in self.published:
                process.reference_data.put(newest)

    def _redeliver(self) -> None:
        """Deliver the unsettled messages again, as when the leader of the stream changes."""
        now = self.clock.monotonic()
        for stream in self.log._streams.values():
            for state in stream.durables.values():
                for sequence in state.due:
                    state.due[sequence] = now
                    self.faults.reached["redelivery"] += 1
            stream.wake()

    def watch(self) -> None:
        """Check that no background job has ended by itself."""
        for process in list(self.processes.values()):
            if process.failed is not None and process.group.alive:
                error = process.failed
                self.violated(f"a background job of {process.name} ended: {_root(error)!r}", error=error)
                self.kill(process.group)

    # The life of a world

    async def live(self) -> Outcome:
        """Run the world from its first process to the verdict."""
        from tests.sim.actors import Actors
        from tests.sim.judge import Judge
        from tests.sim.operator import Operator

        for owner in OWNERS:
            for number in range(1, COPIES + 1):
                self.start(owner, number)
        self.faults.reached["two_copies"] += 1
        actors = Actors(self)
        trouble = self.by_itself(self.trouble())
        crowd = [self.by_itself(actors.act(number)) for number in range(ACTORS_COUNT)]
        await self._finish(crowd)
        self.heal()
        trouble.cancel()
        await self._rest(Operator(actors))
        for process in list(self.processes.values()):
            process.die()
        judge = Judge(self)
        await judge.judge()
        return judge.outcome()

    async def _finish(self, crowd: list[asyncio.Task[Any]]) -> None:
        end = self.clock.monotonic() + WORLD_S_MAX
        while not all(task.done() for task in crowd):
            await asyncio.sleep(1)
            self.watch()
            if self.clock.monotonic() > end:
                raise Unfinished("somebody still waits for an answer")
        for task in crowd:
            task.result()

    def heal(self) -> None:
        """End the faults, set all clocks right and deliver all published documents."""
        self.measure()
        self.faults.on = False
        self._pass(timedelta(days=self.chance.choice((0, 1, 60))))
        self.clock.run_at(0)  # no further timer comes due
        for process in self.processes.values():
            process.clock.set_by(self.clock)
            for document in self.published:
                process.reference_data.put(document)

    async def _rest(self, operator: Operator) -> None:
        """Wait until all messages are settled, all read models are at the end and parked messages are replayed."""
        end = self.clock.monotonic() + CALM_S_MAX
        while True:
            await asyncio.sleep(2)
            self.watch()
            if self.poison and (self.parked() or not self._busy() or self.clock.monotonic() > end - CALM_S_MAX / 2):
                self.poison = None
            calm = self.poison is None and not self._busy() and all(one.done() for one in self.log.late)
            if calm and not await operator.operate() and not self._due():
                return
            if self.clock.monotonic() > end:
                raise Unfinished(f"not at rest: {self._busy() or self._due()}")

    def parked(self) -> list[dict[str, Any]]:
        """The parked messages."""
        from pydantic_core import from_json

        return [from_json(message.data) for message in self.streams.stored["PARKED"].messages.values()]

    def _busy(self) -> list[str]:
        """The names of unfinished work."""
        unfinished = [name for name, one in self.processes.items() if not one.group.alive]
        for name, stream in self.log._streams.items():
            for owner in OWNERS:
                mark = stream.durables.get(durable_of_reactions(owner))
                if mark is None or mark.due or mark.delivered < len(stream.events):
                    unfinished.append(f"{owner} {name}")
            for owner, model in ((Owner.ROUTING, "routing.work"), (Owner.SUPERVISION, "supervision.watched")):
                row = self.tables[owner].table("checkpoints").get((model, name))
                if (row["sequence"] if row else 0) < len(stream.events):
                    unfinished.append(f"{model} {name}")
            writers = [one for one in self.processes.values() if one.owner is Owner.SUPERVISION]
            if max(one.runtime.progress.at("feed", name) for one in writers) < len(stream.events):
                unfinished.append(f"feed {name}")
        for name, state in self.streams.stored["SUBMISSIONS"].durables.items():
            if state.due or state.handed < self.streams.stored["SUBMISSIONS"].end:
                unfinished.append(name)
        (one, *_) = writers
        in_force = {
            document.reference for document in one.reference_data.documents() if document.kind is DocumentKind.CALENDARS
        }
        if in_force != set(self.tables[Owner.SUPERVISION].table("calendars_applied")):
            unfinished.append("calendars")
        return unfinished

    def _due(self) -> list[str]:
        """Timers that are past due; some may wait for the replay of parked messages."""
        now = self.clock.now()
        due = [one["row"] for one in self.tables[Owner.SUPERVISION].table("moments").values() if one["row"][4] < now]
        return [f"due {' '.join(map(str, row))}" for row in due[:3]]


DEBUG = False


def _root(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def live(seed: int) -> Outcome:
    """Run the world of a seed. Never raises: an exception becomes a violation of the outcome."""
    world: list[World] = []

    async def begin() -> Outcome:
        world.append(World(seed))
        return await world[0].live()

    try:
        return run(begin)
    except Exception as error:  # an error of the product or of the simulation; both fail the seed
        if DEBUG:
            raise
        found = world[0].violations if world else []
        return Outcome(seed, [*found, Violation(f"{type(error).__name__}: {error}")])
