"""Intake over HTTP: registration, attachments, the public look-up by number and secret, and its commands on a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.intake.policy import RegisterBody, public_steps, registration
from services.intake.rates import Rates
from services.intake.store import Registrar, UploadedFile
from shared.case import decide as law
from shared.case.base import Address
from shared.case.commands import Command, facts
from shared.case.events.intake import AttachmentFacts
from shared.case.facts import (
    ATTACHMENTS_MAX,
    Attachment,
    Note,
    Satisfaction,
    Text,
)
from shared.case.reasons import Reason, Rejected
from shared.case.rights import Right
from shared.case.state import CaseState
from shared.kit import http as kit_http
from shared.kit import telemetry
from shared.kit.access import Caller, may_see
from shared.kit.command_handler import command
from shared.kit.http import ERRORS, Answer, Desk, Enricher, IdText, Key, Who
from shared.kit.problems import Forbidden, NotFound, TooLarge, Unprocessable, describe
from shared.kit.seal import unseal_fields
from shared.kit.service import Kit
from shared.kit.vault import FIRST_GENERATION, same_secret

SecretHeader = Annotated[str | None, Header(alias="Case-Secret", max_length=64)]
SecretQuery = Annotated[str | None, Query(alias="secret", max_length=64)]


class RegistrationAnswer(Answer):
    """A registration's answer; `secret` opens the public look-up and is told here only."""

    secret: str


class Secret(BaseModel):
    """A look-up secret issued anew; the one before is out of force."""

    number: str
    secret: str


class Step(BaseModel):
    """One step of a case as its resident may see it."""

    step: str
    time: AwareDatetime
    unit: str | None = None


class PublicCase(BaseModel):
    """What the resident sees: where the case stands, its steps, and the reply (clause 8.1 f)."""

    number: str
    status: str
    registered_at: AwareDatetime
    due: AwareDatetime | None = None
    steps: list[Step]
    reply: str | None = None


class RateBody(BaseModel):
    """The resident's own rating (clause 12.3)."""

    model_config = ConfigDict(extra="forbid")

    satisfaction: Satisfaction
    text: Text | None = None


def router(kit: Kit, registrar: Registrar) -> APIRouter:
    """All routes of intake."""
    api = APIRouter(responses=ERRORS)
    _registration(api, kit, registrar)
    _attachments(api, kit, registrar)
    _public(api, kit)
    api.include_router(kit_http.command_router(kit, "case", skip=frozenset({"register"}), fills=ENRICHERS))
    return api


def _registration(api: APIRouter, kit: Kit, registrar: Registrar) -> None:
    async def register(
        body: RegisterBody, caller: Caller, key: str | None, files: Sequence[UploadedFile]
    ) -> RegistrationAnswer:
        command_id = kit_http.http_command_id(caller, "register", key, kit.clock)
        meta = kit_http.meta_of(kit, caller, command_id, body.region, body.time, body.channel)
        said = registration(body, caller.person, caller.unit, meta.time, [file.name for file in files])
        address = Address("case", body.region, "")
        asked = command(address, meta, "register", said)
        await kit_http.permit(kit, caller, asked)
        await kit_http.check_named(kit, asked)
        told = body.model_dump_json().encode()
        address, outcome = await registrar.register(meta, said, f"http.{caller.person}", command_id, told, files)
        if isinstance(outcome, Rejected):
            raise kit_http.rejected(outcome)
        answer = kit_http.answer(address, outcome)
        generation = FIRST_GENERATION if outcome.recorded else None  # of a case born just now nobody had it issued anew
        return RegistrationAnswer(**answer.model_dump(), secret=await kit.vault.secret(address.id, generation))

    @api.post("/cases", status_code=201, operation_id="intake_register", summary="Register a demand: a case is born.")
    async def register_case(body: RegisterBody, response: Response, caller: Who, key: Key = None) -> RegistrationAnswer:
        given = await register(body, caller, key, ())
        response.headers["Location"] = f"/reporting/cases/{given.id}"
        return given

    @api.post(
        "/cases-with-attachments",
        status_code=201,
        operation_id="intake_register_with_attachments",
        summary="Register a demand with files: form field `case` holds the JSON of POST /cases.",
    )
    async def register_with_files(
        caller: Who,
        case: Annotated[str, Form()],
        files: Annotated[list[UploadFile], File(max_length=ATTACHMENTS_MAX)],
        key: Key = None,
    ) -> RegistrationAnswer:
        try:
            body = RegisterBody.model_validate_json(case)
        except ValidationError as error:
            raise Unprocessable("The form field `case` cannot be used.", fields=describe(error.errors())) from None
        return await register(body, caller, key, [await _read(kit, one) for one in files])


async def _read(kit: Kit, upload: UploadFile) -> UploadedFile:
    """A file within its limits. Raises TooLarge, Unprocessable."""
    size_max = kit.settings.attachment_bytes_max
    data = await upload.read(size_max + 1)
    if len(data) > size_max:
        raise TooLarge(f"A file is larger than {size_max} bytes.")
    if not data:
        raise Unprocessable("A file is empty. Leave it out, or send it again.", code="attachment.empty")
    media_type = (upload.content_type or "application/octet-stream").partition(";")[0].strip()
    try:
        Attachment(object="x", digest="0" * 64, size_bytes=1, media_type=media_type)
    except ValidationError:
        raise Unprocessable("A file's media type is not one, as in image/jpeg.", code="attachment.type") from None
    return UploadedFile((upload.filename or "file")[:300], media_type, data)


