"""The parts that all commands of `caseflow` share: settings, messages, failures and progress."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.servers.folder import CannotStart
from shared import VERSION
from shared.kit import failpoints
from shared.kit.clock import SystemClock
from shared.kit.failpoints import Hook
from shared.kit.problems import ProblemError
from shared.kit.projections import RebuildNeeded
from shared.kit.settings import BadSettings, Settings
from shared.kit.sql import MigrationRefused
from shared.kit.vault import BadMaster
from shared.log.fsck import StreamProgress
from shared.log.port import LogError
from shared.reference.load import LoadError
from shared.reference.publish import DocumentTooLarge

CODE_FAILED, CODE_USAGE, CODE_INTERRUPTED = 1, 2, 130
LINE_EVERY_S = 5.0  # of progress without a terminal
DataFolder = Annotated[Path | None, typer.Option(help="Data folder; CASEFLOW_DATA sets it too.")]
T = TypeVar("T")
ShowProgress = Callable[[int, str], None]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"caseflow {VERSION}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Start the services, bring cases in, publish reference documents, read and check the log."""


class Refused(Exception):
    """The command cannot be done. The text is one line with the reason and a remedy."""

    def __init__(self, text: str, code: int = CODE_FAILED) -> None:
        super().__init__(text)
        self.code = code


def say(text: str) -> None:
    """Report a step on stderr, since stdout is for the result of the command."""
    typer.echo(f"caseflow: {text}", err=True)


def fail(text: str, code: int = CODE_FAILED) -> typer.Exit:
    """Print a failure with its remedy; the exit to raise."""
    typer.echo(f"caseflow: {text}", err=True)
    return typer.Exit(code)


def read_settings(data: Path | None = None) -> Settings:
    """The settings of the environment, with another data folder if one is named. Exits when they cannot be used."""
    try:
        settings = Settings.from_env(os.environ)
        failpoints.from_spec(settings.failpoints)
    except (BadSettings, ValueError) as error:
        raise fail(str(error), CODE_USAGE) from None
    return settings.model_copy(update={"data": data}) if data else settings


def hook(settings: Settings) -> Hook | None:
    """The failpoints that the settings arm, for the runtime of a process."""
    return failpoints.from_spec(settings.failpoints)


def run(work: Coroutine[Any, Any, T], interrupted: str = "interrupted", code: int = CODE_INTERRUPTED) -> T:
    """Run the work of a command. An error that a person can correct is one line and an exit code, no traceback."""
    try:
        with _ending_as_ctrl_c():
            return uvloop.run(work)
    except KeyboardInterrupt:
        raise fail(interrupted, code) from None
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except BaseExceptionGroup as group:
        raise _exit_for(_first(group)) from group
    except Exception as error:
        raise _exit_for(error) from error


@contextmanager
def _ending_as_ctrl_c() -> Iterator[None]:
    """Let the end of the terminal and a polite kill end the work as ctrl-C does. `nohup` still keeps it alive.

    A script's job in the background comes with ctrl-C ignored, and a kill that ends as ctrl-C does would be too.
    """
    signs = [sign for sign in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(sign) is not signal.SIG_IGN]
    before = {sign: signal.signal(sign, lambda *_: signal.raise_signal(signal.SIGINT)) for sign in signs}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _exit_for(error: BaseException) -> BaseException:
    """The exit for an error of the environment or the input; other errors are faults of the program and returned."""
    match error:
        case Refused():
            return fail(str(error), error.code)
        case LoadError():
            return fail(f"{len(error.faults)} faults; nothing was changed\n{error}")
        case (
            CannotStart()
            | BadSettings()
            | LogError()
            | MigrationRefused()
            | BadMaster()
            | DocumentTooLarge()
            | RebuildNeeded()
        ):
            return fail(str(error))
        case ProblemError():
            return fail(f"{error.problem.detail} {error.problem.advice}".strip())
        case OSError() if error.filename is not None:
            return fail(f"{error.filename}: {error.strerror}; check the name and who may read it", CODE_USAGE)
        case asyncio.CancelledError():
            return fail("interrupted", CODE_INTERRUPTED)
    return error


@contextmanager
def progress_bar(title: str, total: int | None, done_before: int = 0) -> Iterator[ShowProgress]:
    """A progress bar with count, time and remaining time. The yielded function takes (done, a word beside the bar).

    What was done before counts in the total, not in the rate. Without a terminal on stderr there is a line every
    LINE_EVERY_S.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, total, done_before)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[word]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=done_before, word="")

        def show_progress(done: int, word: str) -> None:
            bar.update(task, completed=done, word=word)

        yield show_progress


def sum_of_streams(show_progress: ShowProgress) -> StreamProgress:
    """Show the sum of the events of all streams, beside the name of the last."""
    counts: dict[str, int] = {}

    def show_stream(stream: str, count: int, end: int) -> None:
        counts[stream] = count
        show_progress(sum(counts.values()), stream)

    return show_stream


def _lines(title: str, total: int | None, done_before: int) -> ShowProgress:
    clock = SystemClock()
    started = last = clock.monotonic()

    def show_progress(done: int, word: str = "") -> None:
        nonlocal last
        now = clock.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        rate = (done - done_before) / (now - started)
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        say(f"{title}: {done}{f' of {total}' if total else ''} {word}{left}")

    return show_progress
