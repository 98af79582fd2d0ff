"""Commands over HTTP, the same for every service: one route per command of the catalogue that people may send.

`POST /<service>/cases/<id>/<command>` with the command's facts as the body. `Idempotency-Key` makes sending again
harmless; the same key with another body is 422. The answer carries the position, for `?after=`, and an ETag.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, create_model

from shared.case.base import FILLED, PRIVATE, Address, Facts, Meta, Owner, Position, Recorded, derived_id
from shared.case.commands import Command, CommandSpec, owned_by
from shared.case.reasons import Rejected
from shared.kit import access
from shared.kit.access import Caller
from shared.kit.clock import Clock
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.problems import BadRequest, Forbidden, NotFound, Problem, ProblemError, Unauthorized, Unprocessable
from shared.kit.read_your_writes import ProjectionProgress
from shared.kit.seal import unseal_fields
from shared.kit.settings import Settings
from shared.kit.vault import Vault
from shared.log.case_numbers import case_number, parse_case_number
from shared.log.port import Log
from shared.log.streams import Streams
from shared.reference.reference_data import ReferenceData

AHEAD_S_MAX = 120
IDEMPOTENCY_KEY_CHARS_MAX = 200
NO_ENRICHERS: Mapping[str, Enricher] = MappingProxyType({})
IdText = Annotated[str, Path(min_length=1, max_length=80, description="The case's id, or its number")]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=IDEMPOTENCY_KEY_CHARS_MAX, pattern=r"^[\x21-\x7e]+$"),
]
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 409, 410, 413, 422, 429, 503)
}


class Desk(Protocol):
    """What the routes need of a service: a part of `shared.kit.service.Kit`."""

    owner: Owner
    settings: Settings
    clock: Clock
    log: Log
    vault: Vault
    handler: CommandHandler
    reached: ProjectionProgress
    streams: Streams
    library: ReferenceData

    def caller(self, token: str) -> Caller | None: ...
    def references(self, region: str) -> tuple[str, ...]: ...


# Fills in what a command's sender does not say but the service knows. Raises ProblemError.
Enricher = Callable[[Desk, Caller, Command], Awaitable[Command]]


class Answer(BaseModel):
    """What a command came to. `event` is null when the same command was applied before."""

    model_config = ConfigDict(frozen=True)

    id: str
    number: str
    status: str
    version: int
    position: str
    event: str | None = None


async def caller_of(request: Request) -> Caller:
    """Who the bearer token of a request stands for. Raises Unauthorized."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("This address needs a bearer token.")
    caller: Caller | None = request.app.state.desk.caller(token.strip())
    if caller is None:
        raise Unauthorized("The token is not known or no longer in force.", code="token.unknown")
    return caller


Who = Annotated[Caller, Depends(caller_of)]


async def locate(desk: Desk, text: str, kind: str = "case") -> Address:
    """The address of an aggregate by id or number. Raises NotFound that says what is wrong with the text."""
    try:
        address = Address.of(kind, text)
        desk.log.stream_of(address)
        return address
    except Exception as not_an_id:
        if len(text) == 36:
            raise NotFound(f"There is no {kind} with this id.") from not_an_id
    try:
        position = parse_case_number(text, desk.log.streams())
    except ValueError as error:
        raise NotFound(f"Neither an id nor a number of a {kind}: {error}") from None
    recorded = await desk.log.at(position)
    if recorded is None or recorded.address.kind != kind or not recorded.type.endswith(("registered", "issued")):
        raise NotFound(f"No {kind} has this number.")
    return recorded.address


def meta_of(desk: Desk, caller: Caller, command_id: str, region: str, time: datetime | None, channel: str) -> Meta:
    """What stands around a command of a caller; `time` may be set back only as far as the channel's policy allows.

    Raises Unprocessable when it is set back further, or ahead.
    """
    now = desk.clock.now()
    if time is not None:
        if time > now + timedelta(seconds=AHEAD_S_MAX):
            raise Unprocessable("`time` lies in the future. Leave it out, or set your clock.", code="time.ahead")
        if time < now - desk.settings.backdate_max(channel):
            raise Unprocessable(
                f"`time` lies further back than channel {channel} allows. Leave it out, or have it imported.",
                code="time.too_far_back",
            )
    return Meta(
        command_id=command_id,
        time=min(time or now, now),
        recorded_at=now,
        actor=caller.actor,
        references=desk.references(region),
    )


