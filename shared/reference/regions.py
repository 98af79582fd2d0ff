"""The region tree (clause 4): five levels of twelve-digit codes, and the import of the national table.

A province's document holds the levels down to the county and stays in memory; a county's document holds its townships
and villages and is kept compressed until it is asked for, so the whole country takes some ten megabytes. Codes change
yearly: a row says from when to when it was in force, and what followed it.
"""

from __future__ import annotations

import csv
import gzip
import logging
import zlib
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import IO, cast

from pydantic import ValidationError

from shared.case.base import Level, level_of, parent
from shared.reference.codec import decode, explain
from shared.reference.load import Fault, LoadError
from shared.reference.models import NATION, Document, Kind, RegionRow

COUNTIES_OPEN_COUNT_MAX = 64
NBS_NOTE = "国家统计局 2023 年版，截止 2023-06-30"
# Levels that exist in the table only to keep its shape; nobody says them when naming a place.
PSEUDO_LEVELS = frozenset({"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"})

_log = logging.getLogger(__name__)


class RegionTree:
    """Every region that the documents name, by code."""

    def __init__(self, counties_open_count_max: int = COUNTIES_OPEN_COUNT_MAX) -> None:
        self._upper: dict[str, dict[str, RegionRow]] = {}  # document -> rows down to the county
        self._packed: dict[str, bytes] = {}  # first six digits -> compressed document
        self._open: OrderedDict[str, dict[str, RegionRow]] = OrderedDict()
        self._open_count_max = counties_open_count_max

    def put(self, document: Document) -> None:
        """Take in a document of kind `regions`; it replaces the one of the same region."""
        self.put_encoded(document.region, document.encode())

    def put_encoded(self, region: str, data: bytes) -> None:
        """As `put`, from the bytes of a published document. Raises ValueError when a province's is not one."""
        if level_of(region) is Level.PROVINCE:
            self._upper[region] = cast("dict[str, RegionRow]", decode(data, 0).by_key)
        else:
            self._packed[region[:6]] = zlib.compress(data, 1)
            self._open.pop(region[:6], None)

    def get(self, code: str) -> RegionRow | None:
        """The region of that code, in force or not; None when no document names it."""
        upper = self._upper.get(code[:2].ljust(12, "0"), {}).get(code) or self._upper.get(NATION, {}).get(code)
        return upper or self._county(code[:6]).get(code)

    def __contains__(self, code: str) -> bool:
        return self.get(code) is not None

    def valid_at(self, code: str, day: date) -> bool:
        """Whether the code was in force on that day."""
        row = self.get(code)
        return row is not None and row.valid_at(day)

    def in_force(self, code: str, day: date) -> list[RegionRow]:
        """The region on that day: itself, or what merges and splits had made of it; [] when nothing is known."""
        found: dict[str, RegionRow] = {}
        waiting, seen = [code], set[str]()
        while waiting:
            code = waiting.pop()
            row = self.get(code)
            if row is None or code in seen:
                continue
            seen.add(code)
            if row.valid_at(day):
                found[code] = row
            elif row.valid_to and row.valid_to <= day:
                waiting.extend(row.successors)
        return sorted(found.values(), key=lambda row: row.code)

    def parent(self, code: str) -> str | None:
        """The next region above that exists: some cities have no counties. None above a province."""
        outer = parent(code)
        while outer is not None and outer not in self:
            outer = parent(outer)
        return outer

    def children(self, code: str, day: date | None = None) -> list[RegionRow]:
        """The regions right below, by code; `day` leaves out those not in force on it."""
        rows: list[RegionRow] = []
        if code == NATION or level_of(code) <= Level.CITY:
            rows += [row for upper in self._upper.values() for row in upper.values()]
        if code != NATION:
            rows += self._county(code[:6]).values()
        outer = None if code == NATION else code
        return sorted(
            (row for row in rows if (day is None or row.valid_at(day)) and self.parent(row.code) == outer),
            key=lambda row: row.code,
        )

    def path(self, code: str) -> str:
        """Where it is in words, from the province down: `四川省/成都市/锦江区`. An unknown code is written as it is."""
        names: list[str] = []
        at: str | None = code
        while at is not None:
            row = self.get(at)
            if row is None or row.name not in PSEUDO_LEVELS:
                names.append(row.name if row else at)
            at = self.parent(at)
        return "/".join(reversed(names))

    def _county(self, six: str) -> dict[str, RegionRow]:
        if six in self._open:
            self._open.move_to_end(six)
            return self._open[six]
        if six not in self._packed:
            return {}
        try:
            rows = cast("dict[str, RegionRow]", decode(zlib.decompress(self._packed[six]), 0).by_key)
        except ValueError:  # a document that nobody checked before it was published
            _log.exception("regions of %s cannot be read; publish them again", six)
            rows = {}
        self._open[six] = rows
        if len(self._open) > self._open_count_max:
            self._open.popitem(last=False)
        return rows


