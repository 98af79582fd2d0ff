"""`caseflow backtest`: play a historic table or log again by the law and the ticker, and compare it with its file."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from infra.backtest.historic_file import HistoricFile
from infra.backtest.mapping import load_backtest
from infra.backtest.report import BacktestReport, DifferencesFile
from infra.backtest.run import backtest, read_cases, read_until
from infra.cli.base import CODE_FAILED, CODE_USAGE, Refused, app, progress_bar, run, say
from infra.importing.mapping_tree import BadMapping
from infra.importing.rows import BadFile
from shared.kit.clock import SystemClock

HistoryFile = Annotated[Path, typer.Argument(help="A .csv, .xlsx, .ndjson or .xes file; .gz may be packed around it.")]
BacktestMappingFile = Annotated[Path, typer.Option(help="The meaning of the columns, as YAML; see docs/backtest.md.")]
AsJson = Annotated[bool, typer.Option("--json", help="The report as JSON, on stdout.")]
To = Annotated[Path | None, typer.Option(help="Where to write every difference, as CSV.")]
Until = Annotated[str | None, typer.Option(help="Play up to this moment; by default to the last one of the file.")]


_GC_YOUNG_COUNT = 50_000


@app.command(name="backtest")
def backtest_file(
    file: HistoryFile, mapping: BacktestMappingFile, json: AsJson = False, differences: To = None, until: Until = None
) -> None:
    """Play a historic file and report warnings and overdue cases. Ends with 1 for an unexplained difference."""
    report = run(_backtest(file, mapping, differences, until), "interrupted; nothing was kept")
    if json:
        typer.echo(to_json(report.as_json(), indent=2))
    else:
        for line in report.as_text():
            typer.echo(line)
    say(f"played {report.played} cases in {report.seconds:.1f} s")
    if not report.deadlines:
        say("no case had a deadline; see what was left out, and `due`, `limits` and `leave_out` of the mapping")
    if not report.good:
        raise typer.Exit(CODE_FAILED)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Collect garbage less often and not among long-lived objects, which takes a tenth of the time off."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG_COUNT)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def _backtest(file: Path, mapping_file: Path, differences: Path | None, given: str | None) -> BacktestReport:
    try:
        mapping = load_backtest(mapping_file)
        until = read_until(mapping, given)
        say(f"{file.name} is read by {mapping_file.name}, then played")
        with progress_bar(f"reading {file.name}", None) as tell:
            source = HistoricFile(file, mapping, lambda rows: tell(rows, "rows"))
            cases = await read_cases(source)
    except (BadMapping, BadFile) as error:
        raise Refused(str(error), CODE_USAGE) from None
    reading = source.counts
    total = reading.cases - sum(reading.left_out.values())
    clock = SystemClock()
    until = until or reading.last or clock.now()
    if until > clock.now():
        say(f"the file goes on to {until.date()}, which is to come; if that is no real time, name it under `empty`")
    out = nullcontext() if differences is None else differences.open("w", encoding="utf-8-sig", newline="")
    with out as opened, _few_collections(), progress_bar(f"playing {file.name}", total) as played:
        rows = DifferencesFile(opened)
        return await backtest(source, cases, mapping, until, rows, clock, lambda done: played(done, "cases"))
