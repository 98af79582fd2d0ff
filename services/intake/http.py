"""Intake over HTTP: registration, attachments, the public look-up by number and secret, and its commands on a case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response, Security, UploadFile
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.intake.forms import registration_facts
from services.intake.pictures import DamagedPicture, clean_picture
from services.intake.policy import public_steps, steps_with_survivors, without_reporters
from services.intake.rates import Rates
from services.intake.registration import NOT_THE_SAME, IdempotencyConflict, Registrar
from services.intake.views import DeclinedDemand, PublicCase, RegistrationAnswer, ResidentStep, Secret
from shared.case import events as e
from shared.case.base import Address, Event, Owner, Recorded
from shared.case.commands import COMMANDS
from shared.case.commands import facts as facts_of
from shared.case.content import safe_file_name
from shared.case.facts import ATTACHMENTS_MAX, SHORT_CHARS_MAX, Attachment, Note, Satisfaction, Text
from shared.case.lifecycle import Status
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.application import Answer, Application, History, Origin, UploadedFile, View, is_newer, sees
from shared.kit.bodies import RegisterBody
from shared.kit.command_handler import command
from shared.kit.http import (
    ERRORS,
    WITH_ETAG,
    App,
    IdempotencyKey,
    IdText,
    IfMatch,
    Who,
    answers_to,
    command_router,
    precondition_of,
)
from shared.kit.preconditions import entity_tag
from shared.kit.problems import BadRequest, Forbidden, TooLarge, Unprocessable, describe
from shared.kit.seal import unseal_fields
from shared.kit.vault import FIRST_GENERATION, KeyErased

router = APIRouter(responses=ERRORS)


async def registrar_of(request: Request) -> Registrar:
    """The registrar of the app that serves a request."""
    registrar: Registrar = request.app.state.registrar
    return registrar


async def rates_of(request: Request) -> Rates:
    """The rate limits of the public look-up, for the whole app."""
    rates: Rates = request.app.state.rates
    return rates


Opened = Sequence[tuple[Recorded[Any], Event]]
RegistrarOf = Annotated[Registrar, Depends(registrar_of)]
RatesOf = Annotated[Rates, Depends(rates_of)]
CASE_SECRET = APIKeyHeader(
    name="Case-Secret", auto_error=False, scheme_name="caseSecret", description="The look-up secret of the case"
)
SECRET_CHARS_MAX = 64
MERGED_READ_COUNT_MAX = 16


async def stated_secret(
    secret: Annotated[str | None, Security(CASE_SECRET)],
    in_address: Annotated[
        str | None, Query(alias="secret", deprecated=True, description="Refused: send the header Case-Secret")
    ] = None,
) -> str | None:
    """The look-up secret of a request. Raises BadRequest for one in the address, which proxies and browsers keep."""
    if in_address is not None:
        raise BadRequest(
            "The secret stands in the address, where others may read it.", code="secret.in_address",
            advice="Send it in the header Case-Secret. At the desk a new secret can be had.",
        )  # fmt: skip
    return secret[:SECRET_CHARS_MAX] if secret else None


CaseSecret = Annotated[str | None, Depends(stated_secret)]


MULTIPART = Form(media_type="multipart/form-data")


class RegisterForm(BaseModel):
    """A registration with files. `case` holds the JSON of a registration."""

    model_config = ConfigDict(extra="forbid")

    case: str
    files: Annotated[list[UploadFile], Field(max_length=ATTACHMENTS_MAX)]


class FileForm(BaseModel):
    """A file of a case."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile


