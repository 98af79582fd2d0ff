"""Reading a JetStream stream: all of a subject at once, everything in order, or by a durable consumer.

Messages here are raw; `jetstream` makes events of them and `streams` hands them on.
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
from shared.log.port import READ_BATCH_COUNT_MAX, Damaged, DurableMissing, LogUnavailable

DIRECT_COUNT_MAX = 1000
PULL_HEARTBEAT_S = 2
PULL_WAIT_S = 30
CONSUMER_IDLE_S_MAX = 60
RECONNECT_WAIT_S_MAX = 5.0
RETRY_WAIT_S = 0.1
RETRY_WAIT_S_MAX = 3.0
ACK_WAIT_S = 30
ACK_PENDING_COUNT_MAX = 2000
CODE_NO_CONSUMER, CODE_NO_MESSAGE, CODE_NO_STREAM = 10014, 10037, 10059
_NS = 10**9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message of a stream."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str] | None


def _fields(message: Msg) -> tuple[int, int, int]:
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>, newer servers
    # put a domain and an account hash before the stream and may put a token at the end.
    parts = message.reply.split(".")
    at = 4 if len(parts) == 9 else 6
    return int(parts[at]), int(parts[at + 1]), int(parts[at + 2])


async def leader_get(connection: NatsConnection, stream: str, question: dict[str, Any]) -> RawMessage | None:
    """One message as the stream's leader has it; `question` is that of STREAM.MSG.GET. Raises LogUnavailable."""
    try:
        found = (await connection.api(f"$JS.API.STREAM.MSG.GET.{stream}", question))["message"]
    except ApiError as error:
        if error.code == CODE_NO_MESSAGE:
            return None
        raise LogUnavailable(f"{stream}: {error}") from error
    headers = _headers(base64.b64decode(found["hdrs"])) if "hdrs" in found else None
    return RawMessage(found["subject"], found["seq"], base64.b64decode(found.get("data", "")), headers)


def _headers(block: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in block.decode(errors="replace").split("\r\n")[1:] if line)
    return {name.strip(): value.strip() for name, _, value in lines}


async def direct_get(
    connection: NatsConnection, stream: str, subject: str, after: int, count_max: int | None = None
) -> list[RawMessage]:
    """All messages of a subject (it may be a filter) above `after`, in order, from any replica; or the first of them.

    Raises LogUnavailable.
    """
    found: list[RawMessage] = []
    inbox = connection.open()
    try:
        while True:
            batch = DIRECT_COUNT_MAX if count_max is None else min(DIRECT_COUNT_MAX, count_max - len(found))
            question = {"seq": after + 1, "next_by_subj": subject, "batch": batch}
            await connection.send(f"$JS.API.DIRECT.GET.{stream}", json.dumps(question).encode(), inbox.subject)
            end = await _until_status(inbox, found, connection.wait_s)
            if status(end) == "404" or (
                status(end) == "204" and (end.headers or {}).get("Nats-Num-Pending", "0") == "0"
            ):
                return found
            if status(end) != "204":
                raise LogUnavailable(f"{stream}: cannot be read now ({status(end)})")
            if count_max is not None and len(found) >= count_max:
                return found
            after = found[-1].sequence
    finally:
        await inbox.close()


async def _until_status(inbox: Inbox, found: list[RawMessage], wait_s: float) -> Msg:
    while True:
        await inbox.wait(wait_s)
        message = inbox.messages.popleft()
        if status(message):
            return message
        headers = message.headers or {}
        found.append(RawMessage(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers))


async def last_sequence(connection: NatsConnection, stream: str) -> int:
    """The last sequence of a stream, 0 when it is empty. Raises LogUnavailable."""
    return (await kept(connection, stream))[1]


async def kept(connection: NatsConnection, stream: str) -> tuple[int, int]:
    """The first and the last sequence of a stream. Raises LogUnavailable."""
    try:
        state = (await connection.api(f"$JS.API.STREAM.INFO.{stream}"))["state"]
        return int(state["first_seq"]), int(state["last_seq"])
    except ApiError as error:
        raise LogUnavailable(f"{stream}: {error}") from error


