"""The read model of reporting in Postgres: rows of cases and orders, keys, tallies, sealed matter, search index.

It is derived from the log and can be rebuilt at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

from services.reporting.listing import bucket, region_prefixes
from services.reporting.search import Pairs, county_of, hash_array, searched
from shared.case import events as e
from shared.case.catalogue import ENDS, REOPENS
from shared.case.events import Corrected
from shared.case.facts import Matter
from shared.case.lifecycle import ENDED, OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit import telemetry
from shared.kit.effects import AggregateChange
from shared.kit.rows import (
    FIXED,
    BigInteger,
    Boolean,
    Codes,
    Id,
    Integer,
    Json,
    SmallInteger,
    String,
    StringOrNone,
    TimeOrNone,
    arrays_of,
)  # fmt: skip
from shared.kit.seal import SealBroken, unseal_fields
from shared.kit.sql import Session
from shared.kit.vault import Vault

SEARCH_AFTER_END_DAYS_MAX = 30
_STAND_IN = Corrected.model_construct(note=cast(Any, None))


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One row of `cases`."""

    id: Id
    subject: Annotated[String, FIXED]
    stream: Annotated[String, FIXED]
    sequence: BigInteger
    version: Integer
    state: Json
    born: Annotated[BigInteger, FIXED]
    status: String
    open: Boolean
    late: Boolean
    nature: StringOrNone
    subject_code: StringOrNone
    severity: String
    region: Annotated[String, FIXED]
    in_charge: String
    unit: StringOrNone
    person: StringOrNone
    co_units: Codes
    people: Codes
    first_asked: Annotated[String, FIXED]
    complained_unit: StringOrNone
    stand_aside: Codes
    informant: Boolean
    registered_at: Annotated[TimeOrNone, FIXED]
    settled_at: TimeOrNone
    closed_at: TimeOrNone
    last_at: TimeOrNone
    due: TimeOrNone
    repeats: Integer
    ties: Codes
    lane: SmallInteger


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One row of `orders`. Only the first event has the time of issue, so a later row does not change it."""

    id: Id
    subject: Annotated[String, FIXED]
    stream: Annotated[String, FIXED]
    sequence: BigInteger
    version: Integer
    state: Json
    status: String
    kind: StringOrNone
    region: String
    unit: String
    case_count: Integer
    refused_count: Integer
    due: TimeOrNone
    overdue: Boolean
    issued_at: Annotated[TimeOrNone, FIXED]


def case_row(change: AggregateChange) -> CaseRow:
    """The row of a case."""
    state: CaseState = change.state
    open, late = state.status in OPEN, bool(state.late)
    running = [clock.deadline.due for clock in state.clocks if not clock.suspended and clock.ended_at is None]
    return CaseRow(
        id=change.address.id,
        subject=change.address.subject,
        stream=change.position.stream,
        sequence=change.position.sequence,
        version=state.version,
        state=change.state_text,
        born=state.registration_sequence,
        status=state.status.value,
        open=open,
        late=late,
        nature=state.nature and state.nature.value,
        subject_code=state.subject,
        severity=state.severity.value,
        region=state.region,
        in_charge=state.in_charge,
        unit=state.unit,
        person=state.person,
        co_units=" ".join(state.co_units),
        people=" ".join(state.people),
        first_asked=state.first_asked,
        complained_unit=state.complained_unit,
        stand_aside=" ".join(state.stand_aside),
        informant=state.informant,
        registered_at=state.registered_at,
        settled_at=state.settled_at,
        closed_at=state.closed_at,
        last_at=state.last_at,
        due=min(running) if running else None,
        repeats=state.repeats,
        ties=" ".join(visibility_keys(state, state.people)),
        lane=bucket(open, late),
    )


def visibility_keys(state: CaseState, people: Iterable[str]) -> list[str]:
    """The keys under which a case stands in `seen`, sorted."""
    keys = set(region_prefixes(state.in_charge))
    if state.region != state.in_charge:
        keys.update(f"<{prefix}" for prefix in region_prefixes(state.region) if prefix not in keys)
    keys.update(unit for unit in (state.unit, *state.co_units) if unit is not None)
    keys.update(f"@{person}" for person in (state.first_asked, *people))
    keys.update(f"!@{person}" for person in state.stand_aside)
    if state.complained_unit is not None:
        keys.add(f"!{state.complained_unit}")
    return sorted(keys)


def order_row(change: AggregateChange) -> OrderRow:
    """The row of a supervision order."""
    state: OrderState = change.state
    issued = (recorded.meta.time for recorded in change.events if isinstance(recorded.event, e.OrderIssued))
    return OrderRow(
        id=change.address.id,
        subject=change.address.subject,
        stream=change.position.stream,
        sequence=change.position.sequence,
        version=state.version,
        state=change.state_text,
        status=state.status.value,
        kind=state.kind and state.kind.value,
        region=state.region,
        unit=state.unit,
        case_count=len(state.cases),
        refused_count=len(state.refused_by),
        due=state.due,
        overdue=state.overdue,
        issued_at=next(issued, None),
    )


@dataclass(frozen=True, slots=True)
class SealedMatter:
    """The sealed matter of a case as the log has it, and the event that holds it."""

    id: str
    event_id: str
    token: str


def newest_matter(change: AggregateChange) -> SealedMatter | None:
    """The last matter among the new events of a case, if there is one."""
    for recorded in reversed(change.events):
        event = recorded.event
        if isinstance(event, e.Registered | e.Corrected) and event.matter is not None:
            return SealedMatter(change.address.id, recorded.id, str(event.matter))
    return None


def searchable_until(change: AggregateChange) -> tuple[bool, datetime | None]:
    """Whether the new events of a case change how long a search finds it, and until when (None: while it is open)."""
    for recorded in reversed(change.events):
        if type(recorded.event) in ENDS and change.state.status in ENDED:
            return True, recorded.meta.recorded_at + timedelta(days=SEARCH_AFTER_END_DAYS_MAX)
        if type(recorded.event) in REOPENS:
            return True, None
    return False, None


class Model:
    """The read model `reporting`. `index`: whether the search index is written too; a rebuild may leave it out."""

    name = "reporting"
    kinds = frozenset({"case", "order"})
    tables: tuple[str, ...] = ("cases", "seen", "tallies", "sealed", "orders")

    def __init__(self, vault: Vault, index: bool = True) -> None:
        self._vault, self._index = vault, index
        self._pairs: dict[str, Pairs] = {}

    async def states(self, session: Session, subjects: Sequence[str]) -> dict[str, Any]:
        """The folded states of these cases and orders."""
        ids = [subject.rpartition(".")[2] for subject in subjects]
        rows = await session.fetch("case_states", ids)
        return {row["subject"]: row["state"] for row in rows}

    async def write(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        """Upsert the rows of these cases and orders; a repeated or older change has no effect.

        A case whose registration event is newer than this program is left out, because its facts cannot be read.
        """
        orders = [order_row(change) for change in changes if change.address.kind == "order" and change.state.region]
        if orders:
            await session.execute("write_orders", *arrays_of(orders))
        cases = {
            change.address.id: change
            for change in changes
            if change.address.kind == "case" and change.state.registered_at is not None
        }
        if cases:
            written = await session.fetch("write_cases", *arrays_of([case_row(change) for change in cases.values()]))
            await self._write_content(session, [cases[row["id"]] for row in written])

    async def clear(self, session: Session) -> None:
        """Empty every table of the model."""
        await session.execute("clear")

    async def checksums(self, session: Session) -> dict[str, tuple[int, int]]:
        """The row count and a checksum of each of `tables`: the same for equal logs, in any order of reading."""
        rows = await session.fetch("checksums")
        return {row["table"]: (row["rows"], int(row["checksum"])) for row in rows}

    async def pairs(self, county: str) -> Pairs:
        """The hashes of a county's search index."""
        if county not in self._pairs:
            self._pairs[county] = Pairs((await self._vault.county_key(county))[:64])
        return self._pairs[county]

    async def _write_content(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        matters = [
            matter for change in changes if not change.state.erased and (matter := newest_matter(change)) is not None
        ]
        if matters:
            await session.execute(
                "write_sealed", *_columns([(matter.id, matter.event_id, matter.token) for matter in matters])
            )
        if self._index:
            await self._write_index(session, changes, matters)
        if erased := [change.address.id for change in changes if change.state.erased]:
            await session.execute("forget", erased)

    async def _write_index(
        self, session: Session, changes: Sequence[AggregateChange], matters: list[SealedMatter]
    ) -> None:
        untils = [
            (change.address.id, until) for change in changes for changed, until in [searchable_until(change)] if changed
        ]
        known = {matter.id for matter in matters}
        if reopened := [id for id, until in untils if until is None and id not in known]:  # may have been swept
            stored = await session.fetch("sealed_of", reopened)
            matters = matters + [SealedMatter(*row) for row in stored]
        if matters:
            regions = {change.address.id: change.address.region for change in changes}
            grams = []
            for id, matter in (await self.open(matters)).items():
                county = county_of(regions[id])
                grams.append((id, county, hash_array((await self.pairs(county)).of(searched(matter)))))
            if grams:
                await session.execute("write_grams", *_columns(grams))
        if untils:
            await session.execute("keep_until", *_columns(untils))

    async def open(self, matters: Sequence[SealedMatter]) -> dict[str, Matter]:
        """The opened matters, by case id. Erased cases are left out; so are seals that do not open, with a warning."""
        case_keys = await self._vault.keys([matter.id for matter in matters])
        opened: dict[str, Matter] = {}
        for sealed in matters:
            key = case_keys.get(sealed.id)
            if key is None:
                continue
            try:
                # a seal is bound to case, event id and field, not to the type of the event
                stand_in = _STAND_IN.model_copy(update={"matter": sealed.token})
                event = unseal_fields(stand_in, key, sealed.id, sealed.event_id)
            except SealBroken:
                telemetry.warn("a seal does not open", case=sealed.id, event=sealed.event_id)
                continue
            if isinstance(event.matter, Matter):
                opened[sealed.id] = event.matter
        return opened


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
