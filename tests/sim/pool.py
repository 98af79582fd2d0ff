"""Worlds on all cores: a process for each, and what they find."""

from __future__ import annotations

import logging
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext

from tests.sim import world
from tests.sim.sabotage_time import ALL as SABOTAGES
from tests.sim.world import Outcome

JOBS_COUNT = os.cpu_count() or 1
CHUNK_COUNT_MAX = 8


def quiet() -> None:
    """No word of the faults that services tell of, nor of coroutines of processes killed before they began."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


@contextmanager
def processes(jobs: int = JOBS_COUNT) -> Iterator[ProcessPoolExecutor]:
    """Processes that live worlds, started anew: whoever asks may have threads. What waits is dropped at the end."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), quiet)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def chunk_count(worlds: int, jobs: int = JOBS_COUNT) -> int:
    """How many worlds a process takes at once, so that none waits long for the last."""
    return max(1, min(CHUNK_COUNT_MAX, worlds // (4 * jobs)))


def live(seed: int, sabotage: str | None = None) -> Outcome:
    """One world, with a guard broken if one is named."""
    with SABOTAGES[sabotage]() if sabotage else nullcontext():
        return world.live(seed)


def first_failing(sabotage: str, worlds_max: int) -> int | None:
    """The first seed whose world shows that a guard is broken; None when so many worlds do not."""
    return next((seed for seed in range(1, worlds_max + 1) if live(seed, sabotage).violations), None)
