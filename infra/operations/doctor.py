"""Checks of an installation, each failure with a remedy. They change nothing."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from infra.operations.clock_ahead import ADVICE, recorded_ahead
from infra.operations.rebuild import connected, read_models
from infra.servers import composition
from infra.servers.attach import Servers, endpoints, is_external, is_running
from infra.servers.embedded import holder_of
from infra.servers.folder import CannotStart, Folder
from infra.servers.programs import nats_program, postgres_programs, postgres_runner
from infra.servers.services import OWNERS, SERVICES
from shared.case.base import Owner
from shared.kit.clock import Clock
from shared.kit.problems import ProblemError
from shared.kit.service import RunningService, connect_as
from shared.kit.settings import MIB, BadSettings, Settings
from shared.kit.sql import Database, Statements
from shared.kit.vault import BadMaster, MasterKeys
from shared.log import topology
from shared.log.connection import ApiError, NatsConnection
from shared.log.consumers import CODE_NO_CONSUMER, CODE_NO_STREAM
from shared.log.port import LogError
from shared.log.streams import Storage, Streams, WrongTopology, check_configuration
from shared.log.topology import Topology
from shared.reference.documents import DocumentKind
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from shared.reference.validate import Gravity, validate

PYTHON_MIN = (3, 11)
FREE_BYTES_MIN = 1024**3
WRITE_STREAM = "DOCTOR"
SKEW_S_MAX = 1.0
LAG_COUNT_MAX = 10_000
DUE_S_MAX = 60
UNDELIVERED_S_MAX = 3600
_FINDINGS_SHOWN_MAX = 5
DOCTOR_STATEMENTS = Statements.load(Path(__file__).with_suffix(".sql"))


class CheckState(StrEnum):
    """The results of a check."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its result, its subject in words, and the remedy for a failure."""

    state: CheckState
    subject: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:<4} {self.subject}{f'. {self.advice}' if self.advice else ''}"


def passed(subject: str) -> Check:
    """A check that found no fault."""
    return Check(CheckState.OK, subject)


def warning(subject: str, advice: str) -> Check:
    """A check whose result a person must judge."""
    return Check(CheckState.WARN, subject, advice)


def failed(subject: str, advice: str) -> Check:
    """A check that found a fault."""
    return Check(CheckState.BAD, subject, advice)


async def examine_installation(settings: Settings, clock: Clock) -> AsyncIterator[Check]:
    """All checks that are possible from here, local ones first."""
    for check in (*_programs(settings), *_folder(settings)):
        yield check
    data = settings.data.resolve()
    if is_external(settings):
        servers = Servers(settings, None, False)
    elif is_running(data):
        try:
            servers = Servers(settings, await endpoints(data), False)
        except CannotStart as error:
            yield failed("the running copy does not get ready", str(error))
            return
    else:
        yield warning(f"nothing runs on {data}, so the servers were not looked at", "Start it by `caseflow up`")
        return
    async for check in _postgres(servers, clock):
        yield check
    async for check in _nats(servers):
        yield check
    try:
        async for check in _services(servers, clock):
            yield check
    except (LogError, ProblemError, BadSettings, BadMaster) as error:
        yield failed("the services cannot be opened", str(error))


def _programs(settings: Settings) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        yield failed(f"Python {version}", "Install Python 3.11 or newer and run `make setup`")
    else:
        yield passed(f"Python {version}")
    if is_external(settings):
        return
    for name, find in (("nats-server", nats_program), ("Postgres", postgres_programs)):
        try:
            program = Path(find())
            if program.exists():
                yield passed(f"{name}: {program}")
            else:
                yield failed(f"{name}: {program} does not exist", "Run `make setup`")
        except CannotStart as error:
            yield failed(f"{name} is missing", str(error))


