"""The ticker over a log and an agenda in memory: what it does first, what it leaves, when it stops."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.supervision.app import key_before_order
from services.supervision.deadlines import ticker as module
from services.supervision.deadlines.memory_agenda import MemoryAgenda
from services.supervision.deadlines.ticker import Ticker
from services.supervision.policy import fire_by, moments
from shared.case.base import Address, Meta, Owner, new_id
from shared.case.commands import COMMANDS, Command
from shared.case.facts import Stage
from shared.case.reasons import Rejected
from shared.kit.application import Application, Origin
from shared.kit.command_handler import Committed, command
from shared.kit.data import Data
from shared.kit.effects import AggregateChange, state_json
from shared.kit.identity import Identity
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from tests.support.clock import FakeClock
from tests.support.law import FACTS, TOWNSHIP, person
from tests.support.services import ABSENT, application
from tests.support.ticking import clocked

MODEL = "agenda"
HOUR = timedelta(hours=1)
FIRED = ("case.warned", "case.overdue", "case.urged")  # in the order in which they come


class Watching(Application):
    """Tells the agenda of each event at once, as a projection would."""

    agenda: MemoryAgenda

    async def decide(self, command: Command, origin: Origin | None = None) -> Committed | Rejected:
        outcome = await super().decide(command, origin)
        if isinstance(outcome, Committed) and outcome.recorded is not None:
            address, state = command.address, outcome.state
            text = state_json(address.kind, state)
            self.agenda.put([AggregateChange(address, state, outcome.position, (), text)])
            self.runtime.progress.set(MODEL, outcome.position)
        return outcome


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = MemoryLog(("5101",), self.clock)
        self.agenda = MemoryAgenda(moments)
        self.vault = MemoryVault(MasterKeys([b"k" * 32]), self.clock)
        reference_data = ReferenceData(demo_documents())
        self.application = Watching(
            identity=Identity(owner=Owner.SUPERVISION, settings=Settings(), reference_data=reference_data),
            data=Data(log=self.log, streams=ABSENT, edge=ABSENT, vault=self.vault, database=ABSENT),
            runtime=Runtime.of(self.clock),
            creators={"issue-order": key_before_order(self.vault)},
        )
        self.application.agenda = self.agenda
        self.made = 0
        self.ticker = Ticker(
            name="supervision.ticker", model=MODEL, agenda=self.agenda, policy=fire_by(reference_data),
            application=self.application,
        )  # fmt: skip

    async def act(self, name: str, address: Address, by: Application | None = None, **facts: Any) -> None:
        now = self.clock.now()
        self.made += 1
        meta = Meta(command_id=f"act {self.made}", time=now, recorded_at=now, actor=person())
        asked = command(address, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))
        assert isinstance(await (by or self.application).decide(asked), Committed)

    async def case(self, due: datetime, warn_at: datetime | None = None) -> Address:
        address = Address("case", TOWNSHIP, new_id(TOWNSHIP, str(self.made)))
        await self.vault.new_keys(None, [(address.id, address.region)])
        await self.act("register", address, complained_unit=None, stand_aside=())
        await self.act("set-deadlines", address, opens=[clocked(due, warn_at)])
        return address

    async def fired(self) -> list[tuple[str, str]]:
        """What fired, in the order of the log: type and case."""
        stream = self.log.streams()[0]
        found: list[tuple[str, str]] = []
        async for batch in self.log.follow(stream, 0):
            found += [(one.type, one.address.id) for one in batch if one.type in FIRED]
            if batch[-1].position and batch[-1].position.sequence >= await self.log.end(stream):
                break
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "TICK_BATCH_COUNT", 3)
    return World()


async def test_a_case_that_is_late_in_two_ways_is_decided_one_after_the_other(world: World) -> None:
    now = world.clock.now()
    case = await world.case(now + 2 * HOUR, now + HOUR)
    world.clock.jump(3 * 3600)
    assert await world.ticker.tick() == 3
    assert await world.fired() == [(type, case.id) for type in FIRED]


async def test_what_fires_sets_what_comes_before_the_rest(world: World) -> None:
    now = world.clock.now()
    cases = [await world.case(now + n * HOUR) for n in range(1, 8)]
    world.clock.jump(9 * 3600)
    assert await world.ticker.tick() == 14
    fired = await world.fired()
    assert [id for type, id in fired if type == "case.overdue"] == [one.id for one in cases]
    assert [id for type, id in fired if type == "case.urged"] == [one.id for one in cases]
    assert fired.index(("case.urged", cases[0].id)) < fired.index(("case.overdue", cases[3].id))


async def test_what_the_law_refuses_holds_up_nothing(world: World) -> None:
    now, past = world.clock.now(), application(Owner.SUPERVISION, world.log, world.vault, world.clock)
    for _ in range(7):  # moved by another process, and the agenda does not know it yet
        await world.act("extend", await world.case(now + HOUR), past, stage=Stage.TRIAGE, due=now + 100 * HOUR)
    free = await world.case(now + 2 * HOUR)
    world.clock.jump(3 * 3600)
    ticking = asyncio.create_task(world.ticker.tick())
    while not ticking.done():
        await world.clock.advance(0.1)
    assert ticking.result() == 2
    assert await world.fired() == [("case.overdue", free.id), ("case.urged", free.id)]


async def test_a_tick_ends_though_there_is_always_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_COUNT_MAX", 6)
    now = world.clock.now()
    for n in range(1, 11):
        await world.case(now + n * HOUR)
    world.clock.jump(11 * 3600)
    assert await world.ticker.tick() == 6
    assert await world.ticker.tick() == 6
    assert len(await world.fired()) == 12


async def test_only_who_has_the_lock_ticks_and_it_sleeps_until_the_next_moment(world: World) -> None:
    due = world.clock.now() + HOUR
    case = await world.case(due)
    lock = await world.agenda.lock()
    assert lock is not None
    running = asyncio.create_task(world.ticker.run())
    await world.clock.advance(3700)
    assert await world.fired() == [], "another copy is active"
    await lock.release()
    await world.clock.advance(2)
    assert await world.fired() == [("case.overdue", case.id), ("case.urged", case.id)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await world.agenda.lock() is not None, "who stops gives the lock up"


async def test_a_lock_that_is_lost_is_asked_for_again(world: World) -> None:
    running = asyncio.create_task(world.ticker.run())
    await world.clock.advance(1)
    world.agenda.holder = None  # as when the connection ends
    case = await world.case(world.clock.now() + timedelta(seconds=5))
    await world.clock.advance(8)
    assert ("case.overdue", case.id) in await world.fired()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
