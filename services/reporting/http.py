"""Reporting over HTTP: lists, search, counts, one case with its whole timeline, its attachments, supervision orders.

Nothing here decides or changes anything. What a caller may not see is not there: a case out of their hands is refused,
an auditor gets the flow without its content, and who informed is shown to those only who must know (clauses 9.4 a,
9.5 b; petitions regulation, articles 28, 30 and 46).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.reporting.policy import CaseFilter, Place, cursor, place, reads_region
from services.reporting.projection import Entry, entry, file_name, state_facts
from services.reporting.store import CaseQueries, Row
from shared.case.base import Address, Code, PersonId, Position, Recorded, Region, UnitCode, contains
from shared.case.facts import Attachment, Nature
from shared.case.lifecycle import OPEN, Status
from shared.case.orders import OrderState, OrderStatus
from shared.case.state import CaseState
from shared.kit import http as kit_http
from shared.kit import telemetry
from shared.kit.access import Caller, may_see, may_see_flow, may_see_reporter
from shared.kit.command_handler import DECIDERS
from shared.kit.http import ERRORS, IdText, Who
from shared.kit.problems import BadRequest, Forbidden, NotFound, ProblemError, Unavailable, Unprocessable
from shared.kit.seal import unseal_bytes
from shared.kit.service import Kit
from shared.log.case_numbers import case_number
from shared.log.port import LogUnavailable, NoArea
from shared.reference.rights import Right

PAGE_ROWS = 50
QUERY_CHARS_MAX = 100

Cursor = Annotated[str, Field(max_length=200)]
Match = Annotated[str | None, Header(alias="If-None-Match", max_length=200)]
Since = Annotated[str | None, Query(max_length=80)]
Rows = Annotated[int, Field(ge=1, description="Rows per page; the operator sets the most there can be")]


class Page(BaseModel):
    """What every list takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: Cursor | None = None
    limit: Rows = PAGE_ROWS
    after: Annotated[str, Field(max_length=80)] | None = None
    region: Region | None = None
    unit: UnitCode | None = None
    late: bool | None = None


class CaseListQuery(Page):
    """What a list of cases can be asked for. `region` is the subtree in charge; `subject` a code or its beginning."""

    status: Status | None = None
    open: bool | None = None
    person: PersonId | None = None
    subject: Code | None = None
    nature: Nature | None = None
    since: Annotated[AwareDatetime | None, Field(alias="from")] = None
    until: Annotated[AwareDatetime | None, Field(alias="to")] = None
    q: Annotated[str, Field(max_length=QUERY_CHARS_MAX)] | None = None

    @property
    def wanted(self) -> CaseFilter:
        return CaseFilter(**{name: getattr(self, name) for name in CaseFilter.__dataclass_fields__})


class OrderListQuery(Page):
    """What a list of supervision orders can be asked for."""

    status: OrderStatus | None = None


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


def router(kit: Kit, reads: CaseQueries) -> APIRouter:
    """All routes of reporting but the event stream."""
    api = APIRouter(responses=ERRORS)
    _lists(api, kit, reads)
    _counts(api, kit, reads)
    _one(api, kit)
    _attachments(api, kit)
    return api


def _lists(api: APIRouter, kit: Kit, reads: CaseQueries) -> None:
    @api.get("/cases", operation_id="reporting_cases", summary="Cases that the caller may see, newest first.")
    async def cases(asked: Annotated[CaseListQuery, Query()], caller: Who) -> Cases:
        after = _checked(kit, asked)
        complete = await kit_http.after(kit, "reporting", asked.after)
        if asked.q is None:
            rows, following = await reads.page(caller, asked.wanted, after, asked.limit)
        else:
            try:
                rows, following = await reads.search(caller, asked.wanted, asked.q, after, asked.limit)
            except ValueError as error:
                raise Unprocessable(f"{error}.", code="search.too_short") from None
        items = [_item(row) for row in rows]
        return Cases(cases=items, next=following and cursor(following), complete=complete)

    @api.get("/orders", operation_id="reporting_orders", summary="Supervision orders that the caller may see.")
    async def orders(asked: Annotated[OrderListQuery, Query()], caller: Who) -> Orders:
        after = _checked(kit, asked)
        complete = await kit_http.after(kit, "reporting", asked.after)
        wanted = CaseFilter(region=asked.region, unit=asked.unit, late=asked.late)
        rows = await reads.orders(caller, after, asked.limit, wanted, asked.status)
        more = len(rows) > asked.limit
        rows = rows[: asked.limit]
        items = [OrderItem.model_validate(dict(row)) for row in rows]
        return Orders(orders=items, next=_next_order(rows) if more else None, complete=complete)


