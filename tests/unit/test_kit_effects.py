"""A reaction is typed by its annotations: they say which events it hears, and wrong ones fail at import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from infra.dev.events_page import REACTIONS
from shared.case import events as e
from shared.case.base import Event, Recorded
from shared.case.catalogue import ENDS, STAGE_CHANGES
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit.effects import BadReaction, CommandRequest, OneOf, Reaction, reaction

Requests = Sequence[CommandRequest]


def one_event(recorded: Recorded[e.Triaged], case: CaseState, _: object) -> Requests:
    return ()


def several(recorded: Recorded[e.Triaged | e.Assigned], case: CaseState, _: object) -> Requests:
    return ()


def derived(recorded: Recorded[Annotated[Event, OneOf(ENDS)]], case: CaseState, _: object) -> Requests:
    return ()


def of_an_order(recorded: Recorded[e.OrderIssued], order: OrderState, _: object) -> Requests:
    return ()


@pytest.mark.parametrize(
    ("function", "events"),
    [
        (one_event, {e.Triaged}),
        (several, {e.Triaged, e.Assigned}),
        (derived, ENDS),
        (of_an_order, {e.OrderIssued}),
    ],
)
def test_a_reaction_hears_the_events_of_its_annotation(function: Any, events: set[type[Event]]) -> None:
    made = reaction("test", function)
    assert (made.events, made.decide, made.unseals, made.refused) == (frozenset(events), function, False, None)


def no_annotation(recorded, case, _):  # type: ignore[no-untyped-def]
    return ()


def too_few(recorded: Recorded[e.Triaged], case: CaseState) -> Requests:
    return ()


def no_event(recorded: e.Triaged, case: CaseState, _: object) -> Requests:
    return ()


def every_event(recorded: Recorded[Event], case: CaseState, _: object) -> Requests:
    return ()


def facts_only(recorded: Recorded[e.Triaged | e.TriageFacts], case: CaseState, _: object) -> Requests:  # type: ignore[type-var]
    return ()


def nothing_derived(recorded: Recorded[Annotated[Event, "stages"]], case: CaseState, _: object) -> Requests:
    return ()


def other_state(recorded: Recorded[e.Triaged], case: OrderState, _: object) -> Requests:
    return ()


def two_kinds(recorded: Recorded[e.Triaged | e.OrderIssued], case: CaseState, _: object) -> Requests:
    return ()


def other_result(recorded: Recorded[e.Triaged], case: CaseState, _: object) -> None: ...


def unknown_name(recorded: Recorded[e.Dreamt], case: CaseState, _: object) -> Requests:  # type: ignore[name-defined]
    return ()


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_annotation, "must annotate its result and 3 parameters"),
        (too_few, "must annotate its result and 3 parameters"),
        (no_event, "which is no Recorded"),
        (every_event, "no event of the catalogue"),
        (facts_only, "no event of the catalogue"),
        (nothing_derived, "no event of the catalogue"),
        (other_state, "whose state is not"),
        (two_kinds, "whose state is not"),
        (other_result, "answers with"),
        (unknown_name, "cannot be read"),
    ],
)
def test_wrong_annotations_fail_with_the_name_of_the_function(function: Any, problem: str) -> None:
    with pytest.raises(BadReaction, match=f"{function.__name__} .*{problem}.*; a reaction is annotated"):
        reaction("test", function)


def test_the_reactions_of_the_services_are_named_after_their_service_and_hear_something() -> None:
    names = [one.name for one in REACTIONS]
    assert len(set(names)) == len(names) > 5
    for one in REACTIONS:
        assert isinstance(one, Reaction)
        assert one.decide.__module__ == f"services.{one.name.partition('.')[0]}.policy"


def test_the_clocks_follow_every_event_that_changes_the_stages() -> None:
    (keeping,) = [one for one in REACTIONS if one.name == "supervision.keep_clocks"]
    assert keeping.events == STAGE_CHANGES
