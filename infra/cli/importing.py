"""`caseflow import`: rows of a file become cases, registered, assigned, settled and closed at their own times."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.base import CODE_USAGE, DataFolder, Refused, app, hook, progress_bar, run, say, settings
from infra.importing.file_rows import BadFile, heading_of
from infra.importing.import_run import ImportJournal, ImportPosition, ImportRun
from infra.importing.mapping import ImportMapping, load_mapping
from infra.importing.mapping_tree import BadMapping
from infra.importing.plan import ImportPlan, make_plan
from infra.importing.row_importer import ImportPhase, RowImporter, RowOutcome, open_row_importer
from infra.servers.attach import servers
from infra.servers.composition import running
from infra.servers.services import OWNERS
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings

TableFile = Annotated[Path, typer.Argument(help="A .csv, .xlsx or .ndjson file; its first line names the columns.")]
MappingFile = Annotated[Path, typer.Option(help="What the columns mean, as YAML; see docs/import.md.")]
RejectedFile = Annotated[Path | None, typer.Option(help="Where rejected rows go; <file>.rejected.csv by default.")]
Dry = Annotated[bool, typer.Option("--check", help="Read and judge every row, send nothing.")]


@app.command(name="import")
def import_file(
    file: TableFile, mapping: MappingFile, data: DataFolder = None, rejected: RejectedFile = None, check: Dry = False
) -> None:
    """Import cases from a file. Doing it again changes nothing; an interrupted import goes on where it was."""
    own = settings()
    own = own.model_copy(update={"data": data or own.data})
    rejected = rejected or file.with_name(file.name + ".rejected.csv")
    again = "interrupted; run the same command again and it goes on where it was"
    run(_check(file, mapping) if check else _import(own, file, mapping, rejected), again)


def _read(file: Path, mapping_file: Path) -> tuple[ImportMapping, ImportPlan]:
    """The mapping, checked against the file, and the plan. Raises Refused."""
    try:
        mapping = load_mapping(mapping_file)
        mapping.check(heading_of(file, mapping))
        with progress_bar(f"looking through {file.name}", None) as tell:
            plan = make_plan(file, mapping, SystemClock().now(), tell)
    except (BadMapping, BadFile) as error:
        raise Refused(str(error), CODE_USAGE) from None
    repeats = f", {len(plan.repeats)} repeat an open case" if mapping.repeats else ""
    say(f"{file.name} has {plan.rows} rows{repeats}")
    return mapping, plan


async def _check(file: Path, mapping_file: Path) -> None:
    from infra.importing.dry_run import judge_rows

    mapping, plan = _read(file, mapping_file)
    counts, examples = judge_rows(file, mapping, plan, SystemClock().now())
    for line in examples:
        say(line)
    say(f"would be registered {counts['registered']}, attached {counts['attached']}, rejected {counts['rejected']}")
    if counts["rejected"]:
        raise typer.Exit(1)


async def _import(own: Settings, file: Path, mapping_file: Path, rejected: Path) -> None:
    mapping, plan = _read(file, mapping_file)
    clock, failpoints = SystemClock(), Failpoints(hook(own))
    place = own.data / "import" / f"{mapping.source}.json"
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(servers(own, say))
        if found.own:  # nobody else reacts and projects
            each = {owner: found.settings(owner) for owner in OWNERS}
            await stack.enter_async_context(running(each, Runtime.of(clock, failpoints=failpoints)))
        carrier = await stack.enter_async_context(open_row_importer(found, mapping, clock, failpoints))
        started = clock.monotonic()
        with progress_bar(f"importing {file.name}", plan.rows) as tell:
            await _complain(carrier, mapping)
            at_start = 0

            def shown(done: int, total: int, place: ImportPosition) -> None:
                rate = (place.read - at_start) / max(clock.monotonic() - started, 0.001)
                tell(done if place.phase is ImportPhase.CASES else total, f"{place.phase}, {rate:.0f}/s")

            notebook = ImportJournal(place, rejected, file, mapping_file)
            pump = ImportRun(file, mapping, plan, carrier, notebook, clock, shown)
            at_start = pump.place.read
            if at_start:
                say(f"going on after {at_start} rows")
            done = await pump.run()
        _report(done, mapping, clock.monotonic() - started, rejected)


async def _complain(carrier: RowImporter, mapping: ImportMapping) -> None:
    """Say what the mapping names and nobody knows. Raises Refused."""
    faults = list(carrier.unknown())
    if faults:
        raise Refused("\n".join(faults), CODE_USAGE)


def _report(place: ImportPosition, mapping: ImportMapping, seconds: float, rejected: Path) -> None:
    counts = place.counts
    told = ", ".join(f"{name} {counts[name]}" for name in (*(came.value for came in RowOutcome), "rejected"))
    say(f"read {place.read} = {told} ({seconds:.1f} s)")
    ended = ", ".join(f"{status} {count}" for status, count in sorted(place.ended.items()))
    say(f"cases now: {ended or 'none'}; by the fallback unit {counts['by fallback']}")
    waiting = place.ended["awaiting_triage"]
    if waiting:
        say(f"{waiting} wait at the triage desk: no rule takes them and the mapping names no fallback")
    if counts["rejected"]:
        say(f"rejected rows with their reasons: {rejected}")
