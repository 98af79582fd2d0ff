"""The process itself: starting, stopping, going on where it was, and saying plainly why it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from tests.support.client import HOUSING, MATTER, UNRULED, Desk, new_key
from tests.support.command import ROOT
from tests.support.folders import copy_made
from tests.support.nats import free_port
from tests.support.stack import START_S_MAX, STOP_S_MAX, Stack, caseflow, stack_in, until

LISTENERS_GO_S_MAX = 8.0  # less than the server waits for requests to end
SECOND_START_CPU_S_MAX = 4.0  # without imports; on a machine with nothing else to do it takes less time than this


async def ends(stack: Stack) -> list[int]:
    async with stack.log() as log:
        return [await log.end(stream) for stream in log.streams()]


@pytest.fixture(scope="module")
def folder() -> Iterator[Stack]:
    with stack_in("process") as one:
        yield one


@pytest.fixture
def idle(folder: Stack) -> Stack:
    """A stack that does not run, on data that earlier tests may have left as they liked."""
    folder.kill_all()
    return folder


@pytest.fixture
def running(folder: Stack) -> Stack:
    """A stack that runs: the one that an earlier test left running, or a new one."""
    if folder.process is None or folder.process.poll() is not None:
        folder.kill_all()
        folder.start()
    return folder


@pytest.mark.parametrize("step", ["Postgres: starting", "ready on"])
def test_a_job_of_a_script_in_the_background_ends_by_a_kill_at_any_step(tmp_path: Path, step: str) -> None:
    """Such a job is started with ctrl-C ignored."""
    environment = dict(os.environ) | {"CASEFLOW_DATA": str(tmp_path / "data"), "CASEFLOW_PORT": str(free_port())}
    copy_made(tmp_path / "data")
    command = f"exec {sys.executable} -m infra.cli up"
    with (tmp_path / "out").open("w") as output:
        process = subprocess.Popen(
            ("bash", "-c", f"trap '' INT; {command}"), cwd=ROOT, env=environment, stdout=output, stderr=output
        )

    def text() -> str:
        return (tmp_path / "out").read_text("utf-8")

    try:
        until(lambda: step in text() or process.poll() is not None, step, START_S_MAX)
        process.terminate()
        assert process.wait(STOP_S_MAX) == 0, text()
    finally:
        process.kill()
    assert text().rstrip().endswith("stopped"), text()


def test_without_the_demo_nobody_is_let_in_and_nothing_is_published() -> None:
    with stack_in("real", CASEFLOW_DEMO="false") as stack:
        stack.start()
        with closing(Desk(stack.url)) as desk:
            assert desk.get("jj-window", f"/reporting/cases/{UUID(int=1)}").status_code == 401
        assert stack.stop() == 0
        assert "demo" not in stack.text
        assert stack.run("reference", "list").stdout == ""


def test_metrics_move_to_the_inner_port(idle: Stack) -> None:
    inner = free_port()
    idle.start(inner_port=str(inner))
    for service in ("intake", "routing", "supervision", "reporting"):
        own, public = f"http://127.0.0.1:{inner}/{service}", f"{idle.url}/{service}"
        assert "caseflow_" in httpx.get(f"{own}/metrics").text
        assert httpx.get(f"{own}/readyz").json() == {"status": "ready"}
        assert httpx.get(f"{own}/cases").status_code == 404, "nothing else is answered there"
        assert httpx.get(f"{public}/metrics").json()["code"] == "http.404"
        assert httpx.get(f"{public}/readyz").status_code == 200
    assert idle.stop() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{inner}/healthz")
    log = [
        line
        for line in idle.text.splitlines()
        if not line.startswith(("caseflow: ", "  demo-", "Demo users", " ")) and line
    ]
    assert all(json.loads(line)["service"] == "caseflow" for line in log), "one form of lines in one run"


def test_ctrl_c_stops_everything_and_the_next_start_goes_on_where_it_was(idle: Stack) -> None:
    idle.start()
    key = new_key()
    with closing(Desk(idle.url)) as desk:
        case = desk.assigned()
        waiting = desk.ok("jj-window", "/intake/cases", UNRULED, key)
        for id in (case.id, waiting["id"]):
            desk.until_clocked(id)
        servers = idle.servers
        before = asyncio.run(ends(idle))
        with listening(desk, "/reporting/events", "id: LOG_"), listening(desk, "/supervision/feed", ": caseflow feed"):
            began = time.monotonic()
            assert idle.stop() == 0, idle.text[-2000:]
            assert time.monotonic() - began < LISTENERS_GO_S_MAX, "who listens is told to go"
        assert not any(psutil.pid_exists(pid) for pid in servers.values())
        assert "caseflow: stopping" in idle.text

        idle.start()
        assert idle.process is not None
        used = psutil.Process(idle.process.pid).cpu_times()
        assert used.user + used.system < SECOND_START_CPU_S_MAX, "the second start is quick"
        assert asyncio.run(ends(idle)) == before, "starting writes nothing"
        again = desk.ok("jj-window", "/intake/cases", UNRULED, key)
        assert (again["id"], again["secret"]) == (waiting["id"], waiting["secret"])
        desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
        assert desk.get(None, f"/intake/public/{case.number}", secret=case.secret).status_code == 200


@contextmanager
def listening(desk: Desk, path: str, opening: str) -> Iterator[None]:
    """Somebody listens to a stream for the length of the block: that must not hold up the end."""
    headers = {"Accept": "text/event-stream", "Authorization": "Bearer demo-cd-director"}
    with desk.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert next(answer.iter_lines()).startswith(opening)
        yield


def test_a_second_copy_on_the_same_data_is_refused_and_the_first_goes_on(stack: Stack, desk: Desk) -> None:
    assert stack.process is not None
    other = caseflow("up", CASEFLOW_DATA=str(stack.data), CASEFLOW_PORT=str(free_port()))
    assert other.returncode == 1
    assert f"already running on {stack.data.resolve()} (process {stack.process.pid})" in other.stderr
    assert "choose another folder by CASEFLOW_DATA" in other.stderr
    assert desk.waiting().id


def test_a_taken_port_is_refused_with_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        other = caseflow("up", CASEFLOW_DATA=str(tmp_path / "data"), CASEFLOW_PORT=str(port))
    assert other.returncode == 1
    assert f"port {port} is held by process {os.getpid()}" in other.stderr
    assert f"CASEFLOW_PORT={port + 1}" in other.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CASEFLOW_PROT", "8080", "CASEFLOW_PROT is not a setting. Did you mean CASEFLOW_PORT?"),
        ("CASEFLOW_PORT", "eighty", "CASEFLOW_PORT: Input should be a valid integer"),
        ("CASEFLOW_AREAS", "51010", "CASEFLOW_AREAS: String should match pattern"),
        ("CASEFLOW_AREAS", "51,5101", "areas overlap: 51 and 5101"),
        ("CASEFLOW_FAILPOINTS", "nowhere=kill", "there is no failpoint 'nowhere'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, name: str, value: Any, said: str) -> None:
    other = caseflow("up", CASEFLOW_DATA=str(tmp_path / "data"), **{name: value})
    assert other.returncode == 2
    assert said in other.stderr
    assert "Traceback" not in other.stderr


def test_servers_left_by_a_killed_copy_are_ended_by_the_next(running: Stack) -> None:
    left = running.servers
    running.kill()
    assert all(psutil.pid_exists(pid) for pid in left.values()), "the kernel kills one process only"
    running.start()
    assert "ending 2 servers of an earlier run that was killed" in running.text
    assert not any(psutil.pid_exists(pid) for pid in left.values())


@pytest.mark.parametrize("server", ["nats", "postgres"])
def test_a_server_that_dies_is_started_again_and_the_stack_goes_on(running: Stack, server: str) -> None:
    dead = running.servers[server]
    running.kill_server(server)
    ended = f"{server} ended by itself with code -9; see logs/{server}.log in the data folder; starting it again (1 of"
    until(lambda: ended in running.text, "the end of the server is told")
    desk = Desk(running.url)
    until(
        lambda: desk.post("jj-window", "/intake/cases", MATTER, new_key()).status_code == 201,
        "a case is taken",
        START_S_MAX,
    )
    desk.close()
    assert running.servers[server] != dead


def test_the_end_of_the_terminal_stops_everything(running: Stack) -> None:
    left = running.servers
    assert running.process is not None
    running.process.send_signal(signal.SIGHUP)
    assert running.process.wait(STOP_S_MAX) == 0
    assert running.text.rstrip().endswith("caseflow: stopped")
    assert not any(psutil.pid_exists(pid) for pid in left.values())


def test_ctrl_c_during_the_first_start_leaves_nothing_that_hinders_the_next() -> None:
    with stack_in("first", fresh=True) as first:
        process = first.spawn()
        until(lambda: "Postgres: making the database" in first.text, "initdb begins", START_S_MAX)
        process.send_signal(signal.SIGINT)
        process.wait(STOP_S_MAX)
        assert first.servers == {}
        first.start()
