"""The vault: a key for each case, and one for each county's search index, wrapped by a master key from a file.

Destroying the key of a case erases its content for good and leaves the log as it is. (Postgres keeps the old row until
vacuum, and in its write-ahead log and backups. There the key is wrapped, and ends with the master keys of that time.)

Changing the master key: put the new key on the first line of the file, leave the old ones below, start every process
again, `rewrap`, then remove the old lines.
"""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.case.base import derived_id
from shared.case.content import typed_code
from shared.kit.clock import Clock
from shared.kit.failpoints import Failpoints
from shared.kit.problems import ProblemError
from shared.kit.seal import KEY_BYTES, NONCE_BYTES
from shared.kit.sql import Database, Session, Statements

CACHE_COUNT_MAX = 20_000
CACHE_S_MAX = 300.0  # how long another process may still read a case after its key is destroyed
BATCH_COUNT_MAX = 1000
SECRET_CHARS = 10  # 50 bits, behind a rate limit
FIRST_GENERATION = 1
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HEARD_AS = str.maketrans("OIL", "011")
_STATEMENTS = Statements.load(Path(__file__).with_suffix(".sql"))

MIGRATIONS = Path(__file__).parent / "migrations_vault"


class KeyErased(ProblemError):
    """The key of this case was destroyed at the end of its retention: its content is gone for good."""

    status, code, advice = 410, "content.erased", "The flow facts of the case remain; its content does not."


class KeyMissing(ProblemError):
    """There never was a key of this case: a mistake in the id, or a loss that `caseflow fsck` reports."""

    code, advice = "key.missing", "Check the id; if the case exists, run `caseflow fsck` and restore the vault."


class BadMaster(Exception):
    """The master key file cannot be used, or lacks the key that wraps a row."""


class MasterKeys:
    """The master keys of a process: the first wraps new keys, all of them unwrap."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise BadMaster(f"a master key has {KEY_BYTES} bytes, and at least one is needed")
        self._ciphers = {_master_id(key): AESGCM(key) for key in keys}
        self.current = _master_id(keys[0])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read keys of 64 hex digits, one a line, the current one first. Raises BadMaster that says what to do."""
        try:
            mode, lines = path.stat().st_mode, path.read_text("ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise BadMaster(
                f"the master key file {path} cannot be read ({type(error).__name__}): restore it from "
                "where you keep it; without it no content can be read"
            ) from None
        if mode & 0o077:
            raise BadMaster(f"others may read the master key file {path}: chmod 600 it")
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", line) for line in lines):
            raise BadMaster(f"{path} must hold keys of 64 hex digits, one a line, the current one first")
        return cls([bytes.fromhex(line) for line in lines])

    def wrap(self, key: bytes, id: str, clock: Clock) -> bytes:
        nonce = clock.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, key, id.encode())

    def unwrap(self, wrapped: bytes, id: str, master: str) -> bytes:
        """Raises BadMaster when the master key is not known or the row was altered."""
        if master not in self._ciphers:
            raise BadMaster(
                f"the key of {id} is wrapped by master key {master}, which the file lacks: add it below the current one"
            )
        try:
            return self._ciphers[master].decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], id.encode())
        except InvalidTag:
            raise BadMaster(f"the key of {id} was altered in the vault: restore the vault from its backup") from None


class KeyRow(NamedTuple):
    """A stored key; `wrapped` is None once the key is destroyed."""

    id: str
    master: str
    wrapped: bytes | None


