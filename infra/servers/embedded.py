"""The embedded stack: a NATS server and a Postgres server from wheels, run and watched by one process.

Everything lies in one data folder (infra/servers/folder.py):

    lock  run/ (pids, sockets, nats.conf)  logs/  nats/ (JetStream, encrypted)  postgres/  secrets/ (keys, passwords)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psutil

from infra.servers.folder import CannotStart, Folder, private, write_private
from infra.servers.nats_config import ADMIN, server_config
from infra.servers.partners import DEMO_PARTNERS, Partners
from infra.servers.programs import OURSELVES, Runner, nats_program, postgres_programs, postgres_runner
from infra.servers.services import OWNERS
from shared.kit.settings import ROLES

NATS_PORT = 4222
DATABASE = "caseflow"
START_S_MAX = 120.0  # after a crash the server reads the whole log again
STOP_S_MAX = 30.0
SERVER_POLL_S = 0.01
RESTARTS_COUNT_MAX = 5
RESTART_PAUSE_S_MIN = 0.5
RESTART_CALM_S = 600.0
DISK_FULL_BYTES = 1024**2
_NATS_ENVIRONMENT = {"GOMEMLIMIT": "512MiB"}  # without it block caches grew to 4.3 GB
LOG_TAIL_BYTES = 1500
RESERVE_BYTES_MAX, RESERVE_SHARE = 4 * 1024**3, 20  # of the disk

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "120",
    # No content of rows or statements goes to the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
# The signals in their order, STOP_S_MAX for each: Postgres ends its sessions first.
_STOP_SIGNALS = {"nats": (signal.SIGTERM, signal.SIGKILL), "postgres": (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)}
_ROLES_SQL = Path(__file__).with_name("roles.sql")


@dataclass(frozen=True)
class Endpoints:
    """The addresses of a running stack. URLs and DSNs hold passwords and belong in no log."""

    nats_url: str  # without a user
    nats: Mapping[str, str]  # URL by user: admin and the services
    platforms: Mapping[str, str]  # URL by source; the client needs Platform.inbox_prefix
    subscribers: Mapping[str, str]  # URL by name; the client needs Subscriber.inbox_prefix
    postgres: Mapping[str, str]  # DSN by role: admin, the services, vault
    master_key: Path


class Embedded:
    """Starts and stops both servers for one data folder. `say` gets a sentence about each step."""

    def __init__(self, say: Callable[[str], None] = lambda text: None, partners: Partners = DEMO_PARTNERS) -> None:
        self._say = say
        self._partners = partners
        self._lock: IO[str] | None = None
        self._servers: dict[str, asyncio.subprocess.Process] = {}
        self._starters: dict[str, Callable[[], Awaitable[object]]] = {}

    async def start(self, data: Path, nats_port: int = NATS_PORT) -> Endpoints:
        """Start both servers on the folder `data`, made when missing. For `nats_port` 0 or a taken port, any free one.

        Raises CannotStart: another copy runs on the folder, a key is missing, a server ends at once or is not ready in
        START_S_MAX.
        """
        folder = Folder.of(data)
        self._lock = folder.lock()
        try:
            folder.make()
            await asyncio.to_thread(folder.end_leftovers, self._say)
            passwords = folder.passwords([*ROLES, *self._partners.users])
            async with asyncio.TaskGroup() as both:
                port = both.create_task(self._start_nats(folder, passwords, nats_port))
                both.create_task(self._start_postgres(folder, passwords))
        except BaseExceptionGroup as group:
            await self.stop()
            raise group.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise
        self._starters = {
            "nats": partial(self._start_nats, folder, passwords, port.result(), same_port=True),
            "postgres": partial(self._start_postgres, folder, passwords),
        }
        return self.endpoints(folder, passwords, port.result())

    async def stop(self) -> None:
        """Stop both cleanly: open transactions are rolled back, acknowledged data is on disk. May be repeated."""
        await asyncio.gather(*(self._end(name) for name in tuple(self._servers)))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def supervise(self) -> str:
        """Start each server again that ends by itself; a sentence about the one that does not stay up.

        The pauses double from RESTART_PAUSE_S_MIN on; after RESTARTS_COUNT_MAX ends without RESTART_CALM_S between
        them a server is given up.
        """
        watches = {asyncio.create_task(self._keep_up(name), name=f"keep {name} up") for name in self._starters}
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _keep_up(self, name: str) -> str:
        loop, ends_count = asyncio.get_running_loop(), 0
        while True:
            started_at = loop.time()
            code = await self._servers[name].wait()
            ends_count = 1 if loop.time() - started_at > RESTART_CALM_S else ends_count + 1
            ended = (
                f"{name} ended by itself with code {code}{self._full_disk()}; see logs/{name}.log in the data folder"
            )
            if ends_count > RESTARTS_COUNT_MAX:
                return f"{ended}; it does not stay up"
            self._say(f"{ended}; starting it again ({ends_count} of {RESTARTS_COUNT_MAX})")
            await asyncio.sleep(RESTART_PAUSE_S_MIN * 2 ** (ends_count - 1))
            try:
                await self._starters[name]()
            except CannotStart as error:
                self._say(str(error))

    def _full_disk(self) -> str:
        free = shutil.disk_usage(self._lock.name).free if self._lock else DISK_FULL_BYTES
        return ": the disk is full" if free < DISK_FULL_BYTES else ""

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each running server: nats, postgres."""
        return {name: server.pid for name, server in self._servers.items()}

    async def _end(self, name: str) -> None:
        server = self._servers.pop(name)
        for sign in _STOP_SIGNALS[name]:
            if server.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                server.send_signal(sign)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait(), STOP_S_MAX)

    async def _start_nats(
        self, folder: Folder, passwords: Mapping[str, str], port: int, *, same_port: bool = False
    ) -> int:
        if port and (holder := holder_of(port)):
            if same_port:
                raise CannotStart(f"NATS: port {port}, which the services use, is held by {holder}: stop it")
            self._say(f"NATS: port {port} is held by {holder}; taking a free one")
            port = 0
        config = folder.run / "nats.conf"
        text = server_config(
            port=port or -1,
            store=folder.nats,
            store_bytes_max=await asyncio.to_thread(store_bytes_max, folder.nats),
            key=folder.jetstream_key(),
            run=folder.run,
            log=folder.logs / "nats.log",
            passwords=passwords,
            partners=self._partners,
        )
        write_private(config, text)
        for stale in folder.run.glob("nats-server_*.ports"):
            stale.unlink()
        self._say("NATS: starting")
        command = (nats_program(), "-c", str(config))
        server = await _spawn(command, folder.logs / "nats.out", environment=_NATS_ENVIRONMENT)
        self._servers["nats"] = server
        ports = folder.run / f"nats-server_{server.pid}.ports"
        try:
            await _until(lambda: port_in(ports) is not None, "NATS", server, folder.logs / "nats.log")
        except CannotStart:
            if port and holder_of(port):  # another process has taken it meanwhile
                return await self._start_nats(folder, passwords, port)
            raise
        return port_in(ports) or port

    async def _start_postgres(self, folder: Folder, passwords: Mapping[str, str]) -> None:
        runner = postgres_runner(folder)
        if not folder.postgres.exists():
            self._say("Postgres: making the database (once)")
            await _init_postgres(folder, runner, passwords[ADMIN])
        self._say("Postgres: starting")
        settings = POSTGRES_SETTINGS | {"unix_socket_directories": str(folder.sockets)}
        command = [str(postgres_programs() / "postgres"), "-D", str(folder.postgres)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = folder.logs / "postgres.log"
        if log.exists():
            log.replace(folder.logs / "postgres.log.1")
        server = await _spawn(command, log, runner)
        self._servers["postgres"] = server
        await _until(lambda: _is_ready(folder.postgres / "postmaster.pid", server.pid), "Postgres", server, log)
        await _make_roles(folder, passwords)

    def endpoints(self, folder: Folder, passwords: Mapping[str, str], port: int) -> Endpoints:
        """The addresses of the servers of a folder, whose NATS listens on `port`."""

        def url(user: str) -> str:
            return f"nats://{user}:{passwords[user]}@127.0.0.1:{port}"

        where = f"host={quote(str(folder.sockets), safe='')}&port=5432"
        return Endpoints(
            nats_url=f"nats://127.0.0.1:{port}",
            nats={user: url(user) for user in (ADMIN, *map(str, OWNERS))},
            platforms={platform.source: url(platform.user) for platform in self._partners.platforms},
            subscribers={subscriber.name: url(subscriber.user) for subscriber in self._partners.subscribers},
            postgres={role: f"postgresql://{role}:{passwords[role]}@/{DATABASE}?{where}" for role in ROLES},
            master_key=folder.master_key,
        )


def store_bytes_max(store: Path) -> int:
    """The limit of JetStream's files: those that are there and the free space, less a reserve.

    By default the server takes three quarters of the space that is free at its start, and refuses every append from
    then on. On a disk without any space it turns JetStream off; the reserve is for Postgres, logs and the operator.
    """
    used = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    disk = shutil.disk_usage(store)
    return used + max(0, disk.free - min(RESERVE_BYTES_MAX, disk.total // RESERVE_SHARE))


def holder_of(port: int) -> str | None:
    """The process that listens on 127.0.0.1:`port`, in words; None when the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return None
        except PermissionError:
            return "the system (ports below 1024 are for root)"
        except OSError:
            pass
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN" and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process of another user"


def require_port(port: int, variable: str = "CASEFLOW_PORT") -> None:
    """Check that an HTTP port is free. Raises CannotStart with its holder and a remedy."""
    if holder := holder_of(port):
        raise CannotStart(f"port {port} is held by {holder}: stop it, or choose another by {variable}={port + 1}")


async def _spawn(
    command: Sequence[str], output: Path, runner: Runner = OURSELVES, environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own, since ctrl-C is for this process, which stops the servers last."""
    with open(output, "ab", opener=private) as log:
        return await asyncio.create_subprocess_exec(
            *runner.prefix,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **(environment or {})},
        )


async def _init_postgres(folder: Folder, runner: Runner, password: str) -> None:
    """Make the cluster in another folder and move it when complete, so that a kill leaves no partial one."""
    new = folder.root / "postgres.new"
    if new.exists():
        await asyncio.to_thread(_remove, new)
    new.mkdir(mode=0o700)
    folder.give(new)
    password_file = folder.sockets / "password"
    write_private(password_file, password)
    folder.give(password_file)
    try:
        command = (
            *(str(postgres_programs() / "initdb"), "-D", str(new), "-U", ADMIN, "-A", "scram-sha-256"),
            *("--pwfile", str(password_file), "--encoding=UTF8", "--locale=C.UTF-8", "-k"),
        )
        output = folder.logs / "initdb.log"
        server = await _spawn(command, output, runner)
        try:
            code = await server.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # its children too: the next start removes what they made
            await server.wait()
            raise
        if code != 0:
            raise CannotStart(f"Postgres: initdb failed: {_tail(output)}")
    finally:
        password_file.unlink()
    new.replace(folder.postgres)


def _remove(folder: Path) -> None:
    """Remove a folder in which a process that is ending may remove files too."""

    def failed(call: object, path: object, error: Any) -> None:
        if not isinstance(error[1], FileNotFoundError):
            raise error[1]

    shutil.rmtree(folder, onerror=failed)


async def _make_roles(folder: Folder, passwords: Mapping[str, str]) -> None:
    psql = str(postgres_programs() / "psql")
    command = (psql, "-XqA", "-h", str(folder.sockets), "-U", ADMIN, "-d", "postgres", "-f", str(_ROLES_SQL))
    roles = [role for role in ROLES if role != ADMIN]  # the administrator exists since initdb
    words = {
        "ROLES": " ".join(roles),
        "PASSWORDS": " ".join(passwords[role] for role in roles),
        "PGPASSWORD": passwords[ADMIN],
    }
    output = folder.logs / "roles.log"
    server = await _spawn(command, output, environment=words)
    if await server.wait() != 0:
        raise CannotStart(f"Postgres: making the roles failed: {_tail(output)}")


async def _until(ready: Callable[[], bool], name: str, server: asyncio.subprocess.Process, log: Path) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + START_S_MAX
    while not ready():
        if server.returncode is not None:
            raise CannotStart(f"{name} ended at once with code {server.returncode}: {_tail(log)}")
        if loop.time() > end:
            raise CannotStart(f"{name} is not ready after {START_S_MAX:.0f} s: {_tail(log)}")
        await asyncio.sleep(SERVER_POLL_S)


def port_in(ports: Path) -> int | None:
    """The port in the file that a NATS server writes; None while there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
    return None


def _is_ready(pid_file: Path, pid: int) -> bool:
    """Whether the server reports itself ready, on the eighth line of its pid file."""
    with contextlib.suppress(OSError):
        lines = pid_file.read_text().splitlines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
    return False


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return f"{log} ends with: " + log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    return f"{log} could not be read"
