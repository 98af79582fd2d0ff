"""People who are away: what they hold goes to their deputy, who acts in the own name, and never on the own request."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.log.streams import Streams
from shared.reference.documents import Document, DocumentKind
from shared.reference.people import PersonRow
from shared.reference.publish import publish
from tests.support.client import COUNTY, HOUSING, MATTER, NOTE, Case, Desk
from tests.support.pictures import photo
from tests.support.short_limits import HASTY, LONG, in_handling, until_clock
from tests.support.stack import Stack, until

CENTRE = f"{COUNTY}-centre"


def local_day(moved: timedelta = timedelta(0)) -> str:
    """The day in China, by a clock moved so far."""
    return (datetime.now(UTC) + timedelta(hours=8) + moved).date().isoformat()


TODAY = local_day()


def row(id: str, unit: str, post: str, deputy: str | None = None, **more: Any) -> PersonRow:
    return PersonRow.model_validate({"id": id, "name": id, "unit": unit, "post": post, "deputy": deputy} | more)


PEOPLE = (
    row("listener", CENTRE, "director"),
    row("away-chief", CENTRE, "supervisor", "away-clerk", away_from=TODAY),
    row("away-chief-2", CENTRE, "supervisor", "away-handler", away_from=TODAY),
    row("away-clerk", CENTRE, "window-clerk"),
    row("away-keeper", CENTRE, "deputy-director", "away-second", away_from=TODAY),
    row("away-second", CENTRE, "window-clerk"),
    row("other-clerk", CENTRE, "window-clerk"),
    row("away-head", HOUSING, "department-head", "away-gone", away_from=TODAY),
    row("away-gone", HOUSING, "handler", "away-handler", active=False),
    row("away-handler", HOUSING, "handler"),
)


def load(stack: Stack, rows: tuple[PersonRow, ...]) -> None:
    async def put_in_force() -> None:
        async with stack.connection() as connection:
            await publish(Streams(connection), [Document(kind=DocumentKind.PEOPLE, rows=rows)])

    asyncio.run(put_in_force())


@pytest.fixture(scope="module")
def people(desk: Desk, stack: Stack, hours: None) -> None:
    """People of the county in a document of their own, of whom some are away from today on."""
    load(stack, PEOPLE)
    until(lambda: desk.get("away-clerk", "/reporting/cases").status_code != 401, "the people are known")


def requested(desk: Desk, by: str) -> tuple[str, dict[str, Any]]:
    case = in_handling(desk, LONG)
    due = datetime.fromisoformat(until_clock(desk, case, "handle")["due"]) + timedelta(days=2)
    extension: dict[str, Any] = {"stage": "handle", "due": due.isoformat(), "note": NOTE}
    desk.ok(by, f"/supervision/cases/{case.id}/request-extension", extension)
    return case.id, extension


@pytest.mark.usefixtures("people")
def test_a_deputy_approves_for_the_absent_person_in_the_own_name_and_never_the_own_request(desk: Desk) -> None:
    case, extension = requested(desk, "jj-housing-1")
    desk.refused(403, "access.refused", "jj-window", f"/supervision/cases/{case}/extend", extension)
    desk.ok("away-clerk", f"/supervision/cases/{case}/extend", extension)
    entry = next(entry for entry in desk.timeline(case)["timeline"] if entry["type"] == "case.extended")
    actor = entry["actor"]
    assert (actor["person"], actor["post"], actor["acting_for"]) == ("away-clerk", "supervisor", "away-chief")
    assert entry["facts"]["approver"] == "away-clerk"

    case, extension = requested(desk, "away-handler")
    desk.refused(403, "self_approval", "away-handler", f"/supervision/cases/{case}/extend", extension)
    desk.ok("jj-supervisor", f"/supervision/cases/{case}/extend", extension)


@pytest.mark.usefixtures("people")
def test_who_answered_an_order_does_not_accept_the_answer_as_a_deputy(desk: Desk) -> None:
    due = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    order = {"kind": "ordinary", "region": COUNTY, "unit": HOUSING, "cases": [desk.assigned().id], "due": due}
    path = f"/supervision/orders/{desk.ok('jj-supervisor', '/supervision/orders', order | {'note': NOTE})['id']}"
    desk.ok("away-handler", f"{path}/answer-order", {"note": NOTE})
    desk.refused(403, "self_approval", "away-handler", f"{path}/accept-answer", {"note": NOTE})
    desk.ok("jj-deputy", f"{path}/accept-answer", {"note": NOTE})


@pytest.mark.clause("9.4b")
@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("requests", "approves"), [("away-second", "away-keeper"), ("away-keeper", "away-second")])
def test_a_hold_is_not_released_by_one_power_through_a_deputy(desk: Desk, requests: str, approves: str) -> None:
    path = f"/supervision/cases/{desk.register().id}"
    desk.ok("jj-director", f"{path}/hold", {"hold": "legal", "note": NOTE})
    desk.ok(requests, f"{path}/request-release", {"basis": "诉讼终结"})
    desk.refused(403, "second_person_needed", approves, f"{path}/release", {"hold": "legal"})
    desk.ok("jj-director", f"{path}/release", {"hold": "legal"})


@pytest.mark.usefixtures("people")
def test_a_deputy_reads_a_file_with_the_place_where_it_was_taken(desk: Desk) -> None:
    form = {"case": json.dumps(MATTER)}
    file = ("files", ("photo.jpg", photo("JPEG"), "image/jpeg"))
    case = desk.send("POST", "jj-window", "/intake/cases-with-attachments", data=form, files=(file,)).json()
    stored = desk.timeline(case["id"])["timeline"][0]["facts"]["attachments"][0]["object"]
    path = f"/reporting/cases/{case['id']}/attachments/{stored}"
    for address in (path, f"{path}/metadata"):
        assert desk.get("away-clerk", address).status_code == 200
        assert desk.get("other-clerk", address).status_code == 403, "the same post, and stands in for nobody"


@pytest.mark.usefixtures("people")
def test_who_must_stand_aside_does_not_stand_in(desk: Desk) -> None:
    case = desk.register(stand_aside=["away-clerk"])
    urging = {"unit": HOUSING, "note": NOTE}
    desk.until(case.id, status="assigned")
    desk.refused(403, "access.refused", "away-clerk", f"/supervision/cases/{case.id}/urge", urging)
    desk.ok("away-clerk", f"/supervision/cases/{desk.assigned().id}/urge", urging)


@pytest.mark.usefixtures("people")
def test_a_case_is_not_put_into_the_hands_of_a_person_who_is_away(desk: Desk) -> None:
    case = desk.assigned()
    path = f"/routing/cases/{case.id}/sign-for"
    problem = desk.refused(422, "person.absent", "jj-housing", path, {"unit": HOUSING, "person": "away-head"})
    assert "away-handler" in problem["advice"], "the deputy of the deputy, who has left"
    desk.refused(422, "person.unknown", "jj-housing", path, {"unit": HOUSING, "person": "away-gone"})
    desk.refused(401, "token.unknown", "away-gone", path, {"unit": HOUSING, "person": "jj-housing-1"})
    desk.ok("away-handler", path, {"unit": HOUSING, "person": "away-handler"})
    reassignment = {"unit": HOUSING, "person": "jj-housing-1"}
    desk.ok("away-handler", f"/routing/cases/{case.id}/reassign", reassignment)
    actor = desk.timeline(case.id)["timeline"][-1]["actor"]
    assert (actor["person"], actor["acting_for"]) == ("away-handler", "away-head"), "the own post may not reassign"


@pytest.mark.usefixtures("people")
def test_the_reminder_about_a_case_of_an_absent_person_goes_to_the_deputy(desk: Desk) -> None:
    signed_ago = timedelta(hours=23, minutes=50)
    if local_day(-signed_ago) == TODAY:
        pytest.skip("the signing would lie on the first day of the absence, in the last minutes of a day")
    case = in_handling(desk, HASTY, signed_ago, responsible="away-head")
    until(lambda: _urged(desk, case) is not None, "a reminder")
    urged = _urged(desk, case)
    assert (urged["facts"]["unit"], urged["facts"]["person"]) == (HOUSING, "away-handler")


def _urged(desk: Desk, case: Case) -> Any:
    timeline = desk.timeline(case.id)["timeline"]
    return next((entry for entry in timeline if entry["type"] == "case.urged"), None)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("path", ["/supervision/feed", "/reporting/events?live=true"])
def test_who_is_no_longer_active_hears_nothing_more_on_an_open_stream(desk: Desk, stack: Stack, path: str) -> None:
    headers = {"Authorization": "Bearer demo-listener"}
    load(stack, PEOPLE)
    until(lambda: desk.get("listener", "/reporting/orders").status_code == 200, "the listener is active")
    with desk.client.stream("GET", path, headers=headers, timeout=30.0) as answer:
        assert answer.status_code == 200
        left = tuple(
            person.model_copy(update={"active": False}) if person.id == "listener" else person for person in PEOPLE
        )
        load(stack, left)
        until(lambda: desk.get("listener", "/reporting/orders").status_code == 401, "the listener has left")
        case = desk.register()
        assert case.id not in "".join(answer.iter_text()), "and the stream ends"
