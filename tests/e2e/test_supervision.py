"""Orders, time limits, holds and erasure by HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from shared.case.base import Address, new_id
from tests.support.client import COUNTY, ERASE, HOUSING, LABOUR, NOTE, TOWNSHIP, Case, Desk, new_key
from tests.support.short_limits import LONG, deadlines, in_handling, until_clock
from tests.support.stack import Stack, until
from tests.support.stack_judge import assert_clean

NOW = datetime.now(UTC)
DUE, LATER = NOW + timedelta(days=5), NOW + timedelta(days=10)


def later(told: str, **long: float) -> str:
    return (datetime.fromisoformat(told) + timedelta(**long)).isoformat()


@pytest.mark.clause("5.1.3a")
@pytest.mark.usefixtures("hours")
def test_an_extension_needs_a_request_the_approver_whom_the_limit_names_and_a_reason(desk: Desk) -> None:
    case = in_handling(desk, LONG)
    path = f"/supervision/cases/{case.id}"
    due = until_clock(desk, case, "handle")["due"]
    asked: dict[str, Any] = {"stage": "handle", "due": later(due, days=3), "note": {"text": "需要第三方鉴定。"}}
    desk.refused(409, "no_request", "jj-supervisor", f"{path}/refuse-extension", {"stage": "handle", "note": NOTE})
    desk.refused(422, "not_later", "jj-housing-1", f"{path}/request-extension", {**asked, "due": due})
    desk.refused(
        422, "extended_too_far", "jj-housing-1", f"{path}/request-extension", {**asked, "due": later(due, days=30)}
    )
    desk.ok("jj-housing-1", f"{path}/request-extension", asked)
    desk.refused(409, "request_pending", "jj-housing-1", f"{path}/request-extension", asked)
    desk.refused(403, "access.refused", "jj-housing-1", f"{path}/extend", asked)
    desk.refused(403, "wrong_approver", "jj-director", f"{path}/extend", asked)
    desk.refused(422, "request.invalid", "jj-supervisor", f"{path}/extend", {**asked, "approver": "jj-director"})
    key = new_key()
    desk.ok("jj-supervisor", f"{path}/extend", asked, key)
    assert desk.ok("jj-supervisor", f"{path}/extend", asked, key)["event"] is None
    desk.refused(422, "idempotency.key_reused", "jj-supervisor", f"{path}/extend", {**asked, "due": due}, key)
    desk.refused(409, "extended_too_often", "jj-supervisor", f"{path}/extend", {**asked, "due": later(due, days=4)})
    clock = until_clock(desk, case, "handle")
    assert (clock["due"], clock["extensions"], clock["extension_requested"]) == (in_utc(asked["due"]), 1, False)
    step = next(one for one in deadlines(desk, case, "handle")["steps"] if one["what"] == "extend")
    assert step["why"] == "jj-supervisor (supervisor) approved it", "who asked is not who approved"
    public = desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()
    assert public["steps"][-1]["step"] == "extended", "the resident is told"
    assert in_utc(public["due"]) == clock["due"]


def in_utc(moment: str) -> str:
    """A moment as the answers write it."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.clause("5.1.3a")
