"""The account of a subscriber on a real server: it reads its own items by its own durable, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import APIError, ServiceUnavailableError

from infra.servers.nats_config import ADMIN, accounts
from infra.servers.partners import Partners, Subscriber
from infra.servers.services import OWNERS
from shared.case.announcements import FeedKind
from shared.log import topology
from shared.log.connection import NatsConnection, connect
from shared.log.streams import Streams, ensure_subscriptions, ensure_topology
from shared.log.topology import FEED, SUBSCRIBER_DOMAIN, Topology
from tests.support.nats import NatsServer
from tests.support.polling import until

CITY = Subscriber("city", ("510100000000",), (FeedKind.OVERDUE,), (3, 4))
OTHER = Subscriber("other", ("510700000000",))
AUDIT = Subscriber("audit", ("510100000000",), replays=True)
PARTNERS = Partners((), (CITY, OTHER, AUDIT))
PASSWORDS = {user: f"word-of-{user}" for user in (ADMIN, *map(str, OWNERS), *PARTNERS.users)}
DURABLES = [topology.subscription(one.name, one.subjects) for one in PARTNERS.subscribers]
WAIT_S = 0.4
OWN = ("feed.overdue.3.51.01.04.000.000.a", "feed.overdue.4.51.01.04.017.000.b")
FOREIGN = (
    "feed.overdue.2.51.01.00.000.000.c",  # another level
    "feed.warned.3.51.01.04.000.000.d",  # another kind
    "feed.overdue.3.51.07.03.000.000.e",  # another region
    topology.FEED_MARK,
)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    one = NatsServer(tmp_path / "nats", accounts=accounts(PASSWORDS, PARTNERS, 1024**3))
    one.start()
    async with admin(one) as connection:
        await ensure_topology(connection, Topology(("5101", "5107")))
        assert await ensure_subscriptions(connection, DURABLES) == [one["durable_name"] for one in DURABLES]
        assert await ensure_subscriptions(connection, DURABLES) == []
    yield one
    one.kill()


@asynccontextmanager
async def admin(server: NatsServer) -> AsyncIterator[NatsConnection]:
    connection = await connect(server.url, user=ADMIN, password=PASSWORDS[ADMIN])
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def client(server: NatsServer, subscriber: Subscriber, errors: list[str] | None = None) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        (errors if errors is not None else []).append(str(error))

    one = await nats.connect(
        server.url, user=subscriber.user, password=PASSWORDS[subscriber.user],
        inbox_prefix=subscriber.inbox_prefix.encode(), error_cb=note, max_reconnect_attempts=-1, reconnect_time_wait=0,
    )  # fmt: skip
    try:
        yield one
    finally:
        await one.close()


async def publish(server: NatsServer, *subjects: str) -> None:
    async with admin(server) as connection:
        for subject in subjects:
            await Streams(connection).publish(subject, subject.encode())


async def fetch(one: Client, subscriber: Subscriber, count: int = 10) -> list[str]:
    """What a pull from the subscriber's own durable brings, acknowledged."""
    durable = await one.jetstream(domain=SUBSCRIBER_DOMAIN, timeout=1).pull_subscribe(
        "", durable=subscriber.user, stream=FEED, inbox_prefix=f"{subscriber.inbox_prefix}.".encode()
    )
    try:
        messages = await durable.fetch(count, timeout=WAIT_S)
    except TimeoutError:
        return []
    finally:
        await durable.unsubscribe()
    for message in messages:
        await message.ack_sync()
    return [message.data.decode() for message in messages]


async def test_it_reads_its_own_items_and_goes_on_where_it_was_after_any_restart(server: NatsServer) -> None:
    await publish(server, *OWN, *FOREIGN)
    async with client(server, CITY) as city:
        assert await fetch(city, CITY, 1) == [OWN[0]]
        assert await fetch(city, CITY) == [OWN[1]]
        assert await fetch(city, CITY) == []
    await publish(server, "feed.overdue.3.51.01.04.000.000.later", *FOREIGN)
    server.kill()
    server.start()
    async with client(server, CITY) as city:
        assert await fetch(city, CITY) == ["feed.overdue.3.51.01.04.000.000.later"]
        assert await fetch(city, CITY) == []
    async with client(server, OTHER) as other:
        assert await fetch(other, OTHER) == [FOREIGN[2]] * 2


