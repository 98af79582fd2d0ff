"""Reporting's read model in Postgres, from folded cases and orders: rows, keys, tallies, sealed matter, search index.

Derived from the log: dropped and rebuilt at will.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from services.reporting.listing import bucket, stems
from services.reporting.search import Pairs, county_of, hash_array, searched
from shared.case import events as e
from shared.case.events import Corrected
from shared.case.facts import Matter
from shared.case.lifecycle import ENDED, OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit import telemetry
from shared.kit.effects import AggregateChange
from shared.kit.seal import SealBroken, unseal_fields
from shared.kit.sql import Session
from shared.kit.vault import Vault

SEARCH_AFTER_END_DAYS_MAX = 30
_ENDING = ("case.closed", "case.declined", "case.withdrawn", "case.merged", "case.split")
_STAND_IN = Corrected.model_construct(note=cast(Any, None))


def case_row(change: AggregateChange) -> tuple[Any, ...]:
    """One row of `cases`, in the order of the statement `write_cases`; lists of codes joined by spaces."""
    state: CaseState = change.state
    people = [one for one in (state.person, *(co.person for co in state.co_handlers)) if one is not None]
    open, late = state.status in OPEN, bool(state.late)
    running = [c.deadline.due for c in state.clocks if not c.suspended and c.ended_at is None]
    return (
        change.address.id,
        change.address.subject,
        change.position.stream,
        change.position.sequence,
        state.version,
        change.state_text,
        state.registration_sequence,
        state.status.value,
        open,
        late,
        state.nature and state.nature.value,
        state.subject,
        state.severity.value,
        state.region,
        state.in_charge,
        state.unit,
        state.person,
        " ".join(state.co_units),
        " ".join(people),
        state.first_asked,
        state.complained_unit,
        " ".join(state.stand_aside),
        state.informant,
        state.registered_at,
        state.settled_at,
        state.closed_at,
        state.last_at,
        min(running) if running else None,
        state.repeats,
        " ".join(visibility_keys(state, people)),
        bucket(open, late),
    )


def visibility_keys(state: CaseState, people: Iterable[str]) -> list[str]:
    """The keys under which a case stands in `seen`, sorted."""
    found = set(stems(state.in_charge))
    if state.region != state.in_charge:
        found.update(f"<{one}" for one in stems(state.region) if one not in found)
    found.update(unit for unit in (state.unit, *state.co_units) if unit is not None)
    found.update(f"@{person}" for person in (state.first_asked, *people))
    found.update(f"!@{person}" for person in state.stand_aside)
    if state.complained_unit is not None:
        found.add(f"!{state.complained_unit}")
    return sorted(found)


def order_row(change: AggregateChange) -> tuple[Any, ...]:
    """One row of `orders`, in the order of the statement `write_orders`."""
    state: OrderState = change.state
    issued = next((r.meta.time for r in change.events if isinstance(r.event, e.OrderIssued)), None)
    return (
        change.address.id,
        change.address.subject,
        change.position.stream,
        change.position.sequence,
        state.version,
        change.state_text,
        state.status.value,
        state.kind and state.kind.value,
        state.region,
        state.unit,
        len(state.cases),
        len(state.refused_by),
        state.due,
        state.overdue,
        issued,
    )


@dataclass(frozen=True, slots=True)
class SealedMatter:
    """The matter of a case as it lies on the log, and the event that it is sealed for."""

    id: str
    event_id: str
    token: str


def newest_matter(change: AggregateChange) -> SealedMatter | None:
    """The last matter among a case's new events, if they bring one."""
    for recorded in reversed(change.events):
        event = recorded.event
        if isinstance(event, e.Registered | e.Corrected) and event.matter is not None:
            return SealedMatter(change.address.id, recorded.id, str(event.matter))
    return None


def searchable_until(change: AggregateChange) -> tuple[bool, datetime | None]:
    """Whether a case's new events change how long it can be found, and until when (None: as long as it is open)."""
    for recorded in reversed(change.events):
        if recorded.type in _ENDING and change.state.status in ENDED:
            return True, recorded.meta.recorded_at + timedelta(days=SEARCH_AFTER_END_DAYS_MAX)
        if isinstance(recorded.event, e.Reopened):
            return True, None
    return False, None


class Model:
    """The read model `reporting`. `index`: whether the search index is kept as well (a rebuild may leave it out)."""

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
        """Upsert the rows of these cases and orders; the same again, or older, changes nothing.

        A case whose registration is newer than this program is left out: nothing is known of it.
        """
        orders = [order_row(change) for change in changes if change.address.kind == "order" and change.state.region]
        if orders:
            await session.execute("write_orders", *_columns(orders))
        cases = {c.address.id: c for c in changes if c.address.kind == "case" and c.state.registered_at is not None}
        if cases:
            news = await session.fetch("write_cases", *_columns([case_row(change) for change in cases.values()]))
            await self._write_content(session, [cases[row["id"]] for row in news])

    async def clear(self, session: Session) -> None:
        """Empty every table of the model."""
        await session.execute("clear")

    async def checksums(self, session: Session) -> dict[str, tuple[int, int]]:
        """Rows and an order-independent checksum of each of `tables`: equal for equal logs, however they were read."""
        rows = await session.fetch("checksums")
        return {row["table"]: (row["rows"], int(row["checksum"])) for row in rows}

    async def pairs(self, county: str) -> Pairs:
        """The hashes of a county's search index."""
        if county not in self._pairs:
            self._pairs[county] = Pairs((await self._vault.county_key(county))[:64])
        return self._pairs[county]

    async def _write_content(self, session: Session, changes: Sequence[AggregateChange]) -> None:
        matters = [m for c in changes if not c.state.erased and (m := newest_matter(c)) is not None]
        if matters:
            await session.execute("write_sealed", *_columns([(m.id, m.event_id, m.token) for m in matters]))
        if self._index:
            await self._write_index(session, changes, matters)
        if erased := [change.address.id for change in changes if change.state.erased]:
            await session.execute("forget", erased)

    async def _write_index(
        self, session: Session, changes: Sequence[AggregateChange], matters: list[SealedMatter]
    ) -> None:
        untils = [(c.address.id, until) for c in changes for changed, until in [searchable_until(c)] if changed]
        known = {matter.id for matter in matters}
        if again := [id for id, until in untils if until is None and id not in known]:  # it may be swept by now
            stored = await session.fetch("sealed_of", again)
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
        """What these cases say, by id; erased ones, and seals that do not open, are left out (and told of)."""
        found = await self._vault.keys([matter.id for matter in matters])
        opened: dict[str, Matter] = {}
        for sealed in matters:
            key = found.get(sealed.id)
            if key is None:
                continue
            try:
                # the seal's place is case, event and field; of which type the event is does not matter
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