SAME_BODY = (
    "The same demand was registered in the last ten minutes, and this is that case. To register a second one on "
    "purpose, send an Idempotency-Key. 十分钟内已登记过相同内容，返回的是同一件；如确需另立一件，请带 Idempotency-Key。"
)
SAME_KEY = (
    "Somebody else of this centre has registered the same demand with this Idempotency-Key, and this is that case. To "
    "register a second one on purpose, send another key. "
    "本中心已有人以此 Idempotency-Key 登记过相同内容，返回的是同一件；如确需另立一件，请换一个键。"
)
REFUSED_OR_TAKEN_BACK = (Status.DECLINED, Status.WITHDRAWN)
CREATED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RegistrationAnswer,
        "description": "The same demand again, without a key or by somebody else: the case of the first one",
        **WITH_ETAG,
    },
    201: WITH_ETAG,
}


class RateBody(BaseModel):
    """The resident's own rating (clause 12.3)."""

    model_config = ConfigDict(extra="forbid")

    satisfaction: Satisfaction
    text: Text | None = None


# Registration


@router.post(
    "/cases",
    status_code=201,
    operation_id="intake_register",
    summary="Register a demand as a case.",
    responses=CREATED,
)
async def register_case(
    body: RegisterBody,
    response: Response,
    caller: Who,
    application: App,
    registrar: RegistrarOf,
    key: IdempotencyKey = None,
) -> RegistrationAnswer:
    answer = await _register(application, registrar, body, caller, key, ())
    _name_the_case(response, answer)
    return answer


@router.post(
    "/cases-with-attachments",
    status_code=201,
    operation_id="intake_register_with_attachments",
    summary="Register a demand with files: form field `case` holds the JSON of POST /cases.",
    responses=CREATED,
)
async def register_with_files(
    response: Response,
    caller: Who,
    application: App,
    registrar: RegistrarOf,
    form: Annotated[RegisterForm, MULTIPART],
    key: IdempotencyKey = None,
) -> RegistrationAnswer:
    try:
        body = RegisterBody.model_validate_json(form.case)
    except ValidationError as error:
        raise Unprocessable("The form field `case` cannot be used.", fields=describe(error.errors())) from None
    received = [await _read(application, file) for file in form.files]
    answer = await _register(application, registrar, body, caller, key, received)
    _name_the_case(response, answer)
    return answer


def _name_the_case(response: Response, answer: RegistrationAnswer) -> None:
    response.headers.update({"Location": f"/reporting/cases/{answer.id}", "ETag": entity_tag(answer.version)})
    if answer.notice is not None:
        response.status_code = HTTPStatus.OK


async def _register(
    application: Application,
    registrar: Registrar,
    body: RegisterBody,
    caller: Caller,
    key: str | None,
    files: Sequence[UploadedFile],
) -> RegistrationAnswer:
    meta = application.meta(caller, "", body.region, body.time, body.channel)
    facts = registration_facts(body, caller.person, caller.unit, meta.time, [file.name for file in files])
    stated = command(Address("case", body.region, ""), meta, "register", facts)
    if key is None:  # before the body is noted, under the key of the county; else `execute` does both
        if not await application.may_send(caller, stated):
            await application.permit(caller, stated)  # says why not
        await application.check_references(stated)
    payload = body.model_dump_json().encode()

    async def execute(ended_id: str | None = None) -> tuple[str, Answer]:
        source, command_id = await registrar.requested(caller, body.region, key, payload, files, ended_id)
        sent = replace(stated, meta=meta.model_copy(update={"command_id": command_id}))
        return command_id, await application.execute(caller, sent, Origin(source, command_id, payload, files))

    command_id, answer = await execute()
    if key is None and answer.event is None and answer.status in REFUSED_OR_TAKEN_BACK:
        _, answer = await execute(command_id)
    notice = None if answer.event else await _repetition(application, caller, Address.of("case", answer.id), key)
    generation = FIRST_GENERATION if answer.event else None  # a case that was made just now has its first secret
    secret = await application.data.vault.secret(answer.id, generation)
    return RegistrationAnswer(**answer.model_dump(), secret=secret, notice=notice)


