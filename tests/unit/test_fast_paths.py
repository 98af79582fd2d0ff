"""What was made fast does what the plain form does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from shared.kit.projections import _ahead
from shared.log.consumers import Message
from shared.log.envelope import encode
from shared.log.jetstream import DECODED_COUNT_MAX, _decoded, _event
from tests.support.log import address, recorded


def _message(sequence: int, title: str) -> Message:
    one = recorded(address(), title)
    return Message(one.address.subject, sequence, encode(one), None)


def test_an_event_read_twice_is_decoded_once_and_another_log_is_never_taken_for_it() -> None:
    first = _event("LOG_5101", _message(1, "a"))
    assert _event("LOG_5101", _message(1, "a")) is first
    other = _event("LOG_5101", _message(1, "b"))  # restored from elsewhere: another event at the same place
    assert other.id != first.id
    for sequence in range(DECODED_COUNT_MAX + 10):
        _event("LOG_5107", _message(sequence, "c"))
    assert len(_decoded) == DECODED_COUNT_MAX


async def _numbers(count: int, broken_at: int | None = None) -> AsyncGenerator[int, None]:
    for number in range(1, count + 1):
        if number == broken_at:
            raise ValueError("broken")
        await asyncio.sleep(0)
        yield number


async def test_reading_ahead_gives_the_same_and_fails_the_same() -> None:
    assert [one async for one in _ahead(_numbers(5))] == [1, 2, 3, 4, 5]
    assert [one async for one in _ahead(_numbers(0))] == []
    seen: list[int] = []

    async def read() -> None:
        async for one in _ahead(_numbers(5, broken_at=3)):
            seen.append(one)  # noqa: PERF401

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert seen == [1, 2]


async def test_reading_ahead_can_be_left_at_any_time() -> None:
    ahead = _ahead(_numbers(5))
    assert await anext(ahead) == 1
    await ahead.aclose()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
