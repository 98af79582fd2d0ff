"""The `caseflow` command: start, serve, import, read the log, check it, rebuild, publish documents, find faults."""

from __future__ import annotations

import signal

from infra.cli import backtest, calendar_files, doctor, importing, log, reference, serving, trial
from infra.cli.base import app
from infra.cli.serving import serve

__all__ = ["app", "main", "serve"]
_MODULES = (serving, importing, backtest, log, reference, calendar_files, trial, doctor)  # imported for their commands


def main() -> None:
    """The entry point of `caseflow`."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    app(prog_name="caseflow")
