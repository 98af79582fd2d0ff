"""`caseflow serve` of one service on running servers: a process that a test may kill and start again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx

from infra.servers.embedded import Endpoints
from tests.support import command
from tests.support.command import CommandProcess
from tests.support.nats import free_port

START_S_MAX = 60.0
POLL_S = 0.05


class Process:
    """The process of a service. Its output is appended to the file `output`."""

    def __init__(
        self, service: str, endpoints: Endpoints, areas: tuple[str, ...], output: Path, *, forked: bool = True
    ) -> None:
        self.service, self.port, self.output, self.forked = service, free_port(), output, forked
        self._environment = {
            "CASEFLOW_NATS_URL": endpoints.nats[service],
            "CASEFLOW_MASTER_KEY": str(endpoints.master_key),
            "CASEFLOW_AREAS": ",".join(areas),
            "CASEFLOW_PORT": str(self.port),
            f"CASEFLOW_PG_DSN_{service.upper()}": endpoints.postgres[service],
            "CASEFLOW_DEMO": "1",
        }
        self.process: CommandProcess | None = None

    def spawn(self) -> None:
        """Start the process without waiting."""
        environment = dict(os.environ) | self._environment
        self.process = command.spawn(("serve", self.service), environment, self.output, forked=self.forked)

    def start(self) -> None:
        """Start the process and wait until it answers. Raises AssertionError with its output when it ends instead."""
        self.spawn()
        assert self.process is not None
        end = time.monotonic() + START_S_MAX
        while time.monotonic() < end:
            assert self.process.poll() is None, self.output.read_text("utf-8", "replace")[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(POLL_S)
        raise AssertionError(f"{self.service} did not start: {self.output.read_text('utf-8', 'replace')[-3000:]}")

    def kill(self) -> None:
        """kill -9 of the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
