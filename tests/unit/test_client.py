"""The clients of platforms, supervisors and auditors without any server: FastStream's test broker runs their handlers.

The examples of docs/examples are run in the same way; tests/e2e/test_examples.py runs them against the real stack.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from faststream.nats import NatsMessage, TestNatsBroker
from pydantic import ValidationError

from infra.dev.asyncapi import ANSWER, OVERDUE, PROBLEM
from shared.case.base import Owner
from shared.client import AuditorClient, Envelope, FeedItem, PlatformClient, Progress, Receipt, SupervisorClient
from shared.kit.application import Answer
from shared.kit.bodies import RegisterBody
from shared.kit.problems import Problem
from shared.kit.submission import read
from shared.log.consumers import RawMessage
from shared.log.port import LogUnavailable
from shared.log.topology import FEED, receipt
from tests.support.clock import FakeClock

URL = "nats://nobody:secret@127.0.0.1:1"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DEMAND: Mapping[str, Any] = {
    "channel": "app",
    "region": "510104017000",
    "nature": "complaint",
    "title": "小区电梯停运",
    "text": "物业公司一个月没有修电梯。",
}
ITEM = FeedItem.model_validate(OVERDUE)


def example(name: str) -> ModuleType:
    """An example as a program just started, with nothing in its memory."""
    module = importlib.import_module(f"docs.examples.{name}")
    return importlib.reload(module)


def answered(subject: str, outcome: Answer | Problem) -> Receipt:
    return Receipt.of(Owner.INTAKE, "demo", subject, 17, "register", NOW, outcome)


def step(number: str) -> Progress:
    facts = {"id": "x", "number": number, "step": "assigned", "status": "assigned", "version": 3, "position": "LOG_1:1"}
    return Progress.model_validate({"id": "e", "subject": number, "time": NOW, "data": facts})


async def test_a_platform_publishes_what_intake_reads() -> None:
    platform = PlatformClient("demo", URL)
    async with TestNatsBroker(platform.broker):
        await platform.submit("register", DEMAND, id="a-1", region="510104017000", time=NOW)
        await platform.submit("withdraw", {"note": {"text": "不要了"}}, id="a-2", region="510104017000", case="FJ5M-1")
        first, second = [call.args[0] for call in platform.submissions.mock.call_args_list]
    parsed = read(
        RawMessage("submit.demo.51.01.04.017.000", 1, json.dumps(first).encode(), None), {"register": RegisterBody}
    )
    assert parsed.problem is None
    assert parsed.body == RegisterBody.model_validate(DEMAND)
    assert Envelope.model_validate(first).time == NOW
    assert (second["subject"], second["data"]) == ("FJ5M-1", {"note": {"text": "不要了"}})


async def test_what_the_services_would_refuse_is_not_even_sent() -> None:
    platform = PlatformClient("demo", URL)
    async with TestNatsBroker(platform.broker):
        with pytest.raises(ValidationError, match="nature"):
            await platform.submit("register", {**DEMAND, "nature": "joke"}, id="a-1", region="510104017000")
        with pytest.raises(ValidationError, match="id"):
            await platform.submit("register", DEMAND, id="seq-1", region="510104017000")
        with pytest.raises(KeyError, match="merge is no command"):
            await platform.submit("merge", {}, id="a-1", region="510104017000", case="x")
        platform.submissions.mock.assert_not_called()


async def test_a_publish_that_nobody_acknowledges_is_repeated_with_the_same_id() -> None:
    clock = FakeClock()
    platform = PlatformClient("demo", URL, clock)
    tries: list[Any] = []

    async def lost_twice(data: bytes, subject: str, **_: Any) -> Any:
        tries.append((subject, json.loads(data)["id"]))
        if len(tries) < 3:
            raise LogUnavailable("no acknowledgement")

    platform.submissions.publish = lost_twice  # type: ignore[method-assign, assignment]
    submitting = asyncio.create_task(platform.submit("register", DEMAND, id="a-1", region="510104017000"))
    async with asyncio.timeout(5):
        while not submitting.done():
            await asyncio.sleep(0)
            await clock.advance(1)
    assert tries == [("submit.demo.51.01.04.017.000", "a-1")] * 3


async def test_a_platform_hears_receipts_and_progress_and_asks_for_what_it_missed() -> None:
    platform, heard = PlatformClient("demo", URL), list[Any]()

    @platform.receipts
    async def receipts(one: Receipt) -> None:
        heard.append(one)

    @platform.progress
    async def progress(one: Progress) -> None:
        heard.append(one)

    accepted, refused = answered("a-1", Answer(**ANSWER)), answered("seq-17", Problem(**PROBLEM))

    @platform.broker.subscriber("$JS.API.DIRECT.GET.RECEIPTS.receipt.demo.*")
    async def kept(message: NatsMessage) -> bytes:
        return accepted.model_dump_json().encode() if message.raw_message.subject.endswith(".a-1") else b""

    async with TestNatsBroker(platform.broker) as broker:
        for one in (accepted, refused):
            await broker.publish(one, receipt("demo", one.subject))
        await broker.publish(step("FJ5M-1"), "progress.demo.FJ5M-1")
        assert await platform.receipt("a-1") == accepted
        assert await platform.receipt("a-2") is None
        assert await platform.wait_for_receipt("a-1") == accepted
        with pytest.raises(TimeoutError, match="no receipt of a-2 within 0 s"):
            await platform.wait_for_receipt("a-2", within_s=0)
    assert heard == [accepted, refused, step("FJ5M-1")]


@pytest.mark.parametrize("kind", [SupervisorClient, AuditorClient])
async def test_items_reach_the_handler_typed(kind: type[SupervisorClient]) -> None:
    subscriber, heard = kind("city", URL), list[FeedItem]()

    @subscriber.items
    async def take(item: FeedItem) -> None:
        heard.append(item)

    async with TestNatsBroker(subscriber.broker) as broker:
        await broker.publish(ITEM, ITEM.nats_subject, stream=FEED)
        with pytest.raises(ValidationError):
            await broker.publish({"id": "no item"}, ITEM.nats_subject, stream=FEED)
    assert heard == [ITEM]


async def test_the_example_of_a_platform(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("platform")
    async with TestNatsBroker(module.platform.broker) as broker:
        await module.register()
        (call,) = module.platform.submissions.mock.call_args_list
        assert call.args[0]["data"] == module.COMPLAINT
        await broker.publish(answered(call.args[0]["id"], Answer(**ANSWER)), receipt("demo", call.args[0]["id"]))
        await broker.publish(step("FJ5M-1"), "progress.demo.FJ5M-1")
    output = capsys.readouterr().out
    assert "submission.accepted" in output
    assert "FJ5M-1 assigned" in output


async def test_the_example_of_a_supervisor(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("supervisor")
    async with TestNatsBroker(module.supervisor.broker) as broker:
        await broker.publish(ITEM, ITEM.nats_subject, stream=FEED)
    assert f"overdue {ITEM.data.number} {ITEM.data.region} handle" in capsys.readouterr().out


async def test_the_example_of_an_auditor() -> None:
    module = example("auditor")
    unit = ITEM.data.unit
    again = ITEM.model_copy(update={"id": "another"})
    annulled = ITEM.model_copy(update={"id": "undone", "data": ITEM.data.model_copy(update={"kind": "annulled"})})
    async with TestNatsBroker(module.auditor.broker) as broker:
        for item in (ITEM, ITEM, again, annulled):
            await broker.publish(item, item.nats_subject, stream=FEED)
    assert module.late == {unit: 1}
    assert len(module.heard) == 3
