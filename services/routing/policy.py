"""What routing wants to happen: rules triage and assign, a repeat merges, the resident's word closes or sends back.

Pure. A rule decides only what nobody has touched; what no rule takes, and what came back, waits for the triage desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.case import events as e
from shared.case.base import Address
from shared.case.commands import facts
from shared.case.facts import Matter, Note, Outcome, Satisfaction
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import CommandRequest, Reaction, ReactionContext
from shared.reference.conditions import RoutingFacts
from shared.reference.rules import route

HAPPY = frozenset({Satisfaction.SATISFIED, Satisfaction.BASICALLY})


def words_of(event: Any) -> str:
    """What a registration says in words, for rules that look for them."""
    matter = event.matter
    return f"{matter.title}\n{matter.text}" if isinstance(matter, Matter) else ""


def question(state: CaseState, words: str) -> RoutingFacts:
    """What the routing rules are asked about a case."""
    assert state.nature is not None, "a case that is born has a nature"
    return RoutingFacts(state.nature, state.in_charge, state.subject, state.severity, words, state.complained_unit)


def triage_by_rule(seen: ReactionContext) -> Sequence[CommandRequest]:
    """A case that nobody has triaged goes where the first matching rule says (clause 5.1.3 a: centralised triage)."""
    state: CaseState = seen.state
    if state.status is not Status.AWAITING_TRIAGE or state.hand_backs:
        return ()
    words = words_of(seen.recorded.event)
    hit = route(seen.library.rules(state.in_charge), question(state, words), seen.library.has_unit)
    if hit is None:
        return ()
    said = facts(
        "triage",
        unit=hit.unit,
        co_units=hit.co_units,
        subject=hit.subject,
        severity=hit.severity,
        basis=hit.basis,
        rule=hit.rule,
        rule_reference=hit.reference,
    )
    return (CommandRequest(seen.recorded.address, "triage", said),)


def assign_by_rule(seen: ReactionContext) -> Sequence[CommandRequest]:
    """What a rule triaged is assigned at once; what a person triaged, a person assigns."""
    event, state = seen.recorded.event, seen.state
    assert isinstance(event, e.Triaged)
    if event.rule is None or state.status is not Status.TRIAGED:
        return ()
    said = facts(
        "assign",
        unit=event.unit,
        co_units=event.co_units,
        basis=event.basis,
        rule=event.rule,
        rule_reference=event.rule_reference,
    )
    return (CommandRequest(seen.recorded.address, "assign", said),)


def merge_the_other(seen: ReactionContext) -> Sequence[CommandRequest]:
    """The second step of a merge: attached to the surviving case first, then the other one ends in it."""
    event = seen.recorded.event
    assert isinstance(event, e.Attached)
    if event.merged_from is None:
        return ()
    return (
        CommandRequest(Address.of("case", event.merged_from), "merge", facts("merge", into=seen.recorded.address.id)),
    )


def heed_the_resident(seen: ReactionContext) -> Sequence[CommandRequest]:
    """Satisfied closes; not satisfied is handled again (Jinan 12345, article 27)."""
    event, state = seen.recorded.event, seen.state
    assert isinstance(event, e.CalledBack)
    if state.status is not Status.SETTLED or not event.contacted:
        return ()
    if event.satisfaction is Satisfaction.DISSATISFIED or event.outcome is Outcome.UNSOLVED:
        note = Note(text="called back: not satisfied or not solved")
        return (CommandRequest(seen.recorded.address, "send-back", facts("send-back", note=note)),)
    if event.satisfaction in HAPPY:
        return (CommandRequest(seen.recorded.address, "close", facts("close", basis="called back: satisfied")),)
    return ()


REACTIONS: tuple[Reaction, ...] = (
    Reaction("routing.triage_by_rule", frozenset({"case.registered"}), triage_by_rule, opens=True),
    Reaction("routing.assign_by_rule", frozenset({"case.triaged"}), assign_by_rule),
    Reaction("routing.merge_the_other", frozenset({"case.attached"}), merge_the_other),
    Reaction("routing.heed_the_resident", frozenset({"case.called_back"}), heed_the_resident),
)
