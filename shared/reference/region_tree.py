"""The region tree (clause 4): five levels of twelve-digit codes.

The document of a province holds the levels down to the county and stays in memory. The document of a county holds its
townships and villages and stays compressed until somebody looks into it, so the whole country takes some ten megabytes.
Codes change yearly: a row has the dates of its validity, and its successors.
"""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict
from datetime import date
from typing import cast

from shared.case.base import Level, level_of, parent
from shared.reference.codec import decode_document
from shared.reference.documents import Document
from shared.reference.regions import NATION, RegionRow

COUNTIES_OPEN_COUNT_MAX = 64
# Names of levels that exist only to fill the table; paths leave them out.
PSEUDO_LEVELS = frozenset({"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"})
_log = logging.getLogger(__name__)


class RegionTree:
    """All regions of the documents, by code."""

    def __init__(self, counties_open_count_max: int = COUNTIES_OPEN_COUNT_MAX) -> None:
        self._upper: dict[str, dict[str, RegionRow]] = {}  # document -> rows down to the county
        self._packed: dict[str, bytes] = {}  # the six digits of a county -> compressed document
        self._open: OrderedDict[str, dict[str, RegionRow]] = OrderedDict()
        self._open_count_max = counties_open_count_max

    def put(self, document: Document) -> None:
        """Add a document of kind `regions`, in place of the one of the same region."""
        self.put_encoded(document.region, document.encode())

    def put_encoded(self, region: str, data: bytes) -> None:
        """As `put`, from the bytes of a published document. Raises ValueError for unreadable bytes of a province."""
        if level_of(region) is Level.PROVINCE:
            self._upper[region] = cast("dict[str, RegionRow]", decode_document(data, 0).by_key)
        else:
            self._packed[region[:6]] = zlib.compress(data, 1)
            self._open.pop(region[:6], None)

    def get(self, code: str) -> RegionRow | None:
        """The region with this code, in force or not; None when no document has it."""
        upper = self._upper.get(code[:2].ljust(12, "0"), {}).get(code) or self._upper.get(NATION, {}).get(code)
        return upper or self._county(code[:6]).get(code)

    def __contains__(self, code: str) -> bool:
        return self.get(code) is not None

    def valid_at(self, code: str, day: date) -> bool:
        """Whether the code was in force on that day."""
        row = self.get(code)
        return row is not None and row.valid_at(day)

    def in_force(self, code: str, day: date) -> list[RegionRow]:
        """The region on that day: itself, or its successors by merges and splits; [] when no document has it."""
        rows: dict[str, RegionRow] = {}
        waiting, seen = [code], set[str]()
        while waiting:
            code = waiting.pop()
            row = self.get(code)
            if row is None or code in seen:
                continue
            seen.add(code)
            if row.valid_at(day):
                rows[code] = row
            elif row.valid_to and row.valid_to <= day:
                waiting.extend(row.successors)
        return sorted(rows.values(), key=lambda row: row.code)

    def parent(self, code: str) -> str | None:
        """The next existing region above, since some cities have no counties. None above a province."""
        outer = parent(code)
        while outer is not None and outer not in self:
            outer = parent(outer)
        return outer

    def path(self, code: str) -> str:
        """The names from the province down: `四川省/成都市/锦江区`. An unknown code stands for itself."""
        names: list[str] = []
        outer: str | None = code
        while outer is not None:
            row = self.get(outer)
            if row is None or row.name not in PSEUDO_LEVELS:
                names.append(row.name if row else outer)
            outer = self.parent(outer)
        return "/".join(reversed(names))

    def _county(self, county: str) -> dict[str, RegionRow]:
        if county in self._open:
            self._open.move_to_end(county)
            return self._open[county]
        if county not in self._packed:
            return {}
        try:
            rows = cast("dict[str, RegionRow]", decode_document(zlib.decompress(self._packed[county]), 0).by_key)
        except ValueError:  # the document was published without a check
            _log.exception("regions of %s cannot be read; publish them again", county)
            rows = {}
        self._open[county] = rows
        if len(self._open) > self._open_count_max:
            self._open.popitem(last=False)
        return rows
