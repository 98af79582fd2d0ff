"""Webhooks over HTTP: where one's feed items are sent, what was given up, and what became of notices to residents."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import httpx
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError, from_json

from services.supervision.feed.delivery import Webhook
from services.supervision.feed.webhook_client import URL_CHARS_MAX, EgressRules
from services.supervision.feed.webhook_store import NoticeBook, WebhookStore
from shared.case.announcements import FeedKind
from shared.case.base import CaseId, Code, Region, contains, region_prefix
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.application import AHEAD_S_MAX, Application
from shared.kit.http import ERRORS, App, IdText, Who
from shared.kit.problems import Forbidden, NotFound, Unavailable, Unprocessable
from shared.log import port as log_port
from shared.log.topology import FEED, feeds_of

PAGE_COUNT_MAX = 200
_LONG_NUMBER = re.compile(r"[0-9]{5}")


def _kind(text: str) -> str:
    if text not in set(FeedKind):
        raise PydanticCustomError("kind_unknown", "Choose from {kinds}", {"kinds": ", ".join(FeedKind)})
    return text


def _numberless(text: str) -> str:
    if _LONG_NUMBER.search(text):
        raise PydanticCustomError("reason_with_number", "A reason is a word or a code, and holds no phone number")
    return text


Kind = Annotated[str, AfterValidator(_kind)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=URL_CHARS_MAX, pattern=r"^[\x21-\x7e]+$")]
PlaceId = Annotated[CaseId, Path(description="The webhook's id")]
ItemId = Annotated[CaseId, Path(description="The id of the notice: `webhook-id`")]
Sequence = Annotated[int, Field(ge=0, le=2**53)]


class WebhookBody(BaseModel):
    """Where to send which items; without `region` those of the caller's, from now on or from behind `after`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Url
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=len(FeedKind))]
    level: Annotated[int, Field(ge=1, le=5)] | None = None
    region: Region | None = None
    after: Sequence | None = None
    numbers: Annotated[bool, Field(description="A gateway for notices: it is told the resident's number")] = False


class WebhookView(BaseModel):
    """A webhook and its state. `cursor` is the last item of the feed that is settled for it, `feed` the last of all."""

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
    def of(cls, place: Webhook, feed: int) -> Self:
        """As the table has it."""
        return cls(feed=feed, **{name: getattr(place, name) for name in cls.model_fields if name != "feed"})


class NewWebhookView(WebhookView):
    """A new webhook; `secret` signs what is sent and is told here only."""

    secret: str


class NewSecret(BaseModel):
    """A new secret, told here only; the one before signs as well for a day."""

    secret: str


class WebhookList(BaseModel):
    """The webhooks that the caller may see; there are not many."""

    webhooks: list[WebhookView]


class Parked(BaseModel):
    """An item that was given up, and why."""

    sequence: int
    item: str
    subject: str
    kind: str
    attempts: int
    since: AwareDatetime
    reason: str | None
    parked_at: AwareDatetime


class ParkedPage(BaseModel):
    """Items that were given up, in the order of the feed; `next` goes behind the last one."""

    parked: list[Parked]
    next: int | None = None


class ReplayBody(BaseModel):
    """From behind which sequence of the feed to send again."""

    model_config = ConfigDict(extra="forbid")

    after: Sequence


class Retried(BaseModel):
    """How many items are tried again."""

    count: int


