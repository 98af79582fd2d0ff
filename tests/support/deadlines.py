"""Many cases with chosen due moments, written to the log directly.

The services do not react to the registration of these cases: their durables begin after it, and so does the feed. Each
case has waited at the triage desk for a day and has one clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.supervision.deadlines.reckoning import calendar_reference
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
from shared.log.topology import FEED_MARK, durable_of_reactions
from shared.reference.documents import DocumentKind

SQL = Statements.load(Path(__file__).with_suffix(".sql"))
HOURS = 24  # the amount of each limit here
ACK_EVERY = 500
KEYS_AT_ONCE = 1000
OPEN_AT_ONCE = 100_000
DESK = "desk"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """A case and the due moment of its deadline."""

    address: Address
    due: datetime


def plan(name: str, dues: Iterable[datetime], regions: tuple[str, ...]) -> list[Planned]:
    """A case for each due moment, in these regions in turn; each `name` gives other cases."""
    chosen = ((regions[n % len(regions)], n, due) for n, due in enumerate(dues))
    return [Planned(Address("case", region, new_id(region, f"{name} {n}")), due) for region, n, due in chosen]


def steady(first: datetime, per_s: float, count: int) -> Iterator[datetime]:
    """`count` moments from `first` on, evenly spaced, `per_s` in a second."""
    return (first + timedelta(seconds=n / per_s) for n in range(count))


async def new_keys(vault: Vault, planned: list[Planned]) -> dict[str, bytes]:
    """Make a key in the vault for each case; returns the keys by case id."""
    keys: dict[str, bytes] = {}
    for start in range(0, len(planned), KEYS_AT_ONCE):
        batch = [(case.address.id, case.address.region) for case in planned[start : start + KEYS_AT_ONCE]]
        keys |= await vault.new_keys(None, batch)
    return keys


async def write(
    connection: NatsConnection, supervision: RunningService, planned: list[Planned], keys: Mapping[str, bytes], say: Say
) -> None:
    """Write the registration and the clock of each case to the log, as the services do. `say` hears the progress."""
    reported_at, count = time.monotonic(), 0
    for case in planned:
        for recorded in life(case, supervision, keys[case.address.id]):
            count += 1
            subject, data = case.address.subject, encode_event(recorded)
            if count % ACK_EVERY and count < 2 * len(planned):
                await connection.client.publish(subject, data)
            else:
                await connection.api(subject, data)
        if time.monotonic() - reported_at > 5:
            reported_at = time.monotonic()
            say(f"events on the log: {count:,} of {2 * len(planned):,}")


def life(case: Planned, supervision: RunningService, key: bytes) -> Iterator[Recorded[Event]]:
    """The events of a case: registered HOURS before its due moment, and its clock set."""
    region, start = case.address.region, case.due - timedelta(hours=HOURS)
    matter = Matter(title="一件小事", text="想请工作人员帮忙看看。", address="三组")
    registered = e.Registered(
        channel=Channel.CALL, contact_time=start, matter=matter, region=region, nature=Nature.HELP,
        first_asked="li.na", first_asked_unit=f"{region}-{DESK}",
    )  # fmt: skip
    desk = Actor(person="li.na", post=DESK, unit=f"{region}-{DESK}", centre=region, region=region)
    clock = supervision.runtime.clock
    for event, actor in (
        (registered, desk),
        (_clock(case, supervision), supervision.identity.service_actor(case.address)),
    ):
        command_id = f"seed {event.TYPE} {case.address.id}"
        id = event_id(command_id, case.address.subject)
        meta = Meta(command_id=command_id, time=start, recorded_at=start, actor=actor)
        sealed = seal_fields(event, key, case.address.id, id, clock) if event.PRIVATE else event
        yield Recorded(id, case.address, meta, sealed)


def _clock(case: Planned, supervision: RunningService) -> e.DeadlinesSet:
    start = case.due - timedelta(hours=HOURS)
    made = Deadline(stage=Stage.TRIAGE, start=start, due=case.due, base=TimeBase.HOURS, amount=HOURS, legal_basis="C")
    reference = calendar_reference(supervision.identity.reference_data.calendar(case.address.region), made)
    return e.DeadlinesSet(opens=(made.model_copy(update={"calendar_reference": reference}),))


async def skip(connection: NatsConnection, supervision: RunningService, services: Iterable[str]) -> None:
    """Move the durables of `services` and the feed to the end of the log, so that nothing reacts to its events."""
    reached, log = {}, supervision.data.log
    for stream in log.streams():
        reached[stream] = await log.end(stream)
        for service in services:
            name = durable_of_reactions(service)
            config = {
                "durable_name": name, "deliver_policy": "new", "ack_policy": "explicit", "ack_wait": 30 * 10**9,
                "max_deliver": -1, "max_ack_pending": 2000,
            }  # fmt: skip
            body = {"stream_name": stream, "config": config}
            await connection.api(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body)
    mark = FeedMark(id="seeded", time=supervision.runtime.clock.now())
    await connection.api(FEED_MARK, mark.model_dump_json().encode(), headers(reached))


async def project(supervision: RunningService, say: Say) -> None:
    """Build supervision's read model from the whole log, and note the calendars in force."""
    reported_at = time.monotonic()

    def progress(stream: str, at: int, end: int) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at > 5:
            reported_at = time.monotonic()
            say(f"read model: {stream} {at:,} of {end:,}")

    (projection,) = supervision.projections
    async with aclosing(projection.rebuild(progress)) as steps:
        async for _ in steps:
            pass
    await note_calendars(supervision)


async def note_calendars(supervision: RunningService) -> None:
    """Note the calendars in force as applied, so that no deadline is recomputed."""
    documents = supervision.identity.reference_data.documents()
    in_force = sorted(document.reference for document in documents if document.kind is DocumentKind.CALENDARS)
    await PgAgenda(supervision.data.database).note_calendars(in_force)


async def seed_open(admin: Any, first: int, last: int, due: datetime, say: Say) -> None:
    """Insert open cases (these numbers) in the read model only, due from `due` on; `admin` is a connection."""
    state = await admin.fetchval(SQL["any_state"])
    for start in range(first, last, OPEN_AT_ONCE):
        end = min(start + OPEN_AT_ONCE, last)
        await admin.execute(SQL["seed_open"], start + 1, end, state, due, timeout=600)
        say(f"open cases: {end:,} of {last:,}")
    await admin.execute("vacuum analyze supervision.watched, supervision.moments", timeout=600)
