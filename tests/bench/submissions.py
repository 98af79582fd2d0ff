"""(k) Submissions over NATS: what a platform publishes until each has its receipt, and what one costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
from nats.aio.client import Client

from tests.bench.base import Bench, Costs, Figure, Say, watched
from tests.support.client import MATTER
from tests.support.stack import Stack

SUBJECT = "submit.demo.51.01.04.017.000"
USER = "platform-demo"
IN_FLIGHT = 64
WARM_UP = 100
REGISTRATIONS, REFUSALS = 1000, 3000
ANSWER_S_MAX = 300.0
BARE = "bare guarded publishes, 16 in flight"


def registration(number: int) -> dict[str, Any]:
    """A complaint that a rule triages and assigns at once."""
    text = f"第{number}号楼的物业公司乱收停车费，电梯坏了一个月没人修。"
    return {"type": "command.register", "data": {**MATTER, "title": f"小区物业不作为 {number}", "text": text}}


def refusal(number: int) -> dict[str, Any]:
    """A command on a case that there is not: the cost of a submission without the cost of a case."""
    return {"type": "command.withdraw", "subject": "FJ5M-99999-X", "data": {"note": {"text": f"撤回 {number}"}}}


async def measure(stack: Stack, quick: bool, say: Say) -> AsyncIterator[Figure]:
    """Both figures, on a stack that was not started yet."""
    stack.start()
    share = 5 if quick else 1
    async with watched(stack) as bench:
        url = bench.connection.client.connected_url
        assert url is not None
        platform = await nats.connect(
            f"nats://{USER}:{stack.passwords()[USER]}@127.0.0.1:{url.port}", inbox_prefix=f"_INBOX_{USER}".encode()
        )
        try:
            await answered(bench, platform, "warm", map(registration, range(WARM_UP)))
            await bench.caught_up()
            limit = await bench.bare_appends(2000)
            for name, form, count in (
                ("submissions", registration, REGISTRATIONS // share),
                ("refusals", refusal, REFUSALS // share),
            ):
                say(f"{count} {name}")
                costs = Costs(stack)
                seconds = await answered(bench, platform, name, map(form, range(WARM_UP, WARM_UP + count)))
                await bench.caught_up()  # so that every round pays for the whole of what follows
                cost = costs.spent()
                what = "registrations" if name == "submissions" else "commands that are refused"
                more = cost.per(count)
                yield Figure(
                    name, f"{what} published over NATS, until each has its receipt", count / seconds, "/s", None,
                    "more", BARE, limit, more, cost.busiest(),
                )  # fmt: skip
        finally:
            await platform.close()


async def answered(bench: Bench, platform: Client, name: str, events: Iterator[dict[str, Any]]) -> float:
    """Publish, IN_FLIGHT at once, and wait until there is a receipt for each; the seconds it took."""
    before, count = await receipts(bench), 0
    began = time.perf_counter()

    async def publish() -> None:
        nonlocal count
        for event in events:
            count += 1
            body = {"specversion": "1.0", "id": f"{name}-{count}", "source": "demo", **event}
            await platform.request(SUBJECT, json.dumps(body).encode(), timeout=30)

    await asyncio.gather(*(publish() for _ in range(IN_FLIGHT)))
    async with asyncio.timeout(ANSWER_S_MAX):
        while await receipts(bench) < before + count:
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def receipts(bench: Bench) -> int:
    """How many receipts there are."""
    state = (await bench.connection.api("$JS.API.STREAM.INFO.RECEIPTS"))["state"]
    return int(state["messages"])
