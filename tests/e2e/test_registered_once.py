"""One demand is one case: whoever of a centre sends its key, and for ten minutes without a key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.client import OTHER_TOWNSHIP, UNRULED, Desk, new_key

CASES = "/intake/cases"


def demand() -> dict[str, Any]:
    """A demand that no other test sends."""
    return {**UNRULED, "text": f"想请工作人员帮忙看看。{new_key()}"}


def test_a_draft_that_one_person_made_and_another_sends_is_one_case(desk: Desk) -> None:
    body, key = demand(), new_key()
    first = desk.ok("jj-window", CASES, body, key)
    again = desk.ok("jj-director", CASES, body, key)
    assert [again[name] for name in ("id", "number", "secret", "event")] == [
        *(first[name] for name in ("id", "number", "secret")),
        None,
    ]
    assert desk.types(first["id"]) == ["case.registered"]


def test_the_same_key_with_another_body_is_refused_whoever_sends_it(desk: Desk) -> None:
    key = new_key()
    desk.ok("jj-window", CASES, demand(), key)
    for person in ("jj-window", "jj-director"):
        desk.refused(422, "idempotency.key_reused", person, CASES, demand(), key)


def test_who_may_not_see_the_case_is_refused_as_for_another_body(desk: Desk) -> None:
    """Kept from the second person, who would else learn that it was registered (petitions regulation, article 30)."""
    body, key = {**demand(), "stand_aside": ["jj-director"]}, new_key()
    case = desk.ok("jj-window", CASES, body, key)
    same = desk.refused(422, "idempotency.key_reused", "jj-director", CASES, body, key)
    other = desk.refused(422, "idempotency.key_reused", "jj-director", CASES, demand(), key)
    same.pop("instance", None), other.pop("instance", None)
    assert same == other
    assert case["id"] not in str(same)
    assert desk.ok("jj-window", CASES, body, key)["id"] == case["id"]


def test_a_key_of_another_centre_is_another_key(desk: Desk) -> None:
    key = new_key()
    first = desk.ok("jj-window", CASES, demand(), key)
    assert desk.ok("cd-director", CASES, demand(), key)["id"] != first["id"]


def test_the_same_body_without_a_key_is_the_same_case_and_the_answer_says_so(desk: Desk) -> None:
    body = demand()
    first = desk.post("jj-window", CASES, body)
    again = desk.post("jj-window", CASES, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["id"], again.json()["event"]) == (first.json()["id"], None)
    assert "Idempotency-Key" in again.json()["notice"]
    assert first.json()["notice"] is None
    on_purpose = desk.post("jj-window", CASES, body, new_key())
    assert on_purpose.status_code == 201
    assert on_purpose.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("person", "changed"),
    [("jj-director", {}), ("jj-window", {"text": "另一件事。"}), ("jj-window", {"region": OTHER_TOWNSHIP})],
)
def test_another_caller_text_or_region_without_a_key_is_another_case(
    desk: Desk, person: str, changed: dict[str, Any]
) -> None:
    body = demand()
    first = desk.ok("jj-window", CASES, body)
    other = desk.post(person, CASES, {**body, **changed, "title": body["text"][-20:]} if changed else body)
    assert other.status_code == 201, other.text
    assert other.json()["id"] != first["id"]


def test_many_at_the_same_instant_without_a_key_make_one_case(desk: Desk) -> None:
    body = demand()

    def register(_: int) -> httpx.Response:
        return desk.post("jj-window", CASES, body)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(register, range(12)))
    assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert desk.types(answers[0].json()["id"]) == ["case.registered"]


def test_the_same_file_without_a_key_is_the_same_case_and_another_file_is_another(desk: Desk) -> None:
    body = httpx.Request("POST", "http://x", json=demand()).content.decode()

    def register(data: bytes) -> httpx.Response:
        files = {"files": ("a.txt", data, "text/plain")}
        return desk.send("POST", "jj-window", "/intake/cases-with-attachments", data={"case": body}, files=files)

    first, again, other = register(b"1"), register(b"1"), register(b"2")
    assert [answer.status_code for answer in (first, again, other)] == [201, 200, 201]
    assert again.json()["id"] == first.json()["id"] != other.json()["id"]


def test_who_may_not_register_leaves_no_trace_of_the_body(desk: Desk) -> None:
    body = demand()
    desk.refused(403, "access.refused", "jj-callback", CASES, body)
    assert desk.post("jj-window", CASES, body).status_code == 201


def test_a_demand_that_was_withdrawn_meanwhile_is_registered_anew_without_a_key(desk: Desk) -> None:
    body = demand()
    first = desk.post("jj-window", CASES, body).json()
    desk.ok("jj-window", f"/intake/cases/{first['id']}/withdraw", {"note": {"text": "写错了。"}})
    again = desk.post("jj-window", CASES, body)
    assert (again.status_code, again.json()["notice"]) == (201, None)
    assert again.json()["id"] != first["id"]
    third = desk.post("jj-window", CASES, body)
    assert (third.status_code, third.json()["id"]) == (200, again.json()["id"])


def test_who_sends_the_key_of_somebody_else_is_told_whose_case_the_answer_is(desk: Desk) -> None:
    body, key = demand(), new_key()
    desk.ok("jj-window", CASES, body, key)
    again = desk.post("jj-director", CASES, body, key)
    assert again.status_code == 200
    assert "另立一件" in again.json()["notice"]
    assert desk.post("jj-window", CASES, body, key).json()["notice"] is None


def test_a_region_that_there_is_not_is_refused_before_anything_is_kept(desk: Desk) -> None:
    for key in (None, new_key()):
        desk.refused(422, "region.unknown", "cd-director", CASES, {**demand(), "region": "510199999000"}, key)
