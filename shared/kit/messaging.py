"""FastStream as it is used here: how a broker connects, how a durable is consumed, acknowledged and watched.

FastStream serves the edge: platforms, supervisors, auditors. Each part below answers a trap that was measured with
FastStream 0.7.8 and nats-py 2.16.0; tests/integration/test_messaging.py shows each on a real server, and
docs/decisions/0003-faststream-at-the-edge.md has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, TypeAlias

from faststream import AckPolicy, BaseMiddleware
from faststream.exceptions import IncorrectState
from faststream.nats import JStream, NatsBroker, NatsMessage, NatsRouter, PullSub
from faststream.nats.publisher.usecase import LogicPublisher
from faststream.nats.security import NatsUserPassword
from faststream.nats.subscriber.usecases import LogicSubscriber, PullStreamSubscriber
from pydantic_core import from_json

from shared.kit import telemetry
from shared.kit.clock import Clock
from shared.kit.retry import PAUSE_S, delay_s
from shared.kit.submissions import AT_ONCE_COUNT_MAX, Submissions
from shared.log.connection import (
    RECONNECT_WAIT_S,
    REQUEST_WAIT_S_MAX,
    START_WAIT_S_MAX,
    cancelled_by_caller_only,
    hang_up,
)
from shared.log.consumers import CODE_NO_CONSUMER, RawMessage
from shared.log.jetstream import GUARD
from shared.log.port import LogUnavailable
from shared.log.streams import is_unanswered, publish_error
from shared.log.topology import RECEIPT_SUBJECTS, RECEIPTS, SUBMISSIONS, SUBMITTED, api, inbox_prefix

MESSAGE_WAIT_S = 2.0  # a pull waits so long at the server for a message before it is sent again
WATCH_EVERY_S = 2.0
FINISH_S_MAX = 5.0  # for what is in hand when a subscriber is stopped; then it is left to be delivered again
INBOX_PREFIX = "_INBOX"

Broker: TypeAlias = NatsBroker
Router: TypeAlias = NatsRouter
Recreate = Callable[[str, str, str], Awaitable[object]]  # (stream, durable, subject)


def make_broker(
    url: str, *, name: str, user: str | None = None, password: str | None = None, inboxes: str = INBOX_PREFIX,
    domain: str | None = None, middlewares: Sequence[type[BaseMiddleware]] = (), typed: bool = False,
    logger: Any = None,
) -> NatsBroker:  # fmt: skip
    """A broker for the servers at `url` (several with commas) that never gives its connection up.

    nats-py by itself gives up after 60 attempts, two minutes. `typed`: handlers are given what their annotations say,
    else the decoded message and nothing else. `domain` names the JetStream API of an account that sees no more than its
    own consumer (infra/servers/nats_config.py). Without `logger` FastStream logs nothing: its lines quote the text of
    exceptions, which may quote content.
    """
    return NatsBroker(
        url.split(","),
        name=name,
        security=NatsUserPassword(user, password or "") if user else None,
        inbox_prefix=inboxes.encode(),
        js_options={"domain": domain} if domain else {},
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # a float works, as in shared/log/connection.py
        logger=logger,
        graceful_timeout=FINISH_S_MAX,
        middlewares=middlewares,  # each costs 10 us a message
        apply_types=typed,
        id_generator=lambda: "",  # no header `correlation_id`: a CloudEvent has an id
    )


def make_client_broker(url: str, *, user: str, domain: str | None = None, logger: Any = None) -> NatsBroker:
    """A broker for a partner's program: `Redelivery` acknowledges for its handlers, errors are those of the log."""
    return make_broker(
        url, name=user, inboxes=inbox_prefix(user), domain=domain, middlewares=(Redelivery, PublishErrors), typed=True,
        logger=logger,
    )  # fmt: skip


