"""The import of one row, from registration to its end, by commands of the catalogue in the services that own them.

Each step reads the state of the case and sends the next command, under an id that follows from (source, row id, step).
Triage and assignment are the reactions of routing, run here with their usual ids. So the result is the same when a
running copy reacts first, when an earlier import was killed, and when the import is repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from infra.importing.imported_case import ImportedCase, UnfitRow
from infra.importing.mapping import ImportMapping
from infra.operations.rebuild import connected
from infra.servers.attach import Servers
from services.intake.registration import IdempotencyConflict
from services.routing.policy import REACTIONS
from shared.case import events as e
from shared.case.base import Actor, Address, Event, Level, Meta, Owner, region_at
from shared.case.commands import COMMANDS
from shared.case.facts import Hold, Matter, Note, Outcome, Parties, Party, Registration
from shared.case.lifecycle import Status
from shared.case.reasons import Rejected
from shared.case.rights import Right
from shared.case.state import CaseState
from shared.kit.aggregate_cache import AggregateCache
from shared.kit.application import Origin
from shared.kit.clock import Clock
from shared.kit.command_handler import Committed, command
from shared.kit.failpoints import Failpoints
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService
from shared.kit.vault import KeyErased
from shared.log.port import NoArea

IMPORTER = "import"
CASES_CACHED_COUNT_MAX = 1_000  # of some 6 KB each
STEPS_COUNT_MAX = 60  # a case has some ten steps, more with twenty co-handling units
IMPORTING_OWNERS = (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)


class ImportPhase(StrEnum):
    """The readings of a file. Repeats come before endings, since they can only join an open case."""

    CASES = "cases"
    REPEATS = "repeats"
    ENDINGS = "endings"


class RowOutcome(StrEnum):
    """The outcomes of an imported row."""

    REGISTERED = "registered"
    ATTACHED = "attached"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class RowResult:
    """The outcome of a row, and the status of its case (None: the row is no case of its own)."""

    outcome: RowOutcome
    status: Status | None = None
    by_fallback: bool = False


class RowImporter:
    """Imports rows, several at once."""

    def __init__(self, services: dict[Owner, RunningService], mapping: ImportMapping, clock: Clock) -> None:
        self._services, self._mapping, self._clock = services, mapping, clock
        self._applications = {owner: service.application for owner, service in services.items()}
        self._routing = self._applications[Owner.ROUTING]
        self._reference_data = self._routing.identity.reference_data
        self._reactions = ReactionRunner(application=self._routing, reactions=REACTIONS)
        self.failpoints = self._routing.runtime.failpoints

    async def import_row(self, imported: ImportedCase, to_the_end: bool) -> RowResult:
        """Import a row that is a case: register it and, with `to_the_end`, close it; else it waits for its repeats.

        Raises UnfitRow when the law or an earlier import does not allow it, Unavailable, LogUnavailable.
        """
        address, committed = await self._register(imported)
        released = imported.command_id(self._mapping.source, "release")
        if released in committed.state.applied:
            return RowResult(RowOutcome.UNCHANGED, committed.state.status)
        if committed.recorded is not None:
            await self._reactions.react(committed.recorded)
        state = await self._state(address, fresh=committed.recorded is None)
        by_fallback = False
        for _ in range(STEPS_COUNT_MAX):
            step = await self._advance(imported, address, state, to_the_end)
            if step is None:
                break
            by_fallback = by_fallback or step == "triage"
            state = await self._state(address)
        if to_the_end and Hold.IMPORT in state.holds:
            await self._send_or_raise(
                imported, address, Owner.SUPERVISION, "release", self._last(imported), hold=Hold.IMPORT
            )
        return RowResult(RowOutcome.REGISTERED, state.status, by_fallback)

    async def attach(self, imported: ImportedCase, case: Address) -> RowResult:
        """Import a row that is a repeat: attach it, with its reply as progress. Raises as `import_row`."""
        source = self._mapping.source
        state = await self._state(case, fresh=True)
        if state.status is Status.NEW:
            raise UnfitRow("", "repeats an earlier row, which was not imported")
        outcome = RowOutcome.UNCHANGED
        if imported.command_id(source, "attach") not in state.applied:
            await self._send_or_raise(imported, case, Owner.INTAKE, "attach", imported.at, **self._report(imported))
            outcome, state = RowOutcome.ATTACHED, await self._state(case, fresh=True)
        if state.status is Status.HANDLING and await self._note_reply(imported, case, state):
            outcome = RowOutcome.ATTACHED
        return RowResult(outcome)

    async def _register(self, imported: ImportedCase) -> tuple[Address, Committed]:
        """Register the case once; its address, and the committed command."""
        source = self._mapping.source
        person, unit = self.first_asked(imported.region)
        facts = Registration(
            **self._report(imported), region=imported.region, nature=imported.nature, subject=imported.subject,
            retention=imported.retention, first_asked=person, first_asked_unit=unit, hold=Hold.IMPORT,
        )  # fmt: skip
        address = imported.case(source)
        meta = self._meta(imported, address, "register", imported.at)
        try:
            outcome = await self._applications[Owner.INTAKE].decide(
                command(address, meta, "register", facts),
                Origin(f"{IMPORTER}.{source}", imported.id, imported.source_cells),
            )
        except IdempotencyConflict:
            raise UnfitRow(self._mapping.id, "was imported before with other content or to another region") from None
        except KeyErased:
            raise UnfitRow(self._mapping.id, "was imported before, and its content has been erased since") from None
        if isinstance(outcome, Rejected):
            raise _unfit(outcome)
        key = await self._services[Owner.INTAKE].data.vault.keys([address.id])
        self._services[Owner.ROUTING].data.vault.remember(key)  # one process: routing need not ask for it
        return address, outcome

    def _report(self, imported: ImportedCase) -> dict[str, Any]:
        party = Party(name=imported.reporter, phone=imported.phone, address=imported.address)
        return {
            "channel": imported.channel,
            "contact_time": imported.at,
            "matter": Matter(title=imported.title, text=imported.text, address=imported.address),
            "reporter": Parties(parties=(party,)) if imported.reporter or imported.phone else None,
            "source": self._mapping.source,
            "source_id": imported.id,
        }

    async def _advance(self, imported: ImportedCase, case: Address, state: CaseState, to_the_end: bool) -> str | None:
        """Send the next command for a case; its name, None when the case is at its end here."""
        settles = self._mapping.settle
        match state.status:
            case Status.AWAITING_TRIAGE if not state.hand_backs:
                return await self._triage(imported, case, state)
            case Status.TRIAGED:
                return await self._assign(imported, case, state)
            case Status.ASSIGNED if imported.replied_at and settles:
                person = self.signer(state)
                return await self._step(imported, case, "sign-for", imported.at, unit=state.unit, person=person)
            case Status.HANDLING if to_the_end and imported.settled:
                return await self._settle(imported, case, state)
            case Status.HANDLING if imported.replied_at and not imported.settled and settles:
                return await self._note_reply(imported, case, state)
            case Status.SETTLED if to_the_end and imported.settled and settles and settles.close:
                return await self._step(imported, case, "close", self._last(imported), basis="imported as closed")
        return None

    async def _triage(self, imported: ImportedCase, case: Address, state: CaseState) -> str | None:
        """Triage by the rules in force, as the reaction does; without a rule the case goes to the fallback unit."""
        await self._react(case, e.Registered, 0)
        if (await self._state(case)).status is not Status.AWAITING_TRIAGE:
            return "react"
        unit = self.fallback(state.in_charge)
        if unit is None:
            return None
        return await self._step(imported, case, "triage", imported.at, unit=unit, basis="import: no rule takes it")

    async def _assign(self, imported: ImportedCase, case: Address, state: CaseState) -> str | None:
        await self._react(case, e.Triaged, state.registration_sequence)
        if (await self._state(case)).status is not Status.TRIAGED:
            return "react"
        units: dict[str, Any] = {"unit": state.triaged_unit, "co_units": state.triaged_co_units}
        return await self._step(imported, case, "assign", imported.at, **units, basis="import: as triaged")

    async def _settle(self, imported: ImportedCase, case: Address, state: CaseState) -> str:
        """End the co-handling, since the file has the reply of the responsible unit only, then settle."""
        settle, at = self._mapping.settle, imported.replied_at
        assert settle is not None
        assert at is not None
        waiting = [co.unit for co in state.co_handlers if not co.reported]
        for unit in waiting:
            note = Note(text="导入：原系统仅有承办单位的答复")
            await self._step(imported, case, "end-co-handling", at, unit=unit, note=note, detail=unit)
        reply = Note(text=imported.reply)
        return await self._step(
            imported,
            case,
            "settle",
            at,
            outcome=Outcome(imported.outcome or Outcome.EXPLAINED),
            reply=reply,
            basis=settle.basis,
        )

    async def _note_reply(self, imported: ImportedCase, case: Address, state: CaseState) -> str | None:
        """Note a reply that does not settle its case as progress, once."""
        at = imported.replied_at
        if at is None or imported.command_id(self._mapping.source, "progress") in state.applied:
            return None
        facts = {"unit": state.unit, "note": Note(text=imported.reply), "contacted": True}
        await self._send_or_raise(imported, case, Owner.ROUTING, "progress", at, **facts)
        return "progress"

    async def _react(self, case: Address, event: type[Event], after: int) -> None:
        for recorded in await self._routing.data.log.load(case, after):
            if isinstance(recorded.event, event):
                await self._reactions.react(recorded)

    async def _step(
        self, imported: ImportedCase, case: Address, name: str, at: datetime, detail: str = "", **facts: Any
    ) -> str:
        """Send a command of routing; its name. Raises UnfitRow for a refusal, unless the case has changed meanwhile."""
        before = (await self._state(case)).version
        outcome = await self._send(imported, case, Owner.ROUTING, name, at, detail, facts)
        if isinstance(outcome, Rejected) and (await self._state(case, fresh=True)).version == before:
            raise _unfit(outcome)
        return name

    async def _send_or_raise(
        self, imported: ImportedCase, case: Address, owner: Owner, name: str, at: datetime, **facts: Any
    ) -> None:
        outcome = await self._send(imported, case, owner, name, at, "", facts)
        if isinstance(outcome, Rejected):
            raise _unfit(outcome)

    async def _send(
        self,
        imported: ImportedCase,
        case: Address,
        owner: Owner,
        name: str,
        at: datetime,
        detail: str,
        facts: dict[str, Any],
    ) -> Committed | Rejected:
        typed = COMMANDS[name].facts.model_validate(facts)
        meta = self._meta(imported, case, name + detail, at)
        return await self._applications[owner].decide(command(case, meta, name, typed))

    async def _state(self, case: Address, fresh: bool = False) -> CaseState:
        """The state of a case in routing, with its own events at least; `fresh`: with all events."""
        state: CaseState = (await self._routing.handler.state(case, fresh)).state
        return state

    def _meta(self, imported: ImportedCase, case: Address, step: str, at: datetime) -> Meta:
        region = case.region
        actor = Actor(person=IMPORTER, post=IMPORTER, unit=f"{region}-centre", centre=region, region=region)
        return Meta(
            command_id=imported.command_id(self._mapping.source, step),
            time=at,
            recorded_at=self._clock.now(),
            actor=actor,
            references=self._routing.identity.references(region),
        )

    @staticmethod
    def _last(imported: ImportedCase) -> datetime:
        return imported.replied_at or imported.at

    def unknown(self) -> Iterator[str]:
        """The people, subjects, units and areas of the mapping that do not exist, one line each with a remedy."""
        mapping, reference_data = self._mapping, self._reference_data
        people = [("first_asked", person) for person in mapping.first_asked.values()]
        if mapping.settle is not None and mapping.settle.by != "first":
            people.append(("settle.by", mapping.settle.by))
        for field, person in people:
            if reference_data.person(person) is None:
                yield f"{field}: there is no person {person!r} in the documents in force; see `caseflow reference`"
        for subject in mapping.subject.results() if mapping.subject else ():
            if reference_data.subject(subject) is None:
                yield f"subject: {subject!r} is not in the subject tree in force; see `caseflow reference`"
        for region in mapping.region.results():
            try:
                self._routing.data.log.stream_of(Address("case", region, "any"))
            except NoArea:
                areas = ", ".join(self._routing.identity.settings.areas)
                yield f"region: {region} lies in no area of this installation ({areas}); map its rows elsewhere"
                continue
            if mapping.fallback is not None and self.fallback(region) is None:
                yield f"fallback: {mapping.fallback} names no unit for {region}; add it to the units or name another"

    def check_place(self, imported: ImportedCase) -> None:
        """Check that a case lies in an area of this installation and has a first-asked person. Raises UnfitRow."""
        try:
            self._routing.data.log.stream_of(imported.case(self._mapping.source))
        except NoArea as error:
            raise UnfitRow("region", str(error)) from None
        self.first_asked(imported.region)

    def first_asked(self, region: str) -> tuple[str, str]:
        """The first-asked person for the cases of a region, and the person's unit. Raises UnfitRow."""
        people = self._mapping.first_asked
        prefix = max((code for code in people if region.startswith(code)), key=len, default=None)
        if prefix is None:
            raise UnfitRow("region", f"{region} has no first-asked person; add it to first_asked in the mapping")
        row = self._reference_data.person(people[prefix])
        return people[prefix], row.unit if row else f"{region}-centre"

    def signer(self, state: CaseState) -> str:
        """The person of the assigned unit who signs for the case."""
        settle = self._mapping.settle
        assert settle is not None
        if settle.by != "first":
            return settle.by
        for person in sorted(self._reference_data.people_of(state.unit or ""), key=lambda row: row.id):
            post = self._reference_data.post(person.post)
            if post is not None and Right.SIGN in post.rights and person.id not in state.stand_aside:
                return person.id
        return settle.otherwise

    def fallback(self, region: str) -> str | None:
        """The unit for cases that no rule takes; None when they wait at the triage desk."""
        pattern = self._mapping.fallback
        if pattern is None:
            return None
        code, _, slug = pattern.partition("-")
        unit = f"{region_at(region, Level[code[1:-1].upper()]) if code.startswith('{') else code}-{slug}"
        return unit if self._reference_data.has_unit(unit) else None


def _unfit(outcome: Rejected) -> UnfitRow:
    """A rejection by the law as the fault of a row."""
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return UnfitRow("", f"{outcome.reason.code}{detail}: {outcome.reason.message}")


def import_runtime(clock: Clock, failpoints: Failpoints | None = None) -> Runtime:
    """A runtime that remembers few cases, since an import works through each of many once."""
    return Runtime.of(clock, aggregates=AggregateCache(CASES_CACHED_COUNT_MAX), failpoints=failpoints)


@asynccontextmanager
async def open_row_importer(
    servers: Servers, mapping: ImportMapping, clock: Clock, failpoints: Failpoints | None = None
) -> AsyncIterator[RowImporter]:
    """A row importer on these servers, as the services of IMPORTING_OWNERS. Raises Unavailable, LogUnavailable."""
    async with connected(servers, clock, IMPORTING_OWNERS, import_runtime(clock, failpoints)) as services:
        yield RowImporter(services, mapping, clock)
