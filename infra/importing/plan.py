"""The relations between the rows of a file, known before a command is sent: double ids and repeats of open cases.

The first of two readings keeps 64-bit hashes of each id and of the fields that make a repeat, eight bytes each. The
second reading looks only at rows whose hash stands twice.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from infra.importing.file_rows import read_rows
from infra.importing.imported_case import ImportedCase, UnfitRow, clean_cell, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.rows import FileRow
from shared.case.base import Address

HASH_BYTES = 8
BUCKETS = 256
WARNINGS_SHOWN_MAX = 20
STATUSES_COUNT_MAX = 20
STATUS_CHARS_MAX = 40
OTHER_VALUES = "another value"
OnRows = Callable[[int, str], None]


@dataclass
class ImportPlan:
    """Counts of rows and warnings; rows with the id of an earlier row; rows that repeat, or are repeated."""

    rows: int = 0
    warnings_count: int = 0
    warnings: list[str] = field(default_factory=list)  # the first ones, in words
    doubles: dict[int, int] = field(default_factory=dict)  # row -> earlier row
    repeats: dict[int, Address] = field(default_factory=dict)  # row -> case
    repeated: set[int] = field(default_factory=set)
    open_rows: Counter[tuple[str, str]] = field(default_factory=Counter)  # (column, cell) that settles nothing -> rows
    without_reply_count: int = 0  # settled by their status, but without a reply

    def note_status(self, row: FileRow, mapping: ImportMapping) -> None:
        """Count a row by the cell that keeps it open, as `settle.when` says."""
        settle = mapping.settle
        if settle is None or not settle.when or row.fault:
            return
        cells = {column: clean_cell(row.cells.get(column, "")) for column in settle.when}
        still_open = next((column for column, values in settle.when.items() if cells[column] not in values), None)
        if still_open is None:
            self.without_reply_count += not clean_cell(row.cells.get(mapping.columns.reply or "", ""))
            return
        value = cells[still_open][:STATUS_CHARS_MAX]
        known = (still_open, value) in self.open_rows or len(self.open_rows) < STATUSES_COUNT_MAX
        self.open_rows[still_open, value if known else OTHER_VALUES] += 1

    def statuses(self) -> Iterator[str]:
        """The rows that stay open by `settle.when`, one line for each value of a column."""
        for (column, value), count in self.open_rows.most_common():
            yield f"{count} rows stay open: {column} is {value or 'empty'}, which settle.when does not name"
        if self.without_reply_count:
            yield f"{self.without_reply_count} rows that settle.when names stay open: they have no reply"


def make_plan(
    path: Path, mapping: ImportMapping, now: datetime, progress: OnRows = lambda done, word: None
) -> ImportPlan:
    """Read the file up to twice. Raises BadFile."""
    plan, hashes = ImportPlan(), _Hashes(mapping)
    for row in read_rows(path, mapping):
        plan.rows += 1
        hashes.add(row)
        plan.note_status(row, mapping)
        if row.warning:
            plan.warnings_count += 1
            if len(plan.warnings) < WARNINGS_SHOWN_MAX:
                plan.warnings.append(f"row {row.number} {row.warning}")
        progress(plan.rows, "looked at")
    twice = hashes.twice()
    if twice:
        first_of: dict[str, int] = {}
        alike: dict[int, list[_Alike]] = {}
        for row in read_rows(path, mapping):
            id_hash, alike_hash = hashes.of(row)
            if id_hash in twice:
                id = row.cells.get(mapping.id, "").strip()
                first = first_of.setdefault(id, row.number)
                if first != row.number:
                    plan.doubles[row.number] = first
            if alike_hash in twice and row.number not in plan.doubles:
                try:
                    alike.setdefault(alike_hash, []).append(_Alike.of(imported_case(row, mapping, now), mapping))
                except UnfitRow:
                    continue
        for cases in alike.values():
            _pair(plan, mapping, cases)
    return plan


class _Hashes:
    """64-bit hashes of rows, with a new key in each process, so that a memory dump discloses nothing."""

    def __init__(self, mapping: ImportMapping) -> None:
        self._mapping = mapping
        self._key = os.urandom(16)
        self._buckets = [array("Q") for _ in range(BUCKETS)]  # sorted one by one, so that little is unpacked at once

    def of(self, row: FileRow) -> tuple[int, int]:
        """The hash of the row's id, and that of the fields that make a repeat; 0 when one of them is empty."""
        id = self._hash("id", row.cells.get(self._mapping.id, "").strip())
        same = self._mapping.repeats.same if self._mapping.repeats else ()
        columns = [getattr(self._mapping.columns, name) for name in same]
        parts = ["".join(row.cells.get(column, "").split()) for column in columns]
        return id, self._hash(*parts) if parts and all(parts) else 0

    def add(self, row: FileRow) -> None:
        for row_hash in self.of(row):
            if row_hash:
                self._buckets[row_hash % BUCKETS].append(row_hash)

    def twice(self) -> set[int]:
        """The hashes that stand twice or more."""
        return {first for bucket in self._buckets for first, second in pairwise(sorted(bucket)) if first == second}

    def _hash(self, *parts: str) -> int:
        text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=HASH_BYTES, key=self._key).digest(), "big") or 1


@dataclass(frozen=True, slots=True)
class _Alike:
    """The part of a row, without texts, that decides about repeats."""

    at: datetime
    number: int
    settled_at: datetime | None
    case: Address

    @classmethod
    def of(cls, imported: ImportedCase, mapping: ImportMapping) -> _Alike:
        return cls(
            imported.at,
            imported.number,
            imported.replied_at if imported.settled else None,
            imported.case(mapping.source),
        )


def _pair(plan: ImportPlan, mapping: ImportMapping, cases: list[_Alike]) -> None:
    """In order of time, a row repeats the case before it while that is open; else it is a case of its own."""
    first: _Alike | None = None
    for case in sorted(cases, key=lambda alike: (alike.at, alike.number)):
        if first is not None and _open_at(first, mapping, case.at):
            plan.repeats[case.number] = first.case
            plan.repeated.add(first.number)
        else:
            first = case


def _open_at(first: _Alike, mapping: ImportMapping, moment: datetime) -> bool:
    closes = mapping.settle is not None and mapping.settle.close
    return not closes or first.settled_at is None or moment < first.settled_at
