"""The simulation fails for each guard that is switched off: within 200 worlds, mostly within one or two."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.sim import pool
from tests.sim.sabotage_time import ALL as SABOTAGES
from tests.support import DEEP

WORLDS_COUNT_MAX = 200
# One of each sort in the usual run; all of them in the deep tests.
DAILY = (
    "append-without-the-guard", "the-cache-is-not-topped-up-after-a-conflict", "reactions-acknowledge-before-handling",
    "derived-ids-random-per-try", "claims-not-unique", "checkpoint-committed-before-the-rows",
    "only-the-first-case-hears-of-an-order", "law-without-co-handlers-open", "the-agenda-loses-orders",
    "a-rung-is-skipped-and-the-law-lets-it", "the-feed-forgets-how-many-items-are-done",
)  # fmt: skip


NAMES = sorted(SABOTAGES) if DEEP else DAILY


@pytest.fixture(scope="module")
def first_failing() -> Iterator[dict[str, Future[int | None]]]:
    """The first failing world of each sabotage, searched on all cores."""
    with pool.processes() as processes:
        yield {name: processes.submit(pool.first_failing, name, WORLDS_COUNT_MAX) for name in NAMES}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_guard_is_seen(first_failing: dict[str, Future[int | None]], name: str) -> None:
    seed = first_failing[name].result()
    assert seed is not None, f"{WORLDS_COUNT_MAX} worlds with {name} showed nothing"
