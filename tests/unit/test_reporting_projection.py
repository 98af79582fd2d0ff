"""Reporting's rows, keys, cursors and the search's words: pure functions."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting import listing
from services.reporting.listing import CaseFilter
from services.reporting.read_model import (
    SEARCH_AFTER_END_DAYS_MAX,
    CaseRow,
    case_row,
    newest_matter,
    order_row,
    searchable_until,
    visibility_keys,
)
from services.reporting.search import Pairs, plain, searched, terms
from services.reporting.views import state_facts
from shared.case.base import Position, Recorded, Unknown
from shared.case.facts import Matter
from shared.case.lifecycle import Status
from shared.case.rights import Right
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json
from shared.kit.rows import arrays_of
from shared.kit.seal import seal_fields
from shared.kit.timeline import timeline_entry
from tests.support.clock import FakeClock
from tests.support.law import (
    CHIEF,
    COMPLAINED,
    DUE,
    HOUSING,
    KIN,
    LI,
    ORDER_SITUATIONS,
    SITUATIONS,
    START,
    TOWNSHIP,
    WANG,
    WATER,
    ZHANG,
    history,
)
from tests.support.law import given as situation
from tests.support.reporting import caller

WHEN = Position("LOG_5101", 7)
AT = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)
KEY = b"k" * 32


def change(name: str) -> AggregateChange:
    events = history(name)
    state, address = situation(name), events[0].address
    return AggregateChange(address, state, WHEN, events, state_json(address.kind, state))


def row(name: str) -> dict[str, Any]:
    return asdict(case_row(change(name)))


def test_a_case_that_is_handled_says_who_has_it_and_since_when() -> None:
    found = row("co-handled, co-handler signed")
    assert (found["status"], found["open"], found["late"], found["lane"]) == ("handling", True, False, 2)
    assert (found["unit"], found["person"], found["co_units"]) == (HOUSING, LI, WATER)
    assert found["people"].split() == [LI, WANG]
    assert (found["first_asked"], found["complained_unit"], found["stand_aside"]) == (ZHANG, COMPLAINED, KIN)
    assert (found["stream"], found["sequence"], found["registered_at"]) == ("LOG_5101", 7, START)


def test_the_soonest_running_clock_is_due_and_a_stopped_one_is_not() -> None:
    assert row("clocked")["due"] == DUE
    assert row("suspended")["due"] is None
    assert row("handled")["due"] is None
    assert row("ended late")["due"] is None, "nothing is due of a stage that is over"


def test_late_and_ended_cases_stand_in_lanes_of_their_own() -> None:
    assert row("overdue")["lane"] == 3
    assert row("overdue, annulled")["lane"] == 2
    assert row("overdue, then closed")["lane"] == 1
    assert row("closed")["lane"] == 0


@pytest.mark.parametrize("name", [name for name in SITUATIONS if SITUATIONS[name]])
def test_every_situation_makes_a_row(name: str) -> None:
    assert [len(column) for column in arrays_of([case_row(change(name))])] == [1] * len(fields(CaseRow))


@pytest.mark.parametrize("name", [name for name in ORDER_SITUATIONS if ORDER_SITUATIONS[name]])
def test_every_order_makes_a_row(name: str) -> None:
    found = order_row(change(name))
    assert (found.region, found.unit, found.case_count) == (TOWNSHIP, HOUSING, 1)
    assert found.issued_at == START


def test_a_case_is_tied_to_its_regions_units_and_people_and_to_those_it_is_kept_from() -> None:
    state = replace(situation("co-handled"), in_charge="510100000000")
    assert visibility_keys(state, [LI]) == sorted(
        ["51", "5101", "<510104", "<510104001", HOUSING, WATER, f"@{LI}", f"@{ZHANG}", f"!@{KIN}", f"!{COMPLAINED}"]
    )


def test_keys_follow_from_the_post_and_the_question() -> None:
    reader = caller(TOWNSHIP, Right.READ, person="li.na")
    county = caller("510104000000", Right.READ, person="li.na")
    auditor = caller("510104000000", Right.AUDIT, person="li.na")
    handler = caller(TOWNSHIP, Right.HANDLE, person="li.na", unit=HOUSING)
    assert listing.keys(reader, CaseFilter()) == [f"{TOWNSHIP}-centre", "@li.na", "510104001", "<510104001"]
    assert listing.keys(county, CaseFilter(region=TOWNSHIP)) == ["510104001"]
    assert listing.keys(reader, CaseFilter(region="510100000000"))[-2:] == ["510104001", "<510104001"]
    assert listing.keys(reader, CaseFilter(region="330100000000")) == [f"{TOWNSHIP}-centre", "@li.na", "<510104001"]
    assert listing.keys(auditor, CaseFilter()) == ["510104000000-centre", "@li.na", "510104"]
    assert listing.keys(handler, CaseFilter()) == [HOUSING, "@li.na"]
    assert listing.keys(handler, CaseFilter(unit=WATER)) == [HOUSING, "@li.na"]
    assert listing.keys(county, CaseFilter(unit=WATER)) == [WATER]
    assert listing.keys(county, CaseFilter(person="wang.fang")) == ["@wang.fang"]


def test_lanes_follow_from_open_late_and_status() -> None:
    assert listing.buckets(CaseFilter()) == [1, 0, 3, 2]
    assert listing.buckets(CaseFilter(open=True, late=True)) == [3]
    assert listing.buckets(CaseFilter(status=Status.CLOSED)) == [1, 0]
    assert listing.buckets(CaseFilter(status=Status.CLOSED, open=True)) == []


@pytest.mark.parametrize(
    ("region", "digits"),
    [("510000000000", 4), ("510100000000", 6), ("510104000000", 9), (TOWNSHIP, 12), ("510104001001", 12)],
)
def test_children_of_a_region_are_told_apart_by_the_digits_of_the_level_below(region: str, digits: int) -> None:
    assert listing.child_digits(region) == digits


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_holds_a_position_of_the_list(at: datetime, id: UUID) -> None:
    assert listing.parse_position(at.isoformat(), str(id)) == (at, id)


@pytest.mark.parametrize(("at", "id"), [("yesterday", str(UUID(int=1))), (AT.isoformat(), "x"), ("2026-03-02", "x")])
def test_another_position_is_refused(at: str, id: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|hexadecimal|offset"):
        listing.parse_position(at, id)


def test_a_page_ends_at_the_time_asked_for() -> None:
    later = (AT + timedelta(days=1), UUID(int=5))
    assert listing.upper_bound(CaseFilter(until=AT), later) == (AT, UUID(int=0))
    assert listing.upper_bound(CaseFilter(until=AT), None) == (AT, UUID(int=0))
    assert listing.upper_bound(CaseFilter(), later) == later


def sealed(recorded: Recorded[Any]) -> Recorded[Any]:
    event = seal_fields(recorded.known, KEY, recorded.address.id, recorded.id, FakeClock())
    return replace(recorded, event=event, position=WHEN)


def test_the_newest_matter_is_the_one_that_stands() -> None:
    plain_ = change("registered")
    first = sealed(plain_.events[0])
    found = newest_matter(replace(plain_, events=[first]))
    assert found is not None
    assert (found.event_id, found.token) == (first.id, first.known.matter)
    assert newest_matter(replace(plain_, events=history("handled")[1:])) is None


def test_a_case_is_found_until_some_days_after_its_end_and_again_when_taken_up() -> None:
    ended = START + timedelta(days=SEARCH_AFTER_END_DAYS_MAX)
    assert searchable_until(change("closed")) == (True, ended)
    assert searchable_until(change("withdrawn")) == (True, ended)
    assert searchable_until(change("reopened")) == (True, None)
    assert searchable_until(change("handled")) == (False, None)


def test_width_case_and_spaces_make_no_difference_to_a_search() -> None:
    assert plain("  ＡＢＣ　大坝村 \n x ") == "abc 大坝村 x"
    assert searched(Matter(title="大坝", text="没有Ｗａｔｅｒ", address="三组")) == "大坝 没有water 三组"
    assert terms(" 大坝  Water ") == ["大坝", "water"]
    for short in ("", " ", "水", "a b"):
        with pytest.raises(ValueError, match="two characters"):
            terms(short)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_a_text_holds_every_pair_of_each_of_its_parts(before: str, middle: str, after: str) -> None:
    pairs = Pairs(KEY)
    whole = plain(before + middle + after)
    for word in plain(middle).split(" "):
        if word in whole:
            assert set(pairs.of(word)) <= set(pairs.of(whole))


def test_pairs_are_keyed_fit_16_bits_and_do_not_cross_a_space() -> None:
    ours, theirs = Pairs(KEY), Pairs(b"t" * 32)
    text = "大坝村的井里三天没有水了请派人来看一看" * 3
    assert ours.of(text) == Pairs(KEY).of(text) != theirs.of(text)
    assert all(-(1 << 15) <= one < 1 << 15 for one in ours.of(text))
    assert ours.of("ab cd") == sorted({*ours.of("ab"), *ours.of("cd")})
    assert ours.of("a") == ours.of("") == []


@pytest.mark.clause("9.4a")
def test_an_entry_shows_content_to_who_has_the_key_and_names_what_it_hides() -> None:
    recorded = sealed(history("registered")[0])
    whole = timeline_entry(recorded, KEY, False)
    assert whole.facts["matter"]["title"] == "No water"
    assert (whole.facts["reporter"]["parties"][0]["name"], whole.sealed) == ("Zhou", [])
    without = timeline_entry(recorded, KEY, True)
    assert (without.sealed, "reporter" in without.facts) == (["reporter"], False)
    assert "Zhou" not in without.model_dump_json()
    flow = timeline_entry(recorded, None, False)
    assert sorted(flow.sealed) == ["matter", "reporter"]
    assert "seal1." not in flow.model_dump_json()
    assert flow.facts["nature"] == "complaint"


def test_an_entry_of_a_newer_event_shows_nothing_but_its_name() -> None:
    newer = Unknown("case.sung", 2, {"song": "la la", "note": "seal1.x.y"})
    recorded = replace(sealed(history("registered")[0]), event=newer)
    shown = timeline_entry(recorded, KEY, False)
    assert (shown.type, shown.version, shown.facts, shown.sealed) == ("case.sung", 2, {}, ["note", "song"])


def test_a_state_is_told_without_the_ids_of_commands() -> None:
    told = state_facts(situation("handled"))
    assert (told["status"], told["unit"], "applied" in told) == ("handling", HOUSING, False)
    assert CHIEF not in str(told)
    assert state_facts(CaseState())["status"] == "unborn"
