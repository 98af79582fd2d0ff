"""Supervision over HTTP: what people do with time and hierarchy, and supervision orders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints, create_model

from shared.case.base import Address, new_id
from shared.case.commands import COMMANDS
from shared.case.facts import CASES_PER_ORDER_MAX
from shared.case.reasons import Rejected
from shared.kit import http as kit_http
from shared.kit.access import may_see
from shared.kit.handle import command
from shared.kit.http import ERRORS, Answer, Key, Who
from shared.kit.problems import Forbidden
from shared.kit.service import Kit

CaseText = Annotated[str, StringConstraints(min_length=1, max_length=80)]  # an id, or a number as people write it
Cases = Annotated[tuple[CaseText, ...], Field(min_length=1, max_length=CASES_PER_ORDER_MAX)]


def router(kit: Kit) -> APIRouter:
    """All routes of supervision."""
    api = APIRouter(responses=ERRORS)
    _issue(api, kit)
    api.include_router(kit_http.command_router(kit, "case"))
    api.include_router(kit_http.command_router(kit, "order", skip=frozenset({"issue-order"})))
    return api


def _issue(api: APIRouter, kit: Kit) -> None:
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
        given = {name: getattr(body, name) for name in spec.facts.model_fields}
        facts = spec.facts.model_construct(**given | {"cases": tuple(case.subject for case in cases)})
        meta = kit_http.meta_of(kit, caller, command_id, body.region, body.time, "desk")
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

    issue.__annotations__ |= {
        "body": body_type,
        "response": Response,
        "caller": Who,
        "key": Key,
        "return": Answer,
    }
    api.post("/orders", status_code=201, operation_id="supervision_issue_order", summary=spec.doc)(issue)
