"""Proposals for orders are found among very many open cases by walking the few that are in trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from services.supervision.queries import STATEMENTS, TroubledQueries
from services.supervision.read_model import Watched
from shared.case.base import Owner
from shared.case.lifecycle import Status
from shared.kit.effects import AggregateChange
from shared.kit.sql import Database
from tests.support.law import TOWNSHIP
from tests.support.reporting import CITY
from tests.support.services import tables_of
from tests.support.supervision import watched

pytestmark = pytest.mark.slow
FIRST = "00000000-0000-0000-0000-000000000000"
NEVER = 2**31 - 1
LEAST = (2, 3, 2, 5)  # hand-backs, repeats, lateness, people
FILL = """
insert into watched (subject, id, sequence, kind, in_charge, open, hand_backs, repeats, lateness, people, orders, state)
select 'filled.' || n, gen_random_uuid(), n, 'case', '510104001000', true, 2 * (n % 20 / 19), 0, 0, 1, 0, '{}'
from generate_series(1, 20000) as n
"""


async def put(database: Database, changes: Sequence[AggregateChange]) -> None:
    async with database.transaction() as session:
        await Watched().write(session, changes)


async def troubled(database: Database, place: tuple[str, str], *least: int, limit: int = 100) -> list[Any]:
    queries = TroubledQueries(database)
    return await queries.troubled(region=CITY, after=place, least=least or LEAST, limit=limit)


@pytest.mark.clause("5.1.1f")
async def test_a_page_holds_what_meets_a_threshold_by_centre_and_id_and_leads_on(database: Mapping[str, str]) -> None:
    one = watched
    changes = [
        one("calm", 1), one("back", 2, hand_backs=2), one("once", 3, hand_backs=1), one("often", 4, repeats=3),
        one("late", 5, overdue_count=2), one("many", 6, people_count=5), one("few", 7, people_count=4),
        one("ordered", 8, hand_backs=9, orders=("an order",)), one("all", 9, hand_backs=2, repeats=3, people_count=50),
        one("again", 10, status=Status.CLOSED, reopening_proposed=True), one("closed", 11, status=Status.CLOSED),
    ]  # fmt: skip
    async with tables_of(Owner.SUPERVISION, database) as there:
        await put(there, changes)
        rows = await troubled(there, ("5101", FIRST))
        expected = {change.address.id for at, change in enumerate(changes) if at in (1, 3, 4, 5, 8, 9)}
        assert {row["id"] for row in rows} == expected
        assert [row["id"] for row in rows] == sorted(expected)
        paged, place = [], ("5101", FIRST)
        while page := await troubled(there, place, limit=2):
            paged += page
            place = page[-1]["in_charge"], page[-1]["id"]
        assert paged == rows
        proposed = await troubled(there, ("5101", FIRST), NEVER, NEVER, NEVER, NEVER)
        assert [row["id"] for row in proposed] == [changes[9].address.id], "no threshold counts for a reopening"
        assert await troubled(there, (TOWNSHIP[:6] + "999", FIRST)) == []


async def test_cases_without_trouble_are_not_looked_at(database: Mapping[str, str]) -> None:
    async with tables_of(Owner.SUPERVISION, database) as there:
        await put(there, [watched("back", 2, hand_backs=2)])
        connection = await asyncpg.connect(database["admin"])
        try:
            await connection.execute("set search_path to supervision")
            await connection.execute(FILL)
            await connection.execute("analyze watched")
            plan = await connection.fetch("explain " + STATEMENTS["troubled"], "5101:", "5101", FIRST, *LEAST, 200)
        finally:
            await connection.close()
    told = "\n".join(row[0] for row in plan)
    assert "watched_troubled" in told, told
    assert "watched_reopening_proposed" in told, told
    assert "Seq Scan" not in told, told
