"""Dead letters: messages that could not be worked, left to the operator with their reason and without any content."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from shared.case.base import Recorded
from shared.kit import telemetry
from shared.kit.telemetry import Telemetry
from shared.log import topology
from shared.log.streams import Streams

PARKED_COUNT = telemetry.gauge("caseflow_parked_messages", "Messages that were parked since the stream was made")
PARKED_TOTAL = telemetry.counter("caseflow_parked_total", "Messages parked for the operator", "service", "reason")


class DeadLetters:
    """The stream PARKED, as one service writes it."""

    def __init__(self, service: str, streams: Streams, telemetry: Telemetry) -> None:
        self._service, self._streams, self._telemetry = service, streams, telemetry
        telemetry.before_reading(self._measure)

    async def _measure(self) -> None:
        self._telemetry.set(PARKED_COUNT, await self._streams.end(topology.PARKED))

    async def park_event(self, consumer: str, recorded: Recorded[Any], reason: str) -> None:
        """Leave an event that a reaction could not work to the operator. Raises LogUnavailable."""
        note = {"event": recorded.id, "position": str(recorded.position), "type": recorded.type, "reason": reason}
        await self._park(consumer, note, f"{consumer} {recorded.id}", reason)

    async def park_submission(self, source: str, sequence: int, command: str | None, reason: str) -> None:
        """Leave a submission that could not be worked to the operator. Raises LogUnavailable."""
        note = {"source": source, "sequence": sequence, "command": command, "reason": reason}
        await self._park("submissions", note, f"submission {sequence}", reason)

    async def _park(self, consumer: str, note: dict[str, Any], id: str, reason: str) -> None:
        await self._streams.publish(topology.parked(self._service, consumer), to_json(note), msg_id=id)
        self._telemetry.add(PARKED_TOTAL, self._service, reason)
