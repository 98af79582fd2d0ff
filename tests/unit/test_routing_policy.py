"""Decisions on the resident's word as a table: status, word, document in force -> the command that follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.routing.policy import REACTIONS, heed_the_resident
from shared.case import events as e
from shared.case.base import Recorded
from shared.case.facts import Hold
from shared.reference.documents import DocumentKind
from shared.reference.reference_data import ReferenceData
from tests.support.law import START, Ask, accepted, after, ask, given, then
from tests.support.policy_life import MADE, document

LATER = START + timedelta(days=1)
PROPOSE, REOPEN = (
    ReferenceData([document(DocumentKind.PROPOSALS, 1, {"id": "dissatisfied", "then": word, "basis": MADE})])
    for word in ("propose", "reopen")
)
UNHAPPY, HAPPY = {"satisfaction": "dissatisfied"}, {"satisfaction": "satisfied"}
UNSOLVED = {"satisfaction": "unrated", "outcome": "unsolved"}
NOBODY: dict[str, Any] = {"contacted": False, "satisfaction": "unrated"}


@pytest.mark.clause("12.3")
@pytest.mark.parametrize(
    ("situation", "word", "in_force", "command"),
    [
        ("settled", ask("rate", at=LATER, **UNHAPPY), PROPOSE, "send-back"),
        ("settled", ask("rate", at=LATER, **UNHAPPY), REOPEN, "send-back"),
        ("answered on the spot", ask("rate", at=LATER, **UNHAPPY), PROPOSE, "send-back"),
        ("settled", ask("rate", at=LATER, **HAPPY), PROPOSE, ""),
        ("settled", ask("call-back", at=LATER, **UNHAPPY), PROPOSE, "send-back"),
        ("settled", ask("call-back", at=LATER, **UNSOLVED), PROPOSE, "send-back"),
        ("settled", ask("call-back", at=LATER, **HAPPY), PROPOSE, "close"),
        ("settled", ask("call-back", at=LATER, **NOBODY), PROPOSE, ""),
        ("closed", ask("rate", at=LATER, **UNHAPPY), PROPOSE, "propose-reopening"),
        ("closed", ask("rate", at=LATER, **UNHAPPY), ReferenceData(), "propose-reopening"),
        ("closed", ask("rate", at=LATER, **UNHAPPY), REOPEN, "reopen"),
        ("closed", ask("rate", at=LATER, **HAPPY), REOPEN, ""),
        ("closed", ask("call-back", at=LATER, **UNHAPPY), PROPOSE, "propose-reopening"),
        ("closed", ask("call-back", at=LATER, **UNSOLVED), REOPEN, "reopen"),
        ("closed", ask("call-back", at=LATER, **NOBODY), REOPEN, ""),
    ],
)
def test_a_word_of_the_resident_acts_once(situation: str, word: Ask, in_force: ReferenceData, command: str) -> None:
    state = given(situation)
    recorded = accepted(state, word)
    state = then(state, recorded)
    requests = heed_the_resident(recorded, state, in_force)
    assert [request.name for request in requests] == [command] * bool(command)
    for request in requests:
        state = after(state, Ask(request.name, dict(request.facts), at=LATER))
        again = heed_the_resident(recorded, state, in_force)
        # a proposal is asked for again under the id of the first one, which adds nothing
        assert [other.facts for other in again] in ([], [request.facts])


def _rated(situation: str, **facts: Any) -> tuple[Recorded[e.Rated], Any]:
    state = given(situation)
    recorded = accepted(state, ask("rate", at=LATER, **facts))
    return recorded, then(state, recorded)


@pytest.mark.clause("12.3")
def test_a_rating_that_is_heard_late_does_not_undo_what_was_decided_since() -> None:
    """It was handled again and settled anew; the centre closed the case on a legal basis; it was closed anew."""
    recorded, state = _rated("settled", **UNHAPPY)
    anew = after(state, ask("send-back", at=LATER), ask("settle", at=LATER))
    on_basis = after(state, ask("close", at=LATER + timedelta(hours=1), basis="petitions regulation, 36"))
    for later in (anew, on_basis, after(anew, ask("close", at=LATER + timedelta(hours=1)))):
        assert heed_the_resident(recorded, later, REOPEN) == ()


@pytest.mark.clause("12.3")
@pytest.mark.parametrize("stated", [{}, {"outcome": "solved"}], ids=str)
@pytest.mark.parametrize("name", ["rate", "call-back"])
def test_a_call_back_does_not_close_over_what_the_resident_said_after_it(name: str, stated: dict[str, Any]) -> None:
    """Both words came in before either was acted on: in either order of the reactions the case is handled again."""
    state = given("settled")
    first = accepted(state, ask("call-back", at=LATER, **HAPPY, **stated))
    state = then(state, first)
    second = accepted(state, ask(name, at=LATER, **UNHAPPY))
    state = then(state, second)
    assert heed_the_resident(first, state, PROPOSE) == ()
    assert [request.name for request in heed_the_resident(second, state, PROPOSE)] == ["send-back"]


def test_a_call_back_does_not_close_a_case_that_a_later_one_found_unsolved() -> None:
    state = given("settled")
    first = accepted(state, ask("call-back", at=LATER, outcome="solved", **HAPPY))
    state = after(then(state, first), ask("call-back", at=LATER, **UNSOLVED))
    assert heed_the_resident(first, state, PROPOSE) == ()


def test_a_satisfied_call_back_closes_what_was_settled_as_unsolved() -> None:
    state = after(given("handled"), ask("settle", at=LATER, outcome="unsolved"))
    recorded = accepted(state, ask("call-back", at=LATER, **HAPPY))
    assert [request.name for request in heed_the_resident(recorded, then(state, recorded), PROPOSE)] == ["close"]


@pytest.mark.clause("12.3")
@pytest.mark.parametrize(("in_force", "command"), [(PROPOSE, "propose-reopening"), (REOPEN, "reopen")])
@pytest.mark.parametrize("name", ["rate", "call-back"])
def test_a_word_of_before_the_closing_that_comes_in_after_it_counts(
    name: str, in_force: ReferenceData, command: str
) -> None:
    """A platform states when the resident said it. Nobody who closed the case could know it."""
    state = given("closed")
    assert state.closed_at is not None
    recorded = accepted(state, ask(name, at=state.closed_at - timedelta(minutes=1), **UNHAPPY))
    recorded = replace(recorded, meta=recorded.meta.model_copy(update={"recorded_at": LATER}))
    assert [request.name for request in heed_the_resident(recorded, then(state, recorded), in_force)] == [command]


@pytest.mark.parametrize("situation", ["settled", "closed"])
def test_a_rating_from_an_import_is_history(situation: str) -> None:
    recorded, state = _rated(situation, **UNHAPPY)
    for imported in (replace(state, holds=(Hold.IMPORT,)), replace(state, live_since=LATER + timedelta(hours=1))):
        assert heed_the_resident(recorded, imported, REOPEN) == ()


def test_the_name_of_the_reaction_stays() -> None:
    """The ids of its commands derive from it: with another name, a call-back of an old log would act again."""
    assert "routing.heed_the_resident" in {reaction.name for reaction in REACTIONS}
