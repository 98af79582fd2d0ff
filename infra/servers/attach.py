"""The servers for a command that needs them: by settings, of a running copy, or own ones for a while."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import _POLL_S, START_S_MAX, Embedded, Endpoints, _port_in
from infra.servers.folder import CannotStart, Folder
from infra.servers.partners import DEMO_PARTNERS, Partners, load_partners
from shared.kit.settings import ROLES, Settings


@dataclass(frozen=True)
class Servers:
    """Servers that answer. `endpoints` is None where settings name them; `own`: they stop with the block."""

    base: Settings
    endpoints: Endpoints | None
    own: bool

    def settings(self, user: str) -> Settings:
        """The settings of a service, or of `admin`, on these servers."""
        return self.base if self.endpoints is None else settings_for(self.base, self.endpoints, user)


def is_external(own: Settings) -> bool:
    """Whether settings name the servers, so that there is no data folder to look into."""
    return bool(own.pg_dsn)


def is_running(data: Path) -> bool:
    """Whether a process of ours holds the data folder."""
    try:
        with open(data / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False


@asynccontextmanager
async def servers(own: Settings, say: Callable[[str], None]) -> AsyncIterator[Servers]:
    """The servers of this installation for as long as the block lasts; where they are embedded, streams and tables too.

    Raises CannotStart, Unavailable, MigrationRefused, WrongTopology.
    """
    data = own.data.resolve()
    if is_external(own):
        yield Servers(own, None, False)
        return
    if is_running(data):
        yield Servers(own, await endpoints(data), False)
        return
    embedded = Embedded(say, load_partners(own) or DEMO_PARTNERS)
    backends = Servers(own, await embedded.start(data), True)
    try:
        await prepare(backends.settings("admin"), say)
        mark_ready(data)
        yield backends
    finally:
        say("stopping the servers")
        await embedded.stop()


def mark_ready(data: Path) -> None:
    """Tell commands that wait for this copy that its streams and tables are there."""
    (data / "run" / "ready").write_text(str(os.getpid()))


async def endpoints(data: Path) -> Endpoints:
    """Where the servers of the copy that runs on `data` are; waits for one that is starting. Raises CannotStart."""
    folder, embedded = Folder(data.resolve()), Embedded(partners=Partners())  # which speak for themselves
    for _ in range(int(START_S_MAX / _POLL_S)):
        if not is_running(data):
            raise CannotStart(f"the copy on {data} has stopped: run the command again")
        try:
            port = _nats_port(folder)
            if port and _is_prepared(folder):
                return embedded._endpoints(folder, folder.passwords(ROLES), port)
        except PermissionError as error:
            reason = f"{error.filename} cannot be read: be the user who started the copy on {data}"
            raise CannotStart(reason) from None
        await asyncio.sleep(_POLL_S)
    raise CannotStart(f"the copy on {data} is not ready after {START_S_MAX:.0f} s; look into {folder.logs}")


def _nats_port(folder: Folder) -> int | None:
    return next(filter(None, map(_port_in, folder.run.glob("nats-server_*.ports"))), None)


def _is_prepared(folder: Folder) -> bool:
    """Whether the process that holds the folder has marked it ready, and not one before it."""
    try:
        return (folder.run / "ready").read_text() == (folder.root / "lock").read_text()
    except FileNotFoundError:
        return False
