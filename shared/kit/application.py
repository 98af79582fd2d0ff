"""The application layer: the only way in for a command, and the only way to a case's or an order's state for a caller.

`execute` takes a command of a person, a platform, a resident or an import through the same steps, whoever brings it:
permit, enrich, check the references, decide and append, compare with the command of the same id before it, answer.
`decide` is the part of it for the service itself, which reacts to events and moments. Routes and messages only
translate.

`load` and `history`, and both as a resident, are the gate for reading: they answer with a state that the caller may
see, or refuse. Nothing else in a route, a message or a feed reads an aggregate from the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.case.base import FILLED, Address, Meta, Position, Recorded, Unknown, derived_id
from shared.case.commands import Command
from shared.case.facts import Attachment
from shared.case.orders import OrderState
from shared.case.reasons import Rejected
from shared.case.state import CaseState
from shared.kit import access
from shared.kit.access import Caller, may_see, may_see_flow, may_see_order, may_see_reporter
from shared.kit.aggregate_cache import Versioned
from shared.kit.command_handler import DECIDERS, CommandHandler, Committed
from shared.kit.data import Data
from shared.kit.dead_letters import DeadLetters
from shared.kit.identity import Identity
from shared.kit.preconditions import UNCHECKED, Precondition, Unmet, entity_tag
from shared.kit.problems import (
    BadRequest,
    Forbidden,
    NotFound,
    PreconditionRequired,
    ProblemError,
    Unavailable,
    Unprocessable,
)
from shared.kit.runtime import Runtime
from shared.kit.seal import unseal_fields
from shared.kit.timeline import PreconditionFailed, TimelineEntry, timeline_entry
from shared.kit.vault import same_secret
from shared.log import port as log_port
from shared.log.case_numbers import case_number, parse_case_number
from shared.reference.people import PersonRow, nobody_barred

AHEAD_S_MAX = 120
EVENTS_SINCE_MAX = 50


class Answer(BaseModel):
    """The outcome of a command. `event` is null when the same command was applied before."""

    model_config = ConfigDict(frozen=True)

    id: str
    number: str
    status: str
    version: int
    position: str
    event: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file as it is stored; its name is private and goes into the sealed matter.

    `received_digest` is the SHA-256 of the bytes as they came in, `metadata` the JSON of what a picture lost.
    """

    name: str
    media_type: str
    data: bytes
    received_digest: bytes
    metadata: bytes = b""

    def attachment(self, case_id: str) -> Attachment:
        """Where the file will lie. The name follows from case and bytes, so the same file is stored once."""
        digest = sha256(self.data).hexdigest()
        object_name = f"{case_id}.{digest[:24]}"
        return Attachment(object=object_name, digest=digest, size_bytes=len(self.data), media_type=self.media_type)


@dataclass(frozen=True, slots=True)
class Origin:
    """The id under which a source asks for a new case, the payload as it came in, and the files that came with it.

    The same source and id mean the same case for ever; with another payload they are refused.
    """

    source: str
    id: str
    payload: bytes
    files: Sequence[UploadedFile] = ()


class View(StrEnum):
    """How much of a case or an order a caller asks to see."""

    CONTENT = "content"  # the flow and the content
    FLOW = "flow"  # the facts in the open: auditors see them as well


@dataclass(frozen=True, slots=True)
class History:
    """All events of an aggregate, and its state after them."""

    address: Address
    events: Sequence[Recorded[Any]]
    state: Any

    @property
    def position(self) -> Position:
        """Where its last event lies."""
        return _position(self.events[-1])

    @property
    def registered_at(self) -> Position:
        """Where its first event lies; its number follows from it."""
        return _position(self.events[0])


