"""What holds for every test: a clean environment, the profile of Hypothesis, a budget of time per tier."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import DEEP, STRICT

pytest_plugins = ["tests.support.servers", "tests.support.stack"]

for name in [name for name in os.environ if name.startswith("CASEFLOW_")]:
    del os.environ[name]

settings.register_profile("quick", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("quick"), max_examples=2000)
settings.load_profile("deep" if DEEP else "quick")

ALL_S_MAX = 300
PROCESSES = 2  # of `make test`, which works on as many tests at once
# Seconds that the tests of a tier may take in all, set-up included, on two quiet cores.
BUDGET_S = {
    "unit": 26,
    "property": 25,
    "sim": 45,
    "contract": 15,
    "integration": 220,
    "e2e": 88,
    "crash": 45,
    "architecture": 12,
}
assert sum(BUDGET_S.values()) <= 0.8 * ALL_S_MAX * PROCESSES, "a fifth of `make test`'s five minutes is left to spare"
_began = time.monotonic()
_spent: defaultdict[str, float] = defaultdict(float)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Hand the depth on to the processes that run the tests: this one has cleared its environment."""
    if DEEP:
        os.environ["CASEFLOW_DEEP"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["deep"] = DEEP


def pytest_configure(config: pytest.Config) -> None:
    assert getattr(config, "workerinput", {}).get("deep", DEEP) is DEEP, "a process of the tests has another depth"
    # A run that is told to end ends as with ctrl-C: the fixtures stop their servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    parts = Path(report.nodeid.partition("::")[0]).parts
    if len(parts) > 1:
        _spent[parts[1]] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if STRICT and _over() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    spent = ", ".join(f"{tier} {seconds:.1f} of {BUDGET_S.get(tier, 0)}" for tier, seconds in sorted(_spent.items()))
    processor = f"{sum(os.times()[:4]):.0f} s of processor"
    terminalreporter.write_line(f"seconds per tier: {spent}; {processor}")
    if DEEP:
        counts = {name: len(terminalreporter.stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
        minutes = (time.monotonic() - _began) / 60
        figures = ", ".join(f"{count} {name}" for name, count in counts.items())
        terminalreporter.write_line(f"deep: {figures}, in {minutes:.1f} minutes")
    for tier in _over():
        terminalreporter.write_line(f"{tier}: over its budget; quicken its tests or mark long ones deep", yellow=True)


def _over() -> list[str]:
    return [] if DEEP else [tier for tier, seconds in _spent.items() if seconds > BUDGET_S.get(tier, 0)]