def _folder(settings: Settings) -> Iterator[Check]:
    """The data folder, its secrets, the port."""
    data = settings.data.resolve()
    if is_external(settings):
        yield from _key(settings)
        return
    if not data.exists():
        yield warning(f"the data folder {data} is not there yet", "`caseflow up` makes it; CASEFLOW_DATA names another")
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield failed(
            f"{data} cannot be read and written", "Be the user who owns it, or choose another by CASEFLOW_DATA"
        )
        return
    free = shutil.disk_usage(data).free
    if free < FREE_BYTES_MIN:
        yield failed(f"{free // MIB} MiB are free under {data}", "Make room: a full disk stops every command")
    else:
        yield passed(f"data folder {data}, {free // 1024**3} GiB free")
    try:
        postgres_runner(Folder(data))
    except CannotStart as error:
        yield failed("Postgres cannot be run from here", str(error))
    yield from _secrets(data)
    yield from _key(settings)
    holder = holder_of(settings.port)
    if holder and not is_running(data):
        yield warning(f"port {settings.port} is held by {holder}", f"Stop it, or set CASEFLOW_PORT={settings.port + 1}")
    elif holder is None and is_running(data):
        yield warning(f"nobody listens on port {settings.port}", "CASEFLOW_PORT must be that of the running copy")
    else:
        yield passed(f"port {settings.port}: {'served' if holder else 'free'}")


def _secrets(data: Path) -> Iterator[Check]:
    folder = data / "secrets"
    if not folder.exists():
        return
    for file in (folder, *folder.iterdir()):
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            yield failed(f"others may read {file} (mode {mode:o})", f"chmod {'700' if file.is_dir() else '600'} it")
            return
    yield passed("secrets are private")


def _key(settings: Settings) -> Iterator[Check]:
    if not settings.master_key_file.exists() and not (settings.data / "postgres").exists():
        return
    try:
        keys = MasterKeys.load(settings.master_key_file)
    except BadMaster as error:
        yield failed("the master key cannot be used", str(error))
    else:
        yield passed(f"master key {keys.current}")


async def _postgres(servers: Servers, clock: Clock) -> AsyncIterator[Check]:
    """Postgres: access of each role, durability, clock, schemas and migrations."""
    admin = servers.settings("admin")
    for role in (*map(str, OWNERS), "vault"):
        try:
            database = await Database.connect(admin.dsn(role), DOCTOR_STATEMENTS, role, 1)
            await database.close()
        except Exception as error:
            yield failed(
                f"Postgres does not take role {role} ({type(error).__name__})", f"Check CASEFLOW_PG_DSN_{role.upper()}"
            )
            if role == "intake":
                return
    role = "admin" if "admin" in admin.pg_dsn else "intake"
    database = await Database.connect(admin.dsn(role), DOCTOR_STATEMENTS, "public", 1)
    try:
        row = await database.fetch_one("server")
        assert row is not None
        yield passed(f"Postgres {row['version']}, {row['bytes'] // MIB} MiB")
        off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if row[name] != "on"]
        if off:
            yield failed(f"Postgres has {', '.join(off)} off", "Turn it on: acknowledged data could be lost")
        skew_s = abs((row["now"] - clock.now()).total_seconds())
        if skew_s > SKEW_S_MAX:
            yield failed(f"the database's clock is {skew_s:.1f} s away from ours", "Let both hosts keep time by NTP")
        if "UTF" not in row["ctype"].upper():
            yield failed(f"the database sorts by {row['ctype']}", "Make it anew with --locale=C.UTF-8 and restore")
        services = [owner.value for owner in OWNERS]
        for right in await database.fetch("schemas", services, services):
            if right["allowed"] != (right["role"] == right["schema"]):
                verb = "lacks" if right["role"] == right["schema"] else "has"
                yield failed(
                    f"role {right['role']} {verb} the schema {right['schema']}", "Restore the grants: run `caseflow up`"
                )
    finally:
        await database.close()
    if role == "admin":
        async for check in _migrations(admin):
            yield check


async def _migrations(admin: Settings) -> AsyncIterator[Check]:
    total = 0
    for schema, _, folder in composition.migrations():
        files = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.sql"))}
        total += len(files)
        try:
            database = await Database.connect(admin.dsn("admin"), DOCTOR_STATEMENTS, schema, 1)
            applied = {row["name"]: row["digest"] for row in await database.fetch("applied")}
            await database.close()
        except Exception as error:  # also for a schema that does not exist
            yield failed(
                f"the schema {schema} is not there ({type(error).__name__})", "Run `caseflow up`, which migrates"
            )
            continue
        for name in files.keys() - applied.keys():
            yield failed(f"schema {schema}: {name} is not applied", "Run `caseflow up`, which migrates")
        for name in applied.keys() - files.keys():
            yield failed(f"schema {schema} has {name}, which this program lacks", "Start the newer program")
        for name in applied.keys() & files.keys():
            if applied[name] != files[name]:
                yield failed(f"schema {schema}: {name} was changed after it was applied", "Put it back as it was")
    yield passed(f"{total} migrations")


