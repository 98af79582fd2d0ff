"""Supervision over HTTP: deadlines and their explanation, orders, proposals, and the commands of supervision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, create_model

from services.supervision import policy
from services.supervision.deadlines import explanations
from services.supervision.deadlines.explanations import ClockHistory, Explanation, RungView, clocks_of
from services.supervision.enrichers import clock_names
from services.supervision.proposals import ProposalItem, Proposals, item, lowest, order_proposed, proposed
from services.supervision.queries import TroubledQueries
from services.supervision.read_model import Watched
from services.supervision.views import Deadlines, Moment
from shared.case.base import Address, CaseId, Owner, Region, UnitCode, contains, new_id, region_prefix
from shared.case.commands import COMMANDS
from shared.case.events.orders import IssueFacts
from shared.case.facts import CASES_PER_ORDER_MAX, Note, OrderKind, Stage
from shared.case.state import STATE, CaseState
from shared.kit.access import Caller, may_see
from shared.kit.application import Answer, Application
from shared.kit.bodies import body_of, facts_of_body
from shared.kit.command_handler import command
from shared.kit.http import ERRORS, WITH_ETAG, App, IdempotencyKey, IdText, Who, command_router
from shared.kit.paging import After, Page, page_rows, read_cursor, write_cursor
from shared.kit.preconditions import entity_tag
from shared.kit.problems import Conflict, Forbidden, NotFound
from shared.reference.documents import Document, DocumentKind
from shared.reference.reference_data import NoDocument

PROPOSALS_LIST = "supervision.proposals"
READ_ROWS = 200
EXAMINED_ROWS_MAX = 1_000  # a page of proposals ends after so many rows, full or not, and has a `next`
FIRST_ID = "00000000-0000-0000-0000-000000000000"

router = APIRouter(responses=ERRORS)


async def troubled_queries_of(request: Request) -> TroubledQueries:
    """The queries of the app that serves a request."""
    queries: TroubledQueries = request.app.state.queries
    return queries


TroubledQueriesOf = Annotated[TroubledQueries, Depends(troubled_queries_of)]
CaseText = Annotated[str, StringConstraints(min_length=1, max_length=80)]  # an id, or a number as people write it
CaseTexts = Annotated[tuple[CaseText, ...], Field(min_length=1, max_length=CASES_PER_ORDER_MAX)]


class ProposalsQuery(Page):
    """The parameters of the list of proposals."""

    region: (
        Annotated[Region, Field(description="The region in charge and those below; by default the caller's")] | None
    ) = None
    after: After | None = None


class ProposedOrder(BaseModel):
    """The parts of an order that differ from the proposal; each may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: OrderKind | None = None
    unit: UnitCode | None = None
    due: AwareDatetime | None = None
    note: Note | None = None
    time: AwareDatetime | None = None


IssueBody: Any = create_model("IssueFacts", __base__=body_of(COMMANDS["issue-order"].facts), cases=(CaseTexts, ...))

# Orders


@router.post(
    "/orders",
    status_code=201,
    operation_id="supervision_issue_order",
    summary=COMMANDS["issue-order"].doc,
    responses={201: WITH_ETAG},
)
async def issue(
    body: IssueBody, response: Response, caller: Who, application: App, key: IdempotencyKey = None
) -> Answer:
    stated: Any = body  # a model made from the catalogue
    command_id = application.command_id(caller, "issue-order", key)
    address = Address("order", stated.region, new_id(stated.region, command_id))
    cases = [await application.locate(text) for text in stated.cases]
    for case in cases:
        try:
            await application.load(caller, case)
        except (NotFound, Forbidden):
            raise Forbidden("One of the cases is not there, or not in your hands.") from None
    subjects = tuple(case.subject for case in cases)
    facts = facts_of_body(body, COMMANDS["issue-order"].facts).model_copy(update={"cases": subjects})
    return await _issued(application, caller, address, command_id, facts, stated.time, response)


async def _issued(
    application: Application,
    caller: Caller,
    address: Address,
    command_id: str,
    facts: Any,
    time: Any,
    response: Response,
) -> Answer:
    """Issue an order about cases that the caller may see. Raises ProblemError."""
    meta = application.meta(caller, command_id, address.region, time, "desk")
    answer = await application.execute(caller, command(address, meta, "issue-order", facts))
    response.headers.update({"Location": f"/supervision/orders/{answer.id}", "ETag": entity_tag(answer.version)})
    return answer


