"""The feed over real HTTP: live, from Last-Event-ID across restarts, only to who may hear it, and with slow readers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Endpoints
from services.supervision.feed import sse, tickets
from shared.case.announcements import FeedKind
from shared.case.base import Recorded
from shared.kit import listeners
from shared.kit.settings import Settings
from shared.log.connection import connect
from shared.log.streams import Streams
from shared.log.topology import FEED, FEED_ITEMS
from tests.support.feeds import AREAS, lives, messages, moved
from tests.support.law import CITY, COUNTY, TOWNSHIP, accepted, ask, given
from tests.support.listening import BUFFER_BYTES, HEARD_S_MAX, Case, Feed, Heard, serving
from tests.support.nats import NatsServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    one = NatsServer(tmp_path_factory.mktemp("feed") / "nats")
    one.start()
    yield one
    one.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoints(servers: Endpoints, nats: NatsServer) -> Endpoints:
    admin = settings_for(Settings(areas=AREAS), servers, "admin").model_copy(update={"nats_url": nats.url})
    await prepare(admin)
    return servers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def feed(nats: NatsServer, endpoints: Endpoints) -> AsyncIterator[Feed]:
    async with serving(nats, endpoints, 0) as one:
        yield one


def cases(count: int, seed: int, situation: str = "overdue", **first: Any) -> list[Case]:
    """Cases in a situation, all in the first area; `first` changes what their registration says."""
    found = lives(2 * count, seed, [situation])[::2]
    for case in found:
        born = case[0]
        case[0] = Recorded(born.id, born.address, born.meta, born.known.model_copy(update=first))
    return found


def told(heard: Sequence[Heard]) -> list[tuple[str, str]]:
    return [(one.event, one.data["subject"]) for one in heard]


async def test_what_happens_is_told_live_with_the_place_and_a_comment_when_nothing_does(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_S", 0.2)
    async with feed.listening("jj-director") as one:
        assert one.answer.headers["content-type"].startswith("text/event-stream")
        opening = await one.block()
        assert opening["retry"] == str(sse.RETRY_MS)
        end = await feed.written(cases(1, 1))
        heard = await one.until(end)
        assert [one.event for one in heard] == ["arrived", "notice", "overdue"]
        assert [one.id for one in heard] == list(range(int(opening["id"]) + 1, end + 1))
        assert heard[-1].data["data"]["unit"].endswith("-housing")
        nothing = await one.block()
        assert nothing == {"": "nothing new", "id": str(end)}


async def test_a_listener_goes_on_where_it_was_after_everything_was_killed(
    nats: NatsServer, endpoints: Endpoints
) -> None:
    async with serving(nats, endpoints, 0) as before:
        port = before.port
        async with before.listening("jj-director") as one:
            end = await before.written(cases(3, 2))
            heard = [await one.next() for _ in range(4)]
    nats.kill()
    nats.start()
    async with serving(nats, endpoints, port) as after:
        last = await after.written(cases(2, 3))
        async with after.listening("jj-director", heard[-1].id) as one:
            heard += await one.until(last)
        kept = [message.sequence for message in await messages(after.streams)]
    assert [one.id for one in heard] == [id for id in kept if id >= heard[0].id], (
        "each once, in order, nothing left out"
    )
    assert heard[-1].id == last > end


async def test_a_listener_hears_on_when_the_server_behind_is_killed_until_its_hour_is_over(
    feed: Feed, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with feed.listening("jj-director") as one:
        await one.block()
        before = await one.until(await feed.written(cases(1, 20)))
        nats.kill()
        nats.start()
        await feed.up()
        heard = await one.until(await feed.written(cases(1, 21)))
        assert [one.id for one in before + heard] == list(range(before[0].id, heard[-1].id + 1))
    monkeypatch.setattr(sse, "FEED_LISTEN_S_MAX", 0.0)
    async with feed.listening("jj-director", 0) as one:
        await one.block()
        with pytest.raises(StopAsyncIteration):
            await one.block()


async def test_what_is_not_kept_is_told_as_a_gap(feed: Feed) -> None:
    end = await feed.written(cases(1, 4))
    async with feed.listening("jj-director", end + 1000) as one:
        gap = await one.next()
        assert (gap.event, gap.id, gap.data) == ("gap", end, {"asked": end + 1000, "first": 1, "last": end})
        await feed.written(cases(1, 5))
        assert (await one.next()).id == end + 1, "it goes on with what is new"
    async with feed.listening("jj-director", 0) as one:
        assert (await one.next()).event != "gap", "nothing is missing from the first on"


async def test_below_the_first_item_kept_there_is_a_gap(tmp_path: Any) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        connection = await connect(server.url)
        await connection.api(f"$JS.API.STREAM.CREATE.{FEED}", {"name": FEED, "subjects": [FEED_ITEMS], "max_msgs": 5})
        streams = Streams(connection)
        for n in range(10):
            await streams.publish(f"feed.warned.{n}", b"{}")
        assert await sse.start_of(streams, "2") == (5, {"asked": 2, "first": 6, "last": 10})
        assert await sse.start_of(streams, "5") == (5, None)
        assert await sse.start_of(streams, "7") == (7, None)
        assert await sse.start_of(streams, None) == (10, None)
        await connection.close()
    finally:
        server.kill()


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1 2", "9" * 19, "0x10"])
async def test_a_place_that_is_none_is_refused(feed: Feed, last: str) -> None:
    problem = await feed.refused("jj-director", last)
    assert (problem.status_code, problem.json()["code"]) == (400, "last_event_id.malformed")


async def test_what_cannot_be_asked_for_is_refused_with_what_can(feed: Feed) -> None:
    outside = await feed.refused("jj-director", region=CITY)
    assert (outside.status_code, outside.json()["code"]) == (403, "access.refused")
    unknown = await feed.refused("jj-director", kind="late")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "kind.unknown")
    assert all(kind in unknown.json()["detail"] for kind in FeedKind)
    assert (await feed.refused("jj-director", level=6)).status_code == 422
    assert (await feed.refused("nobody")).status_code == 401


async def test_kind_level_and_region_narrow_what_is_told(feed: Feed) -> None:
    place = await feed.streams.end(FEED)
    end = await feed.written([*cases(2, 6), *cases(1, 7, "escalated")])

    async def heard(**params: Any) -> list[Heard]:
        async with feed.listening("cd-director", place, **params) as one:
            params.setdefault("kind", None)
            return await one.until(await last_of(feed, place, end, **params))

    assert {one.event for one in await heard(kind="overdue")} == {"overdue"}
    assert {one.event for one in await heard(kind=["overdue", "left"])} == {"overdue", "left"}
    county = await heard(level=3)
    assert [one.event for one in county] == ["arrived", "escalated"]
    assert {one.data["data"]["region"] for one in county} == {COUNTY}
    assert {one.data["data"]["region"] for one in await heard(region=TOWNSHIP)} == {TOWNSHIP}


async def last_of(feed: Feed, place: int, end: int, **params: Any) -> int:
    """The place of the last item that fits."""
    kinds = params.get("kind") or list(FeedKind)
    found = place
    for message in await messages(feed.streams):
        _, kind, level, *region = message.subject.split(".")
        fits = kind in ([kinds] if isinstance(kinds, str) else kinds)
        fits &= params.get("level") in (None, int(level))
        fits &= "".join(region[:4]).startswith((params.get("region") or CITY).rstrip("0"))
        if fits and place < message.sequence <= end:
            found = message.sequence
    return found


@pytest.mark.clause("9.4a")
async def test_who_must_stand_aside_or_is_complained_of_hears_nothing_of_the_case(feed: Feed) -> None:
    place = await feed.streams.end(FEED)
    (aside,), (complained,), (open_,) = (
        cases(1, 8, stand_aside=("jj-director",)),
        cases(1, 9, complained_unit=f"{COUNTY}-centre"),
        cases(1, 10),
    )
    end = await feed.written([aside, complained, open_])
    async with feed.listening("cd-director", place) as one:
        everybody = {one.data["subject"] for one in await one.until(end)}
    assert everybody == {case[0].address.id for case in (aside, complained, open_)}
    async with feed.listening("jj-director", place) as one:
        await feed.written(cases(1, 11))
        heard = {(await one.next()).data["subject"] for _ in range(4)}
    assert open_[0].address.id in heard
    assert not heard & {aside[0].address.id, complained[0].address.id}


@pytest.mark.clause("9.4a")
async def test_who_stands_aside_since_does_not_hear_what_was_before(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "PRESENT_S_MAX", 0.0)
    place = await feed.streams.end(FEED)
    (case,) = cases(1, 12)
    await feed.written([case])
    async with feed.listening("jj-director", place) as one:
        assert (await one.next()).data["subject"] == case[0].address.id
    corrected = accepted(given("overdue"), ask("correct", stand_aside=("jj-director",)))
    await feed.written([[moved(corrected, case[0].address, AREAS[0], "corrected")], *cases(1, 13)])
    async with feed.listening("jj-director", place) as one:
        assert (await one.next()).data["subject"] != case[0].address.id


async def test_the_centre_that_a_case_left_hears_that_and_nothing_more(feed: Feed) -> None:
    place = await feed.streams.end(FEED)
    (case,) = cases(1, 14, "registered")
    elsewhere = accepted(given("registered"), ask("transfer", to="510703000000"))
    place = await feed.written([case])
    end = await feed.written([[Recorded(elsewhere.id, case[0].address, elsewhere.meta, sealed(elsewhere))]])
    async with feed.listening("jj-director", place) as one:
        assert told(await one.until(place + 1)) == [("left", case[0].address.id)]
    assert end == place + 2


def sealed(recorded: Recorded[Any]) -> Any:
    event = recorded.known
    return event.model_copy(update=dict.fromkeys(event.PRIVATE, "seal1.BBBB.AAAA"))


async def test_nobody_takes_all_the_seats(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "LISTENERS_PER_PERSON_MAX", 2)
    monkeypatch.setattr(feed.slots, "count_max", 3)
    async with feed.listening("jj-director") as one, feed.listening("jj-director") as two:
        await asyncio.gather(one.block(), two.block())
        own = await feed.refused("jj-director")
        assert (own.status_code, own.headers["Retry-After"]) == (429, str(listeners.BUSY_RETRY_S))
        async with feed.listening("cd-director") as three:
            await three.block()
            full = await feed.refused("sc-auditor")
            assert (full.status_code, full.headers["Retry-After"]) == (503, str(listeners.BUSY_RETRY_S))
    async with asyncio.timeout(HEARD_S_MAX):
        while True:  # a seat is free again once the server has seen them go
            async with feed.listening("jj-director") as again:
                if again.answer.status_code == 200:
                    break
            await asyncio.sleep(0.02)


async def test_a_slow_reader_gets_all_and_one_that_has_stopped_is_let_go(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "LISTENERS_PER_PERSON_MAX", 1)
    monkeypatch.setattr(listeners, "WRITE_S_MAX", 1.0)
    place = await feed.streams.end(FEED)
    end = await feed.written(cases(60, 15))
    stopped = socket.socket()
    stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    stopped.connect(("127.0.0.1", feed.port))
    with stopped:
        stopped.sendall(
            b"GET /feed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-sc-auditor\r\nLast-Event-ID: %d\r\n\r\n"
            % place
        )
        await asyncio.sleep(0.2)
        assert (await feed.refused("sc-auditor")).status_code == 429, "it has its seat"
        async with feed.listening("jj-director", place) as slow:
            heard = []
            for _ in range(3):
                heard += [await slow.next() for _ in range(5)]
                await asyncio.sleep(0.1)
            heard += await slow.until(end)
        assert [one.id for one in heard] == list(range(place + 1, end + 1))
        async with asyncio.timeout(HEARD_S_MAX):
            while True:
                async with feed.listening("sc-auditor") as again:
                    if again.answer.status_code == 200:
                        break
                await asyncio.sleep(0.05)


async def test_a_browser_opens_the_feed_by_a_ticket_once(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    end = await feed.written(cases(1, 60))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{feed.port}") as browser:

        async def ticket(person: str = "jj-director") -> str:
            given = await browser.post("/feed/tickets", headers={"Authorization": f"Bearer demo-{person}"})
            assert (given.status_code, given.headers["cache-control"]) == (201, "no-store")
            return str(given.json()["ticket"])

        own = await ticket()
        async with browser.stream("GET", f"/feed?ticket={own}&last_event_id={end - 1}") as answer:
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            while await anext(lines) != f"id: {end}":
                pass
        again = await browser.get(f"/feed?ticket={own}")
        assert (again.status_code, again.json()["code"]) == (401, "ticket.unknown")
        assert (await browser.post("/feed/tickets")).status_code == 401
        unknown = await browser.get("/feed?ticket=x", headers={"Authorization": "Bearer demo-jj-director"})
        assert unknown.status_code == 401, "a ticket that is given is what counts"
        outside = await browser.get(f"/feed?ticket={await ticket()}&region={CITY}")
        assert outside.status_code == 403, "it has the rights of its person and no more"
        monkeypatch.setattr(tickets, "TICKET_S_MAX", 0)
        assert (await browser.get(f"/feed?ticket={await ticket()}")).status_code == 401, "it is over"
