"""Supervision's read model on a real Postgres, and cases with clocks for it, by no more than what it looks at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.supervision.store import STATEMENTS
from shared.case.base import Address, Position, new_id
from shared.case.clocks import RunningDeadline
from shared.case.facts import Deadline, Nature, Stage, TimeBase
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange
from shared.kit.sql import Database, migrate

ROOT = Path(__file__).parents[2]
STREAM = "LOG_5101"
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TOWNSHIP = "510104001000"
UNIT = f"{TOWNSHIP}-housing"


@asynccontextmanager
async def opened(dsns: Mapping[str, str]) -> AsyncIterator[Database]:
    """Supervision's schema in an empty database, as the role of the service."""
    for schema, folder in (
        ("kit", ROOT / "shared/kit/migrations"),
        ("supervision", ROOT / "services/supervision/migrations"),
    ):
        await migrate(dsns["admin"], schema, "supervision", folder)
    database = await Database.connect(dsns["supervision"], STATEMENTS, "supervision", size_max=4)
    try:
        yield database
    finally:
        await database.close()


def deadline(due: datetime, stage: Stage = Stage.HANDLE, warn_at: datetime | None = None) -> Deadline:
    """A deadline as a limit in hours gives it."""
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
    return AggregateChange(address, state, Position(STREAM, sequence), ())
