"""The embedded stack against the real servers: where it keeps things, what it refuses, what it survives."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from infra.servers import embedded as embedded_servers
from infra.servers.embedded import RESTARTS_COUNT_MAX, START_S_MAX, Embedded, Endpoints, holder_of, require_port
from infra.servers.folder import CannotStart, Folder
from infra.servers.partners import DEMO_PLATFORM
from shared.kit.settings import ROLES
from tests.support.folders import copy_made, open_folder
from tests.support.polling import until

MARKER = b"marker-7f3a91 that must not lie in the clear"


@pytest.fixture
def data() -> Iterator[Path]:
    with open_folder("data") as folder:
        yield folder / "data"


@pytest.fixture
def made(data: Path) -> None:
    copy_made(data)


@asynccontextmanager
async def stack(data: Path, said: list[str] | None = None) -> AsyncIterator[tuple[Embedded, Endpoints]]:
    embedded = Embedded((said if said is not None else []).append)
    try:
        yield embedded, await embedded.start(data, nats_port=0)
    finally:
        await embedded.stop()


@asynccontextmanager
async def client(url: str, errors: list[Exception] | None = None, prefix: str = "_INBOX") -> AsyncIterator[Client]:
    async def heard(error: Exception) -> None:
        (errors if errors is not None else []).append(error)

    connection = await nats.connect(url, error_cb=heard, inbox_prefix=prefix.encode(), allow_reconnect=False)
    try:
        yield connection
    finally:
        await connection.close()


async def write(endpoints: Endpoints) -> None:
    """One message and one row."""
    async with client(endpoints.nats["admin"]) as connection:
        js = connection.jetstream()
        await js.add_stream(name="KEPT", subjects=["kept.>"])
        await js.publish("kept.1", MARKER)
    admin = await asyncpg.connect(endpoints.postgres["admin"])
    await admin.execute("create table kept (word text)")
    await admin.execute("insert into kept values ('一件事')")
    await admin.close()


async def check_kept(endpoints: Endpoints) -> None:
    async with client(endpoints.nats["admin"]) as connection:
        assert (await connection.jetstream().get_msg("KEPT", 1)).data == MARKER
    admin = await asyncpg.connect(endpoints.postgres["admin"])
    assert await admin.fetchval("select word from kept") == "一件事"
    await admin.close()


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone; as a child of ours it may stay a zombie."""
    process = psutil.Process(pid)
    process.kill()
    psutil.wait_procs([process], timeout=5)


