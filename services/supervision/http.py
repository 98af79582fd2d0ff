"""Supervision over HTTP: what people do with time and hierarchy, why a deadline is what it is, orders and proposals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, create_model

from services.supervision import policy
from services.supervision.deadlines import explanations
from services.supervision.deadlines.explanations import (
    ClockHistory,
    ClockView,
    Explanation,
    OverdueView,
    RungView,
    clocks_of,
)
from services.supervision.proposals import ProposalItem, Proposals, item, lowest, order_proposed, proposed
from shared.case.base import Address, Recorded, Region, UnitCode, contains, new_id, region_prefix
from shared.case.clocks import RunningDeadline
from shared.case.commands import COMMANDS, Command
from shared.case.events.orders import IssueFacts
from shared.case.events.routing import TransferFacts
from shared.case.events.supervision import EscalationFacts
from shared.case.facts import CASES_PER_ORDER_MAX, Note, OrderKind, Stage
from shared.case.lifecycle import Status
from shared.case.reasons import Reason, Rejected
from shared.case.state import STATE, CaseState, fold
from shared.kit import http as kit_http
from shared.kit.access import Caller, may_see, may_see_flow
from shared.kit.command_handler import command
from shared.kit.http import ERRORS, Answer, Desk, Enricher, IdText, Key, Who
from shared.kit.problems import BadRequest, Conflict, Forbidden, NotFound, Unprocessable
from shared.kit.seal import unseal_fields
from shared.kit.service import Kit
from shared.reference.deadline_reckoning import resumed_deadline
from shared.reference.documents import Document, DocumentKind
from shared.reference.reference_data import NoDocument

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
LOOKED_AT_ROWS_MAX = 1_000  # of a page of proposals: where few of many fit, it ends there and leads on
FIRST_ID = "00000000-0000-0000-0000-000000000000"
_CURSOR = re.compile(r"[0-9]{2,12} [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

CaseText = Annotated[str, StringConstraints(min_length=1, max_length=80)]  # an id, or a number as people write it
Cases = Annotated[tuple[CaseText, ...], Field(min_length=1, max_length=CASES_PER_ORDER_MAX)]


class Moment(BaseModel):
    """What comes next if nothing happens: warn, overdue, rung or resume, of which clock."""

    at: AwareDatetime
    what: str
    stage: Stage
    unit: str | None


class Deadlines(BaseModel):
    """All clocks of a case, what is late, how often it was, and the next moments, soonest first."""

    id: str
    number: str
    status: Status
    clocks: list[ClockView]
    late: list[OverdueView]
    lateness: int
    next: list[Moment]


class ProposedOrder(BaseModel):
    """What is to be otherwise than proposed; nothing of it need be said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: OrderKind | None = None
    unit: UnitCode | None = None
    due: AwareDatetime | None = None
    note: Note | None = None
    time: AwareDatetime | None = None


def router(kit: Kit) -> APIRouter:
    """All routes of supervision."""
    api = APIRouter(responses=ERRORS)
    _orders(api, kit)
    _deadlines(api, kit)
    _proposals(api, kit)
    api.include_router(kit_http.command_router(kit, "case", fills=ENRICHERS))
    api.include_router(kit_http.command_router(kit, "order", skip=frozenset({"issue-order"})))
    return api


# What the service knows and a sender does not say. A command that stands already is left as it is


async def _approved(desk: Desk, caller: Caller, asked: Command) -> Command:
    return replace(asked, facts=asked.facts.model_copy(update={"approver": caller.person}))


async def _goes_on(desk: Desk, caller: Caller, asked: Command) -> Command:
    """The deadline of the clock that goes on (petitions regulation, 36). Raises ProblemError when none stands still."""
    state: CaseState = (await desk.handler.state(asked.address, fresh=True)).state
    if asked.meta.command_id in state.applied:
        return asked
    clock = _standing_still(state, asked)
    deadline = resumed_deadline(clock, asked.meta.time, desk.library.calendar(state.in_charge))
    return replace(asked, facts=asked.facts.model_copy(update={"deadline": deadline}))


