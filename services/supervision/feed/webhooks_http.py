"""Webhooks over HTTP: the webhooks of a region, their parked items, and the delivery of notices to residents."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import httpx
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError, from_json

from services.supervision.feed.delivery import Webhook
from services.supervision.feed.webhook_client import URL_CHARS_MAX, EgressRules
from services.supervision.feed.webhook_store import NoticeStore, WebhookStore
from shared.case.announcements import FeedKind
from shared.case.base import CaseId, Code, Region, contains, region_prefix, utc_time
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.application import AHEAD_S_MAX, Application
from shared.kit.http import ERRORS, App, IdText, Who
from shared.kit.paging import CursorText, Page, page_rows, read_cursor, write_cursor
from shared.kit.problems import Forbidden, NotFound, Unprocessable
from shared.log.topology import FEED, feeds_of

WEBHOOKS_LIST, PARKED_LIST, NOTICES_LIST = "supervision.webhooks", "supervision.parked", "supervision.notices"
SEQUENCE_MAX = 2**53
_LONG_NUMBER = re.compile(r"[0-9]{5}")


def _kind(text: str) -> str:
    if text not in set(FeedKind):
        raise PydanticCustomError("kind_unknown", "Choose from {kinds}", {"kinds": ", ".join(FeedKind)})
    return text


def _numberless(text: str) -> str:
    if _LONG_NUMBER.search(text):
        raise PydanticCustomError("reason_with_number", "A reason is a word or a code, and holds no phone number")
    return text


KindText = Annotated[str, AfterValidator(_kind)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=URL_CHARS_MAX, pattern=r"^[\x21-\x7e]+$")]
WebhookId = Annotated[CaseId, Path(description="The webhook's id")]
ItemId = Annotated[CaseId, Path(description="The id of the notice: `webhook-id`")]
Sequence = Annotated[int, Field(ge=0, le=SEQUENCE_MAX)]


class WebhookBody(BaseModel):
    """A new webhook: the URL that receives feed items, and the items that it receives.

    Without `region` the items of the caller's region are sent. Without `after` the items from now on are sent, with it
    those behind this sequence of the feed.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Url
    kinds: Annotated[tuple[KindText, ...], Field(min_length=1, max_length=len(FeedKind))]
    level: Annotated[int, Field(ge=1, le=5)] | None = None
    region: Region | None = None
    after: Sequence | None = None
    numbers: Annotated[bool, Field(description="A gateway for notices, which receives residents' phone numbers")] = (
        False
    )


class WebhookView(BaseModel):
    """A webhook and its state.

    `cursor`: every item of the feed up to this sequence was taken, waits, or is not for this webhook. `feed` is the
    last sequence of the feed. `waiting` and `parked` count items. `tries` counts the rounds in a row in which the
    receiver failed. `next_at` is the earliest moment of the next round.
    """

    id: str
    url: str
    kinds: tuple[str, ...]
    level: int | None
    region: str
    creator: str
    numbers: bool
    created_at: AwareDatetime
    status: str
    cursor: int
    feed: int
    waiting: int
    parked: int
    tries: int
    next_at: AwareDatetime | None
    last_error: str | None
    failed_at: AwareDatetime | None
    taken_at: AwareDatetime | None

    @classmethod
    def of(cls, webhook: Webhook, feed: int) -> Self:
        """The view of a webhook; `feed` is the last sequence of the feed."""
        return cls(feed=feed, **{name: getattr(webhook, name) for name in cls.model_fields if name != "feed"})


def _sequence(number: Sequence) -> int:
    """A sequence of the feed behind which a page begins."""
    return number


class WebhooksQuery(Page):
    """The parameters of the list of webhooks."""

    region: (
        Annotated[Region, Field(description="The region whose centre and lower centres the items are for")] | None
    ) = None


class ParkedQuery(Page):
    """The parameters of the list of parked items. `after` is the name that `cursor` had here before.

    It also takes a sequence of the feed.
    """

    after: Annotated[CursorText, Field(json_schema_extra={"deprecated": True})] | None = None

    def behind(self, list_name: str) -> int:
        """The sequence of the feed behind which the page begins. Raises BadRequest."""
        cursor = self.cursor or self.after
        if cursor is None or (cursor == self.after and cursor.isdecimal() and int(cursor) <= SEQUENCE_MAX):
            return int(cursor or 0)
        return read_cursor(list_name, cursor, _sequence)