async def _nats(servers: Servers) -> AsyncIterator[Check]:
    """NATS: access, stream configurations, and fsync on every append."""
    settings = servers.settings("admin")
    try:
        connection = await connect_as(settings, "doctor")
    except LogError as error:
        yield failed("NATS does not answer", f"Check CASEFLOW_NATS_URL and that the server runs ({error.args[0]})")
        return
    async with AsyncExitStack() as exits:
        exits.push_async_callback(connection.close)
        try:
            account = await connection.api(topology.api("INFO"))
            yield _storage(account["streams"], await Streams(connection).storage())
        except LogError as error:
            yield failed("NATS has no JetStream for us", f"Turn it on for the account ({error})")
            return
        yield await _write(connection)
        async for check in _streams(connection, Topology(tuple(settings.areas), settings.replicas)):
            yield check
    if servers.endpoints is None:
        yield warning(
            "whether NATS has `sync_interval: always` cannot be seen from here", "Look into its configuration"
        )
    elif '"sync_interval": "always"' in (settings.data.resolve() / "run" / "nats.conf").read_text():
        yield passed("NATS writes to the disk before it acknowledges")
    else:
        yield failed("NATS acknowledges before it writes to the disk", "Start the copy anew, which writes nats.conf")


def _storage(streams_count: int, storage: Storage) -> Check:
    limit = "" if storage.bytes_max is None else f" of {storage.bytes_max // MIB}"
    text = f"NATS with {streams_count} streams, {storage.bytes_used // MIB}{limit} MiB"
    return failed(text, "Make room on its disk and start it anew") if storage.is_full else passed(text)


async def _write(connection: NatsConnection) -> Check:
    """Store a message in a stream of its own, which is deleted again: the only proof that NATS can write."""
    stream = {"name": WRITE_STREAM, "subjects": [WRITE_STREAM], "max_msgs": 1, "storage": "file"}
    try:
        await connection.api(topology.api(f"STREAM.CREATE.{WRITE_STREAM}"), stream)
        try:
            await Streams(connection).publish(WRITE_STREAM, b"")
        finally:
            await connection.api(topology.api(f"STREAM.DELETE.{WRITE_STREAM}"))
    except LogError as error:
        return failed(f"NATS cannot write: {error}", "Make room on its disk, read its log, and start it anew")
    return passed("NATS writes")


def _refused(stream: str, error: ApiError) -> Check:
    """A server that answers with an error says nothing about what is there."""
    return failed(f"NATS says nothing about {stream} ({error})", "Read its log, and look again when it is well")


async def _streams(connection: NatsConnection, topology_here: Topology) -> AsyncIterator[Check]:
    fine = 0
    for configuration in topology_here.configurations():
        name = configuration["name"]
        try:
            actual = (await connection.api(topology.api(f"STREAM.INFO.{name}")))["config"]
            check_configuration(configuration, actual)
        except ApiError as error:
            if error.code == CODE_NO_STREAM:
                advice = "Restore it from its backup; `caseflow up` makes an empty one"
                yield failed(f"the stream {name} is missing", advice)
            else:
                yield _refused(name, error)
        except WrongTopology as error:
            yield failed(f"the stream {name} is not as it must be", str(error))
        else:
            fine += 1
    yield passed(f"{fine} streams as they must be")


