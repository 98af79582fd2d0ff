"""Whatever the OpenAPI of a service allows, and much that it does not, is answered; never with a fault of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.support import DEEP
from tests.support.client import Desk
from tests.support.stack import Stack

SERVICES = ("intake", "routing", "supervision", "reporting")
PEOPLE = ("jj-director", "jj-window", "jj-triage", "jj-housing", "jj-supervisor", "jj-records", "sc-auditor", "nobody")
EXAMPLES = 150 if DEEP else 3  # per operation and mode
ANSWER_S_MAX = 20


@pytest.fixture(scope="module")
def ids(stack: Stack) -> Iterator[list[str]]:
    """Cases in several situations, so that commands reach the law and not only the door."""
    with closing(Desk(stack.url)) as desk:
        cases = desk.waiting(), desk.assigned(), desk.handled(), desk.closed()
        yield [*(case.id for case in cases), cases[0].number]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(7200 if DEEP else 120)
def test_nothing_that_is_sent_makes_a_fault_of_ours(
    stack: Stack, ids: list[str], service: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{stack.url}/{service}/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        asked += _ask(result.ok(), stack, ids, mode)
    assert asked > EXAMPLES, "hardly anything was asked"


def _ask(operation: Any, stack: Stack, ids: list[str], mode: GenerationMode) -> int:
    """Ask one operation with generated requests; how many. Fails on a 5xx, and on an error that is no problem."""
    asked = 0

    @seed(0)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode), st.sampled_from(PEOPLE), st.sampled_from([None, *ids]))
    def ask(case: Any, person: str, id: str | None) -> None:
        nonlocal asked
        if id is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = id
        if isinstance(case.query, dict):
            case.query.pop("live", None)  # this one goes on for ever, as it should
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer demo-{person}", "Accept": "*/*"}
        if case.path == "/feed":  # whoever is let in listens for an hour: ask all but for the last check
            case.headers["Last-Event-ID"] = "none"
        answer = case.call(base_url=f"{stack.url}{operation.base_url.removeprefix(stack.url)}", timeout=ANSWER_S_MAX)
        asked += 1
        assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"][0] == "application/problem+json", case.as_curl_command()

    ask()
    return asked


# The life of the case of the first example, by examples alone; all other examples are sent too, and may come too early.
LIFE = (
    ("intake_supplement", "jj-window"), ("routing_sign-for", "jj-housing"), ("routing_progress", "jj-housing"),
    ("supervision_urge", "jj-supervisor"), ("supervision_hold", "jj-director"), ("routing_settle", "jj-housing"),
    ("intake_call-back", "jj-callback"),
)  # fmt: skip


def test_every_example_of_a_body_may_be_sent(stack: Stack) -> None:
    examples = {}
    with closing(Desk(stack.url)) as desk:
        for service in SERVICES:
            for path, methods in desk.get(None, f"/{service}/openapi.json").json()["paths"].items():
                for operation in methods.values():
                    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                    if content is not None:
                        example = content["examples"]["example"]["value"]
                        examples[operation["operationId"]] = f"/{service}{path}", example
        path, body = examples.pop("intake_register")
        case = desk.ok("jj-window", path, body)
        desk.until(case["id"], status="assigned")
        for name, person in LIFE:
            path, body = examples.pop(name)
            desk.ok(person, path.replace("{id}", case["id"]), body)
        for name, (path, body) in examples.items():
            for parameter in ("{id}", "{number}"):
                path = path.replace(parameter, case["id"])
            answer = desk.post("jj-director", path.replace("{item}", case["id"]), body)
            assert answer.status_code < 500, f"{name}: {answer.text}"
            assert answer.status_code < 400 or answer.json()["code"] != "request.invalid", f"{name}: {answer.text}"
