"""Supervision on real servers with a clock that a test moves, and cases made by the law without a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from infra.servers.embedded import Endpoints
from services.supervision.read_model import Watched
from shared.case.base import Address, Meta, Owner, Position, Recorded, new_id
from shared.case.clocks import RunningDeadline
from shared.case.commands import COMMANDS
from shared.case.facts import Deadline, Stage, TimeBase
from shared.kit.clock import SystemClock
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.topology import Topology
from tests.support.clock import START
from tests.support.law import FACTS, TOWNSHIP, person
from tests.support.log import AREAS
from tests.support.polling import WAIT_S_MAX, until
from tests.support.servers import own_servers
from tests.support.services import connected, working

NAP_S_MAX = 0.02
SOON = timedelta(milliseconds=1)  # after a due moment: at the moment itself nothing is overdue
HOURS = 24
_numbers = count(1)


class MovedClock(SystemClock):
    """The machine's clock with a time of day that a test moves. A sleep is short (NAP_S_MAX), so it misses no move."""

    def __init__(self, start: datetime = START) -> None:
        self._offset = start - super().now()

    def now(self) -> datetime:
        return super().now() + self._offset

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, NAP_S_MAX))

    def move(self, to: datetime) -> None:
        """Set the time of day to `to`, earlier or later than before."""
        self._offset = to - super().now()


@dataclass
class World:
    """The servers, the clock, and a command handler without a service."""

    endpoints: Endpoints
    clock: MovedClock
    connection: NatsConnection
    log: JetStreamLog
    intake: RunningService
    handler: CommandHandler
    supervision: RunningService | None = None  # while its jobs run

    async def act(self, name: str, address: Address, at: datetime | None = None, **facts: Any) -> Committed:
        """Handle a command at a time that may be earlier than now. Raises AssertionError when the law rejects it."""
        now = self.clock.now()
        meta = Meta(command_id=f"act {next(_numbers)}", time=at or now, recorded_at=now, actor=person())
        request = command(address, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))
        done = await self.handler.handle(request)
        assert isinstance(done, Committed), f"{name}: {done}"
        return done

    async def new(self, kind: str = "case", region: str = TOWNSHIP) -> Address:
        """An address with a key and without events."""
        address = Address(kind, region, new_id(region, f"{kind} {next(_numbers)}"))
        await self.intake.data.vault.new_keys(None, [(address.id, region)])
        return address

    async def registered(self, **facts: Any) -> Address:
        """A registered case whose first clock supervision has set; under a hold no clock is awaited."""
        address = await self.new()
        now = self.clock.now()
        await self.act("register", address, contact_time=now, complained_unit=None, stand_aside=(), **facts)
        if not facts.get("hold"):
            await self.until(address, "case.deadlines_set")
        return address

    async def due_at(self, due: datetime, warn_at: datetime | None = None, **more: Any) -> Address:
        """A case at the triage desk with the clock of the test."""
        address = await self.registered()
        await self.set_clock(address, clocked(due, warn_at, **more))
        return address

    async def set_clock(self, address: Address, deadline: Deadline) -> None:
        """Replace the clock of the running stage."""
        await self.act("set-deadlines", address, opens=[deadline], closes=[deadline.stage])

    async def clock_of(self, address: Address, stage: Stage = Stage.TRIAGE) -> RunningDeadline:
        """The clock of a stage, from the log."""
        versioned = await self.handler.state(address, fresh=True)
        clock = versioned.state.clock(stage, None)
        assert clock is not None
        return clock  # type: ignore[no-any-return]

    async def events(self, address: Address, *types: str) -> list[Recorded[Any]]:
        """The events of a case, or those of the given types."""
        return [event for event in await self.log.load(address) if not types or event.type in types]

    async def watched(self) -> None:
        """Wait until supervision's read model holds the whole log."""
        assert self.supervision is not None, "supervision runs"
        for stream in self.log.streams():
            end = Position(stream, await self.log.end(stream))
            assert await self.supervision.runtime.progress.wait(Watched.name, end, WAIT_S_MAX)

    async def until(self, address: Address, type: str, times: int = 1) -> Recorded[Any]:
        """Wait until a case has `times` events of a type; returns the last of them. Raises TimeoutError."""
        events: list[Recorded[Any]] = []

        async def have_come() -> bool:
            events[:] = await self.events(address, type)
            return len(events) >= times

        await until(have_come)
        return events[-1]


def clocked(due: datetime, warn_at: datetime | None = None, stage: Stage = Stage.TRIAGE, **more: Any) -> Deadline:
    """A deadline as from a limit of HOURS, so that no calendar moves it."""
    start = due - timedelta(hours=HOURS)
    return Deadline(
        stage=stage, start=start, due=due, warn_at=warn_at, base=TimeBase.HOURS, amount=HOURS,
        warn=int((due - warn_at) / timedelta(hours=1)) if warn_at else 0, **more,
    )  # fmt: skip


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Prepared servers; no service runs yet."""
    async with AsyncExitStack() as after:
        endpoints = await after.enter_async_context(own_servers("ticking", Settings(areas=AREAS)))
        clock = MovedClock()
        connection = await connect(endpoints.nats["admin"], name="test")
        after.push_async_callback(connection.close)
        intake = await after.enter_async_context(connected(Owner.INTAKE, endpoints, clock))
        log = JetStreamLog(connection, Topology(AREAS))
        handler = CommandHandler(log=log, vault=intake.data.vault, runtime=Runtime.of(clock))
        yield World(endpoints, clock, connection, log, intake, handler)


@asynccontextmanager
async def supervising(world: World, without: Collection[str] = ()) -> AsyncIterator[RunningService]:
    """Run supervision with its jobs except `without`; it ends as at a process stop."""
    async with connected(Owner.SUPERVISION, world.endpoints, world.clock) as service, working(service, without):
        world.supervision = service
        try:
            yield service
        finally:
            world.supervision = None
