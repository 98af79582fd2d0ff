"""Reporting over HTTP: lists, search, counts, one case with its whole timeline, its attachments, supervision orders.

Reporting decides and changes nothing. A caller sees only cases of their own region, unit or person. An auditor sees the
flow without the content. The name of an informant is shown only to those who need it (clauses 9.4 a, 9.5 b; petitions
regulation, articles 28, 30 and 46).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AwareDatetime, Field

from services.reporting.listing import CaseFilter, ListPosition, parse_position, reads_region
from services.reporting.queries import CaseQueries
from services.reporting.read_model import Model
from services.reporting.views import (
    CaseCounts,
    Cases,
    DocumentItem,
    Documents,
    OrderItem,
    Orders,
    Timeline,
    case_item,
    count_of,
    file_name,
    state_facts,
)
from shared.case.base import Code, Recorded, Region, UnitCode, contains
from shared.case.facts import Attachment
from shared.case.orders import OrderStatus
from shared.case.state import CaseState
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.application import Application, View, sees, shows_content
from shared.kit.http import ERRORS, WITH_ETAG, App, IdText, Who
from shared.kit.paging import After, Page, page_rows, read_cursor, write_cursor
from shared.kit.picture_metadata import RECORD_FIELD, PictureMetadata, may_see_metadata, record_name
from shared.kit.preconditions import entity_tag
from shared.kit.problems import Forbidden, NotFound, ProblemError, Unprocessable
from shared.kit.seal import unseal_bytes
from shared.log.case_numbers import case_number
from shared.reference.documents import DocumentKind

QUERY_CHARS_MAX = 100
CASES_LIST, ORDERS_LIST, DOCUMENTS_LIST = "reporting.cases", "reporting.orders", "reporting.documents"

router = APIRouter(responses=ERRORS)


async def case_queries_of(request: Request) -> CaseQueries:
    """The queries of the app that serves a request."""
    queries: CaseQueries = request.app.state.queries
    return queries


CaseQueriesOf = Annotated[CaseQueries, Depends(case_queries_of)]
Match = Annotated[str | None, Header(alias="If-None-Match", max_length=200)]
Since = Annotated[str | None, Query(max_length=80)]


class CaseListQuery(CaseFilter, Page):
    """The parameters of a list of cases: the filter, and the words of a search."""

    since: Annotated[AwareDatetime | None, Field(alias="from")] = None
    until: Annotated[AwareDatetime | None, Field(alias="to")] = None
    q: Annotated[str, Field(max_length=QUERY_CHARS_MAX)] | None = None
    after: After | None = None


class OrderListQuery(Page):
    """The parameters of a list of supervision orders."""

    region: Region | None = None
    unit: UnitCode | None = None
    late: bool | None = None
    status: OrderStatus | None = None
    after: After | None = None


# Reference documents


@router.get(
    "/documents",
    operation_id="reporting_documents",
    summary="The reference documents in force: the version of each, who published it, and why.",
)
async def documents_in_force(
    caller: Who,
    application: App,
    parameters: Annotated[DocumentListQuery, Query()],
) -> Documents:
    limit, kind, region = page_rows(application.identity.settings, parameters.limit), parameters.kind, parameters.region
    behind = read_cursor(DOCUMENTS_LIST, parameters.cursor, _key) if parameters.cursor else ("", "")
    items = [
        DocumentItem(
            reference=document.reference,
            kind=document.kind,
            region=document.region,
            version=document.sequence,
            note=document.note,
            publication=document.publication,
        )
        for document in application.identity.reference_data.documents()
        if kind in (None, document.kind) and region in (None, document.region)
    ]
    rest = [item for item in sorted(items, key=_key_of) if _key_of(item) > behind]
    following = write_cursor(DOCUMENTS_LIST, *_key_of(rest[limit - 1])) if len(rest) > limit else None
    return Documents(documents=rest[:limit], next=following)


def _key(kind: str, region: str) -> tuple[str, str]:
    return str(kind), str(region)


def _key_of(item: DocumentItem) -> tuple[str, str]:
    return _key(item.kind, item.region)


class DocumentListQuery(Page):
    """The parameters of the list of reference documents."""

    kind: DocumentKind | None = None
    region: Region | None = None


# Lists and counts


@router.get("/cases", operation_id="reporting_cases", summary="Cases that the caller may see, newest first.")
async def cases(
    parameters: Annotated[CaseListQuery, Query()], caller: Who, application: App, queries: CaseQueriesOf
) -> Cases:
    after = _start_of_page(application, parameters, CASES_LIST)
    complete = await application.caught_up(Model.name, parameters.after)
    if parameters.q is None:
        rows, next_position = await queries.page(caller, parameters, after, parameters.limit)
    else:
        try:
            rows, next_position = await queries.search(caller, parameters, parameters.q, after, parameters.limit)
        except ValueError as error:
            raise Unprocessable(f"{error}.", code="search.too_short") from None
    items = [case_item(dict(row.facts), row.matter) for row in rows]
    return Cases(cases=items, next=_next(CASES_LIST, *next_position) if next_position else None, complete=complete)


@router.get("/orders", operation_id="reporting_orders", summary="Supervision orders that the caller may see.")
async def orders(
    parameters: Annotated[OrderListQuery, Query()], caller: Who, application: App, queries: CaseQueriesOf
) -> Orders:
    after = _start_of_page(application, parameters, ORDERS_LIST)
    complete = await application.caught_up(Model.name, parameters.after)
    case_filter = CaseFilter(region=parameters.region, unit=parameters.unit, late=parameters.late)
    rows = await queries.orders(caller, after, parameters.limit, case_filter, parameters.status)
    more = len(rows) > parameters.limit
    rows = rows[: parameters.limit]
    items = [OrderItem.model_validate(dict(row)) for row in rows]
    return Orders(
        orders=items,
        next=_next(ORDERS_LIST, rows[-1]["issued_at"], rows[-1]["id"]) if more else None,
        complete=complete,
    )


def _next(list_name: str, at: datetime, id: Any) -> str:
    return write_cursor(list_name, at.isoformat(), str(id))


def _start_of_page(application: Application, parameters: Page, list_name: str) -> ListPosition | None:
    """The position behind which the page begins; None for the first page. Raises BadRequest, Unprocessable."""
    page_rows(application.identity.settings, parameters.limit)
    return None if parameters.cursor is None else read_cursor(list_name, parameters.cursor, parse_position)


@router.get(
    "/counts", operation_id="reporting_counts", summary="The numbers of cases by region one level below and by status."
)
async def counts(
    caller: Who,
    application: App,
    queries: CaseQueriesOf,
    region: Annotated[Region | None, Query(description="By default the caller's own")] = None,
    after: Annotated[str | None, Query(max_length=80)] = None,
) -> CaseCounts:
    complete = await application.caught_up(Model.name, after)
    region = region or caller.region
    if not reads_region(caller) or not contains(caller.region, region):
        raise Forbidden("Counts of a region are for posts that read the whole of it; ask for a region of your own.")
    by_region: dict[str, list[Mapping[str, Any]]] = {}
    rows = await queries.tallies(caller, region)
    for row in rows:
        by_region.setdefault(row["region"], []).append(row)
    regions = [count_of(below, tallies) for below, tallies in sorted(by_region.items())]
    return CaseCounts(region=region, regions=regions, all=count_of(region, rows), complete=complete)


# One case, one order


@router.get(
    "/cases/{id}",
    response_model=Timeline,
    operation_id="reporting_case",
    summary="One case with all its events, as the log has it at this moment.",
    responses={200: WITH_ETAG},
)
async def case_timeline(
    id: IdText, caller: Who, application: App, response: Response, after: Since = None, known: Match = None
) -> Any:
    return await _timeline(application, "case", id, caller, response, after, known)


@router.get(
    "/orders/{id}",
    response_model=Timeline,
    operation_id="reporting_order",
    summary="One supervision order with all its events.",
    responses={200: WITH_ETAG},
)
async def order_timeline(
    id: IdText, caller: Who, application: App, response: Response, after: Since = None, known: Match = None
) -> Any:
    return await _timeline(application, "order", id, caller, response, after, known)


async def _timeline(
    application: Application,
    kind: str,
    id: str,
    caller: Caller,
    response: Response,
    after: str | None,
    known: str | None,
) -> Any:
    complete = await application.caught_up(Model.name, after)
    address = await application.locate(id, kind)
    history = await application.history(caller, address)
    state = history.state
    caller = application.viewer(caller, state, View.CONTENT)
    etag = entity_tag(state.version, shows_content(caller, state))
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if known is not None and etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return Timeline(
        id=address.id,
        number=case_number(history.registered_at),
        status=state.status.value,
        version=state.version,
        position=str(history.position),
        state=state_facts(state),
        erased=isinstance(state, CaseState) and state.erased,
        timeline=await application.timeline(caller, history),
        complete=complete,
    )


@router.get(
    "/cases/{id}/attachments/{object}",
    operation_id="reporting_attachment",
    summary="A file of a case, unsealed, its digest checked.",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def attachment(id: IdText, object: Code, caller: Who, application: App) -> Response:
    address = await application.locate(id)
    history = await application.history(caller, address)
    if not sees(application.viewer(caller, history.state, View.CONTENT), history.state, View.CONTENT):
        raise Forbidden("The content of this case is not for your post.")
    match = _event_with(object, history.events)
    if match is None:
        raise NotFound("This case has no such attachment.", code="attachment.unknown")
    recorded, file, at = match
    key = await application.data.vault.key(address.id)
    data = await _file(application, address.id, file, key)
    return Response(data, media_type=file.media_type, headers=_file_headers(file_name(recorded, at, key)))


@router.get(
    "/cases/{id}/attachments/{object}/metadata",
    operation_id="reporting_attachment_metadata",
    summary="Where, when and with which device a picture was taken; of an informant's case nobody is shown it.",
)
async def attachment_metadata(
    id: IdText, object: Code, caller: Who, application: App, response: Response
) -> PictureMetadata:
    address = await application.locate(id)
    history = await application.history(caller, address)
    if not may_see_metadata(application.viewer(caller, history.state, View.CONTENT), history.state):
        raise Forbidden("Where and with which device this picture was taken is not for your post.")
    if _event_with(object, history.events) is None:
        raise NotFound("This case has no such attachment.", code="attachment.unknown")
    name = record_name(object)
    sealed = await application.data.streams.get(name)
    if sealed is None:
        raise NotFound("Nothing was taken out of this file.", code="attachment.no_metadata")
    key = await application.data.vault.key(address.id)
    response.headers["Cache-Control"] = "private, no-store"
    return PictureMetadata.model_validate_json(unseal_bytes(sealed, key, address.id, RECORD_FIELD, name))


def _event_with(object: str, events: Sequence[Recorded[Any]]) -> tuple[Recorded[Any], Attachment, int] | None:
    """The event of an attachment, the attachment, and its index among the attachments of the event."""
    for recorded in events:
        files: Sequence[Attachment] = getattr(recorded.event, "attachments", ())
        for at, file in enumerate(files):
            if file.object == object:
                return recorded, file, at
    return None


async def _file(application: Application, case_id: str, file: Attachment, key: bytes) -> bytes:
    """The plain bytes of an attachment. Raises NotFound when it is gone, ProblemError when its digest differs."""
    sealed = await application.data.streams.get(file.object)
    if sealed is None:
        raise NotFound("The file of this attachment is gone.", code="attachment.gone", advice="Run `caseflow fsck`.")
    data = unseal_bytes(sealed, key, case_id, "attachment", file.object)
    if sha256(data).hexdigest() != file.digest:
        telemetry.error("an attachment is not what its event says", case=case_id)
        raise ProblemError("The file is not what was kept.", code="attachment.damaged", advice="Run `caseflow fsck`.")
    return data


def _file_headers(name: str) -> dict[str, str]:
    """Headers that make a browser save a file and never run it, as its sender is unknown (RFC 6266, RFC 8187)."""
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-store",
    }
