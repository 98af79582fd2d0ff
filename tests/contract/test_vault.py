"""One suite for every vault: in memory and in Postgres, the latter through the grants of the services' roles."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from shared.kit.failpoints import FailpointHit, Failpoints, from_spec
from shared.kit.sql import Database, Statements, migrate
from shared.kit.vault import (
    CACHE_S_MAX,
    MIGRATIONS,
    BadMaster,
    KeyErased,
    KeyMissing,
    MasterKeys,
    MemoryVault,
    PgVault,
    Vault,
    same_secret,
    secret_of,
)
from tests.support.clock import FakeClock

ROLES = ("intake", "routing", "supervision", "reporting", "vault")
OLD, NEW = b"o" * 32, b"n" * 32
REGION = "510104001000"
COUNTY, OTHER_COUNTY = "510104000000", "510722000000"

Make = Callable[..., Awaitable[Mapping[str, Vault]]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "database"])
def dsns(request: pytest.FixtureRequest) -> Mapping[str, str] | None:
    """The DSN of each role, None for the vault in memory."""
    return request.getfixturevalue("database") if request.param == "database" else None


@pytest.fixture
def failpoints() -> Failpoints:
    """Those of every vault of the test."""
    return Failpoints()


@pytest.fixture
async def make(dsns: Mapping[str, str] | None, clock: FakeClock, failpoints: Failpoints) -> AsyncIterator[Make]:
    """Makes the vault as each role sees it, with fresh caches, over the same rows; `masters` as in the file."""
    async with AsyncExitStack() as stack:
        kept: list[MemoryVault] = []

        async def memory(*masters: bytes) -> Mapping[str, Vault]:
            vault = MemoryVault(MasterKeys(masters or [OLD]), clock, failpoints)
            if kept:
                vault._rows, vault._counties = kept[0]._rows, kept[0]._counties
            kept.append(vault)
            return dict.fromkeys(ROLES, vault)

        async def pg(*masters: bytes) -> Mapping[str, Vault]:
            assert dsns is not None
            vaults: dict[str, Vault] = {}
            for role in ROLES:
                pool = await Database.connect(dsns[role], Statements({}), role, size_max=2)
                stack.push_async_callback(pool.close)
                vaults[role] = PgVault(pool, MasterKeys(masters or [OLD]), clock, failpoints)
            return vaults

        if dsns is None:
            yield memory
        else:
            await migrate(dsns["admin"], "vault", "vault", MIGRATIONS)
            yield pg


async def test_a_key_is_made_once_and_read_by_all(make: Make, clock: FakeClock) -> None:
    vaults = await make()
    case, other = clock.new_id(), clock.new_id()
    made = await vaults["intake"].new_keys(None, [(case, REGION), (other, REGION)])
    assert made[case] != made[other]
    assert len(made[case]) == 32
    assert await vaults["intake"].new_keys(None, [(case, REGION)]) == {case: made[case]}
    for role in ("intake", "routing", "supervision", "reporting"):
        assert await vaults[role].key(case) == made[case]
        assert await vaults[role].keys([other, case, other]) == made
    assert await vaults["intake"].new_keys(None, []) == {}


async def test_a_key_that_never_was_is_missing(make: Make, clock: FakeClock) -> None:
    vaults = await make()
    case = clock.new_id()
    assert await vaults["routing"].keys([case]) == {}
    for asked in (vaults["routing"].key, vaults["routing"].generation, vaults["supervision"].destroy):
        with pytest.raises(KeyMissing, match=case):
            await asked(case)
    with pytest.raises(KeyMissing, match=case):
        await vaults["intake"].next_generation(case, 1)


async def test_a_destroyed_key_is_gone_for_good(make: Make, clock: FakeClock) -> None:
    vaults = await make()
    case = clock.new_id()
    await vaults["intake"].new_keys(None, [(case, REGION)])
    await vaults["supervision"].key(case)
    await vaults["supervision"].destroy(case)
    await vaults["supervision"].destroy(case)
    for again in (vaults, await make()):
        with pytest.raises(KeyErased, match=case):
            await again["supervision"].key(case)
        with pytest.raises(KeyErased, match=case):
            await again["intake"].new_keys(None, [(case, REGION)])
    assert await vaults["supervision"].keys([case]) == {case: None}


async def test_another_process_forgets_a_destroyed_key_in_time(make: Make, clock: FakeClock) -> None:
    vaults, elsewhere = await make(), await make()
    case = clock.new_id()
    await vaults["intake"].new_keys(None, [(case, REGION)])
    await elsewhere["routing"].key(case)
    await vaults["supervision"].destroy(case)
    await clock.advance(CACHE_S_MAX + 1)
    with pytest.raises(KeyErased):
        await elsewhere["routing"].key(case)


async def test_a_county_has_one_key(make: Make) -> None:
    vaults, elsewhere = await make(), await make()
    key = await vaults["intake"].county_key(COUNTY)
    assert len(key) == 32
    assert await vaults["reporting"].county_key(COUNTY) == key
    assert await elsewhere["reporting"].county_key(COUNTY) == key
    assert await vaults["intake"].county_key(OTHER_COUNTY) != key


async def test_the_look_up_secret_is_derived_and_can_be_issued_anew(make: Make, clock: FakeClock) -> None:
    vault = (await make())["intake"]
    case, other = clock.new_id(), clock.new_id()
    keys = await vault.new_keys(None, [(case, REGION), (other, REGION)])
    first = await vault.secret(case)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{10}", first)
    assert first == secret_of(keys[case], case, 1) != await vault.secret(other)
    assert await vault.next_generation(case, after=1) == 2
    assert await vault.next_generation(case, after=1) == 2  # sent again after a lost answer
    assert await vault.generation(case) == 2
    assert first == await vault.secret(case, 1) != await vault.secret(case)
    assert await vault.generation(other) == 1


async def test_orphans_are_swept_and_what_the_log_has_is_proven_once(make: Make, clock: FakeClock) -> None:
    vaults = await make()
    kept, orphan, young = (clock.new_id() for _ in range(3))
    await vaults["intake"].new_keys(None, [(kept, REGION), (orphan, REGION)])
    county = await vaults["intake"].county_key(COUNTY)
    await clock.advance(86_400)
    await vaults["intake"].new_keys(None, [(young, REGION)])
    asked: list[str] = []

    async def exists(ids: Sequence[str]) -> set[str]:
        asked.extend(ids)
        return {kept} & set(ids)

    day_ago = clock.now() - timedelta(hours=1)
    assert await vaults["supervision"].sweep_orphans(day_ago, exists) == 1
    assert sorted(asked) == sorted([kept, orphan])
    assert await vaults["supervision"].sweep_orphans(day_ago, exists) == 0
    assert len(asked) == 2
    fresh = await make()
    assert set(await fresh["routing"].keys([kept, orphan, young])) == {kept, young}
    assert await fresh["intake"].county_key(COUNTY) == county


async def test_a_sweep_that_cannot_know_deletes_nothing(make: Make, clock: FakeClock) -> None:
    vaults = await make()
    case = clock.new_id()
    await vaults["intake"].new_keys(None, [(case, REGION)])

    async def exists(ids: Sequence[str]) -> set[str]:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await vaults["supervision"].sweep_orphans(clock.now() + timedelta(days=1), exists)
    assert set(await (await make())["routing"].keys([case])) == {case}


async def test_a_new_master_key_rewraps_all_and_goes_on_where_it_was(
    make: Make, clock: FakeClock, failpoints: Failpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kit.vault.BATCH_COUNT_MAX", 2)
    vaults = await make(OLD)
    cases = [clock.new_id() for _ in range(5)]
    keys = await vaults["intake"].new_keys(None, [(case, REGION) for case in cases])
    county = await vaults["intake"].county_key(COUNTY)
    await vaults["supervision"].destroy(cases[0])
    told: list[tuple[int, int]] = []
    both = await make(NEW, OLD)
    hook = from_spec("vault.rewrapped=raise")
    assert hook is not None
    with pytest.raises(FailpointHit), failpoints.armed(hook):
        await both["vault"].rewrap()
    assert await both["vault"].rewrap(lambda done, total: told.append((done, total))) == 3
    assert told == [(2, 3), (3, 3)]
    assert await both["vault"].rewrap() == 0
    new = await make(NEW)
    assert await new["routing"].keys(cases) == keys | {cases[0]: None}
    assert await new["intake"].county_key(COUNTY) == county
    old = await make(OLD)
    with pytest.raises(BadMaster, match="which the file lacks"):
        await old["routing"].key(cases[1])


async def test_a_key_is_made_in_the_callers_transaction(database: Mapping[str, str], clock: FakeClock) -> None:
    await migrate(database["admin"], "vault", "vault", MIGRATIONS)
    pool = await Database.connect(database["intake"], Statements({}), "intake")
    vault, case = PgVault(pool, MasterKeys([OLD]), clock), clock.new_id()

    async def half() -> None:
        async with pool.transaction() as session:
            await vault.new_keys(session, [(case, REGION)])
            raise LookupError

    with pytest.raises(LookupError):
        await half()
    assert await vault.keys([case]) == {}
    async with pool.transaction() as session:
        made = await vault.new_keys(session, [(case, REGION)])
        assert await vault.keys([case]) == {}  # not yet, for anybody else
    assert await vault.keys([case]) == made
    await pool.close()


ALLOWED = {
    "new_keys": {"intake", "supervision"},
    "county_key": {"intake", "reporting"},
    "key": {"intake", "routing", "supervision", "reporting"},
    "next_generation": {"intake"},
    "destroy": {"supervision"},
    "sweep_orphans": {"supervision"},
    "rewrap": {"vault"},
}


async def test_each_role_may_do_what_it_was_granted_and_no_more(database: Mapping[str, str], clock: FakeClock) -> None:
    await migrate(database["admin"], "vault", "vault", MIGRATIONS)
    seen: dict[str, set[str]] = {call: set() for call in ALLOWED}

    async def nothing(ids: Sequence[str]) -> Sequence[str]:
        return ids

    for role in ("intake", "routing", "supervision", "reporting", "vault"):
        pool = await Database.connect(database[role], Statements({}), role, size_max=1)
        vault = PgVault(pool, MasterKeys([OLD]), clock)
        case = clock.new_id()
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "new_keys": partial(vault.new_keys, None, [(case, REGION)]),
            "county_key": partial(vault.county_key, COUNTY),
            "key": partial(vault.key, case),
            "next_generation": partial(vault.next_generation, case, 1),
            "destroy": partial(vault.destroy, case),
            "sweep_orphans": partial(vault.sweep_orphans, clock.now(), nothing),
            "rewrap": vault.rewrap,
        }  # fmt: skip
        for name, call in calls.items():
            try:
                await call()
            except asyncpg.InsufficientPrivilegeError:
                continue
            except (KeyMissing, KeyErased):
                pass
            seen[name].add(role)
        await pool.close()
    # the role vault owns functions and table; only an operator's commands run as it
    assert {name: roles - {"vault"} for name, roles in seen.items()} == {
        name: roles - {"vault"} for name, roles in ALLOWED.items()
    }
    assert "vault" in seen["rewrap"]


async def test_no_key_stands_in_the_table_and_a_moved_row_does_not_open(
    database: Mapping[str, str], clock: FakeClock
) -> None:
    await migrate(database["admin"], "vault", "vault", MIGRATIONS)
    pool = await Database.connect(database["intake"], Statements({}), "intake")
    vault, case, other = PgVault(pool, MasterKeys([OLD]), clock), clock.new_id(), clock.new_id()
    keys = await vault.new_keys(None, [(case, REGION), (other, REGION)])
    admin = await asyncpg.connect(database["admin"])
    rows = await admin.fetch("select id::text, wrapped from vault.keys")
    wraps: dict[str, bytes] = {row["id"]: row["wrapped"] for row in rows}
    assert all(keys[id] not in wraps[id] for id in keys)
    await admin.execute("update vault.keys set wrapped = $1 where id = $2", wraps[case], other)
    with pytest.raises(BadMaster, match="was altered"):
        await vault.key(other)
    await admin.close()
    await pool.close()


def test_a_secret_is_the_same_however_it_is_typed() -> None:
    assert same_secret(" 0a1b-2c3d 4e", "0A1B2C3D4E")
    assert same_secret("oAiB2C3D4E", "0A1B2C3D4E")
    assert same_secret("０Ａ１Ｂ－２Ｃ３Ｄ\u3000４Ｅ", "0A1B2C3D4E")
    assert not same_secret("0A1B2C3D4F", "0A1B2C3D4E")
    assert not same_secret("零", "0A1B2C3D4E")


def test_the_master_key_file(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(BadMaster, match="cannot be read"):
        MasterKeys.load(path)
    path.touch(0o600)
    path.write_text(f"{NEW.hex()}\n{OLD.hex()}\n")
    assert MasterKeys.load(path).current == MasterKeys([NEW]).current
    path.chmod(0o640)
    with pytest.raises(BadMaster, match="chmod 600"):
        MasterKeys.load(path)
    path.chmod(0o600)
    for text in ("", "abc", "zz" * 32, "密"):
        path.write_text(text)
        with pytest.raises(BadMaster, match=r"64 hex digits|at least one|cannot be read"):
            MasterKeys.load(path)