class Vault(ABC):
    """The port: one logic over two stores, Postgres and memory."""

    def __init__(self, masters: MasterKeys, clock: Clock, failpoints: Failpoints | None = None) -> None:
        self._masters, self._clock, self._failpoints = masters, clock, failpoints or Failpoints()
        self._cache: OrderedDict[str, tuple[float, bytes | None]] = OrderedDict()

    async def new_keys(self, session: Session | None, items: Sequence[tuple[str, str]]) -> dict[str, bytes]:
        """Make keys for (case id, region) in the caller's transaction; a key that exists stays as it is.

        Returns the keys in force, so that the registration seals without reading them. Raises KeyErased when one was
        destroyed.
        """
        fresh = [(id, region, self._fresh(id)) for id, region in items]
        stands = {row.id: self._unwrap(row) for row in await self._insert(session, fresh)}
        return {id: _living(id, stands[id]) for id, _ in items}

    async def key(self, case_id: str) -> bytes:
        """The key of a case. Raises KeyErased, KeyMissing."""
        keys = await self.keys([case_id])
        if case_id not in keys:
            raise KeyMissing(f"There is no key of case {case_id}.")
        return _living(case_id, keys[case_id])

    async def keys(self, case_ids: Collection[str]) -> dict[str, bytes | None]:
        """The keys of many cases in one query: None when destroyed, absent when there never was one."""
        oldest = self._clock.monotonic() - CACHE_S_MAX
        keys = {id: held[1] for id in case_ids if (held := self._cache.get(id)) and held[0] >= oldest}
        missing = [id for id in dict.fromkeys(case_ids) if id not in keys]
        if missing:
            read = {row.id: self._unwrap(row) for row in await self._read(missing)}
            self.remember(read)
            keys |= read
        return keys

    async def county_key(self, county: str) -> bytes:
        """The key of a county (twelve digits) for its search index and phone hashes; made at first use."""
        id = derived_id("vault", "county", county, "")
        if (held := self._cache.get(id)) is None:
            row = await self._county(id, county, self._fresh(id))
            self.remember({id: self._unwrap(row)})
            held = self._cache[id]
        assert held[1] is not None  # keys of counties are never destroyed
        return held[1]

    async def generation(self, case_id: str) -> int:
        """The generation of the look-up secret in force. Raises KeyMissing."""
        return _known(case_id, await self._generation(case_id))

    async def next_generation(self, case_id: str, after: int) -> int:
        """Put the secret of generation `after` out of force; the generation now. A repetition changes nothing."""
        return _known(case_id, await self._advance(case_id, after))

    async def secret(self, case_id: str, generation: int | None = None) -> str:
        """The look-up secret of a case, by default the one in force. Raises KeyErased, KeyMissing."""
        key = await self.key(case_id)
        return secret_of(key, case_id, await self.generation(case_id) if generation is None else generation)

    async def destroy(self, case_id: str) -> None:
        """Destroy the key of a case; a repetition changes nothing. Raises KeyMissing."""
        if not await self._destroy(case_id, self._clock.now()):
            raise KeyMissing(f"There is no key of case {case_id}.")
        self.forget(case_id)
        await self._failpoints.hit("vault.destroyed")

    def remember(self, keys: Mapping[str, bytes | None]) -> None:
        """Put keys into this process's cache: what `new_keys` returned, once the caller's transaction is committed."""
        now = self._clock.monotonic()
        for id, key in keys.items():
            self._cache[id] = (now, key)
            self._cache.move_to_end(id)
        while len(self._cache) > CACHE_COUNT_MAX:
            self._cache.popitem(last=False)

    def forget(self, case_id: str) -> None:
        """Drop a key from this process's cache, as when another process has destroyed it."""
        self._cache.pop(case_id, None)

    async def sweep_orphans(
        self, older_than: datetime, exists: Callable[[Sequence[str]], Awaitable[Collection[str]]]
    ) -> int:
        """Delete keys made before `older_than` whose case is not on the log; their count.

        `exists` returns those of the given cases that the log holds; it must ask the leader, and raise when the
        log gives no answer, since the content of a deleted key is lost.
        """
        orphan_count = 0
        while ids := await self._unproven(older_than, BATCH_COUNT_MAX):
            there = set(await exists(ids))
            orphans = [id for id in ids if id not in there]
            await self._judge([id for id in ids if id in there], orphans)
            for id in orphans:
                self.forget(id)
            orphan_count += len(orphans)
        return orphan_count

    async def rewrap(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Wrap every key by the current master key; the count of those. A run after an interruption does the rest.

        `progress` is called with (done, total) after each batch. Raises BadMaster when an old master key is missing.
        """
        total, done = await self._count_stale(), 0
        while count := await self._rewrap_some(BATCH_COUNT_MAX):
            done += count
            progress(done, max(total, done))
            await self._failpoints.hit("vault.rewrapped")
        return done

    def _fresh(self, id: str) -> bytes:
        return self._masters.wrap(self._clock.token_bytes(KEY_BYTES), id, self._clock)

    def _unwrap(self, row: KeyRow) -> bytes | None:
        return None if row.wrapped is None else self._masters.unwrap(row.wrapped, row.id, row.master)

    def _again(self, rows: Iterable[KeyRow]) -> list[KeyRow]:
        """The same keys under the current master key."""
        keys = ((row.id, self._unwrap(row)) for row in rows)
        return [KeyRow(id, self._masters.current, self._masters.wrap(key, id, self._clock)) for id, key in keys if key]

    @abstractmethod
    async def _insert(self, session: Session | None, fresh: Sequence[tuple[str, str, bytes]]) -> list[KeyRow]: ...
    @abstractmethod
    async def _county(self, id: str, county: str, wrapped: bytes) -> KeyRow: ...
    @abstractmethod
    async def _read(self, ids: Sequence[str]) -> list[KeyRow]: ...
    @abstractmethod
    async def _generation(self, id: str) -> int | None: ...
    @abstractmethod
    async def _advance(self, id: str, after: int) -> int | None: ...
    @abstractmethod
    async def _destroy(self, id: str, at: datetime) -> bool: ...
    @abstractmethod
    async def _unproven(self, before: datetime, count_max: int) -> list[str]: ...
    @abstractmethod
    async def _judge(self, proven: Sequence[str], orphans: Sequence[str]) -> None: ...
    @abstractmethod
    async def _count_stale(self) -> int: ...
    @abstractmethod
    async def _rewrap_some(self, count_max: int) -> int: ...


class PgVault(Vault):
    """The vault in Postgres. The role of a process limits its rights (migrations_vault)."""

    def __init__(
        self, database: Database, masters: MasterKeys, clock: Clock, failpoints: Failpoints | None = None
    ) -> None:
        super().__init__(masters, clock, failpoints)
        self._db = database.using(_STATEMENTS)

    async def _insert(self, session: Session | None, fresh: Sequence[tuple[str, str, bytes]]) -> list[KeyRow]:
        ids, regions, wraps = (list(column) for column in zip(*fresh, strict=True)) if fresh else ([], [], [])
        at = session.using(_STATEMENTS) if session else self._db
        rows = await at.fetch("new_keys", ids, regions, self._masters.current, wraps, self._clock.now())
        return [KeyRow(*row) for row in rows]

    async def _county(self, id: str, county: str, wrapped: bytes) -> KeyRow:
        row = await self._db.fetch_one("county_key", id, county, self._masters.current, wrapped, self._clock.now())
        assert row is not None  # the statement inserts it
        return KeyRow(*row)

    async def _read(self, ids: Sequence[str]) -> list[KeyRow]:
        return [KeyRow(row["id"], row["master"], row["wrapped"]) for row in await self._db.fetch("read_keys", ids)]

    async def _generation(self, id: str) -> int | None:
        row = await self._db.fetch_one("read_keys", [id])
        return None if row is None else int(row["generation"])

    async def _advance(self, id: str, after: int) -> int | None:
        now: int | None = await self._db.fetch_value("next_generation", id, after)
        return now

    async def _destroy(self, id: str, at: datetime) -> bool:
        return bool(await self._db.fetch_value("destroy", id, at))

    async def _unproven(self, before: datetime, count_max: int) -> list[str]:
        return [row["id"] for row in await self._db.fetch("unproven", before, count_max)]

    async def _judge(self, proven: Sequence[str], orphans: Sequence[str]) -> None:
        await self._db.execute("judge", proven, orphans)

    async def _count_stale(self) -> int:
        return int(await self._db.fetch_value("count_stale", self._masters.current))

    async def _rewrap_some(self, count_max: int) -> int:
        async with self._db.transaction() as session:
            rows = await session.fetch("take_stale", self._masters.current, count_max)
            again = self._again(KeyRow(*row) for row in rows)
            await session.execute(
                "replace", self._masters.current, [row.id for row in again], [row.wrapped for row in again]
            )
        return len(again)


@dataclass(frozen=True)
class _MemoryRow:
    row: KeyRow
    created_at: datetime
    proven: bool = False
    generation: int = FIRST_GENERATION


class MemoryVault(Vault):
    """The vault of the simulation, with the same answers. It has no transactions: the key of a registration that was
    rolled back stays as an orphan, like the key of a process that died before it appended the event."""

    def __init__(self, masters: MasterKeys, clock: Clock, failpoints: Failpoints | None = None) -> None:
        super().__init__(masters, clock, failpoints)
        self._rows: dict[str, _MemoryRow] = {}
        self._counties: dict[str, KeyRow] = {}

    async def _insert(self, session: Session | None, fresh: Sequence[tuple[str, str, bytes]]) -> list[KeyRow]:
        for id, _, wrapped in fresh:
            self._rows.setdefault(id, _MemoryRow(KeyRow(id, self._masters.current, wrapped), self._clock.now()))
        return [self._rows[id].row for id, _, _ in fresh]

    async def _county(self, id: str, county: str, wrapped: bytes) -> KeyRow:
        return self._counties.setdefault(id, KeyRow(id, self._masters.current, wrapped))

    async def _read(self, ids: Sequence[str]) -> list[KeyRow]:
        return [self._rows[id].row for id in ids if id in self._rows]

    async def _generation(self, id: str) -> int | None:
        entry = self._rows.get(id)
        return None if entry is None else entry.generation

    async def _advance(self, id: str, after: int) -> int | None:
        if (entry := self._rows.get(id)) and entry.generation == after:
            self._rows[id] = replace(entry, generation=after + 1)
        return await self._generation(id)

    async def _destroy(self, id: str, at: datetime) -> bool:
        if entry := self._rows.get(id):
            self._rows[id] = replace(entry, row=entry.row._replace(wrapped=None))
        return entry is not None

    async def _unproven(self, before: datetime, count_max: int) -> list[str]:
        waiting = sorted((k.created_at, id) for id, k in self._rows.items() if not k.proven and k.created_at < before)
        return [id for _, id in waiting[:count_max]]

    async def _judge(self, proven: Sequence[str], orphans: Sequence[str]) -> None:
        for id in proven:
            self._rows[id] = replace(self._rows[id], proven=True)
        for id in orphans:
            self._rows.pop(id, None)

    def _stale(self) -> list[KeyRow]:
        rows = [*(entry.row for entry in self._rows.values()), *self._counties.values()]
        return [row for row in rows if row.master != self._masters.current and row.wrapped is not None]

    async def _count_stale(self) -> int:
        return len(self._stale())

    async def _rewrap_some(self, count_max: int) -> int:
        again = self._again(self._stale()[:count_max])
        for row in again:
            if row.id in self._counties:
                self._counties[row.id] = row
            else:
                self._rows[row.id] = replace(self._rows[row.id], row=row)
        return len(again)


def secret_of(key: bytes, case_id: str, generation: int) -> str:
    """The look-up secret: derived from the key of the case, so that it is never stored and ends with the content.

    Ten characters of Crockford's base 32, which can be read out over the phone.
    """
    digest = hmac.digest(key, f"look-up|{case_id}|{generation}".encode(), "sha256")
    return "".join(_CROCKFORD[byte >> 3] for byte in digest[:SECRET_CHARS])


def same_secret(given: str, expected: str) -> bool:
    """Whether a secret as people type it is the expected one.

    Lower case, full width, spaces and dashes are accepted, O for 0, and I and L for 1.
    """
    heard = typed_code(given).translate(_HEARD_AS)
    return hmac.compare_digest(heard.encode(), expected.encode())


def _master_id(key: bytes) -> str:
    return sha256(b"caseflow master key" + key).hexdigest()[:16]


def _living(case_id: str, key: bytes | None) -> bytes:
    if key is None:
        raise KeyErased(f"The content of case {case_id} was erased.")
    return key


def _known(case_id: str, generation: int | None) -> int:
    if generation is None:
        raise KeyMissing(f"There is no key of case {case_id}.")
    return generation
