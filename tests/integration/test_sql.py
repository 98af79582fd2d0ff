"""Statements, transactions, locks and migrations on a real Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil
import pytest

from shared.kit import sql
from shared.kit.problems import Unavailable
from shared.kit.sql import BadStatements, Database, MigrationRefused, Statements, migrate

STATEMENTS = """
-- name: add
-- Put a thing in.
insert into things (id, data, owner) values ($1, $2, $3);

-- name: all_things
-- What there is, in order.
select id, data, owner, at from things order by id;

-- name: count_things
-- How many there are.
select count(*) from things;

-- name: data_of
-- The data of one thing.
select data from things where id = $1;

-- name: add_many
-- Put many in with one statement.
insert into things (id, data, owner)
select * from unnest($1::int[], $2::jsonb[], $3::uuid[]);

-- name: end_session
-- Cut a connection, as a restart of the server does.
select pg_terminate_backend(pg_backend_pid());

-- name: own_pid
-- The process of this connection.
select pg_backend_pid();

-- name: end_other
-- Cut another connection.
select pg_terminate_backend($1);

-- name: forbidden
-- What the role of a service may not do.
update migrations set digest = '';
"""
THINGS = "create table things (id int primary key, data jsonb, owner uuid, at timestamptz default now());"
OWNER = "6ac9a3b6-4d4e-4b8f-9e52-332002016332"


@pytest.fixture
def statements(tmp_path: Path) -> Statements:
    path = tmp_path / "queries.sql"
    path.write_text(STATEMENTS)
    return Statements.load(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_things.sql").write_text(THINGS)
    return folder


@pytest.fixture
async def db(database: Mapping[str, str], statements: Statements, folder: Path) -> AsyncIterator[Database]:
    await migrate(database["admin"], "routing", "routing", folder)
    pool = await Database.connect(database["routing"], statements, "routing", size_max=4)
    yield pool
    await pool.close()


async def test_values_come_back_as_the_law_speaks_them(db: Database) -> None:
    assert await db.execute("add", 1, {"标题": ["噪声", 1.5, None]}, OWNER) == 1
    row = await db.fetch_one("all_things")
    assert row is not None
    assert (row["data"], row["owner"]) == ({"标题": ["噪声", 1.5, None]}, OWNER)
    assert row["at"].utcoffset() == datetime.now(UTC).utcoffset()
    assert await db.execute("add_many", [2, 3], [{"a": 1}, None], [OWNER, None]) == 2
    assert await db.fetch_value("data_of", 2) == {"a": 1}
    assert len(await db.fetch("all_things")) == 3


async def test_a_transaction_happens_as_a_whole_or_not(db: Database) -> None:
    async def half() -> None:
        async with db.transaction() as session:
            await session.execute("add", 1, None, None)
            raise LookupError

    with pytest.raises(LookupError):
        await half()
    assert await db.fetch_value("count_things") == 0
    async with db.transaction() as session:
        await session.execute("add", 1, None, None)
    assert await db.fetch_value("count_things") == 1


async def test_a_snapshot_sees_one_moment(db: Database) -> None:
    async with db.transaction(snapshot=True) as session:
        assert await session.fetch_value("count_things") == 0
        await db.execute("add", 1, None, None)
        assert await session.fetch_value("count_things") == 0
    assert await db.fetch_value("count_things") == 1


async def test_a_mistake_of_ours_is_not_unavailable(db: Database) -> None:
    await db.execute("add", 1, None, None)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("add", 1, None, None)
    with pytest.raises(asyncpg.InterfaceError):
        await db.execute("add", 1)
    with pytest.raises(KeyError, match="no statement 'ad'; there are add"):
        await db.execute("ad")


async def test_a_lost_connection_is_unavailable_and_the_next_call_has_a_new_one(db: Database) -> None:
    async def half() -> None:
        async with db.transaction() as session:
            await session.execute("add", 1, None, None)
            await session.fetch("end_session")

    with pytest.raises(Unavailable):
        await db.fetch("end_session")
    with pytest.raises(Unavailable):
        await half()
    assert await db.fetch_value("count_things") == 0
    await db.ping()


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_was_cut_meanwhile_is_unavailable_however_much_of_it_has_been_heard(
    db: Database, turns: int
) -> None:
    """Between the server's last word and the end of the link a question is no mistake of ours."""

    async def cut_and_ask() -> None:
        async with db.session() as other, db.transaction() as session:
            assert await other.fetch_value("end_other", await session.fetch_value("own_pid"))
            time.sleep(0.05)  # both lie in the socket, where the loop has not looked
            for _ in range(turns):
                await asyncio.sleep(0)
            await session.fetch("all_things")

    with pytest.raises(Unavailable):
        await cut_and_ask()
    assert await db.fetch_value("count_things") == 0


