"""The HTTP contract of all services, read from their OpenAPI documents and asked of their apps without any server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from httpx import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette
from starlette.routing import Mount

from infra.dev import CHECKOUT
from infra.dev.generate import app_without_servers
from shared.case.base import Owner
from shared.case.commands import COMMANDS
from shared.kit.bodies import RegisterBody

APPS = {owner: app_without_servers(owner) for owner in Owner}
DOCUMENTS: dict[Owner, dict[str, Any]] = {owner: app.openapi() for owner, app in APPS.items()}
# Answers with a list that has an end of its own: all clocks of a case, all its events, one row per region below.
NO_LISTS = {
    "supervision_deadlines", "supervision_deadline", "reporting_case", "reporting_order", "reporting_counts",
    "intake_public_look_up", "routing_rules", "routing_suggestions",
    "reporting_attachment_metadata",
}  # fmt: skip


def operations() -> Iterator[tuple[Owner, str, str, dict[str, Any]]]:
    """Every operation of every service: the service, method, path, and its part of the document."""
    for owner, document in DOCUMENTS.items():
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield owner, method, path, operation


OPERATIONS = {operation["operationId"]: (owner, method, path) for owner, method, path, operation in operations()}


def operation_of(id: str) -> dict[str, Any]:
    owner, method, path = OPERATIONS[id]
    part: dict[str, Any] = DOCUMENTS[owner]["paths"][path][method]
    return part


def resolved(owner: Owner, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the component that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENTS[owner]["components"]["schemas"][name] if name else schema


def objects(owner: Owner, schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object inside a schema."""
    if isinstance(schema, list):
        for part in schema:
            yield from objects(owner, part)
    elif isinstance(schema, dict) and "$ref" in schema:
        yield from objects(owner, resolved(owner, schema))
    elif isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for name, part in schema.items():
            yield from objects(owner, list(part.values()) if name == "properties" else part)


async def ask(owner: Owner, method: str, path: str, **options: Any) -> Response:
    """Ask the app of a service; without servers."""
    transport = ASGITransport(APPS[owner], raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://caseflow") as client:
        return await client.request(method, path, **options)


def filled(path: str) -> str:
    return path.replace("{", "").replace("}", "")


@pytest.mark.parametrize("owner", Owner)
async def test_every_address_refuses_a_parameter_that_it_does_not_have(owner: Owner) -> None:
    transport = ASGITransport(APPS[owner], raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://caseflow") as client:
        for path, methods in DOCUMENTS[owner]["paths"].items():
            for method, operation in methods.items():
                answer = await client.request(method, filled(path), params={"lmit": "5"})
                problem = answer.json()
                assert (answer.status_code, problem["code"]) == (422, "parameter.unknown"), f"{method} {path}"
                assert [fault["field"] for fault in problem["fields"]] == ["query.lmit"]
                known = [part["name"] for part in operation.get("parameters", ()) if part["in"] == "query"]
                assert all(name in problem["detail"] for name in known), "the answer names those there are"


async def test_a_parameter_that_comes_once_is_refused_twice_and_a_list_is_not() -> None:
    twice = await ask(Owner.REPORTING, "GET", "/cases?limit=5&limit=6")
    assert (twice.status_code, twice.json()["code"]) == (422, "parameter.repeated")
    kinds = await ask(Owner.SUPERVISION, "GET", "/feed?kind=overdue&kind=warned")
    assert kinds.json()["code"] == "token.missing"
    secret = await ask(Owner.REPORTING, "GET", "/cases", params={"张三 13800001111": "x"})
    assert [fault["field"] for fault in secret.json()["fields"]] == ["query.?"]
    assert "13800001111" not in secret.text


def test_every_list_has_the_same_pages() -> None:
    lists = {}
    for owner, method, path, operation in operations():
        content = operation["responses"].get("200", {}).get("content", {}).get("application/json")
        if method != "get" or content is None or operation["operationId"] in NO_LISTS:
            continue
        answer = resolved(owner, content["schema"])
        shown = {name for name, part in answer.get("properties", {}).items() if part.get("type") == "array"}
        if answer.get("type") == "array" or (shown and "id" not in answer["properties"]):
            lists[path] = {part["name"]: part["schema"] for part in operation["parameters"] if part["in"] == "query"}
            assert "next" in answer["properties"], path
    assert len(lists) >= 7
    for path, parameters in lists.items():
        assert {"cursor", "limit"} <= parameters.keys(), path
        assert (parameters["limit"]["minimum"], parameters["limit"]["default"]) == (1, 50), path


def test_every_body_refuses_fields_that_it_does_not_have() -> None:
    for owner, method, path, operation in operations():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for schema in objects(owner, content["schema"]):
                assert schema.get("additionalProperties") is False, f"{method} {path} {media_type}: {schema}"


def test_every_operation_is_described_and_grouped() -> None:
    for owner, method, path, operation in operations():
        assert operation["summary"].endswith("."), operation["operationId"]
        assert operation["description"].endswith("."), f"write `text` of {operation['operationId']}"
        assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENTS[owner]["tags"]}, f"{method} {path}"


def test_the_rows_of_operations_are_those_of_routes() -> None:
    for owner in Owner:
        rows = yaml.safe_load((CHECKOUT / "services" / owner / "operations.yaml").read_text())
        assert not rows.keys() - {id for id, (own, _, _) in OPERATIONS.items() if own is owner}


def test_every_error_is_a_problem_and_every_operation_may_answer_with_one() -> None:
    for owner, _, path, operation in operations():
        assert {"401", "422", "default"} <= operation["responses"].keys(), path
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], f"{path} {status}"
                assert resolved(owner, response["content"]["application/problem+json"]["schema"])["title"] == "Problem"


