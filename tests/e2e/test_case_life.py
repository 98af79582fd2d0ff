"""One case by HTTP from intake to close, and the ways it may take in between."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import HOUSING, NOTE, SETTLE, Case, Desk
from tests.support.stack import until

HAPPY = {"contacted": True, "outcome": "solved", "satisfaction": "satisfied"}
UNHAPPY = {"contacted": True, "outcome": "unsolved", "satisfaction": "dissatisfied", "note": {"text": "没有修好。"}}


def step_names(desk: Desk, number: str, secret: str) -> list[str]:
    public = desk.get(None, f"/intake/public/{number}", secret=secret).json()
    return [step["step"] for step in public["steps"]]


@pytest.mark.clause("5.1.2a")
@pytest.mark.clause("5.1.3a")
@pytest.mark.clause("8.1f")
def test_a_demand_is_taken_in_triaged_assigned_signed_for_settled_called_back_and_closed(desk: Desk) -> None:
    case = desk.register()
    path = f"/routing/cases/{case.id}"
    state = desk.until(case.id, status="assigned")
    assert (state["unit"], state.get("person")) == (HOUSING, None)
    public = desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()
    assert (public["status"], public["reply"]) == ("assigned", None)

    signed = desk.ok("jj-housing", f"{path}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    assert signed["status"] == "handling"
    desk.ok("jj-housing-1", f"/routing/cases/{case.number}/progress", {"unit": HOUSING, "note": NOTE})
    assert desk.ok("jj-housing-1", f"{path}/settle", SETTLE)["status"] == "settled"
    desk.ok("jj-callback", f"/intake/cases/{case.id}/call-back", HAPPY)
    desk.until(case.id, status="closed")

    public = desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()
    assert (public["status"], public["reply"]) == ("closed", SETTLE["reply"]["text"])  # type: ignore[index]
    assert desk.types(case.id) == [
        "case.registered", "case.triaged", "case.assigned", "case.signed_for", "case.progressed", "case.settled",
        "case.called_back", "case.closed",
    ]  # fmt: skip
    timeline = {entry["type"]: entry for entry in desk.timeline(case.id)["timeline"]}
    triaged, assigned = timeline["case.triaged"], timeline["case.assigned"]
    assert [entry["actor"]["person"] for entry in (triaged, assigned)] == ["service-routing"] * 2
    assert triaged["facts"]["rule"] == "property"
    assert "@" in triaged["facts"]["rule_reference"], "a decision says which version of the rule made it"


def test_not_satisfied_means_sent_back_and_handled_again(desk: Desk) -> None:
    case = desk.settled()
    desk.ok("jj-callback", f"/intake/cases/{case.id}/call-back", UNHAPPY)
    state = desk.until(case.id, status="handling")
    assert (state["unit"], state["person"], state["send_backs"]) == (HOUSING, "jj-housing-1", 1)
    assert desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()["reply"] is None
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", SETTLE)
    desk.ok("jj-callback", f"/intake/cases/{case.id}/call-back", HAPPY)
    desk.until(case.id, status="closed")
    assert step_names(desk, case.number, case.secret)[-4:] == ["settled", "handled_again", "settled", "closed"]


def test_an_unhappy_resident_s_case_is_closed_only_on_a_legal_basis(desk: Desk) -> None:
    case = desk.handled()
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", {**SETTLE, "outcome": "unsolved"})
    desk.refused(409, "not_satisfied", "jj-director", f"/routing/cases/{case.id}/close", {})
    desk.ok("jj-director", f"/routing/cases/{case.id}/close", {"basis": "信访工作条例第三十六条"})


@pytest.mark.clause("8.2a")
def test_an_answer_on_the_spot_settles_the_case_at_registration(desk: Desk) -> None:
    case = desk.register(nature="consultation", answer="公租房每年三月申请，带身份证到本窗口。")
    public = desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()
    assert (public["status"], public["reply"]) == ("settled", "公租房每年三月申请，带身份证到本窗口。")
    assert desk.types(case.id) == ["case.registered"]
    desk.ok("jj-callback", f"/intake/cases/{case.id}/call-back", UNHAPPY)
    state = desk.until(case.id, status="awaiting_triage")
    assert state["send_backs"] == 1, "an answer on the spot that was not enough goes to the triage desk"


@pytest.mark.clause("12.3")
def test_a_dissatisfied_rating_sends_a_settled_case_back_and_the_resident_sees_it(desk: Desk) -> None:
    case = desk.settled()
    dissatisfied(desk, case)
    state = desk.until(case.id, status="handling")
    assert (state["unit"], state["person"], state["send_backs"]) == (HOUSING, "jj-housing-1", 1)
    assert step_names(desk, case.number, case.secret)[-2:] == ["settled", "handled_again"]


@pytest.mark.clause("12.3")
def test_a_dissatisfied_rating_of_a_closed_case_is_a_proposal_that_the_centre_decides_on(desk: Desk) -> None:
    taken_up, left = desk.closed(), desk.closed()
    for case in (taken_up, left):
        dissatisfied(desk, case)
        desk.until(case.id, status="closed", reopening_proposed=True)
        dissatisfied(desk, case)
        assert step_names(desk, case.number, case.secret)[-2:] == ["closed", "reopening_proposed"]

    def proposed() -> dict[str, Any]:
        answer = desk.get("jj-supervisor", "/supervision/proposals", limit=200).json()
        return {item["id"]: item["meets"] for item in answer["proposals"]}

    until(lambda: {taken_up.id, left.id} <= proposed().keys(), "both are proposed")
    assert proposed()[left.id] == [{"what": "dissatisfied", "figure": 1, "at_least": 1}]
    problem = desk.refused(409, "proposal.reopening", "jj-supervisor", f"/supervision/proposals/{left.id}/order", {})
    assert "decline-reopening" in problem["advice"]
    desk.ok("jj-director", f"/routing/cases/{taken_up.id}/reopen", {"note": NOTE})
    desk.ok("jj-director", f"/routing/cases/{left.id}/decline-reopening", {"note": NOTE})
    desk.refused(409, "not_proposed", "jj-director", f"/routing/cases/{left.id}/decline-reopening", {"note": NOTE})
    until(lambda: not {taken_up.id, left.id} & proposed().keys(), "both are decided")
    assert any(clock["deadline"]["stage"] == "triage" for clock in desk.until_clocked(taken_up.id)["clocks"])
    assert step_names(desk, taken_up.number, taken_up.secret)[-2:] == ["reopening_proposed", "reopened"]
    assert step_names(desk, left.number, left.secret)[-2:] == ["reopening_proposed", "reopening_declined"]


def dissatisfied(desk: Desk, case: Case) -> None:
    """The resident rates the own case as not satisfying."""
    path = f"/intake/public/{case.number}/rate"
    rated = desk.send("POST", None, path, params={"secret": case.secret}, json={"satisfaction": "dissatisfied"})
    assert rated.status_code == 200, rated.text


@pytest.mark.clause("12.3")
def test_a_resident_rates_the_own_case_with_the_secret(desk: Desk) -> None:
    case = desk.settled()
    path = f"/intake/public/{case.number}/rate"
    rated = desk.send("POST", None, path, params={"secret": case.secret}, json={"satisfaction": "satisfied"})
    assert rated.status_code == 200, rated.text
    assert desk.state(case.id)["satisfaction"] == "satisfied"
    wrong = desk.send("POST", None, path, params={"secret": "0000000000"}, json={"satisfaction": "dissatisfied"})
    assert wrong.status_code == 404
    assert desk.state(case.id)["satisfaction"] == "satisfied"


def test_nothing_that_handles_a_closed_case_follows_but_reopening(desk: Desk) -> None:
    case = desk.closed()
    path = f"/routing/cases/{case.id}"
    desk.refused(409, "case_closed", "jj-housing-1", f"{path}/progress", {"unit": HOUSING, "note": NOTE})
    desk.refused(409, "case_closed", "jj-triage", f"{path}/triage", {"unit": HOUSING})
    desk.refused(409, "case_closed", "jj-window", f"/intake/cases/{case.id}/supplement", {"note": NOTE})
    reopened = desk.ok("jj-director", f"{path}/reopen", {"note": NOTE})
    assert reopened["status"] == "awaiting_triage"
    assert desk.state(case.id).get("unit") is None


def test_a_withdrawn_demand_ends_and_a_declined_one_names_the_legal_path(desk: Desk) -> None:
    case = desk.waiting()
    assert desk.ok("jj-window", f"/intake/cases/{case.id}/withdraw", {"note": NOTE})["status"] == "withdrawn"
    other = desk.waiting()
    decline = {"reason": "in_litigation", "legal_path": "锦江区人民法院", "note": NOTE}
    assert desk.ok("jj-triage", f"/routing/cases/{other.id}/decline", decline)["status"] == "declined"
    seen = desk.get(None, f"/intake/public/{other.number}", secret=other.secret).json()
    assert seen["status"] == "declined"
    assert seen["declined"] == {"reason": "in_litigation", "legal_path": "锦江区人民法院"}


@pytest.mark.clause("5.1.3a")
def test_what_no_rule_takes_waits_in_the_triage_queue_until_a_person_decides(desk: Desk) -> None:
    case = desk.waiting()

    def waits(after: str) -> bool:
        queue = desk.complete("jj-triage", "/routing/queue", after, region="510104017000", limit=200)
        return case.id in [one["id"] for one in queue["cases"]]

    assert waits(case.position)
    said = desk.get("jj-triage", f"/routing/cases/{case.id}/rules").json()
    assert said, "every rule says why it did not take the case"
    assert not any(one["takes_it"] for one in said)
    triaged = desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": HOUSING, "subject": "0109"})
    assert waits(triaged["position"]), "triaged and not assigned yet"
    assigned = desk.ok("jj-triage", f"/routing/cases/{case.id}/assign", {"unit": HOUSING, "basis": "职责清单"})
    assert assigned["status"] == "assigned"
    assert not waits(assigned["position"])


@pytest.mark.clause("5.1.3a")
def test_a_case_between_two_fields_waits_with_its_suggestions(desk: Desk) -> None:
    case = desk.waiting(title="学校的物业", text="想请工作人员帮忙看看。")
    path = f"/routing/cases/{case.id}/suggestions"
    answer = desk.get("jj-triage", path).json()
    assert desk.state(case.id)["status"] == "awaiting_triage"
    assert not answer["sure"]
    assert 0 <= answer["lead"] < answer["margin"]
    assert {row["unit"] for row in answer["suggestions"]} >= {HOUSING, "510104000000-education"}
    best = answer["suggestions"][0]
    assert best["points"] == sum(word["points"] * word["times"] for word in best["words"])
    assert "the triage desk decides" in best["why"]
    assert desk.get("jj-housing", path).status_code == 403
    sure = desk.assigned()
    assert desk.get("jj-triage", f"/routing/cases/{sure.id}/suggestions").json()["sure"]


def test_the_triage_queue_is_paged_by_key_oldest_first(desk: Desk) -> None:
    made = [desk.waiting(region="510104022006").id for _ in range(3)]
    seen: list[str] = []
    params: dict[str, object] = {"region": "510104022006", "limit": 1, "after": desk.waiting().position}
    while True:
        page = desk.get("cxl-triage", "/routing/queue", **params).json()
        seen += [one["id"] for one in page["cases"]]
        if page["next"] is None:
            break
        params["page"] = page["next"]
    assert seen == made


@pytest.mark.clause("4")
@pytest.mark.clause("5.2e")
def test_a_case_moves_through_the_tree_without_a_gap_or_a_copy(desk: Desk) -> None:
    case = desk.waiting(region="510104017001", person="jgy-grid-1", channel="grid")
    up = desk.ok("jgy-director", f"/supervision/cases/{case.id}/escalate", {"to": "510104000000", "note": NOTE})
    assert up["status"] == "awaiting_triage"
    assert desk.state(case.id)["in_charge"] == "510104000000"
    desk.refused(422, "not_above", "jj-director", f"/supervision/cases/{case.id}/escalate",
                 {"to": "510104022000", "note": NOTE})  # fmt: skip
    desk.ok("jj-director", f"/supervision/cases/{case.id}/hand-down", {"to": "510104022000", "note": NOTE})
    desk.refused(422, "not_below", "jj-director", f"/supervision/cases/{case.id}/hand-down",
                 {"to": "510703000000", "note": NOTE})  # fmt: skip
    desk.ok("cxl-triage", f"/routing/cases/{case.id}/transfer", {"to": "510104018000", "note": NOTE})
    desk.refused(409, "same_centre", "jj-triage", f"/routing/cases/{case.id}/transfer",
                 {"to": "510104018000", "note": NOTE})  # fmt: skip
    state = desk.state(case.id)
    assert (state["region"], state["in_charge"]) == ("510104017001", "510104018000")
    assert desk.types(case.id, "jgy-director")[-1] == "case.transferred", "where it began stays informed"
