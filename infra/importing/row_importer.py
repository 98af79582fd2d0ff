"""One row from registration to its end, by the commands of the catalogue, each through its owner's handler.

Every step looks at where the case now is and asks for what comes next, under an id that follows from (source, row id,
step); triage and assignment are the very reactions of routing, run here with the ids they have everywhere. So it does
not matter whether a running copy reacts first, whether an earlier import was killed, or how often this is done.
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
from shared.kit.application import Origin
from shared.kit.clock import Clock
from shared.kit.command_handler import Committed, command
from shared.kit.failpoints import Failpoints
from shared.kit.reactions import ReactionRunner
from shared.kit.service import RunningService
from shared.kit.vault import KeyErased
from shared.log.port import NoArea

IMPORTER = "import"
STEPS_COUNT_MAX = 60  # a case has some ten; twenty co-handling units make it more
IMPORTING_OWNERS = (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)


class ImportPhase(StrEnum):
    """The readings of a file: a repeated case must still be open when its repeats join it."""

    CASES = "cases"
    REPEATS = "repeats"
    ENDINGS = "endings"


class RowOutcome(StrEnum):
    """What a row came to."""

    REGISTERED = "registered"
    ATTACHED = "attached"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row's fate, and how far its case came (None: the row is no case of its own)."""

    came: RowOutcome
    status: Status | None = None
    by_fallback: bool = False


