"""HTTP in and out: bearer tokens to callers, bodies to commands, answers to responses. Nothing is decided here.

`POST /<service>/cases/<id>/<command>` takes the command's facts as its body. `Idempotency-Key` makes sending again
harmless; the same key with another body is 422. The answer carries the position, for `?after=`, and an ETag, for
`If-Match`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.case.base import Owner
from shared.case.commands import CommandSpec, owned_by
from shared.kit import access
from shared.kit.access import Caller
from shared.kit.application import Answer, Application
from shared.kit.bodies import body_of, facts_of_body
from shared.kit.command_handler import command
from shared.kit.preconditions import UNSTATED, Precondition, entity_tag, read_if_match
from shared.kit.problems import Problem, Unauthorized
from shared.kit.timeline import ChangedProblem

IDEMPOTENCY_KEY_CHARS_MAX = 200
IdText = Annotated[str, Path(min_length=1, max_length=80, description="The case's id, or its number")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=IDEMPOTENCY_KEY_CHARS_MAX, pattern=r"^[\x21-\x7e]+$",
        description="A text of the caller's own for this one request: sent again with it, the request happens once",
    ),
]  # fmt: skip
IfMatch = Annotated[
    list[str] | None,
    Header(alias="If-Match", description="The ETag of the state that the decision rests on; * for any"),
]
WITH_ETAG: dict[str, Any] = {
    "headers": {"ETag": {"description": "The state, for If-Match", "schema": {"type": "string"}}}
}
BEARER = HTTPBearer(auto_error=False, scheme_name="bearer", description="A token of a person, a platform or a gateway")
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 409, 410, 413, 422, 429, 503)
} | {"default": {"model": Problem, "description": "Any other error"}}


async def application_of(request: Request) -> Application:
    """The application layer of the service that a request came to."""
    application: Application = request.app.state.application
    return application


App = Annotated[Application, Depends(application_of)]


Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def caller_of(application: App, bearer: Bearer) -> Caller:
    """The person of the bearer token of a request. Raises Unauthorized."""
    if bearer is None or not bearer.credentials:
        raise Unauthorized("This address needs a bearer token.")
    caller = application.identity.caller(bearer.credentials.strip())
    if caller is None:
        raise Unauthorized("The token is not known or no longer in force.", code="token.unknown")
    return caller


Who = Annotated[Caller, Depends(caller_of)]


def precondition_of(lines: Sequence[str] | None) -> Precondition:
    """The precondition of a command over HTTP, by the lines of its If-Match. Raises BadRequest."""
    return read_if_match(lines) if lines else UNSTATED


class CommandEndpoint:
    """The endpoint of one command of the catalogue, with the command's own body type in its signature."""

    def __init__(self, spec: CommandSpec) -> None:
        self.spec, self.__name__ = spec, spec.name
        self.__doc__ = None  # the summary of the route says what the command is for
        types = {
            "application": App, "id": IdText, "body": body_of(spec.facts), "response": Response, "caller": Who,
            "key": IdempotencyKey, "if_match": IfMatch,
        }  # fmt: skip
        keyword = inspect.Parameter.KEYWORD_ONLY
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    keyword,
                    annotation=type_,
                    default=None if name in ("key", "if_match") else inspect.Parameter.empty,
                )
                for name, type_ in types.items()
            ],
            return_annotation=Answer,
        )

    async def __call__(
        self,
        *,
        application: Application,
        id: str,
        body: Any,
        response: Response,
        caller: Caller,
        key: str | None,
        if_match: list[str] | None,
    ) -> Answer:
        """Translate, execute, answer. Raises ProblemError."""
        spec, precondition = self.spec, precondition_of(if_match)
        address = await application.locate(id, spec.kind)
        command_id = application.command_id(caller, f"{spec.name} {address.id}", key)
        facts = facts_of_body(body, spec.facts)
        meta = application.meta(caller, command_id, address.region, body.time, getattr(facts, "channel", "desk"))
        given = command(address, meta, spec.name, facts)
        answer = await application.execute(caller, given, precondition=precondition)
        response.headers["ETag"] = entity_tag(answer.version)
        return answer


def command_router(owner: Owner, kind: str, skip: frozenset[str] = frozenset()) -> APIRouter:
    """A route for every command of a service that people may send, on cases or on orders."""
    router = APIRouter(responses=ERRORS)
    for spec in owned_by(owner):
        if spec.kind == kind and access.offered(spec.name) and spec.name not in skip:
            router.post(
                f"/{spec.kind}s/{{id}}/{spec.name}",
                name=spec.name,
                operation_id=f"{owner}_{spec.name}",
                summary=spec.doc,
                response_model=Answer,
                responses=answers_to(spec),
            )(CommandEndpoint(spec))
    return router


def answers_to(spec: CommandSpec) -> dict[int | str, dict[str, Any]]:
    """The answers of a command that If-Match leads to, for the contract."""
    answers: dict[int | str, dict[str, Any]] = {
        200: WITH_ETAG,
        412: {
            "model": ChangedProblem,
            "description": "It has changed since the state that If-Match names",
            **WITH_ETAG,
        },
    }
    if spec.replaces:
        described = f"If-Match is required where the command replaces {spec.replaces}"
        answers[428] = {"model": Problem, "description": described}
    return answers
