"""What holds for every request: who may, once only, reading one's own writes, answers that say what to do."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from shared.case.base import Address, new_id
from tests.support.client import HOUSING, MATTER, NOTE, SETTLE, UNRULED, Desk, new_key
from tests.support.stack import Stack

SERVICES = ("intake", "routing", "supervision", "reporting")


@pytest.mark.clause("9.4a")
@pytest.mark.parametrize(
    ("person", "path", "body", "status"),
    [
        ("jj-callback", "/intake/cases", MATTER, 403),  # the post does not register
        ("fc-window", "/intake/cases", MATTER, 403),  # another county's window
        ("sc-auditor", "/intake/cases", MATTER, 403),
        ("jj-window", "/routing/cases/{id}/triage", {"unit": HOUSING}, 403),
        ("fc-triage", "/routing/cases/{id}/triage", {"unit": HOUSING}, 403),
        ("jj-housing", "/routing/cases/{id}/assign", {"unit": HOUSING}, 403),
        ("jj-police", "/routing/cases/{id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"}, 403),
        ("jj-police-1", "/routing/cases/{id}/settle", SETTLE, 403),
        ("jj-housing-1", "/routing/cases/{id}/close", {}, 403),
        ("jj-triage", "/routing/cases/{id}/close", {}, 403),
        ("fc-director", "/routing/cases/{id}/close", {}, 403),
        ("jj-housing", "/intake/cases/{id}/call-back", {"contacted": False}, 403),
        ("jj-director", "/supervision/cases/{id}/erase", {"retention": "year_1", "basis": "x"}, 403),
        ("jj-triage", "/supervision/cases/{id}/urge", {"unit": HOUSING, "note": NOTE}, 403),
        ("my-supervisor", "/supervision/cases/{id}/urge", {"unit": HOUSING, "note": NOTE}, 403),
        ("sc-operator", "/supervision/cases/{id}/hold", {"hold": "legal", "note": NOTE}, 403),
        ("sc-admin", "/routing/cases/{id}/transfer", {"to": "510104022000", "note": NOTE}, 403),
        ("jj-director", "/routing/cases/{absent}/close", {}, 404),
        ("jj-director", "/routing/cases/FJ4M-ZZZZZ-Z/close", {}, 404),
        ("jj-director", "/routing/cases/no-such/close", {}, 404),
        ("jj-director", "/routing/cases/{id}/merge", {"into": "{absent}"}, 404),  # only a reaction merges
        ("jj-director", "/supervision/cases/{id}/declare-overdue", {}, 404),  # only the clock does
    ],
)  # fmt: skip
def test_who_may_not_is_refused_and_nothing_happens(
    desk: Desk, person: str, path: str, body: dict[str, object], status: int
) -> None:
    case = desk.assigned()
    absent = new_id("510104017000", "nobody's")
    answer = desk.post(person, path.format(id=case.id, absent=absent), body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert desk.types(case.id) == ["case.registered", "case.triaged", "case.assigned"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_address_but_the_public_ones_needs_a_token(desk: Desk, service: str) -> None:
    schema = desk.get(None, f"/{service}/openapi.json").json()
    asked = 0
    for path, item in schema["paths"].items():
        for method in item:
            if path.startswith("/public/") or method not in ("get", "post"):
                continue
            url = f"/{service}{path}".replace("{id}", new_id("510104017000", "x")).replace("{object}", "x")
            for headers in ({}, {"Authorization": "Bearer demo-nobody"}, {"Authorization": "Basic ZGVtbzpkZW1v"}):
                answer = desk.send(method.upper(), None, url, json={}, headers=headers)
                assert answer.status_code in (401, 422), f"{method} {url}: {answer.status_code}"
                asked += answer.status_code == 401
    assert asked, "no address of this service asked for a token"


def test_the_same_key_twice_gives_the_same_answer_with_the_secret_and_another_body_is_refused(desk: Desk) -> None:
    key = new_key()
    first = desk.ok("jj-window", "/intake/cases", UNRULED, key)
    again = desk.ok("jj-window", "/intake/cases", UNRULED, key)
    assert {n: again[n] for n in ("id", "number", "secret")} == {n: first[n] for n in ("id", "number", "secret")}
    assert again["event"] is None
    desk.refused(422, "idempotency.key_reused", "jj-window", "/intake/cases", {**UNRULED, "text": "别的事。"}, key)


def test_the_same_command_twice_happens_once_and_another_body_under_its_key_is_refused(desk: Desk) -> None:
    case = desk.handled()
    path, key = f"/routing/cases/{case.id}/progress", new_key()
    body = {"unit": HOUSING, "note": NOTE}
    first = desk.ok("jj-housing-1", path, body, key)
    again = desk.ok("jj-housing-1", path, body, key)
    assert (again["event"], again["version"]) == (None, first["version"])
    other = {**body, "note": {"text": "另外一句话。"}}
    desk.refused(422, "idempotency.key_reused", "jj-housing-1", path, other, key)
    assert desk.types(case.id).count("case.progressed") == 1


def test_the_same_rating_twice_happens_once_and_another_one_under_its_key_is_refused(desk: Desk) -> None:
    case = desk.settled()
    path, key = f"/intake/public/{case.number}/rate", new_key()

    def rate(satisfaction: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Case-Secret": case.secret}
        return desk.send("POST", None, path, json={"satisfaction": satisfaction}, headers=headers)

    assert [rate("satisfied").status_code, rate("satisfied").status_code] == [200, 200]
    assert rate("dissatisfied").status_code == 422
    assert desk.types(case.id).count("case.rated") == 1


def test_the_same_order_under_one_key_with_another_body_is_refused(desk: Desk) -> None:
    case, key = desk.assigned(), new_key()
    body = {
        "kind": "ordinary", "region": "510104000000", "unit": HOUSING, "cases": [case.id],
        "due": "2099-01-01T00:00:00+08:00", "note": NOTE,
    }  # fmt: skip
    desk.ok("jj-supervisor", "/supervision/orders", body, key)
    other = {**body, "kind": "listed"}
    desk.refused(422, "idempotency.key_reused", "jj-supervisor", "/supervision/orders", other, key)


def test_many_at_once_under_one_key_make_one_case(desk: Desk) -> None:
    key = new_key()
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: desk.ok("jj-window", "/intake/cases", UNRULED, key), range(16)))
    assert len({one["id"] for one in told}) == 1
    assert len({one["secret"] for one in told}) == 1
    assert desk.types(told[0]["id"]) == ["case.registered"]


def test_many_at_once_on_one_case_are_all_taken_one_after_the_other(desk: Desk) -> None:
    case = desk.handled()
    body = {"unit": HOUSING, "note": NOTE}
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: desk.ok("jj-housing-1", f"/routing/cases/{case.id}/progress", body), range(32)))
    assert len({one["version"] for one in told}) == 32
    assert desk.types(case.id).count("case.progressed") == 32


def test_a_query_with_after_has_seen_one_s_own_write(desk: Desk) -> None:
    for _ in range(10):
        case = desk.register(**UNRULED)
        page = desk.complete("jj-director", "/reporting/cases", case.position, limit=200)
        assert case.id in [row["id"] for row in page["cases"]]


def test_after_in_the_future_is_answered_with_what_there_is_and_says_so(desk: Desk) -> None:
    answer = desk.get("jj-director", "/reporting/cases", after="LOG_5101:999999999")
    assert answer.status_code == 200
    assert answer.json()["complete"] is False
    assert desk.get("jj-director", "/reporting/cases", after="nonsense").status_code == 400
    assert desk.get("jj-director", "/reporting/cases", after="LOG_9999:1").status_code == 400


def test_the_etag_of_a_case_changes_with_it(desk: Desk) -> None:
    case = desk.waiting()
    path = f"/reporting/cases/{case.id}"
    desk.until_clocked(case.id)
    first = desk.get("jj-director", path)
    same = desk.send("GET", "jj-director", path, headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    desk.ok("jj-window", f"/intake/cases/{case.id}/supplement", {"note": NOTE})
    other = desk.send("GET", "jj-director", path, headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_time_is_set_back_only_as_far_as_the_channel_allows_and_never_ahead(desk: Desk) -> None:
    body = {**UNRULED, "channel": "web", "contact_time": "2026-01-01T00:00:00+08:00"}
    past, future = "2026-01-02T00:00:00+08:00", "2099-01-01T00:00:00+08:00"
    desk.refused(422, "time.too_far_back", "jj-window", "/intake/cases", {**body, "time": past})
    desk.refused(422, "time.ahead", "jj-window", "/intake/cases", {**body, "time": future})
    later = {**body, "contact_time": future}
    desk.refused(422, "contact_after_registration", "jj-window", "/intake/cases", later)


def test_a_region_outside_the_installation_is_refused(desk: Desk) -> None:
    desk.refused(403, "access.refused", "sc-director", "/intake/cases", {**UNRULED, "region": "110101001000"})


def test_a_caller_who_hangs_up_in_the_middle_takes_nothing_along(desk: Desk, stack: Stack) -> None:
    head = (
        "POST /intake/cases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-jj-window\r\n"
        'Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"channel"'
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", stack.port)) as half:
            half.sendall(head.encode())
    assert desk.waiting().id


def test_the_log_holds_what_the_answers_said(desk: Desk, stack: Stack) -> None:
    case = desk.closed()

    async def load() -> list[str]:
        async with stack.log() as log:
            return [recorded.type for recorded in await log.load(Address.of("case", case.id))]

    assert asyncio.run(load()) == [entry["type"] for entry in desk.timeline(case.id)["timeline"]]
