"""Many cases whose deadlines fall due when a test wants it: written to the log at once, and the services told so.

What the services would do about the birth of such cases is left out: their durables begin behind them, so does the
feed. Each case waits at the triage desk since a day, with one clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.supervision.feed.writer import FeedMark, headers
from services.supervision.queries import PgAgenda
from shared.case import events as e
from shared.case.base import Actor, Address, Event, Meta, Recorded, event_id, new_id
from shared.case.facts import Channel, Deadline, Matter, Nature, Stage, TimeBase
from shared.kit.seal import seal_fields
from shared.kit.service import RunningService
from shared.kit.sql import Statements
from shared.kit.vault import Vault
from shared.log.connection import NatsConnection
from shared.log.envelope import encode_event
from shared.log.topology import FEED_MARK
from shared.reference.deadline_reckoning import calendar_reference
from shared.reference.documents import DocumentKind

SQL = Statements.load(Path(__file__).with_suffix(".sql"))
HOURS = 24  # that every limit here grants
ACK_EVERY = 500
KEYS_AT_ONCE = 1000
OPEN_AT_ONCE = 100_000
DESK = "desk"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """A case and when its deadline falls due."""

    address: Address
    due: datetime


def plan(name: str, dues: Iterable[datetime], regions: tuple[str, ...]) -> list[Planned]:
    """A case for each moment, over these regions in turn; each `name` gives other cases."""
    chosen = ((regions[n % len(regions)], n, due) for n, due in enumerate(dues))
    return [Planned(Address("case", region, new_id(region, f"{name} {n}")), due) for region, n, due in chosen]


def steady(first: datetime, per_s: float, count: int) -> Iterator[datetime]:
    """So many moments, evenly `per_s` to a second."""
    return (first + timedelta(seconds=n / per_s) for n in range(count))


async def new_keys(vault: Vault, planned: list[Planned]) -> dict[str, bytes]:
    """Keys in the vault for all of them."""
    found: dict[str, bytes] = {}
    for start in range(0, len(planned), KEYS_AT_ONCE):
        some = [(one.address.id, one.address.region) for one in planned[start : start + KEYS_AT_ONCE]]
        found |= await vault.new_keys(None, some)
    return found


async def write(
    connection: NatsConnection, supervision: RunningService, planned: list[Planned], keys: Mapping[str, bytes], say: Say
) -> None:
    """Birth and clock of each case on the log, as the services write them."""
    told, count = time.monotonic(), 0
    for one in planned:
        for recorded in life(one, supervision, keys[one.address.id]):
            count += 1
            subject, data = one.address.subject, encode_event(recorded)
            if count % ACK_EVERY and count < 2 * len(planned):
                await connection.client.publish(subject, data)
            else:
                await connection.api(subject, data)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            say(f"events on the log: {count:,} of {2 * len(planned):,}")


def life(one: Planned, supervision: RunningService, key: bytes) -> Iterator[Recorded[Event]]:
    """Registered a day before it falls due, and its clock set."""
    region, start = one.address.region, one.due - timedelta(hours=HOURS)
    matter = Matter(title="一件小事", text="想请工作人员帮忙看看。", address="三组")
    born = e.Registered(
        channel=Channel.CALL, contact_time=start, matter=matter, region=region, nature=Nature.HELP,
        first_asked="li.na", first_asked_unit=f"{region}-{DESK}",
    )  # fmt: skip
    desk = Actor(person="li.na", post=DESK, unit=f"{region}-{DESK}", centre=region, region=region)
    clock = supervision.runtime.clock
    for event, actor in ((born, desk), (_clock(one, supervision), supervision.identity.service_actor(one.address))):
        command_id = f"seed {event.TYPE} {one.address.id}"
        id = event_id(command_id, one.address.subject)
        meta = Meta(command_id=command_id, time=start, recorded_at=start, actor=actor)
        sealed = seal_fields(event, key, one.address.id, id, clock) if event.PRIVATE else event
        yield Recorded(id, one.address, meta, sealed)


def _clock(one: Planned, supervision: RunningService) -> e.DeadlinesSet:
    start = one.due - timedelta(hours=HOURS)
    made = Deadline(stage=Stage.TRIAGE, start=start, due=one.due, base=TimeBase.HOURS, amount=HOURS, legal_basis="C")
    reference = calendar_reference(supervision.identity.reference_data.calendar(one.address.region), made)
    return e.DeadlinesSet(opens=(made.model_copy(update={"calendar_reference": reference}),))


async def skip(connection: NatsConnection, supervision: RunningService, services: Iterable[str]) -> None:
    """What stands on the log is done: nobody reacts to it, and the feed begins behind it."""
    reached, log = {}, supervision.data.log
    for stream in log.streams():
        reached[stream] = await log.end(stream)
        for service in services:
            name = f"{service}-reactions"
            config = {
                "durable_name": name, "deliver_policy": "new", "ack_policy": "explicit", "ack_wait": 30 * 10**9,
                "max_deliver": -1, "max_ack_pending": 2000,
            }  # fmt: skip
            body = {"stream_name": stream, "config": config}
            await connection.api(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body)
    mark = FeedMark(id="seeded", time=supervision.runtime.clock.now())
    await connection.api(FEED_MARK, mark.model_dump_json().encode(), headers(reached))


async def project(supervision: RunningService, say: Say) -> None:
    """Supervision's read model of the whole log, its clocks reckoned with the calendars in force."""
    told = time.monotonic()

    def progress(stream: str, at: int, end: int) -> None:
        nonlocal told
        if time.monotonic() - told > 5:
            told = time.monotonic()
            say(f"read model: {stream} {at:,} of {end:,}")

    (projection,) = supervision.projections
    async with aclosing(projection.rebuild(progress)) as steps:
        async for _ in steps:
            pass
    await note_calendars(supervision)


async def note_calendars(supervision: RunningService) -> None:
    """Nothing is to be recomputed."""
    documents = supervision.identity.reference_data.documents()
    in_force = sorted(one.reference for one in documents if one.kind is DocumentKind.CALENDARS)
    await PgAgenda(supervision.data.database).note_calendars(in_force)


async def seed_open(admin: Any, first: int, last: int, due: datetime, say: Say) -> None:
    """Open cases of these numbers in the read model alone, due from `due` on; `admin` is a connection."""
    state = await admin.fetchval(SQL["any_state"])
    for start in range(first, last, OPEN_AT_ONCE):
        end = min(start + OPEN_AT_ONCE, last)
        await admin.execute(SQL["seed_open"], start + 1, end, state, due, timeout=600)
        say(f"open cases: {end:,} of {last:,}")
    await admin.execute("vacuum analyze supervision.watched, supervision.moments", timeout=600)