@pytest.mark.usefixtures("hours")
def test_the_right_clock_stands_still_and_goes_on_with_what_was_left(desk: Desk) -> None:
    case = in_handling(desk, LONG, co=(LABOUR,))
    path = f"/supervision/cases/{case.id}"
    before = until_clock(desk, case, "handle")
    until = (NOW + timedelta(days=20)).isoformat()
    pause = {"stage": "handle", "cause": "hearing", "note": NOTE, "until": until}
    asked = {name: pause[name] for name in ("stage", "cause", "note")}
    desk.refused(409, "no_pause", "jj-housing-1", f"{path}/request-pause", {**asked, "cause": "resident"})
    desk.ok("jj-housing-1", f"{path}/request-pause", asked)
    desk.ok("jj-supervisor", f"{path}/refuse-pause", {"stage": "handle", "note": NOTE})
    desk.refused(409, "not_suspended", "jj-supervisor", f"{path}/resume", {})
    desk.refused(422, "pause_too_long", "jj-supervisor", f"{path}/suspend", asked)
    desk.ok("jj-supervisor", f"{path}/suspend", pause)
    desk.refused(409, "already_suspended", "jj-supervisor", f"{path}/suspend", pause)
    told = deadlines(desk, case)
    assert {clock["stage"]: clock["state"] for clock in told["clocks"]} == {
        "handle": "suspended",
        "co_handle": "running",
    }
    assert ("resume", in_utc(until)) in [(one["what"], one["at"]) for one in told["next"]]
    papers = {"stage": "co_handle", "unit": LABOUR, "cause": "papers", "note": NOTE}
    desk.ok("jj-supervisor", f"{path}/suspend", papers)
    problem = desk.refused(422, "clock.several", "jj-supervisor", f"{path}/resume", {})
    assert LABOUR in problem["detail"]
    desk.refused(409, "no_such_deadline", "jj-supervisor", f"{path}/resume", {"stage": "feedback"})
    key = new_key()
    desk.ok("jj-supervisor", f"{path}/resume", {"stage": "handle"}, key)
    assert desk.ok("jj-supervisor", f"{path}/resume", {"stage": "handle"}, key)["event"] is None
    desk.refused(422, "idempotency.key_reused", "jj-supervisor", f"{path}/resume", {"stage": "co_handle"}, key)
    desk.refused(409, "not_suspended", "jj-supervisor", f"{path}/resume", {"stage": "handle"})
    desk.ok("jj-supervisor", f"{path}/resume", {})
    clock = until_clock(desk, case, "handle")
    assert (clock["state"], clock["pauses"]) == ("running", 1)
    assert clock["due"] == before["due"], "what stood still for less than a day has lost none"
    steps = deadlines(desk, case, "handle")["steps"]
    assert [one["what"] for one in steps if one["event"]][-2:] == ["stop", "pause"]
    assert deadlines(desk, case, "co_handle", unit=LABOUR)["steps"][-1]["what"] == "pause"


def test_without_a_clock_nothing_is_extended_or_suspended(desk: Desk) -> None:
    case = desk.handled()
    path = f"/supervision/cases/{case.id}"
    asked = {"stage": "feedback", "due": LATER.isoformat(), "note": NOTE}
    desk.refused(409, "no_such_deadline", "jj-housing-1", f"{path}/request-extension", asked)
    pause = {"stage": "feedback", "cause": "papers", "note": NOTE}
    desk.refused(409, "no_such_deadline", "jj-supervisor", f"{path}/suspend", pause)


@pytest.mark.clause("11.2")
@pytest.mark.usefixtures("hours")
def test_who_escalates_informs_party_committee_government_and_the_centre_above(desk: Desk) -> None:
    case = desk.waiting()
    path = f"/supervision/cases/{case.id}"
    up = {"to": COUNTY, "note": {"text": "本级无法解决。"}}
    desk.refused(422, "centre.unknown", "cd-director", f"{path}/escalate", {**up, "to": "510105000000"})
    desk.refused(422, "region.unknown", "cd-director", f"{path}/escalate", {**up, "to": "510199000000"})
    desk.refused(422, "request.invalid", "jgy-director", f"{path}/escalate", {**up, "informs": ["nobody"]})
    key = new_key()
    desk.ok("jgy-director", f"{path}/escalate", up, key)
    assert desk.ok("jgy-director", f"{path}/escalate", up, key)["event"] is None, "it stands, whoever has the case now"
    told = desk.timeline(case.id)
    assert told["state"]["in_charge"] == COUNTY
    facts = next(one["facts"] for one in told["timeline"] if one["type"] == "case.escalated")
    assert facts["informs"] == ["中共锦官驿街道工作委员会", "锦官驿街道办事处", f"{COUNTY}-centre"]
    desk.refused(422, "centre.unknown", "cd-director", f"{path}/hand-down", {**up, "to": "510105000000"})
    desk.ok("jj-director", f"{path}/hand-down", {**up, "to": TOWNSHIP})
    assert desk.state(case.id)["in_charge"] == TOWNSHIP