class RowImporter:
    """Carries rows; safe for many at once."""

    def __init__(self, services: dict[Owner, RunningService], mapping: ImportMapping, clock: Clock) -> None:
        self._services, self._mapping, self._clock = services, mapping, clock
        self._applications = {owner: service.application for owner, service in services.items()}
        self._routing = self._applications[Owner.ROUTING]
        self._reference_data = self._routing.identity.reference_data
        self._reactions = ReactionRunner(application=self._routing, reactions=REACTIONS)

    async def carry(self, demand: ImportedCase, whole: bool) -> RowResult:
        """A row that is a case: registered and, when `whole`, brought to its end; else it waits for its repeats.

        Raises Unfit for what the law or an earlier import does not allow, Unavailable.
        """
        address, born = await self._register(demand)
        released = demand.command_id(self._mapping.source, "release")
        if released in born.state.applied:
            return RowResult(RowOutcome.UNCHANGED, born.state.status)
        if born.recorded is not None:
            await self._reactions.react(born.recorded)
        state = await self._state(address, fresh=born.recorded is None)
        by_fallback = False
        for _ in range(STEPS_COUNT_MAX):
            asked = await self._advance(demand, address, state, whole)
            if asked is None:
                break
            by_fallback = by_fallback or asked == "triage"
            state = await self._state(address)
        if whole and Hold.IMPORT in state.holds:
            await self._ask(demand, address, Owner.SUPERVISION, "release", self._last(demand), hold=Hold.IMPORT)
        return RowResult(RowOutcome.REGISTERED, state.status, by_fallback)

    async def attach(self, demand: ImportedCase, case: Address) -> RowResult:
        """A row that is a repeat: attached to its case, its reply noted as what the unit did. Raises as `carry`."""
        source = self._mapping.source
        state = await self._state(case, fresh=True)
        if state.status is Status.NEW:
            raise UnfitRow("", "repeats an earlier row, which was not imported")
        came = RowOutcome.UNCHANGED
        if demand.command_id(source, "attach") not in state.applied:
            await self._ask(demand, case, Owner.INTAKE, "attach", demand.at, **self._said(demand))
            came, state = RowOutcome.ATTACHED, await self._state(case, fresh=True)
        noted = demand.command_id(source, "progress") in state.applied or not demand.replied_at
        if not noted and state.status is Status.HANDLING:
            note, at = Note(text=demand.reply), demand.replied_at or demand.at
            await self._ask(demand, case, Owner.ROUTING, "progress", at, unit=state.unit, note=note, contacted=True)
            came = RowOutcome.ATTACHED
        return RowResult(came)

    async def _register(self, demand: ImportedCase) -> tuple[Address, Committed]:
        """Register once; the case, and what came of it now."""
        source = self._mapping.source
        person, unit = self.first_asked(demand.region)
        facts = Registration(
            **self._said(demand), region=demand.region, nature=demand.nature, subject=demand.subject,
            retention=demand.retention, first_asked=person, first_asked_unit=unit, hold=Hold.IMPORT,
        )  # fmt: skip
        address = demand.case(source)
        meta = self._meta(demand, address, "register", demand.at)
        try:
            outcome = await self._applications[Owner.INTAKE].decide(
                command(address, meta, "register", facts), Origin(f"{IMPORTER}.{source}", demand.id, demand.told)
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

    def _said(self, demand: ImportedCase) -> dict[str, Any]:
        party = Party(name=demand.reporter, phone=demand.phone, address=demand.address)
        said = demand.reporter or demand.phone
        return {
            "channel": demand.channel,
            "contact_time": demand.at,
            "matter": Matter(title=demand.title, text=demand.text, address=demand.address),
            "reporter": Parties(parties=(party,)) if said else None,
            "source": self._mapping.source,
            "source_id": demand.id,
        }

    async def _advance(self, demand: ImportedCase, case: Address, state: CaseState, whole: bool) -> str | None:
        """Ask for the next step of a case; its name, None when there is none."""
        match state.status:
            case Status.AWAITING_TRIAGE if not state.hand_backs:
                return await self._triage(demand, case, state)
            case Status.TRIAGED:
                return await self._assign(demand, case, state)
            case Status.ASSIGNED if demand.replied_at and self._mapping.settle:
                person = self.signer(state)
                return await self._step(demand, case, "sign-for", demand.at, unit=state.unit, person=person)
            case Status.HANDLING if whole and demand.replied_at and self._mapping.settle:
                return await self._settle(demand, case, state)
            case Status.SETTLED if whole and self._mapping.settle and self._mapping.settle.close:
                return await self._step(demand, case, "close", self._last(demand), basis="imported as closed")
        return None

    async def _triage(self, demand: ImportedCase, case: Address, state: CaseState) -> str | None:
        """By the rules in force, as the reaction does it; what none takes goes to the fallback, or stays there."""
        await self._react(case, e.Registered, 0)
        if (await self._state(case)).status is not Status.AWAITING_TRIAGE:
            return "react"
        unit = self.fallback(state.in_charge)
        if unit is None:
            return None
        return await self._step(demand, case, "triage", demand.at, unit=unit, basis="import: no rule takes it")

    async def _assign(self, demand: ImportedCase, case: Address, state: CaseState) -> str | None:
        await self._react(case, e.Triaged, state.registration_sequence)
        if (await self._state(case)).status is not Status.TRIAGED:
            return "react"
        units: dict[str, Any] = {"unit": state.triaged_unit, "co_units": state.triaged_co_units}
        return await self._step(demand, case, "assign", demand.at, **units, basis="import: as triaged")

    async def _settle(self, demand: ImportedCase, case: Address, state: CaseState) -> str:
        """The file has one reply, that of the responsible unit: the others are taken off, then it settles."""
        settle, at = self._mapping.settle, demand.replied_at
        assert settle is not None
        assert at is not None
        waiting = [co.unit for co in state.co_handlers if not co.reported]
        for unit in waiting:
            note = Note(text="导入：原系统仅有承办单位的答复")
            await self._step(demand, case, "end-co-handling", at, unit=unit, note=note, what=unit)
        reply = Note(text=demand.reply)
        return await self._step(
            demand,
            case,
            "settle",
            at,
            outcome=Outcome(demand.outcome or Outcome.EXPLAINED),
            reply=reply,
            basis=settle.basis,
        )

    async def _react(self, case: Address, event: type[Event], after: int) -> None:
        for recorded in await self._routing.data.log.load(case, after):
            if isinstance(recorded.event, event):
                await self._reactions.react(recorded)

    async def _step(
        self, demand: ImportedCase, case: Address, name: str, at: datetime, what: str = "", **facts: Any
    ) -> str:
        """Ask routing; a refusal because somebody else has moved the case meanwhile is no refusal: look again."""
        before = (await self._state(case)).version
        outcome = await self._send(demand, case, Owner.ROUTING, name, at, what, facts)
        if isinstance(outcome, Rejected) and (await self._state(case, fresh=True)).version == before:
            raise _unfit(outcome)
        return name

    async def _ask(
        self, demand: ImportedCase, case: Address, owner: Owner, name: str, at: datetime, **facts: Any
    ) -> None:
        outcome = await self._send(demand, case, owner, name, at, "", facts)
        if isinstance(outcome, Rejected):
            raise _unfit(outcome)

    async def _send(
        self,
        demand: ImportedCase,
        case: Address,
        owner: Owner,
        name: str,
        at: datetime,
        what: str,
        facts: dict[str, Any],
    ) -> Committed | Rejected:
        asked = COMMANDS[name].facts.model_validate(facts)
        meta = self._meta(demand, case, name + what, at)
        return await self._applications[owner].decide(command(case, meta, name, asked))

    async def _state(self, case: Address, fresh: bool = False) -> CaseState:
        """The case as routing's handler knows it: with all that it has appended itself, or with everything."""
        state: CaseState = (await self._routing.handler.state(case, fresh)).state
        return state

    def _meta(self, demand: ImportedCase, case: Address, step: str, at: datetime) -> Meta:
        region = case.region
        actor = Actor(person=IMPORTER, post=IMPORTER, unit=f"{region}-centre", centre=region, region=region)
        return Meta(
            command_id=demand.command_id(self._mapping.source, step),
            time=at,
            recorded_at=self._clock.now(),
            actor=actor,
            references=self._routing.identity.references(region),
        )

    @staticmethod
    def _last(demand: ImportedCase) -> datetime:
        return demand.replied_at or demand.at

    def unknown(self) -> Iterator[str]:
        """What the mapping names that is not there: people, subjects, units, areas. One line each, with what to do."""
        mapping, reference_data = self._mapping, self._reference_data
        people = [("first_asked", one) for one in mapping.first_asked.values()]
        if mapping.settle is not None and mapping.settle.by != "first":
            people.append(("settle.by", mapping.settle.by))
        for place, person in people:
            if reference_data.person(person) is None:
                yield f"{place}: there is no person {person!r} in the documents in force; see `caseflow reference`"
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

    def first_asked(self, region: str) -> tuple[str, str]:
        """Who is on the cases of a region for ever, and of which unit. Raises Unfit."""
        people = self._mapping.first_asked
        prefix = max((one for one in people if region.startswith(one)), key=len, default=None)
        if prefix is None:
            raise UnfitRow("region", f"{region} has no first-asked person; add it to first_asked in the mapping")
        row = self._reference_data.person(people[prefix])
        return people[prefix], row.unit if row else f"{region}-centre"

    def signer(self, state: CaseState) -> str:
        """The person of the assigned unit who is to be responsible."""
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
        """The unit for what no rule takes, None when that waits at the triage desk."""
        pattern = self._mapping.fallback
        if pattern is None:
            return None
        place, _, slug = pattern.partition("-")
        unit = f"{region_at(region, Level[place[1:-1].upper()]) if place.startswith('{') else place}-{slug}"
        return unit if self._reference_data.has_unit(unit) else None


def _unfit(outcome: Rejected) -> UnfitRow:
    """A refusal of the law as the reason why a row did not come through."""
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return UnfitRow("", f"{outcome.reason.code}{detail}: {outcome.reason.message}")


@asynccontextmanager
async def open_row_importer(
    servers: Servers, mapping: ImportMapping, clock: Clock, failpoints: Failpoints | None = None
) -> AsyncIterator[RowImporter]:
    """A row importer on these servers, as the three services whose commands it sends. Raises Unavailable."""
    async with connected(servers, clock, IMPORTING_OWNERS, failpoints) as services:
        yield RowImporter(services, mapping, clock)
