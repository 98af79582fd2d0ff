"""Two people decide on one case at once: nobody replaces a decision that they have not read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.case import events as e
from shared.case.base import Event, Recorded
from shared.kit.command_handler import CommandHandler, Committed
from shared.kit.preconditions import UNSTATED, Precondition, entity_tag
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from tests.support.clock import FakeClock
from tests.support.law import HOUSING, LABOUR, LI, TOWNSHIP, WANG, WATER, WHERE, ZHANG, Ask, ask

STEPS = 12
# The decisions that a case may have once, and what takes each of them back for all to see.
KINDS: dict[type[Event], frozenset[type[Event]]] = {
    e.Triaged: frozenset({e.HandedBack, e.Transferred}),
    e.Assigned: frozenset({e.HandedBack, e.Transferred}),
    e.Reassigned: frozenset(),
    e.Corrected: frozenset(),
}


@dataclass(frozen=True)
class Decision:
    """An accepted command: its event, and the version that its sender named; None for none."""

    event_id: str
    version_read: int | None


class QuickClock(FakeClock):
    """Whoever sleeps lets the others go first, and time goes on by itself."""

    async def sleep(self, seconds: float) -> None:
        self._elapsed += seconds / 100  # nobody gives up
        await asyncio.sleep(0)


class Person:
    """Somebody who reads the case and decides on it, at a service of their own."""

    def __init__(self, log: MemoryLog, vault: MemoryVault, clock: FakeClock, chance: Random) -> None:
        self.handler = CommandHandler(log=log, vault=vault, runtime=Runtime.of(clock))
        self.chance, self.version_read = chance, 0
        self.decisions: list[Decision] = []

    async def act(self) -> None:
        """Read and decide at random; a decision rests on the newest state that was read, or names none."""
        for _ in range(STEPS):
            await _pause(self.chance)
            if self.chance.random() < 0.4 or not self.version_read:
                self.version_read = (await self.handler.state(WHERE, fresh=True)).state.version
            states = self.chance.random() < 0.7
            precondition = Precondition(frozenset([entity_tag(self.version_read)])) if states else UNSTATED
            outcome = await self.handler.handle(self._request().command, precondition)
            if isinstance(outcome, Committed):
                assert outcome.recorded is not None
                self.decisions.append(Decision(outcome.recorded.id, self.version_read if states else None))

    def _request(self) -> Ask:
        unit, person = self.chance.choice((HOUSING, WATER, LABOUR)), self.chance.choice((ZHANG, LI, WANG))
        return self.chance.choice((
            ask("triage", unit=unit), ask("assign", unit=unit), ask("assign", unit=unit), ask("hand-back", unit=unit),
            ask("sign-for", unit=unit, person=person), ask("reassign", unit=unit, person=person),
            ask("correct", subject=f"s.{self.chance.randrange(9)}"), ask("supplement"),
        ))  # fmt: skip


async def _pause(chance: Random) -> None:
    for _ in range(chance.choice((0, 0, 1, 2, 5))):
        await asyncio.sleep(0)


async def _both_decide(chance: Random) -> tuple[Sequence[Recorded[Any]], list[Decision]]:
    async def pause(_: str) -> None:
        await _pause(chance)

    clock = QuickClock()
    log = MemoryLog(("5101",), clock, pause)
    vault = MemoryVault(MasterKeys([b"k" * 32]), clock)
    await vault.new_keys(None, [(WHERE.id, TOWNSHIP)])
    people = [Person(log, vault, clock, chance) for _ in range(2)]
    await people[0].handler.handle(ask("register", complained_unit=None, stand_aside=()).command)
    await asyncio.gather(*(person.act() for person in people))
    return await log.load(WHERE), [decision for person in people for decision in person.decisions]


def lost_updates(events: Sequence[Recorded[Any]], decisions: Sequence[Decision]) -> list[str]:
    """The decisions that replaced one of their kind, or a later state, which their sender had not read."""
    versions = {recorded.id: version for version, recorded in enumerate(events, 1)}
    lost = []
    for decision in decisions:
        version = versions[decision.event_id]
        kind, before = type(events[version - 1].known), events[: version - 1]
        if decision.version_read is not None:
            if decision.version_read != version - 1:
                lost.append(f"{kind.TYPE} rests on {decision.version_read} and stands behind {version - 1}")
        elif kind in KINDS and _stands(kind, before):
            lost.append(f"{kind.TYPE} replaces one of its kind and names no state")
    return lost


def _stands(kind: type[Event], events: Sequence[Recorded[Any]]) -> bool:
    stands = False
    for recorded in events:
        stands = (stands or isinstance(recorded.event, kind)) and type(recorded.event) not in KINDS[kind]
    return stands


@pytest.mark.timeout(120)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_decision_replaces_another_that_its_sender_has_not_read(seed: int) -> None:
    events, decisions = asyncio.run(_both_decide(Random(seed)))
    assert not lost_updates(events, decisions)


def test_the_walks_reach_decisions_that_replace_another() -> None:
    """Else nothing would be shown."""
    replaced = 0
    for seed in range(20):
        events, _ = asyncio.run(_both_decide(Random(seed)))
        replaced += sum(
            type(recorded.known) in KINDS and _stands(type(recorded.known), events[:at])
            for at, recorded in enumerate(events)
        )
    assert replaced > 20
