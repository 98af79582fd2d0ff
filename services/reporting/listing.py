"""From the filter of a list to keys and buckets of the table `seen`. Pure.

A list does not read all cases: it reads those under the few keys that hold every case the caller may see, newest first.
The keys only find candidates. `kit.may_see` alone decides whether a case is shown (clause 9.4 a).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.case.base import (
    Code,
    Level,
    PersonId,
    Region,
    UnitCode,
    contains,
    level_of,
    region_at,
    region_prefix,
    utc_time,
)
from shared.case.facts import Nature
from shared.case.lifecycle import OPEN, Status
from shared.case.rights import Right
from shared.kit.access import Caller

NEWEST = (datetime.max.replace(tzinfo=UTC), UUID(int=(1 << 128) - 1))

BOUNDS = frozenset({"late", "open", "since", "until"})

ListPosition = tuple[datetime, UUID]  # (registered or issued at, id) of a row of a list


class CaseFilter(BaseModel):
    """The filter of a list, with the names that it has in the address. A field that is None filters nothing.

    `region`: in charge, with those below; `subject`: a code or its beginning. Each field is the parameter of a
    condition in `queries.sql`, but for those that choose buckets or bound the time (BOUNDS).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Region | None = None
    unit: UnitCode | None = None
    late: bool | None = None
    status: Status | None = None
    open: bool | None = None
    person: PersonId | None = None
    subject: Code | None = None
    nature: Nature | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    @property
    def conditions(self) -> dict[str, Any]:
        """The parameters of the conditions by name. A region stands for its prefix, which the regions below share."""
        values = {name: getattr(self, name) for name in CaseFilter.model_fields if name not in BOUNDS}
        return values | {"region": self.region and region_prefix(self.region)}


def reads_region(caller: Caller) -> bool:
    """Whether the post reads the whole region: with content, or without it as an auditor."""
    return bool(caller.rights & {Right.READ, Right.AUDIT})


def keys(caller: Caller, case_filter: CaseFilter) -> list[str]:
    """The keys of `seen` that together hold every case that the caller asks for and may see."""
    if case_filter.person is not None:
        return [f"@{case_filter.person}"]
    region = case_filter.region
    inside = reads_region(caller) and region is not None and contains(caller.region, region)
    if case_filter.unit is not None and (case_filter.unit == caller.unit or _in_charge_of(caller, case_filter.unit)):
        return [case_filter.unit]
    if inside:
        assert region is not None
        return [region_prefix(region)]
    own = [caller.unit, f"@{caller.person}"]
    apart = region is not None and not contains(region, caller.region)
    if reads_region(caller) and not apart:
        own.append(region_prefix(caller.region))
    if Right.READ in caller.rights:
        own.append(f"<{region_prefix(caller.region)}")
    return own


def _in_charge_of(caller: Caller, unit: str) -> bool:
    return reads_region(caller) and unit.startswith(region_prefix(caller.region))


def bucket(open: bool, late: bool) -> int:
    """The bucket of a case in `seen`: the column `lane`."""
    return 2 * open + late


def buckets(case_filter: CaseFilter) -> list[int]:
    """The buckets that can hold cases of a filter."""
    opens = {True, False} if case_filter.open is None else {case_filter.open}
    if case_filter.status is not None:
        opens &= {case_filter.status in OPEN}
    lates = (True, False) if case_filter.late is None else (case_filter.late,)
    return [bucket(open, late) for open in sorted(opens) for late in lates]


@cache
def region_prefixes(region: str) -> tuple[str, ...]:
    """The prefixes of a region and of every region above it, from the top."""
    return tuple(region_prefix(region_at(region, level)) for level in Level if level <= level_of(region))


def child_digits(region: str) -> int:
    """The number of digits that distinguish the regions one level below; for a village its own digits."""
    below = Level(min(level_of(region) + 1, Level.VILLAGE))
    return len(region_prefix(region_at("9" * 12, below)))


def parse_position(at: str, id: str) -> ListPosition:
    """The position in a list that a cursor holds. Raises ValueError, OverflowError."""
    return utc_time(at), UUID(id)


def upper_bound(case_filter: CaseFilter, after: ListPosition | None) -> ListPosition:
    """The position below which a page lies: the end of the page before it, or the end of the filter's time."""
    bounds = [NEWEST] if after is None else [after]
    if case_filter.until is not None:
        bounds.append((case_filter.until, UUID(int=0)))
    return min(bounds)
