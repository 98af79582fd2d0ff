"""The case that a row of a file describes, or the reason why the row cannot become a case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from pydantic_core import to_json

from infra.importing.file_times import BadTime, BareDay
from infra.importing.mapping import ImportMapping, ValueChoice
from infra.importing.rows import FileRow
from shared.case.base import Address, derived_id, new_id
from shared.case.content import phone_number, shown_line
from shared.case.facts import SHORT_CHARS_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX, Channel, Nature, Outcome, Retention

ROW_ID_CHARS_MAX = 128
_BLANKS = re.compile(r"[ \t\u3000\xa0]+")
_SPACE = re.compile(r"\s+")
E = TypeVar("E", bound=StrEnum)


class UnfitRow(ValueError):
    """The row cannot become a case: the column and the reason, without the content of the cell."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


@dataclass(frozen=True, slots=True)
class ImportedCase:
    """The case in a row. Texts are trimmed and times are aware."""

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
    settled: bool  # the case ends with its reply; an open case notes a reply as progress
    source_cells: bytes  # the cells of the columns in the mapping; equal cells are the same registration

    def command_id(self, source: str, step: str) -> str:
        """The id of the command at this step; each import of the file gives the same id."""
        return derived_id("import", source, self.id, step)

    def case(self, source: str) -> Address:
        """The address of the case."""
        return Address("case", self.region, new_id(self.region, self.command_id(source, "register")))


def imported_case(row: FileRow, mapping: ImportMapping, now: datetime) -> ImportedCase:
    """The case in a row of a file. Raises UnfitRow."""
    if row.fault:
        raise UnfitRow("", row.fault)
    used = mapping.used_columns
    for name, reason in row.cell_faults.items():
        if name in used:
            raise UnfitRow(name, reason)
    columns, cells = mapping.columns, {name: clean_cell(cell) for name, cell in row.cells.items()}

    def cell(column: str | None) -> str:
        return cells.get(column, "") if column else ""

    for column in (mapping.id, columns.title, columns.text, columns.reply):
        _sound(column or "", cell(column))
    id = _within(mapping.id, cell(mapping.id), ROW_ID_CHARS_MAX)
    text = {name: cell(getattr(columns, name)) for name in ("title", "text", "reporter", "reply")}
    at = read_time(columns.time, cell(columns.time), mapping, BareDay.FIRST)
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
    settled = settle is not None and replied_at is not None and settle.ends(cells)
    return ImportedCase(
        row.number, id,
        title=_shown(columns.title, _within(columns.title, text["title"], TITLE_CHARS_MAX)),
        text=_within(columns.text, text["text"], TEXT_CHARS_MAX),
        reporter=_shown(columns.reporter, _short(columns.reporter, text["reporter"])),
        phone=_phone(columns.phone, cell(columns.phone)),
        address=_shown(columns.address, _short(columns.address, cell(columns.address))),
        at=at, reply=text["reply"], replied_at=replied_at,
        channel=listed("channel", mapping.channel, Channel),
        nature=listed("nature", mapping.nature, Nature),
        region=_coded("region", chosen("region", mapping.region), "[0-9]{12}"),
        subject=_coded("subject", subject, "([0-9]{2}){1,3}") if subject else None,
        retention=listed("retention", mapping.retention, Retention),
        outcome=listed("outcome", settle.outcome, Outcome) if settle and settled else None,
        settled=settled,
        source_cells=to_json({name: cell for name, cell in row.cells.items() if name in used}),
    )  # fmt: skip


def read_time(column: str, cell: str, mapping: ImportMapping, bare_day: BareDay) -> datetime:
    """A time of the file in the zone of the mapping, to the second. Raises UnfitRow."""
    if not cell:
        raise UnfitRow(column, "is empty")
    try:
        return mapping.times.read(cell, bare_day).at.astimezone(mapping.zone).replace(microsecond=0)
    except BadTime as error:
        raise UnfitRow(column, str(error)) from None


def _reply_time(mapping: ImportMapping, cell: str, at: datetime, now: datetime) -> datetime:
    column = mapping.columns.reply_time or ""
    moment = read_time(column, cell, mapping, BareDay.LAST)  # a reply with a day only was given by the end of that day
    if moment < at:
        raise UnfitRow(column, f"lies before {mapping.columns.time}")
    if moment > now:
        raise UnfitRow(column, "lies in the future")
    return moment


def clean_cell(cell: str) -> str:
    """The cell without empty lines and blanks at the ends of lines, and with single blanks elsewhere."""
    return _SPACE.sub(lambda space: "\n" if {"\r", "\n"} & {*space[0]} else space[0], _BLANKS.sub(" ", cell)).strip()


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


def _shown(column: str | None, cell: str) -> str:
    try:
        return shown_line(cell)
    except ValueError as error:
        raise UnfitRow(column or "", str(error)) from None


def _phone(column: str | None, cell: str) -> str:
    try:
        return phone_number(_short(column, cell))
    except ValueError as error:
        raise UnfitRow(column or "", str(error)) from None


def _coded(column: str, code: str, pattern: str) -> str:
    if not re.fullmatch(pattern, code):
        raise UnfitRow(column, f"is no code of a {column}")
    return code
