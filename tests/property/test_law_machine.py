"""All commands in any order: what must hold of a case and of an order always holds (rules: tests/support/law_watch)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from shared.case import clocks, deadlines
from shared.case import decide as law
from shared.case import events as e
from shared.case.base import Event
from shared.case.lifecycle import TRANSITIONS, Status, Variant
from shared.case.orders import ORDER_TRANSITIONS, OrderStatus
from shared.case.reasons import Reason, Rejected
from tests.support import DEEP
from tests.support.law_walk import Allowed, propose_case, propose_order
from tests.support.law_watch import CaseWatch, OrderWatch

pytestmark = pytest.mark.timeout(600 if DEEP else 60)
STEPS_MAX = 100 if DEEP else 40
WALKS = 5000 if DEEP else 400
UNSEEN_TRANSITIONS_MAX = 0 if DEEP else 4  # by luck; the decision tables reach each of them for certain
WALK_STEPS = 100
ORDER_STEPS = 20
RUNGS_MIN = 2
OF_CLOCKS = {
    Reason.LATE_UNSEEN, Reason.STAGE_OVER, Reason.NO_EXTENSION, Reason.EXTENDED_TOO_OFTEN, Reason.EXTENDED_TOO_FAR,
    Reason.WRONG_APPROVER, Reason.NO_PAUSE, Reason.PAUSED_TOO_OFTEN, Reason.PAUSE_TOO_LONG, Reason.NOT_LATE,
    Reason.WRONG_RUNG, Reason.STAGE_RUNS, Reason.NOT_YET_DUE, Reason.ALREADY_FIRED, Reason.ALREADY_SUSPENDED,
}  # fmt: skip
CHANCE = st.randoms(use_true_random=False)


class CaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.watch = CaseWatch()

    @rule(chance=CHANCE)
    def ask(self, chance: Random) -> None:
        self.watch.ask(propose_case(chance, self.watch.state))

    @precondition(lambda self: self.watch.commands)
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


def _walk(seed: int, seen: AbstractSet[Allowed] = frozenset()) -> CaseWatch:
    chance, watch = Random(seed), CaseWatch()
    for _ in range(WALK_STEPS):
        watch.ask(propose_case(chance, watch.state, seen))
    watch.look_back()
    return watch


@pytest.mark.slow
def test_long_walks_keep_every_rule_and_make_every_transition() -> None:
    """What is random above is a fixed set of walks here: it proves that the rules are put to the test everywhere."""
    gone: set[Allowed] = set()
    for seed in range(WALKS):
        gone |= _walk(seed, gone).transitions
    missed = set(TRANSITIONS) - gone
    assert len(missed) <= UNSEEN_TRANSITIONS_MAX, missed


@pytest.mark.slow
def test_long_walks_of_an_order_make_every_transition() -> None:
    gone: set[tuple[OrderStatus, type[Event]]] = set()
    for seed in range(WALKS):
        chance, watch = Random(seed), OrderWatch()
        for _ in range(ORDER_STEPS):
            watch.ask(propose_order(chance, watch.state))
        watch.look_back()
        gone |= watch.transitions
    assert gone == set(ORDER_TRANSITIONS)


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
    e.OverdueDeclared,
    e.DeadlinesSet,
    e.DeadlineRecomputed,
    e.Urged,
    e.Ordered,
    e.Released,
    e.Erased,
)


@pytest.mark.slow
@pytest.mark.parametrize("guarded", GUARDED, ids=lambda event: event.TYPE)
def test_a_rule_that_is_switched_off_is_missed(guarded: type[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch would see it: a law without this rule does not get through the walks."""
    monkeypatch.delitem(law._RULES, guarded)
    with pytest.raises((AssertionError, KeyError)):
        _walks()


# Parts of the law of the clocks, and what each would be if it were not there.
PARTS: dict[str, tuple[object, str, object]] = {
    "what is late is moved away": (deadlines, "_passed", lambda *_: False),
    "extended for ever": (deadlines, "_not_extensible", lambda *_: None),
    "stopped for anything": (deadlines, "_not_pausable", lambda *_: None),
    "stopped for ever": (deadlines, "_too_long", lambda *_: None),
    "fired early or twice": (deadlines, "_too_early_or_twice", lambda *_: None),
    "rungs out of turn": (law, "out_of_turn", lambda *_: None),
    "clocks that outlive their stage": (clocks, "ended", lambda clocks, still, at: clocks),
    "lateness that nobody saw is forgotten": (clocks.RunningDeadline, "late_unseen", property(lambda _: False)),
    "overdues that nobody remembers": (clocks, "declared", lambda lates, *_: lates),
    "rungs that nobody counts": (clocks, "climbed", lambda lates, *_: lates),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_law_that_is_missing_is_missed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, instead = PARTS[part]
    monkeypatch.setattr(where, name, instead)
    with pytest.raises((AssertionError, KeyError)):
        _walks()


@pytest.mark.slow
def test_long_walks_come_by_every_reason_of_the_clocks() -> None:
    """So that the rules above judge more than what never happens."""
    met: set[Reason] = set()
    rungs = 0
    for seed in range(WALKS // 2):
        chance, watch = Random(seed), CaseWatch()
        for _ in range(WALK_STEPS):
            verdict = watch.ask(propose_case(chance, watch.state))
            if isinstance(verdict, Rejected):
                met.add(verdict.reason)
            rungs = max(rungs, *(late.rung for late in watch.state.late), 0)
    assert met >= OF_CLOCKS
    assert rungs >= RUNGS_MIN


@pytest.mark.slow
def test_a_transition_that_should_not_be_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settling a case that has ended would be seen."""
    allowed: Allowed = (Status.CLOSED, e.Settled, Variant.PLAIN)
    monkeypatch.setitem(TRANSITIONS, allowed, TRANSITIONS[Status.HANDLING, e.Settled, Variant.PLAIN])
    with pytest.raises(AssertionError):
        _walks()
