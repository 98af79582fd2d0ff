"""`make clauses`: runs the tests that name a clause and writes the page clause -> tests -> result, docs/clauses.md.

A clause counts as met only when a test that names it passes: `@pytest.mark.clause("5.1.3a")`. A clause of the
acceptance list that no test names stands on the page as open, so that what is missing is seen.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from infra.dev import CHECKOUT

PAGE = CHECKOUT / "docs" / "clauses.md"
# The clauses of GB/T 33200-2016 that concern the case flow or the information system.
ACCEPTANCE = (
    "4", "5.1.1b", "5.1.1c", "5.1.1d", "5.1.1e", "5.1.1f", "5.1.1i", "5.1.2a", "5.1.3a", "5.2a", "5.2e", "6.1", "7.1",
    "7.2", "8.1f", "8.2a", "8.2b", "8.3a", "8.3b", "9.2a", "9.2b", "9.2c", "9.2d", "9.3", "9.4a", "9.4b", "9.5b",
    "10.3", "11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7", "12.1", "12.2", "12.3",
)  # fmt: skip
_WEIGHTS = {"skipped": 0, "passed": 1, "failed": 2}  # of a test's cases the worst counts, one left out counts least
_ORDER = {clause: place for place, clause in enumerate(ACCEPTANCE)}


class Clauses:
    """A pytest plugin that notes which test names which clause, and how it ended."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, str]] = defaultdict(dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep only the tests that name a clause."""
        items[:] = [item for item in items if item.get_closest_marker("clause")]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        """Note the result: a failure in any phase is a failure, a skip says so."""
        report = (yield).get_result()
        if report.when == "call" or report.outcome != "passed":
            name = item.nodeid.split("[")[0]
            for marker in item.iter_markers("clause"):
                for clause in marker.args:
                    tests = self.tests[str(clause).replace(" ", "")]
                    tests[name] = max(tests.get(name, "skipped"), report.outcome, key=_WEIGHTS.__getitem__)

    def page(self) -> str:
        """The page in Markdown."""
        lines = [
            "# Clauses, the tests that name them, and their results",
            "",
            "Written by `make clauses`. Clauses are those of GB/T 33200-2016 unless the name says otherwise; a clause",
            "without a passing test is not met.",
            "",
            "| clause | met | tests |",
            "|---|---|---|",
        ]
        for clause in sorted({*ACCEPTANCE, *self.tests}, key=lambda c: (_ORDER.get(c, len(_ORDER)), c)):
            tests = self.tests.get(clause, {})
            met = "yes" if tests and all(result == "passed" for result in tests.values()) else "no"
            told = "<br>".join(f"{name} ({result})" for name, result in sorted(tests.items())) or "no test names it yet"
            lines.append(f"| {clause} | {met if tests else 'open'} | {told} |")
        return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run the tests that name a clause and write the page; pytest's exit code."""
    clauses = Clauses()
    code = int(pytest.main(["-q", *arguments], plugins=[clauses]))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(clauses.page(), "utf-8")
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
