"""What is acknowledged is on disk: the server's own system calls, in the order in which it made them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.client import UNRULED, Desk
from tests.support.stack import Stack, until

COUNT = 5
_WRITTEN = re.compile(r"pwrite64\(\d+<.*/streams/LOG_5101/msgs/\d+\.blk>")
_SYNCED = re.compile(r"f(data)?sync\(\d+<.*/streams/LOG_5101/msgs/\d+\.blk>\s*\)\s+= 0")
_ACKED = re.compile(r"(?:write|writev|sendto)\(\d+<TCP.*\\\"stream\\\":\\\"LOG_5101\\\",\s?\\\"seq\\\":(\d+)")


@contextmanager
def traced(pid: int, output: Path) -> Iterator[None]:
    """Note every write and sync of a process and its threads for the length of the block."""
    said = output.with_suffix(".said")
    command = ("strace", "-f", "-yy", "-s", "4000", "-e", "trace=fsync,fdatasync,write,writev,sendto,pwrite64")
    with open(said, "wb") as stderr:
        tracer = subprocess.Popen((*command, "-p", str(pid), "-o", str(output)), stderr=stderr)
    try:
        until(lambda: "attached" in said.read_text() or tracer.poll() is not None, "strace attaches")
        if tracer.poll() is not None:
            pytest.skip(f"strace may not attach here: {said.read_text().strip()}")
        yield
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def _joined(text: str) -> list[str]:
    """The calls in the order in which they returned, each whole: strace breaks what another thread interrupts."""
    begun: dict[str, str] = {}
    calls = []
    for line in text.splitlines():
        thread, _, rest = line.partition(" ")
        if "<unfinished ...>" in rest:
            begun[thread] = rest.partition("<unfinished ...>")[0]
        elif "resumed>" in rest:
            calls.append(begun.pop(thread, "") + rest.partition("resumed>")[2])
        else:
            calls.append(rest)
    return calls


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
def test_the_server_syncs_each_registration_to_disk_before_it_acknowledges_it(stack: Stack, tmp_path: Path) -> None:
    with closing(Desk(stack.url)) as desk:
        desk.until_clocked(desk.waiting().id)  # nothing of it is still to be written when the trace begins
        with traced(stack.servers["nats"], tmp_path / "calls"):
            sequences = [int(desk.register(**UNRULED).position.partition(":")[2]) for _ in range(COUNT)]
    written = durable = 0  # messages of the log since the trace began; they are written in the order of their sequences
    acked: list[int] = []
    for call in _joined((tmp_path / "calls").read_text("utf-8", "replace")):
        if _WRITTEN.search(call):
            written += 1
        elif _SYNCED.search(call):
            durable = written
        elif found := _ACKED.search(call):
            acked.append(int(found[1]))
            assert acked[-1] - acked[0] < durable, f"{acked[-1]} was acknowledged before it was synced"
    assert [sequence for sequence in acked if sequence in sequences] == sequences, "every ack was seen"
    assert written >= COUNT, "every write was seen"
