"""`caseflow events`, `fsck` and `rebuild`: the log as it is, whether it is as it must be, its tables anew."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from infra.cli.base import CODE_USAGE, DataFolder, Refused, app, fail, hook, progress_bar, run, say, settings
from infra.operations.rebuild import (
    TABLE_STATEMENTS,
    Checksums,
    OpenReadModel,
    connected,
    read_models,
    rebuild,
    table_differences,
)
from infra.servers.attach import Servers, is_external, servers
from infra.servers.services import OWNERS
from shared.case.base import Address, Owner, Position, Recorded, Unknown
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Failpoints
from shared.kit.problems import Unavailable
from shared.kit.seal import unseal_fields
from shared.kit.settings import Settings
from shared.log import fsck as judge
from shared.log.case_numbers import parse_case_number
from shared.log.connection import connect
from shared.log.jetstream import JetStreamLog
from shared.log.port import Log, NoArea
from shared.log.topology import Topology

After = Annotated[list[str] | None, typer.Option(help="Only what comes after, as LOG_5101:17; once per stream.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only events of this type, as case.assigned.")]
CaseOption = Annotated[str | None, typer.Option(help="Only this case or order, by id or number.")]
Follow = Annotated[bool, typer.Option(help="Go on with what comes.")]


def own_settings(data: Path | None) -> Settings:
    """The settings of the environment with this data folder. Exits when there is nothing in it to look at."""
    own = settings()
    own = own.model_copy(update={"data": data or own.data})
    if not is_external(own) and not (own.data / "nats").exists():
        raise fail(f"there is no data in {own.data.resolve()}: name its folder by --data or CASEFLOW_DATA", CODE_USAGE)
    return own


@asynccontextmanager
async def open_log(backends: Servers, user: str) -> AsyncIterator[Log]:
    """The log for reading, as a service's user. Raises Unavailable."""
    own = backends.settings(user)
    password = own.nats_password.get_secret_value() or None
    connection = await connect(own.nats_url, user=own.nats_user or None, password=password, name=f"caseflow {user}")
    try:
        yield JetStreamLog(connection, Topology(tuple(own.areas), own.replicas))
    finally:
        await connection.close()


@app.command(name="events")
def print_events(
    after: After = None, follow: Follow = False, type: Types = None, case: CaseOption = None, data: DataFolder = None
) -> None:
    """Print the flow facts of the log, one JSON object a line; content stays sealed and is left out."""
    run(_events(own_settings(data), after or [], follow, frozenset(type or ()), case))


async def _events(own: Settings, after: Sequence[str], follow: bool, types: frozenset[str], case: str | None) -> None:
    async with servers(own, say) as backends, open_log(backends, Owner.REPORTING) as log:
        places = _places(after, log.streams())
        if case is not None:
            address = await _address(log, case)
            for recorded in await log.load(address, places[log.stream_of(address)]):
                _print(recorded, types)
            if not follow:
                return
            places[log.stream_of(address)] = await log.end(log.stream_of(address))
        selected = None if case is None else address
        if follow:
            async with asyncio.TaskGroup() as group:
                for stream, at in places.items():
                    group.create_task(_stream(log, stream, at, None, types, selected))
        for stream, at in places.items():
            await _stream(log, stream, at, await log.end(stream), types, selected)


async def _stream(
    log: Log, stream: str, after: int, end: int | None, types: frozenset[str], selected: Address | None
) -> None:
    """Print a stream from a place on, up to `end` or for ever."""
    if end is not None and after >= end:
        return
    async with aclosing(log.follow(stream, after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for recorded in batch:
                if selected is None or recorded.address == selected:
                    _print(recorded, types)
            sys.stdout.flush()
            if end is not None and batch[-1].position is not None and batch[-1].position.sequence >= end:
                return


def _print(recorded: Recorded[Any], types: frozenset[str]) -> None:
    if not types or recorded.type in types:
        sys.stdout.buffer.write(to_json(flow_facts(recorded)) + b"\n")


def flow_facts(recorded: Recorded[Any]) -> dict[str, Any]:
    """An event without its content: private fields are left out, of an event of a newer program all facts are."""
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


def _places(after: Sequence[str], streams: Sequence[str]) -> dict[str, int]:
    """Where to begin in each stream. Raises Refused."""
    places = dict.fromkeys(streams, 0)
    for text in after:
        try:
            position = Position.parse(text)
        except ValueError as error:
            raise Refused(f"--after: {error}", CODE_USAGE) from None
        if position.stream not in places:
            raise Refused(f"--after: there is no stream {position.stream}; there are {', '.join(streams)}", CODE_USAGE)
        places[position.stream] = position.sequence
    return places


async def _address(log: Log, text: str) -> Address:
    """A case or order by id or number. Raises Refused."""
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
        bool, typer.Option(help="Nobody writes and all reactions have caught up: what had to follow is asked too.")
    ] = False,
    tables: Annotated[bool, typer.Option(help="Compare the read models with a fresh replay.")] = True,
) -> None:
    """Judge the whole log: foldable, lawful, sealed, with its keys; read models equal to a fresh replay."""
    run(_fsck(own_settings(data), settled, tables))


