"""All commands in any order: what must hold of a case and of an order always holds (rules: tests/support/law_watch)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from shared.case import decide as law
from shared.case import events as e
from shared.case.base import Event
from shared.case.lifecycle import ARROWS, Status
from shared.case.orders import ORDER_ARROWS, OrderStatus
from tests.support import DEEP
from tests.support.law_walk import propose_case, propose_order
from tests.support.law_watch import CaseWatch, OrderWatch

pytestmark = pytest.mark.timeout(600 if DEEP else 60)
STEPS_MAX = 100 if DEEP else 40
WALKS = 5000 if DEEP else 200
UNSEEN_ARROWS_MAX = 0 if DEEP else 3  # by luck; the decision tables reach each of them for certain
WALK_STEPS = 100
ORDER_STEPS = 20
CHANCE = st.randoms(use_true_random=False)


class CaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.watch = CaseWatch()

    @rule(chance=CHANCE)
    def ask(self, chance: Random) -> None:
        self.watch.ask(propose_case(chance, self.watch.state))

    @precondition(lambda self: self.watch.asked)
    @rule(index=st.integers(0, STEPS_MAX))
    def ask_again(self, index: int) -> None:
        self.watch.ask_again(index)

    def teardown(self) -> None:
        self.watch.look_back()


class OrderMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.watch = OrderWatch()

    @rule(chance=CHANCE)
    def ask(self, chance: Random) -> None:
        self.watch.ask(propose_order(chance, self.watch.state))

    def teardown(self) -> None:
        self.watch.look_back()


CaseMachine.TestCase.settings = settings(settings.default, stateful_step_count=STEPS_MAX)
OrderMachine.TestCase.settings = settings(settings.default, stateful_step_count=ORDER_STEPS)

TestCaseAlways = pytest.mark.clause("5.1.3a")(CaseMachine.TestCase)
TestOrderAlways = OrderMachine.TestCase


def _walk(seed: int, seen: AbstractSet[tuple[Status, str]] = frozenset()) -> CaseWatch:
    chance, watch = Random(seed), CaseWatch()
    for _ in range(WALK_STEPS):
        watch.ask(propose_case(chance, watch.state, seen))
    watch.look_back()
    return watch


def test_long_walks_keep_every_rule_and_go_along_every_arrow() -> None:
    """What is random above is a fixed set of walks here: it proves that the rules are put to the test everywhere."""
    arrows: set[tuple[Status, str]] = set()
    for seed in range(WALKS):
        arrows |= _walk(seed, arrows).arrows
    missed = set(ARROWS) - arrows
    assert len(missed) <= UNSEEN_ARROWS_MAX, missed


def test_long_walks_of_an_order_go_along_every_arrow() -> None:
    arrows: set[tuple[OrderStatus, str]] = set()
    for seed in range(WALKS):
        chance, watch = Random(seed), OrderWatch()
        for _ in range(ORDER_STEPS):
            watch.ask(propose_order(chance, watch.state))
        watch.look_back()
        arrows |= watch.arrows
    assert arrows == set(ORDER_ARROWS)


def _walks() -> None:
    for seed in range(WALKS):
        _walk(seed)


GUARDED: tuple[type[Event], ...] = (
    e.Attached,
    e.Corrected,
    e.CalledBack,
    e.Assigned,
    e.SignedFor,
    e.Reassigned,
    e.HandedBack,
    e.Transferred,
    e.Settled,
    e.Closed,
    e.Merged,
    e.Escalated,
    e.HandedDown,
    e.Extended,
    e.Suspended,
    e.Resumed,
    e.Warned,
    e.Overdue,
    e.DeadlinesSet,
    e.Erased,
)


@pytest.mark.parametrize("guarded", GUARDED, ids=lambda event: event.TYPE)
def test_a_rule_that_is_switched_off_is_missed(guarded: type[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch would see it: a law without this rule does not get through the walks."""
    monkeypatch.delitem(law._RULES, guarded)
    with pytest.raises((AssertionError, KeyError)):
        _walks()


def test_an_arrow_that_should_not_be_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settling a case that has ended would be seen."""
    arrow = ARROWS[Status.HANDLING, "case.settled"]
    monkeypatch.setitem(ARROWS, (Status.CLOSED, "case.settled"), arrow)
    with pytest.raises(AssertionError):
        _walks()
