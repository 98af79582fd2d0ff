"""kill -9 at every named place and of everything at once, under load: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.kit.failpoints import CATALOGUE
from tests.crash.load import Load, check
from tests.support.stack import ROOT, STOP_S_MAX, Stack, stack_in
from tests.support.stack_judge import assert_clean

KILL = -signal.SIGKILL
# What no load over HTTP passes, and which test does.
ELSEWHERE = {
    "intake.receipt.published": "submissions over NATS",
    "react.parked": "a message that fails eight times: minutes",
    "webhook.sent": "a webhook, in test_webhooks.py beside this",
    "vault.rewrapped": "a change of the master key",
    "import.row": "the import",
}
QUICK = {"handle.appended": 60, "feed.published": 40}  # test_submissions.py stops at the claim every day


def plans() -> list[object]:
    """Each failpoint at its first hit and later ones; the quick ones in every run of the tests."""
    chosen: list[object] = [pytest.param(name, hit, id=f"{name}-{hit}") for name, hit in QUICK.items()]
    for name in CATALOGUE:
        hits = () if name in ELSEWHERE else (1, 5, 33)
        chosen += [pytest.param(name, hit, id=f"{name}-{hit}", marks=pytest.mark.deep) for hit in hits]
    return chosen


@pytest.fixture(scope="module")
def folder() -> Iterator[Stack]:
    """One data folder that is killed again and again."""
    with stack_in("crash") as one:
        yield one


@pytest.fixture
def broken(folder: Stack) -> Iterator[Stack]:
    yield folder
    folder.kill_all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "hit"), plans())
def test_killed_at_a_failpoint_every_acknowledged_command_is_there_once(broken: Stack, name: str, hit: int) -> None:
    broken.spawn(failpoints=f"{name}=kill@{hit}")
    load = Load(broken, seed=hit)
    if alive := broken.is_ready_or_dead():  # what an earlier kill left undone is done at the start, and may be killed
        with load.running():
            broken.wait_dead()
    assert broken.process is not None
    assert broken.process.poll() == KILL, f"{name} was not hit {hit} times"
    broken.start()
    tally = check(broken, load)
    assert tally.total() or not alive
    assert_clean(broken)


@pytest.mark.slow
def test_everything_killed_at_once_under_load_every_acknowledged_command_is_there_once(broken: Stack) -> None:
    broken.start()
    load = Load(broken)
    with load.running():
        load.wait_for(150)
        broken.kill_all()
    broken.start()
    assert check(broken, load)["acknowledged"] >= 150
    assert_clean(broken)
    judged = broken.run("fsck", "--settled")
    assert judged.returncode == 0, judged.stderr  # its read models as well equal a fresh replay


@pytest.mark.deep
@pytest.mark.parametrize("round", range(10))
@pytest.mark.parametrize("victim", ["nats", "postgres", "everything"])
def test_a_server_killed_under_load_every_acknowledged_command_is_there_once(
    broken: Stack, victim: str, round: int
) -> None:
    broken.start()
    load = Load(broken, seed=round)
    with load.running():
        load.wait_for(100 + 40 * round)
        if victim == "everything":
            broken.kill_all()
        else:
            broken.kill_server(victim)
            assert broken.process is not None
            assert broken.process.wait(STOP_S_MAX) != 0
            assert f"{victim} ended by itself" in broken.text
    broken.start()
    assert check(broken, load)["acknowledged"] >= 100
    assert_clean(broken)


def test_every_failpoint_of_the_catalogue_is_killed_at_here_or_elsewhere() -> None:
    source = "".join(path.read_text() for part in ("shared", "services") for path in Path(ROOT, part).rglob("*.py"))
    passed = {name for name in CATALOGUE if f'.hit("{name}")' in source}
    assert passed - set(ELSEWHERE) == set(CATALOGUE) - set(ELSEWHERE), "a failpoint that nothing passes proves nothing"
