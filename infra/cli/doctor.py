"""`caseflow doctor`: checks of this installation, each failure with a remedy."""

from __future__ import annotations

import typer

from infra.cli.base import DataFolder, app, read_settings, run
from infra.operations.doctor import CheckState, examine_installation
from shared.kit.clock import SystemClock
from shared.kit.settings import Settings


@app.command()
def doctor(data: DataFolder = None) -> None:
    """Check this installation and print a remedy for each failure; changes nothing."""
    run(_doctor(read_settings(data)))


async def _doctor(settings: Settings) -> None:
    failed_count = 0
    async for check in examine_installation(settings, SystemClock()):
        typer.echo(str(check))
        failed_count += check.state is CheckState.BAD
    if failed_count:
        raise typer.Exit(1)
