"""kill -9 between sending and writing down, on the whole of caseflow: the receiver gets the same item again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import closing

import pytest

from tests.support.client import CITY, MATTER, Desk
from tests.support.receivers import Received, Receiver, receiving
from tests.support.stack import Stack, stack_in, until

NUMBER = "13800000000"  # the reporter's of MATTER


@pytest.mark.deep
async def test_killed_after_sending_it_sends_again_with_the_same_id() -> None:
    with stack_in("webhooks") as stack:
        async with receiving() as receiver:
            case, secret = await asyncio.to_thread(killed, stack, receiver)
            await asyncio.to_thread(stack.start)
            await receiver.until(2)
            await asyncio.to_thread(written_down, stack, case)
            judge(receiver.got, secret)


def killed(stack: Stack, receiver: Receiver) -> tuple[str, str]:
    """A gateway is made and a case registered; the process dies once the gateway has the notice."""
    stack.start(failpoints="webhook.sent=kill@1")
    with closing(Desk(stack.url)) as desk:
        body = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
        gateway = desk.ok("sms-demo", "/supervision/webhooks", body)
        case = desk.ok("jj-window", "/intake/cases", MATTER)
    assert stack.wait_dead() == -signal.SIGKILL
    return case["id"], gateway["secret"]


def written_down(stack: Stack, case: str) -> None:
    """Wait until the notice is known to be sent."""
    path = f"/supervision/cases/{case}/notices"
    with closing(Desk(stack.url)) as desk:
        until(lambda: desk.get("jj-director", path).json()["notices"][0]["status"] == "sent", "the notice is sent")


def judge(got: Sequence[Received], secret: str) -> None:
    """The gateway got the same item twice, with the number, signed."""
    assert len({one.id for one in got}) == 1
    assert all(one.is_signed_by(secret) and one.item["data"]["to"] == NUMBER for one in got)
