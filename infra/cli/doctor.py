"""`caseflow doctor`: what is wrong with this installation, and what to do."""

from __future__ import annotations

import typer

from infra.cli.base import DataFolder, app, run, settings
from infra.operations.doctor import CheckState, examine_installation
from shared.kit.clock import SystemClock
from shared.kit.settings import Settings


@app.command()
def doctor(data: DataFolder = None) -> None:
    """Say what is wrong with this installation and what to do; changes nothing."""
    own = settings()
    run(_doctor(own.model_copy(update={"data": data or own.data})))


async def _doctor(own: Settings) -> None:
    ill = 0
    async for check in examine_installation(own, SystemClock()):
        typer.echo(str(check))
        ill += check.state is CheckState.BAD
    if ill:
        raise typer.Exit(1)
