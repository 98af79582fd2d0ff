"""The streams beside the log (submissions, receipts, progress, references, feed, parked) and the attachments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError
from nats.js.object_store import ObjectStore

from shared.log import consumers
from shared.log.connection import ApiError, NatsConnection, not_stored
from shared.log.consumers import CODE_NO_CONSUMER, CODE_NO_STREAM, RawDurable, RawMessage
from shared.log.jetstream import CODES_CONFLICT, GUARD
from shared.log.port import Damaged, LogConflict, LogError, LogUnavailable
from shared.log.topology import ATTACHMENTS, FEED, LOG_FLAGS, LOG_FORBIDDEN, Topology, api

PUBLISH_COUNT_MAX = 1000
SENDS_BEFORE_YIELD_COUNT = 50
OBJECT_WAIT_S_MAX = 30.0
OBJECT_TRIES_MAX = 3  # an object may be replaced or deleted between the look-up and the reading of its chunks
CODE_NO_BATCHES = 10174
STORAGE_LEFT_BYTES_MIN = 64 * 1024 * 1024
CODES_GONE = frozenset({10037, 10043})  # no such message


class WrongTopology(LogError):
    """A stream on the server differs from the topology in a way that this program must not change."""


class Ack(NamedTuple):
    """The sequence of a published message; `duplicate` when the stream had it already, by its Nats-Msg-Id."""

    sequence: int
    duplicate: bool


class Outgoing(NamedTuple):
    """A message for `publish_all`."""

    subject: str
    data: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Storage:
    """The storage of our account on the NATS server, in bytes; `bytes_max` None without a limit."""

    bytes_used: int
    bytes_max: int | None

    @property
    def is_full(self) -> bool:
        """Whether so little is left that appends may be refused."""
        return self.bytes_max is not None and self.bytes_max - self.bytes_used < STORAGE_LEFT_BYTES_MIN


class Streams:
    """Publishing, reading and following of any stream, and the sealed attachments.

    All methods raise LogUnavailable when no server answers.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._bucket = ObjectStore(ATTACHMENTS, f"OBJ_{ATTACHMENTS}", connection.client.jetstream())

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        expected: int | None = None,
        expected_end: int | None = None,
        msg_id: str | None = None,
    ) -> Ack:
        """Publish a message and wait until the stream has stored it.

        `expected` is the last sequence of the subject, `expected_end` that of the whole stream. With `msg_id`, a
        repetition within DUPLICATE_WINDOW_S is not stored again. Raises LogConflict.
        """
        guarded = dict(headers or {})
        if expected is not None:
            guarded[GUARD] = str(expected)
        if expected_end is not None:
            guarded["Nats-Expected-Last-Sequence"] = str(expected_end)
        if msg_id is not None:
            guarded["Nats-Msg-Id"] = msg_id
        try:
            ack = await self._connection.api(subject, data, guarded or None)
        except ApiError as error:
            if error.code in CODES_CONFLICT:
                raise LogConflict(
                    subject, expected if expected is not None else expected_end or 0, _actual(error)
                ) from error
            raise not_stored(subject, error.code, str(error)) from error
        return Ack(ack["seq"], ack.get("duplicate", False))

    async def publish_all(self, messages: Sequence[Outgoing], expected_end: int) -> Ack:
        """Publish 1 to PUBLISH_COUNT_MAX messages as one unit, in order; the ack of the last one.

        A call takes some 25 ms, however few the messages are. Raises LogConflict, or WrongTopology for a stream
        without `allow_atomic`.
        """
        batch = self._connection.client.new_inbox().rpartition(".")[2]
        *others, last = (
            {**message.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            for number, message in enumerate(messages, 1)
        )
        (others or [last])[0]["Nats-Expected-Last-Sequence"] = str(expected_end)
        for number, (message, headers) in enumerate(zip(messages, others, strict=False), 1):
            await self._connection.send(message.subject, message.data, headers=headers)
            if number % SENDS_BEFORE_YIELD_COUNT == 0:
                await self._connection.pause(0)  # sending does not yield to other tasks by itself
        subject = messages[-1].subject
        try:
            ack = await self._connection.api(subject, messages[-1].data, last | {"Nats-Batch-Commit": "1"})
        except ApiError as error:
            if error.code in CODES_CONFLICT:
                raise LogConflict(subject, expected_end, _actual(error)) from error
            if error.code == CODE_NO_BATCHES:
                raise WrongTopology(f"{subject}: no batches here; `caseflow up` sets allow_atomic") from error
            raise not_stored(subject, error.code, str(error)) from error
        return Ack(ack["seq"], False)

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        """The last message of a subject, from the leader."""
        return await consumers.leader_get(self._connection, stream, {"last_by_subj": subject})

    async def first(self, stream: str, subject: str, after: int) -> RawMessage | None:
        """The first message above `after` that matches `subject`, which may have wildcards; from the leader."""
        return await consumers.leader_get(self._connection, stream, {"seq": after + 1, "next_by_subj": subject})

    async def read(self, stream: str, subject: str, after: int = 0, count_max: int | None = None) -> list[RawMessage]:
        """The messages above `after` that match `subject`, at most `count_max`; from any replica."""
        return await consumers.direct_get(self._connection, stream, subject, after, count_max)

    async def end(self, stream: str) -> int:
        """The last sequence of a stream, 0 when it is empty."""
        return await consumers.last_sequence(self._connection, stream)

    async def sequences(self, stream: str) -> tuple[int, int]:
        """The first and the last sequence that a stream holds; an empty stream has the first above the last."""
        return await consumers.sequences(self._connection, stream)

    def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[RawMessage], None]:
        """As `Log.follow`, with raw messages. With another subject than `>` sequences may have gaps."""
        return consumers.follow(self._connection, stream, after, subject)

    async def durable_raw(self, stream: str, name: str, subject: str) -> RawDurable:
        """As `Log.durable`, with raw messages."""
        return await consumers.durable(self._connection, stream, name, subject)

    async def wipe(self, stream: str, sequence: int) -> None:
        """Overwrite and remove a message; no error when it is gone already. A log stream refuses this."""
        try:
            await self._connection.api(f"$JS.API.STREAM.MSG.DELETE.{stream}", {"seq": sequence})
        except ApiError as error:
            if error.code not in CODES_GONE:
                raise LogUnavailable(f"{stream}: {error}") from error

    async def storage(self) -> Storage:
        """The bytes that our account has stored, and its limit."""
        try:
            reply = await self._connection.api(api("INFO"))
        except ApiError as error:
            raise LogUnavailable(f"JetStream: {error}") from error
        limit = reply.get("limits", {}).get("max_storage", -1)
        return Storage(reply["storage"], limit if limit >= 0 else None)

    async def put(self, name: str, sealed: bytes) -> None:
        """Store an attachment, in place of the one with the same name."""
        await self._object(self._bucket.put(name, sealed))

    async def get(self, name: str) -> bytes | None:
        """An attachment; None when there is none, or when it is deleted during the reading. Raises Damaged.

        The `get` of nats-py would wait for deleted chunks without end.
        """
        for _ in range(OBJECT_TRIES_MAX):
            info = await self._object(self._bucket.get_info(name))
            if info is None:
                return None
            chunks = await self.read(f"OBJ_{ATTACHMENTS}", f"$O.{ATTACHMENTS}.C.{info.nuid}")
            data = b"".join(chunk.data for chunk in chunks)
            if len(data) == info.size:
                return data
        raise Damaged(f"an attachment lacks a part: {len(data)} of {info.size} bytes; restore it from a backup")

    async def has(self, name: str) -> bool:
        """Whether there is an attachment of this name."""
        return await self._object(self._bucket.get_info(name)) is not None

    async def delete(self, name: str) -> None:
        """Remove an attachment; no error when there is none."""
        await self._object(self._bucket.delete(name))

    async def names(self) -> list[str]:
        """The names of all attachments."""
        return [info.name for info in await self._object(self._bucket.list()) or []]

    async def _object(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(OBJECT_WAIT_S_MAX):
                return await call
        except NotFoundError:
            return None
        except APIError as error:
            raise not_stored(ATTACHMENTS, error.err_code, error.description or "") from error
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"{ATTACHMENTS}: {type(error).__name__}") from error


