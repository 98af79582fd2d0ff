"""One row of a file as what it says of a case, or why it says nothing that can be registered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import TypeVar

from pydantic_core import to_json

from infra.importing.file_rows import FileRow
from infra.importing.mapping import ImportMapping, ValueChoice
from shared.case.base import Address, derived_id, new_id
from shared.case.facts import SHORT_CHARS_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX, Channel, Nature, Outcome, Retention

ROW_ID_CHARS_MAX = 128
_BLANKS = re.compile(r"[ \t\u3000\xa0]+")
_LINES = re.compile(r"\s*\n\s*")
_TIME = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
)
E = TypeVar("E", bound=StrEnum)


class UnfitRow(ValueError):
    """The row cannot become a case: the column and the reason, never the cell."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


@dataclass(frozen=True, slots=True)
class ImportedCase:
    """What a row says. Texts are trimmed; times are aware."""

    number: int
    id: str
    title: str
    text: str
    reporter: str
    phone: str
    address: str
    at: datetime
    reply: str
    replied_at: datetime | None
    channel: Channel
    nature: Nature
    region: str
    subject: str | None
    retention: Retention
    outcome: Outcome | None
    told: bytes  # the cells as they stood in the file: the same row is the same registration

    def command_id(self, source: str, step: str) -> str:
        """The id of what the import asks for at this step: the same however often the file is imported."""
        return derived_id("import", source, self.id, step)

    def case(self, source: str) -> Address:
        """Where the case of this row lives."""
        return Address("case", self.region, new_id(self.region, self.command_id(source, "register")))


def imported_case(line: FileRow, mapping: ImportMapping, now: datetime) -> ImportedCase:
    """The row as a demand. Raises Unfit."""
    if line.fault:
        raise UnfitRow("", line.fault)
    columns, cells = mapping.columns, {name: _clean(cell) for name, cell in line.cells.items()}

    def cell(column: str | None) -> str:
        return cells.get(column, "") if column else ""

    for column in (mapping.id, columns.title, columns.text, columns.reply):
        _sound(column or "", cell(column))
    id = _within(mapping.id, cell(mapping.id), ROW_ID_CHARS_MAX)
    text = {name: cell(getattr(columns, name)) for name in ("title", "text", "reporter", "reply")}
    at = read_time(columns.time, cell(columns.time), mapping, time.min)
    if at > now:
        raise UnfitRow(columns.time, "lies in the future")
    replied_at = None
    if text["reply"]:
        replied_at = _reply_time(mapping, cell(columns.reply_time), at, now)
        _within(columns.reply or "", text["reply"], TEXT_CHARS_MAX)

    def chosen(name: str, choice: ValueChoice) -> str:
        value = choice.of(cells, text)
        if value is None:
            raise UnfitRow(choice.column or name, f"gives no {name}; add it to the mapping, or `otherwise`")
        return value

    def listed(name: str, choice: ValueChoice, among: type[E]) -> E:
        try:
            return among(chosen(name, choice))
        except ValueError:
            raise UnfitRow(choice.column or name, f"gives no {name} of {', '.join(among)}; list its `values`") from None

    settle, subject = mapping.settle, mapping.subject.of(cells, text) if mapping.subject else None
    return ImportedCase(
        line.number, id,
        title=_within(columns.title, text["title"], TITLE_CHARS_MAX),
        text=_within(columns.text, text["text"], TEXT_CHARS_MAX),
        reporter=_short(columns.reporter, text["reporter"]),
        phone=_short(columns.phone, cell(columns.phone)),
        address=_short(columns.address, cell(columns.address)),
        at=at, reply=text["reply"], replied_at=replied_at,
        channel=listed("channel", mapping.channel, Channel),
        nature=listed("nature", mapping.nature, Nature),
        region=_coded("region", chosen("region", mapping.region), "[0-9]{12}"),
        subject=_coded("subject", subject, "([0-9]{2}){1,3}") if subject else None,
        retention=listed("retention", mapping.retention, Retention),
        outcome=listed("outcome", settle.outcome, Outcome) if settle and text["reply"] else None,
        told=to_json(line.cells),
    )  # fmt: skip


def read_time(column: str, cell: str, mapping: ImportMapping, bare: time) -> datetime:
    """A time of the file, aware; one without a zone is in the mapping's, one without hours at `bare`. Raises Unfit."""
    for format in mapping.time_formats:
        try:
            found = datetime.strptime(cell, format)
        except ValueError:
            continue
        if not re.search("%[HIcXs]", format):
            found = datetime.combine(found, bare)
        return found if found.tzinfo else found.replace(tzinfo=mapping.zone)
    match = _TIME.fullmatch(cell)
    if match is None:
        raise UnfitRow(column, "is empty" if not cell else "is no time; give its form in time_formats")
    year, month, day, hour, minute, second, zone = match.groups()
    try:
        clock = bare if hour is None else time(int(hour), int(minute), int(second or 0))
        found = datetime(int(year), int(month), int(day), clock.hour, clock.minute, clock.second)
    except ValueError:
        raise UnfitRow(column, "is no time that exists") from None
    if zone:
        return datetime.fromisoformat(found.isoformat() + ("+00:00" if zone == "Z" else zone)).astimezone(UTC)
    return found.replace(tzinfo=mapping.zone)


def _reply_time(mapping: ImportMapping, cell: str, at: datetime, now: datetime) -> datetime:
    column = mapping.columns.reply_time or ""
    found = read_time(column, cell, mapping, time(23, 59, 59))  # a day alone: by its end the reply was there
    if found < at:
        raise UnfitRow(column, f"lies before {mapping.columns.time}")
    if found > now:
        raise UnfitRow(column, "lies in the future")
    return found


def _clean(cell: str) -> str:
    """Without padding: blanks at the ends of lines and of the whole, several of them as one, and empty lines."""
    return _LINES.sub("\n", _BLANKS.sub(" ", cell)).strip()


def _sound(column: str, cell: str) -> None:
    if "\x00" in cell:
        raise UnfitRow(column, "holds a NUL character")
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise UnfitRow(column, "holds half a character (a lone surrogate)") from None


def _within(column: str, cell: str, chars_max: int) -> str:
    if not cell:
        raise UnfitRow(column, "is empty")
    if len(cell) > chars_max:
        raise UnfitRow(column, f"has {len(cell)} characters, at most {chars_max}")
    return cell


def _short(column: str | None, cell: str) -> str:
    _sound(column or "", cell)
    if len(cell) > SHORT_CHARS_MAX:
        raise UnfitRow(column or "", f"has {len(cell)} characters, at most {SHORT_CHARS_MAX}")
    return cell


def _coded(column: str, code: str, pattern: str) -> str:
    if not re.fullmatch(pattern, code):
        raise UnfitRow(column, f"is no code of a {column}")
    return code
