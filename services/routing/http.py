"""Routing over HTTP: the triage queue, the decisions of routing rules, hand-over, and routing's commands on a case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from services.routing.policy import question, words_of
from services.routing.queries import WorkQueries
from services.routing.read_model import Work
from services.routing.views import Queue, QueuedCase, RuleVerdict, SuggestedWord, Suggestion, Suggestions
from shared.case.base import Address, Owner, PersonId, Position, Region, UnitCode, contains, utc_time
from shared.case.commands import Command
from shared.case.commands import facts as facts_of
from shared.case.facts import Note, Text
from shared.case.rights import Right
from shared.case.state import STATE, CaseState
from shared.kit.access import Caller
from shared.kit.application import Application, View
from shared.kit.command_handler import command
from shared.kit.http import ERRORS, App, IdempotencyKey, IdText, Who, command_router
from shared.kit.paging import After, CursorText, Page, page_rows, read_cursor, write_cursor
from shared.kit.preconditions import Precondition, entity_tag
from shared.kit.problems import Forbidden, ProblemError, Unavailable
from shared.kit.seal import unseal_fields
from shared.kit.timeline import PreconditionFailed
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.rules import Ranking, RuleScore, examine_rules, explain, rank

HAND_OVER_AT_ONCE_MAX = 8
HAND_OVER_RETRIES_MAX = 4
QUEUE_LIST = "routing.queue"
SUGGESTIONS_COUNT_MAX = 5

router = APIRouter(responses=ERRORS)


async def work_queries_of(request: Request) -> WorkQueries:
    """The queries of the app that serves a request."""
    queries: WorkQueries = request.app.state.queries
    return queries


WorkQueriesOf = Annotated[WorkQueries, Depends(work_queries_of)]


class QueueQuery(Page):
    """The parameters of the triage queue. `page` is the name that `cursor` had here before."""

    region: (
        Annotated[Region, Field(description="The region in charge and those below; by default the caller's")] | None
    ) = None
    page: Annotated[CursorText, Field(json_schema_extra={"deprecated": True})] | None = None
    after: After | None = None


class HandOverBody(BaseModel):
    """A hand-over: all open cases of a person who leaves, or of a unit that is dissolved, go to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Region
    from_person: PersonId | None = None
    to_person: PersonId | None = None
    from_unit: UnitCode | None = None
    to_unit: UnitCode | None = None
    reason: Text

    @model_validator(mode="after")
    def _paired(self) -> HandOverBody:
        people, units = (self.from_person, self.to_person), (self.from_unit, self.to_unit)
        if all(people) is all(units) or any(people) is not all(people) or any(units) is not all(units):
            raise ValueError("name from_person and to_person, or from_unit and to_unit")
        return self


# The triage desk


@router.get("/queue", operation_id="routing_queue", summary="Cases that wait for the triage desk, oldest first.")
async def queue(
    caller: Who,
    application: App,
    queries: WorkQueriesOf,
    parameters: Annotated[QueueQuery, Query()],
) -> Queue:
    limit = page_rows(application.identity.settings, parameters.limit)
    cursor = parameters.cursor or parameters.page
    position = read_cursor(QUEUE_LIST, cursor, _position) if cursor else None
    complete = await application.caught_up(Work.name, parameters.after)
    rows = await queries.queue(
        caller=caller, region=parameters.region or caller.region, after=position, limit=limit + 1
    )
    cases = [_queued(application, row) for row in rows[:limit]]
    more = len(rows) > limit
    following = write_cursor(QUEUE_LIST, cases[-1].registered_at.isoformat(), cases[-1].id) if more else None
    return Queue(cases=cases, next=following, complete=complete)


@router.get(
    "/cases/{id}/rules",
    operation_id="routing_rules",
    summary="The decision of each routing rule about a case, with the reason.",
)
async def rules(id: IdText, caller: Who, application: App) -> list[RuleVerdict]:
    case, documents = await _case_of_the_desk(id, caller, application)
    verdicts = examine_rules(documents, case, application.identity.reference_data.has_unit)
    return [
        RuleVerdict(
            rule=verdict.rule, reference=verdict.reference, takes_it=verdict.hit is not None, why=verdict.reason
        )
        for verdict in verdicts
    ]


@router.get(
    "/cases/{id}/suggestions",
    operation_id="routing_suggestions",
    summary="The units that the words of a case speak for, with points, for the triage desk.",
)
async def suggestions(id: IdText, caller: Who, application: App) -> Suggestions:
    case, documents = await _case_of_the_desk(id, caller, application)
    ranking = rank(documents, case, application.identity.reference_data.has_unit)
    return Suggestions(
        sure=ranking.chosen is not None,
        lead=ranking.lead,
        margin=ranking.margin,
        suggestions=[_suggestion(score, ranking) for score in ranking.scores[:SUGGESTIONS_COUNT_MAX]],
    )


async def _case_of_the_desk(
    id: str, caller: Caller, application: Application
) -> tuple[RoutingFacts, Sequence[Document]]:
    """The facts of a case that rules look at, unsealed for the desk of the centre in charge, and its rules.

    Raises Forbidden.
    """
    address = await application.locate(id)
    history = await application.history(caller, address, View.CONTENT)
    state: CaseState = history.state
    if Right.TRIAGE not in caller.rights or not contains(caller.region, state.in_charge):
        raise Forbidden("Only the triage desk of the centre in charge may ask this.")
    first = history.events[0]
    key = await application.data.vault.key(address.id)
    words = words_of(unseal_fields(first.known, key, address.id, first.id))
    return question(state, words), application.identity.reference_data.rules(state.in_charge)


