"""The policy of routing: rules triage and assign, a repeat is merged, a call-back closes a case or sends it back.

Pure. A rule decides only about a case that no person has decided on. A case that no rule takes, whose best rules lie
closer together than the margin, or that was handed back, waits for the triage desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from shared.case import events as e
from shared.case.base import Address, Recorded
from shared.case.commands import facts
from shared.case.facts import Matter, Note, Outcome, Satisfaction
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import CommandRequest, Reaction, reaction
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.rules import route

HAPPY = frozenset({Satisfaction.SATISFIED, Satisfaction.BASICALLY})


def words_of(event: Any) -> str:
    """The words of a registration, for rules that search for words: the title on the first line, then the text."""
    matter = event.matter
    return f"{' '.join(matter.title.split())}\n{matter.text}" if isinstance(matter, Matter) else ""


def question(state: CaseState, words: str) -> RoutingFacts:
    """The facts of a case on which routing rules decide."""
    assert state.nature is not None, "a registered case has a nature"
    return RoutingFacts(state.nature, state.in_charge, state.subject, state.severity, words, state.complained_unit)


class RulesInForce(Protocol):
    """The reference documents in force that routing reads."""

    def rules(self, region: str) -> Sequence[Document]: ...
    def has_unit(self, code: str) -> bool: ...


def triage_by_rule(
    recorded: Recorded[e.Registered], case: CaseState, in_force: RulesInForce
) -> Sequence[CommandRequest]:
    """Triage a new case by the rule that takes it (clause 5.1.3 a: centralised triage)."""
    if case.status is not Status.AWAITING_TRIAGE or case.hand_backs:
        return ()
    words = words_of(recorded.known)
    hit = route(in_force.rules(case.in_charge), question(case, words), in_force.has_unit)
    if hit is None:
        return ()
    triage = facts(
        "triage",
        unit=hit.unit,
        co_units=hit.co_units,
        subject=hit.subject,
        severity=hit.severity,
        basis=hit.basis,
        rule=hit.rule,
        rule_reference=hit.reference,
    )
    return (CommandRequest(recorded.address, "triage", triage),)


def assign_by_rule(recorded: Recorded[e.Triaged], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Assign a case at once that a rule has triaged. A case that a person triaged is assigned by a person."""
    event = recorded.known
    if event.rule is None or case.status is not Status.TRIAGED:
        return ()
    assignment = facts(
        "assign",
        unit=event.unit,
        co_units=event.co_units,
        basis=event.basis,
        rule=event.rule,
        rule_reference=event.rule_reference,
    )
    return (CommandRequest(recorded.address, "assign", assignment),)


def merge_the_other(recorded: Recorded[e.Attached], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Merge the other case: the second step, after it was attached to the surviving one."""
    merged_from = recorded.known.merged_from
    if merged_from is None:
        return ()
    return (CommandRequest(Address.of("case", merged_from), "merge", facts("merge", into=recorded.address.id)),)


def heed_the_resident(recorded: Recorded[e.CalledBack], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Close a case whose resident is satisfied, send back one whose resident is not (Jinan 12345, article 27)."""
    event = recorded.known
    if case.status is not Status.SETTLED or not event.contacted:
        return ()
    if event.satisfaction is Satisfaction.DISSATISFIED or event.outcome is Outcome.UNSOLVED:
        note = Note(text="called back: not satisfied or not solved")
        return (CommandRequest(recorded.address, "send-back", facts("send-back", note=note)),)
    if event.satisfaction in HAPPY:
        return (CommandRequest(recorded.address, "close", facts("close", basis="called back: satisfied")),)
    return ()


REACTIONS: tuple[Reaction, ...] = (
    reaction("routing.triage_by_rule", triage_by_rule, unseals=True),
    reaction("routing.assign_by_rule", assign_by_rule),
    reaction("routing.merge_the_other", merge_the_other),
    reaction("routing.heed_the_resident", heed_the_resident),
)
