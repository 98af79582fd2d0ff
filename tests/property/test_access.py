"""Who may see a case: the Python rule and the SQL function are one rule, whoever asks and whatever the case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.case.base import region_prefix
from shared.case.rights import Right
from shared.case.state import CaseState, CoHandler
from shared.kit.access import Caller, may_see
from shared.kit.sql import migrate
from tests.support.states import CALLERS, CASES

MIGRATIONS = Path(__file__).parents[2] / "shared" / "kit" / "migrations"
ASK = "select kit.may_see($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"


@pytest.fixture
async def postgres(database: Mapping[str, str]) -> AsyncIterator[asyncpg.Connection]:
    await migrate(database["admin"], "kit", "reporting", MIGRATIONS)
    connection = await asyncpg.connect(database["reporting"])
    yield connection
    await connection.close()


@pytest.mark.clause("9.4a")
@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the function is the same for every example
@given(pairs=st.lists(st.tuples(CALLERS, CASES), min_size=20, max_size=40))
@example(pairs=[(Caller("a", "desk", "510104001000-a", "510104001000", frozenset({Right.READ})), CaseState())])
async def test_the_python_rule_and_the_sql_function_agree(
    postgres: asyncpg.Connection, pairs: list[tuple[Caller, CaseState]]
) -> None:
    for caller, case in pairs:
        who = (caller.person, caller.unit, region_prefix(caller.region), Right.READ in caller.rights)
        people = [p for p in (case.person, *(co.person for co in case.co_handlers)) if p is not None]
        row = (case.region, case.in_charge, case.unit, case.co_units, case.first_asked, people)
        told = await postgres.fetchval(ASK, *who, *row, case.complained_unit, case.stand_aside)
        assert told is may_see(caller, case), f"{caller} {case}"


def test_the_pairs_reach_both_answers_by_every_way() -> None:
    """What the strategies make is not all refused, nor all allowed: a test of the test."""
    reached: set[tuple[bool, bool, bool]] = set()

    @given(CALLERS, CASES)
    @settings(max_examples=500)
    def collect(caller: Caller, case: CaseState) -> None:
        tied = caller.unit in (case.unit, *case.co_units)
        reached.add((may_see(caller, case), Right.READ in caller.rights, tied))

    collect()
    assert {(True, True, False), (True, False, True), (False, True, True), (False, False, False)} <= reached


def test_a_co_handler_sees_the_case() -> None:
    case = CaseState(in_charge="330100000000", region="330100000000", co_handlers=(CoHandler("510104001000-a", "li"),))
    assert may_see(Caller("x", "desk", "510104001000-a", "510104001000", frozenset()), case)
    assert may_see(Caller("li", "desk", "510104001000-b", "510104001000", frozenset()), case)
    assert not may_see(Caller("x", "desk", "510104001000-b", "510104001000", frozenset()), case)
