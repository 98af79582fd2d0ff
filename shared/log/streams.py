"""The streams around the log: submissions, receipts, progress, reference documents, feeds, parked, attachments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from shared.log import consumers
from shared.log.connection import ApiError, NatsConnection
from shared.log.consumers import CODE_NO_STREAM, RawDurable, RawMessage
from shared.log.jetstream import CODES_CONFLICT, GUARD
from shared.log.port import Damaged, LogConflict, LogError, LogUnavailable
from shared.log.topology import ATTACHMENTS, LOG_FLAGS, LOG_FORBIDDEN, Topology

PUBLISH_COUNT_MAX = 1000
SENDS_BEFORE_YIELD_COUNT = 50
OBJECT_WAIT_S_MAX = 30.0
OBJECT_TRIES_MAX = 3  # one that is replaced or deleted between two questions is looked up again
CODE_NO_BATCHES = 10174
CODES_GONE = frozenset({10037, 10043})  # no such message


class WrongTopology(LogError):
    """A stream on the server is not what the topology says, and changing it is not ours to do."""


class Ack(NamedTuple):
    """Where a published message stands; `duplicate`: it stood there before (same Nats-Msg-Id)."""

    sequence: int
    duplicate: bool


class Outgoing(NamedTuple):
    """A message to be published."""

    subject: str
    data: bytes
    headers: dict[str, str]


class Streams:
    """Publish to, read and follow any stream; keep sealed objects. All raise LogUnavailable when no server answers."""

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
        """Publish and wait until it is stored.

        `expected` is the last sequence of the subject, `expected_end` that of the whole stream, `msg_id` makes a
        repeat within DUPLICATE_WINDOW_S harmless. Raises LogConflict.
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
            raise LogUnavailable(f"{subject}: {error}") from error
        return Ack(ack["seq"], ack.get("duplicate", False))

    async def publish_all(self, messages: Sequence[Outgoing], expected_end: int) -> Ack:
        """Publish these messages, 1 to BATCH_COUNT_MAX, one behind the other or none of them; the ack of the last.

        It takes some 25 ms, however few they are. Raises LogConflict, and WrongTopology for a stream without
        `allow_atomic`.
        """
        batch = self._connection.client.new_inbox().rpartition(".")[2]
        *others, last = (
            {**one.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(at)}
            for at, one in enumerate(messages, 1)
        )
        (others or [last])[0]["Nats-Expected-Last-Sequence"] = str(expected_end)
        for place, (one, headers) in enumerate(zip(messages, others, strict=False), 1):
            await self._connection.send(one.subject, one.data, headers=headers)
            if place % SENDS_BEFORE_YIELD_COUNT == 0:
                await self._connection.pause(0)  # sending alone lets nobody else run
        subject = messages[-1].subject
        try:
            ack = await self._connection.api(subject, messages[-1].data, last | {"Nats-Batch-Commit": "1"})
        except ApiError as error:
            if error.code in CODES_CONFLICT:
                raise LogConflict(subject, expected_end, _actual(error)) from error
            if error.code == CODE_NO_BATCHES:
                raise WrongTopology(f"{subject}: no batches here; `caseflow up` sets allow_atomic") from error
            raise LogUnavailable(f"{subject}: {error}") from error
        return Ack(ack["seq"], False)

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        """The last message of a subject, as the leader has it."""
        return await consumers.leader_get(self._connection, stream, {"last_by_subj": subject})

    async def first(self, stream: str, subject: str, after: int) -> RawMessage | None:
        """The first message above `after` that fits `subject` (it may have wildcards), as the leader has it."""
        return await consumers.leader_get(self._connection, stream, {"seq": after + 1, "next_by_subj": subject})

    async def read(self, stream: str, subject: str, after: int = 0, count_max: int | None = None) -> list[RawMessage]:
        """All messages, or the first, that fit `subject` (it may have wildcards) above `after`, as a replica has it."""
        return await consumers.direct_get(self._connection, stream, subject, after, count_max)

    async def end(self, stream: str) -> int:
        """The last sequence of a stream, 0 when it is empty."""
        return await consumers.last_sequence(self._connection, stream)

    async def kept(self, stream: str) -> tuple[int, int]:
        """The first and the last sequence of a stream; nothing is there when the first lies behind the last."""
        return await consumers.kept(self._connection, stream)

    def follow_raw(self, stream: str, subject: str, after: int) -> AsyncGenerator[list[RawMessage], None]:
        """As `Log.follow`, raw; with another subject than `>` holes are expected."""
        return consumers.follow(self._connection, stream, after, subject)

    async def durable_raw(self, stream: str, name: str, subject: str) -> RawDurable:
        """As `Log.durable`, raw."""
        return await consumers.durable(self._connection, stream, name, subject)

    async def wipe(self, stream: str, sequence: int) -> None:
        """Overwrite and remove one message; one that is gone already is no error. A log stream refuses it."""
        try:
            await self._connection.api(f"$JS.API.STREAM.MSG.DELETE.{stream}", {"seq": sequence})
        except ApiError as error:
            if error.code not in CODES_GONE:
                raise LogUnavailable(f"{stream}: {error}") from error

    async def put(self, name: str, sealed: bytes) -> None:
        """Keep an object. The same name again replaces it."""
        await self._object(self._bucket.put(name, sealed))

    async def get(self, name: str) -> bytes | None:
        """An object; None when there is none, also when it is deleted while it is read. Raises Damaged.

        The client's own `get` waits for chunks that a deletion has taken away.
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
        """Whether there is an object of this name."""
        return await self._object(self._bucket.get_info(name)) is not None

    async def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        await self._object(self._bucket.delete(name))

    async def names(self) -> list[str]:
        """The names of all objects."""
        return [one.name for one in await self._object(self._bucket.list()) or []]

    async def _object(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(OBJECT_WAIT_S_MAX):
                return await call
        except NotFoundError:
            return None
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"attachments: {type(error).__name__}") from error


def _actual(error: ApiError) -> int:
    # "wrong last sequence: 17"; three replicas do not say which.
    number = str(error).partition(": ")[2].partition(" ")[0]
    return int(number) if number.isdigit() else 0


async def ensure_topology(connection: NatsConnection, topology: Topology) -> list[str]:
    """Make the streams that are missing, widen what may change, check the rest; the names of those made.

    Raises WrongTopology: the server is never brought to give up what makes a stream a log. Raises LogUnavailable.
    """
    made = []
    for wanted in topology.configurations():
        name = wanted["name"]
        try:
            try:
                actual = (await connection.api(f"$JS.API.STREAM.INFO.{name}"))["config"]
            except ApiError as error:
                if error.code != CODE_NO_STREAM:
                    raise
                actual = (await connection.api(f"$JS.API.STREAM.CREATE.{name}", wanted))["config"]
                made.append(name)
            _check(wanted, actual)
            if any(actual.get(key, False) != value for key, value in wanted.items()):
                _check(wanted, (await connection.api(f"$JS.API.STREAM.UPDATE.{name}", {**actual, **wanted}))["config"])
        except ApiError as error:
            raise LogUnavailable(f"{name}: {error}") from error
    return made


def _check(wanted: dict[str, Any], actual: dict[str, Any]) -> None:
    name = wanted["name"]
    if actual["subjects"] != wanted["subjects"]:
        raise WrongTopology(f"{name} holds {actual['subjects']}, not {wanted['subjects']}: an area is never redrawn")
    if not wanted.get("deny_delete"):
        return
    for key, value in LOG_FLAGS.items():
        if actual.get(key, False) != value:
            raise WrongTopology(
                f"{name} has {key} = {actual.get(key, False)}, a log needs {value}; make it anew from a backup"
            )
    for key in LOG_FORBIDDEN:
        if actual.get(key) not in (None, False, 0, -1, [], {}):
            raise WrongTopology(f"{name} has {key} = {actual[key]}: on a log nothing is removed or rewritten")
