"""An agenda that lags behind: a moment that is no longer in force asks for nothing that was not due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from services.supervision import policy
from services.supervision.policy import moments
from shared.case.facts import Stage
from shared.reference.documents import DocumentKind
from shared.reference.regions import NATION
from tests.support.law import LATER, START, WHERE, Ask, ask
from tests.support.policy_life import HOUR, Life, document, library

HANDLING = (ask("register"), ask("triage"), ask("assign"), ask("sign-for"))


def _next(life: Life) -> datetime:
    """When the next rung comes."""
    assert life.late.next_at is not None
    return life.late.next_at


def _late() -> Life:
    """Late, reminded and urged: what comes next is an order."""
    life = Life(*HANDLING)
    life.fire("overdue", Stage.HANDLE, life.clock(Stage.HANDLE).deadline.due + HOUR)
    for _ in range(2):
        life.fire("rung", Stage.HANDLE, _next(life))
    assert life.late.rung == 2
    return life


@pytest.mark.clause("5.1.1f")
def test_no_order_is_issued_before_its_rung_is_due() -> None:
    """Found by the simulation (seed 80): the moment of the rung before was still on the agenda, and an order has no
    law that sees the case; it was issued an hour early, the case refused it, and the ladder stood still for ever."""
    life = _late()
    early = _next(life) - HOUR / 2
    assert life.fire("rung", Stage.HANDLE, early) == ()
    (wanted,) = life.fire("rung", Stage.HANDLE, _next(life))
    assert (wanted.name, life.late.rung) == ("issue-order", 3)


@pytest.mark.parametrize("ended", [ask("suspend", at=LATER), ask("settle", at=LATER), ask("extend", due=LATER + HOUR)])
def test_no_order_is_issued_of_what_waits_is_over_or_has_time_again(ended: Ask) -> None:
    life = _late()
    moment = _next(life)
    life.ask(ended)
    assert life.fire("rung", Stage.HANDLE, max(moment, LATER)) == ()


@pytest.mark.clause("5.1.1f")
def test_an_order_that_met_a_pause_is_another_one_afterwards() -> None:
    life = _late()
    at = _next(life)
    (due,) = (one for one in moments(WHERE.subject, life.state) if one.what == "rung")
    (first,) = policy.fire(WHERE, life.state, due, at, life.library)
    life.ask(ask("suspend", at=at, until=at + HOUR))  # before the case heard of its order
    life.fire("resume", Stage.HANDLE, at + HOUR)
    (second,) = life.fire("rung", Stage.HANDLE, at + HOUR)
    assert (first.name, second.name, life.late.rung) == ("issue-order", "issue-order", 3)
    assert first.address != second.address


def test_a_pause_that_was_renewed_does_not_end_with_the_first() -> None:
    life = Life(*HANDLING)
    first, second = START + HOUR, START + timedelta(days=1)
    life.ask(ask("suspend", until=first))
    life.fire("resume", Stage.HANDLE, first)
    life.ask(ask("suspend", at=first, until=second))
    assert life.fire("resume", Stage.HANDLE, first + HOUR) == ()
    assert life.clock(Stage.HANDLE).suspended


@pytest.mark.clause("5.1.3a")
def test_what_a_calendar_brought_past_its_warning_is_warned_of_before_it_is_overdue() -> None:
    life = Life(*HANDLING)
    life.library = library()
    life.library.put(document(DocumentKind.CALENDARS, 99, {"year": "2026", "holidays": ["2026-03-04"]}))
    late = life.clock(Stage.HANDLE).deadline.due + timedelta(days=10)
    assert [one.name for one in life.fire("warn", Stage.HANDLE, late)] == ["recompute-deadline"]
    assert life.clock(Stage.HANDLE).deadline.calendar_reference == f"calendars:{NATION}@99"
    soonest = sorted(moments(WHERE.subject, life.state), key=lambda due: due.key)
    for due in [one for one in soonest if one.stage == Stage.HANDLE]:
        life.fire(due.what, Stage.HANDLE, late)
    assert life.names[-2:] == ["warned", "overdue"]


@pytest.mark.clause("5.1.3a")
def test_a_correction_that_comes_late_leaves_what_is_late_alone_and_sets_what_is_missing() -> None:
    life = Life(*HANDLING)
    late = life.clock(Stage.HANDLE).deadline.due + HOUR
    life.ask(ask("correct", severity="extreme", at=late))
    assert life.clock(Stage.HANDLE).deadline.due < late
    assert (Stage.REPORT, None) in life.running
