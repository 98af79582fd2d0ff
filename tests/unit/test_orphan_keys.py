"""The sweep of keys: it deletes the key of no case that comes to the log, whatever the clocks say."""

from __future__ import annotations

import asyncio

import pytest

from services.supervision.jobs import ORPHAN_AGE_MAX, REGISTRATION_S_MAX, Eraser
from shared.case.base import Address, new_id
from shared.kit.command_handler import Committed
from shared.kit.runtime import Runtime
from shared.kit.vault import KeyMissing
from tests.support.law import TOWNSHIP
from tests.support.merging import Merging

AGE_S = ORPHAN_AGE_MAX.total_seconds() + 1


@pytest.mark.parametrize("comes", [True, False])
async def test_the_key_of_a_registration_at_work_is_no_orphan_where_a_clock_is_wrong_by_days(comes: bool) -> None:
    world = Merging()
    case = Address("case", TOWNSHIP, new_id(TOWNSHIP, "at work"))
    await world.vault.new_keys(None, [(case.id, TOWNSHIP)])
    await world.clock.advance(AGE_S)
    sweep = asyncio.create_task(Eraser(world.application.data, Runtime.of(world.clock)).sweep_once())
    await world.clock.advance(REGISTRATION_S_MAX / 2)
    assert not sweep.done(), "the log is asked twice"
    if comes:
        register = world.command(case, "register", contact_time=world.clock.now())
        assert isinstance(await world.application.handler.handle(register), Committed)
    await world.clock.advance(REGISTRATION_S_MAX)
    await sweep
    if comes:
        assert await world.vault.key(case.id)
    else:
        with pytest.raises(KeyMissing):
            await world.vault.key(case.id)