def _standing_still(state: CaseState, asked: Command) -> RunningDeadline:
    stage, unit = getattr(asked.facts, "stage", None), getattr(asked.facts, "unit", None)
    named = [c for c in state.clocks if stage in (None, c.deadline.stage) and unit in (None, c.deadline.unit)]
    still = [clock for clock in named if clock.suspended]
    if len(still) > 1:
        raise Unprocessable(f"Several clocks stand still: {_names(still)}. Name stage and unit.", code="clock.several")
    if not still:
        raise kit_http.rejected(Rejected(Reason.NOT_SUSPENDED if named else Reason.NO_SUCH_DEADLINE))
    return still[0]


def _names(clocks: Sequence[RunningDeadline]) -> str:
    keys = (clock.key for clock in clocks)
    return ", ".join(f"{stage} of {unit}" if unit else stage for stage, unit in keys)


async def _told_above(desk: Desk, caller: Caller, asked: Command) -> Command:
    """Whom an escalation informs (clause 11.2). Raises Unprocessable for a region without a centre."""
    state: CaseState = (await desk.handler.state(asked.address, fresh=True)).state
    if asked.meta.command_id in state.applied:
        return asked
    to = _with_centre(desk, asked)
    told = policy.informed_of_escalation(desk.library, state, to)
    return replace(asked, facts=asked.facts.model_copy(update={"informs": told}))


async def _to_a_centre(desk: Desk, caller: Caller, asked: Command) -> Command:
    """A case is handed down to a centre, not to nobody. Raises Unprocessable."""
    state: CaseState = (await desk.handler.state(asked.address, fresh=True)).state
    if asked.meta.command_id not in state.applied:
        _with_centre(desk, asked)
    return asked


def _with_centre(desk: Desk, asked: Command) -> str:
    assert isinstance(asked.facts, EscalationFacts | TransferFacts)
    to = asked.facts.to
    if to in desk.library.regions and desk.library.centre(to) is None:
        nearest = desk.library.centre_of(to)
        advice = (
            f"The nearest above it is {nearest.unit} ({nearest.name})." if nearest else "Name one that has a centre."
        )
        raise Unprocessable(f"Region {to} has no centre.", code="centre.unknown", advice=advice)
    return to


ENRICHERS: Mapping[str, Enricher] = {
    "extend": _approved, "resume": _goes_on, "escalate": _told_above, "hand-down": _to_a_centre,
}  # fmt: skip


# Orders


def _orders(api: APIRouter, kit: Kit) -> None:
    spec = COMMANDS["issue-order"]
    body_type = create_model("IssueFacts", __base__=kit_http.body_of(spec.facts), cases=(Cases, ...))

    async def issue(body: Any, response: Response, caller: Any, key: Any = None) -> Answer:
        command_id = kit_http.http_command_id(caller, "issue-order", key, kit.clock)
        address = Address("order", body.region, new_id(body.region, command_id))
        cases = [await kit_http.locate(kit, text) for text in body.cases]
        for case in cases:
            held = await kit.handler.state(case, fresh=True)
            if held.sequence == 0 or not may_see(caller, held.state):
                raise Forbidden("One of the cases is not there, or not in your hands.")
        subjects = tuple(case.subject for case in cases)
        facts = kit_http.said(body, spec.facts).model_copy(update={"cases": subjects})
        return await _issued(kit, caller, address, command_id, facts, body.time, response)

    issue.__annotations__ |= {
        "body": body_type,
        "response": Response,
        "caller": Who,
        "key": Key,
        "return": Answer,
    }
    api.post("/orders", status_code=201, operation_id="supervision_issue_order", summary=spec.doc)(issue)


async def _issued(
    kit: Kit, caller: Caller, address: Address, command_id: str, facts: Any, time: Any, response: Response
) -> Answer:
    """Issue an order about cases that the caller may see. Raises ProblemError."""
    meta = kit_http.meta_of(kit, caller, command_id, address.region, time, "desk")
    asked = command(address, meta, "issue-order", facts)
    await kit_http.permit(kit, caller, asked)
    await kit_http.check_named(kit, asked)
    await kit.vault.new_keys(None, [(address.id, address.region)])
    outcome = await kit.handler.handle(asked)
    if isinstance(outcome, Rejected):
        raise kit_http.rejected(outcome)
    if outcome.recorded is None:
        await kit_http.refuse_other_body(kit, asked)
    answer = kit_http.answer(address, outcome)
    response.headers["Location"] = f"/supervision/orders/{answer.id}"
    return answer