def _next_order(rows: Sequence[Mapping[str, Any]]) -> str:
    return cursor((rows[-1]["issued_at"], rows[-1]["id"]))


def _checked(kit: Kit, asked: Page) -> Place | None:
    """Where the page begins. Raises BadRequest, Unprocessable."""
    rows_max = kit.settings.page_rows_max
    if asked.limit > rows_max:
        raise Unprocessable(f"`limit` is at most {rows_max} here; follow `next` for more.", code="limit.too_large")
    if asked.cursor is None:
        return None
    try:
        return place(asked.cursor)
    except ValueError as error:
        raise BadRequest(f"`cursor` is {error}.", code="cursor.malformed") from None


def _item(row: Row) -> CaseItem:
    facts = dict(row.facts)
    told = {name: facts[name] for name in CaseItem.model_fields if name in facts}
    where = case_number(Position(facts["stream"], facts["born"]))
    title = row.matter.title if row.matter else None
    return CaseItem(**told, number=where, subject=facts["subject_code"], title=title)


def _counts(api: APIRouter, kit: Kit, reads: CaseQueries) -> None:
    @api.get("/counts", operation_id="reporting_counts", summary="How many cases, by region below and status.")
    async def counts(
        caller: Who,
        region: Annotated[Region | None, Query(description="By default the caller's own")] = None,
        after: Annotated[str | None, Query(max_length=80)] = None,
    ) -> Counts:
        complete = await kit_http.after(kit, "reporting", after)
        region = region or caller.region
        if not reads_region(caller) or not contains(caller.region, region):
            raise Forbidden("Counts of a region are for posts that read the whole of it; ask for a region of your own.")
        by_region: dict[str, list[Mapping[str, Any]]] = {}
        rows = await reads.tallies(caller, region)
        for row in rows:
            by_region.setdefault(row["region"], []).append(row)
        regions = [_count(one, found) for one, found in sorted(by_region.items())]
        return Counts(region=region, regions=regions, all=_count(region, rows), complete=complete)


def _count(region: str, rows: Sequence[Mapping[str, Any]]) -> Count:
    statuses: Counter[Status] = Counter()
    for row in rows:
        statuses[Status(row["status"])] += row["count"]
    open_ = sum(row["count"] for row in rows if row["status"] in OPEN)
    late_open = sum(row["count"] for row in rows if row["status"] in OPEN and row["late"])
    return Count(
        region=region,
        statuses=dict(statuses),
        total=statuses.total(),
        open=open_,
        late=sum(row["count"] for row in rows if row["late"]),
        late_open=late_open,
        late_share=late_open / open_ if open_ else None,
    )


def _one(api: APIRouter, kit: Kit) -> None:
    async def timeline(
        kind: str, id: str, caller: Caller, response: Response, after: str | None, known: str | None
    ) -> Any:
        complete = await kit_http.after(kit, "reporting", after)
        address, events, state = await _loaded(kit, kind, id)
        erased = isinstance(state, CaseState) and state.erased
        shows = _content(caller, state) and not erased  # a key may live on in memory for some minutes
        etag = f'"{len(events)}{"" if shows else "f"}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
        if known is not None and etag in (one.strip().removeprefix("W/") for one in known.split(",")):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        key = (await kit.vault.keys([address.id])).get(address.id) if shows else None
        hidden = isinstance(state, CaseState) and not may_see_reporter(caller, state)
        entries = [entry(recorded, key, hidden) for recorded in events]
        first, last = events[0].position, events[-1].position
        assert first is not None and last is not None, "what is loaded has its position"  # noqa: PT018
        return Timeline(
            id=address.id,
            number=case_number(first),
            status=state.status.value,
            version=state.version,
            position=str(last),
            state=state_facts(state),
            erased=erased,
            timeline=entries,
            complete=complete,
        )

    @api.get(
        "/cases/{id}",
        response_model=Timeline,
        operation_id="reporting_case",
        summary="One case with everything that happened to it, as the log has it at this moment.",
    )
    async def case(id: IdText, caller: Who, response: Response, after: Since = None, known: Match = None) -> Any:
        return await timeline("case", id, caller, response, after, known)

    @api.get(
        "/orders/{id}",
        response_model=Timeline,
        operation_id="reporting_order",
        summary="One supervision order with everything that happened to it.",
    )
    async def order(id: IdText, caller: Who, response: Response, after: Since = None, known: Match = None) -> Any:
        return await timeline("order", id, caller, response, after, known)


