"""Reporting's read model on a real Postgres: whole cases by their events, or a million cases by SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.reporting.read_model import Model
from shared.case import events as e
from shared.case.base import Actor, Address, Event, Meta, Owner, Position, Recorded, event_id, new_id
from shared.case.facts import Channel, Deadline, Matter, Nature, Note, Outcome, Stage, TimeBase
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.clock import Clock
from shared.kit.projections import ProjectionRunner
from shared.kit.runtime import Runtime
from shared.kit.seal import seal_fields
from shared.kit.sql import Database, Statements
from shared.kit.vault import Vault
from shared.log.memory import MemoryLog
from tests.support.services import tables_of

SEED = Statements.load(Path(__file__).with_suffix(".sql"))
STREAM = "LOG_5101"
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
CITY, COUNTY, TOWNSHIP, VILLAGE = "510100000000", "510104000000", "510104001000", "510104001001"
UNIT = f"{TOWNSHIP}-housing"
EVENTS_PER_CASE = 8


def caller(
    region: str = TOWNSHIP, *rights: Right, person: str = "li.na", unit: str | None = None, post: str = "desk"
) -> Caller:
    """A caller at a post; by default at a desk with the right to read its region."""
    return Caller(person, post, unit or f"{region}-centre", region, frozenset(rights or {Right.READ}))


def opened(dsns: Mapping[str, str]) -> AbstractAsyncContextManager[Database]:
    """Reporting's schema in an empty database, opened as the role of the service."""
    return tables_of(Owner.REPORTING, dsns)


def projector(database: Database, model: Model, clock: Clock, log: MemoryLog | None = None) -> ProjectionRunner:
    """A projection of the model without any earlier state."""
    log = log or MemoryLog(("5101",), clock)
    return ProjectionRunner(model=model, database=database, log=log, runtime=Runtime.of(clock))


class Lives:
    """Cases from registration to close, their events interleaved, with positions in one stream."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault, self._clock = vault, clock
        self._sequence = 0

    async def born(self, count: int, region: str = VILLAGE, text: str = "大坝村的井里三天没有水了") -> list[Address]:
        """Addresses of new cases that have keys and no events; each id is new."""
        ids = [new_id(region, f"life {region} {self._sequence} {n}") for n in range(count)]
        await self._vault.new_keys(None, [(id, region) for id in ids])
        return [Address("case", region, id) for id in ids]

    async def events(self, addresses: Sequence[Address], at_once: int = 200) -> list[Recorded[Event]]:
        """All events of these cases, interleaved over `at_once` cases at a time."""
        keys = await self._vault.keys([address.id for address in addresses])
        events: list[Recorded[Event]] = []
        for start in range(0, len(addresses), at_once):
            lives = [list(self._life(a, keys[a.id] or b"")) for a in addresses[start : start + at_once]]
            for step in zip(*lives, strict=True):
                events.extend(self._place(recorded) for recorded in step)
        return events

    def recorded(self, address: Address, event: Event, key: bytes, at: datetime, name: str) -> Recorded[Event]:
        """A sealed event of a case without a position."""
        command_id = f"{name} {address.id}"
        id = event_id(command_id, address.subject)
        actor = Actor(person="li.na", post="desk", unit=f"{TOWNSHIP}-desk", centre=TOWNSHIP, region=TOWNSHIP)
        meta = Meta(
            command_id=command_id, time=at, recorded_at=at, actor=actor, references=("posts@3", "people:510104000000@7")
        )
        return Recorded(id, address, meta, seal_fields(event, key, address.id, id, self._clock))

    def placed(self, recorded: Recorded[Event]) -> Recorded[Event]:
        """The event at the next position of the stream."""
        return self._place(recorded)

    def _place(self, recorded: Recorded[Event]) -> Recorded[Event]:
        self._sequence += 1
        position = Position(STREAM, self._sequence)
        return Recorded(recorded.id, recorded.address, recorded.meta, recorded.event, position)

    def _life(self, address: Address, key: bytes) -> Iterator[Recorded[Event]]:
        at = START + timedelta(seconds=int(address.id[-4:], 16))
        for number, event in enumerate(_life(address.region, at)):
            yield self.recorded(address, event, key, at + timedelta(hours=number), str(number))


def matter(title: str = "大坝村没有水", text: str = "村东头的井里三天没有水了，请派人来看。") -> Matter:
    """The matter of a demand: title, text and address."""
    return Matter(title=title, text=text, address="大坝村三组")


def registered(region: str = VILLAGE, at: datetime = START, **changed: Any) -> e.Registered:
    """The event of a registration at the desk."""
    facts: dict[str, Any] = {
        "channel": Channel.CALL, "contact_time": at, "matter": matter(), "region": region, "nature": Nature.HELP,
        "subject": "water.supply", "first_asked": "li.na", "first_asked_unit": f"{TOWNSHIP}-desk",
    }  # fmt: skip
    return e.Registered(**(facts | changed))


def _life(region: str, at: datetime) -> Iterator[Event]:
    def clock(stage: Stage) -> Deadline:
        due = at + timedelta(days=5)
        return Deadline(
            stage=stage, start=at, due=due, warn_at=due, base=TimeBase.WORKING_DAYS, amount=5, legal_basis="34"
        )

    yield registered(region, at)
    yield e.Triaged(unit=UNIT, nature=Nature.HELP, subject="water.supply", rule="water", rule_reference="rules@2")
    yield e.Assigned(unit=UNIT, rule="water", rule_reference="rules@2")
    yield e.DeadlinesSet(opens=(clock(Stage.SIGN),))
    yield e.SignedFor(unit=UNIT, person="wang.fang")
    yield e.DeadlinesSet(opens=(clock(Stage.HANDLE),), closes=(Stage.SIGN,))
    yield e.Settled(outcome=Outcome.SOLVED, reply=Note(text="水管已经修好，今天恢复供水。"), basis="water rules, 7")
    yield e.Closed()


async def seed(admin: Any, count: int) -> None:
    """Insert `count` cases by SQL over 20 counties of a province: one in twenty is open, one in ten of these is late.

    `admin` is a connection whose search path holds the schema reporting.
    """
    for name in ("seed_cases", "seed_seen", "seed_tallies"):
        await admin.execute(SEED[name], *([count] if name == "seed_cases" else []), timeout=600)
    await admin.execute(SEED["analyze"], timeout=600)
