"""A database in memory for the simulation: the named statements that the kit and the services use, by their names.

One transaction at a time per database; what is rolled back leaves no trace. `pause` is awaited before each statement,
at `db.begin`, before a commit at `db.commit` and after it at `db.committed`, where a scheduler may raise Unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

Pause = Callable[[str], Awaitable[None]]
Row = dict[str, Any]


class Tables:
    """What outlives a process: the tables of one service, the locks that are held."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, Row]] = {}
        self.locks: dict[str, MemoryLock] = {}
        self.busy = asyncio.Lock()

    def table(self, name: str) -> dict[Any, Row]:
        return self.rows.setdefault(name, {})


class MemorySession:
    """One transaction, or one statement by itself."""

    def __init__(self, tables: Tables, pause: Pause) -> None:
        self._tables, self._pause = tables, pause
        self._undo: list[tuple[str, Any, Row | None]] = []

    def using(self, statements: Mapping[str, str]) -> MemorySession:
        return self

    async def fetch(self, name: str, *args: Any) -> list[Row]:
        await self._pause("db.statement")
        rows: list[Row] = STATEMENTS[name](self, *args)
        return rows

    async def fetch_one(self, name: str, *args: Any) -> Row | None:
        return next(iter(await self.fetch(name, *args)), None)

    async def execute(self, name: str, *args: Any) -> int:
        await self._pause("db.statement")
        done: int = STATEMENTS[name](self, *args) or 0
        return done

    def table(self, name: str) -> dict[Any, Row]:
        return self._tables.table(name)

    def put(self, name: str, key: Any, row: Row) -> None:
        table = self.table(name)
        self._undo.append((name, key, table.get(key)))
        table[key] = row

    def drop(self, name: str, key: Any) -> None:
        self._undo.append((name, key, self.table(name).pop(key, None)))

    def rollback(self) -> None:
        for name, key, before in reversed(self._undo):
            if before is None:
                self.table(name).pop(key, None)
            else:
                self.table(name)[key] = before


class MemoryLock:
    """An advisory lock: it ends with its holder's connection."""

    def __init__(self, tables: Tables, key: str, pause: Pause) -> None:
        self._tables, self._key, self._pause = tables, key, pause

    async def verify(self) -> None:
        await self._pause("db.lock")

    async def release(self) -> None:
        self.drop()

    def drop(self) -> None:
        """As when the connection ends."""
        if self._tables.locks.get(self._key) is self:
            del self._tables.locks[self._key]


class MemoryDatabase:
    """What the kit asks of `Database`, for one process."""

    def __init__(self, tables: Tables, pause: Pause) -> None:
        self.tables, self._pause = tables, pause
        self._locks: list[MemoryLock] = []

    def using(self, statements: Mapping[str, str]) -> MemoryDatabase:
        return self

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MemorySession]:
        await self._pause("db.begin")
        async with self.tables.busy:
            yield MemorySession(self.tables, self._pause)

    @asynccontextmanager
    async def transaction(self, snapshot: bool = False) -> AsyncIterator[MemorySession]:
        async with self.session() as session:
            try:
                yield session
                await self._pause("db.commit")
            except BaseException:
                session.rollback()
                raise
        await self._pause("db.committed")

    async def fetch(self, name: str, *args: Any) -> list[Row]:
        async with self.session() as session:
            return await session.fetch(name, *args)

    async def fetch_one(self, name: str, *args: Any) -> Row | None:
        async with self.session() as session:
            return await session.fetch_one(name, *args)

    async def execute(self, name: str, *args: Any) -> int:
        async with self.transaction() as session:
            return await session.execute(name, *args)

    async def try_advisory_lock(self, key: str) -> MemoryLock | None:
        await self._pause("db.lock")
        if key in self.tables.locks:
            return None
        lock = self.tables.locks[key] = MemoryLock(self.tables, key, self._pause)
        self._locks.append(lock)
        return lock

    def disconnect(self) -> None:
        """As when the process dies: its locks are free again."""
        for lock in self._locks:
            lock.drop()


def _read_checkpoint(session: MemorySession, model: str, stream: str) -> list[Row]:
    row = session.table("checkpoints").get((model, stream))
    return [row] if row else []


def _write_checkpoint(session: MemorySession, model: str, stream: str, sequence: int, event_id: str) -> None:
    before = session.table("checkpoints").get((model, stream))
    if before is None or before["sequence"] < sequence:
        session.put("checkpoints", (model, stream), {"stream": stream, "sequence": sequence, "event_id": event_id})


def _clear_checkpoints(session: MemorySession, model: str) -> None:
    for key in [key for key in session.table("checkpoints") if key[0] == model]:
        session.drop("checkpoints", key)


def _claim(session: MemorySession, *columns: list[Any]) -> None:
    for source, source_id, digest, subject, _ in zip(*columns, strict=True):
        if (source, source_id) not in session.table("claims"):
            row = {"source": source, "source_id": source_id, "digest": digest, "subject": subject}
            session.put("claims", (source, source_id), row)


def _read_claims(session: MemorySession, sources: list[str], ids: list[str]) -> list[Row]:
    claims = session.table("claims")
    return [claims[key] for key in zip(sources, ids, strict=True) if key in claims]


def _work_states(session: MemorySession, subjects: list[str]) -> list[Row]:
    work = session.table("work")
    return [{"subject": one, "state": work[one]["row"][-1]} for one in subjects if one in work]


def _write_work(session: MemorySession, *columns: list[Any]) -> None:
    for row in zip(*columns, strict=True):
        before = session.table("work").get(row[0])
        if before is None or before["row"][2] < row[2]:
            session.put("work", row[0], {"row": row})


def _clear_work(session: MemorySession) -> None:
    for key in list(session.table("work")):
        session.drop("work", key)


# By name, as in the services' queries.sql and the kit's project.sql.
STATEMENTS: dict[str, Callable[..., Any]] = {
    "read_checkpoint": _read_checkpoint,
    "write_checkpoint": _write_checkpoint,
    "clear_checkpoints": _clear_checkpoints,
    "claim": _claim,
    "read_claims": _read_claims,
    "work_states": _work_states,
    "write_work": _write_work,
    "clear_work": _clear_work,
}
