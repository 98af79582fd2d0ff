"""The tables of webhooks in Postgres: the webhooks, their secrets, the items that wait or are parked, the notices.

A secret is never stored in the clear: the master key wraps it, as it wraps the keys of cases.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from services.supervision.feed.delivery import (
    AttemptResult,
    PendingItem,
    Retry,
    RoundResult,
    Webhook,
    WebhookStatus,
)
from shared.case.base import contains
from shared.kit import telemetry
from shared.kit.clock import Clock
from shared.kit.problems import Conflict, NotFound
from shared.kit.settings import Settings
from shared.kit.sql import AdvisoryLock, Database, Session, Statements
from shared.kit.vault import BadMaster, MasterKeys

WEBHOOKS_COUNT_MAX = 200
WEBHOOKS_PER_PERSON_MAX = 20
SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"
OVERLAP = timedelta(hours=24)  # an old secret goes on signing for so long beside the new one
STATEMENTS = Statements.load(Path(__file__).with_name("webhooks.sql"))


class WebhookChanged(Exception):
    """The webhook was changed since it was read. The items of this round are sent again, with the same ids."""


class WebhookSecrets:
    """The secrets that sign deliveries, wrapped by the master key of the key file."""

    def __init__(self, database: Database, master_key_file: Path, clock: Clock) -> None:
        self._database, self._file, self._clock = database, master_key_file, clock

    @cached_property
    def _masters(self) -> MasterKeys:
        return MasterKeys.load(self._file)

    async def add(self, session: Session, webhook_id: str) -> str:
        """Make a new secret of a webhook in the caller's transaction; its text, which is shown this once only."""
        secret, id = self._clock.token_bytes(SECRET_BYTES), self._clock.new_id()
        wrapped = self._masters.wrap(secret, id, self._clock)
        await session.execute("add_secret", webhook_id, id, self._clock.now(), self._masters.current, wrapped)
        return SECRET_PREFIX + b64encode(secret).decode()

    async def rotate(self, session: Session, webhook_id: str) -> str:
        """Make a new secret. The last one goes on signing beside it for OVERLAP, older ones end now."""
        await session.execute("end_secrets", webhook_id, self._clock.now() + OVERLAP)
        return await self.add(session, webhook_id)

    async def in_force(self, webhook_id: str) -> list[bytes]:
        """The secrets that sign now, the newest first; one whose master key is gone is left out. Raises Unavailable."""
        rows = await self._database.fetch("secrets", webhook_id, self._clock.now())
        return [secret for row in rows if (secret := self._unwrapped(row)) is not None]

    def _unwrapped(self, row: Any) -> bytes | None:
        try:
            return self._masters.unwrap(row["wrapped"], row["id"], row["master"])
        except BadMaster:
            telemetry.warn("a webhook's secret does not open with these master keys")
            return None

    async def rewrap(self) -> int:
        """Wrap all secrets by the current master key, so that older keys may be removed; how many were wrapped anew.

        Raises Unavailable.
        """
        async with self._database.transaction() as session:
            stale = [
                (row["id"], self._unwrapped(row)) for row in await session.fetch("stale_secrets", self._masters.current)
            ]
            for id, secret in stale:
                if secret is not None:
                    wrapped = self._masters.wrap(secret, id, self._clock)
                    await session.execute("wrap_secret", id, self._masters.current, wrapped)
        return sum(secret is not None for _, secret in stale)


