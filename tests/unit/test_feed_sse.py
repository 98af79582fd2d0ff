"""Who hears an item, and how often the log is asked for the cases that many hear of at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from services.supervision.feed import sse
from services.supervision.feed.items import items
from services.supervision.feed.sse import Present, hears
from shared.case.base import Position
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.aggregate_cache import Versioned
from shared.kit.feed_item import FeedItem
from tests.support.clock import FakeClock
from tests.support.law import (
    COMPLAINED,
    COUNTY,
    HOUSING,
    KIN,
    LI,
    NEIGHBOUR,
    TOWNSHIP,
    WHERE,
    accepted,
    after,
    ask,
    given,
    then,
)


def caller(region: str, *rights: Right, person: str = "chen.jun", unit: str = "") -> Caller:
    return Caller(person, "director", unit or f"{region}-centre", region, frozenset(rights))


def heard(situation: str, name: str, kind: str, **facts: Any) -> tuple[FeedItem, Any]:
    """An item of this kind, and the case or order right after it."""
    before = given(situation)
    recorded = replace(accepted(before, ask(name, **facts)), position=Position("LOG_5101", 9))
    now = then(before, recorded)
    return next(one for one in items(before, now, recorded, "FJ4M-00001-J") if one.data.kind == kind), now


OVERDUE = heard("clocked", "declare-overdue", "overdue")
LEFT, NOW_ELSEWHERE = heard("registered", "transfer", "left", to=NEIGHBOUR)
ARRIVED, _ = heard("registered", "transfer", "arrived", to=NEIGHBOUR)
LATE_ORDER = heard("issued", "declare-order-overdue", "overdue")


@pytest.mark.clause("9.4a")
@pytest.mark.parametrize(
    ("who", "hears_it"),
    [
        (caller(COUNTY, Right.READ), True),
        (caller(COUNTY, Right.AUDIT), True),
        (caller(TOWNSHIP, Right.READ), True),
        (caller(NEIGHBOUR, Right.READ), False),
        (caller(COUNTY), False),
        (caller(TOWNSHIP, person=LI, unit=HOUSING), True),
        (caller(COUNTY, Right.READ, person=KIN), False),
        (caller(COUNTY, Right.READ, Right.AUDIT, unit=COMPLAINED), False),
    ],
    ids=["above", "auditor above", "there", "elsewhere", "reads nothing", "handles it", "stands aside", "complained"],
)
def test_an_item_is_for_those_who_may_see_the_flow_of_its_case(who: Caller, hears_it: bool) -> None:
    assert hears(who, *OVERDUE) is hears_it


def test_the_centre_that_a_case_left_hears_that_it_left_and_no_more() -> None:
    began_elsewhere = replace(NOW_ELSEWHERE, region=COUNTY)
    before = caller(TOWNSHIP, Right.READ)
    assert hears(before, LEFT, began_elsewhere)
    assert not hears(before, ARRIVED, began_elsewhere)
    assert not hears(caller(TOWNSHIP, Right.READ, person=KIN), LEFT, began_elsewhere)
    assert not hears(caller(TOWNSHIP), LEFT, began_elsewhere)


@pytest.mark.clause("5.1.1f")
def test_an_order_is_for_its_centre_those_above_and_the_unit_that_must_answer() -> None:
    assert hears(caller(COUNTY, Right.AUDIT), *LATE_ORDER)
    assert hears(caller(TOWNSHIP, unit=HOUSING), *LATE_ORDER)
    assert not hears(caller(NEIGHBOUR, Right.READ), *LATE_ORDER)
    assert not hears(caller(COUNTY), *LATE_ORDER)


class Cases:
    """A handler that has one case, and counts how often it is asked for it anew."""

    def __init__(self) -> None:
        self.held, self.asked = Versioned(given("clocked"), 5), 0

    async def state(self, address: Any, fresh: bool = False) -> Versioned:
        assert fresh
        self.asked += 1
        found = self.held
        await asyncio.sleep(0)
        return found


def _application(cases: Any, clock: FakeClock) -> Any:
    """All that it needs of the application layer."""
    return SimpleNamespace(load_for_service=partial(cases.state, fresh=True), runtime=SimpleNamespace(clock=clock))


async def test_what_many_hear_at_once_is_asked_of_the_log_once() -> None:
    cases, clock = Cases(), FakeClock()
    present = Present(_application(cases, clock))
    states = await asyncio.gather(*(present.state(WHERE, 5) for _ in range(100)))
    assert states == [cases.held.state] * 100
    assert cases.asked == 1
    await clock.advance(sse.PRESENT_S_MAX + 0.1)
    await present.state(WHERE, 5)
    assert cases.asked == 2


async def test_what_is_older_than_the_item_is_asked_anew_at_once() -> None:
    cases, clock = Cases(), FakeClock()
    present = Present(_application(cases, clock))
    await present.state(WHERE, 5)
    cases.held = Versioned(after(given("clocked"), ask("correct", stand_aside=("chen.jun",))), 7)
    await clock.advance(0.1)
    states = await asyncio.gather(*(present.state(WHERE, 7) for _ in range(50)))
    assert all("chen.jun" in state.stand_aside for state in states)
    assert cases.asked == 2
    cases.held = Versioned(given("clocked"), 6)  # a log that lost its end is no reason to ask for ever
    await clock.advance(sse.PRESENT_S_MAX + 0.1)
    await present.state(WHERE, 99)
