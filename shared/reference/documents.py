"""Versioned documents that the law and the policies cite.

A document holds all rows of one kind for one region: the units of a county, the rules of a city, the posts of the
nation. Its version is the stream sequence at which it was published; events cite it as `kind:region@sequence`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.case.base import Code, PersonId, Region
from shared.reference.calendars import CalendarRow
from shared.reference.ladders import LadderRow
from shared.reference.limits import LimitRow
from shared.reference.people import PersonRow, PostRow
from shared.reference.proposals import ProposalRow
from shared.reference.regions import NATION, RegionRow
from shared.reference.row import ReferenceRow, TextLine
from shared.reference.rules import RuleRow
from shared.reference.subjects import SubjectRow
from shared.reference.units import CentreRow, GridRow, UnitRow

DOCUMENT_BYTES_MAX = 1_000_000
ROWS_MAX = 20_000
MARGIN_MAX = 9_999


class DocumentKind(StrEnum):
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


ROW_TYPES: dict[DocumentKind, type[ReferenceRow]] = {
    DocumentKind.REGIONS: RegionRow,
    DocumentKind.CENTRES: CentreRow,
    DocumentKind.UNITS: UnitRow,
    DocumentKind.POSTS: PostRow,
    DocumentKind.PEOPLE: PersonRow,
    DocumentKind.GRIDS: GridRow,
    DocumentKind.RULES: RuleRow,
    DocumentKind.SUBJECTS: SubjectRow,
    DocumentKind.LIMITS: LimitRow,
    DocumentKind.LADDERS: LadderRow,
    DocumentKind.PROPOSALS: ProposalRow,
    DocumentKind.CALENDARS: CalendarRow,
}


class Publication(BaseModel):
    """Who published a version, at which post, why and when, and the second person who approved it where one had to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    publisher: PersonId
    post: Code
    reason: TextLine
    at: AwareDatetime
    approver: PersonId | None = None


class Document(BaseModel):
    """All rows of one kind for one region. `note` names the source; `sequence` is the version, 0 until published.

    Without a `publication` it is not known who published the document: it is older than the record of publishers, or
    was published where nobody had the right `admin` yet.

    `margin` belongs to rules: the points by which the best of the weighted rules must lead, else the desk decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: DocumentKind
    region: Region = NATION
    note: TextLine = ""
    margin: Annotated[int, Field(ge=1, le=MARGIN_MAX)] | None = None
    rows: tuple[Any, ...]
    publication: Publication | None = None
    sequence: Annotated[int, Field(ge=0, exclude=True)] = 0

    @model_validator(mode="after")
    def _typed(self) -> Self:
        if len(self.rows) > ROWS_MAX:
            raise ValueError(f"{len(self.rows)} rows; a document has at most {ROWS_MAX}: make one per county")
        if self.margin is not None and self.kind is not DocumentKind.RULES:
            raise ValueError(f"{self.kind} have no margin; only a document of rules has one")
        row_type = ROW_TYPES[self.kind]
        wrong = next((row for row in self.rows if type(row) is not row_type), None)
        if wrong is not None:
            raise ValueError(f"rows of {self.kind} are {row_type.__name__}, got {type(wrong).__name__}")
        return self

    @property
    def name(self) -> str:
        """Kind and region. A new version replaces the document of the same name."""
        return f"{self.kind}:{self.region}"

    @property
    def reference(self) -> str:
        """The citation of this version in events."""
        return f"{self.name}@{self.sequence}"

    @cached_property
    def by_key(self) -> dict[str, Any]:
        """The rows by their keys."""
        return {row.key: row for row in self.rows}

    def encode(self) -> bytes:
        """The bytes that are published, without defaults; equal documents give equal bytes."""
        return self.model_dump_json(exclude_defaults=True, serialize_as_any=True).encode()

    def content(self) -> bytes:
        """The bytes of what the document says, whoever published it and why."""
        return self.encode() if self.publication is None else self.model_copy(update={"publication": None}).encode()
