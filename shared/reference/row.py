"""The parts of which rows are made: their base class, names and codes, and the basis of a rule or number."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
TextLine = Annotated[str, StringConstraints(max_length=300)]
SubjectCode = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}){1,3}$")]


def sorted_set(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values once each and sorted, so that the bytes of a document do not depend on the order of writing."""
    return tuple(sorted(set(values)))


class ReferenceRow(BaseModel):
    """One fact of a document. `key` names it within its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def key(self) -> str:
        """The value of the first field, which no other row of the kind has."""
        return str(getattr(self, next(iter(type(self).model_fields))))


class Mark(StrEnum):
    """The source of a rule or number: standard, law, practice, specification or memory. M is never shown as law."""

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


class CitedDocument(Protocol):
    """The part of a document that a choice among its rows reads: the rows in order and the citation."""

    @property
    def rows(self) -> tuple[Any, ...]: ...
    @property
    def reference(self) -> str: ...
