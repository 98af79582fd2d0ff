"""The result of one delivery round: which items are done, which wait and until when, which are parked. Pure.

Two delays run side by side, one for an item and one for a receiver. An item that its receiver does not take blocks the
later items of its own case and nothing else. It is tried again for three days, with growing delays, and is then parked.
A receiver that takes nothing at all waits as a whole: its cursor in FEED stands still, so that no items pile up in the
table, and one item at a time tests whether the receiver answers again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from services.supervision.feed.webhook_client import WebhookOutcome

# After the first failure, the second, ...: the schedule of the Standard Webhooks specification, 75 hours in all.
DELAYS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER_SHARE = 0.2  # at most this share is added at random, so that items that failed together do not return together
PROBE_S_MAX = 3600.0  # the longest delay of a receiver: it is tested once an hour at least
REFUSED_COUNT_MAX = 3  # rounds in a row in which every item was refused; after that the receiver itself waits


class WebhookStatus(StrEnum):
    """Whether items are sent to a webhook.

    `paused`: by a person, or because its creator may no longer receive the items. `gone`: the receiver answered 410.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver, as its row in the table.

    `cursor` is a sequence of FEED: every item up to it was taken, waits in the table, or is not for this receiver.
    `tries` counts the rounds in a row in which the receiver failed. `next_at` is the earliest moment of the next round.
    """

    id: str
    url: str
    kinds: tuple[str, ...]
    level: int | None
    region: str
    creator: str
    numbers: bool
    created_at: datetime
    status: str = WebhookStatus.ACTIVE
    cursor: int = 0
    version: int = 0
    tries: int = 0
    next_at: datetime | None = None
    last_error: str | None = None
    failed_at: datetime | None = None
    taken_at: datetime | None = None
    waiting: int = 0
    parked: int = 0

    def ready(self, now: datetime) -> bool:
        """Whether items may be sent at this moment."""
        return self.status == WebhookStatus.ACTIVE and (self.next_at is None or self.next_at <= now)


@dataclass(frozen=True, slots=True)
class PendingItem:
    """A feed item that one webhook is to receive.

    `sequence` is its position in FEED. `subject` is the id of its case or order, and the number of the attached repeat
    whose reporter a notice is for; items of one subject go in order. `attempts` is the number of failed attempts,
    `since` the moment at which it began to wait (None: it has not waited yet).
    """

    sequence: int
    id: str
    subject: str
    kind: str
    attempts: int = 0
    since: datetime | None = None
    data: bytes = b""  # the item as FEED has it; empty for an item that waited, which is read from FEED again

    @property
    def case(self) -> str:
        """The id of the case or order."""
        return self.subject.partition(" ")[0]


class Attempt(NamedTuple):
    """The items that one round sends at the same time, at most one of a case, and the cursor after the round.

    `blocked` are items that wait for an earlier item of their case.
    """

    items: tuple[PendingItem, ...]
    blocked: tuple[PendingItem, ...]
    cursor: int


class AttemptResult(NamedTuple):
    """An item and the outcome of its delivery.

    Without an outcome the item was not sent, because it is not for this receiver; `reason` is the code of why.
    """

    item: PendingItem
    outcome: WebhookOutcome | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """An item that waits until `next_at`, waits for an earlier item of its case (`next_at` is None), or is parked."""

    item: PendingItem
    attempts: int = 0
    next_at: datetime | None = None
    down: bool = False
    reason: str | None = None
    parked_at: datetime | None = None


class RoundResult(NamedTuple):
    """The webhook after the round, the sequences of the items that are done, and the items that wait or are parked.

    `recovered`: the receiver failed before this round and took an item in it.
    """

    webhook: Webhook
    done: tuple[int, ...]
    retries: tuple[Retry, ...]
    recovered: bool


def conclude(
    webhook: Webhook, attempt: Attempt, results: Sequence[AttemptResult], now: datetime, random: Callable[[], float]
) -> RoundResult:
    """The result of a round. `random` gives numbers in [0, 1) for the jitter of delays."""
    taken = any(result.outcome is not None and result.outcome.taken for result in results)
    taken_at = now if taken else webhook.taken_at
    failures = [
        (result.item, result.outcome) for result in results if result.outcome is not None and not result.outcome.taken
    ]
    retries = [_retry(item, outcome, taken_at, now, random) for item, outcome in failures]
    retries += [Retry(replace(item, since=now)) for item in attempt.blocked]
    after = replace(webhook, cursor=attempt.cursor, taken_at=taken_at)
    after = _after_failures(after, webhook, failures, taken, now, random)
    done = tuple(result.item.sequence for result in results if result.outcome is None or result.outcome.taken)
    return RoundResult(after, done, tuple(retries), taken and webhook.tries > 0)


def _retry(
    item: PendingItem, outcome: WebhookOutcome, taken_at: datetime | None, now: datetime, random: Callable[[], float]
) -> Retry:
    """The next attempt for an item that failed; after the last delay it is parked, unless the receiver is down."""
    attempts, since = item.attempts + 1, item.since or now
    item = replace(item, since=since)
    at_fault = taken_at is not None and taken_at >= since  # the receiver took other items since this one failed
    if attempts > len(DELAYS_S) and (at_fault or not outcome.down):
        return Retry(item, attempts, None, outcome.down, outcome.reason, parked_at=now)
    delay_s = max(_jittered(DELAYS_S[min(attempts, len(DELAYS_S)) - 1], random), outcome.retry_after_s or 0)
    return Retry(item, attempts, now + timedelta(seconds=delay_s), outcome.down, outcome.reason)


def _after_failures(
    after: Webhook, before: Webhook, failures: Sequence[tuple[PendingItem, WebhookOutcome]], taken: bool, now: datetime,
    random: Callable[[], float],
) -> Webhook:  # fmt: skip
    """The webhook with the delay and the error that the failures of a round give its receiver."""
    blamed = [outcome for item, outcome in failures if _blames_receiver(before, item, outcome)]
    down = [outcome for outcome in blamed if outcome.down]
    tries = (0 if taken else before.tries) + (1 if down or (blamed and not taken) else 0)
    delay_number = tries if down else tries - REFUSED_COUNT_MAX
    delay_s = 0.0
    if blamed and delay_number > 0:
        delay_s = _jittered(min(DELAYS_S[min(delay_number, len(DELAYS_S)) - 1], PROBE_S_MAX), random)
    delay_s = max([delay_s, *(outcome.retry_after_s or 0 for outcome in blamed)])
    after = replace(after, tries=tries, next_at=now + timedelta(seconds=delay_s) if delay_s else None)
    if failures:
        gone = any(outcome.gone for _, outcome in failures)
        after = replace(
            after, status=WebhookStatus.GONE if gone else after.status, last_error=failures[-1][1].reason, failed_at=now
        )
    return after


def _blames_receiver(webhook: Webhook, item: PendingItem, outcome: WebhookOutcome) -> bool:
    """Whether a failure counts against the receiver. It does not where the item itself is known to be at fault."""
    first = item.attempts == 0
    at_fault = item.since is not None and webhook.taken_at is not None and webhook.taken_at >= item.since
    return first or outcome.retry_after_s is not None or (outcome.down and not at_fault)


def _jittered(delay_s: float, random: Callable[[], float]) -> float:
    return delay_s * (1 + JITTER_SHARE * random())
