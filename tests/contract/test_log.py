"""What every log owes its callers, whatever stands behind the port."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import pytest

from shared.case.base import Address, Event, Owner, Position, Recorded, Unknown
from shared.case.events import Supplemented
from shared.case.facts import Note
from shared.log.port import (
    READ_BATCH_COUNT_MAX,
    Damaged,
    Delivery,
    Durable,
    EventTooLarge,
    Log,
    LogConflict,
    NoArea,
    NotSealed,
    WrongOwner,
    for_owner,
)
from tests.support.log import OTHER_REGION, address, recorded

pytestmark = pytest.mark.asyncio

LOG = "LOG_5101"


async def fill(log: Log, count: int, where: Address | None = None) -> list[Recorded[Event]]:
    """`count` events of one aggregate, as they stand on the log."""
    where = where or address()
    last, taken = 0, []
    for number in range(count):
        one = recorded(where, f"command-{number}")
        position = await log.append(one, last)
        last = position.sequence
        taken.append(replace(one, position=position))
    return taken


async def read(log: Log, stream: str, after: int, count: int) -> list[Recorded[Event]]:
    """The next `count` events of a stream."""
    found: list[Recorded[Event]] = []
    async with aclosing(cast(Any, log.follow(stream, after))) as batches, asyncio.timeout(10):
        async for batch in batches:
            found += batch
            if len(found) >= count:
                break
    return found


async def test_what_was_appended_is_loaded_unchanged_and_in_order(log: Log) -> None:
    mine, others = address(1), address(2)
    first = await log.append(recorded(mine, "a"), 0)
    await log.append(recorded(others, "x"), 0)
    second = await log.append(recorded(mine, "b", "CCCC"), first.sequence)
    expected = [replace(recorded(mine, "a"), position=first), replace(recorded(mine, "b", "CCCC"), position=second)]
    assert [first, second] == [Position(LOG, 1), Position(LOG, 3)]
    assert await log.load(mine) == expected
    assert await log.peek(mine) == expected
    assert await log.load(mine, after=first.sequence) == expected[1:]
    assert await log.peek(mine, after=second.sequence) == []


async def test_an_aggregate_without_events_is_empty(log: Log) -> None:
    assert await log.load(address()) == []
    assert await log.peek(address()) == []
    assert await log.end(LOG) == 0
    assert await log.at(Position(LOG, 1)) is None
    assert await log.at(Position(LOG, 0)) is None


async def test_a_stale_append_is_refused_and_says_where_the_log_stands(log: Log) -> None:
    first = await log.append(recorded(address(), "a"), 0)
    second = await log.append(recorded(address(), "b"), first.sequence)
    for expected in (0, first.sequence, second.sequence + 5):
        with pytest.raises(LogConflict) as refused:
            await log.append(recorded(address(), "c"), expected)
        assert refused.value.actual_sequence == second.sequence
    assert await log.end(LOG) == second.sequence


async def test_an_append_on_a_new_aggregate_with_a_wrong_expectation_is_refused(log: Log) -> None:
    await fill(log, 2, address(1))
    with pytest.raises(LogConflict) as refused:
        await log.append(recorded(address(2), "a"), 2)
    assert refused.value.actual_sequence == 0


async def test_the_same_event_again_is_done_not_refused_even_when_others_followed(log: Log) -> None:
    first = await log.append(recorded(address(), "a"), 0)
    assert await log.append(recorded(address(), "a"), 0) == first
    await log.append(recorded(address(), "b"), first.sequence)
    assert await log.append(recorded(address(), "a"), 0) == first
    assert await log.end(LOG) == 2


async def test_the_same_id_with_another_content_is_a_conflict(log: Log) -> None:
    await log.append(recorded(address(), "a", "AAAA"), 0)
    with pytest.raises(LogConflict):
        await log.append(recorded(address(), "a", "BBBB"), 0)
    assert await log.end(LOG) == 1


async def test_of_many_at_once_exactly_one_is_taken(log: Log) -> None:
    answers = await asyncio.gather(
        *(log.append(recorded(address(), f"c{number}"), 0) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, Position) for one in answers) == 1
    assert sum(isinstance(one, LogConflict) for one in answers) == 19
    assert len(await log.load(address())) == 1


async def test_events_go_to_the_stream_of_their_area_and_no_other(log: Log) -> None:
    assert log.streams() == ("LOG_5101", "LOG_5107")
    taken = await log.append(recorded(address(1, OTHER_REGION), "a"), 0)
    assert taken == Position("LOG_5107", 1)
    assert log.stream_of(address(1, OTHER_REGION)) == "LOG_5107"
    assert await log.end(LOG) == 0
    order = await log.append(recorded(address(1, kind="order"), "a"), 0)
    assert order.stream == LOG


@pytest.mark.parametrize(
    "where",
    [
        Address("case", "330100000000", "x"),
        Address("meeting", "510104001002", "x"),
        Address("case", "510104001002", "*"),
        Address("case", "510104001002", "x.>"),
        Address("case", "5101040*****", "x"),
    ],
)
async def test_an_address_outside_or_with_wildcards_is_refused(log: Log, where: Address) -> None:
    for call in (log.load(where), log.peek(where), log.append(recorded(where, "a"), 0)):
        with pytest.raises(NoArea):
            await call


async def test_an_unknown_stream_is_refused(log: Log) -> None:
    for call in (log.end("LOG_33"), log.at(Position("FEED", 1)), log.durable("LOG_33", "x"), read(log, "LOG_33", 0, 1)):
        with pytest.raises(NoArea):
            await call


async def test_one_event_by_its_position(log: Log) -> None:
    taken = await fill(log, 3)
    assert await log.at(Position(LOG, 2)) == taken[1]
    assert await log.at(Position(LOG, 4)) is None


async def test_a_private_field_in_the_clear_is_refused(log: Log) -> None:
    clear = Supplemented(note=Note(text="in the clear"))
    with pytest.raises(NotSealed, match=r"case\.supplemented\.note") as refused:
        await log.append(recorded(address(), "a", event=clear), 0)
    assert "clear" not in str(refused.value)
    assert await log.end(LOG) == 0


async def test_sixty_kibibytes_fit_and_more_is_refused(log: Log) -> None:
    taken = await log.append(recorded(address(), "a", "A" * 60_000), 0)
    with pytest.raises(EventTooLarge, match="attachment"):
        await log.append(recorded(address(), "b", "A" * (60 * 1024)), taken.sequence)
    assert await log.load(address()) == [replace(recorded(address(), "a", "A" * 60_000), position=taken)]


async def test_a_service_appends_only_what_it_owns(log: Log) -> None:
    with pytest.raises(WrongOwner, match=r"routing may not append case\.supplemented"):
        await for_owner(log, Owner.ROUTING).append(recorded(address(), "a"), 0)
    mine = for_owner(log, Owner.INTAKE)
    taken = await mine.append(recorded(address(), "a"), 0)
    assert [one.position for one in await mine.load(address())] == [taken]
    with pytest.raises(WrongOwner):
        await mine.append(replace(recorded(address(), "b"), event=Unknown("case.later", 1, {})), taken.sequence)


async def test_following_gives_everything_in_strict_order_then_lives_on(log: Log) -> None:
    taken = await fill(log, READ_BATCH_COUNT_MAX + 50)
    assert await read(log, LOG, 0, len(taken)) == taken
    assert await read(log, LOG, 540, 10) == taken[540:]
    async with aclosing(cast(Any, log.follow(LOG, len(taken)))) as batches, asyncio.timeout(10):
        for number in range(3):
            waiting = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            position = await log.append(recorded(address(2), f"live-{number}"), len(taken) + number if number else 0)
            batch = await waiting  # one event is a batch: it does not wait to fill
            assert [one.position for one in batch] == [position]


async def test_a_batch_is_bounded(log: Log) -> None:
    await fill(log, READ_BATCH_COUNT_MAX + 10)
    async with aclosing(cast(Any, log.follow(LOG, 0))) as batches, asyncio.timeout(10):
        await asyncio.sleep(0.1)
        assert len(await anext(batches)) <= READ_BATCH_COUNT_MAX


async def test_following_from_past_the_end_is_noticed(log: Log) -> None:
    await fill(log, 3)
    with pytest.raises(Damaged, match="ends at 3, before 4"):
        await read(log, LOG, 4, 1)


async def fetch(durable: Durable, count: int, wait_s: float = 1.0) -> list[Delivery]:
    return await durable.fetch(count, wait_s)


async def test_a_durable_hands_out_each_event_once_when_acknowledged(log: Log) -> None:
    taken = await fill(log, 5)
    durable = await log.durable(LOG, "reaction")
    first = await fetch(durable, 3)
    assert [(one.recorded, one.attempts) for one in first] == [(one, 1) for one in taken[:3]]
    rest = await fetch(durable, 3)
    assert [one.recorded for one in rest] == taken[3:]
    for one in first + rest:
        await one.ack()
    again = await log.durable(LOG, "reaction")  # as after a restart
    assert await again.fetch(3, 0.05) == []
    assert len(await fetch(await log.durable(LOG, "another"), 9)) == 5


async def test_a_durable_returns_a_partial_batch_at_once_and_waits_for_the_first(log: Log) -> None:
    durable = await log.durable(LOG, "reaction")
    async with asyncio.timeout(3):
        waiting = asyncio.ensure_future(durable.fetch(100, 30))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await fill(log, 1)
        assert len(await waiting) == 1


async def test_what_is_not_acknowledged_comes_back_counted_after_the_delay(log: Log) -> None:
    taken = await fill(log, 1)
    durable = await log.durable(LOG, "reaction")
    [one] = await fetch(durable, 5)
    await one.nack(0.3)
    assert await durable.fetch(5, 0.1) == []
    [again] = await fetch(durable, 5)
    assert (again.recorded, again.attempts) == (taken[0], 2)
    await again.nack(0)
    [third] = await fetch(durable, 5)
    assert third.attempts == 3
    await third.term()
    assert await durable.fetch(5, 0.1) == []
