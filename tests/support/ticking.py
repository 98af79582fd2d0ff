"""Supervision on real servers under a clock that a test moves, and cases by the law alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Embedded, Endpoints
from services.supervision.read_model import Watched
from shared.case.base import Address, Meta, Owner, Position, Recorded, new_id
from shared.case.clocks import RunningDeadline
from shared.case.commands import COMMANDS
from shared.case.facts import Deadline, Stage, TimeBase
from shared.case.reasons import Rejected
from shared.kit.clock import SystemClock
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService
from shared.kit.settings import Settings
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.topology import Topology
from tests.support.clock import START
from tests.support.folders import copy_made, open_folder
from tests.support.law import FACTS, TOWNSHIP, person
from tests.support.log import AREAS
from tests.support.services import connected, working

NAP_S_MAX = 0.02
WAIT_S_MAX = 15.0
SOON = timedelta(milliseconds=1)  # after a moment: at the moment itself nothing is late yet
HOURS = 24
_numbers = count(1)


class MovedClock(SystemClock):
    """The machine's clock with another time of day, which a test moves; nobody sleeps long enough to miss it."""

    def __init__(self, start: datetime = START) -> None:
        self._offset = start - super().now()

    def now(self) -> datetime:
        return super().now() + self._offset

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, NAP_S_MAX))

    def move(self, to: datetime) -> None:
        """It is `to` now, earlier or later than it was."""
        self._offset = to - super().now()


@dataclass
class World:
    """The servers, the clock, and the law past every service."""

    endpoints: Endpoints
    clock: MovedClock
    connection: NatsConnection
    log: JetStreamLog
    intake: RunningService
    handler: CommandHandler
    supervision: RunningService | None = None  # while it is at work

    async def act(self, name: str, address: Address, at: datetime | None = None, **facts: Any) -> Committed:
        """A command on a case or order by the law, at a time that may be earlier than now."""
        now = self.clock.now()
        meta = Meta(command_id=f"act {next(_numbers)}", time=at or now, recorded_at=now, actor=person())
        asked = command(address, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))
        done = await self.handler.handle(asked)
        assert not isinstance(done, Rejected), f"{name}: {done}"
        return done

    async def new(self, kind: str = "case", region: str = TOWNSHIP) -> Address:
        """An address with a key, and no event yet."""
        address = Address(kind, region, new_id(region, f"{kind} {next(_numbers)}"))
        await self.intake.data.vault.new_keys(None, [(address.id, region)])
        return address

    async def registered(self, **facts: Any) -> Address:
        """A case whose first clock supervision has set, or none when it is under import."""
        address = await self.new()
        now = self.clock.now()
        await self.act("register", address, contact_time=now, complained_unit=None, stand_aside=(), **facts)
        if not facts.get("hold"):
            await self.until(address, "case.deadlines_set")
        return address

    async def due_at(self, due: datetime, warn_at: datetime | None = None, **more: Any) -> Address:
        """A case at the triage desk with a clock of our own."""
        address = await self.registered()
        await self.set_clock(address, clocked(due, warn_at, **more))
        return address

    async def set_clock(self, address: Address, deadline: Deadline) -> None:
        """Another clock for the stage that runs."""
        await self.act("set-deadlines", address, opens=[deadline], closes=[deadline.stage])

    async def clock_of(self, address: Address, stage: Stage = Stage.TRIAGE) -> RunningDeadline:
        """The clock of a stage as the log has it."""
        held = await self.handler.state(address, fresh=True)
        found = held.state.clock(stage, None)
        assert found is not None
        return found  # type: ignore[no-any-return]

    async def events(self, address: Address, *types: str) -> list[Recorded[Any]]:
        """The events of a case, those of these types when there are any."""
        return [one for one in await self.log.load(address) if not types or one.type in types]

    async def watched(self) -> None:
        """Wait until supervision's read model has all that the log holds."""
        assert self.supervision is not None, "supervision is at work"
        for stream in self.log.streams():
            end = Position(stream, await self.log.end(stream))
            assert await self.supervision.runtime.progress.wait(Watched.name, end, WAIT_S_MAX)

    async def until(self, address: Address, type: str, times: int = 1) -> Recorded[Any]:
        """Wait until a case has an event so often; the last of them. Raises TimeoutError."""
        found: list[Recorded[Any]] = []

        async def there() -> bool:
            found[:] = await self.events(address, type)
            return len(found) >= times

        await wait_for(there)
        return found[-1]


def clocked(due: datetime, warn_at: datetime | None = None, stage: Stage = Stage.TRIAGE, **more: Any) -> Deadline:
    """A deadline as a limit of a day in hours gives it, so that no calendar moves it."""
    start = due - timedelta(hours=HOURS)
    return Deadline(
        stage=stage, start=start, due=due, warn_at=warn_at, base=TimeBase.HOURS, amount=HOURS,
        warn=int((due - warn_at) / timedelta(hours=1)) if warn_at else 0, **more,
    )  # fmt: skip


async def wait_for(there: Callable[[], Awaitable[bool]]) -> None:
    """Poll. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not await there():
            await asyncio.sleep(NAP_S_MAX)


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Servers of their own; no service runs yet."""
    async with AsyncExitStack() as after:
        servers, folder = Embedded(), after.enter_context(open_folder("ticking"))
        copy_made(folder / "data")
        after.push_async_callback(servers.stop)
        endpoints = await servers.start(folder / "data", nats_port=0)
        await prepare(settings_for(Settings(areas=AREAS), endpoints, "admin"))
        clock = MovedClock()
        connection = await connect(endpoints.nats["admin"], name="test")
        after.push_async_callback(connection.close)
        intake = await after.enter_async_context(connected(Owner.INTAKE, endpoints, clock))
        log = JetStreamLog(connection, Topology(AREAS))
        handler = CommandHandler(log=log, vault=intake.data.vault, runtime=Runtime.of(clock))
        yield World(endpoints, clock, connection, log, intake, handler)


@asynccontextmanager
async def supervising(world: World, without: Collection[str] = ()) -> AsyncIterator[RunningService]:
    """The service with its jobs, but these; ended as when a process is told to stop."""
    async with connected(Owner.SUPERVISION, world.endpoints, world.clock) as service, working(service, without):
        world.supervision = service
        try:
            yield service
        finally:
            world.supervision = None