async def permit(desk: Desk, caller: Caller, asked: Command) -> None:
    """Whether the caller may send this command. Raises Forbidden; the refusal is recorded (clause 9.4 a)."""
    if access.is_birth(asked.name):
        refused = access.refusal(caller, asked, None)
    else:
        held = await desk.handler.state(asked.address)
        refused = access.refusal(caller, asked, held.state)
        if refused is not None:  # what we know may be old: refuse only on the newest
            held = await desk.handler.state(asked.address, fresh=True)
            if held.sequence == 0:
                raise NotFound("There is no such case.", code="not_registered")
            if asked.meta.command_id in held.state.applied:
                return  # the same asked again: it stands, whoever has the case since
            refused = access.refusal(caller, asked, held.state)
    if refused is not None:
        raise Forbidden(refused)


async def check_named(desk: Desk, asked: Command) -> None:
    """Whether the units, people and files that a command names are there. Raises Unprocessable that names the field."""
    facts = asked.facts
    unit = getattr(facts, "unit", None)
    for code in filter(None, (unit, *getattr(facts, "co_units", ()))):
        if not desk.library.has_unit(code):
            raise Unprocessable(f"There is no unit {code}, or it is dissolved.", code="unit.unknown")
    region = getattr(facts, "to", None) or getattr(facts, "region", None)
    if region is not None and region not in desk.library.regions:
        raise Unprocessable(f"There is no region {region}.", code="region.unknown")
    person = getattr(facts, "person", None)
    if person is not None:
        row = desk.library.person(person)
        if row is None or not row.active or row.unit != unit:
            raise Unprocessable(f"{person} does not work in {unit}.", code="person.unknown")
    for file in getattr(facts, "attachments", ()):
        if not file.object.startswith(f"{asked.address.id}.") or not await desk.streams.has(file.object):
            raise Unprocessable(
                "An attachment is not a file of this case. Send the file first.", code="attachment.unknown"
            )


async def decide(desk: Desk, caller: Caller, asked: Command, fill: Enricher | None = None) -> Answer:
    """Permit, fill in, decide, append; the answer. Raises ProblemError for every refusal."""
    await permit(desk, caller, asked)
    asked = await fill(desk, caller, asked) if fill else asked
    await check_named(desk, asked)
    outcome = await desk.handler.handle(asked)
    if isinstance(outcome, Rejected):
        raise rejected(outcome)
    if outcome.recorded is None:
        await refuse_other_body(desk, asked)
    return answer(asked.address, outcome)


def answer(address: Address, done: Committed) -> Answer:
    """What a command came to, for the caller."""
    born = getattr(done.state, "registration_sequence", 0) or done.position.sequence
    return Answer(
        id=address.id,
        number=case_number(Position(done.position.stream, born)),
        status=done.state.status.value,
        version=done.state.version,
        position=str(done.position),
        event=done.recorded.id if done.recorded else None,
    )


def rejected(outcome: Rejected) -> ProblemError:
    """A rejection of the law as a problem, with the reason's code and status."""
    reason = outcome.reason
    detail = f"{reason.message} ({outcome.detail})" if outcome.detail else reason.message
    return ProblemError(detail, code=reason.code, status=reason.status, advice="")


async def refuse_other_body(desk: Desk, asked: Command) -> None:
    """The command's id was applied before: with these facts? Raises Unprocessable when with others."""
    for recorded in await desk.log.load(asked.address):
        if recorded.meta.command_id == asked.meta.command_id:
            if not await _same(desk, recorded, asked):
                raise Unprocessable(
                    "This Idempotency-Key was used with another body. Use a new key for a new request.",
                    code="idempotency.key_reused",
                )
            return


