"""Postgres for the services: statements by name, pools per role, locks for one writer, migrations forward only.

Statements live in `.sql` files, each behind `-- name: what_it_does` and at least one line that says what for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic_core import from_json, to_json

from shared.kit.problems import Unavailable
from shared.kit.rows import parts_of

CONNECT_WAIT_S_MAX = 5
ACQUIRE_WAIT_S_MAX = 5
COMMAND_WAIT_S_MAX = 30
STATEMENT_CACHE_COUNT_MAX = 500
_NAME = re.compile(r"-- name: *(?P<name>\S*)\s*")
_ROWS = re.compile(r"-- rows: *(?P<row>\w+)\s*")
_PART = re.compile(r"<(?P<part>columns|arrays|values|updates)>")
_PARAMETER = re.compile(r"(?<![:\w]):(?P<name>[a-z_]+)\b")
_MIGRATION = re.compile(r"(?P<number>[0-9]{4})_[a-z0-9_]+\.sql")

Connection = asyncpg.Connection | PoolConnectionProxy


class BadStatements(ValueError):
    """A file of statements is not as it must be; the text names file, line and what to do."""


class MigrationRefused(Exception):
    """The folder does not continue what the database has; the text says where and what to do."""


class Statements(Mapping[str, str]):
    """The statements of one or more files by name."""

    def __init__(self, texts: Mapping[str, str], parameters: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._texts, self._parameters = dict(texts), dict(parameters or {})

    @classmethod
    def load(cls, *paths: Path, rows: Sequence[type] = ()) -> Self:
        """Read `.sql` files. `rows`: the row classes that statements name by `-- rows:` (see rows.py).

        Raises BadStatements for a name used twice, no description, no text, or a row class that is not given.
        """
        classes = {row.__name__: row for row in rows}
        texts: dict[str, str] = {}
        parameters: dict[str, tuple[str, ...]] = {}
        for path in paths:
            for name, text, row in _blocks(path):
                if name in texts:
                    raise BadStatements(f"{path}: statement {name!r} is there twice: rename one")
                if row and row not in classes:
                    raise BadStatements(f"{path}: statement {name!r} names the rows {row}, which are not given to load")
                written = _with_rows(text, classes[row]) if row else text
                texts[name], parameters[name] = _numbered_parameters(written)
        return cls(texts, parameters)

    def arguments(self, name: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Values by name in the order of the statement's parameters. Raises TypeError for other names."""
        order = self._parameters.get(name, ())
        if set(order) != values.keys():
            raise TypeError(f"statement {name!r} takes {sorted(order)}, got {sorted(values)}")
        return tuple(values[parameter] for parameter in order)

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            raise KeyError(f"no statement {name!r}; there are {', '.join(self._texts)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _blocks(path: Path) -> Iterator[tuple[str, str, str]]:
    name, lines, described = "", list[str](), False
    for number, line in enumerate([*path.read_text("utf-8").splitlines(), "-- name: end"], 1):
        head = _NAME.fullmatch(line)
        if head is None:
            if line.startswith("--") and not _ROWS.fullmatch(line):
                described = described or bool(line.strip("- "))
            elif line.strip() and not name:
                raise BadStatements(f"{path}:{number}: text before the first `-- name:`")
            lines.append(line)
            continue
        if name:
            row = next((match["row"] for line in lines if (match := _ROWS.fullmatch(line))), "")
            text = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
            if not described or not text:
                raise BadStatements(
                    f"{path}: statement {name!r} has no {'text' if described else 'description'}; "
                    "write `-- name: x`, then `-- what it is for`, then the statement"
                )
            yield name, text, row
        name, lines, described = head["name"], [], False
        if not name.isidentifier():
            raise BadStatements(f"{path}:{number}: {name!r} is not a name; write it like find_case")


def _with_rows(text: str, row: type) -> str:
    """A statement with the lists of a row class in their places."""
    parts = parts_of(row)
    return _PART.sub(lambda match: parts[match["part"]], text)


def _numbered_parameters(text: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `:name` parameters as the server reads it, `$1`, `$2`, and their names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match['name'], len(names) + 1)}"

    return _PARAMETER.sub(number, text), tuple(names)