async def _fsck(own: Settings, settled: bool, tables: bool) -> None:
    clock = SystemClock()
    async with servers(own, say) as backends, connected(backends, clock, OWNERS) as services:
        intake = services[Owner.INTAKE].data
        total = sum([await intake.log.end(stream) for stream in intake.log.streams()])
        done_of: dict[str, int] = {}
        with progress_bar("judging events", total) as tell:

            def shown(stream: str, done: int, end: int) -> None:
                done_of[stream] = done
                tell(sum(done_of.values()), stream)

            async def claimed(subjects: Collection[str]) -> set[str]:
                rows = await intake.database.using(TABLE_STATEMENTS).fetch("claimed", list(subjects))
                return {row["subject"] for row in rows}

            def compared(model: OpenReadModel) -> judge.ReadModelComparison:
                return lambda: table_differences(
                    model, backends, clock, lambda *_: tell(total, f"replaying {model.name}")
                )

            models = {model.name: compared(model) for model in read_models(services)} if tables else {}
            questions = judge.FsckLookups(
                keys=intake.vault.keys, unseal=unseal_fields, claimed=claimed, read_models=models
            )
            report = await judge.check_log(intake.log, questions, settled=settled, progress=shown)
    for finding in report.findings:
        typer.echo(str(finding))
    say(
        f"{report.events} events of {report.aggregates} cases and orders, {report.sealed} seals opened,"
        f" {len(models)} read models compared; {report.finding_count} findings"
    )
    if report.newer:
        say(f"{report.newer} events are newer than this program and were not judged: update it")
    if not report.clean:
        raise typer.Exit(1)


@app.command(name="rebuild")
def rebuild_models(
    service: Annotated[Owner | None, typer.Argument(help="routing or reporting; all when left out.")] = None,
    data: DataFolder = None,
    fresh: Annotated[bool, typer.Option(help="Begin anew where a rebuild was interrupted.")] = False,
) -> None:
    """Make the tables of read models anew from the log; an interrupted rebuild goes on where it was."""
    again = "interrupted; run the same command again and it goes on where it was"
    run(_rebuild(own_settings(data), service, fresh), again)


async def _rebuild(own: Settings, service: Owner | None, fresh: bool) -> None:
    clock = SystemClock()
    owners = OWNERS if service is None else (service,)
    async with servers(own, say) as backends, connected(backends, clock, owners, Failpoints(hook(own))) as services:
        models = read_models(services)
        if not models:
            say(f"{service} keeps no read model: nothing to rebuild")
        for model in models:
            await _rebuild_one(own, model, fresh)


async def _rebuild_one(own: Settings, model: OpenReadModel, fresh: bool) -> None:
    note = own.data / "rebuild" / model.name  # there while a rebuild is under way
    resume = note.exists() and not fresh
    before: Checksums = {}
    if not resume:
        async with model.database.session() as session:
            before = await model.checksums(session)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()
    total = sum([await model.log.end(stream) for stream in model.log.streams()])
    done_of: dict[str, int] = {}
    if resume:
        say(f"{model.name}: going on with the rebuild that was interrupted")
    with progress_bar(f"rebuilding {model.name}", total) as tell:

        def shown(stream: str, done: int, end: int) -> None:
            done_of[stream] = done
            tell(sum(done_of.values()), stream)

        try:
            await rebuild(model, resume, shown)
        except Unavailable as error:
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
