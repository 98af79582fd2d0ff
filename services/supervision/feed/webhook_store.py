"""Where feed items are sent: the places, their secrets, what waits and what is parked, kept in Postgres.

Secrets never lie there in the clear: each is wrapped by the master key, as the keys of cases are.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from services.supervision.feed.delivery import Attempt, AttemptResult, PendingItem, RoundResult, Webhook, WebhookStatus
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
OVERLAP = timedelta(hours=24)  # how long the secret before a new one goes on signing
STATEMENTS = Statements.load(Path(__file__).with_name("webhooks.sql"))


class Moved(Exception):
    """Somebody changed the place since it was read: what was sent meanwhile goes out again, with the same id."""


class Secrets:
    """The secrets that sign, wrapped by the master key of the file."""

    def __init__(self, database: Database, master_key_file: Path, clock: Clock) -> None:
        self._database, self._file, self._clock = database, master_key_file, clock

    @cached_property
    def _masters(self) -> MasterKeys:
        return MasterKeys.load(self._file)

    async def add(self, session: Session, place: str) -> str:
        """A new secret of a place in the caller's transaction, as it is told, this once."""
        secret, id = self._clock.token_bytes(SECRET_BYTES), self._clock.new_id()
        wrapped = self._masters.wrap(secret, id, self._clock)
        await session.execute("add_secret", place, id, self._clock.now(), self._masters.current, wrapped)
        return SECRET_PREFIX + b64encode(secret).decode()

    async def rotate(self, session: Session, place: str) -> str:
        """A new secret; the one before it signs as well for OVERLAP, older ones no more."""
        await session.execute("end_secrets", place, self._clock.now() + OVERLAP)
        return await self.add(session, place)

    async def in_force(self, place: str) -> list[bytes]:
        """The secrets that sign now, the newest first; one whose master key is gone is left out. Raises Unavailable."""
        rows = await self._database.fetch("secrets", place, self._clock.now())
        return [secret for row in rows if (secret := self._opened(row)) is not None]

    def _opened(self, row: Any) -> bytes | None:
        try:
            return self._masters.unwrap(row["wrapped"], row["id"], row["master"])
        except BadMaster:
            telemetry.warn("a webhook's secret does not open with these master keys")
            return None

    async def rewrap(self) -> int:
        """Wrap all by the current master key, so that an older one may go; how many that were. Raises Unavailable."""
        async with self._database.transaction() as session:
            stale = [
                (row["id"], self._opened(row)) for row in await session.fetch("stale_secrets", self._masters.current)
            ]
            for id, secret in stale:
                if secret is not None:
                    wrapped = self._masters.wrap(secret, id, self._clock)
                    await session.execute("wrap_secret", id, self._masters.current, wrapped)
        return sum(secret is not None for _, secret in stale)


