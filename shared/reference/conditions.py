"""The conditions of rules, limits and ladders, and the facts of a case that they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.case.facts import (
    Nature,
    Severity,
)
from shared.reference.row import SubjectCode

Prefix = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,12}$")]


class When(BaseModel):
    """Conditions on a case. Each that is given must hold; a list holds when one of its values does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nature: Annotated[tuple[Nature, ...], Field(max_length=10)] = ()
    subject: Annotated[tuple[SubjectCode, ...], Field(max_length=50)] = ()
    region: Annotated[tuple[Prefix, ...], Field(max_length=50)] = ()
    severity: Annotated[tuple[Severity, ...], Field(max_length=4)] = ()

    @property
    def general(self) -> bool:
        """Whether the conditions hold for every matter: they name no nature, subject or severity."""
        return not (self.nature or self.subject or self.severity)

    def covers(self, other: When) -> bool:
        """Whether each case that meets `other` meets these conditions too."""
        return (
            _within(other.nature, self.nature)
            and _within(other.severity, self.severity)
            and _under(other.subject, self.subject)
            and _under(other.region, self.region)
        )


@dataclass(frozen=True)
class RoutingFacts:
    """The facts of a case that rules look at. `stand_aside` are excluded units.

    `text` is title and text together, the title on its first line.
    """

    nature: Nature
    region: str
    subject: str | None = None
    severity: Severity = Severity.GENERAL
    text: str = ""
    complained_unit: str | None = None
    stand_aside: frozenset[str] = frozenset()


def unmet(when: When, facts: RoutingFacts) -> str | None:
    """The first condition that a case does not meet, in words; None when it meets all."""
    if when.nature and facts.nature not in when.nature:
        return f"is for {', '.join(when.nature)}, not for {facts.nature}"
    if when.subject and not (facts.subject and facts.subject.startswith(when.subject)):
        return f"is for subjects {', '.join(when.subject)}, not for {facts.subject or 'a case without one'}"
    if when.region and not facts.region.startswith(when.region):
        return f"is for regions {', '.join(when.region)}, not for {facts.region}"
    if when.severity and facts.severity not in when.severity:
        return f"is for {', '.join(when.severity)}, not for {facts.severity}"
    return None


def _within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return not outer or (bool(inner) and set(inner) <= set(outer))


def _under(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return not outer or (bool(inner) and all(prefix.startswith(outer) for prefix in inner))
