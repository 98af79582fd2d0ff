"""The row of a region (clause 4), and the relation of a region to those around it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.case.base import Region, contains, parent
from shared.reference.row import Name, ReferenceRow

NATION = "000000000000"


def lies_inside(outer: str, inner: str) -> bool:
    """Whether region `inner` is `outer` or a part of it; every region is a part of the nation, 000000000000."""
    return outer == NATION or contains(outer, inner)


def enclosing_regions(region: str) -> Iterator[str]:
    """The region and those that it lies in, the nearest first and the nation last."""
    code: str | None = region if region != NATION else None
    while code is not None:
        yield code
        code = parent(code)
    yield NATION


class RegionRow(ReferenceRow):
    """A region of one of the five levels (clause 4). A merge or a split ends its validity and names its successors.

    `valid_to` is the first day on which the code is no longer in force.
    """

    code: Region
    name: Name
    valid_from: date | None = None
    valid_to: date | None = None
    successors: Annotated[tuple[Region, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_from >= self.valid_to:
            raise ValueError(f"valid_from {self.valid_from} is not before valid_to {self.valid_to}")
        if self.successors and not self.valid_to:
            raise ValueError("a region with successors has ended: give valid_to, the first day it was not in force")
        return self

    def valid_at(self, day: date) -> bool:
        """Whether the code was in force on that day."""
        return (not self.valid_from or self.valid_from <= day) and (not self.valid_to or day < self.valid_to)
