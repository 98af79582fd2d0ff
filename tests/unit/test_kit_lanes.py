"""Turns in lanes: the earliest first, one at a time, and a message that is given up holds up no other."""

from __future__ import annotations

import asyncio

from shared.kit.clock import SystemClock
from shared.kit.lanes import Lanes


async def test_what_came_together_goes_by_sequence_and_lanes_go_side_by_side() -> None:
    lanes, begun, at_once = Lanes(SystemClock()), list[tuple[str, int]](), {"a": 0, "b": 0}

    async def work(lane: str, sequence: int) -> None:
        async with lanes.turn(lane, sequence):
            begun.append((lane, sequence))
            at_once[lane] += 1
            assert at_once[lane] == 1
            await asyncio.sleep(0.001)
            at_once[lane] -= 1

    await asyncio.gather(*(work(lane, sequence) for sequence in (5, 3, 4, 1, 2) for lane in ("a", "b")))
    for lane in ("a", "b"):
        assert [sequence for name, sequence in begun if name == lane] == [1, 2, 3, 4, 5]
    assert {begun[0], begun[1]} == {("a", 1), ("b", 1)}, "no lane waits for another"
    assert lanes._lanes == {}


async def test_who_is_cancelled_leaves_the_lane_to_the_others() -> None:
    lanes, begun = Lanes(SystemClock()), list[int]()
    started = asyncio.Event()

    async def work(sequence: int) -> None:
        async with lanes.turn("a", sequence):
            begun.append(sequence)
            started.set()
            await asyncio.sleep(0.01 if sequence != 1 else 10)

    tasks = {sequence: asyncio.create_task(work(sequence)) for sequence in (1, 2, 3, 4)}
    await started.wait()
    tasks[2].cancel()  # waits for its turn
    tasks[1].cancel()  # has it
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert begun == [1, 3, 4]
    assert lanes._lanes == {}


async def test_an_error_leaves_the_lane_too() -> None:
    lanes, begun = Lanes(SystemClock()), list[int]()

    async def work(sequence: int) -> None:
        async with lanes.turn("a", sequence):
            begun.append(sequence)
            raise RuntimeError

    await asyncio.gather(work(1), work(2), return_exceptions=True)
    assert begun == [1, 2]


async def test_whoever_is_told_to_stop_as_the_turn_comes_passes_it_on() -> None:
    for rounds in range(6):
        lanes, begun = Lanes(SystemClock()), list[int]()

        async def work(sequence: int, lanes: Lanes = lanes, begun: list[int] = begun) -> None:
            async with lanes.turn("a", sequence):
                begun.append(sequence)
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(work(sequence)) for sequence in (1, 2, 3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        tasks[1].cancel()
        async with asyncio.timeout(1):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert begun[-1] == 3
        assert lanes._lanes == {}
