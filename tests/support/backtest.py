"""A small table lived again in a test: rows in, verdicts out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.backtest.judge import Judge, Judged
from infra.backtest.mapping import Backtest
from infra.backtest.play import Play
from infra.backtest.report import BacktestReport
from infra.backtest.run import read_cases, read_until
from infra.backtest.source import CaseSource

TABLE: dict[str, Any] = {
    "source": "table", "id": "id", "time_zone": "Europe/Amsterdam", "registered": "start", "settled": "end",
    "due": "due",
}  # fmt: skip
LOG: dict[str, Any] = {
    "source": "log", "rows": "events", "id": "id", "time_zone": "Europe/Amsterdam", "time": "time", "activity": "act",
}  # fmt: skip


def lived(
    folder: Path, base: dict[str, Any], lines: Sequence[str], **more: Any
) -> tuple[dict[str, Judged], BacktestReport]:
    """The rows of a CSV, the heading first, played by a mapping: each case by its id, and the report."""
    file = folder / "lived.csv"
    file.write_text("\n".join((*lines, "")), "utf-8")
    mapping = Backtest.model_validate(base | more)
    return asyncio.run(_lived(file, mapping))


async def _lived(file: Path, mapping: Backtest) -> tuple[dict[str, Judged], BacktestReport]:
    source = CaseSource(file, mapping)
    cases = await read_cases(source)
    until = read_until(mapping, None) or source.tally.last
    assert until is not None, "a table says when something happened"
    play, judge, report = Play(mapping, until), Judge(mapping, until), BacktestReport(mapping, until, source.tally)
    found: dict[str, Judged] = {}
    async for played in play.run(cases):
        judged = judge.judge(played)
        assert played.case.id not in found, "a case comes out once"
        found[played.case.id] = judged
        report.add(judged)
    report.later = play.later_count
    return found, report
