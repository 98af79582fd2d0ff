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