def _suggestion(score: RuleScore, ranking: Ranking) -> Suggestion:
    result = score.result
    return Suggestion(
        unit=result.hit.unit if result.hit else score.unit,
        co_units=list(result.hit.co_units) if result.hit else [],
        subject=score.subject,
        rule=result.rule,
        reference=result.reference,
        points=score.points,
        words=[SuggestedWord(word=w.word, points=w.points, times=w.times, in_title=w.in_title) for w in score.words],
        why=explain(score, ranking),
    )


def _position(time: str, id: str) -> tuple[datetime, str]:
    """The position in the queue behind which a page begins. Raises ValueError, OverflowError."""
    return utc_time(time), Address.of("case", id).id


def _queued(application: Application, row: Any) -> QueuedCase:
    address = Address.parse(row["subject"])
    state = STATE.validate_json(row["state"])
    return QueuedCase(
        id=address.id,
        number=application.data.number(address, state),
        status=row["status"],
        in_charge=row["in_charge"],
        registered_at=row["registered_at"],
        hand_backs=state.hand_backs,
        subject=state.subject,
        nature=state.nature,
    )


# Hand-over


@router.post(
    "/hand-over",
    operation_id="routing_hand_over",
    summary="Hand all open cases of a person who leaves, or of a unit that is dissolved, to another.",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "One line per case, then the sums."}},
)
async def hand_over(
    body: HandOverBody, caller: Who, application: App, queries: WorkQueriesOf, key: IdempotencyKey = None
) -> StreamingResponse:
    right = Right.REASSIGN if body.from_person else Right.ASSIGN
    callers = (caller, *application.identity.as_deputy(caller, application.runtime.clock.now(), None))
    entitled = [each for each in callers if right in each.rights]
    if not entitled:
        raise Forbidden(f"Your post lacks the right {right}.")
    if not any(contains(each.region, body.region) for each in entitled):
        raise Forbidden("That region is not yours; ask the centre that has it.")
    await _wait_for_the_worklist(application)
    batch = application.command_id(caller, "hand-over", key)
    rows = await queries.open_cases_of(region=body.region, person=body.from_person, unit=body.from_unit)
    return StreamingResponse(_lines(application, caller, body, batch, rows), media_type="application/x-ndjson")


async def _wait_for_the_worklist(application: Application) -> None:
    """Wait until the worklist holds all events that the log has now, so that no open case is missed.

    Raises Unavailable.
    """
    log = application.data.log
    for stream in log.streams():
        end = Position(stream, await log.end(stream))
        wait_s_max = application.identity.settings.after_wait_s_max
        if not await application.runtime.progress.wait(Work.name, end, wait_s_max):
            raise Unavailable("The worklist lies behind the log.")


async def _lines(
    application: Application, caller: Caller, body: HandOverBody, batch: str, rows: Sequence[Any]
) -> AsyncIterator[bytes]:
    done = refused = 0
    for start in range(0, len(rows), HAND_OVER_AT_ONCE_MAX):
        batch_rows = rows[start : start + HAND_OVER_AT_ONCE_MAX]
        outcomes = await asyncio.gather(*(_hand_one_over(application, caller, body, batch, row) for row in batch_rows))
        for id, problem in outcomes:
            done, refused = done + (problem is None), refused + (problem is not None)
            yield to_json({"id": id, "refused": problem, "done": done, "of": len(rows)}) + b"\n"
    yield to_json({"handed_over": done, "refused": refused, "of": len(rows)}) + b"\n"


async def _hand_one_over(
    application: Application, caller: Caller, body: HandOverBody, batch: str, row: Any
) -> tuple[str, str | None]:
    """Hand one case over; its id, and the code of the problem if it was refused."""
    address = Address.parse(row["subject"])
    command_id = application.command_id(caller, f"{batch} {address.id}", batch)
    meta = application.meta(caller, command_id, address.region, None, "desk")
    for tries_left in range(HAND_OVER_RETRIES_MAX, -1, -1):
        state: CaseState = (await application.load_for_service(address)).state
        if command_id in state.applied:
            break
        if body.from_person not in state.people and body.from_unit not in state.units:
            return address.id, PreconditionFailed.code  # somebody else gave it away since it was listed
        precondition = Precondition(frozenset([entity_tag(state.version)]))
        try:
            await application.execute(caller, _hand_over_command(address, meta, body, state), precondition=precondition)
            break
        except ProblemError as error:
            if not isinstance(error, PreconditionFailed) or not tries_left:
                return address.id, error.problem.code
    return address.id, None


def _hand_over_command(address: Address, meta: Any, body: HandOverBody, state: CaseState) -> Command:
    if body.to_person is not None:
        leads = state.person == body.from_person
        units = (co.unit for co in state.co_handlers if co.person == body.from_person)
        unit = state.unit if leads else next(units, state.unit)
        facts = facts_of("reassign", unit=unit, person=body.to_person, note=Note(text=body.reason))
        return command(address, meta, "reassign", facts)
    units_after = [body.to_unit if unit == body.from_unit else unit for unit in (state.unit, *state.co_units)]
    rest = tuple(dict.fromkeys(unit for unit in units_after[1:] if unit != units_after[0]))
    facts = facts_of("assign", unit=units_after[0], co_units=rest, basis="handed over")
    return command(address, meta, "assign", facts)


router.include_router(command_router(Owner.ROUTING, "case"))
