"""The verdict on a world at rest: the checks of fsck, and checks that need the knowledge of the simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import astuple
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from services.intake.policy import REACTIONS as INTAKE_REACTIONS
from services.intake.policy import register_parts
from services.routing.policy import REACTIONS as ROUTING_REACTIONS
from services.routing.read_model import work_row
from services.supervision.policy import REACTIONS as SUPERVISION_REACTIONS
from shared.case import events as e
from shared.case.base import FILLED, Address, Owner, Position, Recorded, derived_id
from shared.case.catalogue import step_of
from shared.case.commands import COMMANDS, Command
from shared.case.lifecycle import Variant, event_key
from shared.case.reasons import Rejected
from shared.case.state import variant
from shared.kit.effects import AggregateChange, CommandRequest, Reaction, state_json
from shared.kit.failpoints import CATALOGUE
from shared.kit.seal import unseal_fields
from shared.log import fsck, topology
from shared.log.case_numbers import case_number
from shared.log.envelope import encode_event
from shared.log.fsck import FsckFinding, FsckLookups
from tests.sim.hours import library
from tests.sim.judge_time import TimeJudge, comparable, ids_of_the_ticker
from tests.sim.law import LAWS
from tests.sim.places import MARK, PLATFORM
from tests.support.streams import texts

if TYPE_CHECKING:
    from tests.sim.world import Outcome, World

REACTIONS: tuple[Reaction, ...] = (*INTAKE_REACTIONS, *ROUTING_REACTIONS, *SUPERVISION_REACTIONS)
MARKS = (MARK.encode(), MARK[:-1].encode(), MARK.encode("utf-16-le"), MARK.encode("unicode_escape"))


class Judge:
    """Checks the log, the tables and the streams that a world left."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vault = world.vault
        self.by_subject: dict[str, list[Recorded[Any]]] = {
            address.subject: world.log.events(address.subject)
            for kind in ("case", "order")
            for address in world.born(kind)
        }
        self.keys: dict[str, bytes | None] = {}
        self.transitions: set[tuple[str, str]] = set()

    async def judge(self) -> None:
        """Run all checks of a world at rest."""
        ids = [Address.parse(subject).id for subject in self.by_subject]
        self.keys = await self.vault.keys(ids)
        await self._log()
        self._commands()
        self._explained()
        self._reactions()
        self._forwarded()
        self._clear()
        self._platforms()
        TimeJudge(self.world, self.by_subject).judge()
        self._transitions()

    async def _log(self) -> None:
        """Run fsck, the judge of the product, with all its lookups."""
        lookups = FsckLookups(
            keys=self._keys_of, unseal=unseal_fields, claimed=self._claimed, created_by=self._parts,
            read_models={"routing.work": self._work},
        )  # fmt: skip
        report = await fsck.check_log(self.world.log, lookups, settled=True)
        for finding in report.findings:
            self.world.violated(str(finding), finding.aggregate)

    async def _keys_of(self, ids: Collection[str]) -> dict[str, bytes | None]:
        return {id: self.keys[id] for id in ids if id in self.keys}

    async def _claimed(self, subjects: Collection[str]) -> set[str]:
        return {row["subject"] for row in self.world.tables[Owner.INTAKE].table("claims").values()}

    def _parts(self, recorded: Recorded[Any]) -> Iterable[Address]:
        key = self.keys.get(recorded.address.id)
        if not isinstance(recorded.event, e.Split) or key is None:
            return ()
        event = unseal_fields(recorded.event, key, recorded.address.id, recorded.id)
        state = self.world.state(recorded.address)
        opened = Recorded(recorded.id, recorded.address, recorded.meta, event, recorded.position)
        return [request.address for request in register_parts(opened, state, library())]

    async def _work(self) -> AsyncIterator[FsckFinding]:
        """The worklist equals that of a fresh replay."""
        rows = self.world.tables[Owner.ROUTING].table("work")
        cases = {subject: events for subject, events in self.by_subject.items() if subject.startswith("case.")}
        for subject, events in cases.items():
            position = events[-1].position
            assert position is not None
            address = events[0].address
            change = _change(address, self.world.state(address), position, events)
            row = rows.get(subject)
            if row is None or comparable(row["row"]) != comparable(astuple(work_row(change))):
                yield FsckFinding("read_model", "", change.address.id, "missing" if row is None else "differs")
        for subject in rows:
            if subject not in cases:
                yield FsckFinding("read_model", "", subject, "there is no such case")

    def _commands(self) -> None:
        """An acknowledged command is on the log once and unchanged; a command that was only rejected is not on it."""
        for command_id, many in self.world.asked.items():
            for asked in many:
                subject = asked.command.address.subject
                stands = [event for event in self.by_subject.get(subject, ()) if event.meta.command_id == command_id]
                if asked.accepted and len(stands) != 1:
                    self.world.violated(f"acknowledged, and {len(stands)} times on the log", asked.command)
                if stands and not any(twin.accepted or twin.unknown for twin in many):
                    self.world.violated(f"on the log, though answered {asked.answers}", asked.command)
                if stands and asked.accepted:
                    self._as_said(asked.command, stands[0])

    def _as_said(self, command: Command, recorded: Recorded[Any]) -> None:
        """The event holds the facts of the command, both the open and the sealed ones."""
        key, event = self.keys.get(recorded.address.id), recorded.known
        if key is not None:
            try:
                event = unseal_fields(event, key, recorded.address.id, recorded.id)
            except Exception:  # reported by fsck
                return
        ours = COMMANDS[command.name].owner is not Owner.SUPERVISION
        for name, field in type(command.facts).model_fields.items():
            sent, stands = getattr(command.facts, name, None), getattr(event, name)  # a filled fact may be absent
            # filled by the service from the state of that moment
            if FILLED in field.metadata and (not ours or sent is None or command.name == "unmerge"):
                continue
            # these two depend on the time and the copy that took the command
            moving = name in ("contact_time", "attachments")
            if sent != stands and not moving and not (key is None and name in event.PRIVATE):
                self.world.violated(f"acknowledged with another {name}", command)

    def _explained(self) -> None:
        """The id of each event comes from a command that was sent, or is derived from the event that caused it."""
        events = {event.id: event for many in self.by_subject.values() for event in many}
        expected = set(self.world.submitted.values())
        submissions = {derived_id("submission", PLATFORM, id, "") for id in expected}
        for recorded in events.values():
            id, cause = recorded.meta.command_id, recorded.meta.causation_id
            if id in self.world.asked or id in submissions:
                continue
            if cause is None or cause not in events:
                self.world.violated(f"nobody asked for {recorded.type}", str(recorded.position))
            elif id not in _ids_that_follow(events[cause], recorded):
                self.world.violated(f"{recorded.type} follows from a cause under a strange id", str(recorded.position))

    def _reactions(self) -> None:
        """No reaction is missing that was due in each state since its cause."""
        for events in self.by_subject.values():
            for index, recorded in enumerate(events):
                for reaction in REACTIONS:
                    if type(recorded.event) in reaction.events:
                        self._done(reaction, events, index)

    def _done(self, reaction: Reaction, events: list[Recorded[Any]], index: int) -> None:
        recorded = events[index]
        key = self.keys.get(recorded.address.id)
        if reaction.unseals:
            if key is None:
                return
            event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
            recorded = Recorded(recorded.id, recorded.address, recorded.meta, event, recorded.position)
        for count in range(index + 1, len(events) + 1):
            requests = reaction.decide(recorded, self.world.state(recorded.address, count), library())
            missing = [request for request in requests if not self._stands(reaction, recorded, request)]
            if not missing:
                return
        for request in missing:
            if not self._refusable(request, recorded, events, index):
                self.world.violated(
                    f"{reaction.name} was left undone: {request.name} {request.address.subject}", recorded.id
                )

    def _forwarded(self) -> None:
        """The words of the reporter of a merged case arrive in the case in which it goes on, unless it was erased."""
        events = [recorded for many in self.by_subject.values() for recorded in many]
        arrived = {recorded.meta.causation_id for recorded in events if not _own(recorded.event)}
        for recorded in events:
            to, note = getattr(recorded.event, "forwarded_to", None), getattr(recorded.event, "note", None)
            if to is None or note is None or recorded.id in arrived:
                continue
            ids = [recorded.address.id, to]
            while into := self.world.state(Address.of("case", ids[-1])).merged_into:
                ids.append(into)
            if all(self.keys.get(id) for id in ids):
                self.world.violated("the words of a merged reporter did not arrive", recorded.id)

    def _stands(self, reaction: Reaction, cause: Recorded[Any], request: CommandRequest) -> bool:
        id = _follows(reaction, cause, request)
        return any(event.meta.command_id == id for event in self.by_subject.get(request.address.subject, ()))

    def _refusable(
        self, request: CommandRequest, cause: Recorded[Any], events: list[Recorded[Any]], index: int
    ) -> bool:
        """Whether the law refused the request in any state since its cause.

        A recomputation depends on the calendar that was in force then; the clocks at rest are judged by that of now.
        """
        if request.name == "recompute-deadline":
            return True
        target = self.by_subject.get(request.address.subject, [])
        first = index + 1 if target is events else 0
        meta = cause.meta.model_copy(update={"command_id": "asked once more"})
        command = Command(request.address, meta, request.name, request.facts)
        states = (self.world.state(request.address, count) for count in range(first, len(target) + 1))
        return any(isinstance(LAWS[request.address.kind].decide(command, state), Rejected) for state in states)

    def _clear(self) -> None:
        """No private content is in the clear on the log, in objects, tables or streams."""
        sources: dict[str, Iterable[bytes]] = {
            "the log": (encode_event(event) for many in self.by_subject.values() for event in many),
            "the objects": self.world.streams.objects.values(),
            "the tables": (repr(tables.rows).encode() for tables in self.world.tables.values()),
            "the streams": texts(self.world.streams),
        }
        for source, contents in sources.items():
            for content in contents:
                if any(mark in content for mark in MARKS):
                    self.world.violated(f"content stands in the clear on {source}")
                    return

    def _platforms(self) -> None:
        """Each submission has its receipt, and each step of a platform's case was published once, in order."""
        receipts = {
            message.subject: from_json(message.data)
            for message in self.world.streams.stored["RECEIPTS"].messages.values()
        }
        answered = {receipt["sequence"] for receipt in receipts.values()}
        for sequence, id in self.world.submitted.items():
            own = receipts.get(topology.receipt(PLATFORM, id))
            if sequence not in answered and own is None:
                self.world.violated(f"submission {sequence} ({id}) ended in silence")
            if sequence in self.world.streams.stored["SUBMISSIONS"].messages:
                self.world.violated(f"submission {sequence} ({id}) still stands with its content")
        progress: dict[str, list[int]] = {}
        for message in self.world.streams.stored["PROGRESS"].messages.values():
            progress.setdefault(message.subject, []).append(from_json(message.data)["data"]["version"])
        for subject, events in self.by_subject.items():
            if isinstance(events[0].event, e.Registered) and events[0].event.source == PLATFORM:
                versions = [at for at, entry in enumerate(events, 1) if step_of(entry.event) and _own(entry.event)]
                born = events[0].position
                assert born is not None
                where = topology.progress(PLATFORM, case_number(Position(born.stream, born.sequence)))
                if progress.get(where) != versions:
                    self.world.violated(f"progress {progress.get(where)}, steps {versions}", subject)

    def _transitions(self) -> None:
        for events in self.by_subject.values():
            for count, event in enumerate(events):
                state = self.world.state(event.address, count)
                kind = variant(event.known, state) if event.address.kind == "case" else Variant.PLAIN
                self.transitions.add((str(state.status), event_key(type(event.known), kind)))

    def outcome(self) -> Outcome:
        """The outcome of the world."""
        from tests.sim.world import Outcome

        world = self.world
        digest = blake2b(digest_size=16)
        for recorded in world.log.all():
            digest.update(encode_event(recorded))
        answers = Counter(answer for many in world.asked.values() for asked in many for answer in asked.answers)
        return Outcome(
            world.seed,
            world.violations,
            events=sum(map(len, self.by_subject.values())),
            cases=len(world.born("case")),
            steps=world.steps,
            transitions=self.transitions,
            faults=dict(world.faults.reached),
            failpoints={name: count for name, count in world.faults.failpoints.items() if name in CATALOGUE},
            answers=dict(answers),
            digest=digest.hexdigest(),
        )


def _follows(reaction: Reaction, cause: Recorded[Any], request: CommandRequest) -> str:
    return derived_id(reaction.name, cause.id, request.address.subject, request.name + request.what)


def _ids_that_follow(cause: Recorded[Any], recorded: Recorded[Any]) -> set[str]:
    """Each command id that a reaction to `cause` may have given to `recorded`."""
    command = fsck._COMMAND_OF[recorded.type]
    clock = getattr(recorded.event, "deadline", None) or recorded.event
    stage, unit = (getattr(clock, name, None) for name in ("stage", "unit"))
    what = ["", "corrected", f"{stage} {unit or ''}", *getattr(cause.event, "cases", ())]
    subject = recorded.address.subject
    return {ids_of_the_ticker(recorded)} | {
        derived_id(reaction.name, cause.id, subject, command + w) for reaction in REACTIONS for w in what
    }


def _change(address: Address, state: Any, position: Position, events: Sequence[Recorded[Any]]) -> AggregateChange:
    return AggregateChange(address, state, position, events, state_json(address.kind, state))


def _own(event: Any) -> bool:
    """Whether an event is not the words of the reporter of a merged case, which are no step of another's case."""
    return getattr(event, "from_case", None) is None
