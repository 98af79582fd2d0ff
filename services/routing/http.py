"""Routing over HTTP: its commands on a case, the triage queue, and handing a person's or unit's cases to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, model_validator
from pydantic_core import to_json

from services.routing.policy import question, words_of
from shared.case.base import Address, PersonId, Position, Region, UnitCode, contains, region_prefix
from shared.case.commands import Command, facts
from shared.case.facts import Note, Text
from shared.case.state import STATE, CaseState
from shared.kit import http as kit_http
from shared.kit.access import Caller
from shared.kit.command_handler import command
from shared.kit.http import ERRORS, IdText, Key, Who
from shared.kit.problems import BadRequest, Forbidden, ProblemError, Unavailable
from shared.kit.seal import unseal_fields
from shared.kit.service import Kit
from shared.log.case_numbers import case_number
from shared.reference.rights import Right
from shared.reference.rules import examine_rules

HAND_OVER_AT_ONCE_MAX = 8
PAGE_ROWS = 50


class Waiting(BaseModel):
    """A case that waits for the triage desk, and what came of it so far."""

    id: str
    number: str
    status: str
    in_charge: str
    registered_at: AwareDatetime
    hand_backs: int
    subject: str | None
    nature: str | None


class Queue(BaseModel):
    """A page of the triage queue, oldest first; `next` leads on."""

    cases: list[Waiting]
    next: str | None = None
    complete: bool = True


class HandOverBody(BaseModel):
    """Whose open cases go to whom: a person who leaves, or a unit that is dissolved."""

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


class RuleSaid(BaseModel):
    """What one rule said to a case."""

    rule: str
    reference: str
    takes_it: bool
    why: str


def router(kit: Kit) -> APIRouter:
    """All routes of routing."""
    api = APIRouter(responses=ERRORS)
    _queue(api, kit)
    _hand_over(api, kit)
    api.include_router(kit_http.command_router(kit, "case"))
    return api


def _queue(api: APIRouter, kit: Kit) -> None:
    @api.get("/queue", operation_id="routing_queue", summary="Cases that wait for the triage desk, oldest first.")
    async def queue(
        caller: Who,
        region: Annotated[Region | None, Query()] = None,
        page: Annotated[str | None, Query(max_length=120)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = PAGE_ROWS,
        after: Annotated[str | None, Query(max_length=60)] = None,
    ) -> Queue:
        complete = await kit_http.after(kit, "routing.work", after)
        since, last = _page(page)
        rows = await kit.database.fetch(
            "queue", region_prefix(region or caller.region), since, last, caller.person, caller.unit,
            region_prefix(caller.region), Right.READ in caller.rights, limit + 1,
        )  # fmt: skip
        cases = [_waiting(kit, row) for row in rows[:limit]]
        more = f"{cases[-1].registered_at.isoformat()} {cases[-1].id}" if len(rows) > limit else None
        return Queue(cases=cases, next=more, complete=complete)

    @api.get("/cases/{id}/rules", operation_id="routing_rules", summary="Why each routing rule took the case, or not.")
    async def rules(id: IdText, caller: Who) -> list[RuleSaid]:
        address = await kit_http.locate(kit, id)
        held = await kit.handler.state(address, fresh=True)
        state: CaseState = held.state
        if Right.TRIAGE not in caller.rights or not state.in_charge.startswith(region_prefix(caller.region)):
            raise Forbidden("Only the triage desk of the centre in charge may ask this.")
        first = (await kit.log.load(address))[0]
        key = await kit.vault.key(address.id)
        words = words_of(unseal_fields(first.known, key, address.id, first.id))
        said = examine_rules(kit.library.rules(state.in_charge), question(state, words), kit.library.has_unit)
        return [RuleSaid(rule=v.rule, reference=v.reference, takes_it=v.hit is not None, why=v.reason) for v in said]


def _page(text: str | None) -> tuple[datetime | None, str | None]:
    if text is None:
        return None, None
    time, _, id = text.partition(" ")
    try:
        return datetime.fromisoformat(time), str(Address.of("case", id).id)
    except ValueError:
        raise BadRequest("`page` is not one that this list gave out.", code="page.malformed") from None


def _waiting(kit: Kit, row: Any) -> Waiting:
    address = Address.parse(row["subject"])
    state = STATE.validate_json(row["state"])
    return Waiting(
        id=address.id,
        number=case_number(Position(kit.log.stream_of(address), state.registration_sequence)),
        status=row["status"],
        in_charge=row["in_charge"],
        registered_at=row["registered_at"],
        hand_backs=state.hand_backs,
        subject=state.subject,
        nature=state.nature,
    )


def _hand_over(api: APIRouter, kit: Kit) -> None:
    @api.post(
        "/hand-over",
        operation_id="routing_hand_over",
        summary="Hand all open cases of a person who leaves, or of a unit that is dissolved, to another.",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {}}, "description": "One line per case, then the sums."}},
    )
    async def hand_over(body: HandOverBody, caller: Who, key: Key = None) -> StreamingResponse:
        wanted = Right.REASSIGN if body.from_person else Right.ASSIGN
        if wanted not in caller.rights:
            raise Forbidden(f"Your post lacks the right {wanted}.")
        if not contains(caller.region, body.region):
            raise Forbidden("That region is not yours; ask the centre that has it.")
        await _caught_up(kit)
        batch = kit_http.http_command_id(caller, "hand-over", key, kit.clock)
        rows = await kit.database.fetch("cases_of", region_prefix(body.region), body.from_person, body.from_unit)
        return StreamingResponse(_lines(kit, caller, body, batch, rows), media_type="application/x-ndjson")


async def _caught_up(kit: Kit) -> None:
    """Wait until the worklist has seen the whole log as it now is: all open cases are all. Raises Unavailable."""
    for stream in kit.log.streams():
        end = Position(stream, await kit.log.end(stream))
        if not await kit.reached.wait("routing.work", end, kit.settings.after_wait_s_max):
            raise Unavailable("The worklist lies behind the log.")


async def _lines(kit: Kit, caller: Caller, body: HandOverBody, batch: str, rows: list[Any]) -> AsyncIterator[bytes]:
    done = refused = 0
    for start in range(0, len(rows), HAND_OVER_AT_ONCE_MAX):
        some = rows[start : start + HAND_OVER_AT_ONCE_MAX]
        for id, problem in await asyncio.gather(*(_one(kit, caller, body, batch, row) for row in some)):
            done, refused = done + (problem is None), refused + (problem is not None)
            yield to_json({"id": id, "refused": problem, "done": done, "of": len(rows)}) + b"\n"
    yield to_json({"handed_over": done, "refused": refused, "of": len(rows)}) + b"\n"


async def _one(kit: Kit, caller: Caller, body: HandOverBody, batch: str, row: Any) -> tuple[str, str | None]:
    """Hand one case over; its id, and why it was refused if it was."""
    address = Address.parse(row["subject"])
    state = STATE.validate_json(row["state"])
    command_id = kit_http.http_command_id(caller, f"{batch} {address.id}", batch, kit.clock)
    meta = kit_http.meta_of(kit, caller, command_id, address.region, None, "desk")
    try:
        await kit_http.decide(kit, caller, _hand_over_command(address, meta, body, state))
    except ProblemError as error:
        return address.id, error.problem.code
    return address.id, None


def _hand_over_command(address: Address, meta: Any, body: HandOverBody, state: CaseState) -> Command:
    if body.to_person is not None:
        led = state.person == body.from_person
        units = (co.unit for co in state.co_handlers if co.person == body.from_person)
        unit = state.unit if led else next(units, state.unit)
        note = Note(text=body.reason)
        said = facts("reassign", unit=unit, person=body.to_person, note=note)
        return command(address, meta, "reassign", said)
    named = [body.to_unit if unit == body.from_unit else unit for unit in (state.unit, *state.co_units)]
    rest = tuple(dict.fromkeys(unit for unit in named[1:] if unit != named[0]))
    return command(address, meta, "assign", facts("assign", unit=named[0], co_units=rest, basis="handed over"))
