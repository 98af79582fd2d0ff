from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.kit.clock import Clock, SystemClock
from tests.support.clock import START, FakeClock


def test_system_clock_is_aware_and_random() -> None:
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert UUID(clock.new_id()).version == 4
    assert clock.new_id() != clock.new_id()
    assert len(clock.token_bytes(12)) == 12
    assert 0 <= clock.random() < 1


def test_fake_clock_replays_from_its_seed() -> None:
    def run(clock: FakeClock) -> list[object]:
        return [clock.now(), clock.random(), clock.new_id(), clock.token_bytes(4)]

    assert run(FakeClock(seed=7)) == run(FakeClock(seed=7))
    assert run(FakeClock(seed=7)) != run(FakeClock(seed=8))
    with pytest.raises(ValueError, match="aware start"):
        FakeClock(datetime(2026, 3, 2))


async def test_advance_wakes_sleepers_in_order_each_at_its_moment() -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper("late", 5)), asyncio.create_task(sleeper("often", 2, 2, 2))]
    await clock.settle()
    await clock.advance(4.5)
    assert woken == [("often", 2), ("often", 4)]
    assert clock.now() == START + timedelta(seconds=4.5)
    await clock.advance(10)
    assert woken[2:] == [("late", 5), ("often", 6)]
    await asyncio.gather(*tasks)


async def test_a_cancelled_sleeper_is_not_woken_and_a_jump_wakes_nobody() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    asleep = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    clock.jump(-3600)
    await clock.settle()
    assert not asleep.done()
    assert clock.now() == datetime(2025, 12, 31, 23, tzinfo=UTC)
    asleep.cancel()
    await clock.settle()
    assert clock.next_due() is None
    await clock.advance(2)
