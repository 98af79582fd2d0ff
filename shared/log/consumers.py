"""Reading a JetStream stream: the messages of a subject, all messages in order, or those of a durable consumer.

Messages are raw here. `jetstream` decodes events from them; `streams` offers them as they are.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg

from shared.log.connection import ApiError, Inbox, NatsConnection, status
from shared.log.port import ACK_WAIT_S, READ_BATCH_COUNT_MAX, Damaged, DurableMissing, LogUnavailable

DIRECT_COUNT_MAX = 1000
PULL_HEARTBEAT_S = 2
PULL_WAIT_S = 30
CONSUMER_IDLE_S_MAX = 60
RECONNECT_WAIT_S_MAX = 5.0
RETRY_WAIT_S = 0.1
RETRY_WAIT_S_MAX = 3.0
ACK_PENDING_COUNT_MAX = 2000
CODE_NO_CONSUMER, CODE_NO_MESSAGE, CODE_NO_STREAM = 10014, 10037, 10059
_NS = 10**9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message of a stream, undecoded."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str] | None


def _counts(message: Msg) -> tuple[int, int, int]:
    """Deliveries, stream sequence and consumer sequence from the reply subject."""
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>, newer servers
    # put a domain and an account hash before the stream and may put a token at the end.
    parts = message.reply.split(".")
    first = 4 if len(parts) == 9 else 6
    return int(parts[first]), int(parts[first + 1]), int(parts[first + 2])


async def leader_get(connection: NatsConnection, stream: str, query: dict[str, Any]) -> RawMessage | None:
    """A message from the leader of a stream; `query` is the body of STREAM.MSG.GET. Raises LogUnavailable."""
    try:
        stored = (await connection.api(f"$JS.API.STREAM.MSG.GET.{stream}", query))["message"]
    except ApiError as error:
        if error.code == CODE_NO_MESSAGE:
            return None
        raise LogUnavailable(f"{stream}: {error}") from error
    headers = _headers(base64.b64decode(stored["hdrs"])) if "hdrs" in stored else None
    return RawMessage(stored["subject"], stored["seq"], base64.b64decode(stored.get("data", "")), headers)


def _headers(block: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in block.decode(errors="replace").split("\r\n")[1:] if line)
    return {name.strip(): value.strip() for name, _, value in lines}


async def direct_get(
    connection: NatsConnection, stream: str, subject: str, after: int, count_max: int | None = None
) -> list[RawMessage]:
    """The messages of a subject, which may have wildcards, above `after`, in order, from any replica.

    At most `count_max`. Raises LogUnavailable.
    """
    messages: list[RawMessage] = []
    inbox = connection.open_inbox()
    try:
        while True:
            batch = DIRECT_COUNT_MAX if count_max is None else min(DIRECT_COUNT_MAX, count_max - len(messages))
            query = {"seq": after + 1, "next_by_subj": subject, "batch": batch}
            await connection.send(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), inbox.subject)
            end = await _until_status(inbox, messages, connection.wait_s)
            if status(end) == "404" or (
                status(end) == "204" and (end.headers or {}).get("Nats-Num-Pending", "0") == "0"
            ):
                return messages
            if status(end) != "204":
                raise LogUnavailable(f"{stream}: cannot be read now ({status(end)})")
            if count_max is not None and len(messages) >= count_max:
                return messages
            after = messages[-1].sequence
    finally:
        await inbox.close()


async def _until_status(inbox: Inbox, messages: list[RawMessage], wait_s: float) -> Msg:
    """Append the replies of an inbox up to its next status, which is returned."""
    while True:
        await inbox.wait(wait_s)
        message = inbox.messages.popleft()
        if status(message):
            return message
        headers = message.headers or {}
        messages.append(RawMessage(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers))


async def last_sequence(connection: NatsConnection, stream: str) -> int:
    """The last sequence of a stream, 0 when it is empty. Raises LogUnavailable."""
    return (await sequences(connection, stream))[1]


async def sequences(connection: NatsConnection, stream: str) -> tuple[int, int]:
    """The first and the last sequence that a stream holds. Raises LogUnavailable."""
    try:
        state = (await connection.api(f"$JS.API.STREAM.INFO.{stream}"))["state"]
        return int(state["first_seq"]), int(state["last_seq"])
    except ApiError as error:
        raise LogUnavailable(f"{stream}: {error}") from error


async def follow(
    connection: NatsConnection, stream: str, after: int, subject: str = ">"
) -> AsyncGenerator[list[RawMessage], None]:
    """The messages above `after` that match `subject`, in strict order, then new ones; never ends by itself.

    Reading continues after a loss of the connection. With subject `>` the sequences must be without gap. Raises
    Damaged, and LogUnavailable once this process has closed the connection.
    """
    wait_s = RETRY_WAIT_S
    while True:
        reader = _Reader(connection, stream, after, subject)
        try:
            await reader.start()
            while True:
                batch = await reader.batch()
                after, wait_s = batch[-1].sequence, RETRY_WAIT_S
                yield batch
        except LogUnavailable as error:
            facts = {"stream": stream, "sequence": after, "reason": type(error).__name__}
            _log.warning("the log is read again from the last event", extra={"attributes": facts})
            if await connection.wait_until_up(RECONNECT_WAIT_S_MAX):  # else a leader may be in election
                await connection.pause(wait_s)
                wait_s = min(2 * wait_s, RETRY_WAIT_S_MAX)
        finally:
            await reader.close()


class _Reader:
    """One ephemeral consumer. After a gap or an error `follow` makes another one."""

    def __init__(self, connection: NatsConnection, stream: str, after: int, subject: str) -> None:
        self._connection = connection
        self._stream = stream
        self._after = after
        self._subject = subject
        self._inbox = connection.open_inbox()
        self._name = "follow-" + connection.client.new_inbox().rsplit(".", 1)[1]
        self._requested = 0  # messages that the server may still send for earlier requests
        self._delivered = 0

    async def start(self) -> None:
        await self._inbox.listen()
        end = await last_sequence(self._connection, self._stream)
        if self._after > end:
            raise Damaged(f"{self._stream} ends at {end}, before {self._after}: it was restored from an older copy")
        config = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._after + 1,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": CONSUMER_IDLE_S_MAX * _NS,
        }
        if self._subject != ">":
            config["filter_subject"] = self._subject
        try:
            body = {"stream_name": self._stream, "config": config}
            await self._connection.api(f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._name}", body)
        except ApiError as error:
            raise LogUnavailable(f"{self._stream}: {error}") from error

    async def batch(self) -> list[RawMessage]:
        """The next messages, at least one, without waiting for more. Raises LogUnavailable, Damaged."""
        waiting, messages = self._inbox.messages, list[RawMessage]()
        while not messages:
            if self._requested + len(waiting) < READ_BATCH_COUNT_MAX:
                await self._request()
            await self._inbox.wait(2 * PULL_HEARTBEAT_S + 1)
            while waiting and len(messages) < READ_BATCH_COUNT_MAX:
                message = waiting.popleft()
                if code := status(message):
                    self._on_status(code, message.headers or {})
                else:
                    messages.append(self._checked(message))
        return messages

    async def _request(self) -> None:
        request = {
            "batch": READ_BATCH_COUNT_MAX,
            "expires": PULL_WAIT_S * _NS,
            "idle_heartbeat": PULL_HEARTBEAT_S * _NS,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.send(subject, json.dumps(request).encode(), self._inbox.subject)
        self._requested += READ_BATCH_COUNT_MAX

    def _on_status(self, code: str, headers: dict[str, str]) -> None:
        if code == "100":
            if int(headers.get("Nats-Last-Consumer", self._delivered)) != self._delivered:
                raise LogUnavailable("messages were lost on the way")
        elif code in ("404", "408"):
            self._requested -= int(headers.get("Nats-Pending-Messages", self._requested))
        else:
            raise LogUnavailable(f"{self._stream}: the server ended the reading ({code})")

    def _checked(self, message: Msg) -> RawMessage:
        """The message, when it is the next one. Raises LogUnavailable for a lost one, Damaged for a gap."""
        _, sequence, delivered = _counts(message)
        if delivered != self._delivered + 1:
            raise LogUnavailable("messages were lost on the way")
        if self._subject == ">" and sequence != self._after + 1:
            raise Damaged(f"{self._stream} has a hole: {sequence} follows {self._after}")
        self._delivered, self._after = delivered, sequence
        self._requested -= 1
        return RawMessage(message.subject, sequence, message.data, message.headers)

    async def close(self) -> None:
        await self._inbox.close()
        with suppress(LogUnavailable):  # else the server removes it after CONSUMER_IDLE_S_MAX
            await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """A message that a durable has delivered and that is not settled yet."""

    message: RawMessage
    attempts: int
    _connection: NatsConnection
    _reply: str

    @property
    def stored_at(self) -> datetime:
        """The time at which the stream stored the message."""
        parts = self._reply.split(".")
        return datetime.fromtimestamp(int(parts[7 if len(parts) == 9 else 9]) / _NS, UTC)

    async def ack(self) -> None:
        await self._connection.send(self._reply, b"+ACK")

    async def nack(self, delay_s: float) -> None:
        await self._connection.send(self._reply, b'-NAK {"delay": %d}' % int(delay_s * _NS))

    async def term(self) -> None:
        await self._connection.send(self._reply, b"+TERM")


class RawDurable:
    """A durable consumer: `fetch` as in the port, with raw messages."""

    def __init__(self, connection: NatsConnection, stream: str, name: str) -> None:
        self._connection, self._stream, self._name = connection, stream, name
        self._idle: Inbox | None = None  # reused by the next fetch, since a subscription costs more than a message

    async def fetch(self, count_max: int, wait_s: float) -> list[RawDelivery]:
        """As `Durable.fetch`. Raises DurableMissing, LogUnavailable."""
        inbox, self._idle = self._idle, None
        if inbox is None:
            inbox = self._connection.open_inbox()
            await inbox.listen()
        try:
            deliveries = await self._pull(inbox, count_max, 0)
            if not deliveries and wait_s > 0:
                # Wait for one message, then take those that arrived with it.
                deliveries = await self._pull(inbox, 1, wait_s)
                if deliveries and count_max > 1:
                    deliveries += await self._pull(inbox, count_max - 1, 0)
        except BaseException:  # late replies must not reach the next fetch
            await inbox.close()
            raise
        if self._idle is not None:  # another fetch ran at the same time
            await inbox.close()
        else:
            self._idle = inbox
        return deliveries

    async def _pull(self, inbox: Inbox, count: int, wait_s: float) -> list[RawDelivery]:
        request = {"batch": count, **({"expires": int(wait_s * _NS)} if wait_s else {"no_wait": True})}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.send(subject, json.dumps(request).encode(), inbox.subject)
        deliveries: list[RawDelivery] = []
        while len(deliveries) < count:
            await inbox.wait(wait_s + self._connection.wait_s)
            message = inbox.messages.popleft()
            code = status(message)
            if code in ("404", "408"):
                break
            if code:
                await self._raise_for(code)
            attempts, sequence, _ = _counts(message)
            raw = RawMessage(message.subject, sequence, message.data, message.headers)
            deliveries.append(RawDelivery(raw, attempts, self._connection, message.reply))
        return deliveries

    async def behind(self) -> int:
        """The count of messages that are not acknowledged yet. Raises DurableMissing, LogUnavailable."""
        info = await self._info()
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def _raise_for(self, code: str) -> None:
        await self._info()
        raise LogUnavailable(f"{self._stream}: the server ended the fetch ({code})")

    async def _info(self) -> dict[str, Any]:
        try:
            return await self._connection.api(f"$JS.API.CONSUMER.INFO.{self._stream}.{self._name}")
        except ApiError as error:
            if error.code == CODE_NO_CONSUMER:
                raise DurableMissing(f"the durable {self._name} of {self._stream} was deleted") from error
            raise LogUnavailable(f"{self._stream}: {error}") from error


async def durable(connection: NatsConnection, stream: str, name: str, subject: str = ">") -> RawDurable:
    """The durable `name`; a new one begins at the first message of the stream. Raises LogUnavailable."""
    config: dict[str, Any] = {
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * _NS,
        "max_deliver": -1,
        "max_ack_pending": ACK_PENDING_COUNT_MAX,
    }
    if subject != ">":
        config["filter_subject"] = subject
    try:
        try:
            await connection.api(f"$JS.API.CONSUMER.INFO.{stream}.{name}")
        except ApiError as error:
            if error.code != CODE_NO_CONSUMER:
                raise
            body = {"stream_name": stream, "config": config}
            await connection.api(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body)
    except ApiError as error:
        raise LogUnavailable(f"{stream}: {error}") from error
    return RawDurable(connection, stream, name)
