"""What every command of `caseflow` shares: the settings, how it speaks, how it fails, how it shows progress."""

from __future__ import annotations

import asyncio
import os
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
from shared.log.port import LogError
from shared.reference.load import LoadError
from shared.reference.publish import DocumentTooLarge

CODE_FAILED, CODE_USAGE, CODE_INTERRUPTED = 1, 2, 130
LINE_EVERY_S = 5.0  # progress where there is no terminal to draw on
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
    """What was asked cannot be done; the text is one line that says why and what to do."""

    def __init__(self, text: str, code: int = CODE_FAILED) -> None:
        super().__init__(text)
        self.code = code


def say(text: str) -> None:
    """Tell the person at the terminal what is being done; on stderr, since stdout is for what was asked."""
    typer.echo(f"caseflow: {text}", err=True)


def fail(text: str, code: int = CODE_FAILED) -> typer.Exit:
    """Say what went wrong and what to do; the exit to raise."""
    typer.echo(f"caseflow: {text}", err=True)
    return typer.Exit(code)


def settings() -> Settings:
    """The settings of the environment. Exits when they cannot be used."""
    try:
        own = Settings.from_env(os.environ)
        failpoints.from_spec(own.failpoints)
    except (BadSettings, ValueError) as error:
        raise fail(str(error), CODE_USAGE) from None
    return own


def hook(own: Settings) -> Hook | None:
    """The failpoints that the settings arm, for the runtime of a process."""
    return failpoints.from_spec(own.failpoints)


def run(work: Coroutine[Any, Any, T], interrupted: str = "interrupted", code: int = CODE_INTERRUPTED) -> T:
    """Run a command's work. Whatever a person can put right is one line and an exit code, never a traceback."""
    try:
        return uvloop.run(work)
    except KeyboardInterrupt:
        raise fail(interrupted, code) from None
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except BaseExceptionGroup as group:
        raise _told(_first(group)) from group
    except Exception as error:
        raise _told(error) from error


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> BaseException:
    """The exit for an error of the world or the input; any other is a fault of ours and shown as it is."""
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
def progress_bar(what: str, total: int | None) -> Iterator[ShowProgress]:
    """A bar with count, time and what remains: call what is yielded with (done, a word beside the bar).

    Where stderr is no terminal it is a line every LINE_EVERY_S.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, total)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[word]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, word="")

        def tell(done: int, word: str) -> None:
            bar.update(task, completed=done, word=word)

        yield tell


def _lines(what: str, total: int | None) -> ShowProgress:
    clock = SystemClock()
    started = last = clock.monotonic()

    def tell(done: int, word: str = "") -> None:
        nonlocal last
        now = clock.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        rate = done / (now - started)
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        say(f"{what}: {done}{f' of {total}' if total else ''} {word}{left}")

    return tell
