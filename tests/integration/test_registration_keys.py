"""The id of a registration over HTTP on the real table: keys of before, bodies without a key, nothing in the clear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

import asyncpg
import pytest
import pytest_asyncio

from services.intake.queries import SAME_BODY_S_MAX, Claim
from services.intake.registration import Registrar
from shared.case.base import Address, Owner, new_id
from shared.kit.access import Caller
from shared.kit.application import UploadedFile, http_command_id
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from tests.support.client import COUNTY, TOWNSHIP
from tests.support.clock import FakeClock
from tests.support.services import ABSENT, data_of, tables_of

CLERK = Caller("jj-window", "window", f"{COUNTY}-centre", COUNTY, frozenset())
COLLEAGUE = replace(CLERK, person="jj-director")
STRANGER = replace(CLERK, person="fc-window", region="510703000000")
BODY = '{"text": "电梯坏了", "phone": "13800000000"}'.encode()
FILE = UploadedFile("a.txt", "text/plain", b"1", sha256(b"1").digest())


@dataclass
class Desk:
    """A registrar on the table, under a clock that the test moves."""

    registrar: Registrar
    clock: FakeClock
    dsn: str

    async def id(
        self, caller: Caller = CLERK, key: str | None = None, body: bytes = BODY, files: tuple[UploadedFile, ...] = ()
    ) -> tuple[str, str]:
        return await self.registrar.requested(caller, TOWNSHIP, key, body, files)


@pytest_asyncio.fixture(loop_scope="function")
async def desk(database: Mapping[str, str]) -> AsyncIterator[Desk]:
    clock = FakeClock()
    async with tables_of(Owner.INTAKE, database) as tables:
        vault = MemoryVault(MasterKeys([b"k" * 32]), clock)
        data = data_of(log=ABSENT, streams=ABSENT, database=tables, vault=vault)
        yield Desk(Registrar(data=data, runtime=Runtime.of(clock)), clock, database["intake"])


async def test_a_key_is_one_for_a_centre_and_another_for_another(desk: Desk) -> None:
    assert await desk.id(CLERK, "1") == await desk.id(COLLEAGUE, "1")
    assert await desk.id(CLERK, "1") != await desk.id(STRANGER, "1")
    assert await desk.id(CLERK, "1") != await desk.id(CLERK, "2")


async def test_a_key_that_was_claimed_for_its_caller_alone_still_leads_to_its_case(desk: Desk) -> None:
    """Claims made before keys belonged to the centre."""
    former = http_command_id(CLERK, "register", "old")
    address = Address("case", TOWNSHIP, new_id(TOWNSHIP, former))
    await desk.registrar._claims.claim(Claim("http.jj-window", former, b"digest", address))
    assert await desk.id(CLERK, "old") == ("http.jj-window", former)
    assert (await desk.id(COLLEAGUE, "old"))[0] == f"centre.{COUNTY}"


async def test_the_same_body_has_one_id_for_ten_minutes_and_no_longer(desk: Desk) -> None:
    first = await desk.id()
    await desk.clock.advance(SAME_BODY_S_MAX - 1)
    assert await desk.id() == first
    await desk.clock.advance(2)  # the second request has not prolonged it
    second = await desk.id()
    assert second != first
    assert await desk.id() == second


async def test_another_caller_body_or_file_has_an_id_of_its_own(desk: Desk) -> None:
    ids = [
        await desk.id(), await desk.id(COLLEAGUE), await desk.id(body=b"{}"), await desk.id(files=(FILE,)),
        await desk.id(files=(FILE, FILE)), await desk.id(CLERK, "1"),
    ]  # fmt: skip
    assert len(set(ids)) == len(ids)


async def test_of_many_at_the_same_instant_all_get_one_id(desk: Desk) -> None:
    assert len(set(await asyncio.gather(*(desk.id() for _ in range(8))))) == 1


async def test_a_clock_that_ran_ahead_and_was_set_right_does_not_hold_a_body_for_ever(desk: Desk) -> None:
    year_s = timedelta(days=365).total_seconds()
    desk.clock.jump(year_s)
    first = await desk.id()
    desk.clock.jump(-year_s)
    assert await desk.id() != first


async def test_what_no_longer_counts_is_dropped_and_nothing_stands_in_the_clear(desk: Desk) -> None:
    connection = await asyncpg.connect(desk.dsn)
    try:
        await desk.id()
        text = str(await connection.fetch("select * from intake.recent_bodies"))
        assert "13800000000" not in text
        assert "jj-window" not in text
        await desk.clock.advance(SAME_BODY_S_MAX + 1)
        await desk.id(body=b"{}")
        assert await connection.fetchval("select count(*) from intake.recent_bodies") == 1
    finally:
        await connection.close()


@pytest.mark.parametrize("key", [None, "1"])
async def test_another_process_gives_the_same_id(desk: Desk, key: str | None) -> None:
    first = await desk.id(CLERK, key)
    desk.clock = FakeClock(seed=7)
    desk.registrar._clock = desk.clock
    assert await desk.id(CLERK, key) == first