def test_every_body_has_an_example_that_fits_its_schema() -> None:
    for owner, method, path, operation in operations():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            (example,) = content.get("examples", {"": None}).values()
            assert example is not None, f"write an `example` of {operation['operationId']}"
            schema = {**content["schema"], "components": DOCUMENTS[owner]["components"]}
            jsonschema_rs.validator_for(schema, validate_formats=True).validate(example["value"])
            assert media_type in ("application/json", "multipart/form-data"), f"{method} {path}"
    case = operation_of("intake_register_with_attachments")["requestBody"]["content"]["multipart/form-data"]
    RegisterBody.model_validate_json(case["examples"]["example"]["value"]["case"])


@pytest.mark.parametrize("owner", Owner)
async def test_the_document_asks_for_a_token_where_the_service_does(owner: Owner) -> None:
    for own, method, path, operation in operations():
        if own is not owner:
            continue
        schemes = {name for scheme in operation["security"] for name in scheme}
        assert schemes == ({"caseSecret"} if path.startswith("/public") else {"bearer"}), f"{method} {path}"
        if schemes == {"bearer"}:
            answer = await ask(owner, method.upper(), filled(path))
            assert answer.json()["code"] in ("token.missing", "request.invalid"), f"{method} {path}"


def test_an_idempotency_key_is_documented_for_every_command() -> None:
    for _, method, path, operation in operations():
        _, _, name = operation["operationId"].partition("_")
        if method == "post" and name in COMMANDS:
            assert "Idempotency-Key" in {part["name"] for part in operation["parameters"]}, f"{method} {path}"


@pytest.mark.parametrize("owner", Owner)
async def test_the_page_of_the_document_needs_no_other_host(owner: Owner) -> None:
    origin = Starlette(routes=[Mount(f"/{owner}", APPS[owner])])
    async with AsyncClient(transport=ASGITransport(origin), base_url="http://caseflow") as client:
        page = await client.get(f"/{owner}/docs")
        assert "http" not in page.text.replace("http-equiv", ""), "no address of another host"
        assert "default-src 'self'" in page.headers["content-security-policy"]
        addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page.text)
        assert len(addresses) == 4
        for address in (first or second for first, second in addresses):
            answer = await client.get(str(httpx.URL(f"http://caseflow/{owner}/docs").join(address)))
            assert answer.status_code == 200, address
        assert (await client.get(f"/{owner}/docs/..%2fcore.py")).status_code in (404, 422)
