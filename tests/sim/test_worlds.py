"""Random worlds: after any faults, each invariant holds once the world has healed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim import pool
from tests.sim.coverage import Coverage
from tests.sim.world import CASES_COUNT_MIN, STEPS_COUNT_MIN
from tests.support import DEEP

# Sixteen worlds reach about two thirds of the transitions: requests to erase or release are seldom, since only imported
# cases are old enough. Two hundred reach far more, and every failpoint and fault.
# A thousand take a core some twenty minutes; `python -m tests.sim --worlds 10000` goes on from there.
WORLDS_COUNT = 1_000 if DEEP else 16
SHARES_MIN = {
    "transitions": 0.95 if DEEP else 0.6, "failpoints": 0.95, "fault kinds": 0.95,
}  # fmt: skip
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_world_comes_to_rest_and_keeps_what_was_promised() -> None:
    coverage = Coverage()
    seeds = range(1, WORLDS_COUNT + 1)
    with pool.processes() as processes:
        for outcome in processes.map(pool.live, seeds, chunksize=pool.chunk_count(WORLDS_COUNT)):
            coverage.add(outcome)
    told = [f"SIM seed={seed}: {violations[0]}" for seed, violations in coverage.failed.items()]
    assert not told, "\n".join([*told[:20], "again: python -m tests.sim --seed N"])
    assert coverage.cases_min >= CASES_COUNT_MIN
    assert coverage.steps_min >= STEPS_COUNT_MIN
    shares = coverage.shares()
    missing = coverage.as_json()["missing"]
    assert not {name: missing[name] for name, share in SHARES_MIN.items() if shares[name] < share}


def _digest(seed: int, hash_seed: str) -> str:
    """The digest of the log of a world that runs in a process of its own."""
    code = f"import tests.sim.world as w; o = w.live({seed}); print(o.digest, o.faults, len(o.violations))"
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_seed_replays_to_the_byte() -> None:
    one, other = (_digest(8, hash_seed) for hash_seed in ("1", "2"))
    assert one == other
    assert len(one.split()[0]) == 32