class Session:
    """Named statements on one connection. Inside `Database.transaction` all of them happen or none."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self.connection = connection
        self._statements = statements

    def using(self, statements: Statements) -> Session:
        """The same connection and transaction with another file's statements."""
        return Session(self.connection, statements)

    async def fetch(self, name: str, *args: Any, **values: Any) -> list[asyncpg.Record]:
        """All rows; parameters by place, or by the names that the statement gives them. Raises Unavailable."""
        with unavailable(self.connection):
            return await self.connection.fetch(self._statements[name], *args, *self._named(name, values))

    def _named(self, name: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return self._statements.arguments(name, values) if values else ()

    async def fetch_one(self, name: str, *args: Any, **values: Any) -> asyncpg.Record | None:
        """The first row, None when there is none."""
        with unavailable(self.connection):
            return await self.connection.fetchrow(self._statements[name], *args, *self._named(name, values))

    async def fetch_value(self, name: str, *args: Any) -> Any:
        """The first column of the first row, None when there is none."""
        with unavailable(self.connection):
            return await self.connection.fetchval(self._statements[name], *args)

    async def execute(self, name: str, *args: Any) -> int:
        """Run it; the number of rows it touched, 0 for what touches none."""
        with unavailable(self.connection):
            status: str = await self.connection.execute(self._statements[name], *args)
        return int(count) if (count := status.rpartition(" ")[2]).isdigit() else 0


class AdvisoryLock:
    """The right to be the one writer of something, held by a connection of its own until released or lost."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @property
    def held(self) -> bool:
        """False once the connection is gone, and with it the lock: whoever held it must stop writing."""
        return not self._connection.is_closed()

    async def verify(self) -> None:
        """Ask the server; a dead link shows only so. Raises Unavailable when the lock is lost."""
        with unavailable(self._connection):
            await self._connection.fetchval(_OWN["ping"])

    async def release(self) -> None:
        """Give it up; another may take it at once."""
        with suppress(Unavailable), unavailable(self._connection):  # a link that is cut has given it up
            await self._connection.close(timeout=CONNECT_WAIT_S_MAX)


class Database:
    """A pool for one role, working in one schema, with the statements of one service."""

    def __init__(self, pool: asyncpg.Pool, statements: Statements, options: dict[str, Any]) -> None:
        self._pool, self._statements, self._options = pool, statements, options

    @classmethod
    async def connect(cls, dsn: str, statements: Statements, schema: str, size_max: int = 8) -> Self:
        """Open the pool. Raises Unavailable when the server does not answer within CONNECT_WAIT_S_MAX."""
        options = _options(dsn, schema)
        with unavailable():
            pool = await asyncpg.create_pool(**options, min_size=1, max_size=size_max, init=_codecs, reset=_as_it_is)
        return cls(pool, statements, options)

    async def close(self) -> None:
        """Wait for what runs, then close every connection."""
        await self._pool.close()

    def using(self, statements: Statements) -> Database:
        """The same pool with another file's statements."""
        return Database(self._pool, statements, self._options)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One connection, each statement by itself. Raises Unavailable when none is free in ACQUIRE_WAIT_S_MAX."""
        with unavailable():
            connection = await self._pool.acquire(timeout=ACQUIRE_WAIT_S_MAX)
        try:
            yield Session(connection, self._statements)
        finally:
            with suppress(Unavailable), unavailable(connection):  # the pool drops a link that does not answer
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self, snapshot: bool = False) -> AsyncIterator[Session]:
        """All statements in it happen or none; with `snapshot` all reads see one moment (repeatable read)."""
        async with self.session() as session:
            with unavailable(session.connection):
                block = session.connection.transaction(isolation="repeatable_read" if snapshot else None)
                await block.start()
            try:
                yield session
            except BaseException:
                with suppress(Unavailable), unavailable(session.connection):  # a link that is cut has rolled back
                    await block.rollback()
                raise
            with unavailable(session.connection):
                await block.commit()

    async def fetch(self, name: str, *args: Any, **values: Any) -> list[asyncpg.Record]:
        async with self.session() as session:
            return await session.fetch(name, *args, **values)

    async def fetch_one(self, name: str, *args: Any, **values: Any) -> asyncpg.Record | None:
        async with self.session() as session:
            return await session.fetch_one(name, *args, **values)

    async def fetch_value(self, name: str, *args: Any) -> Any:
        async with self.session() as session:
            return await session.fetch_value(name, *args)

    async def execute(self, name: str, *args: Any) -> int:
        async with self.session() as session:
            return await session.execute(name, *args)

    async def ping(self) -> None:
        """For readiness. Raises Unavailable."""
        async with self.session() as session:
            await session.using(_OWN).fetch_value("ping")

    async def try_advisory_lock(self, key: str) -> AdvisoryLock | None:
        """Become the one writer of `key`, for example "reporting.cases"; None when another process is."""
        with unavailable():
            connection = await asyncpg.connect(**self._options)
            try:
                if await connection.fetchval(_OWN["try_lock"], key):
                    return AdvisoryLock(connection)
                await connection.close()
            except BaseException:  # told to stop meanwhile: nobody else would hang up
                connection.terminate()
                raise
        return None


async def migrate(dsn_admin: str, schema: str, role: str, folder: Path) -> list[str]:
    """Bring `schema` up to the last of `folder`'s `NNNN_what.sql`; the names of those applied now.

    Creates the schema, owned by whoever migrates, usable by `role`. Each file is one transaction, recorded with its
    digest. Raises MigrationRefused when a file that was applied is changed or gone, or a new one comes before it;
    Unavailable when the server does not answer.
    """
    files = _numbered(folder)
    with unavailable():
        connection = await asyncpg.connect(**_options(dsn_admin, "public"))
    try:
        session = Session(connection, _OWN)
        if not await session.fetch_value("role_exists", role):
            raise MigrationRefused(f"there is no Postgres role {role!r}: create it with a login, then migrate again")
        await session.execute("lock_migrations")
        await session.execute("identify", schema, role)
        await session.execute("create_schema")
        applied = {row["number"]: row for row in await session.fetch("applied_migrations")}
        _refuse_changed(schema, folder, files, {n: (row["name"], row["digest"]) for n, row in applied.items()})
        new = [number for number in files if number not in applied]
        for number in new:
            path, digest = files[number]
            async with connection.transaction():
                await connection.execute(path.read_text("utf-8"))
                await session.execute("record_migration", number, path.name, digest)
        return [files[number][0].name for number in new]
    finally:
        await connection.close()


def _numbered(folder: Path) -> dict[int, tuple[Path, str]]:
    files: dict[int, tuple[Path, str]] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _MIGRATION.fullmatch(path.name)
        if match is None:
            raise MigrationRefused(f"{path}: name it NNNN_what_it_does.sql, for example 0001_cases.sql")
        if int(match["number"]) != len(files) + 1:
            raise MigrationRefused(f"{path}: the next number is {len(files) + 1:04}; numbers have no gaps and no twins")
        files[len(files) + 1] = (path, sha256(path.read_bytes()).hexdigest())
    return files


def _refuse_changed(
    schema: str, folder: Path, files: Mapping[int, tuple[Path, str]], applied: Mapping[int, tuple[str, str]]
) -> None:
    for number, (name, digest) in applied.items():
        if number not in files:
            raise MigrationRefused(
                f"schema {schema} has {name}, which {folder} lacks: this program is older than the "
                "database; start the newer one"
            )
        if files[number][1] != digest:
            raise MigrationRefused(
                f"{files[number][0]} was changed after schema {schema} took it: put it back as it "
                "was and write the change as a new file with the next number"
            )


@contextmanager
def unavailable(connection: Connection | None = None) -> Iterator[None]:
    """Turn "the server does not answer, or not now" into Unavailable; mistakes of ours pass as they are.

    Never quotes the server: its messages hold values.
    """
    try:
        yield
    except (OSError, *_AWAY) as error:  # OSError holds time-outs and refused connections
        raise Unavailable(f"The database does not answer ({type(error).__name__}).") from error
    except asyncpg.InterfaceError as error:  # a mistake of ours as well as a connection that is closed
        if connection is not None and not _is_gone(connection):
            raise
        raise Unavailable("The database connection is closed.") from error


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took a broken connection back by itself
        return True


_AWAY = (
    asyncpg.InternalClientError,  # asked between the server's last word ("you are terminated") and the end of the link
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, cannot connect now, statement cancelled
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.TransactionRollbackError,  # deadlock, serialization: the same again may well succeed
    asyncpg.ReadOnlySQLTransactionError,  # a standby after a fail-over
)


def _options(dsn: str, schema: str) -> dict[str, Any]:
    return {
        "dsn": dsn,
        "timeout": CONNECT_WAIT_S_MAX,
        "command_timeout": COMMAND_WAIT_S_MAX,
        "statement_cache_size": STATEMENT_CACHE_COUNT_MAX,
        "server_settings": {"search_path": f"{schema}, public", "application_name": f"caseflow {schema}"},
    }


async def _codecs(connection: asyncpg.Connection) -> None:
    """jsonb as Python values by pydantic's fast codec; uuid as the str the law speaks."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary",
        encoder=lambda value: b"\x01" + to_json(value), decoder=lambda data: from_json(data[1:]),
    )  # fmt: skip
    await connection.set_type_codec("uuid", schema="pg_catalog", format="text", encoder=str, decoder=str)


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Nothing to reset: no statement of ours changes its session, and asking the server to costs a round trip."""


_OWN = Statements.load(Path(__file__).with_suffix(".sql"))
