"""Orders, time limits, holds and erasure by HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.case.base import Actor, Address, Meta, Owner, new_id
from shared.case.commands import COMMANDS
from shared.case.reasons import Rejected
from shared.kit.clock import SystemClock
from shared.kit.handle import Handler, command
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.port import for_owner
from tests.support.client import COUNTY, HOUSING, NOTE, Case, Desk, new_key
from tests.support.stack import Stack, until
from tests.support.stack_judge import assert_clean

NOW = datetime.now(UTC)
DUE, LATER = NOW + timedelta(days=5), NOW + timedelta(days=10)


async def start_clock(stack: Stack, case: Case) -> None:
    """Set the handling clock of a case, as supervision's ticker will."""
    clock = SystemClock()
    meta = Meta(
        command_id=new_key(), time=clock.now(), recorded_at=clock.now(),
        actor=Actor(
            person="service-supervision", post="service", unit=f"{COUNTY}-centre", centre=COUNTY, region=COUNTY
        ),
    )  # fmt: skip
    limit = {"stage": "handle", "start": NOW, "due": DUE, "base": "working_days", "amount": 5}
    facts = COMMANDS["set-deadlines"].facts.model_validate({"opens": [limit]})
    async with stack.log() as log:
        handler = Handler(for_owner(log, Owner.SUPERVISION), MemoryVault(MasterKeys((bytes(32),)), clock), clock)
        done = await handler.handle(command(Address.of("case", case.id), meta, "set-deadlines", facts))
    assert not isinstance(done, Rejected), done


def clocked(desk: Desk, stack: Stack) -> Case:
    case = desk.handled()
    asyncio.run(start_clock(stack, case))
    return case


def clock_of(desk: Desk, case: Case) -> dict[str, Any]:
    found: dict[str, Any] = desk.state(case.id)["clocks"][0]
    return found


@pytest.mark.clause("5.1.3a")
def test_an_extension_needs_a_request_an_approver_other_than_the_handler_and_a_reason(desk: Desk, stack: Stack) -> None:
    case = clocked(desk, stack)
    path = f"/supervision/cases/{case.id}"
    asked = {"stage": "handle", "due": LATER.isoformat(), "note": {"text": "需要第三方鉴定。"}}
    desk.refused(409, "no_request", "jj-supervisor", f"{path}/refuse-extension", {"stage": "handle", "note": NOTE})
    desk.refused(422, "not_later", "jj-housing-1", f"{path}/request-extension", {**asked, "due": DUE.isoformat()})
    desk.ok("jj-housing-1", f"{path}/request-extension", asked)
    desk.refused(409, "request_pending", "jj-housing-1", f"{path}/request-extension", asked)
    own = {**asked, "approver": "jj-housing-1"}
    desk.refused(403, "access.refused", "jj-housing-1", f"{path}/extend", own)
    desk.refused(403, "self_approval", "jj-supervisor", f"{path}/extend", own)
    desk.ok("jj-supervisor", f"{path}/extend", {**asked, "approver": "jj-supervisor"})
    clock = clock_of(desk, case)
    assert (datetime.fromisoformat(clock["deadline"]["due"]), clock["extensions"]) == (LATER, 1)
    public = desk.get(None, f"/intake/public/{case.number}", secret=case.secret).json()
    assert public["steps"][-1]["step"] == "extended", "the resident is told"
    assert datetime.fromisoformat(public["due"]) == LATER


@pytest.mark.clause("5.1.3a")
def test_a_clock_stands_still_while_suspended_and_goes_on_later(desk: Desk, stack: Stack) -> None:
    case = clocked(desk, stack)
    path = f"/supervision/cases/{case.id}"
    pause = {"stage": "handle", "cause": "hearing", "note": NOTE}
    desk.ok("jj-housing-1", f"{path}/request-pause", pause)
    desk.ok("jj-supervisor", f"{path}/refuse-pause", {"stage": "handle", "note": NOTE})
    desk.ok("jj-supervisor", f"{path}/suspend", pause)
    desk.refused(409, "already_suspended", "jj-supervisor", f"{path}/suspend", pause)
    assert clock_of(desk, case)["suspended"] is True
    deadline = {"stage": "handle", "start": NOW.isoformat(), "due": LATER.isoformat(), "base": "working_days",
                "amount": 5}  # fmt: skip
    desk.ok("jj-supervisor", f"{path}/resume", {"deadline": deadline})
    assert clock_of(desk, case).get("suspended", False) is False
    desk.refused(409, "not_suspended", "jj-supervisor", f"{path}/resume", {"deadline": deadline})


def test_without_a_clock_nothing_is_extended_or_suspended(desk: Desk) -> None:
    case = desk.handled()
    path = f"/supervision/cases/{case.id}"
    asked = {"stage": "handle", "due": LATER.isoformat(), "note": NOTE}
    desk.refused(409, "no_such_deadline", "jj-housing-1", f"{path}/request-extension", asked)
    pause = {"stage": "handle", "cause": "papers", "note": NOTE}
    desk.refused(409, "no_such_deadline", "jj-supervisor", f"{path}/suspend", pause)


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
    assert desk.ok("jj-housing", f"{path}/answer-order", {"note": NOTE})["status"] == "answered"
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
    case = desk.closed(text="此处电梯困人的详情。")
    path = f"/supervision/cases/{case.id}"
    gone = {"retention": "year_1", "basis": "保存期满"}
    desk.ok("jj-records", f"{path}/hold", {"hold": "legal", "note": NOTE})
    desk.refused(409, "held", "jj-records", f"{path}/erase", gone)
    desk.ok("jj-records", f"{path}/release", {"hold": "legal", "basis": "案件已结"})
    desk.refused(422, "retention_differs", "jj-records", f"{path}/erase", {**gone, "retention": "months_3"})
    before = desk.types(case.id)
    assert "困人的详情" in desk.get("cd-director", f"/reporting/cases/{case.id}").text
    desk.ok("jj-records", f"{path}/erase", gone)
    until(lambda: asyncio.run(wrapped_key(stack, case)) is None, "the key is destroyed")

    def shown() -> dict[str, Any]:
        return desk.timeline(case.id)

    until(lambda: "困人的详情" not in str(shown()), "no process remembers the key")
    told = shown()
    assert told["erased"] is True
    assert [entry["type"] for entry in told["timeline"]] == [*before, "case.erased"]
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
    case = desk.closed(retention="permanent")
    gone = {"retention": "permanent", "basis": "保存期满"}
    desk.refused(409, "kept_for_ever", "jj-records", f"/supervision/cases/{case.id}/erase", gone)


def test_an_open_case_is_not_erased(desk: Desk) -> None:
    case = desk.waiting()
    gone = {"retention": "year_1", "basis": "保存期满"}
    desk.refused(409, "wrong_status", "jj-records", f"/supervision/cases/{case.id}/erase", gone)
