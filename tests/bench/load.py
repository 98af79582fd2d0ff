"""A cheap load generator: HTTP/1.1 over persistent connections, with a minimal parser of answers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from tests.support.client import new_key

CALLERS = 16
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def request(person: str, path: str, body: Any = None) -> bytes:
    """The bytes of a request as a person of the demo: POST with a body, GET without."""
    data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    key = f"Idempotency-Key: {new_key()}\r\n" if path == "/intake/cases" else ""
    head = (
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer demo-{person}\r\nContent-Type: application/json\r\n"
        f"{key}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Line(asyncio.Protocol):
    """A persistent connection, one request at a time."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._heard += data
        end = self._heard.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(self._heard, 0, end) if end > 3 else None
        if length is None or len(self._heard) < end + int(length[1]):
            return
        status, body = int(self._heard[9:12]), bytes(self._heard[end:])
        self._heard.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("caseflow hung up"))

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ConnectionError."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Line:
    """Open a connection to caseflow."""
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


@dataclass
class Run:
    """The result of a run of requests. Times in seconds."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    @property
    def done(self) -> int:
        """The number of successful requests."""
        return self.statuses[200] + self.statuses[201]

    @property
    def errors(self) -> int:
        return self.statuses.total() - self.done

    def ms(self, percent: float) -> float:
        """The time within which this share of the requests was answered, in milliseconds."""
        return 1000 * sorted(self.times)[min(int(len(self.times) * percent / 100), len(self.times) - 1)]


async def drive(port: int, requests: Iterable[bytes], callers: int = CALLERS, s_max: float = 60.0) -> Run:
    """Send the requests, each caller on its own connection and one after the other; stops after `s_max` seconds."""
    run, todo = Run(), iter(requests)
    lines = await asyncio.gather(*(connect(port) for _ in range(callers)))
    started = time.perf_counter()

    async def call(line: Line) -> None:
        for data in todo:
            began = time.perf_counter()
            status, body = await line.ask(data)
            ended = time.perf_counter()
            run.times.append(ended - began)
            run.statuses[status] += 1
            run.bodies.append(body)
            if ended - started > s_max:
                return

    try:
        await asyncio.gather(*(call(line) for line in lines))
    finally:
        run.seconds = time.perf_counter() - started
        for line in lines:
            line.close()
    return run