async def _services(servers: Servers, clock: Clock) -> AsyncIterator[Check]:
    """The services: lag of read models and reactions, parked messages, deadlines and documents."""
    async with connected(servers, clock, OWNERS) as services:
        intake = services[Owner.INTAKE]
        reference_data = intake.identity.reference_data
        for model in read_models(services):
            lags = {
                stream: max(0, await model.log.end(stream) - await model.runner.checkpoint(stream))
                for stream in model.log.streams()
            }
            behind = ", ".join(f"{lag} events behind {stream}" for stream, lag in lags.items())
            text = f"read model {model.name}: {behind}"
            late = max(lags.values(), default=0) > LAG_COUNT_MAX
            yield warning(text, "See that its service runs") if late else passed(text)
        async for text in recorded_ahead(intake.data.log, intake.data.streams, clock.now()):
            yield failed(text, ADVICE)
        parked = await intake.data.streams.end(topology.PARKED)
        if parked:
            yield warning(
                f"{parked} messages were parked: reactions could not do them", f"Read the stream {topology.PARKED}"
            )
        async for check in _reactions(servers):
            yield check
        async for check in _clocks(services[Owner.SUPERVISION], clock):
            yield check
        async for check in _webhooks(services[Owner.SUPERVISION], clock):
            yield check
        yield passed(f"{len(reference_data.documents())} reference documents in force")
        for name, reason in reference_data.refused.items():
            yield failed(f"the newest {name} is not in force", reason)
        for check in _documents(reference_data):
            yield check


async def _reactions(servers: Servers) -> AsyncIterator[Check]:
    """The durable of each service on each log stream: its existence and its lag."""
    settings = servers.settings("admin")
    connection = await connect_as(settings, "doctor")
    try:
        for owner in (service.owner for service in SERVICES if service.reactions):
            for stream in Topology(tuple(settings.areas), settings.replicas).streams:
                name = topology.durable_of_reactions(owner)
                try:
                    info = await connection.api(topology.api(f"CONSUMER.INFO.{stream}.{name}"))
                except ApiError as error:
                    if error.code == CODE_NO_CONSUMER:
                        advice = f"Start {owner}: it makes it anew, nothing is lost"
                        yield failed(f"{owner} has no place on {stream}", advice)
                    else:
                        yield _refused(stream, error)
                    continue
                if info["num_pending"] > LAG_COUNT_MAX:
                    yield warning(f"{owner} has {info['num_pending']} events of {stream} before it", "See that it runs")
    finally:
        await connection.close()


async def _clocks(supervision: RunningService, clock: Clock) -> AsyncIterator[Check]:
    """The timers that have not fired, and the calendars of this year and the next."""
    now = clock.now()
    row = await supervision.data.database.using(DOCTOR_STATEMENTS).fetch_one(
        "oldest_due", now - timedelta(seconds=DUE_S_MAX)
    )
    if row is not None and row["passed"]:
        text = f"{row['passed']} deadlines passed and have not fired, the oldest at {row['oldest'].isoformat()}"
        yield failed(text, "Start supervision, which catches up in order; if it runs, read its log")
    else:
        yield passed("all due timers have fired")
    for year in (now.year, now.year + 1):
        if supervision.identity.reference_data.calendar(NATION).provisional(date(year, 1, 1)):
            wait = "once the notice is out (as a rule in November), " if year > now.year else ""
            yield warning(
                f"the days off of {year} are provisional", f"Publish its calendar {wait}by `caseflow reference`"
            )


async def _webhooks(supervision: RunningService, clock: Clock) -> AsyncIterator[Check]:
    """The items of webhooks that are parked, and those that wait for long."""
    for row in await supervision.data.database.using(DOCTOR_STATEMENTS).fetch("undelivered"):
        text = f"{row['items']} items of {row['webhooks']} webhooks"
        if row["parked"]:
            advice = "Mend the receivers, then release them: POST /supervision/webhooks/<id>/parked/retry"
            yield warning(f"{text} are parked: their receivers did not take them in three days", advice)
        elif clock.now() - row["oldest"] > timedelta(seconds=UNDELIVERED_S_MAX):
            advice = "See that the receiver answers: GET /supervision/webhooks"
            yield warning(f"{text} wait, the oldest since {row['oldest'].isoformat()}", advice)


def _documents(reference_data: ReferenceData) -> Iterator[Check]:
    documents = [document for document in reference_data.documents() if document.kind is not DocumentKind.REGIONS]
    findings = validate(documents, regions=reference_data.regions)
    for finding in sorted(findings, key=lambda finding: finding.gravity)[:_FINDINGS_SHOWN_MAX]:
        make = failed if finding.gravity is Gravity.ERROR else warning
        yield make(f"{finding.document} {finding.key}", finding.reason)
    if len(findings) > _FINDINGS_SHOWN_MAX:
        rest = len(findings) - _FINDINGS_SHOWN_MAX
        yield warning(f"{rest} more findings about documents", "Run `caseflow reference validate` on their files")
