"""Sends feed items to webhooks, signed as the Standard Webhooks specification 1.0 says; each item at least once.

One process sends, by an advisory lock. In a round it sends one webhook some items, at most one of a case, and then
writes the cursor and the items that wait in one transaction. A process that is killed between the two sends the same
items again, with the same ids. The right to an item is judged when it is sent: by the rights that the webhook's creator
has then, on the case as it is then.
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

from services.supervision.feed.delivery import Attempt, AttemptResult, PendingItem, Webhook, conclude
from services.supervision.feed.notices import NoNotice, Notices
from services.supervision.feed.sse import Present, hears
from services.supervision.feed.webhook_client import EgressRules, WebhookClient, WebhookOutcome
from services.supervision.feed.webhook_store import WebhookChanged, WebhookStore
from shared.case.base import Address, Position, contains
from shared.case.rights import Right
from shared.kit import telemetry
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.feed_item import FeedItem
from shared.kit.leader import RESTART_S, Lock, renew, run_as_leader
from shared.kit.problems import Unavailable
from shared.kit.seal import SealBroken
from shared.kit.vault import KeyMissing
from shared.log.consumers import RawMessage
from shared.log.port import LogUnavailable, NoArea
from shared.log.streams import Streams
from shared.log.topology import FEED, FEED_ITEMS, feeds

SENDER_NAME = "supervision.webhooks"
CLOUD_EVENTS_TYPE = "application/cloudevents+json; charset=utf-8"
ROUND_COUNT = 8  # items sent to one webhook at the same time
READ_COUNT = 256  # items read ahead for one webhook
WAITING_COUNT_MAX = 1000  # a webhook with so many items that wait reads no further in FEED
CURSOR_STEP = 1000  # the cursor may lie so far behind while no item is for the webhook
CHECK_S = 1.0
UNUSABLE = -1  # the status of an item whose body cannot be made here
OLDEST_S = telemetry.gauge("caseflow_webhook_oldest_seconds", "Age of the oldest item that a receiver did not take")
SENT = telemetry.counter("caseflow_webhook_items_total", "Feed items sent to webhooks", "outcome")


class FeedShorter(Exception):
    """FEED ends before a cursor, or holds another item at a sequence: it was restored from an older copy."""


class Backlog:
    """The items of FEED that lie ahead of one webhook's cursor, read a batch at a time."""

    def __init__(self, streams: Streams, webhook: Webhook) -> None:
        self._streams, self._kinds = streams, frozenset(webhook.kinds)
        kind = webhook.kinds[0] if len(webhook.kinds) == 1 else "*"
        self._subject = feeds(webhook.region, kind, webhook.level)
        self._items: deque[PendingItem] = deque()
        self._read_to = self.cursor = webhook.cursor

    async def fill(self) -> None:
        """Read on until there is an item for the webhook, or FEED ends. Raises FeedShorter, LogUnavailable."""
        while not self._items:
            end = await self._streams.end(FEED)
            if end < self._read_to:
                raise FeedShorter
            messages = await self._streams.read(FEED, self._subject, self._read_to, READ_COUNT)
            self._items.extend(_pending(message) for message in messages if _kind(message) in self._kinds)
            self._read_to = messages[-1].sequence if messages else self._read_to
            if len(messages) < READ_COUNT:  # a replica that is behind may have left items out: the leader knows
                if await self._streams.first(FEED, self._subject, self._read_to) is None:
                    self._read_to = max(self._read_to, end)
                return

    @property
    def subjects(self) -> list[str]:
        """The cases and orders of the items that were read."""
        return list({item.subject for item in self._items})

    def take(self, count_max: int, blocked_subjects: frozenset[str]) -> Attempt | None:
        """The next items that were read, at most one of a case; None when there is nothing to send or to write.

        Items of a blocked case wait for the earlier items of their case.
        """
        items: dict[str, PendingItem] = {}
        blocked: list[PendingItem] = []
        while self._items and len(items) < count_max and len(blocked) < ROUND_COUNT:
            item = self._items[0]
            if item.subject in items:
                break
            if item.subject in blocked_subjects:
                blocked.append(item)
            else:
                items[item.subject] = item
            self._items.popleft()
        if not items and not blocked and self._read_to - self.cursor < CURSOR_STEP:
            return None
        taken = (*items.values(), *blocked)
        self.cursor = max(item.sequence for item in taken) if self._items else self._read_to
        return Attempt(tuple(items.values()), tuple(blocked), self.cursor)


def _kind(message: RawMessage) -> str:
    return message.subject.split(".", 2)[1]


