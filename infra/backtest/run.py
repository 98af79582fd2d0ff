"""One back-test from a file to its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import attrgetter

from infra.backtest.judge import Judge
from infra.backtest.mapping import Backtest
from infra.backtest.play import Play
from infra.backtest.report import BacktestReport, Differences
from infra.backtest.source import CaseSource, HistoricCase
from infra.backtest.spill import sorted_on_disk
from infra.backtest.times import Alone, BadTime, Times
from infra.importing.tree import BadMapping
from shared.kit.clock import Clock

OnProgress = Callable[[int], None]


def read_until(mapping: Backtest, given: str | None) -> datetime | None:
    """The moment up to which to play, if one is named. Raises BadMapping."""
    text = given or mapping.until
    if text is None:
        return None
    try:
        return Times(mapping.zone, mapping.time_formats).read(text, Alone.LAST).at
    except BadTime as error:
        raise BadMapping(f"until: {text!r} {error}; write one like 2012-01-31 or 2012-01-31T18:00+01:00") from None


async def read_cases(source: CaseSource) -> Iterator[HistoricCase]:
    """The cases in order of their beginning, when the whole file is read. Raises BadFile, BadMapping."""
    try:
        return await asyncio.to_thread(_cases_of, source)  # so that an interruption is heard
    except asyncio.CancelledError:
        source.stop()
        raise


def _cases_of(source: CaseSource) -> Iterator[HistoricCase]:
    ordered = sorted_on_disk(source.cases(), attrgetter("began"))
    first = next(ordered, None)

    def again() -> Iterator[HistoricCase]:
        if first is not None:
            yield first
            yield from ordered

    return again()


async def backtest(
    source: CaseSource, cases: Iterator[HistoricCase], mapping: Backtest, until: datetime, differences: Differences,
    clock: Clock, tell: OnProgress,
) -> BacktestReport:  # fmt: skip
    """Play the cases and count. `tell` hears how many are over."""
    started = clock.monotonic()
    report, judge, play = BacktestReport(mapping, until, source.tally), Judge(mapping, until), Play(mapping, until)
    async for played in play.run(cases):
        row = report.add(judge.judge(played))
        if row is not None:
            differences.write(row)
        if report.began is None or played.case.began < report.began:
            report.began = played.case.began
        tell(report.played)
    report.later = play.later_count
    report.seconds = clock.monotonic() - started
    return report
