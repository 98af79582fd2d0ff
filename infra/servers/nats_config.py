"""The NATS server's configuration as a pure function: one account for caseflow, one for each partner.

Each platform and each subscriber has an account of its own, which imports what its user may do. A platform submits
under its own source and areas and reads its own receipts and progress. A subscriber pulls from its own durable consumer
and acknowledges. Permissions alone would not be enough. The server sends an acknowledgement, or a pulled item, to the
reply subject that the request names, so a partner in our account could have it written into the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infra.servers.partners import Partners, Platform, Subscriber
from infra.servers.services import SERVICES
from shared.kit.service import Service
from shared.log.topology import SUBSCRIBER_PULL_S_MAX, api

ACCOUNT = "CASEFLOW"
ADMIN = "admin"
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
LOG_FILE_BYTES_MAX = 16 * 1024 * 1024
LOG_FILE_COUNT_MAX = 3
PULL_ANSWERS_S_MAX = 2 * SUBSCRIBER_PULL_S_MAX  # then the server forgets where the answers to a pull go

# Reading and consuming every stream; creating, changing, purging and deleting streams is the admin's.
_READING = (
    *map(
        api, ("INFO", "STREAM.INFO.>", "STREAM.NAMES", "STREAM.LIST", "STREAM.MSG.GET.>", "DIRECT.GET.>", "CONSUMER.>")
    ),
    "$JS.ACK.>",
    "$JS.FC.>",
)


def service_permissions(service: Service) -> dict[str, Any]:
    """The permissions of the NATS user of a service."""
    publish = (*service.publishes, f"parked.{service.owner}.>", *_READING, "_INBOX.>")
    return {"publish": {"allow": list(publish)}, "subscribe": {"allow": ["_INBOX.>"]}}


def accounts(passwords: Mapping[str, str], partners: Partners, store_bytes_max: int) -> dict[str, Any]:
    """All accounts, users, exports and imports; `passwords` by user name. Raises KeyError for a user without one.

    Our account tells its limit to whoever may ask, which the limit of the server does not.
    """
    users: list[dict[str, Any]] = [{"user": ADMIN, "password": passwords[ADMIN]}]
    users += [
        {"user": str(s.owner), "password": passwords[s.owner], "permissions": service_permissions(s)} for s in SERVICES
    ]
    ours: dict[str, Any] = {"jetstream": {"max_file": store_bytes_max}, "users": users, "exports": []}
    result = {ACCOUNT: ours}
    for platform in partners.platforms:
        name = f"PLATFORM_{platform.source}"
        allowed = {"accounts": [name]}
        ours["exports"] += [{"service": subject, **allowed} for subject in platform.requests]
        ours["exports"] += [{"stream": subject, **allowed} for subject in platform.hears]
        result[name] = _account(platform, passwords, platform.requests, platform.hears)
        result[name]["imports"] = [_import("service", subject) for subject in platform.requests]
        result[name]["imports"] += [_import("stream", subject) for subject in platform.hears]
    for subscriber in partners.subscribers:
        name = f"SUBSCRIBER_{subscriber.name}"
        requests = subscriber.requests
        ours["exports"] += [_export(subject, name) for subject in requests]
        result[name] = _account(subscriber, passwords, requests.values(), ())
        result[name]["imports"] = [_import("service", subject, local) for subject, local in requests.items()]
    return result


def _account(
    partner: Platform | Subscriber, passwords: Mapping[str, str], publishes: Iterable[str], hears: Iterable[str]
) -> dict[str, Any]:
    """An account with the one user of a partner, who may publish and subscribe to this within it."""
    permissions = {
        "publish": {"allow": list(publishes)},
        "subscribe": {"allow": [*hears, f"{partner.inbox_prefix}.>"]},
    }
    return {"users": [{"user": partner.user, "password": passwords[partner.user], "permissions": permissions}]}


def _export(subject: str, account: str) -> dict[str, Any]:
    """The export of a request to a subscriber. A pull has many replies, until its time at the server is over."""
    export: dict[str, Any] = {"service": subject, "accounts": [account]}
    if ".MSG.NEXT." in subject:
        export |= {"response_type": "stream", "response_threshold": f"{PULL_ANSWERS_S_MAX}s"}
    return export


def _import(kind: str, subject: str, local: str | None = None) -> dict[str, Any]:
    """The imports of an account from ours, under the same subject or another one of its own."""
    imported: dict[str, Any] = {kind: {"account": ACCOUNT, "subject": subject}}
    return imported if local in (None, subject) else imported | {"to": local}


def server_config(
    *,
    port: int,
    store: Path,
    store_bytes_max: int,
    key: str,
    run: Path,
    log: Path,
    passwords: Mapping[str, str],
    partners: Partners,
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
        "jetstream": {
            "store_dir": str(store), "max_file_store": store_bytes_max, "sync_interval": "always",
            "cipher": "aes", "key": key,
        },
        "accounts": accounts(passwords, partners, store_bytes_max),
    }  # fmt: skip
    return json.dumps(config, indent=1, ensure_ascii=False)  # the server does not read \u escapes
