"""What the rows of a file are to one another, found before anything is sent: double ids, repeats of open cases.

Two readings with eight bytes of memory a row: the first keeps a 64-bit hash of each id and of what makes a repeat; only
rows whose hash stands twice are looked at in the second.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from infra.importing.file_rows import FileRow, read_rows
from infra.importing.imported_case import ImportedCase, UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from shared.case.base import Address

HASH_BYTES = 8
BUCKETS = 256
OnRows = Callable[[int, str], None]


@dataclass
class ImportPlan:
    """How many rows there are; which ids stand earlier (row -> row), what repeats (row -> case), what is repeated."""

    rows: int = 0
    doubles: dict[int, int] = field(default_factory=dict)
    repeats: dict[int, Address] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)


def make_plan(
    path: Path, mapping: ImportMapping, now: datetime, progress: OnRows = lambda done, word: None
) -> ImportPlan:
    """Read the file up to twice. Raises BadFile."""
    plan, hashes = ImportPlan(), _Hashes(mapping)
    for line in read_rows(path, mapping):
        plan.rows += 1
        hashes.add(line)
        progress(plan.rows, "looked at")
    twice = hashes.twice()
    if twice:
        first_of: dict[str, int] = {}
        alike: dict[int, list[_Alike]] = {}
        for line in read_rows(path, mapping):
            id_hash, alike_hash = hashes.of(line)
            if id_hash in twice:
                id = line.cells.get(mapping.id, "").strip()
                first = first_of.setdefault(id, line.number)
                if first != line.number:
                    plan.doubles[line.number] = first
            if alike_hash in twice and line.number not in plan.doubles:
                try:
                    alike.setdefault(alike_hash, []).append(_Alike.of(imported_case(line, mapping, now), mapping))
                except UnfitRow:
                    continue
        for demands in alike.values():
            _pair(plan, mapping, demands)
    return plan


class _Hashes:
    """64-bit hashes of rows, keyed anew in each process: they tell nothing to whoever sees the memory's dump."""

    def __init__(self, mapping: ImportMapping) -> None:
        self._mapping = mapping
        self._key = os.urandom(16)
        self._buckets = [array("Q") for _ in range(BUCKETS)]  # each is sorted by itself, so that little is unpacked

    def of(self, line: FileRow) -> tuple[int, int]:
        """The hash of the row's id, and of what makes it a repeat (0: it is none)."""
        id = self._hash("id", line.cells.get(self._mapping.id, "").strip())
        same = self._mapping.repeats.same if self._mapping.repeats else ()
        columns = [getattr(self._mapping.columns, name) for name in same]
        parts = ["".join(line.cells.get(column, "").split()) for column in columns]
        return id, self._hash(*parts) if parts and all(parts) else 0

    def add(self, line: FileRow) -> None:
        for one in self.of(line):
            if one:
                self._buckets[one % BUCKETS].append(one)

    def twice(self) -> set[int]:
        """The hashes that stand twice or more."""
        return {one for bucket in self._buckets for one, next_ in pairwise(sorted(bucket)) if one == next_}

    def _hash(self, *parts: str) -> int:
        text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=HASH_BYTES, key=self._key).digest(), "big") or 1


@dataclass(frozen=True, slots=True)
class _Alike:
    """What deciding about repeats needs of a row, without its text."""

    at: datetime
    number: int
    replied_at: datetime | None
    case: Address

    @classmethod
    def of(cls, demand: ImportedCase, mapping: ImportMapping) -> _Alike:
        return cls(demand.at, demand.number, demand.replied_at, demand.case(mapping.source))


def _pair(plan: ImportPlan, mapping: ImportMapping, demands: list[_Alike]) -> None:
    """In order of time, each row joins the case before it for as long as that is open; else it is a case itself."""
    first: _Alike | None = None
    for demand in sorted(demands, key=lambda one: (one.at, one.number)):
        if first is not None and _open_at(first, mapping, demand.at):
            plan.repeats[demand.number] = first.case
            plan.repeated.add(first.number)
        else:
            first = demand


def _open_at(first: _Alike, mapping: ImportMapping, moment: datetime) -> bool:
    closes = mapping.settle is not None and mapping.settle.close and first.replied_at is not None
    return not closes or first.replied_at is None or moment < first.replied_at
