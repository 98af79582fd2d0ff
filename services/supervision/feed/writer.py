"""The one writer of FEED: reads every log stream in order and writes down what supervisors hear, each item once.

Its place is FEED itself. Each message says which event it is of (`Caseflow-At: <stream> <sequence> <how many-th item>`)
and which events of every stream were wholly done before that one (`Caseflow-Reached: LOG_5101=123 LOG_5107=45`), and is
appended only behind the message it was reckoned from. So a second writer is refused, and a restarted one reads the last
message and goes on.

One append at a time: with several in flight, each expecting the number that the one before it should get, an item of
another writer takes the first number, and the second of ours still fits behind it: an item would be lost. A few items
go one by one; many go as one batch that the server takes whole or not at all, which is ten times as fast.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime

from services.supervision.feed.items import SOURCE, TYPE_PREFIX, FeedItem, item_id, items
from shared.case.base import Position, Recorded, Unknown, derived_id
from shared.case.catalogue import ANNOUNCED, CREATES
from shared.kit import telemetry
from shared.kit.aggregate_cache import StateChange
from shared.kit.command_handler import DECIDERS
from shared.kit.data import Data
from shared.kit.leader import Lock, renew, run_as_leader
from shared.kit.runtime import Runtime
from shared.kit.submission import CloudEvent
from shared.kit.telemetry import BEHIND
from shared.log import port as log_port
from shared.log.case_numbers import case_number
from shared.log.streams import PUBLISH_COUNT_MAX, Outgoing
from shared.log.topology import FEED, FEED_ITEMS, FEED_MARK

NAME = "feed.writer"
AT, REACHED = "Caseflow-At", "Caseflow-Reached"
FOLDED_COUNT_MAX = 20_000
SLICE_COUNT = 32  # events between two breaths
SINGLES_COUNT_MAX = 50  # more than that and a batch is quicker
WAITING_BATCHES_MAX = 2
MARK_COUNT = 2000  # events without an item
MARK_S = 60.0
ITEMS = telemetry.counter("caseflow_feed_items_total", "Feed items written", "type")

Batch = Sequence[Recorded[Any]]


class FeedMark(CloudEvent):
    """How far the writer has read, where no item says so: a message for the writer alone."""

    id: str
    source: str = SOURCE
    type: str = TYPE_PREFIX + "mark"
    time: AwareDatetime


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """Where FEED ends and what is done: the events of each stream, and the first `done` items of the event `at`."""

    end: int
    reached: Mapping[str, int]
    at: Position | None = None
    done: int = 0


@dataclass(frozen=True, slots=True)
class _Folded:
    """A case or order after its event at `sequence`; its number follows from the sequence of its birth."""

    state: Any
    sequence: int
    born: int


def headers(reached: Mapping[str, int], at: Position | None = None, count: int = 0) -> dict[str, str]:
    """What a message of FEED says of the writer's place; a mark is of no event."""
    place = {REACHED: " ".join(f"{stream}={sequence}" for stream, sequence in sorted(reached.items()))}
    return place if at is None else place | {AT: f"{at.stream} {at.sequence} {count}"}


def read_headers(told: Mapping[str, str], end: int) -> FeedPlace:
    """The place that `headers` wrote, in the message of FEED with the sequence `end`. Raises Damaged."""
    if REACHED not in told:
        raise log_port.Damaged("FEED ends with a message that is not its writer's; take from others the right to write")
    parts = (part.rpartition("=") for part in told[REACHED].split())
    reached = {stream: int(sequence) for stream, _, sequence in parts}
    if AT not in told:
        return FeedPlace(end, reached)
    stream, sequence, count = told[AT].split()
    return FeedPlace(end, reached, Position(stream, int(sequence)), int(count))


