"""Answers that are not a success: RFC 9457 problems, each saying what happened and what to do.

A problem never echoes what was sent in, since it may be a resident's private matter: fields are named, values are not.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.applications import Starlette

MEDIA_TYPE = "application/problem+json"
FIELDS_MAX = 20


class FieldError(BaseModel):
    """One field that cannot be used: where it is and what is wrong, never what it held."""

    field: str
    code: str
    message: str


class Problem(BaseModel):
    """A problem as it stands on the wire (RFC 9457, section 3.1; `code`, `advice` and `fields` are our extensions)."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    code: str
    detail: str
    advice: str = ""
    instance: str | None = None
    fields: tuple[FieldError, ...] = ()


class ProblemError(Exception):
    """An answer that is not a success. `detail` is for people and must hold no private content."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    advice: ClassVar[str] = "Try again; if it stays, tell the operator the time and the trace id."

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        advice: str | None = None,
        retry_after_s: int | None = None,
        fields: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(detail)
        code, status = code or self.code, int(status or self.status)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.problem = Problem(
            type=f"/problems/{code}", title=HTTPStatus(status).phrase, status=status, code=code, detail=detail,
            advice=self.advice if advice is None else advice, fields=tuple(fields[:FIELDS_MAX]),
        )  # fmt: skip


class BadRequest(ProblemError):
    """The request cannot be read as it is."""

    status, code, advice = 400, "request.bad", "Correct the request and send it again."


class Unauthorized(ProblemError):
    """Nobody we know sent it."""

    status, code, advice = 401, "token.missing", "Send the header Authorization: Bearer <token>."

    def __init__(self, detail: str, **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        self.headers["WWW-Authenticate"] = "Bearer"


class Forbidden(ProblemError):
    """The caller is known and may not do this."""

    status, code, advice = 403, "access.refused", "Ask someone whose post and region allow it."


class NotFound(ProblemError):
    """There is nothing there."""

    status, code, advice = 404, "not.found", "Check the address and the number."


class Conflict(ProblemError):
    """It does not fit what stands now."""

    status, code, advice = 409, "conflict", "Read it again and decide anew."


class PreconditionRequired(ProblemError):
    """The decision would replace another one, and nothing says that its sender has read that one (RFC 6585)."""

    status, code, advice = 428, "precondition.required", "Read it, and send the ETag as If-Match."


class TooLarge(ProblemError):
    """It is larger than the limit."""

    status, code, advice = 413, "too.large", "Send less; longer text goes as an attachment."


class Unprocessable(ProblemError):
    """It can be read and cannot be used."""

    status, code, advice = 422, "request.invalid", "Correct the fields named and send it again."


class TooManyRequests(ProblemError):
    """The caller asks more often than is allowed."""

    status, code, advice = 429, "too.many", "Wait as Retry-After says, then send it again."

    def __init__(self, detail: str, *, retry_after_s: int = 60, **kwargs: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **kwargs)


class Unavailable(ProblemError):
    """Something we depend on does not answer; nothing was decided or it can be sent again with the same id."""

    status, code, advice = 503, "unavailable", "Send it again with the same id after the seconds in Retry-After."

    def __init__(self, detail: str, *, retry_after_s: int = 2, **kwargs: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **kwargs)


# Pydantic's errors whose text quotes the input, and what is said instead; a test compares the list with the templates
# of the pydantic installed.
SAID_INSTEAD = {
    "assertion_error": "The value breaks a rule",
    "bytes_invalid_encoding": "The value is not encoded as it should be",
    "date_from_datetime_parsing": "Write a date as 2026-03-02",
    "date_parsing": "Write a date as 2026-03-02",
    "datetime_from_date_parsing": "Write a time as 2026-03-02T09:00:00+08:00",
    "datetime_object_invalid": "The value is no time",
    "datetime_parsing": "Write a time as 2026-03-02T09:00:00+08:00",
    "get_attribute_error": "The value cannot be read",
    "iteration_error": "The value cannot be read as a list",
    "json_invalid": "This is not valid JSON",
    "mapping_type": "Write an object: names and values",
    "no_such_attribute": "There is no such attribute",
    "time_delta_parsing": "Write a duration as PT1H30M",
    "time_parsing": "Write a time of day as 09:00:00",
    "timezone_offset": "The offset from UTC is not the one required",
    "union_tag_invalid": "The kind named is not one of those there are",
    "url_parsing": "The value is not a URL",
    "url_syntax_violation": "The value is not a URL",
    "uuid_parsing": "Write a UUID: 8-4-4-4-12 hex digits",
    "value_error": "The value breaks a rule",
}
OWN_FAULTS = {
    "parameter.unknown": "This address has no such parameter",
    "parameter.repeated": "This parameter comes once",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9-]{0,63}")


def describe(errors: Iterable[Mapping[str, Any]]) -> tuple[FieldError, ...]:
    """Pydantic's errors without a trace of the input.

    A validator of ours that wants its message shown raises PydanticCustomError with a text that holds no input; the
    text of a plain ValueError is not shown.
    """
    return tuple(_described(error) for error in list(errors)[:FIELDS_MAX])


def field_error(field: str, code: str) -> FieldError:
    """A fault of a field that we find ourselves. Of a name that may be content, `?` is shown."""
    prefix, _, name = field.rpartition(".")
    return FieldError(field=f"{prefix}.{name if _NAME.fullmatch(name) else '?'}", code=code, message=OWN_FAULTS[code])


def _described(error: Mapping[str, Any]) -> FieldError:
    kind = str(error["type"])
    message = SAID_INSTEAD.get(kind) or str(error["msg"])
    parts = (str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "?" for part in error["loc"])
    return FieldError(field=".".join(parts), code=kind, message=message)


def install(
    app: Starlette,
    translations: Mapping[type[Exception], Callable[[Any], ProblemError]] | None = None,
    trace_id: Callable[[], str | None] = lambda: None,
) -> None:
    """Answer every error of `app` with a problem.

    `translations` turn exceptions of other layers into ours; `trace_id` gives the `instance` an operator can look up.
    """
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    from shared.kit.languages import in_language, language_of

    def invalid(error: RequestValidationError) -> ProblemError:
        return Unprocessable("The request has fields that cannot be used.", fields=describe(error.errors()))

    def http(error: HTTPException) -> ProblemError:
        status = HTTPStatus(error.status_code)
        if isinstance(error.__cause__, ProblemError):  # FastAPI wraps whatever ends the reading of a body
            return error.__cause__
        if status is HTTPStatus.BAD_REQUEST:
            return BadRequest(
                "The body cannot be read as what Content-Type says that it is.", code="body.unreadable",
                advice="Send JSON in UTF-8 as application/json, or a form with its boundary.",
            )  # fmt: skip
        problem = ProblemError(
            status.description or status.phrase, status=status, code=f"http.{status.value}",
            advice="Check address and method; /openapi.json of the service lists what there is.",
        )  # fmt: skip
        problem.headers |= error.headers or {}
        return problem

    def unknown(error: Exception) -> ProblemError:
        return ProblemError("Something went wrong on our side.")

    def handler(translate: Callable[[Any], ProblemError]) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handle(request: Request, error: Exception) -> Response:
            problem = translate(error)
            trace = trace_id()
            language = language_of(request.headers.get("accept-language"))
            body = in_language(problem.problem, language).model_copy(update={"instance": trace and f"/traces/{trace}"})
            defaults = {name for name, field in type(body).model_fields.items() if getattr(body, name) == field.default}
            content = body.model_dump_json(exclude=defaults)
            headers = problem.headers | {"Content-Language": language, "Vary": "Accept-Language"}
            return Response(content, body.status, headers=headers, media_type=MEDIA_TYPE)

        return handle

    kinds: dict[type[Exception], Callable[[Any], ProblemError]] = {
        ProblemError: lambda error: error, RequestValidationError: invalid, HTTPException: http, Exception: unknown,
    }  # fmt: skip
    for kind, translate in (kinds | dict(translations or {})).items():
        app.add_exception_handler(kind, handler(translate))
