"""Reporting's read model in Postgres, and what is asked of it. Derived from the log: dropped and rebuilt at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from services.reporting.policy import CaseFilter, Place, before, buckets, child_digits, keys, reads_region
from services.reporting.projection import (
    Pairs,
    SealedMatter,
    case_row,
    county_of,
    newest_matter,
    order_row,
    searchable_until,
    searched,
    terms,
)
from shared.case.base import region_prefix
from shared.case.events import Corrected
from shared.case.facts import Matter
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.clock import Clock
from shared.kit.effects import AggregateChange
from shared.kit.seal import SealBroken, unseal_fields
from shared.kit.sql import Database, Session, Statements
from shared.kit.vault import Vault

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))
TABLES = ("cases", "seen", "tallies", "sealed", "orders")
SWEEP_EVERY_S = 600.0
SWEEP_ROWS_MAX = 5_000
CANDIDATES_PER_SEARCH_MAX = 400
WALKED_ROWS_MAX = 5_000
_STAND_IN = Corrected.model_construct(note=cast(Any, None))
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Model:
    """The read model `reporting`. `index`: whether the search index is kept as well (a rebuild may leave it out)."""

    name = "reporting"
    kinds = frozenset({"case", "order"})

    def __init__(self, vault: Vault, index: bool = True) -> None:
        self._vault, self._index = vault, index
        self._pairs: dict[str, Pairs] = {}

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases and orders."""
        ids = [subject.rpartition(".")[2] for subject in subjects]
        rows = await session.using(STATEMENTS).fetch("case_states", ids)
        return {row["subject"]: row["state"] for row in rows}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows of these cases and orders; the same again, or older, changes nothing.

        A case whose registration is newer than this program is left out: nothing is known of it.
        """
        session = session.using(STATEMENTS)
        orders = [order_row(change) for change in changes if change.address.kind == "order" and change.state.region]
        if orders:
            await session.execute("write_orders", *_columns(orders))
        cases = {c.address.id: c for c in changes if c.address.kind == "case" and c.state.registered_at is not None}
        if cases:
            news = await session.fetch("write_cases", *_columns([case_row(change) for change in cases.values()]))
            await self._write_content(session, [cases[row["id"]] for row in news])

    async def clear(self, session: Session) -> None:
        """Empty every table of the model."""
        await session.using(STATEMENTS).execute("clear")

    async def pairs(self, county: str) -> Pairs:
        """The hashes of a county's search index."""
        if county not in self._pairs:
            self._pairs[county] = Pairs((await self._vault.county_key(county))[:64])
        return self._pairs[county]

    async def _write_content(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        matters = [m for c in changes if not c.state.erased and (m := newest_matter(c)) is not None]
        if matters:
            await session.execute("write_sealed", *_columns([(m.id, m.event_id, m.token) for m in matters]))
        if self._index:
            await self._write_index(session, changes, matters)
        if erased := [change.address.id for change in changes if change.state.erased]:
            await session.execute("forget", erased)

    async def _write_index(
        self, session: Session, changes: Sequence[AggregateChange], matters: list[SealedMatter]
    ) -> None:
        untils = [(c.address.id, until) for c in changes for changed, until in [searchable_until(c)] if changed]
        known = {matter.id for matter in matters}
        if again := [id for id, until in untils if until is None and id not in known]:  # it may be swept by now
            stored = await session.fetch("sealed_of", again)
            matters = matters + [SealedMatter(*row) for row in stored]
        if matters:
            regions = {change.address.id: change.address.region for change in changes}
            grams = []
            for id, matter in (await self.open(matters)).items():
                county = county_of(regions[id])
                grams.append((id, county, _array((await self.pairs(county)).of(searched(matter)))))
            if grams:
                await session.execute("write_grams", *_columns(grams))
        if untils:
            await session.execute("keep_until", *_columns(untils))

    async def open(self, matters: Sequence[SealedMatter]) -> dict[str, Matter]:
        """What these cases say, by id; erased ones, and seals that do not open, are left out (and told of)."""
        found = await self._vault.keys([matter.id for matter in matters])
        opened: dict[str, Matter] = {}
        for sealed in matters:
            key = found.get(sealed.id)
            if key is None:
                continue
            try:
                # the seal's place is case, event and field; of which type the event is does not matter
                stand_in = _STAND_IN.model_copy(update={"matter": sealed.token})
                event = unseal_fields(stand_in, key, sealed.id, sealed.event_id)
            except SealBroken:
                telemetry.warn("a seal does not open", case=sealed.id, event=sealed.event_id)
                continue
            if isinstance(event.matter, Matter):
                opened[sealed.id] = event.matter
        return opened


async def sweep(database: Database, clock: Clock) -> None:
    """Keep the search index to what is open or ended a short while ago. Runs until cancelled."""
    statements = database.using(STATEMENTS)
    while True:
        while await statements.execute("sweep_grams", clock.now(), SWEEP_ROWS_MAX) == SWEEP_ROWS_MAX:
            await clock.sleep(0)
        await clock.sleep(SWEEP_EVERY_S)


async def checksums(session: Session) -> dict[str, tuple[int, int]]:
    """Rows and an order-independent checksum of each of TABLES: equal for equal logs, however they were read."""
    rows = await session.using(STATEMENTS).fetch("checksums")
    return {row["table"]: (row["rows"], int(row["checksum"])) for row in rows}


@dataclass(frozen=True, slots=True)
class Row:
    """A case in a list. `matter` is None for those who may not see it, and when it is erased."""

    facts: Mapping[str, Any]
    matter: Matter | None

    @property
    def place(self) -> Place:
        return self.facts["registered_at"], UUID(self.facts["id"])


class CaseQueries:
    """What is asked of the read model; every answer goes through `kit.may_see`."""

    def __init__(self, database: Database, model: Model, walked_rows_max: int = WALKED_ROWS_MAX) -> None:
        self._database, self._model = database.using(STATEMENTS), model
        self._walked_rows_max = walked_rows_max

    async def page(
        self, caller: Caller, wanted: CaseFilter, after: Place | None, rows_max: int
    ) -> tuple[list[Row], Place | None]:
        """Cases that the caller may see, newest first, and the place to go on from.

        Of each key and lane at most `walked_rows_max` cases are looked at, so where few fit a page may be shorter than
        asked for and still lead on.
        """
        ways, start, since = (keys(caller, wanted), buckets(wanted)), before(wanted, after), wanted.since or _EARLIEST
        who = (*_who(caller), Right.AUDIT in caller.rights)
        asked = (*ways, *start, rows_max + 1, *who, since, *_filters(wanted), self._walked_rows_max)
        rows = await self._opened(await self._database.fetch("list_cases", *asked))
        full = len(rows) > rows_max
        down_to = max(since, rows[rows_max - 1].place[0]) if full else since
        seen_to = await self._database.fetch_one("horizon", *ways, *start, down_to, self._walked_rows_max)
        if seen_to is not None:  # behind it another lane may hold cases that nobody has looked at yet
            end = seen_to["registered_at"], UUID(seen_to["id"])
            rows = [row for row in rows if row.place >= end]
            if len(rows) <= rows_max:
                return rows, end
        return (rows[:rows_max], rows[rows_max - 1].place) if len(rows) > rows_max else (rows, None)

    async def search(
        self, caller: Caller, wanted: CaseFilter, query: str, after: Place | None, rows_max: int
    ) -> tuple[list[Row], Place | None]:
        """Cases that hold every word of the query, proven on the text, and the place to go on from.

        At most CANDIDATES_PER_SEARCH_MAX are opened, so a page may be shorter than asked for and still lead on.
        Raises ValueError for a query without a word of two characters.
        """
        words = terms(query)
        index = await self._index(words)
        hits: list[Row] = []
        looked = 0
        while looked < CANDIDATES_PER_SEARCH_MAX:
            args = (*index, *before(wanted, after), rows_max, *_who(caller), wanted.since or _EARLIEST)
            found = await self._database.fetch("search_cases", *args, *_filters(wanted), buckets(wanted))
            looked += len(found)
            for row in await self._opened(found):
                after = row.place
                if row.matter is not None and _holds(row.matter, words):
                    hits.append(row)
                    if len(hits) == rows_max:
                        return hits, after
            if len(found) < rows_max:
                return hits, None
        return hits, after

    async def _index(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        counties = [row["county"] for row in await self._database.fetch("counties")]
        hashed = [await self._model.pairs(county) for county in counties]
        return counties, [_array(sorted({one for word in words for one in pairs.of(word)})) for pairs in hashed]

    async def _opened(self, rows: Sequence[Any]) -> list[Row]:
        sealed = [SealedMatter(r["id"], r["event_id"], r["token"]) for r in rows if r["token"] is not None]
        opened = await self._model.open(sealed) if sealed else {}
        return [Row(row, opened.get(row["id"])) for row in rows]

    async def tallies(self, caller: Caller, region: str) -> list[Any]:
        """Cases by region one level below `region`, status and lateness. For posts that read the whole region."""
        kept = [f"!{caller.unit}", f"!@{caller.person}"]
        return await self._database.fetch("tallies", region_prefix(region), child_digits(region), kept)

    async def visible(self, caller: Caller, region: str, ids: Sequence[str]) -> set[str]:
        """Which of these cases and orders the caller may follow, inside a region ("" for wherever)."""
        args = (*_who(caller), Right.AUDIT in caller.rights, region_prefix(region) if region else "")
        return {row["id"] for row in await self._database.fetch("visible", ids, *args)}

    async def orders(
        self, caller: Caller, after: Place | None, rows_max: int, wanted: CaseFilter, status: str | None
    ) -> list[Any]:
        """Supervision orders that the caller may see, newest first; one more than `rows_max` when there are more."""
        region = wanted.region and region_prefix(wanted.region)
        who = (region_prefix(caller.region), reads_region(caller), caller.unit)
        filters = (region, status, wanted.unit, wanted.late)
        return await self._database.fetch("list_orders", *before(wanted, after), rows_max + 1, *who, *filters)


def _who(caller: Caller) -> tuple[str, str, str, bool]:
    return caller.person, caller.unit, region_prefix(caller.region), Right.READ in caller.rights


def _filters(wanted: CaseFilter) -> tuple[str | None, ...]:
    region = wanted.region and region_prefix(wanted.region)
    return region, wanted.status, wanted.unit, wanted.person, wanted.subject, wanted.nature


def _holds(matter: Matter, words: Sequence[str]) -> bool:
    text = searched(matter)
    return all(word in text for word in words)


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _array(numbers: Sequence[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"
