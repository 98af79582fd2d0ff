"""All of caseflow for a test: a process of its own that a test stops, kills and starts again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Endpoints
from infra.servers.folder import Folder
from infra.servers.services import OWNERS
from shared.kit.clock import SystemClock
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.log.connection import NatsConnection, connect
from shared.log.jetstream import JetStreamLog
from shared.log.topology import Topology
from tests.support import command
from tests.support.command import CommandProcess
from tests.support.folders import copy_made, open_folder
from tests.support.log import AREAS
from tests.support.nats import free_port
from tests.support.services import web_of

START_S_MAX = 60.0
STOP_S_MAX = 30.0
POLL_S = 0.02
RATES = {"CASEFLOW_PUBLIC_RATE_MAX": "100000", "CASEFLOW_LOOK_UP_RATE_MAX": "1000"}
# A desk may close a case two years back, so that the retention of its content is over; channels keep their allowance.
BACKDATE_S_MAX = Settings.model_fields["backdate_s_max"].default | {"desk": 800 * 86_400}
LENIENT = RATES | {"CASEFLOW_BACKDATE_S_MAX": ",".join(f"{name}={s}" for name, s in BACKDATE_S_MAX.items())}


def until(ready: Callable[[], bool], what: str, wait_s_max: float = 10.0) -> None:
    """Poll until `ready()`. Fails with `what` after `wait_s_max` seconds."""
    end = time.monotonic() + wait_s_max
    while not ready():
        if time.monotonic() > end:
            # not pytest.fail: its exception does not come through from a process of a test
            raise AssertionError(f"waited {wait_s_max:.0f} s for: {what}")
        time.sleep(POLL_S)


def caseflow(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the `caseflow` command with these arguments until it ends."""
    return command.finished(arguments, dict(os.environ) | environment, START_S_MAX)


