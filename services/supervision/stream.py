"""What supervision does when content must go: the key is destroyed after the erasure stands on the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from shared.case.base import Address, Recorded
from shared.kit import telemetry
from shared.kit.failpoints import failpoint
from shared.kit.service import Kit

ORPHAN_AGE_MAX = timedelta(days=1)
SWEEP_EVERY_S = 3600.0


class Eraser:
    """Erasure and the sweep of what a broken registration left behind (clause 9.4 b)."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def erase(self, recorded: Recorded[Any], _: Any) -> None:
        """Destroy the key of an erased case and its files; doing it again is harmless."""
        case_id = recorded.address.id
        for earlier in await self._kit.log.load(recorded.address):
            for file in getattr(earlier.event, "attachments", ()):
                await self._kit.streams.delete(file.object)
        await self._kit.vault.destroy(case_id)
        await failpoint("vault.destroyed")

    async def sweep(self) -> None:
        """Once an hour: delete the keys whose case never reached the log."""
        while True:
            await self._kit.clock.sleep(SWEEP_EVERY_S)
            older = self._kit.clock.now() - ORPHAN_AGE_MAX
            swept = await self._kit.vault.sweep_orphans(older, self._exists)
            if swept:
                telemetry.info("orphan keys swept", count=swept)

    async def _exists(self, ids: Sequence[str]) -> list[str]:
        return [id for id in ids if await self._on_log(id)]

    async def _on_log(self, id: str) -> bool:
        for kind in ("case", "order"):
            if await self._kit.log.load(Address.of(kind, id)):
                return True
        return False
