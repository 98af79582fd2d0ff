"""The projector folds on what stands, however little of it is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.case.base import Address, Meta, Recorded, new_id
from shared.case.commands import COMMANDS
from shared.case.state import fold
from shared.kit import projections as module
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.effects import ADAPTERS, AggregateChange, state_json
from shared.kit.projections import ProjectionRunner
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from tests.support.clock import FakeClock
from tests.support.law import FACTS, TOWNSHIP, person
from tests.support.store import MemoryDatabase, Tables


class Kept:
    """A read model that keeps nothing but the states."""

    name = "kept"
    kinds = frozenset({"case"})
    tables: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    async def states(self, session: Any, subjects: Sequence[str]) -> dict[str, Any]:
        return {one: self.rows[one] for one in subjects if one in self.rows}

    async def write(self, session: Any, changes: Sequence[AggregateChange]) -> None:
        self.rows |= {one.address.subject: state_json("case", one.state) for one in changes}

    async def clear(self, session: Any) -> None:
        self.rows.clear()


async def no_pause(point: str) -> None:
    """Nobody interleaves."""


async def test_what_makes_room_for_others_is_not_folded_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDED_COUNT_MAX", 2)
    clock = FakeClock()
    log, vault, model = MemoryLog(("5101",), clock), MemoryVault(MasterKeys([b"k" * 32]), clock), Kept()
    handler = CommandHandler(log=log, vault=vault, runtime=Runtime.of(clock))
    addresses = [Address("case", TOWNSHIP, new_id(TOWNSHIP, str(n))) for n in range(3)]
    await vault.new_keys(None, [(one.id, TOWNSHIP) for one in addresses])

    async def act(name: str, address: Address, **facts: Any) -> Recorded[Any]:
        now = clock.now()
        meta = Meta(command_id=f"{name} {address.id}", time=now, recorded_at=now, actor=person())
        asked = command(address, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))
        done = await handler.handle(asked)
        assert isinstance(done, Committed)
        assert done.recorded is not None
        return done.recorded

    births = [await act("register", one, complained_unit=None, stand_aside=()) for one in addresses]
    later = [await act("supplement", one) for one in addresses]
    database: Any = MemoryDatabase(Tables(), no_pause)
    # of another process than the handler, so that nothing is recalled
    projector = ProjectionRunner(model=model, database=database, log=log, runtime=Runtime.of(clock))
    for batch in (births, later):
        await projector.apply(log.streams()[0], batch)
    for address in addresses:
        kept = ADAPTERS["case"].validate_json(model.rows[address.subject])
        assert kept == fold(await log.load(address))
