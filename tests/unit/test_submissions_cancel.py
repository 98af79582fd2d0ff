"""Stopping while an answer arrives: a wait that is told to stop ends so, or a service never stops."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.log.connection import NatsConnection


class _Silent(Client):
    def new_inbox(self) -> str:
        return "_INBOX.x"


@pytest.mark.parametrize("rounds", range(4))
async def test_a_message_that_comes_with_the_cancellation_does_not_undo_it(rounds: int) -> None:
    client = _Silent()
    inbox = NatsConnection(client, 5.0).open_inbox()
    waiting = asyncio.create_task(inbox.wait(5.0))
    for _ in range(3):
        await asyncio.sleep(0)
    inbox.put(Msg(client))
    for _ in range(rounds):
        await asyncio.sleep(0)
    if waiting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await waiting
