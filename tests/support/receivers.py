"""A small HTTP receiver of webhooks on a real socket. A test sets its answers: errors, slow and long ones too."""

from __future__ import annotations

import asyncio
import hmac
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic_core import from_json

from tests.support import polling

WAIT_S_MAX = 15.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Received:
    """A request as received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def item(self) -> Any:
        return from_json(self.body)

    def is_signed_by(self, secret: str) -> bool:
        """Whether one of its signatures is that of the secret, computed from the specification, without a library."""
        key = b64decode(secret.removeprefix("whsec_"))
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        signature = "v1," + b64encode(hmac.new(key, text, sha256).digest()).decode()
        return signature in self.headers["webhook-signature"].split(" ")


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[bytes]]


def status(code: int, **headers: object) -> bytes:
    """An answer of this status and headers; `retry_after` becomes Retry-After."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {code} As told\r\n{lines}Content-Length: 0\r\n\r\n".encode()


class Receiver:
    """Listens on a free loopback port. `answer` gives the answer to each request; by default 200."""

    def __init__(self, port: int = 0, trust: ssl.SSLContext | None = None) -> None:
        self.port, self._trust = port, trust
        self.got: list[Received] = []
        self.answer: Answer = self._take
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.got]

    def answers(self, *codes: int, then: int = 200, **headers: object) -> None:
        """Answer the next requests with these codes, and all later ones with `then`."""
        left = list(codes)

        async def answer(got: Received, _: asyncio.StreamWriter) -> bytes:
            code = left.pop(0) if left else then
            return status(code, **headers) if code != 200 else OK

        self.answer = answer

    def refuses(self, refused: Callable[[Received], bool], code: int = 500) -> None:
        """Answer with `code` the requests for which `refused` is true, and with 200 all others."""

        async def answer(got: Received, _: asyncio.StreamWriter) -> bytes:
            return status(code) if refused(got) else OK

        self.answer = answer

    async def until(self, count: int) -> Sequence[Received]:
        """Wait until `count` requests have come. Raises TimeoutError."""
        await polling.until(lambda: len(self.got) >= count)
        return self.got

    async def _take(self, _: Received, __: asyncio.StreamWriter) -> bytes:
        return OK

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, ssl=self._trust)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection, as a receiver that is down."""
        if self._server is None:
            return
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while (got := await _read(reader)) is not None:
                self.got.append(got)
                writer.write(await self.answer(got, writer))
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._talks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError, ssl.SSLError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split(" ")[1], headers, body)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver(port)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()
