"""What reporting answers with: items of lists, counts, timelines. Content stands in them only where a key was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel

from shared.case.base import Actor, Event, Position, Recorded, Unknown
from shared.case.facts import Matter, Nature
from shared.case.lifecycle import OPEN, Status
from shared.case.orders import OrderState, OrderStatus
from shared.case.state import CaseState
from shared.kit.effects import ADAPTERS
from shared.kit.seal import unseal_fields
from shared.log.case_numbers import case_number

REPORTER = "reporter"


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
    """A page of cases, newest first; `complete` is false when `?after=` was not reached in time.
    `next` leads on; where few of many cases fit, a page may be shorter than asked for, even empty, and still lead on.
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


class Timeline(BaseModel):
    """A case or an order as it now is, and everything that happened to it, in order."""

    id: str
    number: str
    status: str
    version: int
    position: str
    state: dict[str, Any]
    erased: bool
    timeline: list[Entry]
    complete: bool = True


class Count(BaseModel):
    """How many cases a region has. `late_share` is late among open, null where none is open."""

    region: str
    statuses: dict[Status, int]
    total: int
    open: int
    late: int
    late_open: int
    late_share: float | None


class Counts(BaseModel):
    """Cases by region one level below, and all together; a centre's own cases stand under its own code."""

    region: str
    regions: list[Count]
    all: Count
    complete: bool = True


class Entry(BaseModel):
    """One event of a timeline. `sealed` names the facts that are there and not shown: no right to them, or erased."""

    event: str
    type: str
    version: int
    time: AwareDatetime
    recorded_at: AwareDatetime
    actor: Actor
    position: str
    references: tuple[str, ...]
    facts: dict[str, Any]
    sealed: list[str] = []


def entry(recorded: Recorded[Any], key: bytes | None, hide_reporter: bool) -> Entry:
    """One event as somebody may read it: without a key nothing sealed is opened. Raises SealBroken."""
    event, meta = recorded.event, recorded.meta
    sealed: list[str]
    if isinstance(event, Unknown):  # which of its facts are private is not ours to know
        version, facts, sealed = event.version, {}, sorted(event.data)
    else:
        version = event.VERSION
        there = [name for name in event.PRIVATE if getattr(event, name) is not None]
        sealed = [name for name in there if key is None or (hide_reporter and name == REPORTER)]
        if key is not None:
            event = unseal_fields(event, key, recorded.address.id, recorded.id)
        facts = event.model_dump(mode="json", exclude=set(sealed), exclude_none=True)
    return Entry(
        event=recorded.id, type=recorded.type, version=version, time=meta.time, recorded_at=meta.recorded_at,
        actor=meta.actor, position=str(recorded.position), references=meta.references, facts=facts, sealed=sealed,
    )  # fmt: skip


def state_facts(state: CaseState | OrderState) -> dict[str, Any]:
    """The facts of a folded state, without the ids of the commands that made it."""
    adapter = ADAPTERS["case" if isinstance(state, CaseState) else "order"]
    facts: dict[str, Any] = adapter.dump_python(state, mode="json", exclude={"applied"}, by_alias=True)
    return facts


def file_name(recorded: Recorded[Event], at: int, key: bytes) -> str:
    """The name that the file came with, which is sealed with the words that it came with."""
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


def count_of(region: str, rows: Sequence[Mapping[str, Any]]) -> Count:
    """The tallies of a region as one count."""
    statuses: Counter[Status] = Counter()
    for row in rows:
        statuses[Status(row["status"])] += row["count"]
    open_count = sum(row["count"] for row in rows if row["status"] in OPEN)
    late_open = sum(row["count"] for row in rows if row["status"] in OPEN and row["late"])
    return Count(
        region=region,
        statuses=dict(statuses),
        total=statuses.total(),
        open=open_count,
        late=sum(row["count"] for row in rows if row["late"]),
        late_open=late_open,
        late_share=late_open / open_count if open_count else None,
    )
