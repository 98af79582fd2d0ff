"""The world of a playback: one log, one law, one ticker, and the clock of the file.

Law, application, agenda, timers and ticker are those of the services. Here nothing waits, and a case is forgotten after
its end, so that memory holds open cases only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from services.supervision.deadlines.memory_agenda import MemoryAgenda
from services.supervision.deadlines.ticker import Ticker
from services.supervision.policy import fire_by, moments
from shared.case.base import Address, Event, Owner, Recorded
from shared.case.commands import Command
from shared.case.reasons import Rejected
from shared.kit.application import Application, Origin
from shared.kit.command_handler import Committed
from shared.kit.data import Data
from shared.kit.effects import AggregateChange
from shared.kit.identity import Identity
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from shared.reference.reference_data import ReferenceData

_MODEL = "backtest"
LATE_AFTER = timedelta(microseconds=1)  # a deadline is overdue from the instant after its due moment
LONG_AGO = datetime.min.replace(tzinfo=UTC)
_KEY = bytes(32)  # sealed content here has nothing of the file


class LogClock:
    """The clock of the log, which stands still until it is set to the next moment; `sleep` does not wait."""

    def __init__(self, start: datetime) -> None:
        self._start = self._now = start
        self._random = random.Random(0)

    def now(self) -> datetime:
        return self._now

    def to(self, moment: datetime) -> None:
        """Set the clock to a later moment."""
        self._now = max(self._now, moment)

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(seconds, 0.0))
        await asyncio.sleep(0)

    def random(self) -> float:
        return self._random.random()

    def new_id(self) -> str:
        return str(UUID(bytes=self.token_bytes(16), version=4))

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class _Log(MemoryLog):
    """The log in memory, with the removal of a case."""

    def all(self, address: Address) -> list[Recorded[Event]]:
        """The events of a case, in order."""
        return self._by_subject.get(address.subject, [])

    def forget(self, address: Address) -> None:
        """Remove the events of a case; the sequences of other events stay."""
        for recorded in self._by_subject.pop(address.subject, ()):
            if (position := recorded.position) is not None:
                self._streams[position.stream].events[position.sequence - 1] = cast(Any, None)


class _Vault(MemoryVault):
    async def key(self, case_id: str) -> bytes:
        return _KEY


class _Agenda(MemoryAgenda):
    def is_idle(self, address: Address) -> bool:
        """Whether no timer of a case remains."""
        watched = self._watched.get(address.subject)
        return watched is None or not watched.entries

    def forget(self, address: Address) -> None:
        """Remove a case."""
        self._watched.pop(address.subject, None)


class _Application(Application):
    """Enters each change into the agenda at once, as the projection does in a service."""

    changed: list[Address]  # since the last tick
    agenda: _Agenda

    async def decide(self, command: Command, origin: Origin | None = None) -> Committed | Rejected:
        outcome = await super().decide(command, origin)
        if isinstance(outcome, Committed) and outcome.recorded is not None:
            self.agenda.put([AggregateChange(command.address, outcome.state, outcome.position, (outcome.recorded,))])
            self.runtime.progress.set(_MODEL, outcome.position)
            self.changed.append(command.address)
        return outcome


class BacktestWorld:
    """Decides commands at the time of the clock and runs the ticker between them."""

    def __init__(self, start: datetime, region: str) -> None:
        self.clock = LogClock(start)
        self._log = _Log((region[:4],), self.clock)
        self._agenda = _Agenda(moments)
        absent: Any = None
        reference_data = ReferenceData([])
        self._application = _Application(
            identity=Identity(owner=Owner.SUPERVISION, settings=Settings(), reference_data=reference_data),
            data=Data(
                log=self._log,
                streams=absent,
                edge=absent,
                vault=_Vault(MasterKeys([_KEY]), self.clock),
                database=absent,
            ),
            runtime=Runtime.of(self.clock),
        )
        self._application.agenda, self._application.changed = self._agenda, []
        self._ticker = Ticker(
            name="backtest.ticker", model=_MODEL, agenda=self._agenda, policy=fire_by(reference_data),
            application=self._application,
        )  # fmt: skip

    async def decide(self, command: Command) -> Committed | Rejected:
        """Decide a command by the law."""
        return await self._application.decide(command)

    async def next_tick(self) -> datetime | None:
        """The moment of the next tick: the instant after the next due moment."""
        moment = await self._agenda.next_at(LONG_AGO)
        return None if moment is None else max(moment + LATE_AFTER, self.clock.now())

    async def tick(self) -> Sequence[Address]:
        """Fire all due timers; the address of each changed case, once for each change."""
        self._application.changed.clear()
        await self._ticker.tick()
        return tuple(self._application.changed)

    def is_idle(self, address: Address) -> bool:
        """Whether no timer of a case remains."""
        return self._agenda.is_idle(address)

    def events(self, address: Address) -> Sequence[Recorded[Event]]:
        """The events of a case."""
        return self._log.all(address)

    def forget(self, address: Address) -> None:
        """Remove a case that is at its end."""
        self._log.forget(address)
        self._agenda.forget(address)
        self._application.runtime.aggregates.forget(address.subject)
