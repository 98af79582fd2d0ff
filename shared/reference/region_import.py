"""The national table of regions as documents, one per province and county, and one edition after another."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import IO, cast

from pydantic import ValidationError

from shared.reference.codec import describe_faults
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import Fault, LoadError
from shared.reference.regions import RegionRow

NBS_NOTE = "国家统计局 2023 年版，截止 2023-06-30"


def succeed(old: Document, new: Document, day: date) -> Document:
    """`new` as the edition after `old`: on `day` the validity of removed regions ends and that of added ones begins."""
    removed = dict(old.by_key)
    rows: list[RegionRow] = []
    for row in new.rows:
        before = removed.pop(row.code, None)
        start = before.valid_from if before else day
        rows.append(row.model_copy(update={"valid_from": row.valid_from or start}))
    rows += [row if row.valid_to else row.model_copy(update={"valid_to": day}) for row in removed.values()]
    return new.model_copy(update={"rows": tuple(sorted(rows, key=lambda row: row.code)), "sequence": old.sequence})


def nbs_documents(folder: Path, note: str = NBS_NOTE) -> Iterator[Document]:
    """The national table as documents, one per province and one per county. One county at a time is in memory.

    The folder holds provinces, cities, areas, streets and villages as `.csv` or `.csv.gz`, sorted by codes of 2, 4, 6,
    9 and 12 digits. Raises LoadError with file, line and remedy.
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
        # A city without counties (441900) stands both in cities and in areas; the document names it once.
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
        # Codes such as 350527000 and 350527000000 mean the county itself and are neither township nor village.
        full = {key.ljust(12, "0"): name for key, name in rows.items() if key[6:].strip("0")}
        if full:
            yield _document(folder, "villages", code, note, sorted(full.items()))
    if county is not None:
        line, orphan, _ = next(group)
        raise _fault(folder, "villages", line, f"{orphan} lies in {county}, which has no township in streets")


def _document(folder: Path, table: str, code: str, note: str, rows: list[tuple[str, str]]) -> Document:
    try:
        typed = tuple(RegionRow(code=key, name=name) for key, name in rows)
        return Document(kind=DocumentKind.REGIONS, region=code.ljust(12, "0"), note=note, rows=typed)
    except ValidationError as error:
        raise _fault(folder, table, 0, f"in {code}: {describe_faults(error)}") from None


def _fault(folder: Path, table: str, line: int, reason: str) -> LoadError:
    return LoadError([Fault(str(_file(folder, table).name), line, reason)])


def _file(folder: Path, table: str) -> Path:
    for path in (folder / f"{table}.csv", folder / f"{table}.csv.gz"):
        if path.exists():
            return path
    raise LoadError([Fault(str(folder), 0, f"holds neither {table}.csv nor {table}.csv.gz; name the folder that does")])


def _table(folder: Path, table: str, digits: int) -> Generator[tuple[int, str, str], None, None]:
    """Line, code and name of every row. Raises LoadError for a code out of order or of wrong length, or no name."""
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
