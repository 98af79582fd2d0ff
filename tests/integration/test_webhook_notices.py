"""Notices on their way to a gateway: the number is unsealed for each attempt, and only as long as it may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.supervision.feed.delivery import Webhook
from shared.case.base import Address
from shared.case.events import Attached, Corrected, Erased, Merged
from shared.case.facts import Channel, Matter, Note, Parties, Party, Retention
from tests.support.webhooks import CITY, World

ERASED = Erased(retention=Retention.YEAR_1, basis="9.4 b")
INFORMANT = Corrected(informant=True, note=Note(text="举报人要求保密"))


@pytest.fixture
def world(webhook_world: World) -> World:
    return webhook_world


async def gateway(world: World) -> Webhook:
    webhook, _ = await world.webhook(kinds=("notice",), creator="sms-demo", numbers=True)
    return webhook


async def outcome(world: World, item: str) -> tuple[str, str | None]:
    row = await world.book.read(item)
    return row["outcome"], row["reason"]


async def test_the_text_is_filled_and_the_number_is_the_reporters(world: World) -> None:
    webhook = await gateway(world)
    due = datetime(2026, 4, 9, 16, tzinfo=UTC)
    facts: dict[str, Any] = {"template": "extended", "due": due, "unit": "510104000000-housing"}
    item = await world.item(await world.case(), "notice", **facts)
    await world.send(webhook)
    (got,) = world.receiver.got
    assert got.item["data"]["to"] == "13900001234", "spaces and dashes are left out"
    assert "2026年4月9日" in got.item["data"]["text"]
    assert "锦江区住房" in got.item["data"]["text"]
    assert {key: got.item["data"][key] for key in ("template", "number")} == {"template": "extended", "number": "N-1"}
    assert await outcome(world, item.id) == ("sent", None)


@pytest.mark.parametrize(
    ("event", "why"),
    [(ERASED, "erased"), (INFORMANT, "informant")],
    ids=["erased", "informant"],
)
async def test_what_becomes_known_between_two_attempts_holds(world: World, event: Any, why: str) -> None:
    webhook = await gateway(world)
    case = await world.case()
    item = await world.item(case, "notice", template="registered")
    world.receiver.answers(503)
    await world.send(webhook)
    assert await outcome(world, item.id) == ("sending", "answered 503")
    await world.put(case, event)
    webhook = await world.later(webhook, 4000)
    assert len(world.receiver.got) == 1
    assert (await outcome(world, item.id), webhook.waiting) == (("none", why), 0)


OTHER, THIRD, FOURTH = "13911112222", "13722223333", "13633334444"


def repeat(world: World, phone: str | None, merged: Address | None = None, repeats: int = 0) -> Attached:
    now = world.clock.now()
    return Attached(
        channel=Channel.CALL, contact_time=now, matter=Matter(title="又", text="一样"),
        reporter=Parties(parties=(Party(phone=phone),)) if phone else None, merged_from=merged.id if merged else None,
        merged_registered_at=now if merged else None, merged_repeats=repeats or None,
    )  # fmt: skip


async def test_each_reporter_of_a_case_is_told_by_their_own_number_and_no_other(world: World) -> None:
    """Chain: a case with a repeat was merged into one that was merged; one merge was refused, one repeat is the same
    person, one has no phone."""
    webhook = await gateway(world)
    case = await world.case()
    middle, last, alone = [
        await world.case(reporter=Parties(parties=(Party(phone=phone),))) for phone in (OTHER, THIRD, "13544445555")
    ]
    await world.put(last, repeat(world, FOURTH))
    await world.put(middle, repeat(world, THIRD, last, repeats=1))
    await world.put(last, Merged(into=middle.id))
    for attached in (
        repeat(world, None, middle, repeats=2),
        repeat(world, "13900001234"),
        repeat(world, None),
        repeat(world, "13544445555", alone),
    ):
        await world.put(case, attached)
    await world.put(middle, Merged(into=case.id))
    items = [await world.item(case, "notice", template="settled", repeat=n or None) for n in range(8)]
    await world.send(webhook)
    data = {item.id: got.item["data"] for got in world.receiver.got for item in items if got.id == item.id}
    assert [data[item.id]["to"] if item.id in data else "" for item in items] == [
        "13900001234", OTHER, THIRD, FOURTH, "", "", "", "",
    ]  # fmt: skip
    numbers = ["N-1", *[await world.number(address) for address in (middle, last)]]
    texts = [data[item.id]["text"] for item in items[:4]]
    named = [[number for number in numbers if number in text] for text in texts]
    assert named == [*([number] for number in numbers), []]
    withheld = [await outcome(world, item.id) for item in items[4:]]
    assert withheld == [("none", why) for why in ("same_number", "no_number", "not_merged", "no_number")]


async def test_a_reporter_whose_number_is_not_taken_holds_back_no_other(world: World) -> None:
    webhook = await gateway(world)
    case = await world.case()
    await world.put(case, repeat(world, OTHER))
    first, second = [await world.item(case, "notice", template="settled", repeat=n) for n in (None, 1)]
    world.receiver.answers(400)
    await world.send(webhook)
    assert await outcome(world, first.id) != await outcome(world, second.id)
    assert {(await outcome(world, item.id))[0] for item in (first, second)} == {"sending", "sent"}


async def test_a_key_that_is_gone_before_its_case_is_known_to_be_erased_gives_none(world: World) -> None:
    webhook = await gateway(world)
    case = await world.case()
    item = await world.item(case, "notice", template="registered")
    await world.service.data.vault.destroy(case.id)
    await world.send(webhook)
    assert (world.receiver.got, await outcome(world, item.id)) == ([], ("none", "erased"))


async def test_a_case_outside_the_gateways_region_is_none_of_its(world: World) -> None:
    webhook, _ = await world.webhook(kinds=("notice",), creator="sms-demo", numbers=True, region="510700000000")
    await world.item(await world.case(), "notice", template="registered")
    webhook = await world.send(webhook)
    assert (world.receiver.got, webhook.cursor <= await world.end(), webhook.region != CITY) == ([], True, True)


async def test_a_notice_that_no_gateway_takes_for_days_is_shown_as_given_up(world: World) -> None:
    webhook = await gateway(world)
    item = await world.item(await world.case(), "notice", template="registered")
    world.receiver.answers(then=400)
    webhook = await world.send(webhook)
    for _ in range(12):
        webhook = await world.later(webhook, 110_000)
    assert webhook.parked == 1
    assert await outcome(world, item.id) == ("parked", "answered 400")