def succeed(old: Document, new: Document, day: date) -> Document:
    """`new` as the edition that follows `old` on `day`: what vanished gets its end, what is new its start."""
    kept = dict(old.by_key)
    rows: list[RegionRow] = []
    for row in new.rows:
        before = kept.pop(row.code, None)
        start = before.valid_from if before else day
        rows.append(row.model_copy(update={"valid_from": row.valid_from or start}))
    rows += [row if row.valid_to else row.model_copy(update={"valid_to": day}) for row in kept.values()]
    return new.model_copy(update={"rows": tuple(sorted(rows, key=lambda row: row.code)), "sequence": old.sequence})


def nbs_documents(folder: Path, note: str = NBS_NOTE) -> Iterator[Document]:
    """The national table as documents, one per province and one per county, read in one pass with one county in memory.

    The folder holds provinces, cities, areas, streets and villages as `.csv` or `.csv.gz`, sorted by code; codes are
    trimmed to 2, 4, 6, 9 and 12 digits. Raises LoadError with file, line and what to do.
    """
    names: dict[str, str] = {}
    for table, digits in (("provinces", 2), ("cities", 4), ("areas", 6)):
        with closing(_table(folder, table, digits)) as lines:
            for line, code, name in lines:
                outer = code[: digits - 2]
                if outer and outer not in names:
                    raise _fault(folder, table, line, f"{code} lies in {outer}, which is in no table above")
                names[code] = name
    for province, codes in groupby(sorted(names), key=lambda code: code[:2]):
        # A city that is its own county (441900) stands there once, as the city.
        rows = {code.ljust(12, "0"): names[code] for code in sorted(codes, key=len, reverse=True)}
        yield _document(folder, "areas", province, note, sorted(rows.items()))
    with closing(_table(folder, "streets", 9)) as streets, closing(_table(folder, "villages", 12)) as villages:
        yield from _counties(folder, note, names, streets, villages)


_Lines = Iterable[tuple[int, str, str]]


def _counties(
    folder: Path, note: str, names: dict[str, str], all_streets: _Lines, all_villages: _Lines
) -> Iterator[Document]:
    villages = groupby(all_villages, key=lambda row: row[1][:6])
    county, group = next(villages, (None, iter(())))
    for code, streets in groupby(all_streets, key=lambda row: row[1][:6]):
        if county is not None and county < code:
            line, orphan, _ = next(group)
            raise _fault(folder, "villages", line, f"{orphan} lies in {county}, which has no township in streets")
        rows: dict[str, str] = {}
        for line, street, name in streets:
            if code not in names:
                raise _fault(folder, "streets", line, f"{street} lies in {code}, which is not in areas")
            rows[street] = name
        if county == code:
            for line, village, name in group:
                if village[:9] not in rows:
                    raise _fault(folder, "villages", line, f"{village} lies in {village[:9]}, which is not in streets")
                rows[village] = name
            county, group = next(villages, (None, iter(())))
        # 350527000(000) stand for the county itself: no township, no village.
        full = {key.ljust(12, "0"): name for key, name in rows.items() if key[6:].strip("0")}
        if full:
            yield _document(folder, "villages", code, note, sorted(full.items()))
    if county is not None:
        line, orphan, _ = next(group)
        raise _fault(folder, "villages", line, f"{orphan} lies in {county}, which has no township in streets")


def _document(folder: Path, table: str, code: str, note: str, rows: list[tuple[str, str]]) -> Document:
    try:
        typed = tuple(RegionRow(code=key, name=name) for key, name in rows)
        return Document(kind=Kind.REGIONS, region=code.ljust(12, "0"), note=note, rows=typed)
    except ValidationError as error:
        raise _fault(folder, table, 0, f"in {code}: {explain(error)}") from None


def _fault(folder: Path, table: str, line: int, reason: str) -> LoadError:
    return LoadError([Fault(str(_file(folder, table).name), line, reason)])


def _file(folder: Path, table: str) -> Path:
    for path in (folder / f"{table}.csv", folder / f"{table}.csv.gz"):
        if path.exists():
            return path
    raise LoadError([Fault(str(folder), 0, f"holds neither {table}.csv nor {table}.csv.gz; name the folder that does")])


def _table(folder: Path, table: str, digits: int) -> Generator[tuple[int, str, str], None, None]:
    """Line, code and name of every row, checked to be in order, of the right length and named."""
    path, last = _file(folder, table), ""
    unzip = gzip.open if path.suffix == ".gz" else open
    with unzip(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(cast("IO[str]", file), strict=True)
        try:
            heading = next(rows, [])
            if heading[:2] != ["code", "name"]:
                raise _fault(folder, table, 1, f"begins with {','.join(heading)[:60]!r}, not with code,name")
            for row in rows:
                code, name = row[:2] if len(row) > 1 else ("", "")
                if len(code) != digits or not (code.isascii() and code.isdigit()):
                    raise _fault(folder, table, rows.line_num, f"code {code[:20]!r} is not {digits} digits")
                if code <= last:
                    reason = f"{code} does not come after {last}; sort the file by code and remove what is double"
                    raise _fault(folder, table, rows.line_num, reason)
                if not name.strip():
                    raise _fault(folder, table, rows.line_num, f"{code} has no name")
                last = code
                yield rows.line_num, code, name
        except (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error) as error:
            raise _fault(folder, table, rows.line_num, f"cannot be read ({error}); get the file anew") from None
