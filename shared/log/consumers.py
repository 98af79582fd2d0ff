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
from shared.log.port import FETCH_COUNT_MAX, Damaged, DurableMissing, Unavailable

DIRECT_COUNT_MAX = 1000
HEARTBEAT_S = 2
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
class Message:
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


async def leader_get(mux: NatsConnection, stream: str, question: dict[str, Any]) -> Message | None:
    """One message as the stream's leader has it; `question` is that of STREAM.MSG.GET. Raises Unavailable."""
    try:
        found = (await mux.api(f"$JS.API.STREAM.MSG.GET.{stream}", question))["message"]
    except ApiError as error:
        if error.code == CODE_NO_MESSAGE:
            return None
        raise Unavailable(f"{stream}: {error}") from error
    headers = _headers(base64.b64decode(found["hdrs"])) if "hdrs" in found else None
    return Message(found["subject"], found["seq"], base64.b64decode(found.get("data", "")), headers)


def _headers(block: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in block.decode(errors="replace").split("\r\n")[1:] if line)
    return {name.strip(): value.strip() for name, _, value in lines}


async def direct_get(
    mux: NatsConnection, stream: str, subject: str, after: int, count_max: int | None = None
) -> list[Message]:
    """All messages of a subject (it may be a filter) above `after`, in order, from any replica; or the first of them.

    Raises Unavailable.
    """
    found: list[Message] = []
    inbox = mux.open()
    try:
        while True:
            batch = DIRECT_COUNT_MAX if count_max is None else min(DIRECT_COUNT_MAX, count_max - len(found))
            question = {"seq": after + 1, "next_by_subj": subject, "batch": batch}
            await mux.send(f"$JS.API.DIRECT.GET.{stream}", json.dumps(question).encode(), inbox.subject)
            end = await _until_status(inbox, found, mux.wait_s)
            if status(end) == "404" or (
                status(end) == "204" and (end.headers or {}).get("Nats-Num-Pending", "0") == "0"
            ):
                return found
            if status(end) != "204":
                raise Unavailable(f"{stream}: cannot be read now ({status(end)})")
            if count_max is not None and len(found) >= count_max:
                return found
            after = found[-1].sequence
    finally:
        await inbox.close()


async def _until_status(inbox: Inbox, found: list[Message], wait_s: float) -> Msg:
    while True:
        await inbox.wait(wait_s)
        message = inbox.messages.popleft()
        if status(message):
            return message
        headers = message.headers or {}
        found.append(Message(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers))


async def last_sequence(mux: NatsConnection, stream: str) -> int:
    """The last sequence of a stream, 0 when it is empty. Raises Unavailable."""
    return (await kept(mux, stream))[1]


async def kept(mux: NatsConnection, stream: str) -> tuple[int, int]:
    """The first and the last sequence of a stream. Raises Unavailable."""
    try:
        state = (await mux.api(f"$JS.API.STREAM.INFO.{stream}"))["state"]
        return int(state["first_seq"]), int(state["last_seq"])
    except ApiError as error:
        raise Unavailable(f"{stream}: {error}") from error


async def follow(
    mux: NatsConnection, stream: str, after: int, subject: str = ">"
) -> AsyncGenerator[list[Message], None]:
    """Every message above `after` that fits `subject`, in strict order, then live, through any loss of the connection.

    With all subjects asked for, the sequences must leave no hole. Raises Damaged, and Unavailable once the connection
    was closed by us.
    """
    wait_s = RETRY_WAIT_S
    while True:
        reader = _Reader(mux, stream, after, subject)
        try:
            await reader.start()
            while True:
                batch = await reader.batch()
                after, wait_s = batch[-1].sequence, RETRY_WAIT_S
                yield batch
        except Unavailable as error:
            # For the connection to come back, or for a leader to be chosen.
            _log.warning("%s: reading again from %d: %s", stream, after, error)
            if await mux.up(RECONNECT_WAIT_S_MAX):
                await mux.pause(wait_s)
                wait_s = min(2 * wait_s, RETRY_WAIT_S_MAX)
        finally:
            await reader.close()


