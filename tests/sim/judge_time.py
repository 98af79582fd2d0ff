"""The verdict on time: each overdue declared once and not early, rungs in order, read model and feed complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from services.supervision import policy
from services.supervision.deadlines.reckoning import recomputed_deadline
from services.supervision.feed.items import items
from services.supervision.policy import moments
from services.supervision.read_model import watched_row
from shared.case import events as e
from shared.case.base import Owner, Position, Recorded, derived_id
from shared.case.clocks import SEEN_LATE_AFTER
from shared.case.facts import Hold
from shared.case.orders import OrderState, OrderStatus
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json
from shared.log import fsck
from shared.log.case_numbers import case_number
from tests.sim.hours import own_library
from tests.support.law_watch_time import RUNGS, Clocks

if TYPE_CHECKING:
    from tests.sim.world import World

TICKER = "supervision.ticker"
FIRST_REPEATED = 3  # of the ladder of a world: one rung an hour up to it, then one every two hours
FIRINGS = (e.Warned, e.OverdueDeclared, e.Resumed, e.OrderOverdue, e.OrderIssued, *RUNGS)
INSTANT = timedelta(microseconds=1)


def ids_of_the_ticker(recorded: Recorded[Any]) -> str:
    """The command id under which the ticker fires the timer of an event."""
    event = recorded.known
    of = event.deadline if isinstance(event, e.Resumed | e.DeadlineRecomputed) else event
    stage, unit, what = getattr(of, "stage", None), getattr(of, "unit", None), ""
    if isinstance(event, e.OrderIssued | e.Urged | e.Escalated):
        stage, unit, what = event.late_stage, event.late_unit, f"rung {event.rung}"
    elif isinstance(event, e.DeadlineRecomputed):
        what = str(of.calendar_reference)
    name = fsck._COMMAND_OF[recorded.type]
    what = f"{name} {stage or ''} {unit or ''} {what}"
    return derived_id(TICKER, recorded.meta.causation_id or "", recorded.address.subject, what)


class TimeJudge:
    """Checks the clocks on the log of a world at rest, and the read model and the feed that follow from it."""

    def __init__(self, world: World, by_subject: dict[str, list[Recorded[Any]]]) -> None:
        self.world, self.by_subject = world, by_subject
        self.now = world.clock.now()
        asked = world.asked
        self.sent = {event.id for many in by_subject.values() for event in many if event.meta.command_id in asked}
        self.library = own_library()
        for document in world.published:
            self.library.put(document)

    def judge(self) -> None:
        """Run all checks of time."""
        for subject, events in self.by_subject.items():
            state = self.world.state(events[0].address)
            for what in self._of_a_case(events, state) if isinstance(state, CaseState) else self._of_an_order(state):
                self.world.violated(what, subject)
            for count, recorded in enumerate(events):
                self._not_early(recorded, self.world.state(recorded.address, count))
        self._agenda()
        self._feed()

    def _of_a_case(self, events: Sequence[Recorded[Any]], state: CaseState) -> Iterator[str]:
        clocks = Clocks()
        yield from self._rungs_apart(events)
        for count, recorded in enumerate(events):
            before, after = (self.world.state(recorded.address, n) for n in (count, count + 1))
            try:
                clocks.follow(before, recorded, after)
            except (AssertionError, KeyError) as error:
                yield f"the clocks at {recorded.type} {recorded.position}: {type(error).__name__} {error}"
                return
            if isinstance(recorded.event, e.OverdueDeclared):
                yield from self._warned_before(before, recorded)
        if state.erased or Hold.IMPORT in state.holds:
            return
        for (stage, unit), clock in clocks.own.items():
            late = clock.due < (clock.ended or self.now)
            if late and not (clock.seen or clock.suspended):
                yield f"late in silence: {stage} {unit or ''} due {clock.due}"
        yield from self._in_force(state)

    def _rungs_apart(self, events: Sequence[Recorded[Any]]) -> Iterator[str]:
        """A rung that follows one of the ticker waits the interval that the ladder of a world gives it, in hours.

        After an order the interval counts from the issue of the order, which its own event on the case may follow late.
        """
        earlier: dict[Any, Recorded[Any]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, RUNGS) or event.rung is None:
                continue
            key = event.late_stage, event.late_unit
            interval = timedelta(hours=1 if event.rung <= FIRST_REPEATED else 2) - SEEN_LATE_AFTER
            last = earlier.get(key)
            own = (
                last is not None
                and not isinstance(last.event, e.Ordered)
                and {last.meta.command_id, recorded.meta.command_id}.isdisjoint(self.world.asked)
            )
            if last is not None and own and event.rung and recorded.time - last.time < interval:
                yield f"rung {event.rung} came {recorded.time - last.time} after the one before"
            earlier[key] = recorded

    def _warned_before(self, before: CaseState, recorded: Recorded[Any]) -> Iterator[str]:
        event = recorded.known
        clock = before.clock(event.stage, event.unit)
        if clock is None or clock.ended_at is not None or recorded.meta.command_id in self.world.asked:
            return
        if clock.deadline.warn_at is not None and not clock.warned:
            yield f"overdue without a warning: {event.stage} at {recorded.position}"

    def _in_force(self, state: CaseState) -> Iterator[str]:
        """Each running stage has a clock by the calendar in force, and its next rung lies ahead."""
        for key in state.running_stages:
            clock = state.clock(*key)
            if clock is None or clock.ended_at is not None:
                if policy._deadline(self.library, state, *key) is not None:
                    yield f"no clock for {key[0]} {key[1] or ''}"
                continue
            if clock.suspended and clock.resume_at is not None and clock.resume_at < self.now:
                yield f"a pause of {key[0]} outlived its end"
            late = state.overdue_of(*key)
            due = late is not None and late.next_at is not None and late.next_at < self.now
            if due and clock.overdue and not clock.suspended:
                yield f"a rung of {key[0]} was not taken"
            if not clock.overdue and not clock.suspended and self._by_the_book(clock):
                new = recomputed_deadline(clock, self.library.calendar(state.in_charge))
                if new.due != clock.deadline.due:
                    yield f"{key[0]} is due by an old calendar: {clock.deadline.due}, not {new.due}"
        for late in state.late:
            if late.ended_at is not None and late.ended_at <= late.due:
                yield f"{late.stage} ended in time, and its overdue stands"

    def _by_the_book(self, clock: Any) -> bool:
        """Whether only the service set the due moment, and no command of an actor."""
        return not self.sent & {clock.set_by, *(move.event for move in clock.moves)}

    def _of_an_order(self, state: OrderState) -> Iterator[str]:
        waits = state.status is OrderStatus.ISSUED and not state.overdue
        if waits and state.due is not None and state.due < self.now:
            yield f"an order is late in silence, due {state.due}"

    def _not_early(self, recorded: Recorded[Any], before: Any) -> None:
        """No timer fires before its moment by the right clock, less the lead of the services' clocks."""
        event = recorded.event
        if not isinstance(event, FIRINGS) or recorded.meta.command_id in self.world.asked:
            return
        moment: datetime | None = getattr(event, "moment", None)
        if isinstance(event, e.OverdueDeclared | e.OrderOverdue):
            moment = event.due
        elif isinstance(event, e.Warned | e.Resumed):
            of = event.deadline if isinstance(event, e.Resumed) else event
            clock = before.clock(of.stage, of.unit)
            moment = clock.deadline.warn_at if isinstance(event, e.Warned) else clock.resume_at
        sent = self.world.log.true_at[recorded.id]
        if moment is not None and sent + self.world.ahead + INSTANT < moment:
            self.world.violated(f"{recorded.type} was {moment - sent} early", str(recorded.position))

    def _agenda(self) -> None:
        """The read model of the clocks equals that of a fresh replay."""
        tables = self.world.tables[Owner.SUPERVISION]
        watched = {subject: row["row"] for subject, row in tables.table("watched").items()}
        due = Counter(row["row"] for row in tables.table("moments").values())
        for subject, events in self.by_subject.items():
            state, position = self.world.state(events[0].address), events[-1].position
            assert position is not None
            text = state_json(events[0].address.kind, state)
            change = AggregateChange(events[0].address, state, position, events, text)
            expected = astuple(watched_row(change))
            stored = watched.pop(subject, None)
            if stored is None or comparable(stored) != comparable(expected):
                self.world.violated("supervision.watched differs from the log", subject)
            timers = moments(subject, state)
            due.subtract(
                (timer.subject, timer.what, timer.stage, timer.unit, timer.at, timer.cause) for timer in timers
            )
        if watched or any(due.values()):
            self.world.violated(f"supervision.watched has what is not there, or not what is: {watched or +due or -due}")

    def _feed(self) -> None:
        """FEED holds each item once, and the items of a case in order."""
        expected: dict[str, list[str]] = {}
        for subject, events in self.by_subject.items():
            registered_at = events[0].position
            assert registered_at is not None
            name = case_number(Position(registered_at.stream, registered_at.sequence))
            for count, recorded in enumerate(events):
                before, after = (self.world.state(recorded.address, n) for n in (count, count + 1))
                expected.setdefault(subject, []).extend(item.id for item in items(before, after, recorded, name))
        whose = {id: subject for subject, ids in expected.items() for id in ids}
        stored: dict[str, list[str]] = {subject: [] for subject in expected}
        for message in self.world.streams.stored["FEED"].messages.values():
            id = from_json(message.data)["id"]
            if id in whose:
                stored[whose[id]].append(id)
            elif message.subject != "feed.mark":
                self.world.violated(f"an item of the feed is of nothing: {message.subject}")
        for subject, ids in expected.items():
            if stored[subject] != ids:
                self.world.violated(f"the feed holds {len(stored[subject])} items where {len(ids)} belong", subject)


def comparable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose folded state does not depend on the order of a set."""
    state = from_json(row[-1])
    return (*row[:-1], {**state, "applied": sorted(state.get("applied", ()))})
