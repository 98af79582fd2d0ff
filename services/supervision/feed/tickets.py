"""Tickets for the feed: a browser's `EventSource` sends no header, and a token has no place in an address.

Whoever has a token is given a ticket by a request of its own. It opens the feed once, within TICKET_S_MAX, with the
rights that its person has then.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

from shared.kit.access import Caller
from shared.kit.clock import Clock
from shared.kit.sql import Database, Statements

TICKET_S_MAX = 30
TICKET_BYTES = 24
STATEMENTS = Statements.load(Path(__file__).with_name("tickets.sql"))


class FeedTicket(BaseModel):
    """A ticket: the `ticket` of one `GET /supervision/feed`, within `seconds`."""

    ticket: str
    seconds: int = TICKET_S_MAX


class TicketStore:
    """The tickets that were given out and not used. All methods raise Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database.using(STATEMENTS), clock

    async def make(self, caller: Caller) -> FeedTicket:
        """A new ticket of a caller."""
        ticket, now = urlsafe_b64encode(self._clock.token_bytes(TICKET_BYTES)).decode(), self._clock.now()
        ends_at = now + timedelta(seconds=TICKET_S_MAX)
        await self._database.execute("insert_ticket", _digest(ticket), caller.person, ends_at, now)
        return FeedTicket(ticket=ticket)

    async def take(self, ticket: str) -> str | None:
        """The person of a ticket, which ends by that; None for one that is unknown, used or over."""
        person: str | None = await self._database.fetch_value("take_ticket", _digest(ticket), self._clock.now())
        return person


def _digest(ticket: str) -> bytes:
    return sha256(ticket.encode()).digest()
