"""The check of the whole log: it reads all events from the first one and reports each breach of a rule.

The law must accept each event at its position. The event must have the id that follows from its command, come from its
owner, and be sealed, with its key in the vault or an erasure of its case on the log. With `settled`, when reactions
have caught up, their results are checked too. Memory is bounded: some folded states are kept, others are folded again
from the log.

This module imports the law and the port only. Look-ups in the vault and in databases come in as callables
(`FsckLookups`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, cast

from shared.case import events as e
from shared.case.base import SEAL_PREFIX, Address, Position, Recorded, Unknown, event_id
from shared.case.clocks import STORED
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, decide, of_older_law
from shared.case.lifecycle import IN_PROGRESS, Status
from shared.case.orders import NEW_ORDER, decide_order, evolve_order
from shared.case.reasons import Reason
from shared.case.state import NEW, evolve, standing
from shared.log.port import Damaged, Log, Malformed, NoArea

STATES_COUNT_MAX = 20_000
FINDINGS_COUNT_MAX = 1_000
SEEN_BYTES = 16 * 1024 * 1024
ERASED_COUNT_MAX = 100_000

# Each rule, with the meaning of a breach and the remedy.
FSCK_RULES: dict[str, str] = {
    "unreadable": "The message is no event of ours. Restore the stream from its backup; nobody but us may write there.",
    "damaged": "The stream has lost events. Restore it from its backup or from another replica.",
    "misplaced": "The event lies in another stream or under another region than its id says. Find out who wrote it.",
    "wrong_event_id": "The id does not follow from command and subject. Find out who wrote it; it may stand twice.",
    "applied_twice": "The same command stands twice on one aggregate: the guard did not hold. Report it to the makers.",
    "wrong_owner": "A service wrote an event that another owns. Check which version runs, and the users of the log.",
    "refused_by_law": "The law does not accept this event where it stands. Report it to the makers with its place.",
    "after_closing": "Something handles a closed case. Report it to the makers with its place.",
    "wrong_undoing": "A merge was undone to another place than the case had. Report it to the makers with its place.",
    "not_sealed": "Content stands in the clear. Report it at once; the stream must be rewritten from a backup.",
    "key_missing": "The vault has no key for this content. Restore the vault from the backup of the same moment.",
    "key_destroyed": "The key is gone, but no erasure stands on the log. Restore the vault, or erase the case.",
    "seal_broken": "The content does not open with its key. Restore the vault, or the log, from the same moment.",
    "key_not_destroyed": "The case is erased, its key still stands. See that supervision runs; it destroys the key.",
    "claim_missing": "No claim leads to this case: a redelivery would register it again. Restore the claims.",
    "order_unheard": "The order names a case that neither heard of it nor refused it. See that supervision runs.",
    "not_merged": "It was attached as a case of its own, which goes on by itself. See that routing runs.",
    "not_followed": "The aggregate that this event must create does not exist. See that the service that owns it runs.",
    "read_model": "The read model differs from a fresh replay. Run `caseflow rebuild` for its service.",
}


@dataclass(frozen=True, slots=True)
class FsckFinding:
    """A breach of a rule: its position, the aggregate, and details in words."""

    rule: str
    position: str
    aggregate: str = ""
    details: str = ""

    @property
    def advice(self) -> str:
        return FSCK_RULES.get(self.rule, "")

    def __str__(self) -> str:
        aggregate = f" {self.aggregate}" if self.aggregate else ""
        details = f" ({self.details})" if self.details else ""
        return f"{self.position}{aggregate}: {self.rule}{details}. {self.advice}"


@dataclass
class FsckReport:
    """The result of a check. All findings are counted, and the first FINDINGS_COUNT_MAX are kept."""

    events: int = 0
    aggregates: int = 0
    newer: int = 0  # events of a type or version newer than this program, which are not checked
    sealed: int = 0  # private fields
    findings: list[FsckFinding] = field(default_factory=list)
    finding_count: int = 0

    @property
    def clean(self) -> bool:
        return self.finding_count == 0

    def add(self, finding: FsckFinding) -> None:
        self.finding_count += 1
        if len(self.findings) < FINDINGS_COUNT_MAX:
            self.findings.append(finding)


KeyLookup = Callable[[Collection[str]], Awaitable[Mapping[str, bytes | None]]]
Unseal = Callable[[Any, bytes, str, str], Any]
ReadModelComparison = Callable[[], AsyncIterator[FsckFinding]]


@dataclass(frozen=True)
class FsckLookups:
    """Look-ups outside of the log. A check without its look-up is left out.

    `keys` gives the keys of these aggregates: None for a destroyed key, no entry where there never was one
    (`Vault.keys`). `unseal` opens (event, key, case id, event id) or raises (`kit.seal.unseal_fields`). `claimed` gives
    those of these subjects that a claim leads to. `created_by` gives the aggregates that an event must create.
    `read_models` has the comparison of each read model with a fresh replay, by name.
    """

    keys: KeyLookup | None = None
    unseal: Unseal | None = None
    claimed: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None
    created_by: Callable[[Recorded[Any]], Iterable[Address]] | None = None
    read_models: Mapping[str, ReadModelComparison] = field(default_factory=dict)


StreamProgress = Callable[[str, int, int], None]


async def check_log(
    log: Log, lookups: FsckLookups | None = None, *, settled: bool = False, progress: StreamProgress | None = None
) -> FsckReport:
    """Check all streams up to their present ends. `settled`: nobody writes and every reaction has caught up.

    `progress` is called with (stream, sequence, end) after each batch. Raises LogUnavailable.
    """
    check = _Check(log, lookups or FsckLookups(), settled)
    for stream in log.streams():
        end = await log.end(stream)
        async for batch in _batches(log, stream, end, check.report):
            await check.batch(stream, batch)
            if progress:
                progress(stream, _position(batch[-1]).sequence, end)
    for name, compare in check.lookups.read_models.items():
        async for finding in compare():
            check.report.add(finding if finding.position else replace(finding, position=name))
    return check.report


async def _batches(log: Log, stream: str, end: int, report: FsckReport) -> AsyncIterator[list[Recorded[Any]]]:
    """The events up to `end`; an unreadable message is reported and left out."""
    after = 0
    while after < end:
        try:
            async with aclosing(cast(Any, log.follow(stream, after))) as batches:
                async for batch in batches:
                    after = _position(batch[-1]).sequence
                    yield [recorded for recorded in batch if _position(recorded).sequence <= end]
                    if after >= end:
                        return
        except Damaged as error:
            report.add(FsckFinding("damaged", f"{stream}:{after + 1}", details=str(error)))
            return
        except Malformed:
            while after < end:  # event by event up to the unreadable one, which is passed over
                position = Position(stream, after + 1)
                after += 1
                try:
                    event = await log.at(position)
                except Malformed as error:
                    report.add(FsckFinding("unreadable", str(position), details=str(error)))
                    break
                if event is not None:
                    yield [event]


@dataclass(frozen=True, slots=True)
class _Law:
    """The law of one kind of aggregate."""

    new: Any
    decide: Callable[[Command, Any], Any]
    evolve: Callable[[Any, Recorded[Any]], Any]


_LAWS = {
    "case": _Law(NEW, decide, evolve),
    "order": _Law(NEW_ORDER, decide_order, evolve_order),
}
_COMMAND_OF = {spec.event.TYPE: name for name, spec in COMMANDS.items()}
_CLOSED = (Reason.CASE_CLOSED, Reason.CASE_MERGED, Reason.CASE_SPLIT, Reason.ERASED)


# A request, and the event for which it is needed since requests exist.
_APPROVED_BY: dict[type[Any], type[Any]] = {e.ErasureRequested: e.Erased, e.ReleaseRequested: e.Released}


def _place(event: e.Unmerged) -> tuple[Any, ...]:
    """The status, the start of the stage and the deadlines to which the undoing of a merge leads."""
    running = [(clock.deadline, clock.ended_at, clock.suspended) for clock in STORED.validate_json(event.clocks)]
    return event.status, event.since, running


class _Seen:
    """A Bloom filter of the aggregates that were read; a negative answer is always right."""

    def __init__(self, count_bytes: int = SEEN_BYTES) -> None:
        self._bits = bytearray(count_bytes)

    def add(self, subject: str) -> bool:
        """Add an aggregate; whether it may have been there before."""
        digest, present = blake2b(subject.encode(), digest_size=24).digest(), True
        for start in (0, 8, 16):
            bit = int.from_bytes(digest[start : start + 8], "big") % (len(self._bits) * 8)
            present = present and bool(self._bits[bit >> 3] >> (bit & 7) & 1)
            self._bits[bit >> 3] |= 1 << (bit & 7)
        return present


class _Check:
    def __init__(self, log: Log, lookups: FsckLookups, settled: bool) -> None:
        self.log, self.lookups, self.settled = log, lookups, settled
        self.report = FsckReport()
        self._states: OrderedDict[str, Any] = OrderedDict()
        self._seen = _Seen()
        self._erased: OrderedDict[str, bool] = OrderedDict()
        self._reported: set[tuple[str, str]] = set()
        self._requested: set[tuple[str, type[Any]]] = set()  # streams with a request, by what it leads to

    def find(self, rule: str, recorded: Recorded[Any], details: str = "") -> None:
        self.report.add(FsckFinding(rule, str(recorded.position), recorded.address.id, details))

    def find_once(self, rule: str, recorded: Recorded[Any], details: str = "") -> None:
        """Report a finding about the aggregate as a whole, at its first event only."""
        key = (rule, recorded.address.id)
        if key not in self._reported and len(self._reported) < FINDINGS_COUNT_MAX:
            self._reported.add(key)
            self.find(rule, recorded, details)

    async def batch(self, stream: str, batch: Sequence[Recorded[Any]]) -> None:
        for recorded in batch:
            self.report.events += 1
            self._names(stream, recorded)
            await self._folds(recorded)
        await self._content(batch)
        await self._claims(batch)
        if self.settled:
            for recorded in batch:
                await self._followed(recorded)

    def _names(self, stream: str, recorded: Recorded[Any]) -> None:
        """Check stream, id and owner: the stream of the aggregate, the id from the command, the owner of the event."""
        address, meta, event = recorded.address, recorded.meta, recorded.event
        try:
            at_home = self.log.stream_of(address) == stream and Address.of(address.kind, address.id) == address
        except (ValueError, NoArea):
            at_home = False
        if not at_home:
            self.find("misplaced", recorded, address.subject)
        if recorded.id != event_id(meta.command_id, address.subject):
            self.find("wrong_event_id", recorded, recorded.id)
        person = meta.actor.person
        if not isinstance(event, Unknown) and person.startswith("service-") and person != f"service-{event.OWNER}":
            self.find("wrong_owner", recorded, f"{event.TYPE} by {person}")

    async def _folds(self, recorded: Recorded[Any]) -> None:
        """Check that the law accepts the event at its position."""
        address, event = recorded.address, recorded.event
        law = _LAWS.get(address.kind)
        if law is None:
            return
        state = await self._before(law, recorded)
        name = None if isinstance(event, Unknown) else _COMMAND_OF.get(event.TYPE)
        if name is None:
            self.report.newer += 1
        elif not state.newer_event:  # only a newer program can check the events after that of a newer program
            verdict = law.decide(Command(address, recorded.meta, name, cast(Any, event)), state)
            if not isinstance(verdict, Accepted):
                older = (_position(recorded).stream, type(event)) not in self._requested
                if not (older and of_older_law(cast(Any, event), verdict.reason)):
                    rule = "after_closing" if verdict.reason in _CLOSED else "refused_by_law"
                    self.find(rule, recorded, f"{recorded.type} {verdict.reason.code} {verdict.detail}".strip())
            elif verdict.recorded is None:
                self.find("applied_twice", recorded, f"{recorded.type} {recorded.meta.command_id}")
            elif isinstance(event, e.Unmerged):
                await self._undone(recorded, event)
            elif (approved := _APPROVED_BY.get(type(event))) is not None:
                self._requested.add((_position(recorded).stream, approved))
        self._remember(address.subject, law.evolve(state, recorded))

    async def _undone(self, recorded: Recorded[Any], event: e.Unmerged) -> None:
        """Check that the undoing of a merge names status, stage and deadlines of the case as they were before it.

        The marks of a clock are left out: they follow from the deadlines, and older programs reckoned them otherwise.
        """
        sequence = _position(recorded).sequence
        earlier = [other for other in await self._load(recorded.address) if _position(other).sequence < sequence]
        stood = e.Unmerged.model_validate(standing(earlier) | {"note": event.note})
        if _place(event) != _place(stood):
            self.find("wrong_undoing", recorded, f"{recorded.type}, in place of status {stood.status}")

    async def _before(self, law: _Law, recorded: Recorded[Any]) -> Any:
        """The state before this event: from memory, or folded again from the log."""
        subject = recorded.address.subject
        state = self._states.get(subject)
        if state is not None:
            return state
        if not self._seen.add(subject):
            self.report.aggregates += 1
            return law.new
        state = law.new
        for earlier in await self._load(recorded.address):
            if _position(earlier).sequence < _position(recorded).sequence:
                state = law.evolve(state, earlier)
        if state is law.new:  # the filter was wrong: this is the first event
            self.report.aggregates += 1
        return state

    def _remember(self, subject: str, state: Any) -> None:
        self._states[subject] = state
        self._states.move_to_end(subject)
        if len(self._states) > STATES_COUNT_MAX:
            self._states.popitem(last=False)

    async def _load(self, address: Address) -> list[Recorded[Any]]:
        try:
            return await self.log.load(address)
        except Malformed:  # it is reported at its own position
            return []

    async def _content(self, batch: Sequence[Recorded[Any]]) -> None:
        """Check that private content is sealed, and that each seal has its key, or its case an erasure."""
        sealed = [recorded for recorded in batch if self._is_sealed(recorded)]
        if self.lookups.keys is None or not sealed:
            return
        keys = await self.lookups.keys({recorded.address.id for recorded in sealed})
        for recorded in sealed:
            id = recorded.address.id
            if id not in keys:
                self.find_once("key_missing", recorded)
            elif (key := keys[id]) is None:
                if not await self._is_erased(recorded.address):
                    self.find_once("key_destroyed", recorded)
            elif self.lookups.unseal is not None:
                try:
                    self.lookups.unseal(recorded.known, key, id, recorded.id)
                except Exception as error:  # every error means a broken seal; its text might quote content
                    self.find("seal_broken", recorded, type(error).__name__)

    def _is_sealed(self, recorded: Recorded[Any]) -> bool:
        """Whether the event holds sealed content. Content in the clear is a finding."""
        event, sealed = recorded.event, False
        for name in () if isinstance(event, Unknown) else event.PRIVATE:
            value = getattr(event, name)
            if value is None:
                continue
            self.report.sealed += 1
            sealed = True
            if not (isinstance(value, str) and value.startswith(SEAL_PREFIX)):
                self.find("not_sealed", recorded, f"{recorded.type}.{name}")
        return sealed

    async def _is_erased(self, address: Address) -> bool:
        erased = self._erased.get(address.id)
        if erased is None:
            erased = any(isinstance(recorded.event, e.Erased) for recorded in await self._load(address))
            self._erased[address.id] = erased
            if len(self._erased) > ERASED_COUNT_MAX:
                self._erased.popitem(last=False)
        return erased

    async def _claims(self, batch: Sequence[Recorded[Any]]) -> None:
        registered = [recorded for recorded in batch if isinstance(recorded.event, e.Registered)]
        if self.lookups.claimed is None or not registered:
            return
        claimed = set(await self.lookups.claimed([recorded.address.subject for recorded in registered]))
        for recorded in registered:
            if recorded.address.subject not in claimed:
                self.find("claim_missing", recorded)

    async def _followed(self, recorded: Recorded[Any]) -> None:
        """Check the results of the reactions to an event, once every reaction has caught up."""
        event, id = recorded.event, recorded.address.id
        if isinstance(event, e.OrderIssued):
            refused_by = (await self._now(recorded.address)).refused_by
            for subject in event.cases:
                if subject not in refused_by and id not in await self._orders(subject):
                    self.find("order_unheard", recorded, subject)
        elif isinstance(event, e.Attached) and event.merged_from is not None:
            await self._merged(recorded, event.merged_from)
        elif isinstance(event, e.Erased) and self.lookups.keys and (await self.lookups.keys([id])).get(id):
            self.find("key_not_destroyed", recorded)
        for address in self.lookups.created_by(recorded) if self.lookups.created_by else ():
            if (await self._now(address)).version == 0:
                self.find("not_followed", recorded, address.subject)

    async def _merged(self, recorded: Recorded[Any], other: str) -> None:
        """Check that the attached case was merged, or that the law could refuse the merge at some time."""
        try:
            address = Address.of("case", other)
        except ValueError:
            return  # the id is of no case here, so the merge was refused
        state, refusable = NEW, False
        for earlier in await self._load(address):
            state = evolve(state, earlier)
            refusable = refusable or state.status not in IN_PROGRESS
        if state.status is not Status.NEW and not refusable and other != recorded.address.id:
            self.find("not_merged", recorded, other)

    async def _orders(self, subject: str) -> tuple[str, ...]:
        """The orders that a case has noted; none when the subject is that of no case."""
        try:
            orders: tuple[str, ...] = (await self._now(Address.parse(subject))).orders
        except (ValueError, NoArea):
            return ()
        return orders

    async def _now(self, address: Address) -> Any:
        """The present state of an aggregate."""
        law = _LAWS[address.kind]
        state = law.new
        for recorded in await self._load(address):
            state = law.evolve(state, recorded)
        return state


def _position(recorded: Recorded[Any]) -> Position:
    assert recorded.position is not None, "an event that is read has a position"
    return recorded.position
