"""What the log in memory has beyond the contract: places to interleave and to fail, lag, time that a test moves."""

from __future__ import annotations

import pytest

from shared.case.base import Position
from shared.log.memory import MemoryLog
from shared.log.port import ACK_WAIT_S, DurableMissing, LogConflict, LogUnavailable
from tests.support.clock import FakeClock
from tests.support.log import AREAS, address, recorded

LOG = "LOG_5101"


class Faults:
    """Fails the next call at one point."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fail_at = ""

    async def pause(self, point: str) -> None:
        self.seen.append(point)
        if point == self.fail_at:
            self.fail_at = ""
            raise LogUnavailable(point)


async def test_a_lost_request_leaves_nothing_and_a_lost_acknowledgement_leaves_the_event() -> None:
    faults = Faults()
    log = MemoryLog(AREAS, FakeClock(), faults.pause)
    faults.fail_at = "append"
    with pytest.raises(LogUnavailable):
        await log.append(recorded(address(), "a"), 0)
    assert await log.end(LOG) == 0
    faults.fail_at = "append.stored"
    with pytest.raises(LogUnavailable):
        await log.append(recorded(address(), "a"), 0)
    assert await log.append(recorded(address(), "a"), 0) == Position(LOG, 1)
    assert await log.end(LOG) == 1


async def test_every_call_passes_a_point() -> None:
    faults = Faults()
    log = MemoryLog(AREAS, FakeClock(), faults.pause)
    position = await log.append(recorded(address(), "a"), 0)
    await log.load(address())
    await log.peek(address())
    await log.at(position)
    await log.end(LOG)
    await anext(log.follow(LOG, 0))
    [one] = await (await log.durable(LOG, "x")).fetch(1, 0)
    await one.nack(0)
    await one.ack()
    await one.term()
    points = "append append.stored load peek at end follow durable fetch nack ack term"
    assert faults.seen == points.split()


async def test_a_conflict_is_judged_after_the_pause_so_that_two_may_race() -> None:
    async def other_first(point: str) -> None:
        if point == "append" and not log._by_subject:
            log.pause = Faults().pause
            await log.append(recorded(address(), "other"), 0)

    log = MemoryLog(AREAS, FakeClock(), other_first)
    with pytest.raises(LogConflict):
        await log.append(recorded(address(), "a"), 0)


async def test_a_peek_lags_and_a_load_does_not() -> None:
    log = MemoryLog(AREAS, FakeClock(), lag=lambda subject: 1)
    first = await log.append(recorded(address(), "a"), 0)
    await log.append(recorded(address(), "b"), first.sequence)
    assert len(await log.load(address())) == 2
    assert [one.position for one in await log.peek(address())] == [first]
    assert await log.peek(address(), first.sequence) == []


async def test_what_nobody_acknowledged_comes_back_after_a_while() -> None:
    clock = FakeClock()
    log = MemoryLog(AREAS, clock)
    await log.append(recorded(address(), "a"), 0)
    durable = await log.durable(LOG, "x")
    assert len(await durable.fetch(5, 0)) == 1
    await clock.advance(ACK_WAIT_S - 1)
    assert await durable.fetch(5, 0) == []
    await clock.advance(1)
    [again] = await (await log.durable(LOG, "x")).fetch(5, 0)
    assert again.attempts == 2


async def test_a_deleted_durable_is_missing() -> None:
    log = MemoryLog(AREAS, FakeClock())
    durable = await log.durable(LOG, "x")
    await log.delete_durable(LOG, "x")
    with pytest.raises(DurableMissing):
        await durable.fetch(1, 0)
