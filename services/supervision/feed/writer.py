"""The one writer of FEED: reads every log stream in order and writes the items of its events, each item once.

FEED itself holds the writer's position. The headers of a message name its event (`Caseflow-At: <stream> <sequence>
<number of the item among the event's items>`) and, for every stream, the last event that was wholly done before it
(`Caseflow-Reached: LOG_5101=123 LOG_5107=45`). A message is appended only behind the message that its writer saw last.
A second writer is therefore refused, and a restarted one reads the last message and goes on from there.

There is one append at a time. With several in flight, each expects the number that the one before it should get. If an
item of another writer takes the first number, the second of ours still fits behind it, and an item is lost. A few items
are appended one by one. Many are appended as one batch, which the server takes whole or not at all; that is ten times
as fast.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime

from services.supervision.feed.items import item_id, items
from shared.case.base import Position, Recorded, Unknown, derived_id
from shared.case.catalogue import ANNOUNCED, CREATES
from shared.kit import telemetry
from shared.kit.aggregate_cache import StateChange
from shared.kit.command_handler import DECIDERS
from shared.kit.data import Data
from shared.kit.feed_item import SOURCE, TYPE_PREFIX, FeedItem
from shared.kit.leader import Lock, renew, run_as_leader
from shared.kit.runtime import Runtime
from shared.kit.submission import CloudEvent
from shared.kit.telemetry import BEHIND
from shared.log import port as log_port
from shared.log.case_numbers import case_number
from shared.log.streams import PUBLISH_COUNT_MAX, Outgoing
from shared.log.topology import FEED, FEED_ITEMS, FEED_MARK

WRITER_NAME = "feed.writer"
AT, REACHED = "Caseflow-At", "Caseflow-Reached"
FEED_STATES_COUNT_MAX = 20_000
EVENTS_PER_SLICE = 32  # the load gate is asked between two slices
SINGLES_COUNT_MAX = 50  # a batch is faster for more items than that
WAITING_BATCHES_MAX = 2
MARK_COUNT = 2000  # a mark is written after so many events without an item
MARK_S = 60.0
ITEMS = telemetry.counter("caseflow_feed_items_total", "Feed items written", "type")

EventBatch = Sequence[Recorded[Any]]


class FeedMark(CloudEvent):
    """How far the writer has read, where no item says it. The message is for the writer alone."""

    id: str
    source: str = SOURCE
    type: str = TYPE_PREFIX + "mark"
    time: AwareDatetime


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """The position of the writer: the end of FEED, and the events that are done.

    `reached` is the last event of each stream that is wholly done. Of the event `at`, the first `done` items are there.
    """

    end: int
    reached: Mapping[str, int]
    at: Position | None = None
    done: int = 0


@dataclass(frozen=True, slots=True)
class _Folded:
    """A case or order after its event at `sequence`. Its number follows from the sequence of its first event."""

    state: Any
    sequence: int
    created_at: int


def headers(reached: Mapping[str, int], at: Position | None = None, count: int = 0) -> dict[str, str]:
    """The headers of a message of FEED: the writer's position. A mark belongs to no event, so `at` is left out."""
    position = {REACHED: " ".join(f"{stream}={sequence}" for stream, sequence in sorted(reached.items()))}
    return position if at is None else position | {AT: f"{at.stream} {at.sequence} {count}"}


def read_headers(message_headers: Mapping[str, str], end: int) -> FeedPosition:
    """The position that `headers` wrote, from the message of FEED with the sequence `end`. Raises Damaged."""
    if REACHED not in message_headers:
        raise log_port.Damaged("FEED ends with a message that is not its writer's; take from others the right to write")
    parts = (part.rpartition("=") for part in message_headers[REACHED].split())
    reached = {stream: int(sequence) for stream, _, sequence in parts}
    if AT not in message_headers:
        return FeedPosition(end, reached)
    stream, sequence, count = message_headers[AT].split()
    return FeedPosition(end, reached, Position(stream, int(sequence)), int(count))


