"""What units and their people do with a case, and who decides when they disagree."""

from __future__ import annotations

import pytest

from tests.support.client import HOUSING, LABOUR, NOTE, POLICE, SETTLE, Case, Desk, lines, new_key

BACK = {"unit": HOUSING, "basis": "不属于本部门职责", "note": NOTE}


def co_handled(desk: Desk) -> Case:
    """A case that housing leads and police co-handles; both have signed."""
    case = desk.waiting()
    routing = f"/routing/cases/{case.id}"
    desk.ok("jj-triage", f"{routing}/triage", {"unit": HOUSING, "co_units": [POLICE]})
    desk.ok("jj-triage", f"{routing}/assign", {"unit": HOUSING, "co_units": [POLICE], "basis": "职责清单"})
    desk.ok("jj-housing", f"{routing}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    desk.ok("jj-police", f"{routing}/sign-for", {"unit": POLICE, "person": "jj-police-1"})
    return case


@pytest.mark.clause("5.1.1c")
def test_a_hand_back_goes_to_the_same_centre_and_after_a_ruling_none_is_open(desk: Desk) -> None:
    case = desk.assigned()
    routing = f"/routing/cases/{case.id}"
    desk.refused(422, "request.invalid", "jj-housing", f"{routing}/hand-back", {"unit": HOUSING, "basis": "无"})
    assert desk.ok("jj-housing", f"{routing}/hand-back", BACK)["status"] == "awaiting_triage"
    state = desk.state(case.id)
    assert (state["in_charge"], state.get("unit")) == ("510104017000", None)
    desk.refused(409, "nothing_to_rule", "jj-director", f"/routing/cases/{desk.waiting().id}/rule",
                 {"unit": HOUSING, "basis": "三定方案", "note": NOTE})  # fmt: skip
    ruled = desk.ok("jj-director", f"{routing}/rule", {"unit": HOUSING, "basis": "三定方案", "note": NOTE})
    assert ruled["status"] == "assigned"
    desk.refused(409, "hand_back_refused", "jj-housing", f"{routing}/hand-back", BACK)
    desk.ok("jj-housing", f"{routing}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    desk.refused(409, "hand_back_refused", "jj-housing", f"{routing}/hand-back", BACK)


def test_nothing_is_handed_back_after_a_direct_designation(desk: Desk) -> None:
    case = desk.waiting()
    desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": HOUSING})
    desk.ok("jj-triage", f"/routing/cases/{case.id}/assign", {"unit": HOUSING, "direct": True, "basis": "指定"})
    desk.refused(409, "hand_back_refused", "jj-housing", f"/routing/cases/{case.id}/hand-back", BACK)


@pytest.mark.clause("5.1.1b")
def test_a_co_handled_case_settles_when_every_unit_has_reported(desk: Desk) -> None:
    case = co_handled(desk)
    routing = f"/routing/cases/{case.id}"
    problem = desk.refused(409, "co_handlers_open", "jj-housing-1", f"{routing}/settle", SETTLE)
    assert POLICE in problem["detail"], "the answer says for whom it waits"
    report = {"unit": POLICE, "note": NOTE}
    desk.refused(409, "not_co_handling", "jj-housing-1", f"{routing}/co-report", {**report, "unit": HOUSING})
    desk.ok("jj-police-1", f"{routing}/co-report", report)
    desk.refused(409, "already_reported", "jj-police-1", f"{routing}/co-report", report)
    assert desk.ok("jj-housing-1", f"{routing}/settle", SETTLE)["status"] == "settled"


@pytest.mark.clause("5.1.1b")
def test_a_co_handling_unit_taken_off_is_not_waited_for(desk: Desk) -> None:
    case = co_handled(desk)
    routing = f"/routing/cases/{case.id}"
    desk.ok("jj-triage", f"{routing}/end-co-handling", {"unit": POLICE, "note": NOTE})
    assert desk.state(case.id).get("co_handlers", []) == []
    desk.ok("jj-housing-1", f"{routing}/settle", SETTLE)
    assert desk.get("jj-police", f"/reporting/cases/{case.id}").status_code == 403, "what is not theirs is not shown"


@pytest.mark.clause("5.1.3a")
def test_exactly_one_unit_and_from_signing_on_exactly_one_person(desk: Desk) -> None:
    case = desk.assigned()
    routing = f"/routing/cases/{case.id}"
    desk.refused(409, "wrong_status", "jj-housing", f"{routing}/reassign",
                 {"unit": HOUSING, "person": "jj-housing"})  # fmt: skip
    desk.ok("jj-housing", f"{routing}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    desk.refused(409, "wrong_status", "jj-housing", f"{routing}/sign-for",
                 {"unit": HOUSING, "person": "jj-housing"})  # fmt: skip
    desk.refused(422, "person.unknown", "jj-housing", f"{routing}/reassign",
                 {"unit": HOUSING, "person": "jj-police-1"})  # fmt: skip
    desk.ok("jj-housing", f"{routing}/reassign", {"unit": HOUSING, "person": "jj-housing"})
    state = desk.state(case.id)
    assert (state["unit"], state["person"]) == (HOUSING, "jj-housing")


def test_a_unit_twice_and_a_unit_that_is_not_there_are_refused(desk: Desk) -> None:
    case = desk.waiting()
    triage = f"/routing/cases/{case.id}/triage"
    desk.refused(422, "unit_twice", "jj-triage", triage, {"unit": HOUSING, "co_units": [HOUSING]})
    desk.refused(422, "unit.unknown", "jj-triage", triage, {"unit": "510104000000-ghosts"})


def test_the_responsible_unit_is_urged_and_no_other(desk: Desk) -> None:
    case = desk.assigned()
    urge = f"/supervision/cases/{case.id}/urge"
    desk.refused(409, "not_responsible_unit", "jj-supervisor", urge, {"unit": LABOUR, "note": NOTE})
    desk.ok("jj-supervisor", urge, {"unit": HOUSING, "note": {"text": "请抓紧办理。"}})
    assert desk.types(case.id)[-1] == "case.urged"


def test_all_open_cases_of_a_person_who_leaves_go_to_another(desk: Desk) -> None:
    held = [*(desk.handled() for _ in range(3)), desk.settled()]  # what is settled may yet be sent back
    done = desk.closed()
    body = {
        "region": "510104000000", "from_person": "jj-housing-1", "to_person": "jj-housing", "reason": "调离",
    }  # fmt: skip
    assert desk.post("jj-triage", "/routing/hand-over", body).status_code == 403
    told = lines(desk.post("jj-housing", "/routing/hand-over", body, new_key()))
    assert not [line for line in told[:-1] if line["refused"]]
    assert {case.id for case in held} <= {line["id"] for line in told[:-1]}
    assert done.id not in {line.get("id") for line in told}
    assert {desk.state(case.id)["person"] for case in held} == {"jj-housing"}
    assert desk.state(done.id)["person"] == "jj-housing-1", "what is closed stays as it was"


def test_the_open_cases_of_a_dissolved_unit_go_to_another_also_where_it_co_handles(desk: Desk) -> None:
    led, helped = desk.waiting(region="510104018001"), desk.waiting(region="510104018001")
    for case, unit, co in ((led, LABOUR, []), (helped, POLICE, [LABOUR])):
        named = {"unit": unit, "co_units": co}
        desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", named)
        last = desk.ok("jj-triage", f"/routing/cases/{case.id}/assign", named)
    women = "510104000000-women"
    body = {"region": "510104018000", "from_unit": LABOUR, "to_unit": women, "reason": "机构改革"}
    desk.get("jj-triage", "/routing/queue", after=last["position"])
    told = lines(desk.post("jj-director", "/routing/hand-over", body, new_key()))
    assert told[-1] == {"handed_over": 2, "refused": 0, "of": 2}
    assert desk.state(led.id)["unit"] == women
    state = desk.state(helped.id)
    assert (state["unit"], [co["unit"] for co in state["co_handlers"]]) == (POLICE, [women])


def test_a_hand_over_names_both_of_one_pair_and_nothing_else(desk: Desk) -> None:
    base = {"region": "510104000000", "reason": "调离"}
    for pair in ({}, {"from_person": "a"}, {"from_person": "a", "to_unit": HOUSING}):
        desk.refused(422, "request.invalid", "jj-director", "/routing/hand-over", {**base, **pair})