# Deadlines and their explanation


@router.get(
    "/cases/{id}/deadlines",
    operation_id="supervision_deadlines",
    summary="All clocks of a case, its overdues, and its next timers.",
    responses={200: WITH_ETAG},
)
async def deadlines(id: IdText, caller: Who, application: App, response: Response) -> Deadlines:
    address = await application.locate(id)
    state = (await application.history(caller, address)).state
    response.headers["ETag"] = entity_tag(state.version)
    timers = sorted(policy.moments(address.subject, state), key=lambda timer: timer.key)
    return Deadlines(
        id=address.id,
        number=application.data.number(address, state),
        status=state.status,
        clocks=[explanations.clock_view(clock) for clock in state.clocks],
        late=[explanations.overdue_view(overdue) for overdue in state.late],
        lateness=state.overdue_count,
        next=[
            Moment(at=timer.at, what=timer.what, stage=Stage(timer.stage), unit=timer.unit or None) for timer in timers
        ],
    )


@router.get(
    "/cases/{id}/deadlines/{stage}",
    operation_id="supervision_deadline",
    summary="The explanation of a stage's due moment, step by step, also when the stage is over.",
)
async def deadline(
    id: IdText,
    stage: Stage,
    caller: Who,
    application: App,
    unit: Annotated[
        UnitCode | None, Query(description="The unit whose clock is meant, where each co-handling unit has one")
    ] = None,
) -> Explanation:
    address = await application.locate(id)
    history = await application.history(caller, address)
    return await _explained(application, address, _chosen(clocks_of(history.events), stage, unit))


def _chosen(clocks: Mapping[Any, ClockHistory], stage: Stage, unit: str | None) -> ClockHistory:
    """The clock of a stage; for a stage with one clock the unit may be left out. Raises NotFound."""
    of_stage = [clock for key, clock in clocks.items() if key[0] is stage and unit in (None, key[1])]
    chosen = clocks.get((stage, unit)) or (of_stage[0] if len(of_stage) == 1 else None)
    if chosen is None:
        names = clock_names([history.clock for history in clocks.values()]) or "none yet"
        raise NotFound(f"The case has had no such clock. There are: {names}.", code="clock.unknown",
                       advice="Name a stage that has one, and `unit` where several units co-handle.")  # fmt: skip
    return chosen


async def _explained(application: Application, address: Address, history: ClockHistory) -> Explanation:
    own, state, reference_data = history.clock.deadline, history.state, application.identity.reference_data
    limit = await _version(application, own.limit_reference)
    references = own.calendars or (own.calendar_reference,)
    versions = [await _version(application, reference) for reference in references]
    calendars = [version for version in versions if version is not None]
    in_force = reference_data.documents()
    to_come = [
        RungView(rung=rung, moment=at, act=row.act, acts=row.acts, informs=list(row.informs), basis=str(row.basis))
        for rung, row, at in policy.rungs_ahead(reference_data, state, history.clock)
    ]
    return explanations.explanation(
        history,
        explanations.calendar_cited(reference_data.chain(DocumentKind.CALENDARS, state.in_charge), calendars),
        explanations.cite(limit, explanations.limit_rows(limit, own), in_force) if limit else None,
        [explanations.cite(calendar, explanations.year_rows(calendar, own), in_force) for calendar in calendars],
        to_come,
        policy.compare_limits(reference_data, state, history.clock),
        id=address.id,
        number=application.data.number(address, state),
    )


async def _version(application: Application, reference: str | None) -> Document | None:
    try:
        streams = application.data.streams
        return await application.identity.reference_data.version(streams, reference) if reference else None
    except NoDocument:
        return None


# Proposals for orders (clause 5.1.1 f)