# Deadlines and why they are what they are


def _deadlines(api: APIRouter, kit: Kit) -> None:
    @api.get(
        "/cases/{id}/deadlines",
        operation_id="supervision_deadlines",
        summary="All clocks of a case, what is late, and what comes next.",
    )
    async def deadlines(id: IdText, caller: Who) -> Deadlines:
        address, history = await _history(kit, caller, id)
        state = fold(history)
        following = [
            Moment(at=due.at, what=due.what, stage=Stage(due.stage), unit=due.unit or None)
            for due in sorted(policy.moments(address.subject, state), key=lambda due: due.key)
        ]
        return Deadlines(
            id=address.id,
            number=kit.number(address, state),
            status=state.status,
            clocks=[explanations.clock_view(clock) for clock in state.clocks],
            late=[explanations.overdue_view(one) for one in state.late],
            lateness=state.overdue_count,
            next=following,
        )

    @api.get(
        "/cases/{id}/deadlines/{stage}",
        operation_id="supervision_deadline",
        summary="How the due moment of a stage came about, step by step, also when the stage is over.",
    )
    async def deadline(
        id: IdText,
        stage: Stage,
        caller: Who,
        unit: Annotated[UnitCode | None, Query(description="Whose clock, where each co-handling unit has one")] = None,
    ) -> Explanation:
        address, history = await _history(kit, caller, id)
        told = _chosen(clocks_of(history), stage, unit)
        return await _explained(kit, address, told)


async def _history(kit: Kit, caller: Caller, id: str) -> tuple[Address, list[Recorded[Any]]]:
    """All events of a case whose flow the caller may see. Raises NotFound, Forbidden."""
    address = await kit_http.locate(kit, id)
    history = await kit.log.load(address)
    if not history:
        raise NotFound("There is no such case.", code="not_registered")
    if not may_see_flow(caller, fold(history)):
        raise Forbidden("This case is not in your hands.")
    return address, history


def _chosen(told: Mapping[Any, ClockHistory], stage: Stage, unit: str | None) -> ClockHistory:
    """The clock asked for; of a stage with one clock the unit need not be said. Raises NotFound."""
    of_stage = [one for key, one in told.items() if key[0] is stage and unit in (None, key[1])]
    own = told.get((stage, unit)) or (of_stage[0] if len(of_stage) == 1 else None)
    if own is None:
        there = _names([one.clock for one in told.values()]) or "none yet"
        raise NotFound(f"The case has had no such clock. There are: {there}.", code="clock.unknown",
                       advice="Name a stage that has one, and `unit` where several units co-handle.")  # fmt: skip
    return own


async def _explained(kit: Kit, address: Address, told: ClockHistory) -> Explanation:
    deadline, state, library = told.clock.deadline, told.state, kit.library
    limit, used = [await _version(kit, one) for one in (deadline.limit_reference, deadline.calendar_reference)]
    in_force = library.documents()
    to_come = [
        RungView(rung=rung, moment=at, act=row.act, acts=row.acts, informs=list(row.informs), basis=str(row.basis))
        for rung, row, at in policy.rungs_ahead(library, state, told.clock)
    ]
    return explanations.explanation(
        told,
        explanations.calendar_cited(library.chain(DocumentKind.CALENDARS, state.in_charge), used),
        explanations.cite(limit, explanations.limit_rows(limit, deadline), in_force) if limit else None,
        explanations.cite(used, explanations.year_rows(used, deadline), in_force) if used else None,
        to_come,
        id=address.id,
        number=kit.number(address, state),
    )


async def _version(kit: Kit, reference: str | None) -> Document | None:
    try:
        return await kit.library.version(kit.streams, reference) if reference else None
    except NoDocument:
        return None


# Proposals for orders (clause 5.1.1 f)