async def test_a_server_that_is_not_there_is_unavailable(statements: Statements) -> None:
    with pytest.raises(Unavailable) as away:
        await Database.connect("postgresql://routing:geheim@127.0.0.1:1/caseflow", statements, "routing")
    assert away.value.problem.status == 503
    assert "geheim" not in str(away.value)


async def test_a_server_that_is_silent_is_unavailable_and_comes_back(
    database: Mapping[str, str], statements: Statements, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(database["admin"], "routing", "routing", folder)
    monkeypatch.setattr(sql, "COMMAND_WAIT_S_MAX", 0.6)
    monkeypatch.setattr(sql, "ACQUIRE_WAIT_S_MAX", 0.1)
    monkeypatch.setattr(sql, "CONNECT_WAIT_S_MAX", 0.3)
    silent = await Database.connect(database["routing"], statements, "routing")
    assert await silent.fetch_value("count_things") == 0  # so that it is prepared
    server = psutil.Process(await silent.fetch_value("own_pid")).parent()
    assert server is not None
    processes = [server, *server.children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        for _ in range(3):  # also the release of the connection waits for the server
            with pytest.raises(Unavailable):
                await silent.fetch_value("count_things")
        with pytest.raises(Unavailable):
            async with silent.transaction() as session:
                await session.fetch_value("count_things")
    finally:
        for process in processes:
            process.resume()
    assert await silent.fetch_value("count_things") == 0
    await silent.close()


async def test_one_holds_the_lock_until_it_lets_go_or_its_connection_is_lost(db: Database) -> None:
    first = await db.try_advisory_lock("routing.things")
    assert first is not None
    assert first.held
    assert await db.try_advisory_lock("routing.things") is None
    other = await db.try_advisory_lock("routing.others")
    assert other is not None
    await other.release()
    await first.verify()
    await first.release()
    assert not first.held
    with pytest.raises(Unavailable):
        await first.verify()
    second = await db.try_advisory_lock("routing.things")
    assert second is not None
    await second.release()


async def test_migrations_go_forward_once(database: Mapping[str, str], folder: Path) -> None:
    async def run() -> list[str]:
        return await migrate(database["admin"], "routing", "routing", folder)

    assert sorted(await asyncio.gather(run(), run()), key=len) == [[], ["0001_things.sql"]]
    (folder / "0002_more.sql").write_text("alter table things add more text; create index on things (more);")
    assert await run() == ["0002_more.sql"]
    assert await run() == []


async def test_a_migration_that_fails_leaves_nothing(database: Mapping[str, str], folder: Path) -> None:
    broken = folder / "0002_broken.sql"
    broken.write_text("create table half (id int); select 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database["admin"], "routing", "routing", folder)
    broken.write_text("create table half (id int);")
    assert await migrate(database["admin"], "routing", "routing", folder) == ["0002_broken.sql"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0001_things.sql": THINGS + " "}, "was changed after schema routing took it"),
        ({"0001_things.sql": None}, "this program is older than the database"),
        ({"0003_gap.sql": "select 1"}, "the next number is 0002"),
        ({"0001_twin.sql": "select 1"}, "the next number is 0002"),
        ({"things.sql": "select 1"}, "name it NNNN_what_it_does.sql"),
    ],
)
async def test_what_does_not_continue_is_refused(
    database: Mapping[str, str], folder: Path, change: Mapping[str, str | None], message: str
) -> None:
    await migrate(database["admin"], "routing", "routing", folder)
    for name, text in change.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text)
    with pytest.raises(MigrationRefused, match=message):
        await migrate(database["admin"], "routing", "routing", folder)


async def test_a_role_that_is_not_there_is_named(database: Mapping[str, str], folder: Path) -> None:
    with pytest.raises(MigrationRefused, match="no Postgres role 'nobody_here'"):
        await migrate(database["admin"], "routing", "nobody_here", folder)


async def test_a_service_cannot_touch_its_migrations_nor_another_schema(
    db: Database, database: Mapping[str, str], statements: Statements
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("forbidden")
    other = await Database.connect(database["intake"], statements, "routing")
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)):
        await other.fetch("all_things")
    await other.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- name: a\n-- What for.\nselect 1;\n-- name: a\n-- What for.\nselect 2;", "'a' is there twice"),
        ("-- name: a\nselect 1;", "'a' has no description"),
        ("-- name: a\n-- What for.\n", "'a' has no text"),
        ("-- name: not-a-name\n-- What for.\nselect 1;", "'not-a-name' is not a name"),
        ("select 1;", "text before the first"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.sql"
    path.write_text(text)
    with pytest.raises(BadStatements, match=message):
        Statements.load(path)
