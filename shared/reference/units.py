"""The rows of centres, units and grids, which can be responsible for a case (clauses 7.2, 11.2 and 11.7)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.case.base import PersonId, Region, UnitCode
from shared.reference.row import Name, ReferenceRow, TextLine

HOUSEHOLDS = range(300, 501)  # clause 11.7: 300 to 500 households
PEOPLE = range(800, 1201)  # clause 11.7: about 1000 people
Grid = Annotated[str, StringConstraints(pattern=r"^[0-9]{15}$")]


class CentreRow(ReferenceRow):
    """A centre, with the party committee and the government that it informs of unsolved cases (clause 11.2)."""

    region: Region
    name: Name
    phone: TextLine = ""
    party_committee: Name
    government: Name

    @property
    def unit(self) -> str:
        """The code of the centre as a unit."""
        return f"{self.region}-centre"


class UnitKind(StrEnum):
    """The kinds of units. Rows of centres and grids make units of their own, which are not listed again."""

    CENTRE = "centre"
    DEPARTMENT = "department"
    STATIONED = "stationed"
    GRID = "grid"
    VILLAGE = "village"


class UnitRow(ReferenceRow):
    """A unit that can be responsible for a case (clause 7.2), and its duties. Its code begins with the region."""

    code: UnitCode
    name: Name
    kind: UnitKind = UnitKind.DEPARTMENT
    duties: TextLine = ""
    active: bool = True

    @property
    def region(self) -> str:
        return self.code[:12]

    @property
    def slug(self) -> str:
        """The end of the code, which the same department has at every level: `housing`."""
        return self.code[13:]


class GridRow(ReferenceRow):
    """A grid: its village's twelve digits and three of its own (clause 11.7). A rural grid is a hamlet of any size."""

    code: Grid
    name: Name
    households: Annotated[int, Field(ge=0, le=1_000_000)]
    people: Annotated[int, Field(ge=0, le=10_000_000)]
    workers: Annotated[tuple[PersonId, ...], Field(max_length=50)] = ()
    rural: bool = False

    @property
    def region(self) -> str:
        return self.code[:12]

    @property
    def unit(self) -> str:
        """The code of the grid as a unit."""
        return f"{self.region}-grid{self.code[12:]}"

    def warnings(self) -> list[str]:
        """Departures from clause 11.7, one sentence each."""
        warnings = []
        if not self.rural and self.households not in HOUSEHOLDS and self.people not in PEOPLE:
            warnings.append(
                f"{self.households} households and {self.people} people: a grid has 300 to 500 households"
                " or about 1000 people (clause 11.7); split or join it"
            )
        if not self.workers:
            warnings.append("nobody works in it: name at least one grid worker (clause 11.7)")
        return warnings