async def follow(
    connection: NatsConnection, stream: str, after: int, subject: str = ">"
) -> AsyncGenerator[list[RawMessage], None]:
    """Every message above `after` that fits `subject`, in strict order, then live, through any loss of the connection.

    With all subjects asked for, the sequences must leave no hole. Raises Damaged, and LogUnavailable once this
    process has closed the connection.
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
            # For the connection to come back, or for a leader to be chosen.
            _log.warning("%s: reading again from %d: %s", stream, after, error)
            if await connection.up(RECONNECT_WAIT_S_MAX):
                await connection.pause(wait_s)
                wait_s = min(2 * wait_s, RETRY_WAIT_S_MAX)
        finally:
            await reader.close()


class _Reader:
    """One ephemeral consumer, from its making until anything is out of order: then `follow` makes another."""

    def __init__(self, connection: NatsConnection, stream: str, after: int, subject: str) -> None:
        self._connection = connection
        self._stream = stream
        self._after = after
        self._subject = subject
        self._inbox = connection.open()
        self._name = "follow-" + connection.client.new_inbox().rsplit(".", 1)[1]
        self._asked = 0  # messages that the server may still send without being asked again
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
        waiting, found = self._inbox.messages, list[RawMessage]()
        while not found:
            if self._asked + len(waiting) < READ_BATCH_COUNT_MAX:
                await self._ask()
            await self._inbox.wait(2 * PULL_HEARTBEAT_S + 1)
            while waiting and len(found) < READ_BATCH_COUNT_MAX:
                message = waiting.popleft()
                if kind := status(message):
                    self._heed(kind, message.headers or {})
                else:
                    found.append(self._take(message))
        return found

    async def _ask(self) -> None:
        ask = {"batch": READ_BATCH_COUNT_MAX, "expires": PULL_WAIT_S * _NS, "idle_heartbeat": PULL_HEARTBEAT_S * _NS}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.send(subject, json.dumps(ask).encode(), self._inbox.subject)
        self._asked += READ_BATCH_COUNT_MAX

    def _heed(self, kind: str, headers: dict[str, str]) -> None:
        if kind == "100":
            if int(headers.get("Nats-Last-Consumer", self._delivered)) != self._delivered:
                raise LogUnavailable("messages were lost on the way")
        elif kind in ("404", "408"):
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
        else:
            raise LogUnavailable(f"{self._stream}: the server ended the reading ({kind})")

    def _take(self, message: Msg) -> RawMessage:
        _, sequence, delivered = _fields(message)
        if delivered != self._delivered + 1:
            raise LogUnavailable("messages were lost on the way")
        if self._subject == ">" and sequence != self._after + 1:
            raise Damaged(f"{self._stream} has a hole: {sequence} follows {self._after}")
        self._delivered, self._after = delivered, sequence
        self._asked -= 1
        return RawMessage(message.subject, sequence, message.data, message.headers)

    async def close(self) -> None:
        await self._inbox.close()
        with suppress(LogUnavailable):  # else the server forgets it after CONSUMER_IDLE_S_MAX
            await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """A message handed out by a durable, not settled yet."""

    message: RawMessage
    attempts: int
    _connection: NatsConnection
    _reply: str

    @property
    def stored_at(self) -> datetime:
        """When the stream took the message."""
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
        self._idle: Inbox | None = None  # kept from one fetch to the next: a subscription costs more than a message

    async def fetch(self, count_max: int, wait_s: float) -> list[RawDelivery]:
        """As `Durable.fetch`. Raises DurableMissing, LogUnavailable."""
        inbox, self._idle = self._idle, None
        if inbox is None:
            inbox = self._connection.open()
            await inbox.listen()
        try:
            found = await self._pull(inbox, count_max, 0)
            if not found and wait_s > 0:
                # Ask for one and wait; when it comes, take what came with it.
                found = await self._pull(inbox, 1, wait_s)
                if found and count_max > 1:
                    found += await self._pull(inbox, count_max - 1, 0)
        except BaseException:  # whatever still comes is not for the next one
            await inbox.close()
            raise
        if self._idle is not None:  # another fetch at the same time
            await inbox.close()
        else:
            self._idle = inbox
        return found

    async def _pull(self, inbox: Inbox, count: int, wait_s: float) -> list[RawDelivery]:
        ask = {"batch": count, **({"expires": int(wait_s * _NS)} if wait_s else {"no_wait": True})}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.send(subject, json.dumps(ask).encode(), inbox.subject)
        found: list[RawDelivery] = []
        while len(found) < count:
            await inbox.wait(wait_s + self._connection.wait_s)
            message = inbox.messages.popleft()
            kind = status(message)
            if kind in ("404", "408"):
                break
            if kind:
                await self._explain(kind)
            attempts, sequence, _ = _fields(message)
            raw = RawMessage(message.subject, sequence, message.data, message.headers)
            found.append(RawDelivery(raw, attempts, self._connection, message.reply))
        return found

    async def behind(self) -> int:
        """How many messages are not acknowledged yet. Raises DurableMissing, LogUnavailable."""
        info = await self._info()
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def _explain(self, kind: str) -> None:
        await self._info()
        raise LogUnavailable(f"{self._stream}: the server ended the fetch ({kind})")

    async def _info(self) -> dict[str, Any]:
        try:
            return await self._connection.api(f"$JS.API.CONSUMER.INFO.{self._stream}.{self._name}")
        except ApiError as error:
            if error.code == CODE_NO_CONSUMER:
                raise DurableMissing(f"the durable {self._name} of {self._stream} was deleted") from error
            raise LogUnavailable(f"{self._stream}: {error}") from error


async def durable(connection: NatsConnection, stream: str, name: str, subject: str = ">") -> RawDurable:
    """The durable `name`, made from the first message on when there is none yet. Raises LogUnavailable."""
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