async def _repetition(application: Application, caller: Caller, case: Address, key: str | None) -> str | None:
    """The notice to who registered a case again: none where he knows, as the key was his own.

    Raises IdempotencyConflict, as for another body, to who has not registered the case and may not see it; Forbidden
    where it goes on in a case that is kept from the caller.
    """
    history = await application.history_for_service(case)
    own = history.events[0].meta.actor.person == caller.person
    viewer = application.viewer(caller, history.state, View.CONTENT)
    if not own and not sees(viewer, history.state, View.CONTENT):
        raise IdempotencyConflict(NOT_THE_SAME)
    if history.state.merged_into is not None:
        await application.survivor(case, viewer)  # the secret of the answer shows that one
    if own:
        return SAME_BODY if key is None else None
    return SAME_KEY


async def _read(application: Application, upload: UploadFile) -> UploadedFile:
    """An uploaded file, checked against the limits. Raises TooLarge, Unprocessable."""
    size_max = application.identity.settings.attachment_bytes_max
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
    try:
        name = safe_file_name((upload.filename or "file")[:SHORT_CHARS_MAX])
    except ValueError as error:
        raise Unprocessable(f"The name of a file {error}.", code="attachment.name") from None
    try:
        picture = await asyncio.to_thread(clean_picture, data, media_type)
    except DamagedPicture:
        raise Unprocessable(
            "A picture is damaged, or is not the kind of picture that it is called, so place and device cannot be taken"
            " out of it.",
            code="attachment.picture",
            advice="Save it anew as JPEG or PNG, or send a picture of the screen.",
        ) from None
    received_digest = sha256(data).digest()
    if picture is None:
        return UploadedFile(name, media_type, data, received_digest)
    record = picture.record()
    metadata = record.model_dump_json().encode() if record else b""
    return UploadedFile(name, media_type, picture.data, received_digest, metadata)


# Attachments and the look-up secret


@router.post(
    "/cases/{id}/attachments",
    status_code=201,
    operation_id="intake_attach_file",
    summary="Store a file of a case, sealed; name the answer in the `attachments` of a command.",
)
async def store_file(
    id: IdText, caller: Who, application: App, registrar: RegistrarOf, form: Annotated[FileForm, MULTIPART]
) -> Attachment:
    address = await application.locate(id)
    state = (await application.load(caller, address)).state
    return await registrar.store(address.id, await _read(application, form.file), informant=state.informant)


@router.post(
    "/cases/{id}/secret",
    operation_id="intake_new_secret",
    summary="Issue a new look-up secret for a resident who lost the old one, which is then invalid.",
)
async def new_secret(id: IdText, caller: Who, application: App) -> Secret:
    address = await application.locate(id)
    state = (await application.load(caller, address)).state
    if Right.REGISTER not in caller.rights:
        raise Forbidden("Your post does not register cases; ask the desk.")
    await application.survivor(address, application.viewer(caller, state, View.CONTENT))  # the secret shows that one
    vault = application.data.vault
    generation = await vault.next_generation(address.id, await vault.generation(address.id))
    telemetry.info("look-up secret issued anew", case=address.id)
    return Secret(number=application.data.number(address, state), secret=await vault.secret(address.id, generation))


# The resident's own case


@router.get(
    "/public/{number}",
    operation_id="intake_public_look_up",
    summary="Follow a case by number and secret.",
    responses={200: WITH_ETAG},
)
async def look_up(
    request: Request, response: Response, number: IdText, application: App, rates: RatesOf, secret: CaseSecret
) -> PublicCase:
    address = await _located_in_rates(request, application, rates, number)
    histories = await application.histories_as_resident(address, secret)
    opened = [await _opened(application, history) for history in histories]
    own, last = histories[0], histories[-1]
    steps_and_replies = [public_steps(events) for events in opened]
    (own_steps, _), (_, reply) = steps_and_replies[0], steps_and_replies[-1]
    steps = steps_with_survivors(own_steps, [steps for steps, _ in steps_and_replies[1:]])
    if reply is not None:
        own_words = [event for _, event in opened[0] if isinstance(event, e.Registered | e.Corrected)]
        others = [pair for events in opened for pair in events]
        others += await _merged_cases(application, others, address.id)
        reply = without_reporters(reply, (event for _, event in others), own_words)
    clock = next((clock for clock in last.state.clocks if clock.deadline.stage == "handle"), None)
    response.headers.update({"ETag": entity_tag(own.state.version), "Cache-Control": "private, no-store"})
    return PublicCase(
        number=application.data.number(address, own.state),
        status=last.state.status.value,
        registered_at=own.state.registered_at,
        due=clock.deadline.due if clock else None,
        steps=[ResidentStep(step=step, time=time, unit=unit) for step, time, unit in steps],
        reply=reply,
        declined=_declined(last),
    )


