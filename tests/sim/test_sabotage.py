"""The simulation fails for each guard that is switched off: within 200 worlds, mostly within one or two."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.sim import world
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


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(SABOTAGES) if DEEP else DAILY)
def test_a_broken_guard_is_seen(name: str) -> None:
    with SABOTAGES[name]():
        needed = next((seed for seed in range(1, WORLDS_COUNT_MAX + 1) if world.live(seed).violations), None)
    assert needed is not None, f"{WORLDS_COUNT_MAX} worlds with {name} showed nothing"