async def test_what_is_not_acknowledged_comes_again(server: NatsServer) -> None:
    await publish(server, OWN[0])
    async with client(server, CITY) as city:
        jetstream = city.jetstream(domain=SUBSCRIBER_DOMAIN)
        prefix = f"{CITY.inbox_prefix}.".encode()
        durable = await jetstream.pull_subscribe("", durable=CITY.user, stream=FEED, inbox_prefix=prefix)
        (message,) = await durable.fetch(1, timeout=WAIT_S)
        await message.nak(delay=0.1)
        (again,) = await durable.fetch(1, timeout=2)
        assert again.metadata.num_delivered == 2


def pull(durable: str) -> tuple[str, bytes]:
    return f"CONSUMER.MSG.NEXT.FEED.{durable}", b'{"batch": 1, "no_wait": true}'


def create(durable: str, **config: Any) -> tuple[str, bytes]:
    config = {"durable_name": durable, "ack_policy": "explicit", **config}
    return f"CONSUMER.CREATE.FEED.{durable}", json.dumps({"stream_name": "FEED", "config": config}).encode()


async def violated(errors: list[str], attempt: str) -> None:
    """Wait until the server has said that this is not permitted."""
    await until(lambda: any(f"permissions violation for {attempt}".lower() in error.lower() for error in errors))


ATTEMPTS: dict[str, tuple[str, bytes]] = {
    "another durable": pull(OTHER.user),
    "a durable of a service": pull("supervision-feed"),
    "what another durable is": (f"CONSUMER.INFO.FEED.{OTHER.user}", b""),
    "all durables": ("CONSUMER.LIST.FEED", b""),
    "a new durable": create("mine"),
    "an ephemeral consumer": ("CONSUMER.CREATE.FEED", b'{"stream_name": "FEED", "config": {"ack_policy": "none"}}'),
    "a wider filter": create(CITY.user, filter_subject="feed.>"),
    "a wider filter in the old way": (f"CONSUMER.DURABLE.CREATE.FEED.{CITY.user}", create(CITY.user)[1]),
    "an end of its durable": (f"CONSUMER.DELETE.FEED.{CITY.user}", b""),
    "a pause of its durable": (f"CONSUMER.PAUSE.FEED.{CITY.user}", b'{"pause_until": "2999-01-01T00:00:00Z"}'),
    "a replay": (f"CONSUMER.RESET.FEED.{CITY.user}", b"{}"),
    "the stream": ("STREAM.INFO.FEED", b""),
    "all streams": ("STREAM.LIST", b""),
    "a message of the stream": ("STREAM.MSG.GET.FEED", b'{"seq": 1}'),
    "a message straight from a replica": ("DIRECT.GET.FEED", b'{"seq": 1}'),
    "the last item of a region": ("DIRECT.GET.FEED.feed.overdue.3.51.01.04.000.000.a", b""),
    "an event": ("DIRECT.GET.LOG_5101", b'{"seq": 1}'),
    "its account": ("INFO", b""),
    "the end of the stream": ("STREAM.DELETE.FEED", b""),
}


@pytest.mark.parametrize("prefix", ["$JS.API", f"$JS.{SUBSCRIBER_DOMAIN}.API"])
async def test_every_other_question_is_refused(server: NatsServer, prefix: str) -> None:
    await publish(server, *OWN, *FOREIGN)
    errors: list[str] = []
    async with client(server, CITY, errors) as city:
        for subject, body in ATTEMPTS.values():
            with pytest.raises((TimeoutError, NoRespondersError)):
                await city.request(f"{prefix}.{subject}", body, timeout=0.05)
            await violated(errors, f'publish to "{prefix}.{subject}"')
        assert await fetch(city, CITY) == list(OWN)