@pytest.mark.clause("5.1.1f")
def test_each_case_of_an_order_hears_of_it_and_a_closed_one_is_noted_on_the_order(desk: Desk) -> None:
    one, two, closed = desk.assigned(), desk.handled(), desk.closed()
    body = {
        "kind": "listed", "region": COUNTY, "unit": HOUSING, "cases": [one.id, two.number, closed.id],
        "due": DUE.isoformat(), "note": {"text": "三日内报告。"},
    }  # fmt: skip
    key = new_key()
    order = desk.ok("jj-supervisor", "/supervision/orders", body, key)
    assert order["status"] == "issued"
    again = desk.ok("jj-supervisor", "/supervision/orders", body, key)
    assert (again["id"], again["event"]) == (order["id"], None)
    for case in (one, two):
        desk.until(case.id, orders=[order["id"]])
    assert desk.state(closed.id).get("orders", []) == []
    told: dict[str, Any] = {}

    def noted() -> bool:
        told.update(desk.get("jj-supervisor", f"/reporting/orders/{order['id']}").json())
        return bool(told["state"].get("refused_by"))

    until(noted, "the closed case is noted on the order")
    assert told["state"]["refused_by"] == [Address.of("case", closed.id).subject]
    assert told["timeline"][-1]["facts"]["reason"] == "case_closed"


def test_an_order_is_answered_by_its_unit_refused_answered_again_and_accepted(desk: Desk) -> None:
    case = desk.assigned()
    body = {
        "kind": "ordinary",
        "region": COUNTY,
        "unit": HOUSING,
        "cases": [case.id],
        "due": DUE.isoformat(),
        "note": NOTE,
    }
    order = desk.ok("jj-supervisor", "/supervision/orders", body)
    path = f"/supervision/orders/{order['id']}"
    desk.refused(403, "access.refused", "jj-police", f"{path}/answer-order", {"note": NOTE})
    desk.refused(409, "wrong_status", "jj-supervisor", f"{path}/accept-answer", {"note": NOTE})
    answered = desk.ok("jj-housing", f"{path}/answer-order", {"note": NOTE})
    assert (answered["status"], answered["number"]) == ("answered", order["number"])
    assert desk.get("jj-supervisor", f"/reporting/orders/{answered['number']}").json()["id"] == order["id"]
    assert desk.ok("jj-supervisor", f"{path}/refuse-answer", {"note": NOTE})["status"] == "issued"
    desk.ok("jj-housing", f"{path}/answer-order", {"note": NOTE})
    assert desk.ok("jj-supervisor", f"{path}/accept-answer", {"note": NOTE})["status"] == "accepted"
    desk.refused(409, "wrong_status", "jj-supervisor", f"{path}/withdraw-order", {"note": NOTE})


def test_an_order_names_cases_that_are_there_each_once_and_a_due_moment_ahead(desk: Desk) -> None:
    case = desk.assigned()
    body = {
        "kind": "ordinary",
        "region": COUNTY,
        "unit": HOUSING,
        "cases": [case.id],
        "due": DUE.isoformat(),
        "note": NOTE,
    }
    path = "/supervision/orders"
    desk.refused(422, "same_case", "jj-supervisor", path, {**body, "cases": [case.id, case.number]})
    desk.refused(422, "not_later", "jj-supervisor", path, {**body, "due": (NOW - timedelta(days=1)).isoformat()})
    desk.refused(422, "request.invalid", "jj-supervisor", path, {**body, "cases": []})
    nobody = new_id("510104017000", "of nobody")
    desk.refused(403, "access.refused", "jj-supervisor", path, {**body, "cases": [nobody]})
    desk.refused(403, "access.refused", "fc-supervisor", path, body)


