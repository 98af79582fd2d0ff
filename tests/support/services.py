"""A service put together by hand over memory, for tests of one part of it."""

from __future__ import annotations

from typing import Any

from shared.case.base import Owner
from shared.kit.application import Application, Creator
from shared.kit.clock import Clock
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.vault import Vault
from shared.log.port import Log
from shared.reference.reference_data import ReferenceData

ABSENT: Any = None  # a connection that the part under test never uses


def application(
    owner: Owner,
    log: Log,
    vault: Vault,
    clock: Clock,
    *,
    runtime: Runtime | None = None,
    reference_data: ReferenceData | None = None,
    creators: dict[str, Creator] | None = None,
) -> Application:
    """The application layer of a service over a log and a vault, without a database and other streams."""
    return Application(
        identity=Identity(owner=owner, settings=Settings(), reference_data=reference_data or ReferenceData([])),
        data=Data(log=log, streams=ABSENT, vault=vault, database=ABSENT),
        runtime=runtime or Runtime.of(clock),
        creators=creators or {},
    )
