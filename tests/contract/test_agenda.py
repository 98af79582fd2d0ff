"""One suite for both agendas of a ticker: in memory, and in Postgres as supervision's read model keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from services.supervision.deadlines.memory_agenda import MemoryAgenda
from services.supervision.deadlines.ticker import DueTimer
from services.supervision.policy import moments
from services.supervision.queries import PgAgenda
from services.supervision.read_model import Watched
from shared.case.base import Owner
from shared.case.clocks import RunningDeadline
from shared.case.facts import Stage
from shared.kit.effects import AggregateChange, Timer
from shared.kit.problems import Unavailable
from tests.support.clock import START
from tests.support.services import tables_of
from tests.support.supervision import watched
from tests.support.ticking import clocked

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ALL = datetime.max.replace(tzinfo=UTC)


@dataclass
class Made:
    """An agenda and how cases get into it."""

    agenda: PgAgenda | MemoryAgenda
    put: Callable[[Sequence[AggregateChange]], Awaitable[None]]

    async def due(self, now: datetime, after: Timer | None = None, count_max: int = 100) -> list[DueTimer]:
        return await self.agenda.due(now, after, count_max)

    async def named(self, now: datetime) -> list[tuple[str, datetime]]:
        return [(one.timer.what, one.timer.at) for one in await self.due(now)]


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.slow)])
def dsns(request: pytest.FixtureRequest) -> Mapping[str, str] | None:
    """The DSN of each role, None for the agenda in memory."""
    return request.getfixturevalue("database") if request.param == "database" else None


@pytest.fixture
async def made(dsns: Mapping[str, str] | None) -> AsyncIterator[Made]:
    if dsns is None:
        agenda = MemoryAgenda(moments)

        async def remember(changes: Sequence[AggregateChange]) -> None:
            agenda.put(changes)

        yield Made(agenda, remember)
        return
    async with tables_of(Owner.SUPERVISION, dsns) as database:

        async def write(changes: Sequence[AggregateChange]) -> None:
            async with database.transaction() as session:
                await Watched().write(session, changes)

        yield Made(PgAgenda(database), write)


def running(due: datetime, set_by: str = "set", stage: Stage = Stage.HANDLE, **more: Any) -> RunningDeadline:
    return RunningDeadline(clocked(due, due - HOUR, stage), set_by, **more)


async def test_nothing_is_due_of_nothing(made: Made) -> None:
    assert await made.due(ALL) == []
    assert await made.agenda.next_at(START) is None
    assert await made.agenda.running(None, 10) == []


async def test_it_tells_what_is_due_in_due_order_with_the_case_and_who_set_it(made: Made) -> None:
    late, soon = watched("a", 1, running(START + HOUR)), watched("b", 2, running(START))
    await made.put([late, soon])
    assert sorted(await made.named(START), key=lambda one: one[1]) == await made.named(START)
    assert set(await made.named(START)) == {("warn", START - HOUR), ("warn", START), ("overdue", START)}
    first, *_ = await made.due(START)
    assert (first.timer.subject, first.timer.stage, first.timer.cause) == (soon.address.subject, "handle", "set")
    assert (first.state, first.sequence) == (soon.state, 2)
    assert await made.due(START - HOUR - SECOND) == []


async def test_it_goes_on_after_a_place_also_among_many_of_one_instant(made: Made) -> None:
    await made.put([watched(str(n), n, running(START, warned=True)) for n in range(1, 8)])
    whole = await made.due(START)
    assert len(whole) == 7
    assert whole == sorted(whole, key=lambda one: one.timer.key)
    pages: list[DueTimer] = []
    position: Timer | None = None
    while page := await made.due(START, position, 3):
        pages, position = pages + page, page[-1].timer
    assert pages == whole


async def test_what_is_no_longer_in_force_goes_and_comes_back_with_its_clock(made: Made) -> None:
    clock = running(START, warned=True)
    await made.put([watched("a", 1, clock)])
    assert await made.named(START) == [("overdue", START)]
    await made.put([watched("a", 2, replace(clock, suspended=True))])
    assert await made.due(ALL) == []
    await made.put([watched("a", 3, clock)])
    assert await made.named(START) == [("overdue", START)]
    await made.put([watched("a", 4, running(START + HOUR, "moved", warned=True))])
    assert await made.due(START) == []
    assert [one.timer.cause for one in await made.due(ALL)] == ["moved"]


async def test_an_older_state_changes_nothing(made: Made) -> None:
    await made.put([watched("a", 5, running(START + HOUR, warned=True))])
    await made.put([watched("a", 4, running(START, warned=True))])
    assert await made.named(ALL) == [("overdue", START + HOUR)]


async def test_a_clock_that_goes_back_finds_nothing_due_and_then_all_of_it(made: Made) -> None:
    await made.put([watched(str(n), n, running(START + n * HOUR, warned=True)) for n in range(1, 5)])
    assert len(await made.due(START + 4 * HOUR)) == 4
    assert len(await made.due(START + 2 * HOUR)) == 2
    assert await made.agenda.next_at(START + 2 * HOUR) == START + 3 * HOUR
    assert await made.due(START) == []
    assert await made.agenda.next_at(START) == START + HOUR
    assert len(await made.due(START + 4 * HOUR)) == 4


async def test_next_at_is_after_a_moment_never_at_it(made: Made) -> None:
    await made.put([watched("a", 1, running(START, warned=True)), watched("b", 2, running(START + HOUR, warned=True))])
    assert await made.agenda.next_at(START - SECOND) == START
    assert await made.agenda.next_at(START) == START + HOUR
    assert await made.agenda.next_at(START + HOUR) is None


async def test_deadlines_that_run_come_soonest_first_whether_due_or_not(made: Made) -> None:
    await made.put([watched("a", 1, running(START + HOUR)), watched("b", 2, running(START))])
    first = await made.agenda.running(None, 1)
    second = await made.agenda.running(first[-1].timer, 5)
    assert [(one.timer.what, one.timer.at) for one in [*first, *second]] == [
        ("overdue", START),
        ("overdue", START + HOUR),
    ]


async def test_which_calendars_were_applied_is_remembered(made: Made) -> None:
    await made.agenda.note_calendars(["calendars:510100000000@2", "calendars:510000000000@1"])
    await made.agenda.note_calendars(["calendars:510100000000@3", "calendars:510000000000@1"])
    assert await made.agenda.calendars() == ["calendars:510000000000@1", "calendars:510100000000@3"]


async def test_one_is_active_until_it_gives_the_lock_up(made: Made) -> None:
    one = await made.agenda.lock()
    assert one is not None
    assert one.held
    assert await made.agenda.lock() is None
    await one.verify()
    await one.release()
    assert not one.held
    with pytest.raises(Unavailable):
        await one.verify()
    other = await made.agenda.lock()
    assert other is not None
    await other.release()


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_changes_it_tells_what_a_plain_list_tells(made: Made, seed: int) -> None:
    random, known = Random(seed), dict[str, AggregateChange]()
    for sequence in range(1, 60):
        name = str(random.randrange(8))
        clocks = [
            running(
                START + random.randrange(6) * HOUR, f"set {random.randrange(3)}", stage, warned=random.random() < 0.5
            )
            for stage in random.sample([Stage.HANDLE, Stage.FEEDBACK, Stage.REPORT], random.randrange(3))
        ]
        change = known[name] = watched(name, sequence, *clocks)
        await made.put([change])
        if random.random() < 0.5:
            now = START + random.randrange(-2, 7) * HOUR
            plain = sorted(
                (due for one in known.values() for due in moments(one.address.subject, one.state)),
                key=lambda due: due.key,
            )
            assert [one.timer for one in await made.due(now)] == [due for due in plain if due.at <= now]
            assert await made.agenda.next_at(now) == min((due.at for due in plain if due.at > now), default=None)
