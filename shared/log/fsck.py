"""The one judge of the product: reads the log from its first event and says of everything that is not as it must be.

Every event must be what the law accepts at its place, under the id that follows from its command, by its owner,
sealed, with its key in the vault or its case's erasure on the log. Once reactions have caught up (`settled`), what had
to follow must have followed. Memory is bounded: few folded states are kept, the others are read again when needed.

What the kit and the services know comes in as callables (see `Questions`): this file imports the law and the port only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

from shared.case import events as e
from shared.case.base import SEAL_PREFIX, Address, Position, Recorded, Unknown, event_id
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, decide
from shared.case.lifecycle import IN_PROGRESS, Status
from shared.case.orders import NEW_ORDER, decide_order, evolve_order
from shared.case.reasons import Reason
from shared.case.state import NEW, evolve
from shared.log.port import Damaged, Log, Malformed, NoArea

STATES_COUNT_MAX = 20_000
FINDINGS_COUNT_MAX = 1_000
SEEN_BYTES = 16 * 1024 * 1024
ERASED_COUNT_MAX = 100_000

# What is wrong, and what to do about it.
FSCK_RULES: dict[str, str] = {
    "unreadable": "The message is no event of ours. Restore the stream from its backup; nobody but us may write there.",
    "damaged": "The stream has lost events. Restore it from its backup or from another replica.",
    "misplaced": "The event lies in another stream or under another region than its id says. Find out who wrote it.",
    "wrong_event_id": "The id does not follow from command and subject. Find out who wrote it; it may stand twice.",
    "applied_twice": "The same command stands twice on one aggregate: the guard did not hold. Report it to the makers.",
    "wrong_owner": "A service wrote what another owns. Check which version runs, and the users of the log.",
    "refused_by_law": "The law does not accept this event where it stands. Report it to the makers with its place.",
    "after_closing": "Something handles a closed case. Report it to the makers with its place.",
    "not_sealed": "Content stands in the clear. Report it at once; the stream must be rewritten from a backup.",
    "key_missing": "The vault has no key for this content. Restore the vault from the backup of the same moment.",
    "key_destroyed": "The key is gone, but no erasure stands on the log. Restore the vault, or erase the case.",
    "seal_broken": "The content does not open with its key. Restore the vault, or the log, from the same moment.",
    "key_not_destroyed": "The case is erased, its key still stands. See that supervision runs; it destroys the key.",
    "claim_missing": "No claim leads to this case: a redelivery would register it again. Restore the claims.",
    "order_unheard": "The order names a case that neither heard of it nor refused it. See that supervision runs.",
    "not_merged": "It was attached as a case of its own, which goes on by itself. See that routing runs.",
    "not_followed": "What had to be born of this event is not there. See that the service runs that owns it.",
    "read_model": "The read model differs from a fresh replay. Run `caseflow rebuild` for its service.",
}


@dataclass(frozen=True, slots=True)
class FsckFinding:
    """One thing that is not as it must be: where, about which aggregate, which rule, what was seen."""

    rule: str
    place: str
    aggregate: str = ""
    what: str = ""

    @property
    def advice(self) -> str:
        return FSCK_RULES.get(self.rule, "")

    def __str__(self) -> str:
        about = f" {self.aggregate}" if self.aggregate else ""
        return f"{self.place}{about}: {self.rule}{f' ({self.what})' if self.what else ''}. {self.advice}"


@dataclass
class FsckReport:
    """What was read and what was found; at most FINDINGS_COUNT_MAX findings are kept, all are counted."""

    events: int = 0
    aggregates: int = 0
    newer: int = 0  # events of a type or version newer than this program: not judged
    sealed: int = 0  # private fields seen
    findings: list[FsckFinding] = field(default_factory=list)
    found: int = 0

    @property
    def clean(self) -> bool:
        return self.found == 0

    def add(self, finding: FsckFinding) -> None:
        self.found += 1
        if len(self.findings) < FINDINGS_COUNT_MAX:
            self.findings.append(finding)


KeyLookup = Callable[[Collection[str]], Awaitable[Mapping[str, bytes | None]]]
Unseal = Callable[[Any, bytes, str, str], Any]
ReadModelComparison = Callable[[], AsyncIterator[FsckFinding]]


@dataclass(frozen=True)
class FsckLookups:
    """What only others can answer; a question nobody answers is not asked.

    `keys`: of these aggregates, None where destroyed, absent where there never was one (`Vault.keys`). `unseal` opens
    (event, key, case id, event id), or raises (`kit.seal.unseal_fields`). `claimed`: which of these subjects a claim
    leads to. `born_of`: the aggregates that must be born because of an event. `read_models`: name -> compared with a
    fresh replay.
    """

    keys: KeyLookup | None = None
    unseal: Unseal | None = None
    claimed: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None
    born_of: Callable[[Recorded[Any]], Iterable[Address]] | None = None
    read_models: Mapping[str, ReadModelComparison] = field(default_factory=dict)


StreamProgress = Callable[[str, int, int], None]


async def check_log(
    log: Log, questions: FsckLookups | None = None, *, settled: bool = False, progress: StreamProgress | None = None
) -> FsckReport:
    """Judge all streams up to their present ends. `settled`: nobody writes and every reaction has caught up.

    `progress` is told (stream, sequence, end) after each batch. Raises LogUnavailable.
    """
    judge = _Judge(log, questions or FsckLookups(), settled)
    for stream in log.streams():
        end = await log.end(stream)
        async for batch in _batches(log, stream, end, judge.report):
            await judge.batch(stream, batch)
            if progress:
                progress(stream, _at(batch[-1]).sequence, end)
    for name, compare in judge.ask.read_models.items():
        async for finding in compare():
            judge.report.add(
                finding if finding.place else FsckFinding("read_model", name, finding.aggregate, finding.what)
            )
    return judge.report


async def _batches(log: Log, stream: str, end: int, report: FsckReport) -> AsyncIterator[list[Recorded[Any]]]:
    """Everything up to `end`; a message that cannot be read is reported and passed over."""
    after = 0
    while after < end:
        try:
            async with aclosing(cast(Any, log.follow(stream, after))) as batches:
                async for batch in batches:
                    after = _at(batch[-1]).sequence
                    yield [one for one in batch if _at(one).sequence <= end]
                    if after >= end:
                        return
        except Damaged as error:
            report.add(FsckFinding("damaged", f"{stream}:{after + 1}", what=str(error)))
            return
        except Malformed:
            while after < end:  # the readable ones before it, one by one, then past it
                place = Position(stream, after + 1)
                after += 1
                try:
                    one = await log.at(place)
                except Malformed as error:
                    report.add(FsckFinding("unreadable", str(place), what=str(error)))
                    break
                if one is not None:
                    yield [one]


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
_CLOSED = (Reason.CASE_CLOSED, Reason.ERASED)


class _Seen:
    """Which aggregates were born already, in a fixed number of bytes: never wrong when it says no."""

    def __init__(self, count_bytes: int = SEEN_BYTES) -> None:
        self._bits = bytearray(count_bytes)

    def add(self, subject: str) -> bool:
        """Whether it may have been there before."""
        digest, there = blake2b(subject.encode(), digest_size=24).digest(), True
        for start in (0, 8, 16):
            place = int.from_bytes(digest[start : start + 8], "big") % (len(self._bits) * 8)
            there = there and bool(self._bits[place >> 3] >> (place & 7) & 1)
            self._bits[place >> 3] |= 1 << (place & 7)
        return there


class _Judge:
    def __init__(self, log: Log, ask: FsckLookups, settled: bool) -> None:
        self.log, self.ask, self.settled = log, ask, settled
        self.report = FsckReport()
        self._states: OrderedDict[str, Any] = OrderedDict()
        self._seen = _Seen()
        self._erased: OrderedDict[str, bool] = OrderedDict()
        self._told: set[tuple[str, str]] = set()

    def find(self, rule: str, recorded: Recorded[Any], what: str = "") -> None:
        self.report.add(FsckFinding(rule, str(recorded.position), recorded.address.id, what))

    def find_once(self, rule: str, recorded: Recorded[Any], what: str = "") -> None:
        """A finding about the aggregate as a whole, told at its first event only."""
        key = (rule, recorded.address.id)
        if key not in self._told and len(self._told) < FINDINGS_COUNT_MAX:
            self._told.add(key)
            self.find(rule, recorded, what)

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
        """The event lies where its aggregate lives, under the id that follows from its command, by its owner."""
        address, meta, event = recorded.address, recorded.meta, recorded.event
        try:
            at_home = self.log.stream_of(address) == stream and Address.of(address.kind, address.id) == address
        except (ValueError, NoArea):
            at_home = False
        if not at_home:
            self.find("misplaced", recorded, address.subject)
        if recorded.id != event_id(meta.command_id, address.subject):
            self.find("wrong_event_id", recorded, recorded.id)
        who = meta.actor.person
        if not isinstance(event, Unknown) and who.startswith("service-") and who != f"service-{event.OWNER}":
            self.find("wrong_owner", recorded, f"{event.TYPE} by {who}")

    async def _folds(self, recorded: Recorded[Any]) -> None:
        """The law accepts the event where it stands."""
        address, event = recorded.address, recorded.event
        law = _LAWS.get(address.kind)
        if law is None:
            return
        state = await self._before(law, recorded)
        name = None if isinstance(event, Unknown) else _COMMAND_OF.get(event.TYPE)
        if name is None:
            self.report.newer += 1
        elif not state.newer_event:  # what a newer program decided, a newer program judges
            verdict = law.decide(Command(address, recorded.meta, name, cast(Any, event)), state)
            if not isinstance(verdict, Accepted):
                rule = "after_closing" if verdict.reason in _CLOSED else "refused_by_law"
                self.find(rule, recorded, f"{recorded.type} {verdict.reason.code} {verdict.detail}".strip())
            elif verdict.recorded is None:
                self.find("applied_twice", recorded, f"{recorded.type} {recorded.meta.command_id}")
        self._remember(address.subject, law.evolve(state, recorded))

    async def _before(self, law: _Law, recorded: Recorded[Any]) -> Any:
        """The aggregate before this event: kept, or folded again from the log."""
        subject = recorded.address.subject
        state = self._states.get(subject)
        if state is not None:
            return state
        if not self._seen.add(subject):
            self.report.aggregates += 1
            return law.new
        state = law.new
        for earlier in await self._load(recorded.address):
            if _at(earlier).sequence < _at(recorded).sequence:
                state = law.evolve(state, earlier)
        if state is law.new:  # it only seemed to have been seen
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
        except Malformed:  # reported where it lies
            return []

    async def _content(self, batch: Sequence[Recorded[Any]]) -> None:
        """What is private is sealed, and each seal has its key or its case's erasure."""
        sealed = [recorded for recorded in batch if self._is_sealed(recorded)]
        if self.ask.keys is None or not sealed:
            return
        keys = await self.ask.keys({recorded.address.id for recorded in sealed})
        for recorded in sealed:
            id = recorded.address.id
            if id not in keys:
                self.find_once("key_missing", recorded)
            elif (key := keys[id]) is None:
                if not await self._is_erased(recorded.address):
                    self.find_once("key_destroyed", recorded)
            elif self.ask.unseal is not None:
                try:
                    self.ask.unseal(recorded.known, key, id, recorded.id)
                except Exception as error:  # any refusal to open is the finding; its text may quote nothing
                    self.find("seal_broken", recorded, type(error).__name__)

    def _is_sealed(self, recorded: Recorded[Any]) -> bool:
        """Whether the event holds sealed content; what stands in the clear is a finding."""
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
        known = self._erased.get(address.id)
        if known is None:
            known = any(isinstance(one.event, e.Erased) for one in await self._load(address))
            self._erased[address.id] = known
            if len(self._erased) > ERASED_COUNT_MAX:
                self._erased.popitem(last=False)
        return known

    async def _claims(self, batch: Sequence[Recorded[Any]]) -> None:
        born = [recorded for recorded in batch if isinstance(recorded.event, e.Registered)]
        if self.ask.claimed is None or not born:
            return
        claimed = set(await self.ask.claimed([recorded.address.subject for recorded in born]))
        for recorded in born:
            if recorded.address.subject not in claimed:
                self.find("claim_missing", recorded)

    async def _followed(self, recorded: Recorded[Any]) -> None:
        """What had to follow from an event has followed: asked once every reaction has caught up."""
        event, id = recorded.event, recorded.address.id
        if isinstance(event, e.OrderIssued):
            refused_by = (await self._now(recorded.address)).refused_by
            for subject in event.cases:
                if subject not in refused_by and id not in await self._orders(subject):
                    self.find("order_unheard", recorded, subject)
        elif isinstance(event, e.Attached) and event.merged_from is not None:
            await self._merged(recorded, event.merged_from)
        elif isinstance(event, e.Erased) and self.ask.keys and (await self.ask.keys([id])).get(id):
            self.find("key_not_destroyed", recorded)
        for address in self.ask.born_of(recorded) if self.ask.born_of else ():
            if (await self._now(address)).version == 0:
                self.find("not_followed", recorded, address.subject)

    async def _merged(self, recorded: Recorded[Any], other: str) -> None:
        """The other case went on in this one, or there was a time when the law refused that it does."""
        try:
            address = Address.of("case", other)
        except ValueError:
            return  # no case of ours: the merge was refused
        state, refusable = NEW, False
        for one in await self._load(address):
            state = evolve(state, one)
            refusable = refusable or state.status not in IN_PROGRESS
        if state.status is not Status.NEW and not refusable and other != recorded.address.id:
            self.find("not_merged", recorded, other)

    async def _orders(self, subject: str) -> tuple[str, ...]:
        """The orders that a case has heard of; none when the subject leads to no case."""
        try:
            orders: tuple[str, ...] = (await self._now(Address.parse(subject))).orders
        except (ValueError, NoArea):
            return ()
        return orders

    async def _now(self, address: Address) -> Any:
        """The aggregate as it now stands."""
        law = _LAWS[address.kind]
        state = law.new
        for one in await self._load(address):
            state = law.evolve(state, one)
        return state


def _at(recorded: Recorded[Any]) -> Position:
    assert recorded.position is not None, "what is read has its position"
    return recorded.position