class NoticeDelivery(StrEnum):
    """What a gateway says of a notice."""

    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryBody(BaseModel):
    """What became of a notice, and when. `reason` is a code or a word of the network's; no number, no words of ours."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    status: NoticeDelivery
    at: AwareDatetime
    reason: Annotated[Code, AfterValidator(_numberless)] | None = None


class Notice(BaseModel):
    """One notice to the resident. `status`: waiting (no gateway got it yet), sending, sent, delivered, failed, parked,
    or none: nobody was told, and `reason` says why."""

    id: str
    template: str
    time: AwareDatetime
    status: str
    at: AwareDatetime | None = None
    reason: str | None = None


class NoticeList(BaseModel):
    """The notices of a case, in order."""

    notices: list[Notice]


router = APIRouter(responses=ERRORS)


class WebhookDesk:
    """The webhooks and notices of one app, as its routes use them."""

    def __init__(self, application: Application) -> None:
        settings, self._streams = application.identity.settings, application.data.streams
        self.store = WebhookStore(application.data.database, application.runtime.clock, settings)
        self.rules = EgressRules.of(settings)
        self.notices = NoticeBook(application.data.database)

    async def end(self) -> int:
        """The last sequence of the feed. Raises Unavailable."""
        try:
            return await self._streams.end(FEED)
        except log_port.LogUnavailable as error:
            raise Unavailable("The log does not answer.") from error

    async def own(self, caller: Caller, id: str, creator: bool = False) -> Webhook:
        """A webhook that the caller may steer; with `creator` only one that they made. Raises NotFound, Forbidden."""
        _need(caller, Right.WEBHOOK)
        webhook = await self.store.read(id)
        if webhook is None or not _steers(caller, webhook):
            raise NotFound("There is no such webhook, or it is not yours.")
        if creator and caller.person != webhook.creator:
            raise Forbidden("Only who made a webhook is told its secret: make one of your own.")
        return webhook

    async def shown(self, id: str) -> WebhookView:
        """A webhook with its state. Raises NotFound, Unavailable."""
        webhook = await self.store.read(id)
        if webhook is None:
            raise NotFound("There is no such webhook any more.")
        return WebhookView.of(webhook, await self.end())


async def desk_of(request: Request) -> WebhookDesk:
    """The webhooks of the app that a request came to."""
    desk: WebhookDesk = request.app.state.webhooks
    return desk


Desk = Annotated[WebhookDesk, Depends(desk_of)]


def _need(caller: Caller, right: Right) -> None:
    if right not in caller.rights:
        raise Forbidden(f"Your post lacks the right {right}.")


def _steers(caller: Caller, webhook: Webhook) -> bool:
    """Who made it, and who reads the whole region that it is for."""
    reads = Right.READ in caller.rights and contains(caller.region, webhook.region)
    return caller.person == webhook.creator or reads


@router.post("/webhooks", status_code=201, operation_id="supervision_make_webhook", summary="Have items sent there.")
async def make(body: WebhookBody, response: Response, caller: Who, application: App, desk: Desk) -> NewWebhookView:
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
    await desk.rules.addresses(url)
    end = await desk.end()
    after = _behind(end, body.after) if body.after is not None else end
    clock = application.runtime.clock
    place = Webhook(
        clock.new_id(), body.url, tuple(dict.fromkeys(body.kinds)), body.level, region, caller.person, body.numbers,
        clock.now(), cursor=after,
    )  # fmt: skip
    secret = await desk.store.make(place)
    response.headers["Location"] = f"/supervision/webhooks/{place.id}"
    return NewWebhookView(secret=secret, **WebhookView.of(place, end).model_dump())


@router.get("/webhooks", operation_id="supervision_webhooks", summary="The webhooks of one's region, with their state.")
async def webhooks(
    caller: Who, desk: Desk, region: Annotated[Region | None, Query(description="For its centre and below")] = None
) -> WebhookList:
    _need(caller, Right.WEBHOOK)
    if region is not None and not contains(caller.region, region):
        raise Forbidden("This region is not inside yours; leave `region` out for your own.")
    end = await desk.end()
    places = await desk.store.within(region_prefix(region or caller.region))
    return WebhookList(webhooks=[WebhookView.of(place, end) for place in places if _steers(caller, place)])


@router.get("/webhooks/{id}", operation_id="supervision_webhook", summary="One webhook with its state.")
async def webhook(id: PlaceId, caller: Who, desk: Desk) -> WebhookView:
    return WebhookView.of(await desk.own(caller, id), await desk.end())


def _behind(end: int, after: int) -> int:
    if after > end:
        raise Unprocessable(
            f"The feed ends at {end}; nothing lies behind {after}. Name an earlier sequence.", code="feed.beyond_end"
        )
    return after


@router.post("/webhooks/{id}/pause", operation_id="supervision_pause_webhook", summary="Send nothing for now.")
async def pause(id: PlaceId, caller: Who, desk: Desk) -> WebhookView:
    await desk.own(caller, id)
    await desk.store.pause(id)
    return await desk.shown(id)


@router.post("/webhooks/{id}/resume", operation_id="supervision_resume_webhook", summary="Go on at once.")
async def resume(id: PlaceId, caller: Who, desk: Desk) -> WebhookView:
    await desk.own(caller, id)
    await desk.store.resume(id)
    return await desk.shown(id)


@router.post("/webhooks/{id}/secret", operation_id="supervision_webhook_secret", summary="Sign with a new secret.")
async def secret(id: PlaceId, caller: Who, desk: Desk) -> NewSecret:
    await desk.own(caller, id, creator=True)
    return NewSecret(secret=await desk.store.rotate(id))


@router.post(
    "/webhooks/{id}/replay",
    operation_id="supervision_replay_webhook",
    summary="Send everything again from behind a sequence of the feed on.",
)
async def replay(id: PlaceId, body: ReplayBody, caller: Who, desk: Desk) -> WebhookView:
    await desk.own(caller, id)
    await desk.store.replay(id, _behind(await desk.end(), body.after))
    return await desk.shown(id)


@router.delete(
    "/webhooks/{id}",
    status_code=204,
    operation_id="supervision_delete_webhook",
    summary="Send nothing there any more, and forget the secret and what waits.",
)
async def delete(id: PlaceId, caller: Who, desk: Desk) -> None:
    await desk.own(caller, id)
    await desk.store.delete(id)


@router.get("/webhooks/{id}/parked", operation_id="supervision_parked_items", summary="What was given up, and why.")
async def parked(
    id: PlaceId,
    caller: Who,
    desk: Desk,
    after: Sequence = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_COUNT_MAX)] = 50,
) -> ParkedPage:
    await desk.own(caller, id)
    rows = [Parked(**row) for row in await desk.store.parked(id, after, limit)]
    return ParkedPage(parked=rows, next=rows[-1].sequence if len(rows) == limit else None)


@router.post(
    "/webhooks/{id}/parked/{sequence}/retry",
    operation_id="supervision_retry_parked",
    summary="Try again what was given up; it may come after later items of its case.",
)
async def retry(id: PlaceId, sequence: Sequence, caller: Who, desk: Desk) -> Retried:
    await desk.own(caller, id)
    return Retried(count=await desk.store.unpark(id, sequence))


@router.post("/webhooks/{id}/parked/retry", operation_id="supervision_retry_all", summary="Try all of it again.")
async def retry_all(id: PlaceId, caller: Who, desk: Desk) -> Retried:
    await desk.own(caller, id)
    return Retried(count=await desk.store.unpark(id, None))


@router.get("/cases/{id}/notices", operation_id="supervision_notices", summary="What the resident was told, and how.")
async def notices(id: IdText, caller: Who, application: App, desk: Desk) -> NoticeList:
    address = await application.locate(id)
    await application.load(caller, address)
    try:
        items = [
            from_json(one.data)
            for one in await application.data.streams.read(FEED, feeds_of(address.id, FeedKind.NOTICE))
        ]
    except log_port.LogUnavailable as error:
        raise Unavailable("The log does not answer.") from error
    known = await desk.notices.of_case(address.id)
    return NoticeList(notices=[_notice(item, known.get(item["id"])) for item in items])


@router.post(
    "/notices/{item}/delivery",
    operation_id="supervision_notice_delivery",
    summary="What became of a notice, told by the gateway that got it; the latest word stands.",
)
async def delivery(item: ItemId, body: DeliveryBody, caller: Who, application: App, desk: Desk) -> Notice:
    _need(caller, Right.NOTIFY)
    row = await desk.notices.read(item)
    if row is None or row["outcome"] == "none" or row["gateway"] != caller.person:
        raise NotFound("You were sent no notice of this id.", code="notice.unknown")
    if body.at > application.runtime.clock.now() + timedelta(seconds=AHEAD_S_MAX):
        raise Unprocessable("`at` lies in the future. Set your clock.", code="time.ahead")
    row = await desk.notices.report(item, body.status, body.at, body.reason)
    found = await application.data.streams.read(FEED, feeds_of(row["case_id"], FeedKind.NOTICE))
    told = next(one for data in found if (one := from_json(data.data))["id"] == item)
    return _notice(told, row)


def _notice(item: Any, row: Any) -> Notice:
    told = {"id": item["id"], "template": item["data"]["template"], "time": item["time"]}
    if row is None:
        return Notice(status="waiting", **told)
    if row["delivery"] is not None:
        return Notice(status=row["delivery"], at=row["delivery_at"], reason=row["delivery_reason"], **told)
    return Notice(status=row["outcome"], at=row["at"], reason=row["reason"], **told)