class Stack:
    """`caseflow up` on a data folder and a free port. `environment` adds CASEFLOW_* variables.

    `forked`: as tests/support/command.py says; without it each start has an interpreter of its own.
    """

    def __init__(self, data: Path, environment: Mapping[str, str] | None = None, *, forked: bool = True) -> None:
        self.data = data
        self.port = free_port()
        self.environment = dict(environment or {})
        self.forked = forked
        self.process: CommandProcess | None = None
        self.output = data.with_name(data.name + ".out")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """The output of the process and of its earlier runs."""
        return self.output.read_text("utf-8", "replace")

    def spawn(self, **more: str) -> CommandProcess:
        """Start the process without waiting; `more` are CASEFLOW_* variables of this run, without the prefix."""
        own = {f"CASEFLOW_{name.upper()}": value for name, value in more.items()}
        location = {"CASEFLOW_DATA": str(self.data), "CASEFLOW_PORT": str(self.port)}
        environment = dict(os.environ) | location | self.environment | own
        self.process = command.spawn(("up",), environment, self.output, forked=self.forked)
        return self.process

    def start(self, **more: str) -> float:
        """Start the process and wait until it answers; returns the seconds of the start."""
        began = time.monotonic()
        self.spawn(**more)
        until(self.is_ready, "caseflow is ready", START_S_MAX)
        return time.monotonic() - began

    def is_ready(self) -> bool:
        """Whether the process answers. Raises AssertionError with its output when it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"caseflow ended with {self.process.poll()}: {self.text[-3000:]}")
        return self._answers()

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        return False

    def is_ready_or_dead(self) -> bool:
        """Wait until the process answers (True) or has ended (False)."""
        process = self.process
        assert process is not None
        until(lambda: process.poll() is not None or self._answers(), "caseflow is ready, or has ended", START_S_MAX)
        return process.poll() is None

    def stop(self) -> int:
        """Stop the process by SIGINT; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S_MAX)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of `caseflow` on the same data."""
        return caseflow(*arguments, **self.environment, CASEFLOW_DATA=str(self.data))

    def wait_dead(self) -> int:
        """Wait until the process ends by itself; returns its exit code, negative for a signal."""
        assert self.process is not None
        return self.process.wait(STOP_S_MAX)

    @property
    def servers(self) -> dict[str, int]:
        """The process ids of the running servers by name, from their pid files."""
        files = {"nats": self.data / "run" / "nats.pid", "postgres": self.data / "postgres" / "postmaster.pid"}
        pids = {}
        for name, file in files.items():
            with suppress(OSError, ValueError, IndexError):
                pid = int(file.read_text().split()[0])
                if psutil.pid_exists(pid):
                    pids[name] = pid
        return pids

    def kill(self) -> None:
        """kill -9 of the process; its servers run on."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill_server(self, name: str) -> None:
        """kill -9 of one server with its children."""
        pid = self.servers[name]
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_all(self) -> None:
        """kill -9 of the process and its servers. The process goes first, so that it sees no server end."""
        servers = list(self.servers)
        self.kill()
        for name in servers:
            with suppress(KeyError, psutil.NoSuchProcess):
                self.kill_server(name)

    def passwords(self) -> dict[str, str]:
        """The passwords of the embedded servers' users."""
        passwords: dict[str, str] = json.loads((self.data / "secrets" / "passwords.json").read_text())
        return passwords

    def postgres_dsn(self, role: str = "admin", database: str = "caseflow") -> str:
        where = quote(str(Folder(self.data.resolve()).sockets), safe="")
        return f"postgresql://{role}:{self.passwords()[role]}@/{database}?host={where}&port=5432"

    def nats_url(self, user: str) -> str:
        """Where the NATS server of the stack is for a user of it, with the password."""
        return f"nats://{user}:{self.passwords()[user]}@{self._nats.removeprefix('nats://')}"

    @property
    def _nats(self) -> str:
        ports = self.data / "run" / f"nats-server_{self.servers['nats']}.ports"
        return str(json.loads(ports.read_text())["nats"][0])

    @asynccontextmanager
    async def connection(self, user: str = "admin") -> AsyncIterator[NatsConnection]:
        """A connection to the NATS server of the stack."""
        connection = await connect(self._nats, user=user, password=self.passwords()[user], name="test")
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def log(self) -> AsyncIterator[JetStreamLog]:
        """The log, without any service."""
        async with self.connection() as connection:
            yield JetStreamLog(connection, Topology(AREAS))


@contextmanager
def stack_in(
    name: str, *, fresh: bool = False, made: Path | None = None, forked: bool = True, **environment: str
) -> Iterator[Stack]:
    """A stack that is not started, on a folder of its own. At the end it is killed with its servers, and removed.

    The folder is a copy of `made`. Without it, and unless `fresh`, the servers have run there once, the services never.
    """
    with open_folder(name) as folder:
        if not fresh:
            copy_made(folder / "data", made)
        stack = Stack(folder / "data", {**LENIENT, **environment}, forked=forked)
        try:
            yield stack
        finally:
            stack.kill_all()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The one stack of the session, for tests that do not stop it."""
    with stack_in("up", fresh=True) as session_stack:
        session_stack.start()
        yield session_stack
        assert session_stack.stop() == 0, session_stack.text[-3000:]


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack of the test's own, not started, that the test may stop and kill."""
    with stack_in("own") as test_stack:
        yield test_stack


@asynccontextmanager
async def in_process(endpoints: Endpoints, **changed: object) -> AsyncIterator[httpx.AsyncClient]:
    """The four services in this process on running servers, and an HTTP client that calls them without a socket.

    `changed` are settings. Only one may run at a time, as all share the database and the streams of the demo's areas.
    """
    base = Settings(areas=AREAS).model_copy(update=changed)
    await prepare(settings_for(base, endpoints, "admin"))
    each = {owner: settings_for(base, endpoints, owner) for owner in OWNERS}
    async with web_of(each, Runtime.of(SystemClock()), raise_app_exceptions=False) as client:
        yield client
