"""Worlds on all cores, in a pool of processes."""

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
    """Silence the log lines of services under faults. Warnings are errors, but for coroutines that a kill prevented."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


@contextmanager
def processes(jobs: int = JOBS_COUNT) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes, as the caller may have threads. Waiting calls are cancelled at the end."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), quiet)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def chunk_count(worlds: int, jobs: int = JOBS_COUNT) -> int:
    """The number of worlds in a batch for a process; small, so that no process works long after the others."""
    return max(1, min(CHUNK_COUNT_MAX, worlds // (4 * jobs)))


def live(seed: int, sabotage: str | None = None) -> Outcome:
    """Run one world, with a guard switched off if `sabotage` names one."""
    with SABOTAGES[sabotage]() if sabotage else nullcontext():
        return world.live(seed)


def first_failing(sabotage: str, worlds_max: int) -> int | None:
    """The first seed whose world fails with a guard switched off; None when `worlds_max` worlds pass."""
    return next((seed for seed in range(1, worlds_max + 1) if live(seed, sabotage).violations), None)
