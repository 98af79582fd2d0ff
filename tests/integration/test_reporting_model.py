"""Reporting's read model on a real Postgres: rebuilt, searched, swept, and nothing of the content in the clear."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from services.reporting import jobs, queries, read_model
from services.reporting.jobs import INDEX_SWEEP_EVERY_S, SearchSweep
from services.reporting.listing import CaseFilter
from services.reporting.queries import STATEMENTS, CaseQueries
from services.reporting.read_model import SEARCH_AFTER_END_DAYS_MAX, Model
from shared.case import events as e
from shared.case.base import Address, Event, Recorded
from shared.case.facts import Note
from shared.case.rights import Right
from shared.kit.problems import Unavailable
from shared.kit.sql import Database
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from tests.support.clock import FakeClock
from tests.support.reporting import START, STREAM, TOWNSHIP, UNIT, Lives, caller, opened, projector, registered, seed

pytestmark = pytest.mark.slow
WORDS = ("大坝村", "井里", "三组", "水管已经修好")
READER = caller(TOWNSHIP, Right.READ)
LATENCY_ROWS = 20_000
TABLES = "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'reporting'"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def vault(clock: FakeClock) -> MemoryVault:
    return MemoryVault(MasterKeys([b"k" * 32]), clock)


@pytest.fixture
async def tables(database: Mapping[str, str]) -> AsyncIterator[Database]:
    async with opened(database) as one:
        yield one


async def found(tables: Database, model: Model, words: str) -> int:
    rows, _ = await CaseQueries(tables, model).search(READER, CaseFilter(), words, None, 50)
    return len(rows)


async def test_a_rebuild_makes_the_same_tables_with_and_without_the_index(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    log = MemoryLog(("5101", "5107"), clock)
    lives = Lives(vault, clock)
    events = await lives.events(await lives.born(40), at_once=15)
    last: dict[str, int] = {}
    for recorded in events:
        position = await log.append(recorded, last.get(recorded.address.subject, 0))
        last[recorded.address.subject] = position.sequence
    await projector(tables, Model(vault), clock, log).apply(STREAM, events)
    async with tables.session() as session:
        before = await Model(vault).checksums(session)
    assert {table: rows for table, (rows, _) in before.items()} == {
        "cases": 40, "seen": 40 * 8, "tallies": 1, "sealed": 40, "orders": 0,
    }  # fmt: skip
    for index in (True, False):
        model = Model(vault, index)
        async for _ in projector(tables, model, clock, log).rebuild(lambda *at: None):
            pass
        async with tables.session() as session:
            assert await model.checksums(session) == before
        assert await found(tables, model, "大坝村") == (40 if index else 0)


async def test_a_rebuild_is_refused_while_another_process_projects(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    lock = await tables.try_advisory_lock("project.reporting")
    assert lock is not None
    with pytest.raises(Unavailable, match="Another process"):
        async for _ in projector(tables, Model(vault), clock).rebuild(lambda *at: None):
            pass
    await lock.release()


@pytest.mark.clause("9.4b")
async def test_what_ended_leaves_the_index_in_time_and_comes_back_when_taken_up(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    lives = Lives(vault, clock)
    (address,) = await lives.born(1)
    model = Model(vault)
    one = projector(tables, model, clock)
    await one.apply(STREAM, await lives.events([address]))
    sweeping = asyncio.create_task(SearchSweep(tables, clock).run())
    try:
        await clock.advance(timedelta(days=SEARCH_AFTER_END_DAYS_MAX - 1).total_seconds())
        assert await found(tables, model, "大坝村") == 1
        await clock.advance(timedelta(days=3).total_seconds())
        for _ in range(100):
            if not await found(tables, model, "大坝村"):
                break
            await clock.advance(INDEX_SWEEP_EVERY_S)
            await asyncio.sleep(0.02)
        assert await found(tables, model, "大坝村") == 0
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
    reopened = lives.recorded(
        address, e.Reopened(note=Note(text="又没有水了")), await vault.key(address.id), START, "again"
    )
    await one.apply(STREAM, [lives.placed(reopened)])
    assert await found(tables, model, "大坝村") == 1


@pytest.mark.clause("9.4b")
async def test_an_erased_case_leaves_nothing_sealed_behind_and_no_later_batch_brings_it_back(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    lives = Lives(vault, clock)
    (address,) = await lives.born(1)
    events = await lives.events([address])
    one = projector(tables, Model(vault), clock)
    await one.apply(STREAM, events)
    erased = lives.recorded(address, e.Erased(retention="year_1", basis="9.4 b"), b"k" * 32, START, "erased")
    await one.apply(STREAM, [lives.placed(erased)])
    await vault.destroy(address.id)
    await projector(tables, Model(vault), clock).apply(STREAM, events)
    async with tables.session() as session:
        checksums = await Model(vault).checksums(session)
    assert (checksums["cases"][0], checksums["sealed"][0]) == (1, 0)
    (row,), _ = await CaseQueries(tables, Model(vault)).page(READER, CaseFilter(), None, 10)
    assert row.matter is None


async def test_nothing_of_the_content_stands_in_the_clear(
    database: Mapping[str, str], tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    lives = Lives(vault, clock)
    await projector(tables, Model(vault), clock).apply(STREAM, await lives.events(await lives.born(3)))
    admin = await asyncpg.connect(database["admin"])
    names = await admin.fetch(TABLES)
    rows = [row for name in names for row in await admin.fetch(f"select t::text as text from {name['name']} t")]
    dump = "\n".join(row["text"] for row in rows)
    await admin.close()
    assert "water.supply" in dump, "facts in the open are there, so the search can find something"
    for word in WORDS:
        for text in (word, word.encode("unicode_escape").decode(), word.encode().hex()):
            assert text not in dump, text


async def test_a_seal_that_does_not_open_hides_one_title_and_stops_nothing(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    lives = Lives(vault, clock)
    good, bad = await lives.born(2)

    def birth(address: Address, key: bytes) -> Recorded[Event]:
        return lives.placed(lives.recorded(address, registered(), key, START, "birth"))

    events = [birth(good, await vault.key(good.id)), birth(bad, b"x" * 32)]
    await projector(tables, Model(vault), clock).apply(STREAM, events)
    rows, _ = await CaseQueries(tables, Model(vault)).page(READER, CaseFilter(), None, 10)
    assert {row.facts["id"]: row.matter and row.matter.title for row in rows} == {good.id: "大坝村没有水", bad.id: None}


async def test_candidates_of_a_search_are_proven_on_the_text(
    tables: Database, vault: MemoryVault, clock: FakeClock
) -> None:
    """Pairs out of order, or of two places, bring a candidate and no hit."""
    lives = Lives(vault, clock)
    await projector(tables, Model(vault), clock).apply(STREAM, await lives.events(await lives.born(2)))
    model = Model(vault)
    assert await found(tables, model, "大坝村没有水") == 2
    assert await found(tables, model, "没有水大坝村") == 0
    assert await found(tables, Model(MemoryVault(MasterKeys([b"o" * 32]), FakeClock(seed=9))), "大坝村") == 0


@pytest.mark.parametrize("region", ["510104004001", "510104000000", "510100000000"])
async def test_a_list_walks_one_key_and_never_all_cases(
    database: Mapping[str, str], tables: Database, region: str
) -> None:
    admin = await asyncpg.connect(database["admin"], server_settings={"search_path": "reporting, public"})
    await seed(admin, LATENCY_ROWS)
    reads = CaseQueries(tables, Model(MemoryVault(MasterKeys([b"k" * 32]), FakeClock())))
    reader = replace(caller(region, Right.READ), person="nobody")
    before = await _read_rows(admin)
    for case_filter in (
        CaseFilter(region=region, open=True),
        CaseFilter(region=region),
        CaseFilter(open=True, unit=UNIT),
    ):
        for _ in range(7):  # the first five are planned for their arguments, the others for any
            await reads.page(reader, case_filter, None, 50)
    assert await _read_rows(admin) == before, "no list looked through a whole table"
    await admin.close()


async def _read_rows(admin: asyncpg.Connection) -> dict[str, int]:
    """How often each big table was read from end to end, as Postgres counts."""
    await admin.execute("select pg_stat_clear_snapshot(), pg_stat_force_next_flush()")
    rows = await admin.fetch("select relname, seq_scan from pg_stat_user_tables where relname in ('cases', 'seen')")
    return {row["relname"]: row["seq_scan"] for row in rows}


def test_every_statement_is_used() -> None:
    text = "".join(inspect.getsource(module) for module in (jobs, queries, read_model))
    assert [name for name in STATEMENTS if f'"{name}"' not in text] == []
