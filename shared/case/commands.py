"""Every command: what may be asked of a case or an order, and the one event that comes of it when the law allows it.

A command states the facts of its event; the table below says which event that is. Owner, facts and meaning are the
event's own, so nothing is stated twice. Over HTTP a command is `POST /<owner>/cases/<id>/<name>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.case import events as e
from shared.case.base import Address, Event, Facts, Meta, Owner


@dataclass(frozen=True, slots=True)
class Command:
    """One request to decide: on which aggregate, by whom and when, what, with which facts."""

    address: Address
    meta: Meta
    name: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What a command is: its name, and the event that it asks for."""

    name: str
    event: type[Event]

    @property
    def facts(self) -> type[Facts]:
        base = self.event.__bases__[0]
        assert issubclass(base, Facts), "an event names its facts first"
        return base

    @property
    def owner(self) -> Owner:
        return self.event.OWNER

    @property
    def kind(self) -> str:
        """The kind of aggregate: case or order."""
        return self.event.TYPE.partition(".")[0]

    @property
    def doc(self) -> str:
        return " ".join((self.event.__doc__ or "").split())


_TABLE: tuple[tuple[str, type[Event]], ...] = (
    ("register", e.Registered),
    ("supplement", e.Supplemented),
    ("correct", e.Corrected),
    ("attach", e.Attached),
    ("withdraw", e.Withdrawn),
    ("call-back", e.CalledBack),
    ("rate", e.Rated),
    ("triage", e.Triaged),
    ("decline", e.Declined),
    ("split", e.Split),
    ("merge", e.Merged),
    ("assign", e.Assigned),
    ("sign-for", e.SignedFor),
    ("reassign", e.Reassigned),
    ("hand-back", e.HandedBack),
    ("rule", e.Ruled),
    ("transfer", e.Transferred),
    ("end-co-handling", e.CoHandlingEnded),
    ("progress", e.Progressed),
    ("co-report", e.CoReported),
    ("settle", e.Settled),
    ("send-back", e.SentBack),
    ("close", e.Closed),
    ("reopen", e.Reopened),
    ("set-deadlines", e.DeadlinesSet),
    ("recompute-deadline", e.DeadlineRecomputed),
    ("request-extension", e.ExtensionRequested),
    ("extend", e.Extended),
    ("refuse-extension", e.ExtensionRefused),
    ("request-pause", e.PauseRequested),
    ("suspend", e.Suspended),
    ("refuse-pause", e.PauseRefused),
    ("resume", e.Resumed),
    ("warn", e.Warned),
    ("declare-overdue", e.OverdueDeclared),
    ("annul-overdue", e.OverdueAnnulled),
    ("escalate", e.Escalated),
    ("hand-down", e.HandedDown),
    ("urge", e.Urged),
    ("order", e.Ordered),
    ("hold", e.Held),
    ("release", e.Released),
    ("erase", e.Erased),
    ("issue-order", e.OrderIssued),
    ("answer-order", e.OrderAnswered),
    ("accept-answer", e.OrderAccepted),
    ("refuse-answer", e.OrderRefused),
    ("declare-order-overdue", e.OrderOverdue),
    ("withdraw-order", e.OrderWithdrawn),
    ("note-case-refusal", e.OrderCaseRefused),
)

COMMANDS: dict[str, CommandSpec] = {name: CommandSpec(name, event) for name, event in _TABLE}


def facts(name: str, **values: Any) -> Facts:
    """The facts of a command. Raises pydantic.ValidationError when they are not the command's."""
    return COMMANDS[name].facts.model_validate(values)


def owned_by(owner: Owner) -> tuple[CommandSpec, ...]:
    """The commands that one service decides, in the order of the catalogue."""
    return tuple(spec for spec in COMMANDS.values() if spec.owner is owner)
