"""`python -m tests.sim --worlds 10000` runs many worlds on all cores; `--seed N` runs one again, with its traces."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.sim import pool, world
from tests.sim.coverage import Coverage
from tests.sim.sabotage_time import ALL as SABOTAGES
from tests.sim.world import Outcome

SHOWN_COUNT_MAX = 10


def commit() -> str:
    """The commit that is checked out, with a plus when files differ from it."""
    git = partial(subprocess.run, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    head = git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() or "?"
    return head + ("+" if git(["git", "status", "--porcelain", "-uno"]).stdout.strip() else "")


def _failure(outcome: Outcome, at: str) -> str:
    first = outcome.violations[0]
    more = len(outcome.violations) - 1
    return f"SIM seed={outcome.seed} commit={at} {first}{f' and {more} more' if more else ''}"


def one(seed: int, sabotage: str | None) -> int:
    """Run one seed and print its outcome."""
    pool.quiet()
    world.DEBUG = True
    outcome = pool.live(seed, sabotage)
    print(f"seed {seed}: {outcome.steps} steps, {outcome.cases} cases, {outcome.events} events, log {outcome.digest}")
    print("faults:", ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items())))
    for violation in outcome.violations:
        print(violation)
    if outcome.violations:
        print(_failure(outcome, commit()))
    return bool(outcome.violations)


def many(first: int, count: int, jobs: int, sabotage: str | None, to: Path | None) -> int:
    """Run many seeds with progress, and print their coverage."""
    coverage, began, at, reported_s = Coverage(), time.monotonic(), commit(), 0.0
    lived = partial(pool.live, sabotage=sabotage)
    with pool.processes(jobs) as processes:
        for outcome in processes.map(lived, range(first, first + count), chunksize=pool.chunk_count(count, jobs)):
            coverage.add(outcome)
            if outcome.violations and len(coverage.failed) <= SHOWN_COUNT_MAX:
                print(_failure(outcome, at), flush=True)
            seconds = time.monotonic() - began
            if seconds - reported_s > 2 or coverage.worlds == count:
                reported_s = seconds
                rate = coverage.worlds / seconds
                left = (count - coverage.worlds) / rate
                text = f"{coverage.worlds} of {count} worlds, {rate:.1f}/s, {left:.0f} s left"
                print(f"{text}, {len(coverage.failed)} failed", file=sys.stderr, flush=True)
    for name, (reached, there) in coverage.parts().items():
        missing = sorted(there - set(reached))
        share = 100 * (1 - len(missing) / len(there))
        print(f"{name}: {len(there) - len(missing)} of {len(there)} ({share:.1f} %){', missing: ' if missing else ''}"
              + ", ".join(missing))  # fmt: skip
    for name, why in coverage.as_json()["cannot_occur"].items():
        print(f"cannot occur here: {name}: {why}")
    seconds = time.monotonic() - began
    print(f"{coverage.worlds} worlds (>= {coverage.cases_min} cases, >= {coverage.steps_min} steps each), "
          f"{coverage.events} events, {seconds:.0f} s, {len(coverage.failed)} failed, commit {at}")  # fmt: skip
    if to is not None:
        to.write_text(json.dumps(coverage.as_json() | {"commit": at, "seconds": seconds}, indent=1, ensure_ascii=False))
    return bool(coverage.failed)


def main(arguments: Sequence[str]) -> int:
    """Run by the command line; returns 0 when no world failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this world only, and show the traces of its errors")
    parser.add_argument("--worlds", type=int, default=200, help="how many worlds (default 200)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--jobs", type=int, default=pool.JOBS_COUNT, help="processes (default: one per core)")
    parser.add_argument("--json", type=Path, help="write the coverage to this file")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), help="with a guard broken: the worlds must fail")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return one(given.seed, given.sabotage)
    return many(given.first, given.worlds, given.jobs, given.sabotage, given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
