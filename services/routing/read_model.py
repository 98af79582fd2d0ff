"""The worklist of routing in Postgres: a read model from folded cases, which can be rebuilt at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from shared.case.state import CaseState
from shared.kit.effects import AggregateChange
from shared.kit.rows import FIXED, BigInteger, Codes, Id, String, StringOrNone, TimeOrNone, arrays_of
from shared.kit.sql import Session


class Work:
    """The read model `routing.work`."""

    name = "routing.work"
    kinds = frozenset({"case"})
    tables: tuple[str, ...] = ("work",)

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases."""
        rows = await session.fetch("work_states", subjects)
        return {row["subject"]: row["state"] for row in rows}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows; a repeated or older change has no effect."""
        if changes:
            await session.execute("write_work", *arrays_of([work_row(change) for change in changes]))

    async def clear(self, session: Session) -> None:
        """Empty the worklist."""
        await session.execute("clear_work")


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One row of `work`: a case with its units and people."""

    subject: String
    id: Annotated[Id, FIXED]
    sequence: BigInteger
    status: String
    region: Annotated[String, FIXED]
    in_charge: String
    unit: StringOrNone
    person: StringOrNone
    units: Codes
    people: Codes
    complained_unit: StringOrNone
    stand_aside: Codes
    first_asked: Annotated[String, FIXED]
    registered_at: Annotated[TimeOrNone, FIXED]
    state: String


def work_row(change: AggregateChange) -> WorkRow:
    """The row of a case."""
    state: CaseState = change.state
    people = state.people
    return WorkRow(
        subject=change.address.subject,
        id=change.address.id,
        sequence=change.position.sequence,
        status=state.status.value,
        region=state.region,
        in_charge=state.in_charge,
        unit=state.unit,
        person=state.person,
        units=" ".join(unit for unit in (state.unit, *state.co_units) if unit),
        people=" ".join(people),
        complained_unit=state.complained_unit,
        stand_aside=" ".join(state.stand_aside),
        first_asked=state.first_asked,
        registered_at=state.registered_at,
        state=change.state_text,
    )