class FeedWriter:
    """Writes the feed of a whole installation; as many copies as one likes, one of which is active.

    The progress of the runtime hears how far it is, under the name "feed".
    """

    def __init__(self, *, data: Data, runtime: Runtime) -> None:
        self._log, self._streams, self._database = data.log, data.streams, data.database
        self._runtime, self._clock = runtime, runtime.clock
        self._folded: OrderedDict[str, _Folded] = OrderedDict()
        self._place = FeedPlace(0, {})
        self._reached: dict[str, int] = {}
        self._unmarked = 0
        self._wrote_at = 0.0
        runtime.telemetry.before_reading(self._measure)

    async def _measure(self) -> None:
        for stream in self._log.streams():
            behind = await self._log.end(stream) - self._runtime.progress.at("feed", stream)
            self._runtime.telemetry.set(BEHIND, behind, "feed", stream)

    async def run(self) -> None:
        """Write for ever, as soon as this process is the one writer. Raises log_port.Damaged, log_port.Malformed."""
        await run_as_leader(NAME, lambda: self._database.try_advisory_lock(NAME), self._together, self._clock, _tell)

    async def _together(self, lock: Lock) -> None:
        await self.find_place()
        batches: asyncio.Queue[Batch] = asyncio.Queue(WAITING_BATCHES_MAX)
        async with asyncio.TaskGroup() as group:
            for stream in self._log.streams():
                group.create_task(self._read(stream, self._reached.get(stream, 0), batches), name=f"{NAME}.{stream}")
            group.create_task(renew(lock, self._clock))
            group.create_task(self._write(batches))

    async def _read(self, stream: str, after: int, batches: asyncio.Queue[Batch]) -> None:
        async for batch in self._log.follow(stream, after):
            await batches.put(batch)

    async def _write(self, batches: asyncio.Queue[Batch]) -> None:
        while True:
            try:
                async with asyncio.timeout(MARK_S):
                    batch = await batches.get()
            except TimeoutError:
                await self._mark()
            else:
                await self.apply(batch)
                if self._unmarked >= MARK_COUNT or self._clock.monotonic() - self._wrote_at >= MARK_S:
                    await self._mark()

    async def find_place(self) -> None:
        """Read from FEED where to go on, and write what is left of the event that it ends with.

        That first: once an item of another stream follows, nobody can tell any more how many items of it are out.
        Raises Damaged when FEED was written from another log, Conflict, Unavailable.
        """
        last = await self._streams.last(FEED, FEED_ITEMS)
        place = (
            read_headers(last.headers or {}, last.sequence) if last else FeedPlace(await self._streams.end(FEED), {})
        )
        self._folded.clear()  # what is kept may be ahead of the place
        self._place, self._reached = place, dict(place.reached)
        self._unmarked, self._wrote_at = 0, self._clock.monotonic()
        for stream, sequence in place.reached.items():
            self._runtime.progress.set("feed", Position(stream, sequence))
        if last is not None and place.at is not None:
            await self.apply([await self._begun(place.at, last.data)])

    async def _begun(self, at: Position, data: bytes) -> Recorded[Any]:
        told, there = FeedItem.model_validate_json(data), await self._log.at(at)
        if there is None or told.id != item_id(there, told.data.kind, told.data.region):
            raise log_port.Damaged(
                f"FEED ends with an item of {at}, where the log now holds another event: one of the two was restored "
                "from elsewhere. Restore FEED and log from one backup."
            )
        return there

    async def apply(self, batch: Batch) -> None:
        """Write the items of these events, the next of one stream. After Conflict, Unavailable: find the place anew."""
        waiting: list[Outgoing] = []
        with self._runtime.telemetry.span(NAME, count=len(batch)):
            for start in range(0, len(batch), SLICE_COUNT):
                some = batch[start : start + SLICE_COUNT]
                await self._load(some)
                for recorded in some:
                    waiting += self._items(recorded)
                while len(self._folded) > FOLDED_COUNT_MAX:  # not before: what was loaded for these is needed for them
                    self._folded.popitem(last=False)
                await self._clock.sleep(0)
                await self._runtime.load_gate.breathe(self._clock)
            await self._append(waiting)
        last = batch[-1].position
        assert last is not None, "what is read has its position"
        self._unmarked = 0 if waiting else self._unmarked + len(batch)
        self._runtime.progress.set("feed", last)

    async def _load(self, batch: Batch) -> None:
        """Fold what came before these events of those cases that are not remembered."""
        first: dict[str, Recorded[Any]] = {}
        born: set[str] = set()
        for recorded in batch:
            subject = recorded.address.subject
            if type(recorded.event) in CREATES:
                born.add(subject)
            elif subject in self._folded:
                self._folded.move_to_end(subject)
            elif type(recorded.event) in ANNOUNCED and subject not in born and subject not in first:
                if made := self._recalled(recorded):  # taken now: it may be forgotten while the others are read
                    self._folded[subject] = _Folded(made.before, made.since, made.before.registration_sequence)
                else:
                    first[subject] = recorded
        earlier = await asyncio.gather(*(self._log.load(recorded.address) for recorded in first.values()))
        for recorded, events in zip(first.values(), earlier, strict=True):
            for one in events:
                if _sequence(one) < _sequence(recorded):
                    self._fold(one)

    def _recalled(self, recorded: Recorded[Any]) -> StateChange | None:
        """What it made, of a case: an order does not know where it was born."""
        return self._runtime.aggregates.made(recorded) if recorded.address.kind == "case" else None

    def _fold(self, recorded: Recorded[Any]) -> tuple[_Folded, _Folded] | None:
        """Its case before and after an event; None when nobody needs to know: nothing was heard of it."""
        subject, sequence = recorded.address.subject, _sequence(recorded)
        law, made = DECIDERS[recorded.address.kind], self._recalled(recorded)
        before = self._folded.get(subject)
        if before is None and type(recorded.event) in CREATES:
            before = _Folded(law.new, 0, sequence)
        if before is None or before.sequence >= sequence:
            return None
        after = _Folded(made.after if made else law.evolve(before.state, recorded), sequence, before.born)
        self._folded[subject] = after
        return before, after

    def _items(self, recorded: Recorded[Any]) -> list[Outgoing]:
        at = recorded.position
        assert at is not None, "what is read has its position"
        if isinstance(recorded.event, Unknown):
            telemetry.warn("the feed skipped an event newer than this program", type=recorded.type)
        found: list[Outgoing] = []
        if folded := self._fold(recorded):
            before, after = folded
            told = items(before.state, after.state, recorded, case_number(Position(at.stream, after.born)))
            done = self._place.done if at == self._place.at else 0
            found = [self._outgoing(item, at, n) for n, item in enumerate(told, 1) if n > done]
        self._reached[at.stream] = at.sequence
        return found

    def _outgoing(self, item: FeedItem, at: Position, count: int) -> Outgoing:
        data = item.model_dump_json(exclude_none=True).encode()
        return Outgoing(item.nats_subject, data, headers(self._reached, at, count))

    async def _append(self, waiting: Sequence[Outgoing]) -> None:
        size = 1 if len(waiting) <= SINGLES_COUNT_MAX else PUBLISH_COUNT_MAX
        for start in range(0, len(waiting), size):
            some, end = waiting[start : start + size], self._place.end
            if len(some) == 1:
                ack = await self._streams.publish(*some[0], expected_end=end)
            else:
                ack = await self._streams.publish_all(some, end)
            self._place = FeedPlace(ack.sequence, self._place.reached, self._place.at, self._place.done)
            self._wrote_at = self._clock.monotonic()
            for one in some:
                self._runtime.telemetry.add(ITEMS, TYPE_PREFIX + one.subject.split(".")[1])
            await self._runtime.failpoints.hit("feed.published")

    async def _mark(self) -> None:
        """Say how far it is, unless FEED says so already."""
        if self._reached != dict(self._place.reached) and self._unmarked:
            now = self._clock.now()
            told = headers(self._reached)
            mark = FeedMark(id=derived_id("feed", "mark", told[REACHED], ""), time=now)
            await self._append([Outgoing(FEED_MARK, mark.model_dump_json().encode(), told)])
        self._unmarked, self._wrote_at = 0, self._clock.monotonic()


def _tell(reason: str) -> None:
    telemetry.warn("the feed's writer reads its place again", reason=reason)


def _sequence(recorded: Recorded[Any]) -> int:
    assert recorded.position is not None, "what is read has its position"
    return recorded.position.sequence
