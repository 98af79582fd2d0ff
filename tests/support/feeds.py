"""Cases on a log for the feed, the items that FEED must hold, and the items that it holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from pydantic_core import from_json

from services.supervision.feed.items import items
from services.supervision.feed.writer import AT
from shared.case.base import Address, Event, Recorded, event_id, new_id
from shared.kit.command_handler import DECIDERS
from shared.log.case_numbers import case_number
from shared.log.consumers import RawMessage
from shared.log.port import Log
from shared.log.streams import Streams
from shared.log.topology import FEED, FEED_ITEMS, FEED_MARK
from tests.support.law import ORDER_SITUATIONS, SITUATIONS, TOWNSHIP, history

AREAS = ("5101", "5107")
SEAL = "seal1.BBBB.AAAA"
SubjectAndBody = tuple[str, str]  # of an item


def lives(count: int, seed: int, only: Sequence[str] = ()) -> list[list[Recorded[Any]]]:
    """The events of `count` cases and orders, from the situations in `only` (default all), half in each area."""
    rng, cases = Random(seed), []
    names = sorted(only or SITUATIONS | ORDER_SITUATIONS)
    for n in range(count):
        events = history(rng.choice(names))
        if events:
            area = AREAS[n % 2]
            region = area + TOWNSHIP[4:]
            address = Address(events[0].address.kind, region, new_id(region, f"life {seed} {n}"))
            cases.append([moved(event, address, area, f"{seed} {n} {at}") for at, event in enumerate(events)])
    return cases


def moved(recorded: Recorded[Any], address: Address, area: str, command_id: str) -> Recorded[Any]:
    """The same event of another case in another area, sealed."""
    event: Event = recorded.known
    text = event.model_dump_json(exclude=set(event.PRIVATE)).replace(AREAS[0], area)
    sealed = {name: SEAL for name in event.PRIVATE if getattr(event, name) is not None}
    meta = recorded.meta.model_copy(update={"command_id": command_id})
    copied = type(event).model_validate(from_json(text) | sealed)
    return Recorded(event_id(command_id, address.subject), address, meta, copied)


async def fill(log: Log, cases: Sequence[Sequence[Recorded[Any]]], seed: int = 0) -> int:
    """Append the events of the cases, or the rest of them, to the log in a mixed order; returns their count."""
    rng, waiting = Random(seed), [deque(case) for case in cases if case]
    last: dict[str, int] = {}
    count = 0
    while waiting:
        case = rng.choice(waiting[:50])
        recorded = case.popleft()
        subject = recorded.address.subject
        if subject not in last:
            position = next((event.position for event in reversed(await log.load(recorded.address))), None)
            last[subject] = position.sequence if position else 0
        last[subject] = (await log.append(recorded, last[subject])).sequence
        count += 1
        if not case:
            waiting.remove(case)
    return count


async def expected(log: Log) -> dict[str, list[SubjectAndBody]]:
    """The items that FEED must hold of each log stream, in order, from states folded from registration on."""
    by_stream: dict[str, list[SubjectAndBody]] = {}
    for stream in log.streams():
        stream_items: list[SubjectAndBody] = []
        states: dict[str, tuple[Any, int]] = {}
        for recorded in await whole(log, stream):
            at, subject = recorded.position, recorded.address.subject
            assert at is not None
            law = DECIDERS[recorded.address.kind]
            before, registration_sequence = states.get(subject, (law.new, at.sequence))
            after = law.evolve(before, recorded)
            states[subject] = (after, registration_sequence)
            name = case_number(type(at)(stream, registration_sequence))
            stream_items += [
                (item.nats_subject, item.model_dump_json(exclude_none=True))
                for item in items(before, after, recorded, name)
            ]
        by_stream[stream] = stream_items
    return by_stream


async def whole(log: Log, stream: str) -> list[Recorded[Any]]:
    """Every event of a stream."""
    end, events = await log.end(stream), list[Recorded[Any]]()
    if end:
        async for batch in log.follow(stream, 0):
            events += batch
            if len(events) >= end:
                break
    return events


async def written(streams: Streams, log: Log) -> dict[str, list[SubjectAndBody]]:
    """The items that FEED holds of each log stream, in order, without marks."""
    by_stream: dict[str, list[SubjectAndBody]] = {stream: [] for stream in log.streams()}
    for message in await messages(streams):
        if message.subject != FEED_MARK:
            stream = (message.headers or {})[AT].split()[0]
            by_stream[stream].append((message.subject, message.data.decode()))
    return by_stream


async def messages(streams: Streams) -> list[RawMessage]:
    """All messages of FEED."""
    return await streams.read(FEED, FEED_ITEMS)
