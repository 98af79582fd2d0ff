"""Who made a request does not approve it, and neither does who stands in for them or whom they stand in for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.supervision.enrichers import requesters
from shared.case.base import Recorded
from shared.kit.access import Caller
from tests.support.law import ERASABLE, LI, TOWNSHIP, WANG, Ask, accepted, ask, given, history, then

DEPUTY = "deputy"


def requested(situation: str, *requests: tuple[Ask, str | None]) -> list[Recorded[Any]]:
    """The events of a situation and of requests, each made for an absent person or for nobody."""
    events, state = list(history(situation)), given(situation)
    for request, absent in requests:
        recorded = accepted(state, request)
        actor = recorded.meta.actor.model_copy(update={"acting_for": absent})
        events.append(replace(recorded, meta=recorded.meta.model_copy(update={"actor": actor})))
        state = then(state, events[-1])
    return events


def caller(person: str, absent: str | None = None) -> Caller:
    return Caller(person, "post", "unit", TOWNSHIP, frozenset(), acting_for=absent)


def may_approve(events: list[Recorded[Any]], approval: Ask, by: Caller) -> bool:
    return requesters(events, approval.name, approval.command.facts).isdisjoint(by.people)


ERASURE = ("closed", ask("request-erasure", by=LI, at=ERASABLE), ask("erase", at=ERASABLE))
RELEASE = ("closed and held", ask("request-release", by=LI), ask("release"))
EXTENSION = ("clocked", ask("request-extension", by=LI), ask("extend"))
ANSWER = ("issued", ask("answer-order", by=LI), ask("accept-answer"))


@pytest.mark.clause("9.4b")
@pytest.mark.parametrize(("situation", "request_", "approval"), [ERASURE, RELEASE, EXTENSION, ANSWER])
def test_one_power_does_not_decide_twice_through_a_deputy(situation: str, request_: Ask, approval: Ask) -> None:
    own = requested(situation, (request_, None))
    assert not may_approve(own, approval, caller(LI))
    assert not may_approve(own, approval, caller(DEPUTY, LI)), "the deputy has the requester's own power"
    assert may_approve(own, approval, caller(DEPUTY, WANG))
    for_absent = requested(situation, (request_, WANG))
    assert not may_approve(for_absent, approval, caller(WANG)), "it was requested with the own power"
    assert not may_approve(for_absent, approval, caller(LI))
    assert may_approve(for_absent, approval, caller(DEPUTY))


def test_nobody_accepts_the_own_answer_to_which_another_added() -> None:
    accept, refuse = ask("accept-answer"), (ask("refuse-answer"), None)
    answers = [(ask("answer-order", by=name), None) for name in (LI, WANG)]
    both = requested("issued", *answers)
    assert [may_approve(both, accept, caller(name)) for name in (LI, WANG, DEPUTY)] == [False, False, True]
    anew = requested("issued", answers[0], refuse, answers[1])
    assert [may_approve(anew, accept, caller(name)) for name in (LI, WANG)] == [True, False], "LI's was refused"


def test_a_request_that_was_refused_concerns_nobody_once_another_was_made() -> None:
    situation, first, approval = EXTENSION
    requests = (first, ask("refuse-extension"), ask("request-extension", by=WANG))
    again = requested(situation, *((request, None) for request in requests))
    assert [may_approve(again, approval, caller(name)) for name in (LI, WANG)] == [True, False]