async def _merged_cases(application: Application, events: Opened, own: str) -> list[tuple[Recorded[Any], Event]]:
    """The events of the cases other than `own` that were merged into a case with these events, and into those.

    The cases of one level are read together, a bounded number at a time, as anybody may look up without an account.
    """
    places = asyncio.Semaphore(MERGED_READ_COUNT_MAX)

    async def read(id: str) -> Opened:
        async with places:
            return await _opened(application, await application.history_for_service(Address.of("case", id)))

    opened: list[tuple[Recorded[Any], Event]] = []
    seen, level = {own}, events
    while (
        ids := {event.merged_from for _, event in level if isinstance(event, e.Attached) and event.merged_from} - seen
    ):
        seen |= ids
        level = [pair for merged in await asyncio.gather(*map(read, sorted(ids))) for pair in merged]
        opened += level
    return opened


async def _opened(application: Application, history: History) -> Opened:
    """The events of a case, unsealed; as they stand on the log where the key was destroyed."""
    id, known = history.address.id, [recorded for recorded in history.events if not is_newer(recorded)]
    try:
        key = await application.data.vault.key(id)
    except KeyErased:
        return [(recorded, recorded.known) for recorded in known]
    return [(recorded, unseal_fields(recorded.known, key, id, recorded.id)) for recorded in known]


def _declined(history: History) -> DeclinedDemand | None:
    """The decline that stands: a case that was declined ends with it."""
    events = (recorded.event for recorded in reversed(history.events))
    declined = next((event for event in events if isinstance(event, e.Declined)), None)
    if declined is None or history.state.status is not Status.DECLINED:
        return None
    return DeclinedDemand(reason=declined.reason, legal_path=declined.legal_path)


@router.post(
    "/public/{number}/rate",
    operation_id="intake_public_rate",
    summary="Rate the outcome of one's own case.",
    responses=answers_to(COMMANDS["rate"]),
)
async def rate(
    request: Request,
    response: Response,
    number: IdText,
    body: RateBody,
    application: App,
    rates: RatesOf,
    secret: CaseSecret,
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Answer:
    precondition = precondition_of(if_match)
    address = await _located_in_rates(request, application, rates, number)
    await application.load_as_resident(address, secret)
    caller = application.identity.resident(address)
    facts = facts_of("rate", satisfaction=body.satisfaction, note=Note(text=body.text) if body.text else None)
    command_id = application.command_id(caller, f"rate {address.id}", key)
    meta = application.meta(caller, command_id, address.region, None, "web")
    answer = await application.execute(caller, command(address, meta, "rate", facts), precondition=precondition)
    response.headers["ETag"] = entity_tag(answer.version)
    return answer


async def _located_in_rates(request: Request, application: Application, rates: Rates, number: str) -> Address:
    """The address of a case by its number. Raises NotFound as for a wrong secret; TooManyRequests."""
    settings = application.identity.settings
    peer = request.client.host if request.client else "?"
    rates.take(f"address {peer}", settings.public_rate_max)
    address = await application.locate_for_resident(number)
    rates.take(f"case {address.id}", settings.look_up_rate_max)  # one limit for all spellings of the number
    return address


router.include_router(command_router(Owner.INTAKE, "case", skip=frozenset({"register"})))
