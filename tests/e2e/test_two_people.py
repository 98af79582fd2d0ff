"""Two people at once: ETag and If-Match over HTTP, the answers 428, 412 and 400, and a request that is sent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.client import COUNTY, HOUSING, LABOUR, NOTE, POLICE, SETTLE, Case, Desk, new_key

ANY = "*"


def triaged(desk: Desk) -> Case:
    """A case that the desk has triaged after its clock was set: no reaction follows."""
    case = desk.waiting()
    desk.until_clocked(case.id)
    desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": HOUSING})
    return case


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer with this status and code. Raises AssertionError for another answer."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    assert document["advice"]
    return document


def test_the_first_decision_of_its_kind_needs_no_if_match_and_a_later_one_does(desk: Desk) -> None:
    case = triaged(desk)
    path = f"/routing/cases/{case.id}/triage"
    refusal = problem(desk.post("jj-triage", path, {"unit": POLICE}), 428, "precondition.required")
    assert f"/reporting/cases/{case.id}" in refusal["advice"]
    assert "since" not in refusal
    assert desk.state(case.id)["triaged_unit"] == HOUSING
    answer = desk.post("jj-triage", path, {"unit": POLICE}, if_match=desk.etag(case.id))
    assert answer.status_code == 200, answer.text
    assert desk.state(case.id)["triaged_unit"] == POLICE


def test_who_decides_on_an_older_state_is_shown_what_came_since_and_tries_again(desk: Desk) -> None:
    case = triaged(desk)
    tag, path = desk.etag(case.id), f"/routing/cases/{case.id}/triage"
    desk.ok("jj-window", f"/intake/cases/{case.id}/supplement", {"note": NOTE})
    answer = desk.post("jj-triage", path, {"unit": POLICE}, if_match=tag)
    refusal = problem(answer, 412, "precondition.failed")
    (first, *_) = since = refusal["since"]
    version_read = int(tag.strip('"'))
    assert since == desk.timeline(case.id, "jj-triage")["timeline"][version_read:][: len(since)]
    assert first["facts"]["note"]["text"] == NOTE["text"]
    again = desk.post("jj-triage", path, {"unit": POLICE}, if_match=answer.headers["etag"])
    assert again.status_code == 200, again.text


def test_the_events_since_are_those_that_the_caller_may_see(desk: Desk) -> None:
    """An informant's name is kept from the unit, in an answer of a refusal as well."""
    case = desk.handled(informant=True)
    path = f"/routing/cases/{case.id}/reassign"
    answer = desk.post("jj-housing", path, {"unit": HOUSING, "person": "jj-housing"}, if_match='"of-nobody"')
    refusal = problem(answer, 412, "precondition.failed")
    since = refusal["since"]
    assert since == desk.timeline(case.id, "jj-housing")["timeline"][: len(since)]
    assert "reporter" in since[0]["sealed"]
    assert "张三" not in answer.text
    assert desk.post("fc-director", path, {"unit": HOUSING, "person": "x"}, if_match='"1"').status_code == 403


def test_one_state_has_one_tag_at_every_service_and_in_every_answer(desk: Desk) -> None:
    case = triaged(desk)
    answer = desk.post("jj-window", f"/intake/cases/{case.id}/supplement", {"note": NOTE})
    tag = answer.headers["etag"]
    assert tag == f'"{answer.json()["version"]}"'
    look_up = desk.send("GET", None, f"/intake/public/{case.number}", headers={"Case-Secret": case.secret})
    tags = {
        desk.etag(case.id),
        desk.get("jj-director", f"/supervision/cases/{case.id}/deadlines").headers["etag"],
        look_up.headers["etag"],
    }
    assert tags == {tag}
    flow = desk.get("sc-auditor", f"/reporting/cases/{case.id}").headers["etag"]
    assert flow != tag, "another representation has another tag"
    assert desk.post("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": POLICE}, if_match=flow).is_success


def test_an_order_has_a_tag_as_well(desk: Desk) -> None:
    case = desk.assigned()
    body = {
        "kind": "ordinary", "region": COUNTY, "unit": HOUSING, "cases": [case.id],
        "due": "2099-01-01T00:00:00+08:00", "note": NOTE,
    }  # fmt: skip
    issued = desk.post("jj-supervisor", "/supervision/orders", body)
    order, tag = issued.json()["id"], issued.headers["etag"]
    assert tag == desk.etag(order, kind="orders")
    path = f"/supervision/orders/{order}/withdraw-order"
    problem(desk.post("jj-supervisor", path, {"note": NOTE}), 428, "precondition.required")
    desk.ok("jj-housing", f"/supervision/orders/{order}/answer-order", {"note": NOTE})
    refusal = problem(desk.post("jj-supervisor", path, {"note": NOTE}, if_match=tag), 412, "precondition.failed")
    assert [entry["type"] for entry in refusal["since"]] == ["order.answered"]
    assert desk.post("jj-supervisor", path, {"note": NOTE}, if_match=f'{tag}, "2"').is_success


