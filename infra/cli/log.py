"""`caseflow events`, `fsck` and `rebuild`: print the log, check it, and rebuild the tables that follow from it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from infra.cli.base import (
    CODE_USAGE,
    DataFolder,
    Refused,
    app,
    fail,
    hook,
    progress_bar,
    read_settings,
    run,
    say,
    sum_of_streams,
)
from infra.operations.rebuild import (
    TABLE_STATEMENTS,
    Checksums,
    OpenReadModel,
    connected,
    read_models,
    rebuild,
    table_differences,
)
from infra.servers.attach import Servers, is_external, open_servers
from infra.servers.services import OWNERS
from shared.case.base import Address, Owner, Position, Recorded, Unknown
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.json_lines import as_one_line
from shared.kit.projections import KeptElsewhere
from shared.kit.runtime import Runtime
from shared.kit.seal import unseal_fields
from shared.kit.service import connect_as
from shared.kit.settings import Settings
from shared.log.case_numbers import parse_case_number
from shared.log.fsck import FsckLookups, ReadModelComparison, check_log
from shared.log.jetstream import JetStreamLog
from shared.log.port import Log, NoArea
from shared.log.topology import Topology

AfterOption = Annotated[
    list[str] | None, typer.Option(help="Only events after a position, as LOG_5101:17; once per stream.")
]
TypesOption = Annotated[list[str] | None, typer.Option("--type", help="Only events of this type, as case.assigned.")]
CaseOption = Annotated[str | None, typer.Option(help="Only this case or order, by id or number.")]
FollowOption = Annotated[bool, typer.Option(help="Continue with new events.")]


def own_settings(data: Path | None) -> Settings:
    """The settings of the environment with this data folder. Exits when the folder holds no data."""
    settings = read_settings(data)
    if not is_external(settings) and not (settings.data / "nats").exists():
        raise fail(
            f"there is no data in {settings.data.resolve()}: name its folder by --data or CASEFLOW_DATA", CODE_USAGE
        )
    return settings


@asynccontextmanager
async def open_log(servers: Servers, user: str) -> AsyncIterator[Log]:
    """The log, for reading, as the user of a service. Raises LogUnavailable."""
    settings = servers.settings(user)
    connection = await connect_as(settings, user)
    try:
        yield JetStreamLog(connection, Topology(tuple(settings.areas), settings.replicas))
    finally:
        await connection.close()


@app.command(name="events")
def print_events(
    after: AfterOption = None,
    follow: FollowOption = False,
    type: TypesOption = None,
    case: CaseOption = None,
    data: DataFolder = None,
) -> None:
    """Print the flow facts of the log, one JSON object per line, without content."""
    run(_events(own_settings(data), after or [], follow, frozenset(type or ()), case))


async def _events(
    settings: Settings, after: Sequence[str], follow: bool, types: frozenset[str], case: str | None
) -> None:
    async with open_servers(settings, say) as servers, open_log(servers, Owner.REPORTING) as log:
        positions, only = _start_positions(after, log.streams()), None
        if case is not None:
            only = await _address(log, case)
            stream = log.stream_of(only)
            positions = {stream: await _history(log, only, positions[stream], types)}
            if not follow:
                return
        if follow:
            async with asyncio.TaskGroup() as group:
                for stream, sequence in positions.items():
                    group.create_task(_stream(log, stream, sequence, None, types, only))
        for stream, sequence in positions.items():
            await _stream(log, stream, sequence, await log.end(stream), types, only)


async def _history(log: Log, address: Address, after: int, types: frozenset[str]) -> int:
    """Print the events of a case or order after a sequence; the sequence up to which its stream needs no reading."""
    end = await log.end(log.stream_of(address))  # asked for first, so that no event falls between
    for recorded in await log.load(address, after):
        _print(recorded, types)
        end = max(end, recorded.position.sequence if recorded.position else 0)
    sys.stdout.flush()
    return end


async def _stream(
    log: Log, stream: str, after: int, end: int | None, types: frozenset[str], only: Address | None
) -> None:
    """Print the events of a stream after a sequence, up to `end` or without end."""
    if end is not None and after >= end:
        return
    async with aclosing(log.follow(stream, after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for recorded in batch:
                if only is None or recorded.address == only:
                    _print(recorded, types)
            sys.stdout.flush()
            if end is not None and batch[-1].position is not None and batch[-1].position.sequence >= end:
                return


def _print(recorded: Recorded[Any], types: frozenset[str]) -> None:
    if not types or recorded.type in types:
        sys.stdout.buffer.write(as_one_line(to_json(flow_facts(recorded))) + b"\n")


def flow_facts(recorded: Recorded[Any]) -> dict[str, Any]:
    """An event without its content: without private fields, and without all facts of a newer program's event."""
    meta, event = recorded.meta, recorded.event
    facts: dict[str, Any] = {}
    if not isinstance(event, Unknown):
        facts = event.model_dump(mode="json", exclude=set(event.PRIVATE), exclude_defaults=True)
    return {
        "position": str(recorded.position),
        "type": recorded.type,
        "version": event.version if isinstance(event, Unknown) else event.VERSION,
        "id": recorded.id,
        "case": recorded.address.id,
        "subject": recorded.address.subject,
        "time": meta.time,
        "recorded_at": meta.recorded_at,
        "actor": meta.actor.model_dump(mode="json"),
        "command_id": meta.command_id,
        "causation_id": meta.causation_id,
        "references": meta.references,
        "facts": facts,
    }


