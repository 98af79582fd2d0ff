"""A back-test from the file to its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import attrgetter

from infra.backtest.comparison import CaseComparison
from infra.backtest.disk_sort import sorted_on_disk
from infra.backtest.historic_file import HistoricCase, HistoricFile
from infra.backtest.mapping import BacktestMapping
from infra.backtest.playback import Playback
from infra.backtest.report import BacktestReport, DifferencesFile
from infra.importing.file_times import BadTime, BareDay, TimeReader
from infra.importing.mapping_tree import BadMapping
from shared.kit.clock import Clock

OnProgress = Callable[[int], None]


def read_until(mapping: BacktestMapping, given: str | None) -> datetime | None:
    """The end of the playback, from the option or the mapping; None without either. Raises BadMapping."""
    text = given or mapping.until
    if text is None:
        return None
    try:
        return TimeReader(mapping.zone, mapping.time_formats).read(text, BareDay.LAST).at
    except BadTime as error:
        raise BadMapping(f"until: {text!r} {error}; write one like 2012-01-31 or 2012-01-31T18:00+01:00") from None


async def read_cases(source: HistoricFile) -> Iterator[HistoricCase]:
    """The cases in order of their beginning, after the whole file is read. Raises BadFile, BadMapping."""
    try:
        return await asyncio.to_thread(_cases_of, source)  # so that an interruption takes effect
    except asyncio.CancelledError:
        source.stop()
        raise


def _cases_of(source: HistoricFile) -> Iterator[HistoricCase]:
    ordered = sorted_on_disk(source.cases(), attrgetter("began"))
    first = next(ordered, None)

    def again() -> Iterator[HistoricCase]:
        if first is not None:
            yield first
            yield from ordered

    return again()


async def backtest(
    source: HistoricFile, cases: Iterator[HistoricCase], mapping: BacktestMapping, until: datetime,
    differences: DifferencesFile, clock: Clock, on_progress: OnProgress,
) -> BacktestReport:  # fmt: skip
    """Play the cases and count the results. `on_progress` is called with the count of played cases."""
    started = clock.monotonic()
    report, comparison, playback = (
        BacktestReport(mapping, until, source.counts),
        CaseComparison(mapping, until),
        Playback(mapping, until),
    )
    async for played in playback.run(cases):
        row = report.add(comparison.compare(played))
        if row is not None:
            differences.write(row)
        if report.began is None or played.case.began < report.began:
            report.began = played.case.began
        on_progress(report.played)
    report.later = playback.later_count
    report.seconds = clock.monotonic() - started
    return report