def _pending(message: RawMessage) -> PendingItem:
    payload = from_json(message.data)
    repeat = payload["data"].get("repeat")  # one reporter whose notice is not taken holds back no other reporter
    subject = payload["subject"] if repeat is None else f"{payload['subject']} {repeat}"
    return PendingItem(message.sequence, payload["id"], subject, _kind(message), data=message.data)


class WebhookSender:
    """The job that sends feed items to webhooks. Tests call `serve` for one webhook by itself."""

    def __init__(self, application: Application) -> None:
        identity, data, self._runtime = application.identity, application.data, application.runtime
        self._application, self._identity, self._streams = application, identity, data.streams
        self._clock = self._runtime.clock
        self.store = WebhookStore(data.database, self._clock, identity.settings)
        self.rules = EgressRules.of(identity.settings)
        self._notices, self._present = Notices(application), Present(application)
        self._runtime.telemetry.before_reading(self._measure)
        self._clients: dict[str, WebhookClient] = {}
        self._ready: Sequence[Any] = ()
        self._drained: dict[str, int] = {}  # id of a webhook -> its version when no item was left for it
        self._with_news: set[str] = set()
        self._busy: set[str] = set()
        self._changed = asyncio.Event()

    async def _measure(self) -> None:
        since = await self.store.oldest_undelivered()
        age_s = (self._clock.now() - since).total_seconds() if since else 0.0
        self._runtime.telemetry.set(OLDEST_S, age_s)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def run(self) -> None:
        """Send for ever, while this process is the leader."""
        await run_as_leader(SENDER_NAME, self.store.lock, self._run_tasks, self._clock, _warn)

    async def close(self) -> None:
        """Close the connections to all receivers."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def _run_tasks(self, lock: Lock) -> None:
        self._drained.clear()
        self._busy.clear()
        try:
            await self.store.secrets.rewrap()
            after = await self._streams.end(FEED)
            async with asyncio.TaskGroup() as group:
                group.create_task(renew(lock, self._clock))
                group.create_task(self._follow_feed(after))
                group.create_task(self._start_rounds(group))
        finally:
            await self.close()

    async def _follow_feed(self, after: int) -> None:
        """Note the webhooks for which FEED has new items."""
        async for batch in self._streams.follow_raw(FEED, FEED_ITEMS, after):
            subjects = {tuple(message.subject.split(".")) for message in batch}
            self._with_news |= {row["id"] for row in self._ready if any(_fits(row, tokens) for tokens in subjects)}
            self._changed.set()

    async def _start_rounds(self, group: asyncio.TaskGroup) -> None:
        """Start a task for each webhook that is ready and may have items to send."""
        while True:
            self._changed.clear()
            self._ready = await self.store.ready()
            for row in self._ready:
                id = row["id"]
                has_items = id in self._with_news or row["due"] or self._drained.get(id) != row["version"]
                if has_items and id not in self._busy:
                    self._with_news.discard(id)
                    self._busy.add(id)
                    group.create_task(self._serve_safely(id), name=f"{SENDER_NAME}.{id}")
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._changed.wait()

    async def _serve_safely(self, id: str) -> None:
        try:
            await self.serve(id)
        except WebhookChanged:
            pass
        except (Unavailable, LogUnavailable):
            await self._clock.sleep(RESTART_S)
        except Exception as error:  # a webhook that cannot be served must not stop the others
            telemetry.error("a webhook's round failed", error)
            await self._clock.sleep(CHECK_S)
        finally:
            self._busy.discard(id)
            self._changed.set()

    async def serve(self, id: str) -> None:
        """Send to one webhook in rounds, until no item is left, the receiver fails, or the webhook is paused.

        Raises WebhookChanged, Unavailable, LogUnavailable: a round that was not written is sent again.
        """
        backlog: Backlog | None = None
        while (webhook := await self.store.read(id)) is not None and webhook.ready(self._clock.now()):
            caller = self._creator(webhook)
            if isinstance(caller, str):
                await self.store.pause(id, caller)
                return
            if backlog is None or backlog.cursor != webhook.cursor:
                backlog = Backlog(self._streams, webhook)
            try:
                attempt = await self._next_attempt(webhook, backlog)
                if attempt is None:
                    self._drained[id] = webhook.version
                    return
                results = await self._send_all(webhook, caller, attempt)
            except FeedShorter:
                await self.store.pause(id, "The feed ends before this place: it was restored. Replay, then resume.")
                return
            round_result = conclude(webhook, attempt, results, self._clock.now(), self._clock.random)
            await self.store.commit(webhook, round_result, results)
            await self._runtime.load_gate.breathe(self._clock)

    def _creator(self, webhook: Webhook) -> Caller | str:
        """The creator of a webhook with the rights that they have now; or the reason why nothing may be sent."""
        caller = self._identity.person(webhook.creator)
        if caller is None or Right.WEBHOOK not in caller.rights or not contains(caller.region, webhook.region):
            return "Its creator may not receive this region's items any more: delete it, and make one of your own."
        return caller

    async def _next_attempt(self, webhook: Webhook, backlog: Backlog) -> Attempt | None:
        """The items to send now. To a receiver that fails: one item, a new one rather than one that failed before."""
        count = 1 if webhook.tries else ROUND_COUNT
        due_items = await self.store.due(webhook.id, count) if webhook.waiting else []
        due = Attempt(tuple(due_items), (), webhook.cursor) if due_items else None
        if due and not webhook.tries:
            return due
        if webhook.waiting < WAITING_COUNT_MAX:
            await backlog.fill()
            blocked = await self.store.blocked(webhook.id, backlog.subjects) if webhook.waiting else frozenset[str]()
            fresh = backlog.take(count, blocked)
            if fresh is not None:
                return fresh
        return due

    async def _send_all(self, webhook: Webhook, caller: Caller, attempt: Attempt) -> list[AttemptResult]:
        secrets = await self.store.secrets.in_force(webhook.id) if attempt.items else []
        if attempt.items and not secrets:
            await self.store.pause(webhook.id, "Its secret does not open with these master keys: make a new one.")
            raise WebhookChanged
        if webhook.numbers:
            await self.store.note_sending(webhook, attempt.items)
        signers = [Signer(secret) for secret in secrets]
        sends = (self._send(webhook, caller, item, signers) for item in attempt.items)
        results = await asyncio.gather(*sends, return_exceptions=True)
        await self._runtime.failpoints.hit("webhook.sent")
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, AttemptResult)]

    async def _send(
        self, webhook: Webhook, caller: Caller, item: PendingItem, signers: Sequence[Signer]
    ) -> AttemptResult:
        try:
            body = await self._body(webhook, caller, item)
        except NoNotice as withheld:
            self._runtime.telemetry.add(SENT, "withheld")
            return AttemptResult(item, None, withheld.reason)
        except (ValidationError, KeyMissing, SealBroken) as error:
            return AttemptResult(item, WebhookOutcome(UNUSABLE, f"cannot be made ready here ({type(error).__name__})"))
        if webhook.id not in self._clients:
            self._clients[webhook.id] = WebhookClient(webhook.url, self.rules, self._clock, self._trust)
        headers = signed_headers(item, body, signers, self._clock.now())
        outcome = await self._clients[webhook.id].send(body, headers)
        self._runtime.telemetry.add(SENT, "taken" if outcome.taken else "failed")
        return AttemptResult(item, outcome)

    async def _body(self, webhook: Webhook, caller: Caller, pending: PendingItem) -> bytes:
        """The body of a delivery. Raises NoNotice when the item is not for this receiver, FeedShorter."""
        data = pending.data or await self._read(pending)
        item = FeedItem.model_validate_json(data)
        kind = "case" if item.data.case is not None else "order"
        address = Address.of(kind, item.subject)
        try:
            if webhook.numbers:  # a case may have got its informant a moment ago: the log is asked each time
                versioned = await self._application.load_for_service(address)
                return await self._notices.body(caller, data, item, versioned.state)
            state = await self._present.state(address, Position.parse(item.data.position).sequence)
        except NoArea:
            raise NoNotice("no_area") from None
        if not hears(caller, item, state):
            raise NoNotice("not_for_creator")
        return data

    async def _read(self, pending: PendingItem) -> bytes:
        """The item that FEED has at the sequence of a pending one. Raises FeedShorter."""
        messages = await self._streams.read(FEED, FEED_ITEMS, pending.sequence - 1, 1)
        if not messages or from_json(messages[0].data).get("id") != pending.id:
            raise FeedShorter
        return messages[0].data


def signed_headers(item: PendingItem, body: bytes, signers: Sequence[Signer], now: datetime) -> dict[str, str]:
    """The headers of one delivery: each secret in force signs the id, the time of the delivery and the body."""
    text = body.decode()
    return {
        "content-type": CLOUD_EVENTS_TYPE,
        "user-agent": "caseflow",
        "webhook-id": item.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(item.id, now, text) for signer in signers),
        "caseflow-sequence": str(item.sequence),
    }


def _fits(row: Any, tokens: tuple[str, ...]) -> bool:
    """Whether a message whose subject has these tokens is an item for a webhook; a mark is for none."""
    return (
        len(tokens) == 9
        and tokens[1] in row["kinds"]
        and row["level"] in (None, int(tokens[2]))
        and contains(row["region"], "".join(tokens[3:8]))
    )


def _warn(reason: str) -> None:
    telemetry.warn("the webhooks wait", reason=reason)