@pytest.mark.parametrize("decision", ["triage", "settle", "reassign", "correct", "assign"])
def test_of_two_who_decide_at_the_same_instant_one_is_told_of_the_other(desk: Desk, decision: str) -> None:
    first: tuple[str, dict[str, Any]]
    second: tuple[str, dict[str, Any]]
    if decision == "triage":
        case, person, service = triaged(desk), "jj-triage", "routing"
        first, second = ("triage", {"unit": POLICE}), ("triage", {"unit": LABOUR})
    elif decision == "correct":
        case, person, service = triaged(desk), "jj-director", "intake"
        first, second = (("correct", {"nature": nature, "note": NOTE}) for nature in ("suggestion", "complaint"))
    elif decision == "assign":
        case, person, service = desk.assigned(), "jj-director", "routing"
        first, second = ("assign", {"unit": POLICE}), ("assign", {"unit": LABOUR})
    else:
        case, person, service = desk.handled(), "jj-housing", "routing"
        first, second = (
            ("reassign", {"unit": HOUSING, "person": "jj-housing"}),
            ("reassign", {"unit": HOUSING, "person": "jj-housing"}),
        )
        if decision == "settle":
            person, first, second = "jj-housing-1", ("settle", SETTLE), ("settle", {**SETTLE, "outcome": "explained"})
    desk.until_clocked(case.id)
    tag = desk.etag(case.id)

    def decide(command: tuple[str, dict[str, Any]]) -> httpx.Response:
        return desk.post(person, f"/{service}/cases/{case.id}/{command[0]}", command[1], if_match=tag)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(decide, (first, second)))
    assert sorted(answer.status_code for answer in answers) in ([200, 412], [412, 412]), [a.text for a in answers]


def test_the_same_request_again_gets_its_first_answer_whatever_came_since(desk: Desk) -> None:
    case, key = triaged(desk), new_key()
    path, body, tag = f"/routing/cases/{case.id}/triage", {"unit": POLICE}, desk.etag(case.id)
    first = desk.post("jj-triage", path, body, key, tag)
    assert first.status_code == 200, first.text
    desk.ok("jj-window", f"/intake/cases/{case.id}/supplement", {"note": NOTE})
    for if_match in (tag, None, ANY):
        again = desk.post("jj-triage", path, body, key, if_match)
        assert (again.status_code, again.json()["event"]) == (200, None)
    problem(desk.post("jj-triage", path, {"unit": LABOUR}, key, tag), 422, "idempotency.key_reused")
    assert desk.types(case.id).count("case.triaged") == 2


@pytest.mark.parametrize(
    ("lines", "status"),
    [([ANY], 200), (['"0", "{v}"'], 200), (['"0"', '"{v}"'], 200), (['W/"{v}"'], 412), (['"0"', 'W/"{v}"'], 412),
     (["{v}"], 400), ([""], 400), (["*", '"{v}"'], 400), (['"{v}'], 400)],
)  # fmt: skip
def test_if_match_is_read_as_its_rfc_says(desk: Desk, lines: list[str], status: int) -> None:
    case = triaged(desk)
    version = desk.etag(case.id).strip('"')
    headers = [("Authorization", "Bearer demo-jj-triage")] + [
        ("If-Match", line.replace("{v}", version)) for line in lines
    ]
    url = f"/routing/cases/{case.id}/triage"
    answer = desk.client.post(url, json={"unit": POLICE}, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert "If-Match" in problem(answer, 400, "precondition.malformed")["advice"]


def test_what_only_adds_needs_no_if_match_and_honours_one(desk: Desk) -> None:
    case = desk.waiting()
    desk.until_clocked(case.id)
    tag, path = desk.etag(case.id), f"/intake/cases/{case.id}/supplement"
    assert desk.post("jj-window", path, {"note": NOTE}).is_success
    problem(desk.post("jj-window", path, {"note": NOTE}, if_match=tag), 412, "precondition.failed")


def test_a_resident_s_rating_is_never_shown_the_events(desk: Desk) -> None:
    case = desk.settled()
    headers = {"Case-Secret": case.secret, "If-Match": '"1"'}
    path = f"/intake/public/{case.number}/rate"
    answer = desk.send("POST", None, path, json={"satisfaction": "satisfied"}, headers=headers)
    assert "since" not in problem(answer, 412, "precondition.failed")


def test_a_resident_rates_after_all(desk: Desk) -> None:
    case = desk.settled()
    headers = {"Case-Secret": case.secret, "If-Match": ANY}
    path = f"/intake/public/{case.number}/rate"
    answer = desk.send("POST", None, path, json={"satisfaction": "satisfied"}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'


@pytest.mark.parametrize("service", ["intake", "routing", "supervision"])
def test_the_contract_names_the_header_and_the_answers(desk: Desk, service: str) -> None:
    paths = desk.get(None, f"/{service}/openapi.json").json()["paths"]
    commands = {
        path: item["post"]
        for path, item in paths.items()
        if "post" in item and path.startswith(("/cases/{id}/", "/orders/{id}/"))
    }
    of_commands = {path: post for path, post in commands.items() if "412" in post["responses"]}
    assert set(commands) - set(of_commands) <= {"/cases/{id}/attachments", "/cases/{id}/secret"}
    for path, post in of_commands.items():
        assert "If-Match" in [parameter["name"] for parameter in post["parameters"]], path
        assert "ETag" in post["responses"]["200"]["headers"], path