def _actual(error: ApiError) -> int:
    return _sequence_in(str(error))


def _sequence_in(text: str) -> int:
    # "wrong last sequence: 17"; three replicas do not say which.
    number = text.partition(": ")[2].partition(" ")[0]
    return int(number) if number.isdigit() else 0


def publish_error(error: Exception, subject: str, expected: int) -> Exception:
    """The error of a publish by the NATS client as LogConflict or LogUnavailable; any other error unchanged."""
    if isinstance(error, APIError) and error.err_code in CODES_CONFLICT:
        return LogConflict(subject, expected, _sequence_in(error.description or ""))
    return LogUnavailable(f"{subject}: {type(error).__name__}") if is_unanswered(error) else error


def is_unanswered(error: Exception) -> bool:
    """Whether this error of the NATS client means a missing or faulty answer of the servers."""
    # uvloop raises RuntimeError for a link that is already gone
    gone = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    return gone or isinstance(error, NatsError | OSError)  # a TimeoutError is an OSError


async def ensure_topology(connection: NatsConnection, topology: Topology) -> list[str]:
    """Create missing streams and update changed ones; the names of the created streams.

    Raises WrongTopology for a change that would end the guarantees of a log. Raises LogUnavailable.
    """
    created = []
    for expected in topology.configurations():
        name = expected["name"]
        try:
            try:
                actual = (await connection.api(f"$JS.API.STREAM.INFO.{name}"))["config"]
            except ApiError as error:
                if error.code != CODE_NO_STREAM:
                    raise
                actual = (await connection.api(f"$JS.API.STREAM.CREATE.{name}", expected))["config"]
                created.append(name)
            check_configuration(expected, actual)
            if any(actual.get(key, False) != value for key, value in expected.items()):
                updated = await connection.api(f"$JS.API.STREAM.UPDATE.{name}", {**actual, **expected})
                check_configuration(expected, updated["config"])
        except ApiError as error:
            raise LogUnavailable(f"{name}: {error}") from error
    return created


