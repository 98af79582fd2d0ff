"""The ticker on real servers, under a clock that the test moves: what is due fires once, in order, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from services.supervision.deadlines.reckoning import calendar_reference
from shared.case.base import Address, Recorded
from shared.case.calendar import reckon
from shared.case.facts import Deadline, Stage, TimeBase
from shared.case.orders import OrderStatus
from shared.log.streams import Streams
from shared.reference.calendars import CalendarRow
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import demo_documents
from shared.reference.publish import publish, with_years
from tests.support.law import TOWNSHIP
from tests.support.polling import until
from tests.support.ticking import SOON, World, clocked, open_world, supervising

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRED = ("case.warned", "case.overdue", "case.urged", "case.ordered", "case.escalated")
HOLDERS = """
select a.pid from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($1, 0)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def running(world: World) -> AsyncIterator[World]:
    """The same, with supervision at work."""
    async with supervising(world):
        yield world


async def canary(world: World) -> None:
    """Once a case that is due now has fired, all that was due before has had its turn."""
    await world.until(await world.due_at(world.clock.now()), "case.overdue")


@pytest.mark.clause("5.1.3a")
async def test_a_deadline_is_warned_of_and_goes_overdue_each_once(running: World) -> None:
    world, now = running, running.clock.now()
    case = await world.due_at(now + 3 * HOUR, warn_at=now + HOUR)
    set_by = (await world.events(case, "case.deadlines_set"))[-1].id
    world.clock.move(now + HOUR)
    warned = await world.until(case, "case.warned")
    assert warned.meta.causation_id == set_by
    assert await world.events(case, "case.overdue") == []
    world.clock.move(now + 3 * HOUR + SOON)
    overdue = await world.until(case, "case.overdue")
    assert overdue.known.due == now + 3 * HOUR < overdue.known.seen_at <= overdue.meta.recorded_at
    assert overdue.meta.causation_id == set_by
    await canary(world)
    assert [one.type for one in await world.events(case, "case.warned", "case.overdue")] == [
        "case.warned",
        "case.overdue",
    ]


async def test_what_falls_due_fires_in_due_order_whatever_the_order_of_the_cases(running: World) -> None:
    world, now = running, running.clock.now()
    hours = [7, 3, 9, 1, 5, 8, 2, 6, 4, 10]
    cases = {hour: await world.due_at(now + hour * HOUR) for hour in hours}
    await world.watched()
    world.clock.move(now + 11 * HOUR)
    fired = {hour: await world.until(case, "case.overdue") for hour, case in cases.items()}
    places = [fired[hour].position.sequence for hour in sorted(hours)]  # type: ignore[union-attr]
    assert places == sorted(places)


async def test_what_fell_due_while_nobody_ran_fires_at_the_start_and_never_again(world: World) -> None:
    async with supervising(world):
        now = world.clock.now()
        case = await world.due_at(now + 2 * HOUR, warn_at=now + HOUR)
    world.clock.move(now + 5 * HOUR)
    for _ in range(2):
        async with supervising(world):
            overdue = await world.until(case, "case.overdue")
            await canary(world)
    assert overdue.known.due == now + 2 * HOUR
    assert overdue.known.seen_at >= now + 5 * HOUR
    fired = [one.type for one in await world.events(case, "case.warned", "case.overdue")]
    assert fired == ["case.warned", "case.overdue"]


async def test_a_copy_stands_ready_and_takes_over_when_the_active_one_loses_its_connection(world: World) -> None:
    admin = await asyncpg.connect(world.endpoints.postgres["admin"])

    async def holder() -> int | None:
        found: int | None = await admin.fetchval(HOLDERS, "supervision.ticker")
        return found

    async with supervising(world), supervising(world):
        case = await world.due_at(world.clock.now() + HOUR)
        first = await holder()
        assert first is not None
        assert await admin.fetchval("select pg_terminate_backend($1)", first)

        async def taken() -> bool:
            return await holder() not in (None, first)

        await until(taken)
        world.clock.move(world.clock.now() + 2 * HOUR)
        await world.until(case, "case.overdue")
        await canary(world)
    await admin.close()
    assert len(await world.events(case, "case.overdue")) == 1


async def test_a_deadline_that_was_moved_fires_at_its_new_moment_only(running: World) -> None:
    world, now = running, running.clock.now()
    case = await world.due_at(now + HOUR)
    await world.act("extend", case, stage="triage", due=now + 9 * HOUR)
    world.clock.move(now + 2 * HOUR)
    await canary(world)
    assert await world.events(case, "case.overdue") == []
    world.clock.move(now + 9 * HOUR + SOON)
    assert (await world.until(case, "case.overdue")).known.due == now + 9 * HOUR