class WebhookStore:
    """The webhooks and their pending items. All methods raise Unavailable."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database, self._clock = database.using(STATEMENTS), clock
        self.secrets = WebhookSecrets(self._database, settings.master_key_file, clock)

    async def lock(self) -> AdvisoryLock | None:
        """The lock of the one process that sends; None while another process has it."""
        return await self._database.try_advisory_lock("supervision.webhooks")

    async def make(self, webhook: Webhook) -> str:
        """Insert a new webhook; its secret.

        Raises Conflict when there are too many webhooks, and for a second gateway of a region.
        """
        async with self._database.transaction() as session:
            await session.execute("lock_webhooks")
            counts = await session.fetch_one("count_webhooks", webhook.creator)
            assert counts is not None, "a count has a row"
            if counts["whole"] >= WEBHOOKS_COUNT_MAX or counts["own"] >= WEBHOOKS_PER_PERSON_MAX:
                raise Conflict(
                    f"There are as many webhooks as there may be ({WEBHOOKS_PER_PERSON_MAX} of one person, "
                    f"{WEBHOOKS_COUNT_MAX} in all).",
                    code="webhook.too_many", advice="Delete one that nobody needs.",
                )  # fmt: skip
            if webhook.numbers:
                _refuse_second_gateway(webhook, await session.fetch("gateways"))
            await session.execute(
                "insert_webhook", webhook.id, webhook.url, list(webhook.kinds), webhook.level, webhook.region,
                webhook.creator, webhook.numbers, webhook.created_at, webhook.cursor,
            )  # fmt: skip
            return await self.secrets.add(session, webhook.id)

    async def within(self, prefix: str) -> list[Webhook]:
        """The webhooks for regions that begin with this prefix: a region and those below it."""
        return [_webhook(row) for row in await self._database.fetch("webhooks_within", prefix, None)]

    async def read(self, id: str) -> Webhook | None:
        """One webhook as it now is; None when it is deleted."""
        row = await self._database.fetch_one("webhooks_within", "", id)
        return _webhook(row) if row else None

    async def oldest_undelivered(self) -> datetime | None:
        """Since when the oldest item waits that a receiver did not take; None when no item waits."""
        since: datetime | None = await self._database.fetch_value("oldest_undelivered")
        return since

    async def ready(self) -> list[Any]:
        """The webhooks that may be sent to now: their filters, versions, and whether an item that waits is due."""
        return list(await self._database.fetch("webhooks_ready", self._clock.now()))

    async def pause(self, id: str, why: str | None = None) -> None:
        """Send no items until the webhook is resumed."""
        await self._database.execute("change_status", id, WebhookStatus.PAUSED, why, self._clock.now())

    async def resume(self, id: str) -> None:
        """Send again at once; the items that wait are due now."""
        async with self._database.transaction() as session:
            await session.execute("change_status", id, WebhookStatus.ACTIVE, None, None)
            await session.execute("wake_items", id, self._clock.now(), False)

    async def delete(self, id: str) -> None:
        """Delete a webhook with its secrets and its pending items."""
        await self._database.execute("delete_webhook", id)

    async def rotate(self, id: str) -> str:
        """Make a new secret of the webhook."""
        async with self._database.transaction() as session:
            return await self.secrets.rotate(session, id)

    async def replay(self, id: str, after: int) -> None:
        """Send every item behind this sequence of FEED again."""
        async with self._database.transaction() as session:
            await session.execute("replay", id, after)
            await session.execute("forget_items", id, after)

    async def parked(self, id: str, after: int, count_max: int) -> list[Any]:
        """A page of the parked items behind a sequence, in the order of FEED."""
        return list(await self._database.fetch("parked_items", id, after, count_max))

    async def unpark(self, id: str, sequence: int | None) -> int:
        """Try parked items again, one or all of them; their count. Raises NotFound for an item that is not parked."""
        count = await self._database.execute("unpark", id, sequence, self._clock.now())
        if sequence is not None and not count:
            raise NotFound("No delivery of this sequence is parked.", code="webhook.not_parked")
        return count

    async def due(self, id: str, count_max: int) -> list[PendingItem]:
        """The first waiting item of each case that is due."""
        return [PendingItem(**row) for row in await self._database.fetch("due_items", id, self._clock.now(), count_max)]

    async def blocked(self, id: str, subjects: Sequence[str]) -> frozenset[str]:
        """Those of these cases that have an earlier item that waits."""
        return frozenset(row["subject"] for row in await self._database.fetch("blocked_subjects", id, list(subjects)))

    async def note_sending(self, webhook: Webhook, notices: Sequence[PendingItem]) -> None:
        """Enter notices before they go to a gateway: it may report on a notice before its answer arrives here."""
        ids, cases = [notice.id for notice in notices], [notice.case for notice in notices]
        await self._database.execute("begin_notices", webhook.id, webhook.creator, self._clock.now(), ids, cases)

    async def commit(self, before: Webhook, round_result: RoundResult, results: Sequence[AttemptResult]) -> None:
        """Write the result of a round, the cursor and the pending items in one transaction. Raises WebhookChanged."""
        after, now = round_result.webhook, self._clock.now()
        async with self._database.transaction() as session:
            updated = await session.execute(
                "update_webhook", after.id, before.version, after.status, after.cursor, after.tries, after.next_at,
                after.last_error, after.failed_at, after.taken_at,
            )  # fmt: skip
            if not updated:
                raise WebhookChanged
            if round_result.done and before.waiting:
                await session.execute("delete_items", after.id, list(round_result.done))
            if round_result.retries:
                await session.execute("write_items", after.id, *_item_columns(round_result.retries))
            if round_result.recovered:
                await session.execute("wake_items", after.id, now, True)
            if after.numbers and results:
                await session.execute("end_notices", now, *_notice_columns(round_result.retries, results))


def _item_columns(retries: Sequence[Retry]) -> list[list[Any]]:
    rows = [
        (retry.item.sequence, retry.item.id, retry.item.subject, retry.item.kind, retry.attempts, retry.item.since,
         retry.next_at, retry.down, retry.reason, retry.parked_at)
        for retry in retries
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


def _notice_columns(retries: Sequence[Retry], results: Sequence[AttemptResult]) -> list[list[Any]]:
    parked = {retry.item.id for retry in retries if retry.parked_at is not None}
    rows: list[tuple[str, str, str | None]] = []
    for result in results:
        id = result.item.id
        if result.outcome is None:
            rows.append((id, "none", result.reason))
        elif result.outcome.taken:
            rows.append((id, "sent", None))
        else:
            rows.append((id, "parked" if id in parked else "sending", result.outcome.reason))
    return [list(column) for column in zip(*rows, strict=True)]


def _refuse_second_gateway(webhook: Webhook, gateways: Sequence[Any]) -> None:
    for gateway in gateways:
        if contains(gateway["region"], webhook.region) or contains(webhook.region, gateway["region"]):
            raise Conflict(
                "Another gateway has this region, or a part of it: a resident would be told twice.",
                code="webhook.second_gateway", advice="Delete the other one first, or choose a region beside it.",
            )  # fmt: skip


def _webhook(row: Any) -> Webhook:
    return Webhook(**{**row, "kinds": tuple(row["kinds"])})


class NoticeStore:
    """The delivery of notices to residents. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def of_case(self, case_id: str) -> dict[str, Any]:
        """The notices of a case that a gateway received, or that were withheld, by the id of their feed item."""
        return {row["item"]: row for row in await self._database.fetch("notices_of", case_id)}

    async def read(self, item: str) -> Any:
        """One notice by the id of its feed item; None when no gateway received it."""
        return await self._database.fetch_one("read_notice", item)

    async def report(self, item: str, delivery: str, at: datetime, reason: str | None) -> Any:
        """Enter a report of a gateway on a notice; the latest report stands. The notice after it."""
        await self._database.execute("report_delivery", item, delivery, at, reason)
        return await self.read(item)
