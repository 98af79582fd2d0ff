"""Vaults of several processes over the same rows, each with a cache of its own. A scheduler may let a call fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from shared.kit.clock import Clock
from shared.kit.failpoints import Failpoints
from shared.kit.sql import Session
from shared.kit.vault import KeyRow, MasterKeys, MemoryVault

Pause = Callable[[str], Awaitable[None]]


class SharedVault(MemoryVault):
    """The vault of one process; the first vault of a world holds the rows."""

    def __init__(
        self,
        masters: MasterKeys,
        clock: Clock,
        pause: Pause,
        first: SharedVault | None = None,
        failpoints: Failpoints | None = None,
    ) -> None:
        super().__init__(masters, clock, failpoints)
        self._pause = pause
        if first is not None:
            self._rows, self._counties = first._rows, first._counties

    async def _insert(self, session: Session | None, fresh: Sequence[tuple[str, str, bytes]]) -> list[KeyRow]:
        await self._pause("vault.insert")
        return await super()._insert(session, fresh)

    async def _county(self, id: str, county: str, wrapped: bytes) -> KeyRow:
        await self._pause("vault.county")
        return await super()._county(id, county, wrapped)

    async def _read(self, ids: Sequence[str]) -> list[KeyRow]:
        await self._pause("vault.read")
        return await super()._read(ids)

    async def _destroy(self, id: str, at: datetime) -> bool:
        await self._pause("vault.destroy")
        done = await super()._destroy(id, at)
        await self._pause("vault.destroyed")
        return done

    async def _rewrap_some(self, count_max: int) -> int:
        await self._pause("vault.rewrap")
        return await super()._rewrap_some(count_max)