class NewWebhookView(WebhookView):
    """A new webhook. `secret` signs its deliveries and is shown in this answer only."""

    secret: str


class NewSecret(BaseModel):
    """A new secret, shown in this answer only. The one before it goes on signing for a day."""

    secret: str


class WebhookList(BaseModel):
    """A page of the webhooks that the caller may see, oldest first; `next` is the `cursor` of the next one."""

    webhooks: list[WebhookView]
    next: str | None = None


class Parked(BaseModel):
    """A parked item: it was tried for three days in vain. `reason` is the last failure."""

    sequence: int
    item: str
    subject: str
    kind: str
    attempts: int
    since: AwareDatetime
    reason: str | None
    parked_at: AwareDatetime


class ParkedPage(BaseModel):
    """A page of parked items in the order of the feed; `next` is the `cursor` of the next page."""

    parked: list[Parked]
    next: str | None = None


class ReplayBody(BaseModel):
    """The sequence of the feed behind which all items are sent again."""

    model_config = ConfigDict(extra="forbid")

    after: Sequence


class Retried(BaseModel):
    """The number of items that are tried again."""

    count: int


class NoticeDelivery(StrEnum):
    """Whether a notice reached the resident, as its gateway reports."""

    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryBody(BaseModel):
    """A gateway's report on a notice: the result and its time.

    `reason` is a code or a word of the network. It holds no phone number and none of the notice's text.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    status: NoticeDelivery
    at: AwareDatetime
    reason: Annotated[Code, AfterValidator(_numberless)] | None = None


class Notice(BaseModel):
    """One notice to a reporter of the case; with `repeat`, to that of an attached repeat, counted from 1.

    `status` is waiting (no gateway received it yet), sending, sent, delivered, failed, parked, or none: the notice was
    withheld, and `reason` says why.
    """

    id: str
    template: str
    repeat: int | None = None
    time: AwareDatetime
    status: str
    at: AwareDatetime | None = None
    reason: str | None = None


class NoticeList(BaseModel):
    """A page of the notices of a case, in order; `next` is the `cursor` of the next one."""

    notices: list[Notice]
    next: str | None = None


router = APIRouter(responses=ERRORS)


class WebhookAccess:
    """The webhooks and notices of one app, as its routes read and change them."""

    def __init__(self, application: Application) -> None:
        settings, self._streams = application.identity.settings, application.data.streams
        self.store = WebhookStore(application.data.database, application.runtime.clock, settings)
        self.rules = EgressRules.of(settings)
        self.notices = NoticeStore(application.data.database)

    async def end(self) -> int:
        """The last sequence of the feed. Raises LogUnavailable."""
        return await self._streams.end(FEED)

    async def own(self, caller: Caller, id: str, creator: bool = False) -> Webhook:
        """A webhook that the caller may change; with `creator` only one that they made. Raises NotFound, Forbidden."""
        _need(caller, Right.WEBHOOK)
        webhook = await self.store.read(id)
        if webhook is None or not _may_change(caller, webhook):
            raise NotFound("There is no such webhook, or it is not yours.")
        if creator and caller.person != webhook.creator:
            raise Forbidden("Only who made a webhook is told its secret: make one of your own.")
        return webhook

    async def view(self, id: str) -> WebhookView:
        """A webhook with its present state. Raises NotFound, LogUnavailable."""
        webhook = await self.store.read(id)
        if webhook is None:
            raise NotFound("There is no such webhook any more.")
        return WebhookView.of(webhook, await self.end())


async def webhook_access_of(request: Request) -> WebhookAccess:
    """The webhooks of the app that serves a request."""
    access: WebhookAccess = request.app.state.webhooks
    return access


WebhookAccessOf = Annotated[WebhookAccess, Depends(webhook_access_of)]


def _need(caller: Caller, right: Right) -> None:
    if right not in caller.rights:
        raise Forbidden(f"Your post lacks the right {right}.")


def _may_change(caller: Caller, webhook: Webhook) -> bool:
    """Whether the caller made the webhook, or reads the whole region that it is for."""
    reads = Right.READ in caller.rights and contains(caller.region, webhook.region)
    return caller.person == webhook.creator or reads


@router.post(
    "/webhooks",
    status_code=201,
    operation_id="supervision_make_webhook",
    summary="Make a webhook: feed items are sent to its URL.",
)
async def make_webhook(
    body: WebhookBody, response: Response, caller: Who, application: App, access: WebhookAccessOf
) -> NewWebhookView:
    _need(caller, Right.WEBHOOK)
    region = body.region or caller.region
    if not contains(caller.region, region) or region not in application.identity.reference_data.regions:
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    if body.numbers:
        _need(caller, Right.NOTIFY)
        if body.kinds != (FeedKind.NOTICE,) or body.after is not None:
            raise Unprocessable(
                "With `numbers` the one kind is `notice`, and residents are told what comes from now on: leave "
                "`after` out.", code="webhook.numbers",
            )  # fmt: skip
    try:
        url = httpx.URL(body.url)
    except httpx.InvalidURL:
        raise Unprocessable("`url` is not an address. Write it like https://example.org/hook.") from None
    await access.rules.addresses(url)
    end = await access.end()
    after = _behind(end, body.after) if body.after is not None else end
    clock = application.runtime.clock
    webhook = Webhook(
        clock.new_id(), body.url, tuple(dict.fromkeys(body.kinds)), body.level, region, caller.person, body.numbers,
        clock.now(), cursor=after,
    )  # fmt: skip
    secret = await access.store.make(webhook)
    response.headers["Location"] = f"/supervision/webhooks/{webhook.id}"
    return NewWebhookView(secret=secret, **WebhookView.of(webhook, end).model_dump())


@router.get("/webhooks", operation_id="supervision_webhooks", summary="The webhooks of one's region, with their state.")
async def list_webhooks(
    caller: Who,
    application: App,
    access: WebhookAccessOf,
    parameters: Annotated[WebhooksQuery, Query()],
) -> WebhookList:
    _need(caller, Right.WEBHOOK)
    limit, region = page_rows(application.identity.settings, parameters.limit), parameters.region
    behind = read_cursor(WEBHOOKS_LIST, parameters.cursor, _webhook_position) if parameters.cursor else None
    if region is not None and not contains(caller.region, region):
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    end = await access.end()
    rows = await access.store.within(region_prefix(region or caller.region))
    own = [row for row in rows if _may_change(caller, row) and (behind is None or (row.created_at, row.id) > behind)]
    page = own[:limit]
    more = len(own) > limit
    following = write_cursor(WEBHOOKS_LIST, page[-1].created_at.isoformat(), page[-1].id) if more else None
    return WebhookList(webhooks=[WebhookView.of(row, end) for row in page], next=following)


def _webhook_position(created_at: str, id: CaseId) -> tuple[datetime, str]:
    """The webhook behind which a page begins. Raises ValueError, OverflowError."""
    return utc_time(created_at), id


@router.get("/webhooks/{id}", operation_id="supervision_webhook", summary="One webhook with its state.")
async def read_webhook(id: WebhookId, caller: Who, access: WebhookAccessOf) -> WebhookView:
    return WebhookView.of(await access.own(caller, id), await access.end())


def _behind(end: int, after: int) -> int:
    if after > end:
        raise Unprocessable(
            f"The feed ends at {end}; nothing lies behind {after}. Name an earlier sequence.", code="feed.beyond_end"
        )
    return after


@router.post(
    "/webhooks/{id}/pause",
    operation_id="supervision_pause_webhook",
    summary="Pause a webhook: no items are sent until it is resumed.",
)
async def pause_webhook(id: WebhookId, caller: Who, access: WebhookAccessOf) -> WebhookView:
    await access.own(caller, id)
    await access.store.pause(id)
    return await access.view(id)


@router.post(
    "/webhooks/{id}/resume",
    operation_id="supervision_resume_webhook",
    summary="Resume a webhook: items are sent again at once.",
)
async def resume_webhook(id: WebhookId, caller: Who, access: WebhookAccessOf) -> WebhookView:
    await access.own(caller, id)
    await access.store.resume(id)
    return await access.view(id)


@router.post(
    "/webhooks/{id}/secret",
    operation_id="supervision_webhook_secret",
    summary="Make a new secret that signs the deliveries.",
)
async def new_webhook_secret(id: WebhookId, caller: Who, access: WebhookAccessOf) -> NewSecret:
    await access.own(caller, id, creator=True)
    return NewSecret(secret=await access.store.rotate(id))


@router.post(
    "/webhooks/{id}/replay",
    operation_id="supervision_replay_webhook",
    summary="Send all items behind a sequence of the feed again.",
)
async def replay_webhook(id: WebhookId, body: ReplayBody, caller: Who, access: WebhookAccessOf) -> WebhookView:
    await access.own(caller, id)
    await access.store.replay(id, _behind(await access.end(), body.after))
    return await access.view(id)


@router.delete(
    "/webhooks/{id}",
    status_code=204,
    operation_id="supervision_delete_webhook",
    summary="Delete a webhook with its secrets and its pending items.",
)
async def delete_webhook(id: WebhookId, caller: Who, access: WebhookAccessOf) -> None:
    await access.own(caller, id)
    await access.store.delete(id)


@router.get(
    "/webhooks/{id}/parked",
    operation_id="supervision_parked_items",
    summary="The parked items of a webhook, with the reasons.",
)
async def parked_items(
    id: WebhookId,
    caller: Who,
    application: App,
    access: WebhookAccessOf,
    parameters: Annotated[ParkedQuery, Query()],
) -> ParkedPage:
    await access.own(caller, id)
    limit = page_rows(application.identity.settings, parameters.limit)
    behind = parameters.behind(PARKED_LIST)
    rows = [Parked(**row) for row in await access.store.parked(id, behind, limit + 1)]
    page, more = rows[:limit], len(rows) > limit
    return ParkedPage(parked=page, next=write_cursor(PARKED_LIST, page[-1].sequence) if more else None)


@router.post(
    "/webhooks/{id}/parked/{sequence}/retry",
    operation_id="supervision_retry_parked",
    summary="Try a parked item again; it may arrive after later items of its case.",
)
async def retry_parked(id: WebhookId, sequence: Sequence, caller: Who, access: WebhookAccessOf) -> Retried:
    await access.own(caller, id)
    return Retried(count=await access.store.unpark(id, sequence))


@router.post("/webhooks/{id}/parked/retry", operation_id="supervision_retry_all", summary="Try all parked items again.")
async def retry_all_parked(id: WebhookId, caller: Who, access: WebhookAccessOf) -> Retried:
    await access.own(caller, id)
    return Retried(count=await access.store.unpark(id, None))


@router.get(
    "/cases/{id}/notices",
    operation_id="supervision_notices",
    summary="The notices that the reporters of a case were sent, and their delivery.",
)
async def notices_of_case(
    id: IdText, caller: Who, application: App, access: WebhookAccessOf, parameters: Annotated[Page, Query()]
) -> NoticeList:
    limit = page_rows(application.identity.settings, parameters.limit)
    behind = read_cursor(NOTICES_LIST, parameters.cursor, _sequence) if parameters.cursor else 0
    address = await application.locate(id)
    await application.load(caller, address)
    messages = await application.data.streams.read(FEED, feeds_of(address.id, FeedKind.NOTICE))
    rows = await access.notices.of_case(address.id)
    rest = [message for message in messages if message.sequence > behind]
    page = rest[:limit]
    items = [from_json(message.data) for message in page]
    following = write_cursor(NOTICES_LIST, page[-1].sequence) if len(rest) > limit else None
    return NoticeList(notices=[_notice(item, rows.get(item["id"])) for item in items], next=following)


@router.post(
    "/notices/{item}/delivery",
    operation_id="supervision_notice_delivery",
    summary="Report the delivery of a notice, as the gateway that received it; the latest report stands.",
)
async def report_delivery(
    item: ItemId, body: DeliveryBody, caller: Who, application: App, access: WebhookAccessOf
) -> Notice:
    _need(caller, Right.NOTIFY)
    row = await access.notices.read(item)
    if row is None or row["outcome"] == "none" or row["gateway"] != caller.person:
        raise NotFound("You were sent no notice of this id.", code="notice.unknown")
    if body.at > application.runtime.clock.now() + timedelta(seconds=AHEAD_S_MAX):
        raise Unprocessable("`at` lies in the future. Set your clock.", code="time.ahead")
    row = await access.notices.report(item, body.status, body.at, body.reason)
    messages = await application.data.streams.read(FEED, feeds_of(row["case_id"], FeedKind.NOTICE))
    payload = next(payload for message in messages if (payload := from_json(message.data))["id"] == item)
    return _notice(payload, row)


def _notice(item: Any, row: Any) -> Notice:
    facts = {"id": item["id"], "template": item["data"]["template"], "time": item["time"]}
    facts["repeat"] = item["data"].get("repeat")
    if row is None:
        return Notice(status="waiting", **facts)
    if row["delivery"] is not None:
        return Notice(status=row["delivery"], at=row["delivery_at"], reason=row["delivery_reason"], **facts)
    return Notice(status=row["outcome"], at=row["at"], reason=row["reason"], **facts)
