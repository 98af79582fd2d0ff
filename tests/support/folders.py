"""Folders for servers of a test."""

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
    """A temporary folder that Postgres may enter, whoever it runs as; removed at the end with what is in it.

    Not one of pytest's: each start of pytest closes those of all runs to other users, and removes older ones.
    """
    with TemporaryDirectory(prefix=f"caseflow-{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def unpack(archive: Path, data: Path) -> None:
    """Make `data` the folder `data` of an archive, its database the property of the user that Postgres runs as."""
    with tarfile.open(archive) as packed:
        packed.extractall(data.parent, filter="tar")
    assert data.name == "data", "what the archive calls it"
    folder = Folder(data.resolve())
    for path in (folder.postgres, *folder.postgres.rglob("*")):
        folder.give(path)


def copy_made(data: Path, made: Path | None = None) -> None:
    """Make `data` a copy of a folder on which nothing runs.

    By default of one where both servers have run once and stopped: making a cluster anew takes two seconds.
    """
    subprocess.run(("cp", "-a", "--reflink=auto", str(made or _made()), str(data)), check=True)


@cache
def _made() -> Path:
    kept = ExitStack()
    atexit.register(kept.close)
    data = kept.enter_context(open_folder("made")) / "data"

    async def up_and_down() -> None:
        servers = Embedded()
        await servers.start(data, nats_port=0)
        await servers.stop()

    with ThreadPoolExecutor(1) as aside:  # whoever asks may stand in a loop
        aside.submit(asyncio.run, up_and_down()).result()
    return data
