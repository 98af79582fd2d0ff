"""The result of a delivery round: the schedule of retries, parked items, the delays of a receiver."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from uuid import UUID

import pytest

from services.supervision.feed.delivery import (
    DELAYS_S,
    PROBE_S_MAX,
    REFUSED_COUNT_MAX,
    Attempt,
    AttemptResult,
    PendingItem,
    RoundResult,
    Webhook,
    conclude,
)
from services.supervision.feed.webhook_client import WebhookOutcome

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
WEBHOOK = Webhook(
    "p", "https://example.org/", ("overdue",), None, "510100000000", "cd-supervisor", False, NOW, cursor=5
)
TAKEN, REFUSED, DOWN = WebhookOutcome(200), WebhookOutcome(500, "answered 500"), WebhookOutcome(0, "no connection")


def pending(sequence: int = 6, attempts: int = 0, since: datetime | None = None) -> PendingItem:
    return PendingItem(sequence, str(UUID(int=sequence)), f"case {sequence}", "overdue", attempts, since)


def after(
    webhook: Webhook, *deliveries: tuple[PendingItem, WebhookOutcome | None], chance: float = 0.0, now: datetime = NOW
) -> RoundResult:
    attempt = Attempt(tuple(item for item, _ in deliveries), (), max(item.sequence for item, _ in deliveries))
    return conclude(webhook, attempt, [AttemptResult(*pair) for pair in deliveries], now, lambda: chance)


def wait_s(moment: datetime | None, now: datetime = NOW) -> float:
    assert moment is not None
    return (moment - now).total_seconds()


def test_what_is_taken_leaves_nothing_behind_but_the_cursor() -> None:
    result = after(WEBHOOK, (pending(6), TAKEN), (pending(9), TAKEN))
    assert (result.webhook.cursor, result.webhook.taken_at, result.retries) == (9, NOW, ())
    assert (result.webhook.tries, result.webhook.next_at, result.webhook.last_error) == (0, None, None)


def test_an_item_is_tried_for_three_days_as_the_specification_says_and_then_parked() -> None:
    webhook, now, item, elapsed_s = replace(WEBHOOK, taken_at=NOW), NOW, pending(), 0.0
    for delay_s in DELAYS_S:
        (retry,) = after(webhook, (item, REFUSED), now=now).retries
        assert wait_s(retry.next_at, now) == delay_s
        elapsed_s += delay_s
        now += timedelta(seconds=delay_s)
        item = replace(retry.item, attempts=retry.attempts)
    assert list(accumulate(DELAYS_S))[-1] == elapsed_s == 75 * 3600 + 35 * 60 + 5
    (retry,) = after(webhook, (item, REFUSED), now=now).retries
    assert (retry.parked_at, retry.next_at, retry.reason, retry.attempts) == (now, None, "answered 500", 10)


def test_jitter_only_ever_adds() -> None:
    waits = [
        wait_s(after(WEBHOOK, (pending(), REFUSED), chance=chance).retries[0].next_at) for chance in (0.0, 0.5, 0.99)
    ]
    assert waits[0] == 5.0 < waits[1] < waits[2] < 6.0


def test_while_the_receiver_takes_nothing_at_all_nothing_is_parked() -> None:
    tried = pending(attempts=len(DELAYS_S), since=NOW - timedelta(days=4))
    (retry,) = after(replace(WEBHOOK, taken_at=NOW - timedelta(days=5)), (tried, DOWN)).retries
    assert (retry.parked_at, wait_s(retry.next_at)) == (None, DELAYS_S[-1])
    (retry,) = after(replace(WEBHOOK, taken_at=NOW - timedelta(days=1)), (tried, DOWN)).retries
    assert retry.parked_at == NOW, "it took others since: what fails is this item"


def test_a_receiver_that_is_down_is_left_alone_longer_and_longer_but_asked_every_hour() -> None:
    webhook, waits = WEBHOOK, list[float]()
    for n in range(6):
        webhook = replace(after(webhook, (pending(6 + n), DOWN)).webhook)
        waits.append(wait_s(webhook.next_at))
    assert waits == [5, 300, 1800, PROBE_S_MAX, PROBE_S_MAX, PROBE_S_MAX]
    back = after(webhook, (pending(20), TAKEN))
    assert (back.webhook.tries, back.webhook.next_at, back.recovered) == (0, None, True)


def test_one_refused_item_says_nothing_of_the_receiver_and_many_in_a_row_do() -> None:
    webhook = WEBHOOK
    for n in range(REFUSED_COUNT_MAX):
        webhook = after(webhook, (pending(6 + n), REFUSED)).webhook
        assert (webhook.tries, webhook.next_at) == (n + 1, None)
    webhook = after(webhook, (pending(20), REFUSED)).webhook
    assert wait_s(webhook.next_at) == 5


@pytest.mark.parametrize("outcome", [REFUSED, DOWN])
def test_an_item_that_failed_before_while_others_were_taken_holds_up_nobody(outcome: WebhookOutcome) -> None:
    webhook = replace(WEBHOOK, taken_at=NOW - timedelta(minutes=1))
    result = after(webhook, (pending(attempts=3, since=NOW - timedelta(hours=1)), outcome))
    assert (result.webhook.tries, result.webhook.next_at) == (0, None)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_is_for_the_place_and_for_the_item(status: int) -> None:
    outcome = WebhookOutcome(status, "answered", retry_after_s=1234.0)
    result = after(WEBHOOK, (pending(6), TAKEN), (pending(7), outcome))
    assert wait_s(result.webhook.next_at) == 1234.0
    assert wait_s(result.retries[0].next_at) == 1234.0


def test_gone_ends_it() -> None:
    result = after(WEBHOOK, (pending(6), WebhookOutcome(410, "answered 410")))
    assert (result.webhook.status, result.webhook.last_error) == ("gone", "answered 410")
    assert [retry.item.sequence for retry in result.retries] == [6], "it is not lost if somebody lets it go on"


def test_what_is_not_for_the_creator_is_done_and_what_is_behind_waits_without_a_moment() -> None:
    attempt = Attempt((pending(6),), (pending(7),), 7)
    result = conclude(WEBHOOK, attempt, [AttemptResult(pending(6), None, "not_for_creator")], NOW, lambda: 0.0)
    assert result.done == (6,)
    assert [(retry.item.sequence, retry.next_at, retry.attempts) for retry in result.retries] == [(7, None, 0)]
