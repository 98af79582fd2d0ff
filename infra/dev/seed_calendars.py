"""The first calendars: the days off and made up of 2004 to 2026, from the package chinese-calendar.

`make generate` writes them into the demo, and a test compares them. A later year is published by `caseflow reference
load` when the State Council has announced it; until then it is provisional.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from importlib.metadata import version

from chinese_calendar.constants import holidays, workdays

from infra.dev import CHECKOUT

SEED = CHECKOUT / "shared" / "reference" / "demo" / "calendars.yaml"
OFFICE = ("09:00-12:00", "13:00-17:00")


def seed() -> str:
    """The YAML of the document. Raises ValueError when the package has a year without days."""
    years = range(min(holidays).year, max(holidays).year + 1)
    lines = [
        "# The days off and made up of each year. Written by `make generate` from the package chinese-calendar",
        f"# {version('chinese-calendar')} (infra/dev/seed_calendars.py): edit nothing here. A later year is published",
        "# by `caseflow reference load` when its notice is out (docs/calendars.md); the years before it stay.",
        "kind: calendars",
        f"note: 国务院办公厅 {years[0]}—{years[-1]} 年节假日安排；演示的办公时间",
        "rows:",
    ]
    for year in years:
        off, made_up = _days(holidays, year), _days(workdays, year)
        if not off:
            raise ValueError(f"chinese-calendar has no days off for {year}; pin a release that has")
        lines += [f'  "{year}":', f"    notice: 国务院办公厅关于 {year} 年部分节假日安排的通知"]
        lines += [f"    holidays: [{off}]", f"    makeup: [{made_up}]"]
    return "\n".join([*lines, f"    office: [{', '.join(OFFICE)}]", ""])


def is_current() -> bool:
    """Whether the demo has what the package says."""
    return SEED.exists() and SEED.read_text("utf-8") == seed()


def _days(days: Iterable[date], year: int) -> str:
    return ", ".join(sorted(day.isoformat() for day in days if day.year == year))
