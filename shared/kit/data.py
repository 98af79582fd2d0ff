"""The data of a service: log, streams, edge, vault and database, each under a user or a role of the service's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from shared.case.base import Address, Position
from shared.kit.sql import Database
from shared.kit.vault import Vault
from shared.log.case_numbers import case_number
from shared.log.port import Log
from shared.log.streams import Streams


class Edge(Protocol):
    """Where a service speaks to other systems. Its `messages.py` declares the streams that it publishes on."""

    async def publish(self, stream: str, subject: str, data: bytes, *, expected: int) -> int:
        """Publish a message behind the sequence `expected` of its subject, 0 for the first; its own sequence.

        Raises LogConflict, LogUnavailable.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The connections of one service."""

    log: Log
    streams: Streams
    edge: Edge
    vault: Vault
    database: Database

    def number(self, address: Address, state: Any) -> str:
        """The case number that people read out over the phone."""
        return case_number(Position(self.log.stream_of(address), state.registration_sequence))
