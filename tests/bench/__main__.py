"""`python -m tests.bench [--quick] [--only NAME ...]`: measure, write build/bench.json and docs/bench.md.

Everything runs on this machine's loopback, in a temporary folder, as real processes, and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from tests.bench import crowd, desk, lists, projections, report, submissions, ticker
from tests.bench.base import Figure
from tests.support.stack import stack_in

DESK = frozenset({"registrations", "pipeline", "commands", "hot", "memory", "start"})
PROJECTIONS = frozenset({"projections", "rebuild"})
ON_A_STACK = {"lists": lists, "submissions": submissions, "crowd": crowd}
NAMES = sorted(DESK | PROJECTIONS | ON_A_STACK.keys() | {"ticker"})
RUN_S_MAX, QUICK_RUN_S_MAX = 3600.0, 600.0


def say(text: str) -> None:
    """Print progress to stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


async def measure(wanted: frozenset[str], quick: bool, folder: Path) -> AsyncIterator[Figure]:
    """The selected figures, one after the other."""
    if wanted & DESK:
        with stack_in("bench-desk", forked=False) as stack:
            async for figure in desk.measure(stack, wanted, quick, say):
                yield figure
            stack.stop()
    if wanted & PROJECTIONS:
        async for figure in projections.measure(folder, wanted, quick, say):
            yield figure
    for name, module in ON_A_STACK.items():
        if name in wanted:
            with stack_in(f"bench-{name}", forked=False) as stack:
                async for figure in module.measure(stack, quick, say):
                    yield figure
                stack.stop()
    if "ticker" in wanted:
        async for figure in ticker.measure(folder / "ticker", quick, say):
            yield figure


async def main(wanted: frozenset[str], quick: bool) -> None:
    """Measure within the time limit and write the figures measured until then."""
    load, figures = os.getloadavg()[0], list[Figure]()
    with tempfile.TemporaryDirectory(prefix="caseflow-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            async with asyncio.timeout(QUICK_RUN_S_MAX if quick else RUN_S_MAX):
                async for figure in measure(wanted, quick, folder):
                    figures.append(figure)
                    say(report.text(figure))
                    report.write(figures, quick, load)
        except TimeoutError:
            say("the time is up; written is what was measured")
    if not quick:
        report.write_table()
    say(f"written: {report.JSON_FILE}" + ("" if quick else f" and {report.TABLE_FILE}"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description="Measure caseflow on this machine.")
    parser.add_argument("--only", action="append", choices=NAMES, help="this figure only; may be given again")
    parser.add_argument("--quick", action="store_true", help="small counts, a few minutes")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that the servers are stopped
    uvloop.run(main(frozenset(asked.only or NAMES), asked.quick))