async def ensure_subscriptions(connection: NatsConnection, configs: Sequence[dict[str, Any]]) -> list[str]:
    """Create missing durables of subscribers and update changed ones; the names of both.

    A changed durable keeps its position: earlier items on its new subjects are not delivered.
    Raises LogUnavailable.
    """
    changed = []
    try:
        for config in configs:
            name = config["durable_name"]
            try:
                actual = (await connection.api(f"$JS.API.CONSUMER.INFO.{FEED}.{name}"))["config"]
            except ApiError as error:
                if error.code != CODE_NO_CONSUMER:
                    raise
                actual = {}
            if any(actual.get(key) != value for key, value in config.items()):
                body = {"stream_name": FEED, "config": {**actual, **config}}
                await connection.api(f"$JS.API.CONSUMER.CREATE.{FEED}.{name}", body)
                changed.append(name)
    except ApiError as error:
        raise LogUnavailable(f"{FEED}: {error}") from error
    return changed


def check_configuration(expected: dict[str, Any], actual: dict[str, Any]) -> None:
    """Check a stream on the server against the topology. Raises WrongTopology."""
    name = expected["name"]
    if actual["subjects"] != expected["subjects"]:
        raise WrongTopology(f"{name} holds {actual['subjects']}, not {expected['subjects']}: an area is never redrawn")
    if not expected.get("deny_delete"):
        return
    for key, value in LOG_FLAGS.items():
        if actual.get(key, False) != value:
            raise WrongTopology(
                f"{name} has {key} = {actual.get(key, False)}, a log needs {value}; make it anew from a backup"
            )
    for key in LOG_FORBIDDEN:
        if actual.get(key) not in (None, False, 0, -1, [], {}):
            raise WrongTopology(f"{name} has {key} = {actual[key]}: on a log nothing is removed or rewritten")
