"""A log full of lives for the feed, what the feed must say of it reckoned anew, and what FEED says."""

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
Told = tuple[str, str]  # subject and body of an item


def lives(count: int, seed: int, only: Sequence[str] = ()) -> list[list[Recorded[Any]]]:
    """The events of `count` cases and orders on their way into situations of the law, half of them in each area."""
    rng, found = Random(seed), []
    names = sorted(only or SITUATIONS | ORDER_SITUATIONS)
    for n in range(count):
        events = history(rng.choice(names))
        if events:
            area = AREAS[n % 2]
            region = area + TOWNSHIP[4:]
            address = Address(events[0].address.kind, region, new_id(region, f"life {seed} {n}"))
            found.append([moved(one, address, area, f"{seed} {n} {at}") for at, one in enumerate(events)])
    return found


def moved(recorded: Recorded[Any], address: Address, area: str, command_id: str) -> Recorded[Any]:
    """The same event of another case in another area, sealed."""
    event: Event = recorded.known
    text = event.model_dump_json(exclude=set(event.PRIVATE)).replace(AREAS[0], area)
    sealed = {name: SEAL for name in event.PRIVATE if getattr(event, name) is not None}
    meta = recorded.meta.model_copy(update={"command_id": command_id})
    made = type(event).model_validate(from_json(text) | sealed)
    return Recorded(event_id(command_id, address.subject), address, meta, made)


async def fill(log: Log, cases: Sequence[Sequence[Recorded[Any]]], seed: int = 0) -> int:
    """Put lives, or the rest of them, on the log, the events of all cases mixed; how many events that was."""
    rng, waiting = Random(seed), [deque(case) for case in cases if case]
    last: dict[str, int] = {}
    count = 0
    while waiting:
        case = rng.choice(waiting[:50])
        recorded = case.popleft()
        subject = recorded.address.subject
        if subject not in last:
            position = next((one.position for one in reversed(await log.load(recorded.address))), None)
            last[subject] = position.sequence if position else 0
        last[subject] = (await log.append(recorded, last[subject])).sequence
        count += 1
        if not case:
            waiting.remove(case)
    return count


async def expected(log: Log) -> dict[str, list[Told]]:
    """What FEED must hold of each log stream, in order: every state folded anew from the birth of its case."""
    found: dict[str, list[Told]] = {}
    for stream in log.streams():
        told: list[Told] = []
        states: dict[str, tuple[Any, int]] = {}
        for recorded in await whole(log, stream):
            at, subject = recorded.position, recorded.address.subject
            assert at is not None
            law = DECIDERS[recorded.address.kind]
            before, born = states.get(subject, (law.new, at.sequence))
            after = law.evolve(before, recorded)
            states[subject] = (after, born)
            name = case_number(type(at)(stream, born))
            told += [
                (one.nats_subject, one.model_dump_json(exclude_none=True))
                for one in items(before, after, recorded, name)
            ]
        found[stream] = told
    return found


async def whole(log: Log, stream: str) -> list[Recorded[Any]]:
    """Every event of a stream."""
    end, found = await log.end(stream), list[Recorded[Any]]()
    if end:
        async for batch in log.follow(stream, 0):
            found += batch
            if len(found) >= end:
                break
    return found


async def written(streams: Streams, log: Log) -> dict[str, list[Told]]:
    """What FEED holds of each log stream, in its order; marks left out."""
    found: dict[str, list[Told]] = {stream: [] for stream in log.streams()}
    for message in await messages(streams):
        if message.subject != FEED_MARK:
            stream = (message.headers or {})[AT].split()[0]
            found[stream].append((message.subject, message.data.decode()))
    return found


async def messages(streams: Streams) -> list[RawMessage]:
    """All of FEED."""
    return await streams.read(FEED, FEED_ITEMS)
