"""Background work of supervision: erasure, deadlines by newer calendars, cases without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.supervision.deadlines.ticker import Ticker
from services.supervision.policy import recompute_by
from services.supervision.queries import PgAgenda
from shared.case.base import Address, Recorded
from shared.case.catalogue import STAGE_CHANGES
from shared.kit import telemetry
from shared.kit.application import Application
from shared.kit.data import Data
from shared.kit.intervals import run_every
from shared.kit.picture_metadata import record_name
from shared.kit.problems import Unavailable
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.log.port import LogUnavailable
from shared.reference.documents import DocumentKind

ORPHAN_AGE_MAX = timedelta(days=1)
KEY_SWEEP_EVERY_S = 3600.0
CLOCKLESS_AFTER_S = 60.0
CLOCKLESS_EVERY_S = 3600.0
CLOCKLESS_BATCH_COUNT = 200
REGISTRATION_S_MAX = 60.0  # from the key of a case to its first event, with every wait for a server that is silent
CALENDAR_EVERY_S = 2.0
HEARD_S_MAX = 30.0  # every process has received a new document by then
CALENDAR_BATCH_COUNT = 200


class Eraser:
    """Erasure, and the sweep of keys that an interrupted registration left behind (clause 9.4 b)."""

    def __init__(self, data: Data, runtime: Runtime) -> None:
        self._data, self._runtime, self._clock = data, runtime, runtime.clock

    async def erase(self, recorded: Recorded[Any]) -> None:
        """Destroy the key of an erased case and delete its files; a repetition is harmless."""
        case_id = recorded.address.id
        for earlier in await self._data.log.load(recorded.address):
            for file in getattr(earlier.event, "attachments", ()):
                await self._data.streams.delete(record_name(file.object))
                await self._data.streams.delete(file.object)
        await self._data.vault.destroy(case_id)

    async def sweep(self) -> None:
        """Sweep once an hour; returns only by cancellation."""
        await self._clock.sleep(KEY_SWEEP_EVERY_S)
        await run_every(self._clock, KEY_SWEEP_EVERY_S, self.sweep_once, "the sweep of keys waits")

    async def sweep_once(self) -> None:
        """Delete the keys whose case never reached the log. Raises Unavailable, LogUnavailable."""
        made_before = self._clock.now() - ORPHAN_AGE_MAX
        swept = await self._data.vault.sweep_orphans(made_before, self._exists)
        if swept:
            telemetry.info("orphan keys swept", count=swept)

    async def _exists(self, ids: Sequence[str]) -> list[str]:
        """Those of the cases that are on the log, or come there while a registration may take its time.

        Where a clock is wrong by days, the key of a registration at work looks as old as an orphan.
        """
        there = [id for id in ids if await self._on_log(id)]
        absent = [id for id in ids if id not in there]
        if absent:
            await self._clock.sleep(REGISTRATION_S_MAX)
            there += [id for id in absent if await self._on_log(id)]
        return there

    async def _on_log(self, id: str) -> bool:
        for kind in ("case", "order"):
            if await self._data.log.load(Address.of(kind, id)):
                return True
        return False


class Calendars:
    """Moves running deadlines when a calendar is published: once, soonest first, giving way to live work."""

    def __init__(self, application: Application, agenda: PgAgenda, ticker: Ticker) -> None:
        self._reference_data, self._runtime = application.identity.reference_data, application.runtime
        self._clock, self._agenda, self._ticker = application.runtime.clock, agenda, ticker

    async def follow(self) -> None:
        """Look for newer calendars for ever; returns only by cancellation."""
        await run_every(self._clock, CALENDAR_EVERY_S, self.apply, "the recomputation waits")

    async def apply(self) -> int:
        """Bring every running deadline to the calendars in force; how many moved. When interrupted it starts again.

        It goes through all deadlines twice, HEARD_S_MAX apart: between the two, a process that has not yet received the
        calendars may have set a clock by the old ones.
        """
        documents = self._reference_data.documents()
        in_force = sorted(document.reference for document in documents if document.kind is DocumentKind.CALENDARS)
        if in_force == await self._agenda.calendars():
            return 0
        moved = await self._look_through()
        await self._clock.sleep(HEARD_S_MAX)
        moved += await self._look_through()
        await self._agenda.note_calendars(in_force)
        telemetry.info("calendars applied", count=moved)
        return moved

    async def _look_through(self) -> int:
        moved, after, policy = 0, None, recompute_by(self._reference_data)
        while batch := await self._agenda.running(after, CALENDAR_BATCH_COUNT):
            after = batch[-1].timer
            for due in batch:
                moved += await self._ticker.work(due, policy) is not None
            await self._clock.sleep(0)
            await self._runtime.load_gate.breathe(self._clock)
        return moved


class Clockless:
    """Finds open cases that lack a clock.

    They are older than this program, their event was parked, or their limit was published later.
    """

    def __init__(self, application: Application, agenda: PgAgenda, reactions: ReactionRunner) -> None:
        self._log, self._runtime = application.data.log, application.runtime
        self._clock, self._agenda, self._reactions = application.runtime.clock, agenda, reactions

    async def follow(self) -> None:
        """Search soon after the start and then once an hour; returns only by cancellation."""
        await self._clock.sleep(CLOCKLESS_AFTER_S)
        await run_every(self._clock, CLOCKLESS_EVERY_S, self.look, "the search for cases without a clock waits")

    async def look(self) -> int:
        """React again to the event that brought each such case to its stage; how many cases were looked at."""
        looked, after = 0, ""
        while batch := await self._agenda.clockless(after, CLOCKLESS_BATCH_COUNT):
            after = batch[-1]
            for subject in batch:
                events = await self._log.load(Address.parse(subject))
                stage_changes = [recorded for recorded in events if type(recorded.event) in STAGE_CHANGES]
                if stage_changes:
                    await self._react_again(stage_changes[-1])
            looked += len(batch)
            await self._runtime.load_gate.breathe(self._clock)
        return looked

    async def _react_again(self, recorded: Recorded[Any]) -> None:
        """React to an event. An event that fails again was parked before, for the operator: the search goes on."""
        try:
            await self._reactions.react(recorded)
        except (LogUnavailable, Unavailable):
            raise
        except Exception as error:
            telemetry.warn("a case stays without a clock", event=recorded.id, reason=type(error).__name__)
