from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError
from pydantic_core._pydantic_core import list_all_errors

from shared.kit import problems
from shared.kit.problems import NotFound, TooManyRequests, Unauthorized, Unavailable

SECRET = "13800001111"
# words of pydantic's templates that come from the rule, not from the input
RULE_WORDS = {
    "actual_length", "class", "class_name", "decimal_places", "discriminator", "expected", "expected_plural",
    "expected_schemes", "expected_version", "field_type", "ge", "gt", "le", "lt", "max_digits", "max_length",
    "method_name", "min_length", "multiple_of", "pattern", "whole_digits",
}  # fmt: skip


def refuse(value: str) -> str:
    raise ValueError(f"not {value}")


def explain(value: str) -> str:
    raise PydanticCustomError("reason.missing", "A hand-back needs a reason")


class Body(BaseModel, extra="forbid"):
    phone: Annotated[str, Field(max_length=3)] = ""
    at: datetime | None = None
    checked: Annotated[str, AfterValidator(refuse)] | None = None
    reason: Annotated[str, AfterValidator(explain)] | None = None
    kind: Literal["a", "b"] = "a"


class LogAway(Exception):
    """An exception of another layer."""


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    app = FastAPI()
    problems.install(app, {LogAway: lambda _: Unavailable("The log does not answer.")}, lambda: "4bf9")
    raised = {
        "missing": NotFound("There is no such case."), "token": Unauthorized("No token."), "away": LogAway(SECRET),
        "rate": TooManyRequests("Too many look-ups.", retry_after_s=30), "bug": RuntimeError(SECRET),
    }  # fmt: skip

    @app.get("/raise/{what}")
    async def raise_it(what: str) -> None:
        raise raised[what]

    @app.post("/body")
    async def body(body: Body) -> None: ...

    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


@pytest.mark.parametrize(
    ("what", "status", "code", "header"),
    [
        ("missing", 404, "not.found", None),
        ("token", 401, "token.missing", ("www-authenticate", "Bearer")),
        ("rate", 429, "too.many", ("retry-after", "30")),
        ("away", 503, "unavailable", ("retry-after", "2")),
        ("bug", 500, "internal", None),
    ],
)
async def test_every_error_is_a_problem(
    client: AsyncClient, what: str, status: int, code: str, header: tuple[str, str] | None
) -> None:
    answer = await client.get(f"/raise/{what}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    assert problem["title"]
    assert problem["detail"]
    assert problem["advice"]
    assert problem["instance"] == "/traces/4bf9"
    assert SECRET not in answer.text
    if header:
        assert answer.headers[header[0]] == header[1]


async def test_addresses_and_methods_that_are_not_there(client: AsyncClient) -> None:
    assert (await client.get(f"/{SECRET}")).json()["code"] == "http.404"
    answer = await client.delete("/body")
    assert (answer.json()["code"], answer.headers["allow"]) == ("http.405", "POST")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"phone": SECRET}, "body.phone"),
        ({"at": SECRET + "x"}, "body.at"),
        ({"checked": SECRET}, "body.checked"),
        ({"kind": SECRET}, "body.kind"),
        ({SECRET: 1}, "body.?"),
        ([SECRET], "body"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named_and_its_value_is_not(
    client: AsyncClient, body: object, field: str
) -> None:
    answer = await client.post("/body", json=body)
    assert answer.status_code == 422
    assert [wrong["field"] for wrong in answer.json()["fields"]] == [field]
    assert SECRET not in answer.text


async def test_broken_json_and_a_rule_of_ours_are_explained(client: AsyncClient) -> None:
    broken = await client.post("/body", content='{"phone": "' + SECRET, headers={"content-type": "application/json"})
    assert broken.json()["fields"][0]["code"] == "json_invalid"
    assert SECRET not in broken.text
    ours = await client.post("/body", json={"reason": SECRET})
    assert ours.json()["fields"] == [
        {"field": "body.reason", "code": "reason.missing", "message": "A hand-back needs a reason"}
    ]


def test_the_list_of_errors_that_quote_input_is_that_of_the_installed_pydantic() -> None:
    quoting = {
        error["type"]
        for error in list_all_errors()
        if not set(re.findall(r"{(\w+)}", error["message_template_python"])) <= RULE_WORDS
    }
    assert quoting == set(problems.SAID_INSTEAD)
