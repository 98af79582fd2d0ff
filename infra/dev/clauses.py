"""`make clauses`: runs the tests that name a clause and writes the page clause -> tests -> result, docs/clauses.md.

A test names the clauses that it shows: `@pytest.mark.clause("5.1.3a")`. A clause of the acceptance list that no test
names stands on the page as open.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.dev import CHECKOUT

PAGE = CHECKOUT / "docs" / "clauses.md"
# The clauses of GB/T 33200-2016 that concern the flow of a case or the information system, and their subject.
ACCEPTANCE = {
    "4": "five levels; a case moves between them without a gap",
    "5.1.1b": "matters of several departments: co-handling",
    "5.1.1c": "matters across regions or remits: who is in charge",
    "5.1.1d": "grid management",
    "5.1.1e": "inspection and assessment",
    "5.1.1f": "progress is known; supervision is proposed",
    "5.1.1i": "matters that a superior hands down",
    "5.1.2a": "county: intake, handling, supervision, feedback on one platform",
    "5.1.3a": "township: a named unit and person, by law, within a time limit",
    "5.2a": "village: grid workers enter and report on handheld terminals",
    "5.2e": "village: its platform connects to the township's",
    "6.1": "province and city: departments share information",
    "7.1": "director, deputies, staff of departments",
    "7.2": "resident departments",
    "8.1f": "opinion box and complaint channel",
    "8.2a": "county and township: letters, calls, visits, an answer on the spot",
    "8.2b": "county and township: who mediates which dispute",
    "8.3a": "village: reception, an answer on the spot",
    "8.3b": "village: mediation",
    "9.2a": "province and city: assessment, analysis, display",
    "9.2b": "county: processing and display",
    "9.2c": "township: processing and display",
    "9.2d": "village: entry and processing",
    "9.3": "links between the levels",
    "9.4a": "graded rights for the users of five levels",
    "9.4b": "how long data are kept",
    "9.5b": "graded protection",
    "10.3": "cameras: coverage and condition",
    "11.1": "first-asked responsibility",
    "11.2": "what cannot be solved goes up at once",
    "11.3": "meetings with minutes and decisions",
    "11.4": "reports upward, at once where it is urgent",
    "11.5": "emergency plans and command",
    "11.6": "assessment of units and posted staff",
    "11.7": "the size of a grid and its workers",
    "12.1": "a post that is staffed for 24 hours",
    "12.2": "ledgers; the record is kept and filed",
    "12.3": "supervision by the public",
}
_INTRODUCTION = """# Clauses and the tests that show them

Written by `make clauses`, which runs every test that names a clause. Clauses are those of GB/T 33200-2016 unless the
name says otherwise. A clause is met when each of its tests passes; it is open as long as no test names it. A link leads
to the files that hold the tests: search them for the clause.
"""
_WEIGHTS = {"skipped": 0, "passed": 1, "failed": 2}  # of a test's cases the worst counts, one left out counts least
_ORDER = {clause: number for number, clause in enumerate(ACCEPTANCE)}


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
        """The page in Markdown: a table of counts, then the files that hold the tests of each clause."""
        clauses = sorted({*ACCEPTANCE, *self.tests}, key=lambda clause: (_ORDER.get(clause, len(_ORDER)), clause))
        states = {clause: _state(self.tests.get(clause, {})) for clause in clauses}
        sums = ", ".join(f"{count} {state}" for state, count in Counter(states.values()).most_common())
        lines = [
            _INTRODUCTION,
            f"{len(clauses)} clauses: {sums}.",
            "",
            "| clause | subject | state | tests |",
            "|---|---|---|---|",
        ]
        for clause in clauses:
            tests = self.tests.get(clause, {})
            counts = Counter(tests.values())
            summary = ", ".join(
                f"{counts[result]} {result}" for result in ("passed", "failed", "skipped") if counts[result]
            )
            cell = f"[{summary}](#{_anchor(clause)})" if tests else ""
            lines.append(f"| {clause} | {ACCEPTANCE.get(clause, '')} | {states[clause]} | {cell} |")
        for clause in clauses:
            lines += _section(clause, self.tests.get(clause, {}))
        return "\n".join(lines) + "\n"


def _state(tests: Mapping[str, str]) -> str:
    if not tests:
        return "open"
    return "met" if all(result == "passed" for result in tests.values()) else "not met"


def _anchor(clause: str) -> str:
    """The anchor of a heading on a page of Markdown: small letters, no punctuation."""
    return re.sub(r"[^a-z0-9-]", "", clause.lower())


def _section(clause: str, tests: Mapping[str, str]) -> Iterator[str]:
    files = Counter(name.partition("::")[0] for name in tests)
    if files:
        yield from ("", f"## {clause}", "")
        yield from (f"- [{file}](../{file}): {count}" for file, count in sorted(files.items()))


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
