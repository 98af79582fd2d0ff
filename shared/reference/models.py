"""Versioned documents that the law and the policies cite: what a row of each kind says.

A document is what one region says of one kind: the units of a county, the rules of a city, the posts of the nation.
Its version is the stream sequence it got when it was published; events cite it as `kind:region@sequence`.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.case.base import Code, Level, PersonId, Region, UnitCode, contains
from shared.case.facts import CO_UNITS_MAX, Ends, PauseCause, Severity, Stage, TimeBase
from shared.case.rights import Right, conflict
from shared.reference.calendars import CalendarRow
from shared.reference.models_time import AMOUNT_MAX, LadderRow, ProposalRow
from shared.reference.row import BasisRow, Line, Name, Row, SubjectCode, When, in_order

NATION = "000000000000"
DOCUMENT_BYTES_MAX = 1_000_000
ROWS_MAX = 20_000
HOUSEHOLDS = range(300, 501)  # clause 11.7: 300 to 500 households
PEOPLE = range(800, 1201)  # clause 11.7: about 1000 people

Grid = Annotated[str, StringConstraints(pattern=r"^[0-9]{15}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=40, to_lower=True)]
UnitPattern = Annotated[
    str, StringConstraints(pattern=r"^([0-9]{12}|\{(province|city|county|township|village)\})-[a-z0-9-]{1,32}$")
]


def inside(outer: str, inner: str) -> bool:
    """Whether region `inner` is `outer` or lies in it; everything lies in the nation, 000000000000."""
    return outer == NATION or contains(outer, inner)


class RegionRow(Row):
    """A division of one of the five levels (clause 4). A merge or split names the successors and ends the validity.

    `valid_to` is the first day on which the code is no longer in force.
    """

    code: Region
    name: Name
    valid_from: date | None = None
    valid_to: date | None = None
    successors: Annotated[tuple[Region, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_from >= self.valid_to:
            raise ValueError(f"valid_from {self.valid_from} is not before valid_to {self.valid_to}")
        if self.successors and not self.valid_to:
            raise ValueError("a region with successors has ended: give valid_to, the first day it was not in force")
        return self

    def valid_at(self, day: date) -> bool:
        """Whether the code was in force on that day."""
        return (not self.valid_from or self.valid_from <= day) and (not self.valid_to or day < self.valid_to)


class CentreRow(Row):
    """A centre and the two it informs of what it cannot solve: party committee and government (clause 11.2)."""

    region: Region
    name: Name
    phone: Line = ""
    party_committee: Name
    government: Name

    @property
    def unit(self) -> str:
        """A centre is a unit too, and this is its code."""
        return f"{self.region}-centre"


class UnitKind(StrEnum):
    """What a unit is; centres and grids are units by themselves and are not listed again."""

    CENTRE = "centre"
    DEPARTMENT = "department"
    STATIONED = "stationed"
    GRID = "grid"
    VILLAGE = "village"


class UnitRow(Row):
    """A unit that can be responsible for a case (clause 7.2), and what for; its code begins with the region."""

    code: UnitCode
    name: Name
    kind: UnitKind = UnitKind.DEPARTMENT
    duties: Line = ""
    active: bool = True

    @property
    def region(self) -> str:
        return self.code[:12]

    @property
    def slug(self) -> str:
        """What the same department has in common at every level."""
        return self.code[13:]


class PostRow(Row):
    """A post, its duty and its rights (clause 12.1). `levels` are the levels that have it, all when empty."""

    code: Code
    title: Name
    rights: Annotated[tuple[Right, ...], AfterValidator(in_order)]
    levels: Annotated[tuple[Level, ...], AfterValidator(in_order)] = ()

    @model_validator(mode="after")
    def _separated(self) -> Self:
        if reason := conflict(frozenset(self.rights)):
            raise ValueError(reason)
        return self


class PersonRow(Row):
    """Somebody who works here. `stands_aside_from` are units and people in whose matters the person takes no part
    (petitions regulation, article 28); the region is the unit's unless it says otherwise."""

    id: PersonId
    name: Name
    unit: UnitCode
    post: Code
    region: Region = ""
    deputy: PersonId | None = None
    active: bool = True
    stands_aside_from: Annotated[tuple[UnitCode | PersonId, ...], Field(max_length=50)] = ()

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("region") and isinstance(data.get("unit"), str):
            return {**data, "region": data["unit"][:12]}
        return data


class GridRow(Row):
    """A grid: its village's twelve digits and three of its own (clause 11.7). A rural grid is a hamlet of any size."""

    code: Grid
    name: Name
    households: Annotated[int, Field(ge=0, le=1_000_000)]
    people: Annotated[int, Field(ge=0, le=10_000_000)]
    workers: Annotated[tuple[PersonId, ...], Field(max_length=50)] = ()
    rural: bool = False

    @property
    def region(self) -> str:
        return self.code[:12]

    @property
    def unit(self) -> str:
        """A grid is a unit too, and this is its code."""
        return f"{self.region}-grid{self.code[12:]}"

    def warnings(self) -> list[str]:
        """What clause 11.7 would say of it."""
        found = []
        if not self.rural and self.households not in HOUSEHOLDS and self.people not in PEOPLE:
            found.append(
                f"{self.households} households and {self.people} people: a grid has 300 to 500 households"
                " or about 1000 people (clause 11.7); split or join it"
            )
        if not self.workers:
            found.append("nobody works in it: name at least one grid worker (clause 11.7)")
        return found