def pull(
    registrator: NatsBroker | NatsRouter, subject: str, *, stream: str, durable: str, inboxes: str = INBOX_PREFIX
) -> LogicSubscriber[Any]:
    """A subscriber to a durable that is there already: one message after the other, each acknowledged by `Redelivery`.

    A pull waits at the server and returns with the first message, so a trickle is not held back. FastStream's batches
    wait until their time limit is over, and with a short limit some are lost until `ack_wait`.
    """
    return _pull(registrator, subject, stream, durable, inboxes, 1)


def pull_deliveries(
    registrator: NatsBroker | NatsRouter, subject: str, *, stream: str, durable: str, at_once: int
) -> LogicSubscriber[Any]:
    """As `pull`, for a handler that takes a StreamDelivery and settles it by itself.

    Up to `at_once` handlers begin in the order of delivery and go on side by side; the next pull follows when all are
    done. The order holds as long as nothing is injected, see `given`. The bytes are the handler's to read, so the
    sender's `content-type` cannot break them.
    """
    return _pull(registrator, subject, stream, durable, INBOX_PREFIX, at_once, _parse_bare, StreamDelivery.of)


def _pull(
    registrator: NatsBroker | NatsRouter, subject: str, stream: str, durable: str, inboxes: str, at_once: int,
    parser: Callable[[Any], Awaitable[NatsMessage]] | None = None,
    decoder: Callable[[NatsMessage], Awaitable[Any]] | None = None,
) -> LogicSubscriber[Any]:  # fmt: skip
    return registrator.subscriber(
        subject,
        stream=JStream(stream, declare=False),
        durable=durable,
        pull_sub=PullSub(batch_size=at_once, timeout=MESSAGE_WAIT_S),
        inbox_prefix=f"{inboxes}.".encode(),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,  # else the header `reply_to`, which is the sender's, would name any subject of ours
        parser=parser,
        decoder=decoder,
    )


def hear(registrator: NatsBroker | NatsRouter, subject: str) -> LogicSubscriber[Any]:
    """A subscriber to messages as they are published, without a durable: what is missed is not repeated."""
    return registrator.subscriber(subject, no_reply=True)


async def connect_broker(broker: NatsBroker) -> None:
    """Connect without starting the subscribers. Raises LogUnavailable when no server answers at the start."""
    try:
        async with asyncio.timeout(START_WAIT_S_MAX):
            await broker.connect()
    except Exception as error:
        if not is_unanswered(error):
            raise
        raise LogUnavailable(f"NATS does not let the broker in: {type(error).__name__}") from error


async def stop(broker: NatsBroker) -> None:
    """Stop the subscribers, wait for what they have in hand, and hang up, also while the servers are away.

    FastStream's own `stop` raises then and leaves a connection that tries again for ever.
    """
    connection = None
    with suppress(IncorrectState):  # it was never connected
        connection = broker.connection
    try:
        with cancelled_by_caller_only():
            await broker.stop()
    except Exception as error:
        if not is_unanswered(error):
            raise
        if connection is not None:
            await hang_up(connection)


async def _parse_bare(message: Any) -> NatsMessage:
    """A message as it came. FastStream's parser also makes two random ids and matches the subject: 20 us."""
    return NatsMessage(message, message.data, message_id="-", correlation_id="-")


def submissions_router(owner: str) -> NatsRouter:
    """The router of a service that answers submissions of platforms, for one broker: a router serves no second one.

    The handler takes the submissions of other services too and passes them by; `given("submissions")` answers.
    """
    router, durable = NatsRouter(), f"{owner}-submissions"
    announce_stream(router, RECEIPT_SUBJECTS, stream=RECEIPTS)
    pull_deliveries(router, SUBMITTED, stream=SUBMISSIONS, durable=durable, at_once=AT_ONCE_COUNT_MAX)(_take_submission)
    return router


async def _take_submission(delivery: StreamDelivery) -> None:
    submissions: Submissions = given("submissions")
    await submissions.take(delivery)


def announce_stream(registrator: NatsBroker | NatsRouter, subject: str, *, stream: str) -> None:
    """Declare that a service publishes on the subjects of a stream; `BrokerEdge` publishes on no other."""
    registrator.publisher(subject, stream=JStream(stream, declare=False))