# Adds to a command the facts that the service knows and its sender does not state. Raises ProblemError.
Enricher = Callable[["Application", Caller, Command], Awaitable[Command]]
# Makes what a new aggregate needs before its first event (claim, key, files); the command at the address that stands.
Creator = Callable[[Command, Origin | None], Awaitable[Command | Rejected]]
NO_ENRICHERS: Mapping[str, Enricher] = MappingProxyType({})
NO_CREATORS: Mapping[str, Creator] = MappingProxyType({})


class Application:
    """The commands and the states of one service."""

    def __init__(
        self,
        *,
        identity: Identity,
        data: Data,
        runtime: Runtime,
        enrichers: Mapping[str, Enricher] = NO_ENRICHERS,
        creators: Mapping[str, Creator] = NO_CREATORS,
    ) -> None:
        self.identity, self.data, self.runtime = identity, data, runtime
        self.handler = CommandHandler(log=data.log, vault=data.vault, runtime=runtime)
        self.dead_letters = DeadLetters(identity.owner, data.streams, runtime.telemetry)
        self._enrichers, self._creators = enrichers, creators

    # Commands

    async def execute(
        self,
        caller: Caller,
        command: Command,
        origin: Origin | None = None,
        precondition: Precondition = UNCHECKED,
    ) -> Answer:
        """Do what a caller asks for, or say why not. Raises ProblemError for every refusal.

        A caller who may not, and who stands in for an absent person who may, does it for that person. `origin`: for a
        registration, the id under which its source asks and the payload that came with it.
        """
        try:
            return await self._execute(caller, command, origin, precondition)
        except ProblemError as error:
            if error.problem.status != Forbidden.status:
                raise
            refusal = error
        for deputy in await self._as_deputy(caller, command):
            meta = command.meta.model_copy(update={"actor": deputy.actor})
            try:
                return await self._execute(deputy, replace(command, meta=meta), origin, precondition)
            except ProblemError as error:
                if error.problem.status != Forbidden.status:
                    raise
                if error.problem.code != Forbidden.code:  # a reason of the law says more than a lack of rights
                    refusal = error
        raise refusal

    async def may_send(self, caller: Caller, command: Command) -> bool:
        """Whether the caller, or the caller as a deputy, may send this command. Raises NotFound."""
        for sender in (caller, *await self._as_deputy(caller, command)):
            try:
                await self.permit(sender, command)
            except Forbidden:
                continue
            return True
        return False

    async def _as_deputy(self, caller: Caller, command: Command) -> list[Caller]:
        """The caller as the deputy of absent people, in the case or order that a command is about."""
        creates = access.is_creation(command.name)
        state = None if creates else (await self.handler.state(command.address)).state
        return list(self.identity.as_deputy(caller, self.runtime.clock.now(), state))

    async def _execute(
        self, caller: Caller, command: Command, origin: Origin | None, precondition: Precondition
    ) -> Answer:
        await self.permit(caller, command)
        command = await self._enriched(caller, command)
        await self.check_references(command)
        command, outcome = await self._decided(command, origin, precondition)
        if isinstance(outcome, Unmet):
            raise await self._unmet(caller, command, outcome, precondition)
        if isinstance(outcome, Rejected):
            raise rejected(outcome)
        if outcome.recorded is None and origin is None:  # with an origin, its payload was compared at the claim
            await self.refuse_other_body(command)
        return answer(command.address, outcome, await self._number(command.address, outcome))

    async def _number(self, address: Address, outcome: Committed) -> str:
        """The number of an aggregate, from the position of its first event. The state of an order does not hold it."""
        first = getattr(outcome.state, "registration_sequence", 0)
        if not first and outcome.state.version > 1:
            first = (await self._history(address)).registered_at.sequence
        return case_number(Position(outcome.position.stream, first or outcome.position.sequence))

    async def decide(self, command: Command, origin: Origin | None = None) -> Committed | Rejected:
        """Decide a command of the service itself, which follows from an event or a moment. Raises as CommandHandler."""
        _, outcome = await self._decided(command, origin, UNCHECKED)
        assert not isinstance(outcome, Unmet), "no precondition was stated"
        return outcome

    async def _decided(
        self, command: Command, origin: Origin | None, precondition: Precondition
    ) -> tuple[Command, Committed | Rejected | Unmet]:
        """The command at the address that stands, and its outcome."""
        creator = self._creators.get(command.name)
        if creator is None:
            return command, await self.handler.handle(command, precondition)
        created = await creator(command, origin)
        if isinstance(created, Rejected):
            return command, created
        outcome = await self.handler.handle(created)
        await self.runtime.failpoints.hit("application.created")
        return created, outcome

    async def _unmet(self, caller: Caller, command: Command, unmet: Unmet, precondition: Precondition) -> ProblemError:
        """The answer to a command whose sender has not read the decision that it replaces, or what came since."""
        kind = command.address.kind
        if not unmet.stated:
            read = f"/reporting/{kind}s/{command.address.id}"
            return PreconditionRequired(
                f"Here {command.name} replaces a decision that stands. Name the state that yours rests on.",
                advice=f"GET {read}, and send the same again with the ETag of that answer as If-Match.",
            )
        history = await self._history(command.address)
        version_read = precondition.version_read
        after = version_read if version_read <= history.state.version else 0  # such a state has never been
        since = await self.timeline(caller, history, after)
        caller = self.viewer(caller, history.state, View.CONTENT)
        return PreconditionFailed(
            f"The {kind} has changed since the state that If-Match names.",
            tag=entity_tag(history.state.version, shows_content(caller, history.state)),
            since=since[-EVENTS_SINCE_MAX:],
        )

    async def _enriched(self, caller: Caller, command: Command) -> Command:
        enricher = self._enrichers.get(command.name)
        return command if enricher is None else await enricher(self, caller, command)

    async def permit(self, caller: Caller, command: Command) -> None:
        """Whether the caller may send this command (clause 9.4 a). Raises Forbidden, NotFound."""
        if access.is_creation(command.name):
            refusal = access.refusal(caller, command, None)
        else:
            known = await self.handler.state(command.address)
            refusal = access.refusal(caller, command, known.state)
            if refusal is not None:  # a remembered state may be old: refuse only on the newest
                newest = await self.handler.state(command.address, fresh=True)
                if newest.sequence == 0:
                    raise NotFound(f"There is no such {command.address.kind}.", code="not_registered")
                if command.meta.command_id in newest.state.applied:
                    return  # the same command again: it stands, whoever has the case since
                refusal = access.refusal(caller, command, newest.state)
        if refusal is not None:
            raise Forbidden(refusal)

    async def check_references(self, command: Command) -> None:
        """Whether the units, people, regions and files that a command names exist. Raises Unprocessable."""
        facts, reference_data = command.facts, self.identity.reference_data
        unit = getattr(facts, "unit", None)
        for code in filter(None, (unit, *getattr(facts, "co_units", ()))):
            if not reference_data.has_unit(code):
                raise Unprocessable(f"There is no unit {code}, or it is dissolved.", code="unit.unknown")
        region = getattr(facts, "to", None) or getattr(facts, "region", None)
        if region is not None and region not in reference_data.regions:
            raise Unprocessable(f"There is no region {region}.", code="region.unknown")
        person = getattr(facts, "person", None)
        if person is not None:
            row = reference_data.person(person)
            if row is None or not row.active or row.unit != unit:
                raise Unprocessable(f"{person} does not work in {unit}.", code="person.unknown")
            if not reference_data.present(row, command.meta.time):
                await self._refuse_absent(row, command)
        for file in getattr(facts, "attachments", ()):
            own = file.object.startswith(f"{command.address.id}.")
            if not own or not await self.data.streams.has(file.object):
                raise Unprocessable(
                    "An attachment is not a file of this case. Send the file first.", code="attachment.unknown"
                )

    async def _refuse_absent(self, row: PersonRow, command: Command) -> None:
        """Refuse to put a case into the hands of a person who is away. Raises Unprocessable that names the deputy."""
        state = (await self.handler.state(command.address)).state
        if command.meta.command_id in state.applied:
            return
        barred = access.takes_no_part(state) if isinstance(state, CaseState) else nobody_barred
        deputy = self.identity.reference_data.stand_in(row.id, command.meta.time, barred)
        until = f" until {row.away_until}" if row.away_until else ""
        named = f"Name {deputy.id}, who stands in" if deputy and deputy.unit == row.unit else "Name another person"
        raise Unprocessable(
            f"{row.id} is away{until} and holds nothing meanwhile.",
            code="person.absent",
            advice=f"{named} of the unit {row.unit}.",
        )

    async def refuse_other_body(self, command: Command) -> None:
        """Compare a command whose id was applied before with its event. Raises Unprocessable when the facts differ."""
        for recorded in await self.data.log.load(command.address):
            if recorded.meta.command_id == command.meta.command_id:
                if not await self._says_the_same(recorded, command):
                    raise Unprocessable(
                        "This Idempotency-Key was used with another body. Use a new key for a new request.",
                        code="idempotency.key_reused",
                    )
                return

    async def _says_the_same(self, recorded: Recorded[Any], command: Command) -> bool:
        """Whether event and command state the same; facts that the service adds rest on the case as it was then."""
        event = recorded.known
        if event.PRIVATE:
            key = await self.data.vault.key(command.address.id)
            event = unseal_fields(event, key, command.address.id, recorded.id)
        names = [name for name, field in type(command.facts).model_fields.items() if FILLED not in field.metadata]
        return all(getattr(event, name) == getattr(command.facts, name) for name in names)

    def command_id(self, caller: Caller, purpose: str, key: str | None) -> str:
        """The id of a request over HTTP, by its Idempotency-Key; without a key it is new."""
        return http_command_id(caller, purpose, key or self.runtime.clock.new_id())

    def meta(
        self,
        caller: Caller,
        command_id: str,
        region: str,
        time: datetime | None,
        channel: str,
        received_at: datetime | None = None,
        traceparent: str | None = None,
    ) -> Meta:
        """The metadata of a caller's command; `time` may lie back only as far as the channel's policy allows.

        `received_at`: when it reached us, if that was before now; `time` is compared with that, and is that when it is
        left out. Raises Unprocessable when it lies further back, or ahead.
        """
        now = self.runtime.clock.now()
        received_at = received_at or now
        if time is not None:
            if time > received_at + timedelta(seconds=AHEAD_S_MAX):
                raise Unprocessable("`time` lies in the future. Leave it out, or set your clock.", code="time.ahead")
            if time < received_at - self.identity.settings.backdate_max(channel):
                raise Unprocessable(
                    f"`time` lies further back than channel {channel} allows. Leave it out, or have it imported.",
                    code="time.too_far_back",
                )
        return Meta(
            command_id=command_id,
            time=min(time or received_at, now),
            recorded_at=now,
            actor=caller.actor,
            traceparent=traceparent,
            references=self.identity.references(region),
        )

    # States

    async def locate(self, text: str, kind: str = "case") -> Address:
        """The address of an aggregate by id or number. Raises NotFound that says what is wrong with the text."""
        log = self.data.log
        try:
            address = Address.of(kind, text)
            log.stream_of(address)
            return address
        except (ValueError, log_port.NoArea) as not_an_id:
            if len(text) == 36:
                raise NotFound(f"There is no {kind} with this id.") from not_an_id
        try:
            position = parse_case_number(text, log.streams())
        except ValueError as error:
            raise NotFound(f"Neither an id nor a number of a {kind}: {error}") from None
        recorded = await log.at(position)
        if recorded is None or recorded.address.kind != kind or not recorded.type.endswith(("registered", "issued")):
            raise NotFound(f"No {kind} has this number.")
        return recorded.address

    async def load(self, caller: Caller, address: Address, view: View = View.CONTENT) -> Versioned:
        """The newest state of a case or an order that the caller may see. Raises NotFound, Forbidden, Unavailable."""
        newest = await self.handler.state(address, fresh=True)
        self._admit(caller, address, newest.state if newest.sequence else None, view)
        return newest

    async def history(self, caller: Caller, address: Address, view: View = View.FLOW) -> History:
        """All events of a case or an order that the caller may see. Raises NotFound, Forbidden, Unavailable."""
        history = await self._history(address)
        self._admit(caller, address, history.state if history.events else None, view)
        return history

    def _admit(self, caller: Caller, address: Address, state: Any | None, view: View) -> None:
        if state is None:
            raise NotFound(f"There is no such {address.kind}.", code="not_registered")
        if not sees(self.viewer(caller, state, view), state, view):
            raise Forbidden(f"This {address.kind} is not in your hands.")

    def viewer(self, caller: Caller, state: Any, view: View) -> Caller:
        """The caller; as the deputy of an absent person where the caller sees this much in that place only."""
        if sees(caller, state, view):
            return caller
        deputies = self.identity.as_deputy(caller, self.runtime.clock.now(), state)
        return next((deputy for deputy in deputies if sees(deputy, state, view)), caller)

    async def timeline(self, caller: Caller, history: History, after: int = 0) -> list[TimelineEntry]:
        """The events of a case or an order behind the first `after`, as far as the caller may see them."""
        state, address = history.state, history.address
        caller = self.viewer(caller, state, View.CONTENT)
        if not sees(caller, state, View.FLOW):
            return []
        shows = shows_content(caller, state)
        key = (await self.data.vault.keys([address.id])).get(address.id) if shows else None
        hidden = isinstance(state, CaseState) and not may_see_reporter(caller, state)
        return [timeline_entry(recorded, key, hidden) for recorded in history.events[after:]]

    async def locate_for_resident(self, text: str) -> Address:
        """The address of a case by id or number, for somebody without an account. Raises NotFound as a wrong secret."""
        try:
            return await self.locate(text)
        except NotFound:
            raise _wrong_secret() from None

    async def load_as_resident(self, address: Address, secret: str | None) -> Versioned:
        """The newest state of the case whose look-up secret the resident has.

        Raises NotFound, the same for all reasons; Unavailable.
        """
        newest = await self.handler.state(address, fresh=True)
        if not newest.sequence or newest.state.erased:
            raise _wrong_secret()
        if not same_secret(secret or "", await self.data.vault.secret(address.id)):
            raise _wrong_secret()
        return newest

    async def histories_as_resident(self, address: Address, secret: str | None) -> list[History]:
        """All events of the resident's own case, then of each case in which a merged one goes on.

        Nothing of another reporter may be shown of the later ones. Raises as `load_as_resident`.
        """
        await self.load_as_resident(address, secret)
        histories = [await self._history(address)]
        while merged_into := histories[-1].state.merged_into:
            histories.append(await self._history(Address.of("case", merged_into)))
        return histories

    async def survivor(self, address: Address, caller: Caller | None = None) -> tuple[Address, CaseState]:
        """The case in which a case goes on after its merges, with its newest state; the case itself without a merge.

        `caller`: who reads or writes there through the merged case; None for the service itself. A resident is heard as
        a reporter of the merged case. Raises Forbidden where one of these cases is kept from the caller (petitions
        regulation, articles 28, 30 and 46); Unavailable.

        A merge leads to a case that was registered before, so no chain of merges comes back to where it began.
        """
        while True:
            state: CaseState = (await self.load_for_service(address)).state
            if caller is not None and caller.own_case is None and access.barred(caller, state):
                raise Forbidden(access.STANDS_ASIDE)
            if state.merged_into is None:
                return address, state
            address = Address.of("case", state.merged_into)

    async def event_of_own_command(self, caller: Caller, address: Address, command_id: str) -> Any | None:
        """The event, unsealed, that a command of this very caller made of an aggregate; None when there is none."""
        for recorded in (await self._history(address)).events:
            if recorded.meta.command_id == command_id and recorded.meta.actor.person == caller.person:
                key = await self.data.vault.key(address.id)
                return unseal_fields(recorded.known, key, address.id, recorded.id)
        return None

    async def load_for_service(self, address: Address, fresh: bool = True) -> Versioned:
        """A state for the service itself, which decides by it who hears of an item; it is shown to nobody.

        Without `fresh` it may be as old as this process remembers it. Raises Unavailable.
        """
        return await self.handler.state(address, fresh)

    async def history_for_service(self, address: Address) -> History:
        """All events for the service itself; they are shown to nobody as they are. Raises Unavailable."""
        return await self._history(address)

    async def _history(self, address: Address) -> History:
        try:
            events = await self.data.log.load(address)
        except log_port.LogUnavailable as error:
            raise Unavailable("The log does not answer.") from error
        except log_port.NoArea:
            events = []
        decider = DECIDERS[address.kind]
        state = decider.new
        for recorded in events:
            state = decider.evolve(state, recorded)
        return History(address, events, state)

    async def caught_up(self, model: str, after: str | None) -> bool:
        """Wait until a read model has seen the position `?after=`; False where the answer may be older.

        Raises BadRequest.
        """
        if after is None:
            return True
        try:
            position = Position.parse(after)
        except ValueError as error:
            raise BadRequest(str(error), code="after.malformed") from None
        streams = self.data.log.streams()
        if position.stream not in streams:
            raise BadRequest(f"No such log stream; there are {', '.join(streams)}.", code="after.unknown_stream")
        return await self.runtime.progress.wait(model, position, self.identity.settings.after_wait_s_max)


