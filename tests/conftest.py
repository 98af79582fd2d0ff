"""What holds for every test: a clean environment, the profile of Hypothesis, a budget of time per tier."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import DEEP

pytest_plugins = ["tests.support.servers", "tests.support.stack"]

for name in [name for name in os.environ if name.startswith("CASEFLOW_")]:
    del os.environ[name]

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("quick"), max_examples=2000)
settings.load_profile("deep" if DEEP else "quick")

# Seconds a tier may take on two cores, set-up included; together they stay under the five minutes of `make test`.
BUDGET_S = {
    "unit": 15,
    "property": 30,
    "sim": 45,
    "contract": 30,
    "integration": 60,
    "e2e": 50,
    "crash": 40,
    "browser": 10,
    "architecture": 15,
}
_spent: defaultdict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    parts = Path(report.nodeid.partition("::")[0]).parts
    if len(parts) > 1:
        _spent[parts[1]] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _over() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    spent = ", ".join(f"{tier} {seconds:.1f} of {BUDGET_S.get(tier, 0)}" for tier, seconds in sorted(_spent.items()))
    terminalreporter.write_line(f"seconds per tier: {spent}")
    for tier in _over():
        terminalreporter.write_line(f"{tier}: over its budget; make its tests faster or mark long ones deep", red=True)


def _over() -> list[str]:
    return [] if DEEP else [tier for tier, seconds in _spent.items() if seconds > BUDGET_S.get(tier, 0)]
