"""What a round of sending comes to: which items were taken, which wait until when, which are given up; pure.

An item that its receiver does not take holds back the later ones of its own case and nothing else; it is tried again
for three days, with growing delays, and then parked. A receiver that takes nothing at all is left in peace as a whole:
the place in FEED stands still, so that nothing piles up here, and one item at a time asks whether it is back.
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
JITTER_SHARE = 0.2  # so much longer at most, by chance: what failed together does not come again together
PROBE_S_MAX = 3600.0  # a receiver that is back waits no longer
REFUSED_COUNT_MAX = 3  # rounds in a row in which each item was refused; then it is the receiver


class WebhookStatus(StrEnum):
    """Whether a place is sent to: `paused` by a person or because its creator may no longer, `gone` by 410."""

    ACTIVE = "active"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver as the table has it. `cursor`: each item of FEED up to here was taken, waits, or is not for it."""

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
        """Whether something may be sent at this moment."""
        return self.status == WebhookStatus.ACTIVE and (self.next_at is None or self.next_at <= now)


@dataclass(frozen=True, slots=True)
class PendingItem:
    """One item for one place: its sequence in FEED, its id, its case or order, how often it was tried, since when."""

    sequence: int
    item: str
    subject: str
    kind: str
    attempts: int = 0
    since: datetime | None = None
    data: bytes = b""  # as FEED has it; empty for one that waited


class Attempt(NamedTuple):
    """What is sent at once: one item of a case at most. `behind` wait for an earlier one of theirs."""

    letters: tuple[PendingItem, ...]
    behind: tuple[PendingItem, ...]
    cursor: int


class AttemptResult(NamedTuple):
    """A letter and what it came to; without an outcome it is not for this receiver, and `why` says so."""

    letter: PendingItem
    outcome: WebhookOutcome | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """A letter that waits until `next_at`, behind an earlier one (None), or is parked."""

    letter: PendingItem
    attempts: int = 0
    next_at: datetime | None = None
    down: bool = False
    reason: str | None = None
    parked_at: datetime | None = None


class RoundResult(NamedTuple):
    """The place after the round, what of the waiting is done, what waits or is parked; whether the receiver is back."""

    place: Webhook
    done: tuple[int, ...]
    kept: tuple[Retry, ...]
    back: bool


def judge(
    place: Webhook, wave: Attempt, sent: Sequence[AttemptResult], now: datetime, chance: Callable[[], float]
) -> RoundResult:
    """What a wave came to. `chance` gives numbers in [0, 1)."""
    taken = any(one.outcome is not None and one.outcome.taken for one in sent)
    taken_at = now if taken else place.taken_at
    failed = [(one.letter, one.outcome) for one in sent if one.outcome is not None and not one.outcome.taken]
    kept = [_kept(letter, outcome, taken_at, now, chance) for letter, outcome in failed]
    kept += [Retry(replace(letter, since=now)) for letter in wave.behind]
    after = replace(place, cursor=wave.cursor, taken_at=taken_at)
    after = _after_failures(after, place, failed, taken, now, chance)
    done = tuple(one.letter.sequence for one in sent if one.outcome is None or one.outcome.taken)
    return RoundResult(after, done, tuple(kept), taken and place.tries > 0)


def _kept(
    letter: PendingItem, outcome: WebhookOutcome, taken_at: datetime | None, now: datetime, chance: Callable[[], float]
) -> Retry:
    attempts, since = letter.attempts + 1, letter.since or now
    letter = replace(letter, since=since)
    alone = taken_at is not None and taken_at >= since  # the receiver took others meanwhile
    if attempts > len(DELAYS_S) and (alone or not outcome.down):
        return Retry(letter, attempts, None, outcome.down, outcome.reason, parked_at=now)
    wait_s = max(_jittered(DELAYS_S[min(attempts, len(DELAYS_S)) - 1], chance), outcome.retry_after_s or 0)
    return Retry(letter, attempts, now + timedelta(seconds=wait_s), outcome.down, outcome.reason)


def _after_failures(
    after: Webhook, before: Webhook, failed: Sequence[tuple[PendingItem, WebhookOutcome]], taken: bool, now: datetime,
    chance: Callable[[], float],
) -> Webhook:  # fmt: skip
    blamed = [outcome for letter, outcome in failed if _blames(before, letter, outcome)]
    down = [outcome for outcome in blamed if outcome.down]
    tries = (0 if taken else before.tries) + (1 if down or (blamed and not taken) else 0)
    steps = tries if down else tries - REFUSED_COUNT_MAX
    wait_s = 0.0
    if blamed and steps > 0:
        wait_s = _jittered(min(DELAYS_S[min(steps, len(DELAYS_S)) - 1], PROBE_S_MAX), chance)
    wait_s = max([wait_s, *(outcome.retry_after_s or 0 for outcome in blamed)])
    after = replace(after, tries=tries, next_at=now + timedelta(seconds=wait_s) if wait_s else None)
    if failed:
        gone = any(outcome.gone for _, outcome in failed)
        after = replace(
            after, status=WebhookStatus.GONE if gone else after.status, last_error=failed[-1][1].reason, failed_at=now
        )
    return after


def _blames(place: Webhook, letter: PendingItem, outcome: WebhookOutcome) -> bool:
    """Whether a failure says something of the receiver: one that is known to be the item's own says nothing."""
    first = letter.attempts == 0
    alone = letter.since is not None and place.taken_at is not None and place.taken_at >= letter.since
    return first or outcome.retry_after_s is not None or (outcome.down and not alone)


def _jittered(delay_s: float, chance: Callable[[], float]) -> float:
    return delay_s * (1 + JITTER_SHARE * chance())
