"""Every read of reporting's tables. In SQL `kit.may_see` guards each answer that names a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from services.reporting.listing import CaseFilter, ListPosition, buckets, child_digits, keys, reads_region, upper_bound
from services.reporting.read_model import CaseRow, Model, OrderRow, SealedMatter
from services.reporting.search import contains_all, hash_array, terms
from shared.case.base import region_prefix
from shared.case.facts import Matter
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.sql import Database, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"), rows=(CaseRow, OrderRow))
CANDIDATES_PER_SEARCH_MAX = 400
WALKED_ROWS_MAX = 5_000
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ListedCase:
    """A case in a list. `matter` is None for those who may not see it, and when it is erased."""

    facts: Mapping[str, Any]
    matter: Matter | None

    @property
    def position(self) -> ListPosition:
        return self.facts["registered_at"], UUID(self.facts["id"])


class CaseQueries:
    """The queries of the read model, each for a caller, and limited to what the caller may see."""

    def __init__(self, database: Database, model: Model, walked_rows_max: int = WALKED_ROWS_MAX) -> None:
        self._database, self._model = database.using(STATEMENTS), model
        self._walked_rows_max = walked_rows_max

    async def page(
        self, caller: Caller, case_filter: CaseFilter, after: ListPosition | None, rows_max: int
    ) -> tuple[list[ListedCase], ListPosition | None]:
        """Cases that the caller may see, newest first, and the position of the next page.

        Of each key and bucket at most `walked_rows_max` cases are read. Where few of them match, a page may be shorter
        than `rows_max` although another page follows.
        """
        since = case_filter.since or _EARLIEST
        walk = _below(upper_bound(case_filter, after)) | {
            "keys": keys(caller, case_filter),
            "buckets": buckets(case_filter),
            "walked_max": self._walked_rows_max,
        }
        rows = await self._opened(
            await self._database.fetch(
                "list_cases", **walk, **case_filter.conditions, **_of_caller(caller),
                audits=Right.AUDIT in caller.rights, since=since, rows_max=rows_max + 1,
            )
        )  # fmt: skip
        full = len(rows) > rows_max
        down_to = max(since, rows[rows_max - 1].position[0]) if full else since
        walked_to = await self._database.fetch_one("horizon", **walk, down_to=down_to)
        if walked_to is not None:  # below this position a bucket may hold cases that were not read
            end = walked_to["registered_at"], UUID(walked_to["id"])
            rows = [row for row in rows if row.position >= end]
            if len(rows) <= rows_max:
                return rows, end
        return (rows[:rows_max], rows[rows_max - 1].position) if len(rows) > rows_max else (rows, None)

    async def search(
        self, caller: Caller, case_filter: CaseFilter, query: str, after: ListPosition | None, rows_max: int
    ) -> tuple[list[ListedCase], ListPosition | None]:
        """Cases whose text holds every word of the query, and the position of the next page.

        The text of every candidate is compared with the query. At most CANDIDATES_PER_SEARCH_MAX are opened, so a page
        may be shorter than `rows_max` although another page follows.
        Raises ValueError for a query without a word of two characters.
        """
        words = terms(query)
        counties, grams = await self._index(words)
        hits: list[ListedCase] = []
        examined = 0
        while examined < CANDIDATES_PER_SEARCH_MAX:
            candidates = await self._database.fetch(
                "search_cases", counties=counties, grams=grams, **_below(upper_bound(case_filter, after)),
                **case_filter.conditions, **_of_caller(caller), since=case_filter.since or _EARLIEST,
                buckets=buckets(case_filter), rows_max=rows_max,
            )  # fmt: skip
            examined += len(candidates)
            for row in await self._opened(candidates):
                after = row.position
                if row.matter is not None and contains_all(row.matter, words):
                    hits.append(row)
                    if len(hits) == rows_max:
                        return hits, after
            if len(candidates) < rows_max:
                return hits, None
        return hits, after

    async def _index(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """The counties of the search index, and for each the hashes of the words under its key."""
        counties = [row["county"] for row in await self._database.fetch("counties")]
        pairs_of = [await self._model.pairs(county) for county in counties]
        return counties, [
            hash_array(sorted({pair_hash for word in words for pair_hash in pairs.of(word)})) for pairs in pairs_of
        ]

    async def _opened(self, rows: Sequence[Any]) -> list[ListedCase]:
        sealed = [SealedMatter(row["id"], row["event_id"], row["token"]) for row in rows if row["token"] is not None]
        opened = await self._model.open(sealed) if sealed else {}
        return [ListedCase(row, opened.get(row["id"])) for row in rows]

    async def tallies(self, caller: Caller, region: str) -> list[Any]:
        """The numbers of cases by region one level below, status and lateness, for a post that reads the region."""
        withheld_keys = [f"!{caller.unit}", f"!@{caller.person}"]
        return await self._database.fetch(
            "tallies", region=region_prefix(region), digits=child_digits(region), withheld=withheld_keys
        )

    async def visible(self, caller: Caller, region: str, ids: Sequence[str]) -> set[str]:
        """Those of these cases and orders that the caller may follow, inside a region ("": in any region)."""
        inside = region_prefix(region) if region else ""
        rows = await self._database.fetch(
            "visible", ids=ids, **_of_caller(caller), audits=Right.AUDIT in caller.rights, region=inside
        )
        return {row["id"] for row in rows}

    async def orders(
        self, caller: Caller, after: ListPosition | None, rows_max: int, case_filter: CaseFilter, status: str | None
    ) -> list[Any]:
        """Supervision orders that the caller may see, newest first; one more than `rows_max` when there are more."""
        region = case_filter.region and region_prefix(case_filter.region)
        return await self._database.fetch(
            "list_orders", **_below(upper_bound(case_filter, after)), rows_max=rows_max + 1,
            own_prefix=region_prefix(caller.region), own_unit=caller.unit, reads=reads_region(caller), region=region,
            status=status, unit=case_filter.unit, late=case_filter.late,
        )  # fmt: skip


def _below(position: ListPosition) -> dict[str, Any]:
    """The parameters of a page that lies below a position."""
    return {"before_at": position[0], "before_id": position[1]}


def _of_caller(caller: Caller) -> dict[str, Any]:
    """The parameters of `kit.may_see` about a caller."""
    return {
        "own_person": caller.person,
        "own_unit": caller.unit,
        "own_prefix": region_prefix(caller.region),
        "reads": Right.READ in caller.rights,
    }