def _start_positions(after: Sequence[str], streams: Sequence[str]) -> dict[str, int]:
    """The sequence after which to begin, by stream. Raises Refused."""
    positions = dict.fromkeys(streams, 0)
    for text in after:
        try:
            position = Position.parse(text)
        except ValueError as error:
            raise Refused(f"--after: {error}", CODE_USAGE) from None
        if position.stream not in positions:
            raise Refused(f"--after: there is no stream {position.stream}; there are {', '.join(streams)}", CODE_USAGE)
        positions[position.stream] = position.sequence
    return positions


async def _address(log: Log, text: str) -> Address:
    """The address of a case or order, by id or number. Raises Refused."""
    try:
        for kind in ("case", "order"):
            address = Address.of(kind, text)
            if await log.load(address):
                return address
        raise Refused(f"--case: the log holds nothing of {text}", CODE_USAGE)
    except ValueError:
        pass
    except NoArea as error:
        raise Refused(f"--case: {error}", CODE_USAGE) from None
    try:
        recorded = await log.at(parse_case_number(text, log.streams()))
    except ValueError as error:
        raise Refused(f"--case: neither an id nor a number: {error}", CODE_USAGE) from None
    if recorded is None:
        raise Refused("--case: no case has this number", CODE_USAGE)
    return recorded.address


@app.command()
def fsck(
    data: DataFolder = None,
    settled: Annotated[
        bool, typer.Option(help="Nobody writes and all reactions have caught up; check their results too.")
    ] = False,
    tables: Annotated[bool, typer.Option(help="Compare the read models with a fresh replay.")] = True,
) -> None:
    """Check the whole log against the law, its seals and keys, and the read models against a fresh replay."""
    run(_fsck(own_settings(data), settled, tables))


async def _fsck(settings: Settings, settled: bool, tables: bool) -> None:
    clock = SystemClock()
    async with open_servers(settings, say) as servers, connected(servers, clock, OWNERS) as services:
        intake = services[Owner.INTAKE].data
        total = sum([await intake.log.end(stream) for stream in intake.log.streams()])
        with progress_bar("checking events", total) as show_progress:

            async def claimed(subjects: Collection[str]) -> set[str]:
                rows = await intake.database.using(TABLE_STATEMENTS).fetch("claimed", list(subjects))
                return {row["subject"] for row in rows}

            def compared(model: OpenReadModel) -> ReadModelComparison:
                return lambda: table_differences(
                    model, servers, clock, lambda *_: show_progress(total, f"replaying {model.name}")
                )

            models = {model.name: compared(model) for model in read_models(services)} if tables else {}
            lookups = FsckLookups(keys=intake.vault.keys, unseal=unseal_fields, claimed=claimed, read_models=models)
            report = await check_log(intake.log, lookups, settled=settled, progress=sum_of_streams(show_progress))
    for finding in report.findings:
        typer.echo(str(finding))
    say(
        f"{report.events} events of {report.aggregates} cases and orders, {report.sealed} seals opened,"
        f" {len(models)} read models compared; {report.finding_count} findings"
    )
    if report.newer:
        say(f"{report.newer} events are newer than this program and were not checked: update it")
    if not report.clean:
        raise typer.Exit(1)


@app.command(name="rebuild")
def rebuild_models(
    service: Annotated[Owner | None, typer.Argument(help="routing, supervision or reporting; else all.")] = None,
    data: DataFolder = None,
    fresh: Annotated[bool, typer.Option(help="Begin anew in place of resuming an interrupted rebuild.")] = False,
) -> None:
    """Rebuild the tables of read models from the log; an interrupted rebuild resumes where it was."""
    again = "interrupted; run the same command again and it goes on where it was"
    run(_rebuild(own_settings(data), service, fresh), again)


async def _rebuild(settings: Settings, service: Owner | None, fresh: bool) -> None:
    clock = SystemClock()
    owners = OWNERS if service is None else (service,)
    async with (
        open_servers(settings, say) as servers,
        connected(servers, clock, owners, Runtime.of(clock, failpoints=Failpoints(hook(settings)))) as services,
    ):
        models = read_models(services)
        if not models:
            say(f"{service} keeps no read model: nothing to rebuild")
        for model in models:
            await _rebuild_one(settings, model, fresh)


async def _rebuild_one(settings: Settings, model: OpenReadModel, fresh: bool) -> None:
    note = settings.data / "rebuild" / model.name  # exists during a rebuild
    interrupted = note.exists()
    resume = interrupted and not fresh
    before: Checksums = {}
    if not resume:
        async with model.database.session() as session:
            before = await model.checksums(session)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()
    total = sum([await model.log.end(stream) for stream in model.log.streams()])
    if resume:
        say(f"{model.name}: going on with the rebuild that was interrupted")
    with progress_bar(f"rebuilding {model.name}", total) as show_progress:
        try:
            await rebuild(model, resume, sum_of_streams(show_progress))
        except KeptElsewhere as error:  # nothing was begun; the note of an interrupted rebuild stays
            if not interrupted:
                note.unlink()
            raise Refused(f"{model.name}: {error.problem.detail}") from None
    note.unlink()
    async with model.database.session() as session:
        after = await model.checksums(session)
    for table, (rows, checksum) in after.items():
        was = before.get(table)
        verdict = (
            "" if was is None else "  as before" if was == (rows, checksum) else f"  before: {was[0]} rows {was[1]}"
        )
        typer.echo(f"{model.service.owner}.{table:<12} {rows:>10} rows  checksum {checksum}{verdict}")
