"""The servers for a command: named by settings, those of a running copy, or started for the command."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import SERVER_POLL_S, START_S_MAX, Embedded, Endpoints, port_in
from infra.servers.folder import CannotStart, Folder
from infra.servers.partners import DEMO_PARTNERS, Partners, load_partners
from shared.kit.settings import ROLES, Settings


@dataclass(frozen=True)
class Servers:
    """Running servers. `endpoints` is None when settings name them; servers started here stop with the block."""

    base: Settings
    endpoints: Endpoints | None
    started_here: bool

    def settings(self, user: str) -> Settings:
        """The settings of a service, or of `admin`, on these servers."""
        return self.base if self.endpoints is None else settings_for(self.base, self.endpoints, user)


def is_external(settings: Settings) -> bool:
    """Whether settings name the servers, so that there is no data folder."""
    return bool(settings.pg_dsn)


def is_running(data: Path) -> bool:
    """Whether a caseflow process holds the data folder."""
    try:
        with open(data / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False


@asynccontextmanager
async def open_servers(settings: Settings, say: Callable[[str], None]) -> AsyncIterator[Servers]:
    """The servers of this installation within the block. Servers started here get their streams and tables.

    Raises CannotStart, Unavailable, LogUnavailable, MigrationRefused, WrongTopology.
    """
    data = settings.data.resolve()
    if is_external(settings):
        yield Servers(settings, None, False)
        return
    if is_running(data):
        yield Servers(settings, await endpoints(data), False)
        return
    embedded = Embedded(say, load_partners(settings) or DEMO_PARTNERS)
    servers = Servers(settings, await embedded.start(data), True)
    try:
        await prepare(servers.settings("admin"), say)
        mark_ready(data)
        yield servers
    finally:
        say("stopping the servers")
        await embedded.stop()


def mark_ready(data: Path) -> None:
    """Mark this copy as ready for waiting commands: its streams and tables exist."""
    (data / "run" / "ready").write_text(str(os.getpid()))


async def endpoints(data: Path) -> Endpoints:
    """The endpoints of the copy that runs on `data`, also of one that is starting. Raises CannotStart."""
    folder, embedded = Folder(data.resolve()), Embedded(partners=Partners())  # a command needs no partners
    for _ in range(int(START_S_MAX / SERVER_POLL_S)):
        if not is_running(data):
            raise CannotStart(f"the copy on {data} has stopped: run the command again")
        try:
            port = _nats_port(folder)
            if port and _is_prepared(folder):
                return embedded.endpoints(folder, folder.passwords(ROLES), port)
        except PermissionError as error:
            reason = f"{error.filename} cannot be read: be the user who started the copy on {data}"
            raise CannotStart(reason) from None
        await asyncio.sleep(SERVER_POLL_S)
    raise CannotStart(f"the copy on {data} is not ready after {START_S_MAX:.0f} s; look into {folder.logs}")


def _nats_port(folder: Folder) -> int | None:
    return next(filter(None, map(port_in, folder.run.glob("nats-server_*.ports"))), None)


def _is_prepared(folder: Folder) -> bool:
    """Whether the process that holds the folder, and not an earlier one, has marked it ready."""
    try:
        return (folder.run / "ready").read_text() == (folder.root / "lock").read_text()
    except FileNotFoundError:
        return False
