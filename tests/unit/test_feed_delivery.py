"""What a round of sending comes to: the schedule, what is parked, when a receiver is left alone."""

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
    judge,
)
from services.supervision.feed.webhook_client import WebhookOutcome

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
PLACE = Webhook("p", "https://example.org/", ("overdue",), None, "510100000000", "cd-supervisor", False, NOW, cursor=5)
TAKEN, REFUSED, DOWN = WebhookOutcome(200), WebhookOutcome(500, "answered 500"), WebhookOutcome(0, "no connection")


def letter(sequence: int = 6, attempts: int = 0, since: datetime | None = None) -> PendingItem:
    return PendingItem(sequence, str(UUID(int=sequence)), f"case {sequence}", "overdue", attempts, since)


def after(
    place: Webhook, *sent: tuple[PendingItem, WebhookOutcome | None], chance: float = 0.0, now: datetime = NOW
) -> RoundResult:
    wave = Attempt(tuple(one for one, _ in sent), (), max(one.sequence for one, _ in sent))
    return judge(place, wave, [AttemptResult(*one) for one in sent], now, lambda: chance)


def wait_s(moment: datetime | None, now: datetime = NOW) -> float:
    assert moment is not None
    return (moment - now).total_seconds()


def test_what_is_taken_leaves_nothing_behind_but_the_cursor() -> None:
    verdict = after(PLACE, (letter(6), TAKEN), (letter(9), TAKEN))
    assert (verdict.place.cursor, verdict.place.taken_at, verdict.kept) == (9, NOW, ())
    assert (verdict.place.tries, verdict.place.next_at, verdict.place.last_error) == (0, None, None)


def test_an_item_is_tried_for_three_days_as_the_specification_says_and_then_parked() -> None:
    place, now, one, gone = replace(PLACE, taken_at=NOW), NOW, letter(), 0.0
    for delay_s in DELAYS_S:
        (kept,) = after(place, (one, REFUSED), now=now).kept
        assert wait_s(kept.next_at, now) == delay_s
        gone += delay_s
        now += timedelta(seconds=delay_s)
        one = replace(kept.letter, attempts=kept.attempts)
    assert list(accumulate(DELAYS_S))[-1] == gone == 75 * 3600 + 35 * 60 + 5
    (kept,) = after(place, (one, REFUSED), now=now).kept
    assert (kept.parked_at, kept.next_at, kept.reason, kept.attempts) == (now, None, "answered 500", 10)


def test_jitter_only_ever_adds() -> None:
    waits = [wait_s(after(PLACE, (letter(), REFUSED), chance=chance).kept[0].next_at) for chance in (0.0, 0.5, 0.99)]
    assert waits[0] == 5.0 < waits[1] < waits[2] < 6.0


def test_while_the_receiver_takes_nothing_at_all_nothing_is_parked() -> None:
    tried = letter(attempts=len(DELAYS_S), since=NOW - timedelta(days=4))
    (kept,) = after(replace(PLACE, taken_at=NOW - timedelta(days=5)), (tried, DOWN)).kept
    assert (kept.parked_at, wait_s(kept.next_at)) == (None, DELAYS_S[-1])
    (kept,) = after(replace(PLACE, taken_at=NOW - timedelta(days=1)), (tried, DOWN)).kept
    assert kept.parked_at == NOW, "it took others since: what fails is this item"


def test_a_receiver_that_is_down_is_left_alone_longer_and_longer_but_asked_every_hour() -> None:
    place, waits = PLACE, list[float]()
    for n in range(6):
        place = replace(after(place, (letter(6 + n), DOWN)).place)
        waits.append(wait_s(place.next_at))
    assert waits == [5, 300, 1800, PROBE_S_MAX, PROBE_S_MAX, PROBE_S_MAX]
    back = after(place, (letter(20), TAKEN))
    assert (back.place.tries, back.place.next_at, back.back) == (0, None, True)


def test_one_refused_item_says_nothing_of_the_receiver_and_many_in_a_row_do() -> None:
    place = PLACE
    for n in range(REFUSED_COUNT_MAX):
        place = after(place, (letter(6 + n), REFUSED)).place
        assert (place.tries, place.next_at) == (n + 1, None)
    place = after(place, (letter(20), REFUSED)).place
    assert wait_s(place.next_at) == 5


@pytest.mark.parametrize("outcome", [REFUSED, DOWN])
def test_an_item_that_failed_before_while_others_were_taken_holds_up_nobody(outcome: WebhookOutcome) -> None:
    place = replace(PLACE, taken_at=NOW - timedelta(minutes=1))
    verdict = after(place, (letter(attempts=3, since=NOW - timedelta(hours=1)), outcome))
    assert (verdict.place.tries, verdict.place.next_at) == (0, None)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_is_for_the_place_and_for_the_item(status: int) -> None:
    told = WebhookOutcome(status, "answered", retry_after_s=1234.0)
    verdict = after(PLACE, (letter(6), TAKEN), (letter(7), told))
    assert wait_s(verdict.place.next_at) == 1234.0
    assert wait_s(verdict.kept[0].next_at) == 1234.0


def test_gone_ends_it() -> None:
    verdict = after(PLACE, (letter(6), WebhookOutcome(410, "answered 410")))
    assert (verdict.place.status, verdict.place.last_error) == ("gone", "answered 410")
    assert [one.letter.sequence for one in verdict.kept] == [6], "it is not lost if somebody lets it go on"


def test_what_is_not_for_the_creator_is_done_and_what_is_behind_waits_without_a_moment() -> None:
    wave = Attempt((letter(6),), (letter(7),), 7)
    verdict = judge(PLACE, wave, [AttemptResult(letter(6), None, "not_for_creator")], NOW, lambda: 0.0)
    assert verdict.done == (6,)
    assert [(one.letter.sequence, one.next_at, one.attempts) for one in verdict.kept] == [(7, None, 0)]