class FeedWriter:
    """Writes the feed of a whole installation. Of several copies the leader is active.

    The runtime's progress holds how far the writer has come, under the name "feed".
    """

    def __init__(self, *, data: Data, runtime: Runtime) -> None:
        self._log, self._streams, self._database = data.log, data.streams, data.database
        self._runtime, self._clock = runtime, runtime.clock
        self._folded: OrderedDict[str, _Folded] = OrderedDict()
        self._position = FeedPosition(0, {})
        self._reached: dict[str, int] = {}
        self._unmarked = 0
        self._wrote_at = 0.0
        runtime.telemetry.before_reading(self._measure)

    async def _measure(self) -> None:
        for stream in self._log.streams():
            behind = await self._log.end(stream) - self._runtime.progress.at("feed", stream)
            self._runtime.telemetry.set(BEHIND, behind, "feed", stream)

    async def run(self) -> None:
        """Write for ever, while this process is the leader. Raises log_port.Damaged, log_port.Malformed."""
        await run_as_leader(
            WRITER_NAME, lambda: self._database.try_advisory_lock(WRITER_NAME), self._run_tasks, self._clock, _warn
        )

    async def _run_tasks(self, lock: Lock) -> None:
        await self.find_position()
        batches: asyncio.Queue[EventBatch] = asyncio.Queue(WAITING_BATCHES_MAX)
        async with asyncio.TaskGroup() as group:
            for stream in self._log.streams():
                group.create_task(
                    self._read(stream, self._reached.get(stream, 0), batches), name=f"{WRITER_NAME}.{stream}"
                )
            group.create_task(renew(lock, self._clock))
            group.create_task(self._write(batches))

    async def _read(self, stream: str, after: int, batches: asyncio.Queue[EventBatch]) -> None:
        async for batch in self._log.follow(stream, after):
            await batches.put(batch)

    async def _write(self, batches: asyncio.Queue[EventBatch]) -> None:
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

    async def find_position(self) -> None:
        """Read the position from the last message of FEED, and write the missing items of the event it belongs to.

        These come first: once an item of another stream follows, FEED no longer says how many items of the event are
        written. Raises Damaged when FEED was written from another log, LogConflict, LogUnavailable.
        """
        last = await self._streams.last(FEED, FEED_ITEMS)
        end = last.sequence if last else await self._streams.end(FEED)
        position = read_headers(last.headers or {}, end) if last else FeedPosition(end, {})
        self._folded.clear()  # the states may be ahead of the position
        self._position, self._reached = position, dict(position.reached)
        self._unmarked, self._wrote_at = 0, self._clock.monotonic()
        for stream, sequence in position.reached.items():
            self._runtime.progress.set("feed", Position(stream, sequence))
        if last is not None and position.at is not None:
            await self.apply([await self._event_of_last_item(position.at, last.data)])

    async def _event_of_last_item(self, at: Position, data: bytes) -> Recorded[Any]:
        """The event at a position, to which the last item of FEED belongs. Raises Damaged when it does not."""
        item, recorded = FeedItem.model_validate_json(data), await self._log.at(at)
        if recorded is None or item.id != item_id(recorded, item.data.kind, item.data.region, item.data.repeat):
            raise log_port.Damaged(
                f"FEED ends with an item of {at}, where the log now holds another event: one of the two was restored "
                "from elsewhere. Restore FEED and log from one backup."
            )
        return recorded

    async def apply(self, batch: EventBatch) -> None:
        """Write the items of the next events of one stream.

        Raises LogConflict, LogUnavailable: then call `find_position`.
        """
        outgoing: list[Outgoing] = []
        with self._runtime.telemetry.span(WRITER_NAME, count=len(batch)):
            for start in range(0, len(batch), EVENTS_PER_SLICE):
                events = batch[start : start + EVENTS_PER_SLICE]
                await self._load(events)
                for recorded in events:
                    outgoing += self._items(recorded)
                # only now: the events of the slice need the states loaded for them
                while len(self._folded) > min(FEED_STATES_COUNT_MAX, self._runtime.aggregates.cached_count_max):
                    self._folded.popitem(last=False)
                await self._clock.sleep(0)
                await self._runtime.load_gate.breathe(self._clock)
            await self._append(outgoing)
        last = batch[-1].position
        assert last is not None, "an event that was read has its position"
        self._unmarked = 0 if outgoing else self._unmarked + len(batch)
        self._runtime.progress.set("feed", last)

    async def _load(self, batch: EventBatch) -> None:
        """Fold the earlier events of cases whose state is not in memory, up to these events."""
        first_events: dict[str, Recorded[Any]] = {}
        created: set[str] = set()
        for recorded in batch:
            subject = recorded.address.subject
            if type(recorded.event) in CREATES:
                created.add(subject)
            elif subject in self._folded:
                self._folded.move_to_end(subject)
            elif type(recorded.event) in ANNOUNCED and subject not in created and subject not in first_events:
                if change := self._remembered_change(recorded):  # now: it may be evicted while other histories load
                    self._folded[subject] = _Folded(change.before, change.since, change.before.registration_sequence)
                else:
                    first_events[subject] = recorded
        histories = await asyncio.gather(*(self._log.load(recorded.address) for recorded in first_events.values()))
        for recorded, history in zip(first_events.values(), histories, strict=True):
            for earlier in history:
                if _sequence(earlier) < _sequence(recorded):
                    self._fold(earlier)

    def _remembered_change(self, recorded: Recorded[Any]) -> StateChange | None:
        """The state change of a case's event, if the cache has it. The state of an order lacks its first sequence."""
        return self._runtime.aggregates.made(recorded) if recorded.address.kind == "case" else None

    def _fold(self, recorded: Recorded[Any]) -> tuple[_Folded, _Folded] | None:
        """The case or order of an event before and after it; None when its state is not in memory, or is newer."""
        subject, sequence = recorded.address.subject, _sequence(recorded)
        decider, change = DECIDERS[recorded.address.kind], self._remembered_change(recorded)
        before = self._folded.get(subject)
        if before is None and type(recorded.event) in CREATES:
            before = _Folded(decider.new, 0, sequence)
        if before is None or before.sequence >= sequence:
            return None
        after = _Folded(change.after if change else decider.evolve(before.state, recorded), sequence, before.created_at)
        self._folded[subject] = after
        return before, after

    def _items(self, recorded: Recorded[Any]) -> list[Outgoing]:
        at = recorded.position
        assert at is not None, "an event that was read has its position"
        if isinstance(recorded.event, Unknown):
            telemetry.warn("the feed skipped an event newer than this program", type=recorded.type)
        outgoing: list[Outgoing] = []
        if folded := self._fold(recorded):
            before, after = folded
            feed_items = items(before.state, after.state, recorded, case_number(Position(at.stream, after.created_at)))
            done = self._position.done if at == self._position.at else 0
            outgoing = [self._outgoing(item, at, n) for n, item in enumerate(feed_items, 1) if n > done]
        self._reached[at.stream] = at.sequence
        return outgoing

    def _outgoing(self, item: FeedItem, at: Position, count: int) -> Outgoing:
        data = item.model_dump_json(exclude_none=True).encode()
        return Outgoing(item.nats_subject, data, headers(self._reached, at, count))

    async def _append(self, outgoing: Sequence[Outgoing]) -> None:
        size = 1 if len(outgoing) <= SINGLES_COUNT_MAX else PUBLISH_COUNT_MAX
        for start in range(0, len(outgoing), size):
            messages, end = outgoing[start : start + size], self._position.end
            if len(messages) == 1:
                ack = await self._streams.publish(*messages[0], expected_end=end)
            else:
                ack = await self._streams.publish_all(messages, end)
            self._position = FeedPosition(ack.sequence, self._position.reached, self._position.at, self._position.done)
            self._wrote_at = self._clock.monotonic()
            for message in messages:
                self._runtime.telemetry.add(ITEMS, TYPE_PREFIX + message.subject.split(".")[1])
            await self._runtime.failpoints.hit("feed.published")

    async def _mark(self) -> None:
        """Write a mark with the position, unless the last message of FEED has it already."""
        if self._reached != dict(self._position.reached) and self._unmarked:
            now = self._clock.now()
            mark_headers = headers(self._reached)
            mark = FeedMark(id=derived_id("feed", "mark", mark_headers[REACHED], ""), time=now)
            await self._append([Outgoing(FEED_MARK, mark.model_dump_json().encode(), mark_headers)])
        self._unmarked, self._wrote_at = 0, self._clock.monotonic()


def _warn(reason: str) -> None:
    telemetry.warn("the feed's writer reads its position again", reason=reason)


def _sequence(recorded: Recorded[Any]) -> int:
    assert recorded.position is not None, "an event that was read has its position"
    return recorded.position.sequence
