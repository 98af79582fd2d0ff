"""One connection to NATS, and the requests that wait for a reply on it.

The asynchronous publisher of nats-py never returns when the reply is an error (nats.py#985). So this connection has an
inbox of its own for a bounded number of requests in flight; each ends with its reply, an error or a time-out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared.log.port import LogError, LogFull, LogUnavailable

REQUEST_WAIT_S_MAX = 5.0
REQUESTS_IN_FLIGHT_COUNT_MAX = 1024
NATS_CONNECT_WAIT_S_MAX = 2
START_WAIT_S_MAX = 10
RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 10
PENDING_BYTES_MAX = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class ApiError(LogError):
    """JetStream replied with an error. `code` is its number (err_code), 0 when there is none."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code: int = error.get("err_code", 0)
        super().__init__(f"{error.get('description', 'error')} ({self.code or error.get('code')})")


# The limits of storage at which JetStream refuses to store a message.
_LIMITS = {
    10002: "the limit of the account (max_file) is reached",
    10023: "the limit of the server (max_file_store) is reached",
    10047: "the limit of the server (max_file_store) is reached",
    10077: "the server cannot write to its disk",
}


def not_stored(subject: str, code: int | None, text: str) -> LogUnavailable:
    """The error of a message that JetStream did not store, from the number and the text of its reply."""
    limit = _LIMITS.get(code or 0)
    return LogFull(f"{limit} ({subject}: {text})") if limit else LogUnavailable(f"{subject}: {text}")


def status(message: Msg) -> str:
    """The status that the server sent in place of a message ("503", "404", ...); "" for a message."""
    return message.headers.get("Status", "") if message.headers and not message.data else ""