async def test_everything_lies_in_the_data_folder_and_is_private(data: Path) -> None:
    async with stack(data) as (embedded, _):
        for name, pid in embedded.pids.items():
            words = psutil.Process(pid).cmdline()
            assert any(word.startswith(str(data)) for word in words), (name, words)
        private = [data / "run" / "nats.conf", *(data / "secrets").iterdir()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
        for folder in ("secrets", "logs", "nats", "postgres", "run/postgres"):
            assert stat.S_IMODE((data / folder).stat().st_mode) == 0o700, folder
        assert len(bytes.fromhex((data / "secrets" / "master.key").read_text())) == 32


@pytest.mark.usefixtures("made")
async def test_data_survive_a_clean_restart_and_are_encrypted_at_rest(data: Path) -> None:
    async with stack(data) as (embedded, endpoints):
        await write(endpoints)
        jetstream = json.loads((data / "run" / "nats.conf").read_text())["jetstream"]
        assert (jetstream["sync_interval"], jetstream["cipher"]) == ("always", "aes")
        pids = embedded.pids
    assert not [pid for pid in pids.values() if psutil.pid_exists(pid)]
    stored = b"".join(path.read_bytes() for path in (data / "nats").rglob("*") if path.is_file())
    assert stored
    assert MARKER not in stored
    async with stack(data) as (_, endpoints):
        await check_kept(endpoints)


@pytest.mark.usefixtures("made")
async def test_a_second_copy_is_refused(data: Path) -> None:
    async with stack(data):
        with pytest.raises(CannotStart, match=rf"already running on .*\(process {os.getpid()}\).*CASEFLOW_DATA"):
            await Embedded().start(data, nats_port=0)
    async with stack(data):
        pass  # free again


@pytest.mark.usefixtures("made")
async def test_servers_left_by_a_killed_copy_are_ended_and_data_are_kept(data: Path) -> None:
    """What kill -9 of the whole program leaves behind: servers that run on, and no lock."""
    said: list[str] = []
    dead = Embedded()
    await write(await dead.start(data, nats_port=0))
    assert dead._lock
    dead._lock.close()  # the kernel does it when a process is killed
    left = dead.pids
    async with stack(data, said) as (embedded, endpoints):
        await check_kept(endpoints)
        assert not set(left.values()) & set(embedded.pids.values())
    assert "ending 2 servers of an earlier run that was killed" in said


@pytest.mark.usefixtures("made")
async def test_killed_servers_start_again_with_their_data(data: Path) -> None:
    async with stack(data) as (embedded, endpoints):
        await write(endpoints)
        for pid in embedded.pids.values():
            kill(pid)
    async with stack(data) as (_, endpoints):
        await check_kept(endpoints)


@pytest.mark.usefixtures("made")
async def test_a_stale_pid_file_harms_no_stranger(data: Path) -> None:
    """The pids in the files now belong to someone else: that process lives on, and both servers start."""
    async with stack(data):
        pass
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    (data / "run" / "nats.pid").write_text(str(stranger.pid))
    (data / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{data}/postgres\n")
    try:
        async with stack(data) as (embedded, _):
            assert set(embedded.pids) == {"nats", "postgres"}
            assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", ["nats", "postgres"])
async def test_a_server_that_dies_is_started_again_and_given_up_at_last(
    data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_servers, "RESTART_PAUSE_S_MIN", 0.01)
    steps: list[str] = []
    async with stack(data, steps) as (embedded, endpoints):
        given_up = asyncio.create_task(embedded.supervise())
        for count in range(1, RESTARTS_COUNT_MAX + 1):
            dead = embedded.pids[name]
            os.kill(dead, signal.SIGKILL)
            async with asyncio.timeout(START_S_MAX):
                while embedded.pids[name] == dead or not await answers(endpoints, name):
                    await asyncio.sleep(0.02)
            ended = f"{name} ended by itself with code -9; see logs/{name}.log in the data folder"
            assert f"{ended}; starting it again ({count} of {RESTARTS_COUNT_MAX})" in steps
        assert not given_up.done()
        os.kill(embedded.pids[name], signal.SIGKILL)
        assert await asyncio.wait_for(given_up, 5) == f"{ended}; it does not stay up"


async def answers(endpoints: Endpoints, name: str) -> bool:
    """Whether a server takes a user, at the address that it had before."""
    try:
        if name == "nats":
            await (await nats.connect(endpoints.nats["intake"], allow_reconnect=False)).close()
        else:
            await (await asyncpg.connect(endpoints.postgres["intake"])).close()
    except (OSError, asyncpg.PostgresError, NatsError):
        return False
    return True


@pytest.mark.parametrize("name", ["jetstream.key", "master.key"])
async def test_a_lost_key_is_said_not_replaced(data: Path, name: str) -> None:
    async with stack(data):
        pass
    (data / "secrets" / name).unlink()
    with pytest.raises(CannotStart, match=rf"{name} is missing, and nats and postgres .* put it back"):
        await Embedded().start(data, nats_port=0)
    assert not (data / "secrets" / name).exists()


@pytest.mark.usefixtures("made")
async def test_a_broken_server_says_what_its_log_says(data: Path) -> None:
    async with stack(data):
        pass
    (data / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(CannotStart, match=r"Postgres ended at once with code 1: .*incompatible"):
        await Embedded().start(data, nats_port=0)


async def test_a_cluster_half_made_is_made_anew(data: Path) -> None:
    (data / "postgres.new" / "base").mkdir(parents=True)
    data.chmod(0o711)
    async with stack(data):
        assert not (data / "postgres.new").exists()


@pytest.mark.parametrize("name", ["long" * 25, '数据 "目录" $HOME 𠮷'])
async def test_both_servers_run_in_a_folder_of_any_name(data: Path, name: str) -> None:
    folder = data / name
    async with stack(folder) as (_, endpoints):
        await (await asyncpg.connect(endpoints.postgres["intake"])).close()
        await (await nats.connect(endpoints.nats["intake"])).close()
    assert any(Folder.of(folder).nats.iterdir()), "the log lies in it"
    with suppress(FileNotFoundError):
        Folder.of(folder).sockets.rmdir()


@pytest.mark.usefixtures("made")
async def test_a_taken_nats_port_is_left_to_its_holder(data: Path) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        embedded = Embedded(said.append)
        endpoints = await embedded.start(data, nats_port=port)
        await embedded.stop()
    assert endpoints.nats_url != f"nats://127.0.0.1:{port}"
    assert f"NATS: port {port} is held by process {os.getpid()} (" in "\n".join(said)


def test_a_taken_http_port_names_its_holder_and_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"held by process {os.getpid()} .*CASEFLOW_PORT={port + 1}"):
            require_port(port)
    assert holder_of(port) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs Postgres as itself")
async def test_root_runs_postgres_as_nobody_even_where_nobody_may_not_enter(data: Path) -> None:
    data.parent.chmod(0o700)
    async with stack(data) as (embedded, _):
        assert psutil.Process(embedded.pids["postgres"]).uids().effective == pwd.getpwnam("nobody").pw_uid


AS_SOMEBODY = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from infra.servers.embedded import Embedded
from infra.servers.programs import nats_program

async def main():
    stack = Embedded(print)
    await stack.start(Path(sys.argv[1]), nats_port=0)
    await stack.stop()
    print("up and down")

nats_program()
os.setgroups([])  # only now: the interpreter may lie where the other user may not enter
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_runs_both(data: Path) -> None:
    somebody = pwd.getpwnam("daemon")
    os.chown(data.parent, somebody.pw_uid, somebody.pw_gid)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AS_SOMEBODY, str(data), str(somebody.pw_uid), str(somebody.pw_gid)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    assert (child.returncode, output.decode().splitlines()[-1]) == (0, "up and down"), output.decode()
    assert Folder.of(data).postgres.stat().st_uid == somebody.pw_uid


async def test_each_role_logs_in_and_has_no_more_than_its_own(servers: Endpoints) -> None:
    for role in ROLES:
        connection = await asyncpg.connect(servers.postgres[role])
        assert await connection.fetchval("select current_user") == role
        powerful = await connection.fetchval("select rolsuper from pg_roles where rolname = current_user")
        assert powerful is (role == "admin")
        if role != "admin":
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("create table public.x ()")
        await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(servers.postgres["intake"].replace("intake:", "vault:"))


async def test_text_search_sees_chinese(servers: Endpoints, database: dict[str, str]) -> None:
    """pg_trgm finds nothing in Chinese text under another locale; the cluster is made with C.UTF-8."""
    admin = await asyncpg.connect(database["admin"])
    await admin.execute("create extension pg_trgm")
    assert len(await admin.fetchval("select show_trgm('大坝村噪声投诉')")) == 8
    assert await admin.fetchval("show fsync") == "on"
    assert await admin.fetchval("show full_page_writes") == "on"
    await admin.close()


async def refused(connection: Client, errors: list[Exception], subject: str) -> bool:
    """Whether the server refuses a publish on the subject; a second, always refused one ends the wait."""
    before = len(errors)
    await connection.publish(subject, b"{}")
    await connection.publish("nobody.may", b"")
    await until(lambda: any("nobody.may" in str(error) for error in errors[before:]))
    return any(subject.lower() in str(error).lower() for error in errors[before:])


async def test_services_publish_their_own_subjects_only(servers: Endpoints) -> None:
    tables: dict[str, Callable[[str], bool]] = {
        "case.51.01.x": lambda s: s != "reporting",
        "order.51.01.x": lambda s: s == "supervision",
        "reference.units.0": lambda s: s == "routing",
        "parked.intake.x": lambda s: s == "intake",
        "$O.ATTACHMENTS.C.x": lambda s: s == "intake",
        "$O.ATTACHMENTS.M.x": lambda s: s in ("intake", "supervision"),
        "submit.demo.51.01.x": lambda s: False,
        "$JS.API.STREAM.DELETE.LOG_5101": lambda s: False,
        "$JS.API.STREAM.PURGE.LOG_5101": lambda s: False,
        "$JS.API.STREAM.UPDATE.LOG_5101": lambda s: False,
        "$JS.API.STREAM.MSG.DELETE.LOG_5101": lambda s: False,
    }
    for service in ("intake", "routing", "supervision", "reporting"):
        errors: list[Exception] = []
        async with client(servers.nats[service], errors) as connection:
            for subject, allowed in tables.items():
                assert await refused(connection, errors, subject) is not allowed(service), (service, subject)


@pytest.fixture
async def submissions(servers: Endpoints) -> AsyncIterator[Endpoints]:
    """SUBMISSIONS, RECEIPTS and a log stream, as far as a platform can touch them."""
    async with client(servers.nats["admin"]) as connection:
        js = connection.jetstream()
        streams = {"SUBMISSIONS": "submit.>", "RECEIPTS": "receipt.>", "LOG_X": "case.>"}
        for name, subject in streams.items():
            await js.add_stream(name=name, subjects=[subject], allow_direct=True)
        yield servers
        for name in streams:
            await js.delete_stream(name)


async def test_a_platform_submits_and_reads_its_receipts(submissions: Endpoints) -> None:
    async with (
        client(submissions.platforms["demo"], prefix=DEMO_PLATFORM.inbox_prefix) as platform,
        client(submissions.nats["intake"]) as intake,
    ):
        heard = await platform.subscribe("receipt.demo.>")
        await platform.flush()
        ack = json.loads((await platform.request("submit.demo.51.01.04.001.000", b"{}")).data)
        assert (ack["stream"], ack["seq"]) == ("SUBMISSIONS", 1)
        await intake.jetstream().publish("receipt.demo.7", b"FJ5M")
        await intake.jetstream().publish("receipt.other.8", b"not for demo")
        assert (await heard.next_msg(2)).data == b"FJ5M"
        with pytest.raises(TimeoutError):
            await heard.next_msg(0.1)
        later = await platform.request("$JS.API.DIRECT.GET.RECEIPTS.receipt.demo.7", b"")
        assert later.data == b"FJ5M"


@pytest.mark.parametrize(
    "subject",
    [
        "submit.other.51.01.04.001.000",  # another's name
        "submit.demo.44.01.04.001.000",  # not its area
        "case.51.01.04.001.000.x",
        "receipt.demo.x",
        "$JS.API.DIRECT.GET.RECEIPTS.receipt.other.8",
        "$JS.API.STREAM.INFO.LOG_X",
        "$JS.API.CONSUMER.CREATE.RECEIPTS",
    ],
)
async def test_a_platform_can_do_nothing_else(submissions: Endpoints, subject: str) -> None:
    errors: list[Exception] = []
    async with client(submissions.platforms["demo"], errors, DEMO_PLATFORM.inbox_prefix) as platform:
        assert await refused(platform, errors, subject)
        with pytest.raises((TimeoutError, NoRespondersError)):
            await platform.request(subject, b"{}", timeout=0.2)


@pytest.mark.parametrize("subject", ["case.>", "receipt.other.>", "receipt.>", "_INBOX.>", "submit.>", ">"])
async def test_a_platform_hears_nothing_else(submissions: Endpoints, subject: str) -> None:
    errors: list[Exception] = []
    async with client(submissions.platforms["demo"], errors, DEMO_PLATFORM.inbox_prefix) as platform:
        await platform.subscribe(subject)
        await until(lambda: any("permissions violation for subscription" in str(error).lower() for error in errors))


async def test_a_platform_cannot_have_an_acknowledgement_written_into_the_log(submissions: Endpoints) -> None:
    """The server acknowledges to whatever reply subject the publisher names, without asking for its permission."""
    async with client(submissions.platforms["demo"], prefix=DEMO_PLATFORM.inbox_prefix) as platform:
        for reply in ("case.51.01.forged", "receipt.other.8"):
            await platform.publish("submit.demo.51.01.04.001.000", b"{}", reply=reply)
        await platform.request("submit.demo.51.01.04.001.000", b"{}")
    async with client(submissions.nats["admin"]) as admin:
        js = admin.jetstream()
        assert (await js.stream_info("SUBMISSIONS")).state.messages == 3
        assert (await js.stream_info("LOG_X")).state.messages == 0
        assert (await js.stream_info("RECEIPTS")).state.messages == 0
