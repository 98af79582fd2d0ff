"""Events for a log in tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.case.base import Actor, Address, Event, Meta, Recorded, event_id
from shared.case.events import Supplemented

AREAS = ("5101", "5107")
REGION = "510104001002"
OTHER_REGION = "510703000000"
TIME = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC)
DESK = Actor(person="li.na", post="desk", unit="510104000000-desk", centre="510104000000", region="510104000000")


def address(number: int = 1, region: str = REGION, kind: str = "case") -> Address:
    return Address(kind, region, str(UUID(int=number)))


def recorded(where: Address, command: str, text: str = "AAAA", event: Event | None = None) -> Recorded[Event]:
    """A supplement sealed as `text`, of the command with this id; `event` replaces it."""
    meta = Meta(command_id=command, time=TIME, recorded_at=TIME + timedelta(seconds=1), actor=DESK)
    return Recorded(event_id(command, where.subject), where, meta, event or Supplemented(note=f"seal1.BBBB.{text}"))