class Inbox:
    """The replies to a request that has many, queued in `messages` until the reader takes them."""

    def __init__(self, connection: NatsConnection, key: str) -> None:
        self._connection = connection
        self._key = key
        self.subject = connection.prefix + key
        self.messages: deque[Msg] = deque()
        self._changed = asyncio.Event()
        self._lost = False
        self._subscription: Subscription | None = None

    async def listen(self) -> None:
        """Subscribe for a pull consumer, whose messages keep their own subjects and so do not pass the shared inbox.

        Raises LogUnavailable.
        """

        async def deliver(message: Msg) -> None:
            self.put(message)

        self.subject = self._connection.client.new_inbox()
        try:
            self._subscription = await self._connection.client.subscribe(
                self.subject, cb=deliver, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        except NatsError as error:
            raise LogUnavailable(f"cannot listen to the log: {type(error).__name__}") from error

    def put(self, message: Msg) -> None:
        self.messages.append(message)
        self._changed.set()

    def lose(self) -> None:
        self._lost = True
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a message. Raises LogUnavailable after `seconds`, or when the connection is lost meanwhile."""
        if not self.messages:
            self._changed.clear()
            if not self._lost:
                try:
                    # wait_for of Python 3.11 loses a cancellation that comes in the same step as the result
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()
                except TimeoutError:
                    raise LogUnavailable(f"no answer within {seconds:g} s") from None
            if self._lost and not self.messages:
                raise LogUnavailable("the connection to the log was lost")

    async def close(self) -> None:
        self._connection.forget(self._key)
        if self._subscription is not None:
            with suppress(NatsError):
                await self._subscription.unsubscribe()


class NatsConnection:
    """Requests and replies over one wildcard inbox. `connect` makes it."""

    def __init__(self, client: Client, wait_s: float) -> None:
        self.client = client
        self.wait_s = wait_s
        self.prefix = client.new_inbox() + "."
        self._waiting: dict[str, asyncio.Future[Msg] | Inbox] = {}
        self._count = 0
        self._slots = asyncio.Semaphore(REQUESTS_IN_FLIGHT_COUNT_MAX)
        self._up = asyncio.Event()
        self._up.set()
        self._closed = asyncio.Event()

    async def start(self) -> None:
        await self.client.subscribe(self.prefix + "*", cb=self._deliver, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def _deliver(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject[len(self.prefix) :])
        if isinstance(waiting, Inbox):
            waiting.put(message)
        elif waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def mark_lost(self) -> None:
        """Note that the connection is gone. A single request may still get its reply; inboxes must ask again."""
        self._up.clear()
        for waiting in self._waiting.values():
            if isinstance(waiting, Inbox):
                waiting.lose()

    async def mark_restored(self) -> None:
        """Note that the connection is back."""
        self._up.set()

    async def wait_until_up(self, seconds: float) -> bool:
        """Wait at most `seconds` for the connection; whether it is there. Raises LogUnavailable once it is closed."""
        if self._closed.is_set():
            raise LogUnavailable("the connection to the log was closed")
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, or until the connection is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def open_inbox(self) -> Inbox:
        """An inbox for a request with many replies. The caller closes it."""
        key = self._key()
        inbox = self._waiting[key] = Inbox(self, key)
        return inbox

    def forget(self, key: str) -> None:
        self._waiting.pop(key, None)

    async def send(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Publish without waiting for a reply. Raises LogUnavailable."""
        try:
            await self.client.publish(subject, data, reply=reply, headers=headers)
        except NatsError as error:
            raise LogUnavailable(f"cannot send to the log: {type(error).__name__}") from error

    async def request(self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        """The reply to a request. Raises LogUnavailable without a responder, and without a reply within `wait_s`."""
        async with self._slots:
            key = self._key()
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            try:
                await self.send(subject, data, self.prefix + key, headers)
                async with asyncio.timeout(self.wait_s):
                    message: Msg = await future
            except TimeoutError:
                raise LogUnavailable(f"{subject}: no answer within {self.wait_s:g} s") from None
            finally:
                self.forget(key)
        if status(message) == "503":
            raise LogUnavailable(f"{subject}: no stream there, or its leader is being chosen")
        return message

    async def api(
        self,
        subject: str,
        body: dict[str, Any] | bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The reply to a request that JetStream answers in JSON, as to a publish. Raises ApiError, LogUnavailable."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply: dict[str, Any] = json.loads((await self.request(subject, data, headers)).data)
        if "error" in reply:
            raise ApiError(reply["error"])
        return reply

    async def close(self) -> None:
        """Send pending messages, then close the connection."""
        self._closed.set()
        await self.mark_lost()
        await hang_up(self.client)

    def _key(self) -> str:
        self._count += 1
        return str(self._count)


@contextmanager
def cancelled_by_caller_only() -> Iterator[None]:
    """Raise ConnectionAbortedError for a cancellation that nobody asked of this task.

    The tasks of nats-py wait for the end of a link by one future that they share. Whoever closes the client in the
    moment of a lost link cancels the reconnecting task, by it the future, and by the future himself.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if task and task.cancelling() > before:
            raise
        raise ConnectionAbortedError("the link went while it was closed") from error


async def hang_up(client: Client) -> None:
    """Close a client of nats-py, whatever becomes of its link meanwhile."""
    # uvloop raises RuntimeError for a link that is already gone
    with suppress(NatsError, OSError, RuntimeError), cancelled_by_caller_only():
        await client.close()


async def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    name: str = "caseflow",
    wait_s: float = REQUEST_WAIT_S_MAX,
    on_change: Callable[[bool], Awaitable[None]] | None = None,
) -> NatsConnection:
    """Connect to the NATS servers at `url` (separated by commas) and stay connected through their restarts.

    A request waits `wait_s` seconds for its reply. `on_change` is called with whether the connection is there. Raises
    LogUnavailable when no server accepts the connection at the start.
    """
    client = Client()
    connection = NatsConnection(client, wait_s)

    async def lost() -> None:
        await connection.mark_lost()
        if on_change:
            await on_change(False)

    async def restored() -> None:
        await connection.mark_restored()
        if on_change:
            await on_change(True)

    reason = "no answer"

    async def failed(error: Exception) -> None:
        nonlocal reason
        reason = str(error) if isinstance(error, NatsError) else type(error).__name__
        _log.warning("NATS reports an error", extra={"attributes": {"reason": type(error).__name__}})

    try:
        async with asyncio.timeout(START_WAIT_S_MAX):  # after the first connection the client tries again without end
            await client.connect(
                url.split(","),
                user=user,
                password=password,
                name=name,
                error_cb=failed,
                disconnected_cb=lost,
                reconnected_cb=restored,
                connect_timeout=NATS_CONNECT_WAIT_S_MAX,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # nats-py annotates int; a float works
                max_reconnect_attempts=-1,
                ping_interval=PING_INTERVAL_S,
                pending_size=PENDING_BYTES_MAX,
            )
    except (NatsError, OSError, TimeoutError) as error:
        await hang_up(client)
        hosts = ",".join(part.rpartition("@")[2].removeprefix("nats://") for part in url.split(","))  # no passwords
        raise LogUnavailable(f"NATS at {hosts} does not let us in: {reason}; check URL, user and password") from error
    await connection.start()
    return connection
