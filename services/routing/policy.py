"""The policy of routing: rules triage and assign, a repeat is merged, the resident's word closes a case or reopens it.

Pure. A rule decides only about a case that no person has decided on. A case that no rule takes, whose best rules lie
closer together than the margin, or that was handed back, waits for the triage desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from shared.case import events as e
from shared.case.base import Address, Recorded
from shared.case.commands import facts
from shared.case.facts import Hold, Matter, Note, Outcome, Satisfaction
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import CommandRequest, Reaction, reaction
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.proposals import Consequence
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
    def when_dissatisfied(self, region: str) -> Consequence: ...


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


def heed_the_resident(
    recorded: Recorded[e.CalledBack | e.Rated], case: CaseState, in_force: RulesInForce
) -> Sequence[CommandRequest]:
    """Close a case whose resident is satisfied, send back one whose resident is not (Jinan 12345, article 27).

    A closed case whose resident is not satisfied is reopened, or its reopening is proposed, as the documents say
    (clause 12.3).
    """
    event = recorded.known
    called_back = isinstance(event, e.CalledBack)
    if _is_unhappy(event):
        if case.status is Status.CLOSED:
            return _look_again(recorded, case, in_force.when_dissatisfied(case.in_charge))
        # a rating may be heard late: it stands while the case is settled as it was when it was rated
        stands = called_back or (case.satisfaction is Satisfaction.DISSATISFIED and not _is_history(recorded, case))
        if case.status is Status.SETTLED and stands:
            note = Note(text="called back: not satisfied or not solved" if called_back else "rated: not satisfied")
            return (CommandRequest(recorded.address, "send-back", facts("send-back", note=note)),)
    elif isinstance(event, e.CalledBack) and case.status is Status.SETTLED and _closes(event, case):
        return (CommandRequest(recorded.address, "close", facts("close", basis="called back: satisfied")),)
    return ()


def _is_unhappy(event: e.CalledBack | e.Rated) -> bool:
    """Whether the resident said that the matter is not solved, or not to their satisfaction."""
    unsolved = isinstance(event, e.CalledBack) and event.outcome is Outcome.UNSOLVED
    return unsolved or event.satisfaction is Satisfaction.DISSATISFIED


def _closes(event: e.CalledBack, case: CaseState) -> bool:
    """Whether a call-back closes the case: the resident is satisfied, and has not said otherwise since.

    An outcome that the call-back did not state may be that of the settlement, and says nothing of the resident.
    """
    unsolved_since = event.outcome is not None and case.outcome is Outcome.UNSOLVED
    return event.satisfaction in HAPPY and case.satisfaction is not Satisfaction.DISSATISFIED and not unsolved_since


def _is_history(recorded: Recorded[Any], case: CaseState) -> bool:
    """Whether the event came with an import: what followed from it stands in the file."""
    imported = case.live_since is not None and recorded.meta.recorded_at < case.live_since
    return imported or Hold.IMPORT in case.holds


def _look_again(
    recorded: Recorded[e.CalledBack | e.Rated], case: CaseState, consequence: Consequence
) -> Sequence[CommandRequest]:
    """Reopen a closed case, or propose it. Who closed the case on a legal basis knew what was said before.

    The time of a word is stated by its sender and may lie before the closing, also of a word that came in after it.
    """
    event, address = recorded.known, recorded.address
    assert case.closed_at is not None, "a closed case has the moment of its closing"
    if recorded.meta.recorded_at < case.closed_at or _is_history(recorded, case):
        return ()
    if consequence is Consequence.REOPEN:
        note = Note(text="the resident is not satisfied with the closed case")
        return (CommandRequest(address, "reopen", facts("reopen", note=note)),)
    outcome = event.outcome if isinstance(event, e.CalledBack) else None
    proposal = facts("propose-reopening", satisfaction=event.satisfaction, outcome=outcome)
    return (CommandRequest(address, "propose-reopening", proposal),)


REACTIONS: tuple[Reaction, ...] = (
    reaction("routing.triage_by_rule", triage_by_rule, unseals=True),
    reaction("routing.assign_by_rule", assign_by_rule),
    reaction("routing.merge_the_other", merge_the_other),
    reaction("routing.heed_the_resident", heed_the_resident),
)