class _Reader:
    """One ephemeral consumer, from its making until anything is out of order: then `follow` makes another."""

    def __init__(self, mux: NatsConnection, stream: str, after: int, subject: str) -> None:
        self._mux = mux
        self._stream = stream
        self._after = after
        self._subject = subject
        self._inbox = mux.open()
        self._name = "follow-" + mux.client.new_inbox().rsplit(".", 1)[1]
        self._asked = 0  # messages that the server may still send without being asked again
        self._delivered = 0

    async def start(self) -> None:
        await self._inbox.listen()
        end = await last_sequence(self._mux, self._stream)
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
            await self._mux.api(f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._name}", body)
        except ApiError as error:
            raise Unavailable(f"{self._stream}: {error}") from error

    async def batch(self) -> list[Message]:
        """The next messages, at least one, without waiting for more. Raises Unavailable, Damaged."""
        waiting, found = self._inbox.messages, list[Message]()
        while not found:
            if self._asked + len(waiting) < FETCH_COUNT_MAX:
                await self._ask()
            await self._inbox.wait(2 * HEARTBEAT_S + 1)
            while waiting and len(found) < FETCH_COUNT_MAX:
                message = waiting.popleft()
                if kind := status(message):
                    self._heed(kind, message.headers or {})
                else:
                    found.append(self._take(message))
        return found

    async def _ask(self) -> None:
        ask = {"batch": FETCH_COUNT_MAX, "expires": PULL_WAIT_S * _NS, "idle_heartbeat": HEARTBEAT_S * _NS}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._mux.send(subject, json.dumps(ask).encode(), self._inbox.subject)
        self._asked += FETCH_COUNT_MAX

    def _heed(self, kind: str, headers: dict[str, str]) -> None:
        if kind == "100":
            if int(headers.get("Nats-Last-Consumer", self._delivered)) != self._delivered:
                raise Unavailable("messages were lost on the way")
        elif kind in ("404", "408"):
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
        else:
            raise Unavailable(f"{self._stream}: the server ended the reading ({kind})")

    def _take(self, message: Msg) -> Message:
        _, sequence, delivered = _fields(message)
        if delivered != self._delivered + 1:
            raise Unavailable("messages were lost on the way")
        if self._subject == ">" and sequence != self._after + 1:
            raise Damaged(f"{self._stream} has a hole: {sequence} follows {self._after}")
        self._delivered, self._after = delivered, sequence
        self._asked -= 1
        return Message(message.subject, sequence, message.data, message.headers)

    async def close(self) -> None:
        await self._inbox.close()
        with suppress(Unavailable):  # else the server forgets it after CONSUMER_IDLE_S_MAX
            await self._mux.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """A message handed out by a durable, not settled yet."""

    message: Message
    attempts: int
    _mux: NatsConnection
    _reply: str

    @property
    def stored_at(self) -> datetime:
        """When the stream took the message."""
        parts = self._reply.split(".")
        return datetime.fromtimestamp(int(parts[7 if len(parts) == 9 else 9]) / _NS, UTC)

    async def ack(self) -> None:
        await self._mux.send(self._reply, b"+ACK")

    async def nack(self, delay_s: float) -> None:
        await self._mux.send(self._reply, b'-NAK {"delay": %d}' % int(delay_s * _NS))

    async def term(self) -> None:
        await self._mux.send(self._reply, b"+TERM")


class RawDurable:
    """A durable consumer: `fetch` as in the port, with raw messages."""

    def __init__(self, mux: NatsConnection, stream: str, name: str) -> None:
        self._mux, self._stream, self._name = mux, stream, name
        self._idle: Inbox | None = None  # kept from one fetch to the next: a subscription costs more than a message

    async def fetch(self, count_max: int, wait_s: float) -> list[RawDelivery]:
        """As `Durable.fetch`. Raises DurableMissing, Unavailable."""
        inbox, self._idle = self._idle, None
        if inbox is None:
            inbox = self._mux.open()
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
        await self._mux.send(subject, json.dumps(ask).encode(), inbox.subject)
        found: list[RawDelivery] = []
        while len(found) < count:
            await inbox.wait(wait_s + self._mux.wait_s)
            message = inbox.messages.popleft()
            kind = status(message)
            if kind in ("404", "408"):
                break
            if kind:
                await self._explain(kind)
            attempts, sequence, _ = _fields(message)
            raw = Message(message.subject, sequence, message.data, message.headers)
            found.append(RawDelivery(raw, attempts, self._mux, message.reply))
        return found

    async def behind(self) -> int:
        """How many messages are not acknowledged yet. Raises DurableMissing, Unavailable."""
        info = await self._info()
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def _explain(self, kind: str) -> None:
        await self._info()
        raise Unavailable(f"{self._stream}: the server ended the fetch ({kind})")

    async def _info(self) -> dict[str, Any]:
        try:
            return await self._mux.api(f"$JS.API.CONSUMER.INFO.{self._stream}.{self._name}")
        except ApiError as error:
            if error.code == CODE_NO_CONSUMER:
                raise DurableMissing(f"the durable {self._name} of {self._stream} was deleted") from error
            raise Unavailable(f"{self._stream}: {error}") from error


async def durable(mux: NatsConnection, stream: str, name: str, subject: str = ">") -> RawDurable:
    """The durable `name`, made from the first message on when there is none yet. Raises Unavailable."""
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
            await mux.api(f"$JS.API.CONSUMER.INFO.{stream}.{name}")
        except ApiError as error:
            if error.code != CODE_NO_CONSUMER:
                raise
            body = {"stream_name": stream, "config": config}
            await mux.api(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body)
    except ApiError as error:
        raise Unavailable(f"{stream}: {error}") from error
    return RawDurable(mux, stream, name)
