"""The rows of reporting's read model, from folded cases and orders. Pure.

The search index holds pairs of neighbouring characters, hashed to 16 bits with the key of the county (design, "Facts in
the open, content sealed"): it finds candidates, and every candidate is read and proven before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Any
from unicodedata import normalize

from pydantic import AwareDatetime, BaseModel

from services.reporting.policy import bucket, stems
from shared.case import events as e
from shared.case.base import Actor, Event, Level, Recorded, Unknown, region_at
from shared.case.catalogue import ENDS, REOPENS
from shared.case.facts import Matter
from shared.case.lifecycle import ENDED, OPEN
from shared.case.orders import OrderState
from shared.case.state import CaseState
from shared.kit.effects import ADAPTERS, AggregateChange, state_json
from shared.kit.seal import unseal_fields

SEARCH_AFTER_END_DAYS_MAX = 30
PAIRS_COUNT_MAX = 300_000  # hashes remembered per county; a pair of Chinese characters takes about 150 bytes
REPORTER = "reporter"
_SPACE = re.compile(r"\s+")


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
        state_json("case", state),
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
        state_json("order", state),
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
        if type(recorded.event) in ENDS and change.state.status in ENDED:
            return True, recorded.meta.recorded_at + timedelta(days=SEARCH_AFTER_END_DAYS_MAX)
        if type(recorded.event) in REOPENS:
            return True, None
    return False, None


def county_of(region: str) -> str:
    """The region whose key the search index of a case is hashed with."""
    return region_at(region, Level.COUNTY)


def searched(matter: Matter) -> str:
    """The text that is searched: full and half width, upper and lower case are the same."""
    return plain(f"{matter.title}\n{matter.text}\n{matter.address}")


def plain(text: str) -> str:
    """Text as it is compared: compatibility forms (NFKC), no case, single spaces."""
    return _SPACE.sub(" ", normalize("NFKC", text).casefold()).strip()


def terms(query: str) -> list[str]:
    """The words of a query, each of which must occur. Raises ValueError when none has two characters."""
    words = plain(query).split(" ")
    if all(len(word) < 2 for word in words):
        raise ValueError("a search needs a word of at least two characters")
    return words


class Pairs:
    """Hashes pairs of characters with the key of one county, remembering those met before."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, int] = {}

    def of(self, text: str) -> list[int]:
        """The hashes of the pairs in a plain text, sorted, each once; pairs over a space do not count."""
        pairs = {first + second for first, second in pairwise(text)}
        known = self._known
        if len(known) > PAIRS_COUNT_MAX:
            known.clear()
        return sorted({known.get(pair) or self._hash(pair) for pair in pairs if " " not in pair})

    def _hash(self, pair: str) -> int:
        digest = blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=2, key=self._key).digest()
        found = self._known[pair] = int.from_bytes(digest, "big", signed=True)
        return found


class Entry(BaseModel):
    """One event of a timeline. `sealed` names the facts that are there and not shown: no right to them, or erased."""

    event: str
    type: str
    version: int
    time: AwareDatetime
    recorded_at: AwareDatetime
    actor: Actor
    position: str
    references: tuple[str, ...]
    facts: dict[str, Any]
    sealed: list[str] = []


def entry(recorded: Recorded[Any], key: bytes | None, hide_reporter: bool) -> Entry:
    """One event as somebody may read it: without a key nothing sealed is opened. Raises SealBroken."""
    event, meta = recorded.event, recorded.meta
    sealed: list[str]
    if isinstance(event, Unknown):  # which of its facts are private is not ours to know
        version, facts, sealed = event.version, {}, sorted(event.data)
    else:
        version = event.VERSION
        there = [name for name in event.PRIVATE if getattr(event, name) is not None]
        sealed = [name for name in there if key is None or (hide_reporter and name == REPORTER)]
        if key is not None:
            event = unseal_fields(event, key, recorded.address.id, recorded.id)
        facts = event.model_dump(mode="json", exclude=set(sealed), exclude_none=True)
    return Entry(
        event=recorded.id, type=recorded.type, version=version, time=meta.time, recorded_at=meta.recorded_at,
        actor=meta.actor, position=str(recorded.position), references=meta.references, facts=facts, sealed=sealed,
    )  # fmt: skip


def state_facts(state: CaseState | OrderState) -> dict[str, Any]:
    """The facts of a folded state, without the ids of the commands that made it."""
    adapter = ADAPTERS["case" if isinstance(state, CaseState) else "order"]
    facts: dict[str, Any] = adapter.dump_python(state, mode="json", exclude={"applied"}, by_alias=True)
    return facts


def file_name(recorded: Recorded[Event], at: int, key: bytes) -> str:
    """The name that the file came with, which is sealed with the words that it came with."""
    event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
    for field in ("matter", "note", "reply"):
        names: Sequence[str] = getattr(getattr(event, field, None), "file_names", ())
        if at < len(names) and names[at]:
            return names[at]
    return "file"
