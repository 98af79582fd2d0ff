"""Sends feed items to webhooks, signed as the Standard Webhooks specification 1.0 says; each item at least once.

One process sends, by advisory lock. For each place it sends a wave, at most one item of a case, and then writes the
cursor and what is left waiting in one transaction. Killed between the two it sends the same items again, with the same
ids. What is sent is decided as it goes out: by the rights its creator has now, on the case as it is now.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any

import httpx
from pydantic import ValidationError
from pydantic_core import from_json
from standardwebhooks import Webhook as Signer

from services.supervision.feed.delivery import Attempt, AttemptResult, PendingItem, Webhook, judge
from services.supervision.feed.items import FeedItem
from services.supervision.feed.notices import NoNotice, Notices
from services.supervision.feed.sse import Present, hears
from services.supervision.feed.webhook_client import EgressRules, WebhookClient, WebhookOutcome
from services.supervision.feed.webhook_store import Moved, WebhookStore
from shared.case.base import Address, Position, contains
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.leader import PAUSE_S, Lock, renew, run_as_leader
from shared.kit.problems import Unavailable
from shared.kit.seal import SealBroken
from shared.kit.vault import KeyMissing
from shared.log.consumers import RawMessage
from shared.log.port import LogUnavailable, NoArea
from shared.log.streams import Streams
from shared.log.topology import FEED, FEED_ITEMS, feeds

NAME = "supervision.webhooks"
MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
WAVE_COUNT = 8  # items to one place at once
READ_COUNT = 256  # items read ahead for one place
WAITING_COUNT_MAX = 1000  # then a place goes no further in FEED until some of it is taken or parked
CURSOR_STEP = 1000  # how far the cursor may lie behind when nothing was for the place
CHECK_S = 1.0
UNUSABLE = -1  # the status of an item that cannot be made ready
OLDEST_S = telemetry.gauge("caseflow_webhook_oldest_seconds", "Age of the oldest item that a receiver did not take")
SENT = telemetry.counter("caseflow_webhook_items_total", "Feed items sent to webhooks", "outcome")


class FeedShorter(Exception):
    """FEED ends before a place, or holds something else there: it was restored from an older copy."""


class Backlog:
    """What lies ahead of one place in FEED, read some at a time."""

    def __init__(self, streams: Streams, place: Webhook) -> None:
        self._streams, self._kinds = streams, frozenset(place.kinds)
        kind = place.kinds[0] if len(place.kinds) == 1 else "*"
        self._subject = feeds(place.region, kind, place.level)
        self._letters: deque[PendingItem] = deque()
        self._read_to = self.cursor = place.cursor

    async def fill(self) -> None:
        """Read on until there is something for the place, or nothing more. Raises FeedShorter, LogUnavailable."""
        while not self._letters:
            end = await self._streams.end(FEED)
            if end < self._read_to:
                raise FeedShorter
            found = await self._streams.read(FEED, self._subject, self._read_to, READ_COUNT)
            self._letters.extend(_letter(one) for one in found if one.subject.split(".", 2)[1] in self._kinds)
            self._read_to = found[-1].sequence if found else self._read_to
            if len(found) < READ_COUNT:  # the leader says whether a replica that is behind left something out
                if await self._streams.first(FEED, self._subject, self._read_to) is None:
                    self._read_to = max(self._read_to, end)
                return

    @property
    def subjects(self) -> list[str]:
        """The cases of what was read."""
        return list({one.subject for one in self._letters})

    def take(self, count_max: int, blocked: frozenset[str]) -> Attempt | None:
        """The next of what was read: one item of a case at most, those of blocked cases behind; None for nothing."""
        letters: dict[str, PendingItem] = {}
        behind: list[PendingItem] = []
        while self._letters and len(letters) < count_max and len(behind) < WAVE_COUNT:
            one = self._letters[0]
            if one.subject in letters:
                break
            if one.subject in blocked:
                behind.append(one)
            else:
                letters[one.subject] = one
            self._letters.popleft()
        if not letters and not behind and self._read_to - self.cursor < CURSOR_STEP:
            return None
        taken = (*letters.values(), *behind)
        self.cursor = max(one.sequence for one in taken) if self._letters else self._read_to
        return Attempt(tuple(letters.values()), tuple(behind), self.cursor)


def _letter(message: RawMessage) -> PendingItem:
    told = from_json(message.data)
    kind = message.subject.split(".", 2)[1]
    return PendingItem(message.sequence, told["id"], told["subject"], kind, data=message.data)


class Webhooks:
    """The job that sends. `round` is one place's turn, for tests as well."""

    def __init__(self, application: Application) -> None:
        identity, data, self._runtime = application.identity, application.data, application.runtime
        self._application, self._identity, self._streams = application, identity, data.streams
        self._clock = self._runtime.clock
        self.places = WebhookStore(data.database, self._clock, identity.settings)
        self.rules = EgressRules.of(identity.settings)
        self._notices, self._present = Notices(application), Present(application)
        self._runtime.telemetry.before_reading(self._measure)
        self._targets: dict[str, WebhookClient] = {}
        self._known: Sequence[Any] = ()
        self._drained: dict[str, int] = {}  # place -> its version when nothing was left for it
        self._news: set[str] = set()
        self._busy: set[str] = set()
        self._stirred = asyncio.Event()

    async def _measure(self) -> None:
        since = await self.places.oldest_undelivered()
        age_s = (self._clock.now() - since).total_seconds() if since else 0.0
        self._runtime.telemetry.set(OLDEST_S, age_s)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def run(self) -> None:
        """Send for ever, as soon as this process is the one that sends."""
        await run_as_leader(NAME, self.places.lock, self._together, self._clock, _tell)

    async def close(self) -> None:
        """Let go of every connection."""
        targets, self._targets = self._targets, {}
        for target in targets.values():
            await target.close()

    async def _together(self, lock: Lock) -> None:
        self._drained.clear()
        self._busy.clear()
        try:
            await self.places.secrets.rewrap()
            after = await self._streams.end(FEED)
            async with asyncio.TaskGroup() as group:
                group.create_task(renew(lock, self._clock))
                group.create_task(self._hear(after))
                group.create_task(self._watch(group))
        finally:
            await self.close()

    async def _hear(self, after: int) -> None:
        """Notice for whom something new is there."""
        async for batch in self._streams.follow_raw(FEED, FEED_ITEMS, after):
            heard = {tuple(one.subject.split(".")) for one in batch}
            self._news |= {row["id"] for row in self._known if any(_fits(row, tokens) for tokens in heard)}
            self._stirred.set()

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        """Give each place its turn that has something to send."""
        while True:
            self._stirred.clear()
            self._known = await self.places.ready()
            for row in self._known:
                id = row["id"]
                waits = id in self._news or row["due"] or self._drained.get(id) != row["version"]
                if waits and id not in self._busy:
                    self._news.discard(id)
                    self._busy.add(id)
                    group.create_task(self._serve(id), name=f"{NAME}.{id}")
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._stirred.wait()

    async def _serve(self, id: str) -> None:
        try:
            await self.round(id)
        except Moved:
            pass
        except (Unavailable, LogUnavailable):
            await self._clock.sleep(PAUSE_S)
        except Exception as error:  # one place that cannot be served holds up no other
            telemetry.error("a webhook's round failed", error)
            await self._clock.sleep(CHECK_S)
        finally:
            self._busy.discard(id)
            self._stirred.set()

    async def round(self, id: str) -> None:
        """Send to one place until nothing is left, the receiver takes nothing, or somebody changed the place.

        Raises Moved, Unavailable, LogUnavailable: what was not written down is sent again.
        """
        backlog: Backlog | None = None
        while (place := await self.places.read(id)) is not None and place.ready(self._clock.now()):
            caller = self._creator(place)
            if isinstance(caller, str):
                await self.places.pause(id, caller)
                return
            if backlog is None or backlog.cursor != place.cursor:
                backlog = Backlog(self._streams, place)
            try:
                wave = await self._next(place, backlog)
                if wave is None:
                    self._drained[id] = place.version
                    return
                sent = await self._send_all(place, caller, wave)
            except FeedShorter:
                await self.places.pause(id, "The feed ends before this place: it was restored. Replay, then resume.")
                return
            verdict = judge(place, wave, sent, self._clock.now(), self._clock.random)
            await self.places.commit(place, wave, verdict, sent)
            await self._runtime.load_gate.breathe(self._clock)

    def _creator(self, place: Webhook) -> Caller | str:
        """Who made the place, with the rights that they have now; or why nothing is sent in their name."""
        caller = self._identity.person(place.creator)
        if caller is None or Right.WEBHOOK not in caller.rights or not contains(caller.region, place.region):
            return "Its creator may not receive this region's items any more: delete it, and make one of your own."
        return caller

    async def _next(self, place: Webhook, backlog: Backlog) -> Attempt | None:
        """What to send now. While the receiver fails: one item, and rather one that was never tried."""
        count = 1 if place.tries else WAVE_COUNT
        letters = await self.places.due(place.id, count) if place.waiting else []
        due = Attempt(tuple(letters), (), place.cursor) if letters else None
        if due and not place.tries:
            return due
        if place.waiting < WAITING_COUNT_MAX:
            await backlog.fill()
            blocked = await self.places.blocked(place.id, backlog.subjects) if place.waiting else frozenset[str]()
            fresh = backlog.take(count, blocked)
            if fresh is not None:
                return fresh
        return due

    async def _send_all(self, place: Webhook, caller: Caller, wave: Attempt) -> list[AttemptResult]:
        secrets = await self.places.secrets.in_force(place.id) if wave.letters else []
        if wave.letters and not secrets:
            await self.places.pause(place.id, "Its secret does not open with these master keys: make a new one.")
            raise Moved
        if place.numbers:
            await self.places.note_sending(place, wave.letters)
        signers = [Signer(secret) for secret in secrets]
        each = (self._send(place, caller, letter, signers) for letter in wave.letters)
        done = await asyncio.gather(*each, return_exceptions=True)
        await self._runtime.failpoints.hit("webhook.sent")
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return [one for one in done if isinstance(one, AttemptResult)]

    async def _send(
        self, place: Webhook, caller: Caller, letter: PendingItem, signers: Sequence[Signer]
    ) -> AttemptResult:
        try:
            body = await self._body(place, caller, letter)
        except NoNotice as refused:
            self._runtime.telemetry.add(SENT, "withheld")
            return AttemptResult(letter, None, refused.why)
        except (ValidationError, KeyMissing, SealBroken) as error:
            return AttemptResult(
                letter, WebhookOutcome(UNUSABLE, f"cannot be made ready here ({type(error).__name__})")
            )
        if place.id not in self._targets:
            self._targets[place.id] = WebhookClient(place.url, self.rules, self._clock, self._trust)
        headers = signed(letter, body, signers, self._clock.now())
        outcome = await self._targets[place.id].send(body, headers)
        self._runtime.telemetry.add(SENT, "taken" if outcome.taken else "failed")
        return AttemptResult(letter, outcome)

    async def _body(self, place: Webhook, caller: Caller, letter: PendingItem) -> bytes:
        """What goes out. Raises NoNotice when nothing does; `why` says so for a notice."""
        data = letter.data or await self._read(letter)
        item = FeedItem.model_validate_json(data)
        kind = "case" if item.data.case is not None else "order"
        address = Address.of(kind, item.subject)
        try:
            if place.numbers:  # who informed may be known since a moment ago: ask the log each time
                held = await self._application.load_for_service(address)
                return await self._notices.body(caller, data, item, held.state)
            state = await self._present.state(address, Position.parse(item.data.position).sequence)
        except NoArea:
            raise NoNotice("no_area") from None
        if not hears(caller, item, state):
            raise NoNotice("not_for_creator")
        return data

    async def _read(self, letter: PendingItem) -> bytes:
        """What FEED has at the sequence of a letter that waited. Raises FeedShorter."""
        found = await self._streams.read(FEED, FEED_ITEMS, letter.sequence - 1, 1)
        if not found or from_json(found[0].data).get("id") != letter.item:
            raise FeedShorter
        return found[0].data


def signed(letter: PendingItem, body: bytes, signers: Sequence[Signer], now: datetime) -> dict[str, str]:
    """The headers of one attempt: each secret in force signs id, time of the attempt and body."""
    text = body.decode()
    return {
        "content-type": MEDIA_TYPE,
        "user-agent": "caseflow",
        "webhook-id": letter.item,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(letter.item, now, text) for signer in signers),
        "caseflow-sequence": str(letter.sequence),
    }


def _fits(row: Any, tokens: tuple[str, ...]) -> bool:
    """Whether an item with these parts of a subject is for a place; a mark is for none."""
    return (
        len(tokens) == 9
        and tokens[1] in row["kinds"]
        and row["level"] in (None, int(tokens[2]))
        and contains(row["region"], "".join(tokens[3:8]))
    )


def _tell(reason: str) -> None:
    telemetry.warn("the webhooks wait", reason=reason)
