"""Supervision's read model on a real Postgres, and cases with the fields and clocks that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.case.base import Address, Owner, Position, new_id
from shared.case.clocks import RunningDeadline
from shared.case.facts import Deadline, Nature, Stage, TimeBase
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json
from shared.kit.sql import Database
from tests.support.services import tables_of

STREAM = "LOG_5101"
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TOWNSHIP = "510104001000"
UNIT = f"{TOWNSHIP}-housing"


def opened(dsns: Mapping[str, str]) -> AbstractAsyncContextManager[Database]:
    """Supervision's schema in an empty database, opened as the role of the service."""
    return tables_of(Owner.SUPERVISION, dsns)


def deadline(due: datetime, stage: Stage = Stage.HANDLE, warn_at: datetime | None = None) -> Deadline:
    """A deadline as from a limit in hours."""
    return Deadline(
        stage=stage, start=START - timedelta(days=1), due=due, warn_at=warn_at, base=TimeBase.HOURS, amount=24
    )


def watched(name: str, sequence: int, *clocks: RunningDeadline, **more: Any) -> AggregateChange:
    """A case in handling with these clocks, its last event at `sequence`."""
    address = Address("case", TOWNSHIP, new_id(TOWNSHIP, name))
    state = CaseState(
        status=Status.HANDLING, version=sequence, registration_sequence=1, region=TOWNSHIP, in_charge=TOWNSHIP,
        nature=Nature.HELP,
        unit=UNIT, registered_at=START, last_at=START, clocks=clocks, **more,
    )  # fmt: skip
    return AggregateChange(address, state, Position(STREAM, sequence), (), state_json("case", state))