async def test_nothing_is_heard_and_nothing_published(server: NatsServer) -> None:
    errors: list[str] = []
    async with client(server, CITY, errors) as city:
        for subject in (">", "feed.>", OWN[0], "$JS.>", "$JS.API.>", "_INBOX.>", f"{OTHER.inbox_prefix}.>", "case.>"):
            heard = await city.subscribe(subject)
            await violated(errors, f'subscription to "{subject}"')
            await publish(server, OWN[0])
            with pytest.raises(TimeoutError):
                await heard.next_msg(timeout=0.02)
        for subject in (*OWN, *FOREIGN, "case.51.01.04.017.000.x", f"$JS.ACK.FEED.{OTHER.user}.1.1.1.1.1", "submit.a"):
            await city.publish(subject, b"forged")
            await violated(errors, f'publish to "{subject}"')
    async with admin(server) as connection:
        stored = [message.data for message in await Streams(connection).read(FEED, "feed.>")]
        assert stored
        assert b"forged" not in stored


async def test_an_item_cannot_be_pulled_onto_the_log(server: NatsServer) -> None:
    """The reply subject of a pull belongs to the subscriber's own account, whatever it is called."""
    await publish(server, *OWN)
    victim = "case.51.01.04.017.000.76c49159-e85b-8a36-888d-0205c20b1de0"
    async with client(server, CITY) as city:
        subject, body = pull(CITY.user)
        await city.publish(f"$JS.{SUBSCRIBER_DOMAIN}.API.{subject}", body, reply=victim)
        await city.flush()
        await asyncio.sleep(WAIT_S)
    async with admin(server) as connection:
        assert await Streams(connection).end("LOG_5101") == 0


async def test_an_auditor_reads_again_from_any_place_and_nobody_else_does(server: NatsServer) -> None:
    await publish(server, *OWN, *FOREIGN)
    every = [*OWN, FOREIGN[0], FOREIGN[1]]
    async with client(server, AUDIT) as audit:
        assert await fetch(audit, AUDIT) == every
        assert await fetch(audit, AUDIT) == []
        subject = f"$JS.{SUBSCRIBER_DOMAIN}.API.CONSUMER.RESET.FEED.{AUDIT.user}"
        assert json.loads((await audit.request(subject, b'{"seq": 1}')).data)["num_pending"] == len(every)
        assert await fetch(audit, AUDIT) == every
        foreign = subject.replace(AUDIT.user, CITY.user)
        with pytest.raises((TimeoutError, NoRespondersError)):
            await audit.request(foreign, b'{"seq": 1}', timeout=0.1)


async def test_pulls_are_bounded(server: NatsServer) -> None:
    async with client(server, CITY) as city:
        subject, _ = pull(CITY.user)
        for body in (b'{"batch": 100000}', b'{"batch": 1, "expires": 3600000000000}'):
            answer = await city.request(f"$JS.{SUBSCRIBER_DOMAIN}.API.{subject}", body, timeout=1)
            assert answer.headers is not None
            assert answer.headers["Status"] == "409", answer.headers


async def test_a_changed_declaration_changes_the_durable_and_keeps_its_place(server: NatsServer) -> None:
    await publish(server, *OWN)
    async with client(server, CITY) as city:
        assert await fetch(city, CITY) == list(OWN)
        wider = Subscriber("city", CITY.regions, (FeedKind.OVERDUE, FeedKind.WARNED), CITY.levels)
        async with admin(server) as connection:
            changed = [topology.subscription(wider.name, wider.subjects)]
            assert await ensure_subscriptions(connection, changed) == [CITY.user]
            assert await ensure_subscriptions(connection, changed) == []
        await publish(server, *FOREIGN)
        assert await fetch(city, CITY) == [FOREIGN[1]]


async def test_a_deleted_durable_is_an_error_and_comes_back_with_the_next_start(server: NatsServer) -> None:
    await publish(server, *OWN)
    async with client(server, CITY) as city:
        async with admin(server) as connection:
            await connection.api(f"$JS.API.CONSUMER.DELETE.FEED.{CITY.user}")
            with pytest.raises((APIError, ServiceUnavailableError, TimeoutError)):
                await fetch(city, CITY)
            assert await ensure_subscriptions(connection, DURABLES) == [CITY.user]
        assert await fetch(city, CITY) == list(OWN)
