"""Reporting's read model on a real Postgres: whatever the batches, the same tables; whoever asks, what they may see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting.listing import CaseFilter, reads_region
from services.reporting.queries import CaseQueries
from services.reporting.read_model import Model
from shared.case.base import Address, Position, Recorded, contains, new_id
from shared.case.lifecycle import OPEN, Status
from shared.case.rights import Right
from shared.case.state import CaseState
from shared.kit.access import Caller, may_see, may_see_flow
from shared.kit.effects import AggregateChange, state_json
from shared.kit.projections import KIT_STATEMENTS
from shared.kit.seal import seal_fields
from shared.kit.sql import Database
from shared.kit.vault import MasterKeys, MemoryVault
from tests.support import DEEP
from tests.support.clock import FakeClock
from tests.support.law import TOWNSHIP
from tests.support.law_walk import propose_case, propose_order
from tests.support.law_watch import CaseWatch, OrderWatch
from tests.support.reporting import STREAM, opened, projector
from tests.support.states import CALLERS, CASES, PEOPLE, REGIONS, START, UNITS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if DEEP else 120)]
SAME_TABLES = settings(
    max_examples=400 if DEEP else 10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
WALK_STEPS = 20
FILTERS = {
    "region": st.sampled_from(REGIONS),
    "status": st.sampled_from(Status),
    "open": st.booleans(),
    "unit": st.sampled_from(UNITS),
    "person": st.sampled_from(PEOPLE),
    "subject": st.sampled_from(["water", "housing"]),
    "nature": st.just("help"),
    "since": st.just(START.replace(day=4)),
    "until": st.just(START.replace(day=5)),
    "late": st.booleans(),
}
# Few filters at once, or nothing is left to judge.
WANTED = st.lists(
    st.sampled_from(sorted(FILTERS)).flatmap(lambda name: st.tuples(st.just(name), FILTERS[name])), max_size=2
).map(lambda chosen: CaseFilter(**dict(chosen)))


@pytest.fixture
async def tables(database: Mapping[str, str]) -> AsyncIterator[Database]:
    async with opened(database) as one:
        yield one


def vault() -> MemoryVault:
    return MemoryVault(MasterKeys([b"k" * 32]), FakeClock())


@pytest.mark.clause("9.4a")
@SAME_TABLES
@given(
    cases=st.lists(CASES, max_size=12),
    queries=st.lists(st.tuples(CALLERS, WANTED), min_size=5, max_size=15),
    walked_rows_max=st.sampled_from([2, 3, 100]),
)
async def test_a_list_holds_what_the_caller_may_see_and_nothing_else(
    tables: Database, cases: list[CaseState], queries: list[tuple[Caller, CaseFilter]], walked_rows_max: int
) -> None:
    model = Model(vault(), index=False)
    reads = CaseQueries(tables, model, walked_rows_max)
    known = {new_id(case.region, f"case {n}"): case for n, case in enumerate(cases)}
    async with tables.transaction() as session:
        await model.clear(session)
        await model.write(session, [_change(id, case) for id, case in known.items()])
    for caller, wanted in queries:
        expected = sorted(
            (id for id, case in known.items() if may_see_flow(caller, case) and _fits(case, wanted)),
            key=lambda one: (known[one].registered_at, one),
            reverse=True,
        )
        found: list[str] = []
        place = None
        while True:
            rows, place = await reads.page(caller, wanted, place, 3)
            found.extend(row.facts["id"] for row in rows)
            for row in rows:
                assert row.facts["content"] is may_see(caller, known[row.facts["id"]])
            if place is None:
                break
        assert found == expected, f"{caller} {wanted}"
        followed = {id for id, case in known.items() if may_see_flow(caller, case)}
        assert await reads.visible(caller, "", list(known)) == followed
        if reads_region(caller):
            await _check_tallies(reads, caller, known)


async def _check_tallies(reads: CaseQueries, caller: Caller, known: Mapping[str, CaseState]) -> None:
    rows = await reads.tallies(caller, caller.region)
    inside = [case for case in known.values() if contains(caller.region, case.in_charge) and may_see_flow(caller, case)]
    assert sum(row["count"] for row in rows) == len(inside)
    assert all(row["count"] > 0 and contains(caller.region, row["region"]) for row in rows)
    late = [case for case in inside if case.late]
    assert sum(row["count"] for row in rows if row["late"]) == len(late)


def _fits(case: CaseState, case_filter: CaseFilter) -> bool:
    assert case.registered_at is not None
    people = (case.person, case.first_asked, *(co.person for co in case.co_handlers))
    return all(
        (
            case_filter.region is None or contains(case_filter.region, case.in_charge),
            case_filter.status in (None, case.status),
            case_filter.open in (None, case.status in OPEN),
            case_filter.unit is None or case_filter.unit in (case.unit, *case.co_units),
            case_filter.person is None or case_filter.person in people,
            case_filter.subject is None or (case.subject or "").startswith(case_filter.subject),
            case_filter.nature in (None, case.nature),
            case_filter.since is None or case.registered_at >= case_filter.since,
            case_filter.until is None or case.registered_at < case_filter.until,
            case_filter.late in (None, bool(case.late)),
        )
    )


def _change(id: str, case: CaseState) -> AggregateChange:
    return AggregateChange(Address("case", case.region, id), case, Position(STREAM, 1), (), state_json("case", case))


@SAME_TABLES
@given(
    chance=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    others=st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
async def test_the_same_events_in_other_batches_or_twice_make_the_same_tables(
    tables: Database, chance: Random, sizes: list[int], others: list[int]
) -> None:
    clock, keys = FakeClock(), vault()
    events = await _events(chance, keys, clock)
    first = await _projected(tables, keys, clock, events, sizes)
    assert first["cases"][0] == len({r.address for r in events if r.address.kind == "case"})
    assert first["orders"][0] == len({r.address for r in events if r.address.kind == "order"})
    assert set(first) == set(Model.tables)
    assert await _projected(tables, keys, clock, events, others, twice=True) == first


async def _projected(
    tables: Database,
    keys: MemoryVault,
    clock: FakeClock,
    events: list[Recorded[Any]],
    sizes: list[int],
    twice: bool = False,
) -> dict[str, tuple[int, int]]:
    """The checksums after these events in batches of these sizes, over and over; `twice`: each batch again."""
    async with tables.transaction() as session:
        await Model(keys).clear(session)
        await session.using(KIT_STATEMENTS).execute("clear_checkpoints", Model.name)
    one, at, turn = projector(tables, Model(keys), clock), 0, 0
    while at < len(events):
        batch = events[at : at + sizes[turn % len(sizes)]]
        await one.apply(STREAM, batch)
        if twice:  # as after a start that read an older checkpoint; what it folds then must not count
            await projector(tables, Model(keys), clock).apply(STREAM, batch)
            await projector(tables, Model(keys), clock).apply(STREAM, events[: at + 1])
            # one that lost its lock goes on beside us, from before where we are to behind it
            await projector(tables, Model(keys), clock).apply(STREAM, events[at : at + len(batch) + 2])
        at, turn = at + len(batch), turn + 1
    async with tables.session() as session:
        return await Model(keys).checksums(session)


async def _events(chance: Random, keys: MemoryVault, clock: FakeClock) -> list[Recorded[Any]]:
    """Walks of a few cases and an order, sealed and interleaved, each event at its place."""
    walks = [await _walk(chance, keys, clock, "case", n) for n in range(4)]
    walks.append(await _walk(chance, keys, clock, "order", 9))
    events: list[Recorded[Any]] = []
    while walks := [walk for walk in walks if walk]:
        recorded = chance.choice(walks).pop(0)
        events.append(replace(recorded, position=Position(STREAM, len(events) + 1)))
    return events


async def _walk(chance: Random, keys: MemoryVault, clock: FakeClock, kind: str, number: int) -> list[Recorded[Any]]:
    watch = CaseWatch() if kind == "case" else OrderWatch()
    for _ in range(WALK_STEPS):
        if isinstance(watch, CaseWatch):
            watch.ask(propose_case(chance, watch.state))
        else:
            watch.ask(propose_order(chance, watch.state))
    address = Address(kind, TOWNSHIP, new_id(TOWNSHIP, f"{kind} {number}"))
    key = (await keys.new_keys(None, [(address.id, TOWNSHIP)]))[address.id]
    sealed = []
    for at, recorded in enumerate(watch.events):
        id = f"{address.id} {at}"
        event = seal_fields(recorded.known, key, address.id, id, clock)
        sealed.append(Recorded(id, address, recorded.meta, event))
    return sealed


@pytest.mark.clause("9.5b")
async def test_an_auditor_reads_the_flow_of_the_region_and_no_title(tables: Database) -> None:
    case = CaseState(status=Status.HANDLING, region=TOWNSHIP, in_charge=TOWNSHIP, registered_at=START, last_at=START)
    model = Model(vault(), index=False)
    async with tables.transaction() as session:
        await model.write(session, [_change(new_id(TOWNSHIP, "one"), replace(case, first_asked="li.na"))])
    auditor = Caller("a", "auditor", "510000000000-centre", "510000000000", frozenset({Right.AUDIT}))
    (row,), _ = await CaseQueries(tables, model).page(auditor, CaseFilter(), None, 10)
    assert (row.facts["content"], row.facts["token"], row.matter) == (False, None, None)