class BrokerEdge:
    """Publishes to other systems by the publishers that the routers of a broker declare, one for each stream."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    @cached_property
    def _publishers(self) -> dict[str, Any]:
        publishers = [publisher for publisher in self._broker.publishers if isinstance(publisher, LogicPublisher)]
        return {publisher.stream.name: publisher for publisher in publishers if publisher.stream is not None}

    async def publish(self, stream: str, subject: str, data: bytes, *, expected: int) -> int:
        """As `Edge` of shared/kit/data.py. Raises KeyError for a stream that no router of the service declares."""
        headers = {GUARD: str(expected), "content-type": "application/json"}
        publisher = self._publishers[stream]
        try:
            ack = await publisher.publish(data, subject, headers=headers, stream=stream, timeout=REQUEST_WAIT_S_MAX)
        except Exception as error:
            raise_as_log_error(error, subject, expected)
            raise
        return int(ack.seq)


async def run_subscribers(broker: NatsBroker, clock: Clock, recreate: Recreate, **values: object) -> None:
    """Hear until cancelled: make the durables that are missing, start the subscribers, watch their durables.

    The handlers ask for the values by `given`: the tasks that call them are started from here.
    """
    _values.set(values)
    while True:
        try:
            for subscriber in _pulling(broker):
                await recreate(subscriber.stream.name, _durable(subscriber), subscriber.subject.template)
            await broker.start()
            break
        except Exception as error:
            if not _is_patience(error):
                raise
            telemetry.warn("the subscribers wait for the servers", reason=type(error).__name__)
            await clock.sleep(PAUSE_S)
    try:
        await DurableWatch(broker, clock, recreate).run()
    finally:
        for subscriber in _pulling(broker):
            await _stop_subscriber(subscriber)


async def _stop_subscriber(subscriber: PullStreamSubscriber) -> None:
    """Stop a subscriber, also while the servers are away."""
    await _unless_unanswered(subscriber.stop())


async def _unless_unanswered(call: Awaitable[None]) -> None:
    try:
        await call
    except Exception as error:
        if not is_unanswered(error):
            raise


class Redelivery(BaseMiddleware):
    """Acknowledges a message of a stream once it is handled; what failed comes again after a growing delay.

    FastStream's NACK_ON_ERROR has no delay: four deliveries in 20 ms. A handler may acknowledge by itself.
    """

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        message = self.msg
        if message is None or not message.reply.startswith("$JS.ACK.") or message.is_acked:
            return False
        if exc_val is None:
            await message.ack()
        elif isinstance(exc_val, Exception):
            attempts = message.metadata.num_delivered
            telemetry.warn("a message failed and comes again", reason=type(exc_val).__name__, attempts=attempts)
            await message.nak(delay=delay_s(attempts))
        return False


_values: ContextVar[Mapping[str, object]] = ContextVar("values")


def given(name: str) -> Any:
    """A value that `run_subscribers` has for its handlers. Raises KeyError, and LookupError outside of a handler.

    The injection of FastStream costs 60 us a message, and `Context` takes a thread for each value: 150 us more, and
    messages overtake each other.
    """
    return _values.get()[name]


class PublishErrors(BaseMiddleware):
    """Raises LogConflict and LogUnavailable of shared/log/port.py in place of the client's errors."""

    async def publish_scope(self, call_next: Callable[[Any], Awaitable[Any]], cmd: Any) -> Any:
        try:
            return await call_next(cmd)
        except Exception as error:
            raise_as_log_error(error, cmd.destination, int(cmd.headers.get(GUARD, 0)))
            raise


def raise_as_log_error(error: Exception, subject: str, expected: int) -> None:
    """Raise LogConflict or LogUnavailable for an error of the client at a publish; do nothing for any other error."""
    meaning = publish_error(error, subject, expected)
    if meaning is not error:
        raise meaning from error