class RuleWhen(When):
    """`words`: one of them stands in title or text, whatever its case."""

    words: Annotated[tuple[Word, ...], Field(max_length=200)] = ()


class RuleThen(BaseModel):
    """Who gets it: `{county}-housing` is the housing department of the case's county."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: UnitPattern
    co_units: Annotated[tuple[UnitPattern, ...], Field(max_length=CO_UNITS_MAX)] = ()
    subject: SubjectCode | None = None
    severity: Severity | None = None


class RuleRow(Row):
    """One routing rule. Rules are read in order and the first that matches wins (clause 5.1.3 a: triage)."""

    id: Code
    when: RuleWhen = RuleWhen()
    then: RuleThen
    basis: BasisRow


class SubjectRow(Row):
    """A subject of the tree: two digits per level, three levels."""

    code: SubjectCode
    name: Name

    @property
    def parent(self) -> str | None:
        return self.code[:-2] or None


class LimitRow(Row):
    """How long a stage may take (clause 5.1.3 a). Limits are read in order; the first that matches wins.

    `amount`, `warn` (how long before it is due to warn) and `extend_max` are in units of `base`; `ends` says when the
    last day is over. It runs from the beginning of the stage or from the registration. An extension is granted from
    `extend_by`, the post of the person who approves; `pauses` are what may stop this clock, 0 as a maximum bounds none.
    """

    id: Code
    stage: Stage
    when: When = When()
    amount: Annotated[int, Field(gt=0, le=AMOUNT_MAX)]
    base: TimeBase
    ends: Ends = Ends.DAY
    counts_from: Literal["stage", "registered"] = "stage"
    warn: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    basis: BasisRow
    extend_max: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    extend_by: Code | None = None
    extend_times_max: Annotated[int, Field(ge=1, le=100)] = 1
    pauses: Annotated[tuple[PauseCause, ...], Field(max_length=len(PauseCause))] = ()
    pause_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pause_days_max: Annotated[int, Field(ge=0, le=3_660)] = 0

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.warn >= self.amount:
            raise ValueError(f"warn {self.warn} is not less than amount {self.amount}: it would warn at the start")
        if bool(self.extend_max) != bool(self.extend_by):
            raise ValueError("extend_max and extend_by go together: by how much, and which post approves it")
        if "extend_times_max" in self.model_fields_set and not self.extend_by:
            raise ValueError("extend_times_max is for a limit that may be extended; give extend_max and extend_by")
        if (self.pause_times_max or self.pause_days_max) and not self.pauses:
            raise ValueError("pause_times_max and pause_days_max bound what is in pauses; name the causes there")
        if self.base is TimeBase.HOURS and self.ends is Ends.CLOCK:
            raise ValueError("a limit in hours ends after its hours; `ends: clock` is for days, remove it")
        return self


class Kind(StrEnum):
    """The kinds of documents."""

    REGIONS = "regions"
    CENTRES = "centres"
    UNITS = "units"
    POSTS = "posts"
    PEOPLE = "people"
    GRIDS = "grids"
    RULES = "rules"
    SUBJECTS = "subjects"
    LIMITS = "limits"
    LADDERS = "ladders"
    PROPOSALS = "proposals"
    CALENDARS = "calendars"


ROWS: dict[Kind, type[Row]] = {
    Kind.REGIONS: RegionRow,
    Kind.CENTRES: CentreRow,
    Kind.UNITS: UnitRow,
    Kind.POSTS: PostRow,
    Kind.PEOPLE: PersonRow,
    Kind.GRIDS: GridRow,
    Kind.RULES: RuleRow,
    Kind.SUBJECTS: SubjectRow,
    Kind.LIMITS: LimitRow,
    Kind.LADDERS: LadderRow,
    Kind.PROPOSALS: ProposalRow,
    Kind.CALENDARS: CalendarRow,
}


class Document(BaseModel):
    """What one region says of one kind; `note` says where it is from. `sequence` is its version, 0 until published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    region: Region = NATION
    note: Line = ""
    rows: tuple[Any, ...]
    sequence: Annotated[int, Field(ge=0, exclude=True)] = 0

    @model_validator(mode="after")
    def _typed(self) -> Self:
        if len(self.rows) > ROWS_MAX:
            raise ValueError(f"{len(self.rows)} rows; a document has at most {ROWS_MAX}: make one per county")
        row = ROWS[self.kind]
        wrong = next((r for r in self.rows if type(r) is not row), None)
        if wrong is not None:
            raise ValueError(f"rows of {self.kind} are {row.__name__}, got {type(wrong).__name__}")
        return self

    @property
    def name(self) -> str:
        """Kind and region: what a new version of the document replaces."""
        return f"{self.kind}:{self.region}"

    @property
    def reference(self) -> str:
        """How an event cites it."""
        return f"{self.name}@{self.sequence}"

    @cached_property
    def by_key(self) -> dict[str, Any]:
        """The rows by what names them."""
        return {row.key: row for row in self.rows}

    def encode(self) -> bytes:
        """The bytes that are published: the same for the same document, defaults left out."""
        return self.model_dump_json(exclude_defaults=True, serialize_as_any=True).encode()
