"""Response models of reporting: items of lists, counts, timelines. Content is in them only where a key was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel

from shared.case.base import Event, Position, Recorded
from shared.case.facts import Matter, Nature
from shared.case.lifecycle import OPEN, Status
from shared.case.orders import OrderState, OrderStatus
from shared.case.state import CaseState
from shared.kit.effects import ADAPTERS
from shared.kit.seal import unseal_fields
from shared.kit.timeline import TimelineEntry
from shared.log.case_numbers import case_number
from shared.reference.documents import DocumentKind, Publication


class CaseItem(BaseModel):
    """A case in a list. `title` is null for those who may not see the content, and when it is erased."""

    id: str
    number: str
    title: str | None
    status: Status
    nature: Nature | None
    subject: str | None
    severity: str
    region: str
    in_charge: str
    unit: str | None
    person: str | None
    registered_at: AwareDatetime
    due: AwareDatetime | None
    late: bool
    version: int


class Cases(BaseModel):
    """A page of cases, newest first. `next` is the cursor of the next page.

    The search for a page is limited, so a page may be short, or empty, and still have a `next`. `complete` is false
    when `?after=` was not reached in time.
    """

    cases: list[CaseItem]
    next: str | None = None
    complete: bool = True


class OrderItem(BaseModel):
    """A supervision order in a list."""

    id: str
    status: OrderStatus
    kind: str | None
    region: str
    unit: str
    case_count: int
    refused_count: int
    issued_at: AwareDatetime | None
    due: AwareDatetime | None
    overdue: bool
    version: int


class Orders(BaseModel):
    """A page of supervision orders, newest first."""

    orders: list[OrderItem]
    next: str | None = None
    complete: bool = True


class DocumentItem(BaseModel):
    """A reference document in force. `publication` is null where it is not known who published it."""

    reference: str
    kind: DocumentKind
    region: str
    version: int
    note: str
    publication: Publication | None


class Documents(BaseModel):
    """The reference documents in force, by kind and region."""

    documents: list[DocumentItem]
    next: str | None = None


class Timeline(BaseModel):
    """A case or an order as it now is, and its events in order."""

    id: str
    number: str
    status: str
    version: int
    position: str
    state: dict[str, Any]
    erased: bool
    timeline: list[TimelineEntry]
    complete: bool = True


class CaseCount(BaseModel):
    """The number of cases of a region. `late_share`: late among open cases, null where none is open."""

    region: str
    statuses: dict[Status, int]
    total: int
    open: int
    late: int
    late_open: int
    late_share: float | None


class CaseCounts(BaseModel):
    """The numbers of cases by region one level below, and their sum; a centre's own cases are under its own code."""

    region: str
    regions: list[CaseCount]
    all: CaseCount
    complete: bool = True


def state_facts(state: CaseState | OrderState) -> dict[str, Any]:
    """The facts of a folded state, without the ids of the commands that made it."""
    adapter = ADAPTERS["case" if isinstance(state, CaseState) else "order"]
    facts: dict[str, Any] = adapter.dump_python(state, mode="json", exclude={"applied"}, by_alias=True)
    return facts


def file_name(recorded: Recorded[Event], at: int, key: bytes) -> str:
    """The name of an attachment, from the sealed content of its event; `at` is its index among the attachments."""
    event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
    for field in ("matter", "note", "reply"):
        names: Sequence[str] = getattr(getattr(event, field, None), "file_names", ())
        if at < len(names) and names[at]:
            return names[at]
    return "file"


def case_item(facts: Mapping[str, Any], matter: Matter | None) -> CaseItem:
    """A row of the read model as an item; without the matter, its title is left out."""
    values = {name: facts[name] for name in CaseItem.model_fields if name in facts}
    number = case_number(Position(facts["stream"], facts["born"]))
    title = matter.title if matter else None
    return CaseItem(**values, number=number, subject=facts["subject_code"], title=title)


def count_of(region: str, rows: Sequence[Mapping[str, Any]]) -> CaseCount:
    """The tallies of a region as one count."""
    statuses: Counter[Status] = Counter()
    for row in rows:
        statuses[Status(row["status"])] += row["count"]
    open_count = sum(row["count"] for row in rows if row["status"] in OPEN)
    late_open = sum(row["count"] for row in rows if row["status"] in OPEN and row["late"])
    return CaseCount(
        region=region,
        statuses=dict(statuses),
        total=statuses.total(),
        open=open_count,
        late=sum(row["count"] for row in rows if row["late"]),
        late_open=late_open,
        late_share=late_open / open_count if open_count else None,
    )