@pytest.mark.clause("5.1.3a")
async def test_a_clock_that_stands_still_fires_nothing_and_goes_on_when_its_pause_is_over(running: World) -> None:
    world, now = running, running.clock.now()
    case = await world.due_at(now + 2 * HOUR)
    await world.act("suspend", case, stage="triage", until=now + 10 * HOUR)
    world.clock.move(now + 5 * HOUR)
    await canary(world)
    assert await world.events(case, "case.overdue", "case.resumed") == []
    world.clock.move(now + 10 * HOUR + SOON)
    resumed = await world.until(case, "case.resumed")
    left = resumed.known.deadline.due - (now + 10 * HOUR)
    assert HOUR < left <= 2 * HOUR, "what was left when it stopped goes on"
    assert await world.events(case, "case.overdue") == []
    world.clock.move(now + 12 * HOUR + SOON)
    await world.until(case, "case.overdue")


async def test_a_case_under_import_is_left_alone_until_it_is_released(running: World) -> None:
    world, now = running, running.clock.now()
    case = await world.registered(hold="import")
    await world.act("set-deadlines", case, opens=[clocked(now + HOUR)])
    world.clock.move(now + 2 * HOUR)
    await canary(world)
    assert await world.events(case, *FIRED) == []
    await world.act("release", case, hold="import")
    assert (await world.until(case, "case.overdue")).known.due == now + HOUR


@pytest.mark.clause("5.1.1f")
async def test_an_order_that_nobody_answers_goes_overdue_once(running: World) -> None:
    world, now = running, running.clock.now()
    case, order = await world.registered(), await world.new("order")
    await world.act("issue-order", order, cases=[case.subject], due=now + HOUR)
    await world.until(case, "case.ordered")
    world.clock.move(now + HOUR + SOON)
    overdue = await world.until(order, "order.overdue")
    assert overdue.known.due == now + HOUR
    await canary(world)
    assert len(await world.events(order, "order.overdue")) == 1
    assert (await world.handler.state(order, fresh=True)).state.status is OrderStatus.ISSUED


@pytest.mark.clause("11.2")
async def test_after_an_outage_every_rung_is_taken_in_turn_an_interval_after_the_one_before(world: World) -> None:
    async with supervising(world):
        now = world.clock.now()
        case = await world.due_at(now + HOUR)
    world.clock.move(now + 40 * DAY)
    back = world.clock.now()
    async with supervising(world):
        await world.until(case, "case.urged")
        await canary(world)
        rungs = await rungs_of(world, case)
        assert len(rungs) == 1, "nobody could act while nobody was told"
        assert rungs[0].known.moment < back <= rungs[0].meta.recorded_at
        while (next_at := rungs[-1].known.next_at) is not None:
            assert next_at > rungs[-1].meta.recorded_at
            world.clock.move(next_at)
            count = len(rungs) + 1
            rungs = await until(partial(rungs_of, world, case, count))
            assert len(rungs) == count, "one level in an interval"
    assert [recorded.known.rung for recorded in rungs] == list(range(len(rungs)))
    assert [recorded.type for recorded in rungs[:4]] == ["case.urged", "case.urged", "case.ordered", "case.escalated"]
    assert [recorded.known.to for recorded in rungs if recorded.type == "case.escalated"] == [
        "510104000000",
        "510100000000",
        "510000000000",
    ]


async def rungs_of(world: World, case: Address, count: int = 0) -> list[Recorded[Any]]:
    """The rungs that a case has taken; none before there are `count`."""
    fired = await world.events(case, *FIRED)
    rungs = [recorded for recorded in fired if recorded.type != "case.overdue"]
    return rungs if len(rungs) >= count else []


async def test_a_clock_that_jumps_forth_and_back_fires_nothing_twice_and_loses_nothing(running: World) -> None:
    world, now = running, running.clock.now()
    early, late = await world.due_at(now + HOUR), await world.due_at(now + 30 * HOUR)
    world.clock.move(now + 2 * HOUR)
    await world.until(early, "case.overdue")
    world.clock.move(now - 20 * DAY)
    between = await world.due_at(now - 20 * DAY + HOUR)
    world.clock.move(now - 20 * DAY + 2 * HOUR)
    await world.until(between, "case.overdue")
    assert await world.events(late, "case.overdue") == []
    world.clock.move(now + 31 * HOUR)
    await world.until(late, "case.overdue")
    for case in (early, between, late):
        assert len(await world.events(case, "case.overdue")) == 1


