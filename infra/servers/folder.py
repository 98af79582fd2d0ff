"""The data folder of the embedded stack: its files, its lock, its secrets, and servers that a killed copy left."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

SERVER_USER = "nobody"
SOCKET_PATH_BYTES_MAX = 107  # of a Unix socket's address
_KEY_BYTES = 32
LEFTOVER_S_MAX = 10.0


class CannotStart(Exception):
    """The stack cannot start. The text has the reason and a remedy."""


@dataclass(frozen=True)
class Folder:
    """A data folder. `root` is absolute, with symbolic links resolved."""

    root: Path

    @classmethod
    def of(cls, data: Path) -> Folder:
        """The folder at `data`, made when missing. Raises CannotStart when it cannot be made."""
        try:
            data.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot make the data folder {data}: {error.strerror}; choose another by CASEFLOW_DATA"
            raise CannotStart(reason) from None
        return cls(data.resolve())

    @property
    def run(self) -> Path:
        """Process ids, ports and the server configuration, written at each start."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nats(self) -> Path:
        """The JetStream store, encrypted by `jetstream.key`."""
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def master_key(self) -> Path:
        """The file of the master key, 32 bytes in hex, which wraps the keys of the vault."""
        return self.secrets / "master.key"

    @property
    def sockets(self) -> Path:
        """The folder of the Postgres socket: in `run`, or in the temporary folder when that path is too long."""
        near = self.run / "postgres"
        if len(os.fsencode(near / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX:
            return near
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"caseflow-{os.geteuid()}-{digest}"

    def lock(self) -> IO[str]:
        """Take the folder for this process until the returned file is closed. Raises CannotStart with its holder."""
        file = open(self.root / "lock", "a+")  # noqa: SIM115  the lock lives as long as the file is open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise CannotStart(
                f"caseflow is already running on {self.root} (process {holder}): use that one, stop it,"
                " or choose another folder by CASEFLOW_DATA"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file

    def make(self) -> None:
        """Make the files inside. Raises CannotStart when secrets of existing stores are missing."""
        self.run.mkdir(mode=0o711, exist_ok=True)
        for folder in (self.logs, self.secrets):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.stat().st_uid not in (os.geteuid(), _server_uid()):
            raise CannotStart(f"{self.sockets} belongs to another user: remove it, or choose a shorter data folder")
        self.give(self.sockets)
        stores = [store.name for store in (self.nats, self.postgres) if store.exists()]
        for name in ("jetstream.key", "master.key"):
            self._key(self.secrets / name, stores)
        self.nats.mkdir(mode=0o700, exist_ok=True)

    def give(self, path: Path) -> None:
        """Give `path` to the user that Postgres runs as."""
        if os.geteuid() == 0:
            shutil.chown(path, SERVER_USER, "nogroup")

    def jetstream_key(self) -> str:
        """The key that encrypts the JetStream store."""
        return (self.secrets / "jetstream.key").read_text().strip()

    def passwords(self, users: Iterable[str]) -> dict[str, str]:
        """The passwords of these users, from the folder; new users get one."""
        file = self.secrets / "passwords.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        missing = [user for user in users if user not in known]
        if missing:
            known |= {user: secrets.token_urlsafe(24) for user in missing}
            write_private(file, json.dumps(known, indent=1))
        return known

    def _key(self, file: Path, stores: list[str]) -> None:
        if file.exists():
            return
        if stores:
            raise CannotStart(
                f"{file} is missing, and {' and '.join(stores)} in {self.root} cannot be read without it: put it back"
                " from the backup, or choose an empty folder by CASEFLOW_DATA"
            )
        write_private(file, secrets.token_hex(_KEY_BYTES) + "\n")

    def end_leftovers(self, say: Callable[[str], None]) -> None:
        """End servers of this folder that outlived a killed copy, and remove their pid files.

        A server belongs to the folder by the configuration or cluster on its command line, a Postgres session by its
        working folder. Postgres must not start while a session of a killed server still writes.
        """
        nats, postgres = ["-c", str(self.run / "nats.conf")], ["-D", str(self.postgres)]
        heads, sessions = [], []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if words[1:3] in (nats, postgres):
                    heads.append(process)
                elif process.name() == "postgres" and process.cwd() == str(self.postgres):
                    sessions.append(process)
        if heads:
            say(f"ending {len(heads)} servers of an earlier run that was killed")
        for process in heads:
            _signal(process, signal.SIGINT)  # a clean stop for both; sessions end with their server
        _, left = psutil.wait_procs(heads + sessions, timeout=LEFTOVER_S_MAX)
        for process in left:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(left, timeout=LEFTOVER_S_MAX)
        # A killed postgres without a reaping parent, as in many containers, still counts as alive in these files.
        socket_lock = self.sockets / ".s.PGSQL.5432.lock"
        for pid_file in (self.run / "nats.pid", self.postgres / "postmaster.pid", socket_lock):
            pid_file.unlink(missing_ok=True)


def write_private(file: Path, text: str) -> None:
    """Write `text` as a whole or not at all, to the disk, readable by this user only."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    with open(new, "w", opener=private) as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    new.replace(file)


def private(path: str, flags: int) -> int:
    """An opener for `open` that makes files with mode 0600."""
    return os.open(path, flags, 0o600)


def _server_uid() -> int:
    return pwd.getpwnam(SERVER_USER).pw_uid if os.geteuid() == 0 else os.geteuid()


def _signal(process: psutil.Process, sign: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(sign)
