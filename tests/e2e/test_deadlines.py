"""What is late climbs rung by rung, and every due moment can be explained, on a running stack."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.client import HOUSING, LABOUR, POLL_S, SETTLE, TOWNSHIP, WAIT_S_MAX, Case, Desk
from tests.support.short_limits import HASTY, LONG, ago, begun, deadlines, in_handling, publish_anew, until_clock
from tests.support.stack import Stack, until

pytestmark = pytest.mark.usefixtures("hours")
HOUR = timedelta(hours=1)


def whats(told: dict[str, Any]) -> list[str]:
    return [step["what"] for step in told["steps"]]


@pytest.mark.clause("5.1.3a")
@pytest.mark.clause("11.2")
def first_rung(desk: Desk, case: Case, stage: str) -> dict[str, Any]:
    """The deadline of a late stage once the first rung of its ladder is taken."""
    end = time.monotonic() + WAIT_S_MAX
    while True:
        deadline = deadlines(desk, case, stage)
        if any(rung["event"] for rung in deadline["ladder"]) or time.monotonic() > end:
            return deadline
        time.sleep(POLL_S)


def test_what_is_recorded_days_late_is_urged_at_once_and_climbs_a_level_in_an_interval(desk: Desk) -> None:
    case = begun(desk, HASTY, channel="letter", time=ago(days=5))
    deadline = first_rung(desk, case, "triage")
    start, due = (datetime.fromisoformat(deadline[name]) for name in ("start", "due"))
    assert (deadline["state"], due - start, deadline["limit"]["rows"][0]["id"]) == ("late", 2 * HOUR, "short-triage")
    (urged, *ahead) = deadline["ladder"]
    assert [rung["act"] for rung in ahead] == ["urge", "order", "escalate", "escalate", "escalate"]
    seen_at = datetime.fromisoformat(urged["taken_at"])
    assert (urged["act"], datetime.fromisoformat(urged["moment"]), urged["event"] is None) == ("urge", due, False)
    assert [datetime.fromisoformat(rung["moment"]) for rung in ahead] == [seen_at + n * HOUR for n in range(1, 6)]
    assert not urged["seen_late"], "the letter was recorded late; caseflow was there"
    informed = [rung["informs"] for rung in ahead[2:]]
    assert all(names == ["party_committee", "government", "centre_above"] for names in informed)
    assert whats(deadline)[-2:] == ["overdue", "warn"]
    listed = deadlines(desk, case)
    assert [late["rung"] for late in listed["late"]] == [1]
    assert listed["lateness"] == 1
    assert desk.state(case.id)["in_charge"] == TOWNSHIP


def test_a_rung_to_come_is_told_with_its_moment_and_a_stage_over_in_time_has_none(desk: Desk) -> None:
    case = in_handling(desk, HASTY, signed_ago=4 * HOUR + timedelta(minutes=30))
    deadline = first_rung(desk, case, "handle")
    taken = [rung for rung in deadline["ladder"] if rung["event"]]
    assert [rung["act"] for rung in taken] == ["remind"], "two and a half hours late, and reminded of now"
    ahead = [rung for rung in deadline["ladder"] if not rung["event"]]
    seen_at = datetime.fromisoformat(taken[0]["taken_at"])
    assert [rung["act"] for rung in ahead] == ["urge", "order", "escalate", "escalate", "escalate"]
    assert [datetime.fromisoformat(rung["moment"]) for rung in ahead] == [seen_at + n * HOUR for n in range(1, 6)]
    assert deadlines(desk, case)["next"][0] == {
        "at": ahead[0]["moment"],
        "what": "rung",
        "stage": "handle",
        "unit": None,
    }
    triage = deadlines(desk, case, "triage")
    assert triage["state"] == "over"


def test_the_days_that_a_limit_skips_are_told_as_runs_with_their_reasons(desk: Desk) -> None:
    case = in_handling(desk, LONG)
    told = deadlines(desk, case, "handle", person="sc-auditor")
    assert (told["base"], told["amount"], told["legal_basis"]) == ("working_days", 5, "试验 (not law)")
    assert whats(told)[:2] == ["choose", "start"]
    assert whats(told)[-2:] == ["end", "warn"]
    skipped = [step for step in told["steps"] if step["what"] == "skip"]
    assert skipped, "five working days never lie in one week after the first"
    assert all("weekend" in step["why"] or "holiday" in step["why"] for step in skipped)
    assert told["calendar"]["reference"] in skipped[0]["why"]
    assert told["calendar"]["in_force"] is told["limit"]["in_force"] is True
    assert told["limit"]["rows"][0]["id"] == "long-handle"
    assert told["limit"]["reference"] in told["choice"]
    counted = sum(int(step["why"].split()[0]) for step in told["steps"] if step["what"] == "count")
    assert counted == 5


@pytest.mark.clause("5.1.3a")
def test_a_limit_of_the_law_is_told_with_its_article_and_a_stage_that_ended_is_still_explained(desk: Desk) -> None:
    case = desk.handled()  # a complaint about a property manager
    until_clock(desk, case, "handle")
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", SETTLE)
    until_clock(desk, case, "feedback")
    desk.ok("jj-director", f"/routing/cases/{case.id}/close", {})
    told = deadlines(desk, case, "handle")
    assert (told["state"], told["amount"], told["base"]) == ("over", 60, "calendar_days")
    assert told["legal_basis"] == "信访工作条例 第三十四条"
    assert whats(told)[-1] == "over"
    assert told["ladder"] == [], "what was over in time climbs no more"
    feedback = deadlines(desk, case, "feedback")
    assert (feedback["state"], feedback["ended_at"] is not None) == ("over", True)
    assert deadlines(desk, case)["clocks"] == []


def test_what_is_asked_for_and_is_not_there_is_said(desk: Desk) -> None:
    case = in_handling(desk, LONG, co=(LABOUR,))
    path = f"/supervision/cases/{case.id}/deadlines"
    unknown = desk.get("jj-director", f"{path}/weekend")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "request.invalid")
    assert "'co_handle', 'feedback' or 'report'" in unknown.text
    for params in ({"stage": "feedback"}, {"stage": "co_handle", "unit": HOUSING}):
        stage = params.pop("stage")
        absent = desk.get("jj-director", f"{path}/{stage}", **params)
        assert (absent.status_code, absent.json()["code"]) == (404, "clock.unknown")
        assert f"co_handle of {LABOUR}" in absent.json()["detail"]
    assert desk.get("jj-director", f"{path}/co_handle").json()["unit"] == LABOUR, (
        "of one clock the unit need not be said"
    )
    assert desk.get("fc-director", f"{path}/handle").status_code == 403
    assert desk.get("fc-director", path).status_code == 403
    assert desk.get("jj-director", "/supervision/cases/no-such-case/deadlines").status_code == 404


def test_the_second_time_of_a_stage_is_the_one_explained(desk: Desk) -> None:
    case = in_handling(desk, LONG)
    first = until_clock(desk, case, "handle")
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", SETTLE)
    until_clock(desk, case, "feedback")
    desk.ok("jj-director", f"/routing/cases/{case.id}/send-back", {"note": {"text": "没有修好。"}})
    end = time.monotonic() + WAIT_S_MAX
    while until_clock(desk, case, "handle")["state"] != "running" and time.monotonic() < end:
        time.sleep(POLL_S)
    told = deadlines(desk, case, "handle")
    assert told["state"] == "running"
    assert told["start"] > first["start"]


def test_a_version_that_is_no_longer_in_force_is_still_told(desk: Desk, stack: Stack) -> None:
    case = in_handling(desk, LONG)
    before = deadlines(desk, case, "handle")["limit"]
    publish_anew(stack, note="试验，第二版")
    until(lambda: not deadlines(desk, case, "handle")["limit"]["in_force"], "a newer version is in force")
    assert deadlines(desk, case, "handle")["limit"] == before | {"in_force": False}
