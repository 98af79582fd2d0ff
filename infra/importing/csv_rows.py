"""CSV as programs really write it: RFC 4180, with what spreadsheets add and damaged lines leave.

A record that cannot be read costs its first line alone: reading goes on with the line after it, so that an unclosed
quotation mark does not swallow the lines behind it.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from infra.importing.rows import BadFile, FileFormat, FileRow, heading_row, open_bytes, table_row

CELL_BYTES_MAX = 4 * 1024 * 1024  # a longer cell is no cell of a table
BEGIN_BYTES = 4096
RECORD_LINES_MAX = 2000  # a longer record is an unclosed quotation mark
_SEPARATOR = re.compile(r"sep=(.)\s*")  # the first line by which Excel states the delimiter
_FORMULA = re.compile(r'="((?:[^"]|"")*)"')  # text that Excel shall not read as a number
_UNDECODED = re.compile("[\udc80-\udcff]")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
csv.field_size_limit(CELL_BYTES_MAX)


def csv_rows(path: Path, form: FileFormat) -> Generator[Any]:
    """The heading, then each FileRow. Raises BadFile."""
    encoding = _encoding(path, form.encoding)
    with TextIOWrapper(open_bytes(path), encoding, errors="surrogateescape", newline="") as text:
        lines = _Lines(text)
        delimiter = _delimiter(lines) or form.delimiter
        try:
            heading = _heading(path, lines, delimiter, form)
            yield heading
            yield from _rows(path, lines, heading, delimiter, encoding)
        except UnicodeDecodeError as error:
            raise _undecodable(path, lines.next_number, encoding, error.reason) from None


def _encoding(path: Path, named: str) -> str:
    """The encoding of the byte order mark, else the named one. Raises BadFile for UTF-16 that neither names."""
    with open_bytes(path) as file:
        begin = file.read(BEGIN_BYTES)
    for mark, encoding in _MARKS:
        if begin.startswith(mark):
            return encoding
    if b"\x00" in begin and not named.startswith(("utf-16", "utf-32")):
        raise BadFile(f"{path.name} is UTF-16 without its mark; write `encoding: utf-16-le` or `utf-16-be`")
    return named


class _Lines:
    """The lines of a file for the CSV reader: those of one record, which may go back to be read again."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._ahead: deque[str] = deque()
        self._record: list[str] = []
        self.number = 1  # of the first line of the record

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._record) == RECORD_LINES_MAX:
            raise csv.Error("a quotation mark is not closed")
        line = self._ahead.popleft() if self._ahead else next(self._text)
        self._record.append(line)
        return line

    @property
    def record(self) -> Sequence[str]:
        """The lines of the record that was read last."""
        return self._record

    @property
    def next_number(self) -> int:
        return self.number + len(self._record)

    def begin(self) -> None:
        """Begin a record with the line after the record that was read last."""
        self.number = self.next_number
        self._record.clear()

    def go_back(self, count: int = 1) -> None:
        """Keep the first `count` lines of the record only; the others are read again."""
        self._ahead.extendleft(reversed(self._record[count:]))
        del self._record[count:]


def _delimiter(lines: _Lines) -> str | None:
    """The delimiter of a line `sep=;` before the heading, which is then read; None without such a line."""
    first = next(lines, "")
    stated = _SEPARATOR.fullmatch(first.lstrip("\ufeff"))
    if stated is None:
        lines.go_back(0)
        return None
    return stated[1]


def _heading(path: Path, lines: _Lines, delimiter: str, form: FileFormat) -> list[str]:
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    cells: list[str] = []
    for _ in range(form.heading):
        lines.begin()
        try:
            cells = next(reader)
        except csv.Error as error:
            raise BadFile(f"{path.name}:{lines.number}: is not CSV ({error}); save it as `CSV UTF-8`") from None
        except StopIteration:
            raise BadFile(f"{path.name} is empty; its first line must name the columns") from None
    whole = "".join(lines.record)
    if _UNDECODED.search(whole):
        raise _undecodable(path, lines.number, form.encoding, "invalid bytes")
    if len(cells) == 1:
        other = next((mark for mark in ";\t|," if mark != delimiter and cells[0].count(mark) > 1), None)
        if other is not None:
            raise BadFile(
                f"{path.name}: the first line is one cell; write `delimiter: {_quoted(other)}` in the mapping"
            )
    return heading_row(path, cells)


def _quoted(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'


def _rows(path: Path, lines: _Lines, heading: list[str], delimiter: str, encoding: str) -> Iterator[FileRow]:
    decoded = any(not name.isascii() for name in heading)  # a line beyond ASCII was read in this encoding
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    while True:
        lines.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            reason = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
            lines.go_back()
            yield FileRow(lines.number, {}, f"is not CSV ({reason})")
            reader = csv.reader(lines, strict=True, delimiter=delimiter)
            continue
        if cells is None:
            return
        if swallowed := _swallowed(lines.record, len(heading), delimiter):
            yield FileRow(lines.number, {}, f"holds whole rows from line {lines.number + swallowed} on in one cell: a"
                                            " quotation mark is not closed")  # fmt: skip
            lines.go_back()
            continue
        if not any(cells):
            continue
        whole = "".join(lines.record)
        if broken := _UNDECODED.search(whole):
            if not decoded:
                raise _undecodable(path, lines.number, encoding, "invalid bytes")
            line = lines.number + whole.count("\n", 0, broken.start())
            yield FileRow(lines.number, {}, f"holds bytes in line {line} that are not {_plain_name(encoding)}")
            continue
        decoded = decoded or not whole.isascii()
        yield _row(lines.number, heading, cells)


def _row(number: int, heading: list[str], cells: list[str]) -> FileRow:
    row = table_row(number, heading, [_text(cell) for cell in cells])
    if row.fault or len(cells) >= len(heading):
        return row
    warning = f"has {len(cells)} cells under {len(heading)} headings; those that are missing count as empty"
    return FileRow(number, row.cells, cell_faults=row.cell_faults, warning=warning)


def _text(cell: str) -> str:
    formula = _FORMULA.fullmatch(cell)
    return formula[1].replace('""', '"') if formula else cell


def _swallowed(record: Sequence[str], width: int, delimiter: str) -> int | None:
    """The index of the first line inside a record that is a whole row by itself."""
    if len(record) < 2 or width < 3:
        return None
    for index, line in enumerate(record[1:-1], 1):
        if line.count(delimiter) >= width - 1:
            try:
                if len(next(csv.reader([line], strict=True, delimiter=delimiter))) == width:
                    return index
            except csv.Error:
                continue
    return None


def _plain_name(encoding: str) -> str:
    return encoding.removesuffix("-sig")


def _undecodable(path: Path, number: int, encoding: str, reason: str) -> BadFile:
    other = "gb18030" if encoding.startswith("utf-8") else "utf-8"
    return BadFile(
        f"{path.name}: near line {number} is not {_plain_name(encoding)} ({reason}); write `encoding: {other}` in the"
        " mapping, or save the file as UTF-8"
    )
