"""A database in memory for the simulation: the named statements of the kit and the services as Python functions.

One transaction runs at a time per database; a rollback restores each row. `pause` is awaited at `db.begin`, before each
statement, before a commit at `db.commit` and after it at `db.committed`. There a scheduler may raise Unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shared.kit.problems import Unavailable

Pause = Callable[[str], Awaitable[None]]
Row = dict[str, Any]


class Tables:
    """The tables of one service and the locks held on them; both outlive a process."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, Row]] = {}
        self.locks: dict[str, MemoryLock] = {}
        self.busy = asyncio.Lock()

    def table(self, name: str) -> dict[Any, Row]:
        return self.rows.setdefault(name, {})


class MemorySession:
    """One transaction, or one statement outside a transaction."""

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

    async def fetch_value(self, name: str, *args: Any) -> Any:
        row = await self.fetch_one(name, *args)
        return None if row is None else next(iter(row.values()))

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
    """An advisory lock, which ends with the connection of its holder."""

    def __init__(self, tables: Tables, key: str, pause: Pause) -> None:
        self._tables, self._key, self._pause = tables, key, pause

    @property
    def held(self) -> bool:
        return self._tables.locks.get(self._key) is self

    async def verify(self) -> None:
        await self._pause("db.lock")
        if not self.held:
            raise Unavailable("The lock is lost.")

    async def release(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Free the lock, as at the end of its connection."""
        if self._tables.locks.get(self._key) is self:
            del self._tables.locks[self._key]


class MemoryDatabase:
    """The part of `Database` that the kit uses, for one process."""

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

    async def fetch_value(self, name: str, *args: Any) -> Any:
        async with self.session() as session:
            return await session.fetch_value(name, *args)

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
        """Free the locks, as at the end of the process."""
        self.drop_locks()

    def drop_locks(self) -> bool:
        """Free the locks, as when their connections break; returns whether any was held."""
        held = [lock for lock in self._locks if lock.held]
        for lock in held:
            lock.drop()
        self._locks.clear()
        return bool(held)


def _read_checkpoint(session: MemorySession, model: str, stream: str) -> list[Row]:
    row = session.table("checkpoints").get((model, stream))
    return [row] if row else []


def _read_checkpoints(session: MemorySession, model: str) -> list[Row]:
    return [row for (name, _), row in session.table("checkpoints").items() if name == model]


def _write_checkpoint(
    session: MemorySession, model: str, stream: str, sequence: int, event_id: str, expected: int
) -> int:
    before = session.table("checkpoints").get((model, stream))
    if before is not None and before["sequence"] != expected:
        return 0
    session.put("checkpoints", (model, stream), {"stream": stream, "sequence": sequence, "event_id": event_id})
    return 1


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
    return [{"subject": subject, "state": work[subject]["row"][-1]} for subject in subjects if subject in work]


def _write_work(session: MemorySession, *columns: list[Any]) -> None:
    for row in zip(*columns, strict=True):
        before = session.table("work").get(row[0])
        if before is None or before["row"][2] < row[2]:
            session.put("work", row[0], {"row": row})


def _clear_work(session: MemorySession) -> None:
    for key in list(session.table("work")):
        session.drop("work", key)


def _watched_states(session: MemorySession, subjects: list[str]) -> list[Row]:
    watched = session.table("watched")
    return [{"subject": subject, "state": watched[subject]["row"][-1]} for subject in subjects if subject in watched]


def _write_watched(session: MemorySession, *columns: list[Any]) -> list[Row]:
    written = []
    for row in zip(*columns, strict=True):
        before = session.table("watched").get(row[0])
        if before is None or before["row"][2] < row[2]:
            session.put("watched", row[0], {"row": row})
            written.append({"subject": row[0]})
    return written


def _forget_moments(session: MemorySession, subjects: list[str]) -> None:
    for subject in subjects:
        for key in [key for key in session.table("moments") if key[0] == subject]:
            session.drop("moments", key)


def _write_moments(session: MemorySession, *columns: list[Any]) -> None:
    for row in zip(*columns, strict=True):
        session.put("moments", row[:4], {"row": row})


def _clear_watched(session: MemorySession) -> None:
    for name in ("watched", "moments"):
        for key in list(session.table(name)):
            session.drop(name, key)


def _moments(session: MemorySession, after: tuple[Any, ...], fits: Callable[[tuple[Any, ...]], bool]) -> list[Row]:
    watched, rows_by_key = session.table("watched"), []
    for moment in session.table("moments").values():
        subject, what, stage, unit, at, cause = moment["row"]
        key = (at, subject, what, stage, unit)
        if key > after and fits(key):
            watched_row = watched[subject]["row"]
            names = {"at": at, "subject": subject, "what": what, "stage": stage, "unit": unit, "cause": cause}
            rows_by_key.append((key, names | {"sequence": watched_row[2], "state": watched_row[-1]}))
    return [row for _, row in sorted(rows_by_key, key=lambda pair: pair[0])]


def _due(session: MemorySession, now: Any, *rest: Any) -> list[Row]:
    *after, count_max = rest
    return _moments(session, tuple(after), lambda key: key[0] <= now)[:count_max]


def _running(session: MemorySession, *rest: Any) -> list[Row]:
    *after, count_max = rest
    return _moments(session, tuple(after), lambda key: key[2] == "overdue")[:count_max]


def _next_moment(session: MemorySession, after: Any) -> list[Row]:
    coming = [at for moment in session.table("moments").values() if (at := moment["row"][4]) > after]
    return [{"at": min(coming)}] if coming else []


def _clockless(session: MemorySession, after: str, count_max: int) -> list[Row]:
    timed = {moment["row"][0] for moment in session.table("moments").values()}
    watched = session.table("watched").items()
    clockless = (subject for subject, row in watched if row["row"][5] and subject > after and subject not in timed)
    return [{"subject": subject} for subject in sorted(clockless)[:count_max]]


def _calendars_applied(session: MemorySession) -> list[Row]:
    return [{"reference": reference} for reference in sorted(session.table("calendars_applied"))]


def _forget_calendars(session: MemorySession) -> None:
    for key in list(session.table("calendars_applied")):
        session.drop("calendars_applied", key)


def _note_calendars(session: MemorySession, references: list[str]) -> None:
    for reference in references:
        session.put("calendars_applied", reference, {"reference": reference})


# By the names in queries.sql of the services and project.sql of the kit.
STATEMENTS: dict[str, Callable[..., Any]] = {
    "read_checkpoint": _read_checkpoint,
    "read_checkpoints": _read_checkpoints,
    "write_checkpoint": _write_checkpoint,
    "clear_checkpoints": _clear_checkpoints,
    "claim": _claim,
    "read_claims": _read_claims,
    "work_states": _work_states,
    "write_work": _write_work,
    "clear_work": _clear_work,
    "watched_states": _watched_states,
    "write_watched": _write_watched,
    "forget_moments": _forget_moments,
    "write_moments": _write_moments,
    "clear_watched": _clear_watched,
    "due": _due,
    "running": _running,
    "next_moment": _next_moment,
    "clockless": _clockless,
    "calendars_applied": _calendars_applied,
    "forget_calendars": _forget_calendars,
    "note_calendars": _note_calendars,
}
