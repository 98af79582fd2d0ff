"""kill -9 at every named place and of everything at once, under load: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Embedded
from shared.kit.failpoints import CATALOGUE
from shared.kit.settings import Settings
from shared.log.connection import connect
from shared.log.streams import Streams
from shared.reference.load import load_yaml
from shared.reference.publish import publish
from tests.crash.load import Load, check
from tests.sim.faults import UNREACHED
from tests.support import DEEP, short_limits
from tests.support.command import ROOT
from tests.support.folders import copy_made, open_folder
from tests.support.log import AREAS
from tests.support.stack import Stack, stack_in
from tests.support.stack_judge import assert_clean

KILL = -signal.SIGKILL
HIT_S_MAX = 30.0
# What no load over HTTP passes: the tests that break off there, each of which fails when it is not reached.
ELSEWHERE = {
    "intake.receipt.published": "tests/integration/test_submissions.py",
    "react.parked": "tests/sim",  # a message that fails eight times takes minutes of a real clock
    "webhook.sent": "tests/crash/test_webhooks.py",
    "vault.rewrapped": "tests/contract/test_vault.py",
    "import.row": "tests/integration/test_import.py",
}
QUICK = {"handle.appended": 60, "feed.published": 40}  # test_submissions.py stops at the claim every day
HITS = (1, 5, 33)
EVERYTHING = "everything"
VICTIMS = ("nats", "postgres", EVERYTHING)
ROUNDS_COUNT = 10
# So many stacks at once, each driven by a process of its own: most of the time one waits until what was in the hands of
# a killed process comes again.
LANES_COUNT = (os.cpu_count() or 1) + 1


class Job(Protocol):
    """What is killed, started again and judged on a folder of its own, a copy of the one that is prepared."""

    def run(self, prepared: Path) -> None: ...


@dataclass(frozen=True)
class AtFailpoint:
    """The process dies at the `hit`th time that it passes a failpoint.

    `twice`: and once more, when it passes with what the first kill left undone.
    """

    name: str
    hit: int
    twice: bool = DEEP

    def run(self, prepared: Path) -> None:
        with stack_in("kill", made=prepared) as stack:
            loads = [self.killed(stack, self.hit)]
            assert loads[0].sent, "it was killed under load"
            if self.twice:
                loads.append(self.killed(stack, self.hit + 100))
            stack.start()
            for load in loads:
                assert check(stack, load).total() == len(load.sent)
            assert_clean(stack)

    def killed(self, stack: Stack, seed: int) -> Load:
        """Start the stack with the failpoint armed and people at work until it kills; what they sent."""
        process = stack.spawn(failpoints=f"{self.name}=kill@{self.hit}")
        load = Load(stack, seed)
        if stack.is_ready_or_dead():
            with load.running():
                try:
                    process.wait(HIT_S_MAX)
                except subprocess.TimeoutExpired:
                    counts = f"{len(load.sent)} requests, {len(load.acknowledged)} acknowledged"
                    missed = f"{self.name} was not hit {self.hit} times in {HIT_S_MAX:.0f} s under load ({counts})"
                    raise AssertionError(missed) from None
        assert process.poll() == KILL, f"{self.name} did not kill: {stack.text[-2000:]}"
        return load


@dataclass(frozen=True)
class Again:
    """One data folder whose server, or everything, is killed again and again."""

    victim: str

    def run(self, prepared: Path) -> None:
        with stack_in("again", made=prepared) as stack:
            for number in range(ROUNDS_COUNT):
                stack.start()
                load = Load(stack, seed=number)
                with load.running():
                    load.wait_for(100 + 40 * number)
                    self.kill(stack, load)
                if self.victim == EVERYTHING:
                    stack.start()
                assert check(stack, load)["acknowledged"] >= 100, f"round {number}"
                assert_clean(stack)
                stack.kill_all()

    def kill(self, stack: Stack, load: Load) -> None:
        """Kill the victim under load. A server is started again by the copy, which goes on answering."""
        if self.victim == EVERYTHING:
            stack.kill_all()
            return
        stack.kill_server(self.victim)
        load.wait_for(len(load.acknowledged) + 100)
        assert f"{self.victim} ended by itself with code -9" in stack.text


def plans() -> list[object]:
    """Each failpoint at its first hit and later ones; the quick ones in every run of the tests."""
    chosen: list[object] = [pytest.param(AtFailpoint(*plan), id="{}-{}".format(*plan)) for plan in QUICK.items()]
    for name in sorted(set(CATALOGUE) - set(ELSEWHERE), key=CATALOGUE.index):
        chosen += [pytest.param(AtFailpoint(name, hit), id=f"{name}-{hit}", marks=pytest.mark.deep) for hit in HITS]
    return chosen


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A data folder with streams and tables, and limits of hours: what the load registers days back is late at once."""
    with open_folder("prepared") as folder:
        copy_made(folder / "data")
        asyncio.run(with_short_limits(folder / "data"))
        yield folder / "data"