def _attachments(api: APIRouter, kit: Kit) -> None:
    @api.get(
        "/cases/{id}/attachments/{object}",
        operation_id="reporting_attachment",
        summary="A file of a case, unsealed, its digest checked.",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    async def attachment(id: IdText, object: Code, caller: Who) -> Response:
        address, events, state = await _loaded(kit, "case", id)
        if not may_see(caller, state):
            raise Forbidden("The content of this case is not for your post.")
        found = next((f for f in map(_attached(object), events) if f is not None), None)
        if found is None:
            raise NotFound("This case has no such attachment.", code="attachment.unknown")
        recorded, file, at = found
        key = await kit.vault.key(address.id)
        data = await _file(kit, address.id, file, key)
        return Response(data, media_type=file.media_type, headers=_file_headers(file_name(recorded, at, key)))


async def _loaded(kit: Kit, kind: str, id: str) -> tuple[Address, list[Recorded[Any]], Any]:
    """Where it lives, its events as the leader has them, and its state. Raises NotFound, Unavailable."""
    address = await kit_http.locate(kit, id, kind)
    try:
        events = await kit.log.load(address)
    except LogUnavailable as error:
        raise Unavailable("The log does not answer.") from error
    except NoArea:
        events = []
    if not events:
        raise NotFound(f"There is no such {kind}.", code="not_registered")
    law = DECIDERS[kind]
    state = law.new
    for recorded in events:
        state = law.evolve(state, recorded)
    return address, events, state


def _content(caller: Caller, state: Any) -> bool:
    """Whether the caller gets the content as well as the flow. Raises Forbidden when neither."""
    if isinstance(state, OrderState):
        reads, own = contains(caller.region, state.region), caller.unit == state.unit
        if not (own or (reads and reads_region(caller))):
            raise Forbidden("This order is not in your hands.")
        return own or Right.READ in caller.rights
    if not may_see_flow(caller, state):
        raise Forbidden("This case is not in your hands.")
    return may_see(caller, state)


def _attached(object: str) -> Any:
    def find(recorded: Recorded[Any]) -> tuple[Recorded[Any], Attachment, int] | None:
        files: Sequence[Attachment] = getattr(recorded.event, "attachments", ())
        found = ((recorded, file, at) for at, file in enumerate(files) if file.object == object)
        return next(found, None)

    return find


async def _file(kit: Kit, case_id: str, file: Attachment, key: bytes) -> bytes:
    """The plain bytes of an attachment. Raises NotFound when it is gone, ProblemError when it is not what was kept."""
    sealed = await kit.streams.get(file.object)
    if sealed is None:
        raise NotFound("The file of this attachment is gone.", code="attachment.gone", advice="Run `caseflow fsck`.")
    data = unseal_bytes(sealed, key, case_id, "attachment", file.object)
    if sha256(data).hexdigest() != file.digest:
        telemetry.error("an attachment is not what its event says", case=case_id)
        raise ProblemError("The file is not what was kept.", code="attachment.damaged", advice="Run `caseflow fsck`.")
    return data


def _file_headers(name: str) -> dict[str, str]:
    """A file is saved, never run: it came from somewhere (RFC 6266, RFC 8187)."""
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-store",
    }
