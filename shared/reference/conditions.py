"""The conditions under which a rule, a limit or a ladder holds for a case, and the facts that they look at."""

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
    """What a case must be like. All that is given must hold; a list holds when one of it does; nothing given holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nature: Annotated[tuple[Nature, ...], Field(max_length=10)] = ()
    subject: Annotated[tuple[SubjectCode, ...], Field(max_length=50)] = ()
    region: Annotated[tuple[Prefix, ...], Field(max_length=50)] = ()
    severity: Annotated[tuple[Severity, ...], Field(max_length=4)] = ()

    @property
    def general(self) -> bool:
        """Whether it is for every matter: it names no nature, no subject and no severity."""
        return not (self.nature or self.subject or self.severity)

    def covers(self, other: When) -> bool:
        """Whether every case that meets the other conditions meets these too."""
        return (
            _within(other.nature, self.nature)
            and _within(other.severity, self.severity)
            and _under(other.subject, self.subject)
            and _under(other.region, self.region)
        )


@dataclass(frozen=True)
class RoutingFacts:
    """What rules look at. `text` is title and text together; `stand_aside` are units that must not have the case."""

    nature: Nature
    region: str
    subject: str | None = None
    severity: Severity = Severity.GENERAL
    text: str = ""
    complained_unit: str | None = None
    stand_aside: frozenset[str] = frozenset()


def unmet(when: When, facts: RoutingFacts) -> str | None:
    """Why the conditions do not hold for a case, None when they do."""
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
    return not outer or (bool(inner) and all(one.startswith(outer) for one in inner))