async def with_short_limits(data: Path) -> None:
    """Make streams and tables, and publish the limits, before any service runs there."""
    servers = Embedded()
    endpoints = await servers.start(data, nats_port=0)
    try:
        await prepare(settings_for(Settings(areas=AREAS), endpoints, "admin"))
        connection = await connect(endpoints.nats["admin"], name="test")
        await publish(Streams(connection), load_yaml(short_limits.FILE).documents)
        await connection.close()
    finally:
        await servers.stop()


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, prepared: Path) -> Iterator[dict[Job, Future[None]]]:
    """The jobs of the tests that were chosen, some at a time, from the first to the last of them."""
    params = [item.callspec.params for item in request.session.items if getattr(item, "module", None) is request.module
              and hasattr(item, "callspec")]  # fmt: skip
    lanes = ProcessPoolExecutor(LANES_COUNT, multiprocessing.get_context("spawn"))
    try:
        yield {one["job"]: lanes.submit(one["job"].run, prepared) for one in params}
    finally:
        lanes.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("job", plans())
def test_killed_at_a_failpoint_every_acknowledged_command_is_there_once(
    running: dict[Job, Future[None]], job: Job
) -> None:
    running[job].result()


@pytest.mark.deep
@pytest.mark.parametrize("job", [pytest.param(Again(victim), id=victim) for victim in VICTIMS])
def test_killed_again_and_again_under_load_every_acknowledged_command_is_there_once(
    running: dict[Job, Future[None]], job: Job
) -> None:
    running[job].result()


@pytest.mark.slow
def test_everything_killed_at_once_under_load_every_acknowledged_command_is_there_once(prepared: Path) -> None:
    with stack_in("crash", made=prepared) as stack:
        stack.start()
        load = Load(stack)
        with load.running():
            load.wait_for(150)
            stack.kill_all()
        stack.start()
        assert check(stack, load)["acknowledged"] >= 150
        assert_clean(stack)
        judged = stack.run("fsck", "--settled")
        assert judged.returncode == 0, judged.stderr  # its read models as well equal a fresh replay


def test_every_failpoint_of_the_catalogue_is_killed_at_here_or_elsewhere() -> None:
    parts = (Path(ROOT, part) for part in ("shared", "services", "infra"))
    source = "".join(path.read_text() for part in parts for path in part.rglob("*.py"))
    passed = {name for name in CATALOGUE if f'.hit("{name}")' in source}
    assert passed == set(CATALOGUE), "a failpoint that nothing passes proves nothing"
    for name, file in ELSEWHERE.items():
        if file == "tests/sim":  # its worlds must reach every failpoint that they can
            assert name not in UNREACHED
        else:
            assert f'"{name}' in Path(ROOT, file).read_text(), f"{file} does not break off at {name}"
