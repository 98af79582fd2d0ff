"""The examples of docs/examples against the running stack, as the pages say to run them; and the snippets of the pages.

tests/unit/test_client.py runs the same handlers without any server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.support.client import Desk
from tests.support.short_limits import HASTY, ago, begun
from tests.support.stack import ROOT, Stack

LINE_S_MAX = 30.0
STOP_S_MAX = 20.0
FASTSTREAM = (sys.executable, "-m", "faststream", "run")


def url(stack: Stack, user: str) -> str:
    """Where the NATS server of the stack is for a user of it."""
    ports = json.loads((stack.data / "run" / f"nats-server_{stack.servers['nats']}.ports").read_text())
    return f"nats://{user}:{stack.passwords()[user]}@{ports['nats'][0].removeprefix('nats://')}"


class Program:
    """A program that runs; what it prints, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines, self._coming = process, list[str](), Queue[str]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._coming.put(line.rstrip("\n"))

    def until(self, *words: str) -> str:
        """The first line from here on that holds these words."""
        while True:
            try:
                line = self._coming.get(timeout=LINE_S_MAX)
            except Empty:
                pytest.fail(f"no line with {words} after {self.lines}")
            self.lines.append(line)
            if all(word in line for word in words):
                return line


@contextmanager
def program(*command: str, cwd: Path = ROOT, **environment: str) -> Iterator[Program]:
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **environment, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    running = Program(process)
    try:
        yield running
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)
        running._reader.join(STOP_S_MAX)
        assert process.stdout is not None
        process.stdout.close()


def test_a_platform_publishes_and_follows_its_case(stack: Stack) -> None:
    run = (*FASTSTREAM, "docs.examples.platform:app")
    with program(*run, PLATFORM_URL=url(stack, "platform-demo")) as platform:
        platform.until("kept as")
        answer = platform.until("submission.accepted")
        number = answer.split("number='")[1].split("'")[0]
        platform.until(number, "registered")
        platform.until(number, "assigned", "510104000000-housing")
    with program(*run, PLATFORM_URL=url(stack, "platform-demo")) as again:
        again.until("kept as")
        assert number in stack_receipt(stack), "the same id is the same case"


def stack_receipt(stack: Stack) -> str:
    """The receipt of the example as it is kept, asked for by the platform's client."""
    code = (
        "import asyncio, sys\n"
        "from shared.client import PlatformClient\n"
        "async def main():\n"
        f"    platform = PlatformClient('demo', '{url(stack, 'platform-demo')}')\n"
        "    async with platform.broker:\n"
        "        print(await platform.wait_for_receipt('complaint-2026-000123'))\n"
        "asyncio.run(main())\n"
    )
    return subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True, timeout=LINE_S_MAX
    ).stdout


@pytest.mark.usefixtures("hours")
def test_a_supervisor_takes_what_is_overdue_and_goes_on_after_a_stop(stack: Stack, desk: Desk) -> None:
    run = (*FASTSTREAM, "docs.examples.supervisor:app")
    first = begun(desk, HASTY, channel="letter", time=ago(days=5))
    with program(*run, SUBSCRIBER_URL=url(stack, "subscriber-demo")) as supervisor:
        assert "triage" in supervisor.until("overdue", first.number)
    second = begun(desk, HASTY, channel="letter", time=ago(days=5))
    with program(*run, SUBSCRIBER_URL=url(stack, "subscriber-demo")) as supervisor:
        supervisor.until("overdue", second.number)
        assert not any(f"overdue {first.number}" in line for line in supervisor.lines), "that one was done"


@pytest.mark.usefixtures("hours")
def test_an_auditor_replays_the_feed_as_often_as_he_likes(stack: Stack, desk: Desk) -> None:
    case = begun(desk, HASTY, channel="letter", time=ago(days=5))
    desk.until(case.id, in_charge="510000000000")
    counts = []
    for _ in range(2):
        done = subprocess.run(
            (sys.executable, "-m", "docs.examples.auditor"), cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "AUDITOR_URL": url(stack, "subscriber-audit")}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout)
    assert int(counts[0].splitlines()[-1].split()[0]) > 0
    assert int(counts[1].splitlines()[-1].split()[0]) >= int(counts[0].splitlines()[-1].split()[0])


def test_a_subscriber_that_is_not_declared_is_told_so(stack: Stack) -> None:
    code = (
        "import os\n"
        "from shared.client import SupervisorClient\n"
        f"app = SupervisorClient('ghost', '{url(stack, 'subscriber-demo')}').app\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code + "import asyncio; asyncio.run(app.run())"), cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "is the subscriber declared" in done.stderr
