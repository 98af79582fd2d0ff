"""`caseflow reference calendar`: a calendar of another program as a document that `caseflow reference load` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.base import CODE_USAGE, Refused, run, say
from infra.cli.reference import RegionOf, group
from shared.reference.calendar_files import CALENDAR_ENDINGS, calendar_yaml, read_calendar
from shared.reference.regions import NATION

CalendarFile = Annotated[Path, typer.Argument(help="An .ics file, or a JSON list of days off; see docs/calendars.md.")]


@group.command(name="calendar")
def convert(file: CalendarFile, region: RegionOf = NATION) -> None:
    """Print the calendar document of an iCalendar or JSON file, and say which entries were read and left out."""
    run(_convert(file, region))


async def _convert(file: Path, region: str) -> None:
    if not file.is_file() or file.suffix.lower() not in CALENDAR_ENDINGS:
        raise Refused(f"{file} is no file that ends in {' or '.join(CALENDAR_ENDINGS)}", CODE_USAGE)
    document, reading = read_calendar(file, region)
    for line in reading.read:
        say(f"read {line}")
    for line in reading.left_out:
        say(f"left out {line}")
    for row in document.rows:
        forecast = "" if row.published else ", a forecast: no entry of its own"
        say(f"{row.year}: {len(row.holidays)} days off, {len(row.makeup)} worked{forecast}")
    say(f"{len(reading.read)} entries read, {len(reading.left_out)} left out")
    typer.echo(calendar_yaml(document), nl=False)
