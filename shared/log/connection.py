"""One connection to NATS and everything that waits for an answer on it.

nats-py's own asynchronous publisher waits for ever when the answer is an error (nats.py#985), so this one has its own
inbox: many questions in flight, their number bounded, each resolved by its answer, an error, or a time-out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared.log.port import LogError, LogUnavailable

REQUEST_WAIT_S_MAX = 5.0
REQUESTS_IN_FLIGHT_COUNT_MAX = 1024
NATS_CONNECT_WAIT_S_MAX = 2
START_WAIT_S_MAX = 10
RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 10
PENDING_BYTES_MAX = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class ApiError(LogError):
    """JetStream's answer was an error; `code` is its own number for it (err_code), 0 when it gave none."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code: int = error.get("err_code", 0)
        super().__init__(f"{error.get('description', 'error')} ({self.code or error.get('code')})")


def status(message: Msg) -> str:
    """The status that the server put in place of a message ("503", "404", ...), "" for a real message."""
    return message.headers.get("Status", "") if message.headers and not message.data else ""


class Inbox:
    """Answers to one question that has many: they pile up in `messages` until someone takes them."""

    def __init__(self, connection: NatsConnection, key: str) -> None:
        self._connection = connection
        self._key = key
        self.subject = connection.prefix + key
        self.messages: deque[Msg] = deque()
        self._some = asyncio.Event()
        self._lost = False
        self._own: Subscription | None = None

    async def listen(self) -> None:
        """Hear a pull consumer: its messages bear their own subject, so the shared inbox cannot tell whose they are."""

        async def heard(message: Msg) -> None:
            self.put(message)

        self.subject = self._connection.client.new_inbox()
        try:
            self._own = await self._connection.client.subscribe(
                self.subject, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        except NatsError as error:
            raise LogUnavailable(f"cannot listen to the log: {type(error).__name__}") from error

    def put(self, message: Msg) -> None:
        self.messages.append(message)
        self._some.set()

    def lose(self) -> None:
        self._lost = True
        self._some.set()

    async def wait(self, seconds: float) -> None:
        """Until there is a message. Raises LogUnavailable after `seconds`, or when the connection is lost meanwhile."""
        if not self.messages:
            self._some.clear()
            if not self._lost:
                try:
                    # wait_for of Python 3.11 loses a cancellation that comes at the same moment as what it waits for
                    async with asyncio.timeout(seconds):
                        await self._some.wait()
                except TimeoutError:
                    raise LogUnavailable(f"no answer within {seconds:g} s") from None
            if self._lost and not self.messages:
                raise LogUnavailable("the connection to the log was lost")

    async def close(self) -> None:
        self._connection.forget(self._key)
        if self._own is not None:
            with suppress(NatsError):
                await self._own.unsubscribe()


class NatsConnection:
    """Questions and answers over one wildcard inbox. Made by `connect`."""

    def __init__(self, client: Client, wait_s: float) -> None:
        self.client = client
        self.wait_s = wait_s
        self.prefix = client.new_inbox() + "."
        self._asked: dict[str, asyncio.Future[Msg] | Inbox] = {}
        self._count = 0
        self._room = asyncio.Semaphore(REQUESTS_IN_FLIGHT_COUNT_MAX)
        self._up = asyncio.Event()
        self._up.set()
        self._closed = asyncio.Event()

    async def start(self) -> None:
        await self.client.subscribe(self.prefix + "*", cb=self._answered, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def _answered(self, message: Msg) -> None:
        waiting = self._asked.get(message.subject[len(self.prefix) :])
        if isinstance(waiting, Inbox):
            waiting.put(message)
        elif waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def lost(self) -> None:
        """The connection is gone. What was asked once may still be answered; who listens on must ask again."""
        self._up.clear()
        for waiting in self._asked.values():
            if isinstance(waiting, Inbox):
                waiting.lose()

    async def found(self) -> None:
        """The connection is back."""
        self._up.set()

    async def up(self, seconds: float) -> bool:
        """Wait for the connection at most `seconds`; whether it is there. Raises LogUnavailable when it was closed."""
        if self._closed.is_set():
            raise LogUnavailable("the connection to the log was closed")
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Wait `seconds` before asking again, or until the connection is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def open(self) -> Inbox:
        """An inbox for a question with many answers; close it."""
        key = self._key()
        inbox = self._asked[key] = Inbox(self, key)
        return inbox

    def forget(self, key: str) -> None:
        self._asked.pop(key, None)

    async def send(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Publish without waiting. Raises LogUnavailable."""
        try:
            await self.client.publish(subject, data, reply=reply, headers=headers)
        except NatsError as error:
            raise LogUnavailable(f"cannot send to the log: {type(error).__name__}") from error

    async def ask(self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        """One question, one answer. Raises LogUnavailable when nobody listens there, or nobody answers in `wait_s`."""
        async with self._room:
            key = self._key()
            future = self._asked[key] = asyncio.get_running_loop().create_future()
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
        """A question that JetStream answers in JSON, a publish among them. Raises ApiError, LogUnavailable."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await self.ask(subject, data, headers)).data)
        if "error" in answer:
            raise ApiError(answer["error"])
        return answer

    async def close(self) -> None:
        """Send what is pending, then hang up."""
        self._closed.set()
        await self.lost()
        with suppress(NatsError, OSError, RuntimeError):  # uvloop says RuntimeError of a link that is gone already
            await self.client.close()

    def _key(self) -> str:
        self._count += 1
        return str(self._count)


async def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    name: str = "caseflow",
    wait_s: float = REQUEST_WAIT_S_MAX,
    on_change: Callable[[bool], Awaitable[None]] | None = None,
) -> NatsConnection:
    """Connect to the NATS servers at `url` (several with commas), and stay connected through their restarts.

    A question waits `wait_s` seconds for its answer. `on_change` hears whether the connection is there. Raises
    LogUnavailable when no server answers at the start.
    """
    client = Client()
    connection = NatsConnection(client, wait_s)

    async def lost() -> None:
        await connection.lost()
        if on_change:
            await on_change(False)

    async def found() -> None:
        await connection.found()
        if on_change:
            await on_change(True)

    reason = "no answer"

    async def failed(error: Exception) -> None:
        nonlocal reason
        reason = str(error) if isinstance(error, NatsError) else type(error).__name__
        _log.warning("nats: %s", type(error).__name__)

    try:
        async with asyncio.timeout(START_WAIT_S_MAX):  # once connected, the client tries again for ever
            await client.connect(
                url.split(","),
                user=user,
                password=password,
                name=name,
                error_cb=failed,
                disconnected_cb=lost,
                reconnected_cb=found,
                connect_timeout=NATS_CONNECT_WAIT_S_MAX,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # a float works and is what we need
                max_reconnect_attempts=-1,
                ping_interval=PING_INTERVAL_S,
                pending_size=PENDING_BYTES_MAX,
            )
    except (NatsError, OSError, TimeoutError) as error:
        with suppress(NatsError, OSError, RuntimeError):
            await client.close()
        where = ",".join(one.rpartition("@")[2].removeprefix("nats://") for one in url.split(","))  # without a password
        raise LogUnavailable(f"NATS at {where} does not let us in: {reason}; check URL, user and password") from error
    await connection.start()
    return connection
