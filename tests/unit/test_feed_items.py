"""What supervisors hear of an event, as a table: the situation before it, what was done, and the items for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.supervision.feed.items import items
from shared.case.announcements import FeedKind, NoticeTemplate
from shared.case.base import Position, Recorded, Unknown
from shared.case.catalogue import ANNOUNCED
from shared.case.commands import COMMANDS
from shared.case.facts import Hold
from shared.kit.feed_item import FeedItem
from tests.support.law import (
    ANSWER,
    CASE,
    CITY,
    CO_CLOCK,
    COUNTY,
    DUE,
    ERASABLE,
    HOUSING,
    LATER,
    LI,
    NEIGHBOUR,
    NEXT_RUNG,
    ON_RUNG,
    ORDER,
    ORDER_SITUATIONS,
    RUNG,
    SITUATIONS,
    START,
    TOWNSHIP,
    VILLAGE,
    WARN,
    WATER,
    Ask,
    accepted,
    after,
    ask,
    given,
    history,
    then,
)
from tests.support.leaks import CORES

NAMES = {CITY: "city", COUNTY: "county", TOWNSHIP: "township", NEIGHBOUR: "neighbour", VILLAGE: "village"}
NUMBER = "FJ4M-00003-V"
AT = Position("LOG_5101", 3)


@dataclass(frozen=True)
class Row:
    """In this situation, this is done, and these items follow: `kind@whose centre`, in their order."""

    situation: str
    asked: Ask
    told: str
    clauses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.situation}: {self.asked.name} {self.asked.facts or ''} -> {self.told}"


def row(situation: str, name: str, told: str, /, *, clause: str = "", at: datetime = START, **facts: Any) -> Row:
    return Row(situation, ask(name, at=at, **facts), told, tuple(clause.split()))


TABLE: tuple[Row, ...] = (
    row("unborn", "register", "arrived@township notice@township", clause="5.1.3a"),
    row("unborn", "register", "arrived@township settled@township notice@township", **ANSWER),
    row("registered", "transfer", "left@township arrived@neighbour", to=NEIGHBOUR, clause="4"),
    row("registered", "escalate", "left@township arrived@county escalated@county", clause="11.2"),
    row("escalated", "hand-down", "left@county arrived@village handed_down@village", clause="5.1.1i"),
    row("clocked", "warn", "warned@township", clause="5.1.3a"),
    row("clocked", "declare-overdue", "overdue@township", clause="5.1.3a"),
    row("overdue", "annul-overdue", "annulled@township"),
    row("handled", "urge", "urged@township"),
    row("handled", "order", "ordered@township", clause="5.1.1f"),
    row("clocked", "extend", "extended@township notice@township"),
    row("clocked", "suspend", "suspended@township"),
    row("suspended", "resume", "suspended@township"),
    row("handled", "settle", "settled@township notice@township"),
    row("settled", "close", "closed@township"),
    row("registered", "decline", "closed@township notice@township"),
    row("registered", "withdraw", "closed@township"),
    row("registered", "merge", "closed@township notice@township"),
    row("registered", "split", "closed@township"),
    row("settled", "send-back", "reopened@township"),
    row("answered on the spot", "send-back", "reopened@township"),
    row("closed", "propose-reopening", "reopening_proposed@township", clause="12.3"),
    row("closed, reopening proposed", "decline-reopening", ""),
    row("closed", "reopen", "reopened@township"),
    row("merged", "unmerge", "reopened@township notice@township"),
    # the resident's own word
    row("registered", "attach", "attached@township"),
    row("registered", "attach", "attached@township notice@township", merged_from=None, merged_registered_at=None),
    row("registered", "supplement", "supplemented@township"),
    row("settled", "supplement", "supplemented@township"),
    row("settled", "call-back", "called_back@township", clause="12.3"),
    row("settled", "rate", "rated@township", clause="12.3"),
    row("closed", "rate", "rated@township", clause="12.3"),
    row("imported", "supplement", ""),
    # what moves nobody above the desk
    row("registered", "triage", ""),
    row("triaged", "assign", ""),
    row("assigned", "sign-for", ""),
    row("assigned", "hand-back", ""),
    row("handled", "progress", ""),
    row("handled", "set-deadlines", ""),
    row("clocked", "recompute-deadline", ""),
    row("clocked", "request-extension", ""),
    row("registered", "correct", ""),
    row("closed", "hold", ""),
    row("closed and held", "request-release", ""),
    row("closed and held, release requested", "release", ""),
    row("closed and held, release requested", "end-release-request", ""),
    row("closed", "request-erasure", "", at=ERASABLE),
    row("closed, erasure requested", "erase", "", at=ERASABLE),
    row("closed, erasure requested", "end-erasure-request", "", at=ERASABLE),
    # a matter that a centre handed down is followed by it
    row("unborn", "register", "arrived@township notice@township followed@county", handed_by=COUNTY, clause="5.1.1i"),
    # the clock of an import is its file's
    row("unborn", "register", "", hold="import"),
    row("unborn", "register", "", hold="import", handed_by=COUNTY, **ANSWER),
    row("clocked, imported", "settle", ""),
    row("imported", "transfer", ""),
    row("imported", "release", "arrived@township", hold="import"),
    row("clocked, imported", "release", "arrived@township", hold="import"),
    # orders go to the centre that issued them
    row("no order", "issue-order", "ordered@township", clause="5.1.1f"),
    row("issued", "answer-order", "answered@township"),
    row("answered", "accept-answer", "answered@township"),
    row("answered", "refuse-answer", "answered@township"),
    row("issued", "withdraw-order", "answered@township"),
    row("issued", "declare-order-overdue", "overdue@township"),
    row("issued", "note-case-refusal", ""),
)


def hear(before: Any, asked: Ask) -> tuple[FeedItem, ...]:
    recorded = replace(accepted(before, asked), position=AT)
    return items(before, then(before, recorded), recorded, NUMBER)


@pytest.mark.parametrize(
    "line", [pytest.param(one, id=str(one), marks=[pytest.mark.clause(c) for c in one.clauses]) for one in TABLE]
)
def test_what_is_heard(line: Row) -> None:
    told = hear(given(line.situation), line.asked)
    assert " ".join(f"{one.data.kind}@{NAMES[one.data.region]}" for one in told) == line.told
    assert len({one.id for one in told}) == len(told)
    assert {one.nats_subject.split(".")[1] for one in told} == {one.data.kind for one in told}
    for one in told:
        assert (one.type, one.data.number, one.data.position) == (f"feed.{one.data.kind}", NUMBER, "LOG_5101:3")
        assert FeedItem.model_validate_json(one.model_dump_json(exclude_none=True)) == one


def test_every_kind_and_every_event_of_the_table_is_heard_above() -> None:
    told = {(one.data.kind, one.data.event) for line in TABLE for one in hear(given(line.situation), line.asked)}
    assert {kind for kind, _ in told} == set(FeedKind)
    assert {event for _, event in told} == {event.TYPE for event in ANNOUNCED}


def test_every_template_of_a_notice_is_used() -> None:
    announcements = [feed for spec in COMMANDS.values() for feed in (spec.feed, *spec.variant_feeds.values())]
    stated = {feed.notice for feed in announcements if feed.notice}
    assert stated | {notice.for_repeat for notice in stated if notice.for_repeat} == set(NoticeTemplate)


REPEAT: dict[str, Any] = {"merged_from": None, "merged_registered_at": None}


@pytest.mark.parametrize(
    ("requests", "templates"),
    [
        ((ask("attach", **REPEAT),), "attached:2"),
        ((ask("attach"),), ""),  # the reporter of a merged case hears of the merge by their own case
        ((ask("attach", merged_repeats=3), ask("attach", **REPEAT)), "attached:6"),
        ((ask("settle"),), "settled settled:1"),
        ((ask("attach", merged_repeats=1), ask("settle")), "settled settled:1 settled:2 settled:3"),
        ((ask("set-deadlines"), ask("extend")), "extended extended:1"),
        ((ask("settle"), ask("close")), ""),
        ((ask("transfer"), ask("decline")), "declined declined:1"),
        ((ask("merge"),), "merged"),
    ],
    ids=lambda value: " ".join(request.name for request in value) if isinstance(value, tuple) else value,
)
def test_each_reporter_of_a_case_has_a_notice_of_their_own(requests: tuple[Ask, ...], templates: str) -> None:
    case = after(given("handled"), ask("attach", **REPEAT), *requests[:-1])
    notices = [item for item in hear(case, requests[-1]) if item.data.kind == "notice"]
    stated = (f"{item.data.template}:{item.data.repeat}".removesuffix(":None") for item in notices)
    assert " ".join(stated) == templates
    assert len({item.id for item in notices}) == len(notices)


def test_an_item_says_where_the_case_stands_right_after() -> None:
    (item,) = hear(given("clocked"), ask("declare-overdue"))
    data = item.data
    assert item.nats_subject == f"feed.overdue.4.51.01.04.001.000.{CASE}"
    assert (data.stage, data.due, data.seen_at, data.unit) == ("handle", DUE, data.seen_at, HOUSING)
    assert data.seen_at is not None
    assert data.seen_at > DUE
    assert (data.status, data.in_charge, data.level, data.region) == ("handling", TOWNSHIP, 4, TOWNSHIP)
    assert (data.case, data.nature, data.people_count) == (CASE, "dispute", 1)
    assert data.version == given("clocked").version + 1


def test_a_co_handling_units_clock_is_told_as_its_own() -> None:
    (item,) = hear(given("co-clocked"), ask("declare-overdue", **CO_CLOCK))
    assert (item.data.stage, item.data.unit) == ("co_handle", WATER)


@pytest.mark.clause("11.2")
def test_both_sides_of_an_escalation_hear_where_it_came_from_and_who_is_informed() -> None:
    left, arrived, escalated = hear(given("registered"), ask("escalate"))
    assert (left.data.region, left.data.in_charge, left.data.previous) == (TOWNSHIP, COUNTY, TOWNSHIP)
    assert arrived.nats_subject.startswith("feed.arrived.3.51.01.04.000.000.")
    assert escalated.data.informs == ("party committee", "government")


def test_a_rung_of_the_ladder_is_told_with_who_must_act_and_what_comes_next() -> None:
    acts = ON_RUNG | {"acts": "the person in charge"}
    (item,) = hear(given("overdue, on the ladder"), ask("urge", at=RUNG, person=LI, **acts))
    data = item.data
    assert (data.stage, data.rung, data.moment, data.next_at) == ("handle", 0, RUNG, NEXT_RUNG)
    assert (data.acts, data.person, data.unit) == ("the person in charge", LI, HOUSING)


@pytest.mark.parametrize(
    ("situation", "request_", "late"),
    [
        ("overdue, on the ladder", ask("urge", at=RUNG, **ON_RUNG), None),
        ("overdue, on the ladder", ask("urge", at=RUNG + timedelta(minutes=2), **ON_RUNG), True),
        ("overdue, on the ladder", ask("urge", at=RUNG + timedelta(days=9)), None),  # by a person
        ("clocked", ask("declare-overdue", seen_at=DUE + timedelta(seconds=20)), None),
        ("clocked", ask("declare-overdue", seen_at=DUE + timedelta(days=10)), True),
        ("clocked", ask("warn", seen_at=WARN + timedelta(seconds=20)), None),
        ("clocked", ask("warn", seen_at=WARN + timedelta(days=1)), True),
    ],
)
def test_an_item_that_an_outage_delayed_says_so(situation: str, request_: Ask, late: bool | None) -> None:
    (item, *_) = hear(given(situation), request_)
    assert item.data.seen_late is late


def test_an_order_is_told_by_its_own_id_and_for_each_case_by_the_cases() -> None:
    (issued,) = hear(given("no order"), ask("issue-order"))
    assert (issued.subject, issued.data.order, issued.data.case) == (ORDER, ORDER, None)
    assert (issued.data.due, issued.data.cases_count, issued.data.order_kind) == (DUE, 1, "ordinary")
    (covered,) = hear(given("handled"), ask("order"))
    assert (covered.subject, covered.data.order, covered.data.case) == (CASE, ORDER, CASE)
    assert (covered.data.due, covered.data.order_kind) == (LATER, "listed")


@pytest.mark.clause("5.1.1i")
def test_who_handed_it_down_follows_every_step_and_hears_which_it_is() -> None:
    case = after(given("unborn"), ask("register", handed_by=CITY), ask("triage"), ask("assign"), ask("sign-for"))
    told = hear(case, ask("settle"))
    followed = told[-1].data
    assert (followed.kind, followed.inner, followed.region, followed.level) == ("followed", "settled", CITY, 2)
    *_, followed_up = hear(case, ask("escalate"))
    assert (followed_up.data.inner, followed_up.data.region) == ("escalated", CITY)


def test_a_case_that_ended_before_its_import_was_released_does_not_arrive() -> None:
    case = after(given("clocked, imported"), ask("settle"), ask("close"))
    assert hear(case, ask("release", hold="import")) == ()
    assert Hold.IMPORT in case.holds


def test_a_notice_names_its_template_and_the_new_moment() -> None:
    notice = hear(given("clocked"), ask("extend"))[-1].data
    assert (notice.kind, notice.template, notice.due, notice.number) == ("notice", "extended", LATER, NUMBER)


def test_an_item_of_a_rating_or_a_call_states_the_satisfaction_and_an_attached_repeat_the_people() -> None:
    (rated,) = hear(given("settled"), ask("rate", satisfaction="dissatisfied"))
    assert (rated.data.satisfaction, rated.data.status) == ("dissatisfied", "settled")
    (called,) = hear(given("settled"), ask("call-back", outcome="unsolved", satisfaction="dissatisfied"))
    assert (called.data.satisfaction, called.data.outcome) == ("dissatisfied", "unsolved")
    (missed,) = hear(given("settled"), ask("call-back", contacted=False, satisfaction="unrated"))
    assert missed.data.satisfaction == "unrated"
    (attached,) = hear(given("registered"), ask("attach", people_count=7))
    assert attached.data.people_count == 8


def test_an_event_newer_than_this_program_says_nothing() -> None:
    recorded = replace(accepted(given("registered"), ask("triage")), event=Unknown("case.overdue", 9, {}), position=AT)
    assert items(given("registered"), given("registered"), recorded, NUMBER) == ()


def _planted() -> Iterator[tuple[str, tuple[FeedItem, ...]]]:
    """Every event of every situation with content that could be found again in each private field."""
    for situation in SITUATIONS | ORDER_SITUATIONS:
        before = given("no order" if situation in ORDER_SITUATIONS else "unborn")
        for recorded in history(situation):
            event = recorded.known
            content = {name: " ".join(CORES) for name in event.PRIVATE}
            planted: Recorded[Any] = replace(recorded, event=event.model_copy(update=content), position=AT)
            now = then(before, planted)
            yield recorded.type, items(before, now, planted, NUMBER)
            before = now


@pytest.mark.clause("9.4a")
def test_no_item_ever_holds_content_or_a_phone_number() -> None:
    heard = set()
    for type_, told in _planted():
        for item in told:
            heard.add(type_)
            text = item.model_dump_json()
            assert not [core for core in CORES if core in text]
            assert "seal1." not in text
    assert len(heard) > 20, "most events give items"


def test_made_again_the_items_are_the_same() -> None:
    before = given("registered")
    recorded = replace(accepted(before, ask("escalate", at=START)), position=AT)
    now = then(before, recorded)
    assert items(before, now, recorded, NUMBER) == items(before, now, recorded, NUMBER)


def test_the_page_for_subscribers_names_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text()
    table = page.partition("## The items")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == set(FeedKind)
