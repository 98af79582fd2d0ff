"""A township's case goes late, rung by rung, up to the city, while the city's supervisor listens to the feed.

`python -m tests.e2e.feed_recording` writes docs/recordings/overdue-feed.txt: what `curl -N` printed. The servers and
the services are the real ones; only their clock runs so fast that weeks take seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from infra.servers.composition import prepare, running, settings_for
from infra.servers.embedded import Embedded
from infra.servers.services import OWNERS
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from tests.support.client import UNRULED, new_key
from tests.support.fast_clock import FastClock
from tests.support.nats import free_port

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "docs" / "recordings" / "overdue-feed.txt"
START = datetime.fromisoformat("2026-09-28T09:00:00+08:00")  # three working days before National Day
RATE = 150_000.0  # a day in 0.6 s
WAIT_S_MAX = 60.0
TOWNSHIP, CITY, LISTENER = "510104017000", "510100000000", "demo-cd-supervisor"


@asynccontextmanager
async def hasty_stack(data: Path, rate: float = RATE) -> AsyncIterator[str]:
    """The whole stack on embedded servers with a clock that runs away; its address."""
    base = Settings(data=data, port=free_port())
    embedded = Embedded(lambda text: None)
    endpoints = await embedded.start(data)
    try:
        await prepare(settings_for(base, endpoints, "admin"))
        each = {owner: settings_for(base, endpoints, owner) for owner in OWNERS}
        async with running(each, Runtime.of(FastClock(START, rate))) as stack:
            config = uvicorn.Config(stack.app, port=base.port, log_config=None, lifespan="off", loop="none")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{base.port}"
            finally:
                server.should_exit = True
                await serving
    finally:
        await embedded.stop()


async def register(url: str) -> dict[str, Any]:
    """A demand that no rule takes: it waits for the township's triage desk, and waits."""
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": "Bearer demo-jj-window", "Idempotency-Key": new_key()}
    ) as client:
        answer = await client.post("/intake/cases", json={**UNRULED, "region": TOWNSHIP})
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made


async def listen(url: str, until: str) -> list[str]:
    """What `curl -N` prints of the city's feed, up to the first line that holds `until`."""
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sN", "-H", f"Authorization: Bearer {LISTENER}", f"{url}/supervision/feed?region={CITY}",
        stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    lines: list[str] = []
    assert curl.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            await register(url)
            async for line in curl.stdout:
                lines.append(line.decode().rstrip())
                if until in lines[-1]:
                    break
    finally:
        with suppress(ProcessLookupError):
            curl.kill()
        await curl.wait()
    return lines


async def record() -> str:
    """The recording as text: the command, and what it printed."""
    with tempfile.TemporaryDirectory(prefix="caseflow-") as folder:
        async with hasty_stack(Path(folder) / "data") as url:
            lines = await listen(url, until=f'"in_charge":"{CITY}"')
    shown = f"$ curl -N -H 'Authorization: Bearer {LISTENER}' 'http://127.0.0.1:8080/supervision/feed?region={CITY}'"
    return "\n".join([shown, *lines]) + "\n"


if __name__ == "__main__":
    if subprocess.run(["which", "curl"], capture_output=True, check=False).returncode:
        sys.exit("curl is not there; install it first")
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(asyncio.run(record()), "utf-8")
