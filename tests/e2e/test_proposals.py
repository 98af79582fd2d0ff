"""Proposals for supervision orders, one call from becoming one, and matters that a superior hands down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.client import CITY, COUNTY, HOUSING, MATTER, NOTE, POLICE, TOWNSHIP, Case, Desk, new_key
from tests.support.stack import until

BACK = {"unit": HOUSING, "basis": "职责清单", "note": {"text": "不属本单位职责。"}}


def proposals(desk: Desk, person: str = "jj-supervisor", **params: Any) -> dict[str, dict[str, Any]]:
    """All proposals that a person sees, by id, followed from page to page."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        answer = desk.get(person, "/supervision/proposals", **params)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        for one in told["proposals"]:
            assert one["id"] not in found, "no page repeats another"
            found[one["id"]] = one
        if told["next"] is None:
            return found
        params["cursor"] = told["next"]


def handed_back_twice(desk: Desk) -> Case:
    """A case that the department handed back twice, and has again."""
    case = desk.assigned()
    path = f"/routing/cases/{case.id}"
    for _ in range(2):
        desk.ok("jj-housing", f"{path}/hand-back", BACK)
        desk.ok("jj-triage", f"{path}/triage", {"unit": HOUSING})
        desk.ok("jj-triage", f"{path}/assign", {"unit": HOUSING})
    return case


@pytest.mark.clause("5.1.1f")
def test_what_goes_back_and_forth_is_proposed_with_its_figures_and_one_call_orders_it(desk: Desk) -> None:
    case, many = handed_back_twice(desk), desk.assigned(people_count=7)
    until(lambda: {case.id, many.id} <= proposals(desk).keys(), "both are proposed")
    found = proposals(desk)
    assert found[case.id]["meets"] == [{"what": "hand_backs", "figure": 2, "at_least": 2}]
    assert found[many.id]["meets"] == [{"what": "people", "figure": 7, "at_least": 5}]
    assert (found[case.id]["unit"], found[case.id]["number"]) == (HOUSING, case.number)
    path, key = f"/supervision/proposals/{case.id}/order", new_key()
    order = desk.ok("jj-supervisor", path, {}, key)
    desk.until(case.id, orders=[order["id"]])
    again = desk.ok("jj-supervisor", path, {}, key)
    assert (again["id"], again["event"]) == (order["id"], None)
    desk.refused(422, "idempotency.key_reused", "jj-supervisor", path, {"kind": "listed"}, key)
    desk.refused(409, "proposal.none", "jj-supervisor", path, {})
    told = desk.get("jj-supervisor", f"/reporting/orders/{order['id']}").json()
    assert (told["state"]["unit"], told["state"]["region"]) == (HOUSING, COUNTY), (
        "the supervisor's own centre issues it"
    )
    assert "退回次数 2（达到 2）" in str(told["timeline"][0]), "why is in the order itself"
    until(lambda: case.id not in proposals(desk), "what is ordered is proposed no more")
    assert many.id in proposals(desk)


def test_an_order_may_say_otherwise_than_proposed(desk: Desk) -> None:
    case = desk.assigned(people_count=50)
    due = datetime.now(UTC) + timedelta(days=9)
    said = {"kind": "listed", "unit": POLICE, "due": due.isoformat(), "note": NOTE}
    order = desk.ok("jj-supervisor", f"/supervision/proposals/{case.number}/order", said)
    state = desk.get("jj-supervisor", f"/reporting/orders/{order['id']}").json()["state"]
    assert (state["kind"], state["unit"], datetime.fromisoformat(state["due"])) == ("listed", POLICE, due)
    until(lambda: case.id not in proposals(desk), "the case is under its order")  # else it leaves the list of the next


def test_proposals_are_paged_by_key_and_nobody_sees_what_is_not_theirs(desk: Desk) -> None:
    mine = {desk.waiting(people_count=9).id for _ in range(3)}
    theirs = desk.waiting(people_count=9, region="510703000000", person="fc-window").id
    kept = desk.waiting(people_count=9, stand_aside=["jj-supervisor"]).id
    until(lambda: mine | {theirs, kept} <= proposals(desk, "sc-supervisor").keys(), "all are proposed")
    whole = proposals(desk)
    assert mine <= whole.keys()
    assert not {theirs, kept} & whole.keys()
    assert proposals(desk, limit=1) == whole
    assert proposals(desk, "jj-supervisor", region="510703000000") == {}
    assert mine <= proposals(desk, "cd-supervisor", region=TOWNSHIP).keys()
    assert theirs not in proposals(desk, "sc-supervisor", region=CITY)
    bad = desk.get("jj-supervisor", "/supervision/proposals", cursor="1 or 1")
    assert (bad.status_code, bad.json()["code"]) == (400, "cursor.malformed")


def test_an_order_is_for_who_may_issue_one_about_a_case_of_theirs(desk: Desk) -> None:
    case = desk.assigned(people_count=9)
    path = f"/supervision/proposals/{case.id}/order"
    desk.refused(403, "access.refused", "jj-housing", path, {})
    desk.refused(403, "access.refused", "fc-supervisor", path, {})
    higher = desk.waiting(people_count=9).id
    desk.ok("cd-director", f"/supervision/cases/{higher}/escalate", {"to": CITY, "note": NOTE})
    desk.refused(403, "access.refused", "jj-supervisor", f"/supervision/proposals/{higher}/order", {})
    assert desk.ok("sc-supervisor", f"/supervision/proposals/{higher}/order", {})["status"] == "issued"
    desk.refused(422, "unit.unknown", "jj-supervisor", path, {"unit": f"{COUNTY}-ghosts"})
    desk.refused(422, "not_later", "jj-supervisor", path, {"due": "2020-01-01T00:00:00Z"})
    desk.refused(422, "request.invalid", "jj-supervisor", path, {"colour": "red"})
    desk.refused(409, "proposal.none", "jj-supervisor", f"/supervision/proposals/{desk.assigned().id}/order", {})


@pytest.mark.clause("5.1.1i")
@pytest.mark.clause("11.1")
def test_a_superior_centre_opens_a_case_for_a_centre_below_and_follows_it(desk: Desk) -> None:
    handed = {**MATTER, "channel": "superior", "handed_by": CITY}
    desk.refused(403, "access.refused", "jj-director", "/intake/cases", handed)
    desk.refused(403, "access.refused", "cd-triage", "/intake/cases", handed)
    desk.refused(422, "request.invalid", "cd-director", "/intake/cases", {**handed, "channel": "visit"})
    desk.refused(422, "not_above", "cd-director", "/intake/cases", {**handed, "region": CITY})
    case = desk.register("cd-director", channel="superior", handed_by=CITY)
    state = desk.until(case.id, status="assigned")
    assert (state["handed_by"], state["first_asked"], state["unit"]) == (CITY, "cd-director", HOUSING)
    listed = desk.get("cd-director", "/reporting/cases", region=TOWNSHIP, after=case.position).json()["cases"]
    assert case.id in [one["id"] for one in listed]
    desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    heard: list[str] = []
    head = {"Authorization": "Bearer demo-cd-director", "Last-Event-ID": "0"}
    asked = {"kind": "followed", "region": CITY}
    with desk.client.stream("GET", "/supervision/feed", params=asked, headers=head) as lines:
        for line in lines.iter_lines():
            if line.startswith("data:") and case.id in line:
                heard.append(line)
                break
    assert CITY in heard[0], "the superior hears in its own feed what becomes of it"
