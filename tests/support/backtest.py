"""A backtest of a small table for a test: rows in, comparisons out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.backtest.comparison import CaseComparison, ComparedCase
from infra.backtest.historic_file import HistoricFile
from infra.backtest.mapping import BacktestMapping
from infra.backtest.playback import Playback
from infra.backtest.report import BacktestReport
from infra.backtest.run import read_cases, read_until

TABLE: dict[str, Any] = {
    "source": "table", "id": "id", "time_zone": "Europe/Amsterdam", "registered": "start", "settled": "end",
    "due": "due",
}  # fmt: skip
LOG: dict[str, Any] = {
    "source": "log", "rows": "events", "id": "id", "time_zone": "Europe/Amsterdam", "time": "time", "activity": "act",
}  # fmt: skip


def lived(
    folder: Path, base: dict[str, Any], lines: Sequence[str], **more: Any
) -> tuple[dict[str, ComparedCase], BacktestReport]:
    """Play the rows of a CSV (heading first) by a mapping. Returns the compared cases by id, and the report."""
    file = folder / "lived.csv"
    file.write_text("\n".join((*lines, "")), "utf-8")
    mapping = BacktestMapping.model_validate(base | more)
    compared_cases: dict[str, ComparedCase] = {}
    _, report = asyncio.run(played(file, mapping, compared_cases))
    return compared_cases, report


async def played(
    file: Path, mapping: BacktestMapping, compared_cases: dict[str, ComparedCase] | None = None
) -> tuple[Playback, BacktestReport]:
    """Play a file by a mapping; `compared_cases` receives the compared cases by id."""
    compared_cases = {} if compared_cases is None else compared_cases
    source = HistoricFile(file, mapping)
    cases = await read_cases(source)
    until = read_until(mapping, None) or source.counts.last
    assert until is not None, "a table has times"
    play, comparison, report = (
        Playback(mapping, until),
        CaseComparison(mapping, until),
        BacktestReport(mapping, until, source.counts),
    )
    async for case in play.run(cases):
        compared = comparison.compare(case)
        assert case.case.id not in compared_cases, "a case is compared once"
        compared_cases[case.case.id] = compared
        report.add(compared)
    report.later = play.later_count
    return play, report
