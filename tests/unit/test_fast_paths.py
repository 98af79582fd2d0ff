"""What was made fast does what the plain form does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from shared.case.base import Position
from shared.kit.projections import _ahead
from shared.log.envelope import EventDecoder, encode_event
from tests.support.log import address, recorded


def _bytes(title: str) -> bytes:
    return encode_event(recorded(address(), title))


def test_an_event_read_twice_is_decoded_once_and_another_log_is_never_taken_for_it() -> None:
    decoder = EventDecoder(events_cached_count_max=10)
    first = decoder.event_at("LOG_5101", 1, _bytes("a"))
    assert decoder.event_at("LOG_5101", 1, _bytes("a")) is first
    other = decoder.event_at("LOG_5101", 1, _bytes("b"))  # restored from elsewhere: another event at the same position
    assert other.id != first.id
    assert (decoder.hit_count, decoder.miss_count) == (1, 2)
    for sequence in range(1, 21):
        decoder.event_at("LOG_5107", sequence, _bytes("c"))
    assert len(decoder._events) == 10
    decoder.event_at("LOG_5107", 20, _bytes("c"))
    decoder.event_at("LOG_5107", 1, _bytes("c"))  # pushed out by newer ones
    assert (decoder.hit_count, decoder.miss_count) == (2, 23)


def test_an_event_that_was_appended_here_is_not_decoded_again() -> None:
    decoder, data = EventDecoder(), _bytes("a")
    appended = replace(recorded(address(), "a"), position=Position("LOG_5101", 7))
    decoder.remember(appended, data)
    assert decoder.event_at("LOG_5101", 7, data) is appended


def test_two_decoders_share_nothing() -> None:
    one, other = EventDecoder(), EventDecoder()
    first, second = one.event_at("LOG_5101", 1, _bytes("a")), other.event_at("LOG_5101", 1, _bytes("a"))
    assert first == second
    assert first is not second
    assert first.meta.actor is not second.meta.actor
    assert one.decode(_bytes("b"), None).meta.actor is first.meta.actor


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
