"""The NATS server's configuration as a pure function: one account for caseflow, one for each platform that submits.

Each platform has an account of its own, which imports what its user may do: submit under its own source and areas, and
read its own receipts and progress. Permissions alone would not be enough. The server sends a publish acknowledgement to
the reply subject that the publisher names, so a platform in our account could have one written into the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.servers.services import SERVICES
from shared.kit.service import Service

ACCOUNT = "CASEFLOW"
ADMIN = "admin"
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
LOG_FILE_BYTES_MAX = 16 * 1024 * 1024
LOG_FILE_COUNT_MAX = 3

# Reading and consuming every stream; creating, changing, purging and deleting streams is the admin's.
_READING = (
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.>",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.MSG.GET.>",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.>",
    "$JS.ACK.>",
    "$JS.FC.>",
)


@dataclass(frozen=True)
class Platform:
    """A system that submits cases over NATS under the name `source`, for `areas` (region prefixes such as "5101")."""

    source: str
    areas: tuple[str, ...]

    @property
    def user(self) -> str:
        """The name of its NATS user."""
        return f"platform-{self.source}"

    @property
    def inbox_prefix(self) -> str:
        """What its client must be told as inbox prefix: it hears no other inbox."""
        return f"_INBOX_{self.user}"

    @property
    def _asks(self) -> tuple[str, ...]:
        submits = tuple(f"submit.{self.source}.{tokens(area)}.>" for area in self.areas)
        return (
            *submits,
            f"$JS.API.DIRECT.GET.RECEIPTS.receipt.{self.source}.>",
            f"$JS.API.DIRECT.GET.PROGRESS.progress.{self.source}.>",
        )

    @property
    def _hears(self) -> tuple[str, ...]:
        return f"receipt.{self.source}.>", f"progress.{self.source}.>"


def tokens(area: str) -> str:
    """The subject tokens of an area: "5101" -> "51.01" (GB/T 33200-2016 clause 4). Raises ValueError."""
    if not re.fullmatch(r"[0-9]{2}([0-9]{2}){0,2}", area):
        raise ValueError(f"not an area: {area!r}; expected the first 2, 4 or 6 digits of a region code")
    return ".".join(area[i : i + 2] for i in range(0, len(area), 2))


def service_permissions(service: Service) -> dict[str, Any]:
    """The permissions of the NATS user of a service."""
    publish = (*service.publishes, f"parked.{service.owner}.>", *_READING, "_INBOX.>")
    return {"publish": {"allow": list(publish)}, "subscribe": {"allow": ["_INBOX.>"]}}


def platform_permissions(platform: Platform) -> dict[str, Any]:
    """What the NATS user of a platform may publish and subscribe to, within its own account."""
    return {
        "publish": {"allow": list(platform._asks)},
        "subscribe": {"allow": [*platform._hears, f"{platform.inbox_prefix}.>"]},
    }


def accounts(passwords: Mapping[str, str], platforms: Iterable[Platform]) -> dict[str, Any]:
    """All accounts, users, exports and imports; `passwords` by user name. Raises KeyError for a user without one."""
    users: list[dict[str, Any]] = [{"user": ADMIN, "password": passwords[ADMIN]}]
    users += [
        {"user": str(s.owner), "password": passwords[s.owner], "permissions": service_permissions(s)} for s in SERVICES
    ]
    ours: dict[str, Any] = {"jetstream": "enabled", "users": users, "exports": []}
    result = {ACCOUNT: ours}
    for platform in platforms:
        name = f"PLATFORM_{platform.source}"
        allowed = {"accounts": [name]}
        ours["exports"] += [{"service": subject, **allowed} for subject in platform._asks]
        ours["exports"] += [{"stream": subject, **allowed} for subject in platform._hears]
        result[name] = {
            "users": [
                {
                    "user": platform.user,
                    "password": passwords[platform.user],
                    "permissions": platform_permissions(platform),
                }
            ],
            "imports": [{"service": {"account": ACCOUNT, "subject": subject}} for subject in platform._asks]
            + [{"stream": {"account": ACCOUNT, "subject": subject}} for subject in platform._hears],
        }
    return result


def server_config(
    *,
    port: int,
    store: Path,
    key: str,
    run: Path,
    log: Path,
    passwords: Mapping[str, str],
    platforms: Iterable[Platform],
) -> str:
    """The configuration file (JSON, which the server reads): loopback only, fsync on every append, encrypted at rest.

    `port` -1 lets the server take a free one; where it listens it writes into `run`. Holds passwords and the key: keep
    it 0600.
    """
    config = {
        "server_name": "caseflow",
        "host": "127.0.0.1",
        "port": port,
        "pid_file": str(run / "nats.pid"),
        "ports_file_dir": str(run),
        "log_file": str(log),
        "logfile_size_limit": LOG_FILE_BYTES_MAX,
        "logfile_max_num": LOG_FILE_COUNT_MAX,
        "max_payload": PAYLOAD_BYTES_MAX,
        "jetstream": {"store_dir": str(store), "sync_interval": "always", "cipher": "aes", "key": key},
        "accounts": accounts(passwords, platforms),
    }
    return json.dumps(config, indent=1)
