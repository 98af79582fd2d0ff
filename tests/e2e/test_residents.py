"""What a resident says of a case: more words, corrections, repeats, parts; and what each of them may see."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.client import HOUSING, NOTE, POLICE, SETTLE, TOWNSHIP, UNRULED, Case, Desk, new_key

SECOND = {"name": "李四娘", "phone": "13911112222"}
REPEAT = {
    "channel": "call",
    "matter": {"title": "电梯又坏了", "text": "我家老人在里面困了半小时。", "address": "天府路九号"},
    "reporter": {"parties": [SECOND]},
}


def public(desk: Desk, case: Case) -> str:
    answer = desk.get(None, f"/intake/public/{case.number}", secret=case.secret)
    assert answer.status_code == 200, answer.text
    return answer.text


def attach(desk: Desk, case: Case, **more: object) -> dict[str, object]:
    contact = desk.timeline(case.id)["timeline"][0]["facts"]["contact_time"]
    return desk.ok("jj-window", f"/intake/cases/{case.id}/attach", {**REPEAT, "contact_time": contact, **more})


def test_a_supplement_adds_and_a_correction_sets_right_while_the_first_version_stays(desk: Desk) -> None:
    case = desk.waiting()
    desk.ok("jj-window", f"/intake/cases/{case.id}/supplement", {"note": {"text": "补充：门牌是三号。"}})
    corrected = {"nature": "dispute", "matter": {"title": "改正后", "text": "实际是邻居漏水。"}, "note": NOTE}
    desk.ok("jj-window", f"/intake/cases/{case.id}/correct", corrected)
    desk.refused(422, "nothing_corrected", "jj-window", f"/intake/cases/{case.id}/correct", {"note": NOTE})
    timeline = {entry["type"]: entry for entry in desk.timeline(case.id)["timeline"]}
    first, last = timeline["case.registered"], timeline["case.corrected"]
    assert (first["facts"]["matter"]["title"], last["facts"]["matter"]["title"]) == ("一件小事", "改正后")
    assert desk.state(case.id)["nature"] == "dispute"


def test_a_repeat_joins_the_open_case_and_neither_reporter_sees_the_other(desk: Desk) -> None:
    case = desk.assigned()
    attach(desk, case)
    assert desk.state(case.id)["repeats"] == 1
    told = public(desk, case)
    assert "repeated" in told
    for word in ("李四娘", "13911112222", "困了半小时", "电梯又坏了", "天府路九号", "张三", "13800000000"):
        assert word not in told, "a public answer names nobody, least of all the other reporter"


def test_a_merged_case_goes_on_in_the_surviving_one(desk: Desk) -> None:
    survivor, other = desk.assigned(), desk.waiting(title="电梯又坏了", text="没人管。")
    attach(desk, survivor, merged_from=other.id)
    state = desk.until(other.id, status="merged")
    assert state["merged_into"] == survivor.id
    (said,) = [one["facts"] for one in desk.timeline(survivor.id)["timeline"] if one["type"] == "case.attached"]
    assert (said["merged_from"], said["merged_registered_at"]) == (other.id, state["registered_at"])
    assert "李四娘" not in public(desk, other)
    assert "merged" in public(desk, other)


def until_type(desk: Desk, case: Case, type_: str) -> None:
    """Wait until a case has an event of a type, which a reaction makes."""
    end = time.monotonic() + 10
    while type_ not in desk.types(case.id):
        assert time.monotonic() < end, f"no {type_}"
        time.sleep(0.05)


def test_a_merged_resident_is_answered_and_a_wrong_merge_is_undone(desk: Desk) -> None:
    survivor = desk.handled(parties=[{"name": "赵六顺", "phone": "13655556666"}])
    other = desk.waiting(parties=[{"name": "钱七妹", "phone": "13577778888"}])
    stood = desk.until_clocked(other.id)
    attach(desk, survivor, merged_from=other.id)
    desk.until(other.id, status="merged")
    assert "handling" in public(desk, other)
    desk.ok("jj-window", f"/intake/cases/{other.id}/supplement", {"note": {"text": "三楼也停了。"}})
    until_type(desk, survivor, "case.supplemented")
    settle = {**SETTLE, "reply": {"text": "赵六顺您好：电梯已修好。"}}
    desk.ok("jj-housing-1", f"/routing/cases/{survivor.id}/settle", settle)
    answered = public(desk, other)
    assert "电梯已修好" in answered
    assert "赵六顺" in public(desk, survivor)
    for text, words in ((answered, ("赵六顺", "13655556666")), (public(desk, survivor), ("钱七妹", "三楼"))):
        assert not [word for word in words if word in text]
    rating = {"satisfaction": "dissatisfied", "text": "没修好"}
    secret = {"Case-Secret": other.secret}
    rated = desk.send("POST", None, f"/intake/public/{other.number}/rate", json=rating, headers=secret)
    assert rated.status_code == 200, rated.text
    desk.until(survivor.id, send_backs=1)
    undo = f"/routing/cases/{other.id}/unmerge"
    desk.refused(403, "access.refused", "jj-window", undo, {"note": NOTE})
    assert desk.ok("jj-triage", undo, {"note": NOTE}, "undo-once")["status"] == "awaiting_triage"
    assert desk.ok("jj-triage", undo, {"note": NOTE}, "undo-once")["event"] is None
    desk.refused(409, "wrong_status", "jj-triage", undo, {"note": NOTE})
    state = desk.state(other.id)
    assert [state[name] for name in ("clocks", "since")] == [stood[name] for name in ("clocks", "since")]
    assert state.get("merged_into") is None
    assert "电梯已修好" not in public(desk, other)


def test_who_stands_aside_from_the_surviving_case_does_not_reach_it_through_the_merged_one(desk: Desk) -> None:
    survivor = desk.waiting()
    body, key = {**UNRULED, "text": f"想请工作人员帮忙看看。{new_key()}"}, new_key()
    other = desk.ok("jj-window", "/intake/cases", body, key)["id"]
    aside = {"stand_aside": ["jj-window"], "note": NOTE}
    desk.ok("jj-director", f"/intake/cases/{survivor.id}/correct", aside)
    contact = desk.timeline(other)["timeline"][0]["facts"]["contact_time"]
    repeat = {**REPEAT, "contact_time": contact, "merged_from": other}
    desk.ok("jj-director", f"/intake/cases/{survivor.id}/attach", repeat)
    desk.until(other, status="merged")
    desk.refused(403, "access.refused", "jj-window", f"/intake/cases/{other}/supplement", {"note": NOTE})
    desk.refused(403, "access.refused", "jj-window", f"/intake/cases/{other}/secret", {})
    desk.refused(403, "access.refused", "jj-window", "/intake/cases", body, key)
    assert desk.ok("jj-director", "/intake/cases", body, key)["id"] == other


def test_the_earlier_case_survives_and_what_is_known_of_the_other_is_not_the_caller_s_to_say(desk: Desk) -> None:
    earlier, later = desk.waiting(), desk.waiting()
    contact = desk.timeline(later.id)["timeline"][0]["facts"]["contact_time"]
    path, body = f"/intake/cases/{later.id}/attach", {**REPEAT, "contact_time": contact, "merged_from": earlier.id}
    desk.refused(409, "later_case", "jj-window", path, body)
    forged = {**body, "merged_registered_at": "2999-01-01T00:00:00Z"}
    desk.refused(422, "request.invalid", "jj-window", path, forged)
    nobody = {**body, "merged_from": f"{later.id[:-4]}0000"}
    desk.refused(404, "not_registered", "jj-window", path, nobody)


@pytest.mark.clause("8.1f")
def test_a_merge_or_a_repeat_that_complains_of_the_unit_at_work_is_refused(desk: Desk) -> None:
    survivor = desk.assigned()
    contact = desk.timeline(survivor.id)["timeline"][0]["facts"]["contact_time"]
    path, body = f"/intake/cases/{survivor.id}/attach", {**REPEAT, "contact_time": contact}
    desk.refused(409, "unit_complained_of", "jj-window", path, {**body, "complained_unit": HOUSING})
    other = desk.waiting(complained_unit=HOUSING)
    desk.refused(409, "unit_complained_of", "jj-window", path, {**body, "merged_from": other.id})
    two = {**body, "merged_from": other.id, "complained_unit": POLICE}
    desk.refused(409, "complains_of_another", "jj-window", path, two)


@pytest.mark.clause("8.1f")
def test_who_turns_out_to_be_complained_of_or_bound_to_stand_aside_is_kept_away_from_then_on(desk: Desk) -> None:
    survivor, case = desk.waiting(), desk.waiting()
    kept = {"complained_unit": POLICE, "stand_aside": ["jj-director"], "note": NOTE}
    desk.ok("jj-window", f"/intake/cases/{case.id}/correct", kept)
    desk.refused(409, "unit_complained_of", "jj-triage", f"/routing/cases/{case.id}/triage", {"unit": POLICE})
    assert desk.get("jj-director", f"/reporting/cases/{case.id}").status_code == 403
    assert desk.get("jj-director", f"/reporting/cases/{survivor.id}").status_code == 200
    attach(desk, survivor, merged_from=case.id)
    assert desk.get("jj-director", f"/reporting/cases/{survivor.id}").status_code == 403


def test_an_attachment_sent_again_after_the_merge_is_answered_as_before(desk: Desk) -> None:
    survivor, other = desk.waiting(), desk.waiting()
    contact = desk.timeline(survivor.id)["timeline"][0]["facts"]["contact_time"]
    path, body = f"/intake/cases/{survivor.id}/attach", {**REPEAT, "contact_time": contact, "merged_from": other.id}
    assert desk.ok("jj-window", path, body, "attach-once")["event"]
    desk.until(other.id, status="merged")
    assert desk.ok("jj-window", path, body, "attach-once")["event"] is None
    desk.refused(409, "case_merged", "jj-window", path, body)


def test_merging_into_itself_or_a_closed_case_is_refused(desk: Desk) -> None:
    closed = desk.closed()
    contact = desk.timeline(closed.id)["timeline"][0]["facts"]["contact_time"]
    body = {**REPEAT, "contact_time": contact}
    desk.refused(409, "case_closed", "jj-window", f"/intake/cases/{closed.id}/attach", body)
    own = desk.waiting()
    body = {**REPEAT, "contact_time": contact, "merged_from": own.id}
    desk.refused(422, "same_case", "jj-window", f"/intake/cases/{own.id}/attach", body)


def test_a_split_case_s_parts_are_born_once_with_the_first_asked_person(desk: Desk) -> None:
    case = desk.waiting(person="jj-window")
    split = {
        "parts": [{"region": TOWNSHIP, "nature": "complaint"}, {"region": "510104022000", "nature": "help"}],
        "matters": {"matters": [{"title": "物业", "text": "物业乱收费"}, {"title": "低保", "text": "想申请低保"}]},
    }
    key = "split-once"
    assert desk.ok("jj-triage", f"/routing/cases/{case.id}/split", split, key)["status"] == "split"
    assert desk.ok("jj-triage", f"/routing/cases/{case.id}/split", split, key)["event"] is None
    found = parts(desk, case, 2)
    assert [one["state"]["region"] for one in found] == [TOWNSHIP, "510104022000"]
    assert {one["state"]["first_asked"] for one in found} == {"jj-window"}
    assert [one["timeline"][0]["facts"]["matter"]["title"] for one in found] == ["物业", "低保"]
    desk.until(found[0]["id"], unit=HOUSING, status="assigned")


def parts(desk: Desk, case: Case, count: int) -> list[dict[str, Any]]:
    """The cases born from a split, in order; fails when there are not exactly so many in the end."""
    end = time.monotonic() + 10
    while True:
        events = desk.send("GET", "cd-director", "/reporting/events").text.splitlines()
        born = [json.loads(line) for line in events]
        ids = [e["aggregate_id"] for e in born if e.get("facts", {}).get("parent") == case.id]
        if len(ids) == count:
            return [desk.timeline(id) for id in ids]
        assert len(ids) < count, ids
        assert time.monotonic() < end, f"{len(ids)} of {count} parts"


def test_a_split_needs_a_matter_for_each_part(desk: Desk) -> None:
    case = desk.waiting()
    two = [{"title": "一", "text": "一"}, {"title": "二", "text": "二"}]
    three = [{"region": TOWNSHIP, "nature": "help"}] * 3
    body = {"parts": three, "matters": {"matters": two}}
    desk.refused(422, "parts_differ", "jj-triage", f"/routing/cases/{case.id}/split", body)


@pytest.mark.clause("11.1")
def test_the_first_asked_person_never_changes(desk: Desk) -> None:
    case = desk.register(person="jgy-grid-1", channel="grid", region="510104017001")
    desk.until(case.id, status="assigned")
    desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
    desk.ok("jj-director", f"/routing/cases/{case.id}/transfer", {"to": "510104022000", "note": NOTE})
    state = desk.state(case.id)
    assert (state["first_asked"], state["first_asked_unit"]) == ("jgy-grid-1", "510104017001-centre")
    assert desk.get("jgy-grid-1", f"/reporting/cases/{case.id}").status_code == 200, "they guide it to the end"


@pytest.mark.clause("8.1f")
def test_a_complaint_never_goes_to_the_unit_it_complains_of(desk: Desk) -> None:
    ruled = desk.register(complained_unit=HOUSING)
    state = desk.until(ruled.id, status="assigned")
    assert state["unit"] == "510100000000-housing", "the rule that names it goes to the same department one level up"
    case = desk.waiting(complained_unit=HOUSING)
    body = {"unit": HOUSING}
    desk.refused(409, "unit_complained_of", "jj-triage", f"/routing/cases/{case.id}/triage", body)
    desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": POLICE})
    co = {"unit": POLICE, "co_units": [HOUSING]}
    desk.refused(409, "unit_complained_of", "jj-triage", f"/routing/cases/{case.id}/assign", co)
    assert desk.get("jj-housing", f"/reporting/cases/{case.id}").status_code == 403


def test_who_must_stand_aside_neither_sees_nor_handles_the_case(desk: Desk) -> None:
    case = desk.assigned(stand_aside=["jj-housing-1", "jj-director"])
    signing = {"unit": HOUSING, "person": "jj-housing-1"}
    desk.refused(409, "must_stand_aside", "jj-housing", f"/routing/cases/{case.id}/sign-for", signing)
    close = f"/routing/cases/{case.id}/transfer"
    desk.refused(403, "access.refused", "jj-director", close, {"to": "510104022000", "note": NOTE})
    assert desk.get("jj-director", f"/reporting/cases/{case.id}").status_code == 403


def test_who_informed_is_shown_to_the_centre_and_not_to_the_unit_that_handles(desk: Desk) -> None:
    case = desk.assigned(informant=True, parties=[{"name": "王五郎", "phone": "13733334444"}])
    told = desk.get("jj-housing", f"/reporting/cases/{case.id}")
    assert told.status_code == 200
    assert "王五郎" not in told.text
    assert "13733334444" not in told.text
    assert "reporter" in told.json()["timeline"][0]["sealed"]
    assert "王五郎" in desk.get("jj-director", f"/reporting/cases/{case.id}").text


def test_a_lost_secret_is_issued_anew_at_the_desk_and_the_old_one_is_dead(desk: Desk) -> None:
    case = desk.waiting()
    anew = desk.ok("jj-window", f"/intake/cases/{case.number}/secret", None)
    assert anew["number"] == case.number
    assert anew["secret"] != case.secret
    assert desk.get(None, f"/intake/public/{case.number}", secret=case.secret).status_code == 404
    assert desk.get(None, f"/intake/public/{case.number}", secret=anew["secret"]).status_code == 200


def test_wrong_numbers_and_wrong_secrets_look_the_same(desk: Desk) -> None:
    case = desk.waiting()
    answers = [
        desk.get(None, f"/intake/public/{case.number}", secret="AAAAAAAAAA"),
        desk.get(None, f"/intake/public/{case.number}"),
        desk.get(None, "/intake/public/FJ5M-ZZZZZ-Z", secret=case.secret),
        desk.get(None, "/intake/public/no-number", secret=case.secret),
    ]
    assert {answer.status_code for answer in answers} == {404}
    problems = [{k: v for k, v in answer.json().items() if k != "instance"} for answer in answers]
    assert all(problem == problems[0] for problem in problems)


def test_the_number_can_be_read_out_and_typed_loosely(desk: Desk) -> None:
    case = desk.waiting()
    for typed in (case.number.lower(), case.number.replace("-", ""), case.number.replace("-", " ")):
        assert desk.get(None, f"/intake/public/{typed}", secret=case.secret).status_code == 200, typed
