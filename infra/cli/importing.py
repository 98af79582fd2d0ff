"""`caseflow import`: the rows of a file become cases, registered, assigned, settled and closed at their own times."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.base import CODE_USAGE, DataFolder, Refused, app, hook, progress_bar, read_settings, run, say
from infra.importing.dry_run import judge_rows
from infra.importing.file_rows import check_columns
from infra.importing.import_run import ImportJournal, ImportPosition, ImportRun
from infra.importing.mapping import ImportMapping, load_mapping
from infra.importing.mapping_tree import BadMapping
from infra.importing.plan import ImportPlan, make_plan
from infra.importing.row_importer import RowImporter, RowOutcome, import_runtime, open_row_importer
from infra.importing.rows import BadFile
from infra.servers.attach import is_external, open_servers
from infra.servers.composition import running
from infra.servers.folder import Folder
from infra.servers.services import OWNERS
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.settings import Settings

TableFile = Annotated[
    Path, typer.Argument(help="A .csv, .xlsx, .ndjson or .json file; its first line names the columns.")
]
MappingFile = Annotated[Path, typer.Option(help="The meaning of the columns, as YAML; see docs/import.md.")]
RejectedFile = Annotated[Path | None, typer.Option(help="The file for rejected rows; <file>.rejected.csv by default.")]
Dry = Annotated[bool, typer.Option("--check", help="Read and check every row without sending anything.")]


@app.command(name="import")
def import_file(
    file: TableFile, mapping: MappingFile, data: DataFolder = None, rejected: RejectedFile = None, check: Dry = False
) -> None:
    """Import cases from a file. A repetition changes nothing; an interrupted import resumes where it was."""
    settings = read_settings(data)
    rejected = rejected or file.with_name(file.name + ".rejected.csv")
    again = "interrupted; run the same command again and it goes on where it was"
    run(_check(settings, file, mapping) if check else _import(settings, file, mapping, rejected), again)


def _read(file: Path, mapping_file: Path) -> tuple[ImportMapping, ImportPlan]:
    """The mapping, checked against the file, and the import plan. Raises Refused."""
    try:
        mapping = load_mapping(mapping_file)
        check_columns(file, mapping)
        with progress_bar(f"looking through {file.name}", None) as show_progress:
            plan = make_plan(file, mapping, SystemClock().now(), show_progress)
    except (BadMapping, BadFile) as error:
        raise Refused(str(error), CODE_USAGE) from None
    repeats = f", {len(plan.repeats)} repeat an open case" if mapping.repeats else ""
    say(f"{file.name} has {plan.rows} rows{repeats}")
    for line in (*plan.warnings, *plan.statuses()):
        say(line)
    if plan.warnings_count > len(plan.warnings):
        say(f"{plan.warnings_count - len(plan.warnings)} more rows like these")
    return mapping, plan


async def _check(settings: Settings, file: Path, mapping_file: Path) -> None:
    """Judge each row, against the documents in force too where an installation is there."""
    mapping, plan = _read(file, mapping_file)
    clock = SystemClock()
    if is_external(settings) or Folder(settings.data).postgres.exists():
        async with open_servers(settings, say) as servers, open_row_importer(servers, mapping, clock) as row_importer:
            await _check_names(row_importer, mapping)
            counts, examples = await asyncio.to_thread(
                judge_rows, file, mapping, plan, clock.now(), row_importer.check_place
            )
    else:
        say(f"there is no installation at {settings.data}, so people, units and regions were not looked at")
        counts, examples = judge_rows(file, mapping, plan, clock.now())
    for line in examples:
        say(line)
    say(f"would be registered {counts['registered']}, attached {counts['attached']}, rejected {counts['rejected']}")
    if counts["rejected"]:
        raise typer.Exit(1)


async def _import(settings: Settings, file: Path, mapping_file: Path, rejected: Path) -> None:
    mapping, plan = _read(file, mapping_file)
    clock, failpoints = SystemClock(), Failpoints(hook(settings))
    position_file = settings.data / "import" / f"{mapping.source}.json"
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(settings, say))
        if servers.started_here:  # then reactions and projections run in this process
            settings_by_owner = {owner: servers.settings(owner) for owner in OWNERS}
            await stack.enter_async_context(running(settings_by_owner, import_runtime(clock, failpoints)))
        row_importer = await stack.enter_async_context(open_row_importer(servers, mapping, clock, failpoints))
        await _check_names(row_importer, mapping)
        journal = ImportJournal(position_file, rejected, file, mapping_file)
        import_run = ImportRun(file, mapping, plan, row_importer, journal, clock)
        before = import_run.position.read
        if before:
            say(f"going on after {before} rows")
        started = clock.monotonic()
        with progress_bar(f"importing {file.name}", plan.rows, before) as show_progress:

            def show(position: ImportPosition) -> None:
                rate = (position.read - before) / max(clock.monotonic() - started, 0.001)
                show_progress(position.read, f"{position.phase}, {rate:.0f}/s")

            import_run.progress = show
            done = await import_run.run()
        _report(done, clock.monotonic() - started, rejected, before)


async def _check_names(row_importer: RowImporter, mapping: ImportMapping) -> None:
    """Check the names in the mapping. Raises Refused for unknown ones."""
    faults = list(row_importer.unknown())
    if faults:
        raise Refused("\n".join(faults), CODE_USAGE)


def _report(position: ImportPosition, seconds: float, rejected: Path, before: int) -> None:
    """Say the counts of the whole file; the seconds are those of this run."""
    counts = position.counts
    gone_on = f", from row {before + 1} of them on" if before else ""
    outcomes = ", ".join(f"{name} {counts[name]}" for name in (*(outcome.value for outcome in RowOutcome), "rejected"))
    say(f"read {position.read} = {outcomes} ({seconds:.1f} s{gone_on})")
    ended = ", ".join(f"{status} {count}" for status, count in sorted(position.ended.items()))
    say(f"cases now: {ended or 'none'}; by the fallback unit {counts['by fallback']}")
    waiting = position.ended["awaiting_triage"]
    if waiting:
        say(f"{waiting} wait at the triage desk: no rule takes them and the mapping names no fallback")
    if counts["rejected"]:
        say(f"rejected rows with their reasons: {rejected}")
