"""Every subject that FastStream registers, in services and clients, is a channel of the AsyncAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import pytest
import yaml
from faststream.nats import NatsBroker, NatsRouter

from infra.dev.generate import CONTRACT
from infra.servers.services import SERVICES
from shared.client import AuditorClient, FeedItem, PlatformClient, Progress, Receipt, SupervisorClient
from shared.kit.messaging import announce_stream, hear, make_client_broker
from shared.log.topology import RECEIPTS

URL = "nats://nobody@127.0.0.1:1"
DOCUMENT: dict[str, Any] = yaml.safe_load((CONTRACT / "asyncapi.yaml").read_text())


class Registered(NamedTuple):
    """A subject of a FastStream subscriber ("receive") or publisher ("send"), and the stream that it names."""

    action: str
    subject: str
    stream: str | None


def registered(registrator: NatsBroker | NatsRouter) -> set[Registered]:
    subscribers = {("receive", one) for one in registrator.subscribers}
    publishers = {("send", one) for one in registrator.publishers}
    return {
        Registered(action, one.subject.template, getattr(getattr(one, "stream", None), "name", None))  # type: ignore[union-attr]
        for action, one in subscribers | publishers
    }


def overlap(one: str, other: str) -> bool:
    """Whether a subject may fit both patterns."""
    for mine, theirs in zip_longest(one.split("."), other.split(".")):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and not (mine and theirs and "*" in (mine, theirs)):
            return False
    return True


def pattern(address: str) -> str:
    return ".".join("*" if token.startswith("{") else token for token in address.split("."))


def channels(one: Registered) -> list[str]:
    """The channels of the document that a registered subject reaches, in the stream that it names."""
    return [
        name
        for name, channel in DOCUMENT["channels"].items()
        if overlap(one.subject, pattern(channel["address"])) and one.stream in (None, channel["x-jetstream"]["stream"])
    ]


def clients() -> Iterator[NatsBroker]:
    platform = PlatformClient("demo", URL)

    @platform.receipts
    async def receipts(receipt: Receipt) -> None: ...

    @platform.progress
    async def progress(step: Progress) -> None: ...

    yield platform.broker
    for subscriber in (SupervisorClient("demo", URL), AuditorClient("audit", URL)):

        @subscriber.items
        async def items(item: FeedItem) -> None: ...

        yield subscriber.broker


@pytest.mark.parametrize("service", [service for service in SERVICES if service.messages], ids=lambda one: one.owner)
def test_what_a_service_registers_is_an_operation_of_it(service: Any) -> None:
    operations = {
        (operation["action"], operation["channel"]["$ref"].rpartition("/")[2])
        for name, operation in DOCUMENT["operations"].items()
        if name.startswith(f"{service.owner}-")
    }
    edge = registered(service.messages())
    assert edge
    for one in edge:
        (channel,) = channels(one)
        assert (one.action, channel) in operations


def test_what_a_client_registers_is_a_channel_that_a_service_serves() -> None:
    answering = {"receive": "send", "send": "receive"}
    served = {
        (operation["action"], operation["channel"]["$ref"].rpartition("/")[2])
        for operation in DOCUMENT["operations"].values()
    }
    reached = set()
    for broker in clients():
        for registration in registered(broker):
            named = channels(registration)
            assert len(named) == 1, registration
            assert (answering[registration.action], named[0]) in served, registration
            reached.add(named[0])
    assert reached == {"submissions", "receipts", "progress", "feeds"}


def test_the_edge_of_the_document_is_served_by_faststream() -> None:
    """Submissions, receipts and progress have a handler or a publisher in some service."""
    served = {
        channel
        for service in SERVICES
        if service.messages
        for one in registered(service.messages())
        for channel in channels(one)
    }
    assert served == {"submissions", "receipts", "progress"}


def test_what_is_not_in_the_document_is_found() -> None:
    broker = make_client_broker(URL, user="x")
    hear(broker, "gossip.*")
    announce_stream(broker, "receipt.*.*", stream="ELSEWHERE")
    announce_stream(broker, "receipt.*.*", stream=RECEIPTS)
    assert {one: channels(one) for one in registered(broker)} == {
        Registered("receive", "gossip.*", None): [],
        Registered("send", "receipt.*.*", "ELSEWHERE"): [],
        Registered("send", "receipt.*.*", RECEIPTS): ["receipts"],
    }


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.b", "a.b.c", False),
        ("a.*.c", "a.b.d", False),
        ("feed.*.*.>", "feed.mark", False),
    ],
)
def test_patterns(one: str, other: str, meet: bool) -> None:
    assert overlap(one, other) is meet