@pytest.mark.clause("5.1.3a")
async def test_work_done_in_time_that_arrives_late_annuls_the_overdue(running: World) -> None:
    world, now = running, running.clock.now()
    case = await world.due_at(now + 5 * HOUR)
    world.clock.move(now + 6 * HOUR)
    await world.until(case, "case.overdue")
    work = [await world.act("triage", case, at=now + 3 * HOUR), await world.act("assign", case, at=now + 4 * HOUR)]
    annulled = await world.until(case, "case.overdue_annulled")
    assert annulled.known.proof.split()[1] in [done.recorded.id for done in work if done.recorded]
    assert (await world.handler.state(case, fresh=True)).state.late == ()


# Calendars


def next_year(*holidays: str) -> Document:
    """The demo's calendars, and the year that is not published yet with these days off."""
    in_force = next(one for one in demo_documents() if one.kind is DocumentKind.CALENDARS)
    told = {"year": "2027", "holidays": holidays, "notice": "2027 年节假日安排的通知"}
    row = CalendarRow.model_validate(told)
    return with_years(Document(kind=DocumentKind.CALENDARS, region=in_force.region, note="", rows=(row,)), in_force)


async def in_working_days(world: World, start: datetime, amount: int) -> tuple[Address, Deadline]:
    """A case whose clock runs in working days, as the calendar in force counts them."""
    calendar = world.intake.identity.reference_data.calendar(TOWNSHIP)
    found = reckon(start, amount, TimeBase.WORKING_DAYS, calendar)
    made = Deadline(
        stage=Stage.TRIAGE, start=start, due=found.due, base=TimeBase.WORKING_DAYS, amount=amount,
        last_day=found.last_day, calendar_reference=calendar_reference(calendar, found),
    )  # fmt: skip
    case = await world.registered()
    await world.set_clock(case, made)
    return case, made


@pytest.mark.clause("5.1.3a")
async def test_a_calendar_that_is_published_moves_what_runs_soonest_first_and_says_why(running: World) -> None:
    world = running
    start = datetime(2026, 12, 30, 2, 0, tzinfo=UTC)
    world.clock.move(start)
    clocks = [await in_working_days(world, start, amount) for amount in (9, 4, 6)]
    same, _ = await in_working_days(world, start, 1)
    assert [made.calendar_reference for _, made in clocks] == [None] * 3, "the year is provisional"
    await world.watched()
    await publish(Streams(world.connection), [next_year("2027-01-01", "2027-01-04")])
    moved = [(await world.until(case, "case.deadline_recomputed"), made) for case, made in clocks]
    for one, made in moved:
        assert one.known.due_before == made.due < one.known.deadline.due
        assert one.known.why.startswith("calendar provisional -> calendars:")
    soonest_first = sorted(moved, key=lambda pair: pair[1].due)
    assert all(a.position.sequence < b.position.sequence for (a, _), (b, _) in pairwise(soonest_first))  # type: ignore[union-attr]
    assert await world.events(same, "case.deadline_recomputed") == []
    case, made = clocks[1]
    world.clock.move(made.due + HOUR)
    await canary(world)
    assert await world.events(case, "case.overdue") == []
    world.clock.move((await world.clock_of(case)).deadline.due + SOON)
    await world.until(case, "case.overdue")


async def test_what_falls_due_by_an_old_calendar_is_recomputed_and_not_fired(world: World) -> None:
    start = world.clock.now()
    async with supervising(world, without={"supervision.calendars"}) as supervision:
        case, made = await in_working_days(world, start, 2)
        off = (made.last_day or made.due.date()).isoformat()
        document = next_year("2027-01-01", "2027-01-04", off)
        await publish(Streams(world.connection), [document])

        async def heard() -> bool:
            calendar = supervision.identity.reference_data.calendar(TOWNSHIP)
            return calendar.day_off(made.last_day or made.due.date()) is not None

        await until(heard)
        world.clock.move(made.due + SOON)
        recomputed = await world.until(case, "case.deadline_recomputed")
        assert recomputed.known.due_before == made.due
        await canary(world)
        assert await world.events(case, "case.overdue") == []
        world.clock.move(recomputed.known.deadline.due + SOON)
        await world.until(case, "case.overdue")
