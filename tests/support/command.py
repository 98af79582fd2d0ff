"""The `caseflow` command for a test: a process forked from one that has the program imported.

A fresh interpreter imports for two seconds of processor before it does anything. Its fork is as much a process of its
own: with its environment, session, output and exit code, and a test may kill it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from infra import cli

ROOT = Path(__file__).parents[2]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


class CommandProcess(Protocol):
    """What tests use of a process; that of `subprocess` has it too."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Fork:
    """A running command."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], out: Path, err: Path | None) -> None:
        arguments = (tuple(words), dict(environment), str(out), str(err) if err else None)
        self._process = _forks.Process(target=_main, args=arguments)
        self._words = words
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code at the end of the process. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(["caseflow", *self._words], timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def spawn(words: Sequence[str], environment: Mapping[str, str], output: Path, *, forked: bool = True) -> CommandProcess:
    """Start a command, its output appended to a file. `forked=False`: by an interpreter of its own, to be measured."""
    output.touch()
    if forked:
        return Fork(words, environment, output, None)
    with output.open("ab") as file:
        return subprocess.Popen(
            (sys.executable, "-m", "infra.cli", *words), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def warm() -> None:
    """Have the program imported, so that the next forks take no time."""
    process = _forks.Process(target=int)
    process.start()
    process.join()


def finished(words: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises subprocess.TimeoutExpired, after a kill."""
    with TemporaryDirectory(prefix="caseflow-command-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = Fork(words, environment, out, err)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(["caseflow", *words], code, out.read_text("utf-8"), err.read_text("utf-8"))


def _main(words: Sequence[str], environment: dict[str, str], out: str, err: str | None) -> None:
    """The fork: made to look as the interpreter that `python -m infra.cli` starts."""
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["caseflow", *words]
    for number, path in ((1, out), (2, err or out)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    cli.main()
