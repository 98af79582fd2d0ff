"""Folders for the servers of a test."""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.servers.embedded import Embedded
from infra.servers.folder import Folder


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A temporary folder that Postgres may enter under any user; removed at the end with its content.

    Not a folder of pytest: each start of pytest closes the folders of all runs to other users, and removes older ones.
    """
    with TemporaryDirectory(prefix=f"caseflow-{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def unpack(archive: Path, data: Path) -> None:
    """Unpack the folder `data` of an archive to `data`, and give its database to the user of Postgres."""
    with tarfile.open(archive) as packed:
        packed.extractall(data.parent, filter="tar")
    assert data.name == "data", "the name in the archive"
    folder = Folder(data.resolve())
    for path in (folder.postgres, *folder.postgres.rglob("*")):
        folder.give(path)


def copy_made(data: Path, made: Path | None = None) -> None:
    """Make `data` a copy of a folder on which no server runs.

    By default both servers have run on that folder once, as making a cluster takes two seconds.
    """
    subprocess.run(("cp", "-a", "--reflink=auto", str(made or _made()), str(data)), check=True)


@cache
def _made() -> Path:
    until_exit = ExitStack()
    atexit.register(until_exit.close)
    data = until_exit.enter_context(open_folder("made")) / "data"

    async def up_and_down() -> None:
        servers = Embedded()
        await servers.start(data, nats_port=0)
        await servers.stop()

    with ThreadPoolExecutor(1) as aside:  # the caller may run in an event loop
        aside.submit(asyncio.run, up_and_down()).result()
    return data