def sees(caller: Caller, state: Any, view: View) -> bool:
    """Whether the caller may see a case or an order to this extent (clauses 9.4 a and 9.5 b).

    A resident with a secret sees the public look-up and nothing else.
    """
    if caller.own_case is not None:
        return False
    if isinstance(state, OrderState):
        return may_see_order(caller, state, content=view is View.CONTENT)
    return may_see(caller, state) if view is View.CONTENT else may_see_flow(caller, state)


def shows_content(caller: Caller, state: Any) -> bool:
    """Whether the caller is shown the content. The key of an erased case may still be cached for some minutes."""
    return sees(caller, state, View.CONTENT) and not getattr(state, "erased", False)


def answer(address: Address, outcome: Committed, number: str) -> Answer:
    """The outcome of a command, for its caller."""
    return Answer(
        id=address.id,
        number=number,
        status=outcome.state.status.value,
        version=outcome.state.version,
        position=str(outcome.position),
        event=outcome.recorded.id if outcome.recorded else None,
    )


def rejected(outcome: Rejected) -> ProblemError:
    """A rejection of the law as a problem, with the code and the status of its reason."""
    reason = outcome.reason
    detail = f"{reason.message} ({outcome.detail})" if outcome.detail else reason.message
    return ProblemError(detail, code=reason.code, status=reason.status, advice="")


def http_command_id(caller: Caller, purpose: str, key: str) -> str:
    """The id of a request over HTTP: uuid5 of caller, purpose and Idempotency-Key."""
    return derived_id("http", caller.person, purpose, key)


def is_newer(recorded: Recorded[Any]) -> bool:
    """Whether the event is of a type or version newer than this program."""
    return isinstance(recorded.event, Unknown)


def _wrong_secret() -> NotFound:
    return NotFound("No case has this number with this secret. Check both, or ask at the desk for a new secret.")


def _position(recorded: Recorded[Any]) -> Position:
    assert recorded.position is not None, "an event that was read has its position"
    return recorded.position
