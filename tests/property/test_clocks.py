"""Clocks under pairs and triples of events are what a slow count from the start says.

Each event is a pause, the end of one, an extension, a correction to another limit, a published calendar, a transfer or
a reopening. After each of them due moment, warning, bound of an extension and cited documents are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.supervision import policy
from services.supervision.deadlines.reckoning import extended_deadline, resumption
from shared.case.clocks import RunningDeadline
from shared.case.facts import Ends, Stage, TimeBase
from shared.kit.effects import Timer
from shared.reference.documents import DocumentKind
from shared.reference.reference_data import ReferenceData
from tests.support import DEEP
from tests.support.law import NEIGHBOUR, START, TOWNSHIP, WHERE, ask
from tests.support.policy_life import Life, document, library, limit
from tests.support.slow_clocks import SlowClock, SlowLimit

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
OFFICE = ["09:00-12:00", "13:00-17:00"]
# The law of each nature for the handling of a case. The triage of the tests makes a case a dispute.
LAWS = {
    "dispute": SlowLimit(20, TimeBase.WORKING_DAYS, warn=5, extend_max=10),
    "complaint": SlowLimit(18, TimeBase.CALENDAR_DAYS, Ends.OFFICE, warn=3, extend_max=6),
    "report": SlowLimit(15, TimeBase.WORKING_DAYS, Ends.CLOCK, warn=2, extend_max=10),
    "help": SlowLimit(240, TimeBase.HOURS, warn=12, extend_max=80),
    "praise": SlowLimit(30, TimeBase.HOURS, Ends.OFFICE, warn=4, extend_max=20),
    "suggestion": SlowLimit(40, TimeBase.CALENDAR_DAYS, warn=7, extend_max=10),
}
LIMITS = [
    limit("handle", law.amount, law.base, ends=law.ends, warn=law.warn, extend_max=law.extend_max, extend_by="desk",
          extend_times_max=9, pauses=["hearing"], when={"nature": [nature]}, id=f"handle-{nature}")
    for nature, law in LAWS.items()
]  # fmt: skip
HOLIDAYS = {
    "publish": ["2026-03-05", "2026-03-06", "2026-03-20", "2026-03-27", "2026-03-30"],
    "withdraw": ["2026-03-10"],
}
EVENTS = (
    "pause", "resume", "extend", "help", "praise", "complaint", "report", "suggestion", "dispute", "publish",
    "withdraw", "transfer", "reopen",
)  # fmt: skip
WAIT = timedelta(hours=17, minutes=20)


def _calendar(holidays: Sequence[str], version: int) -> Any:
    row = {"year": "2026", "holidays": holidays, "office": OFFICE}
    return document(DocumentKind.CALENDARS, version, row)


class Compared:
    """The case of a test and the oracle of its handling, side by side."""

    def __init__(self) -> None:
        rows = [limit("triage", 30, "working_days"), *LIMITS]
        calendar = {"year": "2026", "holidays": HOLIDAYS["withdraw"], "office": OFFICE}
        documents = library(limits=rows, calendars=[calendar])
        self.life, self.now, self.version = Life(documents=documents), START, 100
        self.nature = "dispute"
        self._begin(ask("register"))

    def _begin(self, first: Any) -> None:
        for request in (first, ask("triage", at=self.now), ask("assign", at=self.now), ask("sign-for", at=self.now)):
            self.life.ask(request)
        self.nature = "dispute"
        self.slow = SlowClock(self.now, LAWS[self.nature], self.life.library.calendar(TOWNSHIP))

    @property
    def clock(self) -> RunningDeadline:
        return self.life.clock(Stage.HANDLE)

    def apply(self, event: str, wait: timedelta) -> bool:
        """Apply an event to both after a while; False where the clock runs out before."""
        if not self.clock.suspended and self.now + wait >= self.clock.deadline.due:
            return False
        self.now += wait
        if event in LAWS:
            self.life.ask(ask("correct", nature=event, severity=None, at=self.now))
            self.nature = event
            self.slow.correct(LAWS[event])
        else:
            getattr(self, f"_{event}")()
        return True

    def _pause(self) -> None:
        if not self.slow.suspended:
            self.life.ask(ask("suspend", at=self.now))
            self.slow.pause(self.now)

    def _resume(self) -> None:
        if self.slow.suspended:
            calendar = self.life.library.calendar(TOWNSHIP)
            self.life.ask(ask("resume", at=self.now, **resumption(self.clock, self.now, calendar)))
            self.slow.resume(self.now, LAWS[self.nature])

    def _extend(self) -> None:
        calendar = self.life.library.calendar(TOWNSHIP)
        due = self.slow.due + 3 * DAY
        extended = extended_deadline(self.clock, due, self.now, calendar)
        bound = self.slow.bound
        if bound is None or due > bound or due <= self.clock.deadline.due:
            return
        self.slow.extend(3 * DAY, LAWS[self.nature])
        self.life.ask(ask("extend", at=self.now, due=due, deadline=extended))

    def _publish(self) -> None:
        self._put(HOLIDAYS["publish"])

    def _withdraw(self) -> None:
        self._put(HOLIDAYS["withdraw"])

    def _put(self, holidays: Sequence[str]) -> None:
        """Publish a calendar. As in the service, a running clock is moved at once, a suspended one when it goes on."""
        self.version += 1
        documents = [one for one in self.life.library.documents() if one.kind is not DocumentKind.CALENDARS]
        self.life.library = ReferenceData([*documents, _calendar(holidays, self.version)])
        self.slow.calendar = self.life.library.calendar(TOWNSHIP)
        clock = self.clock
        if not clock.suspended:
            timer = Timer(clock.deadline.due, WHERE.subject, "overdue", clock.deadline.stage, "", clock.set_by)
            for request in policy.recompute_by(self.life.library)(WHERE, self.life.state, timer, self.now):
                self.life.want(request, self.now)

    def _transfer(self) -> None:
        back = TOWNSHIP if self.life.state.in_charge == NEIGHBOUR else NEIGHBOUR
        self._begin(ask("transfer", to=back, at=self.now))

    def _reopen(self) -> None:
        for name in ("settle", "close"):
            self.life.ask(ask(name, at=self.now))
        self._begin(ask("reopen", at=self.now))

    def check(self, events: object) -> None:
        """Compare. A suspended clock is compared when it goes on: until then its moments do not fire."""
        assert self.clock.suspended is self.slow.suspended
        if self.slow.suspended:
            return
        deadline = self.clock.deadline
        allows = deadline.allows
        assert deadline.due == self.slow.due, events
        assert deadline.warn_at == self.slow.warn_at, events
        assert allows is not None
        assert allows.extend_until == self.slow.bound, events
        assert (deadline.amount, deadline.base) == (self.slow.limit.amount, self.slow.limit.base), events
        assert self.life.refused == []


def run(events: Sequence[str], waits: Sequence[timedelta]) -> None:
    compared = Compared()
    for event, wait in zip(events, waits, strict=False):
        if not compared.apply(event, wait):
            return
        compared.check(events)
    if compared.slow.suspended and compared.apply("resume", WAIT):
        compared.check((*events, "resume"))


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("first", EVENTS)
def test_pairs_of_events_are_what_a_slow_count_says(first: str) -> None:
    for second in EVENTS:
        run((first, second), (WAIT, WAIT))


@pytest.mark.deep
@pytest.mark.parametrize("first", EVENTS)
def test_triples_of_events_are_what_a_slow_count_says(first: str) -> None:
    for rest in product(EVENTS, repeat=2):
        run((first, *rest), (WAIT, 3 * WAIT, WAIT))


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(1, 5 * 1440)), min_size=2, max_size=4))
@settings(max_examples=400 if DEEP else 30)
def test_any_few_events_are_what_a_slow_count_says(steps: list[tuple[str, int]]) -> None:
    run([event for event, _ in steps], [timedelta(minutes=minutes) for _, minutes in steps])
