"""Every read of reporting's tables; every answer goes through `kit.may_see`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from services.reporting.listing import CaseFilter, Place, before, buckets, child_digits, keys, reads_region
from services.reporting.read_model import Model, SealedMatter
from services.reporting.search import contains_all, hash_array, terms
from shared.case.base import region_prefix
from shared.case.facts import Matter
from shared.kit.access import Caller
from shared.kit.sql import Database, Statements
from shared.reference.rights import Right

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))
CANDIDATES_PER_SEARCH_MAX = 400
WALKED_ROWS_MAX = 5_000
_EARLIEST = datetime.min.replace(tzinfo=UTC)


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
        self, caller: Caller, case_filter: CaseFilter, after: Place | None, rows_max: int
    ) -> tuple[list[Row], Place | None]:
        """Cases that the caller may see, newest first, and the place to go on from.

        Of each key and lane at most `walked_rows_max` cases are looked at, so where few fit a page may be shorter than
        asked for and still lead on.
        """
        ways, start, since = (
            (keys(caller, case_filter), buckets(case_filter)),
            before(case_filter, after),
            case_filter.since or _EARLIEST,
        )
        who = (*_who(caller), Right.AUDIT in caller.rights)
        asked = (*ways, *start, rows_max + 1, *who, since, *_filters(case_filter), self._walked_rows_max)
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
        self, caller: Caller, case_filter: CaseFilter, query: str, after: Place | None, rows_max: int
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
            args = (*index, *before(case_filter, after), rows_max, *_who(caller), case_filter.since or _EARLIEST)
            found = await self._database.fetch("search_cases", *args, *_filters(case_filter), buckets(case_filter))
            looked += len(found)
            for row in await self._opened(found):
                after = row.place
                if row.matter is not None and contains_all(row.matter, words):
                    hits.append(row)
                    if len(hits) == rows_max:
                        return hits, after
            if len(found) < rows_max:
                return hits, None
        return hits, after

    async def _index(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        counties = [row["county"] for row in await self._database.fetch("counties")]
        hashed = [await self._model.pairs(county) for county in counties]
        return counties, [hash_array(sorted({one for word in words for one in pairs.of(word)})) for pairs in hashed]

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
        self, caller: Caller, after: Place | None, rows_max: int, case_filter: CaseFilter, status: str | None
    ) -> list[Any]:
        """Supervision orders that the caller may see, newest first; one more than `rows_max` when there are more."""
        region = case_filter.region and region_prefix(case_filter.region)
        who = (region_prefix(caller.region), reads_region(caller), caller.unit)
        filters = (region, status, case_filter.unit, case_filter.late)
        return await self._database.fetch("list_orders", *before(case_filter, after), rows_max + 1, *who, *filters)


def _who(caller: Caller) -> tuple[str, str, str, bool]:
    return caller.person, caller.unit, region_prefix(caller.region), Right.READ in caller.rights


def _filters(case_filter: CaseFilter) -> tuple[str | None, ...]:
    region = case_filter.region and region_prefix(case_filter.region)
    return region, case_filter.status, case_filter.unit, case_filter.person, case_filter.subject, case_filter.nature