@pytest.mark.clause("9.4b")
def test_a_held_case_is_not_erased_and_an_erased_one_keeps_its_flow_without_its_content(
    desk: Desk, stack: Stack
) -> None:
    case = desk.ended_long_ago(text="此处电梯困人的详情。")
    path = f"/supervision/cases/{case.id}"
    release, ended = {"hold": "legal", "basis": "案件已结"}, {"basis": "案件已结"}
    desk.ok("jj-director", f"{path}/hold", {"hold": "legal", "note": NOTE})
    desk.refused(409, "held", "jj-records", f"{path}/request-erasure", ERASE)
    desk.refused(409, "not_requested", "jj-director", f"{path}/release", release)
    desk.ok("jj-deputy", f"{path}/request-release", ended)
    desk.refused(403, "second_person_needed", "jj-deputy", f"{path}/release", release)
    desk.ok("jj-director", f"{path}/release", release)
    differs = {**ERASE, "retention": "months_3"}
    desk.refused(422, "retention_differs", "jj-records", f"{path}/request-erasure", differs)
    desk.refused(409, "not_requested", "jj-records", f"{path}/erase", ERASE)
    desk.ok("jj-records", f"{path}/request-erasure", ERASE, "the-request")
    assert desk.ok("jj-records", f"{path}/request-erasure", ERASE, "the-request")["event"] is None
    desk.refused(409, "requested_already", "jj-records-1", f"{path}/request-erasure", ERASE)
    desk.refused(403, "second_person_needed", "jj-records", f"{path}/erase", ERASE)
    desk.refused(403, "access.refused", "jj-director", f"{path}/erase", ERASE)
    before = desk.types(case.id)
    assert "困人的详情" in desk.get("cd-director", f"/reporting/cases/{case.id}").text
    desk.ok("jj-records-1", f"{path}/erase", ERASE)
    until(lambda: asyncio.run(wrapped_key(stack, case)) is None, "the key is destroyed")

    def shown() -> dict[str, Any]:
        return desk.timeline(case.id)

    until(lambda: "困人的详情" not in str(shown()), "no process remembers the key")
    told = shown()
    assert told["erased"] is True
    assert desk.types(case.id) == [*before, "case.erased"]
    assert told["timeline"][-1]["facts"]["requested_by"] == "jj-records"
    assert "matter" in told["timeline"][0]["sealed"]
    assert desk.get(None, f"/intake/public/{case.number}", secret=case.secret).status_code == 404
    desk.refused(410, "erased", "jj-director", f"/routing/cases/{case.id}/reopen", {"note": NOTE})
    assert_clean(stack)


async def wrapped_key(stack: Stack, case: Case) -> bytes | None:
    connection = await asyncpg.connect(stack.postgres_dsn())
    try:
        found: bytes | None = await connection.fetchval("select wrapped from vault.keys where id = $1", case.id)
        return found
    finally:
        await connection.close()


def test_what_is_kept_for_ever_is_never_erased(desk: Desk) -> None:
    case = desk.ended_long_ago(retention="permanent")
    gone = {**ERASE, "retention": "permanent"}
    desk.refused(409, "kept_for_ever", "jj-records", f"/supervision/cases/{case.id}/request-erasure", gone)


@pytest.mark.clause("9.4b")
def test_content_is_kept_until_its_retention_is_over_and_anew_after_a_reopening(desk: Desk) -> None:
    recent, old = desk.closed(), desk.ended_long_ago()
    desk.ok("jj-director", f"/routing/cases/{old.id}/reopen", {"note": NOTE})
    desk.ok("jj-triage", f"/routing/cases/{old.id}/decline", {"note": NOTE, "reason": "invalid", "legal_path": ""})
    for case in (recent, old):
        path = f"/supervision/cases/{case.id}"
        for name in ("request-erasure", "erase"):
            problem = desk.refused(409, "kept_longer", "jj-records", f"{path}/{name}", ERASE)
            ended = NOW.astimezone(ZoneInfo("Asia/Shanghai")).date()
            year, after = ended.year + 1, timedelta(days=1)
            assert f"from {ended.replace(year=year) + after}T00:00+08:00" in problem["detail"]


def test_an_open_case_is_not_erased(desk: Desk) -> None:
    case = desk.waiting()
    problem = desk.refused(409, "wrong_status", "jj-records", f"/supervision/cases/{case.id}/request-erasure", ERASE)
    assert "12 months after the case ends" in problem["detail"]
