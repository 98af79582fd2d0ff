"""What the services of one process share: the newest states, what events made, one queue per case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.case import events as e
from shared.case.base import Address, Meta, Owner, Position, Recorded, new_id
from shared.case.commands import COMMANDS
from shared.case.state import CaseState
from shared.kit import aggregate_cache as module
from shared.kit.aggregate_cache import AggregateCache, StateChange, Versioned
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.effects import CommandRequest, reaction
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from tests.support.clock import FakeClock
from tests.support.law import FACTS, NOTE, TOWNSHIP, ask, event, person
from tests.support.services import application

PLACE = Address("case", TOWNSHIP, new_id(TOWNSHIP, "known"))
NOW = FakeClock().now()
CASE = Recorded("an id", PLACE, Meta(command_id="asked", time=NOW, recorded_at=NOW, actor=person()), event(ask("hold")))


def test_a_newer_state_is_never_forgotten_for_an_older_one() -> None:
    known = AggregateCache(cached_count_max=2)
    known.remember("a", Versioned("newer", 2))
    known.remember("a", Versioned("older", 1))
    assert known.get("a") == Versioned("newer", 2)
    known.remember("b", Versioned("b", 1))
    known.remember("c", Versioned("c", 1))
    assert [known.get(one) is None for one in "abc"] == [True, False, False]
    known.forget("c")
    assert known.get("c") is None


def test_a_small_memory_is_small_in_both_of_its_parts() -> None:
    cache = AggregateCache(cached_count_max=3)
    cases = [replace(CASE, id=str(number), position=Position("LOG_5101", number)) for number in range(1, 10)]
    for recorded in cases:
        cache.remember(recorded.id, Versioned("state", 1))
        cache.note(recorded, StateChange("before", "after", 0, recorded.position.sequence if recorded.position else 0))
    assert [cache.get(recorded.id) is not None for recorded in cases].count(True) == 3
    assert [cache.made(recorded) is not None for recorded in cases].count(True) == 3


def test_what_an_event_made_is_known_of_that_very_place_only(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MADE_COUNT_MAX", 1)
    known, made = AggregateCache(), StateChange("before", "after", 3, 4)
    there = replace(CASE, position=Position("LOG_5101", 4))
    known.note(there, made)
    assert known.made(there) == made
    assert known.made(replace(there, position=Position("LOG_5101", 5))) is None, "of another log"
    known.note(replace(there, id="another"), made)
    assert known.made(there) is None, "bounded"


def test_those_who_decide_on_one_case_wait_for_each_other_and_leave_nothing_behind() -> None:
    known = AggregateCache()
    queue = known.queue("a")
    assert known.queue("a") is queue
    assert known.queue("b") is not queue
    del queue
    assert list(known._queues) == []


def _hold() -> Any:
    return COMMANDS["hold"].facts.model_validate(FACTS["hold"])


class Counted(MemoryLog):
    """Counts what is read back of a case."""

    loads = 0

    async def load(self, address: Address, after: int = 0) -> list[Recorded[Any]]:
        self.loads += 1
        return await super().load(address, after)


class Desk:
    """Two services, of one process or of two: the one asks, the other reacts."""

    def __init__(self, shared: bool) -> None:
        self.clock = FakeClock()
        self.log = Counted(("5101",), self.clock)
        self.vault = MemoryVault(MasterKeys([b"k" * 32]), self.clock)
        own = Runtime.of(self.clock)
        other = Runtime.of(self.clock, aggregates=own.aggregates) if shared else Runtime.of(self.clock)
        self.asks = CommandHandler(log=self.log, vault=self.vault, runtime=own)
        supervision = application(Owner.SUPERVISION, self.log, self.vault, self.clock, runtime=other)
        self.handler = supervision.handler
        self.versions: list[int] = []
        react = reaction("test", self._decide)
        self.reactor = ReactionRunner(application=supervision, reactions=(react,))

    def _decide(
        self, recorded: Recorded[e.Registered | e.Supplemented], case: CaseState, _: object
    ) -> Sequence[CommandRequest]:
        self.versions.append(case.version)
        return [] if case.holds else [CommandRequest(recorded.address, "hold", _hold())]

    async def act(self, number: int, name: str, **facts: Any) -> None:
        now = self.clock.now()
        meta = Meta(command_id=f"act {number}", time=now, recorded_at=now, actor=person())
        asked = command(PLACE, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))
        assert isinstance(await self.asks.handle(asked), Committed)


@pytest.mark.parametrize("shared", [True, False])
async def test_the_events_of_a_case_in_one_batch_are_decided_on_in_turn_and_on_the_newest_state(shared: bool) -> None:
    desk = Desk(shared)
    await desk.vault.new_keys(None, [(PLACE.id, TOWNSHIP)])
    await desk.act(1, "register")
    for number in (2, 3):
        await desk.act(number, "supplement", note=NOTE)
    desk.log.loads = 0
    (stream,) = desk.log.streams()
    durable = await desk.log.durable(stream, "test")
    fetch = durable.fetch

    async def shuffled(count_max: int, wait_s: float) -> Any:
        return (await fetch(count_max, wait_s))[::-1]  # what comes again may come behind what is newer

    await desk.reactor.step(cast(Any, SimpleNamespace(fetch=shuffled)), 0)
    assert desk.versions == [3, 4, 4], "all on the newest state; side by side each would have decided on the third"
    assert desk.log.loads == (0 if shared else 1), "its own memory knows nothing of what the others did"
    assert await desk.log.end(stream) == 4


async def test_what_an_older_program_could_not_read_to_its_end_is_read_anew() -> None:
    desk = Desk(shared=True)
    await desk.vault.new_keys(None, [(PLACE.id, TOWNSHIP)])
    await desk.act(1, "register")
    held = await desk.handler.state(PLACE)
    other = CommandHandler(log=desk.log, vault=desk.vault, runtime=Runtime.of(desk.clock))
    other.prime(PLACE, Versioned(replace(held.state, newer_event=True), held.sequence))
    assert await other.state(PLACE) == held