def _attachments(api: APIRouter, kit: Kit, registrar: Registrar) -> None:
    @api.post(
        "/cases/{id}/attachments",
        status_code=201,
        operation_id="intake_attach_file",
        summary="Keep a file of a case, sealed; name what this answers in a command's `attachments`.",
    )
    async def keep(id: IdText, caller: Who, file: UploadFile) -> Attachment:
        address, _ = await _seen(kit, caller, id)
        return await registrar.keep(address.id, await _read(kit, file))

    @api.post(
        "/cases/{id}/secret",
        operation_id="intake_new_secret",
        summary="Issue the look-up secret anew for a resident who lost it; the one before is out of force.",
    )
    async def new_secret(id: IdText, caller: Who) -> Secret:
        address, state = await _seen(kit, caller, id)
        if Right.REGISTER not in caller.rights:
            raise Forbidden("Your post does not register cases; ask the desk.")
        generation = await kit.vault.next_generation(address.id, await kit.vault.generation(address.id))
        telemetry.info("look-up secret issued anew", case=address.id)
        return Secret(number=kit.number(address, state), secret=await kit.vault.secret(address.id, generation))


async def _seen(kit: Desk, caller: Caller, id: str) -> tuple[Address, CaseState]:
    """A case that the caller may see. Raises NotFound, Forbidden."""
    address = await kit_http.locate(kit, id)
    held = await kit.handler.state(address, fresh=True)
    if held.sequence == 0:
        raise NotFound("There is no such case.", code="not_registered")
    if not may_see(caller, held.state):
        raise Forbidden("This case is not in your hands.")
    return address, held.state


async def _own(kit: Kit, rates: Rates, request: Request, number: str, secret: str | None) -> tuple[Address, CaseState]:
    """The case of a number and its secret. A wrong one of either looks the same. Raises NotFound, TooManyRequests."""
    peer = request.client.host if request.client else "?"
    rates.take(f"address {peer}", kit.settings.public_rate_max)
    wrong = NotFound("No case has this number with this secret. Check both, or ask at the desk for a new secret.")
    try:
        address = await kit_http.locate(kit, number)
    except NotFound:
        raise wrong from None
    rates.take(f"case {address.id}", kit.settings.look_up_rate_max)  # however the number is spelled
    held = await kit.handler.state(address, fresh=True)
    if held.sequence == 0 or held.state.erased:
        raise wrong
    if not same_secret(secret or "", await kit.vault.secret(address.id)):
        raise wrong
    return address, held.state


async def _merged_facts(desk: Desk, caller: Caller, asked: Command) -> Command:
    """What an attachment says of the case that it merges, from that case itself; sent again it is filled the same.

    From whom that case is kept, this one is kept from then on. Raises NotFound, Forbidden, and what the
    law says when that case cannot be merged.
    """
    said = asked.facts
    assert isinstance(said, AttachmentFacts)
    if said.merged_from is None:
        return asked
    address, other = await _seen(desk, caller, said.merged_from)
    survivor = (await desk.handler.state(asked.address, fresh=True)).state
    merge = command(address, asked.meta, "merge", facts("merge", into=asked.address.id))
    refused = law.decide(merge, other)
    if isinstance(refused, Rejected) and asked.meta.command_id not in survivor.applied:
        raise kit_http.rejected(refused)
    if len({said.complained_unit, other.complained_unit} - {None}) > 1:
        raise kit_http.rejected(Rejected(Reason.COMPLAINS_OF_ANOTHER))
    filled = {
        "merged_registered_at": other.registered_at,
        "complained_unit": other.complained_unit or said.complained_unit,
        "stand_aside": tuple(dict.fromkeys((*said.stand_aside, *other.stand_aside))),
        "informant": said.informant or other.informant,
    }
    return replace(asked, facts=said.model_copy(update=filled))


ENRICHERS: Mapping[str, Enricher] = {"attach": _merged_facts}


def _public(api: APIRouter, kit: Kit) -> None:
    rates = Rates(kit.clock)

    @api.get("/public/{number}", operation_id="intake_public_look_up", summary="Follow a case by number and secret.")
    async def look_up(
        request: Request, number: IdText, header: SecretHeader = None, query: SecretQuery = None
    ) -> PublicCase:
        address, state = await _own(kit, rates, request, number, header or query)
        key = await kit.vault.key(address.id)
        events = [
            (r, unseal_fields(r.known, key, address.id, r.id))
            for r in await kit.log.load(address)
            if not kit.is_newer(r)
        ]
        steps, reply = public_steps(events)
        clock = next((c for c in state.clocks if c.deadline.stage == "handle"), None)
        return PublicCase(
            number=kit.number(address, state),
            status=state.status.value,
            registered_at=state.registered_at,
            due=clock.deadline.due if clock else None,
            steps=[Step(step=what, time=time, unit=unit) for what, time, unit in steps],
            reply=reply,
        )

    @api.post("/public/{number}/rate", operation_id="intake_public_rate", summary="Rate the outcome of one's own case.")
    async def rate(
        request: Request,
        number: IdText,
        body: RateBody,
        header: SecretHeader = None,
        query: SecretQuery = None,
        key: Key = None,
    ) -> Answer:
        address, _ = await _own(kit, rates, request, number, header or query)
        caller = kit.resident(address.region)
        said = facts("rate", satisfaction=body.satisfaction, note=Note(text=body.text) if body.text else None)
        command_id = kit_http.http_command_id(caller, f"rate {address.id}", key, kit.clock)
        meta = kit_http.meta_of(kit, caller, command_id, address.region, None, "web")
        asked = command(address, meta, "rate", said)
        outcome = await kit.handler.handle(asked)
        if isinstance(outcome, Rejected):
            raise kit_http.rejected(outcome)
        if outcome.recorded is None:
            await kit_http.refuse_other_body(kit, asked)
        return kit_http.answer(address, outcome)
