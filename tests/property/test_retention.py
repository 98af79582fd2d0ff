"""Erasure under random orders of ends, reopenings, holds, requests and time: never early, never by one person."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.case import events as e
from shared.case.catalogue import ENDS
from shared.case.decide import Accepted
from shared.case.facts import Retention
from shared.case.retention import RETENTION_MONTHS, erasable_from
from tests.support.law import ANSWER, CHIEF, LI, START, WANG, ask
from tests.support.law_watch import CaseWatch

CHINA = ZoneInfo("Asia/Shanghai")
PEOPLE = (LI, WANG, CHIEF)
FINITE = tuple(RETENTION_MONTHS)
# Each step: a command, who sends it, how many days later.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("close", "close", "reopen", "decline", "hold", "request-release", "release", "end-release-request")
            + ("request-erasure", "erase") * 3
            + ("end-erasure-request",)
        ),
        st.sampled_from(PEOPLE),
        st.sampled_from((0, 0, 1, 29, 60, 91, 120, 184, 366)),
    ),
    min_size=6,
    max_size=30,
)


def last_day(ended_at: datetime, months: int) -> tuple[int, int, int]:
    """The last day on which content is kept, by counting on month by month (Civil Code, 202)."""
    ended = ended_at.astimezone(CHINA)
    year, month = ended.year, ended.month
    for _ in range(months):
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return year, month, min(ended.day, monthrange(year, month)[1])


@pytest.mark.clause("9.4b")
@given(st.sampled_from(FINITE), STEPS)
@settings(max_examples=300, deadline=None)
def test_content_is_never_erased_before_its_moment_nor_by_one_person(
    retention: Retention, steps: list[tuple[str, str, int]]
) -> None:
    watch, now = CaseWatch(), START
    watch.ask(ask("register", retention=retention, **ANSWER))
    for name, person, days in steps:
        now += timedelta(days=days)
        state = watch.state
        facts: dict[str, Any] = {"retention": retention} if name in ("request-erasure", "erase") else {}
        if name == "erase":
            facts |= {"requested_by": state.erasure_requested_by}
        if name == "release":
            facts |= {"requested_by": state.release_requested_by}
        watch.ask(ask(name, by=person, at=now, **facts))
    for position, entry in enumerate(watch.events):
        if not isinstance(entry.known, e.Erased):
            continue
        before = watch.events[:position]
        ended_at = [one.meta.time for one in before if type(one.known) in ENDS][-1]
        local = entry.meta.time.astimezone(CHINA)
        assert (local.year, local.month, local.day) > last_day(ended_at, RETENTION_MONTHS[retention])
        requests = [one for one in before if isinstance(one.known, e.ErasureRequested)]
        assert requests[-1].meta.actor.person != entry.meta.actor.person


@pytest.mark.clause("9.4b")
@given(st.sampled_from(FINITE), st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC)))
def test_the_moment_of_erasure_is_the_first_of_the_day_after_the_last(retention: Retention, ended_at: datetime) -> None:
    moment = erasable_from(retention, ended_at)
    assert moment is not None
    local, before = moment.astimezone(CHINA), (moment - timedelta(microseconds=1)).astimezone(CHINA)
    assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
    assert (before.year, before.month, before.day) == last_day(ended_at, RETENTION_MONTHS[retention])


def test_the_walks_above_do_erase() -> None:
    """So that the property is put to the test at all."""
    watch = CaseWatch()
    later = START + timedelta(days=400)
    for step in (
        ask("register", **ANSWER), ask("close"), ask("request-erasure", by=LI, at=later), ask("erase", at=later),
    ):  # fmt: skip
        assert isinstance(watch.ask(step), Accepted)
    assert watch.state.erased
