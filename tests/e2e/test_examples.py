"""The examples of docs/examples against the running stack, as the pages say to run them; and the snippets of the pages.

tests/unit/test_client.py runs the same handlers without any server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest

from shared.client import PlatformClient
from tests.support.client import Desk
from tests.support.command import ROOT
from tests.support.short_limits import HASTY, ago, begun, deadlines
from tests.support.stack import Stack, until

LINE_S_MAX = 30.0
STOP_S_MAX = 20.0
CURL_S_MAX = 3
PLATFORMS, FEEDS = ROOT / "docs" / "platforms.md", ROOT / "docs" / "feeds.md"


def commands(page: Path, words: str, stack: Stack) -> str:
    """The block of commands of a page that holds these words, as it is written, for the stack of the test."""
    (block,) = [one for one in page.read_text().split("```sh\n")[1:] if words in one.split("```")[0]]
    port = stack.nats_url("platform-demo").rpartition(":")[2]
    written = block.split("```")[0]
    assert "127.0.0.1:4222" in written
    return written.replace("127.0.0.1:4222", f"127.0.0.1:{port}").replace(".venv/bin/python", sys.executable)


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
def program(written: str, stack: Stack) -> Iterator[Program]:
    """What a page says to run, until the block ends."""
    process = subprocess.Popen(
        ("bash", "-c", written), cwd=ROOT, env={**os.environ, "CASEFLOW_DATA": str(stack.data)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    running = Program(process)
    try:
        yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the shell, and what it runs
        process.wait(STOP_S_MAX)
        running._reader.join(STOP_S_MAX)
        assert process.stdout is not None
        process.stdout.close()


def test_a_platform_publishes_and_follows_its_case(stack: Stack) -> None:
    written = commands(PLATFORMS, "docs.examples.platform", stack)
    with program(written, stack) as platform:
        platform.until("kept as")
        answer = platform.until("submission.accepted")
        number = answer.split("number='")[1].split("'")[0]
        platform.until(number, "registered")
        platform.until(number, "assigned", "510104000000-housing")
    with program(written, stack) as again:
        again.until("kept as")
        assert number in asyncio.run(kept_receipt(stack)), "the same id is the same case"


async def kept_receipt(stack: Stack) -> str:
    """The receipt of the example as it is kept, asked for by the platform's client."""
    platform = PlatformClient("demo", stack.nats_url("platform-demo"))
    async with asyncio.timeout(LINE_S_MAX), platform.broker:
        return str(await platform.wait_for_receipt("complaint-2026-000123"))


@pytest.mark.usefixtures("hours")
def test_a_supervisor_takes_what_is_overdue_and_goes_on_after_a_stop(stack: Stack, desk: Desk) -> None:
    written = commands(FEEDS, "docs.examples.supervisor", stack)
    first = begun(desk, HASTY, channel="letter", time=ago(days=5))
    with program(written, stack) as supervisor:
        assert "triage" in supervisor.until("overdue", first.number)
    second = begun(desk, HASTY, channel="letter", time=ago(days=5))
    with program(written, stack) as supervisor:
        supervisor.until("overdue", second.number)
        assert not any(f"overdue {first.number}" in line for line in supervisor.lines), "that one was done"


@pytest.mark.usefixtures("hours")
def test_an_auditor_replays_the_feed_as_often_as_he_likes(stack: Stack, desk: Desk) -> None:
    case = begun(desk, HASTY, channel="letter", time=ago(days=5))
    until(lambda: deadlines(desk, case)["lateness"] == 1, "the case is late")
    counts = []
    for _ in range(2):
        done = subprocess.run(
            ("bash", "-c", commands(FEEDS, "docs.examples.auditor", stack)), cwd=ROOT, capture_output=True, text=True,
            check=False, env={**os.environ, "CASEFLOW_DATA": str(stack.data)}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout)
    assert int(counts[0].splitlines()[-1].split()[0]) > 0
    assert int(counts[1].splitlines()[-1].split()[0]) >= int(counts[0].splitlines()[-1].split()[0])


@pytest.mark.usefixtures("hours")
def test_a_subscriber_in_another_language(stack: Stack, desk: Desk) -> None:
    begun(desk, HASTY, channel="letter", time=ago(days=5))
    written = FEEDS.read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        (sys.executable, "-c", written), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "SUBSCRIBER_URL": stack.nats_url("subscriber-demo")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("feed."), done.stdout


def test_a_subscriber_that_is_not_declared_is_told_so(stack: Stack) -> None:
    code = (
        "import os\n"
        "from shared.client import SupervisorClient\n"
        f"app = SupervisorClient('ghost', '{stack.nats_url('subscriber-demo')}').app\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code + "import asyncio; asyncio.run(app.run())"), cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "is the subscriber declared" in done.stderr


def shell(page: Path, words: str, stack: Stack) -> subprocess.CompletedProcess[str]:
    """Run a block of `curl` of a page as it is written, for the stack of the test; one that goes on is ended."""
    blocks = [block.split("```")[0] for block in page.read_text().split("```sh\n")[1:]]
    (written,) = [block for block in blocks if words in block]
    command = written.replace("127.0.0.1:8080", f"127.0.0.1:{stack.port}").replace("curl ", f"curl -m {CURL_S_MAX} ")
    return subprocess.run(("bash", "-c", command), capture_output=True, text=True, check=False, timeout=30)


def test_the_addresses_of_the_page_on_feeds_answer_as_they_are_written(stack: Stack, desk: Desk) -> None:
    live = shell(FEEDS, "/supervision/feed?", stack)
    assert live.stdout.startswith(": caseflow feed"), live
    made = json.loads(shell(FEEDS, "/supervision/webhooks", stack).stdout)
    assert made["secret"].startswith("whsec_")
    assert desk.send("DELETE", "cd-supervisor", f"/supervision/webhooks/{made['id']}").status_code == 204


def test_the_address_of_nats_is_printed(stack: Stack) -> None:
    address = stack.nats_url("platform-demo").rpartition("@")[2].replace("0.0.0.0", "127.0.0.1")
    assert f"reach NATS on {address}" in stack.text
