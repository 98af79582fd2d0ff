"""Webhooks on real servers and a real receiver: at least once, in order per case, for days, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from email.utils import format_datetime

import pytest

from services.supervision.feed import webhook_client, webhooks
from services.supervision.feed.delivery import DELAYS_S
from services.supervision.feed.webhook_store import STATEMENTS, WebhookChanged
from shared.kit.failpoints import FailpointHit, from_spec
from tests.support.receivers import OK, Received, Receiver, status
from tests.support.webhooks import COUNTY, World


@pytest.fixture
def world(webhook_world: World) -> World:
    return webhook_world


async def test_each_item_comes_once_signed_with_its_id_and_its_sequence(world: World) -> None:
    webhook, secret = await world.webhook()
    cases = [await world.case() for _ in range(20)]
    items = [await world.item(case) for case in cases for _ in range(2)]
    webhook = await world.send(webhook)
    assert sorted(world.receiver.ids) == sorted(one.id for one in items)
    assert (webhook.cursor, webhook.waiting, webhook.parked, webhook.last_error) == (await world.end(), 0, 0, None)
    for got in world.receiver.got:
        assert got.is_signed_by(secret)
        assert got.item["id"] == got.id
        assert got.headers["webhook-timestamp"] == str(int(world.clock.now().timestamp()))
        assert got.headers["content-type"].startswith("application/cloudevents+json")
        assert not got.is_signed_by("whsec_" + "A" * 43 + "="), "the check itself can fail"
    sequences = {got.id: int(got.headers["caseflow-sequence"]) for got in world.receiver.got}
    assert [sequences[one.id] for one in items] == list(range(webhook.cursor - 39, webhook.cursor + 1))
    await world.send(webhook)
    assert len(world.receiver.got) == 40, "nothing is sent twice"


async def test_only_what_was_asked_for_and_what_the_creator_may_see_is_sent(world: World) -> None:
    webhook, _ = await world.webhook(region=COUNTY, level=4)
    mine = await world.case()
    kept = await world.case(complained_unit="510100000000-centre")  # the creator's own unit
    wanted = await world.item(mine)
    for case, kind, region in (
        (kept, "overdue", ""), (mine, "warned", ""), (mine, "overdue", COUNTY), (mine, "overdue", "510105000000"),
    ):  # fmt: skip
        await world.item(case, kind, region)
    webhook = await world.send(webhook)
    assert world.receiver.ids == [wanted.id]
    assert webhook.waiting == 0


async def test_a_failing_item_holds_back_the_later_ones_of_its_case_and_no_other(world: World) -> None:
    webhook, _ = await world.webhook()
    bad, good = await world.case(), await world.case()
    items = {case.id: [await world.item(case) for _ in range(3)] for case in (bad, good)}
    world.receiver.refuses(lambda got: got.item["subject"] == bad.id)
    webhook = await world.send(webhook)
    taken = [got.id for got in world.receiver.got if got.item["subject"] == good.id]
    assert taken == [one.id for one in items[good.id]]
    assert [got.id for got in world.receiver.got if got.item["subject"] == bad.id] == [items[bad.id][0].id]
    assert (webhook.waiting, webhook.cursor, webhook.last_error) == (3, await world.end(), "answered 500")
    world.receiver.got.clear()
    world.receiver.answers()
    await world.later(webhook, DELAYS_S[0] - 1)
    assert world.receiver.got == [], "not before its time"
    webhook = await world.later(webhook, 3)
    assert world.receiver.ids == [one.id for one in items[bad.id]], "then in order"
    assert webhook.waiting == 0


async def test_whatever_fails_at_random_each_comes_at_least_once_and_in_order_per_case(world: World) -> None:
    webhook, _ = await world.webhook()
    cases = [await world.case() for _ in range(6)]
    items = [await world.item(cases[n % 6]) for n in range(90)]

    async def answer(got: Received, _: asyncio.StreamWriter) -> bytes:
        return OK if world.clock.random() < 0.7 else status([500, 503, 404, 429][int(world.clock.random() * 4)])

    async def killed(name: str) -> None:
        if name == "webhook.sent" and world.clock.random() < 0.1:
            raise FailpointHit(name)

    world.receiver.answer = answer
    with world.service.runtime.failpoints.armed(killed):
        for _ in range(300):
            with suppress(FailpointHit):
                webhook = await world.later(webhook, 1800)
                if not webhook.waiting and webhook.cursor == await world.end():
                    break
    assert (webhook.waiting, webhook.parked) == (0, 0)
    first: dict[str, list[str]] = defaultdict(list)
    for got in world.receiver.got:
        if got.id not in first[got.item["subject"]]:
            first[got.item["subject"]].append(got.id)
    for case in cases:
        assert first[case.id] == [one.id for one in items if one.subject == case.id]


async def test_what_is_refused_for_days_is_parked_shown_and_tried_again_when_told(world: World) -> None:
    webhook, _ = await world.webhook()
    bad, good = await world.case(), await world.case()
    first, second = await world.item(bad), await world.item(bad)
    world.receiver.refuses(lambda got: got.id == first.id, 422)
    webhook = await world.send(webhook)
    for delay in DELAYS_S:
        await world.item(good)  # the receiver is there all the time
        webhook = await world.later(webhook, delay * 1.2 + 1)
    assert world.receiver.ids.count(first.id) == len(DELAYS_S) + 1
    assert (webhook.parked, webhook.waiting, world.receiver.ids.count(second.id)) == (1, 0, 1)
    (parked,) = await world.webhooks.store.parked(webhook.id, 0, 10)
    assert (parked["item"], parked["reason"], parked["attempts"]) == (first.id, "answered 422", len(DELAYS_S) + 1)
    world.receiver.answers()
    assert await world.webhooks.store.unpark(webhook.id, parked["sequence"]) == 1
    webhook = await world.send(webhook)
    assert (world.receiver.ids[-1], webhook.parked) == (first.id, 0)


async def test_a_receiver_that_is_down_stops_the_cursor_and_is_asked_by_one_item_at_a_time(world: World) -> None:
    webhook, _ = await world.webhook()
    items = [await world.item(await world.case()) for _ in range(40)]
    await world.receiver.stop()
    webhook = await world.send(webhook)
    assert webhook.last_error == "no connection"
    began = webhook.waiting
    assert began <= webhooks.ROUND_COUNT
    for _ in range(24):
        webhook = await world.later(webhook, 3700)
    assert webhook.waiting <= began + 24, "an hour, an item"
    assert webhook.cursor < await world.end()
    await world.receiver.start()
    for _ in range(3):
        webhook = await world.later(webhook, 4400)
    assert (webhook.waiting, webhook.parked, webhook.tries, webhook.cursor) == (0, 0, 0, await world.end())
    assert sorted(set(world.receiver.ids)) == sorted(one.id for one in items)


async def test_once_the_receiver_is_back_what_waited_for_it_comes_at_once(world: World) -> None:
    webhook, _ = await world.webhook()
    item = await world.item(await world.case())
    await world.receiver.stop()
    for _ in range(6):
        webhook = await world.later(webhook, 4400)
    await world.receiver.start()
    fresh = await world.item(await world.case())
    webhook = await world.later(webhook, 4400)
    assert set(world.receiver.ids) == {item.id, fresh.id}, "not after the hours that its own delay would be"
    assert webhook.waiting == 0


@pytest.mark.parametrize("dated", [False, True])
async def test_retry_after_is_heeded_for_the_whole_place(world: World, dated: bool) -> None:
    webhook, _ = await world.webhook()
    items = [await world.item(await world.case()) for _ in range(3)]
    at = world.clock.now() + timedelta(seconds=700)
    world.receiver.answers(503, 503, 503, retry_after=format_datetime(at, usegmt=True) if dated else 700)
    webhook = await world.send(webhook)
    assert webhook.next_at is not None
    assert 699 <= (webhook.next_at - world.clock.now()).total_seconds() <= 700
    count = len(world.receiver.got)
    await world.later(webhook, 690)
    assert len(world.receiver.got) == count
    for _ in range(3):
        webhook = await world.later(webhook, 200)
    assert sorted(set(world.receiver.ids)) == sorted(one.id for one in items)
    assert webhook.waiting == 0


async def test_410_ends_it_until_somebody_lets_it_go_on(world: World) -> None:
    webhook, _ = await world.webhook()
    item = await world.item(await world.case())
    world.receiver.answers(410)
    webhook = await world.send(webhook)
    assert (webhook.status, webhook.last_error) == ("gone", "answered 410")
    await world.later(webhook, 90_000)
    assert len(world.receiver.got) == 1
    await world.webhooks.store.resume(webhook.id)
    webhook = await world.send(webhook)
    assert (webhook.status, webhook.waiting, world.receiver.ids) == ("active", 0, [item.id, item.id])


async def test_a_redirect_is_a_failure_and_is_not_followed(world: World) -> None:
    other = Receiver()
    await other.start()
    webhook, _ = await world.webhook()
    await world.item(await world.case())
    world.receiver.answers(302, 307, 308, location=other.url)
    for _ in range(3):
        webhook = await world.later(webhook, 3600)
    await other.stop()
    assert webhook.last_error == "answered 308: redirects are not followed, give the final address"
    assert (len(world.receiver.got), other.got) == (3, [])


async def test_a_slow_receiver_is_given_up_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_client, "DELIVERY_S_MAX", 0.3)
    webhook, _ = await world.webhook()
    await world.item(await world.case())

    async def drip(_: Received, writer: asyncio.StreamWriter) -> bytes:
        for byte in b"HTTP/1.1 200 OK\r\n" * 9:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        return b""

    world.receiver.answer = drip
    webhook = await world.send(webhook)
    assert (webhook.waiting, webhook.tries) == (1, 1)
    assert (webhook.last_error or "").startswith("no answer within")


async def test_an_endless_answer_is_not_read_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_client, "DRAIN_S_MAX", 5.0)
    webhook, _ = await world.webhook()
    await world.item(await world.case())
    sent = 0

    async def flood(_: Received, writer: asyncio.StreamWriter) -> bytes:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    world.receiver.answer = flood
    webhook = await world.send(webhook)
    assert (webhook.waiting, webhook.last_error) == (0, None), "its status says that it was taken"
    assert sent < 20_000_000


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000])
async def test_an_answer_that_is_none_is_a_failure(world: World, answer: bytes) -> None:
    async def told(_: Received, writer: asyncio.StreamWriter) -> bytes:
        writer.write(answer)
        writer.close()
        return b""

    webhook, _ = await world.webhook()
    await world.item(await world.case())
    world.receiver.answer = told
    webhook = await world.send(webhook)
    assert (webhook.waiting, webhook.tries) == (1, 1)
    assert webhook.last_error == "no answer (RemoteProtocolError)"


async def test_killed_between_sending_and_writing_down_it_is_sent_again_with_the_same_id(world: World) -> None:
    webhook, secret = await world.webhook()
    items = [await world.item(await world.case()) for _ in range(3)]
    hook = from_spec("webhook.sent=raise")
    assert hook is not None
    with world.service.runtime.failpoints.armed(hook), pytest.raises(FailpointHit):
        await world.send(webhook)
    assert (await world.now(webhook)).cursor == webhook.cursor
    await world.webhooks.close()
    world.again()
    await world.clock.advance(60)
    webhook = await world.send(webhook)
    assert sorted(world.receiver.ids) == sorted([one.id for one in items] * 2)
    assert all(got.is_signed_by(secret) for got in world.receiver.got)
    assert len({got.headers["webhook-timestamp"] for got in world.receiver.got}) == 2, "the time is that of the attempt"
    assert webhook.cursor == await world.end()


async def test_what_was_changed_while_something_was_sent_stands(world: World) -> None:
    webhook, _ = await world.webhook()
    items = [await world.item(await world.case()) for _ in range(3)]

    async def answer(got: Received, _: asyncio.StreamWriter) -> bytes:
        if len(world.receiver.got) == 1:
            await world.webhooks.store.replay(webhook.id, webhook.cursor + 1)
            await world.webhooks.store.pause(webhook.id)
        return OK

    world.receiver.answer = answer
    with pytest.raises(WebhookChanged):
        await world.send(webhook)
    now = await world.now(webhook)
    assert (now.status, now.cursor, now.waiting) == ("paused", webhook.cursor + 1, 0)
    await world.webhooks.store.resume(webhook.id)
    await world.send(webhook)
    assert sorted(world.receiver.ids[-2:]) == sorted(one.id for one in items[1:])


async def test_replay_sends_again_from_a_sequence_on(world: World) -> None:
    webhook, _ = await world.webhook()
    items = [await world.item(await world.case()) for _ in range(10)]
    world.receiver.refuses(lambda got: got.id == items[8].id)
    webhook = await world.send(webhook)
    world.receiver.got.clear()
    world.receiver.answers()
    await world.webhooks.store.replay(webhook.id, webhook.cursor - 4)
    webhook = await world.send(webhook)
    assert sorted(world.receiver.ids) == sorted(one.id for one in items[6:])
    assert webhook.waiting == 0, "what waited was sent with the rest, once"


async def test_both_secrets_sign_for_a_day_after_a_new_one(world: World) -> None:
    webhook, old = await world.webhook()
    new = await world.webhooks.store.rotate(webhook.id)
    case = await world.case()
    for hours, signs in ((1, [True, True]), (24, [False, True])):
        await world.item(case)
        await world.later(webhook, hours * 3600)
        assert [world.receiver.got[-1].is_signed_by(secret) for secret in (old, new)] == signs


async def test_a_new_master_key_wraps_the_secrets_anew_so_that_the_old_one_may_go(world: World) -> None:
    webhook, secret = await world.webhook()
    file = world.service.identity.settings.master_key_file
    file.write_text("cd" * 32 + "\n" + "ab" * 32 + "\n")
    await world.webhooks.close()
    assert await world.again().store.secrets.rewrap() == 1
    assert await world.webhooks.store.secrets.rewrap() == 0
    file.write_text("cd" * 32 + "\n")
    case = await world.case()
    await world.item(case)
    await world.webhooks.close()
    world.again()
    await world.send(webhook)
    assert world.receiver.got[0].is_signed_by(secret)
    file.write_text("ef" * 32 + "\n")
    await world.item(case)
    await world.webhooks.close()
    world.again()
    with pytest.raises(WebhookChanged):
        await world.send(webhook)
    paused = await world.now(webhook)
    assert (paused.status, len(world.receiver.got)) == ("paused", 1), "nothing goes out unsigned"
    assert "make a new one" in (paused.last_error or "")


async def test_a_creator_who_may_no_longer_ends_it(world: World) -> None:
    webhook, _ = await world.webhook(creator="jj-window")  # a post without the right
    await world.item(await world.case())
    webhook = await world.send(webhook)
    assert (webhook.status, world.receiver.got) == ("paused", [])
    assert "may not receive" in (webhook.last_error or "")


async def test_a_feed_that_is_shorter_than_a_place_ends_it_loudly(world: World) -> None:
    webhook, _ = await world.webhook(cursor=await world.end() + 100)
    await world.item(await world.case())
    webhook = await world.send(webhook)
    assert (webhook.status, world.receiver.got) == ("paused", [])
    assert "restored" in (webhook.last_error or "")


async def test_what_waits_and_is_another_item_in_the_feed_ends_it_loudly(world: World) -> None:
    webhook, _ = await world.webhook()
    await world.item(await world.case())
    world.receiver.answers(500)
    webhook = await world.send(webhook)
    now = world.clock.now()
    async with world.service.data.database.using(STATEMENTS).transaction() as session:
        letter = (await session.fetch("due_items", webhook.id, now + timedelta(days=1), 1))[0]
        await session.execute("delete_items", webhook.id, [letter["sequence"]])
        columns = letter["sequence"], webhook.id, letter["subject"], "overdue", 1, now, now, False, None, None
        await session.execute("write_items", webhook.id, *([one] for one in columns))
    webhook = await world.later(webhook, 10)
    assert (webhook.status, len(world.receiver.got)) == ("paused", 1)
    assert "restored" in (webhook.last_error or "")


async def test_too_many_that_wait_stop_the_cursor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WAITING_COUNT_MAX", 10)
    webhook, _ = await world.webhook()
    bad, good = await world.case(), await world.case()
    await world.item(good)
    for _ in range(40):
        await world.item(bad)
    world.receiver.refuses(lambda got: got.item["subject"] == bad.id)
    webhook = await world.send(webhook)
    assert 10 <= webhook.waiting < 20
    assert webhook.cursor < await world.end()
    world.receiver.answers()
    for _ in range(8):
        webhook = await world.later(webhook, 400)
    assert (webhook.waiting, webhook.cursor) == (0, await world.end())