async def _same(desk: Desk, recorded: Recorded[Any], asked: Command) -> bool:
    """Whether the sender says the same again; what the service filled in rests on the case as it was then."""
    event = recorded.known
    if event.PRIVATE:
        event = unseal_fields(event, await desk.vault.key(asked.address.id), asked.address.id, recorded.id)
    said = [name for name, field in type(asked.facts).model_fields.items() if FILLED not in field.metadata]
    return all(getattr(event, name) == getattr(asked.facts, name) for name in said)


@cache
def body_of(facts: type[Facts]) -> type[BaseModel]:
    """The body of a command: its facts as people write them (content open, never a seal), and when it happened.

    What the service fills in is left out.
    """
    fields: dict[str, Any] = {
        name: (_opened(field.rebuild_annotation()), ... if field.is_required() else field.default)
        for name, field in facts.model_fields.items()
        if FILLED not in field.metadata
    }
    fields["time"] = (AwareDatetime | None, None)
    return create_model(
        facts.__name__, __config__=ConfigDict(extra="forbid", frozen=True), __doc__=facts.__doc__, **fields
    )


def said(body: BaseModel, facts: type[Facts]) -> Facts:
    """The facts that a body states; what it leaves out is filled in later, if at all."""
    names = body_of(facts).model_fields.keys() & facts.model_fields
    return facts.model_construct(**{name: getattr(body, name) for name in names})


def _opened(annotation: Any) -> Any:
    """The annotation without seals: what `Private[X]` stands for over HTTP is X."""
    if get_origin(annotation) is Annotated and PRIVATE in annotation.__metadata__:
        inner = get_args(annotation)[0]
        return next(part for part in get_args(inner) if isinstance(part, type) and issubclass(part, BaseModel))
    if get_origin(annotation) in (Union, UnionType):
        parts = tuple(_opened(part) for part in get_args(annotation))
        return Union[parts]  # noqa: UP007
    return annotation


def command_router(
    desk: Desk, kind: str, skip: frozenset[str] = frozenset(), fills: Mapping[str, Enricher] = NO_ENRICHERS
) -> APIRouter:
    """A route for every command of the service that people may send, on cases or on orders."""
    router = APIRouter(responses=ERRORS)
    for spec in owned_by(desk.owner):
        if spec.kind == kind and access.offered(spec.name) and spec.name not in skip:
            _add(router, desk, spec, fills.get(spec.name))
    return router


def _add(router: APIRouter, desk: Desk, spec: CommandSpec, fill: Enricher | None) -> None:
    body_type = body_of(spec.facts)

    async def send(id: str, body: Any, response: Response, caller: Any, key: Any = None) -> Answer:
        address = await locate(desk, id, spec.kind)
        command_id = http_command_id(caller, f"{spec.name} {address.id}", key, desk.clock)
        facts = said(body, spec.facts)
        meta = meta_of(desk, caller, command_id, address.region, body.time, getattr(facts, "channel", "desk"))
        given = await decide(desk, caller, command(address, meta, spec.name, facts), fill)
        response.headers["ETag"] = f'"{given.version}"'
        return given

    send.__annotations__ |= {
        "id": IdText,
        "body": body_type,
        "response": Response,
        "caller": Who,
        "key": Key,
        "return": Answer,
    }
    router.post(
        f"/{spec.kind}s/{{id}}/{spec.name}", name=spec.name, operation_id=f"{desk.owner}_{spec.name}", summary=spec.doc
    )(send)


def http_command_id(caller: Caller, what: str, key: str | None, clock: Clock) -> str:
    """The command id: uuid5 of caller and Idempotency-Key; without a key every request is a new one."""
    return derived_id("http", caller.person, what, key or clock.new_id())


async def after(desk: Desk, model: str, text: str | None) -> bool:
    """Wait until the read model has seen `?after=`. False: the answer may be older. Raises BadRequest."""
    if text is None:
        return True
    try:
        position = Position.parse(text)
    except ValueError as error:
        raise BadRequest(str(error), code="after.malformed") from None
    if position.stream not in desk.log.streams():
        raise BadRequest(f"No such log stream; there are {', '.join(desk.log.streams())}.", code="after.unknown_stream")
    return await desk.reached.wait(model, position, desk.settings.after_wait_s_max)
