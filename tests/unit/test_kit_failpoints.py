from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from shared.kit.failpoints import CATALOGUE, FailpointHit, Failpoints, from_spec


async def test_an_undeclared_name_is_refused_even_when_nothing_is_armed() -> None:
    failpoints = Failpoints()
    await failpoints.hit("handle.loaded")
    with pytest.raises(ValueError, match=r"nowhere.*CATALOGUE"):
        await failpoints.hit("nowhere")


async def test_raise_on_the_third_hit_and_only_there() -> None:
    hook = from_spec("handle.loaded=raise@3")
    assert hook is not None
    failpoints = Failpoints()
    with failpoints.armed(hook):
        await failpoints.hit("handle.loaded")
        await failpoints.hit("handle.appended")
        await failpoints.hit("handle.loaded")
        with pytest.raises(FailpointHit, match=r"handle\.loaded"):
            await failpoints.hit("handle.loaded")
        await failpoints.hit("handle.loaded")


async def test_a_hook_sees_every_hit_and_is_gone_afterwards() -> None:
    seen: list[str] = []

    async def hook(name: str) -> None:
        seen.append(name)

    failpoints = Failpoints()
    with failpoints.armed(hook):
        for name in CATALOGUE:
            await failpoints.hit(name)
    await failpoints.hit(CATALOGUE[0])
    assert seen == list(CATALOGUE)


@pytest.mark.parametrize("spec", ["handle.loaded", "handle.loaded=burn", "handle.loaded=kill@0", "no.such=kill"])
def test_a_spec_that_is_not_understood_says_so(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        from_spec(spec)


def test_an_empty_spec_arms_nothing() -> None:
    assert from_spec(" , ") is None


def test_kill_is_a_real_kill() -> None:
    program = (
        "import asyncio; from shared.kit.failpoints import *\n"
        "armed = Failpoints(from_spec('react.acked=kill'))\n"
        "asyncio.run(armed.hit('react.acked')); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


async def test_two_processes_in_one_interpreter_share_no_failpoints() -> None:
    seen: list[str] = []

    async def hook(name: str) -> None:
        seen.append(name)

    one, other = Failpoints(hook), Failpoints()
    await other.hit("react.acked")
    assert seen == []
    await one.hit("react.acked")
    assert seen == ["react.acked"]
