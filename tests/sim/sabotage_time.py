"""Guards of time switched off one at a time: in the ticker, the agenda, the policy of clocks and the feed writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from services.supervision import jobs, policy, read_model
from services.supervision.deadlines import ticker
from services.supervision.deadlines.ticker import DueTimer, Ticker
from services.supervision.feed import writer
from services.supervision.feed.writer import FeedPosition
from services.supervision.jobs import Calendars
from services.supervision.queries import PgAgenda
from shared.case import decide as law
from shared.case.base import Address, Position, derived_id
from shared.case.clocks import RunningDeadline
from shared.case.reasons import Reason
from shared.case.state import CaseState
from shared.kit.effects import CommandRequest, Timer, TimerPolicy
from shared.reference.reference_data import ReferenceData
from tests.sim.sabotage import SABOTAGES, _all, _named, _reaction, _without
from tests.support import store
from tests.support.streams import MemoryStreams

_AS_IT_IS = policy.moments  # the original, for the sabotages that replace it
# The reasons of the law about clocks and ladders.
RULES = (
    Reason.STAGE_OVER, Reason.STAGE_RUNS, Reason.LATE_UNSEEN, Reason.NO_EXTENSION, Reason.EXTENDED_TOO_OFTEN,
    Reason.EXTENDED_TOO_FAR, Reason.WRONG_APPROVER, Reason.NO_PAUSE, Reason.PAUSED_TOO_OFTEN, Reason.PAUSE_TOO_LONG,
    Reason.NOT_LATE, Reason.WRONG_RUNG,
)  # fmt: skip
for _reason in RULES:
    SABOTAGES[f"law-without-{_reason.code.replace('_', '-')}"] = _without(_reason)


# The ticker


class _Always:
    """A lock that each process holds."""

    held = True

    async def verify(self) -> None: ...
    async def release(self) -> None: ...


@_named
@contextmanager
def _tickers_without_a_lock_fire_under_ids_of_their_own() -> Iterator[None]:
    count = iter(range(1 << 60))

    async def mine(self: PgAgenda) -> Any:
        return _Always()

    def fresh(policy: str, cause: str, subject: str, what: str) -> str:
        return derived_id(policy, cause, subject, f"{what} {next(count)}")

    with patch.object(PgAgenda, "lock", mine), patch.object(ticker, "derived_id", fresh):
        yield


@_named
@contextmanager
def _tickers_without_lock_ids_and_law() -> Iterator[None]:
    twice = _without(Reason.ALREADY_FIRED)
    with _tickers_without_a_lock_fire_under_ids_of_their_own(), twice():
        yield


@_named
def _the_ticker_fires_what_is_not_due_yet() -> AbstractContextManager[Any]:
    due = PgAgenda.due

    async def hasty(self: PgAgenda, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        return await due(self, now + timedelta(minutes=30), after, count_max)

    requests = Ticker._requests

    async def lying(self: Ticker, due: DueTimer, policy: TimerPolicy) -> tuple[datetime, Sequence[CommandRequest]]:
        def early(address: Address, state: Any, timer: Timer, now: datetime) -> Sequence[CommandRequest]:
            return policy(address, state, timer, now + timedelta(minutes=30))

        now, commands = await requests(self, due, early)
        return now + timedelta(minutes=30), commands

    return _all(patch.object(PgAgenda, "due", hasty), patch.object(Ticker, "_requests", lying))


@_named
def _after_an_outage_only_what_is_new_fires() -> AbstractContextManager[Any]:
    due = PgAgenda.due

    async def forgetful(self: PgAgenda, now: datetime, after: Timer | None, count_max: int) -> list[DueTimer]:
        return [one for one in await due(self, now, after, count_max) if one.timer.at > now - timedelta(hours=12)]

    return patch.object(PgAgenda, "due", forgetful)


@_named
def _one_thing_per_tick_and_the_rest_is_forgotten() -> AbstractContextManager[Any]:
    fire, tried = Ticker._fire, set[tuple[Any, str]]()

    async def once(self: Ticker, timer: Timer, requests: Sequence[CommandRequest], now: datetime) -> Position | None:
        if (timer.key, timer.cause) in tried:
            return None
        tried.add((timer.key, timer.cause))
        return await fire(self, timer, requests, now)

    return patch.object(Ticker, "_fire", once)


# The agenda


def _moments(keep: Any) -> AbstractContextManager[Any]:
    def some(subject: str, state: Any) -> list[Timer]:
        return [one for one in _AS_IT_IS(subject, state) if keep(one)]

    return patch.object(read_model, "moments", some)


@_named
def _the_agenda_loses_the_clocks_of_co_handlers() -> AbstractContextManager[Any]:
    return _moments(lambda one: not one.unit)


@_named
def _the_agenda_loses_the_ends_of_pauses() -> AbstractContextManager[Any]:
    return _moments(lambda one: one.what != "resume")


@_named
def _the_agenda_loses_orders() -> AbstractContextManager[Any]:
    return _moments(lambda one: one.what != "order")


@_named
def _the_agenda_keeps_what_is_no_longer_in_force() -> AbstractContextManager[Any]:
    return patch.dict(store.STATEMENTS, {"forget_moments": lambda session, subjects: None})


# The policy of clocks


def _keep_clocks(changed: Any) -> AbstractContextManager[Any]:
    keep = policy.keep_clocks
    decide = lambda *seen: changed(keep(*seen))  # noqa: E731
    return _reaction(policy.REACTIONS, "supervision.keep_clocks", decide=decide)


@_named
@contextmanager
def _what_ended_late_is_forgotten_by_all() -> Iterator[None]:
    """The reaction, the agenda and the law ignore a clock that ended late."""

    def only_running(requests: Sequence[CommandRequest]) -> Sequence[CommandRequest]:
        return [request for request in requests if request.name != "declare-overdue"]

    over = _moments(lambda timer: timer.what != "overdue")
    with _keep_clocks(only_running), over, _without(Reason.LATE_UNSEEN)():
        yield


@_named
def _clocks_of_a_stage_that_is_over_stay() -> AbstractContextManager[Any]:
    return _keep_clocks(lambda requests: [request for request in requests if not getattr(request.facts, "closes", ())])


@_named
def _overdues_that_proved_in_time_stand() -> AbstractContextManager[Any]:
    return _reaction(policy.REACTIONS, "supervision.annul", decide=lambda *seen: ())


@_named
def _a_rung_is_skipped_and_the_law_lets_it() -> AbstractContextManager[Any]:
    climb = policy._climb

    def two_at_a_time(
        address: Address, state: CaseState, clock: Any, late: Any, now: datetime, library: Any
    ) -> CommandRequest:
        rung = late.rung + 1 if late.rung == 1 else late.rung
        return climb(address, state, clock, replace(late, rung=rung), now, library)

    return _all(patch.object(policy, "_climb", two_at_a_time), patch.object(law, "out_of_turn", lambda *_: None))


@_named
def _a_ladder_goes_on_when_the_stage_is_over() -> AbstractContextManager[Any]:
    def ended(subject: str, state: Any) -> list[Timer]:
        told = list(_AS_IT_IS(subject, state))
        for late in getattr(state, "late", ()):
            clock = state.clock(*late.key)
            if clock is not None and clock.ended_at is not None and late.next_at is not None:
                told.append(Timer(late.next_at, subject, "rung", late.stage.value, late.unit or "", late.cause))
        return told

    wrong = _all(patch.object(read_model, "moments", ended), patch.object(policy, "moments", ended))
    return _all(wrong, patch.object(law, "out_of_turn", lambda *_: None))


@_named
def _after_an_outage_rungs_come_at_once() -> AbstractContextManager[Any]:
    return patch.object(policy, "announced_at", lambda moment, seen_at: moment)


@_named
def _overdue_without_a_warning() -> AbstractContextManager[Any]:
    fire = policy._warn_or_declare

    def blunt(
        address: Address, state: CaseState, clock: RunningDeadline, what: str, now: datetime, library: ReferenceData
    ) -> Any:
        return () if what == "warn" else fire(address, state, clock, what, now, library)

    return patch.object(policy, "_warn_or_declare", blunt)


@_named
@contextmanager
def _published_days_off_change_nothing() -> Iterator[None]:
    async def nothing(self: Calendars) -> int:
        return 0

    with patch.object(Calendars, "_look_through", nothing):
        yield


@_named
def _newer_calendars_are_noted_before_all_have_heard() -> AbstractContextManager[Any]:
    return patch.object(jobs, "HEARD_S_MAX", 0.0)


# The feed


@_named
def _the_feed_is_written_without_its_guard() -> AbstractContextManager[Any]:
    publish = MemoryStreams.publish

    async def blind(self: MemoryStreams, *args: Any, expected_end: int | None = None, **more: Any) -> Any:
        return await publish(self, *args, **more)

    return patch.object(MemoryStreams, "publish", blind)


def _place(changed: Callable[[FeedPosition], FeedPosition]) -> AbstractContextManager[Any]:
    read = writer.read_headers
    return patch.object(writer, "read_headers", lambda headers, end: changed(read(headers, end)))


@_named
def _the_feed_forgets_how_many_items_are_done() -> AbstractContextManager[Any]:
    return _place(lambda place: replace(place, done=0))


@_named
def _the_feed_goes_on_behind_what_it_had_begun() -> AbstractContextManager[Any]:
    def behind(position: FeedPosition) -> FeedPosition:
        at = position.at
        return (
            position if at is None else replace(position, at=None, reached={**position.reached, at.stream: at.sequence})
        )

    return _place(behind)


ALL = SABOTAGES