@router.get(
    "/proposals",
    operation_id="supervision_proposals",
    summary="Cases for which a supervision order or their reopening is proposed, with what calls for it.",
)
async def proposals(
    caller: Who,
    application: App,
    queries: TroubledQueriesOf,
    parameters: Annotated[ProposalsQuery, Query()],
) -> Proposals:
    limit = page_rows(application.identity.settings, parameters.limit)
    behind = read_cursor(PROPOSALS_LIST, parameters.cursor, _position) if parameters.cursor else ("", "")
    complete = await application.caught_up(Watched.name, parameters.after)
    reference_data = application.identity.reference_data
    region = parameters.region or caller.region
    position = max((region_prefix(region), FIRST_ID), behind)
    least = lowest(reference_data)
    page: list[ProposalItem] = []
    examined = 0
    while True:
        rows = await queries.troubled(region=region, after=position, least=least, limit=READ_ROWS)
        for row in rows:
            position = row["in_charge"], row["id"]
            examined += 1
            state = STATE.validate_json(row["state"])
            meets = proposed(reference_data, state) if may_see(caller, state) else []
            if meets:
                address = Address.parse(row["subject"])
                page.append(item(address.id, application.data.number(address, state), state, meets))
            if len(page) == limit or examined == EXAMINED_ROWS_MAX:
                return Proposals(proposals=page, next=write_cursor(PROPOSALS_LIST, *position), complete=complete)
        if len(rows) < READ_ROWS:
            return Proposals(proposals=page, complete=complete)


@router.post(
    "/proposals/{id}/order",
    status_code=201,
    operation_id="supervision_order_proposed",
    summary="Issue the order that is proposed for a case; facts that are left out follow from case and ladder.",
    responses={201: WITH_ETAG},
)
async def issue_proposed(
    id: IdText,
    response: Response,
    caller: Who,
    application: App,
    body: ProposedOrder | None = None,
    key: IdempotencyKey = None,
) -> Answer:
    body = body or ProposedOrder()
    case = await application.locate(id)
    state = await _case_to_order(application, caller, case)
    command_id = application.command_id(caller, f"order-proposed {case.id}", key)
    region = policy.ordering_region(caller.region, state)
    own = Address("order", region, new_id(region, command_id))
    standing = await _standing_order(application, caller, state, command_id, own.id)
    address, facts = standing or _as_proposed(application, case, state, own)
    stated = {name: value for name in ("kind", "unit", "due", "note") if (value := getattr(body, name)) is not None}
    return await _issued(application, caller, address, command_id, facts.model_copy(update=stated), body.time, response)


async def _case_to_order(application: Application, caller: Caller, case: Address) -> CaseState:
    """The case that an order is about, in charge of the caller's centre or one below. Raises Forbidden."""
    refusal = Forbidden("This case is not there, or not in the hands of your centre or one below.")
    try:
        state: CaseState = (await application.load(caller, case)).state
    except (NotFound, Forbidden):
        raise refusal from None
    if not contains(caller.region, state.in_charge):
        raise refusal
    return state


def _position(in_charge: Region, id: CaseId) -> tuple[str, str]:
    """The centre and the case behind which a page begins."""
    return in_charge, id


async def _standing_order(
    application: Application, caller: Caller, state: CaseState, command_id: str, own: str
) -> tuple[Address, IssueFacts] | None:
    """The order that this same request issued before, with its facts; None the first time."""
    for id in (own, *state.orders):
        address = Address.of("order", id)
        event = await application.event_of_own_command(caller, address, command_id)
        if event is not None:
            return address, IssueFacts.model_construct(
                **{name: getattr(event, name) for name in IssueFacts.model_fields}
            )
    return None


def _as_proposed(
    application: Application, case: Address, state: CaseState, order: Address
) -> tuple[Address, IssueFacts]:
    """The order as the case and its ladder propose it. Raises Conflict when nothing is proposed."""
    reference_data = application.identity.reference_data
    meets = proposed(reference_data, state)
    if not meets:
        raise Conflict(
            "No order is proposed for this case: it meets no threshold, is over, or has its order.",
            code="proposal.none", advice="To issue one all the same, POST /supervision/orders.",
        )  # fmt: skip
    if state.reopening_proposed:
        raise Conflict(
            "For this closed case its reopening is proposed, not an order.", code="proposal.reopening",
            advice="POST /routing/cases/<id>/reopen, or /routing/cases/<id>/decline-reopening.",
        )  # fmt: skip
    facts = order_proposed(reference_data, state, meets, application.runtime.clock.now())
    return order, IssueFacts(**facts, region=order.region, cases=(case.subject,))


router.include_router(command_router(Owner.SUPERVISION, "case"))
router.include_router(command_router(Owner.SUPERVISION, "order", skip=frozenset({"issue-order"})))