class WebhookStore:
    """The places and what waits for them. All raise Unavailable."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database, self._clock = database.using(STATEMENTS), clock
        self.secrets = Secrets(self._database, settings.master_key_file, clock)

    async def lock(self) -> AdvisoryLock | None:
        """The right to be the one who sends; None while another process has it."""
        return await self._database.try_advisory_lock("supervision.webhooks")

    async def make(self, place: Webhook) -> str:
        """Keep a new place; its secret. Raises Conflict for one too many, and for a second gateway in a region."""
        async with self._database.transaction() as session:
            await session.execute("lock_webhooks")
            counts = await session.fetch_one("count_webhooks", place.creator)
            assert counts is not None, "a count has a row"
            if counts["whole"] >= WEBHOOKS_COUNT_MAX or counts["own"] >= WEBHOOKS_PER_PERSON_MAX:
                raise Conflict(
                    f"There are as many webhooks as there may be ({WEBHOOKS_PER_PERSON_MAX} of one person, "
                    f"{WEBHOOKS_COUNT_MAX} in all).",
                    code="webhook.too_many", advice="Delete one that nobody needs.",
                )  # fmt: skip
            if place.numbers:
                _refuse_second(place, await session.fetch("gateways"))
            await session.execute(
                "insert_webhook", place.id, place.url, list(place.kinds), place.level, place.region, place.creator,
                place.numbers, place.created_at, place.cursor,
            )  # fmt: skip
            return await self.secrets.add(session, place.id)

    async def within(self, stem: str) -> list[Webhook]:
        """The places for a region, by its stem, and below."""
        return [_place(row) for row in await self._database.fetch("webhooks_within", stem, None)]

    async def read(self, id: str) -> Webhook | None:
        """One place as it now is."""
        row = await self._database.fetch_one("webhooks_within", "", id)
        return _place(row) if row else None

    async def oldest_undelivered(self) -> datetime | None:
        """Since when the oldest item waits that a receiver did not take; None when nothing waits."""
        since: datetime | None = await self._database.fetch_value("oldest_undelivered")
        return since

    async def ready(self) -> list[Any]:
        """What of each place that may be sent to now says whether it has something to send."""
        return list(await self._database.fetch("webhooks_ready", self._clock.now()))

    async def pause(self, id: str, why: str | None = None) -> None:
        """Send nothing until somebody lets it go on."""
        await self._database.execute("change_status", id, WebhookStatus.PAUSED, why, self._clock.now())

    async def resume(self, id: str) -> None:
        """Go on at once, with what waits as well."""
        async with self._database.transaction() as session:
            await session.execute("change_status", id, WebhookStatus.ACTIVE, None, None)
            await session.execute("wake_items", id, self._clock.now(), False)

    async def delete(self, id: str) -> None:
        """Remove a place and all that waits for it."""
        await self._database.execute("delete_webhook", id)

    async def rotate(self, id: str) -> str:
        """A new secret of the place."""
        async with self._database.transaction() as session:
            return await self.secrets.rotate(session, id)

    async def replay(self, id: str, after: int) -> None:
        """Send again everything behind this sequence of FEED."""
        async with self._database.transaction() as session:
            await session.execute("replay", id, after)
            await session.execute("forget_items", id, after)

    async def parked(self, id: str, after: int, count_max: int) -> list[Any]:
        """What was given up, in the order of FEED."""
        return list(await self._database.fetch("parked_items", id, after, count_max))

    async def unpark(self, id: str, sequence: int | None) -> int:
        """Try again what was given up, one or all; how many that are. Raises NotFound for one that is not parked."""
        count = await self._database.execute("unpark", id, sequence, self._clock.now())
        if sequence is not None and not count:
            raise NotFound("No delivery of this sequence is parked.", code="webhook.not_parked")
        return count

    async def due(self, id: str, count_max: int) -> list[PendingItem]:
        """The first waiting item of each case that is due."""
        return [PendingItem(**row) for row in await self._database.fetch("due_items", id, self._clock.now(), count_max)]

    async def blocked(self, id: str, subjects: Sequence[str]) -> frozenset[str]:
        """Which of these cases have an earlier item that waits."""
        return frozenset(row["subject"] for row in await self._database.fetch("blocked_subjects", id, list(subjects)))

    async def note_sending(self, place: Webhook, letters: Sequence[PendingItem]) -> None:
        """Notices go to a gateway now: it may report on them before we have its answer."""
        items, cases = [one.item for one in letters], [one.subject for one in letters]
        await self._database.execute("begin_notices", place.id, place.creator, self._clock.now(), items, cases)

    async def commit(self, before: Webhook, wave: Attempt, verdict: RoundResult, sent: Sequence[AttemptResult]) -> None:
        """Write what a wave came to: the cursor and what is left waiting in one transaction. Raises Moved."""
        place, now = verdict.place, self._clock.now()
        async with self._database.transaction() as session:
            moved = await session.execute(
                "move", place.id, before.version, place.status, place.cursor, place.tries, place.next_at,
                place.last_error, place.failed_at, place.taken_at,
            )  # fmt: skip
            if not moved:
                raise Moved
            if verdict.done and before.waiting:
                await session.execute("drop_items", place.id, list(verdict.done))
            if verdict.kept:
                await session.execute("keep_items", place.id, *_columns(verdict))
            if verdict.back:
                await session.execute("wake_items", place.id, now, True)
            if place.numbers and sent:
                await session.execute("end_notices", now, *_notices(verdict, sent))


def _columns(verdict: RoundResult) -> list[list[Any]]:
    rows = [
        (one.letter.sequence, one.letter.item, one.letter.subject, one.letter.kind, one.attempts, one.letter.since,
         one.next_at, one.down, one.reason, one.parked_at)
        for one in verdict.kept
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


def _notices(verdict: RoundResult, sent: Sequence[AttemptResult]) -> list[list[Any]]:
    parked = {one.letter.item: one.reason for one in verdict.kept if one.parked_at is not None}
    rows: list[tuple[str, str, str | None]] = []
    for one in sent:
        item = one.letter.item
        if one.outcome is None:
            rows.append((item, "none", one.why))
        elif one.outcome.taken:
            rows.append((item, "sent", None))
        else:
            rows.append((item, "parked" if item in parked else "sending", one.outcome.reason))
    return [list(column) for column in zip(*rows, strict=True)]


def _refuse_second(place: Webhook, gateways: Sequence[Any]) -> None:
    for other in gateways:
        if contains(other["region"], place.region) or contains(place.region, other["region"]):
            raise Conflict(
                "Another gateway has this region, or a part of it: a resident would be told twice.",
                code="webhook.second_gateway", advice="Delete the other one first, or choose a region beside it.",
            )  # fmt: skip


def _place(row: Any) -> Webhook:
    return Webhook(**{**row, "kinds": tuple(row["kinds"])})


class NoticeBook:
    """What became of notices to residents. All raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database.using(STATEMENTS)

    async def of_case(self, case_id: str) -> dict[str, Any]:
        """The notices of a case that a gateway got, or that went to none, by item."""
        return {row["item"]: row for row in await self._database.fetch("notices_of", case_id)}

    async def read(self, item: str) -> Any:
        """One notice, None when no gateway got it."""
        return await self._database.fetch_one("read_notice", item)

    async def report(self, item: str, delivery: str, at: datetime, reason: str | None) -> Any:
        """What a gateway says of a notice; the latest word stands. The notice as it is then."""
        await self._database.execute("report_delivery", item, delivery, at, reason)
        return await self.read(item)