class StreamDelivery:
    """A message of a durable that is not settled yet, as RawDelivery of shared/log/consumers.py."""

    def __init__(self, message: NatsMessage) -> None:
        self._message = message

    @classmethod
    async def of(cls, message: NatsMessage) -> StreamDelivery:
        """The decoder of `pull_deliveries`."""
        return cls(message)

    @property
    def message(self) -> RawMessage:
        raw = self._message.raw_message
        return RawMessage(raw.subject, raw.metadata.sequence.stream, raw.data, raw.headers)

    @property
    def attempts(self) -> int:
        """How often it was handed out, this time included."""
        return int(self._message.raw_message.metadata.num_delivered)

    @property
    def stored_at(self) -> datetime:
        """When the stream took the message."""
        at: datetime = self._message.raw_message.metadata.timestamp
        return at

    async def ack(self) -> None:
        """Done. Raises LogUnavailable."""
        await self._settled(self._message.ack())

    async def nack(self, delay_s: float) -> None:
        """Not now: it is delivered again. Raises LogUnavailable."""
        await self._settled(self._message.nack(delay=delay_s))

    async def _settled(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except Exception as error:
            raise_as_log_error(error, self._message.raw_message.subject, 0)
            raise


def _pulling(broker: NatsBroker) -> list[PullStreamSubscriber]:
    return [subscriber for subscriber in broker.subscribers if isinstance(subscriber, PullStreamSubscriber)]


def _durable(subscriber: PullStreamSubscriber) -> str:
    return subscriber.config.durable_name or ""


def _is_patience(error: Exception) -> bool:
    """Whether it is enough to wait."""
    return isinstance(error, LogUnavailable) or is_unanswered(error)


class DurableWatch:
    """Looks every WATCH_EVERY_S whether the durables of a broker's subscribers are there.

    A subscriber whose durable was deleted asks again without a pause and says nothing: 77 % of a core for the client,
    half of one for the server. Here it is stopped, said, and started again once the durable is back. `recreate` makes
    it anew; without it, it is another's to make and is waited for.
    """

    def __init__(self, broker: NatsBroker, clock: Clock, recreate: Recreate | None = None, domain: str = "") -> None:
        self._broker, self._clock, self._recreate = broker, clock, recreate
        self._domain = domain

    async def run(self) -> None:
        """Watch until cancelled."""
        stopped: set[PullStreamSubscriber] = set()
        while True:
            await self._clock.sleep(WATCH_EVERY_S)
            for subscriber in _pulling(self._broker):
                if subscriber.running and await self.info(subscriber.stream.name, _durable(subscriber)) == {}:
                    telemetry.warn("a durable is missing", stream=subscriber.stream.name, reaction=_durable(subscriber))
                    await _stop_subscriber(subscriber)
                    stopped.add(subscriber)
                if subscriber in stopped and await self._started_again(subscriber):
                    stopped.remove(subscriber)

    async def _started_again(self, subscriber: PullStreamSubscriber) -> bool:
        """Start a subscriber whose durable is back, or can be made; False: not yet."""
        stream, durable = subscriber.stream.name, _durable(subscriber)
        try:
            if self._recreate is not None:
                await self._recreate(stream, durable, subscriber.subject.template)
            if not await self.info(stream, durable):
                return False
            await subscriber.start()
        except Exception as error:
            if not _is_patience(error):
                raise
            return False
        telemetry.info("the durable is back", stream=stream, reaction=durable)
        return True

    async def info(self, stream: str, durable: str) -> dict[str, Any] | None:
        """What the server says of a durable; {} when there is none, None when it does not answer."""
        subject = api(f"CONSUMER.INFO.{stream}.{durable}", self._domain)
        try:
            answer = await self._broker.request(b"", subject, timeout=REQUEST_WAIT_S_MAX)
        except Exception as error:
            if _is_patience(error):
                return None
            raise
        info: dict[str, Any] = from_json(answer.body)
        if "error" not in info:
            return info
        return {} if info["error"].get("err_code") == CODE_NO_CONSUMER else None
