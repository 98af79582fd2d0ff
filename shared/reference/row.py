"""What rows of every kind are made of: names, codes, the basis of a number, and the conditions of a rule or limit."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.case.facts import Nature, Severity

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Line = Annotated[str, StringConstraints(max_length=300)]
SubjectCode = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}){1,3}$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,12}$")]


def in_order(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A set in order: the bytes of a document must not depend on the order in which it was written."""
    return tuple(sorted(set(values)))


class Row(BaseModel):
    """One fact of a document. `key` names it within its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def key(self) -> str:
        """What no other row of the kind has."""
        return str(getattr(self, next(iter(type(self).model_fields))))


class Mark(StrEnum):
    """Where a number comes from: the standard, a law, practice, a specification, memory. M is never shown as law."""

    STANDARD = "S"
    LAW = "L"
    PRACTICE = "C"
    SPECIFICATION = "D"
    MEMORY = "M"


class BasisRow(BaseModel):
    """The legal or policy basis of a rule or a limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: Mark
    text: Annotated[str, StringConstraints(min_length=1, max_length=260)]

    def __str__(self) -> str:
        return self.text if self.mark in (Mark.STANDARD, Mark.LAW) else f"{self.text} (not law)"


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


def _within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return not outer or (bool(inner) and set(inner) <= set(outer))


def _under(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return not outer or (bool(inner) and all(one.startswith(outer) for one in inner))