def _proposals(api: APIRouter, kit: Kit) -> None:
    @api.get(
        "/proposals",
        operation_id="supervision_proposals",
        summary="Cases for which the log proposes a supervision order, with the figures.",
    )
    async def proposals(
        caller: Who,
        region: Annotated[Region | None, Query(description="In charge; by default the caller's own and below")] = None,
        cursor: Annotated[str | None, Query(max_length=60)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS,
        after: Annotated[str | None, Query(max_length=60)] = None,
    ) -> Proposals:
        complete = await kit_http.after(kit, "supervision.watched", after)
        where = region_prefix(region or caller.region)
        place = max((where, FIRST_ID), _place(cursor) if cursor else ("", ""))
        least = lowest(kit.library)
        found: list[ProposalItem] = []
        looked_at = 0
        while True:
            rows = await kit.database.fetch("troubled", f"{where}:", *place, *least, PAGE_ROWS_MAX)
            for row in rows:
                place = row["in_charge"], row["id"]
                looked_at += 1
                state = STATE.validate_json(row["state"])
                meets = proposed(kit.library, state) if may_see(caller, state) else []
                if meets:
                    address = Address.parse(row["subject"])
                    found.append(item(address.id, kit.number(address, state), state, meets))
                if len(found) == limit or looked_at == LOOKED_AT_ROWS_MAX:
                    return Proposals(proposals=found, next=" ".join(place), complete=complete)
            if len(rows) < PAGE_ROWS_MAX:
                return Proposals(proposals=found, complete=complete)

    @api.post(
        "/proposals/{id}/order",
        status_code=201,
        operation_id="supervision_order_proposed",
        summary="Issue the order that is proposed for a case; what is not said follows from case and ladder.",
    )
    async def order(
        id: IdText, response: Response, caller: Who, body: ProposedOrder | None = None, key: Key = None
    ) -> Answer:
        body = body or ProposedOrder()
        case = await kit_http.locate(kit, id)
        state: CaseState = (await kit.handler.state(case, fresh=True)).state
        if not may_see(caller, state) or not contains(caller.region, state.in_charge):
            raise Forbidden("This case is not there, or not in the hands of your centre or one below.")
        command_id = kit_http.http_command_id(caller, f"order-proposed {case.id}", key, kit.clock)
        region = policy.ordering_region(caller.region, state)
        standing = await _standing_order(kit, state, command_id, new_id(region, command_id))
        address, facts = standing or _as_proposed(
            kit, case, state, Address("order", region, new_id(region, command_id))
        )
        said = {name: value for name in ("kind", "unit", "due", "note") if (value := getattr(body, name)) is not None}
        facts = facts.model_copy(update=said)
        return await _issued(kit, caller, address, command_id, facts, body.time, response)


def _place(cursor: str) -> tuple[str, str]:
    if not _CURSOR.fullmatch(cursor):
        raise BadRequest("`cursor` is not one that this list gave out.", code="cursor.malformed")
    in_charge, _, id = cursor.partition(" ")
    return in_charge, id


async def _standing_order(kit: Kit, state: CaseState, command_id: str, own: str) -> tuple[Address, IssueFacts] | None:
    """The order that this very request has issued before, with what it says; None the first time."""
    for id in (own, *state.orders):
        address = Address.of("order", id)
        if command_id in (await kit.handler.state(address, fresh=True)).state.applied:
            first = (await kit.log.load(address))[0]
            event = unseal_fields(first.known, await kit.vault.key(id), id, first.id)
            return address, IssueFacts.model_construct(**{n: getattr(event, n) for n in IssueFacts.model_fields})
    return None


def _as_proposed(kit: Kit, case: Address, state: CaseState, order: Address) -> tuple[Address, IssueFacts]:
    """The order as the case and its ladder propose it. Raises Conflict when nothing is proposed."""
    meets = proposed(kit.library, state)
    if not meets:
        raise Conflict(
            "No order is proposed for this case: it meets no threshold, is over, or has its order.",
            code="proposal.none", advice="To issue one all the same, POST /supervision/orders.",
        )  # fmt: skip
    said = order_proposed(kit.library, state, meets, kit.clock.now())
    return order, IssueFacts(**said, region=order.region, cases=(case.subject,))
